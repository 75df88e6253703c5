//! What is pushed to browsers of people who are away (U28, U29), and what becomes of it.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::notifications::{Kind, made_at};
use super::pause::growing;
use super::urgency::Urgency;
use crate::wire::ids::{AtUri, Did};
use crate::wire::text::{Limit, cut};
use crate::wire::time::Micros;
use crate::wire::web_push::Subscription;

/// The most browsers of one person, the newest (U28).
pub const BROWSERS_MAX: i64 = 10;
/// The most pushes that wait in one gateway; further ones are not sent.
pub const WAITING_MAX: i64 = 5_000;
/// The most pushes of one person that wait; a further one takes the place of the oldest.
pub const OF_ONE_MAX: i64 = 20;
/// How often a push is tried.
pub const TRIES: u32 = 6;
/// The pause after the first failure, and the longest, in microseconds.
const PAUSE: i64 = 2_000_000;
const LONGEST: i64 = 120_000_000;
/// The longest rest of a push service after which it is asked again, in microseconds.
const REST_MAX: i64 = 3_600_000_000;
/// How long a push waits at most, in microseconds: as its TTL says to push services.
const KEPT: i64 = 86_400_000_000;
/// How much of a message is shown.
const SHOWN: Limit = Limit { letters: 200, characters: usize::MAX, bytes: 1_000 };

/// A push that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Push {
    /// To whom.
    pub did: Did,
    /// To which of their browsers.
    pub to: Subscription,
    /// What it says, before it is encrypted: JSON.
    pub text: String,
    /// How loud it is.
    pub urgency: Urgency,
    /// What it is about: it replaces an earlier push about the same that the browser has not taken yet.
    pub topic: i64,
    /// Since when it waits; what waits from before there was this field, since what it is about was made.
    #[serde(default)]
    pub since: Option<Micros>,
}

impl Push {
    /// Whether nobody wants it any more.
    pub fn is_over(&self, now: Micros) -> bool {
        now.0.saturating_sub(self.since.unwrap_or_else(|| made_at(self.topic)).0) >= KEPT
    }
}

/// What a message of which somebody is notified is about.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// The number of the notification.
    pub id: i64,
    /// Why.
    pub kind: Kind,
    /// The message.
    pub message: &'a AtUri,
    /// Its channel.
    pub channel: &'a AtUri,
    /// Its community.
    pub community: &'a AtUri,
    /// Whether only members read that.
    pub members_only: bool,
    /// The name of its author.
    pub author: Option<&'a str>,
    /// What it says.
    pub text: &'a str,
}

/// U29: what a ping says in a browser. Of a community for members only nothing that was written there.
pub fn of_ping(about: &About<'_>) -> String {
    let mut body = json!({
        "type": "notification", "kind": about.kind.word(), "urgency": Urgency::Ping.word(), "id": about.id,
        "community_uri": about.community, "channel_uri": about.channel, "message_uri": about.message,
    });
    if let Some(fields) = body.as_object_mut().filter(|_| !about.members_only) {
        fields.insert("author".to_owned(), json!(about.author.map(|name| cut(name, SHOWN))));
        fields.insert("text".to_owned(), json!(cut(about.text, SHOWN)));
    }
    body.to_string()
}

/// U29: what a digest says in a browser.
pub fn of_digest(count: usize, since: &str) -> String {
    json!({ "type": "digest", "kind": "digest", "urgency": Urgency::Quiet.word(), "count": count, "since": since })
        .to_string()
}

/// What came of a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tried {
    /// The push service answered with this status.
    Answered(u16),
    /// It did not answer.
    Unanswered,
    /// It was not asked: it rests until then.
    Resting(Micros),
}

/// What is to be done with a push that was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing more.
    Done,
    /// The browser takes nothing any more: forget it.
    Prune,
    /// Try again after this pause, in microseconds.
    Again(i64),
    /// The try does not count; the next one is at this time.
    Rest(Micros),
}

/// The pause after a try that fails, in microseconds. `failures` counts those before it.
pub fn pause(failures: u32) -> i64 {
    growing(PAUSE, failures, LONGEST)
}

/// Decides what to do after a try that ended at `now`. `failures` counts those before it.
pub fn after(tried: Tried, failures: u32, now: Micros) -> Next {
    let at = |pause| now.0.saturating_add(pause);
    match tried {
        Tried::Resting(until) => Next::Rest(Micros(until.0.clamp(at(PAUSE), at(REST_MAX)))),
        Tried::Answered(404 | 410) => Next::Prune,
        Tried::Unanswered | Tried::Answered(408 | 429 | 500..) if failures + 1 < TRIES => {
            Next::Again(pause(failures))
        }
        _ => Next::Done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn u28_what_becomes_of_a_push() {
        let now = Micros(7);
        let rest = |until| Next::Rest(Micros(until));
        for (tried, failures, expected) in [
            (Tried::Answered(201), 0, Next::Done),
            (Tried::Answered(404), 0, Next::Prune),
            (Tried::Answered(410), 9, Next::Prune),
            (Tried::Answered(429), 0, Next::Again(PAUSE)),
            (Tried::Answered(503), 3, Next::Again(8 * PAUSE)),
            (Tried::Unanswered, 4, Next::Again(16 * PAUSE)),
            (Tried::Unanswered, 5, Next::Done),
            (Tried::Answered(400), 0, Next::Done),
            (Tried::Answered(301), 0, Next::Done),
            (Tried::Resting(Micros(3 * PAUSE)), 5, rest(3 * PAUSE)),
            (Tried::Resting(Micros(0)), 0, rest(7 + PAUSE)),
            (Tried::Resting(Micros(i64::MAX)), 0, rest(7 + REST_MAX)),
        ] {
            assert_eq!(after(tried, failures, now), expected, "{tried:?} after {failures}");
        }
    }

    #[test]
    fn u28_a_push_waits_for_a_day() {
        let of = |since: &str| {
            let to = r#"{"endpoint":"https://push.example.com/","keys":{"p256dh":"p","auth":"a"}}"#;
            let topic = crate::domain::notifications::id(Kind::Mention, Micros(5));
            let text = format!(
                r#"{{"did":"did:plc:a","to":{to},"text":"","urgency":"ping","topic":{topic}{since}}}"#
            );
            serde_json::from_str::<Push>(&text).unwrap()
        };
        let since = format!(r#","since":"{}""#, Micros(3).sortable());
        let over = |push: &Push, at| push.is_over(Micros(at));
        assert_eq!([2, 3].map(|at| over(&of(&since), KEPT + at)), [false, true]);
        assert_eq!(
            [0, 10].map(|at| over(&of(""), KEPT + at)),
            [false, true],
            "from before there was the field"
        );
    }

    #[test]
    fn u29_nothing_that_was_written_for_members_only() {
        let uri = AtUri::parse("at://did:plc:a/social.colibri.message/m").unwrap();
        let about = |members_only, text| {
            let (message, channel, community) = (&uri, &uri, &uri);
            let about = About {
                id: 2,
                kind: Kind::Mention,
                message,
                channel,
                community,
                members_only,
                author: Some("Alice"),
                text,
            };
            of_ping(&about)
        };
        assert!(about(false, "secret").contains("secret") && about(false, "").contains("Alice"));
        assert!(!about(true, "secret").contains("secret") && !about(true, "").contains("Alice"));
        let longest = "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}\"\\\n".repeat(1_000);
        assert!(about(false, &longest).len() < crate::wire::web_push::TEXT_MAX);
        assert!(of_digest(5, "2026-03-01T12:00:00.412Z").contains("\"count\":5"));
    }
}
