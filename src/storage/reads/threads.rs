//! Threads: messages with what answers them (R70, R71), and how many answers a message has (R02).
//!
//! An answer is a visible message whose `parent` means a visible message of the same channel (T21). Everything is
//! bounded: a page looks at so many messages, and a thread has so many answers and levels.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::super::{Fault, Param, Statement, Store, rows};
use super::{Page, PageEnd, cut, shown};
use crate::domain::community::threads::Named;
use crate::domain::rows::{MessageRow, PersonRow};
use crate::wire::bodies::{Thread, ThreadMessage};
use crate::wire::events::ThreadNow;
use crate::wire::ids::{AtUri, Did};
use crate::wire::time::Micros;

/// The most people of a thread that R70 names.
const PARTICIPANTS: usize = 20;

/// R70: the threads of a channel after a place, newest root first. The page may be short, or empty, if many messages
/// have no answers: then it ends where it stopped to look.
pub async fn threads(
    store: &impl Store,
    cdn: &str,
    channel: &str,
    after: Option<&PageEnd>,
    limit: i64,
) -> Result<Page<Thread, PageEnd>, Fault> {
    let (sort_at, rkey, author) = after
        .map_or(("~", "", ""), |PageEnd(at, rkey, author)| (at.as_str(), rkey.as_str(), author.as_str()));
    let asked = |sql| {
        let asked: [Param; 5] =
            [channel.into(), sort_at.into(), rkey.into(), author.into(), (limit + 1).into()];
        Statement::new(sql, asked)
    };
    let end_of_look = Statement::new(LOOKED, [channel.into(), sort_at.into(), rkey.into(), author.into()]);
    let answers = store.read(&[asked(ROOTS), asked(ANSWERS), end_of_look]).await?;
    let found: Vec<Found> = rows(answers.first())?;
    let mut answered = answered(rows(answers.get(1))?);
    let looked: Option<PageEnd> = rows(answers.get(2))?.pop();
    let (found, end) = cut(found, limit, |root| PageEnd::of(&root.message));
    let body = |root: Found| {
        let Answered { count, last_at, people } = answered.remove(&root.message.uri).unwrap_or_default();
        Thread {
            reply_count: count,
            last_reply_at: last_at.shown(),
            participants: people.into_iter().take(PARTICIPANTS).map(|(_, did)| did).collect(),
            message: root.message.core(shown(root.author.as_ref(), cdn)),
        }
    };
    Ok((found.into_iter().map(body).collect(), end.or(looked)))
}

/// R71: the thread to which a message belongs, oldest first, after a place; nothing if it is not visible.
pub async fn thread(
    store: &impl Store,
    cdn: &str,
    message: &AtUri,
    after: Option<&PageEnd>,
    limit: i64,
) -> Result<Page<ThreadMessage, PageEnd>, Fault> {
    let (sort_at, rkey, author) =
        after.map_or(("", "", ""), |PageEnd(at, rkey, author)| (at.as_str(), rkey.as_str(), author.as_str()));
    let place = [message.as_str().into(), sort_at.into(), rkey.into(), author.into(), (limit + 1).into()];
    let answers = store.read(&[Statement::new(THREAD, place)]).await?;
    let found: Vec<Found> = rows(answers.first())?;
    let (found, end) = cut(found, limit, |one| PageEnd::of(&one.message));
    let body = |one: Found| ThreadMessage {
        depth: one.depth,
        parent_uri: one.parent_uri,
        message: one.message.core(shown(one.author.as_ref(), cdn)),
    };
    Ok((found.into_iter().map(body).collect(), end))
}

/// U33: the threads of these messages as they are now; those that are not visible are left out.
pub async fn states(store: &impl Store, threads: Vec<Named>) -> Result<Vec<(Named, ThreadNow)>, Fault> {
    let asked =
        |(channel, parent): &Named| Statement::new(STATE, [channel.as_str().into(), parent.as_str().into()]);
    let asked: Vec<Statement> = threads.iter().map(asked).collect();
    let answers = store.read(&asked).await?;
    let mut found = Vec::new();
    for (thread, answer) in threads.into_iter().zip(&answers) {
        if let Some((root, reply_count, last)) = rows::<(AtUri, i64, Option<Micros>)>(Some(answer))?.pop() {
            let last_reply_at = last.map(Micros::shown);
            found.push((thread, ThreadNow { root_uri: root, reply_count, last_reply_at }));
        }
    }
    Ok(found)
}

