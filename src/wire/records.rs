//! The lexicon records that the service indexes, read from the JSON of a frame or a repository
//! (contract section 8).
//!
//! Promises: [`Record::parse`] never panics, refuses records that section 8 calls invalid (I03),
//! cuts texts where section 8 says so (I08, Unicode characters), ignores unknown fields (I04), and
//! keeps values that are echoed verbatim as the text that arrived.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::emoji;
use super::ids::{AtUri, Collection, Did, RKEY_MAX, Rkey};
use super::json;
use super::permissions::Permissions;
use super::text::{Limit, cut};
use super::time::Micros;

/// The largest record, as JSON text, in bytes (I03).
pub const RECORD_MAX: usize = 64 * 1024;

const TEXT_MAX: usize = 2048;
const FILE_NAME_MAX: usize = 256;
const NAME: Limit = Limit::characters(32);
const DESCRIPTION: Limit = Limit::characters(256);
/// The longest name of a collection: types of channels are such names (N05).
const TYPE_MAX: usize = 317;
/// Roles and people that a channel may name (N14).
const ALLOWED_MAX: usize = 500;
/// Roles of one person that count (N20).
const ROLES_MAX: usize = 100;
/// Channels for which a role has exceptions, and the words of each of their lists that are kept.
const OVERRIDES_MAX: usize = 200;
const COLOR_MAX: usize = 32;
const ACTION_MAX: usize = 64;
/// Addresses of links that one decision names.
const EMBEDS_MAX: usize = 100;
const REASON: Limit = Limit::characters(512);
/// The longest blob reference and theme of a profile of section 12, in bytes.
const BLOB_MAX: usize = 1_024;
const THEME_MAX: usize = 1_024;
const BADGE: Limit = Limit::characters(64);
const LEVEL_MAX: usize = 64;
/// Communities whose order a person may choose (N55).
const SIDEBAR_MAX: usize = 1_000;
const STATUS: Limit = Limit::characters(32);
const EMOJI: Limit = Limit::characters(64);
/// Limits of a profile, from the lexicon of `app.bsky.actor.profile` (8.6).
pub(super) const DISPLAY_NAME: Limit = Limit::lexicon(64, 640);
/// As [`DISPLAY_NAME`].
pub(super) const PROFILE_TEXT: Limit = Limit::lexicon(256, 2560);
/// The longest CID, in bytes. Those on the network have 59.
pub(super) const CID_MAX: usize = 256;

/// A record that is valid by section 8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// `social.colibri.message`
    Message(Box<Message>),
    /// `social.colibri.reaction`
    Reaction(Reaction),
    /// `social.colibri.community`
    Community(Box<Community>),
    /// `social.colibri.channel`
    Channel(Box<Channel>),
    /// `social.colibri.category`
    Category(Category),
    /// `social.colibri.membership`
    Membership(Membership),
    /// `social.colibri.approval`
    Approval(Approval),
    /// `social.colibri.member`
    Member(Member),
    /// `social.colibri.role`
    Role(Role),
    /// `social.colibri.moderation`
    Moderation(Moderation),
    /// `social.colibri.actor.data`
    Actor(Actor),
    /// `social.colibri.actor.profile`
    ActorProfile(Box<ActorProfile>),
    /// `social.colibri.actor.mute`
    Mute(Mute),
    /// `social.colibri.actor.notificationPreference`
    Preference(Preference),
    /// `social.colibri.channel.read`
    ChannelRead(ChannelRead),
    /// `app.bsky.actor.profile`
    Profile(Profile),
}

/// JSON, as the text that arrived.
pub type Verbatim = String;

/// Section 8.3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// At most 2048 characters; may be empty.
    pub text: String,
    /// As written; not necessarily a time.
    pub created_at: String,
    /// An rkey or an AT-URI, as written.
    pub channel: String,
    /// An rkey or an AT-URI, as written.
    pub parent: Option<String>,
    /// A JSON array of facets, as written.
    pub facets: Option<Verbatim>,
    /// A JSON array of attachments, as written.
    pub attachments: Option<Verbatim>,
    /// The record's own `edited`.
    pub edited: bool,
    /// A JSON array of the addresses whose preview the author does not want shown, as written (N53).
    pub suppressed_embeds: Option<Verbatim>,
}

/// Section 8.4.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reaction {
    /// One emoji, as written.
    pub emoji: String,
    /// The message: an rkey or an AT-URI, as written in `targetMessage` or else in `parent`.
    pub target: String,
    /// As written, if it is a text; not necessarily a time.
    pub created_at: Option<String>,
}

/// Section 8.5.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Community {
    /// 1–32 characters.
    pub name: String,
    /// At most 256 characters.
    pub description: Option<String>,
    /// A blob reference, as written.
    pub picture: Option<Verbatim>,
    /// A JSON array of rkeys, as written.
    pub category_order: Option<Verbatim>,
    /// Whether a membership needs the owner's approval before its author may post.
    pub requires_approval_to_join: bool,
    /// A blob reference, as written (N03).
    pub banner: Option<Verbatim>,
    /// Whether links are shown with a preview (N03).
    pub link_embeds: Option<bool>,
    /// The community that takes this one's place (N03).
    pub migrated_to: Option<AtUri>,
    /// The community whose place this one takes (N03).
    pub migrated_from: Option<AtUri>,
    /// The service that writes the community's repository (N03).
    pub appview: Option<Did>,
}

/// Section 8.5.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// 1–32 characters.
    pub name: String,
    /// At most 256 characters.
    pub description: Option<String>,
    /// `text`, `voice`, `forum`, or a name of at most 317 characters (N05).
    pub channel_type: String,
    /// The community, in the author's own repository (I27).
    pub community: Rkey,
    /// The category's rkey.
    pub category: Option<String>,
    /// Whether only the owner may post.
    pub owner_only: bool,
    /// Roles whose holders may post, if not everybody may (N14). Empty in the old form.
    pub allowed_roles: Vec<Rkey>,
    /// People who may post, likewise.
    pub allowed_members: Vec<Did>,
    /// Whether links are shown with a preview; `None`: as in the community.
    pub link_embeds: Option<bool>,
    /// The channel whose place this one takes (N03).
    pub migrated_from: Option<AtUri>,
}

/// Section 8.5.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Category {
    /// 1–32 characters.
    pub name: String,
    /// A JSON array of rkeys, as written.
    pub channel_order: Option<Verbatim>,
    /// The community, in the author's own repository (I27).
    pub community: Rkey,
}

/// Section 8.7.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The community to join.
    pub community: AtUri,
}

/// Section 8.7.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// The approved membership.
    pub membership: AtUri,
    /// Optional; it must be the membership's community.
    pub community: Option<AtUri>,
}

/// Section 12.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Who is admitted.
    pub subject: Did,
    /// The roles they hold, at most [`ROLES_MAX`].
    pub roles: Vec<Rkey>,
    /// At most 32 characters.
    pub nickname: Option<String>,
    /// The membership that asked for it, if it is one of the subject's.
    pub from_membership: Option<AtUri>,
}

/// Section 12.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// 1–32 characters.
    pub name: String,
    /// As written, if it is short.
    pub color: Option<String>,
    /// What its holders may do.
    pub permissions: Permissions,
    /// Holders of a higher one outrank those of a lower.
    pub position: i64,
    /// Whether its holders are listed apart.
    pub hoisted: bool,
    /// Whether it can be mentioned.
    pub mentionable: bool,
    /// Whether its holders may do everything.
    pub protected: bool,
    /// Exceptions, by channel.
    pub overrides: Vec<Override>,
}

