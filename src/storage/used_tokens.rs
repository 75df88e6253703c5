//! The SQLite of a `Gateway` object: tokens of its people that were used and are not yet expired
//! (X04).
//!
//! A row is deleted when the token would be refused anyway. Pinned, as [`super::gateway_sessions`].

use serde::{Deserialize, Serialize};

use super::{Fault, Statement, rows};
use crate::wire::ids::Did;
use crate::wire::time::Micros;

/// Creates the table in a new object.
pub const SCHEMA: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS used_tokens (
        did TEXT NOT NULL, token TEXT NOT NULL, ends TEXT NOT NULL,
        PRIMARY KEY (did, token)) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS used_tokens_by_end ON used_tokens (ends)",
];

/// The most stored tokens per person: three a second for as long as one is valid.
pub const OWN_MAX: i64 = 1_000;
/// The most stored tokens per object, about 15 MB. Beyond that, a person with [`FEW`] must wait.
pub const ALL_MAX: i64 = 100_000;
/// The most tokens per person in a full object.
pub const FEW: i64 = 20;

/// The result of using a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Use {
    /// Its first use.
    First,
    /// A repeated use.
    Again,
    /// Refused, because too many tokens are stored.
    TooMany,
}

/// The number of stored tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Remembered {
    /// Of this person.
    pub own: i64,
    /// Of all people; counted up to twice [`ALL_MAX`].
    pub all: i64,
}

impl Remembered {
    /// Whether there is room for one more. The first rule that applies decides:
    ///   1. each person has at most [`OWN_MAX`];
    ///   2. in an object with [`ALL_MAX`], each person has at most [`FEW`];
    ///   3. in an object with twice that, there is no room.
    pub fn has_room(self) -> bool {
        let own_max = match self.all {
            ..ALL_MAX => OWN_MAX,
            all if all < 2 * ALL_MAX => FEW,
            _ => 0,
        };
        self.own < own_max
    }
}

/// Deletes expired tokens.
pub fn forget(now: Micros) -> Statement {
    Statement::new("DELETE FROM used_tokens WHERE ends <= ?1", [now.sortable().into()])
}

/// The number of stored tokens, as [`Remembered`].
pub fn count(did: &Did) -> Statement {
    Statement::new(
        "SELECT json_object('own', (SELECT count(*) FROM used_tokens WHERE did = ?1),
            'all', (SELECT count(*) FROM (SELECT 1 FROM used_tokens LIMIT ?2))) AS row",
        [did.as_str().into(), (2 * ALL_MAX).into()],
    )
}

/// Stores a token; returns a row if it was not stored before.
pub fn remember(did: &Did, token: &str, ends: Micros) -> Statement {
    Statement::new(
        "INSERT INTO used_tokens (did, token, ends) VALUES (?1, ?2, ?3)
         ON CONFLICT DO NOTHING RETURNING json_quote(token) AS row",
        [did.as_str().into(), token.into(), ends.sortable().into()],
    )
}

/// A row if the token is stored.
pub fn is_used(did: &Did, token: &str) -> Statement {
    Statement::new(
        "SELECT json_quote(token) AS row FROM used_tokens WHERE did = ?1 AND token = ?2",
        [did.as_str().into(), token.into()],
    )
}

/// Uses a token. The caller's `run` must execute these statements without a gap.
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
