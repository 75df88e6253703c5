//! How a session of a `Gateway` starts to hear: subscribing, listening to communities, catching
//! up with what was missed (contract 4.3, 4.4).

use std::time::Duration;

use futures::future::join_all;
use worker::Delay;

use super::object::{GatewayObject, Outcome, temporary};
use crate::domain::actions::Subscribe;
use crate::domain::gateway::Gateway as Core;
use crate::domain::lost::{frame, is_lost};
use crate::domain::replay::{ASK_AGAIN_MS, ASK_AGAIN_TIMES, Resume, resume};
use crate::domain::slow_sockets::SLOW_BYTES;
use crate::domain::subscriptions::{Bound, Kind, Subscribed};
use crate::durable::community::commands::{Attach, PAGE, Replay, Replayed};
use crate::durable::gateway::commands::Reindexed;
use crate::durable::replies::Done;
use crate::platform::clock::now;
use crate::platform::d1::D1;
use crate::platform::log;
use crate::platform::objects::call;
use crate::storage::community_log::Numbered;
use crate::storage::gateway_sessions;
use crate::storage::{Fault, reads};
use crate::wire::ids::AtUri;
use crate::wire::socket::Reply;

/// How often, and how many times, a full socket is looked at again: half a minute in all.
const ROOM_MS: u64 = 50;
const ROOM_TRIES: u32 = 600;

/// Names looked up at a time: with the longest of keys, a megabyte.
pub(super) const NAMES: usize = 1_000;

/// Why a session catches up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Catching {
    /// The client asked for it, and hears when it is done (Q02).
    Asked,
    /// Its person missed it, and the client knows nothing of it (Q10).
    Restored,
}

/// What a subscription changed, so that it can be taken back.
#[derive(Clone, Copy, Debug, Default)]
struct Noted {
    is_new: bool,
    /// What was remembered of an earlier resume of the same community.
    replayed: Option<u64>,
}

impl GatewayObject {
    /// Subscribes, and resumes if the client asks for it (Q02): ack, replay, `resumed`. Should
    /// anything fail before the ack, nothing was changed.
    pub(super) async fn subscribe(&self, id: i64, subscribe: Subscribe) {
        let noted = match self.with(|sessions| self.note_subscription(sessions, id, &subscribe)) {
            Ok(Ok(noted)) => noted,
            Ok(Err(bound)) => return self.send(id, &Reply::error(bound.text()).text()),
            Err(fault) => return self.send(id, &temporary(&fault).text()),
        };
        let replay = match self.reach(id, &subscribe).await {
            Ok(replay) => replay,
            Err(fault) => {
                if let Err(fault) = self.undo(id, noted, &subscribe) {
                    log::fault(&fault, "a subscription that failed stays until the socket closes");
                }
                return self.send(id, &temporary(&fault).text());
            }
        };
        self.send(id, &subscribe.reply.text());
        if let Some((community, cursor, first)) = replay {
            self.catch_up(id, &community, cursor, first, Catching::Asked).await;
        }
    }

    /// Notes the subscription, or says why there is no room for it. It costs as much as its key,
    /// whatever else the session listens to.
    fn note_subscription(
        &self,
        sessions: &mut Core,
        id: i64,
        subscribe: &Subscribe,
    ) -> Outcome<std::result::Result<Noted, Bound>> {
        let key = subscribe.key.as_deref();
        let subscribed = sessions
            .resubscribe(id, |open, others| open.subscriptions.subscribe(subscribe.kind, key, others));
        let is_new = match subscribed {
            None => return Err(Fault::new("subscribing", "the session is gone")),
            Some(Subscribed::Full(bound)) => return Ok(Err(bound)),
            Some(subscribed) => subscribed == Subscribed::New,
        };
        if is_new {
            self.sql.run(&gateway_sessions::subscribe(id, subscribe.kind, key))?;
        }
        let Some(open) = sessions.open.get_mut(&id) else { return Ok(Ok(Noted::default())) };
        let mut noted = Noted { is_new, ..Noted::default() };
        // A client that subscribes itself is given nothing (Q10).
        let mut changed = open.session.silent.take().is_some();
        if let Some(restoring) = &mut open.session.restoring {
            restoring.unsubscribe(subscribe.kind, key); // Q11
            changed = true;
        }
        if let Some((community, _)) = &subscribe.resume {
            noted.replayed = open.session.replayed.remove(community.as_str());
            changed |= noted.replayed.is_some();
            open.resuming.insert(community.to_string(), Some(Vec::new()));
            if let Some(restoring) = &mut open.session.restoring {
                restoring.owed.remove(community.as_str());
                restoring.done.insert(community.to_string());
            }
        }
        if changed {
            self.sql.run(&gateway_sessions::keep(id, &open.session))?;
        }
        Ok(Ok(noted))
    }