/// Section 12.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moderation {
    /// What is decided: a word, at most 64 bytes.
    pub action: String,
    /// About whom or what, if the action knows it.
    pub about: About,
    /// Addresses of links, as written; at most [`EMBEDS_MAX`].
    pub embeds: Option<Verbatim>,
    /// At most 512 characters.
    pub reason: Option<String>,
    /// Who issued it: information, and no authority.
    pub created_by: Option<Did>,
    /// As written, if it is a time.
    pub created_at: Option<String>,
}

/// What a decision is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum About {
    /// A person is banned, or no more.
    Person(Did),
    /// A message is hidden, or no more.
    Message(AtUri),
    /// Previews of links in a message are hidden, or no more.
    Embeds(AtUri),
    /// Nothing that changes what this API shows.
    Nothing,
}

/// What a role permits beyond, or less, in one channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    /// The channel.
    pub channel: Rkey,
    /// More than the role.
    pub allow: Permissions,
    /// Less than the role, and than `allow`.
    pub deny: Permissions,
}

/// Section 8.6.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// At most 32 characters; may be empty.
    pub status: String,
    /// At most 64 characters; empty counts as none (O10).
    pub emoji: Option<String>,
    /// The accounts (newest form) and keys (old form) of communities in the order in which the person wants to see
    /// them (N55); at most 1,000.
    pub communities: Vec<String>,
}

/// Section 8.6.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelRead {
    /// The channel.
    pub channel: AtUri,
    /// The position up to which it is read.
    pub cursor: ReadUpTo,
}

/// How a read mark names its position (N52).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadUpTo {
    /// A time.
    Time(Micros),
    /// The last message that was read.
    Message(AtUri),
}

/// Section 12 (N50).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActorProfile {
    /// What is shown, unless `sync_bluesky`.
    pub profile: Profile,
    /// The picture as a blob reference, as written.
    pub avatar: Option<Verbatim>,
    /// The banner, likewise.
    pub banner: Option<Verbatim>,
    /// Whether the Bluesky profile is shown all the same.
    pub sync_bluesky: bool,
    /// Colours, as written.
    pub theme: Option<Verbatim>,
    /// The service that may publish the person's presence.
    pub presence_service: Option<Did>,
    /// The badge that the person prefers, at most 64 characters.
    pub preferred_badge: Option<String>,
}

/// Section 12 (N51).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mute {
    /// A channel or a community.
    pub subject: AtUri,
}

/// Section 12 (N51).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preference {
    /// 1–64 bytes, as written.
    pub level: String,
}

/// The label by which a person says that they are a bot.
pub const BOT: &str = "bot";
/// The most labels that a record may have of its own (`com.atproto.label.defs#selfLabels`); the first count.
const SELF_LABELS: usize = 10;

/// Section 8.6. Empty texts count as none (O10).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// At most 640 characters.
    pub display_name: Option<String>,
    /// At most 2560 characters.
    pub description: Option<String>,
    /// The CID of the blob.
    pub avatar_cid: Option<String>,
    /// The CID of the blob.
    pub banner_cid: Option<String>,
    /// Whether the person labels themselves `bot`.
    pub is_bot: bool,
}

/// Why a record is invalid (I03).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invalid {
    /// Over [`RECORD_MAX`].
    TooLarge,
    /// Nested deeper than JSON from outside may be (T23).
    TooDeep,
    /// A required field is missing, or a field has a wrong type.
    Shape,
    /// An element of `facets` is not a facet (8.3).
    Facets,
    /// An element of `attachments` is not an attachment (8.3).
    Attachments,
    /// A value is not a blob reference where there must be one.
    Blob,
    /// A text is longer than a limit that refuses.
    TextTooLong,
    /// A name is empty.
    EmptyName,
    /// A reference is neither a record key nor an AT-URI of the right kind.
    Reference,
    /// A channel or category names a community in another repository (I27).
    ForeignCommunity,
    /// Not exactly one emoji (8.4).
    NotAnEmoji,
}

impl Invalid {
    /// The word under which refusals are counted.
    pub fn reason(self) -> &'static str {
        match self {
            Invalid::TooLarge => "record_too_large",
            Invalid::TooDeep => "record_too_deep",
            Invalid::Shape => "record_malformed",
            Invalid::Facets => "facets_malformed",
            Invalid::Attachments => "attachments_malformed",
            Invalid::Blob => "blob_malformed",
            Invalid::TextTooLong => "text_too_long",
            Invalid::EmptyName => "name_empty",
            Invalid::Reference => "reference_malformed",
            Invalid::ForeignCommunity => "community_of_another_repository",
            Invalid::NotAnEmoji => "not_an_emoji",
        }
    }
}

impl Record {
    /// Reads a record of `collection` by `author` from its JSON text.
    pub fn parse(collection: Collection, author: &Did, json: &str) -> Result<Self, Invalid> {
        if json.len() > RECORD_MAX {
            return Err(Invalid::TooLarge);
        }
        if json::is_too_deep(json) {
            return Err(Invalid::TooDeep);
        }
        match collection {
            Collection::Message => message(json).map(Box::new).map(Record::Message),
            Collection::Reaction => reaction(json).map(Record::Reaction),
            Collection::Community => community(json).map(Box::new).map(Record::Community),
            Collection::Channel => channel(json, author).map(Box::new).map(Record::Channel),
            Collection::Category => category(json, author).map(Record::Category),
            Collection::Membership => membership(json).map(Record::Membership),
            Collection::Approval => approval(json).map(Record::Approval),
            Collection::Member => member(json).map(Record::Member),
            Collection::Role => role(json).map(Record::Role),
            Collection::Moderation => moderation(json).map(Record::Moderation),
            Collection::ActorData => actor(json).map(Record::Actor),
            Collection::ActorProfile => actor_profile(json).map(Box::new).map(Record::ActorProfile),
            Collection::Mute => mute(json).map(Record::Mute),
            Collection::Preference => preference(json).map(Record::Preference),
            Collection::ChannelRead => channel_read(json).map(Record::ChannelRead),
            Collection::Profile => profile(json).map(Record::Profile),
        }
    }
}

fn message(json: &str) -> Result<Message, Invalid> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Fields<'a> {
        text: String,
        created_at: String,
        channel: String,
        parent: Option<String>,
        #[serde(borrow)]
        facets: Option<&'a RawValue>,
        #[serde(borrow)]
        attachments: Option<&'a RawValue>,
        edited: Option<bool>,
        #[serde(borrow)]
        suppressed_embeds: Option<&'a RawValue>,
    }
    let fields: Fields = fields(json)?;
    if fields.text.chars().nth(TEXT_MAX).is_some() {
        return Err(Invalid::TextTooLong);
    }
    named(&fields.channel)?;
    fields.parent.as_deref().map(named).transpose()?;
    Ok(Message {
        text: fields.text,
        created_at: fields.created_at,
        channel: fields.channel,
        parent: fields.parent,
        facets: checked(fields.facets, '[', are_facets, Invalid::Facets)?,
        attachments: checked(fields.attachments, '[', are_attachments, Invalid::Attachments)?,
        edited: fields.edited.unwrap_or(false),
        suppressed_embeds: links(fields.suppressed_embeds),
    })
}

