//! Events that cannot be told or read back: what is set aside, and what takes its place (Q21).
//!
//! An event is set aside when its stored text cannot be read, when a database does not take it, or
//! when it alone is refused again and again by whoever is to hear it. In its place stands an event
//! without contents, under the number it would have had; whoever hears something of its community
//! is told to read anew. So nothing is tried for ever, nothing stands in the way of what comes
//! after, and nobody misses something without a word.

use std::collections::BTreeSet;

use serde_json::value::RawValue;

use super::announcement::{Announcement, Audience, Scope, Topic};
use crate::wire::events::stamp;
use crate::wire::ids::{AtUri, Collection};
use crate::wire::socket::Reply;

/// Failures in a row after which it is found out whether one event is to blame.
const ALL_UNTIL: u32 = 5;
/// Failures in a row after which the event that is tried alone is set aside.
const FIRST_UNTIL: u32 = 8;

/// What stands in the place of an event that is set aside.
pub fn event() -> Box<RawValue> {
    RawValue::NULL.to_owned()
}

/// Whether an event was set aside.
pub fn is_lost(event: &RawValue) -> bool {
    event.get() == RawValue::NULL.get()
}

/// The frame of an event of a community: stamped, or, if it was set aside, word that something is
/// missing. Everything after it can be resumed from.
pub fn frame(event: &RawValue, community: &AtUri, seq: u64, live: bool) -> String {
    if is_lost(event) {
        Reply::ResyncRequired { community_uri: community.clone(), oldest: seq + 1 }.text()
    } else {
        stamp(event.get(), seq, live)
    }
}

impl Announcement {
    /// This announcement without its event.
    #[must_use]
    pub fn set_aside(self) -> Self {
        Self { event: event(), ..self }
    }

    /// Stands for events of a community of which nothing else could be read.
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

/// The communities that a text names, whatever else it is.
pub fn communities(text: &str) -> BTreeSet<AtUri> {
    text.split(|letter: char| letter.is_whitespace() || "\"\\,<>{}[]".contains(letter))
        .filter_map(|word| AtUri::parse(word).ok())
        .filter(|uri| uri.is(Collection::Community))
        .collect()
}

/// What is tried next with events that somebody could not be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// All that wait, as they are.
    All,
    /// The first alone: one of them may be to blame.
    First,
    /// The first alone, and should that fail again, at once the same as an event that is set aside:
    /// if that is taken, the first is to blame, otherwise nobody was reached.
    SetAside,
}

impl Attempt {
    /// After so many failures in a row.
    pub fn after(failures: u32) -> Self {
        match failures {
            _ if failures < ALL_UNTIL => Attempt::All,
            _ if failures < FIRST_UNTIL => Attempt::First,
            _ => Attempt::SetAside,
        }
    }

    /// The failures that still count when it succeeded. Where one event was tried alone, so is the
    /// next: the one to blame is yet to come.
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
        assert_eq!(frame(&told, &community, 7, true), r#"{"type":"member_left","seq":7,"live":true}"#);
        let lost = Announcement::lost(community.clone());
        assert!(is_lost(&lost.event) && !is_lost(&told));
        assert_eq!(
            frame(&lost.event, &community, 7, true),
            r#"{"type":"resync_required","community_uri":"at://did:plc:owner/social.colibri.community/c","oldest":8}"#
        );
        // What is kept in outboxes and logs: a text that stays what it is.
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
