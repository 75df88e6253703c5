//! Reads the stream and lets it in: what the `Jetstream` object does, task by task.
//!
//! One task for each connection puts frames into a bounded queue; one task takes batches out of
//! it, walks them through the hallway and has them told (`hallway::telling`). `domain::link`
//! decides when to connect.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use futures::StreamExt;
use serde_json::json;
use worker::wasm_bindgen_futures::spawn_local;
use worker::{Delay, Env, Error, Result, State, WebSocket, WebsocketEvent};

use super::announcer::Objects;
use super::commands::{DISPATCH, IDENTITIES, Look, Spent, StreamStatus, Work, call};
use super::jetstream::ALARM_MS;
use crate::domain::known::Known;
use crate::domain::link::{Action, Gap, Input, Link, StreamPosition};
use crate::domain::pause::growing;
use crate::hallway::telling::Telling;
use crate::hallway::{Batch, walk};
use crate::platform::alarm;
use crate::platform::clock::{chance, now};
use crate::platform::config::{self, Stream};
use crate::platform::d1::D1;
use crate::platform::log::{self, Level};
use crate::storage::{Fault, Store, outbox};
use crate::wire::ids::Did;
use crate::wire::jetstream::{Frame, What, cursor_in, parse, subscribe_url};
use crate::wire::time::Micros;

/// Frames let in at once: the batch is the unit of cost. Twice as many take two thirds of the page
/// writes of the database for each event, and half a second.
const BATCH_FRAMES: usize = 2_000;
/// Text let in at once, in bytes: its facts and rows must fit D1's 2 MB per parameter.
const BATCH_BYTES: usize = 1536 * 1024;
/// Text read and not let in yet, in bytes, at which reading stops (J06): 16 of the 128 MB that
/// an isolate has.
const QUEUE_BYTES: usize = 16 * 1024 * 1024;
/// Events stored and not told at which letting in stops.
const UNTOLD_MAX: usize = 20_000;
/// While a whole batch waits in the queue, telling waits for so many events: a call to a
/// community costs the same for one event as for fifty.
const TELL_AT: usize = 10_000;
/// How often the cursor is stored while only foreign events pass, in microseconds.
const CURSOR_EVERY: i64 = 5_000_000;
/// How long frames that have arrived are waited for, at a time. The runtime looks at its sockets
/// only when it has nothing else to do, and reads 16 KiB then: about 20 frames. While a batch is
/// let in and told there is always something to do, so without a pause that would be all of them.
const GATHER: Duration = Duration::from_millis(1);
/// Frames that come in such a time if more are behind them.
const GATHER_FRAMES: usize = 8;
/// People remembered whose repositories are known: some dozen bytes each.
const MET_MAX: usize = 20_000;
/// Pauses after a fault, in milliseconds: doubling up to this.
const PAUSE_MAX_MS: i64 = 30_000;

/// What the tasks of the object share. Nothing in it is borrowed over an await.
pub(super) struct Reader {
    state: State,
    env: Env,
    config: Stream,
    link: RefCell<Link>,
    sockets: RefCell<BTreeMap<u64, WebSocket>>,
    queue: RefCell<VecDeque<String>>,
    queued_bytes: Cell<usize>,
    /// Frames that only move the cursor, not stored yet.
    passing: RefCell<Batch>,
    known: RefCell<Known>,
    stored: RefCell<Option<StreamPosition>>,
    stored_at: Cell<Micros>,
    last_frame: Cell<Option<Micros>>,
    objects: Objects,
    telling: Telling,
    spent: Cell<Spent>,
    /// People whose repositories were known before, so that nobody is asked to look at them again.
    met: RefCell<BTreeSet<Did>>,
    started: Cell<bool>,
    flushing: Cell<bool>,
}

impl Reader {
    pub(super) fn new(state: State, env: Env) -> Self {
        let config = config::stream(&env);
        Self {
            link: RefCell::new(Link::new(config.idle_ms)),
            objects: Objects::of(env.clone()),
            telling: Telling::default(),
            state,
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
            met: RefCell::default(),
            started: Cell::new(false),
            flushing: Cell::new(false),
        }
    }

