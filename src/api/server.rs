//! What this server is: for people who write clients, and for tests.

use serde_json::json;

use super::reply::shown;
use super::{Answer, Call};
use crate::domain::subscriptions::KEYS_MAX;
use crate::platform::config;

/// `GET /api/server`: name, version, how sockets prove whom they act for (C06), and the limits a
/// client meets.
pub(super) async fn server(call: &Call) -> Answer {
    let open = config::sockets(&call.env).open;
    shown(
        call,
        &json!({
            "name": env!("CARGO_PKG_NAME"),
            "version": env!("CARGO_PKG_VERSION"),
            "auth_mode": if open { "open" } else { "verified" },
            "limits": {
                "messages_per_page": super::messages::PAGE_MAX,
                "rows_per_page": super::reply::PAGE_MAX,
                "body_bytes": 64 * 1024,
                "frame_bytes": 64 * 1024,
                "subscriptions_per_socket": KEYS_MAX,
                "requests_per_minute": config::rate_limit(&call.env),
            },
        }),
    )
}
