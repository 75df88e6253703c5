//! The events of a community on the wire (contract 4.5, E01–E17).
//!
//! An event is serialised in two steps: [`Event`] holds all fields but `seq` and `live`, which only
//! the community's object knows; [`stamp`] appends those two. Every client gets the same text. A
//! message appears twice in its frame but is stored once, because outboxes and logs are mostly
//! messages. What only the newest client learns is packed with it ([`pack`]).

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::bodies::{Message, Notification, Person};
use super::ids::{AtUri, Did, Rkey};
use super::subscribe_events::{NewestEvent, SeenEvent};

/// An event without `seq` and `live`. Fields without a value are omitted, except inside messages.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// E01: a message became visible, or its content changed.
    Message(Box<MessageEvent>),
    /// E02: a visible message was removed from its channel.
    MessageDeleted {
        /// UUIDv5 (O01).
        id: String,
        /// Its key.
        rkey: Rkey,
        /// Its author.
        author_did: Did,
        /// The channel string of the message while it was visible there.
        channel: String,
        /// The community.
        community_uri: AtUri,
        /// The exact channel.
        channel_uri: AtUri,
    },
    /// U33: an answer in a thread became visible, or is not any more. Its community adds the rest ([`with_thread`]).
    ThreadUpdated {
        /// The message that is answered, as the answer names it.
        parent: String,
        /// The channel string of the answer.
        channel: String,
        /// The community.
        community_uri: AtUri,
        /// The exact channel.
        channel_uri: AtUri,
        /// The thread, once the community has read it.
        #[serde(flatten, skip_serializing_if = "Option::is_none")]
        thread: Option<ThreadNow>,
    },
    /// E03: a person's first visible reaction with this emoji.
    ReactionAdded(Reaction),
    /// E04: the person's last reaction with this emoji was removed.
    ReactionRemoved(Reaction),
    /// E05: a community was created or changed.
    CommunityUpserted {
        /// The community.
        community_uri: AtUri,
        /// Its owner.
        owner_did: Did,
        /// Its key.
        rkey: Rkey,
        /// Its name.
        name: String,
        /// Its description.
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<String>,
        /// Verbatim.
        #[serde(skip_serializing_if = "Option::is_none")]
        picture: Option<Box<RawValue>>,
        /// Verbatim.
        #[serde(skip_serializing_if = "Option::is_none")]
        category_order: Option<Box<RawValue>>,
        /// T09.
        requires_approval_to_join: bool,
    },
    /// E06 and, to one person only, E06b.
    CommunityDeleted {
        /// The community.
        community_uri: AtUri,
        /// Its owner.
        owner_did: Did,
        /// Its key.
        rkey: Rkey,
    },
    /// E07: a channel was created or changed.
    ChannelCreated {
        /// The community.
        community_uri: AtUri,
        /// The channel.
        uri: AtUri,
        /// Its key.
        rkey: Rkey,
        /// Its name.
        name: String,
        /// Its description.
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<String>,
        /// `text`, `voice`, `forum` or another word.
        channel_type: String,
        /// The category its record names.
        #[serde(skip_serializing_if = "Option::is_none")]
        category_rkey: Option<String>,
        /// Whether only the owner may post.
        owner_only: bool,
    },
    /// E08: a channel was removed.
    ChannelDeleted {
        /// The community.
        community_uri: AtUri,
        /// The channel.
        uri: AtUri,
        /// Its key.
        rkey: Rkey,
    },
    /// E09: a category was created or changed.
    CategoryCreated {
        /// The community.
        community_uri: AtUri,
        /// The category.
        uri: AtUri,
        /// Its key.
        rkey: Rkey,
        /// Its name.
        name: String,
        /// Verbatim.
        #[serde(skip_serializing_if = "Option::is_none")]
        channel_order: Option<Box<RawValue>>,
    },
    /// E10: a category was removed.
    CategoryDeleted {
        /// The community.
        community_uri: AtUri,
        /// The category.
        uri: AtUri,
        /// Its key.
        rkey: Rkey,
    },
    /// E11: a person waits for approval.
    MemberPending(Membership),
    /// E12: a person may take part.
    MemberJoined(Membership),
    /// E14: the member list of a voice channel changed.
    VoiceChannelUpdated {
        /// The community.
        community_uri: AtUri,
        /// The channel's key.
        channel_rkey: Rkey,
        /// All its members, sorted.
        member_dids: Vec<Did>,
    },
    /// E17: only members may read the community from now on, or everybody may.
    MembersOnly {
        /// The community.
        community_uri: AtUri,
        /// Which of the two.
        members_only: bool,
    },
    /// E15: the current state changed, or an actor record was applied or deleted.
    UserStatusChanged(UserStatus),
    /// E16: a shown profile value changed. `null` means that there is no value.
    UserProfileUpdated {
        /// The person.
        did: Did,
        /// The name.
        display_name: Option<String>,
        /// A link on the CDN.
        avatar_url: Option<String>,
        /// A link on the CDN.
        banner_url: Option<String>,
        /// The text.
        description: Option<String>,
        /// Only when verified.
        handle: Option<String>,
        /// Left out for others than bots (O10).
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        is_bot: bool,
    },
    /// E13: a person is no longer a member.
    MemberLeft {
        /// The community.
        community_uri: AtUri,
        /// The person.
        member_did: Did,
        /// The person as others see them.
        #[serde(flatten)]
        person: PersonIfKnown,
    },
}

