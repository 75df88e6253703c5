//! The wire formats of colibri-edge for programs in Rust: identifiers, records of the lexicons, Jetstream frames,
//! repositories and their keys, frames of the sockets. It has the sources of the service's own layer `wire`, and needs
//! neither Workers nor their toolchain. Answers of the service can be written with it, and not read: that is what
//! openapi.json and asyncapi.json are for.
//!
//! ```
//! use colibri_edge_wire::wire::ids::AtUri;
//!
//! let community = AtUri::parse("at://did:plc:owner/social.colibri.community/3kcom").unwrap();
//! assert_eq!(community.authority().as_str(), "did:plc:owner");
//! ```

#[path = "../../../src/wire/mod.rs"]
pub mod wire;
