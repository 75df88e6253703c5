//! The SQLite of a `Gateway` object, people part: who is present, which events about them are
//! undelivered, and the subscriptions of closed sockets.
//!
//! Pinned: an existing object keeps these tables. A change adds a table or a column with a default,
//! and never edits an old one.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Fault, Inner, Param, Statement, json_text, rows};
pub use crate::domain::gateway::publication::{HeldEvent, Publication};
use crate::domain::gateway::restoring::Change;
use crate::domain::person::Person;
use crate::domain::presence::State;
use crate::domain::restore::{self, Trace};
use crate::wire::ids::{AtUri, Did};
use crate::wire::time::Micros;

/// The most members of communities whose last change is stored (Q13).
const CHANGED_MAX: i64 = 10_000;
/// The most people without a community whose last change is stored.
const CHANGED_ELSEWHERE_MAX: i64 = 1_000;
/// The most absent visitors whose chosen state is stored.
const CHOSEN_MAX: i64 = 1_000;

/// Creates the tables in a new object.
pub const SCHEMA: &[&str] = &[
    // People with presence or a voice channel at this gateway.
    "CREATE TABLE IF NOT EXISTS persons (did TEXT PRIMARY KEY, person TEXT NOT NULL)",
    // The last sign of life of a session, and whether it ever sent a heartbeat (P11).
    "CREATE TABLE IF NOT EXISTS signs (id INTEGER PRIMARY KEY, heard_at INTEGER NOT NULL, beats INTEGER NOT NULL)",
    // Events from records that wait for the state of their person (P12).
    "CREATE TABLE IF NOT EXISTS unsaid (
        id INTEGER PRIMARY KEY, did TEXT NOT NULL, live INTEGER NOT NULL, event TEXT NOT NULL)",
    // Events about people of this gateway that some other gateway has not received. Ids are never
    // reused.
    "CREATE TABLE IF NOT EXISTS sayings (id INTEGER PRIMARY KEY AUTOINCREMENT, saying TEXT NOT NULL)",
    // The last of them that each other gateway received.
    "CREATE TABLE IF NOT EXISTS hearers (name TEXT PRIMARY KEY, through INTEGER NOT NULL)",
    // The last event that this gateway received from each other gateway.
    "CREATE TABLE IF NOT EXISTS speakers (name TEXT PRIMARY KEY, through INTEGER NOT NULL)",
    // People whose status or profile changed recently, for sockets that are restored (Q13).
    "CREATE TABLE IF NOT EXISTS changed (
        did TEXT PRIMARY KEY, status_at INTEGER NOT NULL DEFAULT 0, profile_at INTEGER NOT NULL DEFAULT 0,
        communities TEXT NOT NULL)",
    // The state of closed sockets (Q10); `at` is when they closed.
    "CREATE TABLE IF NOT EXISTS traces (
        id INTEGER PRIMARY KEY, did TEXT NOT NULL, address TEXT NOT NULL, at INTEGER NOT NULL,
        bytes INTEGER NOT NULL, trace TEXT NOT NULL)",
    "CREATE INDEX IF NOT EXISTS traces_by_person ON traces (did, at)",
    "CREATE INDEX IF NOT EXISTS traces_by_time ON traces (at)",
    "CREATE INDEX IF NOT EXISTS traces_by_address ON traces (address, at)",
    // The same in an older version, kept for a minute. Session numbers are positive.
    "CREATE TABLE IF NOT EXISTS departed (
        id INTEGER PRIMARY KEY, did TEXT NOT NULL, at INTEGER NOT NULL, last INTEGER NOT NULL, departed TEXT NOT NULL)",
    "DELETE FROM departed WHERE NOT json_valid(departed)",
    "INSERT OR IGNORE INTO traces (id, did, address, at, bytes, trace)
        SELECT -id, did, '', at, length(departed), json_object('id', -id, 'alive_at', moment, 'closed_at', moment,
            'subscriptions', json_extract(departed, '$.subscriptions'), 'heard', json_extract(departed, '$.heard'))
        FROM (SELECT *, strftime('%Y-%m-%dT%H:%M:%fZ', at / 1e6, 'unixepoch') AS moment FROM departed)",
    "DELETE FROM departed",
    // States that visitors chose; visitors have no row in D1 (P01).
    "CREATE TABLE IF NOT EXISTS chosen (did TEXT PRIMARY KEY, state TEXT NOT NULL, at INTEGER NOT NULL)",
    "CREATE INDEX IF NOT EXISTS chosen_by_time ON chosen (at)",
    // One row: the run of the runtime that this object last saw.
    "CREATE TABLE IF NOT EXISTS run (id INTEGER PRIMARY KEY CHECK (id = 1), run TEXT NOT NULL)",
    // Communities whose observers receive events about people, too (A21).
    "CREATE TABLE IF NOT EXISTS observed (uri TEXT PRIMARY KEY)",
];

