//! A repository that was read, let into the index: facts → fold → commit, as for the stream.
//!
//! Nothing is stored twice and nothing is told twice: what the index has already changes nothing.
//! A crash between two commits is made up for by reading the repository again.

use super::attempts::{Step, until_committed};
use super::{Batch, Considered, Settings, consider, prepared};
use crate::domain::ingest::{Input, Needs};
use crate::domain::reconciliation::{Finding, Found, plan};
use crate::domain::snapshot::Snapshot;
use crate::domain::standing_cache::StandingCache;
use crate::storage::{Fault, Store, repos};
use crate::wire::ids::Did;
use crate::wire::tid::is_ahead;
use crate::wire::time::Micros;

/// Findings let in at once: small enough that the stream, which commits to the same ledger, gets
/// its turn.
const BATCH_RECORDS: usize = 500;
/// Text let in at once, in bytes: its facts and rows must fit D1's 2 MB per parameter.
const BATCH_BYTES: usize = 512 * 1024;

/// What came of a repository.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// Records that the repository holds, of those looked at.
    pub records: usize,
    /// Records that the gate refused.
    pub refused: usize,
    /// Commits that changed something.
    pub commits: usize,
    /// Whether communities, channels, memberships or approvals changed: the gate may see others
    /// differently now.
    pub changed_gate: bool,
    /// Whether something was announced, which stands in the outbox.
    pub told: bool,
}

/// What happens around the commits.
#[allow(async_fn_in_trait, reason = "Workers are single-threaded: futures need not be Send")]
pub trait Pace {
    /// The time.
    fn now(&self) -> Micros;
    /// Waits after a commit that lost against another writer, `losses` times in a row; after a
    /// commit with 0.
    async fn pause(&self, losses: u32);
}

/// Lets in what a repository held: missed creates, edits and deletions (K05). Where that may open
/// the gate to others, those who were refused something since `since` are looked at again; that is
/// noted with what opens it, for a second look at this repository would find nothing new in it.
pub async fn reconcile(
    store: &impl Store,
    did: &Did,
    snapshot: &Snapshot,
    since: Micros,
    settings: &Settings,
    pace: &impl Pace,
) -> Result<Reconciled, Fault> {
    if is_ahead(&snapshot.rev, pace.now()) {
        return Err(Fault::new("reading a repository", "its revision is ahead of the clock"));
    }
    // What is written from here on has a newer revision than the snapshot, and is left alone (K09).
    let known = repos::records(store, did).await?;
    let mut done = Reconciled { records: snapshot.records.len(), ..Reconciled::default() };
    let (mut batch, mut bytes) = (Vec::new(), 0);
    for step in plan(did, snapshot, &known) {
        bytes += step.bytes();
        batch.extend(step.found(did, &snapshot.rev));
        if batch.len() >= BATCH_RECORDS || bytes >= BATCH_BYTES {
            let_in(store, &std::mem::take(&mut batch), since, settings, pace, &mut done).await?;
            bytes = 0;
        }
    }
    let_in(store, &batch, since, settings, pace, &mut done).await?;
    Ok(done)
}

/// Lets in that an account is there or not, as its host says (I51, I53).
pub async fn account(
    store: &impl Store,
    did: &Did,
    status: Option<&str>,
    settings: &Settings,
    pace: &impl Pace,
) -> Result<Reconciled, Fault> {
    let what =
        Finding::Account { active: status.is_none(), status: status.map(str::to_owned), at: pace.now() };
    let mut done = Reconciled::default();
    let_in(store, &[Found { did: did.clone(), what }], pace.now(), settings, pace, &mut done).await?;
    Ok(done)
}

/// Walks findings in, in order.
async fn let_in(
    store: &impl Store,
    found: &[Found],
    since: Micros,
    settings: &Settings,
    pace: &impl Pace,
    done: &mut Reconciled,
) -> Result<(), Fault> {
    let Some(Found { did, .. }) = found.first() else { return Ok(()) };
    let needs = Needs::of_found(found);
    let pause = async |losses| pace.pause(losses).await;
    let (folded, committed) = until_committed(store, "committing a repository", pause, async || {
        let now = pace.now();
        let known = &mut StandingCache::default();
        let inputs = found.iter().map(Input::Found);
        let Considered { folded, version: before, .. } =
            consider(store, &needs, inputs, settings, known, now).await?;
        if !folded.is_anything() {
            return Ok(Step::Done((folded, false)));
        }
        let mut prepared = prepared(&folded, before, &Batch::default(), None, settings, now);
        if folded.changes_gate() {
            prepared.statements.push(repos::ask_the_gate_again(did, since, now));
        }
        Ok(Step::Commit(prepared.statements, (folded, true)))
    })
    .await?;
    done.refused += folded.turned_away;
    if committed {
        done.commits += 1;
        done.changed_gate |= folded.changes_gate();
        done.told |= !folded.announcements.is_empty();
        pace.pause(0).await;
    }
    Ok(())
}
