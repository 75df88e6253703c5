//! Whom a message notifies: those it mentions, and the author of the message that it answers (U01).
//!
//! The fold collects what a batch adds and withdraws, in the order of the events. The result is the same however the
//! events are divided into batches, because it follows from the versions of the messages alone. Whether a notification
//! shows is decided when it is read (U04), so nothing here changes with bans, blocks or accounts.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::announcement::{Audience, Topic};
use super::pending::OutboxEvents;
use crate::wire::ids::{AtUri, Did};
use crate::wire::time::Micros;

/// The most people whom one message mentions, the first (U02): what its author can have written.
pub const MENTIONS_MAX: usize = 20;
/// The most notifications that are kept of one person, the newest (U05).
pub const KEPT: i64 = 1_000;
/// The most of these that are of one author, the newest (U05): nobody can displace everybody else's.
pub const KEPT_OF_AUTHOR: i64 = 100;
/// The most notifications of one commit that the sockets of one person get, the first (U20).
pub const SHOWN: usize = 20;
/// The number after that of every notification. D1 keeps no larger number exact.
pub const AFTER_ALL: i64 = 1 << 53;

/// Why somebody is notified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The message mentions them.
    Mention,
    /// The message answers theirs.
    Reply,
}

impl Kind {
    /// The word in the database and for clients.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Mention => "mention",
            Kind::Reply => "reply",
        }
    }
}

/// A notification to store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Notification {
    /// The message.
    pub message_uri: AtUri,
    /// Why.
    pub kind: Kind,
    /// Whom.
    pub recipient_did: Did,
    /// Its number ([`id`]).
    pub id: i64,
}

/// Notifications to delete: of a message, of one kind, to one person; those of any, where none is named.
pub type Withdrawn = (AtUri, Option<Kind>, Option<Did>);

/// What a batch changes: first what it withdraws, then what it adds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// To delete.
    pub withdrawn: BTreeSet<Withdrawn>,
    /// To store.
    pub added: Vec<Notification>,
}

/// What a batch changes, as it comes.
#[derive(Clone, Debug, Default)]
pub struct Notified {
    withdrawn: BTreeSet<Withdrawn>,
    added: BTreeMap<AtUri, BTreeMap<(Kind, Did), i64>>,
}

impl Notified {
    /// Notifies a person of a message, at the receive time `at`.
    pub fn add(&mut self, message: &AtUri, kind: Kind, recipient: &Did, at: Micros) {
        let of_message = self.added.entry(message.clone()).or_default();
        of_message.insert((kind, recipient.clone()), id(kind, at));
    }

    /// Withdraws the notifications of a message: of `kind`, to `recipient`; all, where none is named.
    pub fn withdraw(&mut self, message: &AtUri, kind: Option<Kind>, recipient: Option<&Did>) {
        if let Some(of_message) = self.added.get_mut(message) {
            of_message.retain(|(of, to), _| {
                kind.is_some_and(|kind| kind != *of) || recipient.is_some_and(|recipient| recipient != to)
            });
        }
        self.withdrawn.insert((message.clone(), kind, recipient.cloned()));
    }

    /// The changes. Notifications that end with the batch are left out: those of a message or to a person for whom
    /// `stands` is not true at its end, and those that are too many (U05).
    pub fn into_changes(self, stands: impl Fn(&AtUri, &Did) -> bool) -> Changes {
        let mut added = Vec::new();
        for (message_uri, people) in self.added {
            for ((kind, recipient_did), id) in people {
                if stands(&message_uri, &recipient_did) {
                    added.push(Notification { message_uri: message_uri.clone(), kind, recipient_did, id });
                }
            }
        }
        added.sort_by(|a, b| (b.id, &a.message_uri).cmp(&(a.id, &b.message_uri)));
        let mut kept: BTreeMap<(Did, Did), i64> = BTreeMap::new();
        added.retain(|one| {
            let count = kept.entry((one.recipient_did.clone(), one.message_uri.authority())).or_default();
            *count += 1;
            *count <= KEPT_OF_AUTHOR
        });
        Changes { withdrawn: self.withdrawn, added }
    }
}

impl Changes {
    /// Everybody who is notified.
    pub fn recipients(&self) -> BTreeSet<&Did> {
        self.added.iter().map(|one| &one.recipient_did).collect()
    }
}

