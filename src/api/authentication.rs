//! The website vouches for a person it knows: R25.

use serde::Serialize;

use super::authority;
use super::error::ApiError;
use super::{Answer, Call, json};
use crate::domain::socket_token::{TTL, TTL_DEFAULT};
use crate::platform::clock::now;
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

/// R25 `POST /api/authentication`: a token that proves a person to the sockets (X06).
pub(super) async fn vouch(call: &Call) -> Answer {
    authority::operator(call)?;
    let body = call.body().await?;
    let did = body.did("did")?;
    let ttl = body.whole("ttl")?.unwrap_or(TTL_DEFAULT).clamp(*TTL.start(), *TTL.end());
    let expires_at = Micros(now().0 + ttl * 1_000_000);
    let tokens = authority::socket_tokens(call).ok_or(ApiError::NotConfigured(NO_SECRET))?;
    json(&Vouched { ok: true, token: tokens.issue(&did, expires_at), expires_at: expires_at.shown() })
}
