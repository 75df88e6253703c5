//! The banned people of a community: R10.

use serde::{Deserialize, Serialize};

use super::super::{Fault, Statement, Store, rows};
use super::{Page, cut, shown};
use crate::domain::rows::PersonRow;
use crate::wire::bodies;
use crate::wire::ids::Did;

/// The position of a ban in R10: its time, and the banned person.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BanPlace(String, String);

/// R10: the people banned from a known community, newest ban first, ties by DID.
pub async fn bans(
    store: &impl Store,
    cdn: &str,
    community: &str,
    after: Option<&BanPlace>,
    limit: i64,
) -> Result<Page<bodies::Member, BanPlace>, Fault> {
    #[derive(Deserialize)]
    struct Found {
        member_did: Did,
        banned_at: String,
        by_service: i64,
        by_record: i64,
        person: Option<PersonRow>,
    }
    let source = |row: &Found| match (row.by_service, row.by_record) {
        (_, 0) => None,
        (0, _) => Some("record".to_owned()),
        _ => Some("both".to_owned()),
    };
    // '~' sorts after every time.
    let (banned_at, member) = after.map_or(("~", ""), |BanPlace(at, member)| (at, member));
    let statement =
        Statement::new(BANS, [community.into(), banned_at.into(), member.into(), (limit + 1).into()]);
    let found: Vec<Found> = rows(store.read(&[statement]).await?.first())?;
    let (found, end) = cut(found, limit, |row| BanPlace(row.banned_at.clone(), row.member_did.to_string()));
    let members = found.into_iter().map(|row| bodies::Member {
        source: source(&row),
        member_did: row.member_did,
        status: "banned".into(),
        person: shown(row.person.as_ref(), cdn),
    });
    Ok((members.collect(), end))
}

const BANS: &str = concat!(
    "SELECT json_object('member_did', b.member_did, 'banned_at', b.banned_at,
        'by_service', b.by_service, 'by_record', b.by_record, 'person', ",
    person_json!("p"),
    ") AS row
    FROM bans b JOIN communities c ON c.uri = b.community_uri
    LEFT JOIN people p ON p.did = b.member_did
    WHERE b.community_uri = ?1 AND NOT c.hidden
      AND b.banned_at <= ?2 AND (b.banned_at < ?2 OR b.member_did > ?3)
    ORDER BY b.banned_at DESC, b.member_did
    LIMIT ?4"
);
