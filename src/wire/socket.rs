//! Frames of the events socket, `/api/subscribe` (contract 4.1–4.4).
//!
//! [`read`] parses a client's frame into a [`ClientFrame`]; [`Reply`] is the server's answer. What
//! a frame does is decided in `domain::gateway`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ids::{AtUri, Did, Rkey};
use super::json;
use super::signaling::VoiceState;

/// The longest client frame, in bytes (A15).
pub const FRAME_MAX: usize = 64 * 1024;

/// The string that the shipped client sends every 20 s (W04). The runtime answers exactly this
/// string without waking the object (platform facts T2), so no byte of it may change.
pub const HEARTBEAT: &str = r#"{"action":"heartbeat","event_type":"heartbeat"}"#;

/// The answer to [`HEARTBEAT`] (A10).
pub const HEARTBEAT_ACK: &str = r#"{"type":"ack","message":""}"#;

/// How a socket spells its frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spelling {
    /// As `/api/subscribe` (section 4).
    #[default]
    March,
    /// As the newest client (section 14, [`super::subscribe_events`]).
    Newest,
}

/// A client's frame (A06). Absent and `null` mean the same, except in `action` and `event_type`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientFrame {
    /// The action.
    pub action: String,
    /// The kind of subscription; empty if absent (A09).
    pub event_type: String,
    /// The key of a `message` subscription.
    pub channel: Option<String>,
    /// The key of a `user_status` subscription.
    pub did: Option<String>,
    /// The key of a `community` subscription, or the community of a voice channel.
    pub community_uri: Option<String>,
    /// The presence state to set.
    pub state: Option<String>,
    /// The voice channel to join.
    pub voice_channel_rkey: Option<String>,
    /// `join` or `leave`.
    pub voice_action: Option<String>,
    /// The position from which to resume (Q02).
    pub cursor: Option<i64>,
}

/// Reads a client's frame; `None` if it is `Invalid JSON` (A06).
pub fn read(text: &str) -> Option<ClientFrame> {
    #[derive(Deserialize)]
    struct Fields {
        action: String,
        #[serde(default)]
        event_type: String,
        channel: Option<String>,
        did: Option<String>,
        community_uri: Option<String>,
        state: Option<String>,
        voice_channel_rkey: Option<String>,
        voice_action: Option<String>,
        cursor: Option<i64>,
    }
    let fields: Fields = json::object(text)?;
    Some(ClientFrame {
        action: fields.action,
        event_type: fields.event_type,
        channel: fields.channel,
        did: fields.did,
        community_uri: fields.community_uri,
        state: fields.state,
        voice_channel_rkey: fields.voice_channel_rkey,
        voice_action: fields.voice_action,
        cursor: fields.cursor,
    })
}

