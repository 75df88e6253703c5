//! The browsers that take pushes for a person: R67 to R69. It concerns nobody else, so R67 and R68 take their proof or the
//! API key in every mode. Without the key of C43 there is nothing of this.

use super::error::ApiError;
use super::{Answer, Call, authority, empty, json};
use crate::domain::hosts::may_ask;
use crate::platform::clock::now;
use crate::platform::config;
use crate::storage::push;
use crate::storage::reads::communities::communities_of;
use crate::wire::bodies::PushKey;
use crate::wire::ids::Did;
use crate::wire::web_push::Vapid;

fn enabled(call: &Call) -> Result<Vapid, ApiError> {
    config::vapid(&call.env).ok_or(ApiError::NotEnabled("this service sends no pushes"))
}

/// The person in question.
async fn whose(call: &Call) -> Result<Did, ApiError> {
    let caller = authority::moderator(call).await?;
    authority::named_by(&caller, call.query.did("did")?)
}

/// R69 `GET /api/push/key`: the key that a browser needs to subscribe.
pub(super) async fn key(call: &Call) -> Answer {
    let vapid = enabled(call)?;
    json(&PushKey { public_key: vapid.public_key() })
}

/// R67 `POST /api/push`: a browser takes pushes for a person.
pub(super) async fn subscribe(call: &Call) -> Answer {
    enabled(call)?;
    let did = whose(call).await?;
    let body = call.body().await?;
    let subscription = body.subscription("subscription")?;
    if !may_ask(&subscription.endpoint, &config::outside(&call.env).reach) {
        return Err(ApiError::Invalid(
            "subscription.endpoint must be the https address of a push service".into(),
        ));
    }
    let db = call.db()?;
    if communities_of(&db, &did).await?.is_empty() {
        return Err(ApiError::Forbidden("did takes part in no community"));
    }
    push::subscribe(&db, &did, &subscription, now()).await?;
    empty(204)
}

/// R68 `DELETE /api/push`: a browser takes no pushes for a person any more.
pub(super) async fn unsubscribe(call: &Call) -> Answer {
    enabled(call)?;
    let did = whose(call).await?;
    let endpoint = call.query.required("endpoint")?;
    push::unsubscribe(&call.db()?, &did, endpoint).await?;
    empty(204)
}
