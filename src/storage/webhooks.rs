//! Webhooks (R82 to R84): where they lead, in D1; and how far each has come, in the SQLite of its community's object.
//!
//! The object reads D1 again for what it sends (`durable::community::webhooks`), so it stores neither addresses nor
//! secrets. Its table is pinned like that of the log.

use std::cell::Cell;

use serde::Deserialize;

use super::{Fault, Inner, Param, Statement, Store, rows};
use crate::domain::announcement::Audience;
use crate::domain::webhooks::{Logged, Position};
use crate::wire::bodies::Webhook;
use crate::wire::ids::AtUri;
use crate::wire::time::Micros;
use serde_json::value::RawValue;

/// The most webhooks of a community.
pub const WEBHOOKS_MAX: i64 = 5;
/// The most disabled ones that R60 names.
const DISABLED_MAX: i64 = 100;

/// A webhook that somebody sets.
#[derive(Clone, Debug)]
pub struct New<'a> {
    /// Its id, if there is none with this address yet.
    pub id: String,
    /// The community.
    pub community: &'a AtUri,
    /// Where it leads.
    pub url: &'a str,
    /// Types of events; none: every type.
    pub events: &'a [String],
    /// The secret that the caller chose, in base64.
    pub chosen: Option<&'a str>,
    /// The secret of a new one, if none was chosen.
    pub made: &'a str,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is set, with this secret.
    Done(Box<Webhook>, String),
    /// The community has as many as it may have.
    TooMany,
    /// The community is not known.
    NoCommunity,
}

/// A webhook, as stored.
#[derive(Deserialize)]
struct Row {
    id: String,
    community_uri: AtUri,
    url: String,
    events: Inner<Vec<String>>,
    created_at: String,
    disabled_at: Option<String>,
    disabled_because: Option<String>,
}

impl From<Row> for Webhook {
    fn from(row: Row) -> Self {
        let Row { id, community_uri, url, events, created_at, disabled_at, disabled_because } = row;
        let events = events.0.unwrap_or_default();
        Self { id, community_uri, url, events, created_at, disabled_at, disabled_because }
    }
}

/// Where a webhook leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its id.
    pub id: String,
    /// The address.
    pub url: String,
    /// Types of events; none: every type.
    pub events: Vec<String>,
    /// In base64.
    pub secret: String,
    /// Whether events are sent.
    pub enabled: bool,
}

/// R82: sets a webhook, and enables it. One transaction decides.
pub async fn put(store: &impl Store, new: &New<'_>, now: Micros) -> Result<Put, Fault> {
    let community = new.community.as_str();
    let statements = [
        Statement::new(
            PUT,
            [
                new.id.as_str().into(),
                community.into(),
                new.url.into(),
                Param::json(&new.events),
                new.made.into(),
                new.chosen.into(),
                now.shown().into(),
                WEBHOOKS_MAX.into(),
            ],
        ),
        Statement::new(
            "SELECT json_quote(uri) AS row FROM communities WHERE uri = ?1 AND NOT hidden",
            [community.into()],
        ),
    ];
    let answers = store.write(&statements).await?;
    if let Some((webhook, secret)) = rows::<(Row, String)>(answers.first())?.pop() {
        return Ok(Put::Done(Box::new(webhook.into()), secret));
    }
    Ok(if answers.get(1).is_some_and(Vec::is_empty) { Put::NoCommunity } else { Put::TooMany })
}

/// R83: the webhooks of a community, by address.
pub async fn list(store: &impl Store, community: &str) -> Result<Vec<Webhook>, Fault> {
    webhooks_of(store.read(&[Statement::new(LIST, [community.into()])]).await?.first())
}

/// Reads webhooks.
pub(super) fn webhooks_of(texts: Option<&Vec<String>>) -> Result<Vec<Webhook>, Fault> {
    Ok(rows::<Row>(texts)?.into_iter().map(Webhook::from).collect())
}

/// R84: ends one. `false` if there is none.
pub async fn remove(store: &impl Store, community: &str, id: &str) -> Result<bool, Fault> {
    let statement = Statement::new(
        "DELETE FROM webhooks WHERE id = ?1 AND community_uri = ?2 RETURNING json_quote(id) AS row",
        [id.into(), community.into()],
    );
    Ok(store.write(&[statement]).await?.first().is_some_and(|rows| !rows.is_empty()))
}

/// Where the webhooks of a community lead. A caller that changes something meanwhile counts `changes` up: then the answer
/// may be older than the change, and D1 is read again.
pub async fn targets_now(
    store: &impl Store,
    community: &AtUri,
    changes: &Cell<u64>,
) -> Result<Vec<Target>, Fault> {
    loop {
        let before = changes.get();
        let targets = targets(store, community).await?;
        if changes.get() == before {
            return Ok(targets);
        }
    }
}

/// Where the webhooks of a community lead.
pub async fn targets(store: &impl Store, community: &AtUri) -> Result<Vec<Target>, Fault> {
    type Row = (String, String, Inner<Vec<String>>, String, i64);
    let answers = store.read(&[Statement::new(TARGETS, [community.as_str().into()])]).await?;
    let target = |(id, url, events, secret, enabled): Row| {
        // A list that cannot be read wants every type.
        Target { id, url, events: events.0.unwrap_or_default(), secret, enabled: enabled == 1 }
    };
    Ok(rows::<Row>(answers.first())?.into_iter().map(target).collect())
}

