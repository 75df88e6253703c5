//! Who is present in a community, for a snapshot (A50).

use super::super::{Fault, Statement, Store, rows};
use crate::domain::presence::State;
use crate::wire::ids::{AtUri, Did};

/// Whether a community is for members only (X40); `None`: it is not known.
pub async fn is_members_only(store: &impl Store, community: &AtUri) -> Result<Option<bool>, Fault> {
    let statement = Statement::new(KNOWN, [community.as_str().into()]);
    Ok(rows(store.read(&[statement]).await?.first())?.pop())
}

/// The people who are watched through a community (A36) and not `offline`, by DID: the first `limit`.
pub async fn present(
    store: &impl Store,
    community: &AtUri,
    limit: usize,
) -> Result<Vec<(Did, State)>, Fault> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let statement = Statement::new(PRESENT, [community.as_str().into(), limit.into()]);
    rows(store.read(&[statement]).await?.first())
}

const KNOWN: &str = "
    SELECT json(iif(EXISTS (SELECT 1 FROM members_only x WHERE x.community_uri = c.uri), 'true', 'false')) AS row
    FROM communities c WHERE c.uri = ?1 AND NOT c.hidden";

const PRESENT: &str = "
    WITH watched(did) AS (
        SELECT owner_did FROM communities WHERE uri = ?1 AND NOT hidden
        UNION SELECT m.member_did FROM communities c CROSS JOIN memberships m ON m.community_uri = c.uri
               WHERE c.uri = ?1 AND NOT c.hidden AND NOT m.hidden
        UNION SELECT m.member_did FROM communities c CROSS JOIN members m ON m.community_uri = c.uri
               WHERE c.uri = ?1 AND NOT c.hidden AND NOT m.hidden AND NOT m.withdrawn)
    SELECT json_array(did, state) AS row FROM (
        SELECT w.did, p.state
        FROM watched w JOIN people p ON p.did = w.did
        WHERE NOT EXISTS (SELECT 1 FROM bans b WHERE b.community_uri = ?1 AND b.member_did = w.did))
    WHERE state IN ('online', 'away', 'dnd') ORDER BY did LIMIT ?2";
