//! The SQLite of a `Gateway` object, digests part: about whose digest it decides, and when (U27). What it decides
//! follows from D1, so a row that is lost delays a digest until the next notification, and one too many does nothing.
//!
//! Pinned: an existing object keeps this table.

use super::Statement;
use crate::wire::ids::Did;
use crate::wire::time::Micros;

/// The most people whose digests wait, those that were due last.
const WAITING_MAX: i64 = 10_000;

/// Creates the table in a new object.
pub const SCHEMA: &[&str] = &[
    // `due_at` is NULL while the person has to see something, or to come, first.
    "CREATE TABLE IF NOT EXISTS digests (
        did TEXT PRIMARY KEY, due_at INTEGER, failures INTEGER NOT NULL DEFAULT 0)",
    "CREATE INDEX IF NOT EXISTS digests_by_time ON digests (due_at)",
];

/// About the digest of this person, decide at `at`; and forget those over the limit.
pub fn schedule(did: &Did, at: Micros) -> [Statement; 2] {
    [
        Statement::new(
            "INSERT INTO digests (did, due_at) VALUES (?1, ?2)
             ON CONFLICT (did) DO UPDATE SET due_at = excluded.due_at, failures = 0",
            [did.as_str().into(), at.0.into()],
        ),
        Statement::new(
            "DELETE FROM digests WHERE did IN (
                SELECT did FROM digests ORDER BY due_at DESC LIMIT -1 OFFSET ?1)",
            [WAITING_MAX.into()],
        ),
    ]
}

/// This person saw something: if their digest waits, decide at `at`.
pub fn awaken(did: &Did, at: Micros) -> Statement {
    Statement::new(
        "UPDATE digests SET due_at = ?2, failures = 0 WHERE did = ?1",
        [did.as_str().into(), at.0.into()],
    )
}

/// The decision about the digest of this person begins. If it does not end, another one begins at `again`, which names
/// it: what comes meanwhile sets another time, and what follows from this decision is then nothing.
pub fn begin(did: &Did, again: Micros) -> Statement {
    Statement::new("UPDATE digests SET due_at = ?2 WHERE did = ?1", [did.as_str().into(), again.0.into()])
}

/// The decision that began so led to another at `at`; `None`: when they see something, or come.
pub fn end(did: &Did, began: Micros, at: Option<Micros>) -> Statement {
    Statement::new(
        "UPDATE digests SET due_at = ?3, failures = 0 WHERE did = ?1 AND due_at = ?2",
        [did.as_str().into(), began.0.into(), at.map(|at| at.0).into()],
    )
}

/// The decision that began so came to nothing: nothing waits.
pub fn drop_waiting(did: &Did, began: Micros) -> Statement {
    Statement::new(
        "DELETE FROM digests WHERE did = ?1 AND due_at = ?2",
        [did.as_str().into(), began.0.into()],
    )
}

/// The decision that began so failed: decide again at `at`.
pub fn failed(did: &Did, began: Micros, at: Micros) -> Statement {
    Statement::new(
        "UPDATE digests SET due_at = ?3, failures = failures + 1 WHERE did = ?1 AND due_at = ?2",
        [did.as_str().into(), began.0.into(), at.0.into()],
    )
}

/// Nothing is kept of a person.
pub fn forget(did: &Did) -> Statement {
    Statement::new("DELETE FROM digests WHERE did = ?1", [did.as_str().into()])
}

/// Who is due at `now`, at most `limit`, as `[did, failures]`.
pub fn due(now: Micros, limit: i64) -> Statement {
    Statement::new(
        "SELECT json_array(did, failures) AS row FROM digests WHERE due_at <= ?1 ORDER BY due_at LIMIT ?2",
        [now.0.into(), limit.into()],
    )
}

/// When the next one is due.
pub fn next() -> Statement {
    Statement::new(
        "SELECT CAST(due_at AS TEXT) AS row FROM digests WHERE due_at IS NOT NULL ORDER BY due_at LIMIT 1",
        [],
    )
}