/// The server's answer to a client's own frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Reply {
    /// The frame was accepted (A04).
    Ack {
        /// Empty, or a description of the effect.
        message: String,
    },
    /// The frame had no effect (A04, A15).
    Error {
        /// One of the texts of A15.
        message: String,
    },
    /// The replay of a resume is complete (Q04).
    Resumed {
        /// The community.
        community_uri: String,
        /// The client's cursor.
        from: u64,
        /// The community's last `seq`.
        to: u64,
    },
    /// Events were lost: the client must read anew through REST (Q05, Q20).
    ResyncRequired {
        /// The community.
        community_uri: AtUri,
        /// The smallest `seq` in the log.
        oldest: u64,
    },
    /// The subscriptions to a community for members only have ended (X43).
    SubscriptionEnded {
        /// The community.
        community_uri: AtUri,
    },
    /// The operator restarts the service: the socket is closed, and the client connects again after this
    /// time (R65).
    ServerRestart {
        /// In milliseconds.
        retry_after_ms: u32,
    },
    /// Who is present in a community, and in its voice channels: the reply to `presence` (A50).
    PresenceSnapshot {
        /// The community.
        community_uri: AtUri,
        /// Those who are not `offline`, by DID.
        members: Vec<PresentMember>,
        /// Whether `members` has all of them.
        complete: bool,
        /// The occupied voice channels, by key, each with its people, sorted.
        voice: BTreeMap<Rkey, Vec<Did>>,
        /// What the devices of these people do (U30); who is absent has none of the four.
        voice_states: BTreeMap<Did, VoiceState>,
        /// The last `seq` that `voice` includes.
        seq: u64,
    },
    /// Somebody writes in a channel (U40).
    Typing {
        /// Who.
        did: Did,
        /// The channel's key.
        channel: Rkey,
        /// Until when a client shows it (H10).
        expires_at: String,
        /// The community.
        community_uri: AtUri,
        /// The exact channel.
        channel_uri: AtUri,
    },
    /// What somebody's devices in a call do (U30).
    VoiceStateChanged {
        /// The community.
        community_uri: AtUri,
        /// The voice channel.
        channel_rkey: Rkey,
        /// Who.
        did: Did,
        /// What they do now.
        #[serde(flatten)]
        state: VoiceState,
    },
    /// The person joined a voice channel from another device: this one calls no more (U31).
    Superseded {
        /// The community.
        community_uri: AtUri,
        /// The voice channel that this device was in.
        channel_rkey: Rkey,
    },
    /// A moderator mutes the person in a voice channel, disconnects them from it, or moves them (U32).
    VoiceModerated {
        /// The community.
        community_uri: AtUri,
        /// The voice channel in which they were.
        channel_rkey: Rkey,
        /// `mute`, `disconnect` or `move`.
        action: String,
        /// The voice channel in which they are now, of `move`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to_channel_rkey: Option<Rkey>,
    },
}

/// Somebody who is present in a community.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PresentMember {
    /// Who.
    pub did: Did,
    /// `online`, `away` or `dnd`.
    pub state: String,
}

impl Reply {
    /// An ack with `message`.
    pub fn ack(message: impl Into<String>) -> Self {
        Reply::Ack { message: message.into() }
    }

    /// An error with `message`.
    pub fn error(message: impl Into<String>) -> Self {
        Reply::Error { message: message.into() }
    }

    /// The JSON text of the frame.
    pub fn text(&self) -> String {
        // It contains only strings and integers, so serialising cannot fail. If it did, silence
        // would make the shipped client reconnect for ever (W02).
        serde_json::to_string(self).unwrap_or_else(|_| HEARTBEAT_ACK.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a06_frames() {
        for (text, ok, why) in [
            (HEARTBEAT, true, "the shipped client's heartbeat"),
            (
                r#"{"action":"subscribe","event_type":"message","channel":null,"x":1}"#,
                true,
                "null is absent, unknown keys are ignored",
            ),
            (r#"{"action":"subscribe"}"#, true, "event_type may be missing"),
            (r#"{"action":"subscribe","event_type":null}"#, false, "null is a wrong type for event_type"),
            (r#"{"action":null}"#, false, "null is a wrong type for action"),
            (r#"{"event_type":"message"}"#, false, "action missing"),
            (r#"{"action":"subscribe","cursor":"1"}"#, false, "cursor is a string"),
            (r#"{"action":"subscribe","cursor":1.5}"#, false, "cursor is no integer"),
            (r#"["subscribe"]"#, false, "an array"),
            ("subscribe", false, "no JSON"),
        ] {
            assert_eq!(read(text).is_some(), ok, "{why}: {text}");
        }
    }

    /// The shipped client compares only `type`; its tests compare the text (A04).
    #[test]
    fn a04_replies() {
        assert_eq!(Reply::ack("").text(), HEARTBEAT_ACK);
        assert_eq!(Reply::error("Invalid JSON").text(), r#"{"type":"error","message":"Invalid JSON"}"#);
        let community_uri = "at://did:plc:owner/social.colibri.community/3kcom";
        assert_eq!(
            Reply::Resumed { community_uri: community_uri.into(), from: 40, to: 57 }.text(),
            format!(r#"{{"type":"resumed","community_uri":"{community_uri}","from":40,"to":57}}"#)
        );
    }
}
