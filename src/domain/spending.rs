//! Whose budget a request spends: its address's, or that of the person who proves who they are (C14).
//!
//! A request takes from its address first. A proof that holds gives that back and takes from the person instead, so
//! people behind one address do not spend each other's budget, and a proof that fails stays with the address. When
//! the address has nothing left, its proofs are verified within a small budget of their own: a proven person's request
//! is accepted, and forged proofs cost no more than the sockets of an address.

use super::budget::{Buckets, Budget, requests, sockets};
use crate::wire::ids::Did;
use crate::wire::time::Micros;

/// How many people's worth of requests the proven people behind one address have together. Anybody can make as many
/// DIDs as they like.
const CROWD: i64 = 20;

/// Everybody's buckets.
#[derive(Debug, Default)]
pub struct Purse {
    addresses: Buckets,
    people: Buckets,
    /// What all people behind an address spend together.
    crowds: Buckets,
    openings: Buckets,
    openings_of_people: Buckets,
    /// Proofs that an address shows when it has nothing left.
    in_doubt: Buckets,
}

/// Who pays for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Payer {
    /// Its address.
    Address,
    /// Nobody yet: the address has nothing left, and the proof is not verified yet.
    Doubt,
    /// The person who proved who they are.
    Person(Did),
    /// Nobody: it is refused.
    Nobody,
}

/// What one request spends.
#[derive(Clone, Debug)]
pub struct Spending {
    /// Requests a minute.
    limit: i64,
    address: String,
    payer: Payer,
    /// Whether it opens a socket.
    opens: bool,
    /// What is left of the budget that was spent last, or that had nothing left.
    budget: Budget,
}

/// In how many whole seconds the next request is welcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over(pub i64);

impl Spending {
    /// What its answer says (H14).
    pub fn budget(&self) -> Budget {
        self.budget
    }

    /// Whether a proof must hold before anything is answered.
    pub fn is_in_doubt(&self) -> bool {
        self.payer == Payer::Doubt
    }

    /// Notes that the request opens a socket.
    pub fn opens_a_socket(&mut self) {
        self.opens = true;
    }

    /// The refusal, if the address has nothing left.
    pub fn refused(&self) -> Result<(), Over> {
        match self.payer {
            Payer::Nobody | Payer::Doubt => Err(Over(self.budget.over.unwrap_or(1))),
            Payer::Address | Payer::Person(_) => Ok(()),
        }
    }

    fn take(&mut self, budget: Budget) -> Result<(), Over> {
        let over = budget.over;
        // The answer to an accepted opening shows the budget of requests.
        if over.is_some() || !self.opens {
            self.budget = budget;
        }
        over.map_or(Ok(()), |secs| Err(Over(secs)))
    }
}

impl Purse {
    /// Nobody has spent anything.
    pub const fn new() -> Self {
        Self {
            addresses: Buckets::new(),
            people: Buckets::new(),
            crowds: Buckets::new(),
            openings: Buckets::new(),
            openings_of_people: Buckets::new(),
            in_doubt: Buckets::new(),
        }
    }

    /// A request of `address` comes in, where `limit` are allowed a minute. `may_prove`: whether it shows what may be a
    /// proof; asked only where that matters.
    pub fn enter(
        &mut self,
        limit: i64,
        address: String,
        may_prove: impl FnOnce() -> bool,
        now: Micros,
    ) -> Spending {
        let budget = self.addresses.count(&address, requests(limit), now);
        let payer = if budget.over.is_none() {
            Payer::Address
        } else if may_prove() && self.in_doubt.count(&address, sockets(limit), now).over.is_none() {
            Payer::Doubt
        } else {
            Payer::Nobody
        };
        Spending { limit, address, payer, opens: false, budget }
    }

    /// The proof of a request holds: `did` pays for it, and for the socket that it opens. A person who has nothing left
    /// is refused, and what the address paid is not given back, so that a flood of good proofs has an end as well.
    pub fn prove(&mut self, spending: &mut Spending, did: &Did, now: Micros) -> Result<(), Over> {
        let opens = std::mem::take(&mut spending.opens);
        if spending.payer != Payer::Person(did.clone()) {
            let budget = self.people.count(did.as_str(), requests(spending.limit), now);
            spending.take(budget)?;
            let size = requests(spending.limit.saturating_mul(CROWD));
            let crowd = self.crowds.count(&spending.address, size, now);
            if crowd.over.is_some() {
                self.people.give_back(did.as_str());
                return spending.take(crowd);
            }
            match spending.payer {
                Payer::Address => self.addresses.give_back(&spending.address),
                Payer::Doubt => self.in_doubt.give_back(&spending.address),
                Payer::Person(_) | Payer::Nobody => {}
            }
            spending.payer = Payer::Person(did.clone());
        }
        if !opens {
            return Ok(());
        }
        spending.opens = true;
        let budget = self.openings_of_people.count(did.as_str(), sockets(spending.limit), now);
        spending.take(budget)
    }

