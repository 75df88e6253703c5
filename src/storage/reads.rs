//! The reads of REST (contract section 3), each in one round trip: messages here, the others in the
//! files of this folder.
//!
//! A read returns only what is visible: known communities, their channels, and messages there that
//! are not blocked (T07, T16). Every order is total, so the same rows always come in the same
//! order. Long lists are read in pages: a page has the next rows after a position, and the position
//! of its last row if there are more (H40).

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Fault, Param, Statement, Store, rows};
use crate::domain::ingest::groups;
use crate::domain::rows::{MessageRow, PersonRow, ReactionRow};
use crate::domain::subscriptions::Candidate;
use crate::wire::bodies;
use crate::wire::ids::{AtUri, Did, Rkey};

/// Rows in order, and the position of the last one if there are more after it.
pub type Page<T, P> = (Vec<T>, Option<P>);

/// Cuts rows that were read with `limit` plus one to a page, and returns its end.
pub(super) fn cut<T, P>(mut found: Vec<T>, limit: i64, place: impl Fn(&T) -> P) -> Page<T, P> {
    let limit = usize::try_from(limit).unwrap_or(0);
    let more = found.len() > limit;
    found.truncate(limit);
    let end = found.last().filter(|_| more).map(place);
    (found, end)
}

/// Where a page of messages starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the newest message.
    Newest,
    /// After the message with this `created_at`; among several, after the last in the order. If
    /// there is none, strictly before this instant, as sortable text (`before`).
    Before {
        /// The value as the client sent it.
        created_at: String,
        /// Its instant.
        instant: String,
    },
    /// After this message (`cursor`).
    After(PageEnd),
}

/// The last message of a page: its position in the order of R01.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, serde::Serialize)]
pub struct PageEnd(pub String, pub Rkey, pub Did);

impl PageEnd {
    fn of(message: &MessageRow) -> Self {
        Self(message.sort_at.sortable(), message.uri.rkey(), message.author_did.clone())
    }
}

impl Start {
    /// The position before everything on the page. One bound serves all three starts: '~' sorts
    /// after every time, '' before every rkey.
    fn bound(&self) -> (&str, &str, &str) {
        match self {
            Start::Newest => ("~", "", ""),
            Start::Before { instant, .. } => (instant, "", ""),
            Start::After(PageEnd(sort_at, rkey, author)) => (sort_at, rkey.as_str(), author.as_str()),
        }
    }

    /// The `created_at` that this start names, or an empty text.
    fn created_at(&self) -> &str {
        if let Start::Before { created_at, .. } = self { created_at } else { "" }
    }
}

/// A message with its author and its parent, as R01 and R02 show it.
#[derive(Debug, Deserialize)]
struct Shown {
    message: MessageRow,
    author: Option<PersonRow>,
    parent: Option<MessageRow>,
    parent_author: Option<PersonRow>,
    /// 1 if a later message has the same `created_at`.
    #[serde(default)]
    again: i64,
}

impl Shown {
    fn body(self, cdn: &str, reactions: &Reactions) -> bodies::Message {
        bodies::Message {
            reactions: reactions.of(&self.message.uri),
            core: self.message.core(shown(self.author.as_ref(), cdn)),
            parent_message: self.parent.map(|parent| parent.core(shown(self.parent_author.as_ref(), cdn))),
        }
    }
}

/// The reactions to some messages. They are separate rows rather than an array next to the message:
/// an array is limited to the size of a row, 2 MB, and anybody who filled it would hide the
/// channel.
struct Reactions(BTreeMap<AtUri, Vec<ReactionRow>>);

impl Reactions {
    fn read(texts: Option<&Vec<String>>) -> Result<Self, Fault> {
        let mut found: BTreeMap<AtUri, Vec<ReactionRow>> = BTreeMap::new();
        for row in rows::<ReactionRow>(texts)? {
            found.entry(row.target_uri.clone()).or_default().push(row);
        }
        Ok(Self(found))
    }

    fn of(&self, message: &AtUri) -> Vec<bodies::ReactionGroup> {
        self.0.get(message).map(groups).unwrap_or_default()
    }
}

/// A person as others see them; without values if they are not cached.
fn shown(person: Option<&PersonRow>, cdn: &str) -> bodies::Person {
    person.map(|row| row.shown(cdn)).unwrap_or_default()
}

