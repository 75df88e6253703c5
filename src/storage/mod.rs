//! SQL as values.
//!
//! Every statement that the service runs against D1 is here, next to the type of its answer.
//! Nothing here decides anything, and nothing runs by itself: a [`Store`] runs statements, on D1
//! (`platform::d1`) or on SQLite in the native tests.
//!
//! One convention makes both alike: a read returns one text column named `row`, with a JSON value
//! that is parsed into a type here. SQL builds it by quoting texts from outside, and never parses
//! them (`statement::Inner`).

mod kinds;
mod statement;

pub mod audit;
pub mod commit;
pub mod digests;
pub mod discovery;
pub mod dismissed;
pub mod erasures;
pub mod export;
pub mod facts;
pub mod idempotency;
pub mod identities;
pub mod incidents;
pub mod invites;
pub mod listings;
pub mod members_only;
pub mod moderators;
pub mod notifications;
pub mod outbox;
pub mod parts;
pub mod presence;
pub mod proofs;
pub mod push;
pub mod reads;
pub mod reports;
pub mod repos;
pub mod rhythms;
pub mod search;
pub mod sweep;
pub mod webhooks;

pub mod bound_rooms;
pub mod community;
pub mod community_log;
pub mod community_voice;
pub mod gateway;
pub mod gateway_digests;
pub mod gateway_people;
pub mod gateway_pushes;
pub mod gateway_sessions;
pub mod used_tokens;

pub use statement::{CommitError, Fault, Inner, Param, Statement, Store, rows};
use statement::{chunks, json_text};
