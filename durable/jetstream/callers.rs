//! The callers of moderators' decisions: each waits until its decision is committed.

use std::collections::BTreeMap;
use std::task::Waker;

use futures::channel::oneshot;

use crate::domain::decision_queue::DecisionQueue;
use crate::domain::moderation::{Decision, Ruling};
use crate::storage::Fault;
use crate::wire::time::Micros;

/// The decisions that wait, and their callers.
#[derive(Default)]
pub(super) struct Decisions {
    pub(super) queue: DecisionQueue,
    callers: BTreeMap<u64, Caller>,
    /// What waits for a decision to come.
    waker: Option<Waker>,
}

/// A caller who waits for the result.
pub(super) type Caller = oneshot::Sender<Result<Ruling, Fault>>;

impl Decisions {
    /// Adds a decision that came at the time `now`, and returns its number; `None` if there is no room.
    pub(super) fn join(&mut self, decision: Decision, caller: Caller, now: Micros) -> Option<u64> {
        let number = self.queue.join(decision, now)?;
        self.callers.insert(number, caller);
        self.waker.take().into_iter().for_each(Waker::wake);
        Some(number)
    }

    /// A caller waits no longer.
    pub(super) fn withdraw(&mut self, number: u64) {
        self.queue.withdraw(number);
        self.callers.remove(&number);
    }

    /// Whether a decision waits; if not, `waker` is called when one comes.
    pub(super) fn is_there(&mut self, waker: &Waker) -> bool {
        if self.queue.is_empty() {
            self.waker = Some(waker.clone());
        }
        !self.queue.is_empty()
    }

    /// Answers the callers of decisions that were committed together. A caller who waits no longer gets nothing.
    pub(super) fn answer(&mut self, taken: &[(u64, Decision)], results: &Result<Vec<Ruling>, Fault>) {
        if results.is_err() {
            self.queue.failed();
        }
        for (at, (number, _)) in taken.iter().enumerate() {
            let Some(caller) = self.callers.remove(number) else { continue };
            let missing = || Fault::new("deciding", "the commit left out a result");
            let result = results.as_ref().map_err(Fault::clone);
            let result = result.and_then(|rulings| rulings.get(at).copied().ok_or_else(missing));
            drop(caller.send(result));
        }
    }
}
