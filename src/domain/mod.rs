//! The rules. Pure: no `async`, no clock, no SQL, no platform; time and facts are inputs, changes
//! and announcements are outputs. Read in this order:
//!
//! - the index: `kinds`, `rows`, `working_set`, `facts_cache`, `keys`;
//! - who may do what: `gate`, `standing`, `voice_right`, `moderation`, `hub`;
//! - proofs: `service_auth`, `socket_token`, `auth_mode`, `secrets`;
//! - what events do, and whom they reach: `ingest`, `notifications`, `announcement`, `subscriptions`, `restore`,
//!   `presence`, `voice`, `lease`, `slow_sockets`, `webhooks`;
//! - the stream and repositories: `link`, `pages`, `pause`, `snapshot`, `repository`,
//!   `reconciliation`, `repos`, `discovery`, `troubles`;
//! - other hosts: `identity`, `hosts`, `breaker`, `allowance`, `answers`, `memory_budget`;
//! - REST: `callers`, `budget`, `sidebar`, `admission`, `editions`, `lru`.

pub(crate) mod kinds;
pub mod rows;
pub mod working_set;

pub mod keys;

pub mod auth_mode;
pub mod community;
pub mod form;
pub mod gate;
pub mod gateway;
pub mod hub;
pub mod members_only;
pub mod moderation;
pub mod newest_events;
pub mod roles;
pub mod service_auth;
pub mod socket_token;
pub mod standing;
pub mod typing;
pub mod urgency;
pub mod variables;
pub mod voice_moderation;
pub mod voice_right;

pub mod embeds;
pub mod erasure;
pub mod ingest;
pub mod notifications;

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
pub mod restarting;
pub mod restore;
pub mod signaling;
pub mod slow_sockets;
pub mod statistics;
pub mod subscriptions;
pub mod webhooks;

pub mod fault_code;
pub mod health;
pub mod link;
pub mod lost;
pub mod pages;
pub mod pause;
pub mod pending;
pub mod troubles;

pub mod decision_queue;
pub mod digest;
pub mod discovery;
pub mod push;
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
pub mod export;
pub mod facts_cache;
pub mod hosts;
pub mod ice;
pub mod identity;
pub mod lru;
pub mod memory_budget;
pub mod secrets;
pub mod sidebar;
pub mod spending;
