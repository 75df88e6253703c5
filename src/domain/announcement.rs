//! What is published about a change, and who may hear it (contract 4.5).
//!
//! An announcement is made by the fold, kept in the outbox of the same transaction that stores
//! the change (invariant 1), numbered by its community's object, and sent as it is.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::wire::ids::{AtUri, Did};

/// Whom an event is handed to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// A community, whose `seq` it gets.
    Community(AtUri),
    /// Gateways: an event about a person, which has no `seq`. It goes to the person's own
    /// gateway, which knows their state, and from there to all.
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
    /// Whom it is handed to.
    pub scope: Scope,
    /// Who may hear it.
    pub audience: Audience,
    /// What it is about, for those who must know more than the text.
    pub topic: Topic,
    /// Whether it is news (Q01).
    pub live: bool,
    /// The frame without `seq` and `live` ([`crate::wire::events::Event::text`]).
    pub event: Box<RawValue>,
}

/// An event with its number, as gateways and replays get it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Numbered {
    /// T14.
    pub seq: u64,
    /// Who may hear it.
    pub audience: Audience,
    /// Whether it was news when it was announced (Q01).
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
    /// U: sockets that asked for this person's status.
    Watchers(Did),
}

/// What an announcement is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    /// A message is shown. A replay leaves it out once it is gone (Q07).
    MessageShown(AtUri),
    /// A message is gone.
    MessageGone(AtUri),
    /// The community is known from now on, and its channels with it (I72).
    CommunityShown,
    /// A channel is known from now on, or changed. Gateways that wait for its rkey attach (A34).
    ChannelShown(AtUri),
    /// A channel is gone, and its messages with it.
    ChannelGone(AtUri),
    /// The whole community is gone.
    CommunityGone,
    /// A person may not take part any more: left, banned, not approved, account gone (V06).
    MemberOut(Did),
    /// The person's account is there from now on, or not. Only their gateway hears it (P13).
    Account(bool),
    /// Nothing that anybody but the reader must know.
    Other,
}

impl PartialEq for Announcement {
    fn eq(&self, other: &Self) -> bool {
        (&self.scope, &self.audience, &self.topic, self.live, self.event.get())
            == (&other.scope, &other.audience, &other.topic, other.live, other.event.get())
    }
}
