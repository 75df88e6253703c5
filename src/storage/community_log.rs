//! The SQLite of a `Community` object: its `seq`, its log, and the gateways that listen.
//!
//! Pinned: an existing object keeps these tables. A change adds a table or a column with a default,
//! and never edits an old one.

use serde::Serialize;
use serde_json::value::RawValue;

use super::{Fault, Inner, Param, Statement, chunks};
pub use crate::domain::announcement::Numbered;
use crate::domain::announcement::{Announcement, Audience, Topic};
pub use crate::domain::community::{Counters, Listener};
use crate::domain::lost;
use crate::wire::time::Micros;

/// Creates the tables in a new object.
pub const SCHEMA: &[&str] = &[
    // One row: the last seq assigned, and the last outbox row received.
    "CREATE TABLE IF NOT EXISTS counters (
        id INTEGER PRIMARY KEY CHECK (id = 1), seq INTEGER NOT NULL, announced INTEGER NOT NULL)",
    "INSERT OR IGNORE INTO counters (id, seq, announced) VALUES (1, 0, 0)",
    // The events of the last hours. A withdrawn one is not replayed (Q07).
    "CREATE TABLE IF NOT EXISTS log (
        seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, audience TEXT NOT NULL, channel_uri TEXT,
        message_uri TEXT, live INTEGER NOT NULL, withdrawn INTEGER NOT NULL DEFAULT 0,
        event TEXT NOT NULL)",
    "CREATE INDEX IF NOT EXISTS log_by_message ON log (message_uri) WHERE message_uri IS NOT NULL",
    // The gateways that listen, and the last seq delivered to each. `attachments` counts the
    // requests of a gateway, so that a late detach does not undo a newer attach.
    "CREATE TABLE IF NOT EXISTS gateways (
        name TEXT PRIMARY KEY, delivered INTEGER NOT NULL, attachments INTEGER NOT NULL)",
    // A row while only members may read the community (X43).
    "CREATE TABLE IF NOT EXISTS members_only (id INTEGER PRIMARY KEY CHECK (id = 1))",
];

fn int(number: u64) -> Param {
    Param::Int(i64::try_from(number).unwrap_or(i64::MAX))
}

/// A row if the tables exist, which means that the object was used before.
pub fn is_used() -> Statement {
    Statement::new("SELECT name AS row FROM sqlite_master WHERE type = 'table' AND name = 'counters'", [])
}

/// From now on only members may read the community, or everybody (X43).
pub fn set_members_only(on: bool) -> Statement {
    let sql =
        if on { "INSERT OR IGNORE INTO members_only (id) VALUES (1)" } else { "DELETE FROM members_only" };
    Statement::new(sql, [])
}

/// Reads [`Counters`].
pub fn counters() -> Statement {
    Statement::new(
        "SELECT json_object('seq', seq, 'announced', announced, 'oldest', (SELECT min(seq) FROM log),
                'members_only', json(iif(EXISTS (SELECT 1 FROM members_only), 'true', 'false'))) AS row
         FROM counters",
        [],
    )
}

/// Stores the last `seq` assigned and the last outbox row received.
pub fn count(seq: u64, announced: i64) -> Statement {
    Statement::new(
        "UPDATE counters SET seq = ?1, announced = max(announced, ?2)",
        [int(seq), announced.into()],
    )
}

/// A row of the log, with its bound columns.
#[derive(Serialize)]
struct Entry<'a> {
    seq: u64,
    audience: String,
    channel_uri: Option<&'a str>,
    message_uri: Option<&'a str>,
    live: bool,
    withdrawn: bool,
    event: &'a str,
}

