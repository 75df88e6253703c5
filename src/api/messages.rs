//! Messages: R01, R02.

use std::rc::Rc;

use futures::TryStreamExt as _;
use worker::Response;

use super::error::ApiError;
use super::{Answer, Call, cursor, json};
use crate::platform::d1::D1;
use crate::platform::log;
use crate::storage::Fault;
use crate::storage::reads::{self, Start};
use crate::wire::ids::{AtUri, Collection};

/// The list of R01, in its cursors.
const LIST: &str = "R01";
/// Messages in one round trip when the whole channel is asked for.
const ALL_PAGE: i64 = 500;

/// R01 `GET /api/messages`: a page of a channel, newest first; with `all`, the whole channel.
pub(super) async fn page(call: &Call) -> Answer {
    let channel = call.query.at_uri_or_rkey("channel")?;
    let (db, cdn) = (call.db()?, call.cdn());
    if call.query.flag("all") {
        return whole(db, cdn, channel.to_owned());
    }
    let limit = call.query.limit("limit", 50, 100)?;
    let before = call.query.time("before")?;
    let start = match (call.query.optional("cursor"), before) {
        (Some(cursor), _) => Start::After(cursor::read(LIST, channel, cursor)?),
        (None, Some(before)) => Start::Before(before.sortable()),
        (None, None) => Start::Newest,
    };
    let (messages, end) = reads::messages(&db, &cdn, channel, &start, limit).await?;
    let response = json(&messages)?;
    if let Some(end) = end {
        response.headers().set("colibri-cursor", &cursor::write(LIST, channel, &end))?;
    }
    Ok(response)
}

/// The whole channel, page by page: memory holds one page. A fault on the way breaks the
/// connection off, so that what arrived is no well-formed JSON (H15).
fn whole(db: D1, cdn: String, channel: String) -> Answer {
    let asked = Rc::new((db, cdn, channel));
    let pages = futures::stream::try_unfold(Some(Start::Newest), move |start| {
        let asked = Rc::clone(&asked);
        async move {
            let Some(start) = start else { return Ok(None) };
            let (db, cdn, channel) = &*asked;
            let (messages, end) = reads::messages(db, cdn, channel, &start, ALL_PAGE).await?;
            let opening = if start == Start::Newest { "[" } else { "," };
            let closing = if end.is_none() { "]" } else { "" };
            let rows =
                serde_json::to_string(&messages).map_err(|error| Fault::new("writing messages", error))?;
            let rows = rows.get(1..rows.len() - 1).unwrap_or_default(); // without its own brackets
            Ok(Some((format!("{opening}{rows}{closing}").into_bytes(), end.map(Start::After))))
        }
    });
    let pages = pages.map_err(|fault: Fault| {
        log::fault(&fault, "the answer is broken off");
        worker::Error::RustError("the answer is broken off".into())
    });
    let response = Response::from_stream(pages)?;
    response.headers().set("content-type", "application/json")?;
    Ok(response)
}

/// R02 `GET /api/message`: one visible message.
pub(super) async fn one(call: &Call) -> Answer {
    let uri = AtUri::of(&call.query.did("author")?, Collection::Message, &call.query.rkey("rkey")?);
    match reads::message(&call.db()?, &call.cdn(), &uri).await? {
        Some(message) => json(&message),
        None => Err(ApiError::NotFound("there is no such message")),
    }
}
