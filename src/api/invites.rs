//! Invites: R15, R16, R17, R18, R19.

use super::authority;
use super::error::ApiError;
use super::moderation::KEY_REUSED;
use super::reply::{List, shown};
use super::{Answer, Call, empty, json, sync};
use crate::domain::moderation::Caller;
use crate::platform::clock::{now, unguessable};
use crate::storage::audit::Act;
use crate::storage::invites::{self, Created, Use};
use crate::wire::bodies::InviteCode;
use crate::wire::ids::AtUri;
use crate::wire::permissions::Permission;

/// The maximum of `max_uses` (R17).
const MAX_USES: i64 = i32::MAX as i64;
const NO_SUCH_CODE: &str = "there is no such invite";

/// R15 `GET /api/invites`: the invites to a community, newest first, ended ones included.
pub(super) async fn list(call: &Call) -> Answer {
    let caller = authority::moderator(call).await?;
    let community = call.query.at_uri("community")?;
    authority::may_act_for(call, &caller, community, Permission::InvitationCreate).await?;
    let (db, name) = (call.db()?, community.to_owned());
    let list = List { call, id: "R15", about: community };
    list.answer(async move |after: Option<_>, limit| invites::list(&db, &name, after.as_ref(), limit).await)
        .await
}

/// R16 `GET /api/invite/{code}`: the invite and its community, for everybody with the code.
pub(super) async fn one(call: &Call) -> Answer {
    match invites::shown(&call.db()?, &call.segment).await? {
        Some(invite) => shown(call, &invite),
        None => Err(ApiError::NotFound("there is no such invite, or its community is gone")),
    }
}

/// R17 `POST /api/invite`: a new code.
pub(super) async fn create(call: &Call) -> Answer {
    let caller = authority::moderator(call).await?;
    let body = call.body().await?;
    let community = body.at_uri("community_uri")?;
    let owner = body.did("owner_did")?;
    let max_uses = body.count("max_uses", MAX_USES)?;
    let reason = body.reason()?;
    let once = authority::once(call, &format!("invite {community} {owner} {max_uses:?} {reason:?}"))?;
    authority::may_act_for(call, &caller, &community, Permission::InvitationCreate).await?;
    let created = match AtUri::parse(&community) {
        Ok(uri) => {
            let code = format!("{:016x}", u64::from_be_bytes(unguessable()?));
            let act = act(call, &caller, "invite", &uri, code, reason.as_deref());
            invites::create(&call.db()?, &act, &owner, max_uses, once.as_ref(), now()).await?
        }
        Err(_) => Created::NotOwned,
    };
    match created {
        Created::Made(code) => json(&InviteCode { code }),
        Created::KeyReused => Err(ApiError::Invalid(KEY_REUSED.into())),
        Created::NotOwned => {
            sync::look_for(call, &community).await?;
            Err(ApiError::Forbidden("owner_did does not own a known community_uri"))
        }
    }
}

/// R18 `DELETE /api/invite/{code}`: idempotent.
pub(super) async fn revoke(call: &Call) -> Answer {
    let caller = authority::moderator(call).await?;
    let owner = call.query.did("owner_did")?;
    let reason = call.query.reason()?;
    let db = call.db()?;
    // The owner never changes, so it can be read beforehand.
    let Some(invite) = invites::find(&db, &call.segment).await? else {
        return Err(ApiError::NotFound(NO_SUCH_CODE));
    };
    let community = invite.community_uri.as_str();
    authority::may_act_for(call, &caller, community, Permission::InvitationDelete).await?;
    if invite.created_by_did != owner {
        return Err(ApiError::Forbidden("owner_did did not create this invite"));
    }
    let act = act(call, &caller, "revoke_invite", &invite.community_uri, invite.code, reason.as_deref());
    invites::revoke(&db, &act, now()).await?;
    empty(204)
}

/// The act on an invite for the audit log (X22).
fn act<'a>(
    call: &Call,
    caller: &'a Caller,
    action: &'static str,
    community: &'a AtUri,
    code: String,
    reason: Option<&'a str>,
) -> Act<'a> {
    let proof = authority::proof_of(call, caller);
    Act { community, caller, proof, action, subject: code, reason, until: None }
}

/// R19 `POST /api/invite/{code}/use`: counts one use; concurrent requests never exceed the maximum.
pub(super) async fn count_use(call: &Call) -> Answer {
    authority::operator(call)?;
    match invites::count_use(&call.db()?, &call.segment).await? {
        Use::Counted => empty(204),
        Use::Gone => Err(ApiError::Gone("this invite is revoked or used up, or its community is gone")),
        Use::Unknown => Err(ApiError::NotFound(NO_SUCH_CODE)),
    }
}
