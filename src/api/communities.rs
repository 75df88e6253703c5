//! Communities and what is in them: R07, R12, R14.

use super::error::ApiError;
use super::{Answer, Call, json};
use crate::storage::reads;

/// R07 `GET /api/community`: one community, by AT-URI or rkey (T22).
pub(super) async fn one(call: &Call) -> Answer {
    let name = call.query.at_uri_or_rkey("community")?;
    match reads::community(&call.db()?, name).await? {
        Some(community) => json(&community),
        None => Err(ApiError::NotFound("there is no such community")),
    }
}

/// R12 `GET /api/channels`: the channels of a community, by name.
pub(super) async fn channels(call: &Call) -> Answer {
    json(&reads::channels(&call.db()?, call.query.at_uri("community")?).await?)
}

/// R14 `GET /api/members`: the owner, then approved, then pending members.
pub(super) async fn members(call: &Call) -> Answer {
    json(&reads::members(&call.db()?, &call.cdn(), call.query.at_uri("community")?).await?)
}
