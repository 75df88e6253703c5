//! One transaction for all changes of a batch (fourth step of the pipeline).
//!
//! Data, its events and the cursor are stored together or not at all (invariants 1, 3). The first
//! statement names the ledger version at which the facts were read, and fails if another commit
//! came in between; so no decision is stored that rests on outdated facts.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::kinds::{KINDS, row_objects};
use super::{
    Param, Statement, chunks, dismissed, identities, invites, json_text, listings, notifications, reports,
    repos, search, webhooks,
};
use crate::domain::announcement::Announcement;
use crate::domain::ingest::{AccountChange, Refusal};
use crate::domain::link::{Gap, StreamPosition};
use crate::domain::notifications::Changes as Notified;
use crate::domain::repos::known_by;
use crate::domain::rows::PersonRow;
use crate::domain::working_set::Changes;
use crate::wire::ids::{AtUri, Collection, Did};
use crate::wire::jetstream::{Frame, What};
use crate::wire::time::Micros;

/// The longest outbox row, in bytes: small enough for one call, and large enough that a batch takes
/// few rows.
const OUTBOX_ROW_MAX: usize = 256 * 1024;
/// The most channels per message for which the index remembers that the message left. Otherwise one
/// message that moves for ever would make its key expensive for everybody who reacts to another
/// one.
const GONE_FROM: i64 = 16;
/// The minimum number of days for which a key that meant a message means no other (T21).
const GONE_DAYS: i64 = 30;
/// No limit of the rows that a statement takes out.
const EVERYTHING: i64 = -1;
/// The reason under which records of erased people are counted (I57). None of them becomes an example:
/// nothing of theirs is kept.
const ERASED: &str = "erased";
/// The number of examples kept per reason of refusal.
const REFUSALS_KEPT: i64 = 100;

/// The contents of one commit.
#[derive(Debug)]
pub struct Commit<'a> {
    /// The ledger version at which the facts were read.
    pub version: i64,
    /// The changed rows.
    pub changes: &'a Changes,
    /// Accounts that were activated or deactivated.
    pub accounts: &'a [AccountChange],
    /// Communities whose record was deleted (I70).
    pub deleted_communities: &'a [AtUri],
    /// Events for the outbox.
    pub announcements: &'a [Announcement],
    /// Records that the rules refused.
    pub refusals: &'a [Refusal],
    /// How many records were not indexed because their authors are erased (I57).
    pub shut_out: u64,
    /// Frames that could not be read, by reason.
    pub unread: &'a BTreeMap<&'static str, u64>,
    /// Known people whose identity changed (I50).
    pub identities: &'a [Did],
    /// Whether the directory looks up people who become known in this commit (K12). It does not
    /// look up people whom somebody merely asked about (K06).
    pub looks_at_new: bool,
    /// The position in the stream after this commit.
    pub position: Option<&'a StreamPosition>,
    /// A stretch of the stream that the service missed (J07).
    pub gap: Option<&'a Gap>,
    /// Repositories whose events were left out, each until a time of the stream (K17).
    pub deferred: &'a BTreeMap<Did, Micros>,
    /// The stream's events in this commit, from which the state of their repositories follows.
    pub frames: &'a [Frame],
    /// People whose events were decided on facts that may be incomplete.
    pub doubtful: &'a BTreeSet<Did>,
    /// People whom a community admitted: what they wrote before is judged anew (N16).
    pub admitted: &'a BTreeSet<Did>,
    /// People who joined a community of the old form or whose ban by record ended, and the stream time of that (K05).
    pub joined: &'a BTreeMap<Did, Micros>,
    /// Communities whose gate accepts more than before, and the stream time of that (K05).
    pub eased: &'a BTreeMap<AtUri, Micros>,
    /// Whom a community banned by record, or not any more (N21).
    pub banned_by_record: &'a [(AtUri, Did, bool)],
    /// Channels that appeared or came to another community, with that community (N21).
    pub channels_placed: &'a [(AtUri, AtUri)],
    /// Whom messages notify, and whom no more (U01).
    pub notified: &'a Notified,
    /// The last outbox row that has been delivered; it and all before it are deleted.
    pub announced: Option<i64>,
    /// Whether the words of messages are stored (`SEARCH`, U72).
    pub searchable: bool,
    /// The limits on held records (I63).
    pub held: HeldBounds,
    /// The time of the commit.
    pub now: Micros,
}

/// How long records are held, and how many (I63).
#[derive(Clone, Copy, Debug)]
pub struct HeldBounds {
    /// `HELD_HOURS`
    pub hours: i64,
    /// `HELD_MAX`
    pub max: i64,
}

