//! Removes what has come to its end, a few pieces at a time between batches.

use crate::platform::clock::now;
use crate::platform::d1::D1;
use crate::platform::log;
use crate::storage::Fault;
use crate::storage::sweep::{Place, sweep, sweep_approvals, sweep_people};
use crate::wire::time::Micros;

/// How often what has come to its end is removed, in microseconds, and after how many events at the
/// latest: a flood is kept within so many rows of every bound.
const SWEEP_EVERY: i64 = 60_000_000;

const SWEEP_EVENTS: u64 = 5_000;

/// Pieces removed at a time: twice of what so many events can bring.
const SWEEP_PIECES: usize = 5;

/// How often a few people are looked at of whom nothing may be left, in microseconds.
const SWEEP_PEOPLE_EVERY: i64 = 10 * 60_000_000;

/// What was swept, and when.
#[derive(Default)]
pub(super) struct Swept {
    at: Micros,
    events: u64,
    people_at: Micros,
    place: Place,
}

impl Swept {
    /// Removes what has come to its end, if it is time. `events` were committed since the object
    /// woke. After a fault, the next time makes up for it.
    pub(super) async fn sweep(&mut self, db: &D1, events: u64) {
        let now = now();
        if now.0 - self.at.0 >= SWEEP_EVERY || events - self.events >= SWEEP_EVENTS {
            (self.at, self.events) = (now, events);
            if let Err(fault) = self.remove(db, now).await {
                log::fault(&fault, "expired rows are deleted later");
            }
        }
    }

    async fn remove(&mut self, db: &D1, now: Micros) -> Result<(), Fault> {
        for _ in 0..SWEEP_PIECES {
            if !sweep(db, &mut self.place, now).await? {
                break;
            }
        }
        for _ in 0..SWEEP_PIECES {
            if !sweep_approvals(db, &mut self.place).await? {
                break;
            }
        }
        if now.0 - self.people_at.0 >= SWEEP_PEOPLE_EVERY {
            self.people_at = now;
            sweep_people(db, &mut self.place, now).await?;
        }
        Ok(())
    }
}