    /// Sees that the stream is read and everything committed is told.
    pub(super) async fn ensure(self: &Rc<Self>) {
        if !self.started.get() {
            match self.start().await {
                Ok(()) => self.started.set(true),
                Err(fault) => {
                    log::fault(&fault, "the stream is not read yet; trying again");
                    self.wake_within(2_000).await;
                    return;
                }
            }
        }
        self.on(Input::Tick);
        // Decisions made through REST stand in the outbox; whoever made one asks for this.
        self.telling.look();
        self.flush_soon();
        self.schedule().await;
    }

    /// Reads where the stream stands; the first time of all, notes where it begins.
    async fn start(&self) -> std::result::Result<(), Fault> {
        let db = D1::of(&self.env)?;
        let position = match outbox::position(&db).await?.0 {
            Some(position) => position,
            None => {
                let beginning = StreamPosition::beginning(cursor_in(&self.config.url), now());
                db.write(&[outbox::begin(&beginning, now())]).await?;
                beginning
            }
        };
        *self.stored.borrow_mut() = Some(position);
        // Should the last commit have died before it said so.
        spawn_local(look(self.env.clone()));
        Ok(())
    }

    pub(super) fn status(&self) -> StreamStatus {
        StreamStatus {
            connected: self.link.borrow().is_connected(),
            host: host(&self.config.url),
            failures: self.link.borrow().failures(),
            last_frame_at: self.last_frame.get().map(Micros::shown),
            queued: self.queue.borrow().len(),
            untold: self.telling.waiting(),
            since_woken: self.spent.get(),
        }
    }

    /// Tells the link what happened and does what it says.
    fn on(self: &Rc<Self>, input: Input) {
        let actions = self.link.borrow_mut().on(input, now(), chance());
        for action in actions {
            match action {
                Action::Open(number) => spawn_local(Rc::clone(self).read(number)),
                Action::Close(number) => {
                    if let Some(socket) = self.sockets.borrow_mut().remove(&number) {
                        // Closing a closed socket fails, and that is all there is to it.
                        let _ = socket.close(Some(1000), Some("done"));
                    }
                }
            }
        }
    }

    /// One connection, from opening to closing.
    async fn read(self: Rc<Self>, number: u64) {
        if let Err(error) = self.read_frames(number).await {
            let failures = self.link.borrow().failures();
            log::line(
                Level::Warn,
                "the stream cannot be read; trying again after a pause",
                &json!({ "host": host(&self.config.url), "because": error.to_string(), "failures": failures }),
            );
        }
        self.sockets.borrow_mut().remove(&number);
        self.on(Input::Closed(number));
        self.schedule().await;
    }

    async fn read_frames(self: &Rc<Self>, number: u64) -> Result<()> {
        let host = host(&self.config.url);
        let stored = self.stored.borrow().clone();
        let cursor = stored.as_ref().map(|position| position.resume_at(&host));
        let url = subscribe_url(&self.config.url, cursor)
            .ok_or_else(|| Error::RustError("JETSTREAM_URL is no URL".into()))?;
        let socket = WebSocket::connect(url).await?;
        let mut events = socket.events()?;
        socket.accept()?;
        self.sockets.borrow_mut().insert(number, socket.clone());
        self.on(Input::Opened(number));
        self.schedule().await;
        let mut resumed_from = stored;
        while let Some(event) = events.next().await {
            if !self.link.borrow().reads(number) {
                break;
            }
            match event? {
                WebsocketEvent::Message(message) => {
                    self.last_frame.set(Some(now()));
                    self.on(Input::Frame(number));
                    if let Some(text) = message.text() {
                        if let Some(stored) = resumed_from.take() {
                            self.look_for_gap(&stored, &host, &text);
                        }
                        self.take_in(text);
                    }
                }
                WebsocketEvent::Close(_) => break,
            }
        }
        Ok(())
    }

