//! How many requests a client has left in this minute (C14, H14).
//!
//! Fixed windows of one minute, counted in the memory of whoever asks. On one machine there is one
//! such memory, and the limit is exact. On Cloudflare each isolate has its own, so a client whose
//! requests spread over several may do more: it is a brake against floods, not an account of use.

use std::collections::BTreeMap;

use crate::wire::time::Micros;

const MINUTE: i64 = 60_000_000;
/// Clients counted at a time. With more of them, new ones are not limited: it would be wrong to
/// let those who came first shut out everybody else.
const CLIENTS_MAX: usize = 20_000;

/// The counts of one minute.
#[derive(Debug, Default)]
pub struct Minute {
    number: i64,
    counts: BTreeMap<String, i64>,
}

/// What a client has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Requests in a minute.
    pub limit: i64,
    /// Requests left in this one. Negative: this request was one too many.
    pub remaining: i64,
    /// Whole seconds until the next minute begins; at least 1.
    pub reset_secs: i64,
}

impl Minute {
    /// A minute without requests.
    pub const fn new() -> Self {
        Self { number: 0, counts: BTreeMap::new() }
    }

    /// Counts a request of `client` at the time `now`.
    pub fn count(&mut self, client: &str, limit: i64, now: Micros) -> Budget {
        let number = now.0.div_euclid(MINUTE);
        if number != self.number {
            self.number = number;
            self.counts.clear();
        }
        let is_counted = self.counts.len() < CLIENTS_MAX || self.counts.contains_key(client);
        let mut once = 0;
        let count = if is_counted { self.counts.entry(client.to_owned()).or_default() } else { &mut once };
        *count = count.saturating_add(1);
        let remaining = limit - *count;
        let left = MINUTE - now.0.rem_euclid(MINUTE);
        Budget { limit, remaining, reset_secs: left.div_euclid(1_000_000).max(1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h14_a_minute() {
        let mut minute = Minute::new();
        let mut left = |client: &str, seconds: i64| {
            let budget = minute.count(client, 2, Micros(1_772_366_400_000_000 + seconds * 1_000_000));
            (budget.remaining, budget.reset_secs)
        };
        assert_eq!(left("a", 0), (1, 60));
        assert_eq!(left("a", 30), (0, 30), "the last one that is allowed");
        assert_eq!(left("a", 59), (-1, 1), "one too many");
        assert_eq!(left("b", 59), (1, 1), "others have their own");
        assert_eq!(left("a", 60), (1, 60), "the next minute");
    }

    #[test]
    fn counts_are_bounded() {
        let mut minute = Minute::new();
        for n in 0..CLIENTS_MAX + 10 {
            assert_eq!(minute.count(&n.to_string(), 1, Micros(0)).remaining, 0);
        }
        assert_eq!(minute.counts.len(), CLIENTS_MAX);
        assert_eq!(minute.count("0", 1, Micros(0)).remaining, -1, "who is counted stays so");
    }
}
