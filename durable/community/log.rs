//! The log of a `Community` object: numbers events, stores them, and delivers them. `domain::community` decides what
//! an event does, which gateway gets which events next, and who is in voice.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use futures::future::join_all;
use worker::{Env, State};

use super::observers::Observers;
use super::sending::Webhooks;
use crate::domain::announcement::Announcement;
use crate::domain::community::{Community as Core, Effect, Keep, Listener, PAGE, Settings};
use crate::domain::replay::{Replayed, Resume, cursor_of, nothing_yet};
use crate::domain::typing::Deaf;
use crate::durable::community::commands::{Announce, Attach, Attached, Locate, Located, Replay};
use crate::durable::replies::Announced;
use crate::platform::alarm::Alarm;
use crate::platform::clock::now;
use crate::platform::config::{self, EventLog, Sockets};
use crate::platform::object_sql::ObjectSql;
use crate::platform::objects::{Command, call, gateway_of};
use crate::platform::{incidents, log};
use crate::storage::community_log::{self, Numbered};
use crate::storage::incidents::Incident;
use crate::storage::{Fault, Statement, community};
use crate::wire::ids::AtUri;
use crate::wire::time::Micros;

pub(super) type Outcome<T> = std::result::Result<T, Fault>;

/// The most bytes of a page, beside [`PAGE`] events: some messages are a hundred times as long as most, and
/// both objects of a call, perhaps in one isolate, hold all of it in memory.
pub(super) const PAGE_BYTES: usize = 2 * 1024 * 1024;

/// How often old events are deleted, in milliseconds.
pub(super) const TIDY_MS: i64 = 3_600_000;

/// How long an event may take from being numbered to being sent, in microseconds.
const ON_THE_WAY: i64 = 1_000_000;

/// What the tasks of the object share. Nothing in it is borrowed over an await.
pub(super) struct CommunityLog {
    pub(super) state: State,
    pub(super) env: Env,
    pub(super) sql: ObjectSql,
    log: EventLog,
    pub(super) shards: u32,
    /// A copy of the database, of which this object is the only writer: reading it for each event would cost more
    /// than everything else about the event.
    memory: RefCell<Option<Core>>,
    /// A write failed, so the database counts and not the copy in memory.
    is_stale: Cell<bool>,
    /// Whether a task is asking voice rooms to check rights again.
    pub(super) asking_rooms: Cell<bool>,
    /// Whether some room may have to check rights: also true when the object has just woken, and does not know.
    pub(super) rooms_may_be_due: Cell<bool>,
    pub(super) alarm: Alarm,
    pub(super) observers: Observers,
    /// The gateways that get no typing of a channel, because nobody there receives it (U40).
    pub(super) deaf: RefCell<Deaf>,
    pub(super) webhooks: Webhooks,
}

impl CommunityLog {
    pub(super) fn new(state: State, env: Env) -> Self {
        let Sockets { gateway_shards: shards, rate, .. } = config::sockets(&env);
        Self {
            sql: ObjectSql::of(&state),
            log: config::event_log(&env),
            shards,
            alarm: Alarm::of(&state, "the next command sets it"),
            state,
            env,
            memory: RefCell::new(None),
            is_stale: Cell::new(false),
            asking_rooms: Cell::new(false),
            rooms_may_be_due: Cell::new(true),
            observers: Observers::new(rate),
            deaf: RefCell::default(),
            webhooks: Webhooks::default(),
        }
    }

