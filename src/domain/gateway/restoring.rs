//! Restores: a session that does not subscribe gets the subscriptions of its person's other sockets, and the events
//! that those missed (Q10–Q15). The object asks the logs and the database. This file decides what to ask, which
//! answers count, and what the session gets.

use std::collections::{BTreeMap, BTreeSet};

use super::session::{Restoring, Sent};
use super::settling::Known;
use super::traces::LOST;
use super::{Gateway, Keep, Moment};
use crate::domain::restore::{Declined, Newcomer, Part, Place, Trace, sources};
use crate::domain::subscriptions::{BYTES_MAX, Subscriptions, needs};
use crate::wire::bodies::Person;
use crate::wire::events::Event;
use crate::wire::ids::{AtUri, Did};
use crate::wire::time::Micros;

/// When a person last changed, as far as the gateway knows (Q13).
#[derive(Clone, Debug)]
pub struct Change {
    /// Who.
    pub did: Did,
    /// When their status last changed.
    pub status_at: Micros,
    /// When their profile last changed.
    pub profile_at: Micros,
    /// The communities through which others watched them at that time.
    pub communities: Vec<AtUri>,
}

/// What a session missed of a person (Q13).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missed {
    /// Who.
    pub did: Did,
    /// Their status.
    pub status: bool,
    /// Their profile.
    pub profile: bool,
}

impl Missed {
    /// The events to send, with the current values.
    pub fn events(&self, now: &Person) -> Vec<Event> {
        let status = self.status.then(|| Event::status_of(&self.did, now.clone()));
        let profile = self.profile.then(|| Event::profile_of(&self.did, now.clone()));
        [status, profile].into_iter().flatten().collect()
    }
}

/// A community, a moment, and the last `seq` before it: `None` if the log does not reach back so far.
pub type Located = (AtUri, Micros, Option<u64>);

impl Gateway {
    /// The sessions to restore. Returns each one once.
    pub fn take_restoring(&mut self) -> BTreeSet<i64> {
        std::mem::take(&mut self.restoring)
    }

    /// The person of a session that has sent nothing so far: the traces of their closed sockets are needed (Q10).
    pub fn waits_for_traces(&self, id: i64) -> Option<&Did> {
        let session = &self.open.get(&id)?.session;
        session.silent.as_ref()?;
        session.did.as_ref()
    }

    /// Gives a session that has sent nothing so far the subscriptions of its person's other sockets: the open ones,
    /// and those of the traces in `closed` (Q10).
    pub fn inherit(&mut self, id: i64, closed: Vec<Trace>, moment: &Moment<'_>) {
        let Some(open) = self.open.get_mut(&id) else { return };
        let Some(declined) = open.session.silent.take() else { return };
        let session = &open.session;
        let new = Newcomer {
            origin: session.origin.clone(),
            proven: session.proven,
            secret: session.secret.clone(),
        };
        let Some(did) = session.did.clone() else { return };
        let mut others = self.open_traces(&did, id, moment);
        others.extend(closed);
        let (parts, copied) = copies(&sources(&new, &others, moment.now, self.settings.restore), &declined);
        self.resubscribe(id, |open, others| {
            for part in &parts {
                open.subscriptions.unite(&part.subscriptions, others);
            }
        });
        let Some(open) = self.open.get_mut(&id) else { return };
        if !parts.is_empty() {
            // Communities that the gateway attached to since then, for other sessions: all of their events were missed.
            let unknown = self.communities.keys().filter(|community| {
                needs(&open.subscriptions, community, &self.meanings)
                    && !parts.iter().any(|part| part.positions.contains_key(*community))
            });
            let unknown: Vec<String> = unknown.cloned().collect();
            let mut restoring = Restoring { parts, ..Restoring::default() };
            unknown.iter().for_each(|community| restoring.owe_all(community));
            for community in restoring.parts.iter().flat_map(|part| part.positions.keys()) {
                // From now on live events wait until the replay is over.
                open.resuming.entry(community.clone()).or_insert_with(|| Some(Vec::new()));
            }
            open.session.restoring = Some(restoring);
            open.session.copied = copied;
            let subscriptions = Box::new(open.subscriptions.clone());
            self.keep(Keep::Inherited(id, subscriptions));
        }
        self.keep_session(id);
    }

    /// The state of the other open sockets of a person.
    fn open_traces(&self, did: &Did, id: i64, moment: &Moment<'_>) -> Vec<Trace> {
        let present = self.persons.get(did).into_iter();
        let open =
            present.flat_map(|present| present.person.presence.sockets()).filter(|other| **other != id);
        open.filter_map(|other| self.trace(*other, self.last_sign(*other, moment)?, false)).collect()
    }

    /// The subscriptions of a session that is being restored; `None` if there is nothing to restore.
    pub fn restores(&self, id: i64) -> Option<&Subscriptions> {
        let open = self.open.get(&id)?;
        open.session.restoring.as_ref().map(|_| &open.subscriptions)
    }

    /// Owes a restored session the whole log of each community in `wants` that is new: the gateway is not attached
    /// to it, and none of the former sockets has a position in it. The session already receives every event of a
    /// community that the gateway attached to since the socket opened.
    pub fn owe_new_ones(&mut self, id: i64, wants: &[AtUri]) {
        let Some(open) = self.open.get_mut(&id) else { return };
        let Some(restoring) = &mut open.session.restoring else { return };
        let mut is_changed = false;
        for community in wants.iter().map(AtUri::as_str) {
            let is_known = restoring.parts.iter().any(|part| part.positions.contains_key(community));
            let is_new =
                !is_known && !restoring.done.contains(community) && !self.communities.contains_key(community);
            if is_new && !restoring.owed.contains_key(community) {
                restoring.owe_all(community);
                open.resuming.entry(community.to_owned()).or_insert_with(|| Some(Vec::new()));
                is_changed = true;
            }
        }
        if is_changed {
            self.keep_session(id);
        }
    }

