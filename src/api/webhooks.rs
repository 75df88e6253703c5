//! Webhooks of a community: R82, R83, R84.
//!
//! D1 has what they are; then the community's object is called, which sends (`durable::community::webhooks`). Every
//! call may be repeated.

use super::error::ApiError;
use super::reply::shown;
use super::{Answer, Call, authority, empty, json};
use crate::domain::hosts::may_ask;
use crate::durable::community::webhooks::WebhooksChanged;
use crate::platform::clock::{now, unguessable};
use crate::platform::objects::call as ask;
use crate::storage::Fault;
use crate::storage::webhooks::{self, New, Put};
use crate::wire::bodies::WebhookSet;
use crate::wire::ids::AtUri;
use crate::wire::webhooks::{secret_of, shown_secret};

/// R82 `PUT /api/webhooks`: sets where a community's events are sent.
pub(super) async fn put(call: &Call) -> Answer {
    let caller = authority::moderator(call).await?;
    let body = call.body().await?;
    let (community, url) = (body.community("community_uri")?, body.url("url")?);
    let (events, chosen) = (body.words("events")?, body.secret("secret")?);
    authority::must_own(&caller, community.as_str())?;
    if !may_ask(&url, &call.outside()?.reach) {
        return Err(ApiError::Invalid("url must be the https address of a public host".into()));
    }
    let made = secret_of(&random()?);
    let id = format!("{:016x}", u64::from_be_bytes(unguessable()?));
    let new = New {
        id,
        community: &community,
        url: url.as_str(),
        events: &events,
        chosen: chosen.as_deref(),
        made: &made,
    };
    match webhooks::put(&call.db()?, &new, now()).await? {
        Put::Done(webhook, secret) => {
            changed(call, community, Some(webhook.id.clone())).await?;
            json(&WebhookSet { webhook: *webhook, secret: shown_secret(&secret) })
        }
        Put::TooMany => Err(ApiError::Invalid("url: the community has five webhooks already".into())),
        Put::NoCommunity => Err(ApiError::NotFound("there is no such community")),
    }
}

/// 32 bytes for a secret.
fn random() -> Result<[u8; 32], Fault> {
    let mut bytes = [0; 32];
    for part in bytes.chunks_exact_mut(8) {
        part.copy_from_slice(&unguessable()?);
    }
    Ok(bytes)
}

/// R83 `GET /api/webhooks`: the webhooks of a community, without their secrets.
pub(super) async fn list(call: &Call) -> Answer {
    let caller = authority::moderator(call).await?;
    let community = call.query.at_uri("community")?;
    authority::must_own(&caller, community)?;
    shown(call, &webhooks::list(&call.db()?, community).await?)
}

/// R84 `DELETE /api/webhooks`: nothing more is sent.
pub(super) async fn remove(call: &Call) -> Answer {
    let caller = authority::moderator(call).await?;
    let (community, id) = (call.query.at_uri("community")?, call.query.required("id")?);
    authority::must_own(&caller, community)?;
    let removed = webhooks::remove(&call.db()?, community, id).await?;
    match AtUri::parse(community) {
        Ok(community) if removed => changed(call, community, None).await?,
        _ => return Err(ApiError::NotFound("there is no such webhook")),
    }
    empty(204)
}

async fn changed(call: &Call, community: AtUri, set: Option<String>) -> Result<(), Fault> {
    let name = community.to_string();
    ask(&call.env, &name, &WebhooksChanged { community, set }).await.map(drop)
}
