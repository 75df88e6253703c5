//! `Community`: the order of one community's events, and their log.
//!
//! - Guarantee: `seq` is strictly increasing, never reused, and every event gets one, once
//!   (T14). Commits of this object's SQLite give it: numbers, log and the mark of what came in
//!   are written without an await between them, so they are stored together.
//! - Gates: storage is synchronous; what is sent out waits until it is durable. Calls to
//!   gateways are not covered by any gate, so how far a gateway is stands in the database and is
//!   read again after each call.
//! - Stored: `storage::community_log`.
//! - Commands: [`Announce`], [`Attach`], [`Replay`].
//! - Wakes on a command, and on its alarm: to deliver what a gateway has not had, and to forget
//!   old events. Ends when the log is empty and nobody listens; the counters stay, for a `seq`
//!   is never given twice.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

use worker::wasm_bindgen_futures::spawn_local;
use worker::{
    DurableObject, Env, Error, Request, Response, Result, State, WebSocket, WebSocketIncomingMessage,
    durable_object, wasm_bindgen,
};

use super::commands::{
    Announce, Announced, Attach, Attached, Command, Deliver, Replay, Replayed, call, gateway_of, read, reply,
    unknown,
};
use crate::domain::replay::{Resume, resume};
use crate::platform::clock::now;
use crate::platform::config::{self, EventLog};
use crate::platform::log;
use crate::platform::object_sql::ObjectSql;
use crate::storage::community_log::{self, Counters, Listener, Numbered};
use crate::storage::{Fault, Statement, rows};
use crate::wire::ids::AtUri;
use crate::wire::time::Micros;

/// Events in one call to a gateway, and in one page of a replay: with 2 kB each 1 MB.
const PAGE: i64 = 500;
/// How soon a gateway that could not be reached is tried again, in milliseconds.
const RETRY_MS: i64 = 2_000;
/// How often old events are looked for, in milliseconds.
const TIDY_MS: i64 = 3_600_000;

/// See the module.
#[durable_object]
pub struct Community {
    room: Rc<Room>,
}

impl DurableObject for Community {
    fn new(state: State, env: Env) -> Self {
        let sql = ObjectSql::of(&state);
        let room = Room {
            sql,
            log: config::event_log(&env),
            shards: config::sockets(&env).gateway_shards,
            state,
            env,
            ready: Cell::new(false),
            delivering: RefCell::default(),
            alarm_at: Cell::new(None),
        };
        Self { room: Rc::new(room) }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        let room = &self.room;
        match request.path().trim_start_matches('/') {
            Announce::NAME => {
                let result = read::<Announce>(&mut request).await.and_then(|command| room.announce(&command));
                if result.is_ok() {
                    room.deliver_soon();
                    room.wake_within(TIDY_MS).await;
                }
                reply::<Announce>(result)
            }
            Attach::NAME => {
                reply::<Attach>(read::<Attach>(&mut request).await.and_then(|command| room.attach(&command)))
            }
            Replay::NAME => {
                reply::<Replay>(read::<Replay>(&mut request).await.and_then(|command| room.replay(&command)))
            }
            _ => unknown(),
        }
    }

    async fn alarm(&self) -> Result<Response> {
        self.room.alarm_at.set(None);
        self.room.tidy().await;
        Response::empty()
    }

    // It holds no sockets yet; written all the same, because a handler that is missing panics
    // (platform facts T4).
    async fn websocket_message(&self, _: WebSocket, _: WebSocketIncomingMessage) -> Result<()> {
        Ok(())
    }

    async fn websocket_close(&self, _: WebSocket, _: usize, _: String, _: bool) -> Result<()> {
        Ok(())
    }

    async fn websocket_error(&self, _: WebSocket, _: Error) -> Result<()> {
        Ok(())
    }
}

/// What the tasks of the object share. Nothing in it is borrowed over an await.
struct Room {
    state: State,
    env: Env,
    sql: ObjectSql,
    log: EventLog,
    shards: u32,
    ready: Cell<bool>,
    /// Gateways that a task is delivering to: one at a time, so that events arrive in order.
    delivering: RefCell<BTreeSet<String>>,
    alarm_at: Cell<Option<Micros>>,
}

impl Room {
    /// The counters; on first use, creates the tables.
    fn counters(&self) -> std::result::Result<Counters, Fault> {
        if !self.ready.get() {
            for sql in community_log::SCHEMA {
                self.sql.run(&Statement::new(sql, []))?;
            }
            self.ready.set(true);
        }
        let found: Vec<Counters> = rows(Some(&self.sql.run(&community_log::counters())?))?;
        Ok(found.into_iter().next().unwrap_or_default())
    }

