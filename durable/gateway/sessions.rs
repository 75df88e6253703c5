//! What a gateway knows in memory: its open sockets, what they want, what names mean, who is
//! there.
//!
//! Rebuilt from the sockets' attachments and the object's database whenever the object wakes
//! (platform facts 2.2); every change is written there in the same step.

use std::collections::{BTreeMap, BTreeSet};

use worker::{State, WebSocket};

use super::actor::FRESH;
use crate::domain::actions::Actor;
use crate::domain::frame_budget::Budget;
use crate::domain::lost::{frame, is_lost};
use crate::domain::person::Person;
use crate::domain::presence::Periods;
use crate::domain::restore::{Course, Place, Trace};
use crate::domain::slow_sockets::SLOW_BYTES;
use crate::domain::subscriptions::{Candidate, Meanings, Subscriptions, hears, needs};
use crate::platform::object_sql::ObjectSql;
use crate::platform::socket_state::{self, Text};
use crate::storage::community_log::Numbered;
use crate::storage::gateway_people::{self, Saying};
use crate::storage::gateway_sessions::{self, Session};
use crate::storage::{Fault, Inner, Statement, rows};
use crate::wire::events::stamp_state;
use crate::wire::ids::{AtUri, Did};
use crate::wire::time::Micros;

/// Events kept for a socket while it catches up. More means it is too slow to catch up.
const PENDING_MAX: usize = 2_000;

/// Signs of life of a socket (P11).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Signs {
    /// Its last frame that reached the object, or up to a second later if the object slept since.
    pub(super) heard_at: Micros,
    /// The same, or earlier.
    pub(super) surely_at: Micros,
    /// The one that is stored.
    pub(super) stored_at: Micros,
    /// Whether a heartbeat did.
    pub(super) beats: bool,
}

/// A session and its socket.
pub(super) struct Open {
    pub(super) session: Session,
    /// What it listens to.
    pub(super) subscriptions: Subscriptions,
    pub(super) socket: WebSocket,
    /// Communities it is catching up with: what came meanwhile, to be sent after the replay.
    /// `None` once there was too much of it.
    pub(super) resuming: BTreeMap<String, Option<Vec<(u64, String)>>>,
    pub(super) budget: Budget,
    pub(super) signs: Signs,
}

impl Open {
    pub(super) fn new(session: Session, subscriptions: Subscriptions, socket: WebSocket) -> Self {
        let owed = session.restoring.iter().flat_map(|restoring| {
            let heard = restoring.parts.iter().flat_map(|part| part.heard.keys());
            restoring.owed.keys().chain(heard.filter(|community| !restoring.done.contains(*community)))
        });
        let resuming = owed.map(|community| (community.clone(), Some(Vec::new()))).collect();
        let opened_at = session.opened_at;
        let signs = Signs { heard_at: opened_at, surely_at: opened_at, ..Signs::default() };
        let budget = Budget::default();
        Self { session, subscriptions, socket, resuming, budget, signs }
    }
}

/// A session whose socket is gone.
pub(super) type Vanished = (i64, Session, Subscriptions);

/// See the module.
#[derive(Default)]
pub(super) struct Sessions {
    pub(super) open: BTreeMap<i64, Open>,
    pub(super) meanings: Meanings,
    /// Communities listened to, and the last `seq` had from each.
    pub(super) communities: BTreeMap<String, u64>,
    /// When they were had.
    pub(super) courses: BTreeMap<String, Course>,
    /// What the keys of all sessions cost in memory.
    pub(super) keys_cost: usize,
    /// Changes of people noted since they were last tidied.
    pub(super) changes: u32,
    /// People with presence or a voice channel, with the last activity that is stored.
    pub(super) persons: BTreeMap<Did, (Person, Micros)>,
    /// Those of whom something is to be read, stored or told.
    pub(super) unsettled: BTreeSet<Did>,
    /// Those who are to be taken out of a voice channel.
    pub(super) leaving: BTreeSet<Did>,
    /// Sessions that still have to get what their person missed.
    pub(super) restoring: BTreeSet<i64>,
    /// Events of records about people wait to be told.
    pub(super) held: bool,
    /// Something was said that somebody may not have heard.
    pub(super) said: bool,
    /// Some people's home is another gateway since `GATEWAY_SHARDS` changed.
    pub(super) strangers: bool,
    /// Communities whose observers hear about people.
    pub(super) observed: BTreeSet<String>,
    /// Rows that could not be read back when the memory was rebuilt.
    pub(super) unreadable: u32,
}

