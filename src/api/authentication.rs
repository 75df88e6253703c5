//! Tokens that vouch for a person: the website's for its users, and people's own tickets. R25, R26,
//! R27.

use serde::Serialize;

use super::authority;
use super::error::ApiError;
use super::{Answer, Call, empty, json};
use crate::domain::moderation::Caller;
use crate::domain::socket_token::{TICKET_TTL, TTL, TTL_DEFAULT};
use crate::platform::clock::{now, unguessable};
use crate::storage::proofs;
use crate::wire::time::Micros;

/// The body of R25.
#[derive(Serialize)]
pub(super) struct Vouched {
    pub(super) ok: bool,
    pub(super) token: String,
    pub(super) expires_at: String,
}

/// 500 while the server has no secret to sign tokens with (C08).
const NO_SECRET: &str = "this server has no TOKEN_SECRET configured";

/// R25 `POST /api/authentication`: a token that proves a person's DID to the sockets (X06).
pub(super) async fn vouch(call: &Call) -> Answer {
    authority::operator(call)?;
    let body = call.body().await?;
    let did = body.did("did")?;
    let ttl = body.whole("ttl")?.unwrap_or(TTL_DEFAULT).clamp(*TTL.start(), *TTL.end());
    let expires_at = Micros(now().0 + ttl * 1_000_000);
    let tokens = authority::socket_tokens(call).ok_or(ApiError::NotConfigured(NO_SECRET))?;
    let token = tokens.issue(&did, now(), expires_at);
    json(&Vouched { ok: true, token, expires_at: expires_at.shown() })
}

/// R26 `DELETE /api/authentication`: revokes all socket tokens and tickets of a person made until
/// now.
pub(super) async fn revoke(call: &Call) -> Answer {
    let caller = authority::moderator(call).await?;
    let did = call.query.did("did")?;
    if matches!(&caller, Caller::Person(person) if *person != did) {
        return Err(ApiError::Forbidden(authority::NOT_YOUR_DID));
    }
    proofs::revoke(&call.db()?, &did, now()).await?;
    empty(204)
}

/// The body of R27.
#[derive(Serialize)]
pub(super) struct Ticket {
    pub(super) ticket: String,
    pub(super) expires_at: String,
}

/// R27 `POST /api/ticket`: a proof for one socket, for browsers, which cannot set headers (X12).
pub(super) async fn ticket(call: &Call) -> Answer {
    let tokens = authority::socket_tokens(call).ok_or(ApiError::NotConfigured(NO_SECRET))?;
    let did = authority::person(call).await?;
    let made_at = now();
    let ticket = tokens.ticket(&did, unguessable()?, made_at);
    let expires_at = Micros(made_at.0.saturating_add(TICKET_TTL * 1_000_000)).shown();
    json(&Ticket { ticket, expires_at })
}
