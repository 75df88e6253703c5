//! Communities: those that somebody takes part in, and everything about one: N160e, N160g.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::super::super::{Fault, Param, Statement, Store, rows};
use super::super::communities::{CATEGORIES, community_json, joined_it, moved};
use super::super::{Page, cut};
use super::{Found, actor};
use crate::domain::form::Form;
use crate::domain::hub;
use crate::domain::rows::{CategoryRow, ChannelRow, CommunityRow, RoleRow};
use crate::domain::sidebar::{self, sidebar};
use crate::domain::voice_right::is_voice;
use crate::wire::ids::{AtUri, Collection, Did, Rkey};
use crate::wire::permissions::Permissions;
use crate::wire::views::{
    Blob, CategoryView, ChannelOfCommunity, CommunityInfo, CommunityOfMember, MemberView, RoleView,
    channel_type,
};

/// An admission: whose it is, and the roles that it gives.
#[derive(Debug, Deserialize)]
pub(super) struct Admission {
    uri: AtUri,
    did: Did,
    community: AtUri,
    roles: String,
}

/// The roles of each person and community: of several admissions the one with most roles counts, ties by the
/// lowest key (N16).
pub(super) fn counting(admissions: Vec<Admission>) -> BTreeMap<(AtUri, Did), Vec<Rkey>> {
    let mut best: BTreeMap<(AtUri, Did), (AtUri, Vec<Rkey>)> = BTreeMap::new();
    for Admission { uri, did, community, roles } in admissions {
        let roles: Vec<Rkey> = serde_json::from_str(&roles).unwrap_or_default();
        let before = best.get(&(community.clone(), did.clone()));
        let is_better = before.is_none_or(|(other, held)| {
            (roles.len(), std::cmp::Reverse(&uri)) > (held.len(), std::cmp::Reverse(other))
        });
        if is_better {
            best.insert((community, did), (uri, roles));
        }
    }
    best.into_iter().map(|(whose, (_, roles))| (whose, roles)).collect()
}

/// The communities that `did` takes part in, in their own order, the others by name, ties by AT-URI (N160e). `locked`: whether the client
/// locks those of the old form (C41).
pub async fn of_member(store: &impl Store, did: &Did, locked: bool) -> Result<Vec<CommunityOfMember>, Fault> {
    let asked = |sql| Statement::new(sql, [did.as_str().into()]);
    let answers =
        store.read(&[asked(OF_MEMBER), asked(OWN_ADMISSIONS), asked(PROTECTED), asked(OWN_ORDER)]).await?;
    let mut found: Vec<CommunityRow> = rows(answers.first())?;
    let order: Option<String> = rows(answers.get(3))?.pop();
    let order = sidebar::named(order.as_deref());
    found.sort_by_cached_key(|row| sidebar::place(&order, &row.uri));
    let roles = counting(rows(answers.get(1))?);
    let protected: BTreeSet<AtUri> = rows::<AtUri>(answers.get(2))?.into_iter().collect();
    let view = |row: CommunityRow| {
        let account = row.uri.authority();
        let mut held = roles.get(&(row.uri.clone(), did.clone())).into_iter().flatten();
        let holds_protected =
            held.any(|rkey| protected.contains(&AtUri::of(&account, Collection::Role, rkey)));
        let is_old = Form::of(&row.uri) == Form::Old;
        CommunityOfMember {
            picture: row.picture.as_deref().and_then(Blob::read),
            banner: row.banner.as_deref().and_then(Blob::read),
            category_order: keys(row.category_order.as_deref()),
            is_legacy: is_old && (locked || row.migrated_to.is_some()),
            is_owner: account == *did || holds_protected,
            requires_approval_to_join: row.requires_approval_to_join,
            name: row.name,
            description: row.description,
            uri: row.uri,
        }
    };
    Ok(found.into_iter().map(view).collect())
}

/// The keys in a JSON array of texts; what is no key is left out.
fn keys(text: Option<&str>) -> Vec<Rkey> {
    let found: Vec<serde_json::Value> =
        text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    found.iter().filter_map(|key| Rkey::parse(key.as_str()?).ok()).collect()
}

/// A community and the first page of its members (N160g).
#[derive(Debug)]
pub struct Whole {
    /// Its record.
    pub info: CommunityInfo,
    /// In the order of the sidebar.
    pub categories: Vec<CategoryView>,
    /// In the order of the sidebar.
    pub channels: Vec<ChannelOfCommunity>,
    /// By position, the highest first, ties by AT-URI.
    pub roles: Vec<RoleView>,
    /// By DID.
    pub members: Page<MemberView, Did>,
    /// Whether it has a voice channel.
    pub has_voice: bool,
}

