//! What a client's frame asks for (contract 4.2).

use super::subscriptions::Kind;
use crate::wire::ids::{AtUri, Collection};
use crate::wire::socket::{FRAME_MAX, Reply, read};

/// What to do about a frame. Each ends in exactly one reply (A03).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing but this reply.
    Reply(Reply),
    /// A subscription (A07).
    Subscribe(Subscribe),
    /// The end of one (A08).
    Unsubscribe {
        /// Of which kind.
        kind: Kind,
        /// Which; `None` for all (A32).
        key: Option<String>,
        /// What to answer.
        reply: Reply,
    },
    /// Presence or voice: `set_state` or `voice_event`.
    Presence {
        /// Which of the two.
        action: &'static str,
    },
}

/// A subscription to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// Of which kind.
    pub kind: Kind,
    /// To what; `None` for all (A31).
    pub key: Option<String>,
    /// The community and the cursor to resume from (Q02).
    pub resume: Option<(AtUri, i64)>,
    /// What to answer.
    pub reply: Reply,
}

/// Decides about a frame; `None` is a binary one. The first rule that applies decides:
///   1. a frame that is too long, then one that is not readable (A06), is refused;
///   2. `subscribe` and `unsubscribe` of a known kind (A07, A08); of any other kind they are
///      acknowledged without effect (A09);
///   3. `heartbeat` and `activity` are acknowledged (A10, A11);
///   4. presence and voice (A12, A13);
///   5. everything else is unknown (A14).
pub fn action(frame: Option<&str>) -> Action {
    let Some(text) = frame else { return refuse("Invalid JSON") };
    if text.len() > FRAME_MAX {
        return refuse("Frame too large");
    }
    let Some(frame) = read(text) else { return refuse("Invalid JSON") };
    let kind = Kind::named(&frame.event_type);
    let key = match kind {
        Some(Kind::Message) => frame.channel,
        Some(Kind::Community) => frame.community_uri,
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
        ("set_state", _) => Action::Presence { action: "set_state" },
        ("voice_event", _) => Action::Presence { action: "voice_event" },
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
            assert_eq!(action(frame), Action::Reply(expected), "{why}");
        }
    }

    #[test]
    fn a30_b60_only_the_key_of_the_kind_counts() {
        let frame = r#"{"action":"subscribe","event_type":"message","channel":"k","community_uri":"at://x","cursor":3}"#;
        let Action::Subscribe(subscribe) = action(Some(frame)) else { panic!("a subscription") };
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
            let Action::Subscribe(subscribe) = action(Some(&frame)) else { panic!("a subscription") };
            assert_eq!(subscribe.resume.map(|(_, cursor)| cursor), expected, "{why}");
        }
    }
}
