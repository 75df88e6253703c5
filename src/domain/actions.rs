//! What a client's frame requests (contract 4.2).

use super::presence::State;
use super::subscriptions::Kind;
use crate::wire::ids::{AtUri, Collection, Did};
use crate::wire::socket::{ClientFrame, FRAME_MAX, Reply, read};

/// A parsed frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// The requested action.
    pub action: Action,
    /// What the frame says about the person.
    pub sign: Sign,
}

/// What a frame says about the person behind the socket (P05).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// The socket is alive.
    Heartbeat,
    /// The person is active.
    Activity,
    /// Both: the newest client, which sends nothing else while its person reads (N163).
    Pulse,
    /// Only that the socket is alive: the frame was refused.
    Refused,
}

/// The person that a socket acts for (T15, X05).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// For this person.
    Person(Did),
    /// This person, for presence only (X13).
    Present(Did),
    /// Nobody, because the person that it names is not proven.
    Unproven,
    /// Nobody.
    Nobody,
}

impl Actor {
    /// The person, or the error if `action` needs one (A15).
    pub fn person(&self, action: &str) -> Result<Did, Reply> {
        match self {
            Actor::Person(did) | Actor::Present(did) => Ok(did.clone()),
            Actor::Unproven => Err(Reply::error(format!("Authentication required for {action}"))),
            Actor::Nobody => Err(Reply::error(format!("DID required for {action}"))),
        }
    }

    /// As [`Actor::person`], for actions beyond presence (X13).
    pub fn person_beyond_presence(&self, action: &str) -> Result<Did, Reply> {
        match self {
            Actor::Present(_) => Actor::Unproven.person(action),
            actor => actor.person(action),
        }
    }
}

/// The action of a frame. Each ends in exactly one reply (A03).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Only this reply.
    Reply(Reply),
    /// A subscription (A07).
    Subscribe(Subscribe),
    /// An unsubscription (A08).
    Unsubscribe {
        /// The kind.
        kind: Kind,
        /// The key; `None` for all (A32).
        key: Option<String>,
        /// The reply.
        reply: Reply,
    },
    /// `session` (Q15): the secret with which a later socket continues this session.
    Session,
    /// `set_state` (A13): see [`wanted_state`].
    SetState {
        /// The requested state.
        state: Option<String>,
    },
    /// `voice_event` (A12): see [`wanted_channel`].
    Voice(VoiceFrame),
    /// `presence` (A50): see [`wanted_community`].
    Presence {
        /// The community.
        community: Option<String>,
    },
    /// `typing` (A51): see [`wanted_writing`].
    Typing {
        /// The channel: an rkey, or an AT-URI.
        channel: Option<String>,
    },
    /// `view` (A52).
    View {
        /// The channel: an rkey, or an AT-URI; `None`: the person sees none.
        channel: Option<String>,
    },
}

/// A `voice_event` as sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoiceFrame {
    /// `join` if absent.
    pub action: Option<String>,
    /// The community.
    pub community: Option<String>,
    /// The channel: an rkey, or an AT-URI.
    pub channel: Option<String>,
}

/// The requested voice channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// None (A12b).
    Nowhere,
    /// This channel of this community; both as named in the frame (A12).
    In(String, String),
}

/// The person and the requested state, or the error (A15, in this order).
pub fn wanted_state(actor: &Actor, state: Option<&str>) -> Result<(Did, State), Reply> {
    let did = actor.person("set_state")?;
    let word = state.ok_or_else(|| Reply::error("state parameter is required"))?;
    let state = State::named(word)
        .ok_or_else(|| Reply::error("Invalid state. Must be online, away, dnd, or offline"))?;
    Ok((did, state))
}

/// The person and the requested voice channel, or the error (A15, in this order). The later errors
/// of A15 depend on the index: [`super::voice_right`].
pub fn wanted_channel(actor: &Actor, frame: VoiceFrame) -> Result<(Did, Destination), Reply> {
    let did = actor.person_beyond_presence("voice_event")?;
    match frame.action.as_deref() {
        Some("leave") => return Ok((did, Destination::Nowhere)),
        None | Some("join") => {}
        Some(other) => {
            return Err(Reply::error(format!("Invalid voice_action: {other}. Use join or leave")));
        }
    }
    match (frame.community, frame.channel) {
        (Some(community), Some(channel)) => Ok((did, Destination::In(community, channel))),
        _ => Err(Reply::error("community_uri and voice_channel_rkey are required for voice_event")),
    }
}

