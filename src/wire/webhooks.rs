//! What a webhook sends: Standard Webhooks 1.0, with HMAC-SHA256 (C50).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::ids::AtUri;
use super::time::Micros;

/// What a secret begins with, where people see it.
const SECRET: &str = "whsec_";

/// A message, before it is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// `webhook-id`: the same whenever it is sent again.
    pub id: String,
    /// The body.
    pub body: String,
}

#[derive(Serialize)]
struct Body<'a, T> {
    r#type: &'a str,
    timestamp: String,
    data: T,
}

#[derive(Serialize)]
struct Resync<'a> {
    community_uri: &'a AtUri,
    oldest_seq: u64,
}

impl Message {
    /// The message of the webhook `id` about an event: `frame` is what a socket gets.
    pub fn of(id: &str, seq: u64, kind: &str, at: Micros, frame: &str) -> Self {
        let data: Option<&RawValue> = serde_json::from_str(frame).ok();
        let body = Body { r#type: kind, timestamp: at.shown(), data };
        Self { id: format!("{id}-{seq}"), body: serde_json::to_string(&body).unwrap_or_default() }
    }

    /// The message that events before `oldest` are lost.
    pub fn resync(id: &str, community: &AtUri, oldest: u64, at: Micros) -> Self {
        let data = Resync { community_uri: community, oldest_seq: oldest };
        let body = Body { r#type: "resync_required", timestamp: at.shown(), data };
        let body = serde_json::to_string(&body).unwrap_or_default();
        Self { id: format!("{id}-{}", oldest.saturating_sub(1)), body }
    }
}

/// A secret as people see it: `whsec_` and base64.
pub fn shown_secret(secret: &str) -> String {
    format!("{SECRET}{secret}")
}

/// The secret in a text that somebody sends, in base64; `None` unless it has 24 to 64 bytes, as the standard wants.
pub fn secret_in(text: &str) -> Option<String> {
    let bytes = STANDARD.decode(text.strip_prefix(SECRET)?).ok()?;
    (24..=64).contains(&bytes.len()).then(|| STANDARD.encode(bytes))
}

/// A secret of these bytes, in base64.
pub fn secret_of(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The type of an event.
pub fn type_of(event: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Typed {
        r#type: String,
    }
    serde_json::from_str::<Typed>(event).ok().map(|typed| typed.r#type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r82_what_is_a_secret() {
        let of = |length: usize| format!("whsec_{}", secret_of(&vec![7; length]));
        for (text, expected) in [
            (of(23), false),
            (of(24), true),
            (of(64), true),
            (of(65), false),
            ("whsec_?".into(), false),
            (secret_of(&[7; 24]), false),
        ] {
            assert_eq!(secret_in(&text).is_some(), expected, "{text}");
        }
    }
}
