//! What was made under an `Idempotency-Key`, for a day (X23).

use serde::Deserialize;

use super::{Fault, Statement, Store, rows};
use crate::domain::moderation::Once;
use crate::wire::time::Micros;

/// How long a key means the same act.
const KEPT: i64 = 24 * 3_600_000_000;
/// Keys of one caller that are kept, the newest: who sends more in a day repeats none of the first.
const OF_ONE: i64 = 10_000;

/// What was answered under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Whether the request was the same.
    pub is_same: bool,
    /// What was made.
    pub answer: String,
}

/// The earliest time of a key that still means something.
pub fn oldest(now: Micros) -> String {
    Micros(now.0.saturating_sub(KEPT)).sortable()
}

/// What was made under this key of this caller, if anything was.
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

/// Notes what was made under a key. One that is too old means nothing any more and is replaced.
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
