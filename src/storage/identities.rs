//! Identities: what DID documents said, so that not every request reads one.
//!
//! Of strangers nothing is kept: anybody may ask about any DID, and a table that grows with what
//! people ask has no bound.

use super::{Fault, Param, Statement, Store, rows};
use crate::domain::identity::Identity;
use crate::wire::ids::Did;
use crate::wire::time::Micros;

/// What is stored of a DID. A document that was asked for before the network said that it changed
/// has no `resolved_at`.
pub async fn find(store: &impl Store, did: &Did) -> Result<Option<Identity>, Fault> {
    let statement = Statement::new(FIND, [did.as_str().into()]);
    let found: Vec<Identity> = rows(store.read(&[statement]).await?.first())?;
    Ok(found.into_iter().next())
}

/// Stores what was read of somebody who is known, unless something newer stands there.
pub async fn keep(store: &impl Store, identity: &Identity) -> Result<(), Fault> {
    store.write(&[Statement::new(KEEP, [Param::json(identity)])]).await.map(drop)
}

/// Makes these DIDs known, to be looked at from `now` on; who is known stays as they are. For
/// DIDs that come with a reason, such as one that an operator adds.
pub fn know(dids: &[Did], now: Micros) -> Statement {
    Statement::new(
        "INSERT INTO identities (did, check_at) SELECT value, ?2 FROM json_each(?1) WHERE true
         ON CONFLICT DO NOTHING",
        [Param::json(&dids), now.sortable().into()],
    )
}

/// I50: the documents of these DIDs changed at `now`, and are to be read again.
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

// When to look again (`check_at`, `failures`, `error`) is another statement's.
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
