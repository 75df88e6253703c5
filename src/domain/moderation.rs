//! Moderators' decisions by REST, and who may make them (contract R03, R08, R09, R30–R32, R45,
//! X01–X03, X20–X23).
//!
//! A decision takes the same pipeline as a record (invariant 8): the fold applies it to the facts
//! of its moment (`ingest::decisions`), and returns the result. The same transaction writes the
//! audit log (X22).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::form::Form;
use super::roles::{is_protected, outranks, rights, roles_of};
use super::working_set::WorkingSet;
use crate::wire::ids::{AtUri, Did};
use crate::wire::permissions::{Permission, Permissions};
use crate::wire::time::Micros;

/// The most moderators of a community besides its owner (X20).
pub const MODERATORS_MAX: usize = 100;
/// The longest reason, in characters (X22).
pub const REASON_MAX: usize = 300;

/// The authenticated caller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Caller {
    /// The holder of the API key (X01).
    Operator,
    /// One person, by a proof of their own (X03).
    Person(Did),
    /// The service itself, when a ban expires.
    Service,
}

impl Caller {
    /// Whether the caller may do what only the owner of a community may. The first rule that
    /// applies decides:
    ///   1. the operator may, for every community (X03);
    ///   2. its owner may (T05);
    ///   3. nobody else may.
    pub fn owns(&self, community: &AtUri) -> bool {
        match self {
            Caller::Operator | Caller::Service => true,
            Caller::Person(did) => community.authority() == *did,
        }
    }

    /// The caller's name in the audit log (X22).
    pub fn name(&self) -> &str {
        match self {
            Caller::Operator => "operator",
            Caller::Person(did) => did.as_str(),
            Caller::Service => "service",
        }
    }
}

/// The kind of proof of a caller (X22).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Proof {
    /// The API key.
    ApiKey,
    /// A service-auth JWT.
    ServiceAuth,
    /// A socket token (R25).
    SocketToken,
    /// None, because nobody called.
    None,
}

impl Proof {
    /// Its name in the audit log.
    pub fn word(self) -> &'static str {
        match self {
            Proof::ApiKey => "api_key",
            Proof::ServiceAuth => "service_auth",
            Proof::SocketToken => "socket_token",
            Proof::None => "none",
        }
    }
}

/// A request that takes effect once, however often it is sent (X23).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Once {
    /// The `Idempotency-Key`.
    pub key: String,
    /// A hash of the request.
    pub request: String,
}

/// A decision, and its maker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The caller.
    pub caller: Caller,
    /// Their kind of proof.
    pub proof: Proof,
    /// The measure.
    pub what: Measure,
    /// The reason that the caller gave.
    pub reason: Option<String>,
    /// The idempotency key, if any.
    pub once: Option<Once>,
}

impl Decision {
    /// A decision without a reason.
    pub fn new(caller: Caller, proof: Proof, what: Measure) -> Self {
        Self { caller, proof, what, reason: None, once: None }
    }
}

/// The possible measures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Measure {
    /// R03: hides this message everywhere (T11).
    Block(AtUri),
    /// R30: shows it again.
    Unblock(AtUri),
    /// R08: bans this person from this community (T10), until a time if one is given.
    Ban(AtUri, Did, Option<Micros>),
    /// R09: lifts the ban.
    Unban(AtUri, Did),
    /// A ban expired; the person's return is published.
    EndBan(AtUri, Did),
    /// R31: ends this person's membership of this community.
    Kick(AtUri, Did),
    /// R32: makes these people the only moderators of this community.
    Moderators(AtUri, BTreeSet<Did>),
    /// R45: only members read this community, or everybody.
    MembersOnly(AtUri, bool),
}

/// The result of a decision. Only [`Ruling::Made`] changed anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ruling {
    /// It is in force.
    Made,
    /// It was in force already.
    Stood,
    /// The message is unknown (T07) or not blocked, or the person is not banned or not a member.
    NothingThere,
    /// Nobody can ban or kick the owner (B-17).
    IsOwner,
    /// The caller has no rights in that community (X03, X20).
    Forbidden,
    /// The `Idempotency-Key` was used for a different request (X23).
    KeyReused,
    /// Only a record of the community bans the person, which nothing here lifts (N21).
    ByRecord,
}