/// E01 in its stored form: [`stamp`] repeats the message's fields at the top level.
#[derive(Clone, Debug, Serialize)]
pub struct MessageEvent {
    /// All fields of O01.
    pub message: Message,
    /// The community. [`stamp`] relies on this field coming directly after the message.
    pub community_uri: AtUri,
    /// The exact channel.
    pub channel_uri: AtUri,
}

/// A thread as the index has it (U33).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ThreadNow {
    /// The root.
    pub root_uri: AtUri,
    /// How many answers it has (U50).
    pub reply_count: i64,
    /// The sort instant of the latest (H10).
    pub last_reply_at: Option<String>,
}

/// E03 and E04.
#[derive(Clone, Debug, Serialize)]
pub struct Reaction {
    /// The key of the record that caused the event.
    pub rkey: Rkey,
    /// The person who reacted.
    pub author_did: Did,
    /// The emoji as written.
    pub emoji: String,
    /// The message's key.
    pub target_rkey: Rkey,
    /// The message's author.
    pub target_author_did: Did,
    /// The channel string of the message.
    pub channel: String,
    /// The community.
    pub community_uri: AtUri,
    /// The exact channel.
    pub channel_uri: AtUri,
}

/// E15.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UserStatus {
    /// The person.
    pub did: Did,
    /// Empty if there is none.
    pub status: String,
    /// The emoji.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub emoji: Option<String>,
    /// `online`, `away`, `dnd`, `offline`.
    pub state: String,
    /// The person's name, if cached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// The person's avatar, if cached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub avatar_url: Option<String>,
}

/// E11 and E12.
#[derive(Clone, Debug, Serialize)]
pub struct Membership {
    /// The community.
    pub community_uri: AtUri,
    /// The person.
    pub member_did: Did,
    /// The membership that decides the new status (I44).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub membership_uri: Option<AtUri>,
    /// The person's name, if cached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// The person's avatar, if cached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub avatar_url: Option<String>,
}

/// [`Person`] without its unknown fields, as events carry it.
#[derive(Clone, Debug)]
pub struct PersonIfKnown(pub Person);

impl Serialize for PersonIfKnown {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let person = &self.0;
        s.collect_map(
            [
                ("display_name", &person.display_name),
                ("avatar_url", &person.avatar_url),
                ("banner_url", &person.banner_url),
                ("description", &person.description),
                ("handle", &person.handle),
                ("status_text", &person.status_text),
                ("emoji", &person.emoji),
                ("state", &person.state),
            ]
            .into_iter()
            .filter_map(|(name, value)| value.as_ref().map(|text| (name, text))),
        )
    }
}

