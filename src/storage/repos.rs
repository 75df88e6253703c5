//! Repositories: which are known, which are due, and how each reading went (section 9).
//!
//! Times are texts with milliseconds, for admins who read the table.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::kinds::KINDS;
use super::{Fault, Param, Statement, Store, chunks, rows};
use crate::domain::erasure::mark;
use crate::domain::repos::Reason;
use crate::wire::ids::{AtUri, Did};
use crate::wire::multikey::Multikey;
use crate::wire::time::Micros;

/// Records read at once when loading what the index has of a repository.
const PAGE: usize = 5_000;
/// The number of failures after which a repository no longer delays the end of a gap.
const UNREACHED_AFTER: i64 = 5;
/// The most lookups of unknown communities that may wait at once: anybody can cause them.
const LOOKUPS_MAX: i64 = 100;

/// A repository in the queue.
#[derive(Clone, Debug, Deserialize)]
pub struct Due {
    /// The account.
    pub did: Did,
    /// The PDS where it was last found.
    pub pds: Option<String>,
    /// The newest revision seen.
    pub rev: Option<String>,
    /// Why it is due.
    pub reason: String,
    /// When it became due.
    pub due_since: String,
    /// Failures since the last success.
    pub failures: u32,
    /// Whether it was ever read completely.
    pub is_synced: bool,
    /// The key that signed it at that reading.
    pub signed_by: Option<Multikey>,
    /// Whether its events were left out (K17): it is read whatever its revision is.
    pub is_deferred: bool,
}

/// A repository as `/api/sync` shows it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[expect(missing_docs, reason = "columns, described in migrations/")]
pub struct Shown {
    pub did: Did,
    pub pds: Option<String>,
    pub rev: Option<String>,
    pub status: String,
    pub reason: String,
    pub next_attempt_at: Option<String>,
    pub failures: u32,
    pub error: Option<String>,
    pub refused: u32,
    pub checked_at: Option<String>,
    pub synced_at: Option<String>,
}

/// The delay after an identity change, in microseconds, for a repository whose last reading failed.
const IDENTITY_RETRY: i64 = 60_000_000;

/// How much later than its points a deferred repository is read, in microseconds, because clocks
/// differ.
const DEFERRED_LEAD: i64 = 5_000_000;

/// The numbers of repositories for `/api/health`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Counts {
    /// Known.
    pub known: u64,
    /// Due or waiting for another attempt.
    pub due: u64,
    /// Of these, the ones with at least one failed attempt.
    pub failing: u64,
    /// Deferred (K17).
    pub deferred: u64,
}

/// Makes repositories known (K01): each as `(did, owner)`, where an `owner` must own a community.
/// Known ones stay as they are, with three exceptions: one that was empty when it was looked up now
/// has a record, one that a relay listed is now stored for its own sake, and one is an owner's now.
pub(super) fn learn(known: &BTreeSet<(Did, Option<Did>)>, now: Micros) -> Vec<Statement> {
    chunks(known.iter().map(|(did, owner)| (did, owner, mark(did))))
        .into_iter()
        .map(|text| {
            Statement::new(
                "INSERT INTO repos (did, status, reason, due_since, next_attempt_at, known_at, is_owner)
                 SELECT value ->> 0, 'waiting', 'new', ?2, ?2, ?2,
                     EXISTS (SELECT 1 FROM communities WHERE owner_did = value ->> 0)
                 FROM json_each(?1)
                 WHERE (value ->> 1 IS NULL OR EXISTS (SELECT 1 FROM communities WHERE owner_did = value ->> 1))
                   AND NOT EXISTS (SELECT 1 FROM erasures WHERE hash = value ->> 2)
                 ON CONFLICT (did) DO UPDATE SET is_owner = excluded.is_owner,
                     reason = iif(status = 'empty' OR reason = 'found', excluded.reason, reason),
                     status = iif(status = 'empty', excluded.status, status),
                     due_since = iif(status = 'empty', excluded.due_since, due_since),
                     next_attempt_at = iif(status = 'empty', excluded.next_attempt_at, next_attempt_at)
                 WHERE repos.status = 'empty' OR repos.reason = 'found' OR repos.is_owner < excluded.is_owner",
                [text.into(), now.shown().into()],
            )
        })
        .collect()
}