    /// Notes if the stream goes on later than it was asked to (J07).
    fn look_for_gap(&self, stored: &StreamPosition, host: &str, text: &str) {
        let Some(gap) = parse(text).ok().and_then(|frame| Gap::noticed(stored, host, frame.time)) else {
            return;
        };
        log::line(
            Level::Warn,
            "the stream does not reach back to the cursor: a gap is recorded",
            &json!({ "host": host, "from": gap.from.shown(), "to": gap.to.shown() }),
        );
        self.passing.borrow_mut().gap = Some(gap);
    }

    /// Queues a frame. When the queue is full the stream is closed, not the frame dropped (J06).
    fn take_in(self: &Rc<Self>, text: String) {
        self.queued_bytes.set(self.queued_bytes.get() + text.len());
        self.queue.borrow_mut().push_back(text);
        if self.queued_bytes.get() >= QUEUE_BYTES {
            self.on(Input::Full);
        }
        self.flush_soon();
    }

    fn flush_soon(self: &Rc<Self>) {
        if !self.flushing.replace(true) {
            spawn_local(Rc::clone(self).flush());
        }
    }

    /// Lets everything in that is queued, batch after batch, and tells it. There is one such
    /// loop at a time, so batches keep the order of the stream (invariant 2).
    async fn flush(self: Rc<Self>) {
        let mut pause = Pause::default();
        loop {
            self.gather().await;
            match self.flush_once().await {
                Ok(true) => pause = Pause::default(),
                Ok(false) => break,
                Err(fault) => {
                    log::fault(&fault, "trying again; the cursor does not move");
                    pause.wait().await;
                }
            }
        }
        self.flushing.set(false);
        self.on(Input::Drained);
        self.schedule().await;
    }

    /// Waits until a batch is full or no more frames stand before the door.
    async fn gather(&self) {
        while !self.batch_waits() {
            let before = self.queue.borrow().len();
            Delay::from(GATHER).await;
            if self.queue.borrow().len() < before + GATHER_FRAMES {
                break;
            }
        }
    }

    /// Whether the queue holds a whole batch.
    fn batch_waits(&self) -> bool {
        self.queue.borrow().len() >= BATCH_FRAMES || self.queued_bytes.get() >= BATCH_BYTES
    }

    /// One step of [`Self::flush`]; `false` when there is nothing left to do.
    async fn flush_once(&self) -> std::result::Result<bool, Fault> {
        let db = D1::of(&self.env)?;
        if self.telling.waiting() < UNTOLD_MAX {
            self.fill_batch();
        }
        let due = {
            let batch = self.passing.borrow();
            let idle = self.queue.borrow().is_empty() && now().0 - self.stored_at.get().0 >= CURSOR_EVERY;
            let full = batch.frames.len() >= BATCH_FRAMES || batch.bytes >= BATCH_BYTES;
            batch.is_urgent() || full || (batch.position.is_some() && idle)
        };
        if due {
            self.commit(&db).await?;
        }
        if self.batch_waits() && self.telling.waiting() < TELL_AT {
            return Ok(true);
        }
        self.telling.catch_up(&db).await?;
        for (scope, fault) in self.telling.tell(&self.objects, now()).await {
            log::fault(&fault, &format!("{scope} is told again after a pause"));
        }
        let more = || !self.queue.borrow().is_empty() || self.telling.is_behind();
        if more() {
            return Ok(true);
        }
        if let Err(fault) = self.telling.forget(&db).await {
            log::fault(&fault, "the outbox is tidied later");
        }
        Ok(more())
    }

