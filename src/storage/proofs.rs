//! What is stored about people's proofs: that they once showed one (X13), and since when socket
//! tokens are valid (R26). Each read also says whether the person is erased: every caller needs both.

use serde::Deserialize;

use super::{Fault, Statement, Store, rows};
use crate::domain::erasure::mark;
use crate::wire::ids::Did;
use crate::wire::time::Micros;

/// The age after which a proof is noted again: at most one write per day, however many proofs a
/// person shows.
const NOTED_FOR: i64 = 24 * 3_600_000_000;

/// What is stored about one person.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Noted {
    /// When a proof was last noted.
    pub noted_at: Option<Micros>,
    /// Whether they ever showed a proof.
    pub proven: bool,
    /// Tokens issued before this are invalid.
    pub revoked_at: Option<Micros>,
    /// Whether they are erased (I57).
    pub erased: bool,
}

impl Noted {
    /// Whether a proof shown at `now` must be noted again.
    pub fn is_stale(&self, now: Micros) -> bool {
        !self.proven || self.noted_at.is_none_or(|at| now.0.saturating_sub(at.0) >= NOTED_FOR)
    }
}

/// What is stored about a person.
pub async fn find(store: &impl Store, did: &Did) -> Result<Noted, Fault> {
    let statement = Statement::new(FIND, [did.as_str().into(), mark(did).into()]);
    let found: Vec<Noted> = rows(store.read(&[statement]).await?.first())?;
    Ok(found.into_iter().next().unwrap_or_default())
}

/// A person showed a proof. It is not noted for an erased person (I57).
pub async fn prove(store: &impl Store, did: &Did, now: Micros) -> Result<(), Fault> {
    let statement = Statement::new(PROVE, [did.as_str().into(), now.sortable().into(), mark(did).into()]);
    store.write(&[statement]).await.map(drop)
}

/// Revokes the socket tokens of a person that were issued before `now`; and no browser takes pushes for them any more: who
/// had a token could name one.
pub async fn revoke(store: &impl Store, did: &Did, now: Micros) -> Result<(), Fault> {
    let revoked = Statement::new(REVOKE, [did.as_str().into(), now.sortable().into()]);
    store.write(&[revoked, super::push::unsubscribe_all(did)]).await.map(drop)
}

const FIND: &str = "
    SELECT json_object('noted_at', noted_at, 'proven', json(iif(proven, 'true', 'false')), 'revoked_at', revoked_at,
        'erased', json(iif(EXISTS (SELECT 1 FROM erasures WHERE hash = ?2), 'true', 'false'))) AS row
    FROM (SELECT ?1 AS whose) LEFT JOIN proofs ON did = whose";

const PROVE: &str = "
    INSERT INTO proofs (did, noted_at, proven)
    SELECT ?1, ?2, 1 WHERE NOT EXISTS (SELECT 1 FROM erasures WHERE hash = ?3)
    ON CONFLICT (did) DO UPDATE SET noted_at = max(noted_at, excluded.noted_at), proven = 1
    RETURNING json_quote(did) AS row";

const REVOKE: &str = "
    INSERT INTO proofs (did, noted_at, proven, revoked_at) VALUES (?1, ?2, 0, ?2)
    ON CONFLICT (did) DO UPDATE SET noted_at = max(noted_at, excluded.noted_at),
        revoked_at = max(coalesce(revoked_at, ''), excluded.revoked_at)
    RETURNING json_quote(did) AS row";
