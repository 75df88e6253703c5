//! Invites: R15, R16, R17, R18, R19.

use super::authority::{self, NOT_YOURS};
use super::error::ApiError;
use super::reply::{List, shown};
use super::{Answer, Call, empty, json, sync};
use crate::platform::clock::{now, unguessable};
use crate::storage::invites::{self, Use};
use crate::wire::bodies::InviteCode;

/// The most uses an invite can be given (R17).
const MAX_USES: i64 = i32::MAX as i64;
const NO_SUCH_CODE: &str = "there is no such invite";

/// R15 `GET /api/invites`: the invites to a community, newest first, also those that ended.
pub(super) async fn list(call: &Call) -> Answer {
    let caller = authority::moderator(call).await?;
    let community = call.query.at_uri("community")?;
    authority::may_act_for(&caller, community)?;
    let (db, name) = (call.db()?, community.to_owned());
    let list = List { call, id: "R15", about: community };
    list.answer(async move |after: Option<_>, limit| invites::list(&db, &name, after.as_ref(), limit).await)
        .await
}

/// R16 `GET /api/invite/{code}`: the invite and its community, for everybody who has the code.
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
    authority::may_act_for(&caller, &community)?;
    let code = format!("{:016x}", u64::from_be_bytes(unguessable()?));
    if invites::create(&call.db()?, &code, &community, &owner, max_uses, now()).await? {
        json(&InviteCode { code })
    } else {
        sync::look_for(call, &community).await?;
        Err(ApiError::Forbidden("owner_did does not own a known community_uri"))
    }
}

/// R18 `DELETE /api/invite/{code}`: once or many times, the same.
pub(super) async fn revoke(call: &Call) -> Answer {
    let caller = authority::moderator(call).await?;
    let owner = call.query.did("owner_did")?;
    let db = call.db()?;
    // Whose it is never changes, so it can be read before.
    let Some(invite) = invites::find(&db, &call.segment).await? else {
        return Err(ApiError::NotFound(NO_SUCH_CODE));
    };
    if !caller.may_moderate(&invite.community_uri.authority()) {
        return Err(ApiError::Forbidden(NOT_YOURS));
    }
    if invite.created_by_did != owner {
        return Err(ApiError::Forbidden("owner_did did not create this invite"));
    }
    invites::revoke(&db, &invite.code, now()).await?;
    empty(204)
}

/// R19 `POST /api/invite/{code}/use`: counts one use, of many at once no more than there are.
pub(super) async fn count_use(call: &Call) -> Answer {
    authority::operator(call)?;
    match invites::count_use(&call.db()?, &call.segment).await? {
        Use::Counted => empty(204),
        Use::Gone => Err(ApiError::Gone("this invite is revoked or used up, or its community is gone")),
        Use::Unknown => Err(ApiError::NotFound(NO_SUCH_CODE)),
    }
}
