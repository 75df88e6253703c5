//! The response cache: answers to reads in the memory of an isolate.
//!
//! A cached answer is served again while the parts of the index in it are unchanged
//! (`domain::editions`). Each use asks the `Editions` object: one call instead of the statements,
//! the rows from D1, the JSON and its hash. An answer that was requested once is not worth caching
//! (`domain::admission`).
//!
//! Promises: the edition is read before the rows, so a cached answer is never older than its
//! edition; if the object does not answer, the index is read. `platform::d1` notes which parts an
//! answer reads, so no handler can omit one; an answer that contains more than the index says so
//! ([`Keeps::shows_more`]).

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

use serde::Serialize;
use url::{Position, Url};
use worker::js_sys::Uint8Array;
use worker::{Response, web_sys};

use super::error::ApiError;
use super::{Answer, Call, reply};
use crate::domain::admission::Admission;
use crate::domain::editions::{Edition, Parts};
use crate::domain::lru::{Lru, Size};
use crate::platform::clock::now;
use crate::platform::{editions, log};
use crate::storage::Fault;
use crate::wire::time::Micros;

/// The cache's share of an isolate's 128 MB (platform facts 2.8); a page of messages takes some 50
/// KB. Answers over a megabyte are rare, and cost more to send than to build.
const SIZE: Size = Size { all: 16 * 1024 * 1024, one: 1024 * 1024, key: 2048 };
/// How long an answer is cached at most, in microseconds. An unannounced change, such as a manual
/// one by an admin, is visible by then.
const KEPT_WITHIN: i64 = 60_000_000;

thread_local! {
    // Plain data only: nothing here belongs to a request (platform facts 5.5).
    static KEPT: RefCell<Lru<Rc<Copy>>> = const { RefCell::new(Lru::new()) };
    static ASKED: RefCell<Admission> = const { RefCell::new(Admission::new()) };
}

/// The cached part of an answer.
struct Copy {
    holds: Holds,
    /// The parts that it was read from, and the time of the read.
    parts: Parts,
    edition: Edition,
    since: Micros,
}

#[derive(Clone)]
enum Holds {
    /// All of it. The body is a buffer of the runtime, which sends it as it is.
    Answer { body: Uint8Array, kind: &'static str, tag: Rc<str>, next: Option<Rc<str>> },
    /// The rows from the index, for an answer that contains more than those.
    Rows(Rc<dyn Any>),
}

/// What a request caches, and what the cache has for it.
#[derive(Default)]
pub(super) struct Keeps {
    /// The requested address; `None` if nothing is cached.
    key: Option<String>,
    /// The edition from before the read, if the answer is worth caching.
    edition: RefCell<Option<(Edition, Micros)>>,
    /// The parts of the index that are read.
    shows: Rc<Cell<Parts>>,
    /// The rows cached for this address.
    rows: RefCell<Option<Rc<dyn Any>>>,
    has_read: Cell<bool>,
    /// The answer is for its caller alone.
    is_private: Cell<bool>,
}

impl Keeps {
    /// The key is path and query as sent: two spellings of one request have two entries.
    pub(super) fn of(url: &Url) -> Self {
        let key = &url[Position::BeforePath..Position::AfterQuery];
        Self { key: (key.len() <= SIZE.key).then(|| key.to_owned()), ..Self::default() }
    }

    /// The cell that collects the parts that are read.
    pub(super) fn shows(&self) -> Rc<Cell<Parts>> {
        Rc::clone(&self.shows)
    }

    /// The answer contains more than the index: only [`Keeps::rows`] are cached.
    pub(super) fn shows_more(&self) {
        self.shows.set(self.shows.get().and(Parts::ELSEWHERE));
    }

    /// The answer is for its caller alone (X41): nothing of it is kept.
    pub(super) fn is_for_its_caller(&self) {
        self.is_private.set(true);
    }

    /// What other caches may do with the answer (H11): ask again before they show it.
    pub(super) fn cache_control(&self) -> &'static str {
        if self.is_private.get() { "private, no-cache" } else { "no-cache" }
    }

    /// The rows that `read` returns, or those cached for this address. For a list of several pages,
    /// the first page.
    pub(super) async fn rows<T: Clone + Serialize + 'static>(
        &self,
        read: impl AsyncFnOnce() -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        if self.has_read.replace(true) {
            return read().await;
        }
        let before = self.rows.take().and_then(|rows| rows.downcast::<T>().ok());
        if let Some(rows) = before {
            return Ok(T::clone(&rows));
        }
        let rows = read().await?;
        if self.edition.borrow().is_some() {
            // Rows take about as much memory as their JSON, plus some overhead.
            let bytes = 2 * serde_json::to_string(&rows).map_or(usize::MAX / 4, |text| text.len());
            self.put(bytes, || Holds::Rows(Rc::new(rows.clone())));
        }
        Ok(rows)
    }

    /// Caches a value built from everything that was read, if nothing of that has changed.
    fn put(&self, bytes: usize, holds: impl FnOnce() -> Holds) {
        if self.is_private.get() {
            return;
        }
        let edition = self.edition.borrow();
        let (Some(key), Some((edition, since))) = (&self.key, edition.as_ref()) else { return };
        let parts = self.shows.get();
        if !parts.is_none() && edition.is_stable(parts) && bytes <= SIZE.one {
            let copy = Copy { holds: holds(), parts, edition: edition.clone(), since: *since };
            KEPT.with_borrow_mut(|kept| drop(kept.put(key, Rc::new(copy), bytes, &SIZE)));
        }
    }
}

/// The cached answer, if it is still current.
pub(super) async fn find(call: &Call) -> Result<Option<Response>, ApiError> {
    let Some(key) = &call.keeps.key else { return Ok(None) };
    let copy = KEPT.with_borrow_mut(|kept| kept.get(key).cloned());
    if copy.is_none() && !ASKED.with_borrow_mut(|asked| asked.again(key)) {
        return Ok(None);
    }
    let edition = match editions::now(&call.env).await {
        Ok(edition) => edition,
        Err(fault) => {
            log::fault(&fault, "the cache is skipped and the index is read");
            return Ok(None);
        }
    };
    let now = now();
    let is_current = |copy: &Rc<Copy>| {
        copy.edition.is_current(&edition, copy.parts) && now.0.saturating_sub(copy.since.0) < KEPT_WITHIN
    };
    match copy.filter(is_current).map(|copy| copy.holds.clone()) {
        Some(Holds::Answer { body, kind, tag, next }) => {
            reply::answered(call, &tag, next.as_deref(), || response(&body, kind)).map(Some)
        }
        Some(Holds::Rows(rows)) => {
            call.keeps.rows.replace(Some(rows));
            Ok(None)
        }
        None => {
            call.keeps.edition.replace(Some((edition, now)));
            Ok(None)
        }
    }
}

/// Caches the answer to a request with its cursor and media type, if that is worthwhile and it contains nothing
/// but the index.
pub(super) fn keep(call: &Call, text: &str, tag: &str, (next, kind): (Option<&str>, &'static str)) {
    let bytes = text.len() + tag.len() + next.map_or(0, str::len);
    call.keeps.put(bytes, || Holds::Answer {
        body: Uint8Array::from(text.as_bytes()),
        kind,
        tag: tag.into(),
        next: next.map(Into::into),
    });
}

fn response(body: &Uint8Array, kind: &str) -> Answer {
    let fault = |error| Fault::new("answering from memory", worker::Error::from(error));
    let response = web_sys::Response::new_with_opt_buffer_source(Some(body)).map_err(fault)?;
    response.headers().set("content-type", kind).map_err(fault)?;
    Ok(response.into())
}
