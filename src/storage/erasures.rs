//! Erased people (I55–I59): the hash of each, the progress of the work, and the rows that it deletes from D1.
//!
//! Every piece may be repeated, and deletes at most [`PIECE`] rows per statement, because others wait for the
//! database. It raises the ledger version, so that a decision in progress reads its facts again (invariant 3).
//! `tests/native/erasures.rs` lists the columns that may still name a person, each with its reason.

use serde::Deserialize;

use super::kinds::KINDS;
use super::{Fault, Param, Statement, Store, repos, rows};
use crate::domain::erasure::{Step, mark, stand_in};
use crate::domain::repos::Reason;
use crate::wire::ids::{AtUri, Did};
use crate::wire::time::Micros;

/// The most rows that one statement deletes.
pub const PIECE: i64 = 2_000;
/// The most hashes of people whom the index did not know, the newest, about 12 MB. Anybody can prove an unknown
/// DID and have it erased.
pub const STRANGERS_MAX: i64 = 100_000;

/// An erasure, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Erasure {
    /// When it began.
    pub erased_at: String,
    /// The step that its work has come to, if it goes on.
    pub step: Option<String>,
    /// Whether it is to be lifted when the work is done.
    pub lift: bool,
}

impl Erasure {
    /// In one word: `erasing`, `erased` or `lifting`.
    pub fn state(&self) -> &'static str {
        match self.step.as_deref().map(Step::named) {
            None => "erased",
            Some(Step::Lifting) => "lifting",
            Some(_) if self.lift => "lifting",
            Some(_) => "erasing",
        }
    }
}

/// Work that goes on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Work {
    /// Who.
    pub did: Did,
    /// Announcements up to this row of the outbox may speak of them.
    pub since: i64,
    /// Whether something of theirs was in the index.
    pub known: bool,
    /// The step's word.
    pub step: String,
    /// How far the step is.
    pub place: String,
    /// Failures in a row at this place.
    pub failures: u32,
}

/// The erasure of a person, if there is one.
pub async fn find(store: &impl Store, did: &Did) -> Result<Option<Erasure>, Fault> {
    let statement = Statement::new(FIND, [mark(did).into(), did.as_str().into()]);
    let found: Vec<Erasure> = rows(store.read(&[statement]).await?.first())?;
    Ok(found.into_iter().next())
}

/// The erased people among these, found by their hashes, and everybody whose rows are being deleted.
pub(super) fn among<'d>(dids: impl Iterator<Item = &'d Did>) -> Statement {
    let marked: Vec<(String, &Did)> = dids.map(|did| (mark(did), did)).collect();
    Statement::new(AMONG, [Param::json(&marked)])
}

/// Kinds of few rows that an inactive account does not hide (I33, I38, N50, N51).
const IN_SIGHT: [&str; 5] = ["channel_reads", "actors", "actor_profiles", "mutes", "preferences"];

/// The statements of the first transaction: they store the hash and the work, and delete the few rows at once that
/// an inactive account does not hide (I33, I38). `version` is the ledger version after it.
pub fn begin(did: &Did, version: i64, now: Micros) -> Vec<Statement> {
    let mut statements = vec![
        Statement::new(BEGIN, [mark(did).into(), did.as_str().into(), now.shown().into()]),
        Statement::new(BEGIN_WORK, [mark(did).into(), did.as_str().into(), version.into()]),
    ];
    for kind in KINDS.iter().filter(|kind| IN_SIGHT.contains(&kind.table)) {
        let purges = kind.purge.iter();
        statements.extend(purges.map(|purge| Statement::new(purge.all, purge.params(&[did], PIECE, now))));
    }
    statements
}

/// The erasure is not to be lifted any more.
pub fn go_on(did: &Did) -> Statement {
    Statement::new("UPDATE erasing SET lift = 0 WHERE did = ?1", [did.as_str().into()])
}

/// Lifts an erasure, after its work if that is in progress. Returns when it began, or `None` if there is none.
pub async fn lift(store: &impl Store, did: &Did) -> Result<Option<String>, Fault> {
    let statements = [
        Statement::new(
            "SELECT json_quote(erased_at) AS row FROM erasures WHERE hash = ?1",
            [mark(did).into()],
        ),
        Statement::new(LIFT, [mark(did).into(), did.as_str().into()]),
    ];
    let found: Vec<String> = rows(store.write(&statements).await?.first())?;
    Ok(found.into_iter().next())
}

/// Work that goes on, in the order of DIDs after `after`, at most `limit`.
pub async fn working(store: &impl Store, after: &str, limit: i64) -> Result<Vec<Work>, Fault> {
    let statement = Statement::new(WORKING, [after.into(), limit.into()]);
    rows(store.read(&[statement]).await?.first())
}

