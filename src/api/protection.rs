//! Headers that keep a browser from making more of an answer than it is (H16): on every response, errors too.
//!
//! A handler that serves a page or a file says more narrowly what it may do; what it says stays.

use worker::{Response, Result};

/// What every answer says unless its handler says something else. Answers may be read and embedded by
/// pages of other origins (H30 says by which); they are never documents of their own.
const HEADERS: [(&str, &str); 5] = [
    ("x-content-type-options", "nosniff"),
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "cross-origin"),
];
/// For a year, once a browser has come over TLS; over plain HTTP it is ignored, and not sent.
const TLS_ONLY: (&str, &str) = ("strict-transport-security", "max-age=31536000");

/// Adds the headers that a response has not got.
pub(super) fn protect(response: &Response, over_tls: bool) -> Result<()> {
    let headers = response.headers();
    for (name, value) in HEADERS.into_iter().chain(over_tls.then_some(TLS_ONLY)) {
        if headers.get(name)?.is_none() {
            headers.set(name, value)?;
        }
    }
    Ok(())
}
