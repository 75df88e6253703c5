//! The log of a `Community` object: numbers the community's events, stores and delivers them.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use worker::{Env, State};

use super::observers::Observers;
use crate::domain::announcement::Announcement;
use crate::domain::pending::Told;
use crate::domain::replay::{Replayed, Resume, cursor_of, resume};
use crate::durable::community::commands::{Announce, Attach, Attached, Locate, Located, PAGE, Replay};
use crate::durable::replies::Announced;
use crate::platform::clock::now;
use crate::platform::config::{self, EventLog, Sockets};
use crate::platform::object_sql::ObjectSql;
use crate::platform::objects::gateway_of;
use crate::platform::{alarm, incidents, log};
use crate::storage::community_log::{self, Counters, Listener, Numbered};
use crate::storage::incidents::Incident;
use crate::storage::{Fault, Statement, bound_rooms, community_voice, rows};
use crate::wire::ids::{AtUri, Did};
use crate::wire::time::Micros;

/// The same in bytes: a few messages are a hundred times as large as most, and both objects, which
/// may share an isolate, hold the whole call.
pub(super) const PAGE_BYTES: usize = 2 * 1024 * 1024;

/// How often old events are deleted, in milliseconds.
pub(super) const TIDY_MS: i64 = 3_600_000;

/// How long an event may take from its numbering to its sending, in microseconds.
const ON_THE_WAY: i64 = 1_000_000;

/// The shared state of the object's tasks. No borrow of it lasts over an await.
pub(super) struct CommunityLog {
    pub(super) state: State,
    pub(super) env: Env,
    pub(super) sql: ObjectSql,
    pub(super) log: EventLog,
    pub(super) shards: u32,
    pub(super) ready: Cell<bool>,
    /// The stored counters, as this object, their only writer, last saw them; `None` after a fault.
    /// Reading them would cost more than the rest of accepting an event.
    pub(super) counters: Cell<Option<Counters>>,
    pub(super) listeners: RefCell<Option<Vec<Listener>>>,
    /// Gateways with a delivery in progress: one at a time each, so that events arrive in order.
    pub(super) delivering: RefCell<BTreeSet<String>>,
    /// The consecutive failures per gateway.
    pub(super) failures: RefCell<BTreeMap<String, u32>>,
    /// Whether a task is notifying voice rooms.
    pub(super) asking_rooms: Cell<bool>,
    /// Whether some room may be due; unknown when the object has just woken.
    pub(super) rooms_may_be_due: Cell<bool>,
    pub(super) alarm_at: Cell<Option<Micros>>,
    pub(super) observers: Observers,
}

impl CommunityLog {
    pub(super) fn new(state: State, env: Env) -> Self {
        let Sockets { gateway_shards: shards, rate, .. } = config::sockets(&env);
        Self {
            sql: ObjectSql::of(&state),
            log: config::event_log(&env),
            shards,
            state,
            env,
            ready: Cell::new(false),
            counters: Cell::new(None),
            listeners: RefCell::new(None),
            delivering: RefCell::default(),
            failures: RefCell::default(),
            asking_rooms: Cell::new(false),
            rooms_may_be_due: Cell::new(true),
            alarm_at: Cell::new(None),
            observers: Observers::new(rate),
        }
    }

    /// The counters; creates the tables on first use.
    pub(super) fn counters(&self) -> Result<Counters, Fault> {
        if !self.ready.get() {
            let tables = [community_log::SCHEMA, community_voice::SCHEMA, bound_rooms::SCHEMA];
            for sql in tables.into_iter().flatten() {
                self.sql.run(&Statement::new(sql, []))?;
            }
            self.ready.set(true);
        }
        if let Some(counters) = self.counters.get() {
            return Ok(counters);
        }
        let found: Vec<Counters> = rows(Some(&self.sql.run(&community_log::counters())?))?;
        let counters = found.into_iter().next().unwrap_or_default();
        self.counters.set(Some(counters));
        Ok(counters)
    }

    pub(super) fn announce(&self, command: &Announce) -> Result<Announced, Fault> {
        let counters = self.counters()?;
        let home = |did: &Did| gateway_of(did, self.shards);
        let (told, left) = self.with_voice(&counters, command)?;
        let taken = community_log::take(&counters, &told, now(), home);
        // The counters last: if writing fails half-way, it is repeated (storage::community_log).
        self.note_concerns(&counters, &told)?;
        self.counters.set(None);
        if taken.asks_gateways {
            self.listeners.replace(None);
        }
        let (events, count) = taken.statements.split_at(taken.statements.len().saturating_sub(1));
        if let Err(fault) = self.sql.run_all(events) {
            self.append_one_by_one(&counters, &told, &home, &fault)?;
        }
        self.sql.run_all(&left)?;
        self.sql.run_all(count)?;
        self.counters.set(Some(taken.counters));
        if taken.counters.kept() > self.log.max {
            self.forget()?;
        }
        let news = told.iter().filter(|told| told.id > counters.announced);
        self.observers.tell(&self.state, counters.seq + 1, news.flat_map(|told| &told.events));
        Ok(Announced { through: taken.counters.announced })
    }

