//! What a person has not read or seen, of which messages they are notified (section 15), for both clients.
//!
//! Shown is what the person may read now: each read judges that anew (U04), so nothing has to be undone when somebody
//! is banned, a message is hidden, or a community is muted.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::super::{Fault, Param, Statement, Store, rows};
use super::communities::takes_part;
use super::cut;
use crate::domain::digest;
use crate::domain::notifications::{AFTER_ALL, Kind, made_at};
use crate::domain::rows::{MessageRow, PersonRow};
use crate::domain::urgency::{Rhythm, Urgency, asked as asked_by, sent_as};
use crate::wire::bodies;
use crate::wire::ids::{AtUri, Did};
use crate::wire::time::Micros;
use crate::wire::views::{NotificationMessage, NotificationView, Unseen, attachments, facets};

/// The most unread messages that are counted in a channel (U11): clients show no larger number.
pub const UNREAD_MAX: i64 = 100;
/// The most messages after the read position that a count looks at, the newest: it bounds what a channel full of
/// hidden messages costs.
const COUNTED_MAX: i64 = 200;
/// The most unseen notifications that are shown of one channel (N160f).
const UNSEEN_MAX: i64 = 500;

/// People whose notifications one round trip reads.
const THESE_PEOPLE: usize = 50;

/// A notification that shows.
#[derive(Clone, Debug, Deserialize)]
pub struct Notice {
    /// Its number.
    pub id: i64,
    /// Why.
    pub kind: Kind,
    /// The community of the message.
    pub community_uri: AtUri,
    /// When its person saw it.
    pub seen_at: Option<Micros>,
    /// The message.
    pub message: MessageRow,
    /// Its author.
    pub author: Option<PersonRow>,
    /// What the message asks for (U24).
    #[serde(skip)]
    pub urgency: Urgency,
    /// How much of this community reaches its person at once (U25).
    pub rhythm: Option<Rhythm>,
    /// Whether they chose not to be disturbed (P01).
    pub do_not_disturb: bool,
    /// Whether only members read the community.
    pub members_only: bool,
}

impl Notice {
    /// The same, to the person `did`.
    fn to(self, did: &Did) -> Self {
        let MessageRow { text, facets, .. } = &self.message;
        Self { urgency: asked_by(self.kind, text, facets.as_deref(), did), ..self }
    }

    /// How loud it is if it is sent now; `None` if it is not (U25, U26).
    pub fn sent_as(&self) -> Option<Urgency> {
        sent_as(self.urgency, self.rhythm.unwrap_or_default(), self.do_not_disturb)
    }

    /// O22; pictures are links to `cdn`.
    pub fn body(self, cdn: &str) -> bodies::Notification {
        let author = self.author.map(|author| author.shown(cdn)).unwrap_or_default();
        bodies::Notification {
            id: self.id,
            kind: self.kind.word(),
            community_uri: self.community_uri,
            channel_uri: self.message.channel_uri.clone(),
            indexed_at: made_at(self.id).shown(),
            seen_at: self.seen_at.map(Micros::shown),
            urgency: self.urgency.word(),
            message: self.message.core(author),
        }
    }

    /// The same for the newest client of `did` (N170d).
    pub fn view(self, did: &Did) -> NotificationView {
        let message = self.message;
        NotificationView {
            id: self.id,
            recipient_did: did.clone(),
            kind: self.kind.word(),
            author_did: message.author_did,
            channel_uri: message.channel_uri,
            indexed_at: made_at(self.id).shown(),
            seen_at: self.seen_at.map(Micros::shown),
            message: NotificationMessage {
                text: message.text,
                facets: facets(message.facets.as_deref(), &self.community_uri.authority()),
                created_at: message.created_at,
                parent: message.parent.and_then(|parent| AtUri::parse(&parent).ok()),
                attachments: attachments(message.attachments.as_deref()),
                edited: message.edited,
            },
            message_uri: message.uri,
        }
    }
}

