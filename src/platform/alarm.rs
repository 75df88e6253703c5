//! An object's alarm: there is one, and setting it replaces it.

use worker::State;

use super::log;
use crate::storage::Fault;

/// Sets the alarm to ring after this many milliseconds, and returns whether that succeeded. A
/// failure is logged, with what happens `instead`.
pub async fn ring_in(state: &State, millis: i64, instead: &str) -> bool {
    let set = state.storage().set_alarm(millis).await;
    if let Err(error) = &set {
        log::fault(&Fault::new("setting the alarm", error), instead);
    }
    set.is_ok()
}
