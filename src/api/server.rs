//! What this server is: for people who write clients, and for tests.

use serde::Serialize;

use super::reply::shown;
use super::{Answer, Call};
use crate::domain::subscriptions::KEYS_MAX;
use crate::platform::config;
use crate::wire::socket::FRAME_MAX;

/// The body of `/api/server`.
#[derive(Serialize)]
pub(super) struct Server {
    /// `open` or `verified` (C06).
    auth_mode: &'static str,
    limits: Limits,
    name: &'static str,
    version: &'static str,
}

/// The limits a client meets.
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
    /// This server, if sockets are believed (`open`) and so many requests a minute are let in.
    pub(super) fn new(open: bool, requests_per_minute: i64) -> Self {
        Self {
            auth_mode: if open { "open" } else { "verified" },
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

/// `GET /api/server`: name, version, how sockets prove whom they act for (C06), and the limits a
/// client meets.
pub(super) async fn server(call: &Call) -> Answer {
    shown(call, &Server::new(config::sockets(&call.env).open, config::rate_limit(&call.env)))
}
