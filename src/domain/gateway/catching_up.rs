//! Subscriptions, and replays of missed events page by page (Q02, Q03, Q05, Q10, Q11). Between a replay and the live
//! events that arrive during it, nothing is lost and nothing comes twice.

use super::following::{end_of, turn};
use super::session::Later;
use super::{Gateway, Keep};
use crate::domain::actions::Subscribe;
use crate::domain::announcement::Numbered;
use crate::domain::lost::{frame, is_lost};
use crate::domain::members_only::Readers;
use crate::domain::replay::Replayed;
use crate::domain::subscriptions::{Bound, Subscribed};
use crate::wire::ids::AtUri;
use crate::wire::socket::{Reply, Spelling};

/// Why a session catches up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Catching {
    /// The client asked for it, and gets `resumed` at the end (Q02).
    Asked,
    /// It is part of a restore, of which the client knows nothing (Q10).
    Restored,
}

/// What a subscription changed, for undoing it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Noted {
    is_new: bool,
    /// The end of an earlier replay of the same community.
    replayed: Option<u64>,
}

/// The replay of a community to a session.
#[derive(Clone, Debug)]
pub struct Replay {
    session: i64,
    community: AtUri,
    how: Catching,
    cursor: i64,
    /// Where it began; set with the first page.
    from: Option<u64>,
    /// How far the pages reached.
    through: u64,
    /// Its person, in the newest client, takes no part in the community there (N162).
    is_out: bool,
    /// Who may read the page that comes next; its session may (X43).
    pub readers: Readers,
}

impl Replay {
    /// The session `session` has everything of `community` up to and including `cursor`.
    pub fn new(session: i64, community: AtUri, cursor: i64, how: Catching) -> Self {
        let through = u64::try_from(cursor).unwrap_or(0);
        Self { session, community, how, cursor, from: None, through, is_out: false, readers: Readers::All }
    }

    /// Its session.
    pub fn session(&self) -> i64 {
        self.session
    }

    /// Whether the client asked for it.
    pub fn is_asked(&self) -> bool {
        self.how == Catching::Asked
    }

    /// Where it begins.
    pub fn cursor(&self) -> i64 {
        self.cursor
    }

    /// Its community.
    pub fn community(&self) -> &AtUri {
        &self.community
    }

    /// The last event that its pages brought, or 0. Before the first page, the client's cursor proves nothing: it may
    /// belong to another log (Q05).
    pub fn had(&self) -> u64 {
        self.from.map_or(0, |_| self.through)
    }

    /// Replaces a page that could not be read: the client must read the community anew.
    pub fn broken(&self) -> Replayed {
        Replayed::Resync { oldest: self.through }
    }
}

impl Gateway {
    /// Subscribes a session, before the object looks up the communities. Returns what changed, or which bound is
    /// reached; `None` if the session is gone. The cost depends on the key alone, not on other subscriptions.
    pub fn subscribe(&mut self, id: i64, subscribe: &Subscribe) -> Option<Result<Noted, Bound>> {
        let (kind, key) = (subscribe.kind, subscribe.key.as_deref());
        let is_new =
            match self.resubscribe(id, |open, others| open.subscriptions.subscribe(kind, key, others))? {
                Subscribed::Full(bound) => {
                    self.refused.subscriptions += 1;
                    return Some(Err(bound));
                }
                subscribed => subscribed == Subscribed::New,
            };
        if is_new {
            self.keep(Keep::Subscribed(id, kind, key.map(str::to_owned)));
        }
        let mut noted = Noted { is_new, replayed: None };
        let open = self.open.get_mut(&id)?;
        // A client that subscribes itself gets no restore (Q10).
        let mut changed = open.session.silent.take().is_some();
        if let Some(restoring) = &mut open.session.restoring {
            restoring.unsubscribe(kind, key); // Q11
            changed = true;
        }
        if let Some((community, _)) = &subscribe.resume {
            noted.replayed = open.session.replayed.remove(community.as_str());
            changed |= noted.replayed.is_some();
            open.resuming.insert(community.to_string(), Some(Vec::new()));
            if let Some(restoring) = &mut open.session.restoring {
                restoring.resume(community.as_str());
            }
        }
        if changed {
            self.keep_session(id);
        }
        Some(Ok(noted))
    }

    /// Undoes a subscription whose community could not be reached. Sends the events that arrived meanwhile, because
    /// the session may have been subscribed before.
    pub fn take_back(&mut self, id: i64, noted: Noted, subscribe: &Subscribe) {
        if noted.is_new {
            let (kind, key) = (subscribe.kind, subscribe.key.as_deref());
            self.resubscribe(id, |open, _| open.subscriptions.take_back(kind, key));
            self.keep(Keep::TakenBack(id, kind, key.map(str::to_owned)));
        }
        let Some(open) = self.open.get_mut(&id) else { return };
        let mut meanwhile = None;
        if let Some((community, _)) = &subscribe.resume {
            meanwhile = open.resuming.remove(community.as_str()).flatten();
            if let Some(seq) = noted.replayed {
                open.session.replayed.insert(community.to_string(), seq);
            }
        }
        self.keep_session(id);
        // What an earlier replay brought already is not sent again.
        let had = noted.replayed.unwrap_or(0);
        for later in meanwhile.into_iter().flatten().filter(|later| later.seq() > had) {
            if let Later::Event(_, text) = later {
                self.send(id, text);
            }
        }
    }