macro_rules! message_json {
    ($m:literal) => {
        concat!(
            "json_object('uri', ",
            $m,
            ".uri, 'author_did', ",
            $m,
            ".author_did, 'channel_uri', ",
            $m,
            ".channel_uri, 'channel', ",
            $m,
            ".channel, 'text', ",
            $m,
            ".text, 'created_at', ",
            $m,
            ".created_at, 'sort_at', ",
            $m,
            ".sort_at, 'indexed_at', ",
            $m,
            ".indexed_at, 'edited', json(iif(",
            $m,
            ".edited, 'true', 'false')), 'hidden', json(iif(",
            $m,
            ".hidden, 'true', 'false')), 'parent', ",
            $m,
            ".parent, 'facets', ",
            $m,
            ".facets, 'attachments', ",
            $m,
            ".attachments, 'rev', ",
            $m,
            ".rev)"
        )
    };
}

macro_rules! person_json {
    ($p:literal) => {
        concat!(
            "CASE WHEN ",
            $p,
            ".did IS NULL THEN NULL ELSE json_object('did', ",
            $p,
            ".did, 'handle', ",
            $p,
            ".handle, 'display_name', ",
            $p,
            ".display_name, 'avatar_cid', ",
            $p,
            ".avatar_cid, 'banner_cid', ",
            $p,
            ".banner_cid, 'description', ",
            $p,
            ".description, 'status_text', ",
            $p,
            ".status_text, 'emoji', ",
            $p,
            ".emoji, 'state', ",
            $p,
            ".state, 'profile_rev', ",
            $p,
            ".profile_rev, 'active', json(iif(",
            $p,
            ".active, 'true', 'false')), 'account_status', ",
            $p,
            ".account_status, 'account_at', ",
            $p,
            ".account_at, 'is_bot', json(iif(",
            $p,
            ".is_bot, 'true', 'false'))) END"
        )
    };
}

// The visible reactions to the messages `p`: for each person and emoji, the first one. SQLite takes
// the other columns from the row with the minimum.
macro_rules! reactions_of {
    ($messages:literal) => {
        reactions_of!($messages, "")
    };
    ($messages:literal, $more:literal) => {
        concat!(
            "SELECT json_object('uri', uri, 'reactor_did', reactor_did, 'target_uri', target_uri, 'emoji', emoji,
                'hidden', json('false'), 'rev', rev, 'indexed_at', indexed_at) AS row
             FROM (SELECT r.*, min(r.indexed_at || r.uri) FROM ",
            $messages,
            " p CROSS JOIN reactions r ON r.target_uri = p.uri WHERE NOT r.hidden ",
            $more,
            "
                   GROUP BY r.target_uri, r.reactor_did, r.emoji)"
        )
    };
}

// The position after which a page starts, if it is known.
macro_rules! place {
    () => {
        "(?2, ?3, ?4)"
    };
}
// The messages of a page of R01: at most ?5 after a position in the channel ?1.
macro_rules! page_of_channel {
    ($place:expr) => {
        concat!(
            "FROM messages m
         WHERE m.channel_uri = (SELECT uri FROM target)
           AND (m.sort_at, m.rkey, m.author_did) < ",
            $place,
            "
           AND NOT m.hidden AND NOT EXISTS (SELECT 1 FROM blocks b WHERE b.uri = m.uri) "
        )
    };
}
macro_rules! newest_first {
    () => {
        "ORDER BY m.sort_at DESC, m.rkey DESC, m.author_did DESC LIMIT ?5"
    };
}

// The channel that ?1 names (T20): by AT-URI, or else the first indexed one with this rkey.
macro_rules! target_channel {
    () => {
        "WITH target(uri) AS (
            SELECT ch.uri FROM channels ch JOIN communities c ON c.uri = ch.community_uri
            WHERE NOT c.hidden AND (ch.uri = ?1 OR ch.rkey = ?1)
            ORDER BY ch.uri = ?1 DESC, ch.indexed_at, ch.uri LIMIT 1) "
    };
}

