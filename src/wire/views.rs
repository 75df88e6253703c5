//! The answers of the lexicons (contract, section 13): the shapes that the newest client reads, some of them also in
//! the frames of [`super::subscribe_events`].
//!
//! Field names are the lexicons'. A field without a value is left out, and no field carries JSON of
//! strangers as it came: blobs, facets, attachments and themes are read into types and written again,
//! because a client turns the whole answer into AT Protocol data and fails over one malformed link.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::cid::Cid;
use super::handle::Handle;
use super::ids::{AtUri, Collection, Did, Rkey};
use super::json::{is_too_deep, object};
use super::permissions::Permissions;
use super::time::Micros;

/// `handle` of somebody whose handle is not known, or not verified.
pub const NO_HANDLE: &str = "handle.invalid";

/// A blob reference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Blob {
    #[serde(rename = "$type")]
    kind: &'static str,
    #[serde(rename = "ref")]
    link: Link,
    #[serde(rename = "mimeType")]
    mime_type: String,
    size: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Link {
    #[serde(rename = "$link")]
    link: String,
}

/// The type of a blob of which only the CID is known.
const ANY_TYPE: &str = "application/octet-stream";
/// The size of a blob that nobody stated, as in blob references of the earliest form.
const UNKNOWN_SIZE: i64 = -1;

impl Blob {
    /// Reads a stored reference. `None` if it is none, or its CID is none.
    pub fn read(text: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Stored {
            #[serde(rename = "ref")]
            link: Link,
            #[serde(rename = "mimeType")]
            mime_type: String,
            size: Option<i64>,
        }
        let stored: Stored = object(text)?;
        let cid = Cid::parse(&stored.link.link)?.to_string();
        Some(Self::new(cid, stored.mime_type, stored.size.unwrap_or(UNKNOWN_SIZE)))
    }

    /// The reference to a blob of which only the CID is known.
    pub fn of(cid: &str) -> Option<Self> {
        Some(Self::new(Cid::parse(cid)?.to_string(), ANY_TYPE.into(), UNKNOWN_SIZE))
    }

    /// The reference to a blob of this CID, media type and size in bytes.
    pub(super) fn new(cid: String, mime_type: String, size: i64) -> Self {
        Self { kind: "blob", link: Link { link: cid }, mime_type, size }
    }
}

/// `actor.defs#actorView`.
#[derive(Clone, Debug, Serialize)]
pub struct Actor {
    /// The person.
    pub did: Did,
    /// Verified, or [`NO_HANDLE`].
    pub handle: String,
    /// What others see of them.
    pub data: ActorData,
}

/// `actor.defs#actorData`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ActorData {
    /// The name of the shown profile, else the handle, else the DID; never empty.
    pub display_name: String,
    /// The picture of the shown profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub avatar: Option<Blob>,
    /// Its banner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub banner: Option<Blob>,
    /// Its text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether the account says that it is a program; not indexed, so always `false`.
    pub is_bot: bool,
    /// `online`, `away`, `dnd` or `offline`.
    pub online_state: String,
    /// Whether their own profile gives way to that of Bluesky.
    pub sync_bluesky: bool,
    /// Colours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub theme: Option<Theme>,
    /// The status line.
    pub status: Status,
    /// The badge they prefer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preferred_badge: Option<String>,
}

/// `actor.defs#actorStatus`.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// May be empty.
    pub text: String,
    /// Its emoji.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub emoji: Option<String>,
}

/// `actor.defs#profileTheme`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "colours, as the lexicon names them")]
pub struct Theme {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accent_color: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gradient: Option<Gradient>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub banner_color: Option<String>,
}

/// `actor.defs#profileGradient`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "colours, as the lexicon names them")]
pub struct Gradient {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub primary: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secondary: Option<String>,
}

impl Theme {
    /// Reads a stored theme; what is no text in it is left out.
    pub fn read(text: &str) -> Option<Self> {
        let theme: Map<String, Value> = object(text)?;
        let word = |map: &Map<String, Value>, name: &str| map.get(name)?.as_str().map(str::to_owned);
        let gradient = theme.get("gradient").and_then(Value::as_object);
        Some(Self {
            accent_color: word(&theme, "accentColor"),
            gradient: gradient
                .map(|map| Gradient { primary: word(map, "primary"), secondary: word(map, "secondary") }),
            banner_color: word(&theme, "bannerColor"),
        })
    }
}

