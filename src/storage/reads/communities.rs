//! Communities, their channels, categories and members: R07, R11–R14.

use serde::{Deserialize, Serialize};

use super::super::{Fault, Statement, Store, rows};
use super::{Page, cut, shown};
use crate::domain::presence::COMMUNITIES_MAX;
use crate::domain::rows::{CategoryRow, ChannelRow, CommunityRow, PersonRow};
use crate::domain::sidebar::{Sidebar, sidebar};
use crate::wire::bodies;
use crate::wire::ids::{AtUri, Did};

impl From<CommunityRow> for bodies::Community {
    fn from(row: CommunityRow) -> Self {
        Self {
            owner_did: row.uri.authority(),
            rkey: row.uri.rkey(),
            picture: bodies::verbatim(row.shown_picture()),
            name: row.name,
            description: row.description,
            category_order: bodies::verbatim(row.category_order.as_deref()),
            requires_approval_to_join: row.requires_approval_to_join,
        }
    }
}

/// R07: the community that an AT-URI or rkey names (T22), as everybody sees it.
pub async fn community(store: &impl Store, name: &str) -> Result<Option<bodies::Community>, Fault> {
    Ok(found(store, COMMUNITY, name).await?.map(Into::into))
}

/// The same in full, for people who may read it, and its AT-URI (X42).
pub async fn community_in_full(
    store: &impl Store,
    name: &str,
) -> Result<Option<(AtUri, bodies::Community)>, Fault> {
    Ok(found(store, COMMUNITY_IN_FULL, name).await?.map(|row| (row.uri.clone(), row.into())))
}

async fn found(store: &impl Store, sql: &'static str, name: &str) -> Result<Option<CommunityRow>, Fault> {
    let found: Vec<CommunityRow> = rows(store.read(&[Statement::new(sql, [name.into()])]).await?.first())?;
    Ok(found.into_iter().next())
}

/// R11: the communities that a person owns, by rkey, and those that they take part in, by AT-URI: as
/// everybody sees them, or as the person does (X42).
pub async fn of_person(
    store: &impl Store,
    did: &Did,
    themselves: bool,
) -> Result<bodies::Communities, Fault> {
    let asked = |sql| Statement::new(sql, [did.as_str().into()]);
    let (owned, joined) = if themselves { (OWNED_IN_FULL, JOINED_BY_THEMSELVES) } else { (OWNED, JOINED) };
    let answers = store.read(&[asked(owned), asked(joined)]).await?;
    let mut answers = answers.iter();
    let mut next = || -> Result<Vec<bodies::Community>, Fault> {
        Ok(rows::<CommunityRow>(answers.next())?.into_iter().map(Into::into).collect())
    };
    Ok(bodies::Communities { owned: next()?, joined: next()? })
}

/// The position of a channel in R12: its name in code points, then its rkey.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChannelPlace(String, String);

/// R12: the channels of a community, by name in code points, ties by rkey.
pub async fn channels(
    store: &impl Store,
    community: &str,
    after: Option<&ChannelPlace>,
    limit: i64,
) -> Result<Page<bodies::Channel, ChannelPlace>, Fault> {
    // A name has at least one character, so every name sorts after ''.
    let (name, rkey) = after.map_or(("", ""), |ChannelPlace(name, rkey)| (name, rkey));
    let statement =
        Statement::new(CHANNELS, [community.into(), name.into(), rkey.into(), (limit + 1).into()]);
    let found: Vec<ChannelRow> = rows(store.read(&[statement]).await?.first())?;
    let (found, end) = cut(found, limit, |row| ChannelPlace(row.name.clone(), row.uri.rkey().to_string()));
    Ok((found.into_iter().map(Into::into).collect(), end))
}

/// R13: a community's sidebar, in its order.
pub async fn sidebar_of(store: &impl Store, community: &str) -> Result<Sidebar, Fault> {
    let answers = store
        .read(&[
            Statement::new(COMMUNITY_BY_URI, [community.into()]),
            Statement::new(CATEGORIES, [community.into()]),
            Statement::new(CHANNELS, [community.into(), "".into(), "".into(), (-1).into()]),
        ])
        .await?;
    let mut answers = answers.iter();
    let community: Vec<CommunityRow> = rows(answers.next())?;
    let categories: Vec<CategoryRow> = rows(answers.next())?;
    let channels: Vec<ChannelRow> = rows(answers.next())?;
    let order = community.into_iter().next().and_then(|row| row.category_order);
    Ok(sidebar(order.as_deref(), categories, channels))
}