fn reaction(json: &str) -> Result<Reaction, Invalid> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Fields {
        emoji: String,
        // The lexicon says targetMessage; the web client writes parent.
        target_message: Option<String>,
        parent: Option<String>,
        created_at: Option<serde_json::Value>,
    }
    let fields: Fields = fields(json)?;
    let target = fields.target_message.or(fields.parent).ok_or(Invalid::Shape)?;
    named(&target)?;
    if !emoji::is_one(&fields.emoji) {
        return Err(Invalid::NotAnEmoji);
    }
    let created_at = fields.created_at.as_ref().and_then(serde_json::Value::as_str).map(str::to_owned);
    Ok(Reaction { emoji: fields.emoji, target, created_at })
}

fn community(json: &str) -> Result<Community, Invalid> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Fields<'a> {
        name: String,
        description: Option<String>,
        #[serde(borrow)]
        picture: Option<&'a RawValue>,
        #[serde(borrow)]
        category_order: Option<&'a RawValue>,
        requires_approval_to_join: Option<bool>,
        #[serde(borrow)]
        banner: Option<&'a RawValue>,
        #[serde(borrow)]
        link_embeds: Option<&'a RawValue>,
        #[serde(borrow)]
        migrated_to: Option<&'a RawValue>,
        #[serde(borrow)]
        migrated_from: Option<&'a RawValue>,
        #[serde(borrow)]
        appview: Option<&'a RawValue>,
    }
    let fields: Fields = fields(json)?;
    let community = |value| read::<AtUri>(value).filter(|uri| uri.is(Collection::Community));
    Ok(Community {
        banner: fields.banner.map(RawValue::get).filter(|text| is_blob(text)).map(str::to_owned),
        link_embeds: read(fields.link_embeds),
        migrated_to: community(fields.migrated_to),
        migrated_from: community(fields.migrated_from),
        appview: read(fields.appview),
        name: name(&fields.name)?,
        description: fields.description.map(|text| cut(&text, DESCRIPTION)),
        picture: checked(fields.picture, '{', is_blob, Invalid::Blob)?,
        category_order: rkeys(fields.category_order)?,
        requires_approval_to_join: fields.requires_approval_to_join.unwrap_or(true),
    })
}

fn channel(json: &str, author: &Did) -> Result<Channel, Invalid> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Fields<'a> {
        name: String,
        description: Option<String>,
        #[serde(rename = "type")]
        channel_type: String,
        community: String,
        category: Option<String>,
        owner_only: Option<bool>,
        #[serde(borrow)]
        allowed_roles: Option<&'a RawValue>,
        #[serde(borrow)]
        allowed_members: Option<&'a RawValue>,
        #[serde(borrow)]
        link_embeds: Option<&'a RawValue>,
        #[serde(borrow)]
        migrated_from: Option<&'a RawValue>,
    }
    let fields: Fields = fields(json)?;
    let category = fields.category.as_deref().unwrap_or_default();
    if fields.channel_type.chars().nth(TYPE_MAX).is_some() || category.len() > RKEY_MAX {
        return Err(Invalid::TextTooLong);
    }
    let community = own_community(&fields.community, author)?;
    let is_newest = community == Rkey::itself();
    Ok(Channel {
        name: name(&fields.name)?,
        description: fields.description.map(|text| cut(&text, DESCRIPTION)),
        channel_type: fields.channel_type,
        allowed_roles: allowed(fields.allowed_roles.filter(|_| is_newest))?,
        allowed_members: allowed(fields.allowed_members.filter(|_| is_newest))?,
        link_embeds: read(fields.link_embeds),
        migrated_from: read::<AtUri>(fields.migrated_from).filter(|uri| uri.is(Collection::Channel)),
        community,
        category: fields.category,
        owner_only: fields.owner_only.unwrap_or(false),
    })
}

fn category(json: &str, author: &Did) -> Result<Category, Invalid> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Fields<'a> {
        name: String,
        #[serde(borrow)]
        channel_order: Option<&'a RawValue>,
        community: String,
    }
    let fields: Fields = fields(json)?;
    Ok(Category {
        name: name(&fields.name)?,
        channel_order: rkeys(fields.channel_order)?,
        community: own_community(&fields.community, author)?,
    })
}

fn membership(json: &str) -> Result<Membership, Invalid> {
    #[derive(Deserialize)]
    struct Fields {
        community: String,
    }
    let fields: Fields = fields(json)?;
    Ok(Membership { community: reference(&fields.community, Collection::Community)? })
}

fn approval(json: &str) -> Result<Approval, Invalid> {
    #[derive(Deserialize)]
    struct Fields {
        membership: String,
        community: Option<String>,
    }
    let fields: Fields = fields(json)?;
    let community = fields.community.map(|text| reference(&text, Collection::Community));
    Ok(Approval {
        membership: reference(&fields.membership, Collection::Membership)?,
        community: community.transpose()?,
    })
}

fn member(json: &str) -> Result<Member, Invalid> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Fields<'a> {
        subject: String,
        #[serde(default)]
        roles: Option<Vec<String>>,
        #[serde(borrow)]
        nickname: Option<&'a RawValue>,
        #[serde(borrow)]
        from_membership: Option<&'a RawValue>,
    }
    let fields: Fields = fields(json)?;
    let subject = Did::parse(&fields.subject).map_err(|_| Invalid::Reference)?;
    let roles = fields.roles.unwrap_or_default();
    let from = read::<AtUri>(fields.from_membership);
    Ok(Member {
        roles: roles.iter().filter_map(|text| Rkey::parse(text).ok()).take(ROLES_MAX).collect(),
        nickname: shown(read(fields.nickname), NAME),
        from_membership: from.filter(|uri| uri.is(Collection::Membership) && uri.authority() == subject),
        subject,
    })
}

fn moderation(json: &str) -> Result<Moderation, Invalid> {
    #[derive(Deserialize)]
    struct Subject<'a> {
        #[serde(borrow)]
        did: Option<&'a RawValue>,
        #[serde(borrow)]
        uri: Option<&'a RawValue>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Fields<'a> {
        action: String,
        #[serde(borrow)]
        subject: Option<&'a RawValue>,
        #[serde(borrow)]
        embeds: Option<&'a RawValue>,
        #[serde(borrow)]
        reason: Option<&'a RawValue>,
        #[serde(borrow)]
        created_by: Option<&'a RawValue>,
        #[serde(borrow)]
        created_at: Option<&'a RawValue>,
    }
    let fields: Fields = fields(json)?;
    if fields.action.is_empty() || fields.action.len() > ACTION_MAX {
        return Err(Invalid::Shape);
    }
    let subject = fields.subject.and_then(|raw| json::object::<Subject>(raw.get()));
    let person = subject.as_ref().and_then(|subject| read::<Did>(subject.did)).map(About::Person);
    let message = subject.as_ref().and_then(|subject| read::<AtUri>(subject.uri));
    let message = message.filter(|uri| uri.is(Collection::Message));
    let about = match fields.action.as_str() {
        "ban" | "unban" => person,
        "hideMessage" | "unhideMessage" => message.map(About::Message),
        "suppressEmbeds" | "unsuppressEmbeds" => message.map(About::Embeds),
        _ => None,
    };
    Ok(Moderation {
        action: fields.action,
        about: about.unwrap_or(About::Nothing),
        embeds: links(fields.embeds),
        reason: shown(read(fields.reason), REASON),
        created_by: read(fields.created_by),
        created_at: read::<String>(fields.created_at).filter(|text| Micros::parse(text).is_some()),
    })
}

