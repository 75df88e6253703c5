//! Requests to other hosts: the only place from which the service contacts the outside.
//!
//! Promises: each request ends within its time limit; a body never exceeds its limit; a redirect is
//! followed only on the same host (R21.6), so the service contacts only addresses that were judged;
//! a host that rests for an errand is not contacted (`domain::breaker`), as far as this isolate
//! knows. `domain::hosts` judges addresses beforehand; the caller interprets statuses.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::{Either, select};
use url::{Origin, Url};
use worker::{
    AbortController, ByteStream, Delay, Fetch, Headers, Method, Request, RequestInit, RequestRedirect,
    Response, js_sys::Uint8Array, wasm_bindgen::JsValue,
};

use super::clock::now;
use crate::domain::breaker::{Breaker, Errand, Outcome};
use crate::domain::fault_code::Code;
use crate::storage::Fault;
use crate::wire::rate_limit;
use crate::wire::time::Micros;

/// The most redirects on one host. Servers that add a slash or a prefix need one.
const REDIRECTS_MAX: usize = 3;
/// The service's name in each request.
const USER_AGENT: &str = concat!("colibri-edge/", env!("CARGO_PKG_VERSION"));
/// The most failing hosts that are remembered, at some hundred bytes each; the same number again
/// for hosts that anybody can name. Beyond that, further hosts are contacted as if they had not
/// failed.
const TROUBLED_MAX: usize = 1000;

type Troubled = RefCell<BTreeMap<String, Breaker>>;

thread_local! {
    // Plain data only: nothing here belongs to a request (platform facts 5.5).
    static TROUBLED: Troubled = const { RefCell::new(BTreeMap::new()) };
    static TROUBLED_OF_ANYBODY: Troubled = const { RefCell::new(BTreeMap::new()) };
}

/// Whether a request claims to come from a service of this kind, in any version.
pub fn is_ours(user_agent: &str) -> bool {
    user_agent.trim_start().starts_with("colibri-edge/")
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Failure {
    /// The host redirects to another host, which was not judged.
    ElsewhereRefused,
    /// The host was not contacted until then: it failed too often, or asked to be left alone (K07).
    Resting(Micros),
    /// There is no answer, a late one, or one that is too long.
    Fault(Fault),
}

impl Failure {
    /// As a fault, for a caller that trusts the host and only needs to know that there is no
    /// answer.
    pub fn into_fault(self, doing: &'static str) -> Fault {
        match self {
            Failure::ElsewhereRefused => Fault::coded(Code::Host, doing, "it redirects to another host"),
            Failure::Resting(until) => {
                Fault::coded(Code::Host, doing, format!("the host rests until {}", until.shown()))
            }
            Failure::Fault(fault) => fault,
        }
    }
}

/// A response of another host.
#[derive(Debug)]
pub struct Answered {
    /// The status.
    pub status: u16,
    response: Response,
}

impl Answered {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<String> {
        self.response.headers().get(name).ok().flatten()
    }

    /// The response itself, to pass on without copying it into memory.
    pub fn into_response(self) -> Response {
        self.response
    }
}

/// The limits of a body that is read in pieces.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The longest pause between two pieces.
    pub idle: Duration,
    /// The longest total time, in microseconds.
    pub in_all_micros: i64,
    /// The maximum length in bytes.
    pub bytes: u64,
}

/// A response whose body is read in pieces. Dropping it aborts the transfer.
#[derive(Debug)]
pub struct Streamed {
    /// The status.
    pub status: u16,
    /// Until when the host asks to be left alone, if it does (`Retry-After`, `RateLimit-*`).
    pub rest_until: Option<Micros>,
    body: Option<ByteStream>,
    abort: Option<AbortController>,
    bounds: Bounds,
    until: Micros,
    read: u64,
    /// The place that records its failure.
    remembered: Option<Place>,
    doing: &'static str,
}

impl Streamed {
    /// The next piece; `None` at the end. After a fault there are no more pieces.
    pub async fn next(&mut self) -> Option<Result<Vec<u8>, Fault>> {
        let mut body = self.body.take()?;
        let next = match select(pin!(body.next()), pin!(Delay::from(self.bounds.idle))).await {
            Either::Left((next, _)) => Some(next),
            Either::Right(_) => None,
        };
        let piece = match next {
            Some(None) => return None,
            Some(Some(Ok(piece))) => piece,
            Some(Some(Err(error))) => return Some(self.failed(error)),
            None => {
                let waited = format!("nothing came for {} ms", self.bounds.idle.as_millis());
                return Some(self.failed(waited));
            }
        };
        self.read = self.read.saturating_add(piece.len() as u64);
        if self.read > self.bounds.bytes {
            return Some(self.too_much(format!("the answer is longer than {} bytes", self.bounds.bytes)));
        }
        if now() > self.until {
            return Some(self.too_much("the answer takes too long"));
        }
        self.body = Some(body);
        Some(Ok(piece))
    }

