//! Who is told what was committed: the step after [`walk`](super::walk).
//!
//! Guarantee: every event once, in the order of commits, to each community, through any fault
//! and any crash. It comes from three things: events are stored in the outbox with their data;
//! whoever is told ignores a row it has had; a row is forgotten only when everybody has it.
//! Nothing in here needs to survive: what was lost is read again from the outbox.

use std::cell::{Cell, RefCell};

use futures::future::join_all;

use super::Committed;
use crate::domain::announcement::Scope;
use crate::domain::lost::{self, Attempt};
use crate::domain::pending::{PendingDeliveries, Told};
use crate::storage::{CommitError, Fault, Store, outbox};
use crate::wire::time::Micros;

/// Communities told at the same time. Each call waits for one object; the platform allows six
/// connections waiting for headers, and queues the rest (platform facts 2.8).
const AT_ONCE: usize = 32;

/// Those who are told.
#[allow(async_fn_in_trait, reason = "Workers are single-threaded: futures need not be Send")]
pub trait Audience {
    /// Tells one scope its events, in order. The id of the last row it has now. A fault leaves
    /// open whether they arrived; told again, it ignores what it had.
    async fn tell(&self, scope: &Scope, told: &[Told]) -> Result<i64, Fault>;
}

/// What came of telling.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Who could not be told, and why.
    pub failed: Vec<(Scope, Fault)>,
    /// Whose events were set aside, and how many.
    pub set_aside: Vec<(Scope, usize)>,
}

/// One attempt at one scope: the last row it has now, and how many events were set aside. Before
/// events are set aside they are told once more: the fault may have been the line's.
async fn try_once(
    audience: &impl Audience,
    scope: &Scope,
    attempt: Attempt,
    told: &[Told],
) -> Result<(i64, usize), Fault> {
    match audience.tell(scope, told).await {
        Ok(through) => Ok((through, 0)),
        Err(_) if attempt == Attempt::SetAside => {
            if let Ok(through) = audience.tell(scope, told).await {
                return Ok((through, 0));
            }
            let mut without = told.to_vec();
            let events = without.iter_mut().flat_map(|told| &mut told.events);
            let count = events.map(|event| event.event = lost::event()).count();
            audience.tell(scope, &without).await.map(|through| (through, count))
        }
        Err(fault) => Err(fault),
    }
}

/// What is committed and not told everybody yet.
#[derive(Debug)]
pub struct Telling {
    untold: RefCell<PendingDeliveries>,
    forgotten: Cell<i64>,
    /// The outbox holds rows that did not come in yet.
    behind: Cell<bool>,
}

impl Default for Telling {
    fn default() -> Self {
        Self { untold: RefCell::default(), forgotten: Cell::new(0), behind: Cell::new(true) }
    }
}

impl Telling {
    /// Events that wait to be told.
    pub fn waiting(&self) -> usize {
        self.untold.borrow().len()
    }

    /// When somebody who could not be told is tried again.
    pub fn next_try(&self) -> Option<Micros> {
        self.untold.borrow().next_try()
    }

    /// The row up to which everything was told, if that is news to the outbox.
    pub fn to_forget(&self) -> Option<i64> {
        let through = self.untold.borrow().told_through();
        (through > self.forgotten.get()).then_some(through)
    }

    /// The outbox has forgotten everything up to and with `id`.
    pub fn forgot(&self, id: i64) {
        self.forgotten.set(id);
    }

    /// Takes in what a commit left in the outbox. If other writers committed since, their rows
    /// come first: the next [`Self::catch_up`] brings all of them from the database.
    pub fn take(&self, committed: Committed) {
        if self.behind.get() || committed.before != self.untold.borrow().seen() {
            return self.behind.set(true);
        }
        let mut untold = self.untold.borrow_mut();
        for (id, announcements) in committed.outbox {
            untold.take(id, announcements);
        }
        untold.nothing_until(committed.after);
    }

    /// Somebody else may have committed: the next [`Self::catch_up`] looks.
    pub fn look(&self) {
        self.behind.set(true);
    }

    /// Whether somebody else may have committed since the outbox was last read.
    pub fn is_behind(&self) -> bool {
        self.behind.get()
    }

    /// Takes in what stands in the outbox: after a start, and when somebody else committed. The
    /// number of events that could not be read back, and are set aside (Q21).
    pub async fn catch_up(&self, store: &impl Store) -> Result<u32, Fault> {
        // Noted before the first read: what is committed from now on sets it again.
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
        // Read before the rows: a commit that comes between is picked up by the next call.
        let (_, version) = outbox::position(store).await?;
        loop {
            let after = self.untold.borrow().seen();
            let rows = outbox::untold(store, after).await?;
            if rows.is_empty() {
                break;
            }
            let mut untold = self.untold.borrow_mut();
            for row in rows {
                unreadable += row.unreadable;
                untold.take(row.id, row.announcements);
            }
        }
        self.untold.borrow_mut().nothing_until(version);
        Ok(unreadable)
    }

    /// Tells everybody what they have not had. Who cannot be told is tried again later, and holds up
    /// nobody else; a row that alone is refused again and again is set aside (Q21).
    pub async fn tell(&self, audience: &impl Audience, now: Micros) -> Outcome {
        let mut outcome = Outcome::default();
        let waiting: Vec<(Scope, Attempt, Vec<Told>)> = (self.untold.borrow().due(now))
            .map(|(scope, attempt, told)| (scope.clone(), attempt, told.to_vec()))
            .collect();
        for some in waiting.chunks(AT_ONCE) {
            let calls = some.iter().map(|(scope, attempt, told)| try_once(audience, scope, *attempt, told));
            for ((scope, ..), result) in some.iter().zip(join_all(calls).await) {
                match result {
                    Ok((through, set_aside)) => {
                        self.untold.borrow_mut().told(scope, through);
                        if set_aside > 0 {
                            outcome.set_aside.push((scope.clone(), set_aside));
                        }
                    }
                    Err(fault) => {
                        self.untold.borrow_mut().failed(scope, now);
                        outcome.failed.push((scope.clone(), fault));
                    }
                }
            }
        }
        outcome
    }

    /// Forgets told rows when there is no commit to do it on the way.
    pub async fn forget(&self, store: &impl Store) -> Result<(), Fault> {
        let Some(id) = self.to_forget() else { return Ok(()) };
        match store.commit(vec![outbox::told(id)]).await {
            Ok(()) => {
                self.forgot(id);
                Ok(())
            }
            Err(CommitError::Conflict) => Ok(()),
            Err(CommitError::Fault(fault)) => Err(fault),
        }
    }
}
