//! Communities that their owners list in the directory (R52): the setting. `reads::directory` has the directory.

use super::audit::{self, Act};
use super::{Fault, Statement, Store, rows};
use crate::wire::time::Micros;

/// Lists the community of the act from now on, or not any more, and logs the act (X22). Does nothing if it is so
/// already.
pub async fn set(store: &impl Store, act: &Act<'_>, on: bool, now: Micros) -> Result<(), Fault> {
    let community = act.community.as_str();
    let known =
        Statement::new("SELECT 'true' AS row FROM listings WHERE community_uri = ?1", [community.into()]);
    let is_listed = !rows::<bool>(store.read(&[known]).await?.first())?.is_empty();
    if is_listed == on {
        return Ok(());
    }
    let change = if on {
        Statement::new(
            "INSERT INTO listings (community_uri, listed_at) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
            [community.into(), now.sortable().into()],
        )
    } else {
        Statement::new("DELETE FROM listings WHERE community_uri = ?1", [community.into()])
    };
    let logged = audit::add(std::slice::from_ref(act), now);
    store.write(&[change].into_iter().chain(logged).collect::<Vec<_>>()).await.map(drop)
}
