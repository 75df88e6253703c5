//! Erases a person (I55–I59): hides everything at once, then deletes it in pieces from the database and from the
//! objects.
//!
//! Guarantee: an erasure that began completes, whatever dies on the way. Its progress is stored in D1, and a
//! repeated piece finds nothing left to do. An object that cannot be reached delays neither other erasures nor
//! anything else.

use futures::future::join_all;

use super::attempts::{Step as Attempt, until_committed};
use super::{Batch, Considered, Settings, consider, prepared};
use crate::domain::erasure::Step;
use crate::domain::facts_cache::FactsCache;
use crate::domain::ingest::{Input, Needs};
use crate::storage::erasures::{self, Erasure, Taken, Work};
use crate::storage::{Fault, Store};
use crate::wire::ids::{AtUri, Did};
use crate::wire::time::Micros;

/// Erasures per page of a round.
const ROUND: i64 = 50;
/// Logs cleared at a time. The platform queues more than a few calls (platform facts 2.8).
const LOGS: i64 = 8;
/// The number of failures after which a log is skipped: its events expire by themselves (Q06).
const LOG_FAILURES: u32 = 8;

/// The objects that store something about people. Each command may be repeated.
#[allow(async_fn_in_trait, reason = "Workers are single-threaded: futures need not be Send")]
pub trait Keepers {
    /// Closes the sockets of a person, and deletes what is stored for the next ones. With `last`, also the
    /// undelivered events about them.
    async fn forget(&self, did: &Did, last: bool) -> Result<(), Fault>;
    /// Clears the log of a community.
    async fn clear_log(&self, community: &AtUri, did: &Did) -> Result<(), Fault>;
    /// Starts reading the repositories that are due.
    async fn read_repositories(&self) -> Result<(), Fault>;
}

/// Begins to erase a person at the time `now`: when this returns, nothing of theirs is shown or accepted any
/// more. A repeated call changes nothing. `pause` is awaited as in [`decide`](super::decide).
pub async fn erase(
    store: &impl Store,
    did: &Did,
    settings: &Settings,
    now: Micros,
    pause: impl AsyncFn(u32),
) -> Result<(), Fault> {
    let needs = Needs::of_erasure(did);
    until_committed(store, "beginning an erasure", pause, async || {
        let known = &mut FactsCache::default();
        let inputs = [Input::Erased(did)];
        let Considered { folded, version: before, .. } =
            consider(store, &needs, inputs, settings, known, now).await?;
        // Read after the facts: an erasure that began first has moved the ledger, or is found here.
        let begins = match erasures::find(store, did).await? {
            None => true,
            Some(Erasure { step: None, .. }) => return Ok(Attempt::Done(())),
            Some(Erasure { step: Some(step), .. }) => Step::named(&step) == Step::Lifting,
        };
        let mut prepared = prepared(&folded, before, &Batch::default(), None, settings, now);
        if begins {
            prepared.statements.extend(erasures::begin(did, prepared.version, now));
        } else {
            prepared.statements.push(erasures::go_on(did));
        }
        Ok(Attempt::Commit(prepared.statements, ()))
    })
    .await
}

/// The result of a round.
#[derive(Debug, Default)]
pub struct Round {
    /// Something was done, so that the next round may find more.
    pub did_something: bool,
    /// A piece was full, so other users of the database get a turn before the next round.
    pub did_much: bool,
    /// An erasure waits for the delivery of earlier announcements.
    pub waits: bool,
    /// The erasures that failed, and why.
    pub failed: Vec<(Did, Fault)>,
}

/// The result of one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Done {
    Something,
    Much,
    Waits,
}

/// Does one piece of every erasure in progress, at the time `now`. The next round repeats those that failed;
/// it comes after a pause if nothing else was done.
pub async fn round(store: &impl Store, keepers: &impl Keepers, now: Micros) -> Result<Round, Fault> {
    let mut round = Round::default();
    let mut after = String::new();
    loop {
        let working = erasures::working(store, &after, ROUND).await?;
        let Some(last) = working.last() else { return Ok(round) };
        after = last.did.to_string();
        for work in &working {
            match piece(store, keepers, work, now).await {
                Ok(Done::Waits) => round.waits = true,
                Ok(done) => {
                    round.did_something = true;
                    round.did_much |= done == Done::Much;
                }
                Err(fault) => {
                    erasures::failed(store, work).await?;
                    round.failed.push((work.did.clone(), fault));
                }
            }
        }
    }
}

/// One piece of one erasure.
async fn piece(store: &impl Store, keepers: &impl Keepers, work: &Work, now: Micros) -> Result<Done, Fault> {
    let step = Step::named(&work.step);
    match step {
        Step::Delivering if !erasures::is_delivered(store, work).await? => return Ok(Done::Waits),
        Step::Delivering => {}
        Step::Sockets => keepers.forget(&work.did, false).await?,
        Step::Logs => {
            if logs(store, keepers, work).await? {
                return Ok(Done::Something);
            }
        }
        Step::Rows => match erasures::take_out(store, work, now).await? {
            Taken::Much => return Ok(Done::Much),
            Taken::Rest => return Ok(Done::Something),
            Taken::Nothing => {}
        },
        Step::Again => keepers.forget(&work.did, true).await?,
        Step::Lifting => {
            return match erasures::take_back(store, work, now).await? {
                Taken::Nothing => keepers.read_repositories().await.map(|()| Done::Something),
                _ => Ok(Done::Much),
            };
        }
    }
    match step.next(work.known) {
        Some(next) => erasures::moved(store, work, next, "").await?,
        None => erasures::done(store, work).await?,
    }
    Ok(Done::Something)
}

/// Clears the next logs; `false` if there are no more. It clears the logs of all communities, because nothing
/// else names a community that the person left an hour ago.
async fn logs(store: &impl Store, keepers: &impl Keepers, work: &Work) -> Result<bool, Fault> {
    let communities = erasures::communities(store, work, LOGS).await?;
    let Some(last) = communities.last() else { return Ok(false) };
    let calls = communities.iter().map(|community| keepers.clear_log(community, &work.did));
    let failed = join_all(calls).await.into_iter().find_map(Result::err);
    if let Some(fault) = failed.filter(|_| work.failures < LOG_FAILURES) {
        return Err(fault);
    }
    erasures::moved(store, work, Step::Logs, last.as_str()).await.map(|()| true)
}