    /// Runs `act` on the memory, and performs what follows from it. The memory is read first if the object has just
    /// woken, or could not write.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut Core) -> Outcome<T>) -> Outcome<T> {
        let mut memory = self.memory.borrow_mut();
        let run = |statement: &Statement| self.sql.run(statement);
        let core = match &mut *memory {
            Some(core) if !self.is_stale.get() => core,
            Some(core) => {
                core.reload(community::load(&run)?);
                core
            }
            None => {
                let settings = Settings { shards: self.shards, home_of: gateway_of, log_max: self.log.max };
                community::prepare(&run)?;
                memory.insert(Core::wake(settings, community::load(&run)?))
            }
        };
        self.is_stale.set(true);
        let done = act(core)?;
        for effect in core.take_effects() {
            match effect {
                Effect::Keep(keep) => self.keep(&keep)?,
                Effect::Publish(first, events) => self.observers.publish(&self.state, first, events.iter()),
                Effect::EndObservers => self.observers.end_all(&self.state),
                Effect::Forget => self.forget(core)?,
            }
        }
        self.is_stale.set(false);
        Ok(done)
    }

    /// A delivery to a gateway failed. This is noted in memory only, so it cannot fail with the database.
    pub(super) fn not_delivered(&self, gateway: &str) {
        self.memory.borrow_mut().as_mut().into_iter().for_each(|core| core.not_delivered(gateway));
    }

    fn keep(&self, keep: &Keep) -> Outcome<()> {
        if matches!(keep, Keep::Concern(..)) {
            self.rooms_may_be_due.set(true);
        }
        let written = self.sql.run_all(&community::statements(keep, now()));
        match (written, keep) {
            (Err(fault), Keep::Append(first, events)) => self.append_one_by_one(*first, events, &fault),
            (written, _) => written,
        }
    }

    /// Appends events that the database did not take together. One that it does not take alone is
    /// set aside (Q21). If even that fails, nothing more is appended, and the command is retried later
    /// with the same numbers.
    fn append_one_by_one(&self, first: u64, events: &[Announcement], fault: &Fault) -> Outcome<()> {
        log::fault(fault, "events are stored one by one");
        let append =
            |seq: u64, event: &Announcement| self.sql.run_all(&community_log::append(seq, [event], now()));
        let mut lost = 0;
        for (seq, event) in (first..).zip(events) {
            if append(seq, event).is_err() {
                lost += 1;
                append(seq, &event.clone().set_aside())?;
            }
        }
        self.set_aside(lost);
        Ok(())
    }

    pub(super) async fn announce(&self, command: Announce<'_>) -> Outcome<Announced> {
        let Announce { community, rows } = command;
        let mut rows = rows.into_owned();
        self.read_threads(&mut rows).await?;
        self.with(|core| {
            core.announced(&community, rows)
                .map_err(|error| Fault::new("writing an event of voice", error))?;
            Ok(Announced { through: core.counters().announced })
        })
    }

    /// Events of the log that could not be stored, read or delivered.
    pub(super) fn set_aside(&self, count: u32) {
        let place = self.name().map_or_else(String::new, |community| community.to_string());
        incidents::note(&self.env, Incident::Log, count, &place);
    }

    /// Events of the log; `true` if there may be more behind them.
    pub(super) fn page(&self, statement: &Statement) -> Outcome<(Vec<Numbered>, bool)> {
        let (texts, cut) = self.sql.run_within(statement, PAGE_BYTES)?;
        let mut unreadable = Vec::new();
        let events = community_log::events(&texts, &mut unreadable)?;
        if !unreadable.is_empty() {
            self.sql.run(&community_log::set_aside(&unreadable))?;
            self.set_aside(u32::try_from(unreadable.len()).unwrap_or(u32::MAX));
        }
        let full = i64::try_from(events.len()).is_ok_and(|count| count == PAGE);
        Ok((events, full || cut))
    }

    pub(super) fn attach(&self, command: &Attach) -> Outcome<Attached> {
        self.with(|core| Ok(Attached { seq: core.attach(&command.gateway) }))
    }

    /// Whether this community is unknown. Anybody may ask for the log of any community, and an unknown one gets no
    /// tables.
    pub(super) fn was_never_seen(&self) -> Outcome<bool> {
        Ok(self.memory.borrow().is_none() && self.sql.run(&community_log::is_used())?.is_empty())
    }

    pub(super) fn replay(&self, command: &Replay) -> Outcome<Replayed> {
        if self.was_never_seen()? {
            return Ok(nothing_yet(command.cursor));
        }
        self.with(|core| {
            self.forget(core)?;
            match core.resume(command.cursor) {
                Resume::Resync { oldest } => Ok(Replayed::Resync { oldest }),
                Resume::From(after) => {
                    let (events, more) = self.page(&community_log::standing_after(after, PAGE))?;
                    Ok(core.page(events, more))
                }
            }
        })
    }

    /// The position in the log of a client that received everything before a moment. An event is numbered a
    /// moment before it is sent, so the last one numbered before that moment may not have arrived.
    pub(super) fn locate(&self, command: &Locate) -> Outcome<Located> {
        if self.was_never_seen()? {
            return Ok(Located { cursor: Some(0) });
        }
        self.with(|core| {
            self.forget(core)?;
            let at = Micros(command.at.0.saturating_sub(ON_THE_WAY));
            let found = self.sql.run(&community_log::numbered_before(at))?;
            let before = found.first().and_then(|seq| seq.parse().ok());
            let counters = core.counters();
            let reaches_back = at.0 >= self.horizon().0 && counters.kept() < self.log.max;
            Ok(Located { cursor: cursor_of(before, counters.oldest(), reaches_back) })
        })
    }

    /// Events from before this time are too old (Q06).
    fn horizon(&self) -> Micros {
        Micros(now().0.saturating_sub(self.log.hours.saturating_mul(3_600_000_000)))
    }

    /// Deletes events that are too old or too many (Q06).
    fn forget(&self, core: &mut Core) -> Outcome<()> {
        self.sql.run_all(&community_log::forget(self.horizon(), self.log.max))?;
        core.begins_at(community::counters(&|statement| self.sql.run(statement))?.oldest);
        Ok(())
    }

    /// The alarm: delivers what was left, forgets old events.
    pub(super) async fn tidy(self: &Rc<Self>) {
        self.alarm.rang();
        let tidied = self.with(|core| {
            self.forget(core)?;
            Ok(core.counters())
        });
        match tidied {
            Ok(counters) => {
                self.start_delivering();
                self.start_asking_rooms();
                self.start_sending();
                if counters.oldest.is_some() {
                    self.alarm.ring_within(TIDY_MS).await;
                }
            }
            Err(fault) => {
                log::fault(&fault, "the log is tidied later");
                self.alarm.ring_within(TIDY_MS).await;
            }
        }
    }

    /// Calls each of these gateways once. What a failure means is logged.
    pub(super) async fn show<C: Command>(&self, listeners: &[Listener], command: &C, failed: &str) {
        let calls = listeners.iter().map(|listener| call(&self.env, &listener.name, command));
        for fault in join_all(calls).await.into_iter().filter_map(Result::err) {
            log::fault(&fault, failed);
        }
    }

    /// The community this object serves: its instance name.
    pub(super) fn name(&self) -> Option<AtUri> {
        self.state.id().name().and_then(|name| AtUri::parse(&name).ok())
    }
}
