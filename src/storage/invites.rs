//! Invites: what REST does with them (R15–R19).
//!
//! No record and no event is concerned, so they need no facts and no fold; each write is one
//! statement that decides and acts at once. The one rule of the index they share is that they
//! end with their community (I70), which is part of the commit that deletes it.

use serde::{Deserialize, Serialize};

use super::reads::{Page, cut};
use super::{Fault, Statement, Store, rows};
use crate::domain::rows::CommunityRow;
use crate::wire::bodies::{Invite, InviteToCommunity};
use crate::wire::ids::Did;
use crate::wire::time::Micros;

/// What became of a use (R19).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// It counts.
    Counted,
    /// Revoked, exhausted, or the community is gone.
    Gone,
    /// There is no such code.
    Unknown,
}

/// R17: makes an invite; `false` if `owner` owns no known community with this AT-URI.
pub async fn create(
    store: &impl Store,
    code: &str,
    community: &str,
    owner: &Did,
    max_uses: Option<i64>,
    now: Micros,
) -> Result<bool, Fault> {
    let statement = Statement::new(
        "INSERT INTO invites (code, community_uri, created_by_did, max_uses, created_at)
         SELECT ?1, uri, owner_did, ?4, ?5 FROM communities
         WHERE uri = ?2 AND owner_did = ?3 AND NOT hidden
         RETURNING json_quote(code) AS row",
        [code.into(), community.into(), owner.as_str().into(), max_uses.into(), now.sortable().into()],
    );
    let made = store.write(&[statement]).await?;
    Ok(made.first().is_some_and(|rows| !rows.is_empty()))
}

/// The invite with this code, whatever became of its community.
pub async fn find(store: &impl Store, code: &str) -> Result<Option<Invite>, Fault> {
    let found: Vec<Invite> = rows(store.read(&[Statement::new(FIND, [code.into()])]).await?.first())?;
    Ok(found.into_iter().next())
}

/// The place of an invite in R15: when it was made, and its code.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InvitePlace(String, String);

/// R15: the invites to a known community, newest first, ties by code; also those that ended.
pub async fn list(
    store: &impl Store,
    community: &str,
    after: Option<&InvitePlace>,
    limit: i64,
) -> Result<Page<Invite, InvitePlace>, Fault> {
    #[derive(Deserialize)]
    struct Found {
        invite: Invite,
        created_at: String,
    }
    // '~' sorts after every time.
    let (created_at, code) = after.map_or(("~", ""), |InvitePlace(at, code)| (at, code));
    let statement =
        Statement::new(LIST, [community.into(), created_at.into(), code.into(), (limit + 1).into()]);
    let found: Vec<Found> = rows(store.read(&[statement]).await?.first())?;
    let (found, end) = cut(found, limit, |row| InvitePlace(row.created_at.clone(), row.invite.code.clone()));
    Ok((found.into_iter().map(|row| row.invite).collect(), end))
}

/// R16: the invite and its community, if that is known.
pub async fn shown(store: &impl Store, code: &str) -> Result<Option<InviteToCommunity>, Fault> {
    #[derive(Deserialize)]
    struct Found {
        invite: Invite,
        community: CommunityRow,
    }
    let found: Vec<Found> = rows(store.read(&[Statement::new(SHOWN, [code.into()])]).await?.first())?;
    Ok(found
        .into_iter()
        .next()
        .map(|row| InviteToCommunity { invite: row.invite, community: row.community.into() }))
}

/// R18: ends an invite. One that has ended stays as it is.
pub async fn revoke(store: &impl Store, code: &str, now: Micros) -> Result<(), Fault> {
    let statement = Statement::new(
        "UPDATE invites SET ended_at = ?2, ended_because = 'revoked' WHERE code = ?1 AND ended_at IS NULL
         RETURNING json_quote(code) AS row",
        [code.into(), now.shown().into()],
    );
    store.write(&[statement]).await.map(drop)
}

/// R19: counts a use, if there is one left. Deciding and counting is one statement, so of any
/// number of calls at once no more are counted than there are uses.
pub async fn count_use(store: &impl Store, code: &str) -> Result<Use, Fault> {
    let answers = store
        .write(&[
            Statement::new(
                "UPDATE invites SET use_count = use_count + 1
                 WHERE code = ?1 AND ended_at IS NULL AND (max_uses IS NULL OR use_count < max_uses)
                   AND EXISTS (SELECT 1 FROM communities c WHERE c.uri = community_uri AND NOT c.hidden)
                 RETURNING json_quote(code) AS row",
                [code.into()],
            ),
            Statement::new("SELECT json_quote(code) AS row FROM invites WHERE code = ?1", [code.into()]),
        ])
        .await?;
    let answered = |n: usize| answers.get(n).is_some_and(|rows: &Vec<String>| !rows.is_empty());
    Ok(match (answered(0), answered(1)) {
        (true, _) => Use::Counted,
        (false, true) => Use::Gone,
        (false, false) => Use::Unknown,
    })
}

/// I70: the invites of these communities (JSON) end for good.
pub(super) fn end_of(communities: String, now: Micros) -> Statement {
    Statement::new(
        "UPDATE invites SET ended_at = ?2, ended_because = 'community_deleted'
         WHERE community_uri IN (SELECT value FROM json_each(?1)) AND ended_at IS NULL",
        [communities.into(), now.shown().into()],
    )
}

macro_rules! invite_json {
    () => {
        "json_object('code', i.code, 'community_uri', i.community_uri,
            'created_by_did', i.created_by_did, 'max_uses', i.max_uses, 'use_count', i.use_count,
            'active', json(iif(i.ended_at IS NULL, 'true', 'false')))"
    };
}

const FIND: &str = concat!("SELECT ", invite_json!(), " AS row FROM invites i WHERE i.code = ?1");

const LIST: &str = concat!(
    "SELECT json_object('created_at', i.created_at, 'invite', ",
    invite_json!(),
    ") AS row
    FROM invites i JOIN communities c ON c.uri = i.community_uri
    WHERE i.community_uri = ?1 AND NOT c.hidden
      AND i.created_at <= ?2 AND (i.created_at < ?2 OR i.code > ?3)
    ORDER BY i.created_at DESC, i.code
    LIMIT ?4"
);

const SHOWN: &str = concat!(
    "SELECT json_object('invite', ",
    invite_json!(),
    ", 'community', json_object('uri', c.uri, 'name', c.name, 'description', c.description,
        'picture', c.picture, 'category_order', c.category_order,
        'requires_approval_to_join', json(iif(c.requires_approval_to_join, 'true', 'false')),
        'hidden', json('false'), 'rev', c.rev, 'indexed_at', c.indexed_at)) AS row
    FROM invites i JOIN communities c ON c.uri = i.community_uri
    WHERE i.code = ?1 AND NOT c.hidden"
);
