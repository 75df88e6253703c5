//! What an export reads, page by page (R43).
//!
//! Promises: each page is one query, which begins at its place in an index of the step's order. It reads at
//! most [`ROWS`] records, including those that it leaves out, and of long kinds at most [`LETTERS`] letters
//! and one record more. A place that a caller made up leads to nothing outside of the export.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Fault, Param, Statement, Store, rows};
use crate::domain::export::{Entry, Page, Question, Step, Subject};
use crate::domain::rows::Looks;
use crate::domain::sidebar::named;
use crate::wire::ids::{AtUri, Collection, Did};
use crate::wire::record_json::{one_line, written};
use crate::wire::records::{
    About, Actor, ActorProfile, Approval, Category, Channel, ChannelRead, Community, Member, Membership,
    Message, Moderation, Mute, Preference, Profile, Reaction, ReadUpTo, Record, Role,
};
use crate::wire::time::Micros;

/// The most records on a page, including those that are left out.
const ROWS: usize = 1000;
/// The most letters on a page of long records, without its last record.
const LETTERS: i64 = 512 * 1024;

/// The answer to a question.
pub async fn page(store: &impl Store, question: &Question<'_>) -> Result<Page, Fault> {
    let in_community = matches!(question.subject, Subject::Community(_));
    match question.step {
        Step::Communities => {
            read::<CommunityFound>(store, own(question, Collection::Community, COMMUNITIES)).await
        }
        Step::Roles => read::<RoleFound>(store, own(question, Collection::Role, ROLES)).await,
        Step::Categories => {
            read::<CategoryFound>(store, own(question, Collection::Category, CATEGORIES)).await
        }
        Step::Channels => read::<ChannelFound>(store, own(question, Collection::Channel, CHANNELS)).await,
        Step::Memberships if in_community => {
            read::<MembershipFound>(store, of_members(question, MEMBERS)).await
        }
        Step::Memberships => {
            read::<MembershipFound>(store, own(question, Collection::Membership, MEMBERSHIPS)).await
        }
        Step::Admissions => {
            let sql = if in_community { ADMISSIONS } else { OWN_ADMISSIONS };
            read::<AdmissionFound>(store, own(question, Collection::Member, sql)).await
        }
        Step::Decisions => {
            read::<DecisionFound>(store, own(question, Collection::Moderation, DECISIONS)).await
        }
        Step::Approvals => read::<ApprovalFound>(store, own(question, Collection::Approval, APPROVALS)).await,
        Step::Actors => read::<ActorFound>(store, own(question, Collection::ActorData, ACTORS)).await,
        Step::Profile => read::<ProfileFound>(store, profile(question)).await,
        Step::MemberActors => read::<ActorFound>(store, actors_of_members(question, ACTORS_OF_MEMBERS)).await,
        Step::AdmittedActors => {
            read::<ActorFound>(store, actors_of_members(question, ACTORS_OF_ADMITTED)).await
        }
        Step::AdmittedProfiles => {
            read::<ProfileFound>(store, of_members(question, PROFILES_OF_ADMITTED)).await
        }
        Step::MemberProfiles => read::<ProfileFound>(store, of_members(question, PROFILES_OF_MEMBERS)).await,
        Step::Messages if in_community => read::<MessageFound>(store, messages(question)).await,
        Step::Messages => read::<MessageFound>(store, own(question, Collection::Message, OWN_MESSAGES)).await,
        Step::Reactions if in_community => read::<ReactionFound>(store, reactions(question)).await,
        Step::Reactions => {
            read::<ReactionFound>(store, own(question, Collection::Reaction, OWN_REACTIONS)).await
        }
        Step::ChannelReads => read::<ReadFound>(store, own(question, Collection::ChannelRead, READS)).await,
        Step::OwnProfile => {
            read::<OwnProfileFound>(store, own(question, Collection::ActorProfile, OWN_PROFILES)).await
        }
        Step::Mutes => read::<MuteFound>(store, own(question, Collection::Mute, MUTES)).await,
        Step::Preferences => {
            read::<PreferenceFound>(store, own(question, Collection::Preference, PREFERENCES)).await
        }
        Step::Held => read::<HeldFound>(store, held(question)).await,
    }
}