/// How a community is put together (N170a).
#[derive(Debug, Default)]
pub struct Structure {
    /// In the order of the sidebar.
    pub categories: Vec<CategoryView>,
    /// In the order of the sidebar.
    pub channels: Vec<ChannelOfCommunity>,
    /// By position, the highest first, ties by AT-URI.
    pub roles: Vec<RoleView>,
}

/// How a community is put together; nothing of one that is not known.
pub async fn structure(store: &impl Store, community: &AtUri) -> Result<Structure, Fault> {
    let uri = || Param::from(community.as_str());
    let asked = [COMMUNITY, CATEGORIES, CHANNELS, ROLES].map(|sql| Statement::new(sql, [uri()]));
    let answers = store.read(&asked).await?;
    let Some(row) = rows::<CommunityRow>(answers.first())?.pop() else { return Ok(Structure::default()) };
    let (categories, channels) = arranged(&row, rows(answers.get(1))?, rows(answers.get(2))?);
    Ok(Structure { categories, channels, roles: roles_of(community, rows(answers.get(3))?) })
}

fn roles_of(community: &AtUri, found: Vec<RoleRow>) -> Vec<RoleView> {
    let mut roles: Vec<RoleView> = found.into_iter().map(role).collect();
    if Form::of(community) == Form::Old {
        roles.push(owner_role(community));
    }
    roles
}

/// An invitation, and what everybody who has its code sees of the community (N170c).
#[derive(Debug, Deserialize)]
pub struct Invited {
    /// The code.
    pub code: String,
    /// The community.
    pub community: AtUri,
    /// Its owner (O08).
    pub created_by: Did,
    /// Whether it may be used.
    pub active: bool,
    /// The community's name.
    pub name: String,
    /// Its picture, as stored.
    pub picture: Option<String>,
    /// Its banner, as stored.
    pub banner: Option<String>,
    /// T09.
    pub requires_approval: bool,
    /// How many people take part in it.
    #[serde(default)]
    pub members: i64,
    /// How many of them are not offline.
    #[serde(default)]
    pub online: i64,
}

/// The invitation with this code to a known community. Of one for members only nobody is counted, and the
/// banner is not shown (X42).
pub async fn invited(store: &impl Store, code: &str) -> Result<Option<Invited>, Fault> {
    #[derive(Deserialize)]
    struct Counts {
        members: i64,
        online: i64,
    }
    // Every DID sorts after ''; no limit is -1.
    let counts = Statement::new(COUNTS, [code.into(), "".into(), Param::Int(-1)]);
    let answers = store.read(&[Statement::new(INVITED, [code.into()]), counts]).await?;
    let Some(invited) = rows::<Invited>(answers.first())?.pop() else { return Ok(None) };
    let Some(Counts { members, online }) = rows(answers.get(1))?.pop() else { return Ok(Some(invited)) };
    Ok(Some(Invited { members, online, ..invited }))
}

/// What is known of a community that somebody names.
#[derive(Debug)]
pub enum Named {
    /// It is there.
    Known(Box<Whole>),
    /// It may be there soon: its repository was never read in full and is still waited for, or its account is inactive
    /// (N158).
    Awaited,
    /// There is no such community.
    Unknown,
}

/// A community, with at most `limit` of its members.
pub async fn whole(store: &impl Store, community: &AtUri, limit: i64) -> Result<Named, Fault> {
    let uri = || Param::from(community.as_str());
    let mut asked = vec![
        Statement::new(COMMUNITY, [uri()]),
        Statement::new(CATEGORIES, [uri()]),
        Statement::new(CHANNELS, [uri()]),
        Statement::new(ROLES, [uri()]),
        Statement::new(AWAITED, [community.authority().as_str().into(), uri()]),
    ];
    asked.extend(page(community, None, limit));
    let mut answers = store.read(&asked).await?;
    let members = answers.split_off(5.min(answers.len()));
    let Some(row) = rows::<CommunityRow>(answers.first())?.pop() else {
        let is_awaited = !rows::<Did>(answers.get(4))?.is_empty();
        return Ok(if is_awaited { Named::Awaited } else { Named::Unknown });
    };
    let channels: Vec<ChannelRow> = rows(answers.get(2))?;
    let has_voice = channels.iter().any(|row| is_voice(&row.channel_type));
    let (categories, channels) = arranged(&row, rows(answers.get(1))?, channels);
    let order = categories.iter().map(|category| category.uri.clone()).collect();
    let roles = roles_of(community, rows(answers.get(3))?);
    let known = roles.iter().map(|role| role.uri.clone()).collect();
    let members = read(&members, community, &known, limit)?;
    Ok(Named::Known(Box::new(Whole {
        info: info(row, order),
        categories,
        channels,
        roles,
        members,
        has_voice,
    })))
}