    fn failed(&self, because: impl std::fmt::Display) -> Result<Vec<u8>, Fault> {
        if let Some(place) = &self.remembered {
            place.note(Outcome::Failed, None);
        }
        Err(Fault::coded(Code::Host, self.doing, because))
    }

    /// One large account does not count against its host.
    fn too_much(&self, because: impl std::fmt::Display) -> Result<Vec<u8>, Fault> {
        Err(Fault::coded(Code::Host, self.doing, because))
    }
}

impl Drop for Streamed {
    fn drop(&mut self) {
        if let Some(abort) = self.abort.take() {
            abort.abort();
        }
    }
}

/// Requests `url`, and waits at most `within` for the start of the response, whose body is then
/// read in pieces within its bounds.
pub async fn get_stream(
    doing: &'static str,
    errand: Errand<'_>,
    url: &Url,
    headers: &[(&str, &str)],
    within: Duration,
    bounds: Bounds,
) -> Result<Streamed, Failure> {
    let abort = AbortController::default();
    let signal = abort.signal();
    let asked = follow(doing, errand, url, headers, &signal);
    match in_time(doing, errand, url, asked, within).await {
        Ok(Answered { status, mut response }) => Ok(Streamed {
            status,
            rest_until: rest_until(&response),
            body: response.stream().ok(), // a response without a body has none
            abort: Some(abort),
            bounds,
            until: Micros(now().0.saturating_add(bounds.in_all_micros)),
            read: 0,
            remembered: Place::of(errand, url).into_iter().next(),
            doing,
        }),
        Err(failure) => {
            abort.abort();
            Err(failure)
        }
    }
}

/// Requests `url`, and waits at most `within` for the start of the response.
pub async fn get(
    doing: &'static str,
    errand: Errand<'_>,
    url: &Url,
    headers: &[(&str, &str)],
    within: Duration,
) -> Result<Answered, Failure> {
    let abort = AbortController::default();
    let signal = abort.signal();
    let asked = follow(doing, errand, url, headers, &signal);
    let answer = in_time(doing, errand, url, asked, within).await;
    if answer.is_err() {
        abort.abort();
    }
    answer
}

/// Requests `url`, and returns the status and the whole text, which must arrive within `within` and
/// have at most `max` bytes.
pub async fn get_text(
    doing: &'static str,
    errand: Errand<'_>,
    url: &Url,
    headers: &[(&str, &str)],
    within: Duration,
    max: usize,
) -> Result<(u16, String), Failure> {
    let abort = AbortController::default();
    let signal = abort.signal();
    let asked = async {
        let answered = follow(doing, errand, url, headers, &signal).await?;
        let text = text(doing, answered.response, max).await.map_err(Failure::Fault)?;
        Ok((answered.status, text))
    };
    let answer = in_time(doing, errand, url, asked, within).await;
    if answer.is_err() {
        abort.abort();
    }
    answer
}

/// Posts JSON to `url`, which the operator named, and returns as [`get_text`]. A redirect does not
/// count as an answer.
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
        let fault = |error: worker::Error| Failure::Fault(Fault::coded(Code::Host, doing, error));
        let request = request(url, headers, Some(body)).map_err(fault)?;
        let response = Fetch::Request(request).send_with_signal(&signal).await.map_err(fault)?;
        let status = response.status_code();
        answered(Errand::Trusted, url, status, rest_until(&response));
        Ok((status, text(doing, response, max).await.map_err(Failure::Fault)?))
    };
    let answer = in_time(doing, Errand::Trusted, url, asked, within).await;
    if answer.is_err() {
        abort.abort();
    }
    answer
}

/// Posts JSON to `url`, and returns the status. The body of the answer is not read, and a redirect is not followed.
pub async fn post(
    doing: &'static str,
    errand: Errand<'_>,
    url: &Url,
    headers: &[(&str, &str)],
    body: &str,
    within: Duration,
) -> Result<u16, Failure> {
    match status(doing, errand, url, request(url, headers, Some(body)), within).await? {
        300..=399 => Err(Failure::ElsewhereRefused),
        status => Ok(status),
    }
}

