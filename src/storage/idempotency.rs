//! The result of each request with an `Idempotency-Key`, kept for a day (X23).

use serde::Deserialize;

use super::{Fault, Statement, Store, rows};
use crate::domain::moderation::Once;
use crate::wire::time::Micros;

/// How long a key identifies the same request.
const KEPT: i64 = 24 * 3_600_000_000;
/// The most keys per caller, the newest: a caller who sends more in a day will not repeat the
/// first.
const OF_ONE: i64 = 10_000;

/// The stored answer for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Whether the request is the same as the first one.
    pub is_same: bool,
    /// The first answer.
    pub answer: String,
}

/// The earliest time at which a key that is still valid was stored.
pub fn oldest(now: Micros) -> String {
    Micros(now.0.saturating_sub(KEPT)).sortable()
}

/// The stored answer for this caller and key, if there is one.
pub async fn find(
    store: &impl Store,
    caller: &str,
    once: &Once,
    now: Micros,
) -> Result<Option<Answered>, Fault> {
    #[derive(Deserialize)]
    struct Found {
        request: String,
        answer: String,
    }
    let statement = Statement::new(
        "SELECT json_object('request', request, 'answer', answer) AS row FROM idempotency_keys
         WHERE caller = ?1 AND key = ?2 AND at > ?3",
        [caller.into(), once.key.as_str().into(), oldest(now).into()],
    );
    let found: Vec<Found> = rows(store.read(&[statement]).await?.first())?;
    let answered = |row: Found| Answered { is_same: row.request == once.request, answer: row.answer };
    Ok(found.into_iter().next().map(answered))
}

/// Stores the answer for a key, and replaces an expired one.
pub fn keep(caller: &str, once: &Once, answer: &str, now: Micros) -> [Statement; 2] {
    [
        Statement::new(
            "INSERT INTO idempotency_keys (caller, key, request, answer, at) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (caller, key) DO UPDATE SET request = excluded.request, answer = excluded.answer,
                 at = excluded.at",
            [
                caller.into(),
                once.key.as_str().into(),
                once.request.as_str().into(),
                answer.into(),
                now.sortable().into(),
            ],
        ),
        Statement::new(
            "DELETE FROM idempotency_keys WHERE caller = ?1 AND at <= (
                 SELECT at FROM idempotency_keys WHERE caller = ?1 ORDER BY at DESC LIMIT 1 OFFSET ?2)",
            [caller.into(), OF_ONE.into()],
        ),
    ]
}