impl Event {
    /// The E15 of a person; a person who was never seen is `offline`.
    pub fn status_of(did: &Did, person: Person) -> Self {
        Event::UserStatusChanged(UserStatus {
            did: did.clone(),
            status: person.status_text.unwrap_or_default(),
            emoji: person.emoji,
            state: person.state.unwrap_or_else(|| "offline".to_owned()),
            display_name: person.display_name,
            avatar_url: person.avatar_url,
        })
    }

    /// The E16 of a person.
    pub fn profile_of(did: &Did, person: Person) -> Self {
        Event::UserProfileUpdated {
            did: did.clone(),
            display_name: person.display_name,
            avatar_url: person.avatar_url,
            banner_url: person.banner_url,
            description: person.description,
            handle: person.handle,
            is_bot: person.is_bot,
        }
    }

    /// The JSON text of the event, without `seq` and `live`.
    pub fn text(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }
}

/// How a packed event begins. No other event does.
const PACKED: &str = r#"{"newest":"#;

/// An event with one text for the newest client (`newest`, of [`super::subscribe_events`]), and another for that of
/// March 2026. A client whose text is `None` gets nothing (N168).
pub fn pack(newest: Option<&str>, march: Option<&str>) -> String {
    format!("{PACKED}{},\"march\":{}}}", newest.unwrap_or("null"), march.unwrap_or("null"))
}

/// What only the sockets of one person receive, in both spellings. A client whose event is `None` gets nothing.
pub fn to_person(
    newest: Option<&NewestEvent>,
    march: Option<&Personal>,
) -> Result<Box<RawValue>, serde_json::Error> {
    let newest = newest.map(NewestEvent::text).transpose()?;
    let march = march.map(Personal::text).transpose()?;
    RawValue::from_string(pack(newest.as_deref(), march.as_deref()))
}

/// U22: a person has read a channel, in the words of both clients.
pub fn channel_read(channel: &AtUri) -> (NewestEvent, Personal) {
    let read = SeenEvent::ChannelRead { channel_uri: channel.clone() };
    (NewestEvent::SeenEvent(read), Personal::ChannelRead { channel_uri: channel.clone() })
}

/// What only the sockets of one person receive (section 15). It has neither `seq` nor `live`.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Personal {
    /// U20: the person is notified.
    Notification(Box<Notification>),
    /// U21: the person has seen notifications on another device.
    NotificationsSeen {
        /// Those by this message; otherwise all until `until`.
        #[serde(skip_serializing_if = "Option::is_none")]
        message_uri: Option<AtUri>,
        /// H10.
        #[serde(skip_serializing_if = "Option::is_none")]
        until: Option<String>,
        /// How many of them were not seen before.
        seen: usize,
    },
    /// U27: quiet notifications wait.
    Digest {
        /// `digest`: what kind of notification it is.
        kind: &'static str,
        /// `quiet`.
        urgency: &'static str,
        /// How many of them are not seen.
        count: usize,
        /// Since when the first one waits (H10).
        since: String,
    },
    /// U22: the person read a channel on another device.
    ChannelRead {
        /// The channel.
        channel_uri: AtUri,
    },
}

impl Personal {
    /// A digest of `count` notifications, the first of which waits `since` then (H10).
    pub fn digest(count: usize, since: String) -> Self {
        Personal::Digest { kind: "digest", urgency: "quiet", count, since }
    }

    /// Its text.
    pub fn text(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }
}

/// An event, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unpacked<'e> {
    /// The text for the client of March 2026 says everything to the newest one, too.
    Same(&'e str),
    /// As in [`pack`].
    Each {
        /// For the newest client.
        newest: Option<&'e str>,
        /// For that of March 2026.
        march: Option<&'e str>,
    },
}

