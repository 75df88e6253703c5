//! Invitations: N170c, N171a. They are the invites of R15 to R19, made without a number of uses.

use serde_json::json;

use super::{Answer, Call};
use crate::api::error::ApiError;
use crate::api::reply::shown;
use crate::api::{authority, json as answer, sync};
use crate::domain::moderation::{Caller, Proof};
use crate::platform::clock::{now, unguessable};
use crate::storage::audit::Act;
use crate::storage::invites::{self, Created};
use crate::storage::reads::lexicons::communities::{Invited, invited};
use crate::storage::reads::lexicons::person;
use crate::wire::bodies::Invite;
use crate::wire::ids::{AtUri, Did};
use crate::wire::permissions::Permission;
use crate::wire::views::{Blob, Invitation, InvitationToCommunity};

/// The most invitations that are listed, the newest (N171a).
const LISTED_MAX: i64 = 1000;
const NO_SUCH_CODE: &str = "there is no such invitation";

/// N171a `social.colibri.community.createInvitation`: a new code.
pub(in crate::api) async fn create(call: &Call) -> Answer {
    let caller = Caller::Person(authority::person(call).await?);
    let named = call.query.at_uri("community")?;
    authority::may_act_for(call, &caller, named, Permission::InvitationCreate).await?;
    let unknown = ApiError::NotFound("there is no such community");
    let Ok(community) = AtUri::parse(named) else { return Err(unknown) };
    let owner = community.authority();
    let code = format!("{:016x}", u64::from_be_bytes(unguessable()?));
    let act = act(&caller, "invite", &community, code);
    match invites::create(&call.db()?, &act, &owner, None, None, now()).await? {
        Created::Made(code) => answer(&Invitation { code, community, created_by: owner, active: true }),
        Created::NotOwned | Created::KeyReused => {
            sync::look_for(call, named).await?;
            Err(unknown)
        }
    }
}

/// N171a `social.colibri.community.listInvitations`: those to a community, newest first, ended ones included.
pub(in crate::api) async fn list(call: &Call) -> Answer {
    let caller = Caller::Person(authority::person(call).await?);
    let named = call.query.at_uri("uri")?;
    authority::may_act_for(call, &caller, named, Permission::InvitationCreate).await?;
    let db = call.db()?;
    let (found, _) = invites::list(&db, named, None, LISTED_MAX).await?;
    let mut codes = Vec::new();
    // All are the owner's (O08).
    if let Some(one) = found.first() {
        let owner = person(&db, &one.created_by_did).await?.actor;
        let view = |Invite { code, community_uri, active, .. }: Invite| Invitation {
            code,
            community: community_uri,
            created_by: owner.clone(),
            active,
        };
        codes.extend(found.into_iter().map(view));
    }
    answer(&json!({ "codes": codes }))
}

/// N171a `social.colibri.community.deleteInvitation`: the code may be used no more.
pub(in crate::api) async fn delete(call: &Call) -> Answer {
    let caller = Caller::Person(authority::person(call).await?);
    let (named, code) = (call.query.at_uri("uri")?, call.query.required("code")?);
    authority::may_act_for(call, &caller, named, Permission::InvitationDelete).await?;
    let db = call.db()?;
    let found = invites::find(&db, code).await?.filter(|invite| invite.community_uri.as_str() == named);
    let Some(Invite { code, community_uri, .. }) = found else {
        return Err(ApiError::NotFound(NO_SUCH_CODE));
    };
    invites::revoke(&db, &act(&caller, "revoke_invite", &community_uri, code.clone()), now()).await?;
    answer(&json!({ "code": code }))
}

/// N170c `social.colibri.community.getInvitation`: the invitation and its community, for everybody with the
/// code.
pub(in crate::api) async fn one(call: &Call) -> Answer {
    let found = invited(&call.db()?, call.query.required("code")?).await?;
    let Some(found) = found else { return Err(ApiError::NotFound(NO_SUCH_CODE)) };
    shown(call, &view(found))
}

fn view(found: Invited) -> InvitationToCommunity {
    let Invited { code, community, created_by, active, name, picture, banner, .. } = found;
    InvitationToCommunity {
        invitation: Invitation::<Did> { code, community, created_by, active },
        name,
        picture: picture.as_deref().and_then(Blob::read),
        banner: banner.as_deref().and_then(Blob::read),
        member_count: found.members,
        online_count: found.online,
        requires_approval_to_join: found.requires_approval,
    }
}

/// The act on an invitation for the audit log (X22).
fn act<'a>(caller: &'a Caller, action: &'static str, community: &'a AtUri, code: String) -> Act<'a> {
    Act { community, caller, proof: Proof::ServiceAuth, action, subject: code, reason: None, until: None }
}
