//! Reads the stream and lets it in: what the `Jetstream` object does, task by task.
//!
//! One task for each connection puts frames into a bounded queue; one task takes batches out of
//! it, walks them through the pipeline and has them told (`pipeline::delivery`). `domain::link`
//! decides when to connect.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::{Either, select};
use serde_json::json;
use worker::wasm_bindgen_futures::spawn_local;
use worker::{Delay, Env, Error, Result, State, WebSocket, WebsocketEvent};

use super::ALARM_MS;
use super::delivery::Objects;
use crate::domain::link::{Action, Gap, Input, Link, Missed, Obstacle, Reach, Step, StreamPosition};
use crate::domain::pause::growing;
use crate::domain::standing_cache::StandingCache;
use crate::durable::identities::commands::Look;
use crate::durable::jetstream::commands::{Spent, StreamStatus};
use crate::durable::repo_sync::commands::Work;
use crate::pipeline::delivery::Telling;
use crate::pipeline::{Batch, Committed, end_bans, walk};
use crate::platform::alarm;
use crate::platform::clock::{chance, now};
use crate::platform::config::{self, Stream};
use crate::platform::d1::D1;
use crate::platform::incidents;
use crate::platform::log::{self, Level};
use crate::platform::objects::{DISPATCH, IDENTITIES, call};
use crate::storage::incidents::Incident;
use crate::storage::sweep::{Place, sweep, sweep_approvals, sweep_people};
use crate::storage::{Fault, Store, outbox};
use crate::wire::ids::Did;
use crate::wire::jetstream::{Frame, What, cursor_in, left_out_of, subscribe_url, time_of};
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
/// A connection that seeks a frame that is too large, and gets nothing for four times as long as the
/// slowest took to meet it, is beyond it; at least so many milliseconds, and at most.
const PROBE_FOR: (i64, i64) = (1_500, 60_000);
/// The code of a connection that ends because of a frame that is too large (RFC 6455, 7.4.1).
const TOO_LARGE: u16 = 1009;
/// How often bans are looked for whose end has come, in microseconds, at most.
const BANS_EVERY: i64 = 5_000_000;
/// How often what has come to its end is removed, in microseconds, and after how many events at the
/// latest: a flood is kept within so many rows of every bound.
const SWEEP_EVERY: i64 = 60_000_000;
const SWEEP_EVENTS: u64 = 5_000;
/// Pieces removed at a time: twice of what so many events can bring.
const SWEEP_PIECES: usize = 5;
/// How often a few people are looked at of whom nothing may be left, in microseconds.
const SWEEP_PEOPLE_EVERY: i64 = 10 * 60_000_000;
/// Pauses after a fault, in milliseconds: doubling up to this.
const PAUSE_MAX_MS: i64 = 30_000;

