//! What a bare record key means (T21).
//!
//! Anybody may write a message with somebody else's key. So a key in a channel means the first
//! message that had it there, for good: even if that message is deleted, blocked, hidden or moved
//! away. Then the key refers to nothing visible, and nobody else's message takes its place.

use super::rows::GoneRow;
use super::working_set::WorkingSet;
use crate::wire::ids::{AtUri, Rkey};
use crate::wire::time::Micros;

/// A message that a key has meant in a channel since some moment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Meant {
    /// When the message was indexed.
    pub since: Micros,
    /// The message, which may be gone by now.
    pub message: AtUri,
    /// The channel.
    pub channel: AtUri,
}

/// Everything that `key` meant in any loaded channel, oldest first.
pub fn meanings(working_set: &WorkingSet, key: &Rkey) -> Vec<Meant> {
    let there = working_set.messages.group(key.as_str()).map(|row| Meant {
        since: row.indexed_at,
        message: row.uri.clone(),
        channel: row.channel_uri.clone(),
    });
    let gone = working_set.gone.iter().filter(|row| row.rkey == *key).map(|row: &GoneRow| Meant {
        since: row.indexed_at,
        message: row.uri.clone(),
        channel: row.channel_uri.clone(),
    });
    let mut all: Vec<Meant> = there.chain(gone).collect();
    all.sort();
    all
}

/// The message that `key` means in `channel`, if it ever meant one, whether or not it still exists
/// and is visible.
pub fn meant_in(working_set: &WorkingSet, key: &Rkey, channel: &AtUri) -> Option<AtUri> {
    meanings(working_set, key).into_iter().find(|meant| meant.channel == *channel).map(|meant| meant.message)
}
