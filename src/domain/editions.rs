//! Editions: which parts of the index changed, so that an answer can be cached until its parts
//! change.
//!
//! Each part of the index has a number. A writer announces a change before ([`Editions::begin`])
//! and after ([`Editions::end`]); in between the part has no number, and afterwards a new one. A
//! reader gets the numbers first ([`Editions::now`]). Promise: while a part keeps its number,
//! nothing was committed to it, so reading it again gives the same result. A cached answer is
//! therefore never older than the index (H11), wherever a write comes from.
//!
//! If a writer dies without ending its change, the change ends after [`CHANGE_WITHIN`]. The numbers
//! are not stored: they belong to a run, and the next run has another name.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::wire::time::Micros;

/// The parts of the index, each of which changes as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Messages, reactions, blocks.
    Talk,
    /// Communities, channels, categories.
    Places,
    /// Memberships, approvals, bans.
    Standings,
    /// People as others see them, with their presence.
    People,
    /// Read positions.
    Marks,
}

/// How many parts there are.
const PARTS: usize = 5;

/// A set of parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parts(u8);

impl Parts {
    /// All of them.
    pub const ALL: Self = Self((1 << PARTS) - 1);
    /// Data outside of all parts, which may change at any time.
    pub const ELSEWHERE: Self = Self(1 << PARTS);

    /// None of them.
    pub const fn none() -> Self {
        Self(0)
    }

    /// The union.
    #[must_use]
    pub fn and(self, more: Self) -> Self {
        Self(self.0 | more.0)
    }

    /// Whether there are none.
    pub fn is_none(self) -> bool {
        self.0 == 0
    }

    /// The set as a number in a request.
    pub fn number(self) -> u8 {
        self.0
    }

    /// The set with this number; `None` if it is invalid.
    pub fn numbered(number: u8) -> Option<Self> {
        (number <= Self::ALL.0).then_some(Self(number))
    }

    fn has(self, part: usize) -> bool {
        self.0 & (1 << part) != 0
    }
}

impl From<Part> for Parts {
    fn from(part: Part) -> Self {
        Self(1 << part as u8)
    }
}

/// The numbers of all parts at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edition {
    run: u64,
    /// `None`: the part is being changed.
    numbers: [Option<u64>; PARTS],
}

impl Edition {
    /// Whether none of these parts is being changed.
    pub fn is_stable(&self, parts: Parts) -> bool {
        !parts.has(PARTS) && self.of(parts).all(|number| number.is_some())
    }

    /// Whether these parts are the same `now`.
    pub fn is_current(&self, now: &Self, parts: Parts) -> bool {
        self.run == now.run && self.is_stable(parts) && self.of(parts).eq(now.of(parts))
    }

    fn of(&self, parts: Parts) -> impl Iterator<Item = Option<u64>> {
        self.numbers.iter().enumerate().filter(move |(part, _)| parts.has(*part)).map(|(_, number)| *number)
    }
}

/// The form in a header: the run, then the numbers in the order of the parts; `-` for one that is
/// being changed.
impl fmt::Display for Edition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.run)?;
        self.numbers.iter().try_for_each(|number| match number {
            Some(number) => write!(f, " {number}"),
            None => write!(f, " -"),
        })
    }
}

impl FromStr for Edition {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut words = text.split(' ');
        let run = words.next().and_then(|run| run.parse().ok()).ok_or(())?;
        let mut numbers = [None; PARTS];
        for number in &mut numbers {
            *number = match words.next().ok_or(())? {
                "-" => None,
                word => Some(word.parse().map_err(drop)?),
            };
        }
        if words.next().is_some() { Err(()) } else { Ok(Self { run, numbers }) }
    }
}

/// How long an unended change lasts, in microseconds. D1 gives a statement half a minute; a commit
/// that takes longer than this does not arrive.
pub const CHANGE_WITHIN: i64 = 60_000_000;
/// The most open changes; beyond that, the oldest merge into one change of everything.
const CHANGES_MAX: usize = 10_000;
/// The number of the merged change.
const ANY: u64 = 0;

/// See the module.
#[derive(Debug)]
pub struct Editions {
    run: u64,
    numbers: [u64; PARTS],
    /// Open changes, and when they end at the latest.
    changes: BTreeMap<u64, (Parts, Micros)>,
    last: u64,
}

