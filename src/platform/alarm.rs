//! An object's alarm. An object has one, and setting it moves it.

use std::cell::Cell;

use worker::{State, Storage};

use super::clock::now;
use super::log;
use crate::storage::Fault;
use crate::wire::time::Micros;

/// An alarm that is later than this, in microseconds, counts as lost.
const LATE: i64 = 60_000_000;

/// The alarm of an object, and when it rings as far as the object knows: one that has just woken does not.
pub struct Alarm {
    storage: Storage,
    at: Cell<Option<Micros>>,
    /// What happens if it cannot be set.
    instead: &'static str,
}

impl Alarm {
    /// The alarm of the object with this state. What happens if it cannot be set is logged: `instead`.
    pub fn of(state: &State, instead: &'static str) -> Self {
        Self { storage: state.storage(), at: Cell::new(None), instead }
    }

    /// It rang: there is none any more.
    pub fn rang(&self) {
        self.at.set(None);
    }

    /// Has the object woken in this many milliseconds; whether that can be.
    pub async fn ring_in(&self, millis: i64) -> bool {
        self.at.set(Some(Micros(now().0.saturating_add(millis.saturating_mul(1_000)))));
        let set = self.storage.set_alarm(millis).await;
        if let Err(error) = &set {
            self.at.set(None);
            log::fault(&Fault::new("setting the alarm", error), self.instead);
        }
        set.is_ok()
    }

    /// Has the object woken within this many milliseconds. Setting it is a write, so an alarm that rings sooner stays.
    pub async fn ring_within(&self, millis: i64) {
        let now = now();
        let at = now.0.saturating_add(millis.saturating_mul(1_000));
        if !self.at.get().is_some_and(|set| set.0 <= at && set.0.saturating_add(LATE) > now.0) {
            self.ring_in(millis).await;
        }
    }

    /// Has the object woken at this moment, or sooner.
    pub async fn ring_by(&self, at: Micros) {
        self.ring_within(at.millis().saturating_sub(now().millis()).max(0) + 1).await;
    }

    /// There is nothing to wake for. An alarm that cannot be deleted rings once more.
    pub async fn delete(&self) {
        self.at.set(None);
        if let Err(error) = self.storage.delete_alarm().await {
            log::fault(&Fault::new("deleting the alarm", error), "it rings once more");
        }
    }

    /// Whether the object will be woken, asked of the runtime if the object does not know.
    pub async fn is_set(&self) -> bool {
        self.at.get().is_some() || matches!(self.storage.get_alarm().await, Ok(Some(_)))
    }
}
