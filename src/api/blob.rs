//! Blobs from other people's repositories: R21, N160k.
//!
//! Up to a size, a blob is verified against its CID before the first byte is sent, and then cached,
//! so that ranges come from verified bytes (R21.2, R21.3). Larger blobs pass through without being
//! buffered. Because a blob may come from anywhere, a browser shows it as media or downloads it,
//! and never as a page of this origin (R21.5).

use std::time::Duration;

use url::Url;
use worker::{Env, Headers, Response};

use super::error::ApiError;
use super::identity::refused;
use super::{Answer, Call, empty, erasure};
use crate::domain::breaker::Errand;
use crate::domain::fault_code::Code;
use crate::platform::blob_relay;
use crate::platform::blobs::{self, Blob, Compared};
use crate::platform::config;
use crate::platform::d1::D1;
use crate::platform::identity::{self, Recalled, Unresolved};
use crate::platform::log;
use crate::platform::memory::{Pool, Slot};
use crate::platform::outbound::{Answered, Failure, get};
use crate::storage::{Fault, erasures};
use crate::wire::cid::Cid;
use crate::wire::ids::Did;
use crate::wire::media::{attachment, may_show};
use crate::wire::range::Range;
use crate::wire::xrpc::address;
use crate::wire::{etag, range};

/// How long a PDS may take to start its response.
const WITHIN: Duration = Duration::from_secs(10);

/// The longest name of a download, in characters.
const NAME_MAX: usize = 256;

/// The request for a blob.
struct Wanted<'c> {
    call: &'c Call,
    did: Did,
    cid: Cid,
    range: Option<Range>,
    tag: String,
    /// Whether the client only asks if the blob exists (`If-None-Match: *`).
    whatever: bool,
}

/// R21 `GET /api/blob`: a blob, from the cache or from its owner's PDS. The first rule that applies
/// decides:
///   1. a client that has it gets a 304 at once: the contents of a CID never change;
///   2. a cached blob is verified, and is served;
///   3. an erased person has no blobs (I57);
///   4. a blob from the PDS is verified and served, unless it is larger than `BLOB_VERIFY_MAX`, and
///      cached if it is requested by range or a second time;
///   5. a larger blob is relayed, with the PDS's own ranges.
pub(super) async fn blob(call: &Call) -> Answer {
    let (did, cid) = (call.query.did("did")?, call.query.cid("cid")?);
    let tag = format!("\"{cid}\"");
    let known = call.header("if-none-match");
    // `*` asks whether the blob exists, which only the PDS knows.
    let whatever = known.as_ref().is_some_and(|known| known.trim() == "*");
    if !whatever && known.is_some_and(|known| etag::names(&known, &tag)) {
        return with_headers(empty(304)?, &tag);
    }
    // A range of another version does not apply (RFC 9110, 13.1.5).
    let same = call.header("if-range").is_none_or(|condition| condition.trim() == tag);
    let range = call.header("range").filter(|_| same).as_deref().and_then(range::single);
    let hash = cid.sha256().ok_or(ApiError::NotFound("there is no such blob"))?;
    let wanted = Wanted { call, did, cid, range, tag, whatever };
    let key = wanted.key();
    match blobs::cached(&key, range).await {
        Ok(Some((status, response))) => return wanted.cached(status, response),
        Ok(None) => {}
        Err(fault) => log::fault(&fault, "the cache is skipped and the blob is fetched"),
    }
    // An erasure purges only the cache of the location where it ran.
    if erasure::is_erased(call, &wanted.did).await? {
        return Err(ApiError::NotFound("there is no such blob"));
    }
    let Fetched { answered, slot, is_known } = fetch(&wanted).await?;
    match blobs::compare(found(answered)?, &hash, config::blob_verify_max(&call.env), slot).await {
        Ok(Compared::Fits(blob)) => wanted.compared(blob, key, is_known),
        Ok(Compared::Differs) => Err(upstream("the bytes are not those that the CID names")),
        Ok(Compared::TooLarge(Some(answered))) if range.is_none() => wanted.relay(answered),
        Ok(Compared::TooLarge(_)) => {
            let recalled = resolve(&wanted).await?;
            let (answered, _) = ask(&wanted, &recalled.account.pds, recalled.is_known, range).await?;
            wanted.relay(found(answered)?)
        }
        Err(fault) => {
            log::fault(&fault, "the caller gets an error");
            Err(ApiError::Upstream("the PDS of this did does not send this blob"))
        }
    }
}

