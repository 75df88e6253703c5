//! The one loop by which everything is committed: read facts, decide, commit.
//!
//! Facts carry the version of the ledger, and the commit fails if another one came between
//! (`storage::commit`). Then the facts are read again and everything is decided anew. Each loss means
//! that another commit succeeded, so the service as a whole makes progress.

use crate::storage::{CommitError, Fault, Statement, Store};

/// How often commits are tried that lose against another writer.
const ATTEMPTS: u32 = 20;

/// What was decided over the facts of the moment.
pub(super) enum Step<T> {
    /// This is to be committed; then that is what came of it.
    Commit(Vec<Statement>, T),
    /// There is nothing to commit.
    Done(T),
}

/// Decides, and commits what was decided, until no other writer came between. After each loss `pause`
/// is awaited with the number of losses so far. `doing` says in a fault what was tried.
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

/// Tries again at once: for whoever is the only one of their kind.
pub(super) async fn at_once(_losses: u32) {}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use futures::executor::block_on;

    use super::*;

    /// Answers each commit with what stands at the end of the list, then with success.
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
        assert_eq!(run(lost(2), 0), (Ok(3), 3, vec![1, 2]), "what was decided last is what came of it");
        assert_eq!(run(lost(2), 2), (Ok(0), 2, vec![1]), "nothing is left to commit");
        let broken = vec![CommitError::Fault(fault.clone()), CommitError::Conflict];
        assert_eq!(run(broken, 0), (Err(fault), 2, vec![1]), "a fault is the caller's to try again");
        let (result, decided, pauses) = run(lost(100), 0);
        assert_eq!((decided, pauses.len()), (ATTEMPTS, ATTEMPTS as usize), "it ends");
        assert_eq!(result.unwrap_err().doing, "testing");
    }
}
