//! How much strangers may have asked of those on whom everybody depends: the directory, DNS, the
//! profile API.
//!
//! Anybody may ask about a DID that nobody has, and each is a question to the directory. Without a
//! bound of their own such questions would use up the directory's patience with the service, and
//! with it that for people whom the index knows. Questions that lead to somebody are given back: a
//! page that shows fifty people is no reason to stop.

use crate::wire::time::Micros;

/// How often, in the long run and at once.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// From one question to the next, in microseconds.
    pub every: i64,
    /// Questions at once after a silence.
    pub at_once: i64,
}

/// See the module. What is used up is a time: when all of it would be there again.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allowance {
    full_at: Micros,
}

impl Allowance {
    /// All of it is there.
    pub const fn new() -> Self {
        Self { full_at: Micros(0) }
    }

    /// Takes a question, if there is one.
    pub fn take(&mut self, rate: &Rate, now: Micros) -> bool {
        let full_at = self.full_at.0.max(now.0).saturating_add(rate.every);
        let fits = full_at.saturating_sub(now.0) <= rate.every.saturating_mul(rate.at_once);
        if fits {
            self.full_at = Micros(full_at);
        }
        fits
    }

    /// Gives a question back.
    pub fn give_back(&mut self, rate: &Rate) {
        self.full_at = Micros(self.full_at.0.saturating_sub(rate.every));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { every: 10, at_once: 3 };

    #[test]
    fn k14_questions_of_strangers_are_bounded() {
        let mut allowance = Allowance::new();
        let took = |allowance: &mut Allowance, at, times| {
            (0..times).filter(|_| allowance.take(&RATE, Micros(at))).count()
        };
        assert_eq!(took(&mut allowance, 1_000, 100), 3, "so many at once");
        assert_eq!(took(&mut allowance, 1_009, 100), 0);
        assert_eq!(took(&mut allowance, 1_010, 100), 1, "then one after the other");
        assert_eq!(took(&mut allowance, 1_020, 100), 1);
        assert_eq!(took(&mut allowance, 9_000, 100), 3, "never more at once");
        allowance.give_back(&RATE);
        assert_eq!(took(&mut allowance, 9_000, 100), 1, "what led to somebody does not count");
    }

    #[test]
    fn k14_what_leads_to_people_has_no_end() {
        let mut allowance = Allowance::new();
        for _ in 0..1_000 {
            assert!(allowance.take(&RATE, Micros(5)));
            allowance.give_back(&RATE);
        }
    }
}
