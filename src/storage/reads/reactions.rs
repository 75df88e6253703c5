//! Reactions: R05, R06.

use serde::Deserialize;

use super::super::{Fault, Param, Statement, Store, rows};
use super::{Page, PageEnd, Reactions, Start, cut};
use crate::domain::ingest::groups;
use crate::domain::rows::ReactionRow;
use crate::wire::bodies::ReactionGroup;
use crate::wire::ids::AtUri;
use crate::wire::time::Micros;

/// R05: the reactions to the message that an AT-URI or rkey names (T21); none if the message is not
/// visible.
pub async fn of_message(store: &impl Store, message: &str) -> Result<Vec<ReactionGroup>, Fault> {
    let statement = Statement::new(OF_MESSAGE, [message.into()]);
    let found: Vec<ReactionRow> = rows(store.read(&[statement]).await?.first())?;
    Ok(groups(&found))
}

/// R06: the messages of a channel that have reactions, newest first, each under its key: its rkey,
/// or its AT-URI if another message of the channel had that rkey first (T21).
pub async fn of_channel(
    store: &impl Store,
    channel: &str,
    after: Option<PageEnd>,
    limit: i64,
) -> Result<Page<(String, Vec<ReactionGroup>), PageEnd>, Fault> {
    #[derive(Deserialize)]
    struct Found {
        uri: AtUri,
        sort_at: Micros,
        first: bool,
    }
    let start = after.map_or(Start::Newest, Start::After);
    let (sort_at, rkey, author) = start.bound();
    let asked = |sql| {
        Statement::new(
            sql,
            [channel.into(), sort_at.into(), rkey.into(), author.into(), Param::Int(limit + 1)],
        )
    };
    let answers = store.read(&[asked(OF_CHANNEL), asked(REACTIONS_OF_CHANNEL)]).await?;
    let found: Vec<Found> = rows(answers.first())?;
    let reactions = Reactions::read(answers.get(1))?;
    let place = |row: &Found| PageEnd(row.sort_at.sortable(), row.uri.rkey(), row.uri.authority());
    let (found, end) = cut(found, limit, place);
    let entry = |row: Found| {
        let key = if row.first { row.uri.rkey().to_string() } else { row.uri.to_string() };
        (key, reactions.of(&row.uri))
    };
    Ok((found.into_iter().map(entry).collect(), end))
}

// If a message is blocked or gone, or its author's account is inactive, it shows no reactions, and
// no other message with that rkey takes its place.
const OF_MESSAGE: &str = concat!(
    message_named!(),
    ", page(uri) AS (
        SELECT m.uri FROM target t CROSS JOIN messages m ON m.uri = t.uri
        WHERE NOT m.hidden AND NOT EXISTS (SELECT 1 FROM blocks b WHERE b.uri = m.uri)) ",
    reactions_of!("page")
);

macro_rules! with_reactions {
    () => {
        "AND EXISTS (SELECT 1 FROM reactions r WHERE r.target_uri = m.uri AND NOT r.hidden) "
    };
}

const REACTIONS_OF_CHANNEL: &str = concat!(
    target_channel!(),
    ", page(uri) AS (SELECT m.uri ",
    page_of_channel!(place!()),
    with_reactions!(),
    newest_first!(),
    ") ",
    reactions_of!("page")
);

const OF_CHANNEL: &str = concat!(
    target_channel!(),
    "SELECT json_object('uri', m.uri, 'sort_at', m.sort_at,
        'first', json(iif(m.uri = ",
    meant!("m.rkey", "m.channel_uri"),
    ", 'true', 'false'))) AS row ",
    page_of_channel!(place!()),
    with_reactions!(),
    newest_first!(),
);
