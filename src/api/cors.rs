//! Who may read answers from another origin (H30). Governs headers only.

use worker::{Response, Result};

use super::{Answer, empty};

const METHODS: &str = "GET, POST, PUT, PATCH, DELETE, OPTIONS";
const HEADERS: &str = "Authorization, Content-Type, Idempotency-Key, Range, If-None-Match";
const EXPOSED: &str = "RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, Retry-After, \
                       Colibri-Cursor, ETag, Content-Range, Atproto-Repo-Rev";

/// `OPTIONS` on any path (H09).
pub(super) fn preflight() -> Answer {
    let response = empty(204)?;
    response.headers().set("access-control-max-age", "86400")?;
    Ok(response)
}

/// Adds the headers of H30 to an answer, errors too.
pub(super) fn allow(response: Response, origins: &[String], origin: Option<&str>) -> Result<Response> {
    let headers = response.headers();
    if origins.is_empty() {
        headers.set("access-control-allow-origin", "*")?;
    } else if let Some(origin) = origin.filter(|origin| origins.iter().any(|allowed| allowed == origin)) {
        headers.set("access-control-allow-origin", origin)?;
        headers.append("vary", "Origin")?;
    }
    headers.set("access-control-allow-methods", METHODS)?;
    headers.set("access-control-allow-headers", HEADERS)?;
    headers.set("access-control-expose-headers", EXPOSED)?;
    Ok(response)
}