/// Whether everything is delivered that was announced before.
pub async fn is_delivered(store: &impl Store, work: &Work) -> Result<bool, Fault> {
    let statement =
        Statement::new("SELECT 'null' AS row FROM outbox WHERE id <= ?1 LIMIT 1", [work.since.into()]);
    Ok(store.read(&[statement]).await?.iter().all(Vec::is_empty))
}

/// The next communities whose logs are cleared, in order.
pub async fn communities(store: &impl Store, work: &Work, limit: i64) -> Result<Vec<AtUri>, Fault> {
    let statement = Statement::new(
        "SELECT json_quote(uri) AS row FROM communities WHERE uri > ?1 ORDER BY uri LIMIT ?2",
        [work.place.as_str().into(), limit.into()],
    );
    rows(store.read(&[statement]).await?.first())
}

/// The work has come to another step or place, unless somebody began anew meanwhile.
pub async fn moved(store: &impl Store, work: &Work, step: Step, place: &str) -> Result<(), Fault> {
    let to = [step.word().into(), place.into()];
    store.write(&[Statement::new(MOVED, here(work).into_iter().chain(to))]).await.map(drop)
}

/// It failed at its place.
pub async fn failed(store: &impl Store, work: &Work) -> Result<(), Fault> {
    store.write(&[Statement::new(FAILED, here(work))]).await.map(drop)
}

fn here(work: &Work) -> [Param; 3] {
    [work.did.as_str().into(), work.step.as_str().into(), work.place.as_str().into()]
}

/// The result of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// A full piece: there may be more rows.
    Much,
    /// The rest of a table.
    Rest,
    /// There is no further table.
    Nothing,
}

/// Deletes a piece of the table that the place names, and moves on to the next table after the last piece.
pub async fn take_out(store: &impl Store, work: &Work, now: Micros) -> Result<Taken, Fault> {
    let number = work.place.parse().unwrap_or(0);
    let Some(statements) = pieces(&work.did, number, now) else { return Ok(Taken::Nothing) };
    if is_full(&store.write(&statements).await?) {
        return Ok(Taken::Much);
    }
    let next = number.saturating_add(1);
    moved(store, work, Step::Rows, &next.to_string()).await?;
    Ok(Taken::Rest)
}

/// The work is done, or goes on with being lifted.
pub async fn done(store: &impl Store, work: &Work) -> Result<(), Fault> {
    let end = |sql| Statement::new(sql, here(work));
    store.write(&[end(LIFTED_MEANWHILE), end(DONE)]).await.map(drop)
}

/// Brings back a piece of what keys meant (T21); when that is all, the person is erased no more, and their
/// repository is due: [`Taken::Nothing`].
pub async fn take_back(store: &impl Store, work: &Work, now: Micros) -> Result<Taken, Fault> {
    let did = &work.did;
    let back = [stand_in(did).into(), PIECE.into(), did.as_str().into()];
    if is_full(&store.write(&[move_ledger(), Statement::new(GONE, back)]).await?) {
        return Ok(Taken::Much);
    }
    let statements = [
        move_ledger(),
        Statement::new(LIFTED, [mark(did).into(), did.as_str().into()]),
        Statement::new(ADMITTED_AGAIN, [did.as_str().into()]),
        repos::want(did, Reason::Asked, now),
        Statement::new(LIFTED_WORK, [mark(did).into(), did.as_str().into()]),
    ];
    store.write(&statements).await.map(|_| Taken::Nothing)
}

fn is_full(answers: &[Vec<String>]) -> bool {
    let full = usize::try_from(PIECE).unwrap_or(usize::MAX);
    answers.iter().any(|rows| rows.len() >= full)
}

fn move_ledger() -> Statement {
    Statement::new("UPDATE ledger SET version = version + 1 WHERE id = 1", [])
}

/// The statements that delete a piece of the `number`th table; `None` after the last one. The kinds of records
/// come first, because the notes about them go after them.
fn pieces(did: &Did, number: usize, now: Micros) -> Option<Vec<Statement>> {
    let mut statements = vec![move_ledger()];
    if let Some(kind) = KINDS.get(number) {
        let purges = kind.purge.iter();
        statements.extend(purges.map(|purge| Statement::new(purge.piece, purge.params(&[did], PIECE, now))));
        // A crash between two pieces leaves no more of theirs than there must be.
        if kind.table == "messages" {
            statements.push(gone(did));
        }
        return Some(statements);
    }
    match number - KINDS.len() {
        0 => statements.push(gone(did)),
        other => {
            let sql = OTHERS.get(other - 1)?;
            let mut params = vec![did.as_str().into()];
            params.extend(sql.contains("?2").then(|| Param::from(PIECE)));
            statements.push(Statement::new(sql, params));
        }
    }
    Some(statements)
}