/// The statements of a commit, and the ledger version after it.
#[derive(Debug)]
pub struct Prepared {
    /// The statements, to run in one transaction.
    pub statements: Vec<Statement>,
    /// The announcements of each outbox row, with the row's id.
    pub outbox: Vec<(i64, std::ops::Range<usize>)>,
    /// The version after the commit.
    pub version: i64,
    /// The repositories that this commit makes known (K01).
    pub known: BTreeSet<(Did, Option<Did>)>,
}

/// Builds the statements of a commit.
pub fn prepare(commit: &Commit) -> Prepared {
    let outbox = outbox_rows(commit);
    let version = outbox.last().map_or(commit.version + 1, |(id, _, _)| *id);
    let mut statements = vec![Statement::new(
        "UPDATE ledger SET version = CASE WHEN version = ?1 THEN ?2 END WHERE id = 1",
        [commit.version.into(), version.into()],
    )];
    let changes = commit.changes;
    purge(&mut statements, commit.accounts, commit.now);
    KINDS.iter().for_each(|kind| (kind.store)(&mut statements, changes));
    if commit.searchable {
        statements.extend(search::store(changes.messages.put.iter()));
    }
    statements.extend(notifications::store(commit.notified));
    gone(&mut statements, commit);
    for text in chunks(changes.people.iter().map(|person| WithCid::of(person, changes))) {
        statements.push(Statement::new(PEOPLE, [text.into(), commit.now.shown().into()]));
    }
    if commit.looks_at_new {
        for text in chunks(changes.people.iter().map(|person| &person.did)) {
            statements.push(identities::know(text, commit.now));
        }
    }
    if !commit.identities.is_empty() {
        statements.push(identities::changed(commit.identities, commit.now));
    }
    hide(&mut statements, commit.accounts);
    decisions(&mut statements, commit);
    KINDS.iter().for_each(|kind| (kind.bound)(&mut statements, changes));
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
        statements.push(super::outbox::delivered(announced));
    }
    if let Some(gap) = commit.gap {
        statements.push(Statement::new(
            "INSERT INTO gaps (host, from_us, to_us, from_at, to_at, reason, state, noticed_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?7, 'open', ?6)
             ON CONFLICT (host, from_us) DO UPDATE SET to_us = max(to_us, excluded.to_us),
                 to_at = max(to_at, excluded.to_at)",
            [
                gap.host.as_str().into(),
                gap.from.0.into(),
                gap.to.0.into(),
                gap.from.shown().into(),
                gap.to.shown().into(),
                commit.now.shown().into(),
                gap.reason.word().into(),
            ],
        ));
    }
    if let Some(position) = commit.position {
        statements.push(Statement::new(
            "INSERT INTO stream (id, host, cursor_us, updated_at) VALUES (1, ?1, ?2, ?3)
             ON CONFLICT (id) DO UPDATE SET host = excluded.host, updated_at = excluded.updated_at,
                 cursor_us = iif(host = excluded.host, max(cursor_us, excluded.cursor_us), excluded.cursor_us)",
            [position.host.as_str().into(), position.cursor.0.into(), commit.now.shown().into()],
        ));
    }
    let known = known_by(changes);
    repositories(&mut statements, commit, &known);
    let outbox = outbox.into_iter().map(|(id, range, _)| (id, range)).collect();
    Prepared { statements, outbox, version, known }
}

/// A person as they are bound, with the CID of their profile record. It is missing and empty as in
/// `kinds::Bound`.
#[derive(Serialize)]
struct WithCid<'a> {
    #[serde(flatten)]
    person: &'a PersonRow,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile_cid: Option<&'a str>,
}

impl<'a> WithCid<'a> {
    fn of(person: &'a PersonRow, changes: &'a Changes) -> Self {
        let profile_cid = changes.cid_of(&AtUri::profile(&person.did));
        Self { person, profile_cid }
    }
}

