//! How much of which community reaches a person at once: R56 and R59. It concerns nobody else, so it takes their
//! proof or the API key in every mode.

use super::error::ApiError;
use super::{Answer, Call, authority, json, reply};
use crate::domain::urgency::Rhythm;
use crate::platform::clock::now;
use crate::storage::Store;
use crate::storage::reads::communities::communities_of;
use crate::storage::rhythms;
use crate::wire::bodies::{Preferences, RhythmThere};
use crate::wire::ids::Did;

/// R56 `GET /api/preferences`: the rhythms of a person.
pub(super) async fn shown(call: &Call) -> Answer {
    let did = whose(call).await?;
    reply::shown(call, &of_person(&call.db()?, &did).await?)
}

/// R59 `PUT /api/preferences`: sets the rhythm of a person in a community, or in all others.
pub(super) async fn set(call: &Call) -> Answer {
    let did = whose(call).await?;
    let body = call.body().await?;
    let community = body.optional_at_uri("community_uri")?;
    let rhythm = body.rhythm("rhythm")?;
    let db = call.db()?;
    if community.is_none() && rhythm.is_some() && communities_of(&db, &did).await?.is_empty() {
        return Err(ApiError::Forbidden("did takes part in no community"));
    }
    if !rhythms::set(&db, &did, community.as_deref(), rhythm, now()).await? {
        return Err(ApiError::Forbidden("did takes no part in this community"));
    }
    json(&of_person(&db, &did).await?)
}

/// The person in question.
async fn whose(call: &Call) -> Result<Did, ApiError> {
    let caller = authority::moderator(call).await?;
    authority::named_by(&caller, call.query.did("did")?)
}

async fn of_person(store: &impl Store, did: &Did) -> Result<Preferences, ApiError> {
    let mut found = rhythms::of_person(store, did).await?;
    let rhythm = found.remove("").unwrap_or_default().word();
    let there =
        |(community_uri, rhythm): (String, Rhythm)| RhythmThere { community_uri, rhythm: rhythm.word() };
    Ok(Preferences { rhythm, communities: found.into_iter().map(there).collect() })
}
