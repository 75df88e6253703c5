//! The audit log: who did what, written in the transaction of the action itself (X22).
//!
//! Rows are never changed. Each community keeps its newest [`KEPT`], and none for longer than
//! [`DAYS`].

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::listings::listable;
use super::reads::{Page, cut};
use super::{Fault, Param, Statement, Store, chunks, rows};
use crate::domain::moderation::{Caller, Decision, Proof};
use crate::wire::bodies::AuditEntry;
use crate::wire::ids::AtUri;
use crate::wire::time::Micros;

/// The most entries per community, the newest: at 400 bytes each, 4 MB.
pub const KEPT: i64 = 10_000;
/// How many days an entry is kept.
pub const DAYS: i64 = 400;

/// One act, before it is written to the log.
#[derive(Clone, Debug)]
pub struct Act<'a> {
    /// The community.
    pub community: &'a AtUri,
    /// The actor.
    pub caller: &'a Caller,
    /// The kind of proof that the actor showed.
    pub proof: Proof,
    /// The action, as one word.
    pub action: &'static str,
    /// The person, message or invite that the action concerns.
    pub subject: String,
    /// The reason that the actor gave.
    pub reason: Option<&'a str>,
    /// The time at which the effect ends.
    pub until: Option<Micros>,
}

impl<'a> Act<'a> {
    /// The act of a decision in `community`.
    pub fn of(decision: &'a Decision, community: &'a AtUri) -> Self {
        Self {
            community,
            caller: &decision.caller,
            proof: decision.proof,
            action: decision.what.word(),
            subject: decision.what.subject(),
            reason: decision.reason.as_deref(),
            until: decision.what.until(),
        }
    }

    fn params(&self, now: Micros) -> Vec<Param> {
        vec![
            self.community.as_str().into(),
            self.caller.name().into(),
            self.proof.word().into(),
            self.action.into(),
            self.subject.as_str().into(),
            self.reason.into(),
            self.until.map(Micros::shown).into(),
            now.shown().into(),
        ]
    }
}

/// Logs acts, in order, and deletes the oldest entries of their communities over the limit.
pub fn add(acts: &[Act], now: Micros) -> Vec<Statement> {
    let row = |act: &Act| {
        let (community, caller) = (act.community.to_string(), act.caller.name().to_owned());
        let (reason, until) = (act.reason.map(str::to_owned), act.until.map(Micros::shown));
        (community, caller, act.proof.word(), act.action, act.subject.clone(), reason, until)
    };
    let added = chunks(acts.iter().map(row)).into_iter().map(|text| {
        Statement::new(
            "INSERT INTO audit_log (community_uri, actor, proof, action, subject, reason, until, at)
             SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, ?2
             FROM json_each(?1) ORDER BY key",
            [text.into(), now.shown().into()],
        )
    });
    let communities: BTreeSet<&AtUri> = acts.iter().map(|act| act.community).collect();
    added.chain(communities.into_iter().map(bound)).collect()
}

/// Logs an act if what follows the columns in `$from` has a row.
macro_rules! if_there_is {
    ($($from:expr),+) => {
        concat!(
            "INSERT INTO audit_log (community_uri, actor, proof, action, subject, reason, until, at)
             SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8 ",
            $($from),+
        )
    };
}

fn add_if(sql: &'static str, act: &Act, more: Option<Param>, now: Micros) -> [Statement; 2] {
    let params: Vec<Param> = act.params(now).into_iter().chain(more).collect();
    [Statement::new(sql, params), bound(act.community)]
}

/// Logs a new invite, if the insert succeeds: no other invite has its code.
pub(super) fn add_invited(act: &Act, now: Micros) -> [Statement; 2] {
    add_if(if_there_is!("FROM invites WHERE code = ?5"), act, None, now)
}

/// Logs the revocation of an invite that is still active.
pub(super) fn add_revoked(act: &Act, now: Micros) -> [Statement; 2] {
    add_if(if_there_is!("FROM invites WHERE code = ?5 AND ended_at IS NULL"), act, None, now)
}

/// Logs that a report is resolved which is still open.
pub(super) fn add_resolved(act: &Act, id: i64, now: Micros) -> [Statement; 2] {
    let open = if_there_is!("FROM reports WHERE id = ?9 AND community_uri = ?1 AND resolved_at IS NULL");
    add_if(open, act, Some(id.into()), now)
}

/// Logs that a community is listed which can be, if its owner lists fewer than `max`.
pub(super) fn add_listed(act: &Act, max: i64, now: Micros) -> [Statement; 2] {
    add_if(if_there_is!(listable!("?9")), act, Some(max.into()), now)
}

/// Logs that a community is not listed any more which still is.
pub(super) fn add_unlisted(act: &Act, now: Micros) -> [Statement; 2] {
    add_if(if_there_is!("FROM listings WHERE community_uri = ?1"), act, None, now)
}

fn bound(community: &AtUri) -> Statement {
    Statement::new(
        "DELETE FROM audit_log WHERE community_uri = ?1 AND id <= (
             SELECT id FROM audit_log WHERE community_uri = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
        [community.as_str().into(), KEPT.into()],
    )
}

/// A filter for entries; an empty text matches all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// The actor.
    pub actor: String,
    /// The action.
    pub action: String,
    /// The person, message or invite.
    pub subject: String,
}

/// The position of an entry in its community's log.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AuditPlace(i64);

/// R34: the community's entries that match the filter, newest first.
pub async fn page(
    store: &impl Store,
    community: &str,
    filter: &Filter,
    after: Option<&AuditPlace>,
    limit: i64,
) -> Result<Page<AuditEntry, AuditPlace>, Fault> {
    #[derive(Deserialize)]
    struct Found {
        id: i64,
        entry: AuditEntry,
    }
    let below = after.map_or(i64::MAX >> 11, |AuditPlace(id)| *id); // 2^52: larger than any id, exact in D1
    let statement = Statement::new(
        PAGE,
        [
            community.into(),
            below.into(),
            filter.actor.as_str().into(),
            filter.action.as_str().into(),
            filter.subject.as_str().into(),
            (limit + 1).into(),
        ],
    );
    let found: Vec<Found> = rows(store.read(&[statement]).await?.first())?;
    let (found, end) = cut(found, limit, |row| AuditPlace(row.id));
    Ok((found.into_iter().map(|row| row.entry).collect(), end))
}

const PAGE: &str = "
    SELECT json_object('id', id, 'entry', json_object('community_uri', community_uri, 'actor', actor,
        'proof', proof, 'action', action, 'subject', subject, 'reason', reason, 'until', until, 'at', at)) AS row
    FROM audit_log
    WHERE community_uri = ?1 AND id < ?2 AND (?3 = '' OR actor = ?3) AND (?4 = '' OR action = ?4)
      AND (?5 = '' OR subject = ?5)
    ORDER BY id DESC LIMIT ?6";
