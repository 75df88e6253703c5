//! The exports that this isolate writes (`domain::export`).

use std::cell::RefCell;

use super::clock::now;
use crate::domain::export::Seats;

thread_local! {
    // Plain data only: nothing here belongs to a request (platform facts 5.5).
    static SEATS: RefCell<Seats> = const { RefCell::new(Seats::new()) };
}

/// A seat, until it is dropped or somebody else needs it.
#[derive(Debug)]
pub struct Seat(u64);

impl Seat {
    /// A seat for `who`, if there is one.
    pub fn take(who: &str) -> Option<Self> {
        SEATS.with_borrow_mut(|seats| seats.take(who, now())).map(Self)
    }

    /// Its reader takes more; `false` if it has its seat no more.
    pub fn goes_on(&self) -> bool {
        SEATS.with_borrow_mut(|seats| seats.goes_on(self.0, now()))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        SEATS.with_borrow_mut(|seats| seats.leave(self.0));
    }
}