    /// Takes a subscription back. What came for it meanwhile is sent: the session may have heard
    /// that community before.
    fn undo(&self, id: i64, noted: Noted, subscribe: &Subscribe) -> Outcome<()> {
        self.with(|sessions| {
            if noted.is_new {
                let (kind, key) = (subscribe.kind, subscribe.key.as_deref());
                sessions.resubscribe(id, |open, _| open.subscriptions.take_back(kind, key));
                self.sql.run_all(&gateway_sessions::take_back(id, kind, key))?;
            }
            let Some(open) = sessions.open.get_mut(&id) else { return Ok(()) };
            let mut meanwhile = None;
            if let Some((community, _)) = &subscribe.resume {
                meanwhile = open.resuming.remove(community.as_str()).flatten();
                if let Some(seq) = noted.replayed {
                    open.session.replayed.insert(community.to_string(), seq);
                }
            }
            self.sql.run(&gateway_sessions::keep(id, &open.session))?;
            meanwhile.into_iter().flatten().for_each(|(_, text)| sessions.send(id, text));
            Ok(())
        })
    }

    /// Listens to what the subscription needs, and fetches the first page of its replay.
    async fn reach(&self, id: i64, subscribe: &Subscribe) -> Outcome<Option<(AtUri, i64, Replayed)>> {
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
    /// read too much; in vain, what it missed is lost to it (Q08).
    pub(super) async fn page(&self, id: i64, community: &AtUri, cursor: i64) -> Outcome<Replayed> {
        if self.with(|sessions| Ok(!sessions.communities.contains_key(community.as_str())))? {
            return Ok(nothing_yet(cursor));
        }
        let lost = Replayed::Resync { oldest: u64::try_from(cursor).unwrap_or(0) };
        let mut tries = 0;
        let address = loop {
            let address = self.with(|sessions| {
                Ok(sessions.open.get(&id).map(|open| open.session.origin.address.clone()))
            })?;
            let Some(address) = address else { return Ok(lost) }; // it is gone
            if self.readers.borrow_mut().take(&address, PAGE, now()) {
                break address;
            }
            tries += 1;
            if tries >= ASK_AGAIN_TIMES {
                return Ok(lost);
            }
            Delay::from(Duration::from_millis(ASK_AGAIN_MS)).await;
        };
        let page =
            call(&self.env, community.as_str(), &Replay { community: community.clone(), cursor }).await;
        let read = match &page {
            Ok(Replayed::Page { events, .. }) => i64::try_from(events.len()).unwrap_or(PAGE),
            Ok(Replayed::Resync { .. }) | Err(_) => 0,
        };
        self.readers.borrow_mut().give_back(&address, PAGE.saturating_sub(read));
        page
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

    /// Sends what the session missed, page by page, then `resumed` if it asked, then what came
    /// meanwhile (Q02, Q10). Events are neither lost nor doubled between the two.
    pub(super) async fn catch_up(
        &self,
        id: i64,
        community: &AtUri,
        cursor: i64,
        first: Replayed,
        how: Catching,
    ) {
        let mut page = first;
        let mut from = None;
        let end = loop {
            match page {
                Replayed::Resync { oldest } => break Err(oldest),
                Replayed::Page { events, through, last } => {
                    from.get_or_insert_with(|| u64::try_from(cursor).unwrap_or(last));
                    match self.with(|sessions| self.send_page(sessions, id, community, &events, through, how))
                    {
                        Ok(true) => {}
                        Ok(false) => return,
                        Err(fault) => {
                            log::fault(&fault, "the client reads anew");
                            break Err(through);
                        }
                    }
                    if through >= last {
                        break Ok(last);
                    }
                    self.room(id).await;
                    page = match self.page(id, community, i64::try_from(through).unwrap_or(-1)).await {
                        Ok(next) => next,
                        Err(fault) => {
                            log::fault(&fault, "the client reads anew");
                            Replayed::Resync { oldest: through }
                        }
                    };
                }
            }
        };
        let from = from.filter(|_| how == Catching::Asked);
        let finished = self.with(|sessions| self.caught_up(sessions, id, community, from, end));
        if let Err(fault) = finished {
            log::fault(&fault, "the client reads anew");
            self.send(id, &Reply::ResyncRequired { community_uri: community.clone(), oldest: 0 }.text());
        }
    }

    /// Sends a page. `false` if there is nothing more to do: the socket is gone, or the client has
    /// taken over what was to be restored (Q11).
    fn send_page(
        &self,
        sessions: &mut Core,
        id: i64,
        community: &AtUri,
        events: &[Numbered],
        through: u64,
        how: Catching,
    ) -> Outcome<bool> {
        let Some(open) = sessions.open.get(&id) else { return Ok(false) };
        let done = open.session.restoring.as_ref().is_none_or(|one| one.done.contains(community.as_str()));
        if how == Catching::Restored && done {
            return Ok(false);
        }
        for event in events {
            if is_lost(&event.event) || sessions.hears_replayed(id, community, event, how == Catching::Asked)
            {
                sessions.send(id, frame(&event.event, community, event.seq, false));
            }
        }
        if how == Catching::Restored
            && let Some(open) = sessions.open.get_mut(&id)
            && let Some(restoring) = &mut open.session.restoring
        {
            restoring.owed.insert(community.to_string(), i64::try_from(through).unwrap_or(i64::MAX));
            self.sql.run(&gateway_sessions::keep(id, &open.session))?;
        }
        Ok(true)
    }

    /// The end of a replay: `resumed`, if it was asked for, or `resync_required`; then what came
    /// meanwhile.
    fn caught_up(
        &self,
        sessions: &mut Core,
        id: i64,
        community: &AtUri,
        asked_from: Option<u64>,
        end: std::result::Result<u64, u64>,
    ) -> Outcome<()> {
        let Some(open) = sessions.open.get_mut(&id) else { return Ok(()) };
        let mut texts = Vec::new();
        let pending = open.resuming.remove(community.as_str()).flatten();
        if let Some(restoring) = &mut open.session.restoring {
            restoring.owed.remove(community.as_str());
            restoring.done.insert(community.to_string());
        }
        let to = match (end, &pending) {
            (Ok(to), Some(_)) => {
                if let Some(from) = asked_from {
                    let resumed = Reply::Resumed { community_uri: community.to_string(), from, to };
                    texts.push(resumed.text());
                }
                to
            }
            (Ok(oldest) | Err(oldest), _) => {
                let resync = Reply::ResyncRequired { community_uri: community.clone(), oldest };
                texts.push(resync.text());
                0
            }
        };
        for (seq, text) in pending.into_iter().flatten().filter(|(seq, _)| *seq > to) {
            open.session.replayed.insert(community.to_string(), seq);
            texts.push(text);
        }
        let replayed = open.session.replayed.entry(community.to_string()).or_insert(to);
        *replayed = to.max(*replayed);
        // What the gateway has had itself by now does not come again, nor anything of a community
        // that it does not listen to.
        let communities = &sessions.communities;
        open.session
            .replayed
            .retain(|community, seq| communities.get(community).is_some_and(|had| *had < *seq));
        self.sql.run(&gateway_sessions::keep(id, &open.session))?;
        texts.into_iter().for_each(|text| sessions.send(id, text));
        Ok(())
    }
}

/// What a cursor comes to in a community that was never seen: its log is empty (Q05).
fn nothing_yet(cursor: i64) -> Replayed {
    match resume(cursor, 1, 0) {
        Resume::From(through) => Replayed::Page { events: Vec::new(), through, last: through },
        Resume::Resync { oldest } => Replayed::Resync { oldest },
    }
}
