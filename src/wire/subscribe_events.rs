//! The events socket of the newest client, `social.colibri.sync.subscribeEvents` (contract section 14): what its
//! client sends, and the events as it spells them.
//!
//! An event is [`NewestEvent`]. Most of them say nothing that the frame of March 2026 does not say, and are derived from
//! that ([`NewestEvent::of_march`]); the others stand beside it in the log ([`super::events::pack`]).

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::bodies::Person;
use super::cid::Cid;
use super::ids::{AtUri, Collection, Did, Rkey};
use super::json;
use super::permissions::Permissions;
use super::profile::cid_in;
use super::time::Micros;
use super::views::{
    self, Actor, ActorData, Application, Attachment, Blob, NO_HANDLE, NotificationView, OverrideView, Status,
};

/// The answer to a heartbeat (N161).
pub const ACK: &str = r#"{"type":"ack"}"#;
/// Events were lost: the client reads everything again (N166).
pub const RESYNC: &str = r#"{"type":"resync_required"}"#;

/// The cursor of a client that wants to resume later, and has nothing so far (N165).
pub const NOW: &str = "now";
/// The longest cursor, in bytes: 64 communities with the longest names, or a hundred usual ones. Servers refuse longer
/// addresses.
const CURSOR_MAX: usize = 8 * 1024;

/// The positions of a cursor (N165); `None` if it is none.
pub fn read_cursor(text: &str) -> Option<Vec<(AtUri, i64)>> {
    if text == NOW {
        return Some(Vec::new());
    }
    let position = |one: &str| {
        let (community, seq) = one.rsplit_once('@')?;
        let community = AtUri::parse(community).ok().filter(|uri| uri.is(Collection::Community))?;
        Some((community, seq.parse().ok().filter(|seq| *seq >= 0)?))
    };
    let is_short = text.len() <= CURSOR_MAX;
    is_short.then(|| text.split(',').map(position).collect::<Option<Vec<_>>>()).flatten()
}

/// The frame that says that nothing is missing up to these positions (N165). More than a cursor can hold are left
/// out: a client that comes back with it reads everything again.
pub fn resumed<'c>(positions: impl Iterator<Item = (&'c str, u64)>) -> String {
    let mut cursor = String::new();
    for (community, seq) in positions {
        let one = format!("{community}@{seq}");
        if cursor.len() + one.len() < CURSOR_MAX {
            cursor = if cursor.is_empty() { one } else { format!("{cursor},{one}") };
        }
    }
    let cursor = if cursor.is_empty() { NOW } else { &cursor };
    format!(r#"{{"type":"resumed","cursor":"{cursor}"}}"#)
}

/// What a client's frame asks for (N161).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The client is there, and so is its person.
    Heartbeat,
    /// The person looks at this channel from now on.
    View(AtUri),
    /// The person is writing in this channel.
    Typing(AtUri),
    /// Anything else, which says nothing.
    Nothing,
}

/// Reads a client's frame.
pub fn read(text: &str) -> Asked {
    #[derive(Deserialize)]
    struct Frame {
        r#type: String,
        data: Option<Data>,
    }
    #[derive(Deserialize)]
    struct Data {
        channel: Option<AtUri>,
    }
    let Some(frame) = json::object::<Frame>(text) else { return Asked::Nothing };
    let channel = frame.data.and_then(|data| data.channel).filter(|uri| uri.is(Collection::Channel));
    match (frame.r#type.as_str(), channel) {
        ("heartbeat", _) => Asked::Heartbeat,
        ("view", Some(channel)) => Asked::View(channel),
        ("typing", Some(channel)) => Asked::Typing(channel),
        _ => Asked::Nothing,
    }
}

/// An event, without its number (N168).
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
#[expect(missing_docs, reason = "named as in the lexicon")]
pub enum NewestEvent {
    CommunityEvent(CommunityEvent),
    MemberEvent(MemberEvent),
    CategoryEvent(CategoryEvent),
    ChannelEvent(ChannelEvent),
    RoleEvent(RoleEvent),
    MessageEvent(MessageEvent),
    ReactionEvent(ReactionEvent),
    UserEvent(UserEvent),
    VoicePresenceEvent(VoicePresenceEvent),
    VoiceStateEvent(VoiceStateEvent),
    TypingEvent(TypingEvent),
    ApplicationEvent(ApplicationEvent),
    SeenEvent(SeenEvent),
    MuteEvent(MuteEvent),
    NotificationEvent(Box<NotificationView>),
}

