//! Handles and DIDs: N160a.

use serde::Serialize;

use super::{Answer, Call};
use crate::api::error::ApiError;
use crate::api::identity;
use crate::api::reply::shown;
use crate::wire::ids::Did;

#[derive(Serialize)]
struct Resolved {
    did: Did,
}

/// N160a `com.atproto.identity.resolveHandle`: the DID to which a handle resolves. The sentence of the
/// refusal is the one by which sign-in libraries know that there is no such handle.
pub(in crate::api) async fn resolve_handle(call: &Call) -> Answer {
    let handle = call.query.handle("handle")?;
    match identity::leads_to(call, &handle).await? {
        Some(did) => shown(call, &Resolved { did }),
        None => Err(ApiError::BadRequest("Unable to resolve handle")),
    }
}
