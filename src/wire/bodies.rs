//! The objects of REST bodies and of message frames (contract section 2, O01–O09).
//!
//! Fields come in the contract's order. Every field is present; one without a value is `null`. JSON
//! that is echoed verbatim is a [`RawValue`], so every byte of it stays the same.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::ids::{AtUri, Did, Rkey};
use super::json::is_too_deep;

/// The profile, status and presence of a person as others see it. Part of O01, O02, O07.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Person {
    /// The name of the cached profile.
    pub display_name: Option<String>,
    /// A link on the CDN (O10).
    pub avatar_url: Option<String>,
    /// A link on the CDN (O10).
    pub banner_url: Option<String>,
    /// The text of the cached profile.
    pub description: Option<String>,
    /// Only when verified in both directions (O10).
    pub handle: Option<String>,
    /// The text of the actor record (O10).
    pub status_text: Option<String>,
    /// The emoji of the actor record.
    pub emoji: Option<String>,
    /// `online`, `away`, `dnd`, `offline`, or nothing if never seen.
    pub state: Option<String>,
    /// Whether their Bluesky profile says that they are a bot. Left out for others (O10).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_bot: bool,
}

/// O01 without `parent_message` and `reactions`: the shape of a parent.
#[derive(Clone, Debug, Serialize)]
pub struct MessageCore {
    /// UUIDv5 of the AT-URI (see [`message_id`]).
    pub id: String,
    /// The record key.
    pub rkey: Rkey,
    /// The author.
    pub author_did: Did,
    /// Verbatim.
    pub text: String,
    /// Verbatim: usually an rkey.
    pub channel: String,
    /// The record's string, or the receive time if that string is no time (H06).
    pub created_at: String,
    /// The receive time (H10).
    pub indexed_at: String,
    /// Whether a content change was applied, or the record itself says that it was edited.
    pub edited: bool,
    /// Verbatim: an rkey or an AT-URI.
    pub parent: Option<String>,
    /// Verbatim.
    pub facets: Option<Box<RawValue>>,
    /// Verbatim.
    pub attachments: Option<Box<RawValue>>,
    /// The author as others see them.
    #[serde(flatten)]
    pub author: Person,
}

/// O01.
#[derive(Clone, Debug, Serialize)]
pub struct Message {
    /// Everything but the two fields below.
    #[serde(flatten)]
    pub core: MessageCore,
    /// The visible message that `parent` names (T21).
    pub parent_message: Option<MessageCore>,
    /// O03, `count` descending.
    pub reactions: Vec<ReactionGroup>,
}

/// The body of R02: O01, and how many messages answer it.
#[derive(Clone, Debug, Serialize)]
pub struct AnsweredMessage {
    /// The message.
    #[serde(flatten)]
    pub message: Message,
    /// The answers below it (U50).
    pub reply_count: i64,
}

/// O24: a message that answers nothing, with what answers it.
#[derive(Clone, Debug, Serialize)]
pub struct Thread {
    /// The answers below it (U50).
    pub reply_count: i64,
    /// The sort instant of the latest (H10).
    pub last_reply_at: String,
    /// Who answered, the latest first.
    pub participants: Vec<Did>,
    /// The root, without parent and reactions.
    pub message: MessageCore,
}

/// R55: a message that was searched for.
#[derive(Clone, Debug, Serialize)]
pub struct Found {
    /// The part of its text around the first place that was found.
    pub snippet: Snippet,
    /// The message, without parent and reactions.
    pub message: MessageCore,
}

/// A part of a text, with what was found in it.
#[derive(Clone, Debug, Serialize)]
pub struct Snippet {
    /// The part.
    pub text: String,
    /// What was found in it, in order and apart.
    pub marks: Vec<Mark>,
}

/// A place in a text, in bytes of UTF-8 as facets have them.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Mark {
    /// The first byte.
    pub byte_start: usize,
    /// The first byte behind it.
    pub byte_end: usize,
}

/// O25: a message in its thread.
#[derive(Clone, Debug, Serialize)]
pub struct ThreadMessage {
    /// How many answers lie between the root and it.
    pub depth: u32,
    /// What it answers in the thread.
    pub parent_uri: Option<AtUri>,
    /// The message, without parent and reactions.
    pub message: MessageCore,
}

