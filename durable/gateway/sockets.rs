//! Who is there: sockets come and go, fall silent, or are found dead (contract sections 5, 6).
//!
//! Decisions are `domain::person`'s and `domain::lease`'s; here their inputs are made and their
//! state is kept. A socket that closed leaves behind what it had, for the next one of its person
//! (Q10, `restore`).

use std::collections::BTreeMap;
use std::time::Duration;

use worker::{Delay, Response, WebSocketPair};

use super::actor::{Desk, FRESH, Outcome};
use super::sessions::{LOST, Open, Sessions, trace_of};
use crate::domain::announcement::{Audience, Topic};
use crate::domain::lease::{self, Life};
use crate::domain::lost::is_lost;
use crate::domain::person::Person;
use crate::domain::presence::Input;
use crate::domain::restore::{Declined, Origin, PROMPT, Place, Trace};
use crate::domain::signaling::hall;
use crate::domain::slow_sockets::FULL_BYTES;
use crate::domain::subscriptions::Subscriptions;
use crate::durable::gateway::commands::{Adopt, Deliver, Watch};
use crate::durable::replies::{Announced, Delivered, Done};
use crate::platform::clock::{now, run};
use crate::platform::objects::{full, gateway_of};
use crate::platform::socket_state::send;
use crate::platform::{incidents, log, socket_state};
use crate::storage::gateway_people;
use crate::storage::gateway_sessions::{self, Session};
use crate::storage::incidents::Incident;
use crate::storage::{Fault, rows};
use crate::wire::ids::{AtUri, Did};
use crate::wire::socket::Reply;
use crate::wire::time::Micros;

/// How often, and how many times, full sockets are looked at again before a delivery: a second
/// in all.
const ROOM_MS: u64 = 50;
const ROOM_TRIES: u32 = 20;

/// Who opens a socket.
#[derive(Default)]
pub(super) struct Caller {
    pub(super) did: Option<Did>,
    /// It names a person who was not proven (X05).
    pub(super) unproven: bool,
    /// Its person was proven (X06).
    pub(super) proven: bool,
    /// Its person is believed for presence only (X13).
    pub(super) present: bool,
    pub(super) origin: Origin,
    /// The secret it shows (Q15).
    pub(super) secret: Option<String>,
}

/// How a socket went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gone {
    /// Its client closed it.
    Closed,
    /// Its line broke: the runtime noticed.
    Broke,
    /// Its lease ran out (P11).
    Silent,
    /// It did not take what was sent to it, and was told so (Q20).
    Slow,
}

impl Desk {
    /// Rebuilds the memory, and makes up for what happened while the object was not there: sockets
    /// that are gone have closed now (P10, V11), and if the runtime was started anew, what R20 set
    /// without a socket ends (P04).
    pub(super) fn awake(&self) -> Outcome<Sessions> {
        let (mut sessions, vanished) = Sessions::load(&self.state, &self.sql, now())?;
        for (id, session, subscriptions) in vanished {
            // Nobody can say how long their lines had been dead. Most were not.
            let heard = sessions.heard_by(&subscriptions);
            let heard = heard
                .map(|(community, seq)| (community.clone(), Place::Seq(i64::try_from(seq).unwrap_or(LOST))))
                .collect();
            let trace = trace_of(id, &session, subscriptions, now(), heard);
            self.end(&mut sessions, trace, session.did)?;
        }
        self.tidy_traces()?;
        self.sql.run_all(&gateway_people::forget_changes(self.kept_since()))?;
        let (before, this) = (self.sql.run(&gateway_people::run())?, run());
        if before.first() != Some(&this) {
            self.sql.run(&gateway_people::runs(&this))?;
            let everybody: Vec<Did> = sessions.persons.keys().cloned().collect();
            for did in everybody {
                self.person(&mut sessions, &did, Input::Restarted)?;
            }
        }
        sessions.strangers = !self.strangers(&sessions, &self.name()?).is_empty();
        let unreadable = std::mem::take(&mut sessions.unreadable);
        incidents::note(&self.env, Incident::Session, unreadable, &self.name()?);
        self.plan(&sessions);
        Ok(sessions)
    }

