//! The rules. Pure: no `async`, no clock, no SQL, no platform; time and facts are inputs,
//! changes and announcements are outputs.
//!
//! Read in this order: which kinds of records there are (`kinds`), what is indexed (`rows`), what a
//! batch may look at (`working_set`) and what is remembered of it (`standing_cache`), what a bare record key means (`keys`), who may post or speak and who may moderate
//! (`gate`, `standing`, `voice_right`, `moderation`), who proves who they are and what a
//! claim without that is worth (`service_auth`, `socket_token`, `auth_mode`), what events do (`ingest`), who is there (`presence`, `voice`), who is told (`announcement`), who hears
//! (`subscriptions`), what a socket that says nothing hears (`restore`), which are dead (`lease`) or too slow (`slow_sockets`), how
//! the stream is kept alive (`link`) and what fails is left alone (`pause`), when a listing ends (`pages`),
//! what a repository held and what that means (`snapshot`, `repository`, `reconciliation`, `repos`) and how
//! more of them are found (`discovery`), who is behind a DID (`identity`), which hosts may be asked
//! (`hosts`) and which rest (`breaker`), what strangers may have asked (`allowance`) and what was answered
//! lately (`answers`), what is worth caching (`admission`) and how much is held meanwhile (`memory_budget`), which
//! answers may be kept (`editions`, `lru`), in what order a sidebar stands (`sidebar`), how much a client
//! may ask (`budget`) and who that is (`callers`), and what is no secret (`secrets`).

pub(crate) mod kinds;
pub mod rows;
pub mod working_set;

pub mod keys;
pub mod standing_cache;

pub mod auth_mode;
pub mod gate;
pub mod gateway;
pub mod moderation;
pub mod service_auth;
pub mod socket_token;
pub mod standing;
pub mod voice_right;

pub mod ingest;

pub mod person;
pub mod presence;
pub mod voice;

pub mod actions;
pub mod announcement;
pub mod bucket;
pub mod budget;
pub mod callers;
pub mod frame_budget;
pub mod lease;
pub mod points;
pub mod replay;
pub mod restore;
pub mod signaling;
pub mod slow_sockets;
pub mod subscriptions;

pub mod link;
pub mod lost;
pub mod pages;
pub mod pause;
pub mod pending;

pub mod discovery;
pub mod reconciliation;
pub mod repos;
pub mod repository;
pub mod snapshot;

pub mod admission;
pub mod allowance;
pub mod answers;
pub mod bans;
pub mod breaker;
pub mod editions;
pub mod hosts;
pub mod ice;
pub mod identity;
pub mod lru;
pub mod memory_budget;
pub mod secrets;
pub mod sidebar;
