//! The SQLite of a `Gateway` object: its sessions, what bare rkeys mean, and how far it has
//! heard each community.
//!
//! Pinned: an existing object keeps these tables. A change is a new table or column with a
//! default, never an edit of the old.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Param, Statement};
use crate::domain::subscriptions::{Candidate, Subscriptions};
use crate::wire::ids::Did;
use crate::wire::time::Micros;

/// Creates the tables, if the object is new.
pub const SCHEMA: &[&str] = &[
    // One row for each open socket; `id` stands in the socket's attachment.
    "CREATE TABLE IF NOT EXISTS sessions (id INTEGER PRIMARY KEY, session TEXT NOT NULL)",
    // Known channels that some session names.
    "CREATE TABLE IF NOT EXISTS channels (
        uri TEXT PRIMARY KEY, rkey TEXT NOT NULL, community TEXT NOT NULL, indexed_at TEXT NOT NULL)",
    // Communities this gateway listens to, and the last seq it has had from each.
    "CREATE TABLE IF NOT EXISTS communities (uri TEXT PRIMARY KEY, delivered INTEGER NOT NULL)",
    // One row: the last row of the outbox with events about people that came in.
    "CREATE TABLE IF NOT EXISTS people (id INTEGER PRIMARY KEY CHECK (id = 1), told INTEGER NOT NULL)",
    "INSERT OR IGNORE INTO people (id, told) VALUES (1, 0)",
];

/// A socket's session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The person the socket acts for (A02).
    pub did: Option<Did>,
    /// What it wants to hear.
    pub subscriptions: Subscriptions,
    /// For each community it resumed: the last `seq` of the replay, which it has had.
    #[serde(default)]
    pub replayed: BTreeMap<String, u64>,
    /// Whether it names a person who was not proven (X05).
    #[serde(default)]
    pub unproven: bool,
    /// What it still has to get of what its person missed (Q10).
    #[serde(default)]
    pub restoring: Option<Restoring>,
}

/// What a restored socket has not got yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restoring {
    /// When its person's last socket closed.
    pub since: Micros,
    /// The restored subscriptions that the client has not touched itself (Q11).
    pub subscriptions: Subscriptions,
    /// For each community: the last `seq` that was had. One that is not named, and is wanted
    /// because of *all*, was not known then.
    pub owed: BTreeMap<String, i64>,
    /// Communities that the client resumes itself, or that are done.
    pub done: BTreeSet<String>,
}

fn int(number: u64) -> Param {
    Param::Int(i64::try_from(number).unwrap_or(i64::MAX))
}

/// The last row of the outbox with events about people that came in.
pub fn told_people() -> Statement {
    Statement::new("SELECT CAST(told AS TEXT) AS row FROM people", [])
}

/// Notes it.
pub fn tell_people(id: i64) -> Statement {
    Statement::new("UPDATE people SET told = max(told, ?1)", [id.into()])
}

/// Every session, as `[id, session]`.
pub fn sessions() -> Statement {
    Statement::new("SELECT json_array(id, json(session)) AS row FROM sessions", [])
}

/// Stores a session. Without an id it gets the next one, which is answered.
pub fn open(session: &Session) -> Statement {
    Statement::new(
        "INSERT INTO sessions (session) VALUES (?1) RETURNING CAST(id AS TEXT) AS row",
        [Param::json(session)],
    )
}

/// Stores a changed session.
pub fn keep(id: i64, session: &Session) -> Statement {
    Statement::new("UPDATE sessions SET session = ?2 WHERE id = ?1", [id.into(), Param::json(session)])
}

/// The socket is gone.
pub fn close(id: i64) -> Statement {
    Statement::new("DELETE FROM sessions WHERE id = ?1", [id.into()])
}

/// Every known channel that some session names.
pub fn channels() -> Statement {
    Statement::new(
        "SELECT json_object('uri', uri, 'community', community, 'indexed_at', indexed_at) AS row FROM channels",
        [],
    )
}

/// What the rkeys of `names` and the AT-URIs in it mean from now on.
pub fn mean(names: &[String], candidates: &[Candidate]) -> Vec<Statement> {
    vec![
        Statement::new(
            "DELETE FROM channels WHERE uri IN (SELECT value FROM json_each(?1))
                OR rkey IN (SELECT value FROM json_each(?1))",
            [Param::json(&names)],
        ),
        Statement::new(
            "INSERT OR REPLACE INTO channels (uri, rkey, community, indexed_at)
             SELECT value ->> 'uri', replace(value ->> 'uri', rtrim(value ->> 'uri', replace(value ->> 'uri', '/', '')), ''),
                    value ->> 'community', value ->> 'indexed_at' FROM json_each(?1)",
            [Param::json(&candidates)],
        ),
    ]
}

/// Every community listened to, as `[uri, delivered]`.
pub fn communities() -> Statement {
    Statement::new("SELECT json_array(uri, delivered) AS row FROM communities", [])
}

/// The gateway listens to a community and has everything up to and with `delivered`.
pub fn heard(community: &str, delivered: u64) -> Statement {
    Statement::new(
        "INSERT INTO communities (uri, delivered) VALUES (?1, ?2)
         ON CONFLICT (uri) DO UPDATE SET delivered = max(delivered, excluded.delivered)",
        [community.into(), int(delivered)],
    )
}

/// The gateway listens to a community no more.
pub fn deafen(community: &str) -> Statement {
    Statement::new("DELETE FROM communities WHERE uri = ?1", [community.into()])
}
