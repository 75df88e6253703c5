//! Messages of a channel, and how far somebody has read it: N160f, N160i, N160l.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::super::super::{Fault, Param, Statement, Store, rows};
use super::super::{Reactions, cut, notifications};
use super::{Found, Mark, Own, actor};
use crate::domain::embeds;
use crate::domain::ingest::groups;
use crate::domain::rows::{MessageRow, PersonRow, ReactionRow};
use crate::wire::bodies::ReactionGroup;
use crate::wire::ids::{AtUri, Did, Rkey};
use crate::wire::tid;
use crate::wire::time::Micros;
use crate::wire::views::{ChannelView, Message, Messages, Reaction, ReadCursor, attachments, facets, links};

/// Where a page begins (N160i).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum From {
    /// At the newest message.
    Newest,
    /// After the message with this key; if there is none, at the time of the key.
    Key(Rkey),
}

/// Which messages a page has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Visible ones (T16).
    Visible,
    /// Hidden and blocked ones too.
    All,
}

/// A message with what belongs to it.
#[derive(Debug, Deserialize)]
struct Shown {
    message: MessageRow,
    author: Option<PersonRow>,
    own: Option<Own>,
    parent: Option<MessageRow>,
    parent_author: Option<PersonRow>,
    parent_own: Option<Own>,
    community: AtUri,
    suppressed: Option<String>,
}

/// A decision of a community about previews in a message.
#[derive(Debug, Deserialize)]
struct OfEmbeds {
    message: AtUri,
    action: String,
    embeds: Option<String>,
}

impl Shown {
    fn view(self, reactions: &Reactions, decided: &BTreeMap<AtUri, Vec<OfEmbeds>>) -> Message {
        let Self { message, author, own, parent, parent_author, parent_own, community, suppressed } = self;
        let channel = message.channel_uri.clone();
        let parent = parent.filter(|parent| parent.channel_uri == channel);
        let reactions = reactions.of(&message.uri).into_iter().map(reaction);
        let decided = decided.get(&message.uri).into_iter().flatten();
        let mod_suppressed_embeds =
            embeds::hidden(decided.map(|one| (one.action.as_str(), one.embeds.as_deref())));
        let parent = parent.map(|parent| Box::new(bare(parent, parent_author, parent_own, &community)));
        Message {
            reactions: reactions.collect(),
            parent,
            suppressed_embeds: links(suppressed.as_deref()),
            mod_suppressed_embeds,
            ..bare(message, author, own, &community)
        }
    }
}

/// A message by itself.
fn bare(row: MessageRow, person: Option<PersonRow>, own: Option<Own>, community: &AtUri) -> Message {
    Message {
        text: row.text,
        facets: facets(row.facets.as_deref(), &community.authority()),
        channel: row.channel_uri,
        community: community.clone(),
        author: actor(Found { did: row.author_did, person, own }),
        parent: None,
        attachments: attachments(row.attachments.as_deref()),
        reactions: Vec::new(),
        created_at: row.created_at,
        edited: row.edited,
        suppressed_embeds: Vec::new(),
        mod_suppressed_embeds: Vec::new(),
        uri: row.uri,
    }
}

/// A page of at most `limit` messages of a channel, newest first; none of a channel that is not known.
/// `None`: the key it should begin at is that of no message there, and no time.
pub async fn messages(
    store: &impl Store,
    channel: &str,
    from: &From,
    which: Which,
    limit: i64,
) -> Result<Option<Messages>, Fault> {
    let asked = page(channel, from, which, limit);
    let answers = store.read(&asked).await?;
    let is_known = !rows::<Rkey>(answers.get(2))?.is_empty();
    match from {
        From::Key(key) if !is_known && tid::time(key.as_str()).is_none() => Ok(None),
        _ => read(&answers, limit).map(Some),
    }
}

/// The newest messages of a channel, and how far `did` has read it (N160f).
pub async fn view(store: &impl Store, did: &Did, channel: &str, limit: i64) -> Result<ChannelView, Fault> {
    let mut asked = page(channel, &From::Newest, Which::Visible, limit).to_vec();
    asked.push(mark(did, channel));
    asked.push(notifications::unseen_in(did, channel));
    let answers = store.read(&asked).await?;
    let read_cursor = cursor(answers.get(asked.len() - 2), channel)?;
    let unseen = notifications::unseen_of(answers.get(asked.len() - 1))?;
    Ok(ChannelView { page: read(&answers, limit)?, read_cursor, unseen })
}

