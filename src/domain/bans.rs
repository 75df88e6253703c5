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
    pub by_service: bool,
    pub by_record: bool,
}

/// By whom a person is banned: each lifts only its own ban (N21).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ban {
    /// By this service (R08), until a time if one is given.
    by_service: Option<Option<Micros>>,
    /// By a record of the community.
    by_record: bool,
}

/// Bans, with a record of those that a fold touched.
#[derive(Clone, Debug, Default)]
pub struct Bans {
    rows: BTreeMap<Place, Ban>,
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
        let ban = Ban { by_service: row.by_service.then_some(row.until), by_record: row.by_record };
        self.rows.insert((row.community_uri, row.member_did), ban);
    }

    fn of(&self, place: &Place) -> Ban {
        self.rows.get(place).copied().unwrap_or_default()
    }

    fn set(&mut self, place: Place, ban: Ban) {
        if ban == Ban::default() {
            self.rows.remove(&place);
        } else {
            self.rows.insert(place.clone(), ban);
        }
        self.touched.insert(place);
    }

    /// Whether a person is banned. The first rule that applies decides:
    ///   1. without a row they are not;
    ///   2. a ban by a record is in force (N21);
    ///   3. a ban without an end is in force;
    ///   4. a ban with an end is in force until then.
    pub fn contains(&self, place: &Place) -> bool {
        let ban = self.of(place);
        ban.by_record || ban.by_service.is_some_and(|until| until.is_none_or(|until| self.now < until))
    }

    /// Whether a record of the community bans a person.
    pub fn is_by_record(&self, place: &Place) -> bool {
        self.of(place).by_record
    }

    /// Whether a ban of this service has expired and its row still exists.
    pub fn is_over(&self, place: &Place) -> bool {
        self.of(place).by_service.is_some_and(|until| until.is_some_and(|until| self.now >= until))
    }

    /// Sets a ban of this service; `false` if exactly this one exists.
    pub fn insert(&mut self, place: Place, until: Option<Micros>) -> bool {
        let ban = self.of(&place);
        if ban.by_service == Some(until) && !self.is_over(&place) {
            return false;
        }
        self.set(place, Ban { by_service: Some(until), ..ban });
        true
    }

    /// Lifts a ban of this service; `false` if there was none.
    pub fn remove(&mut self, place: &Place) -> bool {
        let ban = self.of(place);
        ban.by_service.is_some() && {
            self.set(place.clone(), Ban { by_service: None, ..ban });
            true
        }
    }

    /// Sets or lifts a ban by a record; `false` if it was as it is.
    pub fn record(&mut self, place: Place, by_record: bool) -> bool {
        let ban = self.of(&place);
        ban.by_record != by_record && {
            self.set(place, Ban { by_record, ..ban });
            true
        }
    }

    /// How many bans there are.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Adds facts, unless they are here already.
    pub(super) fn join(&mut self, mut others: Self) {
        others.rows.append(&mut self.rows);
        self.rows = others.rows;
    }

    /// The touched bans; from now on they are facts.
    pub(super) fn settle(&mut self) -> BansDelta {
        let row = |((community_uri, member_did), ban): (Place, Ban)| BanRow {
            community_uri,
            member_did,
            until: ban.by_service.flatten(),
            by_service: ban.by_service.is_some(),
            by_record: ban.by_record,
        };
        let mut delta = BansDelta::default();
        for place in std::mem::take(&mut self.touched) {
            match self.rows.get(&place) {
                Some(ban) => delta.set.push(row((place, *ban))),
                None => delta.lifted.push(place),
            }
        }
        delta
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
        for (until, now, banned, why) in [
            (None, 0, true, "one without an end lasts"),
            (None, i64::MAX, true, "for ever"),
            (Some(Micros(10)), 9, true, "until its end"),
            (Some(Micros(10)), 10, false, "not at it"),
            (Some(Micros(10)), 11, false, "nor after it"),
        ] {
            let mut bans = Bans::default();
            bans.insert(place(), until);
            bans.at(Micros(now));
            assert_eq!(bans.contains(&place()), banned, "{why}");
            assert_eq!(bans.is_over(&place()), !banned, "{why}");
        }
        assert!(!Bans::default().contains(&place()) && !Bans::default().is_over(&place()));
    }

    #[test]
    fn r08_only_another_end_makes_a_ban_anew() {
        for (before, after, made, why) in [
            (None, None, false, "the same"),
            (Some(Micros(20)), Some(Micros(20)), false, "the same, with an end"),
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

    #[test]
    fn n21_each_lifts_its_own() {
        let mut bans = Bans::default();
        bans.at(Micros(10));
        assert!(bans.record(place(), true) && !bans.record(place(), true));
        assert!(bans.contains(&place()) && !bans.remove(&place()), "only a record bans");
        assert!(bans.insert(place(), Some(Micros(20))) && bans.remove(&place()) && bans.contains(&place()));
        bans.insert(place(), Some(Micros(5)));
        assert!(bans.is_over(&place()) && bans.contains(&place()), "one is over, one is not");
        assert!(bans.record(place(), false) && !bans.contains(&place()) && bans.remove(&place()));
        let delta = bans.settle();
        assert_eq!((delta.set.len(), delta.lifted.len(), bans.len()), (0, 1, 0));
        assert!(bans.settle().is_empty(), "what was settled is not touched");
    }
}