/// Stores the newest revisions of live events, since the index has them with this commit. It skips
/// repositories that are due, because older events of theirs may be missing.
pub(super) fn advance(revs: &BTreeMap<&Did, &str>) -> Vec<Statement> {
    chunks(revs.iter())
        .into_iter()
        .map(|text| {
            Statement::new(
                "UPDATE repos SET rev = seen.rev
                 FROM (SELECT value ->> 0 AS did, value ->> 1 AS rev FROM json_each(?1)) AS seen
                 WHERE repos.did = seen.did AND repos.next_attempt_at IS NULL AND repos.rev < seen.rev",
                [text.into()],
            )
        })
        .collect()
}

/// The actions of these people were decided on facts that may be incomplete (K05, K09). A reading
/// that is under way may be older than these actions, so the repository is read again after it.
/// While a gap is open, or while events of an owner are left out (K17), even unknown people are
/// read.
pub(super) fn look_once_more(dids: &BTreeSet<Did>, now: Micros) -> Vec<Statement> {
    let both = |text: String| {
        [
            "UPDATE repos SET due_since = ?2
             WHERE did IN (SELECT value FROM json_each(?1)) AND next_attempt_at IS NOT NULL
               AND (deferred_until IS NULL OR next_attempt_at <= ?2)",
            "INSERT INTO repos (did, status, reason, due_since, next_attempt_at, known_at)
             SELECT value, 'waiting', 'gate', ?2, ?2, ?2 FROM json_each(?1)
             WHERE (EXISTS (SELECT 1 FROM gaps WHERE state = 'open')
                 OR EXISTS (SELECT 1 FROM repos d JOIN communities c ON c.owner_did = d.did
                             WHERE d.deferred_until IS NOT NULL))
             ON CONFLICT (did) DO UPDATE SET status = excluded.status, reason = excluded.reason,
                 due_since = excluded.due_since, next_attempt_at = excluded.next_attempt_at
             WHERE repos.next_attempt_at IS NULL",
        ]
        .map(|sql| Statement::new(sql, [text.as_str().into(), now.shown().into()]))
    };
    chunks(dids.iter()).into_iter().flat_map(both).collect()
}

/// These people were admitted to a community: what the gate refused of them before is in their
/// repositories, which are read again if they were known already (N16). However often somebody is put out
/// and admitted, at most once a minute.
pub(super) fn admitted(dids: &BTreeSet<Did>, now: Micros) -> Vec<Statement> {
    chunks(dids.iter())
        .into_iter()
        .map(|text| {
            Statement::new(
                "UPDATE repos SET status = 'waiting', due_since = ?2, reason = 'gate',
                     next_attempt_at = coalesce(next_attempt_at,
                         max(?2, coalesce(strftime('%Y-%m-%dT%H:%M:%fZ', checked_at, '+60 seconds'), ?2)))
                 WHERE did IN (SELECT value FROM json_each(?1)) AND status <> 'empty' AND known_at < ?2",
                [text.into(), now.shown().into()],
            )
        })
        .collect()
}

/// The statements that make repositories due, of which `$people` says whose and since which time of the stream.
macro_rules! judged_again {
    ($times:expr, $now:expr, $people:literal) => {{
        let rows: Vec<_> = $times.iter().map(|(of, at)| (of, at.shown())).collect();
        let due = |text: String| {
            Statement::new(
                concat!(
                    "UPDATE repos SET status = iif(next_attempt_at IS NULL, 'waiting', status), due_since = ?2,
                         reason = iif(next_attempt_at IS NULL, 'gate', reason),
                         next_attempt_at = coalesce(next_attempt_at,
                             max(?2, coalesce(strftime('%Y-%m-%dT%H:%M:%fZ', checked_at, '+60 seconds'), ?2)))
                     FROM (",
                    $people,
                    ") AS waited
                     WHERE repos.did = waited.did
                       AND (next_attempt_at IS NOT NULL OR (refused > 0 AND checked_at >= waited.at))"
                ),
                [text.into(), $now.shown().into()],
            )
        };
        chunks(rows.iter()).into_iter().map(due).collect()
    }};
}

/// These people joined a community, each at a time of the stream. A reading of their repository that ended later may
/// have been ahead of the stream: what was refused then is judged again (K05), at most once a minute. One that is due
/// may be under way, and is read once more after it.
pub(super) fn joined(joined: &BTreeMap<Did, Micros>, now: Micros) -> Vec<Statement> {
    judged_again!(joined, now, "SELECT value ->> 0 AS did, value ->> 1 AS at FROM json_each(?1)")
}

/// The gates of these communities accept more than before, each from a time of the stream on. As [`joined`], for the
/// members.
pub(super) fn eased(eased: &BTreeMap<AtUri, Micros>, now: Micros) -> Vec<Statement> {
    judged_again!(
        eased,
        now,
        "SELECT member_did AS did, min(value ->> 1) AS at FROM (
             SELECT value, member_did FROM json_each(?1) JOIN memberships ON community_uri = value ->> 0
             UNION ALL
             SELECT value, member_did FROM json_each(?1) JOIN members ON community_uri = value ->> 0)
         GROUP BY member_did"
    )
}

