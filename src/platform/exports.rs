//! The exports that this isolate writes (`domain::export`).

use std::cell::RefCell;

use super::clock::now;
use crate::domain::export::Slots;

thread_local! {
    // Plain data only: nothing here belongs to a request (platform facts 5.5).
    static SLOTS: RefCell<Slots> = const { RefCell::new(Slots::new()) };
}

/// A slot, until it is dropped or somebody else needs it.
#[derive(Debug)]
pub struct Slot(u64);

impl Slot {
    /// A slot for `who`, if there is one.
    pub fn take(who: &str) -> Option<Self> {
        SLOTS.with_borrow_mut(|slots| slots.take(who, now())).map(Self)
    }

    /// Its reader takes more; `false` if it has its slot no more.
    pub fn goes_on(&self) -> bool {
        SLOTS.with_borrow_mut(|slots| slots.goes_on(self.0, now()))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        SLOTS.with_borrow_mut(|slots| slots.leave(self.0));
    }
}