/// Takes an event apart. A text that only begins like a packed one is for no client.
pub fn unpack(event: &str) -> Unpacked<'_> {
    #[derive(Deserialize)]
    struct Packed<'e> {
        #[serde(borrow)]
        newest: &'e RawValue,
        #[serde(borrow)]
        march: &'e RawValue,
    }
    if !event.starts_with(PACKED) {
        return Unpacked::Same(event);
    }
    let said = |text: &'_ RawValue| text.get() != "null";
    match serde_json::from_str::<Packed>(event) {
        Ok(Packed { newest, march }) => Unpacked::Each {
            newest: Some(newest).filter(|text| said(text)).map(RawValue::get),
            march: Some(march).filter(|text| said(text)).map(RawValue::get),
        },
        Err(_) => Unpacked::Each { newest: None, march: None },
    }
}

/// What an event says in March 2026, if anything.
pub fn march(event: &str) -> Option<&str> {
    match unpack(event) {
        Unpacked::Same(march) => Some(march),
        Unpacked::Each { march, .. } => march,
    }
}

/// What an event says to the newest client, if anything.
pub fn newest(event: &str) -> Option<std::borrow::Cow<'_, str>> {
    match unpack(event) {
        Unpacked::Same(march) => Some(NewestEvent::of_march(march)?.text().ok()?.into()),
        Unpacked::Each { newest, .. } => newest.map(Into::into),
    }
}

/// An [`Event::ThreadUpdated`] without its thread, with it.
pub fn with_thread(event: &str, thread: &ThreadNow) -> Result<String, serde_json::Error> {
    let open = event.strip_suffix('}').unwrap_or(event);
    let fields = serde_json::to_string(thread)?;
    Ok(format!("{open},{}", fields.strip_prefix('{').unwrap_or(&fields)))
}