/// O03.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReactionGroup {
    /// As the first of them was written (8.4).
    pub emoji: String,
    /// How many people.
    pub count: usize,
    /// These people, in order of arrival.
    pub reactor_dids: Vec<Did>,
    /// The same list again, for the web client (W10).
    pub authors: Vec<Did>,
    /// The rkey of each person's oldest standing record.
    pub rkeys: Vec<Rkey>,
}

/// O04.
#[derive(Clone, Debug, Serialize)]
pub struct Community {
    /// The authority of the AT-URI (T05).
    pub owner_did: Did,
    /// The record key.
    pub rkey: Rkey,
    /// 1–32 characters.
    pub name: String,
    /// At most 256 characters.
    pub description: Option<String>,
    /// A blob reference, verbatim.
    pub picture: Option<Box<RawValue>>,
    /// An array of rkeys, verbatim.
    pub category_order: Option<Box<RawValue>>,
    /// T09.
    pub requires_approval_to_join: bool,
}

/// O05.
#[derive(Clone, Debug, Serialize)]
pub struct Channel {
    /// The channel.
    pub uri: AtUri,
    /// Its key.
    pub rkey: Rkey,
    /// Its community.
    pub community_uri: AtUri,
    /// 1–32 characters.
    pub name: String,
    /// At most 256 characters.
    pub description: Option<String>,
    /// `text`, `voice`, `forum` or another word.
    pub channel_type: String,
    /// The category its own record names.
    pub category_rkey: Option<String>,
    /// Whether only the owner may post.
    pub owner_only: bool,
    /// Who is in the voice channel, sorted.
    pub voice_members: Vec<Did>,
}

/// O06.
#[derive(Clone, Debug, Serialize)]
pub struct Category {
    /// The category.
    pub uri: AtUri,
    /// Its key.
    pub rkey: Rkey,
    /// 1–32 characters.
    pub name: String,
    /// An array of rkeys, verbatim.
    pub channel_order: Option<Box<RawValue>>,
    /// Its channels, in order.
    pub channels: Vec<Channel>,
}

/// O02.
#[derive(Clone, Debug, Serialize)]
pub struct Author {
    /// The person.
    pub did: Did,
    /// The name of the cached profile.
    pub display_name: Option<String>,
    /// A link on the CDN (O10).
    pub avatar_url: Option<String>,
    /// A link on the CDN (O10).
    pub banner_url: Option<String>,
    /// The text of the cached profile.
    pub description: Option<String>,
    /// Only when verified in both directions (O10).
    pub handle: Option<String>,
    /// The text of the actor record (O10).
    pub status: Option<String>,
    /// The same as `status`.
    pub status_text: Option<String>,
    /// The emoji of the actor record.
    pub emoji: Option<String>,
    /// `online`, `away`, `dnd`, `offline`, or nothing if never seen.
    pub state: Option<String>,
    /// As in [`Person`].
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_bot: bool,
    /// When the cached values last changed (H10).
    pub updated_at: String,
}

impl Author {
    /// A person with their DID.
    pub fn of(did: Did, person: Person, updated_at: String) -> Self {
        Self {
            did,
            display_name: person.display_name,
            avatar_url: person.avatar_url,
            banner_url: person.banner_url,
            description: person.description,
            handle: person.handle,
            status: person.status_text.clone(),
            status_text: person.status_text,
            emoji: person.emoji,
            state: person.state,
            is_bot: person.is_bot,
            updated_at,
        }
    }
}

/// R11.
#[derive(Clone, Debug, Serialize)]
pub struct Communities {
    /// The communities that this person owns, by rkey.
    pub owned: Vec<Community>,
    /// The communities that this person takes part in, by AT-URI.
    pub joined: Vec<Community>,
}

/// O09.
#[derive(Clone, Debug, Serialize)]
pub struct ChannelRead {
    /// The channel.
    pub channel_uri: String,
    /// The position up to which the channel was read (H10).
    pub cursor_at: String,
}