/// What [`post_push`] does, for its faults.
pub const PUSHING: &str = "pushing to a browser";

/// Posts an encrypted push to a push service, and returns the status of its answer. A redirect is an answer, too.
pub async fn post_push(
    did: &str,
    url: &Url,
    headers: &[(&str, &str)],
    body: &[u8],
    within: Duration,
) -> Result<u16, Failure> {
    let body = Uint8Array::from(body).into();
    status(PUSHING, Errand::Push(did), url, sending(url, headers, Some(body)), within).await
}

/// Sends a request, and returns the status of the answer, whose body is not read.
async fn status(
    doing: &'static str,
    errand: Errand<'_>,
    url: &Url,
    request: worker::Result<Request>,
    within: Duration,
) -> Result<u16, Failure> {
    let abort = AbortController::default();
    let signal = abort.signal();
    let asked = async {
        let fault = |error: worker::Error| Failure::Fault(Fault::coded(Code::Host, doing, error));
        let request = request.map_err(fault)?;
        let response = Fetch::Request(request).send_with_signal(&signal).await.map_err(fault)?;
        let status = response.status_code();
        answered(errand, url, status, rest_until(&response));
        Ok(status)
    };
    let answer = in_time(doing, errand, url, asked, within).await;
    abort.abort(); // also the rest of an answer that nobody reads
    answer
}

/// Runs the request unless the host of `url` rests, and records its outcome.
async fn in_time<T>(
    doing: &'static str,
    errand: Errand<'_>,
    url: &Url,
    work: impl Future<Output = Result<T, Failure>>,
    within: Duration,
) -> Result<T, Failure> {
    if let Some(until) = Place::of(errand, url).iter().filter_map(Place::rests_until).max() {
        return Err(Failure::Resting(until));
    }
    let done = match select(pin!(work), pin!(Delay::from(within))).await {
        Either::Left((done, _)) => done,
        Either::Right(_) => Err(Failure::Fault(Fault::coded(
            Code::Host,
            doing,
            format!("no answer within {} ms", within.as_millis()),
        ))),
    };
    if matches!(done, Err(Failure::Fault(_))) {
        noted(errand, url, Outcome::Failed, None);
    }
    done
}

/// The record of a host, for an errand.
#[derive(Clone, Debug)]
struct Place {
    name: String,
    /// Which map it is in, and how long the host may rest.
    errand: Errand<'static>,
    /// Whether it concerns one person only.
    of_one: bool,
}

impl Place {
    /// The keys of a host: first the one for everybody with this errand, then the one for this
    /// person.
    fn of(errand: Errand<'_>, url: &Url) -> Vec<Self> {
        let host = url.origin().ascii_serialization();
        let kind = match errand {
            Errand::Stranger(_) => Errand::Stranger(""),
            Errand::Webhook(_) => Errand::Webhook(""),
            Errand::Trusted => Errand::Trusted,
            Errand::TrustedForStrangers => Errand::TrustedForStrangers,
            Errand::Known => Errand::Known,
            Errand::Document => Errand::Document,
            Errand::Proof => Errand::Proof,
            Errand::Push(_) => Errand::Push(""),
        };
        let all = Self { name: errand.name(&host), errand: kind, of_one: false };
        let one = errand.name_of_one(&host).map(|name| Self { name, errand: kind, of_one: true });
        [Some(all), one].into_iter().flatten().collect()
    }

    fn all<T>(&self, act: impl FnOnce(&mut BTreeMap<String, Breaker>) -> T) -> T {
        let all = if self.errand.is_anybodys() { &TROUBLED_OF_ANYBODY } else { &TROUBLED };
        all.with_borrow_mut(act)
    }

    fn rests_until(&self) -> Option<Micros> {
        self.all(|all| all.get(&self.name).and_then(|one| one.rests_until(now())))
    }

    /// Records the outcome for a host.
    fn note(&self, outcome: Outcome, rest_until: Option<Micros>) {
        let at = now();
        self.all(|all| {
            let known = all.get_mut(&self.name);
            if known.is_none() && outcome == Outcome::Answered && rest_until.is_none() {
                return; // a success
            }
            if known.is_none() && all.len() >= TROUBLED_MAX {
                all.retain(|_, breaker| breaker.rests_until(at).is_some());
                if all.len() >= TROUBLED_MAX {
                    return;
                }
            }
            let breaker = all.entry(self.name.clone()).or_default();
            breaker.on(self.errand, outcome, rest_until, at);
            if breaker.is_idle(at) {
                all.remove(&self.name);
            }
        });
    }
}