/// Each statement's last parameters are the limits: of rows, and for long records of letters.
async fn read<F: Found>(store: &impl Store, mut statement: Statement) -> Result<Page, Fault> {
    statement.params.push(i64::try_from(ROWS).unwrap_or(i64::MAX).into());
    statement.params.extend(F::IS_LONG.then(|| LETTERS.into()));
    let found: Vec<F> = rows(store.read(&[statement]).await?.first())?;
    // A page that is cut by its length may be short although more records follow.
    let is_last = if F::IS_LONG { found.is_empty() } else { found.len() < ROWS };
    Ok(Page { entries: found.into_iter().map(Found::entry).collect(), is_last })
}

/// Whose repository it is about: the person's, or that of the community's owner.
fn whose(question: &Question) -> Did {
    match question.subject {
        Subject::Community(community) => community.authority(),
        Subject::Person(did) => did.clone(),
    }
}

fn after<'q>(question: &Question<'q>, nth: usize) -> &'q str {
    question.after.get(nth).map_or("", String::as_str)
}

fn community_of<'q>(question: &Question<'q>) -> &'q str {
    match question.subject {
        Subject::Community(community) => community.as_str(),
        Subject::Person(_) => "",
    }
}

/// Records of one repository by AT-URI, after ?1 and before ?2: those whose AT-URI begins with `name`, and,
/// if ?3 is a community, that belong to it.
fn in_repository(question: &Question, name: &str, sql: &'static str) -> Statement {
    let begin = format!("{name}/");
    let from = question.after.last().filter(|uri| **uri > begin).cloned().unwrap_or(begin);
    // `0` follows `/` in code points, so this is behind every AT-URI below `name`.
    Statement::new(sql, [from.into(), format!("{name}0").into(), community_of(question).into()])
}

fn own(question: &Question, collection: Collection, sql: &'static str) -> Statement {
    in_repository(question, &format!("at://{}/{}", whose(question), collection.nsid()), sql)
}

fn held(question: &Question) -> Statement {
    in_repository(question, &format!("at://{}", whose(question)), HELD)
}

fn profile(question: &Question) -> Statement {
    Statement::new(PROFILE, [whose(question).as_str().into()])
}

/// Records of the members of the community ?1, whose owner is ?2, after the place (?3, ?4).
fn of_members(question: &Question, sql: &'static str) -> Statement {
    let (community, owner) = (community_of(question).into(), whose(question).as_str().into());
    Statement::new(sql, [community, owner, after(question, 0).into(), after(question, 1).into()])
}

/// As [`of_members`]; ?5 is the last actor record that was read of the member at that place.
fn actors_of_members(question: &Question, sql: &'static str) -> Statement {
    let mut statement = of_members(question, sql);
    statement.params.push(after(question, 2).into());
    statement
}

/// Messages in the channels of the community ?1, after the place (?2 to ?5); ?6 sorts after all of its
/// owner's channels.
fn messages(question: &Question) -> Statement {
    let channels = format!("at://{}/{}", whose(question), Collection::Channel.nsid());
    let from = question.after.first().map_or_else(|| format!("{channels}/"), Clone::clone);
    let mut params: Vec<Param> = vec![community_of(question).into(), from.into()];
    params.extend((1..4).map(|nth| Param::from(after(question, nth))));
    params.push(format!("{channels}0").into());
    Statement::new(MESSAGES, params)
}

/// Reactions to the messages ?1, after the place (?2, ?3) among the reactions to the first of them.
fn reactions(question: &Question) -> Statement {
    let targets = Param::json(&question.targets);
    Statement::new(REACTIONS, [targets, after(question, 1).into(), after(question, 2).into()])
}

/// A row of the index, as far as an export needs it.
trait Found: DeserializeOwned {
    /// Whether pages of it are cut by their length.
    const IS_LONG: bool = false;

    fn entry(self) -> Entry;
}

/// What every row has.
#[derive(Deserialize)]
struct Head {
    uri: AtUri,
    cid: Option<String>,
    rev: Option<String>,
    /// Whether it is a part of the export, and not only the place to which a page was read.
    #[serde(default = "is_shown")]
    shown: bool,
}

fn is_shown() -> bool {
    true
}

impl Head {
    fn entry(self, record: &Record, place: Vec<String>) -> Entry {
        let Self { uri, cid, rev, shown } = self;
        Entry { uri, cid, rev, shown, value: written(record), place }
    }

    /// In the order of AT-URIs.
    fn by_uri(self, record: &Record) -> Entry {
        let place = vec![self.uri.to_string()];
        self.entry(record, place)
    }

    /// In the order of people and their AT-URIs.
    fn by_person(self, record: &Record) -> Entry {
        let place = vec![self.uri.authority().to_string(), self.uri.to_string()];
        self.entry(record, place)
    }