/// A community appeared, changed, or is gone.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[expect(missing_docs, reason = "named as in the lexicon")]
pub enum CommunityEvent {
    #[serde(rename_all = "camelCase")]
    Upsert {
        uri: AtUri,
        name: String,
        description: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        picture: Option<Box<Blob>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        banner: Option<Box<Blob>>,
        category_order: Vec<AtUri>,
        requires_approval_to_join: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        link_embeds: Option<bool>,
    },
    Delete {
        uri: AtUri,
    },
}

/// Who takes part in a community changed.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[expect(missing_docs, reason = "named as in the lexicon")]
pub enum MemberEvent {
    Join {
        community: AtUri,
        #[serde(skip_serializing_if = "Option::is_none")]
        membership: Option<AtUri>,
        member: Box<Member>,
    },
    RolesUpdated {
        community: AtUri,
        member: Box<Member>,
    },
    #[serde(rename_all = "camelCase")]
    Leave {
        community: AtUri,
        member_did: Did,
    },
}

/// Somebody asks to be admitted, or does not wait any more; an application was dismissed, or waits again. No lexicon
/// has it.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[expect(missing_docs, reason = "as the client names them")]
pub enum ApplicationEvent {
    Create {
        community: AtUri,
        #[serde(flatten)]
        application: Box<Application>,
    },
    Resolve {
        community: AtUri,
        did: Did,
        #[serde(skip_serializing_if = "Option::is_none")]
        membership: Option<AtUri>,
    },
    Dismiss {
        community: AtUri,
        did: Did,
        membership: AtUri,
    },
    Undismiss {
        community: AtUri,
        did: Did,
        membership: AtUri,
    },
}

impl ApplicationEvent {
    /// Somebody asks, with this membership, received at this time.
    pub fn create(community: &AtUri, did: &Did, person: &Person, membership: AtUri, at: Micros) -> Self {
        let application = Application {
            did: did.clone(),
            handle: handle(person),
            membership,
            created_at: at.shown(),
            data: data(did, person),
        };
        Self::Create { community: community.clone(), application: Box::new(application) }
    }
}

/// A member with all that is shown of them.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "named as in the lexicon")]
pub struct Member {
    pub did: Did,
    pub handle: String,
    pub roles: Vec<AtUri>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nickname: Option<String>,
    pub data: ActorData,
}

/// A category appeared, changed, or is gone.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[expect(missing_docs, reason = "named as in the lexicon")]
pub enum CategoryEvent {
    #[serde(rename_all = "camelCase")]
    Upsert {
        uri: AtUri,
        community: AtUri,
        name: String,
        channel_order: Vec<AtUri>,
    },
    Delete {
        uri: AtUri,
        community: AtUri,
    },
}

/// A channel appeared, changed, or is gone.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[expect(missing_docs, reason = "named as in the lexicon")]
pub enum ChannelEvent {
    #[serde(rename_all = "camelCase")]
    Upsert {
        uri: AtUri,
        community: AtUri,
        #[serde(skip_serializing_if = "Option::is_none")]
        category: Option<AtUri>,
        name: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<String>,
        r#type: String,
        owner_only: bool,
        allowed_roles: Vec<AtUri>,
        allowed_members: Vec<Did>,
        #[serde(skip_serializing_if = "Option::is_none")]
        link_embeds: Option<bool>,
    },
    Delete {
        uri: AtUri,
        community: AtUri,
    },
}

/// A role appeared, changed, or is gone. No lexicon has it.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[expect(missing_docs, reason = "named as in `social.colibri.community.defs#roleView`")]
pub enum RoleEvent {
    #[serde(rename_all = "camelCase")]
    Upsert {
        uri: AtUri,
        community: AtUri,
        name: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        color: Option<String>,
        permissions: Permissions,
        position: i64,
        hoisted: bool,
        mentionable: bool,
        protected: bool,
        channel_overrides: Vec<OverrideView>,
    },
    Delete {
        uri: AtUri,
        community: AtUri,
    },
}

