//! Slots and room for the contents of other hosts, in this isolate (`domain::memory_budget`).
//!
//! Promises: each wait ends; a slot is released when it is dropped, and reclaimed when its holder
//! shows no sign of life, because the runtime does not notify a request that ends.

use std::cell::RefCell;
use std::time::Duration;

use worker::Delay;

use super::clock::now;
use crate::domain::memory_budget::{Held, MemoryBudget, Size};

const KB: u64 = 1024;
const MB: u64 = 1024 * KB;

/// The kinds of contents.
#[derive(Clone, Copy, Debug)]
pub enum Pool {
    /// Blobs, for verification against their CIDs. With the largest one, `BLOB_VERIFY_MAX`, they
    /// hold 80 MiB at most.
    Blobs,
    /// Repositories. With the largest one (`domain::repository`), they hold 86 MiB at most.
    Repositories,
}

/// Images do not wait behind videos. A browser requests six at a time from a host, and a PDS
/// accepts blobs of 5 MiB by default. A host that sends less than a megabyte a second yields its
/// room when others wait.
const BLOBS: Size = Size {
    slots: 96,
    slots_of_host: 32,
    all: 40 * MB,
    of_host: 32 * MB,
    small: MB,
    small_in_all: 8 * MB,
    kept: 30_000_000,
    grace: 3_000_000,
    slow: MB,
};
/// Two per host at a time (K07). A host may take some time to prepare an export.
const REPOSITORIES: Size = Size {
    slots: 24,
    slots_of_host: 2,
    all: 24 * MB,
    of_host: 16 * MB,
    small: 256 * KB,
    small_in_all: 8 * MB,
    kept: 120_000_000,
    grace: 20_000_000,
    slow: 64 * KB,
};

thread_local! {
    // Plain data only: nothing here belongs to a request (platform facts 5.5).
    static ROOM_OF_BLOBS: RefCell<MemoryBudget> = const { RefCell::new(MemoryBudget::new()) };
    static ROOM_OF_REPOSITORIES: RefCell<MemoryBudget> = const { RefCell::new(MemoryBudget::new()) };
}

impl Pool {
    fn with<T>(self, act: impl FnOnce(&mut MemoryBudget) -> T) -> T {
        match self {
            Pool::Blobs => ROOM_OF_BLOBS.with_borrow_mut(act),
            Pool::Repositories => ROOM_OF_REPOSITORIES.with_borrow_mut(act),
        }
    }

    fn size(self) -> &'static Size {
        match self {
            Pool::Blobs => &BLOBS,
            Pool::Repositories => &REPOSITORIES,
        }
    }

    /// How long a request waits, and how often it checks, in milliseconds. It polls, because one
    /// request must not wake another (platform facts 5.5).
    fn patience(self) -> (i64, u64) {
        match self {
            Pool::Blobs => (10_000, 20),
            Pool::Repositories => (120_000, 100),
        }
    }

    /// Waits for a slot for a download from this host.
    pub async fn slot(self, host: &str) -> Result<Slot, NoRoom> {
        let slot = Slot { pool: self, by: self.with(|room| room.queue(host, now())) };
        let is_active = || self.with(|room| room.start(slot.by, self.size(), now()));
        let (patience, every) = self.patience();
        let until = now().millis().saturating_add(patience);
        while !is_active() {
            if now().millis() >= until {
                return Err(NoRoom::Crowded);
            }
            Delay::from(Duration::from_millis(every)).await;
        }
        Ok(slot)
    }
}

/// Why there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoom {
    /// Others hold it, and held it too long.
    Crowded,
    /// It was reclaimed, because its host is slow and others waited.
    Slow,
}

/// A slot, held until it is dropped.
#[derive(Debug)]
pub struct Slot {
    pool: Pool,
    by: u64,
}

impl Slot {
    /// Waits until this slot may hold this many bytes in all.
    pub async fn hold(&self, bytes: u64) -> Result<(), NoRoom> {
        let (patience, every) = self.pool.patience();
        let until = now().millis().saturating_add(patience);
        loop {
            match self.pool.with(|room| room.hold(self.by, bytes, self.pool.size(), now())) {
                Held::Yes => return Ok(()),
                Held::Lost => return Err(NoRoom::Slow),
                Held::Wait if now().millis() >= until => return Err(NoRoom::Crowded),
                Held::Wait => Delay::from(Duration::from_millis(every)).await,
            }
        }
    }

    /// Reports that this many bytes have arrived so far.
    pub fn came(&self, bytes: u64) -> Result<(), NoRoom> {
        let is_there = self.pool.with(|room| room.came(self.by, bytes, now()));
        if is_there { Ok(()) } else { Err(NoRoom::Slow) }
    }

    /// Reports that everything has arrived.
    pub fn settle(&self) -> Result<(), NoRoom> {
        let is_there = self.pool.with(|room| room.settle(self.by, now()));
        if is_there { Ok(()) } else { Err(NoRoom::Slow) }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.pool.with(|room| room.leave(self.by));
    }
}
