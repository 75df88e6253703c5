//! R54: the newest messages of all communities in which a person takes part.
//!
//! A page of so many messages comes from at most as many channels, those with the newest messages before its place. So
//! one message of each channel is read first, and then a page of each of those channels.

use serde::Deserialize;

use super::super::{Fault, Param, Statement, Store, rows};
use super::communities::{admitted, approved};
use super::{Page, PageEnd, cut, shown};
use crate::domain::rows::{MessageRow, PersonRow};
use crate::wire::bodies::Active;
use crate::wire::ids::{AtUri, Did};

/// The most channels of a person that are read: those of the first communities by AT-URI.
pub const CHANNELS_MAX: i64 = 2_000;

#[derive(Debug, Deserialize)]
struct Found {
    community_uri: AtUri,
    message: MessageRow,
    author: Option<PersonRow>,
}

/// R54: a page of the messages in these communities that `did`, who takes part in all of them, may read, newest first.
pub async fn activity(
    store: &impl Store,
    cdn: &str,
    did: &Did,
    communities: &[AtUri],
    after: Option<&PageEnd>,
    limit: i64,
) -> Result<Page<Active, PageEnd>, Fault> {
    let (sort_at, rkey, author) = after
        .map_or(("~", "", ""), |PageEnd(at, rkey, author)| (at.as_str(), rkey.as_str(), author.as_str()));
    let statement = Statement::new(
        ACTIVITY,
        [
            did.as_str().into(),
            sort_at.into(),
            rkey.into(),
            author.into(),
            (limit + 1).into(),
            Param::json(&communities),
            CHANNELS_MAX.into(),
        ],
    );
    let found: Vec<Found> = rows(store.read(&[statement]).await?.first())?;
    let (found, end) = cut(found, limit, |one| PageEnd::of(&one.message));
    let body = |one: Found| Active {
        community_uri: one.community_uri,
        channel_uri: one.message.channel_uri.clone(),
        message: one.message.core(shown(one.author.as_ref(), cdn)),
    };
    Ok((found.into_iter().map(body).collect(), end))
}

// The newest visible messages of a channel before the place of the page, newest first.
macro_rules! newest_in {
    ($channel:literal, $what:literal, $limit:literal) => {
        concat!(
            "SELECT ",
            $what,
            " FROM messages m WHERE m.channel_uri = ",
            $channel,
            " AND (m.sort_at, m.rkey, m.author_did) < ",
            place!(),
            " AND NOT m.hidden AND NOT EXISTS (SELECT 1 FROM blocks b WHERE b.uri = m.uri)
            ORDER BY m.sort_at DESC, m.rkey DESC, m.author_did DESC LIMIT ",
            $limit
        )
    };
}

// Of communities for members only those that the person may read (X40): somebody who only asked to be in one does not.
const ACTIVITY: &str = concat!(
    "WITH mine(uri, community_uri) AS MATERIALIZED (
        SELECT ch.uri, c.uri FROM json_each(?6) w CROSS JOIN communities c ON c.uri = w.value
        CROSS JOIN channels ch ON ch.community_uri = c.uri
        WHERE NOT c.hidden AND NOT EXISTS (SELECT 1 FROM people p WHERE p.did = ?1 AND NOT p.active)
          AND (c.owner_did = ?1 OR NOT EXISTS (SELECT 1 FROM members_only x WHERE x.community_uri = c.uri)
            OR EXISTS (SELECT 1 FROM moderators o WHERE o.community_uri = c.uri AND o.did = ?1)
            OR CASE WHEN c.rkey = 'self' THEN ",
    admitted!("c.uri", "?1"),
    " ELSE ",
    approved!("c.uri", "?1", "c.owner_did"),
    " END)
        LIMIT ?7),
    heads(uri, community_uri, id) AS MATERIALIZED (
        SELECT n.uri, n.community_uri, (",
    newest_in!("n.uri", "m.rowid", "1"),
    ") FROM mine n),
    busiest(uri, community_uri) AS MATERIALIZED (
        SELECT h.uri, h.community_uri FROM heads h CROSS JOIN messages m ON m.rowid = h.id
        ORDER BY m.sort_at DESC, m.rkey DESC, m.author_did DESC LIMIT ?5)
    SELECT json_object('community_uri', k.community_uri, 'message', ",
    message_json!("f"),
    ", 'author', ",
    person_json!("a"),
    ") AS row FROM busiest k
    CROSS JOIN messages f ON f.rowid IN (",
    newest_in!("k.uri", "m.rowid", "?5"),
    ") LEFT JOIN people a ON a.did = f.author_did
    ORDER BY f.sort_at DESC, f.rkey DESC, f.author_did DESC LIMIT ?5"
);
