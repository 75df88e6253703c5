//! Moderating voice channels: R57.
//!
//! The person's gateway and the room of the channel do it, in this order: a caller whose request fails in between may
//! repeat it, and it goes on with the room.

use super::authority::{self, NOT_YOURS};
use super::body::Body;
use super::error::ApiError;
use super::{Answer, Call, empty};
use crate::domain::moderation::Caller;
use crate::domain::voice::Place;
use crate::domain::voice_moderation::{self, Act, Outcome, Refusal};
use crate::domain::voice_right::{VoiceRefusal, may_be_in, voice_channel};
use crate::durable::gateway::commands::ModerateVoice;
use crate::durable::voice_room::commands::ModeratePeers;
use crate::platform::clock::now;
use crate::platform::config;
use crate::platform::objects::{call as ask, gateway_of, rooms_of};
use crate::storage::{Store as _, audit, facts};
use crate::wire::ids::{AtUri, Did};

const NO_CHANNEL: &str = "that community has no such voice channel";
const NOBODY: &str = "this person is not in that channel";

/// R57 `POST /api/voice/moderate`: mutes, disconnects or moves a person in a voice channel.
pub(super) async fn moderate(call: &Call) -> Answer {
    let caller = authority::moderator(call).await?;
    let body = call.body().await?;
    let (community, did) = (body.community("community_uri")?, body.did("member_did")?);
    let channel = voice_channel(&community, &body.text("channel")?);
    let act = act(&body, &community)?;
    let reason = body.reason()?;
    let channel = channel.ok_or(ApiError::NotFound(NO_CHANNEL))?;
    may(call, &caller, &community, &channel, &did, &act).await?;
    perform(call, &community, &channel, &did, &act).await?;
    let proof = authority::proof_of(call, &caller);
    let logged = audit::Act {
        community: &community,
        caller: &caller,
        proof,
        action: act.logged(),
        subject: did.to_string(),
        reason: reason.as_deref(),
        until: None,
    };
    call.db()?.write(&audit::add(&[logged], now())).await?;
    empty(204)
}

fn act(body: &Body, community: &AtUri) -> Result<Act, ApiError> {
    match body.text("action")?.as_str() {
        "mute" => Ok(Act::Mute),
        "disconnect" => Ok(Act::Disconnect),
        "move" => {
            let to = body.optional_text("to")?.unwrap_or_default();
            voice_channel(community, &to).map(Act::Move).ok_or_else(no_destination)
        }
        _ => Err(ApiError::Invalid("action must be mute, disconnect or move".into())),
    }
}

fn no_destination() -> ApiError {
    ApiError::Invalid("to must be a voice channel of that community".into())
}

async fn may(
    call: &Call,
    caller: &Caller,
    community: &AtUri,
    channel: &AtUri,
    did: &Did,
    act: &Act,
) -> Result<(), ApiError> {
    let channels = [Some(channel), act.to()].into_iter().flatten();
    let actor = if let Caller::Person(actor) = caller { Some(actor) } else { None };
    let people = [Some(did), actor].into_iter().flatten();
    let facts = facts::acts_in(&call.db()?, community, channels, people, now()).await?;
    voice_moderation::judge(&facts, caller, community, channel, did, act).map_err(|refusal| match refusal {
        Refusal::Forbidden => ApiError::Forbidden(NOT_YOURS),
        Refusal::NoChannel(VoiceRefusal::NotVoice) => {
            ApiError::Invalid("channel must be a voice channel".into())
        }
        Refusal::NoChannel(_) => ApiError::NotFound(NO_CHANNEL),
        Refusal::NoDestination(_) => no_destination(),
    })
}

async fn perform(
    call: &Call,
    community: &AtUri,
    channel: &AtUri,
    did: &Did,
    act: &Act,
) -> Result<(), ApiError> {
    let home = gateway_of(did, config::sockets(&call.env).gateway_shards);
    let place = Place { community: community.clone(), channel: channel.clone() };
    let moderate = ModerateVoice { did: did.clone(), place, act: act.clone() };
    let outcome = ask(&call.env, &home, &moderate).await?;
    let may = match (outcome, act) {
        (Outcome::MayNot, _) => false,
        // Their room knows no rule, so a person who is only there is judged here.
        (Outcome::NotThere, Act::Move(to)) => may_go(call, community, did, to).await?,
        _ => true,
    };
    if !may {
        return Err(ApiError::Invalid("this person may not be in the channel of to".into()));
    }
    let moderate = ModeratePeers { room: channel.clone(), did: did.clone(), act: act.clone() };
    let peers = ask(&call.env, &rooms_of(channel.as_str()), &moderate).await?;
    if outcome == Outcome::NotThere && !peers.found {
        return Err(ApiError::NotFound(NOBODY));
    }
    Ok(())
}

/// Whether the person may be in that channel (V02), if they prove who they are: entering it asks for that.
async fn may_go(call: &Call, community: &AtUri, did: &Did, to: &AtUri) -> Result<bool, ApiError> {
    let facts = facts::right_to_be_in(&call.db()?, to, std::slice::from_ref(did), now()).await?;
    Ok(may_be_in(&facts, did, true, to, Some(community)).is_ok())
}
