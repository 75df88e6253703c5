//! The Durable Objects: decode, ask a rule, perform the answer.
//!
//! A folder of the one crate rather than a workspace member: the objects use `platform` and the
//! router uses their commands, and two crates could not both have the upper hand.
//!
//! Read in this order: who may be asked what (`commands`), then the objects in the order an
//! event passes them.

pub mod commands;

mod announcer;
#[allow(missing_docs, reason = "the macro makes methods without docs")]
mod jetstream;
mod reader;

mod bound_rooms;
#[allow(missing_docs, reason = "the macro makes methods without docs")]
mod community;
mod observing;
mod order;
mod voicing;

mod desk;
#[allow(missing_docs, reason = "the macro makes methods without docs")]
mod gateway;
mod people;
mod restoring;
mod seating;
mod sessions;
mod speaking;
mod subscribing;

mod discovering;
mod host;
#[allow(missing_docs, reason = "the macro makes methods without docs")]
mod identities;
mod looking;

#[allow(missing_docs, reason = "the macro makes methods without docs")]
mod editions;

#[allow(missing_docs, reason = "the macro makes methods without docs")]
mod repo_sync;

mod peers;
#[allow(missing_docs, reason = "the macro makes methods without docs")]
mod voice_room;

pub use community::Community;
pub use editions::Editions;
pub use gateway::Gateway;
pub use identities::Identities;
pub use jetstream::Jetstream;
pub use repo_sync::RepoSync;
pub use voice_room::VoiceRoom;