fn role(json: &str) -> Result<Role, Invalid> {
    #[derive(Deserialize)]
    struct Exception {
        channel: String,
        allow: Option<Vec<String>>,
        deny: Option<Vec<String>>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Fields {
        name: String,
        color: Option<String>,
        permissions: Vec<String>,
        position: i64,
        hoisted: Option<bool>,
        mentionable: Option<bool>,
        protected: Option<bool>,
        channel_overrides: Option<Vec<Exception>>,
    }
    let fields: Fields = fields(json)?;
    let known = |words: Option<Vec<String>>| Permissions::of(words.unwrap_or_default().iter());
    let overrides = fields.channel_overrides.unwrap_or_default().into_iter().filter_map(|one| {
        let channel = Rkey::parse(&one.channel).ok()?;
        Some(Override { channel, allow: known(one.allow), deny: known(one.deny) })
    });
    Ok(Role {
        name: name(&fields.name)?,
        color: fields.color.filter(|text| !text.is_empty() && text.len() <= COLOR_MAX),
        permissions: Permissions::of(fields.permissions.iter()),
        position: fields.position,
        hoisted: fields.hoisted.unwrap_or(false),
        mentionable: fields.mentionable.unwrap_or(false),
        protected: fields.protected.unwrap_or(false),
        overrides: overrides.take(OVERRIDES_MAX).collect(),
    })
}

/// An array of at most [`EMBEDS_MAX`] addresses of links, as written; anything else says nothing.
fn links(value: Option<&RawValue>) -> Option<Verbatim> {
    let text = value?.get();
    let list: Vec<String> = serde_json::from_str(text).ok()?;
    (1..=EMBEDS_MAX).contains(&list.len()).then(|| text.to_owned())
}

/// A field that says nothing where it is not what it should be.
fn read<'a, T: Deserialize<'a>>(value: Option<&'a RawValue>) -> Option<T> {
    value.and_then(|value| serde_json::from_str(value.get()).ok())
}

/// A list of who may post. What cannot be read must not be read as "everybody".
fn allowed<'a, T: Deserialize<'a>>(value: Option<&'a RawValue>) -> Result<Vec<T>, Invalid> {
    let Some(value) = value else { return Ok(Vec::new()) };
    let list: Vec<T> = serde_json::from_str(value.get()).map_err(|_| Invalid::Reference)?;
    if list.len() > ALLOWED_MAX { Err(Invalid::TextTooLong) } else { Ok(list) }
}

fn actor(json: &str) -> Result<Actor, Invalid> {
    #[derive(Deserialize)]
    struct Fields<'a> {
        status: String,
        emoji: Option<String>,
        #[serde(borrow)]
        communities: Option<&'a RawValue>,
    }
    let fields: Fields = fields(json)?;
    let named = read::<Vec<String>>(fields.communities).unwrap_or_default().into_iter();
    let named = named.filter(|name| Did::parse(name).is_ok() || Rkey::parse(name).is_ok());
    let communities = named.take(SIDEBAR_MAX).collect();
    Ok(Actor { status: cut(&fields.status, STATUS), emoji: shown(fields.emoji, EMOJI), communities })
}

fn channel_read(json: &str) -> Result<ChannelRead, Invalid> {
    #[derive(Deserialize)]
    struct Fields {
        channel: String,
        cursor: String,
    }
    let fields: Fields = fields(json)?;
    let message = || AtUri::parse(&fields.cursor).ok().filter(|uri| uri.is(Collection::Message));
    Ok(ChannelRead {
        channel: reference(&fields.channel, Collection::Channel)?,
        cursor: match Micros::parse(&fields.cursor) {
            Some(time) => ReadUpTo::Time(time),
            None => message().map(ReadUpTo::Message).ok_or(Invalid::Shape)?,
        },
    })
}

fn actor_profile(json: &str) -> Result<ActorProfile, Invalid> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Fields<'a> {
        #[serde(borrow)]
        avatar: Option<&'a RawValue>,
        #[serde(borrow)]
        banner: Option<&'a RawValue>,
        sync_bluesky: Option<bool>,
        #[serde(borrow)]
        theme: Option<&'a RawValue>,
        #[serde(borrow)]
        presence_service: Option<&'a RawValue>,
        #[serde(borrow)]
        preferred_badge: Option<&'a RawValue>,
    }
    let fields: Fields = fields(json)?;
    let blob = |value: Option<&RawValue>| {
        value.map(RawValue::get).filter(|text| text.len() <= BLOB_MAX && is_blob(text)).map(str::to_owned)
    };
    let theme =
        fields.theme.map(RawValue::get).filter(|text| text.starts_with('{') && text.len() <= THEME_MAX);
    Ok(ActorProfile {
        // Labels count in the Bluesky profile only (N50).
        profile: Profile { is_bot: false, ..profile(json)? },
        avatar: blob(fields.avatar),
        banner: blob(fields.banner),
        sync_bluesky: fields.sync_bluesky.unwrap_or(false),
        theme: theme.map(str::to_owned),
        presence_service: read(fields.presence_service),
        preferred_badge: shown(read(fields.preferred_badge), BADGE),
    })
}

fn mute(json: &str) -> Result<Mute, Invalid> {
    #[derive(Deserialize)]
    struct Fields {
        subject: String,
    }
    let fields: Fields = fields(json)?;
    let subject = AtUri::parse(&fields.subject).map_err(|_| Invalid::Reference)?;
    if subject.is(Collection::Channel) || subject.is(Collection::Community) {
        Ok(Mute { subject })
    } else {
        Err(Invalid::Reference)
    }
}

fn preference(json: &str) -> Result<Preference, Invalid> {
    #[derive(Deserialize)]
    struct Fields {
        level: String,
    }
    let Fields { level } = fields(json)?;
    if (1..=LEVEL_MAX).contains(&level.len()) { Ok(Preference { level }) } else { Err(Invalid::Shape) }
}

