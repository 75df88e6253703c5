//! The SQLite of a `Gateway` object: its sessions and their subscriptions, the meaning of bare
//! rkeys, and its position in the log of each community.
//!
//! Pinned: an existing object keeps these tables. A change adds a table or a column with a default,
//! and never edits an old one.

use super::{Param, Statement, chunks};
pub use crate::domain::gateway::session::{Restoring, Session};
use crate::domain::subscriptions::{Candidate, Kind, Subscriptions};

/// Creates the tables in a new object.
pub const SCHEMA: &[&str] = &[
    // One row for each open socket; the socket's attachment contains `id`.
    "CREATE TABLE IF NOT EXISTS sessions (id INTEGER PRIMARY KEY, session TEXT NOT NULL)",
    // Known channels to which some session subscribes.
    "CREATE TABLE IF NOT EXISTS channels (
        uri TEXT PRIMARY KEY, rkey TEXT NOT NULL, community TEXT NOT NULL, indexed_at TEXT NOT NULL)",
    // Communities to which this gateway is attached, and the last seq received from each.
    "CREATE TABLE IF NOT EXISTS communities (uri TEXT PRIMARY KEY, delivered INTEGER NOT NULL)",
    // One row: the last outbox row with events about people that was received.
    "CREATE TABLE IF NOT EXISTS people (id INTEGER PRIMARY KEY CHECK (id = 1), told INTEGER NOT NULL)",
    "INSERT OR IGNORE INTO people (id, told) VALUES (1, 0)",
    // The subscriptions of each session: one row per key, so that one more costs one row. `kind` is
    // the word of the key's kind, or 'all' with that word as the key.
    "CREATE TABLE IF NOT EXISTS subscribed (
        session INTEGER NOT NULL, kind TEXT NOT NULL, key TEXT NOT NULL,
        PRIMARY KEY (session, kind, key)) WITHOUT ROWID",
    // An older version stored all keys in the session's own row. One that is not JSON stays as it
    // is; the reader sets it aside (Q21).
    "INSERT OR IGNORE INTO subscribed (session, kind, key)
        SELECT s.id, 'message', k.value FROM sessions s, json_each(iif(json_valid(s.session), s.session, '{}'), '$.subscriptions.message.keys') k
        UNION ALL
        SELECT s.id, 'community', k.value FROM sessions s, json_each(iif(json_valid(s.session), s.session, '{}'), '$.subscriptions.community.keys') k
        UNION ALL
        SELECT s.id, 'user_status', k.value
        FROM sessions s, json_each(iif(json_valid(s.session), s.session, '{}'), '$.subscriptions.user_status.keys') k",
    "INSERT OR IGNORE INTO subscribed (session, kind, key)
        SELECT id, 'all', 'message' FROM sessions WHERE iif(json_valid(session), json_extract(session, '$.subscriptions.message.all'), 0)
        UNION ALL
        SELECT id, 'all', 'community' FROM sessions WHERE iif(json_valid(session), json_extract(session, '$.subscriptions.community.all'), 0)
        UNION ALL
        SELECT id, 'all', 'user_status' FROM sessions WHERE iif(json_valid(session), json_extract(session, '$.subscriptions.user_status.all'), 0)",
    "UPDATE sessions SET session = json_remove(session, '$.subscriptions')
        WHERE iif(json_valid(session), json_type(session, '$.subscriptions') IS NOT NULL, 0)",
];

/// The `kind` and `key` of a row of `subscribed`.
fn as_row(kind: Kind, key: Option<&str>) -> (&'static str, String) {
    match key {
        Some(key) => (kind.word(), key.to_owned()),
        None => ("all", kind.word().to_owned()),
    }
}

/// The kind and key of a row of `subscribed`; `None` for a kind of a newer version.
pub fn of_row<'r>(kind: &str, key: &'r str) -> Option<(Kind, Option<&'r str>)> {
    match kind {
        "all" => Some((Kind::named(key)?, None)),
        kind => Some((Kind::named(kind)?, Some(key))),
    }
}

/// Every row of `subscribed`, as `[session, kind, key]`.
pub fn subscribed() -> Statement {
    Statement::new("SELECT json_array(session, kind, key) AS row FROM subscribed", [])
}

/// A session subscribes to one more key.
pub fn subscribe(id: i64, kind: Kind, key: Option<&str>) -> Statement {
    let (kind, key) = as_row(kind, key);
    Statement::new(
        "INSERT OR IGNORE INTO subscribed (session, kind, key) VALUES (?1, ?2, ?3)",
        [id.into(), kind.into(), key.into()],
    )
}

