//! What a batch changed, as one transaction (fourth step of the hallway).
//!
//! Data, the events it makes and the cursor that vouches for it are stored together or not at
//! all (invariants 1, 3). The first statement names the version of the ledger at which the facts
//! were read and fails if another commit came between, so a decision is never stored over facts
//! it did not see.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Param, Statement};
use crate::domain::announcement::Announcement;
use crate::domain::ingest::Refusal;
use crate::domain::link::StreamPosition;
use crate::domain::rows::Row;
use crate::domain::world::{Changes, Delta};
use crate::wire::ids::{AtUri, Did, Rkey};
use crate::wire::time::Micros;

/// The longest JSON text bound to one parameter, in bytes. D1 takes 2 MB (platform facts T8).
const PARAM_MAX: usize = 1024 * 1024;
/// The longest outbox row: small enough to be handed on in one call, large enough that a batch
/// is a few rows.
const OUTBOX_ROW_MAX: usize = 256 * 1024;
/// Examples kept per reason of refusal.
const REFUSALS_KEPT: i64 = 100;

/// Everything one commit stores.
#[derive(Debug)]
pub struct Commit<'a> {
    /// The version of the ledger the facts were read at.
    pub version: i64,
    /// Rows.
    pub changes: &'a Changes,
    /// Events for the outbox.
    pub announcements: &'a [Announcement],
    /// Records that were not let in.
    pub refusals: &'a [Refusal],
    /// Frames that could not be read, by reason.
    pub unread: &'a BTreeMap<&'static str, u64>,
    /// How far the stream is stored with this.
    pub position: Option<&'a StreamPosition>,
    /// The outbox up to and with this row has been told.
    pub announced: Option<i64>,
    /// Bounds of the held records (I63).
    pub held: HeldBounds,
    /// The time of the commit.
    pub now: Micros,
}

/// How long and how many records wait (I63).
#[derive(Clone, Copy, Debug)]
pub struct HeldBounds {
    /// `HELD_HOURS`
    pub hours: i64,
    /// `HELD_MAX`
    pub max: i64,
}

/// The statements of a commit, and the version of the ledger after it.
#[derive(Debug)]
pub struct Prepared {
    /// To run in one transaction.
    pub statements: Vec<Statement>,
    /// Announcements as they stand in the outbox, with the ids of their rows.
    pub outbox: Vec<(i64, std::ops::Range<usize>)>,
    /// The version after the commit.
    pub version: i64,
}

/// Prepares a commit.
pub fn prepare(commit: &Commit) -> Prepared {
    let outbox = outbox_rows(commit);
    let version = outbox.last().map_or(commit.version + 1, |(id, _, _)| *id);
    let mut statements = vec![Statement::new(
        "UPDATE ledger SET version = CASE WHEN version = ?1 THEN ?2 END WHERE id = 1",
        [commit.version.into(), version.into()],
    )];
    let changes = commit.changes;
    table(
        &mut statements,
        &changes.communities,
        COMMUNITIES,
        "DELETE FROM communities WHERE uri IN (SELECT value FROM json_each(?1))",
    );
    table(
        &mut statements,
        &changes.channels,
        CHANNELS,
        "DELETE FROM channels WHERE uri IN (SELECT value FROM json_each(?1))",
    );
    table(
        &mut statements,
        &changes.categories,
        CATEGORIES,
        "DELETE FROM categories WHERE uri IN (SELECT value FROM json_each(?1))",
    );
    table(
        &mut statements,
        &changes.memberships,
        MEMBERSHIPS,
        "DELETE FROM memberships WHERE uri IN (SELECT value FROM json_each(?1))",
    );
    table(
        &mut statements,
        &changes.approvals,
        APPROVALS,
        "DELETE FROM approvals WHERE uri IN (SELECT value FROM json_each(?1))",
    );
    table(
        &mut statements,
        &changes.messages,
        MESSAGES,
        "DELETE FROM messages WHERE uri IN (SELECT value FROM json_each(?1))",
    );
    table(
        &mut statements,
        &changes.reactions,
        REACTIONS,
        "DELETE FROM reactions WHERE uri IN (SELECT value FROM json_each(?1))",
    );
    table(
        &mut statements,
        &changes.held,
        HELD,
        "DELETE FROM held WHERE uri IN (SELECT value FROM json_each(?1))",
    );
    table(
        &mut statements,
        &changes.settled,
        SETTLED,
        "DELETE FROM settled WHERE uri IN (SELECT value FROM json_each(?1))",
    );
    if !changes.held.put.is_empty() {
        bound_held(&mut statements, commit);
    }
    refusals(&mut statements, commit);
    for (id, _, text) in &outbox {
        statements.push(Statement::new(
            "INSERT INTO outbox (id, announcements, committed_at) VALUES (?1, ?2, ?3)",
            [(*id).into(), text.as_str().into(), commit.now.shown().into()],
        ));
    }
    if let Some(announced) = commit.announced {
        statements.push(super::outbox::told(announced));
    }
    if let Some(position) = commit.position {
        statements.push(Statement::new(
            "INSERT INTO stream (id, host, cursor_us, updated_at) VALUES (1, ?1, ?2, ?3)
             ON CONFLICT (id) DO UPDATE SET host = excluded.host, cursor_us = excluded.cursor_us,
                 updated_at = excluded.updated_at",
            [position.host.as_str().into(), position.cursor.0.into(), commit.now.shown().into()],
        ));
    }
    Prepared { statements, outbox: outbox.into_iter().map(|(id, range, _)| (id, range)).collect(), version }
}

