//! The outbox (stored events that are not delivered yet), and the position in the stream.

use serde::Deserialize;

use serde_json::value::RawValue;

use super::{Fault, Param, Statement, Store, rows};
use crate::domain::announcement::Announcement;
use crate::domain::link::StreamPosition;
use crate::domain::lost;
use crate::wire::time::Micros;

/// Rows read at once when catching up: at 256 kB each, at most 16 MB of the object's 128.
const PAGE: i64 = 64;

/// A row of the outbox.
#[derive(Clone, Debug)]
pub struct OutboxRow {
    /// Its position in the order of commits.
    pub id: i64,
    /// The events, in order. An unreadable event is set aside: an empty event takes its place for
    /// each community that it names (Q21).
    pub announcements: Vec<Announcement>,
    /// The number of unreadable events; a row that is not a list counts as one.
    pub unreadable: u32,
}

impl OutboxRow {
    /// Reads the text of a row; it never fails.
    pub fn read(id: i64, text: &str) -> Self {
        let mut row = Self { id, announcements: Vec::new(), unreadable: 0 };
        let whole = || vec![text];
        let list: Result<Vec<&RawValue>, _> = serde_json::from_str(text);
        for one in list.map_or_else(|_| whole(), |list| list.into_iter().map(RawValue::get).collect()) {
            match serde_json::from_str(one) {
                Ok(announcement) => row.announcements.push(announcement),
                Err(_) => {
                    row.unreadable += 1;
                    row.announcements.extend(lost::communities(one).into_iter().map(Announcement::lost));
                }
            }
        }
        row
    }
}

/// The oldest rows after `after`, in order; empty if everything was delivered.
pub async fn pending(store: &impl Store, after: i64) -> Result<Vec<OutboxRow>, Fault> {
    let statement = Statement::new(
        "SELECT json_array(id, announcements) AS row FROM outbox WHERE id > ?1 ORDER BY id LIMIT ?2",
        [after.into(), PAGE.into()],
    );
    let found: Vec<(i64, String)> = rows(store.read(&[statement]).await?.first())?;
    Ok(found.into_iter().map(|(id, text)| OutboxRow::read(id, &text)).collect())
}

/// Deletes the rows up to and including `id`, which their communities have received.
pub fn delivered(id: i64) -> Statement {
    Statement::new("DELETE FROM outbox WHERE id <= ?1", [Param::Int(id)])
}

/// Stores `beginning` as the position in the stream, unless there is one.
pub fn begin(beginning: &StreamPosition, now: Micros) -> Statement {
    Statement::new(
        "INSERT INTO stream (id, host, cursor_us, updated_at) VALUES (1, ?1, ?2, ?3)
         ON CONFLICT (id) DO NOTHING",
        [beginning.host.as_str().into(), beginning.cursor.0.into(), now.shown().into()],
    )
}

/// Replaces a position later than `latest`, which the stream cannot have reached, by the time at
/// which it was stored, as after a change of host.
pub fn set_back(latest: Micros) -> Statement {
    Statement::new(
        "UPDATE stream SET host = '',
             cursor_us = min(?1, CAST(strftime('%s', updated_at) AS INTEGER) * 1000000)
         WHERE cursor_us > ?1 RETURNING json_quote(host) AS row",
        [latest.0.into()],
    )
}

/// The position in the stream, and the number of the last commit.
pub async fn position(store: &impl Store) -> Result<(Option<StreamPosition>, i64), Fault> {
    #[derive(Deserialize)]
    struct Row {
        version: i64,
        host: Option<String>,
        cursor_us: Option<i64>,
    }
    let statement = Statement::new(
        "SELECT json_object('version', l.version, 'host', s.host, 'cursor_us', s.cursor_us) AS row
         FROM ledger l LEFT JOIN stream s ON s.id = 1",
        [],
    );
    let found: Vec<Row> = rows(store.read(&[statement]).await?.first())?;
    let row = found
        .into_iter()
        .next()
        .ok_or_else(|| Fault::new("reading the ledger", "it has no row; are the migrations applied?"))?;
    let position =
        row.host.zip(row.cursor_us).map(|(host, cursor)| StreamPosition { host, cursor: Micros(cursor) });
    Ok((position, row.version))
}
