//! What the runtime gives: configuration, the clock, D1 and its editions, the SQLite and the alarm
//! of an object, the log, other hosts, what strangers may have asked of them and room for what comes, the handles and DIDs that lead to them, profiles, and what a
//! relay lists.
//!
//! The only place that reads a clock, a random number or a binding. Holds no rule.

pub mod alarm;
pub mod blobs;
pub mod clock;
pub mod config;
pub mod d1;
pub mod editions;
pub mod handles;
pub mod identity;
pub mod incidents;
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