    /// Lets the batch in. It is kept until that is done, so a fault loses nothing.
    async fn commit(&self, db: &D1) -> std::result::Result<(), Fault> {
        let batch = self.passing.take();
        let forget = self.telling.to_forget();
        let mut known = self.known.take();
        let walked = walk(db, &batch, &self.config.hallway, forget, &mut known, now()).await;
        self.known.replace(known);
        let committed = match walked {
            Ok(committed) => committed,
            Err(fault) => {
                *self.passing.borrow_mut() = batch;
                return Err(fault);
            }
        };
        if let Some(id) = forget {
            self.telling.forgot(id);
        }
        let (cost, mut spent) = (db.cost(), self.spent.get());
        spent.commits += 1;
        spent.events += u64::try_from(batch.frames.len()).unwrap_or(0);
        spent.rows_read += cost.read;
        spent.rows_written += cost.written;
        self.spent.set(spent);
        self.have_repositories_read(&committed.known, &batch);
        if batch.position.is_some() {
            *self.stored.borrow_mut() = batch.position;
        }
        self.stored_at.set(now());
        if committed.looks {
            spawn_local(look(self.env.clone()));
        }
        self.telling.take(committed);
        Ok(())
    }

    /// Has repositories looked at that are known from now on, those of people whose identity
    /// changed, or all of them after a gap. Should that fail, cron does it within a minute.
    fn have_repositories_read(&self, known: &BTreeSet<Did>, batch: &Batch) {
        let mut met = self.met.borrow_mut();
        let changed = |frame: &Frame| matches!(frame.what, What::Identity { .. }) && met.contains(&frame.did);
        let mut is_new = batch.gap.is_some() || batch.frames.iter().any(changed);
        if met.len() >= MET_MAX {
            met.clear(); // each costs one look at the queue to have back
        }
        for did in known {
            is_new |= met.insert(did.clone());
        }
        if is_new {
            let env = self.env.clone();
            spawn_local(async move {
                if let Err(fault) = call(&env, DISPATCH, &Work {}).await {
                    log::fault(&fault, "cron has repositories read within a minute");
                }
            });
        }
    }

    /// Moves frames from the queue into the batch, up to its bounds.
    fn fill_batch(&self) {
        let host = host(&self.config.url);
        let mut batch = self.passing.borrow_mut();
        let mut queue = self.queue.borrow_mut();
        while batch.frames.len() < BATCH_FRAMES && batch.bytes < BATCH_BYTES {
            let Some(text) = queue.pop_front() else { break };
            self.queued_bytes.set(self.queued_bytes.get().saturating_sub(text.len()));
            batch.take(&text, &host);
        }
    }

    async fn schedule(&self) {
        // Frames nobody waits for are let in together, soon.
        let waiting = !self.passing.borrow().frames.is_empty();
        let let_in = waiting.then(|| Micros(self.stored_at.get().0 + CURSOR_EVERY));
        let next =
            [self.link.borrow().next_tick(), self.telling.next_try(), let_in].into_iter().flatten().min();
        let wait = next.map_or(ALARM_MS, |at| (at.millis() - now().millis() + 1).clamp(1, ALARM_MS));
        self.wake_within(wait).await;
    }

    pub(super) async fn wake_within(&self, millis: i64) {
        alarm::ring_in(&self.state, millis, "cron wakes the object within a minute").await;
    }
}

/// Has people looked at who are due: new ones, and those whose identity changed.
async fn look(env: Env) {
    if let Err(fault) = call(&env, IDENTITIES, &Look {}).await {
        log::fault(&fault, "they are looked at with the next who is due");
    }
}

/// Pauses after faults: 0.25 s, doubling.
#[derive(Default)]
struct Pause {
    faults: u32,
}

impl Pause {
    async fn wait(&mut self) {
        let millis = growing(250, self.faults, PAUSE_MAX_MS);
        self.faults = self.faults.saturating_add(1);
        Delay::from(Duration::from_millis(millis.unsigned_abs())).await;
    }
}

/// The host of a URL, with its port: what a cursor belongs to (J04).
fn host(url: &str) -> String {
    let parsed = worker::Url::parse(url).ok();
    let host = parsed.as_ref().and_then(worker::Url::host_str).unwrap_or_default();
    match parsed.as_ref().and_then(worker::Url::port) {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}
