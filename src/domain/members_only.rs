//! Who may read a community that is for members only (contract X40–X44, R45, R46), for REST and for sockets.
//!
//! The index has both: whether a community is for members only, and each person's [`Place`] there. Only
//! people who proved who they are may read it: naming a DID opens nothing here, in no mode.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::moderation::Caller;
use crate::wire::ids::{AtUri, Did};

/// A person's place in a community, as far as it decides about reading.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Place {
    /// Who.
    pub did: Did,
    /// Whether they are banned there now (T10).
    pub banned: bool,
    /// Whether they moderate it (X20).
    pub moderates: bool,
    /// Whether a membership of theirs is approved by the owner (I40).
    pub approved: bool,
    /// Whether their account is known not to be active (I51).
    pub away: bool,
}

/// Whether a person may read a community for members only. The first rule that applies decides:
///   1. whose account is not active may not;
///   2. its owner may;
///   3. a person who is banned there may not;
///   4. a moderator may, and a member whom the owner approved;
///   5. nobody else may. A person who waits for an approval is no member yet, even where nobody needs one to
///      take part: anybody could make themselves a reader there.
pub fn may_read(community: &AtUri, place: &Place) -> bool {
    if place.away {
        false
    } else if community.authority() == place.did {
        true
    } else {
        !place.banned && (place.moderates || place.approved)
    }
}

/// Whether a caller may read a community for members only, and what they lack. `place` is the
/// person's place there.
pub fn admits(community: &AtUri, caller: Option<&Caller>, place: Option<&Place>) -> Verdict {
    match (caller, place) {
        (None, _) => Verdict::ProofNeeded,
        (Some(Caller::Operator | Caller::Service), _) => Verdict::In,
        (Some(Caller::Person(did)), Some(place)) if place.did == *did && may_read(community, place) => {
            Verdict::In
        }
        (Some(Caller::Person(_)), _) => Verdict::NoMember,
    }
}

/// What a read of a community for members only comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The caller may read it.
    In,
    /// Nobody proved anything (401).
    ProofNeeded,
    /// Somebody proved who they are, and may not (403).
    NoMember,
}

/// Whose sockets may receive the events of a community.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Those of everybody who asks for it.
    All,
    /// Those of these people, if they proved who they are; and only those that named it.
    Only(BTreeSet<Did>),
}

impl Readers {
    /// Whether a socket of `did` may receive them.
    pub fn includes(&self, did: Option<&Did>, proven: bool) -> bool {
        match self {
            Readers::All => true,
            Readers::Only(people) => proven && did.is_some_and(|did| people.contains(did)),
        }
    }
}

/// To whose sockets events of a community may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// Who may read them (X43): of a community for members only, those of the gateway's askers who may.
    pub readers: Readers,
    /// The people at the gateway who may admit others (N162); empty if none of the events is for them.
    pub approvers: BTreeSet<Did>,
}

impl From<Readers> for Allowed {
    fn from(readers: Readers) -> Self {
        Self { readers, approvers: BTreeSet::new() }
    }
}

/// The setting in words, for the owner (O21).
pub fn meaning(on: bool) -> &'static str {
    if on {
        "only the owner, moderators and approved members read this community, and only with a proof \
         (or the API key); the shipped web client shows no proof and cannot read it"
    } else {
        "everybody reads this community"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn did(name: &str) -> Did {
        Did::parse(&format!("did:plc:{name}")).unwrap()
    }

    fn community() -> AtUri {
        AtUri::parse("at://did:plc:owner/social.colibri.community/c").unwrap()
    }

    fn place(name: &str) -> Place {
        Place { did: did(name), banned: false, moderates: false, approved: false, away: false }
    }

    #[test]
    fn x40_who_may_read() {
        for (place, expected, why) in [
            (place("owner"), true, "the owner"),
            (Place { banned: true, ..place("owner") }, true, "nobody bans the owner"),
            (Place { away: true, ..place("owner") }, false, "whose account is gone"),
            (place("stranger"), false, "a stranger, who may be pending"),
            (Place { approved: true, ..place("bob") }, true, "a member"),
            (Place { approved: true, banned: true, ..place("bob") }, false, "a member who is banned"),
            (Place { approved: true, away: true, ..place("bob") }, false, "a member whose account is gone"),
            (Place { moderates: true, ..place("mod") }, true, "a moderator who is no member"),
            (Place { moderates: true, banned: true, ..place("mod") }, false, "X20: not while banned"),
        ] {
            assert_eq!(may_read(&community(), &place), expected, "{why}");
        }
    }

    #[test]
    fn x41_what_a_caller_lacks() {
        let person = |name: &str| Caller::Person(did(name));
        let member = Place { approved: true, ..place("bob") };
        for (caller, place, expected, why) in [
            (None, None, Verdict::ProofNeeded, "nobody"),
            (None, Some(&member), Verdict::ProofNeeded, "an anonymous caller, about any person"),
            (Some(Caller::Operator), None, Verdict::In, "the API key"),
            (Some(person("bob")), Some(&member), Verdict::In, "a member"),
            (Some(person("eve")), Some(&member), Verdict::NoMember, "somebody else's place"),
            (Some(person("bob")), None, Verdict::NoMember, "a person unknown to the index"),
        ] {
            assert_eq!(admits(&community(), caller.as_ref(), place), expected, "{why}");
        }
    }

    #[test]
    fn x43_a_socket_needs_a_proof_and_the_right() {
        let to = Readers::Only([did("bob")].into());
        for (did, proven, expected) in [
            (Some(did("bob")), true, true),
            (Some(did("bob")), false, false),
            (Some(did("eve")), true, false),
            (None, true, false),
        ] {
            assert_eq!(to.includes(did.as_ref(), proven), expected, "{did:?} {proven}");
            assert!(Readers::All.includes(did.as_ref(), proven));
        }
    }
}
