//! Who waits to be admitted to a community, and who is banned from it: N171b, N171c.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::super::super::moderators::banned_now;
use super::super::super::{Fault, Param, Statement, Store, rows};
use super::super::communities::joined_it;
use super::super::{Page, cut};
use super::communities::{ROLES, admissions_of, counting};
use super::{Found, Own, actor};
use crate::domain::rows::{PersonRow, RoleRow};
use crate::wire::ids::{AtUri, Did, Rkey};
use crate::wire::permissions::Permission;
use crate::wire::time::Micros;
use crate::wire::views::{Actor, Application};

/// The most applications that are listed, the newest (N171b).
const APPLICATIONS_MAX: i64 = 1000;

/// The applications to a known community, newest first: those that wait, and those that were dismissed.
pub async fn applications(
    store: &impl Store,
    community: &str,
) -> Result<(Vec<Application>, Vec<Application>), Fault> {
    #[derive(Deserialize)]
    struct Asked {
        did: Did,
        membership: AtUri,
        at: Micros,
        dismissed: bool,
        person: Option<PersonRow>,
        own: Option<Own>,
    }
    let statement = Statement::new(APPLICATIONS, [community.into(), APPLICATIONS_MAX.into()]);
    let found: Vec<Asked> = rows(store.read(&[statement]).await?.first())?;
    let (aside, waiting): (Vec<Asked>, Vec<Asked>) = found.into_iter().partition(|asked| asked.dismissed);
    let view = |Asked { did, membership, at, person, own, .. }: Asked| {
        let Actor { did, handle, data } = actor(Found { did, person, own });
        Application { did, handle, membership, created_at: at.shown(), data }
    };
    Ok((waiting.into_iter().map(view).collect(), aside.into_iter().map(view).collect()))
}

/// Who is banned from a known community, by DID: after `after`, at most `limit` (N171c).
pub async fn banned(
    store: &impl Store,
    community: &str,
    after: Option<&Did>,
    limit: i64,
) -> Result<Page<Actor, Did>, Fault> {
    let after = after.map_or("", Did::as_str);
    let statement = Statement::new(BANNED, [community.into(), after.into(), (limit + 1).into()]);
    let found: Vec<Found> = rows(store.read(&[statement]).await?.first())?;
    let (found, end) = cut(found, limit, |row| row.did.clone());
    Ok((found.into_iter().map(actor).collect(), end))
}

/// Those of these people who may admit others to a community (N171b): its account, its moderators (X20), and in the
/// newest form people with a role that permits it (N22); nobody who is banned there.
pub async fn approvers(
    store: &impl Store,
    community: &AtUri,
    people: &[Did],
    now: Micros,
) -> Result<Vec<Did>, Fault> {
    #[derive(Deserialize)]
    struct Here {
        did: Did,
        banned: bool,
        moderates: bool,
    }
    let uri = || Param::from(community.as_str());
    let asked = [
        Statement::new(HERE, [uri(), Param::json(&people), now.sortable().into()]),
        Statement::new(ADMISSIONS_HERE, [uri(), Param::json(&people)]),
        Statement::new(ROLES, [uri()]),
    ];
    let answers = store.read(&asked).await?;
    let held = counting(rows(answers.get(1))?);
    let roles: Vec<RoleRow> = rows(answers.get(2))?;
    let permits = |role: &RoleRow| role.rights().contains(Permission::ApprovalManage);
    let permitting: BTreeSet<Rkey> =
        roles.iter().filter(|role| permits(role)).map(|role| role.uri.rkey()).collect();
    let may = |Here { did, banned, moderates }: Here| {
        let mut roles = held.get(&(community.clone(), did.clone())).into_iter().flatten();
        let may = moderates || roles.any(|role| permitting.contains(role));
        (did == community.authority() || (may && !banned)).then_some(did)
    };
    Ok(rows(answers.first())?.into_iter().filter_map(may).collect())
}

const HERE: &str = concat!(
    "SELECT json_object('did', w.value, 'banned', json(iif(",
    banned_now!("?1", "w.value", "?3"),
    ", 'true', 'false')), 'moderates', json(iif(EXISTS (
        SELECT 1 FROM moderators o WHERE o.community_uri = ?1 AND o.did = w.value), 'true', 'false'))) AS row
    FROM json_each(?2) w"
);

const ADMISSIONS_HERE: &str = admissions_of!(
    "FROM json_each(?2) w CROSS JOIN members a ON a.member_did = w.value AND a.community_uri = ?1 WHERE true"
);

// Who asked for ?1 and is not in it: of several memberships of a person the first. In an open community of
// the old form asking is enough.
const APPLICATIONS: &str = concat!(
    "WITH asked(did, uri, at) AS (
        SELECT w.member_did, w.uri, min(w.indexed_at)
        FROM communities c CROSS JOIN memberships w ON w.community_uri = c.uri
        WHERE c.uri = ?1 AND NOT c.hidden AND NOT w.hidden AND w.member_did <> c.owner_did
          AND NOT EXISTS (SELECT 1 FROM bans b WHERE b.community_uri = c.uri AND b.member_did = w.member_did)
          AND NOT ",
    joined_it!("w.member_did"),
    "
        GROUP BY w.member_did ORDER BY 3 DESC, 1 LIMIT ?2)
    SELECT json_object('did', q.did, 'membership', q.uri, 'at', q.at, 'dismissed', json(iif(EXISTS (
            SELECT 1 FROM dismissed d WHERE d.community_uri = ?1 AND d.member_did = q.did), 'true', 'false')),
        'person', ",
    person_json!("p"),
    ", 'own', ",
    own_json!("o"),
    ") AS row FROM asked q LEFT JOIN people p ON p.did = q.did",
    own_profile!("o", "q.did"),
    "ORDER BY q.at DESC, q.did"
);

const BANNED: &str = concat!(
    "SELECT json_object('did', b.member_did, 'person', ",
    person_json!("p"),
    ", 'own', ",
    own_json!("o"),
    ") AS row
    FROM communities c CROSS JOIN bans b ON b.community_uri = c.uri LEFT JOIN people p ON p.did = b.member_did",
    own_profile!("o", "b.member_did"),
    "WHERE c.uri = ?1 AND NOT c.hidden AND b.member_did > ?2 ORDER BY b.member_did LIMIT ?3"
);