/// Somebody is writing.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "named as in the lexicon")]
pub struct TypingEvent {
    pub event: &'static str,
    pub channel: AtUri,
    pub did: Did,
}

/// A message appeared, changed, or is gone, or its community hides other previews in it.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[expect(missing_docs, reason = "named as in the lexicon")]
pub enum MessageEvent {
    #[serde(rename_all = "camelCase")]
    Upsert {
        uri: AtUri,
        channel: AtUri,
        community: AtUri,
        author: Box<Actor>,
        text: String,
        facets: Box<[Value]>,
        attachments: Box<[Attachment]>,
        created_at: String,
        indexed_at: String,
        edited: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        parent: Option<AtUri>,
        suppressed_embeds: Vec<String>,
        mod_suppressed_embeds: Vec<String>,
    },
    #[serde(rename_all = "camelCase")]
    Embeds {
        uri: AtUri,
        channel: AtUri,
        mod_suppressed_embeds: Vec<String>,
    },
    Delete {
        uri: AtUri,
        channel: AtUri,
    },
}

/// Somebody reacted to a message, or took it back. Who, says the authority of `uri`.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "named as in the lexicon")]
pub struct ReactionEvent {
    pub event: &'static str,
    pub uri: AtUri,
    pub emoji: String,
    pub target: AtUri,
    pub channel: AtUri,
}

/// A person changed.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "named as in the lexicon")]
pub struct UserEvent {
    pub did: Did,
    pub status: UserStatus,
    pub profile: Profile,
}

/// The status and presence of a person.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "named as in the lexicon")]
pub struct UserStatus {
    pub state: String,
    pub text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub emoji: Option<String>,
}

/// The profile of a person.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "named as in the lexicon")]
pub struct Profile {
    pub display_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub avatar: Option<Blob>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub banner: Option<Blob>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    pub handle: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_bot: bool,
}

/// Somebody came into a voice channel, or left it.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "named as in the lexicon")]
pub struct VoicePresenceEvent {
    pub event: &'static str,
    pub channel: AtUri,
    pub did: Did,
}

/// Somebody in a call muted or deafened themselves, or no more.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "named as in the lexicon")]
pub struct VoiceStateEvent {
    pub channel: AtUri,
    pub did: Did,
    pub muted: bool,
    pub deafened: bool,
}

/// The person of the socket read something on another device. No lexicon has it.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[expect(missing_docs, reason = "as the client names them")]
pub enum SeenEvent {
    #[serde(rename_all = "camelCase")]
    ChannelRead { channel_uri: AtUri },
    #[serde(rename_all = "camelCase")]
    MessageSeen { message_uri: AtUri, cleared: usize },
}

/// The person of the socket muted a channel or community on another device, or no more. No lexicon has it.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[expect(missing_docs, reason = "as the client names them")]
pub enum MuteEvent {
    Muted { subject: AtUri },
    Unmuted { subject: AtUri },
}

/// The handle of a person; one that is not verified is [`NO_HANDLE`].
fn handle(person: &Person) -> String {
    person.handle.clone().unwrap_or_else(|| NO_HANDLE.to_owned())
}

/// The name of a person, which is never empty: their handle, or their DID, where they have none.
fn display_name(did: &Did, person: &Person) -> String {
    let name = person.display_name.as_ref().filter(|name| !name.is_empty());
    name.or(person.handle.as_ref()).cloned().unwrap_or_else(|| did.to_string())
}

fn state(person: &Person) -> String {
    person.state.clone().unwrap_or_else(|| "offline".to_owned())
}

/// A picture of a person. The client shows it by its CID alone, so its type and size, which nobody knows here, are
/// the largest that a profile may have.
fn picture(link: Option<&str>) -> Option<Blob> {
    let cid = Cid::parse(&cid_in(link?)?)?;
    Some(Blob::new(cid.as_str().to_owned(), "image/jpeg".to_owned(), PICTURE_MAX))
}

/// The most bytes of a picture in a profile (`app.bsky.actor.profile`).
const PICTURE_MAX: i64 = 1_000_000;