// Where a page that continues by `created_at` (?6) starts: after the last message in the order that
// has it, or else before the instant (?2, with ?3 and ?4). For messages whose clock was not ahead,
// the position is the instant itself. Three look-ups cost less than one query for all three.
macro_rules! place_by_created_at {
    () => {
        concat!(
            "(coalesce((SELECT s.sort_at ",
            place_by_created_at!("of it"),
            "), ?2), coalesce((SELECT s.rkey ",
            place_by_created_at!("of it"),
            "), ?3), coalesce((SELECT s.author_did ",
            place_by_created_at!("of it"),
            "), ?4))"
        )
    };
    ("of it") => {
        "FROM messages s WHERE s.channel_uri = (SELECT uri FROM target) AND s.created_at = ?6
            AND s.sort_at = s.indexed_at ORDER BY s.sort_at, s.rkey, s.author_did LIMIT 1"
    };
}
// Whether a later message has the same `created_at`, from an author whose clock was ahead. (The
// plus signs are for SQLite: a column on the right side of such a comparison has an affinity, and
// the index would serve only the first of the three.)
macro_rules! again {
    () => {
        ", 'again', EXISTS (
            SELECT 1 FROM messages o WHERE o.channel_uri = m.channel_uri AND o.created_at = m.created_at
               AND o.sort_at = o.indexed_at
               AND (o.sort_at, o.rkey, o.author_did) < (+m.sort_at, +m.rkey, +m.author_did))"
    };
}
pub(super) use person_json;

// The messages of a page as R01 shows them, with the additional columns.
macro_rules! shown_json {
    ($more:expr) => {
        concat!(
            "json_object('message', ",
            message_json!("m"),
            ", 'author', ",
            person_json!("a"),
            ", 'parent', CASE WHEN p.uri IS NULL THEN NULL ELSE ",
            message_json!("p"),
            " END, 'parent_author', ",
            person_json!("pa"),
            $more,
            ") AS row"
        )
    };
}

// The first message that the key `$key` meant in the channel `$channel` (T21), even if it is gone.
macro_rules! meant {
    ($key:literal, $channel:literal) => {
        concat!(
            "(SELECT uri FROM (
                SELECT q.uri, q.indexed_at FROM messages q WHERE q.rkey = ",
            $key,
            " AND q.channel_uri = ",
            $channel,
            " UNION ALL
                SELECT g.uri, g.indexed_at FROM gone_messages g WHERE g.rkey = ",
            $key,
            " AND g.channel_uri = ",
            $channel,
            ") ORDER BY indexed_at, uri LIMIT 1)"
        )
    };
}

// The visible message that `m.parent` names (T21): by AT-URI, or by the meaning of an rkey in the
// same channel. Of another community only if that is not for members only (X44).
macro_rules! shown_joins {
    () => {
        concat!(
            "LEFT JOIN people a ON a.did = m.author_did
             LEFT JOIN messages p ON p.uri = CASE WHEN m.parent IS NULL THEN NULL
                     WHEN m.parent LIKE 'at://%' THEN m.parent ELSE ",
            meant!("m.parent", "m.channel_uri"),
            " END
                 AND (m.parent LIKE 'at://%' OR p.channel_uri = m.channel_uri)
                 AND NOT p.hidden AND NOT EXISTS (SELECT 1 FROM blocks b WHERE b.uri = p.uri)
                 AND EXISTS (SELECT 1 FROM channels pch JOIN communities pc ON pc.uri = pch.community_uri
                              WHERE pch.uri = p.channel_uri AND NOT pc.hidden
                                AND (NOT EXISTS (SELECT 1 FROM members_only x WHERE x.community_uri = pc.uri)
                                     OR pc.uri = (SELECT mch.community_uri FROM channels mch
                                                   WHERE mch.uri = m.channel_uri)))
             LEFT JOIN people pa ON pa.did = p.author_did"
        )
    };
}

// The message that ?1 means, an AT-URI or an rkey (T21), with its channel and community.
macro_rules! message_named {
    () => {
        "WITH named(uri, channel_uri, indexed_at) AS (
            SELECT uri, channel_uri, indexed_at FROM messages WHERE uri = ?1
            UNION ALL SELECT uri, channel_uri, indexed_at FROM messages WHERE rkey = ?1
            UNION ALL SELECT uri, channel_uri, indexed_at FROM gone_messages WHERE rkey = ?1),
        target(uri, community_uri) AS (
            SELECT n.uri, ch.community_uri FROM named n
            JOIN channels ch ON ch.uri = n.channel_uri
            JOIN communities c ON c.uri = ch.community_uri
            WHERE NOT c.hidden
            ORDER BY n.indexed_at, n.uri LIMIT 1) "
    };
}

