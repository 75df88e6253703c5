//! The allowance for strangers' requests at the services on which everybody depends: the directory,
//! DNS, the profile API.
//!
//! Anybody may ask about a DID that does not exist, and each such request goes to the directory.
//! Without a limit of their own, these requests would exhaust the directory's rate limit for this
//! service, and with it the lookups of people whom the index knows. A request that resolves
//! somebody is given back: a page that shows fifty people is legitimate.

use crate::wire::time::Micros;

/// The rate and the burst.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// Microseconds from one request to the next.
    pub every: i64,
    /// Requests at once after a pause.
    pub at_once: i64,
}

/// See the module. It stores one time: when the whole allowance will be available again.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allowance {
    full_at: Micros,
}

impl Allowance {
    /// The whole allowance is available.
    pub const fn new() -> Self {
        Self { full_at: Micros(0) }
    }

    /// Takes a request, if one is available.
    pub fn take(&mut self, rate: &Rate, now: Micros) -> bool {
        let full_at = self.full_at.0.max(now.0).saturating_add(rate.every);
        let fits = full_at.saturating_sub(now.0) <= rate.every.saturating_mul(rate.at_once);
        if fits {
            self.full_at = Micros(full_at);
        }
        fits
    }

    /// Gives a request back.
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