/// Records a request that ended without an answer.
fn noted(errand: Errand<'_>, url: &Url, outcome: Outcome, rest_until: Option<Micros>) {
    for place in Place::of(errand, url) {
        place.note(outcome, rest_until);
    }
}

/// Records an answer. What a host answers about one stranger counts for that stranger only.
fn answered(errand: Errand<'_>, url: &Url, status: u16, rest_until: Option<Micros>) {
    let places = Place::of(errand, url);
    let for_one = places.iter().any(|place| place.of_one);
    for place in places {
        let for_all = for_one && !place.of_one;
        let outcome = if for_all { Outcome::Answered } else { outcome_of(status) };
        place.note(outcome, rest_until.filter(|_| !for_all || errand.is_asked_for_all()));
    }
}

/// Whether a status is the host's own failure. A refusal is a valid answer; "too many requests" is
/// neither, and says itself how long to wait.
fn outcome_of(status: u16) -> Outcome {
    if status >= 500 { Outcome::Failed } else { Outcome::Answered }
}

fn rest_until(response: &Response) -> Option<Micros> {
    let header = |name: &str| response.headers().get(name).ok().flatten();
    let (retry_after, remaining, reset) =
        (header("retry-after"), header("ratelimit-remaining"), header("ratelimit-reset"));
    let headers = rate_limit::Headers {
        retry_after: retry_after.as_deref(),
        remaining: remaining.as_deref(),
        reset: reset.as_deref(),
    };
    headers.rest_until(now())
}

async fn follow(
    doing: &'static str,
    errand: Errand<'_>,
    url: &Url,
    headers: &[(&str, &str)],
    signal: &worker::AbortSignal,
) -> Result<Answered, Failure> {
    let fault = |error: worker::Error| Failure::Fault(Fault::coded(Code::Host, doing, error));
    let mut at = url.clone();
    for _ in 0..=REDIRECTS_MAX {
        let request = request(&at, headers, None).map_err(fault)?;
        let response = Fetch::Request(request).send_with_signal(signal).await.map_err(fault)?;
        let status = response.status_code();
        if !matches!(status, 301 | 302 | 303 | 307 | 308) {
            answered(errand, url, status, rest_until(&response));
            return Ok(Answered { status, response });
        }
        let location = response.headers().get("location").map_err(fault)?;
        let next = location.and_then(|location| at.join(&location).ok());
        match next {
            Some(next) if same_host(&next, url) => at = next,
            _ => return Err(Failure::ElsewhereRefused),
        }
    }
    Err(Failure::Fault(Fault::coded(Code::Host, doing, "it redirects in a circle")))
}

/// Whether scheme, host and port are the same.
fn same_host(one: &Url, other: &Url) -> bool {
    matches!(one.origin(), Origin::Tuple(..)) && one.origin() == other.origin() && one.username().is_empty()
}

/// A GET, or a POST of JSON if there is a body.
fn request(url: &Url, headers: &[(&str, &str)], body: Option<&str>) -> worker::Result<Request> {
    let json = body.map(|_| ("content-type", "application/json"));
    let headers: Vec<_> = headers.iter().copied().chain(json).collect();
    sending(url, &headers, body.map(JsValue::from))
}

/// A request with these headers; a POST if it has a body. Redirects are not followed.
fn sending(url: &Url, headers: &[(&str, &str)], body: Option<JsValue>) -> worker::Result<Request> {
    let sent = Headers::new();
    sent.set("user-agent", USER_AGENT)?;
    for (name, value) in headers {
        sent.set(name, value)?;
    }
    let mut init = RequestInit::new();
    if body.is_some() {
        init.with_method(Method::Post).with_body(body);
    }
    init.with_headers(sent).with_redirect(RequestRedirect::Manual);
    Request::new_with_init(url.as_str(), &init)
}

async fn text(doing: &'static str, mut response: Response, max: usize) -> Result<String, Fault> {
    let mut bytes = Vec::new();
    // A response without a body has no stream.
    if let Ok(mut chunks) = response.stream() {
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| Fault::coded(Code::Host, doing, error))?;
            if bytes.len() + chunk.len() > max {
                return Err(Fault::coded(
                    Code::Host,
                    doing,
                    format!("the answer is longer than {max} bytes"),
                ));
            }
            bytes.extend_from_slice(&chunk);
        }
    }
    String::from_utf8(bytes).map_err(|error| Fault::coded(Code::Host, doing, error))
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
