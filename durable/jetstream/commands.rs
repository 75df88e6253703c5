//! What the `Jetstream` object may be asked.

use serde::{Deserialize, Serialize};

use crate::platform::objects::{Command, Object};

/// To `Jetstream`: see that the stream is read. Idempotent. Reply: where it stands.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ensure {}

/// The state of the stream, for `/api/health`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct StreamStatus {
    /// Whether frames are expected right now.
    pub connected: bool,
    /// The Jetstream.
    pub host: String,
    /// Failed attempts since the last success.
    pub failures: u32,
    /// When the last frame came, if one did since the object woke.
    pub last_frame_at: Option<String>,
    /// Frames read and not stored yet.
    pub queued: usize,
    /// Events stored and not told yet.
    pub untold: usize,
    /// Frames that were no text, and not read, since the object woke.
    #[serde(default)]
    pub binary: u64,
    /// Frames whose time is more than an hour ahead of the clock, since the object woke: let in, but
    /// no position.
    #[serde(default)]
    pub ahead: u64,
    /// Frames larger than the runtime takes that were stepped over since the object woke.
    #[serde(default)]
    pub stepped_over: u64,
    /// Events of deferred repositories that were left out since the object woke (K17).
    #[serde(default)]
    pub left_out: u64,
    /// What was done since the object woke.
    pub since_woken: Spent,
}

/// What letting events in has cost.
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