/// What a frame shows of a person.
fn data(did: &Did, person: &Person) -> ActorData {
    ActorData {
        display_name: display_name(did, person),
        avatar: picture(person.avatar_url.as_deref()),
        banner: picture(person.banner_url.as_deref()),
        description: person.description.clone(),
        is_bot: person.is_bot,
        online_state: state(person),
        sync_bluesky: false,
        theme: None,
        status: Status { text: person.status_text.clone().unwrap_or_default(), emoji: person.emoji.clone() },
        preferred_badge: None,
    }
}

impl Member {
    /// A member with these roles, AT-URIs, and this nickname.
    pub fn of(did: &Did, person: &Person, roles: Vec<AtUri>, nickname: Option<String>) -> Self {
        Self { did: did.clone(), handle: handle(person), roles, nickname, data: data(did, person) }
    }
}

/// The records of an account that a list names, by rkey or by AT-URI. What names nothing is left out.
pub fn named_in(list: Option<&RawValue>, owner: &Did, collection: Collection) -> Vec<AtUri> {
    let names: Vec<String> = list.and_then(|list| serde_json::from_str(list.get()).ok()).unwrap_or_default();
    names.iter().filter_map(|name| AtUri::named(name, owner, collection)).collect()
}

#[derive(Deserialize)]
struct MarchMessage {
    message: MarchContent,
    community_uri: AtUri,
    channel_uri: AtUri,
}

#[derive(Deserialize)]
struct MarchContent {
    rkey: Rkey,
    author_did: Did,
    text: String,
    created_at: String,
    indexed_at: String,
    edited: bool,
    facets: Option<Box<RawValue>>,
    attachments: Option<Box<RawValue>>,
    parent_message: Option<MarchParent>,
    display_name: Option<String>,
    avatar_url: Option<String>,
    banner_url: Option<String>,
    description: Option<String>,
    handle: Option<String>,
    status_text: Option<String>,
    emoji: Option<String>,
    state: Option<String>,
    #[serde(default)]
    is_bot: bool,
}

#[derive(Deserialize)]
struct MarchParent {
    rkey: Rkey,
    author_did: Did,
}

/// The fields of the other events.
#[derive(Deserialize)]
struct March {
    community_uri: Option<AtUri>,
    channel_uri: Option<AtUri>,
    uri: Option<AtUri>,
    rkey: Option<Rkey>,
    author_did: Option<Did>,
    emoji: Option<String>,
    target_rkey: Option<Rkey>,
    target_author_did: Option<Did>,
    name: Option<String>,
    description: Option<String>,
    picture: Option<Box<RawValue>>,
    category_order: Option<Box<RawValue>>,
    requires_approval_to_join: Option<bool>,
    channel_type: Option<String>,
    category_rkey: Option<String>,
    owner_only: Option<bool>,
    channel_order: Option<Box<RawValue>>,
    member_did: Option<Did>,
}

impl MarchMessage {
    fn newest_event(self, suppressed_embeds: Vec<String>, mod_suppressed_embeds: Vec<String>) -> NewestEvent {
        let MarchMessage { message, community_uri: community, channel_uri: channel } = self;
        let of = |did: &Did, rkey: &Rkey| AtUri::of(did, Collection::Message, rkey);
        let person = Person {
            display_name: message.display_name,
            avatar_url: message.avatar_url,
            banner_url: message.banner_url,
            description: message.description,
            handle: message.handle,
            status_text: message.status_text,
            emoji: message.emoji,
            state: message.state,
            is_bot: message.is_bot,
        };
        let (did, account) = (message.author_did, community.authority());
        NewestEvent::MessageEvent(MessageEvent::Upsert {
            uri: of(&did, &message.rkey),
            channel,
            community,
            author: Box::new(Actor { handle: handle(&person), data: data(&did, &person), did }),
            text: message.text,
            facets: views::facets(message.facets.as_deref().map(RawValue::get), &account).into(),
            attachments: views::attachments(message.attachments.as_deref().map(RawValue::get)).into(),
            created_at: message.created_at,
            indexed_at: message.indexed_at,
            edited: message.edited,
            parent: message.parent_message.map(|parent| of(&parent.author_did, &parent.rkey)),
            suppressed_embeds,
            mod_suppressed_embeds,
        })
    }
}