/// T21: the meaning of a key stays, but not its author.
fn gone(did: &Did) -> Statement {
    Statement::new(GONE, [did.as_str().into(), PIECE.into(), stand_in(did).into()])
}

/// Every statement that deletes a person's rows, for the tests.
pub fn all(did: &Did, now: Micros) -> Vec<Statement> {
    (0..).map_while(|number| pieces(did, number, now)).flatten().collect()
}

/// Forgets hashes of people who were not in the index, if there are too many.
pub(super) fn forget_strangers() -> Statement {
    Statement::new(STRANGERS, [STRANGERS_MAX.into(), PIECE.into()])
}

const FIND: &str = "
    SELECT json_object('erased_at', e.erased_at, 'step', w.step,
        'lift', json(iif(coalesce(w.lift, 0), 'true', 'false'))) AS row
    FROM erasures e LEFT JOIN erasing w ON w.did = ?2 WHERE e.hash = ?1";

const AMONG: &str = "
    SELECT json_quote(value ->> 1) AS row FROM json_each(?1)
    WHERE EXISTS (SELECT 1 FROM erasures WHERE hash = value ->> 0)
    UNION SELECT json_quote(did) FROM erasing WHERE step <> 'lifting'";

const BEGIN: &str = "
    INSERT INTO erasures (hash, erased_at, known)
    SELECT ?1, ?3, EXISTS (SELECT 1 FROM communities WHERE owner_did = ?2)
        OR EXISTS (SELECT 1 FROM memberships WHERE member_did = ?2)
        OR EXISTS (SELECT 1 FROM members WHERE member_did = ?2)
        OR EXISTS (SELECT 1 FROM messages WHERE uri > 'at://' || ?2 || '/' AND uri < 'at://' || ?2 || '0')
        OR EXISTS (SELECT 1 FROM reactions WHERE uri > 'at://' || ?2 || '/' AND uri < 'at://' || ?2 || '0')
    WHERE true ON CONFLICT (hash) DO NOTHING";

const BEGIN_WORK: &str = "
    INSERT INTO erasing (did, since, known, step, place, failures, lift)
    SELECT ?2, ?3, known, 'telling', '', 0, 0 FROM erasures WHERE hash = ?1
    ON CONFLICT (did) DO UPDATE SET since = excluded.since, step = excluded.step, place = excluded.place,
        failures = excluded.failures, lift = excluded.lift";

const LIFT: &str = "
    INSERT INTO erasing (did, since, known, step, place, failures, lift)
    SELECT ?2, 0, known, 'lifting', '', 0, 0 FROM erasures WHERE hash = ?1
    ON CONFLICT (did) DO UPDATE SET lift = step <> 'lifting' RETURNING 'null' AS row";

const WORKING: &str = "
    SELECT json_object('did', did, 'since', since, 'known', json(iif(known, 'true', 'false')), 'step', step,
        'place', place, 'failures', failures) AS row
    FROM erasing WHERE did > ?1 ORDER BY did LIMIT ?2";

const MOVED: &str = "
    UPDATE erasing SET step = ?4, place = ?5, failures = 0 WHERE did = ?1 AND step = ?2 AND place = ?3
    RETURNING 'null' AS row";

const FAILED: &str = "
    UPDATE erasing SET failures = failures + 1 WHERE did = ?1 AND step = ?2 AND place = ?3
    RETURNING 'null' AS row";

const LIFTED_MEANWHILE: &str = "
    UPDATE erasing SET step = 'lifting', place = '', failures = 0, lift = 0
    WHERE did = ?1 AND step = ?2 AND place = ?3 AND lift RETURNING 'null' AS row";

const DONE: &str = "
    DELETE FROM erasing WHERE did = ?1 AND step = ?2 AND place = ?3 AND NOT lift RETURNING 'null' AS row";

const LIFTED: &str = "
    DELETE FROM erasures WHERE hash = ?1 AND EXISTS (SELECT 1 FROM erasing WHERE did = ?2 AND step = 'lifting')
    RETURNING 'null' AS row";

// What communities of the newest form say of a person is theirs, and was out of sight only.
const ADMITTED_AGAIN: &str = "
    UPDATE members SET hidden = 0 WHERE member_did = ?1
       AND EXISTS (SELECT 1 FROM erasing WHERE did = ?1 AND step = 'lifting') RETURNING 'null' AS row";

const LIFTED_WORK: &str = "
    DELETE FROM erasing WHERE did = ?2 AND NOT EXISTS (SELECT 1 FROM erasures WHERE hash = ?1)
    RETURNING 'null' AS row";

