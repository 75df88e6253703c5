//! The Durable Objects: decode, ask a rule, perform the answer.
//!
//! A folder of the one crate rather than a workspace member: the objects use `platform` and the
//! router uses their commands, and two crates could not both have the upper hand.
//!
//! An object is a folder: `mod.rs` is the object, `commands.rs` what it may be asked, and the other
//! files its parts. Read them in the order in which an event passes them.

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