impl Measure {
    /// The community, if known. A ban may precede its community.
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
            | Measure::Moderators(community, _)
            | Measure::MembersOnly(community, _) => Some(community.clone()),
        }
    }

    /// The person whom it removes, and the community.
    fn puts_out(&self) -> Option<(&AtUri, &Did)> {
        match self {
            Measure::Ban(community, member, _) | Measure::Kick(community, member) => {
                Some((community, member))
            }
            _ => None,
        }
    }

    /// Whether it would remove the owner, which nobody can.
    pub(super) fn is_against_owner(&self) -> bool {
        self.puts_out().is_some_and(|(community, member)| community.authority() == *member)
    }

    /// Its name in the audit log.
    pub fn word(&self) -> &'static str {
        match self {
            Measure::Block(_) => "block",
            Measure::Unblock(_) => "unblock",
            Measure::Ban(..) => "ban",
            Measure::Unban(..) => "unban",
            Measure::EndBan(..) => "ban_ended",
            Measure::Kick(..) => "kick",
            Measure::Moderators(..) => "moderators",
            Measure::MembersOnly(..) => "members_only",
        }
    }

    /// Its subject in the audit log.
    pub fn subject(&self) -> String {
        match self {
            Measure::Block(message) | Measure::Unblock(message) => message.to_string(),
            Measure::Ban(_, member, _)
            | Measure::Unban(_, member)
            | Measure::EndBan(_, member)
            | Measure::Kick(_, member) => member.to_string(),
            Measure::Moderators(_, people) => people.iter().map(Did::as_str).collect::<Vec<_>>().join(" "),
            Measure::MembersOnly(_, on) => if *on { "on" } else { "off" }.to_owned(),
        }
    }

    /// When its effect ends by itself.
    pub fn until(&self) -> Option<Micros> {
        if let Measure::Ban(_, _, until) = self { *until } else { None }
    }
}

/// Whether `person` may decide this for a community of the newest form by their roles (N23). The first rule
/// that applies decides:
///   1. who moderates by the service's own list, and who reads, is for holders of a protected role to say;
///   2. everything else takes its permission, in the channel of a message with the exceptions made there;
///   3. who puts somebody out must outrank them.
fn may_by_role(working_set: &WorkingSet, person: &Did, community: &AtUri, what: &Measure) -> bool {
    let needed = match what {
        Measure::Block(_) | Measure::Unblock(_) => Permission::MessageHide,
        Measure::Ban(..) => Permission::MemberBan,
        Measure::Unban(..) | Measure::EndBan(..) => Permission::MemberUnban,
        Measure::Kick(..) => Permission::MemberKick,
        Measure::Moderators(..) | Measure::MembersOnly(..) => {
            return rights(working_set, community, person, None) == Permissions::all();
        }
    };
    let channel = match what {
        Measure::Block(message) | Measure::Unblock(message) => {
            working_set.messages.get(message).map(|row| row.channel_uri.rkey())
        }
        _ => None,
    };
    rights(working_set, community, person, channel.as_ref()).contains(needed)
        && what.puts_out().is_none_or(|(_, member)| outranks(working_set, community, person, member))
}

/// Whether `caller` says whether the directory lists a community (R52): who says who reads it. `facts` must hold what
/// `storage::facts::acts_in` loads.
pub fn may_list(facts: &WorkingSet, caller: &Caller, community: &AtUri) -> bool {
    may_decide(facts, caller, community, &Measure::MembersOnly(community.clone(), true))
}

/// Whether `caller` may decide this for `community`. The first rule that applies decides:
///   1. the operator and the owner may decide everything (X03);
///   2. only the owner decides who moderates (X20), and who reads (R45);
///   3. in the newest form, whose roles permit it may (N23), and nobody else puts out a holder of a
///      protected role;
///   4. a moderator may decide the rest, unless they are banned there, but may not remove another
///      moderator (X20);
///   5. nobody else may decide anything.
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
    if Form::of(community) == Form::New {
        let is_above = |did: &Did| is_protected(&roles_of(working_set, community, did));
        if may_by_role(working_set, person, community, what) {
            return true;
        }
        if what.puts_out().is_some_and(|(_, member)| member != person && is_above(member)) {
            return false;
        }
    }
    !matches!(what, Measure::Moderators(..) | Measure::MembersOnly(..))
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
        let members_only = || Measure::MembersOnly(community.clone(), true);
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
            (person("mod"), &community, members_only(), false, "and who reads"),
            (person("owner"), &community, members_only(), true, "its owner"),
            (Caller::Operator, &other, members_only(), true, "the key"),
            (person("mod"), &other, ban("bob"), false, "not in another community of the same owner"),
            (person("mad"), &community, ban("bob"), false, "not while banned there"),
        ] {
            assert_eq!(may_decide(&working_set, &caller, at, &what), expected, "{why}: {caller:?} {what:?}");
        }
    }
}