/// Updates what the service knows of repositories along with what it stores of them (K01, K05,
/// K11).
fn repositories(statements: &mut Vec<Statement>, commit: &Commit, known: &BTreeSet<(Did, Option<Did>)>) {
    statements.extend(repos::learn(known, commit.now));
    if commit.gap.is_some() {
        // Before revisions move on: the frames of this commit came after the gap.
        statements.push(repos::all_due(commit.now));
    }
    let mut revs: BTreeMap<&Did, &str> = BTreeMap::new();
    let mut identities = BTreeSet::new();
    for frame in commit.frames {
        match &frame.what {
            // The stream carries profiles of the whole network (J08).
            What::Commit(write) if write.collection != Collection::Profile => {
                let rev = revs.entry(&frame.did).or_default();
                *rev = write.rev.as_str().max(rev);
            }
            What::Identity { .. } => drop(identities.insert(&frame.did)),
            _ => {}
        }
    }
    statements.extend(repos::advance(&revs));
    statements.extend(repos::defer(commit.deferred, commit.now));
    statements.extend(repos::look_once_more(commit.doubtful, commit.now));
    statements.extend(repos::admitted(commit.admitted, commit.now));
    statements.extend(repos::joined(commit.joined, commit.now));
    statements.extend(repos::eased(commit.eased, commit.now));
    statements.extend(repos::identities(&identities, commit.now));
    let returned = commit.accounts.iter().filter(|account| account.returned).map(|account| &account.did);
    statements.extend(repos::returned(&returned.collect(), commit.now));
}

/// Splits the announcements into rows: the id, the range of announcements, and their JSON.
fn outbox_rows(commit: &Commit) -> Vec<(i64, std::ops::Range<usize>, String)> {
    let mut rows = Vec::new();
    let mut from = 0;
    let mut text = String::new();
    for (at, announcement) in commit.announcements.iter().enumerate() {
        let json = json_text(announcement);
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

/// I52: deletes every record of a deleted account, and other people's records on its messages.
fn purge(statements: &mut Vec<Statement>, accounts: &[AccountChange], now: Micros) {
    let dids: Vec<_> = accounts.iter().filter(|account| account.purged).map(|account| &account.did).collect();
    if dids.is_empty() {
        return;
    }
    for purge in KINDS.iter().flat_map(|kind| kind.purge) {
        statements.push(Statement::new(purge.all, purge.params(&dids, EVERYTHING, now)));
    }
}

/// T21: notes which messages left a channel. Deletes notes older than [`GONE_DAYS`], unless a
/// message still answers to the key: at a time as many of the oldest as one commit may add, so that
/// the work per commit is bounded.
fn gone(statements: &mut Vec<Statement>, commit: &Commit) {
    let gone = &commit.changes.gone.set;
    for text in chunks(gone.iter()) {
        statements.push(Statement::new(
            "INSERT INTO gone_messages (uri, channel_uri, rkey, indexed_at, gone_at)
             SELECT value ->> 'uri', value ->> 'channel_uri', value ->> 'rkey', value ->> 'indexed_at', ?2
             FROM json_each(?1)
             WHERE (SELECT count(*) FROM gone_messages g
                     WHERE g.rkey = value ->> 'rkey' AND g.uri = value ->> 'uri') < ?3
             ON CONFLICT (rkey, channel_uri, uri) DO UPDATE SET gone_at = excluded.gone_at",
            [text.into(), commit.now.sortable().into(), GONE_FROM.into()],
        ));
    }
    if gone.is_empty() {
        return;
    }
    let long_ago = Micros(commit.now.0.saturating_sub(GONE_DAYS * 86_400_000_000)).sortable();
    statements.push(Statement::new(
        "UPDATE gone_messages SET gone_at = ?2 WHERE (rkey, channel_uri, uri) IN (
             SELECT rkey, channel_uri, uri FROM gone_messages WHERE gone_at < ?1 ORDER BY gone_at LIMIT 1000)
           AND EXISTS (SELECT 1 FROM messages m
                       WHERE m.parent = gone_messages.rkey AND m.channel_uri = gone_messages.channel_uri)",
        [long_ago.as_str().into(), commit.now.sortable().into()],
    ));
    statements.push(Statement::new(
        "DELETE FROM gone_messages WHERE (rkey, channel_uri, uri) IN (
             SELECT rkey, channel_uri, uri FROM gone_messages WHERE gone_at < ?1 ORDER BY gone_at LIMIT 1000)
           AND NOT EXISTS (SELECT 1 FROM messages m
                       WHERE m.parent = gone_messages.rkey AND m.channel_uri = gone_messages.channel_uri)",
        [long_ago.into()],
    ));
}

/// I51, I53: hides or shows all records of an account, loaded or not.
fn hide(statements: &mut Vec<Statement>, accounts: &[AccountChange]) {
    for account in accounts {
        for sql in KINDS.iter().filter_map(|kind| kind.hide) {
            statements
                .push(Statement::new(sql, [account.did.as_str().into(), i64::from(account.hidden).into()]));
        }
    }
}

