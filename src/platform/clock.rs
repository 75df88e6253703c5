//! The only clock and the only source of random numbers and secrets; and the pause that needs both.

use std::time::Duration;

use worker::{Delay, js_sys};

use crate::storage::Fault;
use crate::wire::time::Micros;

/// The time. It stands still while code runs (platform facts 5.5), so it does not order steps
/// within one event.
pub fn now() -> Micros {
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    #[expect(clippy::cast_possible_wrap, reason = "milliseconds since 1970 fit for 292 million years")]
    let millis = worker::Date::now().as_millis() as i64;
    Micros::from_millis(millis)
}

/// A random number from 0 to 1, for jitter and for spreading load. Not for secrets.
pub fn chance() -> f64 {
    js_sys::Math::random()
}

/// Bytes that nobody can guess: the runtime's `crypto.getRandomValues`.
pub fn unguessable() -> Result<[u8; 8], Fault> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| Fault::new("asking for random bytes", error))?;
    Ok(bytes)
}

/// A random number below 2^53, the largest that JavaScript keeps exact. Not for secrets.
pub fn lot() -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 2^53")]
    let number = (chance() * 9_007_199_254_740_992.0) as u64;
    number
}

thread_local! {
    static RUN: String = format!("{}-{}", now().0, chance());
}

/// An identifier of this run of the runtime: it stays the same until the process or this isolate
/// restarts. An object that merely slept finds the same value again (platform facts 2.2).
pub fn run() -> String {
    RUN.with(String::clone)
}

/// Waits after the `losses`th commit in a row that lost against another writer: a random time of up
/// to 4, 8, 16 … 1024 ms, so that concurrent decisions spread until each succeeds.
pub async fn lost_a_race(losses: u32) {
    let most = f64::from(2_u32 << losses.min(9));
    Delay::from(Duration::from_secs_f64(chance() * most / 1000.0)).await;
}
