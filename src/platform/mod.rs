//! What the runtime provides: configuration, the clock, D1 and its editions, an object's SQLite and
//! alarm, the log, requests to other hosts and their limits, handles and DIDs, profiles, and the
//! relay.
//!
//! The only place that reads a clock, a random number or a binding. Contains no rule.

pub mod alarm;
pub mod assets;
pub mod background;
pub mod blob_relay;
pub mod blobs;
pub mod clock;
pub mod config;
pub mod d1;
pub mod editions;
pub mod exports;
pub mod handles;
pub mod identity;
pub mod incidents;
pub mod listener;
pub mod log;
pub mod memory;
pub mod object_sql;
pub mod objects;
pub mod outbound;
pub mod pds;
pub mod peer;
pub mod profiles;
pub mod relay;
pub mod socket_state;
pub mod strangers;