/// The number of a notification: of one person's, a later one has a greater number.
pub fn id(kind: Kind, at: Micros) -> i64 {
    at.0.saturating_mul(2).saturating_add(i64::from(kind == Kind::Reply))
}

/// When the notification with this number was made.
pub fn made_at(id: i64) -> Micros {
    Micros(id / 2)
}

/// The greatest number of a notification that was made at `at` or before.
pub fn last_until(at: Micros) -> i64 {
    id(Kind::Reply, at).clamp(0, AFTER_ALL)
}

/// The notifications that these rows announce, as whose, number and message: those of rows above `had`, the last row that
/// the receiver has.
pub fn announced(rows: &[OutboxEvents], had: i64) -> impl Iterator<Item = (&Did, i64, &AtUri)> {
    rows.iter().filter(move |row| row.id > had).flat_map(|row| &row.events).filter_map(|event| {
        match (&event.audience, &event.topic) {
            (Audience::Private(did), Topic::Notification(message, id)) => Some((did, *id, message)),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::announcement::{Announcement, Scope};
    use super::*;

    fn message(author: &str, key: &str) -> AtUri {
        AtUri::parse(&format!("at://did:plc:{author}/social.colibri.message/{key}")).unwrap()
    }

    fn bob() -> Did {
        Did::parse("did:plc:bob").unwrap()
    }

    #[test]
    fn u20_what_a_receiver_has_is_announced_no_more() {
        let row = |row: i64| {
            let event = Announcement {
                scope: Scope::People,
                audience: Audience::Private(bob()),
                topic: Topic::Notification(message("alice", &row.to_string()), 10 * row),
                live: true,
                event: serde_json::value::RawValue::from_string("{}".into()).unwrap(),
            };
            let other = Announcement { topic: Topic::Account(true), ..event.clone() };
            OutboxEvents { id: row, events: vec![other, event] }
        };
        let rows = [row(1), row(2), row(3)];
        let ids = |had| announced(&rows, had).map(|(_, id, _)| id).collect::<Vec<_>>();
        assert_eq!([0, 1, 3].map(ids), [vec![10, 20, 30], vec![20, 30], vec![]]);
        let (whose, _, of) = announced(&rows, 2).next().unwrap();
        assert_eq!((whose, of), (&bob(), &message("alice", "3")));
    }

    #[test]
    fn u03_what_comes_later_decides() {
        let (m, bob) = (message("alice", "m"), bob());
        let mut notified = Notified::default();
        notified.add(&m, Kind::Mention, &bob, Micros(5));
        notified.add(&m, Kind::Reply, &bob, Micros(5));
        notified.withdraw(&m, Some(Kind::Reply), None);
        let changes = notified.clone().into_changes(|_, _| true);
        assert_eq!(
            changes.added.iter().map(|one| (one.kind, one.id)).collect::<Vec<_>>(),
            [(Kind::Mention, 10)]
        );
        notified.withdraw(&m, None, None);
        notified.add(&m, Kind::Mention, &bob, Micros(6));
        let changes = notified.clone().into_changes(|_, _| true);
        assert_eq!(changes.added.iter().map(|one| one.id).collect::<Vec<_>>(), [12], "written again");
        assert!(changes.withdrawn.contains(&(m, None, None)), "and the one in the database goes first");
        assert!(notified.into_changes(|_, _| false).added.is_empty(), "it did not stand");
    }

    #[test]
    fn u05_of_one_author_the_newest_are_kept() {
        let mut notified = Notified::default();
        for n in 0..KEPT_OF_AUTHOR + 50 {
            notified.add(&message("eve", &format!("m{n}")), Kind::Mention, &bob(), Micros(n));
        }
        notified.add(&message("alice", "m"), Kind::Mention, &bob(), Micros(0));
        let added = notified.into_changes(|_, _| true).added;
        assert_eq!(added.len(), 101);
        let oldest = added
            .iter()
            .filter(|one| one.message_uri.authority().as_str() == "did:plc:eve")
            .map(|one| one.id);
        assert_eq!(oldest.min(), Some(100), "the oldest fifty are gone");
    }

    #[test]
    fn numbers_say_when() {
        let at = Micros(1_790_000_000_000_000);
        assert_eq!(made_at(id(Kind::Reply, at)), at);
        assert!(
            last_until(at) >= id(Kind::Reply, at) && last_until(at) < id(Kind::Mention, Micros(at.0 + 1))
        );
        assert!(id(Kind::Reply, at) < AFTER_ALL);
    }
}