    /// Something happened to a person.
    pub(super) fn person(&self, sessions: &mut Sessions, did: &Did, input: Input) -> Outcome<()> {
        self.change(sessions, did, |person, at, desk| person.on(input, at, &desk.settings.periods))
    }

    /// Changes a person, and keeps what is to be kept: nothing once it is over, and of activity
    /// that changes nothing else only every second one.
    pub(super) fn change(
        &self,
        sessions: &mut Sessions,
        did: &Did,
        change: impl FnOnce(&mut Person, Micros, &Self),
    ) -> Outcome<()> {
        let is_new = !sessions.persons.contains_key(did);
        let (person, stored) = sessions.persons.entry(did.clone()).or_default();
        let before = person.clone();
        change(person, now(), self);
        let active_at = person.presence.last_activity();
        let mut as_before = before;
        as_before.presence = as_before.presence.at_activity(active_at);
        let same = as_before == *person;
        if person.is_over() {
            self.sql.run(&gateway_people::forget(did))?;
            sessions.persons.remove(did);
        } else {
            if is_new || !same || active_at.0.saturating_sub(stored.0) >= FRESH {
                *stored = active_at;
                self.sql.run(&gateway_people::keep(did, person))?;
            }
            if let Some(at) = person.deadline(&self.settings.periods) {
                self.wake_at(at);
            }
        }
        sessions.mark(did);
        Ok(())
    }

    /// Takes in a socket. The session is stored before the socket exists to the client.
    pub(super) fn take_in(&self, caller: Caller) -> worker::Result<Response> {
        // What cannot be counted is told below.
        if self.with(|sessions| Ok(hall::is_full(sessions.open.len()))).is_ok_and(|is_full| is_full) {
            return full();
        }
        let pair = WebSocketPair::new()?;
        let accepted = self.with(|sessions| {
            let did = caller.did.clone();
            let others = match &did {
                Some(did) => self.has_others(sessions, did)?,
                None => false,
            };
            let session = Session {
                did: caller.did,
                unproven: caller.unproven,
                proven: caller.proven,
                present: caller.present,
                opened_at: now(),
                origin: caller.origin,
                secret: caller.secret,
                // With nobody to go on from, it need not be waited for.
                silent: others.then(Declined::default),
                ..Session::default()
            };
            let answer = self.sql.run(&gateway_sessions::open(&session))?;
            let id = answer
                .first()
                .and_then(|text| text.parse::<i64>().ok())
                .ok_or_else(|| Fault::new("opening a session", "it got no number"))?;
            self.state.accept_web_socket(&pair.server);
            pair.server.serialize_attachment(id).map_err(|error| Fault::new("opening a session", error))?;
            if others {
                sessions.restoring.insert(id);
            }
            let open = Open::new(session, Subscriptions::default(), pair.server.clone());
            sessions.open.insert(id, open);
            match &did {
                Some(did) => {
                    // Its heartbeats wake nobody: somebody has to look (P11).
                    self.wake_at(Micros(now().0.saturating_add(lease::round(self.settings.lease))));
                    self.person(sessions, did, Input::Opened(id))
                }
                None => Ok(()),
            }
        });
        match accepted {
            Ok(()) => Response::from_websocket(pair.client),
            Err(fault) => {
                log::fault(&fault, "the client is told to come back");
                Response::error("temporary failure", 503)
            }
        }
    }