/// Nothing more is sent, for this reason, until it is set again.
pub async fn disable(store: &impl Store, id: &str, because: &str, now: Micros) -> Result<(), Fault> {
    let statement = Statement::new(
        "UPDATE webhooks SET disabled_at = ?2, disabled_because = ?3 WHERE id = ?1 AND disabled_at IS NULL
         RETURNING json_quote(id) AS row",
        [id.into(), now.shown().into(), because.into()],
    );
    store.write(&[statement]).await.map(drop)
}

/// Webhooks that were disabled, the latest first, for R60.
pub(super) fn disabled() -> Statement {
    Statement::new(DISABLED, [DISABLED_MAX.into()])
}

/// The webhooks of these communities (JSON) end with them (I70).
pub(super) fn end_of(communities: String) -> Statement {
    Statement::new(
        "DELETE FROM webhooks WHERE community_uri IN (SELECT value FROM json_each(?1))",
        [communities.into()],
    )
}

macro_rules! webhook_json {
    () => {
        "json_object('id', id, 'community_uri', community_uri, 'url', url, 'events', events,
            'created_at', created_at, 'disabled_at', disabled_at, 'disabled_because', disabled_because)"
    };
}

const PUT: &str = concat!(
    "INSERT INTO webhooks (id, community_uri, url, events, secret, created_at)
     SELECT ?1, uri, ?3, ?4, coalesce(?6, ?5), ?7 FROM communities WHERE uri = ?2 AND NOT hidden
        AND ((SELECT count(*) FROM webhooks WHERE community_uri = ?2) < ?8
             OR EXISTS (SELECT 1 FROM webhooks WHERE community_uri = ?2 AND url = ?3))
     ON CONFLICT (community_uri, url) DO UPDATE SET events = excluded.events, secret = coalesce(?6, secret),
        disabled_at = NULL, disabled_because = NULL
     RETURNING json_array(",
    webhook_json!(),
    ", secret) AS row"
);

const LIST: &str =
    concat!("SELECT ", webhook_json!(), " AS row FROM webhooks WHERE community_uri = ?1 ORDER BY url");

const TARGETS: &str = "
    SELECT json_array(id, url, events, secret, disabled_at IS NULL) AS row FROM webhooks WHERE community_uri = ?1";

const DISABLED: &str = concat!(
    "SELECT ",
    webhook_json!(),
    " AS row FROM webhooks WHERE disabled_at IS NOT NULL ORDER BY disabled_at DESC LIMIT ?1"
);

/// Creates the table of an object.
pub const SCHEMA: &[&str] = &[
    // How far each webhook has come; times in microseconds.
    "CREATE TABLE IF NOT EXISTS webhook_positions (
        id TEXT PRIMARY KEY, delivered INTEGER NOT NULL, failures INTEGER NOT NULL DEFAULT 0,
        failing_since INTEGER, next_at INTEGER NOT NULL DEFAULT 0)",
];

/// Reads every webhook's position, for [`positions_of`].
pub fn positions() -> Statement {
    Statement::new(
        "SELECT json_array(id, delivered, failures, failing_since, next_at) AS row
         FROM webhook_positions ORDER BY id",
        [],
    )
}

/// Parses positions.
pub fn positions_of(texts: &[String]) -> Result<Vec<Position>, Fault> {
    type Row = (String, u64, u32, Option<i64>, i64);
    let read = |text: &String| {
        let (id, delivered, failures, since, next_at): Row =
            serde_json::from_str(text).map_err(|error| Fault::new("reading a stored row", error))?;
        Ok(Position { id, delivered, failures, failing_since: since.map(Micros), next_at: Micros(next_at) })
    };
    texts.iter().map(read).collect()
}

/// Stores a position.
pub fn keep(position: &Position) -> Statement {
    let Position { id, delivered, failures, failing_since, next_at } = position;
    Statement::new(
        "INSERT INTO webhook_positions (id, delivered, failures, failing_since, next_at) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (id) DO UPDATE SET delivered = excluded.delivered, failures = excluded.failures,
             failing_since = excluded.failing_since, next_at = excluded.next_at",
        [
            id.as_str().into(),
            i64::try_from(*delivered).unwrap_or(i64::MAX).into(),
            i64::from(*failures).into(),
            failing_since.map(|at| at.0).into(),
            next_at.0.into(),
        ],
    )
}

/// A webhook has ended.
pub fn drop_position(id: &str) -> Statement {
    Statement::new("DELETE FROM webhook_positions WHERE id = ?1", [id.into()])
}

/// The next `limit` events after `after` that still stand (Q07), for [`logged`].
pub fn standing_after(after: u64, limit: i64) -> Statement {
    Statement::new(
        "SELECT json_array(seq, at, audience, live, event) AS row
         FROM log WHERE seq > ?1 AND NOT withdrawn ORDER BY seq LIMIT ?2",
        [i64::try_from(after).unwrap_or(i64::MAX).into(), limit.into()],
    )
}

/// Parses events. One that cannot be read is for nobody, as it is set aside where it is delivered (Q21).
pub fn logged(texts: &[String]) -> Result<Vec<Logged>, Fault> {
    type Row = (u64, i64, Inner<Audience>, u8, Inner<Box<RawValue>>);
    let read = |text: &String| {
        let (seq, at, audience, live, event): Row =
            serde_json::from_str(text).map_err(|error| Fault::new("reading the log", error))?;
        let event = audience.0.zip(event.0).map(|(audience, event)| (audience, event.get().to_owned()));
        Ok(Logged { seq, at: Micros(at), live: live != 0, event })
    };
    texts.iter().map(read).collect()
}
