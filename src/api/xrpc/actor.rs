//! People: N160d, N160e, N160n, N160p.

use serde::Serialize;

use super::{Answer, Call};
use crate::api::error::ApiError;
use crate::api::params::Who;
use crate::api::reply::shown;
use crate::api::{authority, erasure, identity, json, people};
use crate::domain::presence::State;
use crate::durable::gateway::commands::SetState;
use crate::platform::{config, log};
use crate::storage::reads::lexicons;
use crate::wire::ids::Did;
use crate::wire::views::{Actor, CommunityOfMember, MuteView, NO_HANDLE};

/// N160d `social.colibri.actor.getData`: a person, also an unknown one. A person whom the index does not
/// know is looked up (I37); if that fails, the answer has what is known without it.
pub(in crate::api) async fn get_data(call: &Call) -> Answer {
    let did = match call.query.did_or_handle("identifier")? {
        Who::Did(did) => did,
        Who::Handle(handle) => match identity::leads_to(call, &handle).await? {
            Some(did) => did,
            None => return Err(ApiError::NotFound("this handle resolves to no DID")),
        },
    };
    let found = lexicons::person(&call.db()?, &did).await?;
    if found.is_blank {
        call.keeps.shows_more();
        return shown(call, &looked_up(call, did, found.actor, found.is_known).await?);
    }
    shown(call, &found.actor)
}

/// A person without a profile in the index, as a lookup completes them.
async fn looked_up(call: &Call, did: Did, mut actor: Actor, is_known: bool) -> Result<Actor, ApiError> {
    if erasure::is_erased(call, &did).await? {
        return Ok(actor);
    }
    match people::look_up(call, &did, is_known).await {
        Ok(Ok(true)) => actor = lexicons::person(&call.db()?, &did).await?.actor,
        Ok(Ok(false)) => {}
        Ok(Err(fault)) => log::fault(&fault, "the caller is shown what is known without it"),
        Err(_) => return Ok(actor),
    }
    if actor.handle == NO_HANDLE
        && let Some(handle) = identity::proven_handle(call, &did).await
    {
        if actor.data.display_name == did.as_str() {
            actor.data.display_name = handle.to_string();
        }
        actor.handle = handle.to_string();
    }
    Ok(actor)
}

#[derive(Serialize)]
struct Communities {
    communities: Vec<CommunityOfMember>,
}

/// N160e `social.colibri.actor.listCommunities`: the communities that the caller takes part in.
pub(in crate::api) async fn list_communities(call: &Call) -> Answer {
    let did = authority::person(call).await?;
    let locked = config::legacy_locked(&call.env);
    let communities = lexicons::communities::of_member(&call.db()?, &did, locked).await?;
    shown(call, &Communities { communities })
}

#[derive(Serialize)]
struct Mutes {
    mutes: Vec<MuteView>,
}

/// N160n `social.colibri.actor.listMutes`: what the caller muted, newest first.
pub(in crate::api) async fn list_mutes(call: &Call) -> Answer {
    let did = authority::person(call).await?;
    shown(call, &Mutes { mutes: lexicons::mutes(&call.db()?, &did).await? })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StateShown {
    online_state: String,
}

/// N160p `social.colibri.actor.setState`: the caller chooses a state, as with A13; the answer is what others
/// see now, `offline` without a socket.
pub(in crate::api) async fn set_state(call: &Call) -> Answer {
    let did = authority::person(call).await?;
    let state = State::named(call.query.required("state")?);
    let state = state.ok_or(ApiError::InvalidState("state must be online, away, dnd or offline"))?;
    people::choose(call, SetState { did: did.clone(), state, shows_alone: false }).await?;
    let online_state = lexicons::person(&call.db()?, &did).await?.actor.data.online_state;
    json(&StateShown { online_state })
}
