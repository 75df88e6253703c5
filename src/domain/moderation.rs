//! What moderators decide by REST, and who may (contract R03, R08, R09, X01–X03).
//!
//! A decision walks in by the same pipeline as a record (invariant 8): the fold applies it to the
//! facts of its moment (`ingest::decisions`), and says what came of it.

use super::working_set::WorkingSet;
use crate::wire::ids::{AtUri, Did};

/// Who is calling, once that is proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Whoever holds the API key (X01).
    Operator,
    /// One person, by a token of their own (X03).
    Person(Did),
}

impl Caller {
    /// Whether the caller may act for a community. The first rule that applies decides:
    ///   1. the operator may, for every community (X03);
    ///   2. its owner may (T05);
    ///   3. nobody else.
    pub fn may_moderate(&self, owner: &Did) -> bool {
        match self {
            Caller::Operator => true,
            Caller::Person(did) => did == owner,
        }
    }
}

/// A decision, with who makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Who decides.
    pub caller: Caller,
    /// What.
    pub what: Measure,
}

/// What can be decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Measure {
    /// R03: this message appears nowhere any more (T11).
    Block(AtUri),
    /// R08: this person is banned from this community (T10).
    Ban(AtUri, Did),
    /// R09: no more.
    Unban(AtUri, Did),
}

/// What came of a decision. Only [`Ruling::Made`] changed anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// It counts from now on.
    Made,
    /// It stood already.
    Stood,
    /// The message is not known (T07), or the person is not banned.
    NothingThere,
    /// The owner cannot be banned (B-17).
    IsOwner,
    /// The caller has no say in that community (X03).
    Forbidden,
}

impl Measure {
    /// The owner of the community concerned, if it is known. Bans may come before the community.
    pub(super) fn owner(&self, working_set: &WorkingSet) -> Option<Did> {
        match self {
            Measure::Block(message) => {
                let channel = &working_set.messages.get(message)?.channel_uri;
                working_set.channel(channel).map(|(_, community)| community.uri.authority())
            }
            Measure::Ban(community, _) | Measure::Unban(community, _) => Some(community.authority()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x03_b18_a_person_moderates_only_what_is_theirs() {
        let did = |name: &str| Did::parse(&format!("did:plc:{name}")).unwrap();
        for (caller, expected, why) in [
            (Caller::Operator, true, "the key moderates every community"),
            (Caller::Person(did("owner")), true, "its owner"),
            (Caller::Person(did("other")), false, "the owner of another"),
        ] {
            assert_eq!(caller.may_moderate(&did("owner")), expected, "{why}");
        }
    }
}
