//! The SQLite of a `Gateway` object, pushes part: what is to be sent to browsers of its people (U28).
//!
//! Pinned: an existing object keeps this table.

use super::{Fault, Inner, Param, Statement, rows};
use crate::domain::push::{OF_ONE_MAX, Push, WAITING_MAX};
use crate::wire::ids::Did;
use crate::wire::time::Micros;

/// Creates the table in a new object.
pub const SCHEMA: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS pushes (
        id INTEGER PRIMARY KEY, did TEXT NOT NULL, push TEXT NOT NULL, due_at INTEGER NOT NULL,
        failures INTEGER NOT NULL DEFAULT 0)",
    "CREATE INDEX IF NOT EXISTS pushes_by_time ON pushes (due_at)",
    "CREATE INDEX IF NOT EXISTS pushes_by_person ON pushes (did, due_at)",
];

/// A push that is due.
#[derive(Clone, Debug)]
pub struct Due {
    /// Its row.
    pub id: i64,
    /// How often it failed.
    pub failures: u32,
    /// The push; `None` if it cannot be read.
    pub push: Option<Push>,
}

impl Due {
    /// Parses the answer of [`due`].
    pub fn read(texts: &Vec<String>) -> Result<Vec<Self>, Fault> {
        let found = rows::<(i64, u32, Inner<Push>)>(Some(texts))?;
        Ok(found.into_iter().map(|(id, failures, push)| Self { id, failures, push: push.0 }).collect())
    }
}

/// The most pushes of one person in a round: who names slow push services holds up others little.
const OF_ONE_AT_ONCE: i64 = 2;

/// Sends this from `at` on, in place of the person's oldest if theirs are too many, unless too many wait of all.
pub fn send(push: &Push, at: Micros) -> [Statement; 2] {
    let did = push.did.as_str();
    [
        Statement::new(
            "DELETE FROM pushes WHERE id IN (
                SELECT id FROM pushes WHERE did = ?1 ORDER BY id DESC LIMIT -1 OFFSET ?2 - 1)",
            [did.into(), OF_ONE_MAX.into()],
        ),
        Statement::new(
            "INSERT INTO pushes (did, push, due_at) SELECT ?1, ?2, ?3
             WHERE (SELECT count(*) FROM pushes) < ?4",
            [did.into(), Param::json(push), at.0.into(), WAITING_MAX.into()],
        ),
    ]
}

/// The pushes that are due at `now`, at most `limit`, as `[id, failures, push]`, the last [`Inner`]. Of each person only
/// the first few, so that the others' are not behind them.
pub fn due(now: Micros, limit: i64) -> Statement {
    Statement::new(
        "SELECT json_array(id, failures, push) AS row FROM pushes p WHERE due_at <= ?1 AND (
            SELECT count(*) FROM pushes o WHERE o.did = p.did AND o.due_at <= p.due_at
            AND (o.due_at < p.due_at OR o.id < p.id)) < ?3
         ORDER BY due_at, id LIMIT ?2",
        [now.0.into(), limit.into(), OF_ONE_AT_ONCE.into()],
    )
}

/// When the next push is due.
pub fn next() -> Statement {
    Statement::new("SELECT CAST(due_at AS TEXT) AS row FROM pushes ORDER BY due_at LIMIT 1", [])
}

/// A push is tried now, and again at `at` unless it is deleted before: so it is when the object dies meanwhile.
pub fn tried(id: i64, at: Micros) -> Statement {
    Statement::new(
        "UPDATE pushes SET due_at = ?2, failures = failures + 1 WHERE id = ?1",
        [id.into(), at.0.into()],
    )
}

/// The push service rests until `at`, so the try that began did not happen.
pub fn rests(id: i64, at: Micros) -> Statement {
    Statement::new(
        "UPDATE pushes SET due_at = ?2, failures = max(failures - 1, 0) WHERE id = ?1",
        [id.into(), at.0.into()],
    )
}

/// A push is over.
pub fn over(id: i64) -> Statement {
    Statement::new("DELETE FROM pushes WHERE id = ?1", [id.into()])
}

/// Nothing is sent to this person any more.
pub fn forget(did: &Did) -> Statement {
    Statement::new("DELETE FROM pushes WHERE did = ?1", [did.as_str().into()])
}
