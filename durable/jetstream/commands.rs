//! The commands of the `Jetstream` object.

use serde::{Deserialize, Serialize};

use crate::domain::moderation::{Decision, Ruling};
use crate::platform::objects::{Command, Object};

/// To `Jetstream`: make sure that the stream is read. Idempotent. Reply: its state.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ensure {}

/// To `Jetstream`: commit a moderator's decision. Not idempotent; without an answer it may have been made, and an
/// `Idempotency-Key` tells (X23). Reply, after the commit: the result.
#[derive(Debug, Serialize, Deserialize)]
pub struct Decide {
    /// The decision.
    pub decision: Decision,
}

/// The state of the stream, for `/api/health`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct StreamStatus {
    /// Whether frames are expected right now.
    pub connected: bool,
    /// The Jetstream.
    pub host: String,
    /// Failed attempts since the last success.
    pub failures: u32,
    /// When the last frame arrived, if one did since the object woke.
    pub last_frame_at: Option<String>,
    /// Frames received and not committed yet.
    pub queued: usize,
    /// Events stored and not delivered yet.
    pub untold: usize,
    /// Binary frames, which are not read, since the object woke.
    #[serde(default)]
    pub binary: u64,
    /// Frames more than an hour ahead of the clock, since the object woke: accepted, but not as a
    /// position.
    #[serde(default)]
    pub ahead: u64,
    /// Frames that were skipped because the runtime does not accept their size, since the object
    /// woke.
    #[serde(default)]
    pub stepped_over: u64,
    /// Events of deferred repositories that were left out since the object woke (K17).
    #[serde(default)]
    pub left_out: u64,
    /// A sentence that says why frames are not read or not stored, if so.
    #[serde(default)]
    pub because: Option<String>,
    /// The work since the object woke.
    pub since_woken: Spent,
}

/// The cost of commits.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Spent {
    /// Transactions.
    pub commits: u64,
    /// Events in them.
    pub events: u64,
    /// Rows of the database scanned, index entries included, as D1 counts and charges them.
    pub rows_read: u64,
    /// Rows written, likewise.
    pub rows_written: u64,
}

impl Command for Ensure {
    type Reply = StreamStatus;
    const OBJECT: Object = Object::Jetstream;
    const NAME: &'static str = "ensure";
}

impl Command for Decide {
    type Reply = Ruling;
    const OBJECT: Object = Object::Jetstream;
    const NAME: &'static str = "decide";
}
