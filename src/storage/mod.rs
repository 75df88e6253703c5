//! SQL as values.
//!
//! Every statement the service runs against D1 stands here, next to the type of its answer.
//! Nothing here decides anything, and nothing runs by itself: a [`Store`] does, be it D1
//! (`platform::d1`) or SQLite in the native tests.
//!
//! One convention makes both the same: a read answers one text column named `row`, a JSON value
//! that is read into a type here. Of text that came from outside it is made by quoting alone, never
//! by taking the text apart (`statement::Inner`).

mod kinds;
mod statement;

pub mod audit;
pub mod commit;
pub mod discovery;
pub mod facts;
pub mod idempotency;
pub mod identities;
pub mod incidents;
pub mod invites;
pub mod moderators;
pub mod outbox;
pub mod parts;
pub mod presence;
pub mod proofs;
pub mod reads;
pub mod repos;
pub mod sweep;

pub mod bound_rooms;
pub mod community_log;
pub mod community_voice;
pub mod gateway;
pub mod gateway_people;
pub mod gateway_sessions;
pub mod used_tokens;

pub use statement::{CommitError, Fault, Inner, Param, Statement, Store, rows};
use statement::{chunks, json_text};