/// Events of these repositories are left out, each until a time of the stream (K17), and then the
/// repository is due. By then it contains what was left out. A stream that repeats earlier days has
/// delivered it before.
pub(super) fn defer(deferred: &BTreeMap<Did, Micros>, now: Micros) -> Vec<Statement> {
    let due = |until: &Micros| Micros(until.max(&now).0.saturating_add(DEFERRED_LEAD)).shown();
    let rows: Vec<_> = deferred.iter().map(|(did, until)| (did, due(until), mark(did))).collect();
    chunks(rows.iter())
        .into_iter()
        .map(|text| {
            Statement::new(
                "INSERT INTO repos (did, status, reason, due_since, next_attempt_at, known_at, deferred_until)
                 SELECT value ->> 0, 'waiting', 'points', ?2, value ->> 1, ?2, value ->> 1
                 FROM json_each(?1) WHERE NOT EXISTS (SELECT 1 FROM erasures WHERE hash = value ->> 2)
                 ON CONFLICT (did) DO UPDATE SET status = excluded.status,
                     reason = iif(next_attempt_at IS NULL, excluded.reason, reason),
                     due_since = iif(next_attempt_at IS NULL, excluded.due_since, due_since),
                     next_attempt_at = coalesce(next_attempt_at, excluded.next_attempt_at),
                     deferred_until = max(coalesce(deferred_until, ''), excluded.deferred_until)",
                [text.into(), now.shown().into()],
            )
        })
        .collect()
}

/// A gap was noticed: every repository becomes due (K05).
pub(super) fn all_due(now: Micros) -> Statement {
    Statement::new(
        "UPDATE repos SET status = 'waiting', due_since = ?1,
             reason = iif(next_attempt_at IS NULL, 'gap', reason),
             next_attempt_at = coalesce(next_attempt_at, ?1)
         WHERE status <> 'empty'",
        [now.shown().into()],
    )
}

/// Identities of these people changed: their repositories become due if they are known (K11).
/// However often an identity changes, a repository is read at most once in five seconds. After a
/// failed reading it is retried no sooner than its pause or [`IDENTITY_RETRY`], whichever ends
/// first: anybody can change their own identity many times a second, and name a host that never
/// answers.
pub(super) fn identities(dids: &BTreeSet<&Did>, now: Micros) -> Vec<Statement> {
    chunks(dids.iter())
        .into_iter()
        .map(|text| {
            Statement::new(
                "UPDATE repos SET status = 'waiting', due_since = ?2,
                     reason = iif(next_attempt_at IS NULL, 'identity', reason),
                     next_attempt_at = iif(failures > 0,
                         min(coalesce(next_attempt_at, ?3), ?3),
                         max(?2, coalesce(strftime('%Y-%m-%dT%H:%M:%fZ', checked_at, '+5 seconds'), ?2)))
                 WHERE did IN (SELECT value FROM json_each(?1)) AND status <> 'empty'",
                [
                    text.into(),
                    now.shown().into(),
                    Micros(now.0.saturating_add(IDENTITY_RETRY)).shown().into(),
                ],
            )
        })
        .collect()
}

