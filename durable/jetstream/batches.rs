//! Batches: takes frames from the queue, commits them, and has their events delivered.

use std::rc::Rc;
use std::time::Duration;

use worker::Delay;
use worker::wasm_bindgen_futures::spawn_local;

use super::consumer::CURSOR_EVERY;
use super::consumer::Consumer;
use super::consumer::host;
use super::consumer::look;
use crate::domain::link::Input;
use crate::domain::troubles;
use crate::durable::repo_sync::commands::Work;
use crate::pipeline::{Batch, Committed, end_bans, walk};
use crate::platform::background::Pauses;
use crate::platform::clock::now;
use crate::platform::d1::D1;
use crate::platform::incidents;
use crate::platform::log;
use crate::platform::objects::{DISPATCH, call};
use crate::storage::Fault;
use crate::storage::incidents::Incident;
use crate::wire::jetstream::{Frame, What};
use crate::wire::time::Micros;

/// Frames per commit. Most costs are per batch: with twice as many, the database needs two thirds of
/// the page writes per event, but a batch takes half a second.
const BATCH_FRAMES: usize = 2_000;

/// Text per commit, in bytes: its facts and rows must fit into D1's 2 MB per parameter.
const BATCH_BYTES: usize = 1536 * 1024;

/// The number of undelivered events at which commits pause.
const UNTOLD_MAX: usize = 20_000;

/// While batches are full, delivery waits for this many events: a call to a community costs the same
/// for one event as for fifty.
const DELIVER_AT: usize = 10_000;

/// How long to wait for frames that have arrived, at a time. The runtime reads its sockets only
/// when it has nothing else to do, and then 16 KiB: about 20 frames. During commits and deliveries
/// there is always something to do, so without a pause there would be no more than those.
const GATHER: Duration = Duration::from_millis(1);

/// The number of frames per such pause that shows that more are waiting.
const GATHER_FRAMES: usize = 8;

/// The most people who are remembered as known: some dozen bytes each.
const MET_MAX: usize = 20_000;

/// How often expired bans are looked for at most, in microseconds.
const BANS_EVERY: i64 = 5_000_000;

/// The pauses after faults, in milliseconds.
const PAUSES: Pauses = Pauses::new(250, 30_000);

impl Consumer {
    pub(super) fn flush_soon(self: &Rc<Self>) {
        if !self.flushing.replace(true) {
            spawn_local(Rc::clone(self).flush());
        }
    }

    /// Commits everything in the queue, batch after batch, and delivers it. There is one such loop
    /// at a time, so batches keep the order of the stream (invariant 2).
    async fn flush(self: Rc<Self>) {
        let mut pauses = PAUSES;
        loop {
            self.gather().await;
            match self.flush_once().await {
                Ok(more) => {
                    self.unstored.take();
                    if !more {
                        break;
                    }
                    pauses.reset();
                }
                Err(fault) => {
                    self.unstored.replace(Some(troubles::of_database(&fault.because)));
                    let instead =
                        "ingest retries after a pause; the cursor does not move and no event is lost";
                    let pause = pauses.after(&fault, instead);
                    match D1::of(&self.env) {
                        Ok(db) => self.while_deciding(&db, pause).await,
                        Err(_) => pause.await,
                    }
                }
            }
        }
        self.flushing.set(false);
        self.on(Input::Drained);
        if self.erasures_wait.get() {
            self.erase_soon();
        }
        self.schedule().await;
    }

    /// Waits until a batch is full or no more frames are arriving.
    async fn gather(&self) {
        while !self.batch_waits() && self.decisions.borrow().queue.is_empty() {
            let before = self.queue.borrow().len();
            Delay::from(GATHER).await;
            if self.queue.borrow().len() < before + GATHER_FRAMES {
                break;
            }
        }
    }

    /// Whether the queue holds a whole batch.
    fn batch_waits(&self) -> bool {
        self.queue.borrow().len() >= self.batch_frames() || self.queued_bytes.get() >= BATCH_BYTES
    }

    /// The frames of the next batch.
    fn batch_frames(&self) -> usize {
        self.decisions.borrow().queue.frames_at_once(BATCH_FRAMES, now())
    }

    /// One step of [`Self::flush`]; `false` when there is nothing left to do.
    async fn flush_once(&self) -> std::result::Result<bool, Fault> {
        let db = D1::of(&self.env)?;
        let most = self.batch_frames();
        if self.deliveries.waiting() < UNTOLD_MAX {
            self.fill_batch(most);
        }
        let (due, full) = {
            let batch = self.passing.borrow();
            let idle = self.queue.borrow().is_empty() && now().0 - self.stored_at.get().0 >= CURSOR_EVERY;
            let full = batch.frames.len() >= most || batch.bytes >= BATCH_BYTES;
            let decides = !self.decisions.borrow().queue.is_empty();
            (batch.is_urgent() || decides || full || (batch.position.is_some() && idle), full)
        };
        if due {
            self.commit_batch(&db).await?;
            let mut swept = self.swept.take();
            swept.sweep(&db, self.config.pipeline.searchable, self.spent.get().events).await;
            self.swept.replace(swept);
        }
        self.end_bans(&db).await;
        // A full batch shows a backlog even if the runtime has not read the next frames yet.
        if (full || self.batch_waits()) && self.deliveries.waiting() < DELIVER_AT {
            return Ok(true);
        }
        let unreadable = self.while_deciding(&db, self.deliveries.catch_up(&db)).await?;
        incidents::note(&self.env, Incident::Outbox, unreadable, "outbox");
        let outcome = self.while_deciding(&db, self.deliveries.deliver(&self.objects, now())).await;
        for (scope, fault) in outcome.failed {
            log::fault(&fault, &format!("delivery to {scope} is retried after a pause"));
        }
        for (scope, events) in outcome.set_aside {
            let count = u32::try_from(events).unwrap_or(u32::MAX);
            incidents::note(&self.env, Incident::Outbox, count, &scope.to_string());
        }
        let decides = || !self.decisions.borrow().queue.is_empty();
        let more = || !self.queue.borrow().is_empty() || decides() || self.deliveries.is_behind();
        if more() {
            return Ok(true);
        }
        if let Err(fault) = self.deliveries.forget(&db).await {
            log::fault(&fault, "delivered rows stay in the outbox and are deleted later");
        }
        Ok(more())
    }