// From one authority (?1) to another (?3); the channel too, where it is the same person's.
const GONE: &str = "
    UPDATE gone_messages SET uri = 'at://' || ?3 || substr(uri, length(?1) + 6),
        channel_uri = iif(channel_uri > 'at://' || ?1 || '/' AND channel_uri < 'at://' || ?1 || '0',
            'at://' || ?3 || substr(channel_uri, length(?1) + 6), channel_uri)
    WHERE (rkey, channel_uri, uri) IN (
        SELECT rkey, channel_uri, uri FROM gone_messages
        WHERE uri > 'at://' || ?1 || '/' AND uri < 'at://' || ?1 || '0' LIMIT ?2)
    RETURNING 'null' AS row";

const STRANGERS: &str = "
    DELETE FROM erasures WHERE hash IN (
        SELECT hash FROM erasures WHERE NOT known ORDER BY erased_at
        LIMIT max(0, min(?2, (SELECT count(*) FROM erasures WHERE NOT known) - ?1)))
    RETURNING 'null' AS row";

/// What else names a person (?1), after the records: at most ?2 rows of each.
const OTHERS: &[&str] = &[
    // That a moderator ended a membership (R31) is the moderator's, and stays.
    "DELETE FROM settled WHERE uri IN (SELECT uri FROM settled
         WHERE uri > 'at://' || ?1 || '/' AND uri < 'at://' || ?1 || '0' AND outcome <> 'kicked' LIMIT ?2)
     RETURNING 'null' AS row",
    "DELETE FROM invites WHERE code IN (SELECT code FROM invites
         WHERE community_uri > 'at://' || ?1 || '/' AND community_uri < 'at://' || ?1 || '0' LIMIT ?2)
     RETURNING 'null' AS row",
    "DELETE FROM reports WHERE id IN (SELECT id FROM reports WHERE reporter_did = ?1 LIMIT ?2)
     RETURNING 'null' AS row",
    "DELETE FROM reports WHERE id IN (SELECT id FROM reports WHERE about_did = ?1 LIMIT ?2)
     RETURNING 'null' AS row",
    "DELETE FROM reports WHERE id IN (SELECT id FROM reports
         WHERE community_uri > 'at://' || ?1 || '/' AND community_uri < 'at://' || ?1 || '0' LIMIT ?2)
     RETURNING 'null' AS row",
    "DELETE FROM webhooks WHERE id IN (SELECT id FROM webhooks
         WHERE community_uri > 'at://' || ?1 || '/' AND community_uri < 'at://' || ?1 || '0' LIMIT ?2)
     RETURNING 'null' AS row",
    "DELETE FROM dismissed WHERE (community_uri, member_did) IN (
         SELECT community_uri, member_did FROM dismissed WHERE member_did = ?1 LIMIT ?2)
     RETURNING 'null' AS row",
    "DELETE FROM dismissed WHERE (community_uri, member_did) IN (SELECT community_uri, member_did FROM dismissed
         WHERE community_uri > 'at://' || ?1 || '/' AND community_uri < 'at://' || ?1 || '0' LIMIT ?2)
     RETURNING 'null' AS row",
    "DELETE FROM listings WHERE community_uri IN (SELECT community_uri FROM listings
         WHERE community_uri > 'at://' || ?1 || '/' AND community_uri < 'at://' || ?1 || '0' LIMIT ?2)
     RETURNING 'null' AS row",
    "DELETE FROM moderators WHERE (community_uri, did) IN (
         SELECT community_uri, did FROM moderators WHERE did = ?1 LIMIT ?2)
     RETURNING 'null' AS row",
    "DELETE FROM moderators WHERE (community_uri, did) IN (SELECT community_uri, did FROM moderators
         WHERE community_uri > 'at://' || ?1 || '/' AND community_uri < 'at://' || ?1 || '0' LIMIT ?2)
     RETURNING 'null' AS row",
    "DELETE FROM idempotency_keys WHERE (caller, key) IN (
         SELECT caller, key FROM idempotency_keys WHERE caller = ?1 LIMIT ?2)
     RETURNING 'null' AS row",
    "DELETE FROM refusals WHERE uri > 'at://' || ?1 || '/' AND uri < 'at://' || ?1 || '0'
     RETURNING 'null' AS row",
    "UPDATE incidents SET example = '' WHERE instr(example, ?1) > 0 RETURNING 'null' AS row",
    "DELETE FROM visitors WHERE did = ?1 RETURNING 'null' AS row",
    "DELETE FROM identities WHERE did = ?1 RETURNING 'null' AS row",
    "DELETE FROM repos WHERE did = ?1 RETURNING 'null' AS row",
    // A revocation stays until no token is left that it refuses (storage::sweep), or those would count again.
    "UPDATE proofs SET proven = 0 WHERE did = ?1 AND revoked_at IS NOT NULL RETURNING 'null' AS row",
    "DELETE FROM proofs WHERE did = ?1 AND revoked_at IS NULL RETURNING 'null' AS row",
    "DELETE FROM people WHERE did = ?1 RETURNING 'null' AS row",
];