/// These accounts are active again: the service may have missed what they wrote in the meantime, so
/// their repositories become due (I53). This happens at most once in a few seconds, however often
/// an account changes.
pub(super) fn returned(dids: &BTreeSet<&Did>, now: Micros) -> Vec<Statement> {
    chunks(dids.iter())
        .into_iter()
        .map(|text| {
            Statement::new(
                "UPDATE repos SET status = 'waiting', due_since = ?2, reason = 'account',
                     next_attempt_at = max(?2, coalesce(strftime('%Y-%m-%dT%H:%M:%fZ', checked_at, '+5 seconds'), ?2))
                 WHERE did IN (SELECT value FROM json_each(?1)) AND status <> 'empty'",
                [text.into(), now.shown().into()],
            )
        })
        .collect()
}

/// Makes a repository due, known or not; returns a row if this call made it due. A
/// [`Reason::Lookup`] makes only a limited number of unknown ones known, and leaves known ones
/// alone. An erased person's repository is never due (I57).
pub fn want(did: &Did, reason: Reason, now: Micros) -> Statement {
    let params = || [did.as_str().into(), reason.word().into(), now.shown().into(), mark(did).into()];
    if reason == Reason::Lookup {
        let mut params = params().to_vec();
        params.push(LOOKUPS_MAX.into());
        return Statement::new(
            "INSERT INTO repos (did, status, reason, due_since, next_attempt_at, known_at)
             SELECT ?1, 'waiting', ?2, ?3, ?3, ?3
             WHERE (SELECT count(*) FROM repos WHERE next_attempt_at IS NOT NULL AND reason = ?2) < ?5
               AND NOT EXISTS (SELECT 1 FROM erasures WHERE hash = ?4)
             ON CONFLICT (did) DO NOTHING RETURNING json_quote(did) AS row",
            params,
        );
    }
    Statement::new(
        "INSERT INTO repos (did, status, reason, due_since, next_attempt_at, known_at)
         SELECT ?1, 'waiting', ?2, ?3, ?3, ?3 WHERE NOT EXISTS (SELECT 1 FROM erasures WHERE hash = ?4)
         ON CONFLICT (did) DO UPDATE SET status = 'waiting', reason = excluded.reason,
             due_since = excluded.due_since, next_attempt_at = excluded.next_attempt_at, failures = 0,
             error = NULL
         RETURNING json_quote(did) AS row",
        params(),
    )
}

/// The place of a due repository among those of its host (K02): first owners', because the gate judges members'
/// records by the owners' records, and those that somebody named (K01); those from a relay last. The index
/// `repos_due_by_host` has the same expression, so that a question costs the same however many are due.
macro_rules! turn {
    () => {
        "CASE WHEN reason = 'found' THEN 2 WHEN is_owner OR reason = 'lookup' THEN 0 ELSE 1 END"
    };
}

/// A row for each value of [`turn!`].
macro_rules! each_turn {
    () => {
        "(SELECT 0 AS value UNION ALL SELECT 1 UNION ALL SELECT 2) turn"
    };
}

/// The first due repositories of a host with this turn.
macro_rules! due_in_turn {
    ($turn:literal) => {
        concat!(
            "SELECT * FROM (SELECT did, ",
            $turn,
            " AS turn, next_attempt_at AS at FROM repos
             WHERE host IS ?1 AND ",
            turn!(),
            " = ",
            $turn,
            " AND next_attempt_at IS NOT NULL AND next_attempt_at <= ?2 ORDER BY next_attempt_at, did LIMIT ?3)"
        )
    };
}

/// A host with due repositories.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct HostDue {
    /// The host.
    pub host: String,
    /// When the last of them became due.
    pub newest: String,
}