impl Sessions {
    /// Rebuilds the memory. Answers sessions whose socket is gone besides. `at` is now.
    pub(super) fn load(state: &State, sql: &ObjectSql, at: Micros) -> Result<(Self, Vec<Vanished>), Fault> {
        for schema in gateway_people::SCHEMA.iter().chain(gateway_sessions::SCHEMA) {
            sql.run(&Statement::new(schema, []))?;
        }
        let mut subscribed: BTreeMap<i64, Subscriptions> = BTreeMap::new();
        for (id, kind, key) in
            rows::<(i64, String, String)>(Some(&sql.run(&gateway_sessions::subscribed())?))?
        {
            let Some((kind, key)) = gateway_sessions::of_row(&kind, &key) else { continue };
            subscribed.entry(id).or_default().subscribe(kind, key, 0);
        }
        let mut sockets: BTreeMap<i64, WebSocket> = state
            .get_websockets()
            .into_iter()
            .filter_map(|socket| Some((socket.deserialize_attachment::<i64>().ok()??, socket)))
            .collect();
        let signs: BTreeMap<i64, (i64, bool)> =
            rows::<(i64, i64, bool)>(Some(&sql.run(&gateway_people::signs())?))?
                .into_iter()
                .map(|(id, at, beats)| (id, (at, beats)))
                .collect();
        let mut loaded = Self { held: true, said: true, ..Self::default() };
        let mut vanished = Vec::new();
        for (id, session) in rows::<(i64, Inner<Session>)>(Some(&sql.run(&gateway_sessions::sessions())?))? {
            let Some(session) = session.0 else {
                // Nobody knows any more what its socket wants to hear: the client comes again.
                loaded.unreadable += 1;
                sql.run_all(&gateway_sessions::close(id))?;
                if let Some(socket) = sockets.remove(&id) {
                    socket_state::close(&socket, 1012, "restart");
                }
                continue;
            };
            let subscriptions = subscribed.remove(&id).unwrap_or_default();
            let Some(socket) = sockets.remove(&id) else {
                vanished.push((id, session, subscriptions));
                continue;
            };
            if session.restoring.is_some() || session.silent.is_some() {
                loaded.restoring.insert(id);
            }
            loaded.keys_cost += subscriptions.cost();
            let mut open = Open::new(session, subscriptions, socket);
            if let Some((at, beats)) = signs.get(&id) {
                // A later sign may have come within the time that is not stored.
                let stored_at = Micros(*at);
                open.signs =
                    Signs { heard_at: Micros(at + FRESH), surely_at: stored_at, stored_at, beats: *beats };
            }
            loaded.open.insert(id, open);
        }
        let known: Vec<Candidate> = rows(Some(&sql.run(&gateway_sessions::channels())?))?;
        loaded.meanings.set(&[], known);
        loaded.communities =
            rows::<(String, u64)>(Some(&sql.run(&gateway_sessions::communities())?))?.into_iter().collect();
        for (community, had) in &loaded.communities {
            loaded.courses.entry(community.clone()).or_default().note(at, *had);
        }
        for (did, person) in rows::<(Did, Inner<Person>)>(Some(&sql.run(&gateway_people::persons())?))? {
            let Some(mut person) = person.0 else {
                // Whoever has a socket here is noticed at their next frame.
                loaded.unreadable += 1;
                sql.run(&gateway_people::forget(&did))?;
                continue;
            };
            let stored = person.presence.last_activity();
            person.presence = person.presence.at_activity(Micros(stored.0 + FRESH));
            loaded.persons.insert(did.clone(), (person, stored));
            loaded.mark(&did);
        }
        loaded.observed = rows::<String>(Some(&sql.run(&gateway_people::observed())?))?.into_iter().collect();
        Ok((loaded, vanished))
    }

    /// Notes what is to be done about a person.
    pub(super) fn mark(&mut self, did: &Did) {
        let person = self.persons.get(did).map(|(person, _)| person);
        let marks = [
            (&mut self.unsettled, person.is_some_and(Person::is_unsettled)),
            (&mut self.leaving, person.is_some_and(|person| person.seat.leaving().is_some())),
        ];
        for (set, belongs) in marks {
            if belongs {
                set.insert(did.clone());
            } else {
                set.remove(did);
            }
        }
    }