    /// In the order of the records that make people members, if `listed` is one: the place in that list, and
    /// then among the member's records.
    fn by_membership(self, record: &Record, listed: Option<(Did, AtUri)>) -> Entry {
        let Some((member, listed)) = listed else { return self.by_uri(record) };
        let last = if self.shown { self.uri.to_string() } else { String::new() };
        self.entry(record, vec![member.to_string(), listed.to_string(), last])
    }
}

#[derive(Deserialize)]
struct CommunityFound {
    #[serde(flatten)]
    head: Head,
    name: String,
    description: Option<String>,
    picture: Option<String>,
    category_order: Option<String>,
    requires_approval_to_join: bool,
    banner: Option<String>,
    link_embeds: Option<i64>,
    migrated_to: Option<AtUri>,
    migrated_from: Option<AtUri>,
    appview: Option<Did>,
}

impl Found for CommunityFound {
    const IS_LONG: bool = true;

    fn entry(self) -> Entry {
        let record = Community {
            name: self.name,
            description: self.description,
            picture: self.picture,
            category_order: self.category_order,
            requires_approval_to_join: self.requires_approval_to_join,
            banner: self.banner,
            link_embeds: self.link_embeds.map(|number| number != 0),
            migrated_to: self.migrated_to,
            migrated_from: self.migrated_from,
            appview: self.appview,
        };
        self.head.by_uri(&Record::Community(Box::new(record)))
    }
}

#[derive(Deserialize)]
struct RoleFound {
    #[serde(flatten)]
    head: Head,
    name: String,
    color: Option<String>,
    permissions: String,
    position: i64,
    hoisted: bool,
    mentionable: bool,
    protected: bool,
    channel_overrides: Option<String>,
}

impl Found for RoleFound {
    const IS_LONG: bool = true;

    fn entry(self) -> Entry {
        let record = Role {
            name: self.name,
            color: self.color,
            permissions: stored(Some(&self.permissions)),
            position: self.position,
            hoisted: self.hoisted,
            mentionable: self.mentionable,
            protected: self.protected,
            overrides: stored(self.channel_overrides.as_ref()),
        };
        self.head.by_uri(&Record::Role(record))
    }
}

/// A value that the index keeps as JSON; the default if there is none.
fn stored<T: DeserializeOwned + Default>(json: Option<&String>) -> T {
    json.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default()
}

#[derive(Deserialize)]
struct CategoryFound {
    #[serde(flatten)]
    head: Head,
    community_uri: AtUri,
    name: String,
    channel_order: Option<String>,
}

impl Found for CategoryFound {
    const IS_LONG: bool = true;

    fn entry(self) -> Entry {
        let Self { head, community_uri, name, channel_order } = self;
        head.by_uri(&Record::Category(Category { name, channel_order, community: community_uri.rkey() }))
    }
}

#[derive(Deserialize)]
struct ChannelFound {
    #[serde(flatten)]
    head: Head,
    community_uri: AtUri,
    name: String,
    description: Option<String>,
    channel_type: String,
    category_rkey: Option<String>,
    owner_only: bool,
    allowed_roles: Option<String>,
    allowed_members: Option<String>,
    link_embeds: Option<i64>,
    migrated_from: Option<AtUri>,
}

impl Found for ChannelFound {
    const IS_LONG: bool = true;

    fn entry(self) -> Entry {
        let record = Channel {
            name: self.name,
            description: self.description,
            channel_type: self.channel_type,
            community: self.community_uri.rkey(),
            category: self.category_rkey,
            owner_only: self.owner_only,
            allowed_roles: stored(self.allowed_roles.as_ref()),
            allowed_members: stored(self.allowed_members.as_ref()),
            link_embeds: self.link_embeds.map(|number| number != 0),
            migrated_from: self.migrated_from,
        };
        self.head.by_uri(&Record::Channel(Box::new(record)))
    }
}

#[derive(Deserialize)]
struct MembershipFound {
    #[serde(flatten)]
    head: Head,
    community_uri: AtUri,
}

impl Found for MembershipFound {
    fn entry(self) -> Entry {
        self.head.by_person(&Record::Membership(Membership { community: self.community_uri }))
    }
}

#[derive(Deserialize)]
struct AdmissionFound {
    #[serde(flatten)]
    head: Head,
    member_did: Did,
    roles: String,
    nickname: Option<String>,
    from_membership: Option<AtUri>,
}

impl Found for AdmissionFound {
    const IS_LONG: bool = true;

