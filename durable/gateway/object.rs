//! What a `Gateway` works with: its memory, its sockets, its alarm; and how effects are performed.
//!
//! Everything an event changes is in the memory and the database before the next await;
//! [`GatewayObject::stir`] then starts what is left to do and sets the alarm.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use futures::channel::oneshot;
use futures::lock::Mutex;
use worker::{Env, State, WebSocket};

use super::rounds::Round;
use crate::domain::gateway::session::View;
use crate::domain::gateway::settling::{Choice, Chosen};
use crate::domain::gateway::{Effect, Gateway as Core, Input, Moment, Settings};
use crate::domain::lease;
use crate::domain::replay::ReadBudgets;
use crate::durable::operator::Restarted;
use crate::platform::alarm::Alarm;
use crate::platform::clock::{now, run};
use crate::platform::config::{self, Sockets};
use crate::platform::object_sql::ObjectSql;
use crate::platform::objects::gateway_of;
use crate::platform::socket_state;
use crate::platform::{incidents, log};
use crate::storage::incidents::Incident;
use crate::storage::{Fault, gateway};
use crate::wire::ids::{AtUri, Did};
use crate::wire::socket::Reply;
use crate::wire::time::Micros;

pub(super) type Outcome<T> = std::result::Result<T, Fault>;

/// How soon something that failed is tried again, in microseconds.
const RETRY: i64 = 2_000_000;

/// See the module. Nothing in it is borrowed over an await.
pub(super) struct GatewayObject {
    pub(super) state: State,
    pub(super) env: Env,
    pub(super) sql: ObjectSql,
    pub(super) settings: Sockets,
    pub(super) cdn: String,
    memory: RefCell<Option<Core>>,
    /// The open sockets, by the number of their session.
    pub(super) sockets: RefCell<BTreeMap<i64, WebSocket>>,
    /// The last number that was given to a session, or was stored when the object woke.
    pub(super) given: Cell<i64>,
    /// What frames need from outside, in the order in which they came.
    pub(super) jobs: RefCell<Vec<(i64, crate::domain::gateway::Job)>>,
    /// States that were chosen, each with the task that waits until it is stored.
    pub(super) chosen: RefCell<Vec<(Choice, oneshot::Sender<Chosen>)>>,
    /// A task settles what is known of people.
    pub(super) settling: Cell<bool>,
    /// When the next round of that task may begin.
    pub(super) next_round: Cell<Micros>,
    /// To whom a task publishes events about people: one call at a time each, so that events keep
    /// their order.
    pub(super) publishing_to: RefCell<BTreeSet<String>>,
    /// The number of failed calls in a row, for each of them.
    pub(super) failures: RefCell<BTreeMap<String, u32>>,
    /// One move between voice channels at a time for each person (V01).
    pub(super) moves: RefCell<BTreeMap<Did, Rc<Mutex<()>>>>,
    /// Who is writing, to be published.
    pub(super) typing: RefCell<Vec<(View, Did)>>,
    /// Who has read what, to be stored (U42).
    pub(super) has_read: RefCell<Vec<(View, Did)>>,
    /// The channels of which this object said to their communities that nobody here receives typing (U40).
    pub(super) denied: RefCell<BTreeSet<AtUri>>,
    /// Since when `denied` is complete.
    pub(super) forgot_at: Cell<Micros>,
    /// What addresses have read of logs (Q08).
    pub(super) read_budgets: RefCell<ReadBudgets>,
    /// Digests that are decided about (U27), and pushes that are sent (U28).
    pub(super) digests: Round,
    pub(super) pushes: Round,
    alarm: Alarm,
    wanted_at: Cell<Option<Micros>>,
    /// Nobody is here: the alarm is needed for the traces of closed sockets only.
    rests: Cell<bool>,
}

impl GatewayObject {
    pub(super) fn new(state: State, env: Env) -> Self {
        let number = |socket: WebSocket| Some((number(&socket)?, socket));
        Self {
            sql: ObjectSql::of(&state),
            settings: config::sockets(&env),
            cdn: config::cdn(&env),
            sockets: RefCell::new(state.get_websockets().into_iter().filter_map(number).collect()),
            alarm: Alarm::of(&state, "the next event sets it"),
            state,
            env,
            memory: RefCell::new(None),
            given: Cell::new(0),
            jobs: RefCell::default(),
            chosen: RefCell::default(),
            settling: Cell::new(false),
            next_round: Cell::default(),
            publishing_to: RefCell::default(),
            failures: RefCell::default(),
            moves: RefCell::default(),
            typing: RefCell::default(),
            has_read: RefCell::default(),
            denied: RefCell::default(),
            forgot_at: Cell::new(now()),
            read_budgets: RefCell::default(),
            digests: Round::default(),
            pushes: Round::default(),
            wanted_at: Cell::new(None),
            rests: Cell::new(false),
        }
    }

    /// Takes in what happened, and performs what follows from it.
    pub(super) fn on(&self, input: Input) -> Outcome<()> {
        let effects = self.with_moment(|gateway, moment| Ok(gateway.on(input, moment)))?;
        let performed = self.perform(effects);
        if performed.is_err() {
            // What was kept counts: the memory is rebuilt from that.
            self.memory.take();
        }
        performed
    }

    /// Rebuilds the memory if the object has just woken. An object that never did has no tables yet.
    pub(super) fn wake(&self) -> Outcome<()> {
        self.with(|_| Ok(()))
    }

    /// R63: closes every socket, and forgets the memory, which the next event rebuilds from what is stored.
    pub(super) fn restart(&self) -> Outcome<Restarted> {
        let observed = self.with(|gateway| Ok(gateway.observed.iter().cloned().collect()))?;
        let sockets = self.sockets.borrow().len();
        self.on(Input::Restarted)?;
        self.memory.take();
        Ok(Restarted { sockets, observed })
    }

