//! How many frames one socket may send (contract A18): a bucket of tokens that fills with time.

use super::bucket::{Bucket, Size};
use crate::wire::time::Micros;

/// Consecutive frames over the budget after which the socket is closed with 1008. An accepted frame
/// in between cancels one refused frame and does not reset the count: during a flood, some frames
/// are accepted as tokens refill.
pub const REFUSED_MAX: u32 = 600;

/// `WS_RATE` and `WS_BURST` (C15).
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// Frames per second.
    pub per_second: i64,
    /// The burst.
    pub burst: i64,
}

/// The verdict on a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Within the budget.
    Fine,
    /// Over the budget: an error, and no effect.
    Over,
    /// One too many: an error, and the socket is closed.
    Enough,
}

/// The budget of one socket. A new one is full: an object that slept for the ten seconds before it
/// is evicted would have refilled it anyway.
#[derive(Clone, Copy, Debug, Default)]
pub struct Budget {
    bucket: Bucket,
    refused: u32,
}

impl Budget {
    /// A frame arrived at `now`.
    pub fn take(&mut self, rate: Rate, now: Micros) -> Verdict {
        let size = Size { per_minute: rate.per_second.saturating_mul(60), capacity: rate.burst };
        if self.bucket.take(size, now) {
            self.refused = self.refused.saturating_sub(1);
            return Verdict::Fine;
        }
        self.refused = self.refused.saturating_add(1);
        if self.refused >= REFUSED_MAX { Verdict::Enough } else { Verdict::Over }
    }

    /// Takes the tokens of `more` frames beside the one that was accepted at `now`; `false`, and takes none, if there
    /// are fewer.
    pub fn take_more(&mut self, rate: Rate, more: u32, now: Micros) -> bool {
        let size = Size { per_minute: rate.per_second.saturating_mul(60), capacity: rate.burst };
        let mut bucket = self.bucket;
        let fits = (0..more).all(|_| bucket.take(size, now));
        if fits {
            self.bucket = bucket;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_second: 20, burst: 120 };

    #[test]
    fn a50_an_expensive_frame_takes_all_of_its_tokens_or_none() {
        let mut budget = Budget::default();
        let now = Micros(0);
        assert_eq!(fine(&mut budget, 111, now), 111);
        assert!(budget.take_more(RATE, 9, now) && !budget.take_more(RATE, 1, now));
        let later = Micros(100_000);
        assert!(!budget.take_more(RATE, 3, later) && budget.take_more(RATE, 2, later));
    }

    fn fine(budget: &mut Budget, frames: u32, now: Micros) -> usize {
        (0..frames).filter(|_| budget.take(RATE, now) == Verdict::Fine).count()
    }

    #[test]
    fn a18_a_burst_then_a_rate() {
        let mut budget = Budget::default();
        let start = Micros(1_700_000_000_000_000);
        assert_eq!(fine(&mut budget, 500, start), 120, "the burst");
        assert_eq!(fine(&mut budget, 500, Micros(start.0 + 1_000_000)), 20, "the rate");
        assert_eq!(fine(&mut budget, 500, Micros(start.0 + 1_050_000)), 1, "one every 50 ms");
        assert_eq!(fine(&mut budget, 500, Micros(start.0 + 3_600_000_000)), 120, "never more than the burst");
        assert_eq!(fine(&mut budget, 1, Micros(start.0)), 0, "a clock that goes back brings nothing");
    }

    #[test]
    fn a18_closed_after_600_in_a_row() {
        let mut budget = Budget::default();
        let verdicts: Vec<Verdict> = (0..720).map(|_| budget.take(RATE, Micros(1))).collect();
        assert_eq!(verdicts.iter().filter(|verdict| **verdict == Verdict::Over).count(), 599);
        assert_eq!(verdicts.last(), Some(&Verdict::Enough));
        let mut flood = Budget::default();
        let closed_at = (0..).find(|n| flood.take(RATE, Micros(n * 1_000)) == Verdict::Enough);
        assert_eq!(closed_at, Some(745), "a thousand frames a second, of which twenty are accepted");
        let mut patient = Budget::default();
        for n in 0..10_000 {
            let verdict = patient.take(RATE, Micros(n * 45_000));
            assert_ne!(verdict, Verdict::Enough, "a little too fast for ever is never in a row");
        }
    }
}