/// `channel.defs#message`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// The message.
    pub uri: AtUri,
    /// Verbatim.
    pub text: String,
    /// Those that a client can show.
    pub facets: Vec<Value>,
    /// Its channel.
    pub channel: AtUri,
    /// The channel's community.
    pub community: AtUri,
    /// Who wrote it.
    pub author: Actor,
    /// The visible message of the same channel that it answers; itself without parent and reactions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<Box<Message>>,
    /// Those that a client can show.
    pub attachments: Vec<Attachment>,
    /// In the order of O03.
    pub reactions: Vec<Reaction>,
    /// Verbatim, if it is a time.
    pub created_at: String,
    /// Whether it was changed.
    pub edited: bool,
    /// Links whose preview its author does not want.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub suppressed_embeds: Vec<String>,
    /// Links whose preview the community hides (N54).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mod_suppressed_embeds: Vec<String>,
}

/// `channel.defs#attachment`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Attachment {
    /// The file.
    pub blob: Blob,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// `channel.defs#reactionView`.
#[derive(Clone, Debug, Serialize)]
pub struct Reaction {
    /// As the first of them was written.
    pub emoji: String,
    /// How many people.
    pub count: usize,
    /// These people.
    #[serde(rename = "reactorDIDs")]
    pub reactor_dids: Vec<Did>,
}

/// A page of messages (`channel.listMessages`).
#[derive(Clone, Debug, Default, Serialize)]
pub struct Messages {
    /// The key of the last message, if there are more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Rkey>,
    /// Newest first.
    pub messages: Vec<Message>,
}

/// `channel.defs#readCursor`.
#[derive(Clone, Debug, Serialize)]
pub struct ReadCursor {
    /// The record.
    pub uri: AtUri,
    /// The AT-URI or the time that it says.
    pub cursor: String,
    /// The channel.
    pub channel: AtUri,
}

/// `notification.defs#unseenNotification`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Unseen {
    /// Its number.
    pub id: i64,
    /// The message.
    pub message_uri: AtUri,
    /// When it came.
    pub indexed_at: String,
}

/// `notification.defs#notificationView`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NotificationView {
    /// Its number.
    pub id: i64,
    /// Whom it is for.
    pub recipient_did: Did,
    /// `mention` or `reply`.
    pub kind: &'static str,
    /// The message.
    pub message_uri: AtUri,
    /// Its author.
    pub author_did: Did,
    /// Its channel.
    pub channel_uri: AtUri,
    /// When it came.
    pub indexed_at: String,
    /// When it was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seen_at: Option<String>,
    /// What the message says.
    pub message: NotificationMessage,
}

/// `notification.defs#notificationMessage`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NotificationMessage {
    /// Its text.
    pub text: String,
    /// Its facets.
    pub facets: Vec<Value>,
    /// When it was written, as it says.
    pub created_at: String,
    /// What it answers, if it names that by AT-URI.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<AtUri>,
    /// Its attachments.
    pub attachments: Vec<Attachment>,
    /// Whether it was edited.
    pub edited: bool,
}

/// `channel.getChannelView`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChannelView {
    /// The newest messages.
    #[serde(flatten)]
    pub page: Messages,
    /// How far the caller has read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_cursor: Option<ReadCursor>,
    /// Notifications of the caller in this channel.
    pub unseen: Vec<Unseen>,
}

/// `channel.defs#unreadStatus`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Unread {
    /// The channel.
    pub channel_uri: AtUri,
    /// Whether something there is unread.
    pub has_unread_messages: bool,
    /// How many unseen mentions and replies.
    pub unread_ping_count: i64,
}

/// `actor.listCommunities#communityView`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CommunityOfMember {
    /// The community.
    pub uri: AtUri,
    /// Its name.
    pub name: String,
    /// Its picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub picture: Option<Blob>,
    /// Its banner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub banner: Option<Blob>,
    /// Its text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Keys of its categories.
    pub category_order: Vec<Rkey>,
    /// T09.
    pub requires_approval_to_join: bool,
    /// Whether the client locks it (N160e).
    pub is_legacy: bool,
    /// Whether the caller owns it, or holds a protected role.
    pub is_owner: bool,
}