impl March {
    fn newest_event(self, kind: &str) -> Option<NewestEvent> {
        Some(match kind {
            "message_deleted" => NewestEvent::MessageEvent(MessageEvent::Delete {
                uri: AtUri::of(&self.author_did?, Collection::Message, &self.rkey?),
                channel: self.channel_uri?,
            }),
            "reaction_added" | "reaction_removed" => NewestEvent::ReactionEvent(ReactionEvent {
                event: if kind == "reaction_added" { "added" } else { "removed" },
                uri: AtUri::of(&self.author_did?, Collection::Reaction, &self.rkey?),
                emoji: self.emoji?,
                target: AtUri::of(&self.target_author_did?, Collection::Message, &self.target_rkey?),
                channel: self.channel_uri?,
            }),
            "community_upserted" => NewestEvent::CommunityEvent(self.community()?),
            "community_deleted" => {
                NewestEvent::CommunityEvent(CommunityEvent::Delete { uri: self.community_uri? })
            }
            "channel_created" => NewestEvent::ChannelEvent(self.channel()?),
            "channel_deleted" => NewestEvent::ChannelEvent(ChannelEvent::Delete {
                uri: self.uri?,
                community: self.community_uri?,
            }),
            "category_created" => {
                let (uri, order) = (self.uri?, self.channel_order);
                let owner = uri.authority();
                NewestEvent::CategoryEvent(CategoryEvent::Upsert {
                    channel_order: named_in(order.as_deref(), &owner, Collection::Channel),
                    uri,
                    community: self.community_uri?,
                    name: self.name?,
                })
            }
            "category_deleted" => NewestEvent::CategoryEvent(CategoryEvent::Delete {
                uri: self.uri?,
                community: self.community_uri?,
            }),
            "member_left" => NewestEvent::MemberEvent(MemberEvent::Leave {
                community: self.community_uri?,
                member_did: self.member_did?,
            }),
            _ => return None,
        })
    }

    fn community(self) -> Option<CommunityEvent> {
        let uri = self.community_uri?;
        Some(CommunityEvent::Upsert {
            category_order: named_in(self.category_order.as_deref(), &uri.authority(), Collection::Category),
            uri,
            name: self.name?,
            description: self.description.unwrap_or_default(),
            picture: self.picture.as_deref().and_then(|picture| Blob::read(picture.get())).map(Box::new),
            banner: None,
            requires_approval_to_join: self.requires_approval_to_join?,
            link_embeds: None,
        })
    }

    fn channel(self) -> Option<ChannelEvent> {
        let uri = self.uri?;
        let category = self.category_rkey.as_deref();
        Some(ChannelEvent::Upsert {
            category: category.and_then(|name| AtUri::named(name, &uri.authority(), Collection::Category)),
            uri,
            community: self.community_uri?,
            name: self.name?,
            description: self.description,
            r#type: views::channel_type(&self.channel_type?),
            owner_only: self.owner_only?,
            allowed_roles: Vec::new(),
            allowed_members: Vec::new(),
            link_embeds: None,
        })
    }
}

impl NewestEvent {
    /// What an event of March 2026 says, if this spelling has a word for it and the event says enough.
    pub fn of_march(event: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Kind {
            r#type: String,
        }
        let kind = serde_json::from_str::<Kind>(event).ok()?.r#type;
        if kind == "message" {
            return Self::of_message(event, Vec::new(), Vec::new());
        }
        serde_json::from_str::<March>(event).ok()?.newest_event(&kind)
    }

    /// The same of an E01, with the previews that its author and its community do not show (N53, N54).
    pub fn of_message(event: &str, own: Vec<String>, hidden: Vec<String>) -> Option<Self> {
        Some(serde_json::from_str::<MarchMessage>(event).ok()?.newest_event(own, hidden))
    }

    /// A person as they are now.
    pub fn user(did: &Did, person: &Person) -> Self {
        NewestEvent::UserEvent(UserEvent {
            did: did.clone(),
            status: UserStatus {
                state: state(person),
                text: person.status_text.clone().unwrap_or_default(),
                emoji: person.emoji.clone(),
            },
            profile: Profile {
                display_name: display_name(did, person),
                avatar: picture(person.avatar_url.as_deref()),
                banner: picture(person.banner_url.as_deref()),
                description: person.description.clone(),
                handle: handle(person),
                is_bot: person.is_bot,
            },
        })
    }