    /// The positions of which only a moment is known: the object asks the logs for each `seq`. Leaves out communities
    /// that the gateway is not attached to, because they are gone.
    pub fn unlocated(&self, id: i64) -> BTreeSet<(AtUri, Micros)> {
        let restoring = self.open.get(&id).and_then(|open| open.session.restoring.as_ref());
        let positions = restoring.into_iter().flat_map(|one| &one.parts).flat_map(|part| &part.positions);
        let unknown = positions.filter_map(|(community, place)| match place {
            Place::Since { since } => Some((AtUri::parse(community).ok()?, *since)),
            Place::Seq(_) => None,
        });
        unknown.filter(|(community, _)| self.listens_to(community.as_str())).collect()
    }

    /// The logs answered for the positions of which only a moment was known; a log that was not asked is empty. Owes
    /// each community from the earliest of its positions on.
    pub fn located(&mut self, id: i64, found: &[Located]) {
        let open = self.open.get_mut(&id);
        let Some(restoring) = open.and_then(|open| open.session.restoring.as_mut()) else { return };
        let cursor = |name: &str, since: Micros| {
            let asked = found.iter().find(|(community, at, _)| community.as_str() == name && *at == since);
            // Q12: events from before the beginning of the log are lost.
            asked.map_or(0, |(_, _, seq)| seq.map_or(LOST, |seq| i64::try_from(seq).unwrap_or(LOST)))
        };
        let Restoring { parts, owed, done } = restoring;
        let mut earliest: BTreeMap<String, i64> = BTreeMap::new();
        for (community, place) in parts.iter_mut().flat_map(|part| &mut part.positions) {
            if let Place::Since { since } = *place {
                *place = Place::Seq(cursor(community, since));
            }
            // A part of what is owed already may have been sent: it does not start again.
            if let Place::Seq(seq) = *place
                && !done.contains(community)
                && !owed.contains_key(community)
            {
                let least = earliest.entry(community.clone()).or_insert(seq);
                *least = seq.min(*least);
            }
        }
        owed.extend(earliest);
        self.keep_session(id);
    }

    /// The next community to replay to a session, and the cursor.
    pub fn next_owed(&self, id: i64) -> Option<(AtUri, i64)> {
        let restoring = self.open.get(&id)?.session.restoring.as_ref()?;
        let mut owed = restoring.owed.iter();
        owed.find_map(|(community, cursor)| Some((AtUri::parse(community).ok()?, *cursor)))
    }

    /// Since when the session may have missed changes of people.
    pub fn missed_since(&self, id: i64) -> Option<Micros> {
        let restoring = self.open.get(&id)?.session.restoring.as_ref()?;
        restoring.since()
    }

    /// What a session missed of the people in `changes`: those whom it watches through a restored subscription, and
    /// who changed after the former socket's last sign of life (Q13). Communities that are for members only by now
    /// count for nobody ([`still_open`]).
    pub fn missed_people(&self, id: i64, changes: &[Change]) -> Vec<Missed> {
        let restoring = self.open.get(&id).and_then(|open| open.session.restoring.as_ref());
        let Some(restoring) = restoring else { return Vec::new() };
        let missed = changes.iter().filter_map(|change| {
            let parts = restoring.parts.iter();
            let watching = parts.filter(|part| part.subscriptions.watches(&change.did, &change.communities));
            let since = watching.map(|part| part.since).min()?;
            let (status, profile) = (change.status_at >= since, change.profile_at >= since);
            (status || profile).then(|| Missed { did: change.did.clone(), status, profile })
        });
        missed.collect()
    }

    /// A restore is over: everything that was missed is sent.
    pub fn restored(&mut self, id: i64, now: Micros) {
        let Some(open) = self.open.get_mut(&id) else { return };
        let restoring = open.session.restoring.take();
        open.session.sent = restoring.map(|restoring| Sent {
            at: now,
            positions: restoring.positions(),
            since: restoring.since(),
        });
        self.keep_session(id);
    }
}

/// These changes, without the communities that are for members only by now (X43).
pub fn still_open(mut changes: Vec<Change>, known: &[Known]) -> Vec<Change> {
    let closed: BTreeMap<&Did, &[AtUri]> =
        known.iter().map(|known| (&known.did, known.closed.as_slice())).collect();
    for change in &mut changes {
        let closed = closed.get(&change.did).copied().unwrap_or_default();
        change.communities.retain(|community| !closed.contains(community));
    }
    changes
}

/// What a new socket gets from `sources`, without what its client has `declined`, and the ids of these sources. The
/// most recent come first; those over the limit for subscriptions are left out.
fn copies(sources: &[&Trace], declined: &Declined) -> (Vec<Part>, BTreeSet<i64>) {
    let (mut parts, mut copied, mut cost) = (Vec::new(), BTreeSet::new(), 0);
    for source in sources {
        let mut subscriptions = source.subscriptions.clone();
        declined.apply(&mut subscriptions);
        cost += subscriptions.cost();
        if cost > BYTES_MAX {
            break;
        }
        copied.insert(source.id);
        parts.push(Part { since: source.lacks_since(), subscriptions, positions: source.positions.clone() });
    }
    (parts, copied)
}
