//! R55: the messages of a community with certain words, newest in the index first.
//!
//! FTS5 names candidates; the statement joins the rule of R01 to them (T16), so an edit, a deletion, a block, a ban or
//! the state of an account counts at once. A page looks at so many candidates, whatever they are.

use serde::Deserialize;

use super::super::{Fault, Param, Statement, Store, rows};
use super::{Page, cut, shown};
use crate::domain::rows::{MessageRow, PersonRow};
use crate::wire::bodies::{Found, Mark, Snippet};
use crate::wire::ids::{AtUri, Did};
use crate::wire::time::Micros;
use crate::wire::words::{Query, snippet};

/// What else a message has (`has`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Has {
    /// At least one attachment.
    Attachment,
    /// A link.
    Link,
    /// A mention of a person.
    Mention,
}

impl Has {
    /// The word of the parameter.
    pub fn named(word: &str) -> Option<Self> {
        match word {
            "attachment" => Some(Self::Attachment),
            "link" => Some(Self::Link),
            "mention" => Some(Self::Mention),
            _ => None,
        }
    }
}

/// What is searched for.
#[derive(Clone, Debug)]
pub struct Search<'a> {
    /// The words.
    pub query: &'a Query,
    /// The community in which they are.
    pub community: &'a AtUri,
    /// The channel, by AT-URI or rkey.
    pub channel: Option<&'a str>,
    /// Whose messages.
    pub author: Option<&'a Did>,
    /// Only messages with an earlier sort instant.
    pub before: Option<Micros>,
    /// Only messages with such a thing.
    pub has: Option<Has>,
}

#[derive(Debug, Deserialize)]
struct Hit {
    id: i64,
    message: MessageRow,
    author: Option<PersonRow>,
}

/// A page of what is found, after a place. It may be short, or empty, if many candidates do not show: then it ends
/// where it stopped to look.
pub async fn search(
    store: &impl Store,
    cdn: &str,
    search: &Search<'_>,
    after: Option<i64>,
    limit: i64,
) -> Result<Page<Found, i64>, Fault> {
    let expression = search.query.expression(&search.community.authority(), search.author);
    let after = after.unwrap_or(1 << 53);
    let hits = Statement::new(
        HITS,
        [
            expression.as_str().into(),
            after.into(),
            search.community.as_str().into(),
            (limit + 1).into(),
            Param::from(search.channel),
            search.author.map(Did::as_str).into(),
            search.before.map(Micros::sortable).into(),
            i64::from(search.has == Some(Has::Attachment)).into(),
            match search.has {
                Some(Has::Link) => "%#link\"%".into(),
                Some(Has::Mention) => "%#mention\"%".into(),
                Some(Has::Attachment) | None => Param::Null,
            },
        ],
    );
    let found: Vec<Hit> = rows(store.read(&[hits]).await?.first())?;
    let (found, mut end) = cut(found, limit, |hit| hit.id);
    if end.is_none() {
        let looked = store.read(&[Statement::new(LOOKED, [expression.into(), after.into()])]).await?;
        end = rows::<[i64; 1]>(looked.first())?.pop().map(|[id]| id);
    }
    let body = |hit: Hit| {
        let marks = search.query.marks(&hit.message.text);
        let (text, marks) = snippet(&hit.message.text, &marks);
        let marks =
            marks.into_iter().map(|mark| Mark { byte_start: mark.start, byte_end: mark.end }).collect();
        let snippet = Snippet { text: text.to_owned(), marks };
        Found { snippet, message: hit.message.core(shown(hit.author.as_ref(), cdn)) }
    };
    Ok((found.into_iter().map(body).collect(), end))
}

// The candidates of a page, newest in the index first.
macro_rules! candidates {
    ($bound:literal) => {
        concat!(
            "SELECT f.rowid AS id FROM message_words f
              WHERE f.message_words MATCH ?1 AND f.rowid < ?2 ORDER BY f.rowid DESC LIMIT ",
            $bound
        )
    };
}

const HITS: &str = concat!(
    "SELECT json_object('id', l.id, 'message', ",
    message_json!("m"),
    ", 'author', ",
    person_json!("a"),
    ") AS row FROM (",
    candidates!("1000"),
    ") l CROSS JOIN messages m ON m.rowid = l.id
    CROSS JOIN channels ch ON ch.uri = m.channel_uri
    CROSS JOIN communities c ON c.uri = ch.community_uri
    LEFT JOIN people a ON a.did = m.author_did
    WHERE c.uri = ?3 AND NOT c.hidden
      AND NOT m.hidden AND NOT EXISTS (SELECT 1 FROM blocks b WHERE b.uri = m.uri)
      AND (?5 IS NULL OR ch.uri = ?5 OR ch.rkey = ?5)
      AND (?6 IS NULL OR m.author_did = ?6)
      AND (?7 IS NULL OR m.sort_at < ?7)
      AND (NOT ?8 OR m.attachments <> '[]')
      AND (?9 IS NULL OR m.facets LIKE ?9)
    ORDER BY l.id DESC LIMIT ?4"
);

// Where a page stops to look, if there may be more behind it.
const LOOKED: &str =
    concat!("SELECT json_array(id) AS row FROM (", candidates!("1000"), ") LIMIT 1 OFFSET 999");