    /// Publishes the return of people whose ban expired (R09), if it is time to check. The ban does
    /// not count any more in any case; after a fault, the next check repeats this.
    async fn end_bans(&self, db: &D1) {
        let now = now();
        if now.0 - self.bans_ended_at.get().0 < BANS_EVERY {
            return;
        }
        self.bans_ended_at.set(now);
        match end_bans(db, &self.config.pipeline, now).await {
            Ok(more) => {
                self.deliveries.look();
                if more {
                    self.bans_ended_at.set(Micros(0));
                }
            }
            Err(fault) => log::fault(&fault, "the end of expired bans is announced later"),
        }
    }

    /// Commits the batch. It is kept until that succeeds, so a fault loses nothing.
    async fn commit_batch(&self, db: &D1) -> std::result::Result<(), Fault> {
        let mut batch = self.passing.take();
        self.ahead.set(self.ahead.get() + std::mem::take(&mut batch.ahead));
        if let Err(fault) = self.commit(db, &batch).await {
            let noted = self.passing.replace(batch);
            self.passing.borrow_mut().and_then(noted);
            return Err(fault);
        }
        if batch.position.is_some() {
            *self.stored.borrow_mut() = batch.position;
        }
        self.stored_at.set(now());
        Ok(())
    }

    /// Commits a batch and the decisions that wait, whose callers get their results.
    pub(super) async fn commit(&self, db: &D1, batch: &Batch) -> std::result::Result<(), Fault> {
        let taken = self.decisions.borrow_mut().queue.take(!batch.frames.is_empty());
        let decisions: Vec<_> = taken.iter().map(|(_, decision)| decision.clone()).collect();
        let forget = self.deliveries.to_forget();
        let (mut known, before) = (self.known.take(), db.cost());
        let walked = walk(db, batch, &decisions, &self.config.pipeline, forget, &mut known, now()).await;
        self.known.replace(known);
        let results = walked.as_ref().map(|committed| committed.rulings.clone()).map_err(Fault::clone);
        self.decisions.borrow_mut().answer(&taken, &results);
        let committed = walked?;
        if let Some(id) = forget
            && committed.after > committed.before
        {
            self.deliveries.forgot(id);
        }
        let (cost, mut spent) = (db.cost(), self.spent.get());
        spent.commits += 1;
        spent.events += u64::try_from(batch.frames.len()).unwrap_or(0);
        spent.rows_read += cost.read - before.read;
        spent.rows_written += cost.written - before.written;
        self.spent.set(spent);
        self.have_repositories_read(&committed, batch);
        if committed.looks {
            spawn_local(look(self.env.clone()));
        }
        self.deliveries.take(committed);
        Ok(())
    }

    /// Has repositories read: those that are known from now on, those of people whose identity
    /// changed or whose account is active again, or all of them after a gap. If that fails, the
    /// cron does it within a minute.
    fn have_repositories_read(&self, committed: &Committed, batch: &Batch) {
        let mut met = self.met.borrow_mut();
        let changed = |frame: &Frame| matches!(frame.what, What::Identity { .. }) && met.contains(&frame.did);
        let mut is_new = committed.returned || batch.gap.is_some() || batch.frames.iter().any(changed);
        if met.len() >= MET_MAX {
            met.clear(); // each costs one query to learn again
        }
        for did in &committed.known {
            is_new |= met.insert(did.clone());
        }
        if is_new {
            let env = self.env.clone();
            spawn_local(async move {
                if let Err(fault) = call(&env, DISPATCH, &Work {}).await {
                    log::fault(&fault, "cron starts reading repositories within a minute");
                }
            });
        }
    }

    /// Moves frames from the queue into the batch, up to `most` and to its other limits.
    fn fill_batch(&self, most: usize) {
        let (host, now) = (host(&self.config.url), now());
        let mut batch = self.passing.borrow_mut();
        batch.from.clone_from(&self.stored.borrow());
        let mut queue = self.queue.borrow_mut();
        while batch.frames.len() < most && batch.bytes < BATCH_BYTES {
            let Some(text) = queue.pop_front() else { break };
            self.queued_bytes.set(self.queued_bytes.get().saturating_sub(text.len()));
            batch.take(&text, &host, now, &mut self.points.borrow_mut());
        }
    }
}
