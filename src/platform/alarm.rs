//! An object's alarm: there is one, and setting it moves it.

use worker::State;

use super::log;
use crate::storage::Fault;

/// Has the object woken in so many milliseconds. If that fails it is logged, with what happens
/// `instead`; whether it did not.
pub async fn ring_in(state: &State, millis: i64, instead: &str) -> bool {
    let set = state.storage().set_alarm(millis).await;
    if let Err(error) = &set {
        log::fault(&Fault::new("setting the alarm", error), instead);
    }
    set.is_ok()
}