impl HeldEvent {
    /// Parses the answer of [`held`].
    pub fn read(texts: &Vec<String>) -> Result<Vec<Self>, Fault> {
        let found: Vec<(i64, Did, u8, Inner<Box<RawValue>>)> = rows(Some(texts))?;
        let read = found.into_iter();
        Ok(read.map(|(id, did, live, event)| Self { id, did, live: live != 0, event: event.0 }).collect())
    }
}

impl Publication {
    /// Parses the answer of [`publications`]: the last id, the readable events, and the number of
    /// unreadable ones.
    pub fn read(texts: &Vec<String>) -> Result<(Option<i64>, Vec<Self>, u32), Fault> {
        let found: Vec<(i64, Inner<Self>)> = rows(Some(texts))?;
        let last = found.last().map(|(id, _)| *id);
        let mut unreadable = 0;
        let mut publications = Vec::new();
        for (id, publication) in found {
            match publication.0 {
                Some(publication) => publications.push(Self { id, ..publication }),
                None => unreadable += 1,
            }
        }
        Ok((last, publications, unreadable))
    }
}

/// A person whose status or profile changed.
#[derive(Clone, Debug, Deserialize)]
pub struct Changed {
    /// Who.
    pub did: Did,
    /// When the status last changed, in microseconds.
    pub status_at: i64,
    /// When the profile last changed, in microseconds.
    pub profile_at: i64,
    /// The communities through which others watched them at that time.
    pub communities: Inner<Vec<AtUri>>,
}

impl From<Changed> for Change {
    fn from(row: Changed) -> Self {
        let Changed { did, status_at, profile_at, communities } = row;
        // Communities that cannot be read back are as if there were none.
        let communities = communities.0.unwrap_or_default();
        Self { did, status_at: Micros(status_at), profile_at: Micros(profile_at), communities }
    }
}

/// Every person, as `[did, person]`, the latter [`Inner`].
pub fn persons() -> Statement {
    Statement::new("SELECT json_array(did, person) AS row FROM persons", [])
}

/// Stores a person.
pub fn keep(did: &Did, person: &Person) -> Statement {
    Statement::new(
        "INSERT INTO persons (did, person) VALUES (?1, ?2) ON CONFLICT (did) DO UPDATE SET person = excluded.person",
        [did.as_str().into(), Param::json(person)],
    )
}

/// Deletes a person.
pub fn forget(did: &Did) -> Statement {
    Statement::new("DELETE FROM persons WHERE did = ?1", [did.as_str().into()])
}

/// Nothing is kept of a person whose everything is erased (I56); without `last`, but what others must
/// still receive: that they are gone.
pub fn erase(did: &Did, last: bool) -> Vec<Statement> {
    let theirs = |sql| Statement::new(sql, [did.as_str().into()]);
    let mut all = vec![
        theirs("DELETE FROM traces WHERE did = ?1"),
        theirs("DELETE FROM chosen WHERE did = ?1"),
        theirs("DELETE FROM unsaid WHERE did = ?1"),
    ];
    if last {
        all.push(theirs("DELETE FROM changed WHERE did = ?1"));
        all.push(theirs("DELETE FROM sayings WHERE instr(saying, '\"did\":\"' || ?1 || '\"') > 0"));
        all.push(forget(did));
    }
    all
}

/// Every sign of life, as `[id, heard_at, beats]`.
pub fn signs() -> Statement {
    Statement::new("SELECT json_array(id, heard_at, json(iif(beats, 'true', 'false'))) AS row FROM signs", [])
}

/// A session showed a sign of life.
pub fn sign(id: i64, at: Micros, beats: bool) -> Statement {
    Statement::new(
        "INSERT INTO signs (id, heard_at, beats) VALUES (?1, ?2, ?3)
         ON CONFLICT (id) DO UPDATE SET heard_at = excluded.heard_at, beats = excluded.beats",
        [id.into(), at.0.into(), i64::from(beats).into()],
    )
}

/// A session ended.
pub fn silence(id: i64) -> Statement {
    Statement::new("DELETE FROM signs WHERE id = ?1", [id.into()])
}

/// Stores an event from a record.
pub fn hold(did: &Did, live: bool, event: &RawValue) -> Statement {
    Statement::new(
        "INSERT INTO unsaid (did, live, event) VALUES (?1, ?2, ?3)",
        [did.as_str().into(), i64::from(live).into(), event.get().into()],
    )
}

