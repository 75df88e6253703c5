//! R53: the communities that their owners list, newest in the list first, with how many people are in each.
//!
//! People are counted among the first [`COUNTED`] of a community, so a page costs the same however
//! large its communities are.

use serde::{Deserialize, Serialize};

use super::super::{Fault, Statement, Store, rows};
use super::communities::{community_json, moved, takes_part};
use super::{Page, cut};
use crate::domain::rows::CommunityRow;
use crate::wire::bodies::{DirectoryEntry, verbatim};
use crate::wire::ids::AtUri;
use crate::wire::time::Micros;

/// Among how many people of a community those are counted who are in it.
pub const COUNTED: i64 = 1_000;

/// The position of a community in R53: when it was listed, then its AT-URI.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Place(Micros, AtUri);

#[derive(Debug, Deserialize)]
struct Listed {
    listed_at: Micros,
    community: CommunityRow,
    /// The people in it, and those of them who are not `offline`; `None` if it is for members only.
    people: Option<(i64, i64)>,
}

/// R53: a page of the directory after a place.
pub async fn directory(
    store: &impl Store,
    after: Option<&Place>,
    limit: i64,
) -> Result<Page<DirectoryEntry, Place>, Fault> {
    let (listed_at, uri) = after.map_or(("~".to_owned(), ""), |Place(at, uri)| (at.sortable(), uri.as_str()));
    let statement =
        Statement::new(LISTED, [listed_at.into(), uri.into(), (limit + 1).into(), COUNTED.into()]);
    let found: Vec<Listed> = rows(store.read(&[statement]).await?.first())?;
    let (found, end) = cut(found, limit, |listed| Place(listed.listed_at, listed.community.uri.clone()));
    let body = |Listed { listed_at, community, people }: Listed| DirectoryEntry {
        community_uri: community.uri.clone(),
        owner_did: community.uri.authority(),
        picture: verbatim(community.shown_picture()),
        name: community.name,
        description: community.description,
        requires_approval_to_join: community.requires_approval_to_join,
        members_only: people.is_none(),
        member_count: people.map(|(members, _)| members),
        online_count: people.map(|(_, online)| online),
        listed_at: listed_at.shown(),
    };
    Ok((found.into_iter().map(body).collect(), end))
}

// In a community of the newest form its account counts if it is admitted itself (N04). Each list of people has its own
// limit: SQLite gathers all rows of a UNION before it limits them.
const LISTED: &str = concat!(
    "SELECT json_object('listed_at', l.listed_at, 'community', ",
    community_json!(),
    ", 'people', iif(EXISTS (SELECT 1 FROM members_only x WHERE x.community_uri = c.uri), NULL, (
        SELECT json_array(count(*), count(*) FILTER (WHERE p.state IN ('online', 'away', 'dnd')))
        FROM (SELECT c.owner_did AS did WHERE c.rkey <> 'self'
              UNION SELECT * FROM (SELECT DISTINCT member_did FROM memberships
                  WHERE community_uri = c.uri AND NOT hidden ORDER BY member_did LIMIT ?4)
              UNION SELECT * FROM (SELECT DISTINCT member_did FROM members
                  WHERE community_uri = c.uri AND NOT hidden ORDER BY member_did LIMIT ?4)
              ORDER BY 1 LIMIT ?4) w
        LEFT JOIN people p ON p.did = w.did
        WHERE ",
    takes_part!("w.did"),
    "))) AS row
    FROM listings l CROSS JOIN communities c ON c.uri = l.community_uri
    WHERE (l.listed_at, l.community_uri) < (?1, ?2) AND NOT c.hidden AND NOT ",
    moved!(),
    " ORDER BY l.listed_at DESC, l.community_uri DESC LIMIT ?3"
);
