//! Where people stand, remembered from one batch to the next.
//!
//! Most of what a batch must know is where its authors stand: their memberships, the approvals
//! of these, their bans. The same people speak again and again, so what one batch has read and
//! decided is kept for the next.
//!
//! Promise: what [`StandingCache::give`] brings into a working set is what the database holds at
//! [`StandingCache::version`] of the ledger. Every writer of these rows moves that version (invariant 3),
//! so whoever finds another one must [`StandingCache::forget`] all of it and read.

use std::collections::{BTreeMap, BTreeSet};

use super::bans::BanRow;
use super::rows::{ApprovalRow, MembershipRow};
use super::working_set::WorkingSet;
use crate::wire::ids::Did;

/// People remembered at most: with two communities each, about 2 kB of the 128 MB that an isolate
/// has. Over it everybody is forgotten.
const PEOPLE_MAX: usize = 8_000;

/// Everything that decides where one person stands, in any community.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Person {
    memberships: Vec<MembershipRow>,
    /// Of these memberships, by anybody.
    approvals: Vec<ApprovalRow>,
    bans: Vec<BanRow>,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StandingCache {
    version: i64,
    people: BTreeMap<Did, Person>,
}

/// Rows of a working set after a fold, from which [`StandingCache::keep`] takes.
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
    /// The version of the ledger at which this is true.
    pub fn version(&self) -> i64 {
        self.version
    }

    /// Whether it is known where this person stands.
    pub fn knows(&self, did: &Did) -> bool {
        self.people.contains_key(did)
    }

    /// Forgets everybody.
    pub fn forget(&mut self) {
        self.people.clear();
    }

    /// Moves what is known of `people` into `working_set`. They are known again after [`Self::keep`].
    pub fn give<'a>(&mut self, people: impl IntoIterator<Item = &'a Did>, working_set: &mut WorkingSet) {
        for did in people {
            let Some(person) = self.people.remove(did) else { continue };
            person.memberships.into_iter().for_each(|row| working_set.memberships.seed(row));
            person.approvals.into_iter().for_each(|row| working_set.approvals.seed(row));
            person.bans.into_iter().for_each(|row| working_set.bans.seed(row));
        }
    }

    /// Remembers `people`, of whom `standings` has everything, as of `version`.
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

/// The person, if they are among `people`.
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
    use crate::wire::time::Micros;

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
        assert!(!known.knows(&did("eve")), "of whom not everything was loaded");
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
