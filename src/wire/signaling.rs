//! Frames of the signaling socket, `/api/webrtc/signal` (contract section 7).
//!
//! [`read`] parses a client's frame into a [`ClientFrame`] or names the wrong field (S11);
//! [`ServerFrame`] is what the server sends. Session descriptions and candidates are relayed as the
//! text that arrived. What a frame does is decided in `domain::signaling`.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::json;

/// The longest client frame, in bytes (S16).
pub const FRAME_MAX: usize = 64 * 1024;
/// The longest `room` and `peer_id`, in characters (S11).
pub const NAME_MAX: usize = 256;
/// The shortest and the longest `secret`, in characters (S12). A secret that can be guessed
/// protects nobody, so a short one is refused.
pub const SECRET_LENGTH: std::ops::RangeInclusive<usize> = 16..=256;

/// A client's sign of life. An addition to the contract: the runtime answers exactly this string
/// without waking the room (platform facts T2).
pub const HEARTBEAT: &str = r#"{"type":"heartbeat"}"#;
/// The answer to [`HEARTBEAT`], in any spelling.
pub const HEARTBEAT_ACK: &str = r#"{"type":"ack"}"#;

/// A valid frame of a client.
#[derive(Clone, Debug)]
pub enum ClientFrame {
    /// S01.
    Join {
        /// The room.
        room: String,
        /// The peer's name in the room.
        peer_id: String,
        /// A secret of this client: a socket that shows it again belongs to the same client (S12).
        secret: Option<String>,
    },
    /// S02–S04: a signal for one other peer.
    Relay {
        /// The room.
        room: String,
        /// The recipient.
        target_peer_id: String,
        /// The signal.
        signal: Signal,
    },
    /// S05.
    Leave {
        /// The room.
        room: String,
    },
    /// The state of the peer's microphone, speakers, camera and screen, for everybody in the room.
    /// An addition to the contract.
    VoiceState {
        /// The room.
        room: String,
        /// The change.
        change: VoiceChange,
    },
    /// [`HEARTBEAT`].
    Heartbeat,
}

/// A signal from one peer to another. The values are JSON texts, relayed verbatim.
#[derive(Clone, Debug)]
pub enum Signal {
    /// S02: a session description, a string.
    Offer(Box<RawValue>),
    /// S03: a session description, a string.
    Answer(Box<RawValue>),
    /// S04: a string, an object, or `null` at the end of candidates.
    Ice(Box<RawValue>),
}

/// The parts of a [`VoiceState`] that a client sets; the others stay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields of VoiceState")]
pub struct VoiceChange {
    pub muted: Option<bool>,
    pub deafened: Option<bool>,
    pub camera: Option<bool>,
    pub screen: Option<bool>,
}

/// The state of a peer's devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoiceState {
    /// The peer sends no audio.
    pub muted: bool,
    /// The peer plays no audio.
    pub deafened: bool,
    /// The peer sends video.
    pub camera: bool,
    /// The peer shares its screen.
    pub screen: bool,
}

impl VoiceState {
    /// The state after `change`.
    pub fn after(self, change: VoiceChange) -> Self {
        Self {
            muted: change.muted.unwrap_or(self.muted),
            deafened: change.deafened.unwrap_or(self.deafened),
            camera: change.camera.unwrap_or(self.camera),
            screen: change.screen.unwrap_or(self.screen),
        }
    }
}

/// Why a frame is invalid: the reason after `Invalid signal: ` (S11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// Not a text frame.
    Binary,
    /// Not a JSON object.
    NotJson,
    /// An unknown `type`.
    UnknownType(String),
    /// A required field is absent or `null`.
    Missing(&'static str),
    /// A field has a wrong type or value.
    Wrong(&'static str, &'static str),
}

const NAME: &str = "a string of 1 to 256 characters";
const SECRET: &str = "a string of 16 to 256 characters";
const CANDIDATE: &str = "a string or an object";

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Invalid::Binary => f.write_str("a binary frame; frames are JSON text"),
            Invalid::NotJson => f.write_str("not a JSON object"),
            Invalid::UnknownType(name) => write!(f, "unknown type: {name}"),
            Invalid::Missing(field) => write!(f, "{field} is missing"),
            Invalid::Wrong(field, must) => write!(f, "{field} must be {must}"),
        }
    }
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    room: Option<&'a RawValue>,
    #[serde(borrow)]
    peer_id: Option<&'a RawValue>,
    #[serde(borrow)]
    target_peer_id: Option<&'a RawValue>,
    #[serde(borrow)]
    sdp: Option<&'a RawValue>,
    #[serde(borrow)]
    secret: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    candidate: Option<&'a RawValue>,
    #[serde(borrow)]
    muted: Option<&'a RawValue>,
    #[serde(borrow)]
    deafened: Option<&'a RawValue>,
    #[serde(borrow)]
    camera: Option<&'a RawValue>,
    #[serde(borrow)]
    screen: Option<&'a RawValue>,
}

