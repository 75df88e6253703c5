//! Security headers (H16), on every response, errors included.
//!
//! A handler that serves a page or a file sets stricter ones; those stay.

use worker::{Response, Result};

/// The headers of every answer, unless its handler sets them. Pages of other origins may read and
/// embed answers (H30 says which); an answer is never a document of its own.
const HEADERS: [(&str, &str); 5] = [
    ("x-content-type-options", "nosniff"),
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "cross-origin"),
];
/// For a year, after a browser connected over TLS. Over plain HTTP browsers ignore it, so it is not
/// sent.
const TLS_ONLY: (&str, &str) = ("strict-transport-security", "max-age=31536000");

/// Adds the headers that a response lacks.
pub(super) fn protect(response: &Response, over_tls: bool) -> Result<()> {
    let headers = response.headers();
    for (name, value) in HEADERS.into_iter().chain(over_tls.then_some(TLS_ONLY)) {
        if !headers.has(name)? {
            headers.set(name, value)?;
        }
    }
    Ok(())
}
