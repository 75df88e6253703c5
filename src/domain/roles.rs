//! Who is admitted to a community of the newest form, and the roles they hold (contract N12, N20).
//!
//! A role is what its own record says now; who holds it says a `member` record. Both are records of the
//! community's own repository, and nothing of anybody else counts.

use super::rows::{MemberRow, RoleRow, member_group};
use super::working_set::WorkingSet;
use crate::wire::ids::{AtUri, Collection, Did};

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
    let wishes = working_set.memberships.group(&group).any(|row| is_there(row.hidden));
    working_set.members.group(&group).filter(|row| is_there(row.hidden) && (!row.withdrawn || wishes)).min_by(
        |one, other| {
            let (first, second) = (one.role_keys().len(), other.role_keys().len());
            second.cmp(&first).then_with(|| one.uri.cmp(&other.uri))
        },
    )
}

/// The roles of `person` in a community: none without an admission.
pub fn roles_of<'w>(working_set: &'w WorkingSet, community: &AtUri, person: &Did) -> Vec<&'w RoleRow> {
    let Some(row) = admission(working_set, community, person, Of::Everybody) else { return Vec::new() };
    let did = community.authority();
    let role = |rkey| working_set.roles.get(&AtUri::of(&did, Collection::Role, rkey));
    row.role_keys().iter().filter_map(role).collect()
}

/// Whether `person` holds a role that may do everything (N22).
pub fn is_protected(roles: &[&RoleRow]) -> bool {
    roles.iter().any(|role| role.protected)
}