    fn announce(&self, command: &Announce) -> std::result::Result<Announced, Fault> {
        let counters = self.counters()?;
        let (mut seq, mut through) = (counters.seq, counters.announced);
        for told in command.told.iter().filter(|told| told.id > counters.announced) {
            through = through.max(told.id);
            for event in &told.events {
                if let Some(did) = community_log::addressee(event) {
                    // A private event reaches its person's sockets, subscribed or not (E06b).
                    self.sql.run(&community_log::listen(&gateway_of(did, self.shards), seq))?;
                }
                seq += 1;
                self.sql.run_all(&community_log::append(seq, event, now()))?;
            }
        }
        self.sql.run(&community_log::count(seq, through))?;
        self.sql.run_all(&self.forget())?;
        Ok(Announced { through })
    }

    fn attach(&self, command: &Attach) -> std::result::Result<Attached, Fault> {
        let seq = self.counters()?.seq;
        self.sql.run(&community_log::listen(&command.gateway, seq))?;
        Ok(Attached { seq })
    }

    fn replay(&self, command: &Replay) -> std::result::Result<Replayed, Fault> {
        let counters = self.counters()?;
        match resume(command.cursor, counters.oldest(), counters.seq) {
            Resume::Resync { oldest } => Ok(Replayed::Resync { oldest }),
            Resume::From(after) => {
                let events: Vec<Numbered> =
                    rows(Some(&self.sql.run(&community_log::standing_after(after, PAGE))?))?;
                let full = i64::try_from(events.len()).is_ok_and(|count| count == PAGE);
                let through = events.last().filter(|_| full).map_or(counters.seq, |event| event.seq);
                Ok(Replayed::Page { events, through, last: counters.seq })
            }
        }
    }

    fn forget(&self) -> Vec<Statement> {
        let before = Micros(now().0.saturating_sub(self.log.hours.saturating_mul(3_600_000_000)));
        community_log::forget(before, self.log.max)
    }

    fn listeners(&self) -> std::result::Result<(u64, Vec<Listener>), Fault> {
        let seq = self.counters()?.seq;
        Ok((seq, rows(Some(&self.sql.run(&community_log::listeners())?))?))
    }

    /// Delivers, in the background, to every gateway that has not had everything.
    fn deliver_soon(self: &Rc<Self>) {
        let Some(community) = self.name() else { return };
        let Ok((seq, listeners)) = self.listeners() else { return };
        for listener in listeners.into_iter().filter(|listener| listener.delivered < seq) {
            if self.delivering.borrow_mut().insert(listener.name.clone()) {
                let room = Rc::clone(self);
                let community = community.clone();
                spawn_local(async move {
                    let result = room.deliver(&community, &listener.name).await;
                    room.delivering.borrow_mut().remove(&listener.name);
                    if let Err(fault) = result {
                        log::fault(
                            &fault,
                            &format!("{} gets the events of {community} later", listener.name),
                        );
                        room.wake_within(RETRY_MS).await;
                    }
                });
            }
        }
    }

    /// Delivers to one gateway until it has everything.
    async fn deliver(&self, community: &AtUri, name: &str) -> std::result::Result<(), Fault> {
        loop {
            // Read again each time: more may have been announced during the last call.
            let (seq, listeners) = self.listeners()?;
            let Some(listener) = listeners.into_iter().find(|listener| listener.name == name) else {
                return Ok(());
            };
            if listener.delivered >= seq {
                return Ok(());
            }
            let events: Vec<Numbered> =
                rows(Some(&self.sql.run(&community_log::after(listener.delivered, PAGE))?))?;
            let full = i64::try_from(events.len()).is_ok_and(|count| count == PAGE);
            let through = events.last().filter(|_| full).map_or(seq, |event| event.seq);
            let deliver = Deliver { community: community.clone(), events };
            let listening = call(&self.env, name, &deliver).await?.listening;
            self.sql.run(&community_log::delivered(name, through))?;
            if !listening {
                self.sql.run(&community_log::leave(&listener))?;
            }
        }
    }

    async fn tidy(self: &Rc<Self>) {
        let result = self.counters().and_then(|_| self.sql.run_all(&self.forget()));
        match result.and_then(|()| self.counters()) {
            Ok(counters) => {
                self.deliver_soon();
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

    /// Sees that the alarm rings within `millis`. An earlier alarm stays.
    async fn wake_within(&self, millis: i64) {
        let at = Micros(now().0 + millis * 1000);
        if self.alarm_at.get().is_some_and(|set| set <= at) {
            return;
        }
        self.alarm_at.set(Some(at));
        if let Err(error) = self.state.storage().set_alarm(millis).await {
            self.alarm_at.set(None);
            log::fault(&Fault::new("setting the alarm", error), "the next command sets it");
        }
    }

    /// The community this object serves: its instance name.
    fn name(&self) -> Option<AtUri> {
        self.state.id().name().and_then(|name| AtUri::parse(&name).ok())
    }
}
