//! What moderators decide by REST, and who may (contract R03, R08, R09, R30–R32, X01–X03, X20–X23).
//!
//! A decision walks in by the same pipeline as a record (invariant 8): the fold applies it to the
//! facts of its moment (`ingest::decisions`), and says what came of it. What was made is written to
//! the audit log in the same transaction (X22).

use std::collections::BTreeSet;

use super::working_set::WorkingSet;
use crate::wire::ids::{AtUri, Did};
use crate::wire::time::Micros;

/// How many people may moderate a community besides its owner (X20).
pub const MODERATORS_MAX: usize = 100;
/// The longest reason of an act, in characters (X22).
pub const REASON_MAX: usize = 300;

/// Who is calling, once that is proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Whoever holds the API key (X01).
    Operator,
    /// One person, by a proof of their own (X03).
    Person(Did),
    /// The service itself: a ban came to its end.
    Service,
}

impl Caller {
    /// Whether the caller may do what only the owner of a community may. The first rule that applies
    /// decides:
    ///   1. the operator may, for every community (X03);
    ///   2. its owner may (T05);
    ///   3. nobody else.
    pub fn owns(&self, community: &AtUri) -> bool {
        match self {
            Caller::Operator | Caller::Service => true,
            Caller::Person(did) => community.authority() == *did,
        }
    }

    /// The caller as the audit log names them (X22).
    pub fn name(&self) -> &str {
        match self {
            Caller::Operator => "operator",
            Caller::Person(did) => did.as_str(),
            Caller::Service => "service",
        }
    }
}

/// How it is known who is calling (X22).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The API key.
    ApiKey,
    /// A service-auth JWT.
    ServiceAuth,
    /// A socket token (R25).
    SocketToken,
    /// None: nobody called.
    None,
}

impl Proof {
    /// The word of the audit log.
    pub fn word(self) -> &'static str {
        match self {
            Proof::ApiKey => "api_key",
            Proof::ServiceAuth => "service_auth",
            Proof::SocketToken => "socket_token",
            Proof::None => "none",
        }
    }
}

/// A request that is made once, however often it is sent (X23).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Once {
    /// The `Idempotency-Key`.
    pub key: String,
    /// What was asked, as a hash.
    pub request: String,
}

/// A decision, with who makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Who decides.
    pub caller: Caller,
    /// How that is known.
    pub proof: Proof,
    /// What.
    pub what: Measure,
    /// Why, as the caller says it.
    pub reason: Option<String>,
    /// Whether it is made once.
    pub once: Option<Once>,
}

impl Decision {
    /// A decision for which no reason is given.
    pub fn new(caller: Caller, proof: Proof, what: Measure) -> Self {
        Self { caller, proof, what, reason: None, once: None }
    }
}

/// What can be decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Measure {
    /// R03: this message appears nowhere any more (T11).
    Block(AtUri),
    /// R30: it may appear again.
    Unblock(AtUri),
    /// R08: this person is banned from this community (T10), if a time is given until then.
    Ban(AtUri, Did, Option<Micros>),
    /// R09: no more.
    Unban(AtUri, Did),
    /// The end of a ban has come; the community is told.
    EndBan(AtUri, Did),
    /// R31: this person's membership of this community ends.
    Kick(AtUri, Did),
    /// R32: these people moderate this community, and no others.
    Moderators(AtUri, BTreeSet<Did>),
}

/// What came of a decision. Only [`Ruling::Made`] changed anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// It counts from now on.
    Made,
    /// It stood already.
    Stood,
    /// The message is not known (T07) or not blocked, or the person is not banned, or no member.
    NothingThere,
    /// The owner can be neither banned nor kicked (B-17).
    IsOwner,
    /// The caller has no say in that community (X03, X20).
    Forbidden,
    /// The `Idempotency-Key` was used for something else (X23).
    KeyReused,
}

impl Measure {
    /// The community concerned, if it is known. Bans may come before the community.
    pub(super) fn community(&self, working_set: &WorkingSet) -> Option<AtUri> {
        match self {
            Measure::Block(message) | Measure::Unblock(message) => {
                let channel = &working_set.messages.get(message)?.channel_uri;
                working_set.channel(channel).map(|(_, community)| community.uri.clone())
            }
            Measure::Ban(community, ..)
            | Measure::Unban(community, _)
            | Measure::EndBan(community, _)
            | Measure::Kick(community, _)
            | Measure::Moderators(community, _) => Some(community.clone()),
        }
    }

