//! The answers to reads: JSON, whole, in pages or streamed, and the tag for conditional requests
//! (H12, H15, H40).
//!
//! The tag is a SHA-256 of the answer. A version number would be cheaper to compare, but none
//! covers everything in an answer: a community's `seq` does not change with names, avatars,
//! presence or bans; the numbers of editions change with those, but not with voice, and do not
//! survive a restart. If such a number missed a change, a client would keep an old answer for good;
//! a hash of the bytes misses nothing. It costs a fifth of a millisecond for a page of messages and
//! nothing for a cached answer, and saves the slow part for clients: the bytes. `Cache-Control:
//! no-cache` makes browsers send the tag themselves, and keeps them from showing an answer that
//! they have not revalidated (H11).

use std::rc::Rc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::TryStreamExt as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use worker::Response;

use super::error::ApiError;
use super::{Answer, Call, cursor, empty, json_text, response_cache};
use crate::platform::log;
use crate::storage::Fault;
use crate::storage::reads::Page;
use crate::wire::etag;

/// The media type of almost every answer (H01).
const JSON: &str = "application/json";
/// Rows per round trip when a whole list is requested, and the maximum of `limit` (H40).
pub(super) const PAGE_MAX: i64 = 1000;

/// The answer to a read, or 304 if the caller has it already.
pub(super) fn shown<T: Serialize>(call: &Call, body: &T) -> Answer {
    tagged(call, serde_json::to_string(body).map_err(|_| ApiError::Internal)?, None)
}

/// As [`shown`], for finished JSON; `next` is the cursor of the next page.
pub(super) fn tagged(call: &Call, text: String, next: Option<&str>) -> Answer {
    let tag = tag(&text, next);
    response_cache::keep(call, &text, &tag, (next, JSON));
    answered(call, &tag, next, || json_text(text, 200))
}

/// As [`shown`], for a finished text of another media type.
pub(super) fn typed(call: &Call, text: String, kind: &'static str) -> Answer {
    let tag = tag(&text, None);
    response_cache::keep(call, &text, &tag, (None, kind));
    answered(call, &tag, None, || {
        let response = Response::ok(text)?;
        response.headers().set("content-type", kind)?;
        Ok(response)
    })
}

/// The answer with this tag, or 304 if the caller has it already; `whole` builds it.
pub(super) fn answered(call: &Call, tag: &str, next: Option<&str>, whole: impl FnOnce() -> Answer) -> Answer {
    let fresh = call.header("if-none-match").is_some_and(|header| etag::names(&header, tag));
    let response = if fresh { empty(304)? } else { whole()? };
    let headers = response.headers();
    headers.set("etag", tag)?;
    headers.set("cache-control", call.keeps.cache_control())?;
    if let Some(next) = next {
        headers.set("colibri-cursor", next)?;
    }
    Ok(response)
}

/// The tag of an answer: 128 bits of a SHA-256 over the body and the cursor.
fn tag(text: &str, next: Option<&str>) -> String {
    let mut hash = Sha256::new();
    hash.update(text);
    if let Some(next) = next {
        hash.update([0]); // a byte that no JSON text contains
        hash.update(next);
    }
    let digest = hash.finalize();
    format!("\"{}\"", URL_SAFE_NO_PAD.encode(digest.get(..16).unwrap_or_default()))
}

/// A list in its order (H40).
pub(super) struct List<'c> {
    /// The caller.
    pub(super) call: &'c Call,
    /// The rule of the contract, which is part of its cursors.
    pub(super) id: &'static str,
    /// The arguments of the request, which are part of them too.
    pub(super) about: &'c str,
}

impl List<'_> {
    /// Answers with a JSON array: a page if `limit` or `cursor` is given, otherwise everything.
    pub(super) async fn answer<T, P>(&self, fetch: impl Fetch<T, P>) -> Answer
    where
        T: Serialize + 'static,
        P: Serialize + DeserializeOwned + 'static,
    {
        self.answer_as(array, fetch).await
    }

    /// As [`List::answer`], with rows that `write` turns into a JSON array or object.
    pub(super) async fn answer_as<T, P>(&self, write: Write<T>, fetch: impl Fetch<T, P>) -> Answer
    where
        T: 'static,
        P: Serialize + DeserializeOwned + 'static,
    {
        let query = &self.call.query;
        let after = query.cursor(self.id, self.about)?;
        if query.flag("limit") || after.is_some() {
            let limit = query.limit("limit", PAGE_MAX, PAGE_MAX)?;
            return self.page(write, fetch(after, limit).await?);
        }
        self.whole(write, PAGE_MAX, fetch).await
    }

    /// Answers with one page.
    pub(super) fn page<T, P: Serialize>(
        &self,
        write: impl FnOnce(&[T]) -> serde_json::Result<String>,
        (rows, end): Page<T, P>,
    ) -> Answer {
        let next = end.map(|place| cursor::write(self.id, self.about, &place));
        tagged(self.call, write(&rows).map_err(|_| ApiError::Internal)?, next.as_deref())
    }

    /// Answers with everything. A list of one page is answered like any other read. A longer one is
    /// [`streamed`].
    pub(super) async fn whole<T, P>(&self, write: Write<T>, limit: i64, fetch: impl Fetch<T, P>) -> Answer
    where
        T: 'static,
        P: Serialize + 'static,
    {
        // Before the status is sent: a fault here is a 503.
        let (rows, end) = fetch(None, limit).await?;
        let Some(place) = end else { return self.page(write, (rows, None::<P>)) };
        let mut head = write(&rows).map_err(|_| ApiError::Internal)?;
        let closing = head.pop().map(String::from).unwrap_or_default();
        streamed(self.call, (head, place), closing, write, async move |place| fetch(Some(place), limit).await)
    }
}