pub mod activity;
pub mod bans;
pub mod communities;
pub mod directory;
pub mod feeds;
pub mod lexicons;
pub mod members_only;
pub mod notifications;
pub mod operator;
pub mod people;
pub mod present;
pub mod reactions;
pub mod search;
pub mod threads;
pub mod whose;

/// The most messages that a page may have beyond its limit (R01), so that it does not end among
/// several with the same `created_at`.
const BEYOND: i64 = 100;

/// R01: at most `limit` messages of a channel, newest first, and the start of the next page if
/// there is one.
pub async fn messages(
    store: &impl Store,
    cdn: &str,
    channel: &str,
    start: &Start,
    limit: i64,
) -> Result<Page<bodies::Message, PageEnd>, Fault> {
    let (found, reactions) = read(store, MESSAGES, REACTIONS_OF_MESSAGES, channel, start, limit + 1).await?;
    let (found, end) = cut(found, limit, |last| PageEnd::of(&last.message));
    Ok((found.into_iter().map(|row| row.body(cdn, &reactions)).collect(), end))
}

/// R01 for clients that continue by `created_at`: as [`messages`], but the page ends after a
/// message from which the next page can start, because no later one has the same `created_at` or
/// instant. For that the page may be longer by at most [`BEYOND`]; if that is not enough, it ends
/// at its limit.
pub async fn history(
    store: &impl Store,
    cdn: &str,
    channel: &str,
    start: &Start,
    limit: i64,
) -> Result<Page<bodies::Message, PageEnd>, Fault> {
    let place = usize::try_from(limit).unwrap_or(0).saturating_sub(1);
    let ends = |rows: &[Shown], at: usize| match (rows.get(at), rows.get(at + 1)) {
        (Some(last), Some(next)) => last.again == 0 && last.message.sort_at != next.message.sort_at,
        _ => true,
    };
    let (messages, of_messages) = match start {
        Start::Before { .. } => (HISTORY, REACTIONS_OF_HISTORY),
        Start::Newest | Start::After(_) => (NEWEST, REACTIONS_OF_MESSAGES),
    };
    let (mut found, mut reactions) = read(store, messages, of_messages, channel, start, limit + 1).await?;
    let mut limit = limit;
    if !ends(&found, place) {
        let asked = limit + BEYOND + 1;
        (found, reactions) = read(store, messages, of_messages, channel, start, asked).await?;
        let end = (place..found.len()).find(|at| ends(&found, *at)).and_then(|at| i64::try_from(at + 1).ok());
        limit = end.filter(|end| *end <= limit + BEYOND).unwrap_or(limit);
    }
    let (found, end) = cut(found, limit, |last| PageEnd::of(&last.message));
    Ok((found.into_iter().map(|row| row.body(cdn, &reactions)).collect(), end))
}

/// At most `limit` messages of a channel from `start` on, and their reactions.
async fn read(
    store: &impl Store,
    messages: &'static str,
    reactions: &'static str,
    channel: &str,
    start: &Start,
    limit: i64,
) -> Result<(Vec<Shown>, Reactions), Fault> {
    let (sort_at, rkey, author) = start.bound();
    let asked = |sql: &'static str| {
        let mut params: Vec<Param> =
            vec![channel.into(), sort_at.into(), rkey.into(), author.into(), Param::Int(limit)];
        params.extend(sql.contains("?6").then(|| start.created_at().into()));
        Statement::new(sql, params)
    };
    let answers = store.read(&[asked(messages), asked(reactions)]).await?;
    Ok((rows(answers.first())?, Reactions::read(answers.get(1))?))
}

/// R02: one visible message.
pub async fn message(
    store: &impl Store,
    cdn: &str,
    uri: &AtUri,
) -> Result<Option<bodies::AnsweredMessage>, Fault> {
    let asked = |sql| Statement::new(sql, [uri.as_str().into()]);
    let answers = store.read(&[asked(MESSAGE), asked(REACTIONS_OF_MESSAGE), threads::count_of(uri)]).await?;
    let found: Vec<Shown> = rows(answers.first())?;
    let reactions = Reactions::read(answers.get(1))?;
    let [reply_count] = rows(answers.get(2))?.pop().unwrap_or([0]);
    let body = |row: Shown| bodies::AnsweredMessage { message: row.body(cdn, &reactions), reply_count };
    Ok(found.into_iter().next().map(body))
}

