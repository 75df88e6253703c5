//! Delivery of committed events: the step after [`walk`](super::walk).
//!
//! Guarantee: each community receives every event once, in the order of commits, despite any fault
//! or crash. Three properties provide it: events are stored in the outbox with their data; a
//! receiver ignores a row that it has already; a row is deleted only when every receiver has it.
//! Nothing in here must survive: what is lost is read again from the outbox.

use std::cell::{Cell, RefCell};

use futures::future::join_all;

use super::Committed;
use crate::domain::announcement::Scope;
use crate::domain::lost::{self, Attempt};
use crate::domain::pending::{OutboxEvents, PendingDeliveries};
use crate::storage::{CommitError, Fault, Store, outbox};
use crate::wire::time::Micros;

/// Communities in parallel. Each call waits for one object; the platform allows six connections
/// that wait for headers, and queues the rest (platform facts 2.8).
const AT_ONCE: usize = 32;

/// The receivers of events.
#[allow(async_fn_in_trait, reason = "Workers are single-threaded: futures need not be Send")]
pub trait Audience {
    /// Delivers events to one scope, in order, and returns the id of the last row that the scope
    /// has. After a fault it is unknown whether they arrived; a second delivery is safe.
    async fn deliver(&self, scope: &Scope, rows: &[OutboxEvents]) -> Result<i64, Fault>;
}

/// The result of a delivery.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The scopes that could not be reached, and why.
    pub failed: Vec<(Scope, Fault)>,
    /// The scopes whose events were set aside, and how many.
    pub set_aside: Vec<(Scope, usize)>,
}

/// One attempt at one scope: returns the last row that it has, and the number of events set aside.
/// Before events are set aside they are sent once more, because the connection may have failed.
async fn try_once(
    audience: &impl Audience,
    scope: &Scope,
    attempt: Attempt,
    rows: &[OutboxEvents],
) -> Result<(i64, usize), Fault> {
    match audience.deliver(scope, rows).await {
        Ok(through) => Ok((through, 0)),
        Err(_) if attempt == Attempt::SetAside => {
            if let Ok(through) = audience.deliver(scope, rows).await {
                return Ok((through, 0));
            }
            let mut without = rows.to_vec();
            let events = without.iter_mut().flat_map(|row| &mut row.events);
            let count = events.map(|event| event.event = lost::event()).count();
            audience.deliver(scope, &without).await.map(|through| (through, count))
        }
        Err(fault) => Err(fault),
    }
}

/// The committed events that some scope has not received.
#[derive(Debug)]
pub struct Deliveries {
    pending: RefCell<PendingDeliveries>,
    forgotten: Cell<i64>,
    /// Whether the outbox may have rows that are not loaded.
    behind: Cell<bool>,
    /// The events of this writer's own commits that are not loaded: other writers' rows come first.
    unread: Cell<usize>,
}

impl Default for Deliveries {
    fn default() -> Self {
        Self {
            pending: RefCell::default(),
            forgotten: Cell::new(0),
            behind: Cell::new(true),
            unread: Cell::new(0),
        }
    }
}

impl Deliveries {
    /// The number of undelivered events of this writer's commits, those in the outbox included, and
    /// of the other commits that were loaded.
    pub fn waiting(&self) -> usize {
        self.pending.borrow().len().saturating_add(self.unread.get())
    }

    /// When to retry a scope that could not be reached.
    pub fn next_try(&self) -> Option<Micros> {
        self.pending.borrow().next_try()
    }

    /// The row up to which everything was delivered, if the outbox has not been trimmed to it.
    pub fn to_forget(&self) -> Option<i64> {
        let through = self.pending.borrow().delivered_through();
        (through > self.forgotten.get()).then_some(through)
    }

    /// The outbox rows up to and including `id` were deleted.
    pub fn forgot(&self, id: i64) {
        self.forgotten.set(id);
    }

    /// Adds the announcements of a commit. If other writers committed before it, their rows come
    /// first: the next [`Self::catch_up`] loads all of them from the database.
    pub fn take(&self, committed: Committed) {
        let mut pending = self.pending.borrow_mut();
        if committed.before != pending.seen() {
            let events = committed.outbox.iter().map(|(_, announcements)| announcements.len()).sum();
            self.unread.set(self.unread.get().saturating_add(events));
            return self.behind.set(true);
        }
        for (id, announcements) in committed.outbox {
            pending.take(id, announcements);
        }
        pending.nothing_until(committed.after);
    }

    /// Another writer may have committed: the next [`Self::catch_up`] reads the outbox.
    pub fn look(&self) {
        self.behind.set(true);
    }

    /// Whether another writer may have committed since the outbox was last read.
    pub fn is_behind(&self) -> bool {
        self.behind.get()
    }

    /// Loads the rows of the outbox: after a start, and when another writer committed. Returns the
    /// number of events that could not be read back and are set aside (Q21).
    pub async fn catch_up(&self, store: &impl Store) -> Result<u32, Fault> {
        // Cleared before the first read: a commit from now on sets it again.
        if !self.behind.replace(false) {
            return Ok(0);
        }
        let result = self.read_outbox(store).await;
        if result.is_err() {
            self.behind.set(true);
        }
        result
    }

    async fn read_outbox(&self, store: &impl Store) -> Result<u32, Fault> {
        let mut unreadable = 0;
        // Read before the rows, so that the next call picks up a commit that comes in between.
        let (_, version) = outbox::position(store).await?;
        // Each commit moves the version, so there is nothing to load.
        if version == self.pending.borrow().seen() {
            return Ok(0);
        }
        loop {
            let after = self.pending.borrow().seen();
            let rows = outbox::pending(store, after).await?;
            if rows.is_empty() {
                break;
            }
            let mut pending = self.pending.borrow_mut();
            for row in rows {
                unreadable += row.unreadable;
                pending.take(row.id, row.announcements);
            }
        }
        self.pending.borrow_mut().nothing_until(version);
        self.unread.set(0);
        Ok(unreadable)
    }

    /// Delivers to every scope what it has not received. A scope that cannot be reached is retried
    /// later, and delays no other; a row that alone is refused again and again is set aside (Q21).
    pub async fn deliver(&self, audience: &impl Audience, now: Micros) -> Outcome {
        let mut outcome = Outcome::default();
        let waiting: Vec<(Scope, Attempt, Vec<OutboxEvents>)> = (self.pending.borrow().due(now))
            .map(|(scope, attempt, rows)| (scope.clone(), attempt, rows.to_vec()))
            .collect();
        for some in waiting.chunks(AT_ONCE) {
            let calls = some.iter().map(|(scope, attempt, rows)| try_once(audience, scope, *attempt, rows));
            for ((scope, ..), result) in some.iter().zip(join_all(calls).await) {
                match result {
                    Ok((through, set_aside)) => {
                        self.pending.borrow_mut().delivered(scope, through);
                        if set_aside > 0 {
                            outcome.set_aside.push((scope.clone(), set_aside));
                        }
                    }
                    Err(fault) => {
                        self.pending.borrow_mut().failed(scope, now);
                        outcome.failed.push((scope.clone(), fault));
                    }
                }
            }
        }
        outcome
    }

    /// Deletes delivered rows if no commit does so on the way.
    pub async fn forget(&self, store: &impl Store) -> Result<(), Fault> {
        let Some(id) = self.to_forget() else { return Ok(()) };
        match store.commit(vec![outbox::delivered(id)]).await {
            Ok(()) => {
                self.forgot(id);
                Ok(())
            }
            Err(CommitError::Conflict) => Ok(()),
            Err(CommitError::Fault(fault)) => Err(fault),
        }
    }
}
