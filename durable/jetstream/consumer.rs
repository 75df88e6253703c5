//! Consumes the stream: the shared state of the `Jetstream` object's tasks.
//!
//! One task per connection puts frames into a bounded queue (`connection`). One task takes batches
//! from it, commits them and delivers their events (`batches`). `domain::link` decides when to
//! connect.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use serde_json::json;
use worker::wasm_bindgen_futures::spawn_local;
use worker::{Env, State, WebSocket};

use super::ALARM_MS;
use super::callers::Decisions;
use super::delivery::Objects;
use super::sweep::Swept;
use crate::domain::facts_cache::FactsCache;
use crate::domain::fault_code::Code;
use crate::domain::link::{Action, Input, Link, Obstacle, StreamPosition};
use crate::domain::points::Points;
use crate::domain::troubles;
use crate::durable::identities::commands::Look;
use crate::durable::jetstream::commands::{Spent, StreamStatus};
use crate::pipeline::Batch;
use crate::pipeline::delivery::Deliveries;
use crate::platform::alarm::Alarm;
use crate::platform::clock::{chance, now};
use crate::platform::config::{self, Stream};
use crate::platform::d1::D1;
use crate::platform::log::{self, Level};
use crate::platform::objects::{IDENTITIES, call};
use crate::storage::{Fault, Store, outbox};
use crate::wire::ids::Did;
use crate::wire::jetstream::{cursor_in, left_out_of};
use crate::wire::time::Micros;

/// How often the cursor is stored while only irrelevant events arrive, in microseconds.
pub(super) const CURSOR_EVERY: i64 = 5_000_000;

/// How soon the object looks again at an erasure that waits for deliveries, in milliseconds.
const ERASURE_WAITS_MS: i64 = 1_000;

/// The shared state of the object's tasks. No borrow of it lasts over an await.
pub(super) struct Consumer {
    alarm: Alarm,
    pub(super) env: Env,
    pub(super) config: Stream,
    pub(super) link: RefCell<Link>,
    pub(super) obstacle: RefCell<Obstacle>,
    /// The longest time from opening a connection to meeting a frame that is too large, in
    /// milliseconds.
    pub(super) met_within: Cell<i64>,
    pub(super) sockets: RefCell<BTreeMap<u64, WebSocket>>,
    pub(super) queue: RefCell<VecDeque<String>>,
    pub(super) queued_bytes: Cell<usize>,
    /// Frames that only move the cursor, not stored yet.
    pub(super) passing: RefCell<Batch>,
    pub(super) known: RefCell<FactsCache>,
    pub(super) stored: RefCell<Option<StreamPosition>>,
    pub(super) stored_at: Cell<Micros>,
    pub(super) last_frame: Cell<Option<Micros>>,
    pub(super) binary: Cell<u64>,
    pub(super) ahead: Cell<u64>,
    pub(super) stepped_over: Cell<u64>,
    pub(super) objects: Objects,
    pub(super) deliveries: Deliveries,
    pub(super) decisions: RefCell<Decisions>,
    pub(super) spent: Cell<Spent>,
    pub(super) swept: RefCell<Swept>,
    pub(super) points: RefCell<Points>,
    pub(super) bans_ended_at: Cell<Micros>,
    /// People whose repositories are known already, so that they are not made due again.
    pub(super) met: RefCell<BTreeSet<Did>>,
    /// Why the last attempt to read the stream failed, and the last to store from it.
    pub(super) unread: RefCell<Option<String>>,
    pub(super) unstored: RefCell<Option<String>>,
    pub(super) started: Cell<bool>,
    pub(super) flushing: Cell<bool>,
    /// A task goes on with erasures.
    pub(super) erasing: Cell<bool>,
    /// Some erasure waits for deliveries.
    pub(super) erasures_wait: Cell<bool>,
}

impl Consumer {
    pub(super) fn new(state: &State, env: Env) -> Self {
        let config = config::stream(&env);
        Self {
            link: RefCell::new(Link::new(config.idle_ms)),
            objects: Objects::of(env.clone()),
            deliveries: Deliveries::default(),
            decisions: RefCell::default(),
            points: RefCell::new(Points::new(config.points)),
            obstacle: RefCell::default(),
            met_within: Cell::new(0),
            binary: Cell::new(0),
            ahead: Cell::new(0),
            stepped_over: Cell::new(0),
            alarm: Alarm::of(state, "cron wakes the object within a minute"),
            env,
            config,
            sockets: RefCell::default(),
            queue: RefCell::default(),
            queued_bytes: Cell::new(0),
            passing: RefCell::default(),
            known: RefCell::default(),
            stored: RefCell::new(None),
            stored_at: Cell::new(Micros(0)),
            last_frame: Cell::new(None),
            spent: Cell::default(),
            swept: RefCell::default(),
            bans_ended_at: Cell::default(),
            met: RefCell::default(),
            unread: RefCell::default(),
            unstored: RefCell::default(),
            started: Cell::new(false),
            flushing: Cell::new(false),
            erasing: Cell::new(false),
            erasures_wait: Cell::new(false),
        }
    }

