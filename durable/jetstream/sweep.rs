//! Deletes expired rows, a few pieces at a time between batches.

use crate::platform::clock::now;
use crate::platform::d1::D1;
use crate::platform::log;
use crate::storage::Fault;
use crate::storage::sweep::{Place, sweep, sweep_approvals, sweep_people};
use crate::wire::time::Micros;

/// How often expired rows are deleted, in microseconds, and after how many events at the latest: a
/// flood then exceeds no limit by more than this many rows.
const SWEEP_EVERY: i64 = 60_000_000;

const SWEEP_EVENTS: u64 = 5_000;

/// The pieces per sweep: twice what that many events can add.
const SWEEP_PIECES: usize = 5;

/// How often a few people are checked who may have no data left, in microseconds.
const SWEEP_PEOPLE_EVERY: i64 = 10 * 60_000_000;

/// The state of the sweep, and when it last ran.
#[derive(Default)]
pub(super) struct Swept {
    at: Micros,
    events: u64,
    people_at: Micros,
    place: Place,
}

impl Swept {
    /// Deletes expired rows, if it is time. `events` were committed since the object woke. After a
    /// fault, the next sweep repeats it.
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