/// The known hosts with due repositories at `now`.
pub async fn hosts_due(store: &impl Store, now: Micros) -> Result<Vec<HostDue>, Fault> {
    let statement = Statement::new(
        concat!(
            "WITH RECURSIVE hosts(host) AS (
                 SELECT min(host) FROM repos WHERE host IS NOT NULL AND next_attempt_at IS NOT NULL
                 UNION ALL
                 SELECT (SELECT min(host) FROM repos WHERE host > h.host AND next_attempt_at IS NOT NULL)
                 FROM hosts h WHERE h.host IS NOT NULL),
             due(host, newest) AS (
                 SELECT h.host, (SELECT max(t.newest) FROM (
                     SELECT (SELECT max(next_attempt_at) FROM repos WHERE host = h.host AND ",
            turn!(),
            " = turn.value AND next_attempt_at IS NOT NULL AND next_attempt_at <= ?1) AS newest
                     FROM ",
            each_turn!(),
            ") t)
                 FROM hosts h)
             SELECT json_object('host', host, 'newest', newest) AS row FROM due WHERE newest IS NOT NULL"
        ),
        [now.shown().into()],
    );
    rows(store.read(&[statement]).await?.first())
}

/// The repositories of a host that are due at `now`, at most `limit`, in the order in which they are read (`turn!`).
/// `None`: those without a host.
pub async fn due(store: &impl Store, host: Option<&str>, now: Micros, limit: i64) -> Result<Vec<Due>, Fault> {
    let statement = Statement::new(
        concat!(
            "SELECT json_object('did', r.did, 'pds', pds, 'rev', rev, 'reason', reason,
                 'due_since', due_since, 'failures', failures, 'signed_by', signed_by,
                 'is_deferred', json(iif(deferred_until IS NULL, 'false', 'true')),
                 'is_synced', json(iif(synced_at IS NULL, 'false', 'true'))) AS row
             FROM (",
            due_in_turn!("0"),
            " UNION ALL ",
            due_in_turn!("1"),
            " UNION ALL ",
            due_in_turn!("2"),
            ") d CROSS JOIN repos r ON r.did = d.did ORDER BY d.turn, d.at, d.did LIMIT ?3"
        ),
        [host.into(), now.shown().into(), limit.into()],
    );
    rows(store.read(&[statement]).await?.first())
}

/// When the next repository of a host becomes due, and whether a gap is open that [`close_gaps`]
/// may close.
pub async fn next_due(store: &impl Store, host: Option<&str>) -> Result<(Option<Micros>, bool), Fault> {
    let statement = Statement::new(
        concat!(
            "SELECT json_array(
                 (SELECT min(t.next) FROM (
                     SELECT (SELECT min(next_attempt_at) FROM repos WHERE host IS ?1 AND ",
            turn!(),
            " = turn.value AND next_attempt_at IS NOT NULL) AS next
                     FROM ",
            each_turn!(),
            ") t),
                 json(iif(EXISTS (SELECT 1 FROM gaps WHERE state = 'open'), 'true', 'false'))) AS row"
        ),
        [host.into()],
    );
    Ok(rows(store.read(&[statement]).await?.first())?.into_iter().next().unwrap_or_default())
}

/// Stores where a repository was found.
pub fn found_at(did: &Did, pds: &str, host: &str) -> Statement {
    Statement::new(
        "UPDATE repos SET pds = ?2, host = ?3 WHERE did = ?1",
        [did.as_str().into(), pds.into(), host.into()],
    )
}

/// An attempt failed; the next one is at `next`. `status` is `failing`, or `absent` if the host
/// says that the account does not exist.
pub fn failed(did: &Did, status: &'static str, error: &str, next: Micros) -> Statement {
    Statement::new(
        "UPDATE repos SET status = ?2, error = ?3, failures = failures + 1, next_attempt_at = ?4
         WHERE did = ?1",
        [did.as_str().into(), status.into(), error.into(), next.shown().into()],
    )
}

/// The host is not asked before `next`.
pub fn postponed(did: &Did, next: Micros) -> Statement {
    Statement::new(
        "UPDATE repos SET next_attempt_at = ?2 WHERE did = ?1",
        [did.as_str().into(), next.shown().into()],
    )
}

/// A successful reading.
#[derive(Clone, Debug)]
pub struct Succeeded<'a> {
    /// The account.
    pub did: &'a Did,
    /// The revision up to which the index is complete; `None` if the account does not exist.
    pub rev: Option<&'a str>,
    /// `synced`, `absent` or `empty`.
    pub status: &'static str,
    /// When the reading began.
    pub began: Micros,
    /// The number of records that the gate refused, if the repository was read.
    pub refused: Option<usize>,
    /// The key that signed what was read, if any.
    pub signed_by: Option<&'a Multikey>,
}

/// Stores a success. The repository is due again if a reason came since the reading began; if events
/// were left out since then (K17), it is due once no more of them are.
pub fn succeeded(look: &Succeeded, now: Micros) -> Statement {
    let refused = look.refused.and_then(|count| i64::try_from(count).ok());
    Statement::new(
        "UPDATE repos SET status = iif(due_since >= ?4 OR deferred_until > ?4, 'waiting', ?3), rev = coalesce(?2, rev),
             failures = 0, error = NULL, checked_at = ?4, refused = coalesce(?5, refused),
             signed_by = coalesce(?7, signed_by),
             synced_at = iif(?5 IS NULL, synced_at, ?6), 
             next_attempt_at = iif(due_since >= ?4, ?6, iif(deferred_until > ?4, deferred_until, NULL)),
             deferred_until = iif(deferred_until > ?4, deferred_until, NULL)
         WHERE did = ?1",
        [
            look.did.as_str().into(),
            look.rev.into(),
            look.status.into(),
            look.began.shown().into(),
            refused.into(),
            now.shown().into(),
            look.signed_by.map(Multikey::as_str).into(),
        ],
    )
}

/// A record of `did` may make others' records acceptable: the repositories of people who were
/// refused something since `since` become due (K02, across repositories).
pub fn ask_the_gate_again(did: &Did, since: Micros, now: Micros) -> Statement {
    Statement::new(
        "UPDATE repos SET status = 'waiting', due_since = ?3, next_attempt_at = ?3,
             reason = iif(next_attempt_at IS NULL, 'gate', reason)
         WHERE refused > 0 AND checked_at >= ?2 AND did <> ?1",
        [did.as_str().into(), since.shown().into(), now.shown().into()],
    )
}

/// Closes gaps that no repository delays any more: every repository that was known when the gap was
/// noticed has been read since, or has failed often. The service still retries those.
pub fn close_gaps(now: Micros) -> Statement {
    Statement::new(
        "UPDATE gaps SET state = 'closed', closed_at = ?1,
             reconciled = (SELECT count(*) FROM repos WHERE checked_at > gaps.noticed_at),
             unreached = (SELECT count(*) FROM repos
                           WHERE next_attempt_at IS NOT NULL AND known_at <= gaps.noticed_at)
         WHERE state = 'open' AND NOT EXISTS (
             SELECT 1 FROM repos
              WHERE next_attempt_at IS NOT NULL AND known_at <= gaps.noticed_at AND failures < ?2)",
        [now.shown().into(), UNREACHED_AFTER.into()],
    )
}

/// A repository, if it is known.
pub async fn shown(store: &impl Store, did: &Did) -> Result<Option<Shown>, Fault> {
    let statement = Statement::new(
        "SELECT json_object('did', did, 'pds', pds, 'rev', rev, 'status', status, 'reason', reason,
             'next_attempt_at', next_attempt_at, 'failures', failures, 'error', error,
             'refused', refused, 'checked_at', checked_at, 'synced_at', synced_at) AS row
         FROM repos WHERE did = ?1",
        [did.as_str().into()],
    );
    Ok(rows(store.read(&[statement]).await?.first())?.into_iter().next())
}

/// Every record that the index has of a repository: visible, hidden or held.
pub async fn records(store: &impl Store, did: &Did) -> Result<Vec<AtUri>, Fault> {
    let mut found = Vec::new();
    // '0' follows '/', so every record of this repository sorts between the two.
    let (first, end) = (format!("at://{did}/"), format!("at://{did}0"));
    let limit = i64::try_from(PAGE).unwrap_or(i64::MAX);
    let of_kinds = KINDS.iter().filter_map(|kind| kind.records);
    let mut wanted: Vec<_> = of_kinds.chain([PROFILE]).map(|sql| (sql, first.clone())).collect();
    while !wanted.is_empty() {
        let statements: Vec<Statement> = wanted
            .iter()
            .map(|(sql, after)| {
                Statement::new(sql, [after.as_str().into(), end.as_str().into(), Param::Int(limit)])
            })
            .collect();
        let answers = store.read(&statements).await?;
        let mut more = Vec::new();
        for ((sql, _), texts) in wanted.into_iter().zip(&answers) {
            let page: Vec<AtUri> = rows(Some(texts))?;
            if let Some(last) = page.last().filter(|_| page.len() == PAGE) {
                more.push((sql, last.to_string()));
            }
            found.extend(page);
        }
        wanted = more;
    }
    Ok(found)
}

// A profile is a part of a person's row.
const PROFILE: &str = "
    SELECT json_quote(?1 || 'app.bsky.actor.profile/self') AS row FROM people
    WHERE did = replace(rtrim(?1, '/'), 'at://', '') AND ?2 > ?1 AND profile_rev IS NOT NULL LIMIT ?3";
