//! What this service does for nobody: writes into a community's repository, which take the community's
//! credentials (N173, N174), leaving as far as it is such a write (N175), and functions that it does not
//! have (N178, N179).
//!
//! The client decides by the answer what it says to its person: that a community is managed elsewhere, that
//! a function is turned off here, or that they may not do this.

use serde::Serialize;

use super::{Answer, Call};
use crate::api::error::ApiError;
use crate::api::{authority, json};
use crate::domain::hub::{self, Refusal};
use crate::domain::moderation::Caller;
use crate::domain::working_set::WorkingSet;
use crate::platform::clock::now;
use crate::platform::config;
use crate::storage::facts;
use crate::storage::reads::whose::community_of;
use crate::wire::ids::{AtUri, Collection, Did, Rkey};
use crate::wire::permissions::Permission;

/// What each of the writes needs (N22).
const NEEDS: &[(&str, Permission)] = &[
    ("social.colibri.category.create", Permission::CategoryCreate),
    ("social.colibri.category.delete", Permission::CategoryDelete),
    ("social.colibri.category.update", Permission::CategoryUpdate),
    ("social.colibri.channel.create", Permission::ChannelCreate),
    ("social.colibri.channel.delete", Permission::ChannelDelete),
    ("social.colibri.channel.update", Permission::ChannelUpdate),
    ("social.colibri.community.approveMembership", Permission::ApprovalManage),
    ("social.colibri.community.banUser", Permission::MemberBan),
    ("social.colibri.community.blockMessage", Permission::MessageHide),
    ("social.colibri.community.delete", Permission::CommunityDelete),
    ("social.colibri.community.kick", Permission::MemberKick),
    ("social.colibri.community.kickUser", Permission::MemberKick),
    ("social.colibri.community.reorderCategories", Permission::CategoryUpdate),
    ("social.colibri.community.reorderChannels", Permission::CategoryUpdate),
    ("social.colibri.community.setMemberRoles", Permission::RoleManage),
    ("social.colibri.community.suppressMessageEmbeds", Permission::MessageHide),
    ("social.colibri.community.unbanUser", Permission::MemberUnban),
    ("social.colibri.community.unsuppressMessageEmbeds", Permission::MessageHide),
    ("social.colibri.community.update", Permission::CommunityManage),
    ("social.colibri.role.create", Permission::RoleManage),
    ("social.colibri.role.delete", Permission::RoleManage),
    ("social.colibri.role.update", Permission::RoleManage),
];

/// N173: a write into the repository of the named community.
pub(in crate::api) async fn in_community(call: &Call) -> Answer {
    let did = authority::person(call).await?;
    let community = AtUri::parse(call.query.at_uri("community")?).ok();
    refuse(call, did, community).await
}

/// N173: a write of a category, or of the order of its channels.
pub(in crate::api) async fn of_category(call: &Call) -> Answer {
    of_record(call, call.query.at_uri("category")).await
}

/// N173: a write of a channel.
pub(in crate::api) async fn of_channel(call: &Call) -> Answer {
    of_record(call, call.query.at_uri("channel")).await
}

/// N173: a write of a role.
pub(in crate::api) async fn of_role(call: &Call) -> Answer {
    of_record(call, call.query.at_uri("role")).await
}

/// N173: an admission.
pub(in crate::api) async fn of_membership(call: &Call) -> Answer {
    of_record(call, call.query.at_uri("membership")).await
}

/// A write of the named record; the caller is checked before the name (H03).
async fn of_record(call: &Call, named: Result<&str, ApiError>) -> Answer {
    let did = authority::person(call).await?;
    let record = AtUri::parse(named?).ok();
    refuse(call, did, community(call, record).await?).await
}

#[derive(Serialize)]
struct Left {}

/// N175 `social.colibri.community.leave`: the caller is out as soon as their memberships are deleted, which
/// the client does before. Only an admission that no membership asked for is the community's to end.
pub(in crate::api) async fn leave(call: &Call) -> Answer {
    let did = authority::person(call).await?;
    let Ok(community) = AtUri::parse(call.query.at_uri("community")?) else { return json(&Left {}) };
    let facts = facts::standing_in(&call.db()?, &community, &did, now()).await?;
    if facts.community(&community).is_some() && hub::stays(&facts, &community, &did) {
        return Err(refusal(call, &community, &facts));
    }
    json(&Left {})
}

/// N174, N178, N179: a function that this service has for nobody.
pub(in crate::api) async fn not_enabled(_: &Call) -> Answer {
    Err(ApiError::NotEnabled(NOT_HERE))
}

const NOT_HERE: &str = "this service does not have this function";

/// The community that a record belongs to: as the index knows, or, in the newest form, that of its repository.
async fn community(call: &Call, record: Option<AtUri>) -> Result<Option<AtUri>, ApiError> {
    let Some(record) = record else { return Ok(None) };
    if let Some(known) = community_of(&call.db()?, &record).await? {
        return Ok(Some(known));
    }
    let own = Rkey::parse("self").map(|key| AtUri::of(&record.authority(), Collection::Community, &key));
    Ok(own.ok().filter(|_| !record.is(Collection::Membership)))
}

/// The answer to a write. The first rule that applies decides: the permission, then the service that writes.
async fn refuse(call: &Call, did: Did, community: Option<AtUri>) -> Answer {
    let method = call.methods.first().copied().unwrap_or_default();
    let (_, needed) = NEEDS.iter().find(|(name, _)| *name == method).ok_or(ApiError::Internal)?;
    let community = community.ok_or(ApiError::Forbidden(authority::NOT_YOURS))?;
    authority::may_act_for(call, &Caller::Person(did), community.as_str(), *needed).await?;
    let facts = facts::standing_in(&call.db()?, &community, &community.authority(), now()).await?;
    Err(refusal(call, &community, &facts))
}

/// Why this service writes nothing for the community, of which `facts` has the record.
fn refusal(call: &Call, community: &AtUri, facts: &WorkingSet) -> ApiError {
    let named = facts.community(community).and_then(|row| row.appview.as_ref());
    match hub::refusal(community, named, config::service_did(&call.env).as_ref()) {
        Refusal::Elsewhere(hub) => ApiError::NotHub(hub),
        Refusal::NotEnabled => ApiError::NotEnabled("this service has no credentials of this community"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::METHODS;
    use super::*;

    #[test]
    fn n173_every_write_needs_a_permission() {
        let writes = METHODS.iter().filter(|route| route.id == "N173").flat_map(|route| route.own);
        let known: Vec<&str> = NEEDS.iter().map(|(name, _)| *name).collect();
        let mut routes: Vec<&str> = writes.copied().collect();
        routes.sort_unstable();
        assert_eq!(routes, known, "in this order");
    }
}