    /// Whether nobody is here and nothing is to be done.
    pub(super) fn is_idle(&self) -> bool {
        self.open.is_empty() && self.persons.is_empty()
    }

    /// People for whom the time has come.
    pub(super) fn due(&self, now: Micros, periods: &Periods) -> Vec<Did> {
        let is_due = |person: &Person| person.deadline(periods).is_some_and(|at| at <= now);
        self.persons.iter().filter(|(_, (person, _))| is_due(person)).map(|(did, _)| did.clone()).collect()
    }

    /// When something is due for somebody.
    pub(super) fn deadlines(&self, periods: &Periods) -> Option<Micros> {
        self.persons.values().filter_map(|(person, _)| person.deadline(periods)).min()
    }

    /// For whom a socket acts now: for nobody while the account is not active (P13).
    pub(super) fn actor(&self, id: i64) -> Actor {
        let Some(open) = self.open.get(&id) else { return Actor::Nobody };
        match &open.session.did {
            Some(did) if self.persons.get(did).is_none_or(|(person, _)| person.presence.is_active()) => {
                if open.session.present {
                    Actor::Present(did.clone())
                } else {
                    Actor::Person(did.clone())
                }
            }
            None if open.session.unproven => Actor::Unproven,
            _ => Actor::Nobody,
        }
    }

    /// Whether an open socket of a person proved who they are.
    pub(super) fn is_proven(&self, did: &Did) -> bool {
        let sockets = self.persons.get(did).into_iter().flat_map(|(person, _)| person.presence.sockets());
        sockets.filter_map(|id| self.open.get(id)).any(|open| open.session.proven)
    }

    /// The channel names some session listens to.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.open.values().flat_map(|open| open.subscriptions.message.keys.iter().cloned()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Whether some session needs a community.
    pub(super) fn need(&self, community: &str) -> bool {
        self.open.values().any(|open| needs(&open.subscriptions, community, &self.meanings))
    }

    /// Sends an event to every session that hears it and has not had it in a replay.
    pub(super) fn send(&mut self, community: &str, event: &Numbered) {
        let Ok(uri) = AtUri::parse(community) else { return };
        let lost = is_lost(&event.event);
        let mut text: Option<(String, Text)> = None;
        for open in self.open.values_mut() {
            let session = &open.session;
            // An event that was set aside goes to everybody who hears its community: its audience is lost (Q21).
            let hears = if lost {
                needs(&open.subscriptions, community, &self.meanings)
            } else {
                hears(&open.subscriptions, session.did.as_ref(), &event.audience, community, &self.meanings)
            };
            if !hears || session.replayed.get(community).is_some_and(|seq| event.seq <= *seq) {
                continue;
            }
            let (text, for_many) = text.get_or_insert_with(|| {
                let text = frame(&event.event, &uri, event.seq, event.live);
                let for_many = Text::new(&text);
                (text, for_many)
            });
            match open.resuming.get_mut(community) {
                None => for_many.send(&open.socket),
                Some(Some(pending)) if pending.len() < PENDING_MAX => pending.push((event.seq, text.clone())),
                Some(pending) => *pending = None,
            }
        }
    }

    /// Sessions that hear something of a community and have not taken what was sent to them, with
    /// the number of bytes.
    pub(super) fn slow(&self, community: &str) -> Vec<(i64, u32)> {
        self.slow_of(|subscriptions| needs(subscriptions, community, &self.meanings))
    }

    /// Sessions that watch one of the people concerned, and do not take what is sent to them.
    pub(super) fn slow_watchers(&self, sayings: &[Saying]) -> Vec<(i64, u32)> {
        self.slow_of(|subscriptions| {
            let watches = |one: &Saying| subscriptions.watches(&one.did, &one.communities);
            sayings.iter().any(watches)
        })
    }

    fn slow_of(&self, hears: impl Fn(&Subscriptions) -> bool) -> Vec<(i64, u32)> {
        let unsent = |open: &Open| socket_state::unsent(&open.socket);
        let slow = self.open.iter().map(|(id, open)| (*id, unsent(open), open));
        let slow = slow.filter(|(_, unsent, open)| *unsent > SLOW_BYTES && hears(&open.subscriptions));
        slow.map(|(id, unsent, _)| (id, unsent)).collect()
    }