    /// Appends events one by one after the database refused them together. An event that it refuses
    /// alone is set aside (Q21). If it refuses even that, it accepts nothing, and all is repeated
    /// later under the same numbers.
    fn append_one_by_one(
        &self,
        counters: &Counters,
        told: &[Told],
        home: &impl Fn(&Did) -> String,
        fault: &Fault,
    ) -> Result<(), Fault> {
        log::fault(fault, "events are stored one by one");
        let mut before = *counters;
        let mut lost = 0;
        for one in told.iter().filter(|told| told.id > counters.announced) {
            for event in &one.events {
                let store = |event: &Announcement| {
                    let told = [Told { id: one.id, events: vec![event.clone()] }];
                    let taken = community_log::take(&Counters { announced: 0, ..before }, &told, now(), home);
                    let statements = taken.statements.split_last().map_or(&[][..], |(_, events)| events);
                    self.sql.run_all(statements).map(|()| taken.counters.seq)
                };
                before.seq = match store(event) {
                    Ok(seq) => seq,
                    Err(_) => {
                        lost += 1;
                        store(&event.clone().set_aside())?
                    }
                };
            }
        }
        self.set_aside(lost);
        Ok(())
    }

    /// Records events of the log that could not be stored, read or delivered.
    pub(super) fn set_aside(&self, count: u32) {
        let place = self.name().map_or_else(String::new, |community| community.to_string());
        incidents::note(&self.env, Incident::Log, count, &place);
    }

    /// A page of the log, and `true` if there may be more after it.
    pub(super) fn page(&self, statement: &Statement) -> Result<(Vec<Numbered>, bool), Fault> {
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

    /// Numbers events that come from no commit, and stores their cause.
    pub(super) fn tell(&self, events: &[Announcement], cause: &[Statement]) -> Result<(), Fault> {
        let counters = self.counters()?;
        let first = counters.seq + 1;
        let seq = counters.seq + u64::try_from(events.len()).unwrap_or_default();
        self.counters.set(None);
        self.sql.run_all(&community_log::append(first, events, now()))?;
        self.sql.run_all(cause)?;
        self.sql.run(&community_log::count(seq, counters.announced))?;
        let oldest = counters.oldest.or((!events.is_empty()).then_some(first));
        self.counters.set(Some(Counters { seq, oldest, ..counters }));
        self.observers.tell(&self.state, counters.seq + 1, events);
        Ok(())
    }

    pub(super) fn attach(&self, command: &Attach) -> Result<Attached, Fault> {
        let seq = self.counters()?.seq;
        self.change_listeners(&community_log::listen(&command.gateway, seq))?;
        Ok(Attached { seq })
    }

    pub(super) fn replay(&self, command: &Replay) -> Result<Replayed, Fault> {
        // Anybody may request any log: a community that was never seen gets no tables.
        if !self.ready.get() && self.sql.run(&community_log::is_used())?.is_empty() {
            return Ok(match resume(command.cursor, 1, 0) {
                Resume::From(last) => Replayed::Page { events: Vec::new(), through: last, last },
                Resume::Resync { oldest } => Replayed::Resync { oldest },
            });
        }
        self.counters()?;
        self.forget()?;
        let counters = self.counters()?;
        match resume(command.cursor, counters.oldest(), counters.seq) {
            Resume::Resync { oldest } => Ok(Replayed::Resync { oldest }),
            Resume::From(after) => {
                let (events, more) = self.page(&community_log::standing_after(after, PAGE))?;
                let through = events.last().filter(|_| more).map_or(counters.seq, |event| event.seq);
                Ok(Replayed::Page { events, through, last: counters.seq })
            }
        }
    }

    /// The position in the log of a client that received everything before a moment. An event is
    /// numbered a moment before it is sent, so events numbered just before may not have arrived.
    pub(super) fn locate(&self, command: &Locate) -> Result<Located, Fault> {
        if !self.ready.get() && self.sql.run(&community_log::is_used())?.is_empty() {
            return Ok(Located { cursor: Some(0) });
        }
        self.counters()?;
        self.forget()?;
        let counters = self.counters()?;
        let at = Micros(command.at.0.saturating_sub(ON_THE_WAY));
        let found = self.sql.run(&community_log::numbered_before(at))?;
        let before = found.first().and_then(|seq| seq.parse().ok());
        let horizon = now().0.saturating_sub(self.log.hours.saturating_mul(3_600_000_000));
        let reaches_back = at.0 >= horizon && counters.kept() < self.log.max;
        Ok(Located { cursor: cursor_of(before, counters.oldest(), reaches_back) })
    }

    /// Deletes events that are too old or too many (Q06).
    fn forget(&self) -> Result<(), Fault> {
        let before = Micros(now().0.saturating_sub(self.log.hours.saturating_mul(3_600_000_000)));
        self.counters.set(None);
        self.sql.run_all(&community_log::forget(before, self.log.max))
    }

    /// The alarm: delivers what is left, and deletes old events.
    pub(super) async fn tidy(self: &Rc<Self>) {
        self.alarm_at.set(None);
        let result = self.counters().and_then(|_| self.forget());
        match result.and_then(|()| self.counters()) {
            Ok(counters) => {
                self.start_delivering();
                self.start_asking_rooms();
                if counters.oldest.is_some() {
                    self.wake_within(TIDY_MS).await;
                }
            }
            Err(fault) => {
                log::fault(&fault, "the log is tidied later");
                self.wake_within(TIDY_MS).await;
            }
        }
    }

    /// Makes sure that the alarm rings within `millis`. An earlier alarm stays.
    pub(super) async fn wake_within(&self, millis: i64) {
        let at = Micros(now().0 + millis * 1000);
        if self.alarm_at.get().is_some_and(|set| set <= at) {
            return;
        }
        self.alarm_at.set(Some(at));
        if !alarm::ring_in(&self.state, millis, "the next command sets it").await {
            self.alarm_at.set(None);
        }
    }

    /// The community of this object: its instance name.
    pub(super) fn name(&self) -> Option<AtUri> {
        self.state.id().name().and_then(|name| AtUri::parse(&name).ok())
    }
}
