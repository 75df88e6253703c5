//! Blobs of other people's repositories: R21.
//!
//! The bytes pass through without touching memory. Because they come from anywhere, they arrive
//! in a browser as what they are or as a download, never as a page of this origin (R21.5).

use std::time::Duration;

use url::Url;
use worker::{Headers, Response};

use super::error::ApiError;
use super::{Answer, Call, empty};
use crate::platform::config;
use crate::platform::identity::{self, Unresolved};
use crate::platform::log;
use crate::platform::outbound::{Answered, Failure, get};
use crate::wire::cid::Cid;
use crate::wire::ids::Did;
use crate::wire::media::may_show;
use crate::wire::{etag, range};

/// How long a PDS may take until its answer begins.
const WITHIN: Duration = Duration::from_secs(10);

/// R21 `GET /api/blob`: a blob, from the PDS of its owner.
pub(super) async fn blob(call: &Call) -> Answer {
    let (did, cid) = (call.query.did("did")?, call.query.cid("cid")?);
    let tag = format!("\"{cid}\"");
    let known = call.header("if-none-match");
    // `*` asks whether there is anything at all, which only the PDS can say.
    let whatever = known.as_ref().is_some_and(|known| known.trim() == "*");
    // What a CID names never changes, so who has it need not wait for a PDS.
    if !whatever && known.is_some_and(|known| etag::names(&known, &tag)) {
        return with_headers(empty(304)?, &tag);
    }
    let answered = fetch(call, &did, &cid).await?;
    match answered.status {
        200 | 206 if whatever => with_headers(empty(304)?, &tag),
        status @ (200 | 206) => relay(answered, status, &tag),
        416 => Err(ApiError::InvalidRange(answered.header("content-range"))),
        // A PDS says 400 for a blob, a repository or an account that is not there.
        400 | 404 => Err(ApiError::NotFound("there is no such blob")),
        status => Err(upstream(&format!("status {status}"))),
    }
}

/// Asks the PDS. Where a remembered address does not have it, the account may have moved: its
/// document is asked for once more.
async fn fetch(call: &Call, did: &Did, cid: &Cid) -> Result<Answered, ApiError> {
    let (db, outside) = (call.db()?, config::outside(&call.env));
    let (account, remembered) = identity::recall(&db, did, &outside).await.map_err(unresolved)?;
    let first = ask(call, &account.pds, did, cid).await;
    if !remembered || matches!(&first, Ok(answered) if matches!(answered.status, 200 | 206 | 416)) {
        return first;
    }
    let again = identity::refresh(&db, did, &outside).await.map_err(unresolved)?;
    if again.pds == account.pds { first } else { ask(call, &again.pds, did, cid).await }
}

fn unresolved(unresolved: Unresolved) -> ApiError {
    match unresolved {
        Unresolved::Nowhere => ApiError::NotFound("this did leads to no server"),
        Unresolved::Fault(fault) => {
            log::fault(&fault, "the caller is told so");
            ApiError::Upstream("this did could not be resolved")
        }
    }
}

async fn ask(call: &Call, pds: &Url, did: &Did, cid: &Cid) -> Result<Answered, ApiError> {
    let path = format!("{}/xrpc/com.atproto.sync.getBlob", pds.as_str().trim_end_matches('/'));
    let url = Url::parse_with_params(&path, [("did", did.as_str()), ("cid", cid.as_str())])
        .map_err(|_| ApiError::NotFound("this did leads to no server"))?;
    let range = call.header("range").as_deref().and_then(range::single);
    // Bytes as they are: a compressed body has no ranges and no length.
    let mut headers = vec![("accept-encoding", "identity")];
    headers.extend(range.as_deref().map(|range| ("range", range)));
    match get("fetching a blob", &url, &headers, WITHIN).await {
        Ok(answered) => Ok(answered),
        Err(Failure::ElsewhereRefused) => Err(ApiError::NotFound("this did leads to no server")),
        Err(Failure::Resting(_)) => {
            Err(ApiError::Upstream("the server of this did is left alone for a while"))
        }
        Err(Failure::Fault(fault)) => {
            log::fault(&fault, "the caller is told so");
            Err(ApiError::Upstream("the server of this did does not answer"))
        }
    }
}

fn upstream(because: &str) -> ApiError {
    log::line(
        log::Level::Warn,
        "a PDS did not give a blob; the caller is told so",
        &serde_json::json!({ "because": because }),
    );
    ApiError::Upstream("the server of this did failed")
}

/// Hands the bytes on, with headers of our own (R21.4, R21.5).
fn relay(answered: Answered, status: u16, tag: &str) -> Answer {
    let headers = Headers::new();
    let kind = answered.header("content-type").unwrap_or_else(|| "application/octet-stream".into());
    headers.set("content-type", &kind)?;
    if !may_show(&kind) {
        headers.set("content-disposition", "attachment")?;
    }
    for name in ["content-length", "content-range"] {
        if let Some(value) = answered.header(name) {
            headers.set(name, &value)?;
        }
    }
    let body = answered.into_response().body().clone();
    with_headers(Response::from_body(body)?.with_status(status).with_headers(headers), tag)
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
