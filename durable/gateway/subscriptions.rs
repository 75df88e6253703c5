//! How a session of a `Gateway` starts to hear: subscribing, listening to communities, catching
//! up with what was missed (contract 4.3, 4.4).

use std::time::Duration;

use futures::future::join_all;
use worker::Delay;

use super::object::{GatewayObject, Outcome, temporary};
use crate::domain::actions::Subscribe;
use crate::domain::community::PAGE;
use crate::domain::gateway::catching_up::{Catching, Replay};
use crate::domain::members_only::Audible;
use crate::domain::replay::{Replayed, nothing_yet};
use crate::domain::slow_sockets::SLOW_BYTES;
use crate::domain::subscriptions::Kind;
use crate::durable::community::commands::{Attach, Replay as ReadLog};
use crate::durable::gateway::commands::Reindexed;
use crate::durable::reading::wait_to_read;
use crate::durable::replies::Done;
use crate::platform::clock::now;
use crate::platform::d1::D1;
use crate::platform::log;
use crate::platform::objects::call;
use crate::storage::gateway_sessions;
use crate::storage::reads;
use crate::wire::ids::AtUri;
use crate::wire::socket::Reply;

/// How often, and how many times, a full socket is looked at again: half a minute in all.
const ROOM_MS: u64 = 50;
const ROOM_TRIES: u32 = 600;

/// What a session hears that may not subscribe (A15, X43).
const MEMBERS_ONLY: &str = "This community is for members only";

/// Names looked up at a time: with the longest of keys, a megabyte.
pub(super) const NAMES: usize = 1_000;

/// A page of a replay, and who may hear it.
pub(super) type Page = (Replayed, Audible);

impl GatewayObject {
    /// Subscribes, and resumes if the client asks for it (Q02): ack, replay, `resumed`. Should
    /// anything fail before the ack, nothing was changed.
    pub(super) async fn subscribe(&self, id: i64, subscribe: Subscribe) {
        match self.is_refused(id, &subscribe).await {
            Ok(false) => {}
            Ok(true) => return self.send(id, &Reply::error(MEMBERS_ONLY).text()),
            Err(fault) => return self.send(id, &temporary(&fault).text()),
        }
        let noted = match self.with(|gateway| Ok(gateway.subscribe(id, &subscribe))) {
            Ok(Some(Ok(noted))) => noted,
            Ok(Some(Err(bound))) => return self.send(id, &Reply::error(bound.text()).text()),
            Ok(None) => return, // it is gone
            Err(fault) => return self.send(id, &temporary(&fault).text()),
        };
        let replay = match self.reach(id, &subscribe).await {
            Ok(replay) => replay,
            Err(fault) => {
                let undone = self.with(|gateway| {
                    gateway.take_back(id, noted, &subscribe);
                    Ok(())
                });
                if let Err(fault) = undone {
                    log::fault(&fault, "a subscription that failed stays until the socket closes");
                }
                return self.send(id, &temporary(&fault).text());
            }
        };
        self.send(id, &subscribe.reply.text());
        if let Some((community, cursor, Some(first))) = replay {
            self.catch_up(Replay::new(id, community, cursor, Catching::Asked), first).await;
        }
    }

    /// Listens to what the subscription needs, and fetches the first page of its replay.
    async fn reach(&self, id: i64, subscribe: &Subscribe) -> Outcome<Option<(AtUri, i64, Option<Page>)>> {
        let communities = match (subscribe.kind, &subscribe.key) {
            (Kind::UserStatus, _) => Vec::new(),
            (Kind::Message | Kind::Community, None) => reads::all_communities(&D1::of(&self.env)?).await?,
            (Kind::Message, Some(name)) => self.look_up(std::slice::from_ref(name)).await?,
            (Kind::Community, Some(name)) => {
                reads::listed(&D1::of(&self.env)?, std::slice::from_ref(name)).await?
            }
        };
        self.listen(communities).await?;
        let Some((community, cursor)) = subscribe.resume.clone() else { return Ok(None) };
        let first = self.page(id, &community, cursor).await?;
        Ok(Some((community, cursor, first)))
    }