/// The announcements cut into rows: id, which of them, and their JSON.
fn outbox_rows(commit: &Commit) -> Vec<(i64, std::ops::Range<usize>, String)> {
    let mut rows = Vec::new();
    let mut from = 0;
    let mut text = String::new();
    for (at, announcement) in commit.announcements.iter().enumerate() {
        let json = serde_json::to_string(announcement).unwrap_or_default();
        if !text.is_empty() && text.len() + json.len() > OUTBOX_ROW_MAX {
            push_row(&mut rows, commit.version, from..at, &mut text);
            from = at;
        }
        text.push(if text.is_empty() { '[' } else { ',' });
        text.push_str(&json);
    }
    if !text.is_empty() {
        push_row(&mut rows, commit.version, from..commit.announcements.len(), &mut text);
    }
    rows
}

fn push_row(
    rows: &mut Vec<(i64, std::ops::Range<usize>, String)>,
    version: i64,
    range: std::ops::Range<usize>,
    text: &mut String,
) {
    text.push(']');
    let id = rows.last().map_or(version, |(id, _, _)| *id) + 1;
    rows.push((id, range, std::mem::take(text)));
}

/// A row as it is bound: its columns, and the two that stand in its AT-URI.
#[derive(Serialize)]
struct Bound<'a, R> {
    #[serde(flatten)]
    row: &'a R,
    did: Did,
    rkey: Rkey,
}

fn table<R: Row + Serialize>(
    statements: &mut Vec<Statement>,
    delta: &Delta<R>,
    upsert: &'static str,
    delete: &'static str,
) {
    for text in chunks(delta.put.iter().map(|row| {
        let uri: &AtUri = row.uri();
        Bound { row, did: uri.authority(), rkey: uri.rkey() }
    })) {
        statements.push(Statement::new(upsert, [Param::Text(text)]));
    }
    for text in chunks(delta.removed.iter()) {
        statements.push(Statement::new(delete, [Param::Text(text)]));
    }
}

/// JSON arrays of at most [`PARAM_MAX`] bytes (a single larger value stands alone).
fn chunks<T: Serialize>(values: impl Iterator<Item = T>) -> Vec<String> {
    let mut texts = Vec::new();
    let mut text = String::new();
    for value in values {
        let json = serde_json::to_string(&value).unwrap_or_default();
        if !text.is_empty() && text.len() + json.len() > PARAM_MAX {
            text.push(']');
            texts.push(std::mem::take(&mut text));
        }
        text.push(if text.is_empty() { '[' } else { ',' });
        text.push_str(&json);
    }
    if !text.is_empty() {
        text.push(']');
        texts.push(text);
    }
    texts
}

