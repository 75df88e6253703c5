//! The allowance for requests about people whom the index does not know, at the services on which
//! everybody depends.
//!
//! Promises: a request waits for its turn only briefly; strangers have their own allowance at each
//! of these services (`domain::allowance`), in each isolate.

use std::cell::RefCell;
use std::time::Duration;

use worker::Delay;

use super::clock::now;
use crate::domain::allowance::{Allowance, Rate};

/// Strangers' requests that resolve nobody: eight a second, with a small burst. A directory serves
/// hundreds; one that is asked sparingly stays available for known people.
const RATE: Rate = Rate { every: 125_000, at_once: 20 };
/// How many times a request checks for its turn, and how often. It polls, because one request must
/// not wake another (platform facts 5.5).
const LOOKS: u32 = 10;
const LOOK_EVERY: Duration = Duration::from_millis(40);

/// The services on which everybody depends.
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

/// A permitted request.
#[derive(Debug)]
pub struct Turn(Service);

impl Turn {
    /// It resolved somebody, and does not count.
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

    /// Waits for a stranger's turn. `None` if there are too many requests.
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