/// The frame that a client gets: `event` (from [`Event::text`]) with `seq` and `live` at its end
/// (Q01). A message also appears at the top level, where the web client reads it (E01, W08).
pub fn stamp(event: &str, seq: u64, live: bool) -> String {
    let end = format!(",\"seq\":{seq},\"live\":{live}}}");
    match message_parts(event) {
        Some((fields, rest)) => {
            format!(r#"{{"type":"message",{fields},"message":{{{fields}}}{rest}{end}"#)
        }
        None => format!("{}{end}", event.strip_suffix('}').unwrap_or(event)),
    }
}

/// Splits a stored E01 into the fields of its message and the rest. AT-URIs contain no quotes, so
/// the last `community_uri` is the event's own, whatever the message contains.
fn message_parts(event: &str) -> Option<(&str, &str)> {
    let (message, rest) = event
        .strip_prefix(r#"{"type":"message","message":{"#)
        .and_then(|text| text.rfind(r#"},"community_uri":"#).and_then(|at| text.split_at_checked(at)))?;
    Some((message, rest.strip_prefix('}')?.strip_suffix('}')?))
}

/// The frame of an event about a person (E15, E16), which has no `seq` (Q01).
pub fn stamp_state(event: &str, live: bool) -> String {
    let open = event.strip_suffix('}').unwrap_or(event);
    format!("{open},\"live\":{live}}}")
}

/// An event about a person as a gateway publishes it: E15 gets the state of that moment, any other
/// event stays as it is (P12).
pub fn with_state(event: &str, state: &str) -> Result<String, serde_json::Error> {
    #[derive(Deserialize)]
    #[serde(tag = "type", rename_all = "snake_case")]
    enum About {
        UserStatusChanged(UserStatus),
        #[serde(other)]
        Else,
    }
    match serde_json::from_str(event)? {
        About::UserStatusChanged(status) => {
            Event::UserStatusChanged(UserStatus { state: state.to_owned(), ..status }).text()
        }
        About::Else => Ok(event.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> AtUri {
        AtUri::parse(text).unwrap()
    }

    /// The web client reads the top level, and the documentation shows both. A text that looks like
    /// the end of the frame changes nothing.
    #[test]
    fn e01_a_message_stands_twice_in_its_frame() {
        let kept = r#"{"type":"message","message":{"id":"1","text":"},\"community_uri\":\"x\"}","parent_message":{"id":"0"},"reactions":[]},"community_uri":"at://did:plc:o/social.colibri.community/c","channel_uri":"at://did:plc:o/social.colibri.channel/k"}"#;
        let fields =
            r#""id":"1","text":"},\"community_uri\":\"x\"}","parent_message":{"id":"0"},"reactions":[]"#;
        assert_eq!(
            stamp(kept, 41, true),
            format!(
                r#"{{"type":"message",{fields},"message":{{{fields}}},"community_uri":"at://did:plc:o/social.colibri.community/c","channel_uri":"at://did:plc:o/social.colibri.channel/k","seq":41,"live":true}}"#
            )
        );
    }

    /// Byte-for-byte what the web client parses; field order is the contract's.
    #[test]
    fn frames_are_those_of_the_contract() {
        let community = uri("at://did:plc:owner/social.colibri.community/3kcom");
        let channel = uri("at://did:plc:owner/social.colibri.channel/3kchan");
        let left = Event::MemberLeft {
            community_uri: community.clone(),
            member_did: Did::parse("did:plc:guest").unwrap(),
            person: PersonIfKnown(Person { display_name: Some("Guest".into()), ..Person::default() }),
        };
        for (event, expected) in [
            (
                Event::ChannelDeleted {
                    community_uri: community.clone(),
                    rkey: channel.rkey(),
                    uri: channel.clone(),
                },
                r#"{"type":"channel_deleted","community_uri":"at://did:plc:owner/social.colibri.community/3kcom","uri":"at://did:plc:owner/social.colibri.channel/3kchan","rkey":"3kchan","seq":50,"live":true}"#,
            ),
            (
                left,
                r#"{"type":"member_left","community_uri":"at://did:plc:owner/social.colibri.community/3kcom","member_did":"did:plc:guest","display_name":"Guest","seq":50,"live":true}"#,
            ),
        ] {
            assert_eq!(stamp(&event.text().unwrap(), 50, true), expected);
        }
        let voice = Event::VoiceChannelUpdated {
            community_uri: uri("at://did:plc:owner/social.colibri.community/3kcom"),
            channel_rkey: Rkey::parse("3kvoice").unwrap(),
            member_dids: vec![Did::parse("did:plc:guest").unwrap()],
        };
        assert_eq!(
            stamp(&voice.text().unwrap(), 20, true),
            r#"{"type":"voice_channel_updated","community_uri":"at://did:plc:owner/social.colibri.community/3kcom","channel_rkey":"3kvoice","member_dids":["did:plc:guest"],"seq":20,"live":true}"#
        );
    }

    #[test]
    fn u33_what_the_community_adds() {
        let event = |thread| {
            let event = Event::ThreadUpdated {
                parent: "3kmsg".into(),
                channel: "3kchan".into(),
                community_uri: uri("at://did:plc:owner/social.colibri.community/3kcom"),
                channel_uri: uri("at://did:plc:owner/social.colibri.channel/3kchan"),
                thread,
            };
            event.text().unwrap()
        };
        let root_uri = uri("at://did:plc:member/social.colibri.message/3kroot");
        for last_reply_at in [Some("2026-03-01T12:00:00.000Z".to_owned()), None] {
            let thread = ThreadNow { root_uri: root_uri.clone(), reply_count: 2, last_reply_at };
            assert_eq!(with_thread(&event(None), &thread).unwrap(), event(Some(thread)));
        }
    }

    #[test]
    fn p12_e15_carries_the_state_of_the_moment() {
        let did = Did::parse("did:plc:member").unwrap();
        let person =
            Person { status_text: Some("Reading".into()), emoji: Some("📚".into()), ..Person::default() };
        let text = Event::status_of(&did, person.clone()).text().unwrap();
        let expected = r#"{"type":"user_status_changed","did":"did:plc:member","status":"Reading","emoji":"📚","state":"dnd","live":true}"#;
        assert_eq!(stamp_state(&with_state(&text, "dnd").unwrap(), true), expected);
        let profile = Event::profile_of(&did, person).text().unwrap();
        assert_eq!(with_state(&profile, "dnd").unwrap(), profile, "E16 has none");
    }
}
