//! What a `Gateway` works with: its memory, its alarm, and the frames of clients.
//!
//! Everything an event changes is in the memory and the database before the next await;
//! [`Desk::stir`] then starts what is left to do and sets the alarm.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use futures::channel::oneshot;
use futures::lock::Mutex;
use worker::{Env, State, WebSocket};

use super::sessions::{Sessions, send};
use crate::domain::actions::{Action, Actor, Decided, Sign, action, wanted_seat, wanted_state};
use crate::domain::frame_budget::Verdict;
use crate::domain::presence::{Input, State as Shown};
use crate::domain::subscriptions::Kind;
use crate::platform::alarm;
use crate::platform::clock::now;
use crate::platform::config::{self, Sockets};
use crate::platform::object_sql::ObjectSql;
use crate::platform::{log, socket_state};
use crate::storage::{Fault, gateway_people, gateway_sessions};
use crate::wire::ids::Did;
use crate::wire::socket::Reply;
use crate::wire::time::Micros;

pub(super) type Outcome<T> = std::result::Result<T, Fault>;

/// While somebody is there, the alarm rings at least this often, in microseconds: a crash takes
/// sockets without a word, and whoever lost theirs must be offline within the grace and 30 s
/// (P10).
const ROUND: i64 = 25_000_000;
/// How soon something that failed is tried again, in microseconds.
pub(super) const RETRY: i64 = 2_000_000;
/// A sign of life is stored when the stored one is older than this, in microseconds.
pub(super) const FRESH: i64 = 1_000_000;

/// A state that somebody chose and that is not stored yet.
pub(super) struct Asked {
    pub(super) did: Did,
    pub(super) state: Shown,
    pub(super) by_api: bool,
    pub(super) done: oneshot::Sender<Chosen>,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chosen {
    /// It is stored.
    Stored,
    /// The account is not active, so its sockets are anonymous (P13).
    Anonymous,
}

/// See the module. Nothing in it is borrowed over an await.
pub(super) struct Desk {
    pub(super) state: State,
    pub(super) env: Env,
    pub(super) sql: ObjectSql,
    pub(super) settings: Sockets,
    pub(super) cdn: String,
    memory: RefCell<Option<Sessions>>,
    /// States to be stored, with whoever waits for it.
    pub(super) asked: RefCell<Vec<Asked>>,
    /// A task settles what is known of people.
    pub(super) settling: Cell<bool>,
    /// Whom a task is telling about people: one call at a time each, so that events keep their
    /// order.
    pub(super) telling: RefCell<std::collections::BTreeSet<String>>,
    /// One move between voice channels at a time for each person (V01).
    pub(super) moves: RefCell<BTreeMap<Did, Rc<Mutex<()>>>>,
    alarm_at: Cell<Option<Micros>>,
    wanted_at: Cell<Option<Micros>>,
}

impl Desk {
    pub(super) fn new(state: State, env: Env) -> Self {
        Self {
            sql: ObjectSql::of(&state),
            settings: config::sockets(&env),
            cdn: config::cdn(&env),
            state,
            env,
            memory: RefCell::new(None),
            asked: RefCell::default(),
            settling: Cell::new(false),
            telling: RefCell::default(),
            moves: RefCell::default(),
            alarm_at: Cell::new(None),
            wanted_at: Cell::new(None),
        }
    }

    /// Runs `act` on the memory, which is rebuilt first if the object has just woken.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut Sessions) -> Outcome<T>) -> Outcome<T> {
        let mut memory = self.memory.borrow_mut();
        let sessions = match memory.take() {
            Some(sessions) => sessions,
            None => self.awake()?,
        };
        act(memory.insert(sessions))
    }

    /// The name of this gateway.
    pub(super) fn name(&self) -> Outcome<String> {
        self.state.id().name().ok_or_else(|| Fault::new("naming a gateway", "it has no name"))
    }

    /// Something is due at `at`: [`Self::stir`] sets the alarm.
    pub(super) fn wake_at(&self, at: Micros) {
        if self.wanted_at.get().is_none_or(|wanted| at < wanted) {
            self.wanted_at.set(Some(at));
        }
    }

    /// Something failed and is tried again soon.
    pub(super) async fn retry(&self, fault: &Fault, what: &str) {
        log::fault(fault, what);
        self.wake_at(Micros(now().0 + RETRY));
        self.arm().await;
    }

    /// Starts what is left to do, in the background, and sees that the alarm rings in time.
    pub(super) async fn stir(self: &Rc<Self>) {
        self.hand_over_soon();
        self.settle_soon();
        self.tell_soon();
        self.seat_soon();
        self.restore_soon();
        self.arm().await;
    }

    /// Sets the alarm to what was planned, if that is sooner than it rings anyway.
    pub(super) async fn arm(&self) {
        let Some(at) = self.wanted_at.take() else { return };
        if self.alarm_at.get().is_some_and(|set| set <= at) {
            return;
        }
        self.alarm_at.set(Some(at));
        let millis = at.millis().saturating_sub(now().millis()).max(0) + 1;
        if !alarm::ring_in(&self.state, millis, "the next event sets it").await {
            self.alarm_at.set(None);
        }
    }