/// The known channels that the names `channels` (rkeys or AT-URIs) may refer to (T20), and those of
/// `communities` that are or were known. Nothing is asked about no names.
pub async fn named(
    store: &impl Store,
    channels: &[String],
    communities: &[String],
) -> Result<(Vec<Candidate>, Vec<AtUri>), Fault> {
    let mut questions = Vec::new();
    if !channels.is_empty() {
        questions.push(Statement::new(CANDIDATES, [Param::json(&channels)]));
    }
    if !communities.is_empty() {
        questions.push(Statement::new(LISTED, [Param::json(&communities)]));
    }
    if questions.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let answers = store.read(&questions).await?;
    let mut answers = answers.iter();
    let mut next = |asked: bool| if asked { answers.next() } else { None };
    let (candidates, listed) = (next(!channels.is_empty()), next(!communities.is_empty()));
    Ok((rows(candidates)?, rows(listed)?))
}

/// Those of `communities` that are or were known: one that was never seen has no events.
pub async fn listed(store: &impl Store, communities: &[String]) -> Result<Vec<AtUri>, Fault> {
    Ok(named(store, &[], communities).await?.1)
}

/// Every known community: for sockets that subscribe to all of them (A31).
pub async fn all_communities(store: &impl Store) -> Result<Vec<AtUri>, Fault> {
    let statement = Statement::new("SELECT json_quote(uri) AS row FROM communities ORDER BY uri", []);
    rows(store.read(&[statement]).await?.first())
}

/// The state of ingest, as the view `ingest_status` shows it to admins.
#[derive(Clone, Debug, Default, Deserialize, serde::Serialize)]
pub struct IngestStatus {
    /// The last stored event.
    pub cursor_us: Option<i64>,
    /// The same, as a time.
    pub cursor_at: Option<String>,
    /// Records that wait for another record.
    pub held_records: i64,
    /// Since when the oldest of them waits.
    #[serde(default)]
    pub oldest_held_at: Option<String>,
    /// Frames and records that were refused.
    pub refused: i64,
    /// Events and stored rows that could not be delivered or read back, and were set aside (Q21).
    #[serde(default)]
    pub set_aside: i64,
    /// How often the program ended by a panic or a fault of the machine.
    #[serde(default)]
    pub restarts: i64,
    /// Missed stretches of the stream that are not reconciled yet, newest first, at most ten; those
    /// with a frame that is too large for a day.
    pub gaps: Vec<GapShown>,
    /// The known repositories, and how many of them are due.
    pub repos: super::repos::Counts,
    /// Repositories that exceeded their points and are read later (K17), at most ten.
    pub deferred: Vec<DeferredShown>,
    /// The state of the relay walk; absent if no relay was ever asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relay: Option<super::discovery::Shown>,
}

/// A repository that exceeded its points (K17).
#[derive(Clone, Debug, Deserialize, serde::Serialize)]
pub struct DeferredShown {
    /// The account.
    pub did: Did,
    /// Until when its events are left out.
    pub until: String,
}

/// A row of `gaps`.
#[derive(Clone, Debug, Deserialize, serde::Serialize)]
pub struct GapShown {
    /// The Jetstream.
    pub host: String,
    /// The last stored event.
    pub from: String,
    /// The first event that the host still had.
    pub to: String,
    /// The cause.
    pub reason: String,
    /// `open` or `closed`.
    pub state: String,
}

