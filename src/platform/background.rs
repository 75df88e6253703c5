//! Work in the background that is tried again until it succeeds: the pauses grow, and a row of faults is logged once.

use std::time::Duration;

use worker::Delay;
use worker::wasm_bindgen_futures::spawn_local;

use super::log;
use crate::domain::pause::growing;
use crate::storage::Fault;

/// The pauses after faults in a row, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Pauses {
    first: i64,
    longest: i64,
    failures: u32,
}

impl Pauses {
    /// The first pause; each further one is twice as long, up to `longest`.
    pub const fn new(first: i64, longest: i64) -> Self {
        Self { first, longest, failures: 0 }
    }

    /// It went well: the next row begins anew.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// Waits after a fault. The first of a row is logged, with what happens `instead`.
    pub async fn after(&mut self, fault: &Fault, instead: &str) {
        if self.failures == 0 {
            log::fault(fault, instead);
        }
        let millis = growing(self.first, self.failures, self.longest);
        self.failures = self.failures.saturating_add(1);
        Delay::from(Duration::from_millis(millis.unsigned_abs())).await;
    }
}

/// Does `work` in the background, again and again after a fault, until it succeeds; `instead` is logged.
pub fn until_done(
    mut pauses: Pauses,
    instead: &'static str,
    mut work: impl AsyncFnMut() -> Result<(), Fault> + 'static,
) {
    spawn_local(async move {
        while let Err(fault) = work().await {
            pauses.after(&fault, instead).await;
        }
    });
}