    /// The request claims to be of `did`, and the proof is not verified yet. If that person has nothing left, the
    /// request is refused at once: verifying the proof costs a query, and a valid one would be refused as well. A
    /// forged proof takes nothing from the person, and is refused with another answer.
    pub fn claim(&self, spending: &mut Spending, did: &Did, now: Micros) -> Result<(), Over> {
        if spending.payer == Payer::Person(did.clone()) {
            return Ok(());
        }
        let used_up = self.people.used_up(did.as_str(), requests(spending.limit), now);
        used_up.map_or(Ok(()), |budget| spending.take(budget))
    }

    /// Nobody has proven anything: the address pays for the socket that the request opens, if it opens one.
    pub fn open(&mut self, spending: &mut Spending, now: Micros) -> Result<(), Over> {
        if !spending.opens || matches!(spending.payer, Payer::Person(_)) {
            return Ok(());
        }
        let budget = self.openings.count(&spending.address, sockets(spending.limit), now);
        spending.take(budget)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Micros = Micros(1_772_366_400_000_000);
    const LIMIT: i64 = 60;
    const SCHOOL: &str = "203.0.113.1";

    fn did(name: &str) -> Did {
        Did::parse(&format!("did:plc:{name}")).unwrap()
    }

    fn later(seconds: i64) -> Micros {
        Micros(START.0 + seconds * 1_000_000)
    }

    /// A request of the school without a proof, with one that fails, or with one of a person.
    enum Shows<'a> {
        Nothing,
        Forged,
        Person(&'a str),
    }

    /// What is left after the request, or the refusal.
    fn ask(purse: &mut Purse, shows: &Shows<'_>, opens: bool, now: Micros) -> Result<i64, Over> {
        let mut spending = purse.enter(LIMIT, SCHOOL.into(), || !matches!(shows, Shows::Nothing), now);
        if opens {
            spending.opens_a_socket();
        }
        match shows {
            _ if spending.refused().is_err() && !spending.is_in_doubt() => {}
            Shows::Person(name) => purse.prove(&mut spending, &did(name), now)?,
            Shows::Nothing | Shows::Forged => purse.open(&mut spending, now)?,
        }
        spending.refused().map(|()| spending.budget().remaining)
    }

    #[test]
    fn c14_people_behind_one_address_spend_their_own() {
        let mut purse = Purse::new();
        for n in 1..=LIMIT {
            for name in ["a", "b", "c"] {
                assert_eq!(ask(&mut purse, &Shows::Person(name), false, START), Ok(LIMIT - n), "{name}");
            }
        }
        assert_eq!(
            ask(&mut purse, &Shows::Nothing, false, START),
            Ok(LIMIT - 1),
            "the address has all of its own"
        );
    }

    #[test]
    fn c14_a_proof_that_fails_is_the_addresss() {
        let mut purse = Purse::new();
        for n in 1..=LIMIT {
            assert_eq!(ask(&mut purse, &Shows::Forged, false, START), Ok(LIMIT - n));
        }
        assert_eq!(ask(&mut purse, &Shows::Nothing, false, START), Err(Over(1)));
        assert_eq!(
            ask(&mut purse, &Shows::Person("a"), false, START),
            Ok(LIMIT - 1),
            "a proven person is accepted"
        );
    }

    #[test]
    fn c14_an_address_with_nothing_left_lets_in_whoever_is_proven_and_looks_at_few_forgeries() {
        let mut purse = Purse::new();
        while ask(&mut purse, &Shows::Nothing, false, START).is_ok() {}
        for n in 1..=LIMIT {
            assert_eq!(
                ask(&mut purse, &Shows::Person("a"), false, START),
                Ok(LIMIT - n),
                "a good proof costs no doubt"
            );
        }
        let looked_at = |purse: &mut Purse, now: Micros| {
            (0..100).filter(|_| purse.enter(LIMIT, SCHOOL.into(), || true, now).is_in_doubt()).count()
        };
        assert_eq!(looked_at(&mut purse, START), 10, "as many as it may open sockets");
        assert_eq!(looked_at(&mut purse, START), 0);
        assert!(ask(&mut purse, &Shows::Person("b"), false, START).is_err(), "then no proof is verified");
        // A token of the address is back as well, so the first of these is not in doubt.
        assert_eq!(looked_at(&mut purse, later(6)), 1);
        assert_eq!(
            purse.enter(LIMIT, "203.0.113.2".into(), || false, START).refused(),
            Ok(()),
            "others do not notice"
        );
    }

    #[test]
    fn c14_a_person_has_one_budget_and_a_flood_of_good_proofs_ends() {
        let mut purse = Purse::new();
        let answers: Vec<_> =
            (0..10 * LIMIT).map(|_| ask(&mut purse, &Shows::Person("a"), false, START)).collect();
        let let_in = answers.iter().filter(|answer| answer.is_ok()).count();
        assert_eq!(i64::try_from(let_in).unwrap(), LIMIT);
        // Over the limit, 60 were paid by the address and 10 verified in doubt: the rest is refused unverified.
        let mut spending = purse.enter(LIMIT, SCHOOL.into(), || true, START);
        assert!(!spending.is_in_doubt() && spending.refused().is_err());
        let elsewhere = purse.enter(LIMIT, "203.0.113.2".into(), || true, START);
        assert_eq!(elsewhere.refused(), Ok(()));
        spending = elsewhere;
        assert_eq!(purse.prove(&mut spending, &did("a"), START), Err(Over(1)), "at whatever address");
        assert_eq!(spending.budget().remaining, 0, "and the answer says so of the person");
    }

    #[test]
    fn c14_a_person_with_nothing_left_is_refused_before_their_proof_is_verified() {
        let mut purse = Purse::new();
        let mut next = 0;
        let mut claim = |purse: &mut Purse, name: &str| {
            next += 1;
            let mut spending = purse.enter(LIMIT, format!("203.0.113.{next}"), || true, START);
            purse.claim(&mut spending, &did(name), START).map(|()| spending)
        };
        for _ in 0..LIMIT {
            for _ in 0..2 {
                assert!(claim(&mut purse, "a").is_ok(), "a claim takes nothing");
            }
            let mut spending = claim(&mut purse, "a").unwrap();
            assert_eq!(purse.prove(&mut spending, &did("a"), START), Ok(()));
            assert_eq!(purse.claim(&mut spending, &did("a"), START), Ok(()), "who has paid is not refused");
        }
        assert_eq!(claim(&mut purse, "a").unwrap_err(), Over(1));
        assert!(claim(&mut purse, "b").is_ok());
        let mut spending = purse.enter(LIMIT, SCHOOL.into(), || true, START);
        assert!(purse.claim(&mut spending, &did("a"), START).is_err());
        assert_eq!(spending.budget().remaining, 0, "H14: of the person");
    }

    #[test]
    fn c14_a_crowd_of_made_up_people_ends() {
        let mut purse = Purse::new();
        let asked = 2 * CROWD * LIMIT;
        let let_in = (0..asked)
            .filter(|n| ask(&mut purse, &Shows::Person(&format!("p{n}")), false, START).is_ok())
            .count();
        assert_eq!(i64::try_from(let_in).unwrap(), CROWD * LIMIT);
        let mut spending = purse.enter(LIMIT, "203.0.113.2".into(), || true, START);
        assert_eq!(purse.prove(&mut spending, &did("p1"), START), Ok(()), "they are accepted elsewhere");
    }

    #[test]
    fn c14_sockets_are_opened_at_a_tenth_by_addresses_and_by_people() {
        let mut purse = Purse::new();
        let opened = |purse: &mut Purse, shows: &Shows<'_>| {
            (0..20).filter(|_| ask(purse, shows, true, START).is_ok()).count()
        };
        assert_eq!(opened(&mut purse, &Shows::Forged), 10);
        assert_eq!(opened(&mut purse, &Shows::Nothing), 0, "a proof that failed was the address's");
        for name in ["a", "b"] {
            assert_eq!(opened(&mut purse, &Shows::Person(name)), 10, "{name} has their own");
        }
    }

    #[test]
    fn h14_the_answer_says_what_is_left_of_the_budget_that_counts() {
        let mut purse = Purse::new();
        let mut spending = purse.enter(LIMIT, SCHOOL.into(), || false, START);
        assert_eq!((spending.budget().limit, spending.budget().remaining), (LIMIT, LIMIT - 1));
        assert_eq!(purse.open(&mut spending, START), Ok(()), "it opens none");
        spending.opens_a_socket();
        assert_eq!(purse.open(&mut spending, START), Ok(()));
        assert_eq!(spending.budget().remaining, LIMIT - 1, "of requests, where the socket is opened");
        while purse.open(&mut spending, START).is_ok() {}
        assert_eq!(
            (spending.budget().limit, spending.budget().remaining),
            (10, 0),
            "of sockets, where it is not"
        );
        let mut again = purse.enter(LIMIT, SCHOOL.into(), || false, START);
        assert_eq!(purse.prove(&mut again, &did("a"), START), Ok(()));
        assert_eq!(purse.prove(&mut again, &did("a"), START), Ok(()), "verified twice, it is paid once");
        assert_eq!(again.budget().remaining, LIMIT - 1);
    }
}