/// Whether somebody has read a channel.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Channel {
    /// The community.
    pub community_uri: AtUri,
    /// The channel.
    pub channel_uri: AtUri,
    /// How many messages of others are unread, at most [`UNREAD_MAX`].
    pub unread: i64,
    /// Unseen notifications there.
    #[serde(default)]
    pub pings: Pings,
    /// The read position.
    pub last_read_at: Option<Micros>,
    /// The sort instant of the newest visible message.
    pub last_message_at: Option<Micros>,
}

/// Unseen notifications of one channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Pings {
    /// How many.
    pub all: i64,
    /// By how many messages.
    pub messages: i64,
}

/// The notifications of a person before `before`, newest first, at most `limit`; how many are unseen, of all; and the
/// number of the last if there are more.
pub async fn page(
    store: &impl Store,
    did: &Did,
    before: Option<i64>,
    limit: i64,
) -> Result<(Vec<Notice>, i64, Option<i64>), Fault> {
    let before = before.unwrap_or(AFTER_ALL);
    let list = Statement::new(LIST, [did.as_str().into(), before.into(), (limit + 1).into()]);
    let answers = store.read(&[list, count(did)]).await?;
    let (found, end) = cut(rows::<Notice>(answers.first())?, limit, |last| last.id);
    let found = found.into_iter().map(|notice| notice.to(did)).collect();
    Ok((found, rows(answers.get(1))?.pop().unwrap_or(0), end))
}

/// Of the notifications of these people, by number and message, those that show and are unseen (U20).
pub async fn these(
    store: &impl Store,
    wanted: &BTreeMap<Did, Vec<(i64, AtUri)>>,
) -> Result<Vec<(Did, Notice)>, Fault> {
    let mut found = Vec::new();
    let people: Vec<_> = wanted.iter().collect();
    for people in people.chunks(THESE_PEOPLE) {
        let statements: Vec<Statement> = people
            .iter()
            .map(|(did, numbers)| Statement::new(THESE, [did.as_str().into(), Param::json(numbers)]))
            .collect();
        let answers = store.read(&statements).await?;
        for ((did, _), answer) in people.iter().zip(&answers) {
            let notices: Vec<Notice> = rows(Some(answer))?;
            found.extend(notices.into_iter().map(|notice| ((*did).clone(), notice.to(did))));
        }
    }
    Ok(found)
}

/// What the decision about a digest needs (U27).
#[derive(Clone, Debug, Default)]
pub struct ForDigest {
    /// Their notifications that show and are not seen.
    pub unseen: Vec<digest::Unseen>,
    /// The number of the newest notification that their last digest counted; 0 if there was none.
    pub through: i64,
    /// Whether they chose not to be disturbed (P01).
    pub do_not_disturb: bool,
}

/// Reads what the decision about a person's digest needs.
pub async fn for_digest(store: &impl Store, did: &Did) -> Result<ForDigest, Fault> {
    #[derive(Deserialize)]
    struct Row {
        id: i64,
        kind: Kind,
        rhythm: Option<Rhythm>,
        /// The text and the facets of a message that may be a ping.
        calls: Option<(String, Option<String>)>,
    }
    let asked = |sql| Statement::new(sql, [did.as_str().into()]);
    let answers = store.read(&[asked(FOR_DIGEST), asked(LAST_DIGEST)]).await?;
    let (through, do_not_disturb) = rows(answers.get(1))?.pop().unwrap_or_default();
    let unseen = rows::<Row>(answers.first())?.into_iter().map(|Row { id, kind, rhythm, calls }| {
        let urgency =
            calls.map_or(Urgency::Quiet, |(text, facets)| asked_by(kind, &text, facets.as_deref(), did));
        digest::Unseen { id, urgency, rhythm }
    });
    Ok(ForDigest { unseen: unseen.collect(), through, do_not_disturb })
}

/// How many notifications of a person are unseen.
pub async fn unseen_count(store: &impl Store, did: &Did) -> Result<i64, Fault> {
    Ok(rows(store.read(&[count(did)]).await?.first())?.pop().unwrap_or(0))
}

fn count(did: &Did) -> Statement {
    Statement::new(COUNT, [did.as_str().into()])
}