/// `community.defs#communityInfo`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CommunityInfo {
    /// The community.
    pub uri: AtUri,
    /// Its name.
    pub name: String,
    /// Its text; may be empty.
    pub description: String,
    /// Its picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub picture: Option<Blob>,
    /// Its banner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub banner: Option<Blob>,
    /// All its categories, in the order of the sidebar.
    pub category_order: Vec<AtUri>,
    /// T09.
    pub requires_approval_to_join: bool,
    /// Whether links have previews, if it says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link_embeds: Option<bool>,
    /// The service that writes its repository (N160g).
    pub appview: Did,
}

/// `community.defs#categoryView`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CategoryView {
    /// The category.
    pub uri: AtUri,
    /// Its name.
    pub name: String,
    /// All its channels, in the order of the sidebar.
    pub channel_order: Vec<AtUri>,
}

/// `community.defs#channelView`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChannelOfCommunity {
    /// The channel.
    pub uri: AtUri,
    /// Its name.
    pub name: String,
    /// An NSID.
    pub r#type: String,
    /// The category that lists it.
    pub category: AtUri,
    /// Its text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether only the owner may post.
    pub owner_only: bool,
    /// Roles whose holders may post.
    pub allowed_roles: Vec<AtUri>,
    /// People who may post.
    pub allowed_members: Vec<Did>,
    /// Whether links have previews, if it says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link_embeds: Option<bool>,
}

/// `community.defs#roleView`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RoleView {
    /// The role.
    pub uri: AtUri,
    /// Its name.
    pub name: String,
    /// Its colour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub color: Option<String>,
    /// Words of N22; of a protected role all of them.
    pub permissions: Permissions,
    /// The higher outranks the lower.
    pub position: i64,
    /// Whether its holders are listed apart.
    pub hoisted: bool,
    /// Whether everybody may mention it.
    pub mentionable: bool,
    /// Whether its holders may do everything.
    pub protected: bool,
    /// Exceptions for channels.
    pub channel_overrides: Vec<OverrideView>,
}

/// `community.defs#channelOverrideView`.
#[derive(Clone, Debug, Serialize)]
pub struct OverrideView {
    /// The channel.
    pub channel: AtUri,
    /// What its holders may do there besides.
    pub allow: Permissions,
    /// What they may not do there.
    pub deny: Permissions,
}

/// `community.defs#memberView`.
#[derive(Clone, Debug, Serialize)]
pub struct MemberView {
    /// The person and what others see of them.
    #[serde(flatten)]
    pub actor: Actor,
    /// The roles that they hold.
    pub roles: Vec<AtUri>,
    /// The voice channel that they are in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vc: Option<AtUri>,
}

/// `community.defs#applicationView`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Application {
    /// Who asks.
    pub did: Did,
    /// Verified, or [`NO_HANDLE`].
    pub handle: String,
    /// The record that asks.
    pub membership: AtUri,
    /// When it was received.
    pub created_at: String,
    /// What others see of them.
    pub data: ActorData,
}

/// `community.defs#invitationView`, or `#invitationProfileView` with the owner as [`Actor`].
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Invitation<W> {
    /// The code.
    pub code: String,
    /// The community.
    pub community: AtUri,
    /// The community's owner (O08).
    pub created_by: W,
    /// Whether it may be used.
    pub active: bool,
}

/// `community.defs#resolvedInvitationView`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InvitationToCommunity {
    /// The invitation.
    #[serde(flatten)]
    pub invitation: Invitation<Did>,
    /// The community's name.
    pub name: String,
    /// Its picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub picture: Option<Blob>,
    /// Its banner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub banner: Option<Blob>,
    /// How many people take part in it.
    pub member_count: i64,
    /// How many of them are not offline.
    pub online_count: i64,
    /// T09.
    pub requires_approval_to_join: bool,
}

/// `actor.getDeletionStatus#soleOwnedCommunity`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SoleOwnedCommunity {
    /// The community.
    pub uri: AtUri,
    /// Its name.
    pub name: String,
    /// Its picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub picture: Option<Blob>,
    /// How many people take part in it.
    pub member_count: i64,
}

/// `actor.listMutes#mute`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MuteView {
    /// The record.
    pub uri: AtUri,
    /// A channel or a community.
    pub subject: AtUri,
}