/// O22: what somebody is notified of.
#[derive(Clone, Debug, Serialize)]
pub struct Notification {
    /// Its number: of one person's, a later one has a greater number.
    pub id: i64,
    /// `mention` or `reply`.
    pub kind: &'static str,
    /// The community.
    pub community_uri: AtUri,
    /// The exact channel.
    pub channel_uri: AtUri,
    /// When the service learned of it (H10).
    pub indexed_at: String,
    /// When the person saw it (H10).
    pub seen_at: Option<String>,
    /// `quiet` or `ping` (U24, U25).
    pub urgency: &'static str,
    /// The message, without parent and reactions.
    pub message: MessageCore,
}

/// The body of R50.
#[derive(Clone, Debug, Serialize)]
pub struct Notifications<'n> {
    /// How many are not seen, of all.
    pub unseen: i64,
    /// A page of them.
    pub notifications: Vec<&'n Notification>,
}

/// The answer to R69.
#[derive(Clone, Debug, Serialize)]
pub struct PushKey {
    /// An `applicationServerKey`, in base64url.
    pub public_key: String,
}

/// The answer to R56 and R59.
#[derive(Clone, Debug, Serialize)]
pub struct Preferences {
    /// The rhythm where nothing else is set.
    pub rhythm: &'static str,
    /// That of communities that have one of their own.
    pub communities: Vec<RhythmThere>,
}

/// The rhythm of a person in a community (U25).
#[derive(Clone, Debug, Serialize)]
pub struct RhythmThere {
    /// The community.
    pub community_uri: String,
    /// Its rhythm.
    pub rhythm: &'static str,
}

/// The body of R51.
#[derive(Clone, Debug, Serialize)]
pub struct Seen {
    /// How many were not seen before.
    pub seen: usize,
}

/// O23: what somebody has not read in a channel.
#[derive(Clone, Debug, Serialize)]
pub struct Unread {
    /// The community.
    pub community_uri: AtUri,
    /// The channel.
    pub channel_uri: AtUri,
    /// How many messages of others, at most 100.
    pub unread: i64,
    /// How many messages with notifications that are not seen.
    pub mentions: i64,
    /// The read position (H10).
    pub last_read_at: Option<String>,
    /// The sort instant of the newest message (H10).
    pub last_message_at: Option<String>,
}

/// O07.
#[derive(Clone, Debug, Serialize)]
pub struct Member {
    /// The person.
    pub member_did: Did,
    /// `owner`, `approved`, `pending`; `banned` in R10.
    pub status: String,
    /// In R10 `record` for whom only a record of the community bans, `both` for whom the service does too
    /// (N21).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The person as others see them.
    #[serde(flatten)]
    pub person: Person,
}

/// O08.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Invite {
    /// 16 hex digits.
    pub code: String,
    /// The community it leads to.
    pub community_uri: AtUri,
    /// Its creator: the owner of the community.
    pub created_by_did: Did,
    /// The maximum number of uses; `null` for no maximum.
    pub max_uses: Option<i64>,
    /// The number of uses so far.
    pub use_count: i64,
    /// Neither revoked nor ended by the deletion of its community. An exhausted invite stays
    /// active.
    pub active: bool,
}

/// A community of the directory (R53).
#[derive(Clone, Debug, Serialize)]
pub struct DirectoryEntry {
    /// Its address.
    pub community_uri: AtUri,
    /// Its owner.
    pub owner_did: Did,
    /// Its name.
    pub name: String,
    /// As everybody sees it (X42).
    pub description: Option<String>,
    /// Verbatim.
    pub picture: Option<Box<RawValue>>,
    /// T09.
    pub requires_approval_to_join: bool,
    /// X40.
    pub members_only: bool,
    /// How many people are in it, among those counted; `None` if it is for members only.
    pub member_count: Option<i64>,
    /// How many of these are not `offline`.
    pub online_count: Option<i64>,
    /// When it was listed (H10).
    pub listed_at: String,
}

/// A message of R54.
#[derive(Clone, Debug, Serialize)]
pub struct Active {
    /// The community.
    pub community_uri: AtUri,
    /// The exact channel.
    pub channel_uri: AtUri,
    /// The message.
    pub message: MessageCore,
}

/// The answer of R52.
#[derive(Clone, Debug, Serialize)]
pub struct Listing {
    /// The community.
    pub community_uri: String,
    /// Whether the directory lists it.
    pub listed: bool,
}