/// The next `limit` waiting events, in order, as `[id, did, live, event]`, the last [`Inner`].
pub fn held(limit: i64) -> Statement {
    Statement::new(
        "SELECT json_array(id, did, live, event) AS row FROM unsaid ORDER BY id LIMIT ?1",
        [limit.into()],
    )
}

/// Deletes the waiting events up to and including `id`.
pub fn release(id: i64) -> Statement {
    Statement::new("DELETE FROM unsaid WHERE id <= ?1", [id.into()])
}

/// Stores an event for the other gateways, and assigns its id.
pub fn publish(publication: &Publication) -> Statement {
    Statement::new("INSERT INTO sayings (saying) VALUES (?1)", [Param::json(publication)])
}

/// The next `limit` such events after `after`, in order, as `[id, publication]`, the latter [`Inner`].
pub fn publications(after: i64, limit: i64) -> Statement {
    Statement::new(
        "SELECT json_array(id, saying) AS row FROM sayings WHERE id > ?1 ORDER BY id LIMIT ?2",
        [after.into(), limit.into()],
    )
}

/// The id of the last one.
pub fn last_publication() -> Statement {
    Statement::new("SELECT CAST(coalesce(max(id), 0) AS TEXT) AS row FROM sayings", [])
}

/// The position of each receiving gateway, as `[name, through]`.
pub fn receivers() -> Statement {
    Statement::new("SELECT json_array(name, through) AS row FROM hearers", [])
}

/// A receiving gateway has everything up to and including `through`.
pub fn receiver(name: &str, through: i64) -> Statement {
    Statement::new(
        "INSERT INTO hearers (name, through) VALUES (?1, ?2)
         ON CONFLICT (name) DO UPDATE SET through = max(through, excluded.through)",
        [name.into(), through.into()],
    )
}

/// Deletes the events up to and including `id`, which every gateway has received.
pub fn forget_publications(id: i64) -> Statement {
    Statement::new("DELETE FROM sayings WHERE id <= ?1", [id.into()])
}

/// The last event received from another gateway, as its id.
pub fn publisher(name: &str) -> Statement {
    Statement::new("SELECT CAST(through AS TEXT) AS row FROM speakers WHERE name = ?1", [name.into()])
}

/// This gateway received another's events up to and including `through`.
pub fn published_by(name: &str, through: i64) -> Statement {
    Statement::new(
        "INSERT INTO speakers (name, through) VALUES (?1, ?2)
         ON CONFLICT (name) DO UPDATE SET through = max(through, excluded.through)",
        [name.into(), through.into()],
    )
}

/// A person's status or profile changed at `at`.
pub fn changed(publication: &Publication, at: Micros) -> Statement {
    let sql = if publication.status {
        "INSERT INTO changed (did, status_at, communities) VALUES (?1, ?2, ?3)
         ON CONFLICT (did) DO UPDATE SET status_at = excluded.status_at, communities = excluded.communities"
    } else {
        "INSERT INTO changed (did, profile_at, communities) VALUES (?1, ?2, ?3)
         ON CONFLICT (did) DO UPDATE SET profile_at = excluded.profile_at, communities = excluded.communities"
    };
    Statement::new(sql, [publication.did.as_str().into(), at.0.into(), Param::json(&publication.communities)])
}

/// Deletes changes from before `since`, and all but the newest: many for members of communities,
/// far fewer for people without a community, whom anybody can invent.
pub fn forget_changes(since: Micros) -> Vec<Statement> {
    let newest = |sql, max: i64| Statement::new(sql, [max.into()]);
    vec![
        Statement::new("DELETE FROM changed WHERE max(status_at, profile_at) < ?1", [since.0.into()]),
        newest(
            "DELETE FROM changed WHERE communities = '[]' AND did NOT IN (
                SELECT did FROM changed WHERE communities = '[]'
                ORDER BY max(status_at, profile_at) DESC LIMIT ?1)",
            CHANGED_ELSEWHERE_MAX,
        ),
        newest(
            "DELETE FROM changed WHERE communities <> '[]' AND did NOT IN (
                SELECT did FROM changed WHERE communities <> '[]'
                ORDER BY max(status_at, profile_at) DESC LIMIT ?1)",
            CHANGED_MAX,
        ),
    ]
}

/// The people who changed at `since` or later ([`Changed`]).
pub fn changed_since(since: Micros) -> Statement {
    Statement::new(
        "SELECT json_object('did', did, 'status_at', status_at, 'profile_at', profile_at,
                'communities', communities) AS row
         FROM changed WHERE max(status_at, profile_at) >= ?1 ORDER BY did",
        [since.0.into()],
    )
}