    /// Runs `act` on the memory, and performs what follows from it.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut Core) -> Outcome<T>) -> Outcome<T> {
        self.with_moment(|gateway, _| act(gateway))
    }

    /// The same, with what the runtime knows of the sockets. The memory is rebuilt first if the object has just
    /// woken.
    pub(super) fn with_moment<T>(
        &self,
        act: impl FnOnce(&mut Core, &Moment<'_>) -> Outcome<T>,
    ) -> Outcome<T> {
        let mut memory = self.memory.borrow_mut();
        let answered = |id: i64| {
            let sockets = self.sockets.borrow();
            sockets.get(&id).and_then(|socket| socket_state::last_auto_response(&self.state, socket))
        };
        let unsent = |id: i64| self.unsent(id);
        let moment = Moment { now: now(), answered: &answered, unsent: &unsent };
        let gateway = match memory.take() {
            Some(gateway) => gateway,
            None => self.awake(&moment)?,
        };
        let gateway = memory.insert(gateway);
        let done = act(gateway, &moment);
        let performed = self.perform(gateway.take_effects());
        if performed.is_err() {
            // What was kept counts: the memory is rebuilt from that.
            memory.take();
        }
        let done = done?;
        performed.map(|()| done)
    }

    fn awake(&self, moment: &Moment<'_>) -> Outcome<Core> {
        let settings = Settings {
            name: self.name()?,
            shards: self.settings.gateway_shards,
            home_of: gateway_of,
            periods: self.settings.periods,
            lease: self.settings.lease,
            restore: self.settings.restore,
            restore_keep: self.settings.restore_keep,
            rate: self.settings.rate,
        };
        let stored = gateway::load(&|statement| self.sql.run(statement))?;
        self.given.set(self.given.get().max(stored.last_number()));
        let sockets: BTreeSet<i64> = self.sockets.borrow().keys().copied().collect();
        let (gateway, effects) = Core::wake(settings, stored, &sockets, &run(), moment);
        self.perform(effects)?;
        Ok(gateway)
    }

    fn perform(&self, effects: Vec<Effect>) -> Outcome<()> {
        let run = |statement: &_| self.sql.run(statement);
        for effect in effects {
            match effect {
                Effect::Send { to, text } => self.send_to(&to, &text),
                Effect::Keep(keep) => gateway::keep(&run, &keep)?,
                Effect::Close { socket, code, reason } => self.close(socket, code, reason),
                Effect::Start(id, job) => self.jobs.borrow_mut().push((id, job)),
                Effect::Typing(view, did) => self.typing.borrow_mut().push((view, did)),
                Effect::HasRead(view, did) => self.has_read.borrow_mut().push((view, did)),
                Effect::WakeAt(at) => self.wake_at(at),
                Effect::WakeForTraces => self.traces_end()?.into_iter().for_each(|at| self.wake_at(at)),
                Effect::Rest => self.rests.set(true),
                Effect::Unreadable(count) => {
                    incidents::note(&self.env, Incident::Session, count, &self.name()?);
                }
                Effect::Lost(count) => incidents::note(&self.env, Incident::People, count, &self.name()?),
            }
        }
        Ok(())
    }

    /// Closes the socket of a session that is over.
    pub(super) fn close(&self, id: i64, code: u16, reason: &str) {
        if let Some(socket) = self.sockets.borrow_mut().remove(&id) {
            // Its number may be another session's before its close comes in. One that takes no
            // attachment is closed already.
            let _ = socket.serialize_attachment(OF_NO_SESSION);
            socket_state::close(&socket, code, reason);
        }
    }

    /// When the oldest trace of a closed socket ends.
    fn traces_end(&self) -> Outcome<Option<Micros>> {
        let oldest = gateway::oldest_trace(&|statement| self.sql.run(statement))?;
        Ok(oldest.map(|at| Micros(at.0.saturating_add(self.settings.restore_keep))))
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
        self.publish_soon();
        self.clear_voice_soon();
        self.restore_soon();
        self.publish_typing();
        self.rounds_soon();
        self.arm().await;
    }

    /// Sets the alarm to what was planned, if that is sooner than it rings anyway.
    pub(super) async fn arm(&self) {
        if let Some(at) = self.wanted_at.take() {
            self.alarm.ring_by(at).await;
        }
    }

    /// The alarm rang. The next one is set before the work, so that work which dies is done again.
    pub(super) async fn ring(self: &Rc<Self>) {
        self.alarm.rang();
        self.wake_at(Micros(now().0 + lease::round(self.settings.lease)));
        self.arm().await;
        let done = self.on(Input::Alarm).and_then(|()| self.traces_end());
        match done {
            Ok(end) if self.rests.take() => {
                self.wanted_at.set(end);
                self.alarm.delete().await;
                self.rounds_soon();
                self.arm().await;
            }
            Ok(_) => self.stir().await,
            Err(fault) => self.retry(&fault, "the gateway looks after its people again soon").await,
        }
    }
}

/// The attachment of a socket whose session is over: numbers of sessions begin at 1.
const OF_NO_SESSION: i64 = -1;

/// The number of a socket's session.
pub(super) fn number(socket: &WebSocket) -> Option<i64> {
    socket.deserialize_attachment::<i64>().ok().flatten().filter(|id| *id != OF_NO_SESSION)
}

pub(super) fn temporary(fault: &Fault) -> Reply {
    log::fault(fault, "the client gets an error and should retry");
    Reply::error("Temporary failure, try again")
}