    /// The alarm: looks after people and sockets. The next alarm is set before the work, so that
    /// work which dies is done again.
    pub(super) async fn ring(self: &Rc<Self>) {
        self.alarm_at.set(None);
        self.wake_at(Micros(now().0 + ROUND));
        self.arm().await;
        let done = self.with(|sessions| {
            self.end_leases(sessions)?;
            sessions.persons.retain(|_, (person, _)| !person.is_over());
            let due: Vec<Did> = sessions.due(now(), &self.settings.periods);
            for did in due {
                self.person(sessions, &did, Input::Tick)?;
            }
            self.plan(sessions);
            Ok(sessions.is_idle())
        });
        match done {
            Ok(false) => self.stir().await,
            Ok(true) => {
                self.wanted_at.set(None);
                self.alarm_at.set(None);
                // An alarm that could not be deleted rings once more and finds nothing to do.
                let _ = self.state.storage().delete_alarm().await;
            }
            Err(fault) => self.retry(&fault, "the gateway looks after its people again soon").await,
        }
    }

    /// Plans the next alarm from everything that has a time.
    pub(super) fn plan(&self, sessions: &Sessions) {
        if sessions.is_idle() {
            return;
        }
        self.wake_at(Micros(now().0 + ROUND));
        let due = [sessions.deadlines(&self.settings.periods), self.next_lease(sessions)];
        due.into_iter().flatten().for_each(|at| self.wake_at(at));
    }

    /// A client's frame: exactly one reply (A03), unless the socket is gone.
    pub(super) async fn frame(self: &Rc<Self>, socket: &WebSocket, text: Option<&str>) {
        let Some(id) = number(socket) else { return };
        let Decided { action, sign } = action(text);
        let (verdict, actor) = match self.with(|sessions| self.note(sessions, id, sign)) {
            Ok(Some(noted)) => noted,
            Ok(None) => return,
            Err(fault) => return send(socket, &temporary(&fault).text()),
        };
        if verdict != Verdict::Fine {
            // What could not be read is told so, whatever the budget says (A15, in this order).
            let reply = match (action, sign) {
                (Action::Reply(reply), Sign::Refused) => reply,
                _ => Reply::error("Rate limit exceeded"),
            };
            send(socket, &reply.text());
            if verdict == Verdict::Enough {
                self.dismiss(socket, 1008, "too many frames");
            }
            return;
        }
        let reply = match action {
            Action::Reply(reply) => reply,
            Action::Subscribe(subscribe) => return self.subscribe(socket, subscribe).await,
            Action::Unsubscribe { kind, key, reply } => match self.unsubscribe(id, kind, key.as_deref()) {
                Ok(()) => reply,
                Err(fault) => temporary(&fault),
            },
            Action::SetState { state } => match wanted_state(&actor, state.as_deref()) {
                Ok((did, state)) => self.set_by_socket(did, state).await,
                Err(reply) => reply,
            },
            Action::Voice(frame) => match wanted_seat(&actor, frame) {
                Ok((did, seat)) => self.move_to(id, &did, seat).await,
                Err(reply) => reply,
            },
        };
        send(socket, &reply.text());
    }

    /// Notes that a frame came: what the budget says to it, and for whom the socket acts now.
    /// `None` if its session is over.
    fn note(&self, sessions: &mut Sessions, id: i64, sign: Sign) -> Outcome<Option<(Verdict, Actor)>> {
        let at = now();
        let Some(open) = sessions.open.get_mut(&id) else { return Ok(None) };
        let verdict = open.budget.take(self.settings.rate, at);
        let beats = open.signs.beats || sign == Sign::Heartbeat;
        if beats != open.signs.beats || at.0 - open.signs.stored_at.0 >= FRESH {
            open.signs.stored_at = at;
            self.sql.run(&gateway_people::heard(id, at, beats))?;
        }
        open.signs.heard_at = at;
        open.signs.beats = beats;
        let actor = sessions.actor(id);
        if let Actor::Person(did) = &actor
            && sign == Sign::Activity
            && verdict == Verdict::Fine
        {
            self.person(sessions, did, Input::Active)?;
        }
        Ok(Some((verdict, actor)))
    }

    fn unsubscribe(&self, id: i64, kind: Kind, key: Option<&str>) -> Outcome<()> {
        self.with(|sessions| {
            let Some(open) = sessions.open.get_mut(&id) else { return Ok(()) };
            open.session.subscriptions.unsubscribe(kind, key);
            if let Some(restoring) = &mut open.session.restoring {
                restoring.subscriptions.unsubscribe(kind, key); // Q11
            }
            self.sql.run(&gateway_sessions::keep(id, &open.session)).map(drop)
        })
    }

    /// A client closed its socket in order: it was there until then (V07).
    pub(super) fn hung_up(&self, socket: &WebSocket) {
        let Some(id) = number(socket) else { return };
        let heard = self.with(|sessions| {
            let did = sessions.open.get(&id).and_then(|open| open.session.did.clone());
            did.map_or(Ok(()), |did| self.last_heard(sessions, &did, id, now()))
        });
        if let Err(fault) = heard {
            log::fault(&fault, "another socket of the person may hold them in a call");
        }
        self.closed(socket);
    }

    /// A socket is gone.
    pub(super) fn closed(&self, socket: &WebSocket) {
        let Some(id) = number(socket) else { return };
        if let Err(fault) = self.with(|sessions| self.depart(sessions, id, true)) {
            log::fault(&fault, "the session ends when the object wakes anew");
        }
    }

    /// Closes a socket with one of the codes of A19. It counts as gone at once.
    pub(super) fn dismiss(&self, socket: &WebSocket, code: u16, reason: &str) {
        self.closed(socket);
        socket_state::close(socket, code, reason);
    }
}

/// The number of a socket's session.
pub(super) fn number(socket: &WebSocket) -> Option<i64> {
    socket.deserialize_attachment::<i64>().ok().flatten()
}

pub(super) fn temporary(fault: &Fault) -> Reply {
    log::fault(fault, "the client is told to try again");
    Reply::error("Temporary failure, try again")
}
