//! Repositories: how far one is read, and having it read (section 9).

use super::authority::{self, NOT_YOUR_DID};
use super::error::ApiError;
use super::{Answer, Call, json_text};
use crate::domain::moderation::Caller;
use crate::domain::repos::Reason;
use crate::durable::commands::{DISPATCH, Work, call as ask_object};
use crate::platform::clock::now;
use crate::platform::log;
use crate::storage::{Store, repos};
use crate::wire::ids::{AtUri, Collection, Did};

/// `GET /api/sync`: how far a repository is read.
pub(super) async fn shown(call: &Call) -> Answer {
    let did = call.query.did("did")?;
    let found = repos::shown(&call.db()?, &did).await?;
    answer(&found.ok_or(ApiError::NotFound("this repository is not known"))?, 200)
}

/// `POST /api/sync` 🔑👤: has a repository read anew, known or not; an operator any, a person their
/// own. The gate is asked again about what it refused (G7).
pub(super) async fn ask(call: &Call) -> Answer {
    let caller = authority::moderator(call).await?;
    let body = call.body().await?;
    let did = body.did("did")?;
    if matches!(&caller, Caller::Person(person) if *person != did) {
        return Err(ApiError::Forbidden(NOT_YOUR_DID));
    }
    want(call, &did, Reason::Asked).await?;
    let found = repos::shown(&call.db()?, &did).await?;
    answer(&found.ok_or(ApiError::Internal)?, 202)
}

/// Somebody named a community that is not known: its owner's repository is read, if it was not
/// before, so that the next one who asks has an answer. What cannot be a community has no owner.
pub(super) async fn look_for(call: &Call, named: &str) -> Result<(), ApiError> {
    match AtUri::parse(named) {
        Ok(uri) if uri.is(Collection::Community) => want(call, &uri.authority(), Reason::Lookup).await,
        _ => Ok(()),
    }
}

/// Makes a repository due and wakes whoever reads it. The answer does not wait for that.
async fn want(call: &Call, did: &Did, reason: Reason) -> Result<(), ApiError> {
    let made = call.db()?.write(&[repos::want(did, reason, now())]).await?;
    if made.iter().all(Vec::is_empty) {
        return Ok(());
    }
    let env = call.env.clone();
    call.after_answer(async move {
        if let Err(fault) = ask_object(&env, DISPATCH, &Work {}).await {
            log::fault(&fault, "cron has the repository read within a minute");
        }
    });
    Ok(())
}

fn answer(found: &repos::Shown, status: u16) -> Answer {
    json_text(serde_json::to_string(found).map_err(|_| ApiError::Internal)?, status)
}
