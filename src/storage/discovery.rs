//! Discovering repositories through a relay: the state of the walk, and what it found.

use serde::{Deserialize, Serialize};

use super::{Fault, Param, Statement, Store, rows};
use crate::domain::discovery::{EMPTY_KEPT, Ending, FORGOTTEN_AFTER, KEPT_MAX, Seen, WAITING_MAX, Walk};
use crate::domain::erasure::mark;
use crate::wire::ids::Did;
use crate::wire::time::Micros;

/// The walk as `/api/health` shows it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[expect(missing_docs, reason = "columns, described in migrations/")]
pub struct Shown {
    pub relay: String,
    pub began_at: String,
    pub ended_at: Option<String>,
    pub ending: Option<String>,
    pub next_attempt_at: String,
    pub pages: u32,
    pub listed: u32,
    pub found: u32,
    pub dropped: u32,
    pub failures: u32,
    pub error: Option<String>,
}

/// A row of `discovery`.
#[derive(Deserialize)]
struct Row {
    relay: String,
    step: u32,
    cursor: Option<String>,
    began_at: Micros,
    ended_at: Option<Micros>,
    ending: Option<String>,
    next_attempt_at: Micros,
    pages: u32,
    listed: u32,
    found: u32,
    dropped: u32,
    room: u32,
    failures: u32,
    error: Option<String>,
    broken: u32,
}

impl From<Row> for Walk {
    fn from(row: Row) -> Self {
        let ending = row.ending.as_deref().and_then(Ending::named).unwrap_or(Ending::Complete);
        Walk {
            relay: row.relay,
            step: row.step,
            cursor: row.cursor,
            began_at: row.began_at,
            ended: row.ended_at.map(|at| (at, ending)),
            next_attempt_at: row.next_attempt_at,
            pages: row.pages,
            listed: row.listed,
            found: row.found,
            dropped: row.dropped,
            room: row.room,
            failures: row.failures,
            error: row.error,
            broken: row.broken,
        }
    }
}

/// The latest walk, if there was one, and the input for its next step.
pub async fn state(store: &impl Store, now: Micros) -> Result<(Option<Walk>, Seen), Fault> {
    #[derive(Deserialize)]
    struct Around {
        last_gap: Option<Micros>,
        waiting: u32,
    }
    let around = Statement::new(
        "SELECT json_object('last_gap', (SELECT noticed_at FROM gaps WHERE id = (SELECT max(id) FROM gaps)),
             'waiting', (SELECT count(*) FROM (SELECT 1 FROM repos
                 WHERE reason = 'found' AND next_attempt_at <= ?1 AND failures = 0 LIMIT ?2))) AS row",
        [now.shown().into(), i64::from(WAITING_MAX).into()],
    );
    let answers = store.read(&[Statement::new(WALK, []), around]).await?;
    let walk: Vec<Row> = rows(answers.first())?;
    let around: Vec<Around> = rows(answers.get(1))?;
    let Around { last_gap, waiting } = around
        .into_iter()
        .next()
        .ok_or_else(|| Fault::new("reading how far the walk is", "there is no row"))?;
    Ok((walk.into_iter().next().map(Walk::from), Seen { last_gap, waiting }))
}

/// The number of repositories that are stored only because a relay listed them.
pub async fn kept(store: &impl Store) -> Result<u32, Fault> {
    let statement = Statement::new(
        "SELECT json_quote(count(*)) AS row FROM (SELECT 1 FROM repos WHERE reason = 'found' LIMIT ?1)",
        [i64::from(KEPT_MAX).into()],
    );
    Ok(rows(store.read(&[statement]).await?.first())?.into_iter().next().unwrap_or(KEPT_MAX))
}

/// Deletes discovered repositories that have been empty for long enough.
pub fn forget_empty(now: Micros) -> Statement {
    Statement::new(
        "DELETE FROM repos
         WHERE reason = 'found' AND next_attempt_at IS NULL AND status = 'empty' AND checked_at < ?1",
        [Micros(now.0.saturating_sub(EMPTY_KEPT)).shown().into()],
    )
}

/// Deletes a discovered repository that was never read and has failed often.
pub fn forget_unread(did: &Did) -> Statement {
    Statement::new(
        "DELETE FROM repos WHERE did = ?1 AND reason = 'found' AND synced_at IS NULL AND failures >= ?2",
        [did.as_str().into(), i64::from(FORGOTTEN_AFTER).into()],
    )
}

/// Makes the unknown ones of these repositories known, at most `room` of them; returns a row for
/// each.
pub fn found<'a>(dids: impl Iterator<Item = &'a Did>, room: u32, now: Micros) -> Statement {
    let dids: Vec<(&Did, String)> = dids.map(|did| (did, mark(did))).collect();
    Statement::new(
        "INSERT INTO repos (did, status, reason, due_since, next_attempt_at, known_at)
         SELECT value ->> 0, 'waiting', 'found', ?3, ?3, ?3 FROM json_each(?1)
         WHERE NOT EXISTS (SELECT 1 FROM repos WHERE did = value ->> 0)
           AND NOT EXISTS (SELECT 1 FROM erasures WHERE hash = value ->> 1) LIMIT ?2
         ON CONFLICT (did) DO NOTHING RETURNING json_quote(did) AS row",
        [Param::json(&dids), i64::from(room).into(), now.shown().into()],
    )
}

/// Stores the state of the walk.
pub fn keep(walk: &Walk) -> Statement {
    let ended = walk.ended.map(|(at, _)| at.shown());
    let ending = walk.ended.map(|(_, ending)| ending.word());
    Statement::new(
        "INSERT INTO discovery (id, relay, step, cursor, began_at, ended_at, ending, next_attempt_at,
             pages, listed, found, dropped, room, failures, error, broken)
         VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)
         ON CONFLICT (id) DO UPDATE SET relay = excluded.relay, step = excluded.step,
             cursor = excluded.cursor, began_at = excluded.began_at, ended_at = excluded.ended_at,
             ending = excluded.ending, next_attempt_at = excluded.next_attempt_at,
             pages = excluded.pages, listed = excluded.listed, found = excluded.found,
             dropped = excluded.dropped, room = excluded.room, failures = excluded.failures,
             error = excluded.error, broken = excluded.broken",
        [
            walk.relay.as_str().into(),
            i64::from(walk.step).into(),
            walk.cursor.as_deref().into(),
            walk.began_at.shown().into(),
            ended.into(),
            ending.into(),
            walk.next_attempt_at.shown().into(),
            i64::from(walk.pages).into(),
            i64::from(walk.listed).into(),
            i64::from(walk.found).into(),
            i64::from(walk.dropped).into(),
            i64::from(walk.room).into(),
            i64::from(walk.failures).into(),
            walk.error.as_deref().into(),
            i64::from(walk.broken).into(),
        ],
    )
}

const WALK: &str = "
    SELECT json_object('relay', relay, 'step', step, 'cursor', cursor, 'began_at', began_at,
        'ended_at', ended_at, 'ending', ending, 'next_attempt_at', next_attempt_at, 'pages', pages,
        'listed', listed, 'found', found, 'dropped', dropped, 'room', room, 'failures', failures,
        'error', error, 'broken', broken) AS row
    FROM discovery";