    fn entry(self) -> Entry {
        let Self { head, member_did, roles, nickname, from_membership } = self;
        let record = Member { subject: member_did, roles: stored(Some(&roles)), nickname, from_membership };
        head.by_uri(&Record::Member(record))
    }
}

#[derive(Deserialize)]
struct DecisionFound {
    #[serde(flatten)]
    head: Head,
    action: String,
    subject: String,
    embeds: Option<String>,
    reason: Option<String>,
    created_by: Option<Did>,
    created_at: Option<String>,
}

impl Found for DecisionFound {
    const IS_LONG: bool = true;

    fn entry(self) -> Entry {
        let Self { head, action, subject, embeds, reason, created_by, created_at } = self;
        let about = match (Did::parse(&subject), AtUri::parse(&subject)) {
            (Ok(did), _) => About::Person(did),
            (_, Ok(uri)) => About::Message(uri),
            _ => About::Nothing,
        };
        let record = Moderation { action, about, embeds, reason, created_by, created_at };
        head.by_uri(&Record::Moderation(record))
    }
}

#[derive(Deserialize)]
struct ApprovalFound {
    #[serde(flatten)]
    head: Head,
    membership_uri: AtUri,
    community_uri: Option<AtUri>,
}

impl Found for ApprovalFound {
    fn entry(self) -> Entry {
        let Self { head, membership_uri, community_uri } = self;
        let record = Approval { membership: membership_uri, community: community_uri };
        head.by_uri(&Record::Approval(record))
    }
}

#[derive(Deserialize)]
struct ActorFound {
    #[serde(flatten)]
    head: Head,
    listed: Option<(Did, AtUri)>,
    status_text: Option<String>,
    emoji: Option<String>,
    communities: Option<String>,
}

impl Found for ActorFound {
    fn entry(self) -> Entry {
        let Self { head, listed, status_text, emoji, communities } = self;
        let communities = named(communities.as_deref());
        let record = Record::Actor(Actor { status: status_text.unwrap_or_default(), emoji, communities });
        head.by_membership(&record, listed)
    }
}

#[derive(Deserialize)]
struct ProfileFound {
    #[serde(flatten)]
    head: Head,
    listed: Option<(Did, AtUri)>,
    display_name: Option<String>,
    description: Option<String>,
    avatar_cid: Option<String>,
    banner_cid: Option<String>,
    /// The Bluesky profile, while another profile is shown (N50).
    bluesky: Option<String>,
    #[serde(default)]
    is_bot: bool,
}

impl Found for ProfileFound {
    fn entry(self) -> Entry {
        let Self { head, listed, display_name, description, avatar_cid, banner_cid, bluesky, is_bot } = self;
        let shown = Looks { display_name, avatar_cid, banner_cid, description };
        let Looks { display_name, avatar_cid, banner_cid, description } =
            if bluesky.is_some() { stored(bluesky.as_ref()) } else { shown };
        let record = Record::Profile(Profile { display_name, description, avatar_cid, banner_cid, is_bot });
        head.by_membership(&record, listed)
    }
}

#[derive(Deserialize)]
struct MessageFound {
    #[serde(flatten)]
    head: Head,
    channel_uri: String,
    channel: String,
    text: String,
    created_at: String,
    sort_at: String,
    edited: bool,
    parent: Option<String>,
    facets: Option<String>,
    attachments: Option<String>,
    suppressed_embeds: Option<String>,
}

impl Found for MessageFound {
    const IS_LONG: bool = true;

    fn entry(self) -> Entry {
        let Self {
            head,
            channel_uri,
            channel,
            text,
            created_at,
            sort_at,
            edited,
            parent,
            facets,
            attachments,
            suppressed_embeds,
        } = self;
        let (rkey, author) = (head.uri.rkey().to_string(), head.uri.authority().to_string());
        let place = vec![channel_uri, sort_at, rkey, author, head.uri.to_string()];
        let record =
            Message { text, created_at, channel, parent, facets, attachments, edited, suppressed_embeds };
        head.entry(&Record::Message(Box::new(record)), place)
    }
}

#[derive(Deserialize)]
struct ReactionFound {
    #[serde(flatten)]
    head: Head,
    target_uri: AtUri,
    emoji: String,
    indexed_at: String,
    /// The index of its message among those that were asked for, if any were.
    nth: Option<i64>,
}

impl Found for ReactionFound {
    fn entry(self) -> Entry {
        let Self { head, target_uri, emoji, indexed_at, nth } = self;
        let place = vec![nth.unwrap_or_default().to_string(), indexed_at, head.uri.to_string()];
        let record = Reaction { emoji, target: target_uri.to_string(), created_at: None };
        head.entry(&Record::Reaction(record), place)
    }
}