/// The reactions to a message (N170b); none of one that is not visible.
pub async fn reactions(store: &impl Store, message: &str) -> Result<Vec<Reaction>, Fault> {
    let statement = Statement::new(REACTIONS_OF_MESSAGE, [message.into()]);
    let found: Vec<ReactionRow> = rows(store.read(&[statement]).await?.first())?;
    Ok(groups(&found).into_iter().map(reaction).collect())
}

fn reaction(group: ReactionGroup) -> Reaction {
    Reaction { emoji: group.emoji, count: group.count, reactor_dids: group.reactor_dids }
}

/// How far `did` has read a channel (N160l).
pub async fn read_cursor(store: &impl Store, did: &Did, channel: &str) -> Result<Option<ReadCursor>, Fault> {
    cursor(store.read(&[mark(did, channel)]).await?.first(), channel)
}

fn cursor(texts: Option<&Vec<String>>, channel: &str) -> Result<Option<ReadCursor>, Fault> {
    let marks: Vec<Mark> = rows(texts)?;
    Ok(marks.into_iter().next().zip(AtUri::parse(channel).ok()).map(|(mark, channel)| ReadCursor {
        uri: mark.uri,
        cursor: mark.cursor_uri.map_or_else(|| mark.cursor_at.shown(), |uri| uri.to_string()),
        channel,
    }))
}

fn mark(did: &Did, channel: &str) -> Statement {
    Statement::new(MARK, [did.as_str().into(), channel.into()])
}

/// The statements of a page: its messages, their reactions, whether its start is a message there, and what the
/// community decided about previews in them.
fn page(channel: &str, from: &From, which: Which, limit: i64) -> [Statement; 4] {
    // '~' sorts after every time, '' before every rkey.
    let (sort_at, key) = match from {
        From::Newest => ("~".to_owned(), ""),
        From::Key(key) => {
            let time = tid::time(key.as_str()).map_or_else(String::new, Micros::sortable);
            (time, key.as_str())
        }
    };
    let params: [Param; 6] =
        [channel.into(), sort_at.into(), "".into(), "".into(), Param::Int(limit + 1), key.into()];
    let (messages, reactions, embeds) = match which {
        Which::Visible => (MESSAGES, REACTIONS, EMBEDS),
        Which::All => (ALL_MESSAGES, REACTIONS_OF_ALL, EMBEDS_OF_ALL),
    };
    [
        Statement::new(messages, params.clone()),
        Statement::new(reactions, params.clone()),
        Statement::new(STARTS_AT, [channel.into(), key.into()]),
        Statement::new(embeds, params),
    ]
}

fn read(answers: &[Vec<String>], limit: i64) -> Result<Messages, Fault> {
    let found: Vec<Shown> = rows(answers.first())?;
    let reactions = Reactions::read(answers.get(1))?;
    let mut decided: BTreeMap<AtUri, Vec<OfEmbeds>> = BTreeMap::new();
    for one in rows::<OfEmbeds>(answers.get(3))? {
        decided.entry(one.message.clone()).or_default().push(one);
    }
    let (found, cursor) = cut(found, limit, |last| last.message.uri.rkey());
    Ok(Messages { cursor, messages: found.into_iter().map(|row| row.view(&reactions, &decided)).collect() })
}

macro_rules! target {
    () => {
        "WITH target(uri, community_uri) AS (
            SELECT ch.uri, ch.community_uri FROM channels ch JOIN communities c ON c.uri = ch.community_uri
            WHERE ch.uri = ?1 AND NOT c.hidden) "
    };
}

// The place of the message with the key ?6; of several authors' the newest.
macro_rules! starts_at {
    () => {
        "FROM messages s WHERE s.rkey = ?6 AND s.channel_uri = (SELECT uri FROM target)
            ORDER BY s.sort_at DESC, s.author_did DESC LIMIT 1"
    };
}

