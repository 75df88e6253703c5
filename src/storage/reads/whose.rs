//! Which community a record belongs to.

use super::super::{Fault, Statement, Store, rows};
use crate::wire::ids::{AtUri, Collection};

/// The community of a channel, category, role or membership, as its record says; `None` if the record is
/// not known, or is of another kind.
pub async fn community_of(store: &impl Store, uri: &AtUri) -> Result<Option<AtUri>, Fault> {
    let Some((_, text)) = TABLES.iter().find(|(collection, _)| uri.is(*collection)) else { return Ok(None) };
    let statement = Statement::new(text, [uri.as_str().into()]);
    Ok(rows(store.read(&[statement]).await?.first())?.pop())
}

const TABLES: [(Collection, &str); 4] = [
    (Collection::Channel, CHANNEL),
    (Collection::Category, CATEGORY),
    (Collection::Role, ROLE),
    (Collection::Membership, MEMBERSHIP),
];
const CHANNEL: &str = "SELECT json_quote(community_uri) AS row FROM channels WHERE uri = ?1";
const CATEGORY: &str = "SELECT json_quote(community_uri) AS row FROM categories WHERE uri = ?1";
const ROLE: &str = "SELECT json_quote(community_uri) AS row FROM roles WHERE uri = ?1";
const MEMBERSHIP: &str = "SELECT json_quote(community_uri) AS row FROM memberships WHERE uri = ?1";
