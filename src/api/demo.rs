//! The call demo: one page that loads nothing from the internet, and a working example of
//! signaling.

use worker::{Headers, Response};

use super::pages::own_sockets;
use super::{Answer, Call};

const PAGE: &str = include_str!("demo/call.html");
const LOOKS: &str = include_str!("demo/call.css");
const SCRIPT: &str = include_str!("demo/call.js");

/// `GET /demo/call`.
pub(super) async fn page(call: &Call) -> Answer {
    let response = file(PAGE, "text/html; charset=utf-8")?;
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; \
         connect-src 'self' {}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        own_sockets(call)?
    );
    let headers = response.headers();
    headers.set("content-security-policy", &policy)?;
    headers.set("permissions-policy", "camera=(self), microphone=(self)")?;
    headers.set("referrer-policy", "no-referrer")?;
    Ok(response)
}

/// `GET /demo/call.css`.
pub(super) async fn looks(_: &Call) -> Answer {
    file(LOOKS, "text/css; charset=utf-8")
}

/// `GET /demo/call.js`.
pub(super) async fn script(_: &Call) -> Answer {
    file(SCRIPT, "text/javascript; charset=utf-8")
}

fn file(text: &str, kind: &str) -> Answer {
    let headers = Headers::new();
    headers.set("content-type", kind)?;
    headers.set("cache-control", "no-cache")?;
    headers.set("x-content-type-options", "nosniff")?;
    Ok(Response::ok(text)?.with_headers(headers))
}