/// I63: what waited too long goes, and over the maximum the oldest.
fn bound_held(statements: &mut Vec<Statement>, commit: &Commit) {
    let oldest = Micros(commit.now.0.saturating_sub(commit.held.hours.saturating_mul(3_600_000_000)));
    statements.push(Statement::new("DELETE FROM held WHERE arrived_at < ?1", [oldest.sortable().into()]));
    statements.push(Statement::new(
        "DELETE FROM held WHERE uri IN (
             SELECT uri FROM held ORDER BY arrived_at LIMIT max(0, (SELECT count(*) FROM held) - ?1))",
        [commit.held.max.into()],
    ));
}

fn refusals(statements: &mut Vec<Statement>, commit: &Commit) {
    let mut counts: BTreeMap<&str, u64> = commit.unread.clone();
    for refusal in commit.refusals {
        *counts.entry(refusal.reason).or_default() += 1;
    }
    if counts.is_empty() {
        return;
    }
    let at = commit.now.shown();
    let counted: Vec<_> = counts.iter().collect();
    statements.push(Statement::new(
        "INSERT INTO refusal_counts (reason, count, last_at)
         SELECT value ->> 0, value ->> 1, ?2 FROM json_each(?1) WHERE true
         ON CONFLICT (reason) DO UPDATE SET count = count + excluded.count, last_at = excluded.last_at",
        [Param::json(&counted), at.as_str().into()],
    ));
    let examples: Vec<_> = commit.refusals.iter().map(|refusal| (refusal.reason, &refusal.uri)).collect();
    for text in chunks(examples.into_iter()) {
        statements.push(Statement::new(
            "INSERT INTO refusals (reason, uri, at)
             SELECT value ->> 0, value ->> 1, ?2 FROM json_each(?1)",
            [text.into(), at.as_str().into()],
        ));
    }
    let reasons: Vec<_> = counts.keys().collect();
    statements.push(Statement::new(
        "DELETE FROM refusals WHERE id IN (
             SELECT id FROM (
                 SELECT id, row_number() OVER (PARTITION BY reason ORDER BY id DESC) AS age
                 FROM refusals WHERE reason IN (SELECT value FROM json_each(?1)))
             WHERE age > ?2)",
        [Param::json(&reasons), REFUSALS_KEPT.into()],
    ));
}

const COMMUNITIES: &str = "
    INSERT INTO communities (uri, owner_did, rkey, name, description, picture, category_order,
        requires_approval_to_join, rev, indexed_at)
    SELECT value ->> 'uri', value ->> 'did', value ->> 'rkey', value ->> 'name',
        value ->> 'description', value ->> 'picture', value ->> 'category_order',
        value ->> 'requires_approval_to_join', value ->> 'rev', value ->> 'indexed_at'
    FROM json_each(?1) WHERE true
    ON CONFLICT (uri) DO UPDATE SET name = excluded.name, description = excluded.description,
        picture = excluded.picture, category_order = excluded.category_order,
        requires_approval_to_join = excluded.requires_approval_to_join, rev = excluded.rev,
        indexed_at = excluded.indexed_at
    WHERE excluded.rev >= rev";

const CHANNELS: &str = "
    INSERT INTO channels (uri, rkey, community_uri, name, description, channel_type, category_rkey,
        owner_only, rev, indexed_at)
    SELECT value ->> 'uri', value ->> 'rkey', value ->> 'community_uri', value ->> 'name',
        value ->> 'description', value ->> 'channel_type', value ->> 'category_rkey',
        value ->> 'owner_only', value ->> 'rev', value ->> 'indexed_at'
    FROM json_each(?1) WHERE true
    ON CONFLICT (uri) DO UPDATE SET community_uri = excluded.community_uri, name = excluded.name,
        description = excluded.description, channel_type = excluded.channel_type,
        category_rkey = excluded.category_rkey, owner_only = excluded.owner_only,
        rev = excluded.rev, indexed_at = excluded.indexed_at
    WHERE excluded.rev >= rev";