/// The members after `after`. `roles`: those of the community that are known.
pub async fn members(
    store: &impl Store,
    community: &AtUri,
    roles: &BTreeSet<AtUri>,
    after: Option<&Did>,
    limit: i64,
) -> Result<Page<MemberView, Did>, Fault> {
    let answers = store.read(&page(community, after, limit)).await?;
    read(&answers, community, roles, limit)
}

fn page(community: &AtUri, after: Option<&Did>, limit: i64) -> [Statement; 2] {
    let asked = |sql| {
        let after = after.map_or("", Did::as_str);
        Statement::new(sql, [community.as_str().into(), after.into(), (limit + 1).into()])
    };
    [asked(MEMBERS), asked(ADMISSIONS)]
}

fn read(
    answers: &[Vec<String>],
    community: &AtUri,
    known: &BTreeSet<AtUri>,
    limit: i64,
) -> Result<Page<MemberView, Did>, Fault> {
    let found: Vec<Found> = rows(answers.first())?;
    let held = counting(rows(answers.get(1))?);
    let account = community.authority();
    let roles = |did: &Did| -> Vec<AtUri> {
        if Form::of(community) == Form::Old {
            return if *did == account { vec![owner_role(community).uri] } else { Vec::new() };
        }
        let held = held.get(&(community.clone(), did.clone())).into_iter().flatten();
        let roles: BTreeSet<AtUri> = held.map(|rkey| AtUri::of(&account, Collection::Role, rkey)).collect();
        roles.into_iter().filter(|role| known.contains(role)).collect()
    };
    let (found, end) = cut(found, limit, |row| row.did.clone());
    let view = |row: Found| MemberView { roles: roles(&row.did), actor: actor(row), vc: None };
    Ok((found.into_iter().map(view).collect(), end))
}

fn info(row: CommunityRow, category_order: Vec<AtUri>) -> CommunityInfo {
    CommunityInfo {
        description: row.description.unwrap_or_default(),
        picture: row.picture.as_deref().and_then(Blob::read),
        banner: row.banner.as_deref().and_then(Blob::read),
        category_order,
        requires_approval_to_join: row.requires_approval_to_join,
        link_embeds: row.link_embeds,
        appview: row.appview.or_else(|| Did::parse(hub::DEFAULT).ok()).unwrap_or_else(|| row.uri.authority()),
        name: row.name,
        uri: row.uri,
    }
}

/// The key and the name of the category in which channels without one are shown.
const OTHERS: (&str, &str) = ("uncategorized", "Channels");

/// Categories and channels in the order of the sidebar (R13). Every category and every channel is in an
/// order, because the lexicon knows none outside; those without a category get one that is no record.
fn arranged(
    community: &CommunityRow,
    categories: Vec<CategoryRow>,
    channels: Vec<ChannelRow>,
) -> (Vec<CategoryView>, Vec<ChannelOfCommunity>) {
    let account = community.uri.authority();
    let mut rows: BTreeMap<AtUri, ChannelRow> =
        channels.iter().map(|row| (row.uri.clone(), row.clone())).collect();
    let shown = sidebar(community.category_order.as_deref(), categories, channels);
    let mut lists: Vec<(AtUri, String, Vec<AtUri>)> = shown
        .categories
        .into_iter()
        .map(|list| (list.uri, list.name, list.channels.into_iter().map(|channel| channel.uri).collect()))
        .collect();
    let others: Vec<AtUri> = shown.uncategorized.into_iter().map(|channel| channel.uri).collect();
    if let (false, Ok(rkey)) = (others.is_empty(), Rkey::parse(OTHERS.0)) {
        let uri = AtUri::of(&account, Collection::Category, &rkey);
        match lists.iter_mut().find(|(category, ..)| *category == uri) {
            Some((_, _, list)) => list.extend(others),
            None => lists.push((uri, OTHERS.1.into(), others)),
        }
    }
    let mut channels = Vec::new();
    for (category, _, list) in &lists {
        let found = list.iter().filter_map(|uri| rows.remove(uri));
        channels.extend(found.map(|row| channel(row, category.clone(), &account)));
    }
    let categories = lists
        .into_iter()
        .map(|(uri, name, channel_order)| CategoryView { uri, name, channel_order })
        .collect();
    (categories, channels)
}

