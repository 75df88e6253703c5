//! R80, R81: the newest messages of a channel of an open community, for feed readers.
//!
//! Feed readers show no proof, and what they fetched stays with them. So a community that is not open (T09), or for
//! members only (X40), has no feeds, and the statements themselves say so.

use serde::Deserialize;

use super::super::{Fault, Statement, Store, rows};
use super::shown;
use crate::domain::rows::{MessageRow, PersonRow};
use crate::wire::feeds::{Entry, Feed};
use crate::wire::ids::{AtUri, Did, Rkey};
use crate::wire::tid;
use crate::wire::time::Micros;

/// The most messages in a feed.
pub const ENTRIES: i64 = 50;

/// Which community a feed's address names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// A community of this owner: whichever has the channel.
    Owner(Did),
    /// The community with this key (T22).
    Rkey(Rkey),
}

#[derive(Deserialize)]
struct About {
    channel: AtUri,
    name: String,
    description: Option<String>,
    community_name: String,
    indexed_at: Micros,
}

#[derive(Deserialize)]
struct Said {
    message: MessageRow,
    author: Option<PersonRow>,
}

impl Said {
    fn entry(self) -> Entry {
        let Self { message, author } = self;
        let person = shown(author.as_ref(), "");
        let names = [person.display_name, person.handle];
        let edited = if message.edited { tid::time(&message.rev) } else { None };
        Entry {
            author_name: names
                .into_iter()
                .flatten()
                .find(|name| !name.trim().is_empty())
                .unwrap_or_else(|| message.author_did.as_str().to_owned()),
            author: message.author_did,
            text: message.text,
            published: message.sort_at,
            updated: edited.map_or(message.sort_at, |at| at.max(message.sort_at)),
            uri: message.uri,
        }
    }
}

/// A channel as a feed; `None` if there is no such channel in an open community.
pub async fn feed(store: &impl Store, community: &Named, channel: &Rkey) -> Result<Option<Feed>, Fault> {
    let (owner, rkey) = match community {
        Named::Owner(did) => (Some(did.as_str()), None),
        Named::Rkey(rkey) => (None, Some(rkey.as_str())),
    };
    let name = [owner.into(), rkey.into(), channel.as_str().into()];
    let mut asked = name.to_vec();
    asked.push(ENTRIES.into());
    let answers = store.read(&[Statement::new(CHANNEL, name), Statement::new(MESSAGES, asked)]).await?;
    let Some(about) = rows::<About>(answers.first())?.pop() else { return Ok(None) };
    let said: Vec<Said> = rows(answers.get(1))?;
    Ok(Some(Feed {
        channel: about.channel,
        name: about.name,
        description: about.description,
        community_name: about.community_name,
        since: about.indexed_at,
        entries: said.into_iter().map(Said::entry).collect(),
    }))
}

// The channel ?3 of a community of ?1, or of that with the key ?2, if it may have feeds.
macro_rules! target {
    () => {
        "WITH target(uri, community_name) AS (
            SELECT ch.uri, c.name FROM communities c JOIN channels ch ON ch.community_uri = c.uri
             WHERE (c.owner_did = ?1 OR c.uri = (
                    SELECT uri FROM communities WHERE rkey = ?2 AND NOT hidden ORDER BY indexed_at, uri LIMIT 1))
               AND ch.rkey = ?3 AND NOT c.hidden AND NOT c.requires_approval_to_join
               AND NOT EXISTS (SELECT 1 FROM members_only x WHERE x.community_uri = c.uri) LIMIT 1) "
    };
}

const CHANNEL: &str = concat!(
    target!(),
    "SELECT json_object('channel', ch.uri, 'name', ch.name, 'description', ch.description,
        'community_name', t.community_name, 'indexed_at', ch.indexed_at) AS row
     FROM target t JOIN channels ch ON ch.uri = t.uri"
);

const MESSAGES: &str = concat!(
    target!(),
    "SELECT json_object('message', ",
    message_json!("m"),
    ", 'author', ",
    person_json!("a"),
    ") AS row FROM (
        SELECT m.* FROM messages m WHERE m.channel_uri = (SELECT uri FROM target)
           AND NOT m.hidden AND NOT EXISTS (SELECT 1 FROM blocks b WHERE b.uri = m.uri)
         ORDER BY m.sort_at DESC, m.rkey DESC, m.author_did DESC LIMIT ?4) m
    LEFT JOIN people a ON a.did = m.author_did
    ORDER BY m.sort_at DESC, m.rkey DESC, m.author_did DESC"
);
