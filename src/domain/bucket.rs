//! A token bucket: a burst, and a rate per minute.

use crate::wire::time::Micros;

/// Parts of a token: a microsecond refills as many parts as a minute refills tokens.
const TOKEN: i64 = 60_000_000;

/// The rate and the capacity of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Tokens refilled per minute.
    pub per_minute: i64,
    /// Tokens in a full bucket.
    pub capacity: i64,
}

/// The tokens taken from a bucket. A new one is full.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bucket {
    /// Parts of tokens that were taken and not refilled yet, as of `at`.
    used: i64,
    at: Micros,
}

impl Bucket {
    /// Takes a token at `now` if there is one. A clock that is set back refills nothing.
    pub fn take(&mut self, size: Size, now: Micros) -> bool {
        let passed = now.0.saturating_sub(self.at.0).max(0);
        self.used = self.used.saturating_sub(passed.saturating_mul(size.per_minute)).max(0);
        self.at = self.at.max(now);
        let fits = self.used.saturating_add(TOKEN) <= size.capacity.saturating_mul(TOKEN);
        if fits {
            self.used += TOKEN;
        }
        fits
    }

    /// Gives a token back that was taken.
    pub fn give_back(&mut self) {
        self.used = self.used.saturating_sub(TOKEN).max(0);
    }

    /// Whole tokens left, as of the last [`Bucket::take`].
    pub fn left(&self, size: Size) -> i64 {
        size.capacity.saturating_mul(TOKEN).saturating_sub(self.used).max(0).div_euclid(TOKEN)
    }

    /// Whole seconds until there are `tokens` tokens, at least 1, as of the last [`Bucket::take`].
    pub fn secs_until(&self, size: Size, tokens: i64) -> i64 {
        const SECOND: i64 = 1_000_000;
        let missing =
            self.used.saturating_sub(size.capacity.saturating_sub(tokens).max(0).saturating_mul(TOKEN));
        let per_second = size.per_minute.max(1).saturating_mul(SECOND);
        missing.max(0).saturating_add(per_second - 1).div_euclid(per_second).max(1)
    }

    /// Whether the bucket is full at `now`.
    pub fn is_full(&self, size: Size, now: Micros) -> bool {
        let passed = now.0.saturating_sub(self.at.0).max(0);
        self.used <= passed.saturating_mul(size.per_minute)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_empties_and_fills() {
        let size = Size { per_minute: 6, capacity: 2 };
        let mut bucket = Bucket::default();
        let at = |seconds: i64| Micros(1_772_366_400_000_000 + seconds * 1_000_000);
        assert!(bucket.take(size, at(0)) && bucket.left(size) == 1);
        assert!(bucket.take(size, at(0)) && bucket.left(size) == 0);
        assert!(!bucket.take(size, at(5)), "half a token");
        assert_eq!((bucket.secs_until(size, 1), bucket.secs_until(size, 2)), (5, 15));
        assert!(!bucket.is_full(size, at(19)) && bucket.is_full(size, at(20)));
        assert!(bucket.take(size, at(10)), "one token came back");
        assert!(!bucket.take(size, at(3)), "a clock that goes back brings nothing");
        assert!(
            bucket.take(size, at(1_000)) && bucket.take(size, at(1_000)),
            "and it is never more than full"
        );
        assert!(!bucket.take(size, at(1_000)));
    }
}