/// What the tasks of the object share. Nothing in it is borrowed over an await.
pub(super) struct Reader {
    state: State,
    env: Env,
    config: Stream,
    link: RefCell<Link>,
    obstacle: RefCell<Obstacle>,
    /// How long it took at most from opening a connection to meeting it, in milliseconds.
    met_within: Cell<i64>,
    sockets: RefCell<BTreeMap<u64, WebSocket>>,
    queue: RefCell<VecDeque<String>>,
    queued_bytes: Cell<usize>,
    /// Frames that only move the cursor, not stored yet.
    passing: RefCell<Batch>,
    known: RefCell<StandingCache>,
    stored: RefCell<Option<StreamPosition>>,
    stored_at: Cell<Micros>,
    last_frame: Cell<Option<Micros>>,
    binary: Cell<u64>,
    ahead: Cell<u64>,
    stepped_over: Cell<u64>,
    objects: Objects,
    telling: Telling,
    spent: Cell<Spent>,
    swept: RefCell<Swept>,
    bans_ended_at: Cell<Micros>,
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
            obstacle: RefCell::default(),
            met_within: Cell::new(0),
            binary: Cell::new(0),
            ahead: Cell::new(0),
            stepped_over: Cell::new(0),
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
            swept: RefCell::default(),
            bans_ended_at: Cell::default(),
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
        let left_out = left_out_of(&self.config.url);
        if !left_out.is_empty() {
            log::line(
                Level::Warn,
                "parameters of JETSTREAM_URL are left out: the stream could not be read with them",
                &json!({ "left_out": left_out }),
            );
        }
        let mut position = outbox::position(&db).await?.0;
        if position.as_ref().is_some_and(|position| position.is_impossible(now())) {
            log::line(
                Level::Warn,
                "the stored cursor is in the future: the stream is read on from when it was stored",
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
            binary: self.binary.get(),
            ahead: self.ahead.get(),
            stepped_over: self.stepped_over.get(),
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
        let end = self.read_frames(number).await;
        if let Err(error) = &end {
            let failures = self.link.borrow().failures();
            log::line(
                Level::Warn,
                "the stream cannot be read; trying again after a pause",
                &json!({ "host": host(&self.config.url), "because": error.to_string(), "failures": failures }),
            );
        }
        self.sockets.borrow_mut().remove(&number);
        let obstructed = match end {
            Ok(End::TooLarge(from)) => self.step(|obstacle| obstacle.on_met(from, now())),
            Ok(End::Passed) => self.step(|obstacle| obstacle.on_passed(now())),
            _ => false,
        };
        self.on(if obstructed { Input::Obstructed(number) } else { Input::Closed(number) });
        self.schedule().await;
    }

    /// Does what is to be done about a frame that is too large. `false`: nothing.
    fn step(self: &Rc<Self>, on: impl FnOnce(&mut Obstacle) -> Step) -> bool {
        let step = on(&mut self.obstacle.borrow_mut());
        if let Step::Over(from, to) = step {
            let host = host(&self.config.url);
            log::line(
                Level::Warn,
                "a frame of the stream is larger than the runtime takes: it is stepped over, and a gap is recorded",
                &json!({ "host": host, "from": from.shown(), "to": to.shown() }),
            );
            self.stepped_over.set(self.stepped_over.get() + 1);
            let mut batch = self.passing.borrow_mut();
            batch.note_gap(Gap { host: host.clone(), from, to, reason: Missed::FrameTooLarge });
            let position = StreamPosition { host, cursor: to };
            *self.stored.borrow_mut() = Some(position.clone());
            batch.position = Some(position);
            drop(batch);
            self.flush_soon();
        }
        step != Step::Nothing
    }

    async fn read_frames(self: &Rc<Self>, number: u64) -> Result<End> {
        let host = host(&self.config.url);
        let stored = self.stored.borrow().clone();
        let probe = self.obstacle.borrow().probe();
        let cursor = probe.or_else(|| stored.as_ref().map(|position| position.resume_at(&host)));
        let url = subscribe_url(&self.config.url, cursor)
            .ok_or_else(|| Error::RustError("JETSTREAM_URL is no URL".into()))?;
        let socket = WebSocket::connect(url).await?;
        let mut events = socket.events()?;
        socket.accept()?;
        self.sockets.borrow_mut().insert(number, socket.clone());
        self.on(Input::Opened(number));
        self.schedule().await;
        let names_an_event =
            |position: &StreamPosition| !self.obstacle.borrow().was_stepped_to(position.cursor);
        let mut resumed_from = stored.filter(names_an_event);
        let (from, opened_at) = (cursor.unwrap_or_default(), now());
        let met = || {
            self.met_within.set(self.met_within.get().max(now().millis() - opened_at.millis()));
            Ok(End::TooLarge(from))
        };
        let probe_for = (4 * self.met_within.get()).clamp(PROBE_FOR.0, PROBE_FOR.1);
        let probe_for = Duration::from_millis(probe_for.unsigned_abs());
        loop {
            let event = match probe {
                None => events.next().await,
                Some(_) => match select(events.next(), Delay::from(probe_for)).await {
                    Either::Left((event, _)) => event,
                    Either::Right(_) => return Ok(End::Passed),
                },
            };
            let Some(event) = event else { break };
            if !self.link.borrow().reads(number) {
                break;
            }
            match event {
                Err(error) if is_too_large(&error) => return met(),
                Err(error) => return Err(error),
                Ok(WebsocketEvent::Message(_)) if probe.is_some() => {
                    self.on(Input::Frame(number));
                    return Ok(End::Passed);
                }
                Ok(WebsocketEvent::Message(message)) => {
                    self.last_frame.set(Some(now()));
                    self.on(Input::Frame(number));
                    let Some(text) = message.text() else {
                        self.take_binary();
                        continue;
                    };
                    if let Some(stored) = resumed_from.take()
                        && !self.look_for_gap(&stored, &host, &text)
                    {
                        resumed_from = Some(stored);
                    }
                    self.take_in(text);
                }
                Ok(WebsocketEvent::Close(event)) if event.code() == TOO_LARGE => {
                    return met();
                }
                Ok(WebsocketEvent::Close(_)) => break,
            }
        }
        Ok(End::Closed)
    }

    /// Counts a frame that is no text. The first one is logged: where all are, nothing is read.
    fn take_binary(self: &Rc<Self>) {
        if self.binary.replace(self.binary.get() + 1) == 0 {
            log::line(
                Level::Error,
                "the stream sends binary frames, which are not read; is it asked for compression?",
                &json!({ "host": host(&self.config.url) }),
            );
        }
        self.passing.borrow_mut().take_binary();
        self.flush_soon();
    }

    /// Notes if the stream goes on later than it was asked to (J07). `false` if this frame does not
    /// tell.
    fn look_for_gap(&self, stored: &StreamPosition, host: &str, text: &str) -> bool {
        let reach = time_of(text).map_or(Reach::Unknown, |time| Gap::look(stored, host, time, now()));
        let gap = match reach {
            Reach::Unknown => return false,
            Reach::Whole => return true,
            Reach::Gap(gap) => gap,
        };
        log::line(
            Level::Warn,
            "the stream does not reach back to the cursor: a gap is recorded",
            &json!({ "host": host, "from": gap.from.shown(), "to": gap.to.shown() }),
        );
        self.passing.borrow_mut().note_gap(gap);
        true
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
            self.sweep(&db).await;
        }
        self.end_bans(&db).await;
        if self.batch_waits() && self.telling.waiting() < TELL_AT {
            return Ok(true);
        }
        let unreadable = self.telling.catch_up(&db).await?;
        incidents::note(&self.env, Incident::Outbox, unreadable, "outbox");
        let outcome = self.telling.tell(&self.objects, now()).await;
        for (scope, fault) in outcome.failed {
            log::fault(&fault, &format!("{scope} is told again after a pause"));
        }
        for (scope, events) in outcome.set_aside {
            let count = u32::try_from(events).unwrap_or(u32::MAX);
            incidents::note(&self.env, Incident::Outbox, count, &scope.to_string());
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
        let mut batch = self.passing.take();
        self.ahead.set(self.ahead.get() + std::mem::take(&mut batch.ahead));
        let forget = self.telling.to_forget();
        let mut known = self.known.take();
        let walked = walk(db, &batch, &self.config.pipeline, forget, &mut known, now()).await;
        self.known.replace(known);
        let committed = match walked {
            Ok(committed) => committed,
            Err(fault) => {
                let noted = self.passing.replace(batch);
                self.passing.borrow_mut().and_then(noted);
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
        self.have_repositories_read(&committed, &batch);
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

    /// Has those told who are back because their ban came to its end (R09), if it is time to look. The ban
    /// counts no more with or without this; a fault is made up for by the next time.
    async fn end_bans(&self, db: &D1) {
        let now = now();
        if now.0 - self.bans_ended_at.get().0 < BANS_EVERY {
            return;
        }
        self.bans_ended_at.set(now);
        match end_bans(db, &self.config.pipeline, now).await {
            Ok(more) => {
                self.telling.look();
                if more {
                    self.bans_ended_at.set(Micros(0));
                }
            }
            Err(fault) => log::fault(&fault, "bans that are over are told later"),
        }
    }

    /// Removes what has come to its end, if it is time. A fault is made up for by the next time.
    async fn sweep(&self, db: &D1) {
        let (now, events) = (now(), self.spent.get().events);
        let mut swept = self.swept.take();
        if now.0 - swept.at.0 >= SWEEP_EVERY || events - swept.events >= SWEEP_EVENTS {
            (swept.at, swept.events) = (now, events);
            if let Err(fault) = remove(db, &mut swept, now).await {
                log::fault(&fault, "what has come to its end is removed later");
            }
        }
        self.swept.replace(swept);
    }

    /// Has repositories looked at that are known from now on, those of people whose identity
    /// changed or whose account is active again, or all of them after a gap. Should that fail, cron
    /// does it within a minute.
    fn have_repositories_read(&self, committed: &Committed, batch: &Batch) {
        let mut met = self.met.borrow_mut();
        let changed = |frame: &Frame| matches!(frame.what, What::Identity { .. }) && met.contains(&frame.did);
        let mut is_new = committed.returned || batch.gap.is_some() || batch.frames.iter().any(changed);
        if met.len() >= MET_MAX {
            met.clear(); // each costs one look at the queue to have back
        }
        for did in &committed.known {
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
        let (host, now) = (host(&self.config.url), now());
        let mut batch = self.passing.borrow_mut();
        batch.from.clone_from(&self.stored.borrow());
        let mut queue = self.queue.borrow_mut();
        while batch.frames.len() < BATCH_FRAMES && batch.bytes < BATCH_BYTES {
            let Some(text) = queue.pop_front() else { break };
            self.queued_bytes.set(self.queued_bytes.get().saturating_sub(text.len()));
            batch.take(&text, &host, now);
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

/// What was swept, and when.
#[derive(Default)]
struct Swept {
    at: Micros,
    events: u64,
    people_at: Micros,
    place: Place,
}

async fn remove(db: &D1, swept: &mut Swept, now: Micros) -> std::result::Result<(), Fault> {
    for _ in 0..SWEEP_PIECES {
        if !sweep(db, &mut swept.place, now).await? {
            break;
        }
    }
    for _ in 0..SWEEP_PIECES {
        if !sweep_approvals(db, &mut swept.place).await? {
            break;
        }
    }
    if now.0 - swept.people_at.0 >= SWEEP_PEOPLE_EVERY {
        swept.people_at = now;
        sweep_people(db, &mut swept.place, now).await?;
    }
    Ok(())
}

/// How a connection ended.
enum End {
    /// As connections do.
    Closed,
    /// With a frame that is too large, having begun here.
    TooLarge(Micros),
    /// It sought such a frame, and did not meet it.
    Passed,
}

/// Whether the runtime ended a connection because of a frame that is too large. It says so in words
/// (workerd 2026-11: "WebSocket protocol error; protocolError.statusCode = 1009").
fn is_too_large(error: &Error) -> bool {
    error.to_string().contains("statusCode = 1009")
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
