//! Deletes rows that anybody's records can create and that expire.
//!
//! A commit itself bounds what it adds, where that is cheap (`commit`: held records, examples of
//! refusals, read marks). The sweep does the rest from time to time and in pieces, outside of
//! commits. It decides nothing that rests on facts, and deletes no fact that is still needed.

use serde::Deserialize;

use super::{Fault, Statement, Store, audit, erasures, idempotency, rows};
use crate::wire::time::Micros;

const HOUR: i64 = 3_600_000_000;

/// How long the decision on a record is kept that was never in the index: a refused record, or the
/// deletion of an unknown one. The decision stops a repeated event from being decided anew. The
/// stream repeats the events after the cursor, at most those of one commit, or ten seconds more on
/// another host (J04). A repository that is being read may be hours older than an event (K09). A
/// Jetstream keeps no more than three days.
const SETTLED_KEPT: i64 = 72 * HOUR;
/// The most such decisions, the newest: a day of refusals at one every two seconds, about 15 MB.
const SETTLED_MAX: i64 = 50_000;
/// The number of closed gaps that are kept, the newest.
const GAPS_KEPT: i64 = 200;
/// How long a repository is kept that was only looked up, or that cannot be read, if the index
/// never accepted anything of it.
const VAIN_KEPT: i64 = 30 * 24 * HOUR;
/// The most proofs and revocations (`proofs`) of people who are not in the index: the newest,
/// about 20 MB. Revocations lose their meaning sooner: no socket token lasts longer than a day.
const PROOFS_MAX: i64 = 100_000;
/// How long the audit log keeps an act (X22).
const AUDIT_KEPT: i64 = audit::DAYS * 24 * HOUR;
/// The most rows per deletion: a piece takes some milliseconds of a database that others wait for.
const PIECE: i64 = 2_000;
/// The number of repositories and people checked in one sweep.
const LOOKED_AT: i64 = 200;

/// The most approvals per author, the newest, whatever they name (I65): about 6 MB.
const APPROVALS_KEPT: i64 = 20_000;

/// Where the next check of repositories, people and approvals starts: after the last one checked,
/// by DID or AT-URI.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    repo: String,
    person: String,
    approval: String,
}

/// Deletes a piece of the expired rows that no read shows, at the time `now`. Returns `true` if
/// there is more.
pub async fn sweep(store: &impl Store, place: &mut Place, now: Micros) -> Result<bool, Fault> {
    let answers = store.write(&statements(place, now)).await?;
    let full = usize::try_from(PIECE).unwrap_or(usize::MAX);
    place.repo = end(answers.first())?;
    Ok(answers.iter().skip(1).any(|rows| rows.len() >= full))
}

/// Deletes people without any data, from a small group, at the time `now`. This is separate from
/// [`sweep`] because people are visible: cached answers become invalid with it.
pub async fn sweep_people(store: &impl Store, place: &mut Place, now: Micros) -> Result<(), Fault> {
    let answers = store.write(&people_statements(place, now)).await?;
    place.person = end(answers.first())?;
    Ok(())
}

/// I65: deletes approvals in a piece that make nobody a member. Returns `true` if there is more. It
/// raises the ledger version: a commit that relied on such an approval reads its facts again
/// (invariant 3).
pub async fn sweep_approvals(store: &impl Store, place: &mut Place) -> Result<bool, Fault> {
    let answers = store.write(&approvals_statements(place)).await?;
    place.approval = end(answers.first())?;
    Ok(!place.approval.is_empty())
}

fn end(answer: Option<&Vec<String>>) -> Result<String, Fault> {
    #[derive(Deserialize)]
    struct End {
        last: Option<String>,
    }
    Ok(rows::<End>(answer)?.into_iter().next().and_then(|end| end.last).unwrap_or_default())
}

