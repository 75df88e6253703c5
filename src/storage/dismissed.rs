//! Applications that a moderator dismissed (N171b). One ends when the person is admitted.

use super::{Fault, Statement, Store, rows};
use crate::wire::ids::{AtUri, Did};
use crate::wire::time::Micros;

/// The most dismissed applications of a community, the newest. Over it, the oldest wait again.
pub const KEPT: i64 = 1000;

// The first membership of ?2 in ?1, by which lists name the application.
macro_rules! membership {
    () => {
        "coalesce((SELECT json_quote(m.uri) FROM memberships m WHERE m.member_did = ?2 AND m.community_uri = ?1
             AND NOT m.hidden ORDER BY m.indexed_at, m.uri LIMIT 1), 'null') AS row"
    };
}

/// Dismisses the application of a person, if there is one. Returns its membership, or `None` if nothing changed.
pub async fn dismiss(
    store: &impl Store,
    community: &AtUri,
    did: &Did,
    now: Micros,
) -> Result<Option<AtUri>, Fault> {
    let statements = [
        Statement::new(
            concat!(
                "INSERT INTO dismissed (community_uri, member_did, dismissed_at)
                 SELECT ?1, ?2, ?3 WHERE EXISTS (
                     SELECT 1 FROM memberships WHERE member_did = ?2 AND community_uri = ?1 AND NOT hidden)
                 ON CONFLICT DO NOTHING RETURNING ",
                membership!()
            ),
            [community.as_str().into(), did.as_str().into(), now.sortable().into()],
        ),
        Statement::new(
            "DELETE FROM dismissed WHERE community_uri = ?1 AND member_did IN (
                 SELECT member_did FROM dismissed WHERE community_uri = ?1
                 ORDER BY dismissed_at DESC, member_did LIMIT -1 OFFSET ?2)",
            [community.as_str().into(), KEPT.into()],
        ),
    ];
    moved(&store.write(&statements).await?)
}

/// The application of a person waits again. Returns its membership, or `None` if nothing changed.
pub async fn undismiss(store: &impl Store, community: &AtUri, did: &Did) -> Result<Option<AtUri>, Fault> {
    let statement = Statement::new(
        concat!(
            "DELETE FROM dismissed WHERE community_uri = ?1 AND member_did = ?2 RETURNING ",
            membership!()
        ),
        [community.as_str().into(), did.as_str().into()],
    );
    moved(&store.write(&[statement]).await?)
}

fn moved(answers: &[Vec<String>]) -> Result<Option<AtUri>, Fault> {
    Ok(rows::<Option<AtUri>>(answers.first())?.pop().flatten())
}

/// These people (JSON: community and DID of each) were admitted.
pub(super) fn end_of(admitted: String) -> Statement {
    Statement::new(
        "DELETE FROM dismissed WHERE (community_uri, member_did) IN (
             SELECT value ->> 0, value ->> 1 FROM json_each(?1))",
        [admitted.into()],
    )
}
