//! Replies that several objects give.

use serde::{Deserialize, Serialize};

/// What a community or a gateway has.
#[derive(Debug, Serialize, Deserialize)]
pub struct Announced {
    /// The last row of the outbox that came in.
    pub through: i64,
}

/// Whether to go on.
#[derive(Debug, Serialize, Deserialize)]
pub struct Delivered {
    /// Whether some session still needs the community.
    pub listening: bool,
}

/// Done.
#[derive(Debug, Serialize, Deserialize)]
pub struct Done {}
