//! Limits how much a repository may bring through the stream per hour and day (K17).
//!
//! Points refill by the time of the stream, not of the clock: events from a backlog cost what they
//! cost when they were written. A repository without points left is deferred: its events are left
//! out until some points are back, and then the repository is read. Points are in memory; after a
//! restart all are full.

use std::collections::BTreeMap;

use crate::wire::ids::Did;
use crate::wire::jetstream::Write;
use crate::wire::time::Micros;

const HOUR: i64 = 3_600_000_000;
const DAY: i64 = 24 * HOUR;
/// The most repositories that are charged at a time. Beyond that, new ones are not charged.
const ACTIVE_MAX: usize = 20_000;
/// How often the sweep for full ones runs when there is no room, in microseconds.
const SWEEP_EVERY: i64 = 1_000_000;
/// A deferred repository waits until this fraction of an hour's points is back: twelve minutes, so
/// that it is not read again and again.
const BACK: i64 = 5;

/// `INGEST_POINTS_HOUR`, `INGEST_POINTS_DAY` (C33). 0: no limit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Points per hour.
    pub hour: i64,
    /// Points per day.
    pub day: i64,
}

/// The cost of a write.
pub fn cost(write: &Write) -> i64 {
    match write {
        Write::Put { is_create: true, .. } => 3,
        Write::Put { is_create: false, .. } => 2,
        Write::Delete => 1,
    }
}

/// The verdict on an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It counts.
    Passes,
    /// It is the first one left out: its repository is deferred until this time of the stream.
    Defers(Micros),
    /// It is left out too.
    LeftOut,
}

/// The used points of one window. A microsecond refills as many parts as the window has points, so
/// a point has as many parts as the window has microseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Used(i64);

impl Used {
    fn come_back(&mut self, limit: i64, passed: i64) {
        self.0 = self.0.saturating_sub(passed.saturating_mul(limit)).max(0);
    }

