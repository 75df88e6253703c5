//! Which pages of other origins may read answers (H30), open sockets and send proofs (X25).

use url::Url;
use worker::{Request, Response, Result};

use super::error::ApiError;
use super::{Answer, empty};

const METHODS: &str = "GET, POST, PUT, PATCH, DELETE, OPTIONS";
const HEADERS: &str = "Authorization, Content-Type, Idempotency-Key, Range, If-None-Match, \
                       Atproto-Proxy, Atproto-Accept-Labelers";
const EXPOSED: &str = "RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, Retry-After, \
                       Colibri-Cursor, ETag, Content-Range, Atproto-Repo-Rev, \
                       Content-Length, Accept-Ranges";

/// `OPTIONS` on any path (H09).
pub(super) fn preflight() -> Answer {
    let response = empty(204)?;
    response.headers().set("access-control-max-age", "86400")?;
    Ok(response)
}

/// Refuses a page of an unlisted origin that opens a socket or sends an `Authorization` (X25).
/// Browsers name the origin; other programs name none and are not refused.
pub(super) fn admit(
    request: &Request,
    origins: &[String],
    origin: Option<&str>,
) -> std::result::Result<(), ApiError> {
    let Some(origin) = origin.filter(|_| !origins.is_empty()) else { return Ok(()) };
    let headers = request.headers();
    let asks = headers.has("upgrade").unwrap_or(true) || headers.has("authorization").unwrap_or(true);
    let host = headers.get("host").ok().flatten();
    if asks && !is_allowed(origins, origin) && !is_own(origin, host.as_deref()) {
        return Err(ApiError::Forbidden("pages of this origin are not allowed here (ALLOWED_ORIGINS)"));
    }
    Ok(())
}

fn is_allowed(origins: &[String], origin: &str) -> bool {
    origins.iter().any(|allowed| allowed == origin)
}

/// Whether the page belongs to this service. A proxy may terminate TLS, so the scheme does not
/// count.
fn is_own(origin: &str, host: Option<&str>) -> bool {
    let Ok(url) = Url::parse(origin) else { return false };
    let of_page = url.host_str().map(|name| match url.port() {
        Some(port) => format!("{name}:{port}"),
        None => name.to_owned(),
    });
    of_page.is_some() && of_page.as_deref() == host
}

/// Adds the headers of H30 to an answer, errors included.
pub(super) fn allow(response: Response, origins: &[String], origin: Option<&str>) -> Result<Response> {
    let headers = response.headers();
    if origins.is_empty() {
        headers.set("access-control-allow-origin", "*")?;
    } else if let Some(origin) = origin.filter(|origin| is_allowed(origins, origin)) {
        headers.set("access-control-allow-origin", origin)?;
        headers.append("vary", "Origin")?;
    }
    headers.set("access-control-allow-methods", METHODS)?;
    headers.set("access-control-allow-headers", HEADERS)?;
    headers.set("access-control-expose-headers", EXPOSED)?;
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x25_a_page_of_this_service_is_known_by_its_host() {
        for (origin, host, own) in [
            ("https://chat.test", "chat.test", true),
            ("http://chat.test", "chat.test", true),
            ("http://127.0.0.1:8787", "127.0.0.1:8787", true),
            ("http://[::1]:8787", "[::1]:8787", true),
            ("http://127.0.0.1:8788", "127.0.0.1:8787", false),
            ("https://chat.test.evil.test", "chat.test", false),
            ("null", "chat.test", false),
            ("", "", false),
        ] {
            assert_eq!(is_own(origin, Some(host)), own, "{origin} at {host}");
        }
        assert!(!is_own("https://chat.test", None));
    }
}
