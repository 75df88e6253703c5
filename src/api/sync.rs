//! Repositories: the state of a reading, and requests to read one (section 9).

use worker::Env;

use super::authority::{self, NOT_YOUR_DID};
use super::error::ApiError;
use super::{Answer, Call, erasure, json_text};
use crate::domain::moderation::Caller;
use crate::domain::repos::Reason;
use crate::durable::repo_sync::commands::Work;
use crate::platform::clock::now;
use crate::platform::d1::D1;
use crate::platform::log;
use crate::platform::objects::{DISPATCH, call as ask_object};
use crate::storage::{Fault, Store, repos};
use crate::wire::ids::{AtUri, Collection, Did};

/// `GET /api/sync`: the state of a repository.
pub(super) async fn shown(call: &Call) -> Answer {
    let did = call.query.did("did")?;
    let found = repos::shown(&call.db()?, &did).await?;
    answer(&found.ok_or(ApiError::NotFound("this repository is unknown"))?, 200)
}

/// `POST /api/sync` 🔑👤: has a repository read again, known or not; an operator may name any, a
/// person only their own. The gate judges again what it refused (G7).
pub(super) async fn ask(call: &Call) -> Answer {
    let caller = authority::moderator(call).await?;
    let body = call.body().await?;
    let did = body.did("did")?;
    if matches!(&caller, Caller::Person(person) if *person != did) {
        return Err(ApiError::Forbidden(NOT_YOUR_DID));
    }
    erasure::must_not_be_erased(call, &did).await?;
    want(call, &did, Reason::Asked).await?;
    let found = repos::shown(&call.db()?, &did).await?;
    answer(&found.ok_or(ApiError::Internal)?, 202)
}

/// Somebody named an unknown community: its owner's repository is read, if it was not before, so
/// that a later request finds it. A URI that cannot name a community has no owner.
pub(super) async fn look_for(call: &Call, named: &str) -> Result<(), ApiError> {
    looks_for(call, named).await.map(drop)
}

/// As [`look_for`]; whether the repository is due because of that.
pub(super) async fn looks_for(call: &Call, named: &str) -> Result<bool, ApiError> {
    match AtUri::parse(named) {
        Ok(uri) if uri.is(Collection::Community) => want(call, &uri.authority(), Reason::Lookup).await,
        _ => Ok(false),
    }
}

/// A person proved who they are: their repository becomes known (K01). Nobody waits for it.
pub(super) fn know(call: &Call, did: &Did) {
    let (env, did) = (call.env.clone(), did.clone());
    call.after_answer(async move {
        if let Err(fault) = make_due(&env, &did, Reason::Lookup).await {
            log::fault(&fault, "the repository is queued when the person connects again");
        }
    });
}

/// Makes a repository due; whether this changed anything. The answer does not wait for the reading.
async fn want(call: &Call, did: &Did, reason: Reason) -> Result<bool, ApiError> {
    let made = store(&call.env, did, reason).await?;
    if made {
        let env = call.env.clone();
        call.after_answer(async move { wake(&env).await });
    }
    Ok(made)
}

async fn make_due(env: &Env, did: &Did, reason: Reason) -> Result<(), Fault> {
    if store(env, did, reason).await? {
        wake(env).await;
    }
    Ok(())
}

/// Stores that a repository is due; returns whether this changed anything.
async fn store(env: &Env, did: &Did, reason: Reason) -> Result<bool, Fault> {
    let made = D1::of(env)?.write(&[repos::want(did, reason, now())]).await?;
    Ok(made.iter().any(|rows| !rows.is_empty()))
}

async fn wake(env: &Env) {
    if let Err(fault) = ask_object(env, DISPATCH, &Work {}).await {
        log::fault(&fault, "cron starts reading the repository within a minute");
    }
}

fn answer(found: &repos::Shown, status: u16) -> Answer {
    json_text(serde_json::to_string(found).map_err(|_| ApiError::Internal)?, status)
}