    /// A socket is gone.
    pub(super) fn depart(&self, sessions: &mut Sessions, id: i64, how: Gone) -> Outcome<()> {
        let Some(open) = sessions.open.get(&id) else { return Ok(()) };
        let alive_at = self.alive_at(open);
        let taken = match how {
            Gone::Closed => true,
            Gone::Broke => now().0.saturating_sub(alive_at.0) <= PROMPT,
            Gone::Silent | Gone::Slow => false,
        };
        let mut trace = sessions.trace(id, alive_at, taken);
        if let Some(trace) = &mut trace {
            if taken {
                trace.alive_at = now();
            }
            if how == Gone::Slow {
                trace.heard.values_mut().for_each(|place| *place = Place::Seq(LOST));
            }
        }
        sessions.resubscribe(id, |open, _| open.subscriptions = Subscriptions::default());
        let did = sessions.open.remove(&id).and_then(|open| open.session.did);
        sessions.restoring.remove(&id);
        if let Some(did) = &did {
            self.last_heard(sessions, did, id, alive_at)?;
        }
        match trace {
            Some(trace) => self.end(sessions, trace, did),
            None => Ok(()),
        }
    }

    /// The end of a session. What it had is kept for those who come after it, if it acted for
    /// somebody (Q10).
    fn end(&self, sessions: &mut Sessions, trace: Trace, did: Option<Did>) -> Outcome<()> {
        self.sql.run_all(&gateway_sessions::close(trace.id))?;
        self.sql.run(&gateway_people::silence(trace.id))?;
        let Some(did) = did else { return Ok(()) };
        self.person(sessions, &did, Input::Closed(trace.id))?;
        self.keep_trace(&did, trace)
    }

    /// Closes sockets whose lease has run out (P11).
    pub(super) fn end_leases(&self, sessions: &mut Sessions) -> Outcome<()> {
        let at = now();
        let is_dead = |open: &Open| {
            let ends = self.life(open).and_then(|life| life.ends(self.settings.lease));
            ends.is_some_and(|ends| ends <= at)
        };
        let dead: Vec<i64> =
            sessions.open.iter().filter(|(_, open)| is_dead(open)).map(|(id, _)| *id).collect();
        for id in dead {
            let socket = sessions.open.get(&id).map(|open| open.socket.clone());
            self.depart(sessions, id, Gone::Silent)?;
            if let Some(socket) = socket {
                socket_state::close(&socket, 1001, "no sign of life");
            }
        }
        Ok(())
    }

    /// The last sign of life of a socket.
    pub(super) fn alive_at(&self, open: &Open) -> Micros {
        let answered = socket_state::last_auto_response(&self.state, &open.socket);
        answered.unwrap_or_default().max(open.signs.surely_at)
    }

    /// What is known of a socket's life (P11). One that acts for nobody has no lease.
    fn life(&self, open: &Open) -> Option<Life> {
        open.session.did.as_ref()?;
        let answered = socket_state::last_auto_response(&self.state, &open.socket);
        let heard_at = answered.unwrap_or_default().max(open.signs.heard_at);
        Some(Life { heard_at, beats: open.signs.beats || answered.is_some() })
    }

    /// When to look after the sockets next.
    pub(super) fn next_look(&self, sessions: &Sessions) -> Micros {
        let lives = sessions.open.values().filter_map(|open| self.life(open));
        lease::next_look(now(), lives, self.settings.lease)
    }

    /// Delivers when the sockets concerned have room. A burst of many events is no slowness: who
    /// has much to take gets a moment for it; who took nothing in that moment, or has far too
    /// much, is let go, and holds up the others only this once (Q20).
    pub(super) async fn deliver_with_room(&self, command: &Deliver) -> Outcome<Delivered> {
        let community = command.community.as_str();
        let unsent = || self.with(|sessions| Ok(sessions.slow(community)));
        let before: BTreeMap<i64, u32> = unsent()?.into_iter().collect();
        let mut full = before.clone();
        for _ in 0..ROOM_TRIES {
            if full.is_empty() {
                break;
            }
            Delay::from(Duration::from_millis(ROOM_MS)).await;
            full = unsent()?.into_iter().collect();
        }
        let is_stuck =
            |id: &i64, now: &u32| *now > FULL_BYTES || before.get(id).is_some_and(|then| now >= then);
        full.retain(|id, now| is_stuck(id, now));
        self.deliver(command, full.into_keys())
    }