    /// A page of a community's log, for the session `id`. One that this gateway does not listen to was
    /// never seen, and is not asked: its log is empty (Q05). It waits while the session's address has
    /// read too much; in vain, what it missed is lost to it (Q08). `None`: what it hears of the community
    /// has ended, for only members may (X43).
    pub(super) async fn page(&self, id: i64, community: &AtUri, cursor: i64) -> Outcome<Option<Page>> {
        if self.with(|sessions| Ok(!sessions.communities.contains_key(community.as_str())))? {
            return Ok(Some((nothing_yet(cursor), Audible::ToAll)));
        }
        let lost = Replayed::Resync { oldest: u64::try_from(cursor).unwrap_or(0) };
        let lost = Some((lost, Audible::ToAll));
        let address_of =
            || self.with(|gateway| Ok(gateway.open.get(&id).map(|open| open.session.origin.address.clone())));
        let may_read = || -> Outcome<_> {
            let take = |address: String| self.readers.borrow_mut().take(&address, PAGE, now());
            Ok(address_of()?.map(take))
        };
        let is_allowed = wait_to_read(may_read).await?;
        let Some(address) = address_of()?.filter(|_| is_allowed) else { return Ok(lost) };
        let page =
            call(&self.env, community.as_str(), &ReadLog { community: community.clone(), cursor }).await;
        let read = page.as_ref().map_or(0, Replayed::count);
        self.readers.borrow_mut().give_back(&address, PAGE.saturating_sub(read));
        let page = page?;
        if !matches!(page, Replayed::Page { members_only: true, .. }) {
            return Ok(Some((page, Audible::ToAll)));
        }
        if !self.may_hear(id, community).await? {
            self.with(|gateway| {
                gateway.end_hearing(id, community);
                Ok(())
            })?;
            return Ok(None);
        }
        let reader = self.with(|gateway| Ok(gateway.proven_by(id)))?;
        Ok(Some((page, Audible::To(reader.into_iter().collect()))))
    }

    /// Waits until a socket has taken most of what was sent to it, so that a long replay needs
    /// little memory and is not taken for slowness. Who takes nothing for a while is slow (Q20).
    async fn room(&self, id: i64) {
        for _ in 0..ROOM_TRIES {
            if self.unsent(id) <= SLOW_BYTES / 2 {
                return;
            }
            Delay::from(Duration::from_millis(ROOM_MS)).await;
        }
    }

    /// Looks up what names mean, remembers it, and answers the communities concerned.
    pub(super) async fn look_up(&self, names: &[String]) -> Outcome<Vec<AtUri>> {
        let mut communities = Vec::new();
        for names in names.chunks(NAMES) {
            let found = reads::candidates(&D1::of(&self.env)?, names).await?;
            communities.extend(found.iter().filter_map(|channel| AtUri::parse(&channel.community).ok()));
            self.with(|sessions| {
                self.sql.run_all(&gateway_sessions::mean(names, &found))?;
                sessions.meanings.set(names, found);
                Ok(())
            })?;
        }
        Ok(communities)
    }

    /// Channels appeared or went: looks again what the names of the sessions mean (A34).
    pub(super) async fn reindexed(&self, command: &Reindexed) -> Outcome<Done> {
        let rkeys: Vec<&str> = command.rkeys.iter().map(|rkey| rkey.as_str()).collect();
        let (names, wanted) = self.with(|sessions| {
            let mut names = sessions.names();
            if !rkeys.is_empty() {
                names.retain(|name| rkeys.contains(&name.rsplit('/').next().unwrap_or(name)));
            }
            Ok((names, sessions.is_needed(command.community.as_str())))
        })?;
        let mut communities = self.look_up(&names).await?;
        if wanted {
            communities.push(command.community.clone());
        }
        self.listen(communities).await?;
        Ok(Done {})
    }

    /// Attaches to communities that this gateway does not listen to yet.
    pub(super) async fn listen(&self, communities: Vec<AtUri>) -> Outcome<()> {
        let gateway = self.name()?;
        let new: Vec<AtUri> = self.with(|sessions| {
            let known = &sessions.communities;
            Ok(communities.into_iter().filter(|uri| !known.contains_key(uri.as_str())).collect())
        })?;
        let attached = join_all(new.iter().map(|community| {
            let attach = Attach { community: community.clone(), gateway: gateway.clone() };
            async move { call(&self.env, community.as_str(), &attach).await }
        }))
        .await;
        for (community, attached) in new.iter().zip(attached) {
            let seq = attached?.seq;
            self.with(|sessions| {
                sessions.attached(community, seq, now());
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Sends what the session missed, page by page (Q02, Q10).
    pub(super) async fn catch_up(&self, mut replay: Replay, first: Page) {
        let (id, community) = (replay.session(), replay.community().clone());
        let (mut page, mut audible) = first;
        loop {
            replay.audible = audible;
            let next = match self.with(|gateway| Ok(gateway.replayed(&mut replay, page))) {
                Ok(Some(next)) => next,
                Ok(None) => return,
                Err(fault) => {
                    log::fault(&fault, "the client reads anew");
                    break;
                }
            };
            self.room(id).await;
            (page, audible) = match self.page(id, &community, next).await {
                Ok(Some(page)) => page,
                Ok(None) => return,
                Err(fault) => {
                    log::fault(&fault, "the client reads anew");
                    (replay.broken(), Audible::ToAll)
                }
            };
        }
        let page = replay.broken();
        if let Err(fault) = self.with(|gateway| Ok(gateway.replayed(&mut replay, page))) {
            log::fault(&fault, "the client reads anew");
            self.send(id, &Reply::ResyncRequired { community_uri: community, oldest: 0 }.text());
        }
    }
}
