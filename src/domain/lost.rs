//! Events that cannot be delivered or read back: when they are set aside, and what replaces them
//! (Q21).
//!
//! An event is set aside when its stored text is unreadable, when a database refuses it, or when
//! its receiver repeatedly refuses it alone. An empty event takes its place and its number, and
//! clients of its community get `resync_required`. So nothing is retried for ever, nothing blocks
//! later events, and no client misses an event without notice.

use std::collections::BTreeSet;

use serde_json::value::RawValue;

use super::announcement::{Announcement, Audience, Scope, Topic};
use crate::wire::events::{march, newest, stamp};
use crate::wire::ids::{AtUri, Collection};
use crate::wire::socket::{Reply, Spelling};
use crate::wire::subscribe_events as newest_client;

/// Consecutive failures after which the first event is tried alone.
const ALL_UNTIL: u32 = 5;
/// Consecutive failures after which an event that is tried alone is set aside.
const FIRST_UNTIL: u32 = 8;

/// The event that replaces one that is set aside.
pub fn event() -> Box<RawValue> {
    RawValue::NULL.to_owned()
}

/// Whether an event was set aside.
pub fn is_lost(event: &RawValue) -> bool {
    event.get() == RawValue::NULL.get()
}

/// The frame of a community's event: stamped, or, if it was set aside, a notice that something is
/// missing. A client can resume from any later event. `None`: this spelling has no word for it (N168).
pub fn frame(
    event: &RawValue,
    community: &AtUri,
    seq: u64,
    live: bool,
    spelling: Spelling,
) -> Option<String> {
    match (is_lost(event), spelling) {
        (true, Spelling::March) => {
            Some(Reply::ResyncRequired { community_uri: community.clone(), oldest: seq + 1 }.text())
        }
        (true, Spelling::Newest) => Some(newest_client::RESYNC.to_owned()),
        (false, Spelling::March) => Some(stamp(march(event.get())?, seq, live)),
        (false, Spelling::Newest) => Some(newest_client::stamp(&newest(event.get())?, community, seq, live)),
    }
}

impl Announcement {
    /// This announcement with the empty event.
    #[must_use]
    pub fn set_aside(self) -> Self {
        Self { event: event(), ..self }
    }

    /// Represents events of a community of which nothing else is readable.
    pub fn lost(community: AtUri) -> Self {
        Self {
            scope: Scope::Community(community),
            audience: Audience::Community,
            topic: Topic::Other,
            live: false,
            event: event(),
        }
    }
}

/// The communities that a text names, even if it is otherwise unreadable.
pub fn communities(text: &str) -> BTreeSet<AtUri> {
    text.split(|letter: char| letter.is_whitespace() || "\"\\,<>{}[]".contains(letter))
        .filter_map(|word| AtUri::parse(word).ok())
        .filter(|uri| uri.is(Collection::Community))
        .collect()
}

/// What to try next with events that could not be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// All waiting events, unchanged.
    All,
    /// The first one alone: one of them may be the cause.
    First,
    /// The first one alone, and if that fails again, at once its empty replacement: if the receiver
    /// accepts that, the event is the cause; otherwise the receiver is unreachable.
    SetAside,
}

impl Attempt {
    /// After this many consecutive failures.
    pub fn after(failures: u32) -> Self {
        match failures {
            _ if failures < ALL_UNTIL => Attempt::All,
            _ if failures < FIRST_UNTIL => Attempt::First,
            _ => Attempt::SetAside,
        }
    }

    /// The failures that still count after a success. After an event that was tried alone, the next
    /// one is tried alone too: the faulty one is still to come.
    pub fn failures_after_success(self) -> u32 {
        match self {
            Attempt::First => ALL_UNTIL,
            Attempt::All | Attempt::SetAside => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q21_what_takes_the_place_of_an_event() {
        let community = AtUri::parse("at://did:plc:owner/social.colibri.community/c").unwrap();
        let told = RawValue::from_string(r#"{"type":"member_left"}"#.into()).unwrap();
        let frame = |event: &RawValue| frame(event, &community, 7, true, Spelling::March).unwrap();
        assert_eq!(frame(&told), r#"{"type":"member_left","seq":7,"live":true}"#);
        let lost = Announcement::lost(community.clone());
        assert!(is_lost(&lost.event) && !is_lost(&told));
        assert_eq!(
            frame(&lost.event),
            r#"{"type":"resync_required","community_uri":"at://did:plc:owner/social.colibri.community/c","oldest":8}"#
        );
        // Outboxes and logs store this text, so it must not change.
        assert_eq!(serde_json::to_string(&lost.event).unwrap(), "null");
        assert!(is_lost(&serde_json::from_str::<Box<RawValue>>("null").unwrap()));
    }

    #[test]
    fn the_communities_that_broken_text_names() {
        let found = |text: &str| communities(text).iter().map(ToString::to_string).collect::<Vec<_>>();
        let (one, other) =
            ("at://did:plc:a/social.colibri.community/c", "at://did:plc:b/social.colibri.community/c");
        for (text, expected, why) in [
            (format!(r#"[{{"scope":{{"community":"{one}"}},"event":{{"#), vec![one], "cut in the middle"),
            (format!(r#"{{\"community_uri\":\"{other}\"}} {one},{one}"#), vec![one, other], "escaped; twice"),
            ("at://did:plc:a/social.colibri.channel/k".into(), vec![], "no community"),
            ("nonsense".into(), vec![], "nothing"),
        ] {
            assert_eq!(found(&text), expected, "{why}");
        }
    }

    #[test]
    fn nothing_is_tried_for_ever() {
        let attempts: Vec<Attempt> = (0..10).map(Attempt::after).collect();
        assert_eq!(attempts[..5], [Attempt::All; 5]);
        assert_eq!(attempts[5..8], [Attempt::First; 3]);
        assert_eq!(attempts[8..], [Attempt::SetAside; 2]);
        assert_eq!(Attempt::after(u32::MAX), Attempt::SetAside);
        let next = |attempt: Attempt| Attempt::after(attempt.failures_after_success());
        assert_eq!(next(Attempt::First), Attempt::First, "the one to blame is looked for");
        assert_eq!(next(Attempt::SetAside), Attempt::All, "and was found");
        assert_eq!(next(Attempt::All), Attempt::All);
    }
}