/// The position of a member in R14: owner, approved, pending; then the DID.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MemberPlace(i64, String);

/// R14: the owner first, then approved, then pending members, each part by DID.
pub async fn members(
    store: &impl Store,
    cdn: &str,
    community: &str,
    after: Option<&MemberPlace>,
    limit: i64,
) -> Result<Page<bodies::Member, MemberPlace>, Fault> {
    #[derive(Deserialize)]
    struct Found {
        place: i64,
        member_did: Did,
        status: String,
        person: Option<PersonRow>,
    }
    let (place, did) = after.map_or((-1, ""), |MemberPlace(place, did)| (*place, did.as_str()));
    let statement = Statement::new(MEMBERS, [community.into(), place.into(), did.into(), (limit + 1).into()]);
    let found: Vec<Found> = rows(store.read(&[statement]).await?.first())?;
    let (found, end) = cut(found, limit, |row| MemberPlace(row.place, row.member_did.to_string()));
    let body = |row: Found| bodies::Member {
        member_did: row.member_did,
        status: row.status,
        source: None,
        person: shown(row.person.as_ref(), cdn),
    };
    Ok((found.into_iter().map(body).collect(), end))
}

// A community as everybody sees it. If it is for members only, that is its name, its picture and whether it
// asks for approval (X42). With "in lists": also what only the newest client shows. With "in full": as its
// readers see it.
macro_rules! community_json {
    (@unless_closed $column:literal) => {
        concat!(
            "iif(EXISTS (SELECT 1 FROM members_only x WHERE x.community_uri = c.uri), NULL, ",
            $column,
            ")"
        )
    };
    (@newest) => {
        "'banner', c.banner, 'link_embeds',
            json(iif(c.link_embeds IS NULL, 'null', iif(c.link_embeds, 'true', 'false'))),
            'migrated_to', c.migrated_to, 'migrated_from', c.migrated_from, 'appview', c.appview"
    };
    (@ $description:expr, $order:expr, $newest:expr) => {
        concat!(
            "json_object('uri', c.uri, 'name', c.name, 'description', ",
            $description,
            ", 'picture', c.picture, 'category_order', ",
            $order,
            ", 'requires_approval_to_join', json(iif(c.requires_approval_to_join, 'true', 'false')), ",
            $newest,
            ", 'hidden', json('false'), 'rev', c.rev, 'indexed_at', c.indexed_at)"
        )
    };
    (@for_everybody $newest:expr) => {
        community_json!(@
            community_json!(@unless_closed "c.description"),
            community_json!(@unless_closed "c.category_order"),
            $newest
        )
    };
    () => {
        community_json!(@for_everybody
            "'banner', NULL, 'link_embeds', NULL, 'migrated_to', NULL, 'migrated_from', NULL, 'appview', NULL")
    };
    ("in lists") => {
        community_json!(@for_everybody community_json!(@newest))
    };
    ("in full") => {
        community_json!(@ "c.description", "c.category_order", community_json!(@newest))
    };
}
pub(in crate::storage) use community_json;

macro_rules! community {
    ($json:expr) => {
        concat!(
            "SELECT ",
            $json,
            " AS row FROM communities c WHERE NOT c.hidden AND (c.uri = ?1 OR c.rkey = ?1)
            ORDER BY c.uri = ?1 DESC, c.indexed_at, c.uri LIMIT 1"
        )
    };
}
const COMMUNITY: &str = community!(community_json!());
const COMMUNITY_IN_FULL: &str = community!(community_json!("in full"));

const COMMUNITY_BY_URI: &str = concat!(
    "SELECT ",
    community_json!("in full"),
    " AS row FROM communities c WHERE NOT c.hidden AND c.uri = ?1"
);

