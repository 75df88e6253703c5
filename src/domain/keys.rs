//! What a bare record key means (T21).
//!
//! Anybody may write a message with somebody else's key. So the first message that had a key in a
//! channel is what the key means there, for good: also when it is deleted, blocked, hidden or moved
//! away. Then the key means nothing that is shown, and nobody else's message takes its place.

use super::rows::GoneRow;
use super::working_set::WorkingSet;
use crate::wire::ids::{AtUri, Rkey};
use crate::wire::time::Micros;

/// A message that a key meant in a channel from some moment on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Meant {
    /// When the message was indexed.
    pub since: Micros,
    /// The message. It may be gone by now.
    pub message: AtUri,
    /// The channel.
    pub channel: AtUri,
}

/// Everything that `key` meant, in any channel that was loaded, first things first.
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

/// The message that `key` means in `channel`, if it ever meant one. Whether it is there, and
/// visible, is another question.
pub fn meant_in(working_set: &WorkingSet, key: &Rkey, channel: &AtUri) -> Option<AtUri> {
    meanings(working_set, key).into_iter().find(|meant| meant.channel == *channel).map(|meant| meant.message)
}
