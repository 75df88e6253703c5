//! Deletes expired rows, a few pieces at a time between batches.

use crate::platform::clock::now;
use crate::platform::d1::D1;
use crate::platform::log;
use crate::storage::sweep::{Place, sweep, sweep_approvals, sweep_people};
use crate::storage::{Fault, search};
use crate::wire::time::Micros;

/// How often expired rows are deleted, in microseconds, and after how many events at the latest: a
/// flood then exceeds no limit by more than this many rows.
const SWEEP_EVERY: i64 = 60_000_000;

const SWEEP_EVENTS: u64 = 5_000;

/// The pieces per sweep: twice what that many events can add.
const SWEEP_PIECES: usize = 5;

/// How often a few people are checked who may have no data left, in microseconds.
const SWEEP_PEOPLE_EVERY: i64 = 10 * 60_000_000;

/// The pieces of messages whose words are added per sweep (U72).
const WORDS_PIECES: usize = 40;

/// The state of the sweep, and when it last ran.
#[derive(Default)]
pub(super) struct Swept {
    at: Micros,
    events: u64,
    people_at: Micros,
    place: Place,
    /// Whether the words of messages are there as far as they are wanted (U72).
    has_words: bool,
}

impl Swept {
    /// Deletes expired rows, if it is time. `events` were committed since the object woke. After a
    /// fault, the next sweep repeats it.
    pub(super) async fn sweep(&mut self, db: &D1, searchable: bool, events: u64) {
        let now = now();
        if now.0 - self.at.0 >= SWEEP_EVERY || events - self.events >= SWEEP_EVENTS {
            (self.at, self.events) = (now, events);
            if let Err(fault) = self.remove(db, now).await {
                log::fault(&fault, "expired rows are deleted later");
            }
            if let Err(fault) = self.keep_words(db, searchable).await {
                log::fault(&fault, "the words of earlier messages come or go with the next sweep");
            }
        }
    }

    /// U72: adds the words of messages that came while search was off, or deletes all words while it is off.
    async fn keep_words(&mut self, db: &D1, searchable: bool) -> Result<(), Fault> {
        if self.has_words {
            return Ok(());
        }
        if !searchable {
            search::clear(db).await?;
            self.has_words = true;
            return Ok(());
        }
        for _ in 0..WORDS_PIECES {
            if !search::fill(db).await? {
                self.has_words = true;
                break;
            }
        }
        Ok(())
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
