//! Where in a community's log a returning client resumes (contract Q02–Q05), and how many events
//! one address may read from logs (Q08).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::announcement::Numbered;
use crate::wire::time::Micros;

/// The burst of replayed events per address: two whole logs. Few clients miss more.
const AT_ONCE: i64 = 20_000;
/// The time after which one more event may be read. Replaying an event costs about 40 µs.
const EVERY: i64 = 1_000;
/// The pause in milliseconds, and the number of attempts, while an address waits to read more
/// (Q08): one minute in all.
pub const ASK_AGAIN_MS: u64 = 250;
/// See [`ASK_AGAIN_MS`].
pub const ASK_AGAIN_TIMES: u32 = 240;
/// The most addresses that are counted separately; all others count as one.
const ADDRESSES: usize = 1_000;

/// The result of a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// Everything after this `seq` is sent, then `resumed`.
    From(u64),
    /// Events are missing: `resync_required` with the smallest `seq` in the log.
    Resync {
        /// The smallest `seq` in the log, or the next one to be assigned.
        oldest: u64,
    },
}

/// Decides on a cursor. `oldest` is the smallest `seq` in the log, or the next one to be assigned
/// if the log is empty; `last` is the last `seq` assigned. The first rule that applies decides:
///   1. a negative cursor replays nothing (Q03);
///   2. a cursor beyond the last `seq` is not from this log (Q05);
///   3. if an event after it is no longer in the log, the client must read anew (Q05);
///   4. otherwise everything after it is replayed (Q02).
pub fn resume(cursor: i64, oldest: u64, last: u64) -> Resume {
    let Ok(after) = u64::try_from(cursor) else { return Resume::From(last) };
    if after > last || after.saturating_add(1) < oldest {
        return Resume::Resync { oldest };
    }
    Resume::From(after)
}

/// A page of a replay. Pinned: communities send it to gateways as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Replayed {
    /// Events after the cursor, in order. `through` is the last `seq` that the page covers, and
    /// `last` the community's last: the replay is complete when they are equal.
    Page {
        /// The events.
        events: Vec<Numbered>,
        /// The cursor of the next page.
        through: u64,
        /// The last `seq` assigned.
        last: u64,
        /// Whether only members may read them (X43).
        #[serde(default)]
        members_only: bool,
    },
    /// Events are missing (Q05).
    Resync {
        /// The smallest `seq` in the log.
        oldest: u64,
    },
}

impl Replayed {
    /// The number of its events that the reader may read (Q08).
    pub fn count(&self) -> i64 {
        match self {
            Replayed::Page { events, .. } => i64::try_from(events.len()).unwrap_or(i64::MAX),
            Replayed::Resync { .. } => 0,
        }
    }
}

/// The result of a cursor in a community that was never seen: its log is empty (Q05).
pub fn nothing_yet(cursor: i64) -> Replayed {
    match resume(cursor, 1, 0) {
        Resume::From(through) => {
            Replayed::Page { events: Vec::new(), through, last: through, members_only: false }
        }
        Resume::Resync { oldest } => Replayed::Resync { oldest },
    }
}

/// The cursor of a client that had everything numbered before some moment (Q10). `before` is the
/// last `seq` in the log from before that moment, if there is one; `reaches_back` says whether all
/// events since then are still in the log. The first rule that applies decides:
///   1. the client had everything in the log from before that moment;
///   2. if the log reaches back to the moment and has nothing from before it, the client missed
///      everything in it;
///   3. otherwise something may be missing, and the client must read anew (Q12).
pub fn cursor_of(before: Option<u64>, oldest: u64, reaches_back: bool) -> Option<u64> {
    before.or_else(|| reaches_back.then(|| oldest.saturating_sub(1)))
}

/// What each address has read from logs (Q08), as the time when its full burst is available again.
#[derive(Debug, Default)]
pub struct ReadBudgets {
    full_at: BTreeMap<String, Micros>,
}