    /// Sends a page of a replay, and returns the cursor of the next page. `None` at the end: the replay is complete,
    /// its socket is gone, or the client resumes the community itself (Q11).
    pub fn replayed(&mut self, replay: &mut Replay, page: Replayed) -> Option<i64> {
        let (events, through, last) = match page {
            Replayed::Page { events, through, last, .. } => (events, through, last),
            Replayed::Resync { oldest } => {
                self.caught_up(replay, Err(oldest));
                return None;
            }
        };
        replay.from.get_or_insert_with(|| u64::try_from(replay.cursor).unwrap_or(last));
        if !self.send_page(replay, &events, through) {
            return None;
        }
        replay.through = through;
        if through >= last {
            self.caught_up(replay, Ok(last));
            return None;
        }
        Some(i64::try_from(through).unwrap_or(-1))
    }

    /// Sends a page; `false` if nobody needs it any more.
    fn send_page(&mut self, replay: &mut Replay, events: &[Numbered], through: u64) -> bool {
        let Replay { session: id, community, how, readers, is_out, .. } = replay;
        let is_asked = *how == Catching::Asked;
        let Some(open) = self.open.get_mut(id) else { return false };
        let spelling = open.session.spelling;
        let newest = open.session.did.clone().filter(|_| spelling == Spelling::Newest);
        // The newest client reads everything again when all its replays are over (N165).
        open.is_behind |= spelling == Spelling::Newest && events.iter().any(|event| is_lost(&event.event));
        if !is_asked {
            let Some(restoring) = &mut open.session.restoring else { return false };
            if restoring.done.contains(community.as_str()) {
                return false;
            }
            restoring.owed.insert(community.to_string(), i64::try_from(through).unwrap_or(i64::MAX));
            self.keep_session(*id);
        }
        for event in events {
            let turn = newest.as_ref().and_then(|did| turn(community, event).filter(|(of, _)| of == did));
            if let Some((_, is_in)) = turn {
                if !is_in && !*is_out {
                    self.send_end(*id, community, event.seq);
                }
                *is_out = !is_in;
            }
            if *is_out {
                continue;
            }
            if is_lost(&event.event) || self.receives_replayed(*id, community, event, readers, is_asked) {
                let text = frame(&event.event, community, event.seq, false, spelling);
                text.into_iter().for_each(|text| self.send(*id, text));
            }
        }
        true
    }

    /// Ends a replay: sends `resumed` if the client asked for it, or `resync_required`, and then the events that
    /// arrived meanwhile.
    fn caught_up(&mut self, replay: &Replay, end: Result<u64, u64>) {
        let (id, community) = (replay.session, replay.community.as_str());
        let Some(open) = self.open.get_mut(&id) else { return };
        let mut texts = Vec::new();
        let pending = open.resuming.remove(community).flatten();
        let is_newest = open.session.is_newest();
        if is_newest && (end.is_err() || pending.is_none()) {
            open.is_behind = true; // it reads everything again when all its replays are over (N165)
            return;
        }
        if let Some(restoring) = &mut open.session.restoring {
            restoring.owed.remove(community);
            restoring.done.insert(community.to_owned());
        }
        let to = match (end, &pending) {
            (Ok(to), Some(_)) => {
                if let Some(from) = replay.from.filter(|_| replay.how == Catching::Asked && !is_newest) {
                    texts.push(Reply::Resumed { community_uri: community.to_owned(), from, to }.text());
                }
                to
            }
            (Ok(oldest) | Err(oldest), _) => {
                let community_uri = replay.community.clone();
                texts.push(Reply::ResyncRequired { community_uri, oldest }.text());
                replay.had() // what the pages brought comes no second time (A38)
            }
        };
        let mut is_out = replay.is_out;
        for later in pending.into_iter().flatten().filter(|later| later.seq() > to) {
            open.session.replayed.insert(community.to_owned(), later.seq());
            match later {
                Later::Turn(seq, is_in) => {
                    let is_end = !is_in && !is_out;
                    texts.extend(is_end.then(|| end_of(&replay.community, seq)).flatten());
                    is_out = !is_in;
                }
                Later::Event(_, text) if !is_out => texts.push(text),
                Later::Event(..) => {}
            }
        }
        let replayed = open.session.replayed.entry(community.to_owned()).or_insert(to);
        *replayed = to.max(*replayed);
        // Only positions ahead of the gateway's own are needed: earlier events do not arrive again.
        let communities = &self.communities;
        let is_ahead =
            |community: &String, seq: &u64| communities.get(community).is_some_and(|had| had < seq);
        open.session.replayed.retain(|community, seq| is_ahead(community, seq));
        self.keep_session(id);
        texts.into_iter().for_each(|text| self.send(id, text));
        if is_out {
            self.leave(id, &replay.community);
        }
    }
}