const CATEGORIES: &str = "
    INSERT INTO categories (uri, rkey, community_uri, name, channel_order, rev, indexed_at)
    SELECT value ->> 'uri', value ->> 'rkey', value ->> 'community_uri', value ->> 'name',
        value ->> 'channel_order', value ->> 'rev', value ->> 'indexed_at'
    FROM json_each(?1) WHERE true
    ON CONFLICT (uri) DO UPDATE SET community_uri = excluded.community_uri, name = excluded.name,
        channel_order = excluded.channel_order, rev = excluded.rev, indexed_at = excluded.indexed_at
    WHERE excluded.rev >= rev";

const MEMBERSHIPS: &str = "
    INSERT INTO memberships (uri, member_did, community_uri, rev, indexed_at)
    SELECT value ->> 'uri', value ->> 'member_did', value ->> 'community_uri', value ->> 'rev',
        value ->> 'indexed_at'
    FROM json_each(?1) WHERE true
    ON CONFLICT (uri) DO UPDATE SET community_uri = excluded.community_uri, rev = excluded.rev,
        indexed_at = excluded.indexed_at
    WHERE excluded.rev >= rev";

const APPROVALS: &str = "
    INSERT INTO approvals (uri, approver_did, membership_uri, community_uri, rev, indexed_at)
    SELECT value ->> 'uri', value ->> 'did', value ->> 'membership_uri', value ->> 'community_uri',
        value ->> 'rev', value ->> 'indexed_at'
    FROM json_each(?1) WHERE true
    ON CONFLICT (uri) DO UPDATE SET membership_uri = excluded.membership_uri,
        community_uri = excluded.community_uri, rev = excluded.rev, indexed_at = excluded.indexed_at
    WHERE excluded.rev >= rev";

const MESSAGES: &str = "
    INSERT INTO messages (uri, author_did, rkey, channel_uri, channel, text, created_at, sort_at,
        indexed_at, edited, parent, facets, attachments, rev)
    SELECT value ->> 'uri', value ->> 'author_did', value ->> 'rkey', value ->> 'channel_uri',
        value ->> 'channel', value ->> 'text', value ->> 'created_at', value ->> 'sort_at',
        value ->> 'indexed_at', value ->> 'edited', value ->> 'parent', value ->> 'facets',
        value ->> 'attachments', value ->> 'rev'
    FROM json_each(?1) WHERE true
    ON CONFLICT (uri) DO UPDATE SET channel_uri = excluded.channel_uri, channel = excluded.channel,
        text = excluded.text, edited = excluded.edited, parent = excluded.parent,
        facets = excluded.facets, attachments = excluded.attachments, rev = excluded.rev
    WHERE excluded.rev >= rev";

const REACTIONS: &str = "
    INSERT INTO reactions (uri, reactor_did, target_uri, emoji, rev, indexed_at)
    SELECT value ->> 'uri', value ->> 'reactor_did', value ->> 'target_uri', value ->> 'emoji',
        value ->> 'rev', value ->> 'indexed_at'
    FROM json_each(?1) WHERE true
    ON CONFLICT (uri) DO UPDATE SET rev = excluded.rev
    WHERE excluded.rev >= rev";

const HELD: &str = "
    INSERT INTO held (uri, waits_for, record, rev, arrived_at)
    SELECT value ->> 'uri', value ->> 'waits_for', value ->> 'record', value ->> 'rev',
        value ->> 'arrived_at'
    FROM json_each(?1) WHERE true
    ON CONFLICT (uri) DO UPDATE SET waits_for = excluded.waits_for, record = excluded.record,
        rev = excluded.rev, arrived_at = excluded.arrived_at
    WHERE excluded.rev >= rev";

const SETTLED: &str = "
    INSERT INTO settled (uri, outcome, rev, settled_at)
    SELECT value ->> 'uri', value ->> 'outcome', value ->> 'rev', value ->> 'settled_at'
    FROM json_each(?1) WHERE true
    ON CONFLICT (uri) DO UPDATE SET outcome = excluded.outcome, rev = excluded.rev,
        settled_at = excluded.settled_at
    WHERE excluded.rev >= rev";