/// Bans, blocks, and the end of invites to deleted communities (I70) and of dismissed applications (N171b).
fn decisions(statements: &mut Vec<Statement>, commit: &Commit) {
    let now = || Param::from(commit.now.sortable());
    let (bans, blocks) = (&commit.changes.bans, &commit.changes.blocks);
    let hides = &commit.changes.hides;
    for text in chunks(bans.set.iter()) {
        statements.push(Statement::new(
            "INSERT INTO bans (community_uri, member_did, banned_at, until, by_service, by_record)
             SELECT value ->> 'community_uri', value ->> 'member_did', ?2, value ->> 'until',
                 value ->> 'by_service', value ->> 'by_record' FROM json_each(?1)
             WHERE true
             ON CONFLICT (community_uri, member_did) DO UPDATE SET until = excluded.until,
                 by_service = excluded.by_service, by_record = excluded.by_record",
            [text.into(), now()],
        ));
    }
    for text in chunks(bans.lifted.iter()) {
        statements.push(Statement::new(
            "DELETE FROM bans WHERE (community_uri, member_did) IN (
                 SELECT value ->> 0, value ->> 1 FROM json_each(?1))",
            [text.into()],
        ));
    }
    for text in chunks(blocks.set.iter()) {
        statements.push(Statement::new(
            "INSERT INTO blocks (uri, blocked_at) SELECT value, ?2 FROM json_each(?1) WHERE true
             ON CONFLICT (uri) DO UPDATE SET by_service = 1",
            [text.into(), now()],
        ));
    }
    for text in chunks(hides.set.iter()) {
        statements.push(Statement::new(
            "INSERT INTO blocks (uri, blocked_at, by_service, by_record)
             SELECT value, ?2, 0, 1 FROM json_each(?1) WHERE true
             ON CONFLICT (uri) DO UPDATE SET by_record = 1",
            [text.into(), now()],
        ));
    }
    for (lifted, sql) in [
        (&blocks.lifted, "UPDATE blocks SET by_service = 0 WHERE uri IN (SELECT value FROM json_each(?1))"),
        (&hides.lifted, "UPDATE blocks SET by_record = 0 WHERE uri IN (SELECT value FROM json_each(?1))"),
    ] {
        for text in chunks(lifted.iter()) {
            statements.push(Statement::new(sql, [text.as_str().into()]));
            statements.push(Statement::new(
                "DELETE FROM blocks WHERE NOT by_service AND NOT by_record
                   AND uri IN (SELECT value FROM json_each(?1))",
                [text.into()],
            ));
        }
    }
    for (community, person, banned) in commit.banned_by_record {
        statements.push(Statement::new(
            "UPDATE messages SET hidden = (hidden & 1) + 2 * ?3
             WHERE uri > 'at://' || ?2 || '/' AND uri < 'at://' || ?2 || '0'
               AND +channel_uri IN (SELECT uri FROM channels WHERE community_uri = ?1)",
            [community.as_str().into(), person.as_str().into(), i64::from(*banned).into()],
        ));
    }
    for text in chunks(commit.channels_placed.iter()) {
        statements.push(Statement::new(PLACED, [text.into()]));
    }
    for text in chunks(commit.changes.members.put.iter().map(|row| (&row.community_uri, &row.member_did))) {
        statements.push(dismissed::end_of(text));
    }
    for text in chunks(commit.deleted_communities.iter()) {
        statements.push(webhooks::end_of(text.clone()));
        statements.push(reports::end_of(text.clone()));
        statements.push(listings::end_of(text.clone()));
        statements.push(invites::end_of(text, commit.now));
    }
}

// A message of a channel that appears is out of sight exactly if its author is banned by record in the
// channel's community.
const PLACED: &str = "
    UPDATE messages SET hidden = hidden & 1 | 2 * (hidden & 2 = 0)
    WHERE uri IN (
        SELECT m.uri FROM json_each(?1) p CROSS JOIN messages m ON m.channel_uri = p.value ->> 0
        WHERE (m.hidden & 2 <> 0) <> EXISTS (
            SELECT 1 FROM bans b
            WHERE b.community_uri = p.value ->> 1 AND b.member_did = m.author_did AND b.by_record))";

/// I63: deletes records that were held too long. Over the maximum, in number or in bytes, the
/// authors with the most held records lose theirs: everybody keeps the same number of their newest.
/// Among those with equally many, people unknown to the index go first. Each run deletes a little
/// more than necessary, so that a flood triggers it only occasionally.
fn bound_held(statements: &mut Vec<Statement>, commit: &Commit) {
    let oldest = Micros(commit.now.0.saturating_sub(commit.held.hours.saturating_mul(3_600_000_000)));
    statements.push(Statement::new(HELD_TOO_LONG, [oldest.sortable().into()]));
    statements.push(Statement::new(
        BOUND_HELD,
        [commit.held.max.into(), (commit.held.max / 20).into(), HELD_BYTES.into()],
    ));
}