macro_rules! messages_of_page {
    ($visible:literal) => {
        concat!(
            "FROM messages m WHERE m.channel_uri = (SELECT uri FROM target)
               AND (m.sort_at, m.rkey, m.author_did) < (coalesce((SELECT s.sort_at ",
            starts_at!(),
            "), ?2), coalesce((SELECT s.rkey ",
            starts_at!(),
            "), ?3), coalesce((SELECT s.author_did ",
            starts_at!(),
            "), ?4)) AND NOT m.hidden ",
            $visible,
            "ORDER BY m.sort_at DESC, m.rkey DESC, m.author_did DESC LIMIT ?5"
        )
    };
    () => {
        messages_of_page!("AND NOT EXISTS (SELECT 1 FROM blocks b WHERE b.uri = m.uri) ")
    };
}

macro_rules! page_of {
    ($($visible:literal)?) => {
        concat!(
            target!(),
            "SELECT ",
            shown_json!(concat!(
                ", 'community', (SELECT community_uri FROM target), 'suppressed', m.suppressed_embeds, 'own', ",
                own_json!("o"),
                ", 'parent_own', ",
                own_json!("po")
            )),
            " FROM (SELECT m.* ",
            messages_of_page!($($visible)?),
            ") m ",
            shown_joins!(),
            own_profile!("o", "m.author_did"),
            own_profile!("po", "p.author_did"),
            " ORDER BY m.sort_at DESC, m.rkey DESC, m.author_did DESC"
        )
    };
}
const MESSAGES: &str = page_of!();
const ALL_MESSAGES: &str = page_of!("");

// The reactions to the messages of `$messages`, without those of people whom a record bans there (N160j).
macro_rules! reactions_there {
    ($messages:literal) => {
        reactions_of!(
            $messages,
            "AND NOT EXISTS (SELECT 1 FROM bans b WHERE b.community_uri = (SELECT community_uri FROM target)
                 AND b.member_did = r.reactor_did AND b.by_record)"
        )
    };
}

macro_rules! reactions_of_page {
    ($($visible:literal)?) => {
        concat!(
            target!(),
            ", page(uri) AS (SELECT m.uri ",
            messages_of_page!($($visible)?),
            ") ",
            reactions_there!("page")
        )
    };
}
const REACTIONS: &str = reactions_of_page!();
const REACTIONS_OF_ALL: &str = reactions_of_page!("");

// The newest fifty decisions about previews in each message, those that say anything (`domain::embeds`).
macro_rules! embeds_of_page {
    ($($visible:literal)?) => {
        concat!(
            target!(),
            ", page(uri) AS (SELECT m.uri ",
            messages_of_page!($($visible)?),
            ") SELECT json_object('message', m.subject, 'action', m.action, 'embeds', m.embeds) AS row
               FROM page p CROSS JOIN moderations m ON m.uri IN (
                   SELECT e.uri FROM moderations e
                    WHERE e.subject = p.uri AND e.about = 'embeds'
                      AND e.community_uri = (SELECT community_uri FROM target)
                    ORDER BY e.uri DESC LIMIT 50)
               WHERE length(m.embeds) <= 4096 ORDER BY m.uri"
        )
    };
}
const EMBEDS: &str = embeds_of_page!();
const EMBEDS_OF_ALL: &str = embeds_of_page!("");

const REACTIONS_OF_MESSAGE: &str = concat!(
    "WITH target(uri, community_uri) AS (
        SELECT m.uri, ch.community_uri
        FROM messages m JOIN channels ch ON ch.uri = m.channel_uri JOIN communities c ON c.uri = ch.community_uri
        WHERE m.uri = ?1 AND NOT m.hidden AND NOT c.hidden
          AND NOT EXISTS (SELECT 1 FROM blocks b WHERE b.uri = m.uri)) ",
    reactions_there!("target")
);

const STARTS_AT: &str = "
    SELECT json_quote(rkey) AS row FROM messages WHERE rkey = ?2 AND channel_uri = ?1 LIMIT 1";

const MARK: &str = "
    SELECT json_object('uri', r.uri, 'cursor_at', r.cursor_at, 'cursor_uri', r.cursor_uri) AS row
    FROM channel_reads r WHERE r.did = ?1 AND r.channel_uri = ?2 ORDER BY r.cursor_at DESC, r.uri LIMIT 1";
