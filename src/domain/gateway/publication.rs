//! Publications: events about people, on their way from their own gateway to every gateway (E15, E16).

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::wire::ids::{AtUri, Did};

/// An event about a person, for every gateway.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Publication {
    /// Counts up for each publishing gateway.
    pub id: i64,
    /// About whom.
    pub did: Did,
    /// The communities through which they are watched (A36), but those for members only.
    pub communities: Vec<AtUri>,
    /// Those for members only: they count only for sockets that subscribed to them by name (X43).
    #[serde(default)]
    pub closed: Vec<AtUri>,
    /// Of both, those in which they only wait to be admitted: they count for no socket of the newest client (N162).
    #[serde(default)]
    pub pending: Vec<AtUri>,
    /// Whether it is about the status (E15) or the profile (E16).
    pub status: bool,
    /// Whether it is news (Q01).
    pub live: bool,
    /// The frame without `live`.
    pub event: Box<RawValue>,
}

/// An event of a record that waits for the state of its person.
#[derive(Clone, Debug)]
pub struct HeldEvent {
    /// In the order in which they came.
    pub id: i64,
    /// About whom.
    pub did: Did,
    /// Whether it is news (Q01).
    pub live: bool,
    /// The frame without `live`; `None` if it cannot be read back.
    pub event: Option<Box<RawValue>>,
}
