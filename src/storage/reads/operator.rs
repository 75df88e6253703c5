//! What only the operator reads: R60 and R61.

use serde::{Deserialize, Serialize};

use super::super::{Fault, Param, Statement, Store, rows};
use super::{Page, cut};
use crate::wire::ids::{AtUri, Did};

/// Repositories that R60 names at most.
const REPOSITORIES_MAX: i64 = 100;

/// How often records and frames were refused for a reason.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RefusedFor {
    /// The reason.
    pub reason: String,
    /// How many.
    pub count: i64,
    /// When the last one was.
    pub last_at: String,
    /// The record of the newest one; `None` for a frame that could not be read.
    pub example: Option<String>,
}

/// A repository that is to be read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DueRepository {
    /// The account.
    pub did: Did,
    /// Its verified handle.
    pub handle: Option<String>,
    /// Host and port of its PDS, once resolved.
    pub host: Option<String>,
    /// `waiting` or `failing`, or how the last reading ended.
    pub status: String,
    /// Why it is to be read.
    pub reason: String,
    /// Failures since the last success.
    pub failures: i64,
    /// The last of them.
    pub error: Option<String>,
    /// When it is to be read, or read again.
    pub next_attempt_at: String,
}

/// R60: what the operator looks after.
#[derive(Clone, Debug, Serialize)]
pub struct Overview {
    /// The most frequent reason first.
    pub refusals: Vec<RefusedFor>,
    /// The soonest first, at most [`REPOSITORIES_MAX`].
    pub repositories: Vec<DueRepository>,
}

/// R60, in one round trip.
pub async fn overview(store: &impl Store) -> Result<Overview, Fault> {
    let statements =
        [Statement::new(REFUSALS, [] as [Param; 0]), Statement::new(REPOSITORIES, [REPOSITORIES_MAX.into()])];
    let found = store.read(&statements).await?;
    Ok(Overview { refusals: rows(found.first())?, repositories: rows(found.get(1))? })
}

const REFUSALS: &str = "
    SELECT json_object('reason', c.reason, 'count', c.count,
        'last_at', strftime('%Y-%m-%dT%H:%M:%fZ', c.last_at),
        'example', (SELECT nullif(r.uri, '') FROM refusals r WHERE r.reason = c.reason ORDER BY r.id DESC LIMIT 1)) AS row
    FROM refusal_counts c ORDER BY c.count DESC, c.reason";

const REPOSITORIES: &str = "
    SELECT json_object('did', r.did, 'handle', p.handle, 'host', r.host, 'status', r.status, 'reason', r.reason,
        'failures', r.failures, 'error', r.error, 'next_attempt_at', r.next_attempt_at) AS row
    FROM repos r LEFT JOIN people p ON p.did = r.did
    WHERE r.next_attempt_at IS NOT NULL ORDER BY r.next_attempt_at LIMIT ?1";

/// A known community, as R61 lists it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Listed {
    /// Its address.
    pub uri: AtUri,
    /// Its owner.
    pub owner_did: Did,
    /// The owner's verified handle.
    pub owner_handle: Option<String>,
    /// What it is called.
    pub name: String,
    /// Whether its owner approves of members.
    pub requires_approval_to_join: bool,
}

/// R61: the known communities, by AT-URI.
pub async fn communities(
    store: &impl Store,
    after: Option<&AtUri>,
    limit: i64,
) -> Result<Page<Listed, AtUri>, Fault> {
    let statement = Statement::new(COMMUNITIES, [after.map_or("", AtUri::as_str).into(), (limit + 1).into()]);
    let found: Vec<Listed> = rows(store.read(&[statement]).await?.first())?;
    Ok(cut(found, limit, |listed| listed.uri.clone()))
}

const COMMUNITIES: &str = "
    SELECT json_object('uri', c.uri, 'owner_did', c.owner_did, 'owner_handle', p.handle, 'name', c.name,
        'requires_approval_to_join', json(iif(c.requires_approval_to_join, 'true', 'false'))) AS row
    FROM communities c LEFT JOIN people p ON p.did = c.owner_did
    WHERE c.uri > ?1 AND NOT c.hidden ORDER BY c.uri LIMIT ?2";
