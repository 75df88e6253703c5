//! The formats that others define, and nothing else: identifiers, times, Jetstream frames, lexicon
//! records, socket and signaling frames, REST bodies and headers, DID documents, keys, handles,
//! profiles.
//!
//! Promises: outside bytes become typed values or a closed error, never a panic (invariant 4); JSON
//! that is echoed verbatim stays the text that arrived. Contains no rule, SQL, clock or platform.

pub mod bodies;
pub mod car;
pub mod cid;
pub mod dag_cbor;
pub mod did_document;
pub mod emoji;
pub mod etag;
pub mod events;
pub mod feeds;
pub mod handle;
pub mod ice;
pub mod ids;
pub mod jetstream;
pub mod json;
pub mod media;
pub mod multikey;
pub mod openmetrics;
pub mod pds;
pub mod permissions;
pub mod profile;
pub mod range;
pub mod rate_limit;
pub mod record_json;
pub mod records;
pub mod relay;
pub mod repository;
pub mod service_auth;
pub mod signaling;
pub mod signing_key;
pub mod socket;
pub mod subscribe_events;
pub mod text;
pub mod tid;
pub mod time;
pub mod views;
pub mod web_push;
pub mod webhooks;
pub mod words;
pub mod xrpc;