fn channel(row: ChannelRow, category: AtUri, account: &Did) -> ChannelOfCommunity {
    let named = keys(row.allowed_roles.as_deref());
    let people: Vec<String> =
        row.allowed_members.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    ChannelOfCommunity {
        name: row.name,
        r#type: channel_type(&row.channel_type),
        category,
        description: row.description,
        owner_only: row.owner_only,
        allowed_roles: named.iter().map(|rkey| AtUri::of(account, Collection::Role, rkey)).collect(),
        allowed_members: people.iter().filter_map(|did| Did::parse(did).ok()).collect(),
        link_embeds: row.link_embeds,
        uri: row.uri,
    }
}

fn role(row: RoleRow) -> RoleView {
    RoleView {
        channel_overrides: row.shown_overrides(),
        permissions: row.rights(),
        name: row.name,
        color: row.color,
        position: row.position,
        hoisted: row.hoisted,
        mentionable: row.mentionable,
        protected: row.protected,
        uri: row.uri,
    }
}

/// The role of the owner of a community of the old form, which has none: the client knows an owner by a
/// protected role.
fn owner_role(community: &AtUri) -> RoleView {
    let account = community.authority();
    let rkey = Rkey::parse("owner").unwrap_or_else(|_| community.rkey());
    RoleView {
        uri: AtUri::of(&account, Collection::Role, &rkey),
        name: "Owner".into(),
        color: None,
        permissions: Permissions::all(),
        position: 100,
        hoisted: false,
        mentionable: false,
        protected: true,
        channel_overrides: Vec::new(),
    }
}

macro_rules! flag {
    ($column:literal) => {
        concat!("json(iif(", $column, ", 'true', 'false'))")
    };
}
macro_rules! flag_if_any {
    ($column:literal) => {
        concat!("json(iif(", $column, " IS NULL, 'null', iif(", $column, ", 'true', 'false')))")
    };
}

const COMMUNITY: &str = concat!(
    "SELECT ",
    community_json!("in full"),
    " AS row FROM communities c WHERE c.uri = ?1 AND NOT c.hidden"
);

const CHANNELS: &str = concat!(
    "SELECT json_object('uri', ch.uri, 'community_uri', ch.community_uri, 'name', ch.name,
        'description', ch.description, 'channel_type', ch.channel_type, 'category_rkey', ch.category_rkey,
        'owner_only', ",
    flag!("ch.owner_only"),
    ", 'allowed_roles', ch.allowed_roles, 'allowed_members', ch.allowed_members, 'link_embeds', ",
    flag_if_any!("ch.link_embeds"),
    ", 'migrated_from', ch.migrated_from, 'rev', ch.rev, 'indexed_at', ch.indexed_at) AS row
    FROM communities c CROSS JOIN channels ch ON ch.community_uri = c.uri
    WHERE c.uri = ?1 AND NOT c.hidden ORDER BY ch.name, ch.rkey"
);

pub(super) const ROLES: &str = concat!(
    "SELECT json_object('uri', r.uri, 'did', r.did, 'community_uri', r.community_uri, 'name', r.name,
        'color', r.color, 'permissions', r.permissions, 'position', r.position, 'hoisted', ",
    flag!("r.hoisted"),
    ", 'mentionable', ",
    flag!("r.mentionable"),
    ", 'protected', ",
    flag!("r.protected"),
    ", 'channel_overrides', r.channel_overrides, 'rev', r.rev, 'indexed_at', r.indexed_at) AS row
    FROM roles r WHERE r.community_uri = ?1 ORDER BY r.position DESC, r.uri"
);

// A repository that was never read in full, and that will be tried again.
// The account ?1 of the community ?2, if that may still be there: the repository is waited for, or the account is
// inactive, which can end.
const AWAITED: &str = "
    SELECT json_quote(did) AS row FROM repos
    WHERE did = ?1 AND synced_at IS NULL AND next_attempt_at IS NOT NULL
    UNION ALL
    SELECT json_quote(p.did) FROM communities c CROSS JOIN people p ON p.did = ?1
    WHERE c.uri = ?2 AND c.hidden AND NOT p.active
      AND coalesce(p.account_status, '') NOT IN ('deleted', 'erased')";