#[derive(Deserialize)]
struct ReadFound {
    #[serde(flatten)]
    head: Head,
    channel_uri: AtUri,
    cursor_at: Micros,
    cursor_uri: Option<AtUri>,
}

impl Found for ReadFound {
    fn entry(self) -> Entry {
        let Self { head, channel_uri, cursor_at, cursor_uri } = self;
        let cursor = cursor_uri.map_or(ReadUpTo::Time(cursor_at), ReadUpTo::Message);
        head.by_uri(&Record::ChannelRead(ChannelRead { channel: channel_uri, cursor }))
    }
}

#[derive(Deserialize)]
struct OwnProfileFound {
    #[serde(flatten)]
    head: Head,
    display_name: Option<String>,
    description: Option<String>,
    avatar: Option<String>,
    banner: Option<String>,
    sync_bluesky: bool,
    theme: Option<String>,
    presence_service: Option<Did>,
    preferred_badge: Option<String>,
}

impl Found for OwnProfileFound {
    fn entry(self) -> Entry {
        let (display_name, description) = (self.display_name, self.description);
        let record = ActorProfile {
            profile: Profile { display_name, description, ..Profile::default() },
            avatar: self.avatar,
            banner: self.banner,
            sync_bluesky: self.sync_bluesky,
            theme: self.theme,
            presence_service: self.presence_service,
            preferred_badge: self.preferred_badge,
        };
        self.head.by_uri(&Record::ActorProfile(Box::new(record)))
    }
}

#[derive(Deserialize)]
struct MuteFound {
    #[serde(flatten)]
    head: Head,
    subject: AtUri,
}

impl Found for MuteFound {
    fn entry(self) -> Entry {
        self.head.by_uri(&Record::Mute(Mute { subject: self.subject }))
    }
}

#[derive(Deserialize)]
struct PreferenceFound {
    #[serde(flatten)]
    head: Head,
    level: String,
}

impl Found for PreferenceFound {
    fn entry(self) -> Entry {
        self.head.by_uri(&Record::Preference(Preference { level: self.level }))
    }
}

/// A record that waits is kept as it arrived.
#[derive(Deserialize)]
struct HeldFound {
    #[serde(flatten)]
    head: Head,
    record: String,
}

impl Found for HeldFound {
    const IS_LONG: bool = true;

    fn entry(self) -> Entry {
        let Self { head: Head { uri, cid, rev, shown }, record } = self;
        let place = vec![uri.to_string()];
        Entry { uri, cid, rev, shown, value: one_line(&record), place }
    }
}

// A page of long records: the rows of `$page` with fewer letters before them than the parameter `$letters`.
// `size` is the length of a row, `$order` the order of both queries.
macro_rules! sized {
    ($columns:expr, $page:expr, $order:literal, $letters:literal) => {
        concat!(
            "SELECT json_object(",
            $columns,
            ") AS row FROM (SELECT p.*, sum(size) OVER (ORDER BY ",
            $order,
            " ROWS UNBOUNDED PRECEDING) - size AS ahead FROM (",
            $page,
            ") p) WHERE ahead < ?",
            $letters,
            " ORDER BY ",
            $order
        )
    };
}

const COMMUNITIES: &str = sized!(
    "'uri', uri, 'cid', cid, 'rev', rev, 'name', name, 'description', description, 'picture', picture,
     'category_order', category_order,
     'banner', banner, 'link_embeds', link_embeds, 'migrated_to', migrated_to, 'migrated_from', migrated_from,
     'appview', appview,
     'requires_approval_to_join', json(iif(requires_approval_to_join, 'true', 'false'))",
    "SELECT c.*, length(c.name) + ifnull(length(c.picture), 0) + ifnull(length(c.category_order), 0)
         + ifnull(length(c.banner), 0) AS size
     FROM communities c WHERE c.uri > ?1 AND c.uri < ?2 AND (?3 = '' OR c.uri = ?3) ORDER BY c.uri LIMIT ?4",
    "uri",
    5
);

const CATEGORIES: &str = sized!(
    "'uri', uri, 'cid', cid, 'rev', rev, 'community_uri', community_uri, 'name', name,
     'channel_order', channel_order",
    "SELECT g.*, length(g.name) + ifnull(length(g.channel_order), 0) AS size
     FROM categories g WHERE g.uri > ?1 AND g.uri < ?2 AND (?3 = '' OR g.community_uri = ?3)
     ORDER BY g.uri LIMIT ?4",
    "uri",
    5
);

