//! The SQLite of a `Gateway` object: its sessions and what each listens to, what bare rkeys mean,
//! and how far it has heard each community.
//!
//! Pinned: an existing object keeps these tables. A change is a new table or column with a
//! default, never an edit of the old.

use super::{Param, Statement, chunks};
pub use crate::domain::gateway::session::{Restoring, Session};
use crate::domain::subscriptions::{Candidate, Kind, Subscriptions};

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
    // What each session listens to: a row for each key, so that one more costs one row. `kind` is
    // the word of the key's kind, or 'all' with that word as the key.
    "CREATE TABLE IF NOT EXISTS subscribed (
        session INTEGER NOT NULL, kind TEXT NOT NULL, key TEXT NOT NULL,
        PRIMARY KEY (session, kind, key)) WITHOUT ROWID",
    // Of before that, all keys stood in the session's own row. One that is no JSON stays as it is: who
    // reads it sets it aside (Q21).
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

/// The kind and key of a row of `subscribed`; `None` for a kind of a later version.
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

/// A session listens to something more.
pub fn subscribe(id: i64, kind: Kind, key: Option<&str>) -> Statement {
    let (kind, key) = as_row(kind, key);
    Statement::new(
        "INSERT OR IGNORE INTO subscribed (session, kind, key) VALUES (?1, ?2, ?3)",
        [id.into(), kind.into(), key.into()],
    )
}

/// A session listens to something no more; without a key, to nothing of the kind.
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

/// Exactly this subscription is taken back.
pub fn take_back(id: i64, kind: Kind, key: Option<&str>) -> Vec<Statement> {
    let all = unsubscribe(id, kind, key);
    // Without a key: *all*, but not the keys beside it.
    let beside = usize::from(key.is_none());
    all.into_iter().skip(beside).collect()
}

/// A session that listened to nothing listens to all of this.
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

/// The last row of the outbox with events about people that came in.
pub fn told_people() -> Statement {
    Statement::new("SELECT CAST(told AS TEXT) AS row FROM people", [])
}

/// Notes it.
pub fn tell_people(id: i64) -> Statement {
    Statement::new("UPDATE people SET told = max(told, ?1)", [id.into()])
}

/// Every session, as `[id, session]`, the latter [`super::Inner`].
pub fn sessions() -> Statement {
    Statement::new("SELECT json_array(id, session) AS row FROM sessions", [])
}

/// Stores a session, which gets a number above `given` that no session has whose trace is kept
/// (`gateway_people`). The number is answered.
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

/// The socket is gone.
pub fn close(id: i64) -> Vec<Statement> {
    vec![
        Statement::new("DELETE FROM sessions WHERE id = ?1", [id.into()]),
        Statement::new("DELETE FROM subscribed WHERE session = ?1", [id.into()]),
    ]
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
