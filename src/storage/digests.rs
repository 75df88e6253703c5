//! The last digest of each person (U27): how far it counted. A row per person who got one.

use super::{Fault, Statement, Store};
use crate::wire::ids::Did;
use crate::wire::time::Micros;

/// Notes that a digest of a person counts up to the notification `last`, before it is sent. Returns whether it is to be
/// sent: `false` if one that counts as far was noted before.
pub async fn claim(store: &impl Store, did: &Did, last: i64, now: Micros) -> Result<bool, Fault> {
    let claim = Statement::new(CLAIM, [did.as_str().into(), last.into(), now.sortable().into()]);
    Ok(store.write(&[claim]).await?.first().is_some_and(|rows| !rows.is_empty()))
}

const CLAIM: &str = "
    INSERT INTO digests (did, through, sent_at) VALUES (?1, CAST(?2 AS INTEGER), ?3)
    ON CONFLICT (did) DO UPDATE SET through = excluded.through, sent_at = excluded.sent_at
    WHERE excluded.through > through RETURNING 'null' AS row";