/// The community whose presence is requested, or the error (A15).
pub fn wanted_community(community: Option<&str>) -> Result<AtUri, Reply> {
    let name = community.ok_or_else(|| Reply::error("community_uri is required for presence"))?;
    let uri = AtUri::parse(name).ok().filter(|uri| uri.is(Collection::Community));
    uri.ok_or_else(|| Reply::error("Unknown community"))
}

/// Who writes, and the channel as named in the frame, or the error (A15, in this order).
pub fn wanted_writing(actor: &Actor, channel: Option<String>) -> Result<(Did, String), Reply> {
    let did = actor.person_beyond_presence("typing")?;
    Ok((did, channel.ok_or_else(|| Reply::error("channel is required for typing"))?))
}

/// A requested subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// The kind.
    pub kind: Kind,
    /// The key; `None` for all (A31).
    pub key: Option<String>,
    /// The community and the cursor to resume from (Q02).
    pub resume: Option<(AtUri, i64)>,
    /// The reply.
    pub reply: Reply,
}

/// Decides about a frame; `None` is a binary one. The first rule that applies decides:
///   1. a frame that is too long is refused unread, because reading it could take all of the
///      object's memory; then an unreadable one is refused (A06);
///   2. `subscribe` and `unsubscribe` of a known kind (A07, A08); any other kind is acknowledged
///      without effect (A09);
///   3. `heartbeat` and `activity` are acknowledged (A10, A11);
///   4. the session's secret (Q15), presence and voice (A12, A13), and what a person sees and writes (A50 to A52);
///   5. every other action is unknown (A14).
///
/// Every accepted frame except a heartbeat counts as activity (P05).
pub fn action(frame: Option<&str>) -> Decided {
    let refused = |text| Decided { action: refuse(text), sign: Sign::Refused };
    let Some(text) = frame else { return refused("Invalid JSON") };
    if text.len() > FRAME_MAX {
        return refused("Frame too large");
    }
    let Some(frame) = read(text) else { return refused("Invalid JSON") };
    let sign = if frame.action == "heartbeat" { Sign::Heartbeat } else { Sign::Activity };
    Decided { action: effect(frame), sign }
}

fn effect(frame: ClientFrame) -> Action {
    let kind = Kind::named(&frame.event_type);
    let key = match kind {
        Some(Kind::Message) => frame.channel.clone(),
        Some(Kind::Community) => frame.community_uri.clone(),
        Some(Kind::UserStatus) => frame.did,
        None => None,
    };
    match (frame.action.as_str(), kind) {
        ("subscribe", kind) => {
            let reply = Reply::ack(format!("Subscribed to {}", frame.event_type));
            let Some(kind) = kind else { return Action::Reply(reply) };
            let community = key
                .as_deref()
                .filter(|_| kind == Kind::Community)
                .and_then(|key| AtUri::parse(key).ok())
                .filter(|uri| uri.is(Collection::Community));
            Action::Subscribe(Subscribe { kind, key, resume: community.zip(frame.cursor), reply })
        }
        ("unsubscribe", kind) => {
            let reply = Reply::ack(format!("Unsubscribed from {}", frame.event_type));
            let Some(kind) = kind else { return Action::Reply(reply) };
            Action::Unsubscribe { kind, key, reply }
        }
        ("heartbeat" | "activity", _) => Action::Reply(Reply::ack("")),
        ("session", _) => Action::Session,
        ("set_state", _) => Action::SetState { state: frame.state },
        ("voice_event", _) => Action::Voice(VoiceFrame {
            action: frame.voice_action,
            community: frame.community_uri,
            channel: frame.voice_channel_rkey,
        }),
        ("presence", _) => Action::Presence { community: frame.community_uri },
        ("typing", _) => Action::Typing { channel: frame.channel },
        ("view", _) => Action::View { channel: frame.channel },
        (other, _) => refuse(&format!("Unknown action: {other}")),
    }
}

