//! When a socket counts as closed without a close (contract P11), and when to check.
//!
//! The runtime answers heartbeats and wakes nobody. So the object that holds the sockets must
//! check, and [`next_look`] says when: often enough to see a heartbeat before the lease that it
//! started can end, and at the end of each lease.

use crate::wire::time::Micros;

/// The longest pause between checks, in microseconds. A crash takes sockets without a close, and a
/// person who lost theirs must be offline within the grace period and 30 s (P10).
pub const ROUND: i64 = 25_000_000;

/// A socket's signs of life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Life {
    /// Its last frame of any kind, or its opening.
    pub alive_at: Micros,
    /// Whether it ever sent a heartbeat.
    pub beats: bool,
}

impl Life {
    /// When its lease of `lease` microseconds ends without a further sign of life. A socket that
    /// never sent a heartbeat has no lease; a lease of 0 is off.
    pub fn ends(&self, lease: i64) -> Option<Micros> {
        (self.beats && lease > 0).then(|| Micros(self.alive_at.0.saturating_add(lease)))
    }
}

/// The latest time after `now` to check, for sockets whose heartbeats the runtime answers.
pub fn round(lease: i64) -> i64 {
    if lease > 0 { lease.min(ROUND) } else { ROUND }
}

/// When to check next, after a check at `now`.
pub fn next_look(now: Micros, lives: impl Iterator<Item = Life>, lease: i64) -> Micros {
    let latest = Micros(now.0.saturating_add(round(lease)));
    lives.filter_map(|life| life.ends(lease)).fold(latest, Micros::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000;

    /// One socket that opens at 0 and sends heartbeats at these seconds, checked when [`next_look`]
    /// says: when it is found dead.
    fn found_dead(beats: &[i64], lease: i64) -> Option<i64> {
        let (mut now, mut looks) = (Micros(0), 0);
        loop {
            let last = beats.iter().map(|at| at * S).filter(|at| *at <= now.0).max();
            let life = Life { alive_at: Micros(last.unwrap_or(0)), beats: last.is_some() };
            if life.ends(lease * S).is_some_and(|ends| ends <= now) {
                return Some(now.0 / S);
            }
            now = next_look(now, std::iter::once(life), lease * S);
            looks += 1;
            if looks > 1_000 {
                return None;
            }
        }
    }

    #[test]
    fn p11_a_dead_socket_is_found_when_its_lease_ends_and_not_later() {
        for (beats, lease, expected, why) in [
            (&[20][..], 75, Some(95), "one heartbeat, then nothing"),
            (&[20, 40, 60, 80], 75, Some(155), "each heartbeat renews it"),
            (&[1], 4, Some(5), "a lease shorter than a round"),
            (&[0], 75, Some(75), "a heartbeat at once"),
            (&[301], 75, Some(376), "one that begins late"),
            (&[7], 4, Some(11), "begins late, with a short lease"),
            (&[], 75, None, "without a heartbeat there is no lease"),
            (&[1], 0, None, "off"),
        ] {
            assert_eq!(found_dead(beats, lease), expected, "{why}");
        }
    }

    #[test]
    fn p11_the_earliest_of_many_counts() {
        let at = |secs: i64, beats| Life { alive_at: Micros(secs * S), beats };
        let lives = [at(10, true), at(5, true), at(0, false)];
        assert_eq!(next_look(Micros(70 * S), lives.into_iter(), 75 * S), Micros(80 * S));
        assert_eq!(next_look(Micros(70 * S), std::iter::empty(), 75 * S), Micros(95 * S), "P10");
    }
}
