//! Moderators' decisions, and lists of them: R03, R08, R09, R10, R30–R34, R45, R46.
//!
//! The stream's object commits decisions together with the stream (`domain::decision_queue`). A decision and its
//! announcements are stored before the answer (H11), and delivered after it.

use super::authority::{self, NOT_YOURS};
use super::error::ApiError;
use super::reply::{List, shown};
use super::{Answer, Call, empty, json};
use crate::domain::members_only::meaning;
use crate::domain::moderation::{Caller, Decision, MODERATORS_MAX, Measure, Ruling};
use crate::durable::jetstream::commands::Decide;
use crate::platform::clock::now;
use crate::platform::objects::{JETSTREAM, call as ask};
use crate::storage::audit::{self, Filter};
use crate::storage::members_only::is_set;
use crate::storage::moderators;
use crate::storage::reads::bans;
use crate::wire::bodies::MembersOnly;
use crate::wire::ids::{AtUri, Collection};
use crate::wire::permissions::Permission;

/// 422 for an `Idempotency-Key` that was used for another request (X23).
pub(super) const KEY_REUSED: &str = "the header Idempotency-Key was sent with another request before";

/// R03 `POST /api/message/block`: hides a message everywhere.
pub(super) async fn block(call: &Call) -> Answer {
    let caller = authority::moderator(call).await?;
    let measure = Measure::Block(message(call)?);
    match decide(call, caller, measure, call.query.reason()?).await? {
        Ruling::Stood => Err(ApiError::NotFound("this message is blocked already")),
        ruling => answer(ruling, "there is no such message"),
    }
}

/// R30 `DELETE /api/message/block`: shows it again.
pub(super) async fn unblock(call: &Call) -> Answer {
    let caller = authority::moderator(call).await?;
    let measure = Measure::Unblock(message(call)?);
    let ruling = decide(call, caller, measure, call.query.reason()?).await?;
    answer(ruling, "there is no such message, or it is not blocked")
}

fn message(call: &Call) -> Result<AtUri, ApiError> {
    let author = call.query.did("author_did")?;
    Ok(AtUri::of(&author, Collection::Message, &call.query.rkey("rkey")?))
}

/// R08 `POST /api/community/ban`: idempotent.
pub(super) async fn ban(call: &Call) -> Answer {
    let caller = authority::moderator(call).await?;
    let body = call.body().await?;
    let (community, member) = (body.community("community_uri")?, body.did("member_did")?);
    let measure = Measure::Ban(community, member, body.time_ahead("until", now())?);
    answer(decide(call, caller, measure, body.reason()?).await?, "there is no such community")
}

/// R09 `DELETE /api/community/ban`: 404 for a person who is not banned there.
pub(super) async fn unban(call: &Call) -> Answer {
    let caller = authority::moderator(call).await?;
    let (community, member) = (call.query.at_uri("community")?, call.query.did("member_did")?);
    let reason = call.query.reason()?;
    let nobody = "this person is not banned there";
    // A URI that cannot name a community has no bans (T03).
    let Some(community) = AtUri::parse(community).ok().filter(|uri| uri.is(Collection::Community)) else {
        authority::must_own(&caller, community)?;
        return Err(ApiError::NotFound(nobody));
    };
    answer(decide(call, caller, Measure::Unban(community, member), reason).await?, nobody)
}

/// R10 `GET /api/community/bans`: the banned people, newest ban first.
pub(super) async fn bans(call: &Call) -> Answer {
    let caller = authority::moderator(call).await?;
    let community = call.query.at_uri("community")?;
    authority::may_act_for(call, &caller, community, Permission::MemberBan).await?;
    let (db, cdn, name) = (call.db()?, call.cdn(), community.to_owned());
    let list = List { call, id: "R10", about: community };
    list.answer(async move |after: Option<_>, limit| {
        bans::bans(&db, &cdn, &name, after.as_ref(), limit).await
    })
    .await
}