/// The unseen notifications of a person in a channel, newest first (N170f).
pub async fn unseen(store: &impl Store, did: &Did, channel: &str) -> Result<Vec<Unseen>, Fault> {
    unseen_of(store.read(&[unseen_in(did, channel)]).await?.first())
}

/// The statement of [`unseen`].
pub(super) fn unseen_in(did: &Did, channel: &str) -> Statement {
    Statement::new(UNSEEN, [did.as_str().into(), channel.into(), UNSEEN_MAX.into()])
}

/// The answer to [`unseen_in`].
pub(super) fn unseen_of(texts: Option<&Vec<String>>) -> Result<Vec<Unseen>, Fault> {
    let found: Vec<(i64, AtUri)> = rows(texts)?;
    let shown = |(id, message_uri)| Unseen { id, message_uri, indexed_at: made_at(id).shown() };
    Ok(found.into_iter().map(shown).collect())
}

/// What a person has not read in each channel of those of `communities` in which they take part, by name of channel
/// (U11). The first rule that applies to a channel decides:
///   1. without a visible message, or if the newest is their own, nothing is unread;
///   2. with a read position, what is newer than it;
///   3. otherwise what came after they were admitted; if that is not known, everything.
pub async fn unread(
    store: &impl Store,
    did: &Did,
    communities: &[&str],
) -> Result<BTreeMap<AtUri, Vec<Channel>>, Fault> {
    #[derive(Deserialize)]
    struct Counted {
        channel: AtUri,
        #[serde(flatten)]
        pings: Pings,
    }
    let asked = Param::json(&communities);
    let who = || did.as_str().into();
    let answers = store
        .read(&[
            Statement::new(PLACES, [asked.clone(), who()]),
            Statement::new(UNREAD, [asked, who(), COUNTED_MAX.into(), UNREAD_MAX.into()]),
            Statement::new(PINGS, [who()]),
        ])
        .await?;
    let mut found: BTreeMap<AtUri, Vec<Channel>> =
        rows::<AtUri>(answers.first())?.into_iter().map(|community| (community, Vec::new())).collect();
    let pings: Vec<Counted> = rows(answers.get(2))?;
    let pings: BTreeMap<AtUri, Pings> = pings.into_iter().map(|row| (row.channel, row.pings)).collect();
    for channel in rows::<Channel>(answers.get(1))? {
        let pings = pings.get(&channel.channel_uri).copied().unwrap_or_default();
        if let Some(channels) = found.get_mut(&channel.community_uri) {
            channels.push(Channel { pings, ..channel });
        }
    }
    Ok(found)
}

// The read position of a person in a channel, of their records (`r`) or of this service (`p`): the later counts (U10).
macro_rules! positions {
    ($did:literal, $channel:literal) => {
        concat!(
            " LEFT JOIN channel_reads r ON r.uri = (SELECT x.uri FROM channel_reads x WHERE x.did = ",
            $did,
            " AND x.channel_uri = ",
            $channel,
            " ORDER BY x.cursor_at DESC, x.uri LIMIT 1)
              LEFT JOIN read_positions p ON p.did = ",
            $did,
            " AND p.channel_uri = ",
            $channel
        )
    };
}
macro_rules! later {
    ($served:literal, $recorded:literal) => {
        concat!("iif(p.cursor_at > coalesce(r.cursor_at, ''), ", $served, ", ", $recorded, ")")
    };
}

// Whether the message `$m` comes after the position `k`; of messages of the same instant the key decides.
macro_rules! is_after {
    ($m:literal) => {
        concat!(
            "iif(",
            $m,
            ".sort_at = k.cursor_at AND k.cursor_uri IS NOT NULL, ",
            $m,
            ".rkey > substr(k.cursor_uri, instr(k.cursor_uri, '/social.colibri.message/') + 24), ",
            $m,
            ".sort_at > k.cursor_at)"
        )
    };
}

