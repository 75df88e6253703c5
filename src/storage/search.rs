//! The words of messages for R55: what a commit writes, and what is added for messages that came while search was
//! off (U72).
//!
//! A trigger deletes words with their message. Nothing here decides what shows: `reads::search` does.

use serde::{Deserialize, Serialize};

use super::kinds::row_objects;
use super::{Fault, Param, Statement, Store, chunks, rows};
use crate::domain::rows::MessageRow;
use crate::wire::ids::{AtUri, Did};
use crate::wire::words;

/// The messages of a piece.
const PIECE: i64 = 500;

/// A message whose words are stored, if it still has this revision.
#[derive(Serialize)]
struct Written<'a> {
    uri: &'a AtUri,
    rev: &'a str,
    words: String,
}

/// Stores the words of the messages that a commit writes.
pub(super) fn store<'r>(messages: impl Iterator<Item = &'r MessageRow>) -> Vec<Statement> {
    let written = messages.map(|row| Written {
        uri: &row.uri,
        rev: &row.rev,
        words: words::stored(&row.text, &row.channel_uri, &row.author_did),
    });
    chunks(written).into_iter().map(|text| Statement::new(STORE, [text.into()])).collect()
}

/// Adds the words of some of the messages that have none. Returns `true` if there may be more.
pub async fn fill(store: &impl Store) -> Result<bool, Fault> {
    #[derive(Deserialize)]
    struct Missing {
        uri: AtUri,
        rev: String,
        text: String,
        channel_uri: AtUri,
        author_did: Did,
    }
    let limit = || [Param::from(PIECE)];
    let answers = store.read(&[Statement::new(MISSING, limit()), Statement::new(PIECE_END, limit())]).await?;
    let Some([Some(end)]) = rows::<[Option<i64>; 1]>(answers.get(1))?.pop() else { return Ok(false) };
    let missing: Vec<Missing> = rows(answers.first())?;
    let written = missing.iter().map(|message| Written {
        uri: &message.uri,
        rev: &message.rev,
        words: words::stored(&message.text, &message.channel_uri, &message.author_did),
    });
    let mut statements: Vec<Statement> =
        chunks(written).into_iter().map(|text| Statement::new(STORE, [text.into()])).collect();
    statements.push(Statement::new(FILLED, [end.into()]));
    store.write(&statements).await?;
    Ok(true)
}

/// Deletes all words, if there are any: while search is off, nothing keeps them right.
pub async fn clear(store: &impl Store) -> Result<(), Fault> {
    let kept = store.read(&[Statement::new(KEPT, [])]).await?.first().is_some_and(|rows| !rows.is_empty());
    if kept {
        store.write(&[Statement::new(CLEAR, [])]).await?;
    }
    store.write(&[Statement::new(CLEARED, [])]).await?;
    Ok(())
}

const STORE: &str = concat!(
    "INSERT OR REPLACE INTO message_words (rowid, words) SELECT m.rowid, w.value ->> 'words' FROM ",
    row_objects!(),
    " w CROSS JOIN messages m ON m.uri = w.value ->> 'uri' WHERE m.rev = w.value ->> 'rev'"
);

// The next ?1 messages, of which those without words.
const MISSING: &str = "
    SELECT json_object('uri', m.uri, 'rev', m.rev, 'text', m.text, 'channel_uri', m.channel_uri,
        'author_did', m.author_did) AS row
    FROM (SELECT n.rowid AS id FROM messages n
          WHERE n.rowid > (SELECT filled_to FROM search_state) ORDER BY n.rowid LIMIT ?1) p
    CROSS JOIN messages m ON m.rowid = p.id
    WHERE NOT EXISTS (SELECT 1 FROM message_words w WHERE w.rowid = p.id)";

const PIECE_END: &str = "
    SELECT json_array(max(p.id)) AS row
    FROM (SELECT n.rowid AS id FROM messages n
          WHERE n.rowid > (SELECT filled_to FROM search_state) ORDER BY n.rowid LIMIT ?1) p";

const FILLED: &str = "UPDATE search_state SET filled_to = max(filled_to, ?1)";

const KEPT: &str = "SELECT 'null' AS row FROM message_words LIMIT 1";

const CLEAR: &str = "INSERT INTO message_words (message_words) VALUES ('delete-all')";

const CLEARED: &str = "UPDATE search_state SET filled_to = 0 WHERE filled_to > 0";