const ROLES: &str = sized!(
    "'uri', uri, 'cid', cid, 'rev', rev, 'name', name, 'color', color, 'permissions', permissions,
     'position', position, 'hoisted', json(iif(hoisted, 'true', 'false')),
     'mentionable', json(iif(mentionable, 'true', 'false')),
     'protected', json(iif(protected, 'true', 'false')), 'channel_overrides', channel_overrides",
    "SELECT r.*, length(r.permissions) + ifnull(length(r.channel_overrides), 0) AS size
     FROM roles r WHERE r.uri > ?1 AND r.uri < ?2 AND (?3 = '' OR r.community_uri = ?3) ORDER BY r.uri LIMIT ?4",
    "uri",
    5
);

const CHANNELS: &str = sized!(
    "'uri', uri, 'cid', cid, 'rev', rev, 'community_uri', community_uri, 'name', name,
     'description', description, 'channel_type', channel_type, 'category_rkey', category_rkey,
     'owner_only', json(iif(owner_only, 'true', 'false')), 'allowed_roles', allowed_roles,
     'allowed_members', allowed_members, 'link_embeds', link_embeds, 'migrated_from', migrated_from",
    "SELECT ch.*, length(ch.name) + ifnull(length(ch.allowed_roles), 0) + ifnull(length(ch.allowed_members), 0) AS size
     FROM channels ch WHERE ch.uri > ?1 AND ch.uri < ?2 AND (?3 = '' OR ch.community_uri = ?3)
     ORDER BY ch.uri LIMIT ?4",
    "uri",
    5
);

const DECISIONS: &str = sized!(
    "'uri', uri, 'cid', cid, 'rev', rev, 'action', action, 'subject', subject, 'embeds', embeds,
     'reason', reason, 'created_by', created_by, 'created_at', created_at",
    "SELECT d.*, length(d.subject) + ifnull(length(d.embeds), 0) + ifnull(length(d.reason), 0) AS size
     FROM moderations d WHERE d.uri > ?1 AND d.uri < ?2 AND (?3 = '' OR d.community_uri = ?3)
     ORDER BY d.uri LIMIT ?4",
    "uri",
    5
);

macro_rules! admissions {
    ($shown:literal) => {
        sized!(
            "'uri', uri, 'cid', cid, 'rev', rev, 'member_did', member_did, 'roles', roles,
             'nickname', nickname, 'from_membership', from_membership,
             'shown', json(iif(shown, 'true', 'false'))",
            concat!(
                "SELECT a.*, length(a.roles) AS size, ",
                $shown,
                " AS shown FROM members a
                 WHERE a.uri > ?1 AND a.uri < ?2 AND (?3 = '' OR a.community_uri = ?3) ORDER BY a.uri LIMIT ?4"
            ),
            "uri",
            5
        )
    };
}

// Only admissions that count (N16, N17): an index that imports the others, and never saw the membership
// deleted, would count them.
const ADMISSIONS: &str = admissions!(
    "NOT a.hidden AND (NOT a.withdrawn OR EXISTS (
         SELECT 1 FROM memberships m
         WHERE m.member_did = a.member_did AND m.community_uri = a.community_uri AND NOT m.hidden))"
);
const OWN_ADMISSIONS: &str = admissions!("true");

const MEMBERSHIPS: &str = "
    SELECT json_object('uri', uri, 'cid', cid, 'rev', rev, 'community_uri', community_uri) AS row
    FROM memberships WHERE uri > ?1 AND uri < ?2 ORDER BY uri LIMIT ?4";

const MEMBERS: &str = "
    SELECT json_object('uri', uri, 'cid', cid, 'rev', rev, 'community_uri', community_uri,
        'shown', json(iif(hidden, 'false', 'true'))) AS row
    FROM memberships WHERE community_uri = ?1 AND (member_did, uri) > (?3, ?4)
    ORDER BY member_did, uri LIMIT ?5";

// Those in another community of the same owner are read, and left out.
const APPROVALS: &str = "
    SELECT json_object('uri', a.uri, 'cid', a.cid, 'rev', a.rev, 'membership_uri', a.membership_uri,
        'community_uri', a.community_uri, 'shown', json(iif(?3 = '' OR EXISTS (
            SELECT 1 FROM memberships m
            WHERE m.uri = a.membership_uri AND m.community_uri = ?3 AND NOT m.hidden), 'true', 'false'))) AS row
    FROM approvals a WHERE a.uri > ?1 AND a.uri < ?2 ORDER BY a.uri LIMIT ?4";