// Who takes part in ?1, after ?2, at most ?3: the owner of the old form, and everybody whom R11 calls joined.
macro_rules! members_of_page {
    () => {
        members_of_page!("?1")
    };
    ($community:literal) => {
        concat!(
            "WITH known(did) AS (
                SELECT member_did FROM memberships WHERE community_uri = ",
            $community,
            " AND NOT hidden
                UNION SELECT member_did FROM members WHERE community_uri = ",
            $community,
            " AND NOT hidden
                UNION SELECT owner_did FROM communities WHERE uri = ",
            $community,
            "),
            page(did, community_uri) AS (
                SELECT w.did, c.uri FROM communities c CROSS JOIN known w
                WHERE c.uri = ",
            $community,
            " AND NOT c.hidden AND w.did > ?2
                  AND (w.did = c.owner_did OR NOT EXISTS (
                       SELECT 1 FROM bans b WHERE b.community_uri = c.uri AND b.member_did = w.did))
                  AND (w.did = c.owner_did AND c.rkey <> 'self' OR ",
            joined_it!("w.did"),
            ")
                ORDER BY w.did LIMIT ?3) "
        )
    };
}

const MEMBERS: &str = concat!(
    members_of_page!(),
    "SELECT json_object('did', l.did, 'person', ",
    person_json!("p"),
    ", 'own', ",
    own_json!("o"),
    ") AS row FROM page l LEFT JOIN people p ON p.did = l.did",
    own_profile!("o", "l.did"),
    "ORDER BY l.did"
);

const INVITED: &str = "
    SELECT json_object('code', i.code, 'community', c.uri, 'created_by', i.created_by_did,
        'active', json(iif(i.ended_at IS NULL, 'true', 'false')), 'name', c.name, 'picture', c.picture,
        'banner', iif(x.community_uri IS NULL, c.banner, NULL),
        'requires_approval', json(iif(c.requires_approval_to_join, 'true', 'false'))) AS row
    FROM invites i JOIN communities c ON c.uri = i.community_uri
    LEFT JOIN members_only x ON x.community_uri = c.uri WHERE i.code = ?1 AND NOT c.hidden";

// Who takes part in the community of the invitation ?1, unless it is for members only.
const COUNTS: &str = concat!(
    members_of_page!(
        "(SELECT i.community_uri FROM invites i WHERE i.code = ?1
            AND NOT EXISTS (SELECT 1 FROM members_only x WHERE x.community_uri = i.community_uri))"
    ),
    "SELECT json_object('members', count(*), 'online', coalesce(sum(coalesce(p.state, 'offline') <> 'offline'), 0)) AS row
    FROM page l LEFT JOIN people p ON p.did = l.did"
);

// Admissions that were not withdrawn, or are asked for again (N17).
macro_rules! admissions_of {
    ($whose:literal) => {
        concat!(
            "SELECT json_object('uri', a.uri, 'did', a.member_did, 'community', a.community_uri, 'roles', a.roles) AS row ",
            $whose,
            " AND NOT a.hidden AND (NOT a.withdrawn OR EXISTS (
                SELECT 1 FROM memberships again WHERE again.member_did = a.member_did
                   AND again.community_uri = a.community_uri AND NOT again.hidden))"
        )
    };
}
pub(super) use admissions_of;

const ADMISSIONS: &str = concat!(
    members_of_page!(),
    admissions_of!(
        "FROM page l CROSS JOIN members a ON a.member_did = l.did AND a.community_uri = l.community_uri WHERE true"
    )
);

const OWN_ADMISSIONS: &str = admissions_of!("FROM members a WHERE a.member_did = ?1");

// Only the key `self` counts (N55).
const OWN_ORDER: &str = "
    SELECT json_quote(communities) AS row FROM actors
    WHERE uri = 'at://' || ?1 || '/social.colibri.actor.data/self' AND communities IS NOT NULL";

const PROTECTED: &str = "
    SELECT json_quote(r.uri) AS row
    FROM (SELECT DISTINCT community_uri FROM members WHERE member_did = ?1) a
    CROSS JOIN roles r ON r.community_uri = a.community_uri WHERE r.protected";

// Of those for members only what everybody sees (X42).
const OF_MEMBER: &str = concat!(
    "SELECT ",
    community_json!("in lists"),
    " AS row FROM communities c
    WHERE c.uri IN (SELECT uri FROM communities WHERE owner_did = ?1
                    UNION SELECT community_uri FROM memberships WHERE member_did = ?1 AND NOT hidden
                    UNION SELECT community_uri FROM members WHERE member_did = ?1 AND NOT hidden)
      AND NOT c.hidden AND NOT ",
    moved!(),
    " AND (c.owner_did = ?1 OR (
          NOT EXISTS (SELECT 1 FROM bans b WHERE b.community_uri = c.uri AND b.member_did = ?1)
          AND ",
    joined_it!("?1"),
    "))
    ORDER BY c.name, c.uri"
);
