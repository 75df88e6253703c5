//! How much of which community reaches people at once (U25, R56, R59).

use std::collections::BTreeMap;

use super::reads::communities::takes_part;
use super::{Fault, Statement, Store, rows};
use crate::domain::urgency::Rhythm;
use crate::wire::ids::Did;
use crate::wire::time::Micros;

/// The most rhythms of one person, the newest (U25).
pub const KEPT: i64 = 1_000;

/// The rhythms of a person, by AT-URI of a community; the one of all others has an empty name.
pub async fn of_person(store: &impl Store, did: &Did) -> Result<BTreeMap<String, Rhythm>, Fault> {
    let found: Vec<(String, Rhythm)> =
        rows(store.read(&[Statement::new(OF_PERSON, [did.as_str().into()])]).await?.first())?;
    Ok(found.into_iter().collect())
}

/// Sets the rhythm of a person in a community, or, without one, in all others; `None` forgets it. Returns `false`, and
/// sets nothing, if they take no part in the community.
pub async fn set(
    store: &impl Store,
    did: &Did,
    community: Option<&str>,
    rhythm: Option<Rhythm>,
    now: Micros,
) -> Result<bool, Fault> {
    let place = [did.as_str().into(), community.unwrap_or_default().into()];
    let Some(rhythm) = rhythm else {
        store.write(&[Statement::new(FORGET, place)]).await?;
        return Ok(true);
    };
    let set = place.into_iter().chain([rhythm.word().into(), now.sortable().into()]);
    let bound = Statement::new(BOUND, [did.as_str().into(), KEPT.into()]);
    let sql = if community.is_some() { SET } else { SET_EVERYWHERE };
    let done = store.write(&[Statement::new(sql, set), bound]).await?;
    Ok(done.first().is_some_and(|rows| !rows.is_empty()))
}

const OF_PERSON: &str = "
    SELECT json_array(community_uri, rhythm) AS row FROM rhythms WHERE did = ?1 ORDER BY community_uri";

const FORGET: &str = "DELETE FROM rhythms WHERE did = ?1 AND community_uri = ?2";

macro_rules! set {
    ($from:expr) => {
        concat!(
            "INSERT INTO rhythms (did, community_uri, rhythm, set_at) SELECT ?1, ?2, ?3, ?4 ",
            $from,
            " ON CONFLICT (did, community_uri) DO UPDATE SET rhythm = excluded.rhythm, set_at = excluded.set_at
              RETURNING 'null' AS row"
        )
    };
}

const SET: &str =
    set!(concat!("FROM communities c WHERE c.uri = ?2 AND NOT c.hidden AND ", takes_part!("?1")));
const SET_EVERYWHERE: &str = set!("WHERE true");

const BOUND: &str = "
    DELETE FROM rhythms WHERE did = ?1 AND community_uri IN (
        SELECT community_uri FROM rhythms WHERE did = ?1
        ORDER BY set_at DESC, community_uri LIMIT -1 OFFSET ?2)";
