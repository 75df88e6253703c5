//! Invites, as REST handles them (R15–R19).
//!
//! No record and no event is involved, so invites need no facts and no fold; each write is one
//! statement that decides and acts at once. One rule of the index applies to them: an invite ends
//! with its community (I70), in the commit that deletes the community.

use serde::{Deserialize, Serialize};

use super::audit::{self, Act};
use super::reads::communities::community_json;
use super::reads::{Page, cut};
use super::{Fault, Statement, Store, idempotency, rows};
use crate::domain::moderation::Once;
use crate::domain::rows::CommunityRow;
use crate::wire::bodies::{Invite, InviteToCommunity};
use crate::wire::ids::Did;
use crate::wire::time::Micros;

/// The result of a use (R19).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// The use was counted.
    Counted,
    /// The invite is revoked or exhausted, or its community is gone.
    Gone,
    /// The code does not exist.
    Unknown,
}

/// The result of a request for an invite (R17).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created {
    /// The code of the invite, made now or by the first request with this key (X23).
    Made(String),
    /// The owner owns no known community with this AT-URI.
    NotOwned,
    /// The `Idempotency-Key` was used for a different request (X23).
    KeyReused,
}

/// R17: makes an invite whose code is `act`'s subject, at the time `now`. One transaction decides,
/// makes and logs it, so any number of calls with one key make one invite.
pub async fn create(
    store: &impl Store,
    act: &Act<'_>,
    owner: &Did,
    max_uses: Option<i64>,
    once: Option<&Once>,
    now: Micros,
) -> Result<Created, Fault> {
    let (code, community) = (act.subject.as_str(), act.community.as_str());
    let caller = act.caller.name();
    let mut statements = Vec::new();
    if let Some(once) = once {
        statements.push(Statement::new(
            "INSERT INTO idempotency_keys (caller, key, request, answer, at)
             SELECT ?1, ?2, ?3, ?4, ?5 FROM communities WHERE uri = ?6 AND owner_did = ?7 AND NOT hidden
             ON CONFLICT (caller, key) DO UPDATE SET request = excluded.request, answer = excluded.answer,
                 at = excluded.at
             WHERE at <= ?8",
            [
                caller.into(),
                once.key.as_str().into(),
                once.request.as_str().into(),
                code.into(),
                now.sortable().into(),
                community.into(),
                owner.as_str().into(),
                idempotency::oldest(now).into(),
            ],
        ));
    }
    statements.push(Statement::new(
        "INSERT INTO invites (code, community_uri, created_by_did, max_uses, created_at)
         SELECT ?1, uri, owner_did, ?4, ?5 FROM communities
         WHERE uri = ?2 AND owner_did = ?3 AND NOT hidden AND (?7 IS NULL OR EXISTS (
             SELECT 1 FROM idempotency_keys WHERE caller = ?6 AND key = ?7 AND answer = ?1))",
        [
            code.into(),
            community.into(),
            owner.as_str().into(),
            max_uses.into(),
            now.sortable().into(),
            caller.into(),
            once.map(|once| once.key.clone()).into(),
        ],
    ));
    statements.extend(audit::add_invited(act, now));
    statements
        .push(Statement::new("SELECT json_quote(code) AS row FROM invites WHERE code = ?1", [code.into()]));
    let answers = store.write(&statements).await?;
    if let Some(code) = rows::<String>(answers.last())?.into_iter().next() {
        return Ok(Created::Made(code));
    }
    let Some(once) = once else { return Ok(Created::NotOwned) };
    Ok(match idempotency::find(store, caller, once, now).await? {
        Some(before) if before.is_same => Created::Made(before.answer),
        Some(_) => Created::KeyReused,
        None => Created::NotOwned,
    })
}

/// The invite with this code, whatever the state of its community.
pub async fn find(store: &impl Store, code: &str) -> Result<Option<Invite>, Fault> {
    let found: Vec<Invite> = rows(store.read(&[Statement::new(FIND, [code.into()])]).await?.first())?;
    Ok(found.into_iter().next())
}

/// The position of an invite in R15: its time of creation, and its code.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InvitePlace(String, String);

/// R15: the invites to a known community, newest first, ties by code, ended ones included.
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

/// R16: the invite and its community, if the community is known.
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

/// R18: ends the invite that is `act`'s subject. One that has ended stays as it is, and is not
/// logged.
pub async fn revoke(store: &impl Store, act: &Act<'_>, now: Micros) -> Result<(), Fault> {
    let statement = Statement::new(
        "UPDATE invites SET ended_at = ?2, ended_because = 'revoked' WHERE code = ?1 AND ended_at IS NULL
         RETURNING json_quote(code) AS row",
        [act.subject.as_str().into(), now.shown().into()],
    );
    let statements: Vec<Statement> = audit::add_revoked(act, now).into_iter().chain([statement]).collect();
    store.write(&statements).await.map(drop)
}

/// R19: counts a use, if the invite has any left. One statement decides and counts, so concurrent
/// calls never count more uses than the invite has.
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

/// I70: ends the invites to these communities (JSON) for good.
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
    ", 'community', ",
    community_json!(),
    ") AS row
    FROM invites i JOIN communities c ON c.uri = i.community_uri
    WHERE i.code = ?1 AND NOT c.hidden"
);