// Whether the community moved: it and the one that takes its place name each other (N07).
macro_rules! moved {
    () => {
        "EXISTS (SELECT 1 FROM communities next
             WHERE next.uri = c.migrated_to AND next.migrated_from = c.uri AND NOT next.hidden)"
    };
}
pub(super) use moved;

macro_rules! owned {
    ($json:expr) => {
        concat!(
            "SELECT ",
            $json,
            " AS row FROM communities c WHERE NOT c.hidden AND c.owner_did = ?1 AND NOT ",
            moved!(),
            " ORDER BY c.rkey"
        )
    };
}
const OWNED: &str = owned!(community_json!());
const OWNED_IN_FULL: &str = owned!(community_json!("in full"));

// Whether the community `$community`, which is of the newest form, has admitted `$did` (N12, N17).
macro_rules! admitted {
    ($community:literal, $did:literal) => {
        concat!(
            "EXISTS (SELECT 1 FROM members a WHERE a.member_did = ",
            $did,
            " AND a.community_uri = ",
            $community,
            " AND NOT a.hidden AND (NOT a.withdrawn OR EXISTS (
                SELECT 1 FROM memberships again WHERE again.member_did = a.member_did
                   AND again.community_uri = a.community_uri AND NOT again.hidden)))"
        )
    };
}
pub(in crate::storage) use admitted;

// Whether the owner `$owner` of the community `$community` has approved a membership of `$did` (I40).
macro_rules! approved {
    ($community:literal, $did:literal, $owner:literal) => {
        concat!(
            "EXISTS (SELECT 1 FROM memberships m JOIN approvals a ON a.membership_uri = m.uri
                WHERE m.member_did = ",
            $did,
            " AND m.community_uri = ",
            $community,
            " AND NOT m.hidden AND a.approver_did = ",
            $owner,
            " AND (a.community_uri IS NULL OR a.community_uri = ",
            $community,
            "))"
        )
    };
}
pub(in crate::storage) use approved;

// Whether `$did`, who asked for it, is in the community `c`: in the newest form admitted (N04), in the old form
// approved, or just pending if the community is open (R11).
macro_rules! joined_it {
    ($did:literal) => {
        concat!(
            "CASE WHEN c.rkey = 'self' THEN ",
            $crate::storage::reads::communities::admitted!("c.uri", $did),
            " WHEN NOT c.requires_approval_to_join THEN true ELSE ",
            $crate::storage::reads::communities::approved!("c.uri", $did, "c.owner_did"),
            " END"
        )
    };
}
pub(in crate::storage) use joined_it;

// Whether `$did` takes part in the community `c` (R11, N160g): its owner does, and everybody who is in it and not banned.
macro_rules! takes_part {
    ($did:literal) => {
        concat!(
            "(c.owner_did = ",
            $did,
            " OR (NOT EXISTS (SELECT 1 FROM bans b WHERE b.community_uri = c.uri AND b.member_did = ",
            $did,
            ") AND (c.rkey = 'self' OR EXISTS (SELECT 1 FROM memberships m WHERE m.member_did = ",
            $did,
            " AND m.community_uri = c.uri AND NOT m.hidden)) AND ",
            $crate::storage::reads::communities::joined_it!($did),
            "))"
        )
    };
}
pub(in crate::storage) use takes_part;

// The communities in which the person ?1 is, without those that ban them or are their own (R11). Communities for
// members only are listed to the person alone (X42), if they may read them.
macro_rules! joined {
    ($json:expr, $whom:literal) => {
        concat!(
            "SELECT ",
            $json,
            " AS row FROM communities c
            WHERE c.uri IN (SELECT community_uri FROM memberships WHERE member_did = ?1 AND NOT hidden
                            UNION SELECT community_uri FROM members WHERE member_did = ?1 AND NOT hidden)
              AND NOT c.hidden AND c.owner_did <> ?1 AND NOT ",
            moved!(),
            " ",
            $whom,
            " AND NOT EXISTS (SELECT 1 FROM bans b WHERE b.community_uri = c.uri AND b.member_did = ?1)
              AND ",
            joined_it!("?1"),
            " ORDER BY c.uri"
        )
    };
}
const JOINED: &str = joined!(
    community_json!("in full"),
    "AND NOT EXISTS (SELECT 1 FROM members_only x WHERE x.community_uri = c.uri)"
);
const JOINED_BY_THEMSELVES: &str = joined!(community_json!(), "");

