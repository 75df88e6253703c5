//! How a session of a `Gateway` starts to receive events: subscribing, listening to communities, catching
//! up with what was missed (contract 4.3, 4.4).

use std::time::Duration;

use futures::future::join_all;
use worker::Delay;

use super::object::{GatewayObject, Outcome, temporary};
use crate::domain::actions::Subscribe;
use crate::domain::community::PAGE;
use crate::domain::gateway::catching_up::{Catching, Noted, Replay};
use crate::domain::members_only::Readers;
use crate::domain::replay::{Replayed, nothing_yet};
use crate::domain::slow_sockets::SLOW_BYTES;
use crate::domain::subscriptions::{Bound, Kind, may_be_known};
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

/// How often, and how many times, a full socket is checked again: half a minute in all.
const ROOM_MS: u64 = 50;
const ROOM_TRIES: u32 = 600;

/// The error for a session that may not subscribe (A15, X43).
pub(super) const MEMBERS_ONLY: &str = "This community is for members only";

/// Names looked up at a time: with the longest of keys, a megabyte.
pub(super) const NAMES: usize = 1_000;

/// A page of a replay, and who may read it.
pub(super) type Page = (Replayed, Readers);

/// Why a subscription has no effect.
#[derive(Clone, Copy)]
enum Without {
    /// It is for members only, and the session may not read it (X43).
    Right,
    Room(Bound),
}

/// The reply to a subscription: `reply`, unless the subscription has no effect.
fn unless(without: Option<Without>, reply: &Reply) -> Reply {
    match without {
        Some(Without::Right) => Reply::error(MEMBERS_ONLY),
        Some(Without::Room(bound)) => Reply::error(bound.text()),
        None => reply.clone(),
    }
}

impl GatewayObject {
    /// Subscribes to each of these, and resumes if the client asks for it (Q02): acks, replay, `resumed`. Should
    /// anything fail before the acks, nothing was changed.
    pub(super) async fn subscribe(&self, id: i64, all: Vec<Subscribe>) {
        let refused = match self.refused(id, &all).await {
            Ok(refused) => refused,
            Err(fault) => return self.send_each(id, all.iter().map(|_| temporary(&fault))),
        };
        let noted = self.with(|gateway| {
            let note = |(one, refused): (&Subscribe, bool)| match refused {
                true => Some(Err(Without::Right)),
                false => Some(gateway.subscribe(id, one)?.map_err(Without::Room)),
            };
            Ok(all.iter().zip(refused).map(note).collect::<Option<Vec<_>>>())
        });
        let noted = match noted {
            Ok(Some(noted)) => noted,
            Ok(None) => return, // it is gone
            Err(fault) => return self.send_each(id, all.iter().map(|_| temporary(&fault))),
        };
        let wanted: Vec<_> =
            all.iter().zip(&noted).filter_map(|(one, noted)| Some((one, (*noted).ok()?))).collect();
        let replay = match self.reach(id, &wanted).await {
            Ok(replay) => replay,
            Err(fault) => {
                let undone = self.with(|gateway| {
                    wanted.iter().rev().for_each(|(one, noted)| gateway.take_back(id, *noted, one));
                    Ok(())
                });
                if let Err(fault) = undone {
                    log::fault(&fault, "subscriptions that failed stay until the socket closes");
                }
                let failed = temporary(&fault);
                return self.send_each(id, noted.iter().map(|noted| unless(noted.err(), &failed)));
            }
        };
        self.send_each(id, all.iter().zip(&noted).map(|(one, noted)| unless(noted.err(), &one.reply)));
        if let Some((community, cursor, Some(first))) = replay {
            self.catch_up(Replay::new(id, community, cursor, Catching::Asked), first).await;
        }
    }

    fn send_each(&self, id: i64, replies: impl Iterator<Item = Reply>) {
        replies.for_each(|reply| self.send(id, &reply.text()));
    }

    /// Listens to what the subscriptions need, and fetches the first page of the replay.
    async fn reach(
        &self,
        id: i64,
        wanted: &[(&Subscribe, Noted)],
    ) -> Outcome<Option<(AtUri, i64, Option<Page>)>> {
        let of = |kind| wanted.iter().map(|(one, _)| *one).filter(move |one| one.kind == kind);
        let named = |kind| {
            let names = of(kind).filter_map(|one| one.key.clone());
            names.filter(|name| may_be_known(kind, name)).collect::<Vec<_>>()
        };
        let mut communities = self.look_up(&named(Kind::Message), &named(Kind::Community)).await?;
        if of(Kind::Message).chain(of(Kind::Community)).any(|one| one.key.is_none()) {
            communities.extend(reads::all_communities(&D1::of(&self.env)?).await?);
        }
        self.listen(communities).await?;
        let names = named(Kind::Message);
        self.listen_for_typing(self.with(|gateway| Ok(gateway.channels_named(&names)))?).await?;
        let resume = wanted.iter().find_map(|(one, _)| one.resume.clone());
        let Some((community, cursor)) = resume else { return Ok(None) };
        let first = self.page(id, &community, cursor).await?;
        Ok(Some((community, cursor, first)))
    }