/// R31 `POST /api/community/kick`: ends a membership; the person may apply again.
pub(super) async fn kick(call: &Call) -> Answer {
    let caller = authority::moderator(call).await?;
    let body = call.body().await?;
    let measure = Measure::Kick(body.community("community_uri")?, body.did("member_did")?);
    answer(decide(call, caller, measure, body.reason()?).await?, "this person has no membership there")
}

/// R32 `PUT /api/community/moderators`: replaces the list.
pub(super) async fn set_moderators(call: &Call) -> Answer {
    let caller = authority::moderator(call).await?;
    let body = call.body().await?;
    let people = body.dids("moderators", MODERATORS_MAX)?;
    let measure = Measure::Moderators(body.community("community_uri")?, people);
    answer(decide(call, caller, measure, body.reason()?).await?, "there is no such community")
}

/// R33 `GET /api/community/moderators`: sorted by DID.
pub(super) async fn moderators(call: &Call) -> Answer {
    let caller = authority::moderator(call).await?;
    let community = call.query.at_uri("community")?;
    authority::may_act_for(call, &caller, community, Permission::ModerationViewLog).await?;
    shown(call, &moderators::list(&call.db()?, community).await?)
}

/// R45 `PUT /api/community/members-only`: only members read the community, or everybody.
pub(super) async fn set_members_only(call: &Call) -> Answer {
    let caller = authority::moderator(call).await?;
    let body = call.body().await?;
    let (community, on) = (body.community("community_uri")?, body.bool("members_only")?);
    let measure = Measure::MembersOnly(community.clone(), on);
    match decide(call, caller, measure, body.reason()?).await? {
        Ruling::Made | Ruling::Stood => json(&setting(community.as_str(), on)),
        ruling => answer(ruling, "there is no such community"),
    }
}

/// R46 `GET /api/community/members-only`: which of the two.
pub(super) async fn members_only(call: &Call) -> Answer {
    let community = call.query.at_uri("community")?;
    let on = is_set(&call.db()?, community).await?;
    shown(call, &setting(community, on))
}

fn setting(community: &str, on: bool) -> MembersOnly {
    MembersOnly { community_uri: community.to_owned(), members_only: on, meaning: meaning(on) }
}

/// R34 `GET /api/audit`: the actions in a community, newest first.
pub(super) async fn audit(call: &Call) -> Answer {
    let caller = authority::moderator(call).await?;
    let community = call.query.at_uri("community")?;
    let filter = Filter {
        actor: call.query.optional("actor").unwrap_or_default().to_owned(),
        action: call.query.optional("action").unwrap_or_default().to_owned(),
        subject: call.query.optional("subject").unwrap_or_default().to_owned(),
    };
    authority::may_view_log(call, &caller, community).await?;
    let about = format!("{community} {filter:?}");
    let (db, name) = (call.db()?, community.to_owned());
    let list = List { call, id: "R34", about: &about };
    list.answer(async move |after: Option<_>, limit| {
        audit::page(&db, &name, &filter, after.as_ref(), limit).await
    })
    .await
}

const BY_RECORD: &str =
    "a record of the community itself bans this person; this service can lift only its own bans";

/// Has a decision committed and published.
async fn decide(
    call: &Call,
    caller: Caller,
    what: Measure,
    reason: Option<String>,
) -> Result<Ruling, ApiError> {
    let once = authority::once(call, &format!("{what:?} {reason:?}"))?;
    let proof = authority::proof_of(call, &caller);
    let decision = Decision { caller, proof, what, reason, once };
    Ok(ask(&call.env, JETSTREAM, &Decide { decision }).await?)
}

fn answer(ruling: Ruling, not_there: &'static str) -> Answer {
    match ruling {
        Ruling::Made | Ruling::Stood => empty(204),
        Ruling::NothingThere => Err(ApiError::NotFound(not_there)),
        Ruling::IsOwner => {
            Err(ApiError::Invalid("member_did is the owner, who can be neither banned nor kicked".into()))
        }
        Ruling::ByRecord => Err(ApiError::NotFound(BY_RECORD)),
        Ruling::Forbidden => Err(ApiError::Forbidden(NOT_YOURS)),
        Ruling::KeyReused => Err(ApiError::Invalid(KEY_REUSED.into())),
    }
}
