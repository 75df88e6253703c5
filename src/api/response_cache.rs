//! Answers to reads that are kept in the memory of an isolate.
//!
//! A kept answer is shown again while the parts of the index that were read for it stand as they
//! did (`domain::editions`), which the object that knows is asked each time: one call instead of
//! the statements, the rows on their way from D1, the JSON and its hash. What was asked for once
//! is not worth that: only what is asked for again is kept (`domain::admission`).
//!
//! Promises: the edition is that of a moment before the read, so nothing that is kept is older than
//! it says; if the object does not answer, the index is read. Which parts an answer shows is noted
//! where they are read (`platform::d1`), so no handler can name too few; one that shows more than
//! the index says so ([`Keeps::shows_more`]).

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

/// Of the 128 MB of an isolate (platform facts 2.8), what answers may take; a page of messages has
/// some 50 KB. Larger ones than a megabyte are few, and cost more to send than to make.
const SIZE: Size = Size { all: 16 * 1024 * 1024, one: 1024 * 1024, key: 2048 };
/// How long an answer is kept at most, in microseconds: should the index change without anybody
/// saying so, as by an admin's hand, it is seen by then.
const KEPT_WITHIN: i64 = 60_000_000;

thread_local! {
    // Plain data only: nothing here belongs to a request (platform facts 5.5).
    static KEPT: RefCell<Lru<Rc<Copy>>> = const { RefCell::new(Lru::new()) };
    static ASKED: RefCell<Admission> = const { RefCell::new(Admission::new()) };
}

/// What is kept of an answer.
struct Copy {
    holds: Holds,
    /// What was read for it, and as of when.
    parts: Parts,
    edition: Edition,
    since: Micros,
}

#[derive(Clone)]
enum Holds {
    /// All of it. The body is bytes of the runtime, which sends them as they are.
    Answer { body: Uint8Array, tag: Rc<str>, next: Option<Rc<str>> },
    /// What was read of the index, for an answer that shows more than that.
    Rows(Rc<dyn Any>),
}

/// What a call keeps, and was kept for it.
#[derive(Default)]
pub(super) struct Keeps {
    /// The address asked for; `None`: nothing is kept.
    key: Option<String>,
    /// The edition at a moment before anything was read, if this is worth keeping.
    edition: RefCell<Option<(Edition, Micros)>>,
    /// What is read of the index.
    shows: Rc<Cell<Parts>>,
    /// What was read for this address before, and would be read again.
    rows: RefCell<Option<Rc<dyn Any>>>,
    has_read: Cell<bool>,
}

impl Keeps {
    /// Under the path and the query as they were sent: two spellings of one question are two.
    pub(super) fn of(url: &Url) -> Self {
        let key = &url[Position::BeforePath..Position::AfterQuery];
        Self { key: (key.len() <= SIZE.key).then(|| key.to_owned()), ..Self::default() }
    }

    /// Where it is noted what is read of the index.
    pub(super) fn shows(&self) -> Rc<Cell<Parts>> {
        Rc::clone(&self.shows)
    }

    /// The answer shows what stands in no part of the index: only [`Keeps::rows`] are kept.
    pub(super) fn shows_more(&self) {
        self.shows.set(self.shows.get().and(Parts::ELSEWHERE));
    }

    /// What `read` reads of the index, or read for this address before. Of a list that is read in
    /// several pages, the first.
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
            // As they stand in memory they are about as large as in JSON, with some room beside.
            let bytes = 2 * serde_json::to_string(&rows).map_or(usize::MAX / 4, |text| text.len());
            self.put(bytes, || Holds::Rows(Rc::new(rows.clone())));
        }
        Ok(rows)
    }

    /// Keeps what was made of all that was read, if that stood.
    fn put(&self, bytes: usize, holds: impl FnOnce() -> Holds) {
        let edition = self.edition.borrow();
        let (Some(key), Some((edition, since))) = (&self.key, edition.as_ref()) else { return };
        let parts = self.shows.get();
        if !parts.is_none() && edition.stands(parts) && bytes <= SIZE.one {
            let copy = Copy { holds: holds(), parts, edition: edition.clone(), since: *since };
            KEPT.with_borrow_mut(|kept| drop(kept.put(key, Rc::new(copy), bytes, &SIZE)));
        }
    }
}

/// The kept answer, if it is still what would be answered.
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
    let stands = |copy: &Rc<Copy>| {
        copy.edition.still_stands(&edition, copy.parts) && now.0.saturating_sub(copy.since.0) < KEPT_WITHIN
    };
    match copy.filter(stands).map(|copy| copy.holds.clone()) {
        Some(Holds::Answer { body, tag, next }) => {
            reply::answered(call, &tag, next.as_deref(), || response(&body)).map(Some)
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

/// Keeps the answer of a call, if that is worth it and it shows nothing but the index.
pub(super) fn keep(call: &Call, text: &str, tag: &str, next: Option<&str>) {
    let bytes = text.len() + tag.len() + next.map_or(0, str::len);
    call.keeps.put(bytes, || Holds::Answer {
        body: Uint8Array::from(text.as_bytes()),
        tag: tag.into(),
        next: next.map(Into::into),
    });
}

fn response(body: &Uint8Array) -> Answer {
    let fault = |error| Fault::new("answering from memory", worker::Error::from(error));
    let response = web_sys::Response::new_with_opt_buffer_source(Some(body)).map_err(fault)?;
    response.headers().set("content-type", "application/json").map_err(fault)?;
    Ok(response.into())
}
