//! The reference of the API: the document `/openapi.json`, and `/docs`, the page that shows it.
//!
//! The document is written by hand, because it says what no code knows: when an answer is a 410,
//! what a field means. The tests of this file compare it with what code does know, in both
//! directions: every route and its methods, every parameter and field that a handler reads and how,
//! every field of every body and whether it can be `null`, every error with its status. The same holds
//! for `asyncapi.json`, the document of the sockets, which is served as a file (`pages.rs`).
//!
//! The page is one file that requests nothing but the document.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::reply::tagged;
use super::{Answer, Call};

/// OpenAPI 3.1.
const DOCUMENT: &str = include_str!("reference/openapi.json");

/// The page: [`HEAD`], its style, its body, its script.
const STYLE: &str = include_str!("reference/page.css");
const SCRIPT: &str = include_str!("reference/page.js");
const BODY: &str = include_str!("reference/page.html");
const HEAD: &str = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>API of colibri-edge</title>\
    <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><link rel=\"icon\" href=\"data:,\">";

/// `GET /openapi.json`: every route, its parameters, bodies and errors.
pub(super) async fn document(call: &Call) -> Answer {
    tagged(call, DOCUMENT.to_owned(), None)
}

/// `GET /docs`: the document as a page.
pub(super) async fn page(call: &Call) -> Answer {
    let page = [
        HEAD,
        "<style>",
        STYLE,
        "</style></head><body>",
        BODY,
        "<script type=\"module\">",
        SCRIPT,
        "</script></body></html>\n",
    ];
    let response = tagged(call, page.concat(), None)?;
    let headers = response.headers();
    if response.status_code() == 200 {
        headers.set("content-type", "text/html; charset=utf-8")?;
    }
    headers.set("content-security-policy", &policy())?;
    headers.set("x-content-type-options", "nosniff")?;
    headers.set("referrer-policy", "no-referrer")?;
    Ok(response)
}

/// Allows only the page's own style and script, and requests to this server only.
fn policy() -> String {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
}

#[cfg(test)]
mod tests;