/// O21: whether only members read a community.
#[derive(Clone, Debug, Serialize)]
pub struct MembersOnly {
    /// The community, as it was named.
    pub community_uri: String,
    /// Whether they do.
    pub members_only: bool,
    /// What that means.
    pub meaning: &'static str,
}

/// O20: an entry of the audit log.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AuditEntry {
    /// The community.
    pub community_uri: AtUri,
    /// The actor: a DID, `operator` or `service`.
    pub actor: String,
    /// The kind of proof that the actor showed.
    pub proof: String,
    /// The action, as one word.
    pub action: String,
    /// The person, message or invite that the action concerns.
    pub subject: String,
    /// The reason that the actor gave.
    pub reason: Option<String>,
    /// The time at which the effect ends.
    pub until: Option<String>,
    /// The time of the action.
    pub at: String,
}

/// R87: what somebody reported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Its number: a later one has a greater number.
    pub id: i64,
    /// The community.
    pub community_uri: AtUri,
    /// Who reported.
    pub reporter_did: Did,
    /// The message's AT-URI, or the person's DID.
    pub subject: String,
    /// The message's author, or that person.
    pub about_did: Did,
    /// The reason, as one word.
    pub reason: String,
    /// The reporter's words.
    pub comment: Option<String>,
    /// When it was reported, or reported again.
    pub reported_at: String,
    /// Since when it is resolved.
    pub resolved_at: Option<String>,
    /// Who resolved it: a DID, or `operator`.
    pub resolved_by: Option<String>,
    /// What that person said of it.
    pub resolution: Option<String>,
}

/// R86: the number of a report.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Reported {
    /// The number.
    pub id: i64,
}

/// O27: a webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    /// Its id.
    pub id: String,
    /// The community.
    pub community_uri: AtUri,
    /// Where it leads.
    pub url: String,
    /// The types of events that are sent; none: every type.
    pub events: Vec<String>,
    /// When it was made.
    pub created_at: String,
    /// Since when nothing is sent.
    pub disabled_at: Option<String>,
    /// Why nothing is sent.
    pub disabled_because: Option<String>,
}

/// R82: a webhook with its secret.
#[derive(Clone, Debug, Serialize)]
pub struct WebhookSet {
    /// O27.
    #[serde(flatten)]
    pub webhook: Webhook,
    /// The secret of its signatures: `whsec_` and base64.
    pub secret: String,
}

/// R16: an invite and the community it leads to.
#[derive(Clone, Debug, Serialize)]
pub struct InviteToCommunity {
    /// O08.
    #[serde(flatten)]
    pub invite: Invite,
    /// O04.
    pub community: Community,
}

/// R17.
#[derive(Clone, Debug, Serialize)]
pub struct InviteCode {
    /// 16 hex digits.
    pub code: String,
}

/// The `id` of a message (O01): the UUIDv5 of its AT-URI in the URL namespace of RFC 4122. It stays
/// the same when the index is rebuilt (K13).
pub fn message_id(uri: &AtUri) -> String {
    uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_URL, uri.as_str().as_bytes()).to_string()
}

/// Turns stored JSON text into a field of a body. The text was valid and not too deeply nested when
/// it was stored (T23). If it no longer is, for example because it is older than that limit, the
/// field is `null`; the rest of the answer is unaffected.
pub fn verbatim(text: Option<&str>) -> Option<Box<RawValue>> {
    text.filter(|json| !is_too_deep(json)).and_then(|json| RawValue::from_string(json.to_owned()).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The web client and stored links use these ids; another value would orphan them.
    #[test]
    fn o01_id_is_that_of_the_contract() {
        let uri = |did: &str, rkey: &str| {
            AtUri::parse(&format!("at://{did}/social.colibri.message/{rkey}")).unwrap()
        };
        assert_eq!(message_id(&uri("did:plc:member", "3kmsg2")), "2f63fd0e-f108-5adc-86df-02c8dd3239e3");
        assert_eq!(message_id(&uri("did:plc:owner", "3kmsg1")), "e883def7-0d20-5975-98ce-05bffc38a4fa");
    }
}
