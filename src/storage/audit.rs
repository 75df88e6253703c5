//! The audit log: what was done by whom, written in the transaction that did it (X22).
//!
//! Rows are only ever added. Of one community the newest [`KEPT`] stay, and none for longer than [`DAYS`].

use serde::{Deserialize, Serialize};

use super::reads::{Page, cut};
use super::{Fault, Param, Statement, Store, rows};
use crate::domain::moderation::{Caller, Decision, Proof};
use crate::wire::bodies::AuditEntry;
use crate::wire::ids::AtUri;
use crate::wire::time::Micros;

/// Entries of one community that are kept, the newest: at 400 bytes each, 4 MB.
pub const KEPT: i64 = 10_000;
/// How long an entry is kept.
pub const DAYS: i64 = 400;

/// One act, as it is written down.
#[derive(Clone, Debug)]
pub struct Act<'a> {
    /// Where.
    pub community: &'a AtUri,
    /// Who.
    pub caller: &'a Caller,
    /// How that is known.
    pub proof: Proof,
    /// What, in one word.
    pub action: &'static str,
    /// To whom or what.
    pub subject: String,
    /// Why.
    pub reason: Option<&'a str>,
    /// Until when.
    pub until: Option<Micros>,
}

impl<'a> Act<'a> {
    /// A decision that was made in `community`.
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

/// Writes an act down, and forgets the oldest of its community over the bound.
pub fn add(act: &Act, now: Micros) -> [Statement; 2] {
    [
        Statement::new(
            "INSERT INTO audit_log (community_uri, actor, proof, action, subject, reason, until, at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            act.params(now),
        ),
        bound(act.community),
    ]
}

/// Writes down that an invite was made, if it was: its code is one that nobody had before.
pub(super) fn add_invited(act: &Act, now: Micros) -> [Statement; 2] {
    [
        Statement::new(
            "INSERT INTO audit_log (community_uri, actor, proof, action, subject, reason, until, at)
             SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8 FROM invites WHERE code = ?5",
            act.params(now),
        ),
        bound(act.community),
    ]
}

/// Writes down that an invite is about to be revoked, if it is active.
pub(super) fn add_revoked(act: &Act, now: Micros) -> [Statement; 2] {
    [
        Statement::new(
            "INSERT INTO audit_log (community_uri, actor, proof, action, subject, reason, until, at)
             SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8 FROM invites WHERE code = ?5 AND ended_at IS NULL",
            act.params(now),
        ),
        bound(act.community),
    ]
}

fn bound(community: &AtUri) -> Statement {
    Statement::new(
        "DELETE FROM audit_log WHERE community_uri = ?1 AND id <= (
             SELECT id FROM audit_log WHERE community_uri = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
        [community.as_str().into(), KEPT.into()],
    )
}

/// What entries are asked for; an empty text asks for all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// By this actor.
    pub actor: String,
    /// Of this kind.
    pub action: String,
    /// Of this person, message or invite.
    pub subject: String,
}

/// The place of an entry in the log of its community.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AuditPlace(i64);

/// R34: the entries of a community that fit the filter, newest first.
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
