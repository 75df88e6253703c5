//! An object's alarm. Each object has exactly one: setting it replaces an earlier one.

use std::cell::Cell;

use worker::{State, Storage};

use super::clock::now;
use super::log;
use crate::domain::fault_code::Code;
use crate::storage::Fault;
use crate::wire::time::Micros;

/// An alarm that is later than this, in microseconds, counts as lost.
const LATE: i64 = 60_000_000;

/// The alarm of an object, and the time it is set to. An object that has just woken does not know that time.
pub struct Alarm {
    storage: Storage,
    at: Cell<Option<Micros>>,
    /// For the log: what happens if the alarm cannot be set.
    instead: &'static str,
}

impl Alarm {
    /// The alarm of the object with this state. If the alarm cannot be set, the log says what happens `instead`.
    pub fn of(state: &State, instead: &'static str) -> Self {
        Self { storage: state.storage(), at: Cell::new(None), instead }
    }

    /// The alarm rang, so none is set now.
    pub fn rang(&self) {
        self.at.set(None);
    }

    /// Wakes the object after this many milliseconds. `false` if the alarm could not be set.
    pub async fn ring_in(&self, millis: i64) -> bool {
        self.at.set(Some(Micros(now().0.saturating_add(millis.saturating_mul(1_000)))));
        let set = self.storage.set_alarm(millis).await;
        if let Err(error) = &set {
            self.at.set(None);
            log::fault(&Fault::coded(Code::Object, "setting the alarm", error), self.instead);
        }
        set.is_ok()
    }

    /// Wakes the object after at most this many milliseconds. Setting an alarm is a write, so an earlier one stays.
    pub async fn ring_within(&self, millis: i64) {
        let now = now();
        let at = now.0.saturating_add(millis.saturating_mul(1_000));
        if !self.at.get().is_some_and(|set| set.0 <= at && set.0.saturating_add(LATE) > now.0) {
            self.ring_in(millis).await;
        }
    }

    /// Wakes the object at this moment or earlier.
    pub async fn ring_by(&self, at: Micros) {
        self.ring_within(at.millis().saturating_sub(now().millis()).max(0) + 1).await;
    }

    /// Deletes the alarm. If that fails, it rings once more.
    pub async fn delete(&self) {
        self.at.set(None);
        if let Err(error) = self.storage.delete_alarm().await {
            log::fault(&Fault::coded(Code::Object, "deleting the alarm", error), "it rings once more");
        }
    }

    /// Whether an alarm is set. Asks the runtime if the object does not know.
    pub async fn is_set(&self) -> bool {
        self.at.get().is_some() || matches!(self.storage.get_alarm().await, Ok(Some(_)))
    }
}
