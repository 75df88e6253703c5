//! What a `Gateway` works with: its memory, its alarm, and the frames of clients.
//!
//! Everything an event changes is in the memory and the database before the next await;
//! [`Desk::stir`] then starts what is left to do and sets the alarm.

use std::cell::{Cell, RefCell};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use futures::channel::oneshot;
use futures::lock::Mutex;
use worker::{Env, State, WebSocket};

use super::sessions::Sessions;
use super::sockets::Gone;
use crate::domain::actions::{Action, Actor, Decided, Sign, action, wanted_seat, wanted_state};
use crate::domain::frame_budget::Verdict;
use crate::domain::lease;
use crate::domain::presence::{Input, State as Shown};
use crate::domain::replay::Readers;
use crate::domain::subscriptions::Kind;
use crate::platform::alarm;
use crate::platform::clock::now;
use crate::platform::config::{self, Sockets};
use crate::platform::object_sql::ObjectSql;
use crate::platform::socket_state::send;
use crate::platform::{log, socket_state};
use crate::storage::{Fault, gateway_people, gateway_sessions};
use crate::wire::ids::Did;
use crate::wire::socket::Reply;
use crate::wire::time::Micros;

pub(super) type Outcome<T> = std::result::Result<T, Fault>;

/// How soon something that failed is tried again, in microseconds.
pub(super) const RETRY: i64 = 2_000_000;
/// Frames of one socket that wait for their turn, in bytes: a client that resumes sends a few
/// hundred bytes. One with more than this is flooding (A18).
const WAITING_BYTES: usize = 2 * 1024 * 1024;
/// What a waiting frame costs beside its text.
const FRAME_COST: usize = 64;
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
    /// Sockets whose frame is being answered, with the frames that wait for their turn.
    waiting: RefCell<BTreeMap<i64, VecDeque<Option<String>>>>,
    /// How often in a row each of them could not be told.
    pub(super) untold: RefCell<BTreeMap<String, u32>>,
    /// One move between voice channels at a time for each person (V01).
    pub(super) moves: RefCell<BTreeMap<Did, Rc<Mutex<()>>>>,
    /// What addresses have read of logs (Q08).
    pub(super) readers: RefCell<Readers>,
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
            waiting: RefCell::default(),
            untold: RefCell::default(),
            moves: RefCell::default(),
            readers: RefCell::default(),
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

    /// The alarm: looks after people and sockets, and forgets what closed sockets had. The next
    /// alarm is set before the work, so that work which dies is done again.
    pub(super) async fn ring(self: &Rc<Self>) {
        self.alarm_at.set(None);
        self.wake_at(Micros(now().0 + lease::round(self.settings.lease)));
        self.arm().await;
        let done = self.with(|sessions| {
            self.end_leases(sessions)?;
            sessions.persons.retain(|_, (person, _)| !person.is_over());
            let due: Vec<Did> = sessions.due(now(), &self.settings.periods);
            for did in due {
                self.person(sessions, &did, Input::Tick)?;
            }
            self.tidy_traces()?;
            self.tidy_changes(sessions, 1)?;
            self.plan(sessions);
            Ok((sessions.is_idle(), self.traces_end()?))
        });
        match done {
            Ok((false, _)) => self.stir().await,
            Ok((true, end)) => {
                self.wanted_at.set(end);
                self.alarm_at.set(None);
                // An alarm that could not be deleted rings once more and finds nothing to do.
                let _ = self.state.storage().delete_alarm().await;
                self.arm().await;
            }
            Err(fault) => self.retry(&fault, "the gateway looks after its people again soon").await,
        }
    }

    /// Plans the next alarm from everything that has a time.
    pub(super) fn plan(&self, sessions: &Sessions) {
        if sessions.is_idle() {
            return;
        }
        self.wake_at(self.next_look(sessions));
        if let Some(at) = sessions.deadlines(&self.settings.periods) {
            self.wake_at(at);
        }
    }

    /// A client's frame: exactly one reply (A03), unless the socket is gone. Replies keep the order
    /// of the frames: the runtime hands over the next frame while one still waits for an answer
    /// from elsewhere (workerd of November 2026), so it waits here for its turn.
    pub(super) async fn frame(self: &Rc<Self>, socket: &WebSocket, text: Option<String>) {
        let Some(id) = number(socket) else { return };
        let waits = match self.waiting.borrow_mut().entry(id) {
            Entry::Vacant(free) => {
                free.insert(VecDeque::new());
                Ok(text)
            }
            Entry::Occupied(mut busy) => {
                let bytes = |text: &Option<String>| text.as_ref().map_or(0, String::len) + FRAME_COST;
                let all = busy.get().iter().map(bytes).sum::<usize>() + bytes(&text);
                busy.get_mut().push_back(text);
                Err(all)
            }
        };
        let mut next = match waits {
            Ok(text) => Some(text),
            Err(bytes) if bytes > WAITING_BYTES => return self.dismiss(socket, 1008, "too many frames"),
            Err(_) => return,
        };
        while let Some(text) = next {
            self.answer(socket, id, text.as_deref()).await;
            next = self.waiting.borrow_mut().get_mut(&id).and_then(VecDeque::pop_front);
        }
        self.waiting.borrow_mut().remove(&id);
    }

    async fn answer(self: &Rc<Self>, socket: &WebSocket, id: i64, text: Option<&str>) {
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
            Action::Session => match actor.person("session").map(|_| self.secret_of(id)) {
                Ok(Ok(secret)) => Reply::ack(secret),
                Ok(Err(fault)) => temporary(&fault),
                Err(reply) => reply,
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
        open.signs.surely_at = at;
        open.signs.beats = beats;
        let actor = sessions.actor(id);
        if let Actor::Person(did) | Actor::Present(did) = &actor
            && sign == Sign::Activity
            && verdict == Verdict::Fine
        {
            self.person(sessions, did, Input::Active)?;
        }
        Ok(Some((verdict, actor)))
    }

    fn unsubscribe(&self, id: i64, kind: Kind, key: Option<&str>) -> Outcome<()> {
        self.with(|sessions| {
            let Some(changed) = sessions.resubscribe(id, |open, _| open.subscriptions.unsubscribe(kind, key))
            else {
                return Ok(());
            };
            if changed {
                self.sql.run_all(&gateway_sessions::unsubscribe(id, kind, key))?;
            }
            let Some(open) = sessions.open.get_mut(&id) else { return Ok(()) };
            let silent = open.session.silent.as_mut();
            let is_waited_for = silent.map(|declined| declined.note(kind, key)).is_some();
            let restoring = open.session.restoring.as_mut();
            let is_restored = restoring.map(|restoring| restoring.unsubscribe(kind, key)).is_some(); // Q11
            if is_waited_for || is_restored {
                self.sql.run(&gateway_sessions::keep(id, &open.session))?;
            }
            Ok(())
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
        self.closed(socket, Gone::Closed);
    }

    /// A socket is gone.
    pub(super) fn closed(&self, socket: &WebSocket, how: Gone) {
        let Some(id) = number(socket) else { return };
        if let Err(fault) = self.with(|sessions| self.depart(sessions, id, how)) {
            log::fault(&fault, "the session ends when the object wakes anew");
        }
    }

    /// Closes a socket with one of the codes of A19. It counts as gone at once.
    pub(super) fn dismiss(&self, socket: &WebSocket, code: u16, reason: &str) {
        self.closed(socket, Gone::Closed);
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
