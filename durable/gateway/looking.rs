//! What people see and write, and who is present where they look (contract A50 to A52): what `domain::gateway::looking`
//! needs from D1 and from communities.

use std::rc::Rc;

use futures::future::join_all;
use worker::wasm_bindgen_futures::spawn_local;

use super::object::{GatewayObject, Outcome, temporary};
use super::subscriptions::MEMBERS_ONLY;
use crate::domain::gateway::Input;
use crate::domain::gateway::looking::{Found, PRESENT_MAX};
use crate::domain::gateway::session::View;
use crate::domain::members_only::Readers;
use crate::domain::subscriptions::{Candidate, Kind, may_be_known};
use crate::domain::typing::{CANDIDATES_MAX, DEAF, where_may_write};
use crate::durable::community::commands::{Voiced, Voices};
use crate::durable::community::typing::{ListensForTyping, Typing};
use crate::durable::gateway::commands::{ShowDevices, ShowTyping};
use crate::durable::replies::{Delivered, Done};
use crate::platform::clock::now;
use crate::platform::d1::D1;
use crate::platform::log;
use crate::platform::objects::call;
use crate::storage::reads::{self, present};
use crate::storage::{facts, notifications};
use crate::wire::events::{channel_read, to_person};
use crate::wire::ids::{AtUri, Did};
use crate::wire::socket::Reply;

/// The most channels of which the gateway remembers that nobody here receives their typing.
const DENIED_MAX: usize = 10_000;

impl GatewayObject {
    /// A50: reads who is present. The community is asked before D1: what it numbered is in D1 then.
    pub(super) async fn snapshot(&self, id: i64, community: AtUri) -> Input {
        let found = self.read_snapshot(id, community).await.unwrap_or_else(|fault| Err(temporary(&fault)));
        Input::Snapshot(id, Box::new(found))
    }

    async fn read_snapshot(&self, id: i64, community: AtUri) -> Outcome<Result<Found, Reply>> {
        let db = D1::of(&self.env)?;
        match present::is_members_only(&db, &community).await? {
            None => return Ok(Err(Reply::error("Unknown community"))),
            Some(true) if !self.is_reader(id, &community).await? => {
                return Ok(Err(Reply::error(MEMBERS_ONLY)));
            }
            Some(_) => {}
        }
        let voiced = call(&self.env, community.as_str(), &Voices {}).await?;
        let present = present::present(&db, &community, PRESENT_MAX + 1).await?;
        let Voiced { channels: voice, devices, seq } = voiced;
        Ok(Ok(Found { community, present, voice, devices, seq }))
    }

    /// A52: finds the channel that a person sees, and moves their marks (U42).
    pub(super) async fn look(&self, id: i64, name: Option<String>) -> Input {
        let looked = async {
            let candidates = match &name {
                Some(name) => self.candidates(name).await?,
                None => Vec::new(),
            };
            let (reader, views) = self
                .with_moment(|gateway, moment| Ok(gateway.look(id, name.as_deref(), candidates, moment)))?;
            if let Some(did) = reader {
                for view in views {
                    self.note_read(&view, &did).await?;
                }
            }
            Ok(())
        };
        let reply = looked.await.map_or_else(|fault| temporary(&fault), |()| Reply::ack(""));
        Input::Done(id, Some(reply))
    }

    /// U42: moves the mark of a person in a channel to now, and shows that on their devices (U22), which are all here.
    async fn note_read(&self, view: &View, did: &Did) -> Outcome<()> {
        let db = D1::of(&self.env)?;
        if notifications::move_position(&db, did, view.channel.as_str(), None, now()).await?.is_some() {
            let (newest, march) = channel_read(&view.channel);
            if let Ok(event) = to_person(Some(&newest), Some(&march)) {
                self.reconsider_digest(did)?;
                self.on(Input::Shown(did.clone(), event))?;
            }
        }
        Ok(())
    }

    /// The known channels that a name may mean; nothing is asked about what can be none.
    async fn candidates(&self, name: &str) -> Outcome<Vec<Candidate>> {
        if !may_be_known(Kind::Message, name) {
            return Ok(Vec::new());
        }
        Ok(reads::named(&D1::of(&self.env)?, &[name.to_owned()], &[]).await?.0)
    }