impl Editions {
    /// The editions of a run, with the run's name.
    pub fn new(run: u64) -> Self {
        Self { run, numbers: [0; PARTS], changes: BTreeMap::new(), last: ANY }
    }

    /// A writer is about to change `parts`. Returns the number with which it ends the change.
    pub fn begin(&mut self, parts: Parts, now: Micros) -> u64 {
        let until = Micros(now.0.saturating_add(CHANGE_WITHIN));
        if self.changes.len() >= CHANGES_MAX {
            let oldest = self.changes.keys().copied().find(|change| *change != ANY);
            oldest.map(|change| self.changes.remove(&change));
            self.changes.insert(ANY, (Parts::ALL, until));
        }
        self.last += 1;
        self.changes.insert(self.last, (parts, until));
        self.last
    }

    /// The change is committed, or never will be. Also accepts a change that timed out, or that
    /// began in another run.
    pub fn end(&mut self, change: u64, parts: Parts) {
        self.changes.remove(&change);
        self.turn(parts);
    }

    /// The numbers at this moment.
    pub fn now(&mut self, now: Micros) -> Edition {
        let mut over = Parts::none();
        self.changes.retain(|_, (parts, until)| {
            let goes_on = *until > now;
            if !goes_on {
                over = over.and(*parts);
            }
            goes_on
        });
        self.turn(over);
        let changing = self.changes.values().fold(Parts::none(), |all, (parts, _)| all.and(*parts));
        let mut numbers = [None; PARTS];
        for (part, (number, shown)) in self.numbers.iter().zip(&mut numbers).enumerate() {
            *shown = (!changing.has(part)).then_some(*number);
        }
        Edition { run: self.run, numbers }
    }