type Field<'a> = Option<&'a RawValue>;

/// A field in which `null` is a value: browsers send it at the end of candidates
/// (`onicecandidate`), so it differs from a missing field.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(value: D) -> Result<Field<'a>, D::Error> {
    <&RawValue>::deserialize(value).map(Some)
}

/// Reads a client's frame; `None` is a binary one. The error names the first wrong field, in the
/// order of the contract. Fields that the type does not need are ignored.
pub fn read(text: Option<&str>) -> Result<ClientFrame, Invalid> {
    let text = text.ok_or(Invalid::Binary)?;
    let fields: Fields<'_> = json::object(text).ok_or(Invalid::NotJson)?;
    let kind = string("type", fields.kind, "a string")?;
    let room = || name("room", fields.room);
    match kind.as_str() {
        "join" => Ok(ClientFrame::Join {
            room: room()?,
            peer_id: name("peer_id", fields.peer_id)?,
            secret: fields.secret.map(secret).transpose()?,
        }),
        "offer" | "answer" | "ice" => {
            let room = room()?;
            let target_peer_id = string("target_peer_id", fields.target_peer_id, "a string")?;
            let sdp = || verbatim("sdp", fields.sdp, &['"'], "a string");
            let candidate = || verbatim("candidate", fields.candidate, &['"', '{', 'n'], CANDIDATE);
            let signal = match kind.as_str() {
                "offer" => Signal::Offer(sdp()?),
                "answer" => Signal::Answer(sdp()?),
                _ => Signal::Ice(candidate()?),
            };
            Ok(ClientFrame::Relay { room, target_peer_id, signal })
        }
        "leave" => Ok(ClientFrame::Leave { room: room()? }),
        "voice_state" => Ok(ClientFrame::VoiceState {
            room: room()?,
            change: VoiceChange {
                muted: flag("muted", fields.muted)?,
                deafened: flag("deafened", fields.deafened)?,
                camera: flag("camera", fields.camera)?,
                screen: flag("screen", fields.screen)?,
            },
        }),
        "heartbeat" => Ok(ClientFrame::Heartbeat),
        // The error repeats the start of the word, which may be as long as a frame.
        _ => Err(Invalid::UnknownType(kind.chars().take(NAME_MAX).collect())),
    }
}

fn string(field: &'static str, value: Field<'_>, must: &'static str) -> Result<String, Invalid> {
    let value = value.ok_or(Invalid::Missing(field))?;
    serde_json::from_str(value.get()).map_err(|_| Invalid::Wrong(field, must))
}

fn name(field: &'static str, value: Field<'_>) -> Result<String, Invalid> {
    let name = string(field, value, NAME)?;
    if (1..=NAME_MAX).contains(&name.chars().count()) { Ok(name) } else { Err(Invalid::Wrong(field, NAME)) }
}

fn secret(value: &RawValue) -> Result<String, Invalid> {
    let secret = string("secret", Some(value), SECRET)?;
    let length = secret.chars().count();
    if SECRET_LENGTH.contains(&length) { Ok(secret) } else { Err(Invalid::Wrong("secret", SECRET)) }
}

fn flag(field: &'static str, value: Field<'_>) -> Result<Option<bool>, Invalid> {
    value
        .map(|value| serde_json::from_str(value.get()).map_err(|_| Invalid::Wrong(field, "true or false")))
        .transpose()
}

/// The JSON text of a value that begins with one of `first`.
fn verbatim(
    field: &'static str,
    value: Field<'_>,
    first: &[char],
    must: &'static str,
) -> Result<Box<RawValue>, Invalid> {
    let value = value.ok_or(Invalid::Missing(field))?;
    if value.get().starts_with(first) { Ok(value.to_owned()) } else { Err(Invalid::Wrong(field, must)) }
}