/// The state of ingest.
pub async fn ingest_status(store: &impl Store) -> Result<IngestStatus, Fault> {
    let statement = Statement::new(
        "SELECT json_object('cursor_us', s.cursor_us, 'cursor_at', s.cursor_at,
                'held_records', (SELECT count(*) FROM held),
                'oldest_held_at', (SELECT min(arrived_at) FROM held),
                'refused', (SELECT coalesce(sum(count), 0) FROM refusal_counts),
                'set_aside', (SELECT coalesce(sum(count), 0) FROM incidents WHERE kind LIKE 'set_aside%'),
                'restarts', (SELECT coalesce(sum(count), 0) FROM incidents WHERE kind = 'restart'),
                'gaps', (SELECT json_group_array(json_object('host', host, 'from', from_at, 'to', to_at,
                    'reason', reason, 'state', state)) FROM (
                    SELECT * FROM gaps WHERE state IN ('open', 'closed')
                        AND (state = 'open' OR (reason = 'frame_too_large'
                            AND noticed_at > strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-1 day')))
                    ORDER BY id DESC LIMIT 10)),
                'repos', json_object('known', (SELECT count(*) FROM repos),
                    'due', (SELECT count(*) FROM repos WHERE next_attempt_at IS NOT NULL),
                    'failing', (SELECT count(*) FROM repos
                                 WHERE next_attempt_at IS NOT NULL AND failures > 0),
                    'deferred', (SELECT count(*) FROM repos WHERE deferred_until IS NOT NULL)),
                'deferred', (SELECT json_group_array(json_object('did', did, 'until', deferred_until)) FROM (
                    SELECT did, deferred_until FROM repos WHERE deferred_until IS NOT NULL
                    ORDER BY deferred_until LIMIT 10)),
                'relay', (SELECT json_object('relay', relay, 'began_at', began_at, 'ended_at', ended_at,
                    'ending', ending, 'next_attempt_at', next_attempt_at, 'pages', pages,
                    'listed', listed, 'found', found, 'dropped', dropped, 'failures', failures,
                    'error', error) FROM discovery)) AS row
         FROM ledger LEFT JOIN ingest_status s ON true",
        [],
    );
    let found: Vec<IngestStatus> = rows(store.read(&[statement]).await?.first())?;
    found.into_iter().next().ok_or_else(|| Fault::new("reading the ingest status", "the ledger has no row"))
}

// SQLite selects the page before it looks up people and parents.
macro_rules! page {
    ($more:expr, $place:expr) => {
        concat!(
            target_channel!(),
            "SELECT ",
            shown_json!($more),
            " FROM (SELECT m.* ",
            page_of_channel!($place),
            newest_first!(),
            ") m ",
            shown_joins!(),
            " ORDER BY m.sort_at DESC, m.rkey DESC, m.author_did DESC"
        )
    };
}
const MESSAGES: &str = page!("", place!());
const NEWEST: &str = page!(again!(), place!());
const HISTORY: &str = page!(again!(), place_by_created_at!());

macro_rules! reactions_of_page {
    ($place:expr) => {
        concat!(
            target_channel!(),
            ", page(uri) AS (SELECT m.uri ",
            page_of_channel!($place),
            newest_first!(),
            ") ",
            reactions_of!("page")
        )
    };
}
const REACTIONS_OF_MESSAGES: &str = reactions_of_page!(place!());
const REACTIONS_OF_HISTORY: &str = reactions_of_page!(place_by_created_at!());

const MESSAGE: &str = concat!(
    "SELECT ",
    shown_json!(""),
    "
    FROM messages m
    JOIN channels ch ON ch.uri = m.channel_uri
    JOIN communities c ON c.uri = ch.community_uri ",
    shown_joins!(),
    "
    WHERE m.uri = ?1 AND NOT m.hidden AND NOT c.hidden AND NOT EXISTS (SELECT 1 FROM blocks b WHERE b.uri = m.uri)"
);

const REACTIONS_OF_MESSAGE: &str = concat!("WITH page(uri) AS (SELECT ?1) ", reactions_of!("page"));

const LISTED: &str = "
    SELECT json_quote(uri) AS row FROM (
        SELECT uri FROM communities WHERE uri IN (SELECT value FROM json_each(?1))
        UNION SELECT uri FROM settled
         WHERE uri IN (SELECT value FROM json_each(?1)) AND uri LIKE 'at://%/social.colibri.community/%')";

const CANDIDATES: &str = "
    SELECT json_object('uri', ch.uri, 'community', ch.community_uri, 'indexed_at', ch.indexed_at) AS row
    FROM channels ch JOIN communities c ON c.uri = ch.community_uri
    WHERE NOT c.hidden AND (ch.uri IN (SELECT value FROM json_each(?1))
       OR ch.rkey IN (SELECT value FROM json_each(?1)))";
