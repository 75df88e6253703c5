//! Who is banned where, and until when (T10).
//!
//! A ban with an end expires at the time of each judgement, not when its row is deleted: the gate,
//! the right to be in voice and every other rule ask [`Bans::contains`]. The service deletes the
//! row a little later, when it announces the person's return to the community
//! ([`Measure::EndBan`](super::moderation::Measure)).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::wire::ids::{AtUri, Did};
use crate::wire::time::Micros;

/// A community and a person.
pub type Place = (AtUri, Did);

/// A ban.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "columns, described in migrations/")]
pub struct BanRow {
    pub community_uri: AtUri,
    pub member_did: Did,
    pub until: Option<Micros>,
}

/// Bans, with a record of those that a fold touched.
#[derive(Clone, Debug, Default)]
pub struct Bans {
    rows: BTreeMap<Place, Option<Micros>>,
    touched: BTreeSet<Place>,
    now: Micros,
}

/// The bans that a fold touched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BansDelta {
    /// Those in force.
    pub set: Vec<BanRow>,
    /// Those that were lifted.
    pub lifted: Vec<Place>,
}

impl BansDelta {
    /// Whether nothing was touched.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.lifted.is_empty()
    }
}

/// Adds facts.
impl FromIterator<BanRow> for Bans {
    fn from_iter<I: IntoIterator<Item = BanRow>>(facts: I) -> Self {
        let mut bans = Self::default();
        facts.into_iter().for_each(|row| bans.seed(row));
        bans
    }
}

impl Bans {
    /// Sets the time at which bans are judged.
    pub fn at(&mut self, now: Micros) {
        self.now = now;
    }

    /// Adds a fact.
    pub fn seed(&mut self, row: BanRow) {
        self.rows.insert((row.community_uri, row.member_did), row.until);
    }

    /// Whether a person is banned. The first rule that applies decides:
    ///   1. without a row they are not;
    ///   2. a ban without an end is in force;
    ///   3. a ban with an end is in force until then.
    pub fn contains(&self, place: &Place) -> bool {
        self.rows.get(place).is_some_and(|until| until.is_none_or(|until| self.now < until))
    }

    /// Whether a ban has expired and its row still exists.
    pub fn is_over(&self, place: &Place) -> bool {
        self.rows.contains_key(place) && !self.contains(place)
    }

    /// Sets a ban; `false` if exactly this one exists.
    pub fn insert(&mut self, place: Place, until: Option<Micros>) -> bool {
        if self.contains(&place) && self.rows.get(&place) == Some(&until) {
            return false;
        }
        self.rows.insert(place.clone(), until);
        self.touched.insert(place);
        true
    }

    /// Lifts a ban; `false` if there was none.
    pub fn remove(&mut self, place: &Place) -> bool {
        self.rows.remove(place).is_some() && {
            self.touched.insert(place.clone());
            true
        }
    }

    /// The touched bans, and all bans.
    pub(super) fn into_parts(self) -> (BansDelta, Vec<BanRow>) {
        let row = |((community_uri, member_did), until): (Place, Option<Micros>)| BanRow {
            community_uri,
            member_did,
            until,
        };
        let mut delta = BansDelta::default();
        for place in self.touched {
            match self.rows.get(&place) {
                Some(until) => delta.set.push(row((place, *until))),
                None => delta.lifted.push(place),
            }
        }
        (delta, self.rows.into_iter().map(row).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        (
            AtUri::parse("at://did:plc:owner/social.colibri.community/c").unwrap(),
            Did::parse("did:plc:bob").unwrap(),
        )
    }

    #[test]
    fn t10_a_ban_ends_by_the_clock() {
        for (until, now, stands, why) in [
            (None, 0, true, "one without an end stands"),
            (None, i64::MAX, true, "for ever"),
            (Some(Micros(10)), 9, true, "until its end"),
            (Some(Micros(10)), 10, false, "not at it"),
            (Some(Micros(10)), 11, false, "nor after it"),
        ] {
            let mut bans = Bans::default();
            bans.insert(place(), until);
            bans.at(Micros(now));
            assert_eq!(bans.contains(&place()), stands, "{why}");
            assert_eq!(bans.is_over(&place()), !stands, "{why}");
        }
        assert!(!Bans::default().contains(&place()) && !Bans::default().is_over(&place()));
    }

    #[test]
    fn r08_only_another_end_makes_a_ban_anew() {
        for (before, after, made, why) in [
            (None, None, false, "it stands"),
            (Some(Micros(20)), Some(Micros(20)), false, "it stands, with an end"),
            (Some(Micros(20)), Some(Micros(30)), true, "longer"),
            (Some(Micros(20)), None, true, "for good"),
            (None, Some(Micros(30)), true, "shorter"),
            (Some(Micros(5)), Some(Micros(5)), true, "what is over does not stand"),
        ] {
            let mut bans = Bans::default();
            bans.insert(place(), before);
            bans.at(Micros(10));
            assert_eq!(bans.insert(place(), after), made, "{why}");
        }
    }
}