    /// Events of a community, to whoever hears them. Who does not take them is let go first, with
    /// word of what is missing.
    fn deliver(&self, command: &Deliver, slow: impl Iterator<Item = i64>) -> Outcome<Delivered> {
        let community = command.community.as_str();
        self.with(|sessions| {
            for id in slow {
                self.let_go(sessions, id)?;
            }
            let had = sessions.communities.get(community).copied().unwrap_or(0);
            for event in command.events.iter().filter(|event| event.seq > had) {
                sessions.send(community, event);
            }
            let listening = sessions.need(community);
            if listening {
                let last = command.events.last().map_or(had, |event| event.seq.max(had));
                sessions.communities.insert(community.to_owned(), last);
                sessions.courses.entry(community.to_owned()).or_default().note(now(), last);
                self.sql.run(&gateway_sessions::heard(community, last))?;
            } else {
                sessions.communities.remove(community);
                sessions.courses.remove(community);
                self.sql.run(&gateway_sessions::deafen(community))?;
            }
            Ok(Delivered { listening })
        })
    }

    /// Q20: lets a slow socket go. What it has not taken yet, and `resync_required` for each
    /// community behind that, still goes out should it read again; it gets nothing after.
    pub(super) fn let_go(&self, sessions: &mut Sessions, id: i64) -> Outcome<()> {
        let Some(open) = sessions.open.get(&id) else { return Ok(()) };
        let socket = open.socket.clone();
        for (community, seq) in sessions.heard_by(&open.subscriptions) {
            let Ok(community_uri) = AtUri::parse(community) else { continue };
            send(&socket, &Reply::ResyncRequired { community_uri, oldest: seq + 1 }.text());
        }
        self.depart(sessions, id, Gone::Slow)?;
        socket_state::close(&socket, 1013, "too slow");
        Ok(())
    }

    /// Events of records about this gateway's people: kept until they are said with the state of
    /// that moment. An account that comes or goes changes presence instead (P13).
    pub(super) fn watch(&self, command: &Watch) -> Outcome<Announced> {
        self.with(|sessions| {
            let had: Vec<i64> = rows(Some(&self.sql.run(&gateway_sessions::told_people())?))?;
            let had = had.first().copied().unwrap_or(0);
            for event in command.told.iter().filter(|told| told.id > had).flat_map(|told| &told.events) {
                match (&event.audience, &event.topic) {
                    (Audience::Watchers(did), Topic::Account(active))
                        if sessions.persons.contains_key(did) =>
                    {
                        self.person(sessions, did, Input::Account(*active))?;
                    }
                    // Nobody of this gateway: there is no presence to change.
                    (Audience::Watchers(_), Topic::Account(_)) => {}
                    // Set aside (Q21): what is said of people is state, and the next is complete.
                    (Audience::Watchers(_), _) if is_lost(&event.event) => {}
                    (Audience::Watchers(did), _) => {
                        self.sql.run(&gateway_people::hold(did, event.live, &event.event))?;
                        sessions.held = true;
                    }
                    _ => {}
                }
            }
            let through = command.told.last().map_or(had, |told| told.id.max(had));
            self.sql.run(&gateway_sessions::tell_people(through))?;
            Ok(Announced { through })
        })
    }

    /// People who had their sockets at another gateway: if they are shown as present and do not
    /// come here, they are gone after the grace (P10).
    pub(super) fn adopt(&self, command: &Adopt) -> Outcome<Done> {
        self.with(|sessions| {
            for did in &command.dids {
                self.person(sessions, did, Input::Tick)?;
            }
            Ok(Done {})
        })
    }

    /// People of this gateway whose home is another one since `GATEWAY_SHARDS` changed.
    pub(super) fn strangers(&self, sessions: &Sessions, name: &str) -> BTreeMap<String, Vec<Did>> {
        let mut homes: BTreeMap<String, Vec<Did>> = BTreeMap::new();
        for (did, (person, _)) in &sessions.persons {
            let home = gateway_of(did, self.settings.gateway_shards);
            if home != name && person.presence.sockets().is_empty() {
                homes.entry(home).or_default().push(did.clone());
            }
        }
        homes
    }
}
