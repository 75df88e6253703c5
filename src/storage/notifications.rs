//! Stored notifications and read positions: what a commit writes, and what their person writes (section 15).
//!
//! A notification is written once and seen once; what shows of it is decided by the reads
//! (`storage::reads::notifications`).

use super::kinds::row_objects;
use super::reads::communities::takes_part;
use super::{Fault, Param, Statement, Store, chunks, rows};
use crate::domain::notifications::{Changes, KEPT, KEPT_OF_AUTHOR};
use crate::wire::ids::{AtUri, Did};
use crate::wire::time::Micros;

/// The most read positions of one person, the newest (U10).
const POSITIONS_KEPT: i64 = 1_000;

/// The statements of a commit; none for a batch that notifies nobody.
pub(super) fn store(changes: &Changes) -> Vec<Statement> {
    let mut statements = Vec::new();
    for text in chunks(changes.withdrawn.iter()) {
        statements.push(Statement::new(WITHDRAW, [text.into()]));
    }
    for text in chunks(changes.added.iter()) {
        statements.push(Statement::new(ADD, [text.into()]));
    }
    for text in chunks(changes.recipients().into_iter()) {
        statements.push(Statement::new(BOUND, [text.into(), KEPT.into(), KEPT_OF_AUTHOR.into()]));
    }
    statements
}

/// Marks the notifications of a person with numbers up to `until` as seen at `now`. Returns how many were not.
pub async fn see_until(store: &impl Store, did: &Did, until: i64, now: Micros) -> Result<usize, Fault> {
    see(store, Statement::new(SEE_UNTIL, [did.as_str().into(), until.into(), now.sortable().into()])).await
}

/// Marks the notifications of a person by a message as seen at `now`. Returns how many were not.
pub async fn see_message(store: &impl Store, did: &Did, message: &str, now: Micros) -> Result<usize, Fault> {
    see(store, see_one(did, message, now)).await
}

/// Marks the notifications of each person by a message as seen at `now`.
pub async fn see_messages<'m>(
    store: &impl Store,
    messages: impl Iterator<Item = (&'m Did, &'m AtUri)>,
    now: Micros,
) -> Result<(), Fault> {
    let statements: Vec<_> = messages.map(|(did, message)| see_one(did, message.as_str(), now)).collect();
    if !statements.is_empty() {
        store.write(&statements).await?;
    }
    Ok(())
}

fn see_one(did: &Did, message: &str, now: Micros) -> Statement {
    Statement::new(SEE_MESSAGE, [did.as_str().into(), message.into(), now.sortable().into()])
}

async fn see(store: &impl Store, statement: Statement) -> Result<usize, Fault> {
    Ok(store.write(&[statement]).await?.first().map_or(0, Vec::len))
}

/// R49: moves the read position of a person in a channel to a message there, or to `now`; never back. Returns its
/// community, or `None` if they take no part in it or such a message is not there.
pub async fn move_position(
    store: &impl Store,
    did: &Did,
    channel: &str,
    message: Option<&str>,
    now: Micros,
) -> Result<Option<AtUri>, Fault> {
    let now = now.sortable();
    let place: [Param; 3] = [did.as_str().into(), channel.into(), message.into()];
    let moved = place.clone().into_iter().chain([now.into()]);
    let statements = [
        Statement::new(MOVE, moved),
        Statement::new(BOUND_POSITIONS, [did.as_str().into(), POSITIONS_KEPT.into()]),
        Statement::new(PLACE, place),
    ];
    Ok(rows(store.write(&statements).await?.get(2))?.pop())
}

const WITHDRAW: &str = "
    DELETE FROM notifications WHERE (message_uri, kind, recipient_did) IN (
        SELECT n.message_uri, n.kind, n.recipient_did
        FROM json_each(?1) w CROSS JOIN notifications n ON n.message_uri = w.value ->> 0
        WHERE (w.value ->> 1 IS NULL OR n.kind = w.value ->> 1)
          AND (w.value ->> 2 IS NULL OR n.recipient_did = w.value ->> 2))";

const ADD: &str = concat!(
    "
    INSERT INTO notifications (message_uri, kind, recipient_did, id)
    SELECT value ->> 'message_uri', value ->> 'kind', value ->> 'recipient_did', value ->> 'id'
    FROM ",
    row_objects!(),
    " WHERE true
    ON CONFLICT DO NOTHING"
);

// Of each author the newest ?3, and of these the newest ?2 (U05).
const BOUND: &str = "
    DELETE FROM notifications WHERE (message_uri, kind, recipient_did) IN (
        SELECT message_uri, kind, recipient_did FROM (
            SELECT message_uri, kind, recipient_did, of_author, sum(of_author <= ?3) OVER (
                PARTITION BY recipient_did ORDER BY id DESC, message_uri, kind ROWS UNBOUNDED PRECEDING) AS nth
            FROM (
                SELECT n.message_uri, n.kind, n.recipient_did, n.id, row_number() OVER (
                    PARTITION BY n.recipient_did, substr(n.message_uri, 1, 5 + instr(substr(n.message_uri, 6), '/'))
                    ORDER BY n.id DESC, n.message_uri, n.kind) AS of_author
                FROM json_each(?1) p CROSS JOIN notifications n ON n.recipient_did = p.value))
        WHERE of_author > ?3 OR nth > ?2)";

const SEE_UNTIL: &str = "
    UPDATE notifications SET seen_at = ?3 WHERE recipient_did = ?1 AND id <= ?2 AND seen_at IS NULL
    RETURNING 'null' AS row";

const SEE_MESSAGE: &str = "
    UPDATE notifications SET seen_at = ?3 WHERE message_uri = ?2 AND recipient_did = ?1 AND seen_at IS NULL
    RETURNING 'null' AS row";

// The channel ?2 in whose community the person ?1 takes part, with the message ?3 there if one is named.
macro_rules! place {
    ($shown:literal) => {
        concat!(
            "SELECT ",
            $shown,
            " FROM channels ch CROSS JOIN communities c ON c.uri = ch.community_uri
              LEFT JOIN messages m ON m.uri = ?3 AND m.channel_uri = ch.uri
             WHERE ch.uri = ?2 AND NOT c.hidden AND (?3 IS NULL OR m.uri IS NOT NULL) AND ",
            takes_part!("?1")
        )
    };
}

const PLACE: &str = place!("json_quote(c.uri) AS row");

const MOVE: &str = concat!(
    "INSERT INTO read_positions (did, channel_uri, cursor_at, cursor_uri, moved_at) ",
    place!("?1, ch.uri, coalesce(m.sort_at, ?4), m.uri, ?4"),
    " ON CONFLICT (did, channel_uri) DO UPDATE SET cursor_at = excluded.cursor_at,
          cursor_uri = excluded.cursor_uri, moved_at = excluded.moved_at
      WHERE excluded.cursor_at > cursor_at OR (excluded.cursor_at = cursor_at AND cursor_uri IS NOT NULL
          AND (excluded.cursor_uri IS NULL OR excluded.cursor_uri > cursor_uri))"
);

const BOUND_POSITIONS: &str = "
    DELETE FROM read_positions WHERE did = ?1 AND channel_uri IN (
        SELECT channel_uri FROM read_positions WHERE did = ?1
        ORDER BY moved_at DESC, channel_uri LIMIT -1 OFFSET ?2)";
