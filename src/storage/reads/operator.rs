//! What only the operator reads: R60, R61 and R62.

use serde::{Deserialize, Serialize};

use super::super::{Fault, Param, Statement, Store, rows, webhooks};
use super::{Page, cut};
use crate::domain::presence::State;
use crate::wire::bodies::Webhook;
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
    /// Webhooks that were disabled, the latest first, at most 100.
    pub webhooks: Vec<Webhook>,
}

/// R60, in one round trip.
pub async fn overview(store: &impl Store) -> Result<Overview, Fault> {
    let statements = [
        Statement::new(REFUSALS, [] as [Param; 0]),
        Statement::new(REPOSITORIES, [REPOSITORIES_MAX.into()]),
        webhooks::disabled(),
    ];
    let found = store.read(&statements).await?;
    Ok(Overview {
        refusals: rows(found.first())?,
        repositories: rows(found.get(1))?,
        webhooks: webhooks::webhooks_of(found.get(2))?,
    })
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

/// Somebody who is present.
#[derive(Clone, Debug, Deserialize)]
pub struct Named {
    /// Their verified handle, or their DID.
    pub name: String,
}

/// How many people of a community are present.
#[derive(Clone, Debug, Deserialize)]
pub struct PresentIn {
    /// Its AT-URI.
    pub uri: String,
    /// How many are in this state.
    pub online: u32,
    /// Likewise.
    pub away: u32,
    /// Likewise.
    pub dnd: u32,
}

/// R62: what these people, who are present, are called; and how many of them are in each community that they own or
/// have a membership in, in one round trip.
pub async fn present(
    store: &impl Store,
    people: &[(Did, State)],
) -> Result<(Vec<Named>, Vec<PresentIn>), Fault> {
    let statements = [NAMES, PRESENT].map(|sql| Statement::new(sql, [Param::json(&people)]));
    let found = store.read(&statements).await?;
    Ok((rows(found.first())?, rows(found.get(1))?))
}

const NAMES: &str = "
    SELECT json_object('name', coalesce(p.handle, w.value ->> 0)) AS row
    FROM json_each(?1) w LEFT JOIN people p ON p.did = w.value ->> 0";

const PRESENT: &str = "
    SELECT json_object('uri', uri, 'online', sum(state = 'online'), 'away', sum(state = 'away'),
        'dnd', sum(state = 'dnd')) AS row
    FROM (
        SELECT w.value ->> 0 AS did, w.value ->> 1 AS state, c.uri FROM json_each(?1) w
          JOIN communities c ON c.owner_did = w.value ->> 0 WHERE NOT c.hidden
        UNION SELECT w.value ->> 0, w.value ->> 1, c.uri FROM json_each(?1) w
          JOIN memberships m ON m.member_did = w.value ->> 0 JOIN communities c ON c.uri = m.community_uri
         WHERE NOT m.hidden AND NOT c.hidden AND NOT EXISTS (
            SELECT 1 FROM bans b WHERE b.community_uri = c.uri AND b.member_did = m.member_did)
        UNION SELECT w.value ->> 0, w.value ->> 1, c.uri FROM json_each(?1) w
          JOIN members m ON m.member_did = w.value ->> 0 JOIN communities c ON c.uri = m.community_uri
         WHERE NOT m.hidden AND NOT m.withdrawn AND NOT c.hidden AND NOT EXISTS (
            SELECT 1 FROM bans b WHERE b.community_uri = c.uri AND b.member_did = m.member_did))
    GROUP BY uri ORDER BY uri";
