//! The result of each request with an `Idempotency-Key`, kept for a day (X23).

use std::collections::BTreeSet;

use serde::Deserialize;

use super::{Fault, Statement, Store, chunks, rows};
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
    Ok(find_all(store, &[(caller, Some(once))], now).await?.into_iter().next().flatten())
}

/// The stored answers for these callers and keys, one for each; `None` where there is none, or no key. Without keys
/// the database is not asked.
pub async fn find_all(
    store: &impl Store,
    keys: &[(&str, Option<&Once>)],
    now: Micros,
) -> Result<Vec<Option<Answered>>, Fault> {
    #[derive(Deserialize)]
    struct Found {
        request: String,
        answer: String,
    }
    let statement = |caller: &str, once: &Once| {
        Statement::new(
            "SELECT json_object('request', request, 'answer', answer) AS row FROM idempotency_keys
             WHERE caller = ?1 AND key = ?2 AND at > ?3",
            [caller.into(), once.key.as_str().into(), oldest(now).into()],
        )
    };
    let asked = keys.iter().filter_map(|(caller, once)| once.map(|once| statement(caller, once)));
    let asked: Vec<Statement> = asked.collect();
    let answers = if asked.is_empty() { Vec::new() } else { store.read(&asked).await? };
    let mut answers = answers.iter();
    let answered =
        |once: &Once, row: Found| Answered { is_same: row.request == once.request, answer: row.answer };
    keys.iter()
        .map(|(_, once)| {
            let Some(once) = once else { return Ok(None) };
            Ok(rows(answers.next())?.into_iter().next().map(|row| answered(once, row)))
        })
        .collect()
}

/// Stores that these callers' requests were answered, and replaces expired keys.
pub fn keep(answered: &[(&str, &Once)], now: Micros) -> Vec<Statement> {
    let row = |(caller, once): &(&str, &Once)| ((*caller).to_owned(), once.key.clone(), once.request.clone());
    let kept = chunks(answered.iter().map(row)).into_iter().map(|text| {
        Statement::new(
            "INSERT INTO idempotency_keys (caller, key, request, answer, at)
             SELECT value ->> 0, value ->> 1, value ->> 2, '', ?2 FROM json_each(?1) WHERE true
             ON CONFLICT (caller, key) DO UPDATE SET request = excluded.request, answer = excluded.answer,
                 at = excluded.at",
            [text.into(), now.sortable().into()],
        )
    });
    let callers: BTreeSet<&str> = answered.iter().map(|(caller, _)| *caller).collect();
    let bounded = callers.into_iter().map(|caller| {
        Statement::new(
            "DELETE FROM idempotency_keys WHERE caller = ?1 AND at <= (
                 SELECT at FROM idempotency_keys WHERE caller = ?1 ORDER BY at DESC LIMIT 1 OFFSET ?2)",
            [caller.into(), OF_ONE.into()],
        )
    });
    kept.chain(bounded).collect()
}