    /// Makes sure that the stream is read and everything committed is delivered.
    pub(super) async fn ensure(self: &Rc<Self>) {
        if !self.started.get() {
            match self.start().await {
                Ok(()) => self.started.set(true),
                Err(fault) => {
                    log::fault(&fault, "the stream is not connected; retrying after a pause");
                    self.unread.replace(Some(troubles::of_database(&fault.because)));
                    self.wake_within(2_000).await;
                    return;
                }
            }
        }
        self.on(Input::Tick);
        // What others committed is in the outbox; they call this.
        self.deliveries.look();
        self.flush_soon();
        self.erase_soon();
        self.schedule().await;
    }

    /// Reads the position in the stream; the very first time, stores where it starts.
    async fn start(&self) -> std::result::Result<(), Fault> {
        let db = D1::of(&self.env)?;
        let left_out = left_out_of(&self.config.url);
        if !left_out.is_empty() {
            log::problem(
                Code::Variable,
                Level::Warn,
                "parameters of JETSTREAM_URL that make the stream unreadable are left out",
                &json!({ "left_out": left_out }),
            );
        }
        let mut position = outbox::position(&db).await?.0;
        if position.as_ref().is_some_and(|position| position.is_impossible(now())) {
            log::problem(
                Code::Stream,
                Level::Warn,
                "the stored cursor is in the future; reading continues from the time it was stored",
                &json!({ "cursor_at": position.map(|position| position.cursor.shown()) }),
            );
            db.write(&[outbox::set_back(now())]).await?;
            position = outbox::position(&db).await?.0;
        }
        let position = match position {
            Some(position) => position,
            None => {
                let beginning = StreamPosition::beginning(cursor_in(&self.config.url), now());
                db.write(&[outbox::begin(&beginning, now())]).await?;
                beginning
            }
        };
        *self.stored.borrow_mut() = Some(position);
        // In case the last commit died before it reported people who are due.
        spawn_local(look(self.env.clone()));
        Ok(())
    }

    pub(super) fn status(&self) -> StreamStatus {
        let connected = self.link.borrow().is_connected();
        let unread = || (!connected).then(|| self.unread.borrow().clone()).flatten();
        StreamStatus {
            connected,
            because: self.unstored.borrow().clone().or_else(unread),
            host: host(&self.config.url),
            failures: self.link.borrow().failures(),
            last_frame_at: self.last_frame.get().map(Micros::shown),
            queued: self.queue.borrow().len(),
            untold: self.deliveries.waiting(),
            binary: self.binary.get(),
            ahead: self.ahead.get(),
            stepped_over: self.stepped_over.get(),
            left_out: self.points.borrow().left_out(),
            since_woken: self.spent.get(),
        }
    }

    /// Passes an input to the link, and performs its orders.
    pub(super) fn on(self: &Rc<Self>, input: Input) {
        let actions = self.link.borrow_mut().on(input, now(), chance());
        for action in actions {
            match action {
                Action::Open(number) => spawn_local(Rc::clone(self).read(number)),
                Action::Close(number) => {
                    if let Some(socket) = self.sockets.borrow_mut().remove(&number) {
                        // Closing a closed socket fails, which is harmless.
                        let _ = socket.close(Some(1000), Some("done"));
                    }
                }
            }
        }
    }

    /// R63: closes the connection; the next one reads from the stored position.
    pub(super) async fn reconnect(self: &Rc<Self>) {
        let sockets = std::mem::take(&mut *self.sockets.borrow_mut());
        for (number, socket) in sockets {
            // Closing a closed socket fails, which is harmless.
            let _ = socket.close(Some(1000), Some("restart"));
            self.on(Input::Closed(number));
        }
        self.schedule().await;
    }

    pub(super) async fn schedule(&self) {
        // Frames that are not urgent are committed together, soon.
        let waiting = !self.passing.borrow().frames.is_empty();
        let let_in = waiting.then(|| Micros(self.stored_at.get().0 + CURSOR_EVERY));
        let next =
            [self.link.borrow().next_tick(), self.deliveries.next_try(), let_in].into_iter().flatten().min();
        let longest = if self.erasures_wait.get() { ERASURE_WAITS_MS } else { ALARM_MS };
        let wait = next.map_or(longest, |at| (at.millis() - now().millis() + 1).clamp(1, longest));
        self.wake_within(wait).await;
    }

    pub(super) async fn wake_within(&self, millis: i64) {
        self.alarm.ring_in(millis).await;
    }
}

/// Has people looked up who are due: new ones, and those whose identity changed.
pub(super) async fn look(env: Env) {
    if let Err(fault) = call(&env, IDENTITIES, &Look {}).await {
        log::fault(&fault, "these identities are resolved with the next one that is due");
    }
}

/// The host of a URL, with its port: what a cursor belongs to (J04).
pub(super) fn host(url: &str) -> String {
    let parsed = worker::Url::parse(url).ok();
    let host = parsed.as_ref().and_then(worker::Url::host_str).unwrap_or_default();
    match parsed.as_ref().and_then(worker::Url::port) {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}