/// The type of a channel as an NSID: the words of the old form stand for those of the lexicons, and what is
/// neither is a kind of channel that no client knows.
pub fn channel_type(word: &str) -> String {
    const KINDS: &str = "social.colibri.channel.";
    let is_name = |part: &str| {
        part.len() <= 63
            && part.starts_with(|c: char| c.is_ascii_alphabetic())
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    let is_domain = |part: &str| {
        (1..=63).contains(&part.len())
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    if is_name(word) {
        return format!("{KINDS}{word}");
    }
    let parts: Vec<&str> = word.split('.').collect();
    let is_nsid = match parts.split_last() {
        Some((name, domain)) => {
            domain.len() >= 2
                && is_name(name)
                && domain.iter().all(|part| is_domain(part))
                && !word.starts_with(|c: char| c.is_ascii_digit())
        }
        None => false,
    };
    if is_nsid { word.to_owned() } else { format!("{KINDS}unknown") }
}

/// The links of a stored JSON array of texts; what is no link is left out.
pub fn links(text: Option<&str>) -> Vec<String> {
    let found: Vec<Value> = text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    found.iter().filter_map(Value::as_str).filter(|text| is_link(text)).map(str::to_owned).collect()
}

/// Whether a text is a URI as the lexicons check it: a scheme, a colon, and something without blanks.
fn is_link(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    !scheme.is_empty()
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !rest.is_empty()
        && !rest.starts_with('/')
        && !rest.contains(|c: char| c.is_whitespace() || c == '\u{feff}')
}

/// The attachments of a message that a client can show.
pub fn attachments(text: Option<&str>) -> Vec<Attachment> {
    #[derive(Deserialize)]
    struct Stored {
        blob: Box<serde_json::value::RawValue>,
        #[serde(default)]
        name: Option<String>,
    }
    let stored: Vec<Stored> = text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let shown = |one: Stored| Some(Attachment { blob: Blob::read(one.blob.get())?, name: one.name });
    stored.into_iter().filter_map(shown).collect()
}

/// The facets of a message in a community of the account `account`, as far as a client can show them. A
/// channel or role that is named by its key is named by AT-URI here.
pub fn facets(text: Option<&str>, account: &Did) -> Vec<Value> {
    let stored: Vec<Value> = text
        .filter(|text| !is_too_deep(text))
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    stored.iter().filter_map(|facet| shown_facet(facet, account)).collect()
}

fn shown_facet(facet: &Value, account: &Did) -> Option<Value> {
    let index = facet.get("index")?;
    let (start, end) = (index.get("byteStart")?.as_u64()?, index.get("byteEnd")?.as_u64()?);
    let features = facet.get("features")?.as_array()?;
    let features: Vec<Value> =
        features.iter().filter_map(|feature| shown_feature(feature, account)).collect();
    Some(serde_json::json!({ "index": { "byteStart": start, "byteEnd": end }, "features": features }))
}

/// A feature with its flat fields. The first rule that applies decides:
///   1. a field that the lexicon requires must be there, and of its form;
///   2. fields of features that this version does not know stay.
fn shown_feature(feature: &Value, account: &Did) -> Option<Value> {
    let feature = feature.as_object()?;
    let kind = feature.get("$type")?.as_str().filter(|kind| !kind.is_empty() && *kind != "blob")?;
    let is_flat = |value: &Value| value.is_string() || value.is_boolean() || value.is_i64() || value.is_u64();
    let mut shown: Map<String, Value> = feature
        .iter()
        .filter(|(name, value)| (*name == "$type" || !name.starts_with('$')) && is_flat(value))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    if shown.contains_key("cid") && shown.contains_key("mimeType") {
        return None; // a client takes it for a blob
    }
    let text = |name: &str| feature.get(name).and_then(Value::as_str);
    let place =
        |name: &str, collection| Some(AtUri::named(text(name)?, account, collection)?.to_string().into());
    match kind.strip_prefix("social.colibri.richtext.facet#") {
        Some("channel") => drop(shown.insert("channel".into(), place("channel", Collection::Channel)?)),
        Some("role") => drop(shown.insert("role".into(), place("role", Collection::Role)?)),
        Some("mention") => drop(Did::parse(text("did")?).ok()?),
        Some("link") => text("uri").filter(|uri| is_link(uri)).map(drop)?,
        Some("time") => drop(Micros::parse(text("datetime")?)?),
        Some("heading") => {
            feature.get("level")?.as_u64().filter(|level| (1..=3).contains(level)).map(drop)?
        }
        Some("list") => drop(feature.get("ordered")?.as_bool()?),
        _ => {}
    }
    for name in ["lang", "style"] {
        if shown.get(name).is_some_and(|value| !value.is_string()) {
            shown.remove(name);
        }
    }
    Some(Value::Object(shown))
}

/// A handle as answers have it.
pub fn handle(handle: Option<&str>) -> String {
    handle.filter(|handle| Handle::parse(handle).is_some()).unwrap_or(NO_HANDLE).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n160_types_of_channels_are_nsids() {
        for (word, expected, why) in [
            ("text", "social.colibri.channel.text", "a word of the old form"),
            ("voice", "social.colibri.channel.voice", "another one"),
            ("social.colibri.channel.forum", "social.colibri.channel.forum", "as it is"),
            ("org.example.board", "org.example.board", "of somebody else"),
            ("a b", "social.colibri.channel.unknown", "no name"),
            ("", "social.colibri.channel.unknown", "nothing"),
            ("a.b", "social.colibri.channel.unknown", "too short for an NSID"),
            ("1a.b.c", "social.colibri.channel.unknown", "it begins with a digit"),
            ("a..c", "social.colibri.channel.unknown", "an empty part"),
            ("a.-b.c", "social.colibri.channel.unknown", "a hyphen at the edge"),
        ] {
            assert_eq!(channel_type(word), expected, "{why}");
        }
    }

    #[test]
    fn n160_blobs_are_whole() {
        let cid = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku";
        let stored = format!(r#"{{"ref":{{"$link":"{cid}"}},"mimeType":"image/png","x":1}}"#);
        let expected =
            format!(r#"{{"$type":"blob","ref":{{"$link":"{cid}"}},"mimeType":"image/png","size":-1}}"#);
        assert_eq!(serde_json::to_string(&Blob::read(&stored).unwrap()).unwrap(), expected);
        for (text, why) in [
            (r#"{"ref":{"$link":"junk"},"mimeType":"image/png"}"#, "no CID"),
            (r#"{"ref":{},"mimeType":"image/png"}"#, "no link"),
            (r#"{"ref":{"$link":"bafkreia"}}"#, "no type"),
            ("[]", "no object"),
        ] {
            assert!(Blob::read(text).is_none(), "{why}");
        }
    }

    #[test]
    fn n160_facets_are_what_a_client_can_read() {
        let account = Did::parse("did:plc:nest").unwrap();
        let one = |feature: &str| {
            let text = format!(r#"[{{"index":{{"byteStart":0,"byteEnd":1}},"features":[{feature}]}}]"#);
            let shown = facets(Some(&text), &account);
            shown[0]["features"].as_array().unwrap().first().map(ToString::to_string)
        };
        let named = |rest: &str| format!(r#"{{"$type":"social.colibri.richtext.facet#{rest}}}"#);
        for (feature, expected, why) in [
            (named(r#"bold""#), Some(named(r#"bold""#)), "as it is"),
            (named(r#"heading","level":9"#), None, "no such level"),
            (
                named(r#"heading","level":2"#),
                Some(r##"{"$type":"social.colibri.richtext.facet#heading","level":2}"##.into()),
                "a level",
            ),
            (named(r#"link","uri":"no link""#), None, "blanks"),
            (named(r#"mention","did":"bob""#), None, "no DID"),
            (named(r#"bold","x":{"$link":"junk"}"#), Some(named(r#"bold""#)), "what would break a client"),
            (r#"{"$type":"blob"}"#.into(), None, "a blob that is none"),
            (
                r#"{"$type":"a.b.c#d","cid":"junk","mimeType":"x"}"#.into(),
                None,
                "the same in the earliest form",
            ),
            (r#"{"x":1}"#.into(), None, "no type"),
        ] {
            assert_eq!(one(&feature), expected, "{why}");
        }
        let channel = one(&named(r#"channel","channel":"k""#)).unwrap();
        assert!(channel.contains(r#""channel":"at://did:plc:nest/social.colibri.channel/k""#), "{channel}");
        for text in ["{}", "7", "", r#"[{"index":{"byteStart":-1,"byteEnd":2},"features":[]}]"#, "[[]]"] {
            assert!(facets(Some(text), &account).is_empty(), "{text}");
        }
    }

    #[test]
    fn n160_links() {
        let stored = r#"["https://a.test/x","no link","a:b",7,"://x","http://"]"#;
        assert_eq!(links(Some(stored)), ["https://a.test/x", "a:b"]);
        assert!(links(None).is_empty());
    }
}