fn profile(json: &str) -> Result<Profile, Invalid> {
    #[derive(Deserialize)]
    struct Link {
        #[serde(rename = "$link")]
        link: String,
    }
    #[derive(Deserialize)]
    struct Blob {
        #[serde(rename = "ref")]
        link: Link,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Fields {
        display_name: Option<String>,
        description: Option<String>,
        avatar: Option<Blob>,
        banner: Option<Blob>,
        labels: Option<Box<RawValue>>,
    }
    let fields: Fields = fields(json)?;
    Ok(Profile {
        display_name: shown(fields.display_name, DISPLAY_NAME),
        description: shown(fields.description, PROFILE_TEXT),
        avatar_cid: cid(fields.avatar.map(|blob| blob.link.link))?,
        banner_cid: cid(fields.banner.map(|blob| blob.link.link))?,
        is_bot: fields.labels.is_some_and(|labels| labels_itself(labels.get(), BOT)),
    })
}

/// Whether self-labels (`com.atproto.label.defs#selfLabels`) have this one. Malformed ones say nothing.
fn labels_itself(labels: &str, value: &str) -> bool {
    #[derive(Deserialize)]
    struct Labels {
        values: Vec<Label>,
    }
    #[derive(Deserialize)]
    struct Label {
        val: String,
    }
    let labels = serde_json::from_str::<Labels>(labels);
    labels.is_ok_and(|labels| labels.values.iter().take(SELF_LABELS).any(|label| label.val == value))
}

/// A text for display: cut to its limit, and absent if empty (O10).
fn shown(text: Option<String>, limit: Limit) -> Option<String> {
    text.map(|text| cut(&text, limit)).filter(|text| !text.is_empty())
}

/// A CID for use in a link: letters and digits only, so that it cannot change the link.
fn cid(text: Option<String>) -> Result<Option<String>, Invalid> {
    match text {
        Some(text) if !is_cid(&text) => Err(Invalid::Shape),
        text => Ok(text),
    }
}

fn is_cid(text: &str) -> bool {
    (1..=CID_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Refuses a text that is neither an rkey nor an AT-URI.
fn named(text: &str) -> Result<(), Invalid> {
    if Rkey::parse(text).is_ok() || AtUri::parse(text).is_ok() { Ok(()) } else { Err(Invalid::Reference) }
}

fn fields<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Invalid> {
    json::envelope(text).ok_or(Invalid::Shape)
}

/// The text of a JSON value that must be an array (`[`) or an object (`{`) and must pass `check`.
fn checked(
    value: Option<&RawValue>,
    opening: char,
    check: fn(&str) -> bool,
    otherwise: Invalid,
) -> Result<Option<Verbatim>, Invalid> {
    match value.map(RawValue::get) {
        Some(text) if !text.starts_with(opening) => Err(Invalid::Shape),
        Some(text) if !check(text) => Err(otherwise),
        text => Ok(text.map(str::to_owned)),
    }
}

/// The text of a JSON value that must be an array of texts.
fn rkeys(value: Option<&RawValue>) -> Result<Option<Verbatim>, Invalid> {
    checked(value, '[', are_texts, Invalid::Shape)
}

/// Whether a JSON text is an array of texts.
pub fn are_texts(text: &str) -> bool {
    serde_json::from_str::<Vec<String>>(text).is_ok()
}

/// Whether a JSON text is an array of facets that a client can show (8.3): each is an object with a
/// byte range and typed features. Unknown features and ranges outside of the text are valid,
/// because clients ignore both.
pub fn are_facets(text: &str) -> bool {
    #[derive(Deserialize)]
    struct Index {
        #[serde(rename = "byteStart")]
        _start: u64,
        #[serde(rename = "byteEnd")]
        _end: u64,
    }
    #[derive(Deserialize)]
    struct Feature<'a> {
        #[serde(rename = "$type")]
        kind: String,
        // Any JSON; `None` if the field is missing or `null`.
        #[serde(borrow)]
        channel: Option<&'a RawValue>,
        #[serde(borrow)]
        did: Option<&'a RawValue>,
        #[serde(borrow)]
        uri: Option<&'a RawValue>,
        #[serde(borrow)]
        role: Option<&'a RawValue>,
        #[serde(borrow)]
        datetime: Option<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Facet<'a> {
        #[serde(borrow)]
        index: &'a RawValue,
        #[serde(borrow)]
        features: Vec<&'a RawValue>,
    }
    // Clients of March 2026 know the three others by their last word, and pass these two on.
    const NEWEST_FACET: &str = "social.colibri.richtext.facet";
    let is_text = |value: Option<&RawValue>| value.is_some_and(|raw| raw.get().starts_with('"'));
    let is_feature = |raw: &&RawValue| {
        json::object(raw.get()).is_some_and(|feature: Feature| match feature.kind.rsplit_once('#') {
            Some((_, "channel")) => is_text(feature.channel),
            Some((_, "mention")) => is_text(feature.did),
            Some((_, "link")) => is_text(feature.uri),
            Some((NEWEST_FACET, "role")) => is_text(feature.role),
            Some((NEWEST_FACET, "time")) => is_text(feature.datetime),
            _ => true,
        })
    };
    elements(text, |facet: &str| {
        json::object(facet).is_some_and(|facet: Facet| {
            json::object::<Index>(facet.index.get()).is_some() && facet.features.iter().all(is_feature)
        })
    })
}

/// Whom facets mention, in either spelling (U01): the first `max` people.
pub fn mentioned(facets: &str, max: usize) -> BTreeSet<Did> {
    #[derive(Deserialize)]
    struct Facet<'a> {
        #[serde(borrow)]
        features: Vec<&'a RawValue>,
    }
    let mut found = BTreeSet::new();
    if !facets.contains("mention") {
        return found;
    }
    let facets: Vec<&RawValue> = serde_json::from_str(facets).unwrap_or_default();
    for facet in facets {
        for feature in json::object(facet.get()).map_or_else(Vec::new, |facet: Facet| facet.features) {
            if let Some(did) = mentions(feature.get()).filter(|_| found.len() < max) {
                found.insert(did);
            }
        }
    }
    found
}

/// Whether a facet that mentions this person stands on a text that begins with two at-signs (U24).
pub fn calls_out_to(did: &Did, text: &str, facets: &str) -> bool {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Index {
        byte_start: usize,
        byte_end: usize,
    }
    #[derive(Deserialize)]
    struct Facet<'a> {
        index: Index,
        #[serde(borrow)]
        features: Vec<&'a RawValue>,
    }
    if !text.contains("@@") {
        return false;
    }
    let facets: Vec<&RawValue> = serde_json::from_str(facets).unwrap_or_default();
    facets.into_iter().filter_map(|facet| json::object::<Facet>(facet.get())).any(|facet| {
        let Index { byte_start, byte_end } = facet.index;
        let calls = text.as_bytes().get(byte_start..byte_end).is_some_and(|named| named.starts_with(b"@@"));
        calls && facet.features.iter().any(|feature| mentions(feature.get()).as_ref() == Some(did))
    })
}

/// Whom a feature of a facet mentions.
fn mentions(feature: &str) -> Option<Did> {
    #[derive(Deserialize)]
    struct Feature<'a> {
        #[serde(rename = "$type")]
        kind: String,
        #[serde(borrow)]
        did: Option<&'a RawValue>,
    }
    let Feature { kind, did } = json::object(feature)?;
    let Some((_, "mention")) = kind.rsplit_once('#') else { return None };
    serde_json::from_str(did?.get()).ok()
}

/// Whether a JSON text is an array of attachments that a client can show (8.3): each is an object
/// with a blob and an optional name.
pub fn are_attachments(text: &str) -> bool {
    #[derive(Deserialize)]
    struct Attachment<'a> {
        #[serde(borrow)]
        blob: &'a RawValue,
        name: Option<String>,
    }
    elements(text, |attachment: &str| {
        json::object(attachment).is_some_and(|attachment: Attachment| {
            is_blob(attachment.blob.get())
                && attachment.name.is_none_or(|name| name.chars().nth(FILE_NAME_MAX).is_none())
        })
    })
}

/// Whether a JSON text is a blob reference that a client can show: the client builds links from
/// `ref.$link` and chooses the presentation by `mimeType`.
pub fn is_blob(text: &str) -> bool {
    #[derive(Deserialize)]
    struct Link {
        #[serde(rename = "$link")]
        link: String,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Blob<'a> {
        #[serde(rename = "$type")]
        kind: Option<String>,
        #[serde(borrow, rename = "ref")]
        link: &'a RawValue,
        mime_type: String,
        size: Option<u64>,
    }
    json::object(text).is_some_and(|blob: Blob| {
        blob.kind.is_none_or(|kind| kind == "blob")
            && !blob.mime_type.is_empty()
            && blob.size.is_none_or(|size| size <= SAFE_INTEGER)
            && json::object(blob.link.get()).is_some_and(|link: Link| is_cid(&link.link))
    })
}