/// Stores the state of a person's closed socket, which came from `address`. Each person keeps the
/// newest traces: over the limit, the address with the most loses its oldest.
pub fn leave(did: &Did, address: &str, at: Micros, trace: &Trace) -> Vec<Statement> {
    let text = json_text(trace);
    let bytes = i64::try_from(text.len()).unwrap_or(i64::MAX);
    vec![
        Statement::new(
            "INSERT OR REPLACE INTO traces (id, did, address, at, bytes, trace) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            [trace.id.into(), did.as_str().into(), address.into(), at.0.into(), bytes.into(), text.into()],
        ),
        Statement::new(
            "DELETE FROM traces WHERE (SELECT count(*) FROM traces WHERE did = ?1) > ?2 AND id = (
                SELECT id FROM traces WHERE did = ?1 AND address = (
                    SELECT address FROM traces WHERE did = ?1 GROUP BY address ORDER BY count(*) DESC, min(at) LIMIT 1)
                ORDER BY at LIMIT 1)",
            [did.as_str().into(), restore::PERSON_MAX.into()],
        ),
    ]
}

/// The number of traces and their size in bytes, as `[count, bytes]`.
pub fn traces_held() -> Statement {
    Statement::new("SELECT json_array(count(*), coalesce(sum(bytes), 0)) AS row FROM traces", [])
}

/// Makes room: deletes the `count` oldest traces of the address that has the most.
pub fn make_room(count: i64) -> Statement {
    Statement::new(
        "DELETE FROM traces WHERE id IN (
            SELECT id FROM traces WHERE address = (
                SELECT address FROM traces GROUP BY address ORDER BY count(*) DESC LIMIT 1)
            ORDER BY at LIMIT ?1)",
        [count.into()],
    )
}

/// Deletes the traces of sockets that closed before `at`.
pub fn forget_traces(at: Micros) -> Statement {
    Statement::new("DELETE FROM traces WHERE at < ?1", [at.0.into()])
}

/// When the socket of the oldest trace closed; no row if there is no trace.
pub fn oldest_trace() -> Statement {
    Statement::new("SELECT CAST(at AS TEXT) AS row FROM traces ORDER BY at LIMIT 1", [])
}

/// The traces of a person as [`Trace`]s, each [`Inner`], newest first.
pub fn traces(did: &Did) -> Statement {
    Statement::new(
        "SELECT json_quote(trace) AS row FROM traces WHERE did = ?1 ORDER BY at DESC",
        [did.as_str().into()],
    )
}

/// A row if the person has any trace.
pub fn has_traces(did: &Did) -> Statement {
    Statement::new("SELECT '1' AS row FROM traces WHERE did = ?1 LIMIT 1", [did.as_str().into()])
}

/// The state that a visitor last chose.
pub fn chosen(did: &Did) -> Statement {
    Statement::new("SELECT json_quote(state) AS row FROM chosen WHERE did = ?1", [did.as_str().into()])
}

/// A visitor chose a state; only a limited number is stored.
pub fn choose(did: &Did, state: State, at: Micros) -> Vec<Statement> {
    vec![
        Statement::new(
            "INSERT INTO chosen (did, state, at) VALUES (?1, ?2, ?3)
             ON CONFLICT (did) DO UPDATE SET state = excluded.state, at = excluded.at",
            [did.as_str().into(), state.word().into(), at.0.into()],
        ),
        Statement::new(
            "DELETE FROM chosen WHERE at < (SELECT at FROM chosen ORDER BY at DESC LIMIT 1 OFFSET ?1)",
            [CHOSEN_MAX.into()],
        ),
    ]
}

/// Deletes a visitor's chosen state.
pub fn unchoose(did: &Did) -> Statement {
    Statement::new("DELETE FROM chosen WHERE did = ?1", [did.as_str().into()])
}

/// The run this object last saw.
pub fn run() -> Statement {
    Statement::new("SELECT run AS row FROM run", [])
}

/// Stores the current run.
pub fn runs(run: &str) -> Statement {
    Statement::new(
        "INSERT INTO run (id, run) VALUES (1, ?1) ON CONFLICT (id) DO UPDATE SET run = excluded.run",
        [run.into()],
    )
}

/// Every community with observers.
pub fn observed() -> Statement {
    Statement::new("SELECT json_quote(uri) AS row FROM observed", [])
}

/// A community has observers (`on`), or has none any more.
pub fn observe(community: &str, on: bool) -> Statement {
    let sql = if on {
        "INSERT OR IGNORE INTO observed (uri) VALUES (?1)"
    } else {
        "DELETE FROM observed WHERE uri = ?1"
    };
    Statement::new(sql, [community.into()])
}
