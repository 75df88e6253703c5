//! The one loop for every commit: read facts, decide, commit.
//!
//! Facts carry the ledger version, and the commit fails if another one came in between
//! (`storage::commit`). Then the loop reads the facts again and decides anew. Each loss means that
//! another commit succeeded, so the service as a whole makes progress.

use crate::storage::{CommitError, Fault, Statement, Store};

/// The most times that a commit is tried, if it loses against other writers each time.
const ATTEMPTS: u32 = 20;

/// A decision on the current facts.
pub(super) enum Step<T> {
    /// Commit these statements, then return this result.
    Commit(Vec<Statement>, T),
    /// There is nothing to commit.
    Done(T),
}

/// Decides and commits, until no other writer comes in between. After each loss `pause` is awaited
/// with the number of losses so far. `doing` names the operation in a fault.
pub(super) async fn until_committed<T>(
    store: &impl Store,
    doing: &'static str,
    pause: impl AsyncFn(u32),
    mut decide: impl AsyncFnMut() -> Result<Step<T>, Fault>,
) -> Result<T, Fault> {
    for attempt in 1..=ATTEMPTS {
        let (statements, outcome) = match decide().await? {
            Step::Commit(statements, outcome) => (statements, outcome),
            Step::Done(outcome) => return Ok(outcome),
        };
        match store.commit(statements).await {
            Ok(()) => return Ok(outcome),
            Err(CommitError::Conflict) => pause(attempt).await,
            Err(CommitError::Fault(fault)) => return Err(fault),
        }
    }
    Err(Fault::new(doing, "other writers came first every time"))
}

/// Tries again at once: for a caller without competitors of its kind.
pub(super) async fn at_once(_losses: u32) {}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use futures::executor::block_on;

    use super::*;

    /// Answers each commit with the last entry of the list, and then with success.
    struct Scripted(RefCell<Vec<CommitError>>);

    impl Store for Scripted {
        async fn read(&self, _: &[Statement]) -> Result<Vec<Vec<String>>, Fault> {
            Ok(Vec::new())
        }
        async fn write(&self, _: &[Statement]) -> Result<Vec<Vec<String>>, Fault> {
            Ok(Vec::new())
        }
        async fn commit(&self, _: Vec<Statement>) -> Result<(), CommitError> {
            self.0.borrow_mut().pop().map_or(Ok(()), Err)
        }
    }

    fn run(errors: Vec<CommitError>, done_at: u32) -> (Result<u32, Fault>, u32, Vec<u32>) {
        let (decided, pauses) = (Cell::new(0), RefCell::new(Vec::new()));
        let store = Scripted(RefCell::new(errors));
        let pause = async |losses| pauses.borrow_mut().push(losses);
        let result = block_on(until_committed(&store, "testing", pause, async || {
            decided.set(decided.get() + 1);
            let now = decided.get();
            Ok(if now == done_at { Step::Done(0) } else { Step::Commit(Vec::new(), now) })
        }));
        (result, decided.get(), pauses.into_inner())
    }

    #[test]
    fn invariant_3_a_lost_race_is_decided_anew() {
        let lost = |n| vec![CommitError::Conflict; n];
        let fault = Fault::new("committing", "the disk is full");
        assert_eq!(run(lost(0), 0), (Ok(1), 1, vec![]), "the first succeeds");
        assert_eq!(run(lost(2), 0), (Ok(3), 3, vec![1, 2]), "the last decision is committed");
        assert_eq!(run(lost(2), 2), (Ok(0), 2, vec![1]), "nothing is left to commit");
        let broken = vec![CommitError::Fault(fault.clone()), CommitError::Conflict];
        assert_eq!(run(broken, 0), (Err(fault), 2, vec![1]), "the caller retries after a fault");
        let (result, decided, pauses) = run(lost(100), 0);
        assert_eq!((decided, pauses.len()), (ATTEMPTS, ATTEMPTS as usize), "it ends");
        assert_eq!(result.unwrap_err().doing, "testing");
    }
}