/// The largest integer that JavaScript, and so the AT Protocol, represents exactly.
const SAFE_INTEGER: u64 = (1 << 53) - 1;

/// Whether a JSON text is an array whose elements all pass.
fn elements(text: &str, check: impl Fn(&str) -> bool) -> bool {
    serde_json::from_str::<Vec<&RawValue>>(text)
        .is_ok_and(|elements| elements.iter().all(|element| check(element.get())))
}

fn name(text: &str) -> Result<String, Invalid> {
    if text.is_empty() { Err(Invalid::EmptyName) } else { Ok(cut(text, NAME)) }
}

fn reference(text: &str, collection: Collection) -> Result<AtUri, Invalid> {
    match AtUri::parse(text) {
        Ok(uri) if uri.is(collection) => Ok(uri),
        _ => Err(Invalid::Reference),
    }
}

/// The community that a channel or category of `author` names (I27): an rkey, or an AT-URI with the
/// author's own DID. So only the owner can add one.
fn own_community(text: &str, author: &Did) -> Result<Rkey, Invalid> {
    if let Ok(rkey) = Rkey::parse(text) {
        return Ok(rkey);
    }
    let uri = reference(text, Collection::Community)?;
    if uri.authority() == *author { Ok(uri.rkey()) } else { Err(Invalid::ForeignCommunity) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(collection: Collection, json: &str, expected: Result<(), Invalid>, why: &str) {
        let author = Did::parse("did:plc:a").unwrap();
        assert_eq!(Record::parse(collection, &author, json).map(|_| ()), expected, "{why}: {json}");
    }

    #[test]
    fn i03_messages() {
        let message = |fields: &str| format!(r#"{{"createdAt":"x","channel":"c",{fields}}}"#);
        let text = |n: usize| message(&format!(r#""text":"{}""#, "ж".repeat(n)));
        for (json, expected, why) in [
            (text(0), Ok(()), "empty text is allowed"),
            (text(2048), Ok(()), "2048 characters, not bytes (I08)"),
            (text(2049), Err(Invalid::TextTooLong), "2049 characters"),
            (message(r#""text":"a","rkey":"x","author_did":"y""#), Ok(()), "unknown fields (I04)"),
            (message(r#""text":"a","facets":null"#), Ok(()), "null is absent"),
            (message(r#""text":"a","facets":{}"#), Err(Invalid::Shape), "facets is no array"),
            (message(r#""text":null"#), Err(Invalid::Shape), "a required field is null"),
            (message(r#""parent":"p""#), Err(Invalid::Shape), "no text"),
            (message(r#""text":"a","parent":"a b""#), Err(Invalid::Reference), "parent is no key"),
            (
                message(&format!(r#""text":"a","x":"{}""#, "x".repeat(RECORD_MAX))),
                Err(Invalid::TooLarge),
                "over 64 KiB",
            ),
            ("[]".into(), Err(Invalid::Shape), "not an object"),
        ] {
            check(Collection::Message, &json, expected, why);
        }
    }

    #[test]
    fn reactions_are_one_emoji_on_one_message() {
        for (json, expected, why) in [
            (r#"{"emoji":"👍","targetMessage":"3k"}"#, Ok(()), "as the lexicon says"),
            (r#"{"emoji":"👍","parent":"3k"}"#, Ok(()), "as the web client writes"),
            (r#"{"emoji":"👍🏽","parent":"3k"}"#, Ok(()), "with a skin tone"),
            (r#"{"emoji":"❤","parent":"3k"}"#, Ok(()), "without variation selector"),
            (r#"{"emoji":"❤️","parent":"3k"}"#, Ok(()), "with variation selector"),
            (r#"{"emoji":"🇩🇪","parent":"3k"}"#, Ok(()), "a flag: two code points"),
            (r#"{"emoji":"👨‍👩‍👧","parent":"3k"}"#, Ok(()), "a family: joined"),
            (r#"{"emoji":"👍👍","parent":"3k"}"#, Err(Invalid::NotAnEmoji), "two"),
            (r#"{"emoji":"a","parent":"3k"}"#, Err(Invalid::NotAnEmoji), "a letter"),
            (r#"{"emoji":"","parent":"3k"}"#, Err(Invalid::NotAnEmoji), "none"),
            (r#"{"emoji":"👍"}"#, Err(Invalid::Shape), "no target"),
            (r#"{"emoji":"👍","parent":"a b"}"#, Err(Invalid::Reference), "no reference"),
        ] {
            check(Collection::Reaction, json, expected, why);
        }
    }

    #[test]
    fn i08_names_are_cut_and_never_empty() {
        let author = Did::parse("did:plc:a").unwrap();
        let json = format!(r#"{{"name":"{}","description":"{}"}}"#, "ж".repeat(40), "d".repeat(300));
        let Ok(Record::Community(community)) = Record::parse(Collection::Community, &author, &json) else {
            panic!("valid")
        };
        assert_eq!(community.name.chars().count(), 32);
        assert_eq!(community.description.map(|d| d.len()), Some(256));
        assert!(community.requires_approval_to_join, "missing means true");
        let json = format!(r#"{{"displayName":"{0}","description":"{0}"}}"#, "👍🏽".repeat(300));
        let Ok(Record::Profile(profile)) = Record::parse(Collection::Profile, &author, &json) else {
            panic!("valid")
        };
        let shown = [profile.display_name, profile.description].map(Option::unwrap_or_default);
        assert_eq!(shown, ["👍🏽".repeat(64), "👍🏽".repeat(256)], "as the lexicon of profiles counts");
        check(Collection::Community, r#"{"name":""}"#, Err(Invalid::EmptyName), "empty name");
    }

    #[test]
    fn i27_channels_belong_to_the_author() {
        let channel = |community: &str| format!(r#"{{"name":"n","type":"text","community":"{community}"}}"#);
        for (community, expected, why) in [
            ("3kcom", Ok(()), "an rkey"),
            ("at://did:plc:a/social.colibri.community/3kcom", Ok(()), "an AT-URI of the author"),
            (
                "at://did:plc:b/social.colibri.community/3kcom",
                Err(Invalid::ForeignCommunity),
                "of somebody else",
            ),
            ("at://did:plc:a/social.colibri.channel/3kcom", Err(Invalid::Reference), "another collection"),
            ("", Err(Invalid::Reference), "empty"),
        ] {
            check(Collection::Channel, &channel(community), expected, why);
        }
    }

    #[test]
    fn people_say_who_they_are() {
        for (collection, json, expected, why) in [
            (Collection::ActorData, r#"{"status":"","emoji":""}"#, Ok(()), "an empty status is a status"),
            (Collection::ActorData, r#"{"communities":["c"]}"#, Err(Invalid::Shape), "W20: no status"),
            (
                Collection::ChannelRead,
                r#"{"channel":"at://did:plc:o/social.colibri.channel/k","cursor":"2026-03-01T12:00:00Z"}"#,
                Ok(()),
                "a read",
            ),
            (
                Collection::ChannelRead,
                r#"{"channel":"k","cursor":"2026-03-01T12:00:00Z"}"#,
                Err(Invalid::Reference),
                "no AT-URI",
            ),
            (
                Collection::ChannelRead,
                r#"{"channel":"at://did:plc:o/social.colibri.channel/k","cursor":"then"}"#,
                Err(Invalid::Shape),
                "no time",
            ),
            (Collection::Profile, "{}", Ok(()), "an empty profile"),
            (
                Collection::Profile,
                r#"{"avatar":{"$type":"blob","ref":{"$link":"bafkreia"},"mimeType":"image/png","size":1}}"#,
                Ok(()),
                "a blob",
            ),
            (
                Collection::Profile,
                r#"{"avatar":{"ref":{"$link":"../../x?"}}}"#,
                Err(Invalid::Shape),
                "a CID that would change the link",
            ),
        ] {
            check(collection, json, expected, why);
        }
    }

    /// Without this check every client in the room would fail: it reads `index.byteStart`, iterates
    /// over `features`, and builds links from `blob.ref.$link` without checking that they exist.
    #[test]
    fn i03_what_a_client_cannot_show_is_refused() {
        let message = |field: &str, value: &str| {
            format!(r#"{{"text":"a","createdAt":"x","channel":"c","{field}":{value}}}"#)
        };
        let index = r#""index":{"byteStart":0,"byteEnd":1}"#;
        let feature = |feature: &str| format!(r#"[{{{index},"features":[{feature}]}}]"#);
        let facets = |text: &str, expected: Result<(), Invalid>, why: &str| {
            check(Collection::Message, &message("facets", text), expected, why);
        };
        facets("[]", Ok(()), "none");
        facets("null", Ok(()), "none");
        facets(&feature(""), Ok(()), "nothing to show");
        facets(r#"[{"index":{"byteStart":900,"byteEnd":2},"features":[]}]"#, Ok(()), "outside of the text");
        for (known, why) in [
            (r##"{"$type":"x#bold"}"##, "bold"),
            (r##"{"$type":"x#unheard","of":[null]}"##, "of another time"),
            (r##"{"$type":"x#link","uri":"https://a"}"##, "a link"),
            (r##"{"$type":"x#mention","did":"did:plc:a"}"##, "a mention"),
            (r##"{"$type":"x#channel","channel":"k"},{"$type":"x#code"}"##, "two"),
            (r##"{"$type":"social.colibri.richtext.facet#role","role":"3k"}"##, "a role"),
            (r##"{"$type":"x#time","x":[null]}"##, "a time of something else"),
        ] {
            facets(&feature(known), Ok(()), why);
        }
        for (text, why) in [
            ("[null]", "null"),
            ("[1]", "a number"),
            ("[[]]", "an array"),
            ("[{}]", "an empty object"),
            (r#"[{"features":[]}]"#, "no index"),
            (r#"[{"index":null,"features":[]}]"#, "no index"),
            (r#"[{"index":[0,1],"features":[]}]"#, "an array for an index"),
            (r#"[{"index":{"byteStart":0},"features":[]}]"#, "no end"),
            (r#"[{"index":{"byteStart":"0","byteEnd":"1"},"features":[]}]"#, "texts"),
            (r#"[{"index":{"byteStart":-1,"byteEnd":1},"features":[]}]"#, "below 0"),
            (r#"[{"index":{"byteStart":0.5,"byteEnd":1},"features":[]}]"#, "no whole number"),
            (&format!("[{{{index}}}]"), "no features"),
            (&format!(r#"[{{{index},"features":null}}]"#), "no features"),
            (&format!(r#"[{{{index},"features":{{}}}}]"#), "features that are no array"),
            (&feature("null"), "a feature that is null"),
            (&feature(r##""x#bold""##), "a feature that is a text"),
            (&feature("{}"), "a feature that does not say what it is"),
            (&feature(r#"{"$type":1}"#), "or says it in a number"),
            (&feature(r##"{"$type":"x#link"}"##), "a link to nothing"),
            (&feature(r##"{"$type":"x#link","uri":{}}"##), "a link to an object"),
            (&feature(r##"{"$type":"x#mention","did":null}"##), "a mention of nobody"),
            (&feature(r##"{"$type":"x#channel","channel":["k"]}"##), "an array of channels"),
            (&feature(r##"{"$type":"social.colibri.richtext.facet#role"}"##), "no role"),
            (
                &feature(r##"{"$type":"social.colibri.richtext.facet#time","datetime":1}"##),
                "a time that is a number",
            ),
            (&format!("[{{{index},\"features\":[]}},null]"), "one good and one bad"),
        ] {
            facets(text, Err(Invalid::Facets), why);
        }

        let blob = r#"{"$type":"blob","ref":{"$link":"bafkreib"},"mimeType":"image/png","size":1}"#;
        let attachments = |text: &str, expected: Result<(), Invalid>, why: &str| {
            check(Collection::Message, &message("attachments", text), expected, why);
        };
        let named = |name: &str| format!(r#"[{{"blob":{blob},"name":{name}}}]"#);
        attachments("[]", Ok(()), "none");
        attachments(&format!(r#"[{{"blob":{blob},"alt":1}}]"#), Ok(()), "no name, and more (I04)");
        attachments(&named("null"), Ok(()), "no name");
        attachments(&named(&format!("\"{}\"", "ж".repeat(256))), Ok(()), "256 characters");
        for (text, why) in [
            ("[null]".to_owned(), "null"),
            (r#"["x"]"#.to_owned(), "a text"),
            ("[{}]".to_owned(), "no blob"),
            (r#"[{"blob":null}]"#.to_owned(), "no blob"),
            (named("7"), "a number as name"),
            (named(&format!("\"{}\"", "n".repeat(257))), "257 characters"),
            (format!("[{blob}]"), "a blob that is no attachment"),
        ] {
            attachments(&text, Err(Invalid::Attachments), why);
        }

        for (text, expected, why) in [
            (blob, Ok(()), "a blob"),
            (r#"{"ref":{"$link":"bafkreib"},"mimeType":"image/png"}"#, Ok(()), "as much as is shown"),
            ("null", Ok(()), "none"),
            ("{}", Err(Invalid::Blob), "an empty object"),
            ("[]", Err(Invalid::Shape), "an array"),
            (r#"{"ref":"bafkreib","mimeType":"image/png"}"#, Err(Invalid::Blob), "a text as ref"),
            (r#"{"ref":null,"mimeType":"image/png"}"#, Err(Invalid::Blob), "no ref"),
            (r#"{"ref":{},"mimeType":"image/png"}"#, Err(Invalid::Blob), "no link"),
            (r#"{"ref":{"$link":1},"mimeType":"image/png"}"#, Err(Invalid::Blob), "a number as link"),
            (r#"{"ref":{"$link":"a/../b"},"mimeType":"image/png"}"#, Err(Invalid::Blob), "no CID"),
            (r#"{"ref":{"$link":"bafkreib"}}"#, Err(Invalid::Blob), "no type"),
            (r#"{"ref":{"$link":"bafkreib"},"mimeType":1}"#, Err(Invalid::Blob), "a number as type"),
            (r#"{"ref":{"$link":"b"},"mimeType":"a/b","size":"1"}"#, Err(Invalid::Blob), "a text as size"),
            (r#"{"ref":{"$link":"b"},"mimeType":"a/b","size":1e9}"#, Err(Invalid::Blob), "no whole number"),
            (r#"{"$type":"x","ref":{"$link":"b"},"mimeType":"a/b"}"#, Err(Invalid::Blob), "something else"),
            (r#"{"cid":"bafkreib","mimeType":"image/png"}"#, Err(Invalid::Blob), "the form of before 2023"),
        ] {
            check(Collection::Community, &format!(r#"{{"name":"n","picture":{text}}}"#), expected, why);
        }
        for (field, value) in [("categoryOrder", "[1]"), ("categoryOrder", "{}"), ("categoryOrder", "[null]")]
        {
            let json = format!(r#"{{"name":"n","{field}":{value}}}"#);
            check(Collection::Community, &json, Err(Invalid::Shape), "no array of texts");
        }
        for value in ["[1]", "\"a\"", "[[]]"] {
            let json = format!(r#"{{"name":"n","community":"c","channelOrder":{value}}}"#);
            check(Collection::Category, &json, Err(Invalid::Shape), "no array of texts");
        }
    }

    #[test]
    fn references_of_memberships_and_approvals() {
        for (collection, json, expected) in [
            (Collection::Membership, r#"{"community":"at://did:plc:a/social.colibri.community/c"}"#, Ok(())),
            (Collection::Membership, r#"{"community":"c"}"#, Err(Invalid::Reference)),
            (Collection::Approval, r#"{"membership":"at://did:plc:b/social.colibri.membership/m"}"#, Ok(())),
            (
                Collection::Approval,
                r#"{"membership":"at://did:plc:b/social.colibri.membership/m","community":"c"}"#,
                Err(Invalid::Reference),
            ),
            (Collection::Approval, r#"{}"#, Err(Invalid::Shape)),
        ] {
            check(collection, json, expected, "references");
        }
    }

    #[test]
    fn verbatim_is_the_text_that_arrived() {
        let author = Did::parse("did:plc:a").unwrap();
        let facets = r#"[ {"index": {"byteEnd":1,"byteStart":0 }, "features":[], "x" :2e0} ]"#;
        let json =
            format!(r#"{{"text":"a","createdAt":"x","channel":"c","facets":{facets},"attachments":[]}}"#);
        let Ok(Record::Message(message)) = Record::parse(Collection::Message, &author, &json) else {
            panic!("valid")
        };
        assert_eq!(message.facets.as_deref(), Some(facets));
        assert_eq!(message.attachments.as_deref(), Some("[]"));
    }

    /// Records as the newest client and its service write them, and how far they may go wrong.
    #[test]
    fn n03_records_of_the_newest_form() {
        let nest = Did::parse("did:plc:nest").unwrap();
        let parse = |collection, json: &str| Record::parse(collection, &nest, json);
        let json = r#"{"$type":"social.colibri.member","subject":"did:plc:bob","roles":["3m","self",""],
            "joinedAt":"2026-08-22T10:00:00.000Z","nickname":"",
            "fromMembership":"at://did:plc:bob/social.colibri.membership/3k"}"#;
        let Ok(Record::Member(member)) = parse(Collection::Member, json) else { panic!("valid") };
        let keys: Vec<&str> = member.roles.iter().map(Rkey::as_str).collect();
        assert_eq!((member.subject.as_str(), keys), ("did:plc:bob", vec!["3m", "self"]));
        assert_eq!((member.nickname, member.from_membership.is_some()), (None, true));
        let foreign = json
            .replace("at://did:plc:bob", "at://did:plc:eve")
            .replace(r#""nickname":"""#, r#""nickname":7"#);
        let Ok(Record::Member(member)) = parse(Collection::Member, &foreign) else { panic!("valid") };
        assert_eq!((member.from_membership, member.nickname), (None, None), "of somebody else");
        let many = format!(r#"{{"subject":"did:plc:b","roles":{:?}}}"#, vec!["r"; 300]);
        let Ok(Record::Member(member)) = parse(Collection::Member, &many) else { panic!("valid") };
        assert_eq!(member.roles.len(), ROLES_MAX);
        for (json, expected) in [
            (r#"{"joinedAt":"x"}"#, Invalid::Shape),
            (r#"{"subject":"bob"}"#, Invalid::Reference),
            (r#"{"subject":"did:plc:b","roles":"owner"}"#, Invalid::Shape),
            (r#"{"subject":"did:plc:b","roles":[1]}"#, Invalid::Shape),
        ] {
            assert_eq!(parse(Collection::Member, json), Err(expected), "{json}");
        }

        let json = r##"{"$type":"social.colibri.role","name":"Owner","color":"#ff8800","permissions":["member.ban",
            "member.fly"],"position":100,"hoisted":true,"protected":true,
            "channelOverrides":[{"channel":"3k","deny":["message.hide"]},{"channel":"no key"}]}"##;
        let Ok(Record::Role(role)) = parse(Collection::Role, json) else { panic!("valid") };
        assert_eq!(
            (role.name.as_str(), role.position, role.protected, role.mentionable),
            ("Owner", 100, true, false)
        );
        assert_eq!(role.color.as_deref(), Some("#ff8800"));
        assert_eq!(serde_json::to_string(&role.permissions).unwrap(), r#"["member.ban"]"#);
        let exceptions = serde_json::to_string(&role.overrides).unwrap();
        assert_eq!(exceptions, r#"[{"channel":"3k","allow":[],"deny":["message.hide"]}]"#);
        for (field, value) in [
            ("name", "\"\""),
            ("position", "1.5"),
            ("position", "null"),
            ("permissions", "{}"),
            ("protected", "1"),
        ] {
            let mut record: serde_json::Value = serde_json::from_str(json).unwrap();
            record[field] = serde_json::from_str(value).unwrap();
            assert!(parse(Collection::Role, &record.to_string()).is_err(), "{field}: {value}");
        }

        let json = r#"{"name":"hall","type":"social.colibri.channel.voice","category":"g","community":"self",
            "allowedRoles":["mod"],"allowedMembers":[],"linkEmbeds":"yes","migratedFrom":"nonsense"}"#;
        let Ok(Record::Channel(channel)) = parse(Collection::Channel, json) else { panic!("valid") };
        assert_eq!((channel.allowed_roles.len(), channel.allowed_members.len()), (1, 0));
        assert_eq!(
            (channel.link_embeds, channel.migrated_from),
            (None, None),
            "what is malformed says nothing"
        );
        let too_many = json.replace(r#"["mod"]"#, &format!("{:?}", vec!["r"; ALLOWED_MAX + 1]));
        for (list, expected) in
            [("[1]", Invalid::Reference), ("\"mod\"", Invalid::Reference), ("[\"a b\"]", Invalid::Reference)]
        {
            assert_eq!(
                parse(Collection::Channel, &json.replace(r#"["mod"]"#, list)),
                Err(expected),
                "{list}"
            );
        }
        assert_eq!(parse(Collection::Channel, &too_many), Err(Invalid::TextTooLong));
        let old = json.replace(r#""self""#, r#""c""#).replace(r#"["mod"]"#, "7");
        let Ok(Record::Channel(channel)) = parse(Collection::Channel, &old) else { panic!("valid") };
        assert!(channel.allowed_roles.is_empty(), "the old form has no such field");

        let json = r#"{"name":"Nest","description":"","categoryOrder":[],"requiresApprovalToJoin":false,
            "linkEmbeds":false,"appview":"did:web:api.colibri.social","banner":{"cid":"x"},
            "migratedFrom":"at://did:plc:alice/social.colibri.community/c","migratedTo":"at://did:plc:a/x.y/c"}"#;
        let Ok(Record::Community(community)) = parse(Collection::Community, json) else { panic!("valid") };
        assert_eq!(
            (community.link_embeds, community.banner, community.migrated_to),
            (Some(false), None, None)
        );
        assert!(community.appview.is_some() && community.migrated_from.is_some());
    }
}