const ACTORS: &str = "
    SELECT json_object('uri', a.uri, 'cid', a.cid, 'rev', a.rev, 'status_text', p.status_text,
        'emoji', p.emoji, 'communities', a.communities) AS row
    FROM actors a LEFT JOIN people p ON p.did = a.did WHERE a.uri > ?1 AND a.uri < ?2 ORDER BY a.uri LIMIT ?4";

// Whether a row of a list is the first valid one of its person, who is not the owner. In the list of
// admissions, people with a membership are left out.
macro_rules! first_of_a_person {
    ("memberships") => {
        "NOT m.hidden AND m.member_did <> ?2 AND NOT EXISTS (
             SELECT 1 FROM memberships o WHERE o.community_uri = m.community_uri
                AND o.member_did = m.member_did AND o.uri < m.uri AND NOT o.hidden)"
    };
    ("members") => {
        "NOT m.hidden AND NOT m.withdrawn AND m.member_did <> ?2 AND NOT EXISTS (
             SELECT 1 FROM members o WHERE o.community_uri = m.community_uri
                AND o.member_did = m.member_did AND o.uri < m.uri AND NOT o.hidden AND NOT o.withdrawn)
         AND NOT EXISTS (
             SELECT 1 FROM memberships o WHERE o.community_uri = m.community_uri
                AND o.member_did = m.member_did AND NOT o.hidden)"
    };
}

// At least one row for each row of the list, because the last row read is where the next page begins.
macro_rules! actors_of {
    ($list:tt) => {
        concat!(
            "SELECT json_object('uri', ifnull(a.uri, m.uri), 'cid', a.cid, 'rev', a.rev,
                'listed', json_array(m.member_did, m.uri), 'status_text', p.status_text, 'emoji', p.emoji,
                'communities', a.communities,
                'shown', json(iif(a.uri IS NULL, 'false', 'true'))) AS row
            FROM ",
            $list,
            " m LEFT JOIN actors a ON a.did = m.member_did
                AND a.uri > iif((m.member_did, m.uri) = (?3, ?4), ?5, '') AND ",
            first_of_a_person!($list),
            " LEFT JOIN people p ON p.did = a.did
            WHERE m.community_uri = ?1 AND (m.member_did, m.uri) >= (?3, ?4)
                AND (a.uri IS NOT NULL OR (m.member_did, m.uri) <> (?3, ?4))
            ORDER BY m.member_did, m.uri, a.uri LIMIT ?6"
        )
    };
}
const ACTORS_OF_MEMBERS: &str = actors_of!("memberships");
const ACTORS_OF_ADMITTED: &str = actors_of!("members");

macro_rules! profile {
    ($did:literal, $more:expr, $from:expr) => {
        concat!(
            "SELECT json_object('uri', 'at://' || ",
            $did,
            " || '/app.bsky.actor.profile/self', 'cid', p.profile_cid, 'rev', p.profile_rev,
                'display_name', p.display_name, 'description', p.description, 'avatar_cid', p.avatar_cid,
                'banner_cid', p.banner_cid, 'bluesky', p.bluesky, 'is_bot', json(iif(p.is_bot, 'true', 'false'))",
            $more,
            ") AS row ",
            $from
        )
    };
    () => {
        "(p.is_bot OR iif(p.bluesky IS NULL,
             coalesce(p.display_name, p.description, p.avatar_cid, p.banner_cid) IS NOT NULL, p.bluesky <> '{}'))"
    };
}

const PROFILE: &str =
    profile!("p.did", "", concat!("FROM people p WHERE p.did = ?1 AND ", profile!(), " LIMIT ?2"));

macro_rules! profiles_of {
    ($list:tt) => {
        profile!(
            "m.member_did",
            concat!(
                ", 'listed', json_array(m.member_did, m.uri), 'shown', json(iif(",
                profile!(),
                " AND ",
                first_of_a_person!($list),
                ", 'true', 'false'))"
            ),
            concat!(
                "FROM ",
                $list,
                " m LEFT JOIN people p ON p.did = m.member_did
                 WHERE m.community_uri = ?1 AND (m.member_did, m.uri) > (?3, ?4)
                 ORDER BY m.member_did, m.uri LIMIT ?5"
            )
        )
    };
}
const PROFILES_OF_MEMBERS: &str = profiles_of!("memberships");
const PROFILES_OF_ADMITTED: &str = profiles_of!("members");