/// Answers with a JSON object that ends in a list: `head` is its text up to the list. A list of one page is
/// answered like any other read. A longer one is [`streamed`].
pub(super) fn ending_in<T: Serialize + 'static, P: 'static>(
    call: &Call,
    mut head: String,
    (rows, end): Page<T, P>,
    fetch: impl AsyncFn(P) -> Result<Page<T, P>, Fault> + 'static,
) -> Answer {
    head.push_str(&array(&rows).map_err(|_| ApiError::Internal)?);
    let Some(place) = end else {
        head.push('}');
        return tagged(call, head, None);
    };
    head.pop();
    streamed(call, (head, place), "]}".into(), array, fetch)
}

/// Answers with JSON that ends in a list: `head` is everything through the first page, whose last row is at
/// `place`; the other pages follow, then `closing`. Memory holds one page at a time, and a fault on the way
/// aborts the connection, so that the client receives malformed JSON (H15).
fn streamed<T: 'static, P: 'static>(
    call: &Call,
    (head, place): (String, P),
    closing: String,
    write: Write<T>,
    fetch: impl AsyncFn(P) -> Result<Page<T, P>, Fault> + 'static,
) -> Answer {
    let shared = Rc::new((fetch, closing));
    let pages = futures::stream::try_unfold(Some((Some(head), place)), move |next| {
        let shared = Rc::clone(&shared);
        async move {
            let (fetch, closing) = &*shared;
            let place = match next {
                None => return Ok(None),
                Some((Some(head), place)) => return Ok(Some((head.into_bytes(), Some((None, place))))),
                Some((None, place)) => place,
            };
            let (rows, end) = fetch(place).await?;
            let text = write(&rows).map_err(|error| Fault::new("writing a list", error))?;
            // Pages are joined into one list, so inner brackets are dropped.
            let inside = text.get(1..text.len().saturating_sub(1)).unwrap_or_default();
            let comma = if rows.is_empty() { "" } else { "," };
            let closing = if end.is_none() { closing.as_str() } else { "" };
            Ok(Some((format!("{comma}{inside}{closing}").into_bytes(), end.map(|place| (None, place)))))
        }
    });
    let pages = pages.map_err(|fault: Fault| {
        log::fault(&fault, "the response is aborted");
        worker::Error::RustError("the response is aborted".into())
    });
    let response = Response::from_stream(pages)?;
    response.headers().set("content-type", "application/json")?;
    response.headers().set("cache-control", call.keeps.cache_control())?;
    Ok(response)
}

/// Reads the page after a position, with at most this many rows.
pub(super) trait Fetch<T, P>: AsyncFn(Option<P>, i64) -> Result<Page<T, P>, Fault> + 'static {}
impl<T, P, F: AsyncFn(Option<P>, i64) -> Result<Page<T, P>, Fault> + 'static> Fetch<T, P> for F {}

/// Writes rows as one JSON array or object.
pub(super) type Write<T> = fn(&[T]) -> serde_json::Result<String>;

/// Rows as a JSON array.
pub(super) fn array<T: Serialize>(rows: &[T]) -> serde_json::Result<String> {
    serde_json::to_string(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// H12: two different answers have different tags.
    #[test]
    fn h12_a_changed_answer_never_keeps_its_tag() {
        let answers = [("[]", None), ("[1]", None), ("[1]", Some("c")), ("[1]", Some("d")), ("[1]c", None)];
        let tags: std::collections::BTreeSet<_> =
            answers.iter().map(|(text, next)| tag(text, *next)).collect();
        assert_eq!(tags.len(), answers.len(), "{tags:?}");
        assert_eq!(tag("[1]", Some("c")), tag("[1]", Some("c")), "the same answer keeps it");
        assert!(tags.iter().all(|tag| tag.len() == 24 && tag.starts_with('"') && tag.ends_with('"')));
    }
}
