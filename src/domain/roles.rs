//! Who is admitted to a community of the newest form, and the roles they hold (contract N12, N20).
//!
//! A role is what its own record says now; who holds it says a `member` record. Both are records of the
//! community's own repository, and nothing of anybody else counts.

use super::rows::{MemberRow, RoleRow, member_group};
use super::working_set::WorkingSet;
use crate::wire::ids::{AtUri, Collection, Did, Rkey};
use crate::wire::permissions::{Permission, Permissions};
use crate::wire::records::Override;

/// Whose rows count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// Of people whose account is active.
    ThoseThere,
    /// Of everybody (I51: what is written meanwhile is judged as if its author were there).
    Everybody,
}

/// The admission of `person` that counts (N16). The first rule that applies decides:
///   1. one that asked for by a membership which its author took back counts only beside another
///      membership there (N17);
///   2. of several, the one with most roles counts, of these the one with the lowest key.
pub fn admission<'w>(
    working_set: &'w WorkingSet,
    community: &AtUri,
    person: &Did,
    of: Of,
) -> Option<&'w MemberRow> {
    let group = member_group(community, person);
    let is_there = |hidden: bool| of == Of::Everybody || !hidden;
    let is_member = working_set.memberships.group(&group).any(|row| is_there(row.hidden));
    working_set
        .members
        .group(&group)
        .filter(|row| is_there(row.hidden) && (!row.withdrawn || is_member))
        .min_by(|one, other| {
            let (first, second) = (one.role_keys().len(), other.role_keys().len());
            second.cmp(&first).then_with(|| one.uri.cmp(&other.uri))
        })
}

/// The roles of `person` in a community: none without an admission.
pub fn roles_of<'w>(working_set: &'w WorkingSet, community: &AtUri, person: &Did) -> Vec<&'w RoleRow> {
    let Some(row) = admission(working_set, community, person, Of::Everybody) else { return Vec::new() };
    let did = community.authority();
    let role = |rkey| working_set.roles.get(&AtUri::of(&did, Collection::Role, rkey));
    row.role_keys().iter().filter_map(role).collect()
}

impl RoleRow {
    /// What its holders may do outside of its exceptions: everything, if it is protected (N22).
    pub fn rights(&self) -> Permissions {
        match self.protected {
            true => Permissions::all(),
            false => serde_json::from_str(&self.permissions).unwrap_or_default(),
        }
    }

    /// What its holders may do besides, or may not do, in single channels.
    pub fn exceptions(&self) -> Vec<Override> {
        let stored = self.channel_overrides.as_deref();
        stored.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }
}

/// Whether `person` holds a role that may do everything (N22).
pub fn is_protected(roles: &[&RoleRow]) -> bool {
    roles.iter().any(|role| role.protected)
}

/// What `person` may do in a community of the newest form (N22), in a channel of it if one is named. The
/// first rule that applies decides:
///   1. the community's account may do everything;
///   2. who is banned there, or holds no role, nothing;
///   3. who holds a protected role everything;
///   4. otherwise what their roles permit, in a channel with what these permit there and without what they
///      deny there.
pub fn rights(
    working_set: &WorkingSet,
    community: &AtUri,
    person: &Did,
    channel: Option<&Rkey>,
) -> Permissions {
    if community.authority() == *person {
        return Permissions::all();
    }
    if working_set.bans.contains(&(community.clone(), person.clone())) {
        return Permissions::default();
    }
    let roles = roles_of(working_set, community, person);
    if is_protected(&roles) {
        return Permissions::all();
    }
    let (mut base, mut allowed, mut denied) = <(Permissions, Permissions, Permissions)>::default();
    for role in roles {
        base = base.and(role.rights());
        for exception in role.exceptions().iter().filter(|one| Some(&one.channel) == channel) {
            allowed = allowed.and(exception.allow);
            denied = denied.and(exception.deny);
        }
    }
    base.and(allowed).without(denied)
}

/// Whether `person` may do `what` in the community.
pub fn may(working_set: &WorkingSet, community: &AtUri, person: &Did, what: Permission) -> bool {
    rights(working_set, community, person, None).contains(what)
}

/// Whether `actor` may act on `other` (N22). The first rule that applies decides:
///   1. everybody may act on themselves;
///   2. nobody acts on the community's account, which acts on everybody;
///   3. otherwise the higher role decides, strictly: a protected one is above all others, then the position.
pub fn outranks(working_set: &WorkingSet, community: &AtUri, actor: &Did, other: &Did) -> bool {
    let account = community.authority();
    let rank = |did: &Did| {
        roles_of(working_set, community, did).iter().map(|role| (role.protected, role.position)).max()
    };
    actor == other || (*other != account && (*actor == account || rank(actor) > rank(other)))
}