/// The statements of [`sweep`], in the order in which it reads their answers. The start of the next
/// sweep is read before rows are deleted.
pub fn statements(place: &Place, now: Micros) -> Vec<Statement> {
    let at = || [place.repo.as_str().into(), LOOKED_AT.into()];
    vec![
        Statement::new(REPOS_END, at()),
        Statement::new(SETTLED_OLD, [before(now, SETTLED_KEPT).sortable().into(), PIECE.into()]),
        Statement::new(SETTLED_MANY, [SETTLED_MAX.into(), PIECE.into()]),
        Statement::new(GAPS, [GAPS_KEPT.into(), PIECE.into()]),
        Statement::new(AUDIT_OLD, [before(now, AUDIT_KEPT).shown().into(), PIECE.into()]),
        Statement::new(KEYS_OLD, [idempotency::oldest(now).into(), PIECE.into()]),
        Statement::new(REPOS, at().into_iter().chain([before(now, VAIN_KEPT).shown().into()])),
        Statement::new(REVOCATIONS, [before(now, 25 * HOUR).sortable().into(), PIECE.into()]),
        Statement::new(PROOFS, [PROOFS_MAX.into(), PIECE.into()]),
        erasures::forget_strangers(),
    ]
}

/// The statements of [`sweep_people`].
pub fn people_statements(place: &Place, now: Micros) -> Vec<Statement> {
    let at = || [place.person.as_str().into(), LOOKED_AT.into()];
    let old = before(now, VAIN_KEPT).shown();
    vec![
        Statement::new(PEOPLE_END, at()),
        Statement::new(IDENTITIES, at().into_iter().chain([old.as_str().into()])),
        Statement::new(PEOPLE, at().into_iter().chain([old.as_str().into()])),
    ]
}

/// The statements of [`sweep_approvals`].
pub fn approvals_statements(place: &Place) -> Vec<Statement> {
    let at = || [place.approval.as_str().into(), PIECE.into()];
    vec![
        Statement::new(APPROVALS_END, at()),
        Statement::new(APPROVALS, at().into_iter().chain([APPROVALS_KEPT.into()])),
        Statement::new(MOVE_LEDGER_IF_CHANGED, []),
    ]
}

fn before(now: Micros, span: i64) -> Micros {
    Micros(now.0.saturating_sub(span))
}

const SETTLED_OLD: &str = "
    DELETE FROM settled WHERE uri IN (
        SELECT uri FROM settled WHERE NOT lasting AND settled_at < ?1 ORDER BY settled_at LIMIT ?2)
    RETURNING 'null' AS row";

const SETTLED_MANY: &str = "
    DELETE FROM settled WHERE uri IN (
        SELECT uri FROM settled WHERE NOT lasting ORDER BY settled_at
        LIMIT max(0, min(?2, (SELECT count(*) FROM settled WHERE NOT lasting) - ?1)))
    RETURNING 'null' AS row";

const AUDIT_OLD: &str = "
    DELETE FROM audit_log WHERE id IN (SELECT id FROM audit_log WHERE at < ?1 ORDER BY at LIMIT ?2)
    RETURNING 'null' AS row";

const KEYS_OLD: &str = "
    DELETE FROM idempotency_keys WHERE (caller, key) IN (
        SELECT caller, key FROM idempotency_keys WHERE at <= ?1 ORDER BY at LIMIT ?2)
    RETURNING 'null' AS row";

const GAPS: &str = "
    DELETE FROM gaps WHERE id IN (
        SELECT id FROM gaps WHERE state = 'closed' ORDER BY id DESC LIMIT ?2 OFFSET ?1)
    RETURNING 'null' AS row";

const REVOCATIONS: &str = "
    DELETE FROM proofs WHERE did IN (
        SELECT did FROM proofs WHERE noted_at < ?1 AND NOT proven ORDER BY noted_at LIMIT ?2)
    RETURNING 'null' AS row";

// Over the limit, the oldest of people who are not in the index.
const PROOFS: &str = "
    DELETE FROM proofs WHERE did IN (
        SELECT p.did FROM proofs p WHERE NOT EXISTS (SELECT 1 FROM people WHERE did = p.did)
        ORDER BY p.noted_at LIMIT max(0, min(?2, (SELECT count(*) FROM proofs) - ?1)))
    RETURNING 'null' AS row";

