//! Rebuilds a gateway's memory from its stored state, and catches up on what happened meanwhile (P04, P10, V11).

use std::collections::{BTreeMap, BTreeSet};

use super::session::{Open, Session, Signs};
use super::{Effect, FRESH, Gateway, Keep, Moment, PULSES, Present, Settings};
use crate::domain::person::Person;
use crate::domain::presence::Input as Happened;
use crate::domain::restore::Course;
use crate::domain::subscriptions::{Candidate, Kind, Subscriptions};
use crate::wire::ids::Did;
use crate::wire::time::Micros;

/// The stored state, as it was read back. What cannot be read is `None`.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    /// Sessions by number.
    pub sessions: Vec<(i64, Option<Session>)>,
    /// What they listen to.
    pub subscribed: Vec<(i64, Kind, Option<String>)>,
    /// The last sign of life of each, and whether it sends heartbeats.
    pub signs: Vec<(i64, Micros, bool)>,
    /// What names mean.
    pub channels: Vec<Candidate>,
    /// How far the gateway is in each community.
    pub communities: Vec<(String, u64)>,
    /// Who is here.
    pub persons: Vec<(Did, Option<Person>)>,
    /// Communities with observers.
    pub observed: Vec<String>,
    /// The last row of the outbox with events of records about people.
    pub records: i64,
    /// The run of the runtime that the object last saw.
    pub run: Option<String>,
}

impl Stored {
    /// The highest number of a session. Numbers are assigned above it even when that session has ended, so
    /// that late work for its socket does not reach another one.
    pub fn last_number(&self) -> i64 {
        self.sessions.iter().map(|(id, _)| *id).max().unwrap_or(0)
    }
}

/// A session whose socket is gone.
type Vanished = (i64, Session, Subscriptions);

impl Gateway {
    /// Rebuilds a gateway, and makes up for what happened while it was not in memory: `sockets` are those
    /// that are still there; the others have closed now (P10, V11). If the runtime was started anew, what
    /// R20 set without a socket ends (P04).
    pub fn wake(
        settings: Settings,
        stored: Stored,
        sockets: &BTreeSet<i64>,
        run: &str,
        moment: &Moment<'_>,
    ) -> (Self, Vec<Effect>) {
        let mut gateway = Self::new(settings);
        let is_new_run = stored.run.as_deref() != Some(run);
        let vanished = gateway.load(stored, sockets, moment.now);
        for (id, session, subscriptions) in vanished {
            // How long their connections had been dead is unknown; most were alive until the end.
            let did = session.did.clone();
            gateway.open.insert(id, Open::new(session, subscriptions));
            let trace = gateway.trace(id, moment.now, true);
            gateway.open.remove(&id);
            gateway.end(id, trace, did, moment.now);
        }
        gateway.close_what_no_session_has(moment.now);
        let since = gateway.kept_since(moment.now);
        gateway.keep(Keep::TidyTraces(since));
        gateway.keep(Keep::TidyChanges(since));
        if is_new_run {
            gateway.keep(Keep::Run(run.to_owned()));
            let everybody: Vec<Did> = gateway.persons.keys().cloned().collect();
            for did in everybody {
                gateway.person(&did, Happened::Restarted, moment.now);
            }
        }
        gateway.strangers = !gateway.strangers().is_empty();
        gateway.plan(moment);
        let effects = gateway.take_effects();
        (gateway, effects)
    }

    /// Everybody with presence has an open socket (P04), whatever part of the stored state was lost.
    fn close_what_no_session_has(&mut self, now: Micros) {
        let sockets = |present: &Present| present.person.presence.sockets().clone();
        let all: Vec<(Did, BTreeSet<i64>)> =
            self.persons.iter().map(|(did, present)| (did.clone(), sockets(present))).collect();
        for (did, sockets) in all {
            for id in sockets.into_iter().filter(|id| !self.open.contains_key(id)).collect::<Vec<_>>() {
                self.person(&did, Happened::Closed(id), now);
            }
        }
    }

    fn load(&mut self, stored: Stored, sockets: &BTreeSet<i64>, now: Micros) -> Vec<Vanished> {
        let mut unreadable = 0;
        let mut subscribed: BTreeMap<i64, Subscriptions> = BTreeMap::new();
        for (id, kind, key) in stored.subscribed {
            subscribed.entry(id).or_default().subscribe(kind, key.as_deref(), 0);
        }
        let signs: BTreeMap<i64, (Micros, bool)> =
            stored.signs.into_iter().map(|(id, at, beats)| (id, (at, beats))).collect();
        let mut vanished = Vec::new();
        for (id, session) in stored.sessions {
            let Some(session) = session else {
                // The subscriptions of its socket are lost, so the socket is closed and the client reconnects.
                unreadable += 1;
                self.keep(Keep::Ended(id));
                if sockets.contains(&id) {
                    self.effects.push(Effect::Close { socket: id, code: 1012, reason: "restart" });
                }
                continue;
            };
            let subscriptions = subscribed.remove(&id).unwrap_or_default();
            if !sockets.contains(&id) {
                vanished.push((id, session, subscriptions));
                continue;
            }
            if session.restoring.is_some() || session.silent.is_some() {
                self.restoring.insert(id);
            }
            self.keys_cost += subscriptions.cost();
            let mut open = Open::new(session, subscriptions);
            open.following = None;
            if let Some((at, beats)) = signs.get(&id).copied() {
                // A later sign may have come within the time that is not stored.
                let alive_at = Micros(at.0.saturating_add(FRESH));
                open.signs = Signs { alive_at, surely_at: at, stored_at: at, beats };
            }
            if open.session.is_newest() {
                open.signs.alive_at = now; // its signs are not stored (N163)
            }
            self.open.insert(id, open);
        }
        self.meanings.set(&[], stored.channels);
        self.communities = stored.communities.into_iter().collect();
        for (community, had) in &self.communities {
            let course: &mut Course = self.courses.entry(community.clone()).or_default();
            course.note(now, *had);
        }
        let newest = self.open.values().filter(|open| open.session.is_newest());
        let newest: BTreeSet<Did> = newest.filter_map(|open| open.session.did.clone()).collect();
        for (did, person) in stored.persons {
            let Some(mut person) = person else {
                // A person with a socket here is noticed at their next frame.
                unreadable += 1;
                self.keep(Keep::PersonOver(did));
                continue;
            };
            let stored_at = person.presence.last_activity();
            let active_at = match newest.contains(&did) {
                true => Micros(stored_at.0.saturating_add(PULSES)).min(now).max(stored_at),
                false => Micros(stored_at.0.saturating_add(FRESH)),
            };
            person.presence = person.presence.at_activity(active_at);
            self.persons.insert(did.clone(), Present { person, stored_at });
            self.mark(&did);
        }
        self.observed = stored.observed.into_iter().collect();
        self.records = stored.records;
        if unreadable > 0 {
            self.effects.push(Effect::Unreadable(unreadable));
        }
        vanished
    }

    /// People of this gateway whose home is another one since `GATEWAY_SHARDS` changed, by that home. A
    /// person with a socket here is served here until it closes.
    pub fn strangers(&self) -> BTreeMap<String, Vec<Did>> {
        let mut homes: BTreeMap<String, Vec<Did>> = BTreeMap::new();
        for (did, present) in &self.persons {
            let home = (self.settings.home_of)(did, self.settings.shards);
            if home != self.settings.name && present.person.presence.sockets().is_empty() {
                homes.entry(home).or_default().push(did.clone());
            }
        }
        homes
    }
}
