//! Commits a repository that was read: facts → fold → commit, as for the stream.
//!
//! Nothing is stored or published twice: what the index has already changes nothing. After a crash
//! between two commits, the service reads the repository again.

use super::attempts::{Step, until_committed};
use super::{Batch, Considered, Settings, consider, prepared};
use crate::domain::facts_cache::FactsCache;
use crate::domain::ingest::{Input, Needs};
use crate::domain::reconciliation::{Finding, Found, plan};
use crate::domain::snapshot::Snapshot;
use crate::storage::{Fault, Store, repos};
use crate::wire::ids::Did;
use crate::wire::tid::is_ahead;
use crate::wire::time::Micros;

/// Findings per commit: few enough that the stream, which commits to the same ledger, gets its
/// turn.
const BATCH_RECORDS: usize = 500;
/// Text per commit, in bytes: its facts and rows must fit into D1's 2 MB per parameter.
const BATCH_BYTES: usize = 512 * 1024;

/// The result of a reconciliation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// Records of the repository that were compared.
    pub records: usize,
    /// Records that the gate refused.
    pub refused: usize,
    /// Commits that changed something.
    pub commits: usize,
    /// Whether communities, channels, memberships or approvals changed: the gate may judge other
    /// records differently now.
    pub changed_gate: bool,
    /// Whether the outbox has new announcements.
    pub announced: bool,
}

/// The caller's part in the commits.
#[allow(async_fn_in_trait, reason = "Workers are single-threaded: futures need not be Send")]
pub trait Pace {
    /// The time.
    fn now(&self) -> Micros;
    /// Waits after a commit: after one that lost against another writer, with `losses` in a row;
    /// after a success, with 0.
    async fn pause(&self, losses: u32);
}

/// Commits the contents of a repository: missed creates, edits and deletions (K05). If a change may
/// make others' records acceptable, the repositories of people who were refused something since
/// `since` become due. The same commit notes that, because reading this repository again would find
/// nothing new.
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
    // A record written after this has a newer revision than the snapshot, and stays as it is (K09).
    let known = repos::records(store, did).await?;
    let mut done = Reconciled { records: snapshot.records.len(), ..Reconciled::default() };
    let (mut batch, mut bytes) = (Vec::new(), 0);
    for step in plan(did, snapshot, &known) {
        bytes += step.bytes();
        batch.extend(step.found(did, &snapshot.rev));
        if batch.len() >= BATCH_RECORDS || bytes >= BATCH_BYTES {
            commit_findings(store, &std::mem::take(&mut batch), since, settings, pace, &mut done).await?;
            bytes = 0;
        }
    }
    commit_findings(store, &batch, since, settings, pace, &mut done).await?;
    Ok(done)
}

/// Commits whether an account is active, as its host says (I51, I53).
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
    commit_findings(store, &[Found { did: did.clone(), what }], pace.now(), settings, pace, &mut done)
        .await?;
    Ok(done)
}

/// Commits findings, in order.
async fn commit_findings(
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
        let known = &mut FactsCache::default();
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
        done.announced |= !folded.announcements.is_empty();
        pace.pause(0).await;
    }
    Ok(())
}
