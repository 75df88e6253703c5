//! Blocks and bans: R03, R08, R09, R10.
//!
//! A decision is stored, with what it announces, when it is answered (H11). The stream's object
//! tells it; should that fail, the answer stands all the same and the outbox is told later.

use super::authority::{self, NOT_YOURS};
use super::error::ApiError;
use super::reply::List;
use super::{Answer, Call, empty};
use crate::domain::moderation::{Caller, Decision, Measure, Ruling};
use crate::durable::jetstream::commands::Ensure;
use crate::pipeline;
use crate::platform::clock::{lost_a_race, now};
use crate::platform::objects::{JETSTREAM, call as ask};
use crate::platform::{config, log};
use crate::storage::reads::bans;
use crate::wire::ids::{AtUri, Collection};

/// R03 `POST /api/message/block`: from now on the message appears nowhere.
pub(super) async fn block(call: &Call) -> Answer {
    let caller = authority::moderator(call).await?;
    let author = call.query.did("author_did")?;
    let message = AtUri::of(&author, Collection::Message, &call.query.rkey("rkey")?);
    match decide(call, caller, Measure::Block(message)).await? {
        Ruling::Stood => Err(ApiError::NotFound("this message is blocked already")),
        ruling => answer(ruling, "there is no such message"),
    }
}

/// R08 `POST /api/community/ban`: once or many times, the same.
pub(super) async fn ban(call: &Call) -> Answer {
    let caller = authority::moderator(call).await?;
    let body = call.body().await?;
    let measure = Measure::Ban(body.community("community_uri")?, body.did("member_did")?);
    answer(decide(call, caller, measure).await?, "there is no such community")
}

/// R09 `DELETE /api/community/ban`: who is not banned there is not found.
pub(super) async fn unban(call: &Call) -> Answer {
    let caller = authority::moderator(call).await?;
    let (community, member) = (call.query.at_uri("community")?, call.query.did("member_did")?);
    let nobody = "this person is not banned there";
    // What cannot be a community has no bans (T03).
    let Some(community) = AtUri::parse(community).ok().filter(|uri| uri.is(Collection::Community)) else {
        authority::may_act_for(&caller, community)?;
        return Err(ApiError::NotFound(nobody));
    };
    answer(decide(call, caller, Measure::Unban(community, member)).await?, nobody)
}

/// R10 `GET /api/community/bans`: who is banned, newest first.
pub(super) async fn bans(call: &Call) -> Answer {
    let caller = authority::moderator(call).await?;
    let community = call.query.at_uri("community")?;
    authority::may_act_for(&caller, community)?;
    let (db, cdn, name) = (call.db()?, call.cdn(), community.to_owned());
    let list = List { call, id: "R10", about: community };
    list.answer(async move |after: Option<_>, limit| {
        bans::bans(&db, &cdn, &name, after.as_ref(), limit).await
    })
    .await
}

/// Walks a decision through the pipeline and has it told.
async fn decide(call: &Call, caller: Caller, what: Measure) -> Result<Ruling, ApiError> {
    let decision = Decision { caller, what };
    let settings = config::pipeline(&call.env);
    let ruling = pipeline::decide(&call.db()?, &decision, &settings, now(), lost_a_race).await?;
    if ruling == Ruling::Made {
        tell_soon(call);
    }
    Ok(ruling)
}

/// Wakes the stream's object, which tells what stands in the outbox. The answer does not wait.
fn tell_soon(call: &Call) {
    let env = call.env.clone();
    call.after_answer(async move {
        if let Err(fault) = ask(&env, JETSTREAM, &Ensure {}).await {
            log::fault(&fault, "the decision is told when the stream's object wakes");
        }
    });
}

fn answer(ruling: Ruling, not_there: &'static str) -> Answer {
    match ruling {
        Ruling::Made | Ruling::Stood => empty(204),
        Ruling::NothingThere => Err(ApiError::NotFound(not_there)),
        Ruling::IsOwner => Err(ApiError::Invalid("member_did is the owner, who cannot be banned".into())),
        Ruling::Forbidden => Err(ApiError::Forbidden(NOT_YOURS)),
    }
}