impl ReadBudgets {
    /// Charges the reading of `events` to `address`; `false` if it must wait.
    pub fn take(&mut self, address: &str, events: i64, now: Micros) -> bool {
        if self.full_at.len() >= ADDRESSES && !self.full_at.contains_key(address) {
            self.full_at.retain(|_, full_at| full_at.0 > now.0);
        }
        let address = self.counted(address).to_owned();
        let before = self.full_at.get(&address).map_or(now.0, |full_at| full_at.0.max(now.0));
        let full_at = before.saturating_add(events.saturating_mul(EVERY));
        let fits = full_at.saturating_sub(now.0) <= AT_ONCE.saturating_mul(EVERY);
        if fits {
            self.full_at.insert(address, Micros(full_at));
        }
        fits
    }

    /// Credits events that were charged and not read.
    pub fn give_back(&mut self, address: &str, events: i64) {
        let address = self.counted(address).to_owned();
        if let Some(full_at) = self.full_at.get_mut(&address) {
            full_at.0 = full_at.0.saturating_sub(events.saturating_mul(EVERY));
        }
    }

    fn counted<'a>(&self, address: &'a str) -> &'a str {
        let is_new = !self.full_at.contains_key(address);
        if is_new && self.full_at.len() >= ADDRESSES { "" } else { address }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q08_one_address_reads_so_much_and_keeps_nobody_else_from_it() {
        let mut budgets = ReadBudgets::default();
        let at = |second: i64| Micros(second * 1_000_000);
        let mut pages = |address: &str, second: i64| {
            (0..1_000).take_while(|_| budgets.take(address, 500, at(second))).count()
        };
        assert_eq!(pages("a", 100), 40, "two logs at once");
        assert_eq!(pages("a", 100), 0);
        assert_eq!(pages("b", 100), 40, "another address");
        assert_eq!(pages("a", 110), 20, "then a thousand a second");
        assert_eq!(pages("a", 900), 40, "never more at once");
        for _ in 0..1_000 {
            assert!(budgets.take("storm", 500, at(900)), "what is not read does not count");
            budgets.give_back("storm", 490);
            budgets.give_back("storm", 9);
        }
    }

    #[test]
    fn q08_addresses_are_bounded() {
        let mut budgets = ReadBudgets::default();
        for n in 0..5_000 {
            budgets.take(&format!("a{n}"), 500, Micros(1_000_000));
        }
        assert!(budgets.full_at.len() <= ADDRESSES + 1, "{}", budgets.full_at.len());
        assert!(!budgets.take("one more", 500, Micros(1_000_000)), "all others are one");
        assert!(budgets.take("one more", 500, Micros(9_000_000_000)), "until what was is over");
        assert_eq!(budgets.full_at.len(), 1);
    }

    #[test]
    fn q10_q12_a_moment_as_a_cursor() {
        for (before, oldest, reaches_back, expected, why) in [
            (Some(40), 31, true, Some(40), "it is in the log"),
            (Some(40), 31, false, Some(40), "also in a log that was cut"),
            (None, 31, true, Some(30), "all that is left came later"),
            (None, 58, true, Some(57), "an empty log: nothing came"),
            (None, 1, true, Some(0), "a community without events"),
            (None, 31, false, None, "Q12: too old"),
        ] {
            assert_eq!(cursor_of(before, oldest, reaches_back), expected, "{why}");
        }
    }

    #[test]
    fn q02_to_q05() {
        use Resume::{From, Resync};
        for (cursor, oldest, last, expected, why) in [
            (-1, 31, 57, From(57), "Q03: nothing is replayed"),
            (i64::MIN, 31, 57, From(57), "Q03: any negative number"),
            (40, 31, 57, From(40), "Q02"),
            (57, 31, 57, From(57), "up to date"),
            (58, 31, 57, Resync { oldest: 31 }, "Q05: beyond the last"),
            (30, 31, 57, From(30), "Q05: oldest - 1 is still accepted"),
            (29, 31, 57, Resync { oldest: 31 }, "Q05: event 30 is gone"),
            (0, 1, 0, From(0), "a community without events"),
            (57, 58, 57, From(57), "an empty log, up to date"),
            (56, 58, 57, Resync { oldest: 58 }, "an empty log, event 57 is gone"),
        ] {
            assert_eq!(resume(cursor, oldest, last), expected, "{why}");
        }
    }
}
