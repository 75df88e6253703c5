//! Deleting what the service stores about the caller: N171d.

use serde::Serialize;
use serde_json::json;

use super::{Answer, Call};
use crate::api::error::ApiError;
use crate::api::reply::shown;
use crate::api::{authority, erasure, json as answer};
use crate::storage::reads::lexicons::account::{SoleOwned, Stored, account};
use crate::wire::views::{Blob, SoleOwnedCommunity};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    sole_owned_communities: Vec<SoleOwnedCommunity>,
    counts: serde_json::Value,
}

/// N171d `social.colibri.actor.getDeletionStatus`: what is stored about the caller, and the communities that
/// stand in the way of deleting it.
pub(in crate::api) async fn deletion_status(call: &Call) -> Answer {
    let did = authority::person(call).await?;
    let (stored, sole) = account(&call.db()?, &did).await?;
    let view = |SoleOwned { uri, name, picture, members }| SoleOwnedCommunity {
        uri,
        name,
        picture: picture.as_deref().and_then(Blob::read),
        member_count: members,
    };
    let counts = json!({
        "records": stored.records + stored.of_communities,
        "notifications": 0,
        "pushSubscriptions": 0,
        "invitations": stored.invitations,
    });
    shown(call, &Status { sole_owned_communities: sole.into_iter().map(view).collect(), counts })
}

/// N171d `social.colibri.actor.deleteAccount`: R40 for the caller, unless they are the only owner of a
/// community, or are erased already.
pub(in crate::api) async fn delete(call: &Call) -> Answer {
    let did = authority::person(call).await?;
    if erasure::is_erased(call, &did).await? {
        return Err(ApiError::InvalidState("everything of this did is erased already"));
    }
    let (stored, sole) = account(&call.db()?, &did).await?;
    if !sole.is_empty() {
        return Err(ApiError::InvalidState("this did is the only owner of a community"));
    }
    erasure::begin(call, &did).await?;
    let Stored { records, of_communities, state, invitations, dismissed } = stored;
    answer(&json!({ "deleted": {
        "recordData": records,
        "communityRecords": of_communities,
        "notifications": 0,
        "pushSubscriptions": 0,
        "userState": state,
        "invitations": invitations,
        "dismissedApplications": dismissed,
    } }))
}