// Records that wait for an owner's inactive account have no time limit (I51).
const HELD_TOO_LONG: &str = "
    DELETE FROM held WHERE arrived_at < ?1
      AND NOT EXISTS (SELECT 1 FROM communities c WHERE c.uri = waits_for AND c.hidden)
      AND NOT EXISTS (SELECT 1 FROM channels ch JOIN communities c ON c.uri = ch.community_uri
                       WHERE ch.uri = waits_for AND c.hidden)
      AND NOT EXISTS (SELECT 1 FROM channels ch JOIN communities c ON c.uri = ch.community_uri
                       WHERE ch.rkey = waits_for AND c.hidden)
      AND NOT EXISTS (SELECT 1 FROM messages m JOIN channels ch ON ch.uri = m.channel_uri
                        JOIN communities c ON c.uri = ch.community_uri
                       WHERE (m.uri = waits_for OR m.rkey = waits_for) AND c.hidden)";

/// The maximum total size of held records, in bytes: 10,000 of the largest would take a tenth of
/// D1's capacity.
const HELD_BYTES: i64 = 64 * 1024 * 1024;

// Reads only the two sums, unless they exceed the limits.
const BOUND_HELD: &str = "
    DELETE FROM held WHERE uri IN (
        SELECT uri FROM (
            SELECT uri, row_number() OVER fairly AS place, sum(bytes) OVER fairly AS total
            FROM (
                SELECT uri, author_did, arrived_at, bytes,
                    row_number() OVER (PARTITION BY author_did ORDER BY arrived_at DESC, uri) AS nth
                FROM (SELECT uri, author_did, arrived_at, bytes FROM held
                      LIMIT (SELECT iif(count(*) > ?1 OR sum(bytes) > ?3, -1, 0) FROM held))
            )
            WINDOW fairly AS (ORDER BY nth, EXISTS (SELECT 1 FROM people WHERE did = author_did) DESC,
                arrived_at DESC, uri ROWS UNBOUNDED PRECEDING)
        )
        WHERE place > ?1 - ?2 OR total > ?3)";

fn refusals(statements: &mut Vec<Statement>, commit: &Commit) {
    let mut counts: BTreeMap<&str, u64> = commit.unread.clone();
    for refusal in commit.refusals {
        *counts.entry(refusal.reason).or_default() += 1;
    }
    if commit.shut_out > 0 {
        *counts.entry(ERASED).or_default() += commit.shut_out;
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

// The stream does not set `state`; a gateway does. A visitor who becomes known now keeps their
// state.
const PEOPLE: &str = concat!("
    INSERT INTO people (did, handle, display_name, avatar_cid, banner_cid, description, status_text,
        emoji, profile_rev, profile_cid, active, account_status, account_at, account_said, away_since, deleted_at,
        bluesky, is_bot, updated_at, state, preferred_state)
    SELECT value ->> 'did', value ->> 'handle', value ->> 'display_name', value ->> 'avatar_cid',
        value ->> 'banner_cid', value ->> 'description', value ->> 'status_text', value ->> 'emoji',
        value ->> 'profile_rev', value ->> 'profile_cid', value ->> 'active', value ->> 'account_status',
        value ->> 'account_at', value ->> 'account_said', value ->> 'away_since', value ->> 'deleted_at',
        value ->> 'bluesky', value ->> 'is_bot', ?2, v.state, v.preferred_state
    FROM ", row_objects!(), " LEFT JOIN visitors v ON v.did = value ->> 'did' WHERE true
    ON CONFLICT (did) DO UPDATE SET handle = excluded.handle, display_name = excluded.display_name,
        avatar_cid = excluded.avatar_cid, banner_cid = excluded.banner_cid,
        description = excluded.description, status_text = excluded.status_text,
        emoji = excluded.emoji, profile_rev = excluded.profile_rev, profile_cid = coalesce(excluded.profile_cid, profile_cid),
        active = excluded.active,
        account_status = excluded.account_status, account_at = excluded.account_at,
        account_said = excluded.account_said, away_since = excluded.away_since,
        deleted_at = excluded.deleted_at, bluesky = excluded.bluesky, is_bot = excluded.is_bot,
        updated_at = excluded.updated_at");
