//! Communities that their owners list in the directory (R52): the setting. `reads::directory` has the directory.

use super::audit::{self, Act};
use super::{Fault, Statement, Store, rows};
use crate::wire::time::Micros;

/// The most listed communities of one owner.
pub const LISTED_MAX: i64 = 20;

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    /// It is so now, or was so already.
    Done,
    /// Its owner lists as many as they may.
    TooMany,
    /// The community is not known.
    NoCommunity,
}

/// Lists the community of the act from now on, or not any more, and logs the act (X22). Does nothing if it is so
/// already. One transaction decides, so that of two equal requests one is logged.
pub async fn set(store: &impl Store, act: &Act<'_>, on: bool, now: Micros) -> Result<Set, Fault> {
    let community = act.community.as_str();
    let change = if on {
        Statement::new(LIST, [community.into(), now.sortable().into(), LISTED_MAX.into()])
    } else {
        Statement::new("DELETE FROM listings WHERE community_uri = ?1", [community.into()])
    };
    let state = Statement::new(STATE, [community.into()]);
    let logged = if on { audit::add_listed(act, LISTED_MAX, now) } else { audit::add_unlisted(act, now) };
    let statements: Vec<Statement> = logged.into_iter().chain([change, state]).collect();
    let (is_known, is_listed) =
        rows::<(i64, i64)>(store.write(&statements).await?.last())?.pop().unwrap_or_default();
    Ok(match (on, is_listed, is_known) {
        (false, ..) | (true, 1, _) => Set::Done,
        (true, _, 0) => Set::NoCommunity,
        (true, ..) => Set::TooMany,
    })
}

/// The listings of these communities (JSON) end with them (I70).
pub(super) fn end_of(communities: String) -> Statement {
    Statement::new(
        "DELETE FROM listings WHERE community_uri IN (SELECT value FROM json_each(?1))",
        [communities.into()],
    )
}

// The community ?1, if it can be listed: it is known and not listed, and its owner lists fewer than `$max`.
macro_rules! listable {
    ($max:literal) => {
        concat!(
            "FROM communities c WHERE c.uri = ?1
                AND NOT EXISTS (SELECT 1 FROM listings WHERE community_uri = ?1)
                AND (SELECT count(*) FROM listings WHERE community_uri > 'at://' || c.owner_did || '/'
                     AND community_uri < 'at://' || c.owner_did || '0') < ",
            $max
        )
    };
}
pub(super) use listable;

const LIST: &str =
    concat!("INSERT INTO listings (community_uri, listed_at) SELECT c.uri, ?2 ", listable!("?3"));

const STATE: &str = "
    SELECT json_array(EXISTS (SELECT 1 FROM communities WHERE uri = ?1),
        EXISTS (SELECT 1 FROM listings WHERE community_uri = ?1)) AS row";