    /// How long until `points` fit, in microseconds; 0 if they fit now.
    fn wait(self, limit: i64, window: i64, points: i64) -> i64 {
        if limit == 0 {
            return 0;
        }
        let room = limit.saturating_sub(points).max(0).saturating_mul(window);
        let missing = self.0.saturating_sub(room).max(0);
        missing.saturating_add(limit - 1).div_euclid(limit)
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Repository {
    hour: Used,
    day: Used,
    /// When its points were last updated.
    at: Micros,
    /// The newest event so far, by the stream's time.
    seen: Micros,
    until: Micros,
}

impl Repository {
    fn come_back(&mut self, limits: Limits, at: Micros) {
        let passed = at.0.saturating_sub(self.at.0).max(0);
        self.hour.come_back(limits.hour, passed);
        self.day.come_back(limits.day, passed);
        self.at = self.at.max(at);
    }

    fn wait(&self, limits: Limits, points: i64) -> i64 {
        self.hour.wait(limits.hour, HOUR, points).max(self.day.wait(limits.day, DAY, points))
    }
}

/// The points of all repositories.
#[derive(Debug, Default)]
pub struct Points {
    limits: Limits,
    of: BTreeMap<Did, Repository>,
    swept_at: Micros,
    left_out: u64,
}

impl Points {
    /// All repositories are full.
    pub fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Charges a write of `points` at the stream time `time`, which may be ahead of `now`. An event
    /// that was charged before is not charged again; a time that cannot be a position does not
    /// count for that.
    pub fn charge(&mut self, did: &Did, points: i64, time: Micros, now: Micros) -> Verdict {
        let (limits, at) = (self.limits, time.min(now));
        if limits.hour == 0 && limits.day == 0 {
            return Verdict::Passes;
        }
        if !self.of.contains_key(did) && !self.has_room(at) {
            return Verdict::Passes;
        }
        let repository = self.of.entry(did.clone()).or_default();
        if at < repository.until {
            self.left_out += 1;
            return Verdict::LeftOut;
        }
        if !time.is_ahead_of(now) {
            if time <= repository.seen {
                return Verdict::Passes;
            }
            repository.seen = time;
        }
        repository.come_back(limits, at);
        if repository.wait(limits, points) > 0 {
            let least = [limits.hour, limits.day].into_iter().filter(|limit| *limit > 0).min();
            let back = (least.unwrap_or_default() / BACK).max(points);
            repository.until = Micros(at.0.saturating_add(repository.wait(limits, back)));
            self.left_out += 1;
            return Verdict::Defers(repository.until);
        }
        repository.hour.0 = repository.hour.0.saturating_add(points.saturating_mul(HOUR));
        repository.day.0 = repository.day.0.saturating_add(points.saturating_mul(DAY));
        Verdict::Passes
    }

    /// The number of events left out.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Whether another repository can be charged; drops full ones.
    fn has_room(&mut self, at: Micros) -> bool {
        if self.of.len() >= ACTIVE_MAX && at.0.saturating_sub(self.swept_at.0).abs() >= SWEEP_EVERY {
            self.swept_at = at;
            let limits = self.limits;
            self.of.retain(|_, repository| {
                repository.come_back(limits, at);
                let used =
                    (limits.hour > 0 && repository.hour.0 > 0) || (limits.day > 0 && repository.day.0 > 0);
                used || at < repository.until
            });
        }
        self.of.len() < ACTIVE_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: i64 = 1_772_366_400_000_000;
    const NETWORK: Limits = Limits { hour: 5_000, day: 35_000 };

    fn did(name: &str) -> Did {
        Did::parse(&format!("did:plc:{name}")).unwrap()
    }

    fn at(millis: i64) -> Micros {
        Micros(START + millis * 1_000)
    }

    fn charge(points: &mut Points, did: &Did, cost: i64, time: Micros) -> Verdict {
        points.charge(did, cost, time, time)
    }

    #[test]
    fn k17_an_hours_points_at_once_and_the_rest_waits() {
        let mut points = Points::new(NETWORK);
        let flooder = did("flooder");
        let passed =
            (1..=2_000).filter(|n| charge(&mut points, &flooder, 3, at(*n)) == Verdict::Passes).count();
        assert_eq!(passed, 1_667, "5,000 points, and those that came back in two seconds");
        assert_eq!(points.left_out(), 333);
        assert_eq!(
            charge(&mut points, &did("other"), 3, at(2_001)),
            Verdict::Passes,
            "others have their own"
        );
        assert_eq!(charge(&mut points, &flooder, 1, at(600_000)), Verdict::LeftOut);
        assert_eq!(
            charge(&mut points, &flooder, 1, at(725_000)),
            Verdict::Passes,
            "a fifth of an hour later"
        );
    }

    #[test]
    fn k17_a_day_has_fewer_points_than_its_hours() {
        let mut points = Points::new(NETWORK);
        let busy = did("busy");
        let minute = |n: i64| at(n * 60_000);
        // 80 points a minute are within the hour's limit, and over the day's after about ten hours.
        let first = (1..).find(|n| charge(&mut points, &busy, 80, minute(*n)) != Verdict::Passes).unwrap();
        assert!((600..660).contains(&first), "{first}");
    }

    #[test]
    fn k17_an_honest_backlog_is_charged_like_its_time_and_nothing_twice() {
        let mut points = Points::new(NETWORK);
        let honest = did("honest");
        for round in 0..2 {
            for n in 1..=10_000 {
                assert_eq!(
                    charge(&mut points, &honest, 3, at(n * 10_000)),
                    Verdict::Passes,
                    "{n} in round {round}"
                );
            }
        }
        let mut points = Points::new(Limits { hour: 30, day: 0 });
        for _ in 0..50 {
            for n in 1..=10 {
                assert_eq!(
                    charge(&mut points, &honest, 3, at(n)),
                    Verdict::Passes,
                    "a repetition costs nothing"
                );
            }
        }
        assert!(
            matches!(charge(&mut points, &honest, 3, at(11)), Verdict::Defers(until) if until > at(600_000))
        );
    }

    #[test]
    fn k17_points_are_bounded_and_can_be_off() {
        let mut points = Points::new(NETWORK);
        for n in 0..ACTIVE_MAX + 10 {
            assert_eq!(charge(&mut points, &did(&format!("n{n}")), 3, at(0)), Verdict::Passes);
        }
        assert_eq!(points.of.len(), ACTIVE_MAX);
        assert_eq!(charge(&mut points, &did("later"), 3, at(60_000)), Verdict::Passes);
        assert_eq!(points.of.len(), 1, "who has all points is forgotten");
        let mut off = Points::new(Limits::default());
        assert!(
            (0..9_999).all(|n| charge(&mut off, &did("a"), 3, at(n)) == Verdict::Passes) && off.of.is_empty()
        );
    }

    #[test]
    fn k17_a_stream_whose_clock_is_ahead_gives_nothing_away() {
        for (ahead, what) in [(2_000, "two seconds"), (9 * 3_600_000, "hours, which is no position")] {
            let mut points = Points::new(Limits { hour: 30, day: 0 });
            let flooder = did("flooder");
            let times = (1..=100).map(|n| points.charge(&flooder, 3, at(ahead + n), at(0)));
            assert_eq!(times.filter(|verdict| *verdict == Verdict::Passes).count(), 10, "{what}");
            assert_eq!(points.charge(&flooder, 3, at(3_600_000), at(3_600_000)), Verdict::Passes, "{what}");
        }
    }
}
