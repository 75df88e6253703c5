//! The Durable Objects: each decodes a command, asks a rule, and performs the answer.
//!
//! This is a folder of the one crate rather than a workspace member: the objects use `platform` and
//! the router uses their commands, which two crates could not do in both directions.
//!
//! An object is a folder: `mod.rs` is the object, `commands.rs` has its commands, and the other
//! files are its parts. Read them in the order in which an event passes through them.

pub mod operator;
pub mod reading;
pub mod replies;

#[allow(missing_docs, reason = "the macro makes methods without docs")]
pub mod jetstream;

#[allow(missing_docs, reason = "the macro makes methods without docs")]
pub mod community;

#[allow(missing_docs, reason = "the macro makes methods without docs")]
pub mod gateway;

#[allow(missing_docs, reason = "the macro makes methods without docs")]
pub mod identities;

#[allow(missing_docs, reason = "the macro makes methods without docs")]
mod editions;

#[allow(missing_docs, reason = "the macro makes methods without docs")]
pub mod repo_sync;

#[allow(missing_docs, reason = "the macro makes methods without docs")]
pub mod voice_room;

pub use community::Community;
pub use editions::Editions;
pub use gateway::Gateway;
pub use identities::Identities;
pub use jetstream::Jetstream;
pub use repo_sync::RepoSync;
pub use voice_room::VoiceRoom;