    /// U40: whether a person may write in a channel.
    pub(super) async fn write(&self, id: i64, did: Did, name: String) -> Input {
        let found = async {
            let mut candidates = self.candidates(&name).await?;
            candidates.sort();
            candidates.truncate(CANDIDATES_MAX);
            let uris =
                |one: &Candidate| Some((AtUri::parse(&one.uri).ok()?, AtUri::parse(&one.community).ok()?));
            let channels: Vec<_> = candidates.iter().filter_map(uris).collect();
            let facts = facts::right_to_write(&D1::of(&self.env)?, channels, &did, now()).await?;
            let proven = self.with(|gateway| Ok(gateway.proven_by(id).as_ref() == Some(&did)))?;
            Ok(where_may_write(&facts, &did, proven, &name, now()))
        };
        match found.await {
            Ok(found) => Input::Writes { id, did, name, found },
            Err(fault) => {
                let reply = temporary(&fault);
                let is_newest = |gateway: &mut crate::domain::gateway::Gateway| {
                    Ok(gateway.open.get(&id).is_some_and(|open| open.session.is_newest()))
                };
                let is_newest = self.with(is_newest).unwrap_or(true);
                Input::Done(id, Some(reply).filter(|_| !is_newest))
            }
        }
    }

    /// Publishes, in the background and once, who is writing where, and moves the marks of people whose client closed
    /// its socket.
    pub(super) fn publish_typing(self: &Rc<Self>) {
        for (view, did) in self.typing.take() {
            let object = Rc::clone(self);
            spawn_local(async move {
                let community = view.community.clone();
                if let Err(fault) = call(&object.env, community.as_str(), &Typing { view, did }).await {
                    log::fault(&fault, "nobody learns that this person is writing");
                }
            });
        }
        for (view, did) in self.has_read.take() {
            let object = Rc::clone(self);
            spawn_local(async move {
                if let Err(fault) = object.note_read(&view, &did).await {
                    log::fault(&fault, "what this person saw last counts as unread");
                }
            });
        }
    }

    /// Somebody writes in a channel. Notes if nobody here receives that: then the community does not ask for a while.
    pub(super) async fn show_typing(&self, command: ShowTyping) -> Outcome<Delivered> {
        let ShowTyping { view, did, members_only } = command;
        let readers = if members_only { self.readers(&view.community).await? } else { Readers::All };
        let listening = self.with(|gateway| Ok(gateway.listens_for_typing(&view)))?;
        if !listening {
            self.denied.borrow_mut().insert(view.channel.clone());
        }
        self.on(Input::Typing { view, did, readers })?;
        Ok(Delivered { listening })
    }

    /// What the devices of people in a call do.
    pub(super) async fn show_devices(&self, command: ShowDevices) -> Outcome<Done> {
        let ShowDevices { community, channel, devices, members_only } = command;
        let readers = if members_only { self.readers(&community).await? } else { Readers::All };
        self.on(Input::Devices { view: View { channel, community }, devices, readers })?;
        Ok(Done {})
    }

    /// Somebody here receives typing of these channels from now on: their communities learn of it, if this gateway may
    /// have said that it has nobody for them. It does not know that when it has just woken.
    pub(super) async fn listen_for_typing(&self, views: Vec<View>) -> Outcome<()> {
        if self.denied.borrow().len() > DENIED_MAX {
            self.denied.borrow_mut().clear();
            self.forgot_at.set(now());
        }
        let is_young = now().0.saturating_sub(self.forgot_at.get().0) < DEAF;
        let concerns = |view: &View| self.denied.borrow_mut().remove(&view.channel) || is_young;
        let gateway = self.name()?;
        let told = views.into_iter().filter(concerns).map(|view| {
            let listens = ListensForTyping { channels: vec![view.channel], gateway: gateway.clone() };
            async move { call(&self.env, view.community.as_str(), &listens).await }
        });
        join_all(told).await.into_iter().try_for_each(|told| told.map(drop))
    }
}