    /// The JSON text of the event, without its number.
    pub fn text(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }
}

/// The frame that a client gets: the event with its number and its community at the top level, which the newest
/// client ignores (N168). A message says itself whether it is live.
pub fn stamp(event: &str, community: &AtUri, seq: u64, live: bool) -> String {
    let is_message = event.starts_with(r#"{"type":"message_event","data":{"event":"upsert""#);
    let (data, end) = match event.strip_suffix("}}").filter(|_| is_message) {
        Some(data) => (data, format!(",\"live\":{live}}}")),
        None => (event.strip_suffix('}').unwrap_or(event), String::new()),
    };
    format!("{data}{end},\"seq\":{seq},\"community\":\"{community}\"}}")
}

/// Who takes part in a community from now on, or no more, as an event says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// This person.
    Joined(Did),
    /// This person not any more.
    Left(Did),
    /// It is there: its own account takes part.
    Founded,
}

/// What an event in this spelling says of who takes part.
pub fn change(event: &str) -> Option<Change> {
    #[derive(Deserialize)]
    struct Frame {
        data: Data,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Data {
        event: String,
        member: Option<Named>,
        member_did: Option<Did>,
    }
    #[derive(Deserialize)]
    struct Named {
        did: Did,
    }
    let kinds = [r#"{"type":"member_event""#, r#"{"type":"community_event""#];
    if !kinds.iter().any(|kind| event.starts_with(kind)) {
        return None;
    }
    let Frame { data } = serde_json::from_str(event).ok()?;
    match (data.event.as_str(), data.member, data.member_did) {
        ("join", Some(member), _) => Some(Change::Joined(member.did)),
        ("leave", _, Some(did)) => Some(Change::Left(did)),
        ("upsert", ..) => Some(Change::Founded),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::events::{newest, pack};
    use super::*;

    const COMMUNITY: &str = "at://did:plc:o/social.colibri.community/c";
    const CHANNEL: &str = "at://did:plc:o/social.colibri.channel/k";

    fn said(event: &Value) -> Value {
        newest(&event.to_string()).map_or(Value::Null, |text| serde_json::from_str(&text).unwrap())
    }

    #[test]
    fn n161_what_a_frame_asks_for() {
        let channel = AtUri::parse(CHANNEL).unwrap();
        for (text, expected) in [
            (json!({ "type": "heartbeat" }), Asked::Heartbeat),
            (json!({ "type": "heartbeat", "data": 7 }), Asked::Nothing),
            (json!({ "type": "view", "data": { "channel": CHANNEL } }), Asked::View(channel.clone())),
            (json!({ "type": "view", "data": { "channel": COMMUNITY } }), Asked::Nothing),
            (json!({ "type": "typing", "data": { "channel": CHANNEL, "x": 1 } }), Asked::Typing(channel)),
            (json!({ "type": "typing" }), Asked::Nothing),
            (json!({ "type": "voice_state", "data": { "channel": CHANNEL, "muted": true } }), Asked::Nothing),
            (json!({ "action": "heartbeat" }), Asked::Nothing),
            (json!([]), Asked::Nothing),
        ] {
            assert_eq!(read(&text.to_string()), expected, "{text}");
        }
    }

    #[test]
    fn n165_cursors() {
        let at = |seq| Some(vec![(AtUri::parse(COMMUNITY).unwrap(), seq)]);
        for (text, expected) in [
            ("now".to_owned(), Some(Vec::new())),
            (format!("{COMMUNITY}@7"), at(7)),
            (format!("{COMMUNITY}@-1"), None),
            (format!("{COMMUNITY}@7,"), None),
            (format!("{CHANNEL}@7"), None),
            (COMMUNITY.to_owned(), None),
            (vec![format!("{COMMUNITY}@7"); 200].join(","), None),
        ] {
            assert_eq!(read_cursor(&text), expected, "{text}");
        }
        let frame: Value =
            serde_json::from_str(&resumed([(COMMUNITY, 7), (COMMUNITY, 9)].into_iter())).unwrap();
        let both = read_cursor(frame["cursor"].as_str().unwrap()).unwrap();
        assert_eq!(both.iter().map(|(_, seq)| *seq).collect::<Vec<_>>(), [7, 9]);
        let full: Value = serde_json::from_str(&resumed((0..900).map(|seq| (COMMUNITY, seq)))).unwrap();
        assert!(read_cursor(full["cursor"].as_str().unwrap()).is_some(), "never longer than it may be");
        assert_eq!(resumed(std::iter::empty()), r#"{"type":"resumed","cursor":"now"}"#);
    }

    #[test]
    fn n168_a_message_in_these_words() {
        let mut message = json!({ "id": "1", "rkey": "m", "author_did": "did:plc:a", "text": "yes", "channel": "k",
            "created_at": "2026-03-01T12:00:00.000Z", "indexed_at": "2026-03-01T12:00:00.412Z", "edited": false,
            "parent": "p", "facets": [{ "index": { "byteStart": 0, "byteEnd": 3 }, "features": [
                { "$type": "social.colibri.richtext.facet#link", "uri": "no link" }] }, { "index": "none" }],
            "attachments": [{ "name": "x" }], "display_name": null,
            "avatar_url": "https://cdn.test/img/avatar/plain/did:plc:a/bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku@jpeg", "banner_url": null,
            "description": null, "handle": null, "status_text": "Reading", "emoji": null, "state": "dnd",
            "parent_message": { "rkey": "p", "author_did": "did:plc:b" }, "reactions": [] });
        let event = |message: &Value| {
            said(
                &json!({ "type": "message", "message": message, "community_uri": COMMUNITY, "channel_uri": CHANNEL }),
            )
        };
        let got = event(&message);
        let author = json!({ "did": "did:plc:a", "handle": "handle.invalid", "data": {
            "displayName": "did:plc:a", "isBot": false, "onlineState": "dnd", "syncBluesky": false,
            "status": { "text": "Reading" },
            "avatar": { "$type": "blob", "ref": { "$link": "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku" }, "mimeType": "image/jpeg",
                "size": 1_000_000 } } });
        let expected = json!({ "type": "message_event", "data": { "event": "upsert",
            "uri": "at://did:plc:a/social.colibri.message/m", "channel": CHANNEL, "community": COMMUNITY,
            "author": author, "text": "yes", "facets": [{ "index": { "byteStart": 0, "byteEnd": 3 }, "features": [] }], "attachments": [],
            "createdAt": "2026-03-01T12:00:00.000Z", "indexedAt": "2026-03-01T12:00:00.412Z", "edited": false,
            "parent": "at://did:plc:b/social.colibri.message/p",
            "suppressedEmbeds": [], "modSuppressedEmbeds": [] } });
        assert_eq!(got, expected);
        message["parent_message"] = Value::Null;
        assert_eq!(event(&message)["data"]["parent"], Value::Null, "left out where it cannot be seen");
        let community = AtUri::parse(COMMUNITY).unwrap();
        let stamped: Value = serde_json::from_str(&stamp(&got.to_string(), &community, 7, false)).unwrap();
        assert_eq!(
            (&stamped["seq"], &stamped["community"], &stamped["data"]["text"]),
            (&json!(7), &json!(COMMUNITY), &json!("yes"))
        );
    }

    #[test]
    fn n168_stamps() {
        let community = AtUri::parse(COMMUNITY).unwrap();
        let text = r#"{"type":"message_event","data":{"event":"upsert","uri":"x"}}"#;
        assert_eq!(
            stamp(text, &community, 7, true),
            format!(
                r#"{{"type":"message_event","data":{{"event":"upsert","uri":"x","live":true}},"seq":7,"community":"{COMMUNITY}"}}"#
            )
        );
        let text = r#"{"type":"community_event","data":{"event":"delete"}}"#;
        assert_eq!(
            stamp(text, &community, 8, true),
            format!(
                r#"{{"type":"community_event","data":{{"event":"delete"}},"seq":8,"community":"{COMMUNITY}"}}"#
            )
        );
    }

    #[test]
    fn n168_other_events_in_these_words() {
        let category = "at://did:plc:o/social.colibri.category/g";
        for (march, expected) in [
            (
                json!({ "type": "reaction_added", "rkey": "r", "author_did": "did:plc:a", "emoji": "x",
                    "target_rkey": "m", "target_author_did": "did:plc:b", "channel": "k",
                    "community_uri": COMMUNITY, "channel_uri": CHANNEL }),
                json!({ "type": "reaction_event", "data": { "event": "added", "emoji": "x",
                    "uri": "at://did:plc:a/social.colibri.reaction/r",
                    "target": "at://did:plc:b/social.colibri.message/m", "channel": CHANNEL } }),
            ),
            (
                json!({ "type": "community_upserted", "community_uri": COMMUNITY, "owner_did": "did:plc:o",
                    "rkey": "c", "name": "C", "category_order": ["g", 7], "requires_approval_to_join": true }),
                json!({ "type": "community_event", "data": { "event": "upsert", "uri": COMMUNITY, "name": "C",
                    "description": "", "categoryOrder": [], "requiresApprovalToJoin": true } }),
            ),
            (
                json!({ "type": "channel_created", "community_uri": COMMUNITY, "uri": CHANNEL, "rkey": "k",
                    "name": "K", "channel_type": "voice", "category_rkey": "g", "owner_only": false }),
                json!({ "type": "channel_event", "data": { "event": "upsert", "uri": CHANNEL,
                    "community": COMMUNITY, "category": category, "name": "K",
                    "type": "social.colibri.channel.voice", "ownerOnly": false, "allowedRoles": [],
                    "allowedMembers": [] } }),
            ),
            (
                json!({ "type": "category_created", "community_uri": COMMUNITY, "uri": category, "rkey": "g",
                    "name": "G", "channel_order": ["k", "two words"] }),
                json!({ "type": "category_event", "data": { "event": "upsert", "uri": category,
                    "community": COMMUNITY, "name": "G", "channelOrder": [CHANNEL] } }),
            ),
            (
                json!({ "type": "member_left", "community_uri": COMMUNITY, "member_did": "did:plc:a" }),
                json!({ "type": "member_event", "data": { "event": "leave", "community": COMMUNITY,
                    "memberDid": "did:plc:a" } }),
            ),
            (json!({ "type": "members_only", "members_only": true }), Value::Null),
            (json!({ "type": "channel_deleted" }), Value::Null),
        ] {
            assert_eq!(said(&march), expected, "{march}");
        }
    }

    #[test]
    fn n168_an_event_for_one_client_only() {
        use super::super::events::march;
        let (one, other) = (r#"{"a":"},\"march\":1"}"#, r#"{"type":"x"}"#);
        let both = pack(Some(one), Some(other));
        assert_eq!((newest(&both).as_deref(), march(&both)), (Some(one), Some(other)));
        assert_eq!((newest(&pack(None, Some(other))), march(&pack(None, Some(other)))), (None, Some(other)));
        assert_eq!(
            (newest(&pack(Some(one), None)).as_deref(), march(&pack(Some(one), None))),
            (Some(one), None)
        );
        assert_eq!(march(r#"{"newest":{"#), None, "cut off");
        assert_eq!(march(other), Some(other));
    }

    #[test]
    fn n162_what_events_say_of_who_takes_part() {
        let (did, frame) = (Did::parse("did:plc:a").unwrap(), |data: Value, kind: &str| {
            format!("{{\"type\":\"{kind}\",\"data\":{data}}}")
        });
        let member = json!({ "event": "join", "member": { "did": "did:plc:a" } });
        for (text, expected) in [
            (frame(member.clone(), "member_event"), Some(Change::Joined(did.clone()))),
            (
                frame(json!({ "event": "leave", "memberDid": "did:plc:a" }), "member_event"),
                Some(Change::Left(did)),
            ),
            (frame(json!({ "event": "upsert" }), "community_event"), Some(Change::Founded)),
            (frame(json!({ "event": "delete" }), "community_event"), None),
            (frame(member, "message_event"), None),
        ] {
            assert_eq!(change(&text), expected, "{text}");
        }
    }
}