// The notifications of the person ?1 that show (U04), as `notice`. What is before the read position counts as seen.
macro_rules! notices {
    () => {
        concat!(
            "WITH muted(subject) AS MATERIALIZED (SELECT subject FROM mutes WHERE did = ?1),
            noted AS MATERIALIZED (
                SELECT n.id, n.kind, n.message_uri, n.seen_at, m.channel_uri, m.sort_at, m.rkey, ch.community_uri
                FROM notifications n CROSS JOIN messages m ON m.uri = n.message_uri
                CROSS JOIN channels ch ON ch.uri = m.channel_uri
                WHERE n.recipient_did = ?1 AND NOT m.hidden
                  AND NOT EXISTS (SELECT 1 FROM blocks b WHERE b.uri = m.uri)
                  AND ch.uri NOT IN (SELECT subject FROM muted)
                  AND ch.community_uri NOT IN (SELECT subject FROM muted)),
            home(uri) AS MATERIALIZED (
                SELECT c.uri FROM (SELECT DISTINCT community_uri AS uri FROM noted) h
                CROSS JOIN communities c ON c.uri = h.uri WHERE NOT c.hidden AND ",
            takes_part!("?1"),
            "),
            mark(channel_uri, cursor_at, cursor_uri, moved_at) AS MATERIALIZED (
                SELECT d.uri, ",
            later!("p.cursor_at", "r.cursor_at"),
            ", ",
            later!("p.cursor_uri", "r.cursor_uri"),
            ", ",
            later!("p.moved_at", "r.indexed_at"),
            " FROM (SELECT DISTINCT channel_uri AS uri FROM noted) d ",
            positions!("?1", "d.uri"),
            "),
            notice(id, kind, message_uri, channel_uri, community_uri, seen_at) AS (
                SELECT one.id, one.kind, one.message_uri, one.channel_uri, one.community_uri,
                    coalesce(one.seen_at, iif(k.cursor_at IS NULL OR ",
            is_after!("one"),
            ", NULL, k.moved_at))
                FROM noted one CROSS JOIN mark k ON k.channel_uri = one.channel_uri
                WHERE one.community_uri IN (SELECT uri FROM home)) "
        )
    };
}

// U25: the rhythm of the person ?1 in the community of the notification `one`, if they set one there or everywhere.
macro_rules! rhythm {
    () => {
        "(SELECT rhythm FROM rhythms WHERE did = ?1 AND community_uri IN ('', one.community_uri)
          ORDER BY community_uri DESC LIMIT 1)"
    };
}

// U26: whether the person ?1 chose not to be disturbed.
macro_rules! do_not_disturb {
    () => {
        "json(iif(EXISTS (SELECT 1 FROM people WHERE did = ?1 AND preferred_state = 'dnd'), 'true', 'false'))"
    };
}

const LIST: &str = concat!(
    notices!(),
    "SELECT json_object('id', one.id, 'kind', one.kind, 'community_uri', one.community_uri, 'seen_at', one.seen_at,
        'rhythm', NULL, 'do_not_disturb', json('false'), 'members_only',
        json('false'), 'message', ",
    message_json!("m"),
    ", 'author', ",
    person_json!("a"),
    ") AS row FROM (SELECT * FROM notice WHERE id < ?2 ORDER BY id DESC, message_uri LIMIT ?3) one
    CROSS JOIN messages m ON m.uri = one.message_uri LEFT JOIN people a ON a.did = m.author_did
    ORDER BY one.id DESC, one.message_uri"
);

const THESE: &str = concat!(
    notices!(),
    "SELECT json_object('id', one.id, 'kind', one.kind, 'community_uri', one.community_uri, 'seen_at', NULL,
        'rhythm', ",
    rhythm!(),
    ", 'do_not_disturb', ",
    do_not_disturb!(),
    ", 'members_only', json(iif(EXISTS (SELECT 1 FROM members_only x WHERE x.community_uri = one.community_uri),
        'true', 'false')), 'message', ",
    message_json!("m"),
    ", 'author', ",
    person_json!("a"),
    ") AS row FROM json_each(?2) w
    CROSS JOIN notice one ON one.id = w.value ->> 0 AND one.message_uri = w.value ->> 1
    CROSS JOIN messages m ON m.uri = one.message_uri LEFT JOIN people a ON a.did = m.author_did
    WHERE one.seen_at IS NULL ORDER BY one.id, one.message_uri"
);

// The text of a message is read only if it may be a ping.
const FOR_DIGEST: &str = concat!(
    notices!(),
    "SELECT json_object('id', one.id, 'kind', one.kind, 'rhythm', ",
    rhythm!(),
    ", 'calls', iif(one.kind = 'mention' AND instr(m.text, '@@') > 0, json_array(m.text, m.facets), NULL)) AS row
    FROM notice one CROSS JOIN messages m ON m.uri = one.message_uri WHERE one.seen_at IS NULL"
);

const LAST_DIGEST: &str = concat!(
    "SELECT json_array(coalesce((SELECT through FROM digests WHERE did = ?1), 0), ",
    do_not_disturb!(),
    ") AS row"
);

const COUNT: &str =
    concat!(notices!(), "SELECT json_quote(count(*)) AS row FROM notice WHERE seen_at IS NULL");

const UNSEEN: &str = concat!(
    notices!(),
    "SELECT json_array(id, message_uri) AS row FROM notice WHERE channel_uri = ?2 AND seen_at IS NULL
    ORDER BY id DESC, message_uri LIMIT ?3"
);

const PINGS: &str = concat!(
    notices!(),
    "SELECT json_object('channel', channel_uri, 'all', count(*), 'messages', count(DISTINCT message_uri)) AS row
    FROM notice WHERE seen_at IS NULL GROUP BY channel_uri"
);

// Those of the communities ?1 in which ?2 takes part, and since when (R11, N16).
macro_rules! places {
    () => {
        concat!(
            "WITH place(uri, since) AS MATERIALIZED (
                SELECT c.uri, CASE WHEN c.rkey = 'self'
                    THEN (SELECT min(a.indexed_at) FROM members a
                           WHERE a.member_did = ?2 AND a.community_uri = c.uri)
                    ELSE (SELECT min(m.indexed_at) FROM memberships m
                           WHERE m.member_did = ?2 AND m.community_uri = c.uri) END
                FROM json_each(?1) w CROSS JOIN communities c ON c.uri = w.value
                WHERE NOT c.hidden AND ",
            takes_part!("?2"),
            ") "
        )
    };
}

const PLACES: &str = concat!(places!(), "SELECT json_quote(uri) AS row FROM place");

// D1 binds every number as a floating-point one, and `min` may return what is bound: without the cast the count is 100.0.
const UNREAD: &str = concat!(
    places!(),
    ", spot AS MATERIALIZED (
        SELECT ch.community_uri, ch.uri, ch.name, ch.rkey, place.since, ",
    later!("p.cursor_at", "r.cursor_at"),
    " AS cursor_at, ",
    later!("p.cursor_uri", "r.cursor_uri"),
    " AS cursor_uri
        FROM place CROSS JOIN channels ch ON ch.community_uri = place.uri ",
    positions!("?2", "ch.uri"),
    ")
    SELECT json_object('community_uri', k.community_uri, 'channel_uri', k.uri, 'last_read_at', k.cursor_at,
        'last_message_at', n.sort_at,
        'unread', iif(n.uri IS NULL OR n.author_did = ?2, 0, (SELECT CAST(min(count(*), ?4) AS INTEGER) FROM (
            SELECT o.* FROM messages o WHERE o.channel_uri = k.uri AND o.sort_at >= coalesce(k.cursor_at, '')
            ORDER BY o.sort_at DESC, o.rkey DESC, o.author_did DESC LIMIT ?3) one
            WHERE one.author_did <> ?2 AND NOT one.hidden
              AND NOT EXISTS (SELECT 1 FROM blocks b WHERE b.uri = one.uri)
              AND iif(k.cursor_at IS NULL, k.since IS NULL OR one.indexed_at > k.since, ",
    is_after!("one"),
    ")))) AS row
    FROM spot k LEFT JOIN messages n ON n.uri = (
        SELECT m.uri FROM messages m WHERE m.channel_uri = k.uri AND NOT m.hidden
           AND NOT EXISTS (SELECT 1 FROM blocks b WHERE b.uri = m.uri)
        ORDER BY m.sort_at DESC, m.rkey DESC, m.author_did DESC LIMIT 1)
    ORDER BY k.name, k.rkey"
);