/// A session unsubscribes from a key, or without a key from everything of the kind.
pub fn unsubscribe(id: i64, kind: Kind, key: Option<&str>) -> Vec<Statement> {
    match key {
        Some(key) => vec![Statement::new(
            "DELETE FROM subscribed WHERE session = ?1 AND kind = ?2 AND key = ?3",
            [id.into(), kind.word().into(), key.into()],
        )],
        None => vec![
            Statement::new(
                "DELETE FROM subscribed WHERE session = ?1 AND kind = ?2",
                [id.into(), kind.word().into()],
            ),
            Statement::new(
                "DELETE FROM subscribed WHERE session = ?1 AND kind = 'all' AND key = ?2",
                [id.into(), kind.word().into()],
            ),
        ],
    }
}

/// Deletes exactly this subscription.
pub fn take_back(id: i64, kind: Kind, key: Option<&str>) -> Vec<Statement> {
    let all = unsubscribe(id, kind, key);
    // Without a key: the *all* subscription, but not the keys next to it.
    let beside = usize::from(key.is_none());
    all.into_iter().skip(beside).collect()
}

/// A session without subscriptions gets all of these.
pub fn inherit(id: i64, subscriptions: &Subscriptions) -> Vec<Statement> {
    let rows = Kind::ALL.into_iter().flat_map(|kind| {
        let keys = subscriptions.kind(kind);
        let all = keys.all.then(|| as_row(kind, None));
        all.into_iter().chain(keys.keys.iter().map(move |key| as_row(kind, Some(key))))
    });
    let insert = |text: String| {
        Statement::new(
            "INSERT OR IGNORE INTO subscribed (session, kind, key)
             SELECT ?1, value ->> 0, value ->> 1 FROM json_each(?2)",
            [id.into(), text.into()],
        )
    };
    chunks(rows).into_iter().map(insert).collect()
}

fn int(number: u64) -> Param {
    Param::Int(i64::try_from(number).unwrap_or(i64::MAX))
}

/// The last outbox row with events about people that was received.
pub fn records() -> Statement {
    Statement::new("SELECT CAST(told AS TEXT) AS row FROM people", [])
}

/// Stores it.
pub fn keep_records(id: i64) -> Statement {
    Statement::new("UPDATE people SET told = max(told, ?1)", [id.into()])
}

/// Every session, as `[id, session]`, the latter [`super::Inner`].
pub fn sessions() -> Statement {
    Statement::new("SELECT json_array(id, session) AS row FROM sessions", [])
}

/// Stores a session and returns its number, which is above `given` and differs from that of every
/// stored trace (`gateway_people`).
pub fn open(session: &Session, given: i64) -> Statement {
    Statement::new(
        "INSERT INTO sessions (id, session)
         SELECT 1 + max(?2, (SELECT coalesce(max(id), 0) FROM sessions), (SELECT coalesce(max(id), 0) FROM traces)), ?1
         RETURNING CAST(id AS TEXT) AS row",
        [Param::json(session), given.into()],
    )
}

/// Stores a changed session.
pub fn keep(id: i64, session: &Session) -> Statement {
    Statement::new("UPDATE sessions SET session = ?2 WHERE id = ?1", [id.into(), Param::json(session)])
}

/// Deletes a session, whose socket closed.
pub fn close(id: i64) -> Vec<Statement> {
    vec![
        Statement::new("DELETE FROM sessions WHERE id = ?1", [id.into()]),
        Statement::new("DELETE FROM subscribed WHERE session = ?1", [id.into()]),
    ]
}

/// Every known channel to which some session subscribes.
pub fn channels() -> Statement {
    Statement::new(
        "SELECT json_object('uri', uri, 'community', community, 'indexed_at', indexed_at) AS row FROM channels",
        [],
    )
}

/// Stores the new meaning of the rkeys and AT-URIs in `names`.
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

/// Every community to which the gateway is attached, as `[uri, delivered]`.
pub fn communities() -> Statement {
    Statement::new("SELECT json_array(uri, delivered) AS row FROM communities", [])
}

/// The gateway is attached to a community and has everything up to and including `delivered`.
pub fn received(community: &str, delivered: u64) -> Statement {
    Statement::new(
        "INSERT INTO communities (uri, delivered) VALUES (?1, ?2)
         ON CONFLICT (uri) DO UPDATE SET delivered = max(delivered, excluded.delivered)",
        [community.into(), int(delivered)],
    )
}

/// The gateway detached from a community.
pub fn detach(community: &str) -> Statement {
    Statement::new("DELETE FROM communities WHERE uri = ?1", [community.into()])
}