/// Appends events, numbered from `first`, and withdraws events that are no longer true (Q07): those
/// of a deleted message, and all messages of a deleted channel or community. It uses few statements
/// for any number of events, because a statement costs more than a row.
pub fn append<'a>(
    first: u64,
    events: impl IntoIterator<Item = &'a Announcement>,
    at: Micros,
) -> Vec<Statement> {
    let mut entries: Vec<Entry> = Vec::new();
    let (mut messages, mut channels, mut everything) = (Vec::new(), Vec::new(), false);
    for (seq, announcement) in (first..).zip(events) {
        // A statement withdraws stored events; events of this call are withdrawn here.
        let mut withdraw = |gone: &dyn Fn(&Entry) -> bool| {
            entries.iter_mut().filter(|entry| entry.message_uri.is_some() && gone(entry)).for_each(|entry| {
                entry.withdrawn = true;
            });
        };
        match &announcement.topic {
            Topic::MessageGone(uri) => {
                withdraw(&|entry| entry.message_uri == Some(uri.as_str()));
                messages.push(uri.as_str());
            }
            Topic::ChannelGone(uri) => {
                withdraw(&|entry| entry.channel_uri == Some(uri.as_str()));
                channels.push(uri.as_str());
            }
            Topic::CommunityGone => {
                withdraw(&|_| true);
                everything = true;
            }
            Topic::MessageShown(_)
            | Topic::ChannelShown(_)
            | Topic::CommunityShown
            | Topic::MemberOut(_)
            | Topic::MemberIn(_)
            | Topic::MembersOnly(_)
            | Topic::Account(_)
            | Topic::Notification(..)
            | Topic::Thread(_)
            | Topic::Other => {}
        }
        entries.push(Entry {
            seq,
            audience: serde_json::to_string(&announcement.audience).unwrap_or_default(),
            channel_uri: match &announcement.audience {
                Audience::Messages(uri) => Some(uri.as_str()),
                Audience::Community | Audience::Private(_) | Audience::Approvers | Audience::Watchers(_) => {
                    None
                }
            },
            message_uri: match &announcement.topic {
                Topic::MessageShown(uri) => Some(uri.as_str()),
                _ => None,
            },
            live: announcement.live,
            withdrawn: false,
            event: announcement.event.get(),
        });
    }
    let mut statements = Vec::new();
    if everything {
        statements.push(Statement::new("UPDATE log SET withdrawn = 1 WHERE message_uri IS NOT NULL", []));
    }
    if !channels.is_empty() {
        statements.push(Statement::new(
            "UPDATE log SET withdrawn = 1
             WHERE message_uri IS NOT NULL AND channel_uri IN (SELECT value FROM json_each(?1))",
            [Param::json(&channels)],
        ));
    }
    if !messages.is_empty() {
        statements.push(Statement::new(
            "UPDATE log SET withdrawn = 1 WHERE message_uri IN (SELECT value FROM json_each(?1))",
            [Param::json(&messages)],
        ));
    }
    for text in chunks(entries.iter()) {
        statements.push(Statement::new(
            "INSERT OR REPLACE INTO log
                 (seq, at, audience, channel_uri, message_uri, live, withdrawn, event)
             SELECT value ->> 'seq', ?2, value ->> 'audience', value ->> 'channel_uri',
                 value ->> 'message_uri', value ->> 'live', value ->> 'withdrawn', value ->> 'event'
             FROM json_each(?1)",
            [text.into(), at.0.into()],
        ));
    }
    statements
}

/// Parses events, in order. An unreadable event is set aside: an empty event takes its place (Q21),
/// and its `seq` is added to `unreadable`.
pub fn events(texts: &[String], unreadable: &mut Vec<u64>) -> Result<Vec<Numbered>, Fault> {
    type Row = (u64, Inner<Audience>, u8, Inner<Box<RawValue>>);
    let found: Vec<Row> = texts
        .iter()
        .map(|text| serde_json::from_str(text).map_err(|error| Fault::new("reading the log", error)))
        .collect::<Result<_, _>>()?;
    let numbered = found.into_iter().map(|(seq, audience, live, event)| match (audience.0, event.0) {
        (Some(audience), Some(event)) => Numbered { seq, audience, live: live != 0, event },
        (audience, _) => {
            unreadable.push(seq);
            let audience = audience.unwrap_or(Audience::Community);
            Numbered { seq, audience, live: false, event: lost::event() }
        }
    });
    Ok(numbered.collect())
}

/// Sets unreadable events aside permanently.
pub fn set_aside(seqs: &[u64]) -> Statement {
    Statement::new(
        "UPDATE log SET event = 'null', audience = '\"community\"', live = 0
         WHERE seq IN (SELECT value FROM json_each(?1))",
        [Param::json(&seqs)],
    )
}

/// An event as stored in the log.
#[derive(Clone, Debug)]
pub struct Logged {
    /// T14.
    pub seq: u64,
    /// Who receives it; the community if the stored audience is unreadable.
    pub audience: Audience,
    /// Its text; empty where that cannot be read, which is set aside when it is read (Q21).
    pub event: String,
}

/// At most `limit` events after `after`, in order, withdrawn ones too, for [`logged`].
pub fn everything_after(after: u64, limit: i64) -> Statement {
    Statement::new(
        "SELECT json_array(seq, audience, event) AS row FROM log WHERE seq > ?1 ORDER BY seq LIMIT ?2",
        [int(after), limit.into()],
    )
}

