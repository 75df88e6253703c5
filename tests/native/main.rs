//! Tests without a runtime: the pipeline through the real SQL, random histories, the reads of REST,
//! and the rules of the code base (`tidy`).
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod archives;
mod sqlite;
mod story;

mod bound_rooms;
mod bounds;
mod client_state;
mod community;
mod community_log;
mod defects;
mod deferred;
mod delivery;
mod discovery;
mod documents;
mod erasures;
mod export;
mod feeds;
mod fuzz;
mod fuzz_identity;
mod fuzz_repository;
mod gateway;
mod growth;
mod here;
mod histories;
mod history;
mod identities;
mod invites;
mod kept;
mod keys;
mod lexicons;
mod members_only;
mod moderation;
mod newest;
mod notifications;
mod orders;
mod pipeline;
mod places;
mod plans;
mod presence;
mod proofs;
mod reads;
mod reconciling;
mod record_lexicons;
mod recorded;
mod repository;
mod returning;
mod search;
mod service_auth;
mod threads;
mod tidy;
mod upgrades;
mod voice_right;
mod webhooks;
mod written;
