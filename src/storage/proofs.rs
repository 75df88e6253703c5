//! What is remembered of people's proofs: that they once showed one (X13), and from when on socket
//! tokens count (R26).

use serde::Deserialize;

use super::{Fault, Statement, Store, rows};
use crate::wire::ids::Did;
use crate::wire::time::Micros;

/// How old what was noted may be before it is noted again: it is written at most once a day, however
/// many proofs somebody shows.
const NOTED_FOR: i64 = 24 * 3_600_000_000;

/// What is remembered of one person.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Noted {
    /// When that was noted last.
    pub noted_at: Micros,
    /// Whether they showed a proof.
    pub proven: bool,
    /// Tokens made before this are none.
    pub revoked_at: Option<Micros>,
}

impl Noted {
    /// Whether a proof shown at `now` is to be noted again.
    pub fn is_stale(&self, now: Micros) -> bool {
        !self.proven || now.0.saturating_sub(self.noted_at.0) >= NOTED_FOR
    }
}

/// What is remembered of a person, if anything is.
pub async fn find(store: &impl Store, did: &Did) -> Result<Option<Noted>, Fault> {
    let statement = Statement::new(FIND, [did.as_str().into()]);
    let found: Vec<Noted> = rows(store.read(&[statement]).await?.first())?;
    Ok(found.into_iter().next())
}

/// A person showed a proof.
pub async fn prove(store: &impl Store, did: &Did, now: Micros) -> Result<(), Fault> {
    let statement = Statement::new(PROVE, [did.as_str().into(), now.sortable().into()]);
    store.write(&[statement]).await.map(drop)
}

/// Socket tokens of a person made before `now` are none any more.
pub async fn revoke(store: &impl Store, did: &Did, now: Micros) -> Result<(), Fault> {
    let statement = Statement::new(REVOKE, [did.as_str().into(), now.sortable().into()]);
    store.write(&[statement]).await.map(drop)
}

const FIND: &str = "
    SELECT json_object('noted_at', noted_at, 'proven', json(iif(proven, 'true', 'false')),
        'revoked_at', revoked_at) AS row
    FROM proofs WHERE did = ?1";

const PROVE: &str = "
    INSERT INTO proofs (did, noted_at, proven) VALUES (?1, ?2, 1)
    ON CONFLICT (did) DO UPDATE SET noted_at = max(noted_at, excluded.noted_at), proven = 1
    RETURNING json_quote(did) AS row";

const REVOKE: &str = "
    INSERT INTO proofs (did, noted_at, proven, revoked_at) VALUES (?1, ?2, 0, ?2)
    ON CONFLICT (did) DO UPDATE SET noted_at = max(noted_at, excluded.noted_at),
        revoked_at = max(coalesce(revoked_at, ''), excluded.revoked_at)
    RETURNING json_quote(did) AS row";
