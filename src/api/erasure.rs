//! Erasing a person, and lifting that: R40 to R42 (I55–I59).

use serde::Serialize;

use super::error::ApiError;
use super::{Answer, Call, authority, json_text};
use crate::durable::jetstream::commands::Ensure;
use crate::pipeline::erasing;
use crate::platform::clock::{lost_a_race, now};
use crate::platform::objects::{JETSTREAM, call as ask};
use crate::platform::{blobs, config, log};
use crate::storage::erasures;
use crate::wire::ids::Did;

/// The body of R40 to R42.
#[derive(Serialize)]
pub(super) struct Erasure {
    pub(super) state: String,
    pub(super) erased_at: String,
}

/// 410 where a request would store something about an erased person (I57).
const ERASED: &str = "everything of this did is erased; the erasure must be lifted first";
/// 404 of R41 and R42.
const NOT_ERASED: &str = "this did is not erased";

/// R40 `DELETE /api/user`: erases everything that the service stores about a person. From the response on,
/// nothing of it is shown or accepted; the deletion continues in the background.
pub(super) async fn erase(call: &Call) -> Answer {
    let did = whose(call).await?;
    begin(call, &did).await?;
    answer(call, &did, 202).await
}

/// Begins to erase a person; the rest goes on in the background.
pub(super) async fn begin(call: &Call, did: &Did) -> Result<(), ApiError> {
    let (db, settings) = (call.db()?, config::stream(&call.env).pipeline);
    erasing::erase(&db, did, &settings, now(), lost_a_race).await?;
    if let Err(fault) = blobs::forget_of(did).await {
        log::fault(&fault, "cached blobs of somebody who is erased end within a day");
    }
    go_on(call);
    Ok(())
}

/// R41 `GET /api/user/erasure`: the progress of an erasure.
pub(super) async fn shown(call: &Call) -> Answer {
    let did = whose(call).await?;
    answer(call, &did, 200).await
}

/// R42 `DELETE /api/user/erasure`: lifts an erasure, so that the person's repository is read again.
pub(super) async fn lift(call: &Call) -> Answer {
    let did = whose(call).await?;
    let erased_at = erasures::lift(&call.db()?, &did).await?.ok_or(ApiError::NotFound(NOT_ERASED))?;
    go_on(call);
    body("lifting", erased_at, 202)
}

/// The person in question.
async fn whose(call: &Call) -> Result<Did, ApiError> {
    let caller = authority::moderator(call).await?;
    authority::named_by(&caller, call.query.did("did")?)
}

/// Continues the work in the background.
fn go_on(call: &Call) {
    let env = call.env.clone();
    call.after_answer(async move {
        if let Err(fault) = ask(&env, JETSTREAM, &Ensure {}).await {
            log::fault(&fault, "cron goes on with the erasure within a minute");
        }
    });
}

/// Answers with the progress of a person's erasure.
async fn answer(call: &Call, did: &Did, status: u16) -> Answer {
    let found = erasures::find(&call.db()?, did).await?.ok_or(ApiError::NotFound(NOT_ERASED))?;
    body(found.state(), found.erased_at, status)
}

fn body(state: &str, erased_at: String, status: u16) -> Answer {
    let body = Erasure { state: state.to_owned(), erased_at };
    json_text(serde_json::to_string(&body).map_err(|_| ApiError::Internal)?, status)
}

/// Whether a person is erased (I57). Every handler that would show or store something of theirs asks this.
pub(super) async fn is_erased(call: &Call, did: &Did) -> Result<bool, ApiError> {
    Ok(erasures::find(&call.db()?, did).await?.is_some())
}

/// Refuses a request about an erased person with 410.
pub(super) async fn must_not_be_erased(call: &Call, did: &Did) -> Result<(), ApiError> {
    if is_erased(call, did).await? { Err(ApiError::Gone(ERASED)) } else { Ok(()) }
}
