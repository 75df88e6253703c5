//! Reports (R86 to R88): what people ask those who moderate a community to look at.
//!
//! No record and no event is involved, and each write is one transaction that decides and acts at once.

use serde::{Deserialize, Serialize};

use super::audit::{self, Act};
use super::reads::{Page, cut};
use super::{Fault, Statement, Store, rows};
use crate::wire::bodies::Report;
use crate::wire::ids::{AtUri, Did};
use crate::wire::time::Micros;

/// The most reports of one person in a day.
pub const A_DAY: i64 = 50;
/// The most open reports of one person in one community, so that a stranger does not fill it.
pub const OPEN: i64 = 10;
/// The most reports of a community: at 2 kB each, 10 MB. Resolved ones go first, then the oldest.
pub const KEPT: i64 = 5_000;
const DAY: i64 = 24 * 3_600_000_000;

/// Something that somebody reports.
#[derive(Clone, Debug)]
pub struct New<'a> {
    /// The community.
    pub community: &'a AtUri,
    /// Who reports.
    pub reporter: &'a Did,
    /// The message or the person.
    pub subject: &'a str,
    /// The author, or the person.
    pub about: &'a Did,
    /// One word.
    pub reason: &'a str,
    /// In the reporter's words.
    pub comment: Option<&'a str>,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// It is open, by this number.
    Open(i64),
    /// This person has reported too much today, or too much of it is open.
    TooMany,
    /// The community is not known.
    NoCommunity,
}

/// The community in which a message is visible (T16), and its author.
pub async fn about(store: &impl Store, message: &AtUri) -> Result<Option<(AtUri, Did)>, Fault> {
    Ok(rows(store.read(&[Statement::new(ABOUT, [message.as_str().into()])]).await?.first())?.pop())
}

/// R86: adds a report at the time `now`. The same person about the same subject changes and reopens it.
pub async fn add(store: &impl Store, new: &New<'_>, now: Micros) -> Result<Added, Fault> {
    let community = new.community.as_str();
    let statements = [
        Statement::new(
            ADD,
            [
                community.into(),
                new.reporter.as_str().into(),
                new.subject.into(),
                new.about.as_str().into(),
                new.reason.into(),
                new.comment.into(),
                now.shown().into(),
                Micros(now.0.saturating_sub(DAY)).shown().into(),
                A_DAY.into(),
                OPEN.into(),
            ],
        ),
        Statement::new(BOUND, [community.into(), KEPT.into()]),
        Statement::new(
            "SELECT json_quote(uri) AS row FROM communities WHERE uri = ?1 AND NOT hidden",
            [community.into()],
        ),
    ];
    let answers = store.write(&statements).await?;
    if let Some(id) = rows::<i64>(answers.first())?.pop() {
        return Ok(Added::Open(id));
    }
    Ok(if answers.get(2).is_some_and(Vec::is_empty) { Added::NoCommunity } else { Added::TooMany })
}

/// The position of a report in R87.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReportPlace(i64);

/// R87: the reports of a community, newest first; only the open ones, or only the others.
pub async fn page(
    store: &impl Store,
    community: &str,
    open: Option<bool>,
    after: Option<&ReportPlace>,
    limit: i64,
) -> Result<Page<Report, ReportPlace>, Fault> {
    let below = after.map_or(i64::MAX >> 11, |ReportPlace(id)| *id); // 2^52: larger than any id, exact in D1
    let asked = [community.into(), below.into(), open.map(i64::from).into(), (limit + 1).into()];
    let found: Vec<Report> = rows(store.read(&[Statement::new(PAGE, asked)]).await?.first())?;
    Ok(cut(found, limit, |report| ReportPlace(report.id)))
}

/// R88: an open report is resolved, which is `act`, whose subject is its number. `false` if it is not open.
pub async fn resolve(store: &impl Store, act: &Act<'_>, id: i64, now: Micros) -> Result<bool, Fault> {
    let resolve = Statement::new(
        "UPDATE reports SET resolved_at = ?3, resolved_by = ?4, resolution = ?5
         WHERE id = ?1 AND community_uri = ?2 AND resolved_at IS NULL RETURNING CAST(id AS TEXT) AS row",
        [
            id.into(),
            act.community.as_str().into(),
            now.shown().into(),
            act.caller.name().into(),
            act.reason.into(),
        ],
    );
    let statements: Vec<Statement> = audit::add_resolved(act, id, now).into_iter().chain([resolve]).collect();
    Ok(store.write(&statements).await?.last().is_some_and(|rows| !rows.is_empty()))
}

/// The reports of these communities (JSON) end with them (I70).
pub(super) fn end_of(communities: String) -> Statement {
    Statement::new(
        "DELETE FROM reports WHERE community_uri IN (SELECT value FROM json_each(?1))",
        [communities.into()],
    )
}

const ABOUT: &str = "
    SELECT json_array(c.uri, m.author_did) AS row FROM messages m
    JOIN channels ch ON ch.uri = m.channel_uri JOIN communities c ON c.uri = ch.community_uri
    WHERE m.uri = ?1 AND NOT m.hidden AND NOT c.hidden AND NOT EXISTS (SELECT 1 FROM blocks b WHERE b.uri = m.uri)";

const ADD: &str = "
    INSERT INTO reports (community_uri, reporter_did, subject, about_did, reason, comment, reported_at)
    SELECT uri, ?2, ?3, ?4, ?5, ?6, ?7 FROM communities WHERE uri = ?1 AND NOT hidden
       AND (SELECT count(*) FROM reports WHERE reporter_did = ?2 AND reported_at > ?8) < ?9
       AND (SELECT count(*) FROM reports WHERE reporter_did = ?2 AND community_uri = ?1 AND subject <> ?3
                AND resolved_at IS NULL) < ?10
    ON CONFLICT (reporter_did, community_uri, subject) DO UPDATE SET reason = excluded.reason,
        comment = excluded.comment, reported_at = excluded.reported_at, resolved_at = NULL, resolved_by = NULL,
        resolution = NULL
    RETURNING CAST(id AS TEXT) AS row";

const BOUND: &str = "
    DELETE FROM reports WHERE id IN (
        SELECT id FROM reports WHERE community_uri = ?1 ORDER BY resolved_at IS NULL, id
        LIMIT max(0, (SELECT count(*) FROM reports WHERE community_uri = ?1) - ?2))
    RETURNING 'null' AS row";

const PAGE: &str = "
    SELECT json_object('id', id, 'community_uri', community_uri, 'reporter_did', reporter_did, 'subject', subject,
        'about_did', about_did, 'reason', reason, 'comment', comment, 'reported_at', reported_at,
        'resolved_at', resolved_at, 'resolved_by', resolved_by, 'resolution', resolution) AS row
    FROM reports WHERE community_uri = ?1 AND id < ?2 AND (?3 IS NULL OR (resolved_at IS NULL) = ?3)
    ORDER BY id DESC LIMIT ?4";