fn refuse(text: &str) -> Action {
    Action::Reply(Reply::error(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a06_to_a15_replies() {
        let long = format!(r#"{{"action":"{}"}}"#, "x".repeat(FRAME_MAX));
        for (frame, expected, why) in [
            (None, Reply::error("Invalid JSON"), "A06: binary"),
            (Some("{"), Reply::error("Invalid JSON"), "A06"),
            (Some(long.as_str()), Reply::error("Frame too large"), "A15"),
            (Some(r#"{"action":"heartbeat"}"#), Reply::ack(""), "A10: another spelling"),
            (Some(r#"{"action":"activity"}"#), Reply::ack(""), "A11"),
            (Some(r#"{"action":"dance"}"#), Reply::error("Unknown action: dance"), "A14"),
            (Some(r#"{"action":"subscribe"}"#), Reply::ack("Subscribed to "), "A09: no type"),
            (Some(r#"{"action":"unsubscribe","event_type":"x"}"#), Reply::ack("Unsubscribed from x"), "A09"),
        ] {
            assert_eq!(action(frame).action, Action::Reply(expected), "{why}");
        }
    }

    #[test]
    fn a30_b60_only_the_key_of_the_kind_counts() {
        let frame = r#"{"action":"subscribe","event_type":"message","channel":"k","community_uri":"at://x","cursor":3}"#;
        let Action::Subscribe(subscribe) = action(Some(frame)).action else { panic!("a subscription") };
        assert_eq!(
            (subscribe.kind, subscribe.key.as_deref(), subscribe.resume),
            (Kind::Message, Some("k"), None)
        );
        assert_eq!(subscribe.reply, Reply::ack("Subscribed to message"));
    }

    #[test]
    fn q02_q03_a_cursor_counts_for_one_community() {
        let uri = "at://did:plc:o/social.colibri.community/c";
        for (key, cursor, expected, why) in [
            (format!(r#""{uri}""#), "7", Some(7), "Q02"),
            (format!(r#""{uri}""#), "null", None, "no cursor"),
            ("null".into(), "7", None, "Q03: of all communities it is ignored"),
            (r#""nonsense""#.into(), "7", None, "of no community it is ignored"),
        ] {
            let frame = format!(
                r#"{{"action":"subscribe","event_type":"community","community_uri":{key},"cursor":{cursor}}}"#
            );
            let Action::Subscribe(subscribe) = action(Some(&frame)).action else { panic!("a subscription") };
            assert_eq!(subscribe.resume.map(|(_, cursor)| cursor), expected, "{why}");
        }
    }

    #[test]
    fn p05_what_is_activity() {
        for (frame, sign) in [
            (Some(r#"{"action":"activity"}"#), Sign::Activity),
            (Some(r#"{"action":"dance"}"#), Sign::Activity),
            (Some(r#"{"action":"set_state"}"#), Sign::Activity),
            (Some(r#"{"action":"heartbeat","x":1}"#), Sign::Heartbeat),
            (Some("{"), Sign::Refused),
            (None, Sign::Refused),
        ] {
            assert_eq!(action(frame).sign, sign, "{frame:?}");
        }
    }

    #[test]
    fn a13_a15_set_state_in_order() {
        let did = Did::parse("did:plc:m").unwrap();
        let person = Actor::Person(did.clone());
        for (actor, state, expected) in [
            (&Actor::Nobody, None, Err("DID required for set_state")),
            (&Actor::Unproven, None, Err("Authentication required for set_state")),
            (&Actor::Present(did.clone()), Some("dnd"), Ok(State::Dnd)),
            (&person, None, Err("state parameter is required")),
            (&person, Some("gone"), Err("Invalid state. Must be online, away, dnd, or offline")),
            (&person, Some("dnd"), Ok(State::Dnd)),
        ] {
            let expected = expected.map(|state| (did.clone(), state)).map_err(Reply::error);
            assert_eq!(wanted_state(actor, state), expected);
        }
    }

    #[test]
    fn a12_a15_voice_event_in_order() {
        let did = Did::parse("did:plc:m").unwrap();
        let person = Actor::Person(did.clone());
        let present = Actor::Present(did.clone());
        let required = Err("community_uri and voice_channel_rkey are required for voice_event");
        let in_k = || Ok(Destination::In("u".into(), "k".into()));
        for (actor, action, community, channel, expected) in [
            (&Actor::Nobody, Some("jump"), None, None, Err("DID required for voice_event")),
            (&Actor::Unproven, Some("leave"), None, None, Err("Authentication required for voice_event")),
            (&present, Some("join"), Some("u"), Some("k"), Err("Authentication required for voice_event")),
            (&present, Some("leave"), None, None, Err("Authentication required for voice_event")),
            (&person, Some("jump"), None, None, Err("Invalid voice_action: jump. Use join or leave")),
            (&person, Some("join"), Some("u"), None, required.clone()),
            (&person, None, None, Some("k"), required),
            (&person, None, Some("u"), Some("k"), in_k()),
            (&person, Some("join"), Some("u"), Some("k"), in_k()),
            (&person, Some("leave"), None, None, Ok(Destination::Nowhere)),
            (&person, Some("leave"), Some("u"), Some("media room"), Ok(Destination::Nowhere)),
        ] {
            let text = |text: Option<&str>| text.map(str::to_owned);
            let frame =
                VoiceFrame { action: text(action), community: text(community), channel: text(channel) };
            let expected = expected.map(|to| (did.clone(), to)).map_err(Reply::error);
            assert_eq!(wanted_channel(actor, frame), expected);
        }
    }
}