/// N162: the communities in which a person takes part, or which are their account's, by AT-URI; of each kind the
/// first [`COMMUNITIES_MAX`].
pub async fn communities_of(store: &impl Store, did: &Did) -> Result<Vec<AtUri>, Fault> {
    let asked = |sql| Statement::new(sql, [did.as_str().into(), i64::from(COMMUNITIES_MAX).into()]);
    let answers = store.read(&[asked(OWN_URIS), asked(JOINED_URIS)]).await?;
    let mut found: Vec<AtUri> = rows(answers.first())?;
    found.extend(rows::<AtUri>(answers.get(1))?);
    Ok(found)
}

const OWN_URIS: &str = "SELECT json_quote(c.uri) AS row FROM communities c
    WHERE c.owner_did = ?1 AND NOT c.hidden ORDER BY c.uri LIMIT ?2";
const JOINED_URIS: &str = concat!(joined!("json_quote(c.uri)", ""), " LIMIT ?2");

const CHANNELS: &str = "
    SELECT json_object('uri', ch.uri, 'community_uri', ch.community_uri, 'name', ch.name,
        'description', ch.description, 'channel_type', ch.channel_type,
        'category_rkey', ch.category_rkey, 'owner_only', json(iif(ch.owner_only, 'true', 'false')),
        'allowed_roles', NULL, 'allowed_members', NULL, 'link_embeds', NULL, 'migrated_from', NULL,
        'rev', ch.rev, 'indexed_at', ch.indexed_at) AS row
    FROM communities c CROSS JOIN channels ch ON ch.community_uri = c.uri
    WHERE c.uri = ?1 AND NOT c.hidden AND (ch.name, ch.rkey) > (?2, ?3)
    ORDER BY ch.name, ch.rkey LIMIT ?4";

pub(super) const CATEGORIES: &str = "
    SELECT json_object('uri', ca.uri, 'community_uri', ca.community_uri, 'name', ca.name,
        'channel_order', ca.channel_order, 'rev', ca.rev, 'indexed_at', ca.indexed_at) AS row
    FROM communities c CROSS JOIN categories ca ON ca.community_uri = c.uri
    WHERE c.uri = ?1 AND NOT c.hidden ORDER BY ca.name, ca.rkey";

// In a community of the newest form its account is listed as owner if it is admitted itself (N04).
const MEMBERS: &str = concat!(
    "WITH asked(did) AS (
        SELECT member_did FROM memberships WHERE community_uri = ?1 AND NOT hidden
        UNION SELECT member_did FROM members WHERE community_uri = ?1 AND NOT hidden),
    joined(did, approved) AS (
        SELECT w.did, CASE WHEN c.rkey = 'self' THEN ",
    admitted!("c.uri", "w.did"),
    " ELSE ",
    approved!("c.uri", "w.did", "c.owner_did"),
    " END
        FROM communities c CROSS JOIN asked w
        WHERE c.uri = ?1 AND NOT c.hidden AND w.did <> c.owner_did
          AND NOT EXISTS (SELECT 1 FROM bans b WHERE b.community_uri = c.uri AND b.member_did = w.did)),
    listed(did, place, status) AS (
        SELECT owner_did, 0, 'owner' FROM communities c WHERE uri = ?1 AND NOT hidden
           AND (rkey <> 'self' OR ",
    admitted!("c.uri", "c.owner_did"),
    ")
        UNION ALL SELECT did, iif(approved, 1, 2), iif(approved, 'approved', 'pending') FROM joined
         WHERE approved OR EXISTS (SELECT 1 FROM memberships m
                WHERE m.community_uri = ?1 AND m.member_did = joined.did AND NOT m.hidden)),
    paged(did, place, status) AS (
        SELECT did, place, status FROM listed WHERE (place, did) > (?2, ?3)
        ORDER BY place, did LIMIT ?4)
    SELECT json_object('place', l.place, 'member_did', l.did, 'status', l.status, 'person', ",
    person_json!("p"),
    ") AS row
    FROM paged l LEFT JOIN people p ON p.did = l.did
    ORDER BY l.place, l.did"
);