/// N160k `com.atproto.sync.getBlob`: as R21, with `filename` for downloading it under that name.
pub(super) async fn get_blob(call: &Call) -> Answer {
    let answer = blob(call).await?;
    if let Some(name) = call.query.optional("filename") {
        let name: String = name.chars().take(NAME_MAX).collect();
        answer.headers().set("content-disposition", &attachment(&name))?;
    }
    Ok(answer)
}

/// The response of a PDS that has the blob.
fn found(answered: Answered) -> Result<Answered, ApiError> {
    match answered.status {
        200 | 206 => Ok(answered),
        416 => Err(ApiError::InvalidRange(answered.header("content-range"))),
        // A PDS answers 400 if the blob, the repository or the account does not exist.
        400 | 404 => Err(ApiError::NotFound("there is no such blob")),
        status => Err(upstream(&format!("status {status}"))),
    }
}

/// The response of a PDS.
struct Fetched {
    answered: Answered,
    slot: Slot,
    /// Whether the index knows the owner.
    is_known: bool,
}

/// Requests the whole blob from the PDS once there is a slot. If a cached address does not have it,
/// the account may have moved, so its document is fetched again.
async fn fetch(wanted: &Wanted<'_>) -> Result<Fetched, ApiError> {
    let Recalled { account, remembered, is_known } = resolve(wanted).await?;
    let of = |(answered, slot): (Answered, Slot)| Fetched { answered, slot, is_known };
    let first = ask(wanted, &account.pds, is_known, None).await;
    if !remembered || matches!(&first, Ok((answered, _)) if answered.status == 200) {
        return first.map(of);
    }
    let (db, outside) = (wanted.call.db()?, wanted.call.outside()?);
    let again = identity::recall_anew(&db, &wanted.did, &outside, is_known).await.map_err(unresolved)?;
    let answered =
        if again.pds == account.pds { first } else { ask(wanted, &again.pds, is_known, None).await };
    answered.map(of)
}

async fn resolve(wanted: &Wanted<'_>) -> Result<Recalled, ApiError> {
    let (db, outside) = (wanted.call.db()?, wanted.call.outside()?);
    identity::recall(&db, &wanted.did, &outside).await.map_err(unresolved)
}

fn unresolved(unresolved: Unresolved) -> ApiError {
    refused(unresolved, "this did resolves to no PDS")
}

async fn ask(
    wanted: &Wanted<'_>,
    pds: &Url,
    is_known: bool,
    range: Option<Range>,
) -> Result<(Answered, Slot), ApiError> {
    let named = [("did", wanted.did.as_str()), ("cid", wanted.cid.as_str())];
    let url = address(pds, "com.atproto.sync.getBlob", &named);
    let range = range.map(|range| range.to_string());
    // Uncompressed bytes: a compressed body has no ranges and no length.
    let mut headers = vec![("accept-encoding", "identity")];
    headers.extend(range.as_deref().map(|range| ("range", range)));
    let host = pds.origin().ascii_serialization();
    let slot = Pool::Blobs.slot(&host).await;
    let slot =
        slot.map_err(|_| ApiError::Upstream("too many blobs are being downloaded, try again later"))?;
    let errand = if is_known { Errand::Known } else { Errand::Stranger(wanted.did.as_str()) };
    match get("fetching a blob", errand, &url, &headers, WITHIN).await {
        Ok(answered) => Ok((answered, slot)),
        Err(Failure::ElsewhereRefused) => Err(ApiError::NotFound("this did resolves to no PDS")),
        Err(Failure::Resting(_)) => {
            Err(ApiError::Upstream("the PDS of this did is failing, try again later"))
        }
        Err(Failure::Fault(fault)) => {
            log::fault(&fault, "the caller gets an error");
            Err(ApiError::Upstream("the PDS of this did does not answer"))
        }
    }
}

fn upstream(because: &str) -> ApiError {
    log::problem(
        Code::Host,
        log::Level::Warn,
        "a PDS did not send a blob; the caller gets an error",
        &serde_json::json!({ "because": because }),
    );
    ApiError::Upstream("the PDS of this did failed")
}

