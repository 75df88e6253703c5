//! Applications that a moderator dismissed (N171b). One ends when the person is admitted.

use super::{Fault, Statement, Store};
use crate::wire::ids::{AtUri, Did};
use crate::wire::time::Micros;

/// The most dismissed applications of a community, the newest. Over it, the oldest wait again.
pub const KEPT: i64 = 1000;

/// Dismisses the application of a person, if there is one.
pub async fn dismiss(store: &impl Store, community: &AtUri, did: &Did, now: Micros) -> Result<(), Fault> {
    let statements = [
        Statement::new(
            "INSERT INTO dismissed (community_uri, member_did, dismissed_at)
             SELECT ?1, ?2, ?3 WHERE EXISTS (
                 SELECT 1 FROM memberships WHERE member_did = ?2 AND community_uri = ?1 AND NOT hidden)
             ON CONFLICT DO NOTHING",
            [community.as_str().into(), did.as_str().into(), now.sortable().into()],
        ),
        Statement::new(
            "DELETE FROM dismissed WHERE community_uri = ?1 AND member_did IN (
                 SELECT member_did FROM dismissed WHERE community_uri = ?1
                 ORDER BY dismissed_at DESC, member_did LIMIT -1 OFFSET ?2)",
            [community.as_str().into(), KEPT.into()],
        ),
    ];
    store.write(&statements).await.map(drop)
}

/// The application of a person waits again.
pub async fn undismiss(store: &impl Store, community: &AtUri, did: &Did) -> Result<(), Fault> {
    let statement = Statement::new(
        "DELETE FROM dismissed WHERE community_uri = ?1 AND member_did = ?2",
        [community.as_str().into(), did.as_str().into()],
    );
    store.write(&[statement]).await.map(drop)
}

/// These people (JSON: community and DID of each) were admitted.
pub(super) fn end_of(admitted: String) -> Statement {
    Statement::new(
        "DELETE FROM dismissed WHERE (community_uri, member_did) IN (
             SELECT value ->> 0, value ->> 1 FROM json_each(?1))",
        [admitted.into()],
    )
}
