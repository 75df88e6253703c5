//! Looks up people who are due: the work of the `Identities` object.

use futures::StreamExt as _;
use futures::stream::iter;
use worker::Env;

use crate::domain::breaker::Errand;
use crate::domain::identity::{Finding, HandleStatus, pause_after};
use crate::durable::jetstream::commands::Ensure;
use crate::pipeline;
use crate::platform::clock::now;
use crate::platform::config::{self, Outside};
use crate::platform::d1::D1;
use crate::platform::identity::{self, Unresolved};
use crate::platform::objects::{JETSTREAM, call};
use crate::platform::{log, profiles};
use crate::storage::identities::{self, Due, Looked};
use crate::storage::{Fault, Store};
use crate::wire::ids::Did;
use crate::wire::time::Micros;

/// People per commit. They are looked up in parallel; the platform itself keeps it to six connections that
/// wait for headers (platform facts 2.8).
const BATCH: i64 = 30;
const AT_ONCE: usize = 5;
/// The most batches in one run. The next alarm, which is due at once, does the rest.
const BATCHES: usize = 10;

/// What to do next.
pub(super) enum Next {
    /// Nobody is due.
    Nobody,
    /// The next person is due then.
    At(Micros),
    /// People are due, but the directory is not asked before then.
    Rest(Micros),
}

/// Looks up everybody who is due, and returns when the next person is. It stops if the directory
/// rests: thousands may be due, and each would only fail and be stored.
pub(super) async fn look(env: &Env) -> Result<Next, Fault> {
    let (db, outside, settings) = (D1::of(env)?, config::outside(env), config::pipeline(env));
    for _ in 0..BATCHES {
        let due = identities::due(&db, now(), BATCH).await?;
        if due.is_empty() {
            break;
        }
        let seen: Vec<_> =
            iter(due).map(|due| look_at(&db, due, &outside)).buffer_unordered(AT_ONCE).collect().await;
        let rest = seen.iter().filter_map(|seen| seen.rests_until).max();
        let (findings, looked): (Vec<(Did, Finding)>, Vec<Looked>) =
            seen.into_iter().map(|seen| ((seen.looked.did.clone(), seen.finding), seen.looked)).unzip();
        // Results are committed before people are marked as looked up: after a crash in between, the
        // lookup is repeated.
        if pipeline::learn(&db, &findings, &settings, now()).await?
            && let Err(fault) = call(env, JETSTREAM, &Ensure {}).await
        {
            log::fault(&fault, "the Jetstream object delivers the events at its next look at the outbox");
        }
        identities::looked(&db, &looked).await?;
        if let Some(until) = rest {
            return Ok(Next::Rest(until));
        }
    }
    Ok(identities::next_due(&db).await?.map_or(Next::Nobody, Next::At))
}

/// The result for one person.
struct Seen {
    finding: Finding,
    looked: Looked,
    rests_until: Option<Micros>,
}

/// Looks up one person: the document, the handle in both directions, and a profile if none is
/// stored. Each step may fail; the other results count all the same.
async fn look_at(db: &impl Store, due: Due, outside: &Outside) -> Seen {
    let mut finding = Finding::default();
    let mut rests_until = None;
    let mut errors = Vec::new();
    match identity::identify(db, &due.did, outside).await {
        // If the network reported a change while the document was fetched, it is fetched again.
        Ok(identity) => match identity.handle_status {
            HandleStatus::Unresolved => errors.push("its handle could not be checked".to_owned()),
            HandleStatus::Valid | HandleStatus::Invalid => {
                finding.handle = Some(identity.proven_handle().cloned());
            }
        },
        Err(Unresolved::Nowhere) => finding.handle = Some(None),
        Err(unresolved) => {
            if let Unresolved::Resting(until) = unresolved {
                rests_until = Some(until);
            }
            errors.extend(unresolved.into_fault().map(|fault| fault.to_string()));
        }
    }
    if due.wants_profile {
        match profiles::look_up(&due.did, outside, Errand::Trusted).await {
            Ok(profile) => finding.profile = profile,
            Err(fault) => errors.push(fault.to_string()),
        }
    }
    let failed = !errors.is_empty();
    let failures = if failed { due.failures.saturating_add(1) } else { 0 };
    let looked = Looked {
        did: due.did,
        since: due.since,
        again_at: failed.then(|| Micros(now().0.saturating_add(pause_after(failures)))),
        failures,
        error: failed.then(|| errors.join("; ")),
    };
    Seen { finding, looked, rests_until }
}