    /// A page of a community's log, for the session `id`. A community that this gateway does not listen to is
    /// unknown, so its log is empty and it is not asked (Q05). Waits while the session's address has read
    /// too much; after too long a wait, the session must read anew (Q08). `None`: the session's subscription
    /// has ended, because it may not read a community for members only (X43).
    pub(super) async fn page(&self, id: i64, community: &AtUri, cursor: i64) -> Outcome<Option<Page>> {
        if self.with(|sessions| Ok(!sessions.communities.contains_key(community.as_str())))? {
            return Ok(Some((nothing_yet(cursor), Readers::All)));
        }
        let lost = Replayed::Resync { oldest: u64::try_from(cursor).unwrap_or(0) };
        let lost = Some((lost, Readers::All));
        let address_of =
            || self.with(|gateway| Ok(gateway.open.get(&id).map(|open| open.session.origin.address.clone())));
        let may_read = || -> Outcome<_> {
            let take = |address: String| self.read_budgets.borrow_mut().take(&address, PAGE, now());
            Ok(address_of()?.map(take))
        };
        let is_allowed = wait_to_read(may_read).await?;
        let Some(address) = address_of()?.filter(|_| is_allowed) else { return Ok(lost) };
        let page =
            call(&self.env, community.as_str(), &ReadLog { community: community.clone(), cursor }).await;
        let read = page.as_ref().map_or(0, Replayed::count);
        self.read_budgets.borrow_mut().give_back(&address, PAGE.saturating_sub(read));
        let page = page?;
        if !matches!(page, Replayed::Page { members_only: true, .. }) {
            return Ok(Some((page, Readers::All)));
        }
        if !self.is_reader(id, community).await? {
            self.with(|gateway| {
                gateway.end_subscriptions(id, community);
                Ok(())
            })?;
            return Ok(None);
        }
        let reader = self.with(|gateway| Ok(gateway.proven_by(id)))?;
        Ok(Some((page, Readers::Only(reader.into_iter().collect()))))
    }

    /// Waits until a socket has taken most of what was sent to it, so that a long replay needs
    /// little memory and is not taken for slowness. A socket that takes nothing for a while is slow (Q20).
    async fn room(&self, id: i64) {
        for _ in 0..ROOM_TRIES {
            if self.unsent(id) <= SLOW_BYTES / 2 {
                return;
            }
            Delay::from(Duration::from_millis(ROOM_MS)).await;
        }
    }

    /// Looks up and stores what names of channels mean, and which of these communities are known. Returns the
    /// communities concerned.
    pub(super) async fn look_up(&self, channels: &[String], communities: &[String]) -> Outcome<Vec<AtUri>> {
        let (mut names_left, mut communities) = (channels, communities);
        let mut found = Vec::new();
        loop {
            let (names, later) = names_left.split_at(names_left.len().min(NAMES));
            let (candidates, listed) = reads::named(&D1::of(&self.env)?, names, communities).await?;
            found.extend(listed);
            found.extend(candidates.iter().filter_map(|channel| AtUri::parse(&channel.community).ok()));
            self.with(|sessions| {
                if candidates.is_empty() && sessions.meanings.knows_none(names) {
                    return Ok(()); // nothing is known, so nothing is written
                }
                self.sql.run_all(&gateway_sessions::mean(names, &candidates))?;
                sessions.meanings.set(names, candidates);
                Ok(())
            })?;
            (names_left, communities) = (later, &[]);
            if names_left.is_empty() {
                return Ok(found);
            }
        }
    }

    /// Channels appeared or disappeared: reads the meanings of the sessions' names again (A34).
    pub(super) async fn reindexed(&self, command: &Reindexed) -> Outcome<Done> {
        let rkeys: Vec<&str> = command.rkeys.iter().map(|rkey| rkey.as_str()).collect();
        let (names, wanted) = self.with(|sessions| {
            let mut names = sessions.names();
            if !rkeys.is_empty() {
                names.retain(|name| rkeys.contains(&name.rsplit('/').next().unwrap_or(name)));
            }
            Ok((names, sessions.is_needed(command.community.as_str())))
        })?;
        let mut communities = self.look_up(&names, &[]).await?;
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

    /// As [`Self::page`]; a page that cannot be read ends its replay.
    pub(super) async fn next_page(&self, replay: &Replay, cursor: i64) -> Option<Page> {
        self.page(replay.session(), replay.community(), cursor).await.unwrap_or_else(|fault| {
            log::fault(&fault, "the client reads anew");
            Some((replay.broken(), Readers::All))
        })
    }

    /// Sends what the session missed, page by page (Q02, Q10).
    pub(super) async fn catch_up(&self, mut replay: Replay, first: Page) {
        let (id, community) = (replay.session(), replay.community().clone());
        let (mut page, mut readers) = first;
        loop {
            replay.readers = readers;
            let next = match self.with(|gateway| Ok(gateway.replayed(&mut replay, page))) {
                Ok(Some(next)) => next,
                Ok(None) => return,
                Err(fault) => {
                    log::fault(&fault, "the client reads anew");
                    break;
                }
            };
            self.room(id).await;
            let Some(next) = self.next_page(&replay, next).await else { return };
            (page, readers) = next;
        }
        let page = replay.broken();
        if let Err(fault) = self.with(|gateway| Ok(gateway.replayed(&mut replay, page))) {
            log::fault(&fault, "the client reads anew");
            self.send(id, &Reply::ResyncRequired { community_uri: community, oldest: 0 }.text());
        }
    }
}