/// A frame of the server.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[expect(missing_docs, reason = "S01–S05 describe the fields")]
pub enum ServerFrame<'a> {
    /// S01, to the joiner: the others, in order of joining.
    Joined { room: &'a str, peer_id: &'a str, peers: Vec<&'a str> },
    /// S01, to the others.
    PeerJoined { room: &'a str, peer_id: &'a str },
    /// S02.
    Offer { room: &'a str, from_peer_id: &'a str, sdp: &'a RawValue },
    /// S03.
    Answer { room: &'a str, from_peer_id: &'a str, sdp: &'a RawValue },
    /// S04.
    Ice { room: &'a str, from_peer_id: &'a str, candidate: &'a RawValue },
    /// S05, S06, to the others.
    PeerLeft { room: &'a str, peer_id: &'a str },
    /// A peer's devices: to the others when they change, and to a joiner after `joined`. An
    /// addition to the contract.
    VoiceState {
        room: &'a str,
        from_peer_id: &'a str,
        #[serde(flatten)]
        state: VoiceState,
    },
    /// U32, to the peers of a person: what a moderator does to them.
    Moderated {
        room: &'a str,
        action: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        to: Option<&'a str>,
    },
    /// S10.
    Error { message: &'a str },
}

impl ServerFrame<'_> {
    /// The JSON text of the frame.
    pub fn text(&self) -> String {
        // Strings, booleans and JSON texts inside: serialising cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl<'a> ServerFrame<'a> {
    /// The frame that the target of a relay gets.
    pub fn relayed(room: &'a str, from_peer_id: &'a str, signal: &'a Signal) -> Self {
        match signal {
            Signal::Offer(sdp) => ServerFrame::Offer { room, from_peer_id, sdp },
            Signal::Answer(sdp) => ServerFrame::Answer { room, from_peer_id, sdp },
            Signal::Ice(candidate) => ServerFrame::Ice { room, from_peer_id, candidate },
        }
    }
}

/// Whether a frame of a room's object is the `joined` that answers a `join`, rather than an error.
/// The service wrote the text itself: `type` comes first.
pub fn is_joined(frame: &str) -> bool {
    frame.starts_with(r#"{"type":"joined","#)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(text: &str) -> String {
        read(Some(text)).map_or_else(|invalid| invalid.to_string(), |_| "fine".into())
    }

    #[test]
    fn s11_a_bad_frame_names_its_field() {
        let (longest, longer) = ("ä".repeat(256), "ä".repeat(257));
        let join = |room: &str| format!(r#"{{"type":"join","room":"{room}","peer_id":"p"}}"#);
        for (text, expected) in [
            ("hello", "not a JSON object"),
            ("[]", "not a JSON object"),
            ("null", "not a JSON object"),
            ("{}", "type is missing"),
            (r#"{"type":null}"#, "type is missing"),
            (r#"{"type":1}"#, "type must be a string"),
            (r#"{"type":"dance"}"#, "unknown type: dance"),
            (r#"{"type":"join"}"#, "room is missing"),
            (r#"{"type":"join","room":1,"peer_id":"p"}"#, "room must be a string of 1 to 256 characters"),
            (&join(""), "room must be a string of 1 to 256 characters"),
            (&join(&longer), "room must be a string of 1 to 256 characters"),
            (&join(&longest), "fine"),
            (r#"{"type":"join","room":"r"}"#, "peer_id is missing"),
            (r#"{"type":"join","room":"r","peer_id":""}"#, "peer_id must be a string of 1 to 256 characters"),
            (r#"{"type":"join","room":"r","peer_id":"p","sdp":7}"#, "fine"),
            (
                r#"{"type":"join","room":"\ud800","peer_id":"p"}"#,
                "room must be a string of 1 to 256 characters",
            ),
            (r#"{"type":"offer","room":"r","sdp":"x"}"#, "target_peer_id is missing"),
            (
                r#"{"type":"offer","room":"r","target_peer_id":1,"sdp":"x"}"#,
                "target_peer_id must be a string",
            ),
            (r#"{"type":"offer","room":"r","target_peer_id":"t"}"#, "sdp is missing"),
            (r#"{"type":"answer","room":"r","target_peer_id":"t","sdp":{}}"#, "sdp must be a string"),
            (r#"{"type":"answer","room":"r","target_peer_id":"t","sdp":""}"#, "fine"),
            (r#"{"type":"ice","room":"r","target_peer_id":"t"}"#, "candidate is missing"),
            (
                r#"{"type":"ice","room":"r","target_peer_id":"t","candidate":5}"#,
                "candidate must be a string or an object",
            ),
            (r#"{"type":"ice","room":"r","target_peer_id":"t","candidate":"c"}"#, "fine"),
            (r#"{"type":"ice","room":"r","target_peer_id":"t","candidate":{}}"#, "fine"),
            (r#"{"type":"ice","room":"r","target_peer_id":"t","candidate":null}"#, "fine"),
            (r#"{"type":"ice","room":"r","target_peer_id":"t","candidate": null }"#, "fine"),
            (
                r#"{"type":"ice","room":"r","target_peer_id":"t","candidate":true}"#,
                "candidate must be a string or an object",
            ),
            (r#"{"type":"offer","room":"r","target_peer_id":"t","sdp":null}"#, "sdp is missing"),
            (
                r#"{"type":"offer","room":"r","target_peer_id":"t","sdp":{"type":"offer","sdp":"v=0"}}"#,
                "sdp must be a string",
            ),
            (r#"{"type":"join","room":"r","peer_id":"p","secret":null}"#, "fine"),
            (r#"{"type":"join","room":"r","peer_id":"p","secret":"0123456789abcdef"}"#, "fine"),
            (
                r#"{"type":"join","room":"r","peer_id":"p","secret":"0123456789abcde"}"#,
                "secret must be a string of 16 to 256 characters",
            ),
            (
                r#"{"type":"join","room":"r","peer_id":"p","secret":7}"#,
                "secret must be a string of 16 to 256 characters",
            ),
            (r#"{"type":"leave"}"#, "room is missing"),
            (r#"{"type":"voice_state","room":"r","muted":"yes"}"#, "muted must be true or false"),
            (r#"{"type":"voice_state","room":"r"}"#, "fine"),
            (r#" { "type" : "heartbeat" , "x" : 1 } "#, "fine"),
            (HEARTBEAT, "fine"),
        ] {
            assert_eq!(why(text), expected, "{text}");
        }
        assert_eq!(read(None).unwrap_err(), Invalid::Binary);
        let long = why(&format!(r#"{{"type":"{}"}}"#, "x".repeat(60_000)));
        assert!(long.len() < 300, "a client does not get its whole frame back");
    }

    /// Clients match peers by these names. These are the contract's examples, character for
    /// character.
    #[test]
    fn s01_to_s05_frames_are_those_of_the_contract() {
        let sdp = RawValue::from_string(r#""v=0\r\n""#.into()).unwrap();
        let candidate = RawValue::from_string(r#"{"candidate": "c",  "sdpMid": null}"#.into()).unwrap();
        let state = VoiceState { muted: true, ..VoiceState::default() };
        for (frame, expected) in [
            (
                ServerFrame::Joined { room: "r", peer_id: "p", peers: vec!["a", "b"] },
                r#"{"type":"joined","room":"r","peer_id":"p","peers":["a","b"]}"#,
            ),
            (
                ServerFrame::PeerJoined { room: "r", peer_id: "p" },
                r#"{"type":"peer_joined","room":"r","peer_id":"p"}"#,
            ),
            (
                ServerFrame::relayed("r", "p", &Signal::Offer(sdp.clone())),
                r#"{"type":"offer","room":"r","from_peer_id":"p","sdp":"v=0\r\n"}"#,
            ),
            (
                ServerFrame::relayed("r", "p", &Signal::Answer(sdp)),
                r#"{"type":"answer","room":"r","from_peer_id":"p","sdp":"v=0\r\n"}"#,
            ),
            (
                ServerFrame::relayed("r", "p", &Signal::Ice(candidate)),
                r#"{"type":"ice","room":"r","from_peer_id":"p","candidate":{"candidate": "c",  "sdpMid": null}}"#,
            ),
            (
                ServerFrame::PeerLeft { room: "r", peer_id: "p" },
                r#"{"type":"peer_left","room":"r","peer_id":"p"}"#,
            ),
            (
                ServerFrame::VoiceState { room: "r", from_peer_id: "p", state },
                r#"{"type":"voice_state","room":"r","from_peer_id":"p","muted":true,"deafened":false,"camera":false,"screen":false}"#,
            ),
            (ServerFrame::Error { message: "Room is full" }, r#"{"type":"error","message":"Room is full"}"#),
        ] {
            assert_eq!(frame.text(), expected);
            assert_eq!(is_joined(&frame.text()), expected.contains("\"joined\""));
        }
    }

    #[test]
    fn voice_states_change_in_parts() {
        let text = r#"{"type":"voice_state","room":"r","muted":true,"camera":null}"#;
        let Ok(ClientFrame::VoiceState { change, .. }) = read(Some(text)) else { panic!("{text}") };
        let before = VoiceState { camera: true, ..VoiceState::default() };
        assert_eq!(before.after(change), VoiceState { muted: true, ..before });
    }
}
