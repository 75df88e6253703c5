//! The SQLite of a `Gateway` object: tokens of its people that were used and could be used again
//! (X04).
//!
//! A row ends when the token would be refused anyway. Pinned, as [`super::gateway_sessions`].

use serde::{Deserialize, Serialize};

use super::{Fault, Statement, rows};
use crate::wire::ids::Did;
use crate::wire::time::Micros;

/// Creates the table, if the object is new.
pub const SCHEMA: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS used_tokens (
        did TEXT NOT NULL, token TEXT NOT NULL, ends TEXT NOT NULL,
        PRIMARY KEY (did, token)) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS used_tokens_by_end ON used_tokens (ends)",
];

/// Tokens of one person that are remembered: three a second for as long as one can last.
pub const OWN_MAX: i64 = 1_000;
/// Tokens remembered in one object, in about 15 MB. Beyond that whoever has [`FEW`] waits.
pub const ALL_MAX: i64 = 100_000;
/// How many a person may have in a full object.
pub const FEW: i64 = 20;

/// What came of using a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Use {
    /// It was not used before.
    First,
    /// It was.
    Again,
    /// Too many are remembered for it to be one of them.
    TooMany,
}

/// How many are remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Remembered {
    /// Of this person.
    pub own: i64,
    /// Of all; not counted beyond twice [`ALL_MAX`].
    pub all: i64,
}

impl Remembered {
    /// Whether one more is remembered. The first rule that applies decides:
    ///   1. of one person at most [`OWN_MAX`];
    ///   2. in an object with [`ALL_MAX`], of one person at most [`FEW`];
    ///   3. in one with twice that, none.
    pub fn has_room(self) -> bool {
        let own_max = match self.all {
            ..ALL_MAX => OWN_MAX,
            all if all < 2 * ALL_MAX => FEW,
            _ => 0,
        };
        self.own < own_max
    }
}

/// Forgets tokens that have ended.
pub fn forget(now: Micros) -> Statement {
    Statement::new("DELETE FROM used_tokens WHERE ends <= ?1", [now.sortable().into()])
}

/// How many are remembered, as [`Remembered`].
pub fn count(did: &Did) -> Statement {
    Statement::new(
        "SELECT json_object('own', (SELECT count(*) FROM used_tokens WHERE did = ?1),
            'all', (SELECT count(*) FROM (SELECT 1 FROM used_tokens LIMIT ?2))) AS row",
        [did.as_str().into(), (2 * ALL_MAX).into()],
    )
}

/// Remembers a token; a row comes back if it was not.
pub fn remember(did: &Did, token: &str, ends: Micros) -> Statement {
    Statement::new(
        "INSERT INTO used_tokens (did, token, ends) VALUES (?1, ?2, ?3)
         ON CONFLICT DO NOTHING RETURNING json_quote(token) AS row",
        [did.as_str().into(), token.into(), ends.sortable().into()],
    )
}

/// Whether a token is remembered, as one row if it is.
pub fn is_used(did: &Did, token: &str) -> Statement {
    Statement::new(
        "SELECT json_quote(token) AS row FROM used_tokens WHERE did = ?1 AND token = ?2",
        [did.as_str().into(), token.into()],
    )
}

/// Uses a token, by whatever runs a statement: nothing may come between them.
pub fn use_once(
    mut run: impl FnMut(&Statement) -> Result<Vec<String>, Fault>,
    did: &Did,
    token: &str,
    ends: Micros,
    now: Micros,
) -> Result<Use, Fault> {
    run(&forget(now))?;
    if !run(&is_used(did, token))?.is_empty() {
        return Ok(Use::Again);
    }
    let counted: Vec<Remembered> = rows(Some(&run(&count(did))?))?;
    if !counted.into_iter().next().is_some_and(Remembered::has_room) {
        return Ok(Use::TooMany);
    }
    Ok(if run(&remember(did, token, ends))?.is_empty() { Use::Again } else { Use::First })
}