/// Reads what [`everything_after`] answers.
pub fn logged(texts: &[String]) -> Result<Vec<Logged>, Fault> {
    let read = |text: &String| {
        let (seq, audience, event): (u64, Inner<Audience>, Inner<Box<RawValue>>) =
            serde_json::from_str(text).map_err(|error| Fault::new("reading the log", error))?;
        let event = event.0.map(|event| event.get().to_owned()).unwrap_or_default();
        Ok(Logged { seq, audience: audience.0.unwrap_or(Audience::Community), event })
    };
    texts.iter().map(read).collect()
}

/// Clears events of an erased person (I58): some are withdrawn, and some, which are somebody else's, are set
/// aside. Others get another text.
pub fn clear(withdrawn: &[u64], set_aside: &[u64], changed: &[(u64, String)]) -> Vec<Statement> {
    let mut statements = Vec::new();
    if !withdrawn.is_empty() {
        statements.push(Statement::new(
            "UPDATE log SET withdrawn = 1, channel_uri = NULL, message_uri = NULL
             WHERE seq IN (SELECT value FROM json_each(?1))",
            [Param::json(&withdrawn)],
        ));
    }
    let emptied: Vec<u64> = withdrawn.iter().chain(set_aside).copied().collect();
    if !emptied.is_empty() {
        statements.push(self::set_aside(&emptied));
    }
    for text in chunks(changed.iter()) {
        statements.push(Statement::new(
            "UPDATE log SET event = c.value ->> 1 FROM json_each(?1) c WHERE log.seq = c.value ->> 0",
            [text.into()],
        ));
    }
    statements
}

/// The next `limit` events after `after`, in order, to parse with [`events`]: for delivery.
pub fn after(after: u64, limit: i64) -> Statement {
    Statement::new(
        "SELECT json_array(seq, audience, live, event) AS row
         FROM log WHERE seq > ?1 ORDER BY seq LIMIT ?2",
        [int(after), limit.into()],
    )
}

/// The same without withdrawn events: for replays (Q07).
pub fn standing_after(after: u64, limit: i64) -> Statement {
    Statement::new(
        "SELECT json_array(seq, audience, live, event) AS row
         FROM log WHERE seq > ?1 AND NOT withdrawn ORDER BY seq LIMIT ?2",
        [int(after), limit.into()],
    )
}

/// The last `seq` assigned before `at`, if the log still has it. Searches from the newest event.
pub fn numbered_before(at: Micros) -> Statement {
    Statement::new(
        "SELECT CAST(seq AS TEXT) AS row FROM log WHERE at < ?1 ORDER BY seq DESC LIMIT 1",
        [at.0.into()],
    )
}

/// Deletes events older than `before`, and all but the newest `max` (Q06). Both statements read
/// only the oldest rows, because a full community runs them with every append.
pub fn forget(before: Micros, max: i64) -> Vec<Statement> {
    vec![
        Statement::new(
            "DELETE FROM log WHERE seq < coalesce(
                 (SELECT seq FROM log WHERE at >= ?1 ORDER BY seq LIMIT 1),
                 (SELECT max(seq) FROM log) + 1)",
            [before.0.into()],
        ),
        Statement::new("DELETE FROM log WHERE seq <= (SELECT seq FROM counters) - ?1", [max.into()]),
    ]
}

/// A gateway attaches, from the event after `delivered` on; one that is attached already keeps its
/// position.
pub fn listen(name: &str, delivered: u64) -> Statement {
    Statement::new(
        "INSERT INTO gateways (name, delivered, attachments) VALUES (?1, ?2, 1)
         ON CONFLICT (name) DO UPDATE SET attachments = attachments + 1",
        [name.into(), int(delivered)],
    )
}

/// A gateway detaches, unless it attached again in the meantime.
pub fn leave(listener: &Listener) -> Statement {
    Statement::new(
        "DELETE FROM gateways WHERE name = ?1 AND attachments = ?2",
        [listener.name.as_str().into(), int(listener.attachments)],
    )
}

/// A gateway has received every event up to and including `delivered`.
pub fn delivered(name: &str, delivered: u64) -> Statement {
    Statement::new(
        "UPDATE gateways SET delivered = max(delivered, ?2) WHERE name = ?1",
        [name.into(), int(delivered)],
    )
}

/// Every [`Listener`].
pub fn listeners() -> Statement {
    Statement::new(
        "SELECT json_object('name', name, 'delivered', delivered, 'attachments', attachments) AS row
         FROM gateways ORDER BY name",
        [],
    )
}
