//! Messages, threads and search: R01, R02, R55, R70, R71.

use super::error::ApiError;
use super::reply::{List, array, shown};
use super::{Answer, Call};
use crate::platform::config;
use crate::storage::reads::members_only::About;
use crate::storage::reads::search::{self as found, Has};
use crate::storage::reads::{self, Start, threads};
use crate::wire::ids::{AtUri, Collection};
use crate::wire::words::Query;

/// The most messages on a page (R01).
pub(super) const PAGE_MAX: i64 = 100;
const PAGE_DEFAULT: i64 = 50;
/// The most threads on a page (R70).
const THREADS_MAX: i64 = 50;
/// Threads on a page.
const THREADS_DEFAULT: i64 = 20;
/// Messages of a page of R55.
const FOUND_DEFAULT: i64 = 20;
/// Messages per round trip when the whole channel is requested.
const WHOLE_PAGE: i64 = 500;

/// R01 `GET /api/messages`: a page of a channel, newest first; with `all`, the whole channel.
/// Clients that continue by `cursor` get exact pages; for those that continue by `before`, a page
/// ends at a message after which the next one can start.
pub(super) async fn page(call: &Call) -> Answer {
    let channel = call.query.at_uri_or_rkey("channel")?;
    let (db, cdn) = (call.db_about(About::Channel(channel.to_owned()))?, call.cdn());
    let list = List { call, id: "R01", about: channel };
    if call.query.flag("all") {
        let channel = channel.to_owned();
        let fetch = async move |after: Option<_>, limit| {
            let start = after.map_or(Start::Newest, Start::After);
            reads::messages(&db, &cdn, &channel, &start, limit).await
        };
        return list.whole(array, WHOLE_PAGE, fetch).await;
    }
    let limit = call.query.limit("limit", PAGE_DEFAULT, PAGE_MAX)?;
    let before = call.query.time("before")?;
    let page = match call.query.cursor(list.id, list.about)? {
        Some(place) => reads::messages(&db, &cdn, channel, &Start::After(place), limit).await?,
        None => {
            let start = before.map_or(Start::Newest, |(created_at, instant)| Start::Before {
                created_at,
                instant: instant.sortable(),
            });
            reads::history(&db, &cdn, channel, &start, limit).await?
        }
    };
    list.page(array, page)
}

/// R55 `GET /api/search`: a page of the messages of a community that have certain words.
pub(super) async fn search(call: &Call) -> Answer {
    let community = call.query.at_uri("community")?;
    let text = call.query.required("q")?;
    let wrong = "q must have 1 to 16 words and at most 200 characters";
    let query = Query::parse(text).ok_or_else(|| ApiError::Invalid(wrong.into()))?;
    let channel = call.query.optional("channel").map(|_| call.query.at_uri_or_rkey("channel")).transpose()?;
    let author = call.query.optional_did("author")?;
    let before = call.query.time("before")?.map(|(_, instant)| instant);
    let has = call.query.optional("has").map(|word| {
        Has::named(word).ok_or_else(|| ApiError::Invalid("has must be attachment, link or mention".into()))
    });
    let has = has.transpose()?;
    let limit = call.query.limit("limit", FOUND_DEFAULT, PAGE_MAX)?;
    let about = format!("{community} {text} {channel:?} {author:?} {before:?} {has:?}");
    let list = List { call, id: "R55", about: &about };
    let after = call.query.cursor(list.id, list.about)?;
    let db = call.db_about(About::Community(community.to_owned()))?;
    if !config::search(&call.env) {
        return Err(ApiError::NotEnabled("this service keeps no words of messages (SEARCH)"));
    }
    let Ok(community) = AtUri::parse(community) else {
        return list.page(array, (Vec::<()>::new(), None::<i64>));
    };
    let wanted =
        found::Search { query: &query, community: &community, channel, author: author.as_ref(), before, has };
    list.page(array, found::search(&db, &call.cdn(), &wanted, after, limit).await?)
}

/// R70 `GET /api/threads`: a page of the threads of a channel, newest root first.
pub(super) async fn threads(call: &Call) -> Answer {
    let channel = call.query.at_uri_or_rkey("channel")?;
    let list = List { call, id: "R70", about: channel };
    let limit = call.query.limit("limit", THREADS_DEFAULT, THREADS_MAX)?;
    let after = call.query.cursor(list.id, list.about)?;
    let db = call.db_about(About::Channel(channel.to_owned()))?;
    list.page(array, threads::threads(&db, &call.cdn(), channel, after.as_ref(), limit).await?)
}

/// R71 `GET /api/thread`: a page of the thread of a message, oldest first.
pub(super) async fn thread(call: &Call) -> Answer {
    let uri = call.query.at_uri("uri")?;
    let list = List { call, id: "R71", about: uri };
    let limit = call.query.limit("limit", PAGE_DEFAULT, PAGE_MAX)?;
    let after = call.query.cursor(list.id, list.about)?;
    let missing = || ApiError::NotFound("there is no such message");
    let message = AtUri::parse(uri).ok().filter(|uri| uri.is(Collection::Message)).ok_or_else(missing)?;
    let db = call.db_about(About::Message(message.clone()))?;
    let page = threads::thread(&db, &call.cdn(), &message, after.as_ref(), limit).await?;
    if page.0.is_empty() && after.is_none() {
        return Err(missing());
    }
    list.page(array, page)
}

/// R02 `GET /api/message`: one visible message.
pub(super) async fn one(call: &Call) -> Answer {
    let uri = AtUri::of(&call.query.did("author")?, Collection::Message, &call.query.rkey("rkey")?);
    match reads::message(&call.db_about(About::Message(uri.clone()))?, &call.cdn(), &uri).await? {
        Some(message) => shown(call, &message),
        None => Err(ApiError::NotFound("there is no such message")),
    }
}
