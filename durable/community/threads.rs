//! What events about threads say (contract U33): it is read from D1 when they come, after the commit that caused them.
//!
//! The call that brings them waits for that. Another one may come in between, and then has the same rows and perhaps
//! more (`domain::pending`); whichever is numbered first counts.

use super::log::CommunityLog;
use crate::domain::community::threads::{Named, leave_out_repeated, to_read, write};
use crate::domain::pending::OutboxEvents;
use crate::platform::d1::D1;
use crate::platform::log;
use crate::storage::Fault;
use crate::storage::reads::threads::states;
use crate::wire::events::ThreadNow;

impl CommunityLog {
    /// Writes into new events about threads what these have now. A client reads itself what could not be read (R71).
    pub(super) async fn read_threads(&self, rows: &mut [OutboxEvents]) -> Result<(), Fault> {
        leave_out_repeated(rows);
        let announced = self.with(|core| Ok(core.counters().announced))?;
        let wanted = to_read(rows, announced);
        if wanted.is_empty() {
            return Ok(());
        }
        match self.states_of(wanted).await {
            Ok(read) => write(rows, &read),
            Err(fault) => log::fault(&fault, "clients read themselves how long a thread is"),
        }
        Ok(())
    }

    async fn states_of(&self, wanted: Vec<Named>) -> Result<Vec<(Named, ThreadNow)>, Fault> {
        states(&D1::of(&self.env)?, wanted).await
    }
}
