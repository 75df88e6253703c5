//! When a person gets a digest of what is quiet (U27): once enough of it waits, or for long enough, and then not again
//! until they have seen what it counted.
//!
//! The decision follows from what is stored: the quiet notifications that are not seen, and the newest that the last
//! digest counted. It may therefore be made anew at any time, and is the same.

use serde::Deserialize;

use super::notifications::made_at;
use super::urgency::{Rhythm, Urgency, sent_as};
use crate::wire::time::Micros;

/// The number of quiet notifications that are not seen, from which on a digest is due at once.
pub const ENOUGH: usize = 5;

/// A notification that shows and is not seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Unseen {
    /// Its number.
    pub id: i64,
    /// What its message asks for (U24).
    pub urgency: Urgency,
    /// The rhythm of its person there, if they set one (U25).
    pub rhythm: Option<Rhythm>,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digest {
    /// Nothing quiet waits.
    Nothing,
    /// The last digest counted some that are not seen yet: none is due before they are.
    Unopened,
    /// None is due before this time.
    Later(Micros),
    /// A digest is due.
    Due {
        /// How many quiet notifications are not seen.
        count: usize,
        /// The number of the first of them.
        first: i64,
        /// The number of the last.
        last: i64,
    },
}

/// Decides about the digest of a person. `through` is the number of the newest notification that their last digest
/// counted, 0 if there was none; `after`, in microseconds, how long the first quiet one waits at most.
pub fn digest(
    unseen: impl IntoIterator<Item = Unseen>,
    through: i64,
    do_not_disturb: bool,
    after: i64,
    now: Micros,
) -> Digest {
    let is_quiet = |one: &Unseen| {
        sent_as(one.urgency, one.rhythm.unwrap_or_default(), do_not_disturb) == Some(Urgency::Quiet)
    };
    let (mut count, mut first, mut last) = (0, i64::MAX, 0);
    for one in unseen.into_iter().filter(is_quiet) {
        count += 1;
        first = first.min(one.id);
        last = last.max(one.id);
    }
    let due_at = Micros(made_at(first).0.saturating_add(after));
    match count {
        0 => Digest::Nothing,
        _ if first <= through => Digest::Unopened,
        _ if count < ENOUGH && now < due_at => Digest::Later(due_at),
        _ => Digest::Due { count, first, last },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::notifications::{Kind, id};

    const HOUR: i64 = 3_600_000_000;

    fn at(second: i64) -> i64 {
        id(Kind::Mention, Micros(second * 1_000_000))
    }

    fn quiet(seconds: &[i64]) -> Vec<Unseen> {
        let one = |second: &i64| Unseen { id: at(*second), urgency: Urgency::Quiet, rhythm: None };
        seconds.iter().map(one).collect()
    }

    fn decide(unseen: Vec<Unseen>, through: i64, second: i64) -> Digest {
        digest(unseen, through, false, HOUR, Micros(second * 1_000_000))
    }

    #[test]
    fn u27_after_five_or_an_hour() {
        assert_eq!(decide(vec![], 0, 9), Digest::Nothing);
        assert_eq!(decide(quiet(&[4, 2, 3]), 0, 9), Digest::Later(Micros(HOUR + 2_000_000)));
        let due = |count, last| Digest::Due { count, first: at(2), last: at(last) };
        assert_eq!(decide(quiet(&[2, 3, 4, 5, 6]), 0, 9), due(5, 6));
        assert_eq!(decide(quiet(&[2, 3]), 0, 3_602), due(2, 3));
        assert_eq!(decide(quiet(&[2, 3]), at(1), 3_601), Digest::Later(Micros(HOUR + 2_000_000)));
    }

    #[test]
    fn u27_once_until_it_is_opened() {
        let all = quiet(&[2, 3, 4, 5, 6, 7]);
        assert_eq!(decide(all.clone(), at(6), 9_999), Digest::Unopened);
        assert_eq!(
            decide(all[4..].to_vec(), at(6), 9_999),
            Digest::Unopened,
            "one that it counted is not seen"
        );
        let due = Digest::Due { count: 1, first: at(7), last: at(7) };
        assert_eq!(decide(all[5..].to_vec(), at(6), 9_999), due, "all that it counted are");
    }

    #[test]
    fn u27_only_what_is_quiet_counts() {
        let loud = Unseen { urgency: Urgency::Ping, ..quiet(&[1])[0] };
        let silenced = Unseen { rhythm: Some(Rhythm::Silent), ..loud };
        let busy = Unseen { rhythm: Some(Rhythm::Busy), ..quiet(&[1])[0] };
        let hushed = Unseen { rhythm: Some(Rhythm::Quiet), ..loud };
        let count = |unseen: Vec<Unseen>, dnd| match digest(unseen, 0, dnd, 0, Micros(HOUR)) {
            Digest::Due { count, .. } => count,
            _ => 0,
        };
        let all = vec![loud, silenced, busy, hushed];
        assert_eq!([count(all.clone(), false), count(all, true)], [1, 3]);
    }
}
