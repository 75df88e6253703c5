//! What is published about a change, and who may receive it (contract 4.5).
//!
//! The fold makes an announcement, the transaction of the change stores it in the outbox (invariant
//! 1), the community's object numbers it, and it is sent unchanged.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::wire::ids::{AtUri, Did};

/// The receiver of an event.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// A community, which gives it a `seq`.
    Community(AtUri),
    /// Gateways: an event about a person, without `seq`. It goes to the person's own gateway, which
    /// knows their state, and from there to all others.
    People,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scope::Community(uri) => uri.fmt(f),
            Scope::People => f.write_str("a gateway"),
        }
    }
}

/// One event, before it is numbered and sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Announcement {
    /// The receiver.
    pub scope: Scope,
    /// The sockets that may receive it.
    pub audience: Audience,
    /// The subject, for receivers that need more than the text.
    pub topic: Topic,
    /// Whether it is live (Q01).
    pub live: bool,
    /// The frame without `seq` and `live` ([`crate::wire::events::Event::text`]).
    pub event: Box<RawValue>,
}

/// A numbered event, as gateways and replays receive it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Numbered {
    /// T14.
    pub seq: u64,
    /// The sockets that may receive it.
    pub audience: Audience,
    /// Whether it was live when it was announced (Q01).
    pub live: bool,
    /// The frame without `seq` and `live`.
    pub event: Box<RawValue>,
}

/// The delivery classes of 4.5.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Audience {
    /// M: sockets subscribed to the messages of this channel.
    Messages(AtUri),
    /// C: sockets subscribed to the community.
    Community,
    /// P: all sockets of one person.
    Private(Did),
    /// Sockets of the newest client whose person may admit people to the community (N162).
    Approvers,
    /// U: sockets subscribed to this person's status.
    Watchers(Did),
}

/// The subject of an announcement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    /// A message became visible. A replay omits it once it is gone (Q07).
    MessageShown(AtUri),
    /// A message was removed.
    MessageGone(AtUri),
    /// The community is known from now on, with its channels (I72).
    CommunityShown,
    /// A channel became known, or changed. Gateways that wait for its rkey attach (A34).
    ChannelShown(AtUri),
    /// A channel was removed, with its messages.
    ChannelGone(AtUri),
    /// The whole community was removed.
    CommunityGone,
    /// A person may no longer take part: left, banned, not approved, account inactive (V06).
    MemberOut(Did),
    /// A person may take part from now on: their gateway receives that (N162).
    MemberIn(Did),
    /// Only members may read the community from now on, or everybody may (X40).
    MembersOnly(bool),
    /// Whether the person's account is active from now on. Only their gateway receives it (P13).
    Account(bool),
    /// Their person is notified of this message, with this number. Their gateway reads what that says (U20).
    Notification(AtUri, i64),
    /// An answer in a thread appeared or disappeared: what it answers, as it names it. The community reads the thread
    /// (U33).
    Thread(String),
    /// Nothing that receivers need to know.
    Other,
}

impl PartialEq for Announcement {
    fn eq(&self, other: &Self) -> bool {
        (&self.scope, &self.audience, &self.topic, self.live, self.event.get())
            == (&other.scope, &other.audience, &other.topic, other.live, other.event.get())
    }
}