    fn turn(&mut self, parts: Parts) {
        let turned = self.numbers.iter_mut().enumerate().filter(|(part, _)| parts.has(*part));
        turned.for_each(|(_, number)| *number += 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Micros = Micros(1_000_000);

    fn after(micros: i64) -> Micros {
        Micros(T0.0 + micros)
    }

    fn parts(parts: &[Part]) -> Parts {
        parts.iter().fold(Parts::none(), |all, part| all.and((*part).into()))
    }

    #[test]
    fn a_part_that_changes_has_no_number_and_then_another() {
        let mut editions = Editions::new(7);
        let (talk, people) = (parts(&[Part::Talk]), parts(&[Part::People]));
        let before = editions.now(T0);
        assert!(before.is_stable(Parts::ALL) && before.is_current(&editions.now(T0), Parts::ALL));

        let change = editions.begin(talk, T0);
        let during = editions.now(T0);
        assert!(!during.is_stable(talk) && during.is_stable(people));
        assert!(!before.is_current(&during, talk), "what is kept is not shown while it may change");
        assert!(before.is_current(&during, people), "other parts are");
        assert!(!during.is_current(&during, talk), "nor is anything kept from then");

        let second = editions.begin(talk, T0);
        editions.end(change, talk);
        assert!(!editions.now(T0).is_stable(talk), "another change goes on");
        editions.end(second, talk);
        let now = editions.now(T0);
        assert!(now.is_stable(talk) && !before.is_current(&now, talk) && before.is_current(&now, people));
    }

    #[test]
    fn what_is_in_no_part_is_never_cached() {
        let edition = Editions::new(7).now(T0);
        for parts in [Parts::ELSEWHERE, Parts::ELSEWHERE.and(Part::Talk.into())] {
            assert!(!edition.is_stable(parts) && !edition.is_current(&edition, parts));
        }
    }

    #[test]
    fn a_change_that_nobody_ends_is_over_after_a_while() {
        let mut editions = Editions::new(7);
        let talk = parts(&[Part::Talk]);
        let before = editions.now(T0);
        let change = editions.begin(talk, T0);
        assert!(!editions.now(after(CHANGE_WITHIN - 1)).is_stable(talk));
        let given_up = editions.now(after(CHANGE_WITHIN));
        assert!(given_up.is_stable(talk) && !before.is_current(&given_up, talk), "it may have happened");
        editions.end(change, talk);
        let late = editions.now(after(CHANGE_WITHIN));
        assert!(!given_up.is_current(&late, talk), "it ends after all: another number");
    }

    #[test]
    fn another_run_is_another_edition() {
        let (mut one, mut two) = (Editions::new(1), Editions::new(2));
        assert!(!one.now(T0).is_current(&two.now(T0), parts(&[Part::Talk])));
    }

    #[test]
    fn memory_is_bounded() {
        let mut editions = Editions::new(7);
        let talk = parts(&[Part::Talk]);
        for n in 0..CHANGES_MAX as i64 + 10 {
            editions.begin(talk, after(n));
        }
        assert_eq!(editions.changes.len(), CHANGES_MAX + 1, "and the one of everything");
        assert!(!editions.now(after(20_000)).is_stable(parts(&[Part::People])), "not known what they change");
        assert!(editions.now(after(2 * CHANGE_WITHIN)).is_stable(Parts::ALL));
    }

    #[test]
    fn editions_come_back_as_they_went() {
        let mut editions = Editions::new(u64::MAX);
        editions.end(0, parts(&[Part::Talk, Part::Marks]));
        editions.begin(parts(&[Part::Places]), T0);
        let edition = editions.now(T0);
        assert_eq!(edition.to_string(), format!("{} 1 - 0 0 1", u64::MAX));
        assert_eq!(edition.to_string().parse(), Ok(edition));
        for text in ["", "7", "7 1 1 1 1", "7 1 1 1 1 1 1", "7 1 1 x 1 1", "x 1 1 1 1 1", "- 1 1 1 1 1"] {
            assert!(text.parse::<Edition>().is_err(), "{text}");
        }
        for number in 0..=u8::MAX {
            assert_eq!(Parts::numbered(number).map(Parts::number), (number < 32).then_some(number));
        }
    }

    /// A model of the purpose: an index with several writers, any of which may die at any step, and
    /// readers that ask, read and cache in separate steps. Every cached answer that may be served
    /// equals the index.
    #[test]
    fn h11_a_copy_that_may_be_shown_is_what_the_index_has() {
        /// A random generator with a fixed seed (xorshift).
        struct Dice(u64);
        impl Dice {
            fn of(&mut self, sides: u64) -> usize {
                self.0 ^= self.0 << 13;
                self.0 ^= self.0 >> 7;
                self.0 ^= self.0 << 17;
                usize::try_from(self.0 % sides).unwrap()
            }
        }
        enum Writer {
            Rests,
            Began(u64, usize),
            Committed(u64, usize),
        }
        enum Reader {
            Rests,
            Asked(Edition),
            Read(Edition, [u64; PARTS]),
        }
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
        let (mut shown, mut refused) = (0, 0);
        for _ in 0..200 {
            let (mut editions, mut now) = (Editions::new(1), T0);
            let mut index = [0_u64; PARTS];
            let mut writers = [const { Writer::Rests }; 3];
            let mut readers = [const { Reader::Rests }; 3];
            let mut copies: Vec<(Edition, [u64; PARTS])> = Vec::new();
            for _ in 0..300 {
                now = Micros(now.0 + i64::try_from(dice.of(1_000_000)).unwrap());
                let writer = &mut writers[dice.of(3)];
                *writer = match std::mem::replace(writer, Writer::Rests) {
                    Writer::Rests => {
                        let part = dice.of(PARTS as u64);
                        Writer::Began(editions.begin(Parts(1 << part), now), part)
                    }
                    _ if dice.of(10) == 0 => Writer::Rests, // dies
                    Writer::Began(change, part) => {
                        index[part] += 1;
                        Writer::Committed(change, part)
                    }
                    Writer::Committed(change, part) => {
                        editions.end(change, Parts(1 << part));
                        Writer::Rests
                    }
                };
                let reader = &mut readers[dice.of(3)];
                *reader = match std::mem::replace(reader, Reader::Rests) {
                    Reader::Rests => Reader::Asked(editions.now(now)),
                    Reader::Asked(edition) => Reader::Read(edition, index),
                    Reader::Read(edition, read) => {
                        copies.push((edition, read));
                        Reader::Rests
                    }
                };
                let edition = editions.now(now);
                for (at, copy) in &copies {
                    for part in 0..PARTS {
                        if at.is_current(&edition, Parts(1 << part)) {
                            assert_eq!(copy[part], index[part], "{at} {edition}");
                            shown += 1;
                        } else {
                            refused += 1;
                        }
                    }
                }
            }
        }
        assert!(shown > 100_000 && refused > 100_000, "{shown} {refused}: the model does both");
    }
}
