//! How many requests and sockets a client address or a person has left (C14, H14).
//!
//! There is a bucket for each, in the memory of the isolate. One machine has one isolate, and the
//! limit is exact. On Cloudflare each isolate has its own buckets, so a client whose requests
//! spread over several may send more: it is a brake against floods, not an exact count.

use std::collections::BTreeMap;

use super::bucket::{Bucket, Size};
use crate::wire::time::Micros;

/// The most clients with a bucket. Beyond that, new clients are not limited: those who came first
/// must not shut out everybody else.
const CLIENTS_MAX: usize = 20_000;
/// How often the sweep for full buckets runs when there is no room, in microseconds.
const SWEEP_EVERY: i64 = 1_000_000;

/// The cost of opening a socket, in requests (C14).
const REQUESTS_OF_A_SOCKET: i64 = 10;
/// The burst of sockets: twenty seconds' worth, and at least this many.
const SOCKETS_AT_ONCE: i64 = 10;

/// The bucket for requests of one client, at `limit` requests a minute.
pub fn requests(limit: i64) -> Size {
    Size { per_minute: limit, capacity: limit }
}

/// The bucket for openings of sockets by one client, at `limit` requests a minute.
pub fn sockets(limit: i64) -> Size {
    let per_minute = (limit / REQUESTS_OF_A_SOCKET).max(SOCKETS_AT_ONCE);
    Size { per_minute, capacity: (per_minute / 3).max(SOCKETS_AT_ONCE) }
}

/// The buckets of many clients.
#[derive(Debug, Default)]
pub struct Buckets {
    of: BTreeMap<String, Bucket>,
    swept_at: Micros,
}

/// What a client has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Requests in a minute.
    pub limit: i64,
    /// Requests that are left.
    pub remaining: i64,
    /// Whole seconds until the full limit is available again; at least 1.
    pub reset_secs: i64,
    /// If this request exceeds the limit: whole seconds until the next one is allowed.
    pub over: Option<i64>,
}

impl Budget {
    /// What is left in a bucket after a request that it had a token for, or had not.
    fn of(bucket: &Bucket, size: Size, taken: bool) -> Self {
        Self {
            limit: size.per_minute,
            remaining: bucket.left(size),
            reset_secs: bucket.secs_until(size, size.capacity),
            over: (!taken).then(|| bucket.secs_until(size, 1)),
        }
    }
}

impl Buckets {
    /// Without any requests yet.
    pub const fn new() -> Self {
        Self { of: BTreeMap::new(), swept_at: Micros(0) }
    }

    /// Counts a request of `client` at the time `now`.
    pub fn count(&mut self, client: &str, size: Size, now: Micros) -> Budget {
        if self.of.len() >= CLIENTS_MAX && now.0.saturating_sub(self.swept_at.0) >= SWEEP_EVERY {
            self.swept_at = now;
            self.of.retain(|_, bucket| !bucket.is_full(size, now));
        }
        let is_counted = self.of.len() < CLIENTS_MAX || self.of.contains_key(client);
        let mut once = Bucket::default();
        let bucket = if is_counted { self.of.entry(client.to_owned()).or_default() } else { &mut once };
        let taken = bucket.take(size, now);
        Budget::of(bucket, size, taken)
    }

    /// The budget of a client who has nothing left at the time `now`; none while a request is left.
    pub fn used_up(&self, client: &str, size: Size, now: Micros) -> Option<Budget> {
        let mut bucket = *self.of.get(client)?;
        (!bucket.take(size, now)).then(|| Budget::of(&bucket, size, false))
    }

    /// Gives back what a request of `client` took.
    pub fn give_back(&mut self, client: &str) {
        if let Some(bucket) = self.of.get_mut(client) {
            bucket.give_back();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: i64 = 1_772_366_400_000_000;

    #[test]
    fn h14_what_is_left() {
        let mut buckets = Buckets::new();
        let mut ask = |client: &str, seconds: i64| {
            let budget = buckets.count(client, requests(2), Micros(START + seconds * 1_000_000));
            (budget.remaining, budget.reset_secs, budget.over)
        };
        assert_eq!(ask("a", 0), (1, 30, None));
        assert_eq!(ask("a", 0), (0, 60, None), "the last one that is allowed");
        assert_eq!(ask("a", 20), (0, 40, Some(10)), "one too many");
        assert_eq!(ask("b", 20), (1, 30, None), "others have their own");
        assert_eq!(ask("a", 30), (0, 60, None), "one came back");
        assert_eq!(ask("a", 300), (1, 30, None), "all came back");
    }

    #[test]
    fn whether_a_client_has_nothing_left_is_asked_without_counting() {
        let mut buckets = Buckets::new();
        let at = |seconds: i64| Micros(START + seconds * 1_000_000);
        assert_eq!(buckets.used_up("a", requests(2), at(0)), None, "nobody asked yet");
        buckets.count("a", requests(2), at(0));
        assert_eq!(buckets.used_up("a", requests(2), at(0)), None, "one is left");
        buckets.count("a", requests(2), at(0));
        for _ in 0..2 {
            let budget = buckets.used_up("a", requests(2), at(20)).unwrap();
            assert_eq!((budget.remaining, budget.over), (0, Some(10)));
        }
        assert_eq!(buckets.used_up("a", requests(2), at(30)), None, "one came back");
    }

    #[test]
    fn c14_sockets_are_opened_at_a_tenth_of_the_rate() {
        for (limit, per_minute, capacity) in [(3_000, 300, 100), (600, 60, 20), (5, 10, 10)] {
            assert_eq!(sockets(limit), Size { per_minute, capacity }, "{limit}");
        }
    }

    #[test]
    fn buckets_are_bounded() {
        let mut buckets = Buckets::new();
        for n in 0..CLIENTS_MAX + 10 {
            assert_eq!(buckets.count(&n.to_string(), requests(1), Micros(START)).remaining, 0);
        }
        assert_eq!(buckets.of.len(), CLIENTS_MAX);
        assert_eq!(buckets.count("0", requests(1), Micros(START)).over, Some(60), "who is counted stays so");
        let later = Micros(START + 120_000_000);
        assert_eq!(buckets.count("somebody else", requests(1), later).over, None);
        assert_eq!(buckets.of.len(), 1, "full buckets are forgotten when there is no room");
    }
}
