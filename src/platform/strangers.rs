//! What people of whom the index knows nothing may have asked of those on whom everybody depends.
//!
//! Promises: a question waits for its turn for a moment, not for long; what strangers ask has its own
//! allowance with each of them (`domain::allowance`), in each isolate.

use std::cell::RefCell;
use std::time::Duration;

use worker::Delay;

use super::clock::now;
use crate::domain::allowance::{Allowance, Rate};

/// Questions of strangers that lead to nobody: eight a second, and some at once. A directory serves
/// hundreds; one that people leave in peace has patience for those whom it knows.
const RATE: Rate = Rate { every: 125_000, at_once: 20 };
/// How long a question waits for its turn, and how often it looks. By looking, not by being woken: a
/// request must not wake another one (platform facts 5.5).
const LOOKS: u32 = 10;
const LOOK_EVERY: Duration = Duration::from_millis(40);

/// On whom everybody depends.
#[derive(Clone, Copy, Debug)]
pub enum Service {
    /// `PLC_URL`
    Directory,
    /// `DOH_URL`
    Names,
    /// `BSKY_API_URL`
    Profiles,
}

thread_local! {
    // Plain data only: nothing here belongs to a request (platform facts 5.5).
    static LEFT: RefCell<[Allowance; 3]> = const { RefCell::new([Allowance::new(); 3]) };
}

/// A question that may be asked.
#[derive(Debug)]
pub struct Turn(Service);

impl Turn {
    /// It led to somebody, and does not count.
    pub fn led_somewhere(self) {
        self.0.with(|allowance| allowance.give_back(&RATE));
    }
}

impl Service {
    fn with<T>(self, act: impl FnOnce(&mut Allowance) -> T) -> T {
        LEFT.with_borrow_mut(|left| {
            let [directory, names, profiles] = left;
            act(match self {
                Service::Directory => directory,
                Service::Names => names,
                Service::Profiles => profiles,
            })
        })
    }

    /// The next turn of a stranger. `None`: too many ask.
    pub async fn turn(self) -> Option<Turn> {
        for _ in 0..LOOKS {
            if self.with(|allowance| allowance.take(&RATE, now())) {
                return Some(Turn(self));
            }
            Delay::from(LOOK_EVERY).await;
        }
        None
    }
}