    /// The person whom it puts out, and the community.
    fn puts_out(&self) -> Option<(&AtUri, &Did)> {
        match self {
            Measure::Ban(community, member, _) | Measure::Kick(community, member) => {
                Some((community, member))
            }
            _ => None,
        }
    }

    /// Whether it puts out the owner, which nobody can.
    pub(super) fn is_against_owner(&self) -> bool {
        self.puts_out().is_some_and(|(community, member)| community.authority() == *member)
    }

    /// The word of the audit log.
    pub fn word(&self) -> &'static str {
        match self {
            Measure::Block(_) => "block",
            Measure::Unblock(_) => "unblock",
            Measure::Ban(..) => "ban",
            Measure::Unban(..) => "unban",
            Measure::EndBan(..) => "ban_ended",
            Measure::Kick(..) => "kick",
            Measure::Moderators(..) => "moderators",
        }
    }

    /// What the audit log says it was done to.
    pub fn subject(&self) -> String {
        match self {
            Measure::Block(message) | Measure::Unblock(message) => message.to_string(),
            Measure::Ban(_, member, _)
            | Measure::Unban(_, member)
            | Measure::EndBan(_, member)
            | Measure::Kick(_, member) => member.to_string(),
            Measure::Moderators(_, people) => people.iter().map(Did::as_str).collect::<Vec<_>>().join(" "),
        }
    }

    /// When what it sets ends by itself.
    pub fn until(&self) -> Option<Micros> {
        if let Measure::Ban(_, _, until) = self { *until } else { None }
    }
}

/// Whether `caller` may decide this for `community`. The first rule that applies decides:
///   1. the operator and the owner may decide everything (X03);
///   2. who moderates is the owner's to say (X20);
///   3. a moderator may decide the rest, unless they are banned there, but puts out no other
///      moderator (X20);
///   4. nobody else may decide anything.
pub(super) fn may_decide(
    working_set: &WorkingSet,
    caller: &Caller,
    community: &AtUri,
    what: &Measure,
) -> bool {
    if caller.owns(community) {
        return true;
    }
    let Caller::Person(person) = caller else { return false };
    let place = |did: &Did| (community.clone(), did.clone());
    let moderates = |did: &Did| working_set.moderators.contains(&place(did));
    !matches!(what, Measure::Moderators(..))
        && moderates(person)
        && !working_set.bans.contains(&place(person))
        && !what.puts_out().is_some_and(|(_, member)| member != person && moderates(member))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x03_x20_who_may_decide_what() {
        let did = |name: &str| Did::parse(&format!("did:plc:{name}")).unwrap();
        let person = |name: &str| Caller::Person(did(name));
        let community = AtUri::parse("at://did:plc:owner/social.colibri.community/c").unwrap();
        let other = AtUri::parse("at://did:plc:owner/social.colibri.community/other").unwrap();
        let mut working_set = WorkingSet::default();
        for name in ["mod", "mad", "peer"] {
            working_set.moderators.insert((community.clone(), did(name)));
        }
        working_set.bans.insert((community.clone(), did("mad")), None);
        let ban = |name: &str| Measure::Ban(community.clone(), did(name), None);
        let kick = |name: &str| Measure::Kick(community.clone(), did(name));
        let moderators = || Measure::Moderators(community.clone(), BTreeSet::new());
        for (caller, at, what, expected, why) in [
            (Caller::Operator, &community, ban("bob"), true, "the key moderates every community"),
            (Caller::Operator, &other, moderators(), true, "and names its moderators"),
            (person("owner"), &community, ban("mod"), true, "its owner"),
            (person("owner"), &community, moderators(), true, "its owner"),
            (person("stranger"), &community, ban("bob"), false, "B-18: the owner of another"),
            (person("mod"), &community, ban("bob"), true, "a moderator"),
            (person("mod"), &community, kick("bob"), true, "a moderator"),
            (person("mod"), &community, kick("mod"), true, "themselves"),
            (person("mod"), &community, ban("peer"), false, "not another moderator"),
            (person("mod"), &community, kick("peer"), false, "not another moderator"),
            (person("mod"), &community, moderators(), false, "who moderates is the owner's to say"),
            (person("mod"), &other, ban("bob"), false, "not in another community of the same owner"),
            (person("mad"), &community, ban("bob"), false, "not while banned there"),
        ] {
            assert_eq!(may_decide(&working_set, &caller, at, &what), expected, "{why}: {caller:?} {what:?}");
        }
    }
}