// The index has nothing of them, and for a month reading them has failed or found nothing.
const REPOS: &str = "
    DELETE FROM repos WHERE did IN (
        SELECT r.did FROM (SELECT * FROM repos WHERE did > ?1 ORDER BY did LIMIT ?2) r
        WHERE r.known_at < ?3 AND r.due_since < ?3 AND r.status IN ('empty', 'failing', 'absent')
          AND NOT EXISTS (SELECT 1 FROM communities WHERE owner_did = r.did)
          AND NOT EXISTS (SELECT 1 FROM memberships WHERE member_did = r.did)
          AND NOT EXISTS (SELECT 1 FROM members WHERE member_did = r.did)
          AND NOT EXISTS (
              SELECT 1 FROM messages WHERE uri > 'at://' || r.did || '/' AND uri < 'at://' || r.did || '0')
          AND NOT EXISTS (
              SELECT 1 FROM reactions WHERE uri > 'at://' || r.did || '/' AND uri < 'at://' || r.did || '0'))
    RETURNING 'null' AS row";

const REPOS_END: &str = "
    SELECT json_object('last', iif(count(*) < ?2, NULL, max(did))) AS row
    FROM (SELECT did FROM repos WHERE did > ?1 ORDER BY did LIMIT ?2)";

// A person stays who owns, joined, wrote, reacted, has a status or is banned; who chose a state or
// is present; or whose account is inactive, because their records are hidden until they return.
macro_rules! nothing_left_of {
    ($what:literal) => {
        concat!(
            "DELETE FROM ",
            $what,
            " WHERE did IN (
                SELECT p.did FROM (SELECT * FROM people WHERE did > ?1 ORDER BY did LIMIT ?2) p
                WHERE p.updated_at < ?3 AND p.active AND p.preferred_state IS NULL
                  AND coalesce(p.state, 'offline') = 'offline'
                  AND NOT EXISTS (SELECT 1 FROM communities WHERE owner_did = p.did)
                  AND NOT EXISTS (SELECT 1 FROM memberships WHERE member_did = p.did)
                  AND NOT EXISTS (SELECT 1 FROM members WHERE member_did = p.did)
                  AND NOT EXISTS (
                      SELECT 1 FROM messages WHERE uri > 'at://' || p.did || '/' AND uri < 'at://' || p.did || '0')
                  AND NOT EXISTS (
                      SELECT 1 FROM reactions WHERE uri > 'at://' || p.did || '/' AND uri < 'at://' || p.did || '0')
                  AND NOT EXISTS (SELECT 1 FROM actors WHERE did = p.did)
                  AND NOT EXISTS (SELECT 1 FROM actor_profiles WHERE did = p.did)
                  AND NOT EXISTS (SELECT 1 FROM channel_reads WHERE did = p.did)
                  AND NOT EXISTS (SELECT 1 FROM bans WHERE member_did = p.did))
            RETURNING 'null' AS row"
        )
    };
}

const IDENTITIES: &str = nothing_left_of!("identities");
const PEOPLE: &str = nothing_left_of!("people");

const PEOPLE_END: &str = "
    SELECT json_object('last', iif(count(*) < ?2, NULL, max(did))) AS row
    FROM (SELECT did FROM people WHERE did > ?1 ORDER BY did LIMIT ?2)";

const APPROVALS_END: &str = "
    SELECT json_object('last', iif(count(*) < ?2, NULL, max(uri))) AS row
    FROM (SELECT uri FROM approvals WHERE uri > ?1 ORDER BY uri LIMIT ?2)";

// The approvals in the piece that are not among the newest of their author, and name no membership
// in a community of the author.
const APPROVALS: &str = "
    DELETE FROM approvals WHERE uri IN (
        WITH piece AS MATERIALIZED (SELECT * FROM approvals WHERE uri > ?1 ORDER BY uri LIMIT ?2),
            kept(did, since) AS MATERIALIZED (
                SELECT did, (SELECT indexed_at FROM approvals WHERE approver_did = did
                             ORDER BY indexed_at DESC LIMIT 1 OFFSET ?3 - 1)
                FROM (SELECT DISTINCT approver_did AS did FROM piece))
        SELECT p.uri FROM piece p JOIN kept k ON k.did = p.approver_did
        WHERE p.indexed_at < k.since
          AND NOT EXISTS (SELECT 1 FROM memberships m WHERE m.uri = p.membership_uri
              AND m.community_uri > 'at://' || p.approver_did || '/'
              AND m.community_uri < 'at://' || p.approver_did || '0'))
    RETURNING 'null' AS row";

// `changes()`: what the statement before it deleted, in the same transaction.
const MOVE_LEDGER_IF_CHANGED: &str = "UPDATE ledger SET version = version + 1 WHERE id = 1 AND changes() > 0";