    /// The communities that somebody with these subscriptions hears something of, of those
    /// listened to, each with the last `seq` that the gateway had.
    pub(super) fn heard_by<'s>(
        &'s self,
        subscriptions: &'s Subscriptions,
    ) -> impl Iterator<Item = (&'s String, u64)> {
        self.communities
            .iter()
            .filter(|(community, _)| needs(subscriptions, community, &self.meanings))
            .map(|(community, seq)| (community, *seq))
    }

    /// Sends an event about a person to every session that watches them.
    pub(super) fn send_state(&self, saying: &Saying) {
        let text = Text::new(&stamp_state(saying.event.get(), saying.live));
        for open in self.open.values() {
            if open.subscriptions.watches(&saying.did, &saying.communities) {
                text.send(&open.socket);
            }
        }
    }

    /// Whether the session `id` hears an event of a replay. Of what was restored: if one of those
    /// whose subscriptions it was given missed it, and the client has not taken the key into its
    /// own hands (Q11).
    pub(super) fn hears_replayed(&self, id: i64, community: &AtUri, event: &Numbered, asked: bool) -> bool {
        let Some(open) = self.open.get(&id) else { return false };
        let did = open.session.did.as_ref();
        let hears = |subscriptions: &Subscriptions| {
            hears(subscriptions, did, &event.audience, community.as_str(), &self.meanings)
        };
        if asked {
            return hears(&open.subscriptions);
        }
        let mut parts = open.session.restoring.iter().flat_map(|restoring| &restoring.parts);
        parts.any(|part| part.missed(community.as_str(), event.seq) && hears(&part.subscriptions))
    }

    /// What the keys of all other sessions cost.
    pub(super) fn others_cost(&self, id: i64) -> usize {
        let own = self.open.get(&id).map_or(0, |open| open.subscriptions.cost());
        self.keys_cost.saturating_sub(own)
    }

    /// Changes what a session listens to, and keeps count.
    pub(super) fn resubscribe<T>(
        &mut self,
        id: i64,
        change: impl FnOnce(&mut Open, usize) -> T,
    ) -> Option<T> {
        let others = self.others_cost(id);
        let open = self.open.get_mut(&id)?;
        let changed = change(open, others);
        self.keys_cost = others + open.subscriptions.cost();
        Some(changed)
    }

    /// What a session has, for those who come after it: how far it was by its last sign of life,
    /// or in everything that was sent to it if that was `taken`.
    pub(super) fn trace(&self, id: i64, alive_at: Micros, taken: bool) -> Option<Trace> {
        let open = self.open.get(&id)?;
        let mut heard: BTreeMap<String, Place> = self
            .heard_by(&open.subscriptions)
            .map(|(community, seq)| {
                let place = match self.courses.get(community) {
                    _ if taken => Place::Seq(i64::try_from(seq).unwrap_or(LOST)),
                    Some(course) => course.place(alive_at),
                    None => Place::Since { since: alive_at },
                };
                (community.clone(), place)
            })
            .collect();
        // A replay that the client asked for and has not got: it must read anew.
        heard.extend(open.resuming.keys().map(|community| (community.clone(), Place::Seq(LOST))));
        // What it had not got itself of what others had is still owed.
        if let Some(restoring) = &open.session.restoring {
            // Of several places the earliest counts.
            let mut parts: Vec<_> = restoring.parts.iter().collect();
            parts.sort_by_key(|part| std::cmp::Reverse(part.since));
            let parts = parts.into_iter().flat_map(|part| &part.heard);
            let parts = parts.filter(|(community, _)| !restoring.done.contains(*community));
            heard.extend(parts.map(|(community, place)| (community.clone(), *place)));
            heard.extend(restoring.owed.iter().map(|(community, seq)| (community.clone(), Place::Seq(*seq))));
        }
        Some(trace_of(id, &open.session, open.subscriptions.clone(), alive_at, heard))
    }
}

/// A place in a log that no log has: a client that comes back with it must read anew (Q05).
pub(super) const LOST: i64 = i64::MAX;

/// What a session has.
pub(super) fn trace_of(
    id: i64,
    session: &Session,
    subscriptions: Subscriptions,
    alive_at: Micros,
    heard: BTreeMap<String, Place>,
) -> Trace {
    Trace {
        id,
        opened_at: session.opened_at,
        closed_at: None,
        alive_at,
        origin: session.origin.clone(),
        proven: session.proven,
        secret: session.secret.clone(),
        copied: session.copied.clone(),
        subscriptions,
        heard,
    }
}