/// How many answers a message has, for R02.
pub(super) fn count_of(message: &AtUri) -> Statement {
    Statement::new(COUNT, [message.as_str().into()])
}

/// A message of a thread.
#[derive(Debug, Deserialize)]
struct Found {
    message: MessageRow,
    author: Option<PersonRow>,
    #[serde(default)]
    depth: u32,
    #[serde(default)]
    parent_uri: Option<AtUri>,
}

/// What a person wrote in a thread.
#[derive(Debug, Deserialize)]
struct Wrote(AtUri, Did, i64, Micros);

/// What answers a root: how much, when the last, and who, the latest first.
#[derive(Debug, Default)]
struct Answered {
    count: i64,
    last_at: Micros,
    people: Vec<(Micros, Did)>,
}

fn answered(found: Vec<Wrote>) -> BTreeMap<AtUri, Answered> {
    let mut threads: BTreeMap<AtUri, Answered> = BTreeMap::new();
    for Wrote(root, did, count, last_at) in found {
        let thread = threads.entry(root).or_default();
        thread.count += count;
        thread.last_at = thread.last_at.max(last_at);
        thread.people.push((last_at, did));
    }
    for thread in threads.values_mut() {
        thread.people.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    }
    threads
}

// Whether a message is visible in its channel (T16).
macro_rules! is_visible {
    ($m:literal) => {
        concat!("NOT ", $m, ".hidden AND NOT EXISTS (SELECT 1 FROM blocks b WHERE b.uri = ", $m, ".uri)")
    };
}

// `r` answers the message `t`, which has `uri`, `rkey` and `channel_uri`: by AT-URI, or by its key if that means it
// (T21).
macro_rules! answers_it {
    () => {
        concat!(
            "r.parent IN (t.uri, iif(",
            meant!("t.rkey", "t.channel_uri"),
            " = t.uri, t.rkey, NULL)) AND r.channel_uri = t.channel_uri AND ",
            is_visible!("r")
        )
    };
}

// `p` is the visible message that `$parent` means in `$channel`.
macro_rules! parent_of {
    ($parent:literal, $channel:literal) => {
        concat!(
            "p.uri = CASE WHEN ",
            $parent,
            " LIKE 'at://%' THEN ",
            $parent,
            " ELSE ",
            meant!($parent, $channel),
            " END AND p.channel_uri = ",
            $channel,
            " AND ",
            is_visible!("p")
        )
    };
}

