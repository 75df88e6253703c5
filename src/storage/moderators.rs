//! The moderators of a community besides its owner (X20, R32), and bans that have expired.

use std::collections::BTreeSet;

use super::{Fault, Param, Statement, Store, rows};
use crate::wire::ids::{AtUri, Did};
use crate::wire::time::Micros;

/// The most bans that are lifted at once.
pub const OVER_AT_ONCE: usize = 50;

/// Makes these people the community's only moderators.
pub fn replace(community: &AtUri, people: &BTreeSet<Did>, now: Micros) -> [Statement; 2] {
    [
        Statement::new(
            "DELETE FROM moderators WHERE community_uri = ?1 AND did NOT IN (SELECT value FROM json_each(?2))",
            [community.as_str().into(), Param::json(people)],
        ),
        Statement::new(
            "INSERT INTO moderators (community_uri, did, added_at) SELECT ?1, value, ?3 FROM json_each(?2) WHERE true
             ON CONFLICT DO NOTHING",
            [community.as_str().into(), Param::json(people), now.shown().into()],
        ),
    ]
}

/// R33: the moderators of a community, by DID; at most as many as R32 allows.
pub async fn list(store: &impl Store, community: &str) -> Result<Vec<Did>, Fault> {
    let statement = Statement::new(
        "SELECT json_quote(did) AS row FROM moderators WHERE community_uri = ?1 ORDER BY did",
        [community.into()],
    );
    rows(store.read(&[statement]).await?.first())
}

/// Whether a person is banned from a community at a time: by a record (N21), which does not expire, or by the
/// service, for good or until later (R30). The three are SQL expressions.
macro_rules! banned_now {
    ($community:literal, $person:literal, $now:literal) => {
        concat!(
            "EXISTS (SELECT 1 FROM bans b WHERE b.community_uri = ",
            $community,
            " AND b.member_did = ",
            $person,
            " AND (b.by_record OR b.until IS NULL OR b.until > ",
            $now,
            "))"
        )
    };
}
pub(in crate::storage) use banned_now;

/// Whether `did` moderates the community at the time `now`; a person who is banned there does not.
pub async fn moderates(store: &impl Store, community: &AtUri, did: &Did, now: Micros) -> Result<bool, Fault> {
    let statement = Statement::new(
        concat!(
            "SELECT 'true' AS row FROM moderators m WHERE m.community_uri = ?1 AND m.did = ?2 AND NOT ",
            banned_now!("?1", "?2", "?3")
        ),
        [community.as_str().into(), did.as_str().into(), now.sortable().into()],
    );
    let found: Vec<bool> = rows(store.read(&[statement]).await?.first())?;
    Ok(!found.is_empty())
}

/// Some expired bans, in the order in which they expired.
pub async fn bans_over(store: &impl Store, now: Micros) -> Result<Vec<(AtUri, Did)>, Fault> {
    let statement = Statement::new(
        "SELECT json_array(community_uri, member_did) AS row FROM bans
         WHERE until IS NOT NULL AND until <= ?1 ORDER BY until LIMIT ?2",
        [now.sortable().into(), i64::try_from(OVER_AT_ONCE).unwrap_or(50).into()],
    );
    rows(store.read(&[statement]).await?.first())
}