impl Wanted<'_> {
    /// Its key in the cache. The key contains the owner, because the owner chooses the media type
    /// of the bytes, and another owner of the same bytes may choose another one. On one machine it
    /// does not contain the `Host` that a caller sends, because each name would create a copy.
    fn key(&self) -> String {
        let here = config::listens_on(&self.call.env).map(|address| format!("http://{address}"));
        let asked = || Some(self.call.request.url().ok()?.origin().ascii_serialization());
        let origin = here.or_else(asked).unwrap_or_else(|| "https://colibri.invalid".into());
        format!("{origin}/api/blob/{}/{}", self.did, self.cid)
    }

    fn cached(&self, status: u16, response: Response) -> Answer {
        if self.whatever {
            return with_headers(empty(304)?, &self.tag);
        }
        let header = |name: &str| response.headers().get(name).ok().flatten();
        let (kind, length, part) =
            (header("content-type"), header("content-length"), header("content-range"));
        if status == 416 {
            return Err(ApiError::InvalidRange(part));
        }
        // A cache may answer with the whole blob where the range covers all of it.
        let size = length.as_deref().and_then(|text| text.parse().ok());
        if let (200, Some(range), Some(size)) = (status, self.range, size) {
            match range.within(size) {
                None => return Err(ApiError::InvalidRange(Some(format!("bytes */{size}")))),
                Some((0, last)) if last + 1 == size => {
                    let part = format!("bytes 0-{last}/{size}");
                    return self.answer(response, 206, kind.as_deref(), length.as_deref(), Some(&part));
                }
                Some(_) => {} // ignoring a range is allowed (RFC 9110, 14.2)
            }
        }
        self.answer(response, status, kind.as_deref(), length.as_deref(), part.as_deref())
    }

    /// Serves verified bytes, and caches them afterwards if that is worthwhile.
    fn compared(&self, blob: Blob, key: String, is_known: bool) -> Answer {
        let size = blob.size();
        let part = self.range.map(|range| range.within(size));
        let answer = match part {
            _ if self.whatever => with_headers(empty(304)?, &self.tag),
            Some(None) => Err(ApiError::InvalidRange(Some(format!("bytes */{size}")))),
            Some(Some((first, last))) => {
                let length = (last - first + 1).to_string();
                let place = format!("bytes {first}-{last}/{size}");
                let response = blob.answer(Some((first, last)))?;
                self.answer(response, 206, blob.kind(), Some(&length), Some(&place))
            }
            None => self.answer(blob.answer(None)?, 200, blob.kind(), Some(&size.to_string()), None),
        };
        // A client that requests a range will request more of them.
        if blobs::is_asked_again(&key) || self.range.is_some() {
            let (env, did) = (self.call.env.clone(), self.did.clone());
            self.call.after_answer(async move {
                if let Err(fault) = keep(&env, &blob, &key, &did, is_known).await {
                    log::fault(&fault, "the blob is not cached and is fetched again at the next request");
                }
            });
        }
        answer
    }

    /// Passes on bytes that are not verified.
    fn relay(&self, answered: Answered) -> Answer {
        if self.whatever {
            return with_headers(empty(304)?, &self.tag);
        }
        let kind = answered.header("content-type");
        // The runtime decompresses a body, after which its length is unknown.
        let length =
            answered.header("content-length").filter(|_| answered.header("content-encoding").is_none());
        let (status, part) = (answered.status, answered.header("content-range"));
        let body = blob_relay::relay(answered, length.as_deref().and_then(|text| text.parse().ok()))?;
        self.answer(body, status, kind.as_deref(), length.as_deref(), part.as_deref())
    }

    /// The body of `response`, with this service's headers (R21.4, R21.5).
    fn answer(
        &self,
        response: Response,
        status: u16,
        kind: Option<&str>,
        length: Option<&str>,
        part: Option<&str>,
    ) -> Answer {
        let headers = Headers::new();
        let kind = kind.unwrap_or(blobs::UNKNOWN);
        headers.set("content-type", kind)?;
        if !may_show(kind) {
            headers.set("content-disposition", "attachment")?;
        }
        for (name, value) in [("content-length", length), ("content-range", part)] {
            if let Some(value) = value {
                headers.set(name, value)?;
            }
        }
        let body = response.body().clone();
        with_headers(Response::from_body(body)?.with_status(status).with_headers(headers), &self.tag)
    }
}

/// Caches a blob, unless its owner was erased while it was being fetched: an erasure looks for cached blobs
/// only once (I56).
async fn keep(env: &Env, blob: &Blob, key: &str, did: &Did, is_known: bool) -> Result<(), Fault> {
    blob.keep(key, is_known).await?;
    let erased = match D1::of(env) {
        Ok(db) => erasures::find(&db, did).await.map(|found| found.is_some()),
        Err(fault) => Err(fault),
    };
    if !matches!(erased, Ok(false)) {
        blobs::forget(key).await?;
    }
    erased.map(drop)
}

fn with_headers(response: Response, tag: &str) -> Answer {
    let headers = response.headers();
    headers.set("etag", tag)?;
    headers.set("cache-control", "public, max-age=31536000, immutable")?;
    headers.set("accept-ranges", "bytes")?;
    headers.set("x-content-type-options", "nosniff")?;
    headers.set("content-security-policy", "sandbox; default-src 'none'")?;
    Ok(response)
}
