//! The Durable Objects: decode, ask a rule, perform the answer.
//!
//! A folder of the one crate rather than a workspace member: the objects use `platform` and the
//! router uses their commands, and two crates could not both have the upper hand.
//!
//! Read in this order: who may be asked what (`commands`), then the objects in the order an
//! event passes them.

pub mod commands;

#[allow(missing_docs, reason = "the macro makes methods without docs")]
mod jetstream;

#[allow(missing_docs, reason = "the macro makes methods without docs")]
mod community;

#[allow(missing_docs, reason = "the macro makes methods without docs")]
mod gateway;

#[allow(missing_docs, reason = "the macro makes methods without docs")]
mod identities;

#[allow(missing_docs, reason = "the macro makes methods without docs")]
mod editions;

#[allow(missing_docs, reason = "the macro makes methods without docs")]
mod repo_sync;

#[allow(missing_docs, reason = "the macro makes methods without docs")]
mod voice_room;

pub use community::Community;
pub use editions::Editions;
pub use gateway::Gateway;
pub use identities::Identities;
pub use jetstream::Jetstream;
pub use repo_sync::RepoSync;
pub use voice_room::VoiceRoom;