// The next 500 messages of a page, of which those are roots that answer nothing and have answers. ?5 of them.
macro_rules! roots {
    () => {
        concat!(
            target_channel!(),
            ", looked AS (SELECT m.uri, m.rkey, m.author_did, m.sort_at, m.parent, m.channel_uri ",
            page_of_channel!(place!()),
            "ORDER BY m.sort_at DESC, m.rkey DESC, m.author_did DESC LIMIT 500),
            roots(uri, rkey, channel_uri) AS (
                SELECT t.uri, t.rkey, t.channel_uri FROM looked t
                WHERE EXISTS (SELECT 1 FROM messages r WHERE ",
            answers_it!(),
            ")
                  AND (t.parent IS NULL OR NOT EXISTS (SELECT 1 FROM messages p WHERE ",
            parent_of!("t.parent", "t.channel_uri"),
            "))
                ORDER BY t.sort_at DESC, t.rkey DESC, t.author_did DESC LIMIT ?5)"
        )
    };
}

// What hangs below `roots`: at most 16 levels, and 2,000 messages in all.
macro_rules! below_roots {
    () => {
        concat!(
            ", tree(root, uri, rkey, channel_uri, author_did, sort_at, depth, above) AS (
                SELECT uri, uri, rkey, channel_uri, NULL, NULL, 0, NULL FROM roots
                UNION ALL
                SELECT t.root, r.uri, r.rkey, r.channel_uri, r.author_did, r.sort_at, t.depth + 1, t.uri
                FROM tree t CROSS JOIN messages r ON ",
            answers_it!(),
            " WHERE t.depth < 16 LIMIT 2000)"
        )
    };
}

const ROOTS: &str = concat!(
    roots!(),
    " SELECT json_object('message', ",
    message_json!("m"),
    ", 'author', ",
    person_json!("a"),
    ") AS row FROM roots t CROSS JOIN messages m ON m.uri = t.uri LEFT JOIN people a ON a.did = m.author_did
    ORDER BY m.sort_at DESC, m.rkey DESC, m.author_did DESC"
);

const ANSWERS: &str = concat!(
    roots!(),
    below_roots!(),
    " SELECT json_array(root, author_did, count(*), max(sort_at)) AS row FROM tree
    WHERE depth > 0 GROUP BY root, author_did"
);

// Where a page stops to look, if there may be more behind it.
const LOOKED: &str = concat!(
    target_channel!(),
    "SELECT json_array(m.sort_at, m.rkey, m.author_did) AS row ",
    page_of_channel!(place!()),
    "ORDER BY m.sort_at DESC, m.rkey DESC, m.author_did DESC LIMIT 1 OFFSET 499"
);

// A visible message `p` of which that is so, and what it answers, up to 16 levels.
macro_rules! root_above {
    ($($start:tt)*) => {
        concat!(
            "WITH RECURSIVE up(uri, rkey, channel_uri, parent, height) AS (
                SELECT p.uri, p.rkey, p.channel_uri, p.parent, 0
                FROM messages p JOIN channels ch ON ch.uri = p.channel_uri
                JOIN communities c ON c.uri = ch.community_uri
                WHERE NOT c.hidden AND ",
            $($start)*,
            "
                UNION ALL
                SELECT p.uri, p.rkey, p.channel_uri, p.parent, u.height + 1
                FROM up u CROSS JOIN messages p ON ",
            parent_of!("u.parent", "u.channel_uri"),
            " WHERE u.parent IS NOT NULL AND u.height < 16),
            roots(uri, rkey, channel_uri) AS (
                SELECT uri, rkey, channel_uri FROM up ORDER BY height DESC LIMIT 1)"
        )
    };
}

const THREAD: &str = concat!(
    root_above!(concat!("p.uri = ?1 AND ", is_visible!("p"))),
    below_roots!(),
    ", once AS (SELECT uri, min(depth) AS depth, above FROM tree GROUP BY uri)
    SELECT json_object('message', ",
    message_json!("shown"),
    ", 'author', ",
    person_json!("a"),
    ", 'depth', shown.depth, 'parent_uri', shown.above) AS row
    FROM (SELECT o.depth, o.above, m.* FROM once o CROSS JOIN messages m ON m.uri = o.uri
          WHERE (m.sort_at, m.rkey, m.author_did) > (?2, ?3, ?4)
          ORDER BY m.sort_at, m.rkey, m.author_did LIMIT ?5) shown
    LEFT JOIN people a ON a.did = shown.author_did
    ORDER BY shown.sort_at, shown.rkey, shown.author_did"
);

const COUNT: &str = concat!(
    "WITH RECURSIVE roots(uri, rkey, channel_uri) AS (SELECT uri, rkey, channel_uri FROM messages WHERE uri = ?1)",
    below_roots!(),
    " SELECT json_array(count(DISTINCT uri)) AS row FROM tree WHERE uri <> ?1"
);

// The thread of the message that ?2 means in the channel ?1. In a circle the root is no answer to itself.
const STATE: &str = concat!(
    root_above!(parent_of!("?2", "?1")),
    below_roots!(),
    " SELECT json_array(root, count(DISTINCT iif(uri <> root, uri, NULL)), max(iif(uri <> root, sort_at, NULL))) AS row
    FROM tree GROUP BY root"
);
