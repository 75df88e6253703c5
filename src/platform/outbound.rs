//! Requests to other hosts: the one place where the service asks anybody outside.
//!
//! Promises: each request ends within its time; a text is never longer than its limit; a redirect
//! is followed only on the same host (R21.6), so an address that was judged is the one that is
//! asked. Whom to ask is judged before (`domain::hosts`); what the statuses of others mean is the
//! caller's.

use std::pin::pin;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::{Either, select};
use url::{Origin, Url};
use worker::{
    AbortController, Delay, Fetch, Headers, Method, Request, RequestInit, RequestRedirect, Response,
};

use crate::storage::Fault;

/// Redirects followed on one host. Servers that put a slash or a prefix in front need one.
const REDIRECTS_MAX: usize = 3;
/// What the service calls itself.
const USER_AGENT: &str = concat!("colibri-edge/", env!("CARGO_PKG_VERSION"));

/// Why there is no answer.
#[derive(Debug)]
pub enum Failure {
    /// The host leads to another one, which was not judged.
    ElsewhereRefused,
    /// No answer, none in time, or one that is too long.
    Fault(Fault),
}

/// An answer of another host.
#[derive(Debug)]
pub struct Answered {
    /// Its status.
    pub status: u16,
    response: Response,
}

impl Answered {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<String> {
        self.response.headers().get(name).ok().flatten()
    }

    /// The answer itself, to be handed on without passing through memory.
    pub fn into_response(self) -> Response {
        self.response
    }
}

/// Asks for `url` and waits at most `within` for the beginning of the answer.
pub async fn get(
    doing: &'static str,
    url: &Url,
    headers: &[(&str, &str)],
    within: Duration,
) -> Result<Answered, Failure> {
    let abort = AbortController::default();
    let signal = abort.signal();
    let asked = follow(doing, url, headers, &signal);
    let answer = in_time(doing, asked, within).await;
    if answer.is_err() {
        abort.abort();
    }
    answer
}

/// Asks for `url`; the status and the whole text, which must come within `within` and be of at
/// most `max` bytes.
pub async fn get_text(
    doing: &'static str,
    url: &Url,
    headers: &[(&str, &str)],
    within: Duration,
    max: usize,
) -> Result<(u16, String), Failure> {
    let abort = AbortController::default();
    let signal = abort.signal();
    let asked = async {
        let answered = follow(doing, url, headers, &signal).await?;
        let text = text(doing, answered.response, max).await.map_err(Failure::Fault)?;
        Ok((answered.status, text))
    };
    let answer = in_time(doing, asked, within).await;
    if answer.is_err() {
        abort.abort();
    }
    answer
}

/// Posts JSON to `url`, which the operator named; the status and the whole text, as [`get_text`].
/// A redirect is no answer.
pub async fn post_json(
    doing: &'static str,
    url: &Url,
    headers: &[(&str, &str)],
    body: &str,
    within: Duration,
    max: usize,
) -> Result<(u16, String), Failure> {
    let abort = AbortController::default();
    let signal = abort.signal();
    let asked = async {
        let fault = |error: worker::Error| Failure::Fault(Fault::new(doing, error));
        let request = request(url, headers, Some(body)).map_err(fault)?;
        let response = Fetch::Request(request).send_with_signal(&signal).await.map_err(fault)?;
        let status = response.status_code();
        Ok((status, text(doing, response, max).await.map_err(Failure::Fault)?))
    };
    let answer = in_time(doing, asked, within).await;
    if answer.is_err() {
        abort.abort();
    }
    answer
}

async fn in_time<T>(
    doing: &'static str,
    work: impl Future<Output = Result<T, Failure>>,
    within: Duration,
) -> Result<T, Failure> {
    match select(pin!(work), pin!(Delay::from(within))).await {
        Either::Left((done, _)) => done,
        Either::Right(_) => {
            Err(Failure::Fault(Fault::new(doing, format!("no answer within {} ms", within.as_millis()))))
        }
    }
}

async fn follow(
    doing: &'static str,
    url: &Url,
    headers: &[(&str, &str)],
    signal: &worker::AbortSignal,
) -> Result<Answered, Failure> {
    let fault = |error: worker::Error| Failure::Fault(Fault::new(doing, error));
    let mut at = url.clone();
    for _ in 0..=REDIRECTS_MAX {
        let request = request(&at, headers, None).map_err(fault)?;
        let response = Fetch::Request(request).send_with_signal(signal).await.map_err(fault)?;
        let status = response.status_code();
        if !matches!(status, 301 | 302 | 303 | 307 | 308) {
            return Ok(Answered { status, response });
        }
        let location = response.headers().get("location").map_err(fault)?;
        let next = location.and_then(|location| at.join(&location).ok());
        match next {
            Some(next) if same_host(&next, url) => at = next,
            _ => return Err(Failure::ElsewhereRefused),
        }
    }
    Err(Failure::Fault(Fault::new(doing, "it redirects in a circle")))
}

/// The same scheme, host and port.
fn same_host(one: &Url, other: &Url) -> bool {
    matches!(one.origin(), Origin::Tuple(..)) && one.origin() == other.origin() && one.username().is_empty()
}

/// A GET, or a POST of JSON if there is a body.
fn request(url: &Url, headers: &[(&str, &str)], body: Option<&str>) -> worker::Result<Request> {
    let sent = Headers::new();
    sent.set("user-agent", USER_AGENT)?;
    for (name, value) in headers {
        sent.set(name, value)?;
    }
    let mut init = RequestInit::new();
    if let Some(body) = body {
        sent.set("content-type", "application/json")?;
        init.with_method(Method::Post).with_body(Some(body.into()));
    }
    init.with_headers(sent).with_redirect(RequestRedirect::Manual);
    Request::new_with_init(url.as_str(), &init)
}

async fn text(doing: &'static str, mut response: Response, max: usize) -> Result<String, Fault> {
    let mut bytes = Vec::new();
    // An answer without a body has no stream.
    if let Ok(mut chunks) = response.stream() {
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| Fault::new(doing, error))?;
            if bytes.len() + chunk.len() > max {
                return Err(Fault::new(doing, format!("the answer is longer than {max} bytes")));
            }
            bytes.extend_from_slice(&chunk);
        }
    }
    String::from_utf8(bytes).map_err(|error| Fault::new(doing, error))
}

#[cfg(test)]
mod tests {
    use super::same_host;

    #[test]
    fn r21_6_redirects_stay_on_the_host() {
        let url = |text: &str| url::Url::parse(text).unwrap();
        let from = url("https://pds.example.com/xrpc/x?cid=y");
        for (to, expected, why) in [
            ("/other", true, "another path"),
            ("https://pds.example.com:443/", true, "the port written out"),
            ("https://PDS.example.com/", true, "a name has no case"),
            ("https://pds.example.com:8443/", false, "another port"),
            ("http://pds.example.com/", false, "plain"),
            ("https://evil.example.com/", false, "another host"),
            ("//127.0.0.1/", false, "another host without a scheme"),
            ("https://user@pds.example.com/", false, "a name in it"),
            ("data:text/plain,x", false, "no host"),
        ] {
            assert_eq!(same_host(&from.join(to).unwrap(), &from), expected, "{to}: {why}");
        }
    }
}
