//! The description of this server, for authors of clients and for tests.

use serde::Serialize;

use super::reply::shown;
use super::{Answer, Call};
use crate::domain::auth_mode::AuthMode;
use crate::domain::subscriptions::KEYS_MAX;
use crate::platform::config;
use crate::wire::ids::Did;
use crate::wire::socket::FRAME_MAX;

/// The body of `/api/server`.
#[derive(Serialize)]
pub(super) struct Server {
    /// What `auth_mode` means.
    auth_meaning: &'static str,
    /// `open`, `mixed` or `verified` (C06).
    auth_mode: &'static str,
    /// `SERVICE_DID` (C07): the audience of service-auth tokens; `null` if the server accepts none.
    did: Option<Did>,
    limits: Limits,
    name: &'static str,
    version: &'static str,
}

/// The limits for clients.
#[derive(Serialize)]
struct Limits {
    messages_per_page: i64,
    rows_per_page: i64,
    body_bytes: usize,
    frame_bytes: usize,
    subscriptions_per_socket: usize,
    requests_per_minute: i64,
}

impl Server {
    /// The description of this server in this mode, with this limit of requests a minute.
    pub(super) fn new(mode: AuthMode, requests_per_minute: i64, service_did: Option<Did>) -> Self {
        Self {
            auth_meaning: mode.meaning(),
            auth_mode: mode.name(),
            did: service_did,
            limits: Limits {
                messages_per_page: super::messages::PAGE_MAX,
                rows_per_page: super::reply::PAGE_MAX,
                body_bytes: super::body::BODY_MAX,
                frame_bytes: FRAME_MAX,
                subscriptions_per_socket: KEYS_MAX,
                requests_per_minute,
            },
            name: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

/// `GET /api/server`: name, version, how sockets prove their DID (C06), and the limits for clients.
pub(super) async fn server(call: &Call) -> Answer {
    let mode = config::sockets(&call.env).mode;
    shown(call, &Server::new(mode, config::rate_limit(&call.env), config::service_did(&call.env)))
}
