//! Identities: the contents of DID documents, so that not every request has to fetch one.
//!
//! Nothing is stored about strangers. Anybody may ask about any DID, so a table of what people ask
//! would have no bound.

use serde::{Deserialize, Serialize};

use super::{Fault, Param, Statement, Store, rows};
use crate::domain::identity::Identity;
use crate::wire::ids::Did;
use crate::wire::time::Micros;

/// The stored identity of a DID. `resolved_at` is absent if the network reported a change after the
/// document was fetched.
pub async fn find(store: &impl Store, did: &Did) -> Result<Option<Identity>, Fault> {
    let statement = Statement::new(FIND, [did.as_str().into()]);
    let found: Vec<Identity> = rows(store.read(&[statement]).await?.first())?;
    Ok(found.into_iter().next())
}

/// Stores the identity of a known person, unless a newer one is stored.
pub async fn keep(store: &impl Store, identity: &Identity) -> Result<(), Fault> {
    store.write(&[Statement::new(KEEP, [Param::json(identity)])]).await.map(drop)
}

/// Makes these DIDs (JSON) known and due from `now` on; known people stay as they are. For DIDs
/// that come with a reason (K06), such as an accepted record, or an operator who adds them.
pub fn know(dids: String, now: Micros) -> Statement {
    Statement::new(
        "INSERT INTO identities (did, check_at) SELECT value, ?2 FROM json_each(?1) WHERE true
         ON CONFLICT DO NOTHING",
        [dids.into(), now.sortable().into()],
    )
}

/// A person whose identity is due.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Due {
    /// Who.
    pub did: Did,
    /// When it became due.
    pub since: Micros,
    /// Failed attempts since the last success.
    pub failures: i64,
    /// Whether no profile of them is stored (K12).
    pub wants_profile: bool,
}

/// The result of looking up a person.
#[derive(Clone, Debug, Serialize)]
pub struct Looked {
    /// Who.
    pub did: Did,
    /// As [`Due::since`]: if another reason came meanwhile, they stay due.
    pub since: Micros,
    /// When to look up again; `None` to wait for a reason.
    pub again_at: Option<Micros>,
    /// Failed attempts by now.
    pub failures: i64,
    /// Why this attempt failed.
    pub error: Option<String>,
}

/// The people who are due by `now`, the longest waiting first. The pause grows with each failure,
/// so those who keep failing do not delay the others (K12).
pub async fn due(store: &impl Store, now: Micros, limit: i64) -> Result<Vec<Due>, Fault> {
    let statement = Statement::new(DUE, [now.sortable().into(), limit.into()]);
    rows(store.read(&[statement]).await?.first())
}

/// When the next person becomes due.
pub async fn next_due(store: &impl Store) -> Result<Option<Micros>, Fault> {
    let statement = Statement::new(
        "SELECT json_quote(check_at) AS row FROM identities WHERE check_at IS NOT NULL
         ORDER BY check_at LIMIT 1",
        [],
    );
    let found: Vec<Micros> = rows(store.read(&[statement]).await?.first())?;
    Ok(found.into_iter().next())
}

/// Stores the results of looking up people.
pub async fn looked(store: &impl Store, looked: &[Looked]) -> Result<(), Fault> {
    let statement = Statement::new(LOOKED, [Param::json(&looked)]);
    store.write(&[statement]).await.map(drop)
}

/// I50: the documents of these DIDs changed at `now`, and must be fetched again.
pub fn changed(dids: &[Did], now: Micros) -> Statement {
    Statement::new(
        "UPDATE identities SET changed_at = ?2, check_at = ?2
         WHERE did IN (SELECT value FROM json_each(?1))",
        [Param::json(&dids), now.sortable().into()],
    )
}

const FIND: &str = "
    SELECT json_object('did', did, 'handle', handle, 'handle_status', handle_status,
        'handle_checked_at', iif(handle_checked_at > coalesce(changed_at, ''), handle_checked_at, NULL),
        'pds', pds, 'signing_key', signing_key,
        'resolved_at', iif(resolved_at > coalesce(changed_at, ''), resolved_at, NULL)) AS row
    FROM identities WHERE did = ?1";

const DUE: &str = "
    SELECT json_object('did', i.did, 'since', i.check_at, 'failures', i.failures,
        'wants_profile', json(iif(p.did IS NOT NULL AND CASE WHEN p.bluesky IS NULL
            THEN coalesce(p.profile_rev, p.display_name, p.avatar_cid, p.banner_cid, p.description)
            ELSE coalesce(p.profile_rev, nullif(p.bluesky, '{}')) END IS NULL, 'true', 'false'))) AS row
    FROM identities i LEFT JOIN people p ON p.did = i.did
    WHERE i.check_at <= ?1 ORDER BY i.check_at LIMIT ?2";

const LOOKED: &str = "
    UPDATE identities SET check_at = l.value ->> 'again_at', failures = l.value ->> 'failures',
        error = l.value ->> 'error'
    FROM json_each(?1) l
    WHERE identities.did = l.value ->> 'did' AND identities.check_at = l.value ->> 'since'
    RETURNING json_quote(did) AS row";

// Another statement writes when to look up again (`check_at`, `failures`, `error`).
const KEEP: &str = "
    INSERT INTO identities (did, handle, handle_status, handle_checked_at, pds, signing_key, resolved_at)
    SELECT value ->> 'did', value ->> 'handle', value ->> 'handle_status', value ->> 'handle_checked_at',
        value ->> 'pds', value ->> 'signing_key', value ->> 'resolved_at'
    FROM (SELECT ?1 AS value)
    WHERE EXISTS (SELECT 1 FROM identities WHERE did = value ->> 'did')
       OR EXISTS (SELECT 1 FROM people WHERE did = value ->> 'did')
    ON CONFLICT (did) DO UPDATE SET handle = excluded.handle, handle_status = excluded.handle_status,
        handle_checked_at = excluded.handle_checked_at, pds = excluded.pds,
        signing_key = excluded.signing_key, resolved_at = excluded.resolved_at
    WHERE excluded.resolved_at >= coalesce(resolved_at, '')
    RETURNING json_quote(did) AS row";
