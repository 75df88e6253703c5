//! When a host is left alone (K07): after failures in a row, and for as long as it asks.
//!
//! One of these for each host. A host that rests is not asked at all, so that requests to it fail
//! at once instead of after a time-out each, and it can recover.

use super::pause::growing;
use crate::wire::time::Micros;

/// Failures in a row after which a host rests.
const FAILURES_MAX: u32 = 8;
const SECOND: i64 = 1_000_000;
/// The first rest; each that follows without a success between is twice as long.
const FIRST_REST: i64 = 5 * SECOND;
/// The longest rest, by failures or because the host asks: nobody is written off for good (K03).
const LONGEST_REST: i64 = 10 * 60 * SECOND;
const LONGEST_ASKED: i64 = 60 * 60 * SECOND;

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Breaker {
    failures: u32,
    rests: u32,
    /// The end of a rest after failures.
    until: Option<Micros>,
    /// Until when the host asked to be left alone. No success of another request ends that.
    asked_until: Option<Micros>,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The host did its work; that may be a refusal.
    Answered,
    /// No answer, none in time, or an error of its own.
    Failed,
}

impl Breaker {
    /// Until when the host rests; `None`: it may be asked.
    pub fn rests_until(&self, now: Micros) -> Option<Micros> {
        self.until.max(self.asked_until).filter(|until| *until > now)
    }

    /// A request ended at `now`; `asked` is until when the host asks to be left alone.
    pub fn on(&mut self, outcome: Outcome, asked: Option<Micros>, now: Micros) {
        match outcome {
            Outcome::Answered => (self.failures, self.rests, self.until) = (0, 0, None),
            Outcome::Failed => {
                self.failures = self.failures.saturating_add(1);
                // Once it has rested, one more failure is enough.
                if self.failures >= FAILURES_MAX && self.rests_until(now).is_none() {
                    let rest = growing(FIRST_REST, self.rests, LONGEST_REST);
                    self.rests = self.rests.saturating_add(1);
                    self.until = Some(Micros(now.0.saturating_add(rest)));
                }
            }
        }
        let asked = asked.map(|until| Micros(until.0.min(now.0.saturating_add(LONGEST_ASKED))));
        self.asked_until = self.asked_until.max(asked);
    }

    /// Whether there is nothing to remember.
    pub fn is_idle(&self, now: Micros) -> bool {
        self.failures == 0 && self.rests_until(now).is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failing(times: u32, from: i64) -> Breaker {
        let mut breaker = Breaker::default();
        for n in 0..times {
            breaker.on(Outcome::Failed, None, Micros(from + i64::from(n)));
        }
        breaker
    }

    #[test]
    fn k07_a_host_rests_after_failures_in_a_row() {
        let mut breaker = failing(FAILURES_MAX - 1, 0);
        assert_eq!(breaker.rests_until(Micros(10)), None);
        breaker.on(Outcome::Answered, None, Micros(10));
        assert!(breaker.is_idle(Micros(10)), "a success makes up for all of them");
        let mut breaker = failing(FAILURES_MAX, 0);
        let mut at = i64::from(FAILURES_MAX) - 1;
        for rest in [5, 10, 20, 40, 80, 160, 320, 600, 600] {
            let until = at + rest * SECOND;
            assert_eq!(breaker.rests_until(Micros(until - 1)), Some(Micros(until)), "{rest} s");
            assert_eq!(breaker.rests_until(Micros(until)), None, "asked again after {rest} s");
            at = until;
            breaker.on(Outcome::Failed, None, Micros(at));
        }
        breaker.on(Outcome::Answered, None, Micros(at));
        assert!(breaker.is_idle(Micros(at)));
    }

    /// Requests that were on their way when the rest began make it no longer.
    #[test]
    fn k07_late_failures_do_not_count() {
        let mut breaker = failing(FAILURES_MAX, 0);
        let before = breaker.rests_until(Micros(20));
        for n in 0..1000 {
            breaker.on(Outcome::Failed, None, Micros(20 + n));
        }
        assert_eq!(breaker.rests_until(Micros(2000)), before);
    }

    #[test]
    fn k07_a_host_is_left_alone_for_as_long_as_it_asks() {
        for (outcome, asked, expected, why) in [
            (Outcome::Answered, 30, 30, "with an answer that used up what was left"),
            (Outcome::Failed, 30, 30, "with a refusal"),
            (Outcome::Failed, 24 * 3600, 3600, "an hour at most"),
        ] {
            let mut breaker = Breaker::default();
            breaker.on(outcome, Some(Micros(asked * SECOND)), Micros(0));
            assert_eq!(breaker.rests_until(Micros(1)), Some(Micros(expected * SECOND)), "{why}");
            breaker.on(Outcome::Answered, None, Micros(2));
            assert!(!breaker.is_idle(Micros(3)), "an answer to another request changes nothing: {why}");
            assert!(
                breaker.is_idle(Micros(3600 * SECOND))
                    && breaker.rests_until(Micros(expected * SECOND)).is_none()
            );
        }
    }
}