macro_rules! message_columns {
    () => {
        "'uri', uri, 'cid', cid, 'rev', rev, 'channel_uri', channel_uri, 'channel', channel, 'text', text,
         'created_at', created_at, 'sort_at', sort_at, 'edited', json(iif(edited, 'true', 'false')),
         'parent', parent, 'facets', facets, 'attachments', attachments, 'suppressed_embeds', suppressed_embeds"
    };
}
macro_rules! message_size {
    () => {
        "length(m.text) + ifnull(length(m.facets), 0) + ifnull(length(m.attachments), 0) AS size"
    };
}

const OWN_MESSAGES: &str = sized!(
    message_columns!(),
    concat!(
        "SELECT m.*, ",
        message_size!(),
        " FROM messages m WHERE m.uri > ?1 AND m.uri < ?2 ORDER BY m.uri LIMIT ?4"
    ),
    "uri",
    5
);

// In the order of an index, so that nothing is sorted: hence the plus sign.
const MESSAGES: &str = sized!(
    concat!(message_columns!(), ", 'shown', json(iif(shown, 'true', 'false'))"),
    concat!(
        "SELECT m.*, NOT m.hidden AND NOT EXISTS (SELECT 1 FROM blocks b WHERE b.uri = m.uri) AS shown, ",
        message_size!(),
        " FROM channels ch CROSS JOIN messages m ON m.channel_uri = ch.uri
          WHERE ch.uri >= ?2 AND ch.uri < ?6 AND +ch.community_uri = ?1
            AND (m.sort_at, m.rkey, m.author_did) > (iif(ch.uri = ?2, ?3, ''), iif(ch.uri = ?2, ?4, ''),
                iif(ch.uri = ?2, ?5, ''))
          ORDER BY ch.uri, m.sort_at, m.rkey, m.author_did LIMIT ?7"
    ),
    "channel_uri, sort_at, rkey, author_did",
    8
);

const OWN_REACTIONS: &str = "
    SELECT json_object('uri', uri, 'cid', cid, 'rev', rev, 'target_uri', target_uri, 'emoji', emoji,
        'indexed_at', indexed_at) AS row
    FROM reactions WHERE uri > ?1 AND uri < ?2 ORDER BY uri LIMIT ?4";

// In the order of arrival, because the first reaction of a group determines its spelling (8.4).
const REACTIONS: &str = "
    SELECT json_object('uri', r.uri, 'cid', r.cid, 'rev', r.rev, 'target_uri', r.target_uri, 'emoji', r.emoji,
        'indexed_at', r.indexed_at, 'nth', p.key) AS row
    FROM json_each(?1) p CROSS JOIN reactions r ON r.target_uri = p.value
    WHERE NOT r.hidden AND (p.key > 0 OR (r.indexed_at, r.uri) > (?2, ?3))
    ORDER BY p.key, r.indexed_at, r.uri LIMIT ?4";

const READS: &str = "
    SELECT json_object('uri', uri, 'cid', cid, 'rev', rev, 'channel_uri', channel_uri,
        'cursor_at', cursor_at, 'cursor_uri', cursor_uri) AS row
    FROM channel_reads WHERE uri > ?1 AND uri < ?2 ORDER BY uri LIMIT ?4";

const OWN_PROFILES: &str = "
    SELECT json_object('uri', uri, 'cid', cid, 'rev', rev, 'display_name', display_name,
        'description', description, 'avatar', avatar, 'banner', banner,
        'sync_bluesky', json(iif(sync_bluesky, 'true', 'false')), 'theme', theme,
        'presence_service', presence_service, 'preferred_badge', preferred_badge) AS row
    FROM actor_profiles WHERE uri > ?1 AND uri < ?2 ORDER BY uri LIMIT ?4";

const MUTES: &str = "
    SELECT json_object('uri', uri, 'cid', cid, 'rev', rev, 'subject', subject) AS row
    FROM mutes WHERE uri > ?1 AND uri < ?2 ORDER BY uri LIMIT ?4";

const PREFERENCES: &str = "
    SELECT json_object('uri', uri, 'cid', cid, 'rev', rev, 'level', level) AS row
    FROM preferences WHERE uri > ?1 AND uri < ?2 ORDER BY uri LIMIT ?4";

const HELD: &str = sized!(
    "'uri', uri, 'cid', cid, 'rev', rev, 'record', record",
    "SELECT h.uri, h.cid, h.rev, h.record, h.bytes AS size FROM held h WHERE h.uri > ?1 AND h.uri < ?2
     ORDER BY h.uri LIMIT ?4",
    "uri",
    5
);
