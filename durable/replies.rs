//! Replies of several objects.

use serde::{Deserialize, Serialize};

/// The position of a community or a gateway.
#[derive(Debug, Serialize, Deserialize)]
pub struct Announced {
    /// The last outbox row that it received.
    pub through: i64,
}

/// Whether to continue.
#[derive(Debug, Serialize, Deserialize)]
pub struct Delivered {
    /// Whether some session still needs the community.
    pub listening: bool,
}

/// Done.
#[derive(Debug, Serialize, Deserialize)]
pub struct Done {}
