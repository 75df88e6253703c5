//! People's standings, cached from one batch to the next.
//!
//! Most facts of a batch are the standings of its authors: their memberships, the approvals of
//! these, their bans. The same people write again and again, so the facts and results of one batch
//! are cached for the next.
//!
//! Promise: [`StandingCache::give`] adds to a working set what the database contains at
//! [`StandingCache::version`] of the ledger. Every writer of these rows raises that version
//! (invariant 3); a caller that finds a different one must [`StandingCache::forget`] everything and
//! read. Only an admin who writes rows by hand does not raise it, so the cache also ends by itself
//! ([`StandingCache::expire`]).

use std::collections::{BTreeMap, BTreeSet};

use super::bans::BanRow;
use super::rows::{ApprovalRow, MembershipRow};
use super::working_set::WorkingSet;
use crate::wire::ids::Did;
use crate::wire::time::Micros;

/// The most people: with two communities each, about 2 kB of the 128 MB that an isolate has. Over
/// it, the whole cache is dropped.
const PEOPLE_MAX: usize = 8_000;
/// The longest time, in microseconds, before a row that an admin changed by hand takes effect, as
/// `docs/hosting.md` promises. Cached responses have the same limit (`api::response_cache`).
const KEPT_WITHIN: u64 = 60_000_000;

/// Everything that decides the standing of one person, in any community.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Person {
    memberships: Vec<MembershipRow>,
    /// The approvals of these memberships, by anybody.
    approvals: Vec<ApprovalRow>,
    bans: Vec<BanRow>,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StandingCache {
    version: i64,
    /// When it was empty last.
    since: Micros,
    people: BTreeMap<Did, Person>,
}

/// The rows of a working set after a fold, from which [`StandingCache::keep`] takes.
#[derive(Clone, Debug, Default)]
pub struct Standings {
    /// Memberships.
    pub memberships: Vec<MembershipRow>,
    /// Approvals.
    pub approvals: Vec<ApprovalRow>,
    /// Bans.
    pub bans: Vec<BanRow>,
}

impl StandingCache {
    /// The ledger version of the cache.
    pub fn version(&self) -> i64 {
        self.version
    }

    /// Whether this person's standing is cached.
    pub fn knows(&self, did: &Did) -> bool {
        self.people.contains_key(did)
    }

    /// Drops the whole cache if it is a minute old at the time `now`, or if the clock was set back.
    pub fn expire(&mut self, now: Micros) {
        if now.0.abs_diff(self.since.0) >= KEPT_WITHIN {
            self.forget();
            self.since = now;
        }
    }

    /// Drops the whole cache.
    pub fn forget(&mut self) {
        self.people.clear();
    }

    /// Moves the cached rows of `people` into `working_set`. [`Self::keep`] puts them back.
    pub fn give<'a>(&mut self, people: impl IntoIterator<Item = &'a Did>, working_set: &mut WorkingSet) {
        for did in people {
            let Some(person) = self.people.remove(did) else { continue };
            person.memberships.into_iter().for_each(|row| working_set.memberships.seed(row));
            person.approvals.into_iter().for_each(|row| working_set.approvals.seed(row));
            person.bans.into_iter().for_each(|row| working_set.bans.seed(row));
        }
    }

    /// Caches `people`, as of `version`; `standings` has all of their rows.
    pub fn keep(&mut self, version: i64, people: BTreeSet<Did>, standings: Standings) {
        self.version = version;
        if self.people.len() + people.len() > PEOPLE_MAX {
            self.forget();
        }
        self.people.extend(people.iter().map(|did| (did.clone(), Person::default())));
        for row in standings.memberships {
            if let Some(person) = person_of(&mut self.people, &people, &row.member_did) {
                person.memberships.push(row);
            }
        }
        for row in standings.approvals {
            if let Some(person) = person_of(&mut self.people, &people, &row.membership_uri.authority()) {
                person.approvals.push(row);
            }
        }
        for row in standings.bans {
            if let Some(person) = person_of(&mut self.people, &people, &row.member_did) {
                person.bans.push(row);
            }
        }
    }
}

/// The person of an AT-URI, if they are among `people`.
fn person_of<'k>(
    known: &'k mut BTreeMap<Did, Person>,
    people: &BTreeSet<Did>,
    did: &Did,
) -> Option<&'k mut Person> {
    known.get_mut(did).filter(|_| people.contains(did))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ids::AtUri;

    fn did(name: &str) -> Did {
        Did::parse(&format!("did:plc:{name}")).unwrap()
    }

    fn membership(of: &str) -> MembershipRow {
        MembershipRow {
            uri: AtUri::parse(&format!("at://did:plc:{of}/social.colibri.membership/m")).unwrap(),
            member_did: did(of),
            community_uri: AtUri::parse("at://did:plc:owner/social.colibri.community/c").unwrap(),
            rev: "1".into(),
            indexed_at: Micros(0),
            hidden: false,
        }
    }

    fn standings(of: &[&str]) -> Standings {
        Standings { memberships: of.iter().map(|name| membership(name)).collect(), ..Standings::default() }
    }

    #[test]
    fn what_is_given_is_known_again_only_when_it_is_kept() {
        let (bob, carol) = (did("bob"), did("carol"));
        let mut known = StandingCache::default();
        known.keep(7, [bob.clone(), carol.clone()].into(), standings(&["bob", "eve"]));
        assert!(known.knows(&bob) && known.knows(&carol), "also who has no membership");
        assert!(!known.knows(&did("eve")), "not all of whose rows were loaded");
        let mut working_set = WorkingSet::default();
        known.give([&bob, &did("eve")], &mut working_set);
        assert_eq!(working_set.memberships.iter().count(), 1);
        assert!(!known.knows(&bob), "a batch that fails leaves nothing that could be wrong");
        known.keep(8, [bob.clone()].into(), standings(&[]));
        let mut working_set = WorkingSet::default();
        known.give([&bob], &mut working_set);
        assert_eq!(
            (working_set.memberships.iter().count(), known.version()),
            (0, 8),
            "the membership is gone"
        );
    }

    #[test]
    fn memory_is_bounded() {
        let mut known = StandingCache::default();
        for n in 0..PEOPLE_MAX + 10 {
            known.keep(1, [did(&format!("p{n}"))].into(), Standings::default());
        }
        assert!(!known.knows(&did("p0")) && known.knows(&did(&format!("p{}", PEOPLE_MAX + 9))));
    }
}
