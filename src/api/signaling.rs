//! Entry of signaling sockets (contract section 7), and the STUN and TURN servers that callers
//! need.

use std::time::Duration;

use serde_json::json;
use url::Url;

use super::error::ApiError;
use super::sockets::{By, acts, echo, upgrade};
use super::{Answer, Call, authority, json, limits, relay};
use crate::domain::auth_mode::AuthMode;
use crate::domain::fault_code::Code;
use crate::domain::ice::{Asking, credential, keep_secs, lifetime};
use crate::domain::signaling::room::Caller;
use crate::domain::voice_right::{home, may_be_in};
use crate::durable::voice_room::commands::{HasPeer, connect_to_room};
use crate::platform::clock::now;
use crate::platform::config::{self, TurnKey};
use crate::platform::log;
use crate::platform::objects::{call as ask, rooms_of};
use crate::platform::outbound::post_json;
use crate::storage::facts::right_to_be_in;
use crate::wire::ice::{IceServer, IceServers, issued};
use crate::wire::ids::{AtUri, Collection, Did};
use crate::wire::signaling::NAME_MAX;
use crate::wire::time::Micros;

/// How long Cloudflare's TURN service may take, and the maximum length of its answer in bytes.
const TURN_WITHIN: Duration = Duration::from_secs(5);
const TURN_ANSWER_MAX: usize = 64 * 1024;

/// `GET /api/webrtc/signal`: with `room` the socket goes to that room's object, for good; without
/// it the Worker relays, because the first frame will name the room.
pub(super) async fn signal(call: &Call) -> Answer {
    upgrade(call)?;
    let caller = caller(call).await?;
    match call.query.optional("room") {
        Some(room) => echo(call, connect_to_room(&call.env, named(room)?, &caller).await?),
        None => echo(call, relay::accept(call.env.clone(), caller)?),
    }
}

/// The person that a caller acts for. `verified` mode requires one (X08); in `mixed` mode, an
/// unproven claim that is believed for presence is ignored here (X13).
async fn caller(call: &Call) -> Result<Caller, ApiError> {
    let mode = config::sockets(&call.env).mode;
    let acting = acts(call, mode).await?.filter(|acting| acting.by != By::Presence);
    if acting.is_none() && mode == AuthMode::Verified {
        return Err(ApiError::AuthRequired("signaling requires a proof of a DID"));
    }
    let proven = acting.as_ref().is_some_and(|acting| acting.by == By::Proof);
    Ok(Caller { proven, did: acting.map(|acting| acting.did), relayed: false })
}

/// The name of a room (S11).
fn named(room: &str) -> Result<&str, ApiError> {
    if room.chars().count() > NAME_MAX {
        return Err(ApiError::Invalid(format!("room must be a string of 1 to {NAME_MAX} characters")));
    }
    Ok(room)
}

/// `GET /api/webrtc/ice-servers`: the STUN and TURN servers for a caller in `room`. Everybody who
/// may join the room may ask; a voice channel requires `did` and V02 (S20). TURN credentials
/// require proof of being in the call (S22).
pub(super) async fn ice_servers(call: &Call) -> Answer {
    let Caller { did, proven, .. } = caller(call).await?;
    let room = named(call.query.required("room")?)?;
    let bound = is_bound(call, room, did.as_ref(), proven).await?;
    let calls = config::calls(&call.env);
    let asking = Asking { bound, proven, is_peer: !bound && !proven && has_peer(call, room).await? };
    let lifetime = lifetime(asking, calls.ttl_secs);
    let mut ice_servers = calls.servers;
    let mut expires = None;
    if let Some(ttl_secs) = lifetime {
        let shared = calls.shared.filter(|(urls, _)| !urls.is_empty());
        if !proven && (shared.is_some() || calls.cloudflare.is_some()) {
            limits::count_credentials(&call.request, &call.env).map_err(ApiError::RateLimited)?;
        }
        // Counted from before the request to the service, so that the time is never too late.
        let at = Micros(now().0.saturating_add(ttl_secs.saturating_mul(1_000_000)));
        if let Some((urls, secret)) = shared {
            let id = did.as_ref().map_or("anonymous", Did::as_str);
            let (username, password) = credential(&secret, id, at);
            ice_servers.push(IceServer { urls, username: Some(username), credential: Some(password) });
            expires = Some(at);
        }
        if let Some(key) = calls.cloudflare {
            ice_servers.extend(ask_cloudflare(&key, ttl_secs).await?);
            expires = Some(at);
        }
    } else {
        ice_servers.retain(|server| server.credential.is_none());
    }
    let response = json(&IceServers {
        ice_servers,
        relay_only: calls.policy.relay_only(bound),
        expires_at: expires.map(Micros::shown),
    })?;
    let keep = keep_secs(expires.and(lifetime));
    response.headers().set("cache-control", &format!("private, max-age={keep}"))?;
    Ok(response)
}

/// Whether the caller is in the room: it sends the `peer_id` and the `secret` of its join (S12).
async fn has_peer(call: &Call, room: &str) -> Result<bool, ApiError> {
    let (Some(peer_id), Some(secret)) = (call.query.optional("peer_id"), call.query.optional("secret"))
    else {
        return Ok(false);
    };
    let [room, peer_id, secret] = [room, peer_id, secret].map(str::to_owned);
    let object = rooms_of(&room);
    Ok(ask(&call.env, &object, &HasPeer { room, peer_id, secret }).await?.found)
}

/// Whether the room is a voice channel. A caller who may not enter it is refused.
async fn is_bound(call: &Call, room: &str, did: Option<&Did>, proven: bool) -> Result<bool, ApiError> {
    let Some(channel) = AtUri::parse(room).ok().filter(|uri| uri.is(Collection::Channel)) else {
        return Ok(false);
    };
    let people: Vec<Did> = did.cloned().into_iter().collect();
    let working_set = right_to_be_in(&call.db()?, &channel, &people, now()).await?;
    let Ok((_, community)) = home(&working_set, &channel, None) else { return Ok(false) };
    if !proven && working_set.members_only.contains(&community.uri) {
        return Err(ApiError::AuthRequired(authority::MEMBERS_ONLY)); // X43
    }
    match did.map(|did| may_be_in(&working_set, did, proven, &channel, None)) {
        Some(Ok(())) => Ok(true),
        _ => Err(ApiError::Forbidden("did may not be in this voice channel")),
    }
}

/// Requests credentials from Cloudflare's TURN service (`generate-ice-servers`).
async fn ask_cloudflare(key: &TurnKey, ttl_secs: i64) -> Result<Vec<IceServer>, ApiError> {
    let failed = || ApiError::Upstream("the TURN service issued no credentials");
    let address =
        format!("{}/v1/turn/keys/{}/credentials/generate-ice-servers", key.api.trim_end_matches('/'), key.id);
    let url = Url::parse(&address).map_err(|_| failed())?;
    let bearer = format!("Bearer {}", key.token);
    let body = json!({ "ttl": ttl_secs }).to_string();
    let headers = [("authorization", bearer.as_str())];
    let doing = "asking for TURN credentials";
    match post_json(doing, &url, &headers, &body, TURN_WITHIN, TURN_ANSWER_MAX).await {
        Ok((200 | 201, text)) => issued(&text).ok_or_else(failed),
        Ok((status, _)) => {
            log::problem(
                Code::Turn,
                log::Level::Error,
                "the TURN service refused",
                &json!({ "status": status }),
            );
            Err(failed())
        }
        Err(failure) => {
            log::fault(&failure.into_fault(doing), "the caller gets an error");
            Err(failed())
        }
    }
}
