//! Who is calling, and for which community they may act (contract X01–X07): the one place.
//!
//! A guarded handler asks here before it looks at a parameter or the body, so that 401 beats 413,
//! 400 and 422 (H03). What the caller may then do is [`Caller::may_moderate`]'s to say.

use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use worker::{Env, Request};

use super::Call;
use super::error::ApiError;
use crate::domain::moderation::Caller;
use crate::domain::socket_token::SocketTokens;
use crate::platform::clock::now;
use crate::platform::config;
use crate::wire::ids::{AtUri, Did};

/// 🔑: lets in whoever holds the API key (X01).
pub(super) fn operator(call: &Call) -> Result<(), ApiError> {
    match read(call)? {
        Shown::Key => Ok(()),
        Shown::Token(_) | Shown::Nothing => Err(ApiError::AuthRequired(MISSING)),
    }
}

/// 🔑👤: lets in whoever holds the API key, or a person with a service-auth JWT of their own (X03).
pub(super) async fn moderator(call: &Call) -> Result<Caller, ApiError> {
    match read(call)? {
        Shown::Key => Ok(Caller::Operator),
        Shown::Token(token) => verify(&token).await.map(Caller::Person),
        Shown::Nothing => Err(ApiError::AuthRequired(MISSING)),
    }
}

/// Whether a request shows the API key: such are not limited (H14).
pub(super) fn shows_key(request: &Request, env: &Env) -> bool {
    let header = request.headers().get("authorization").ok().flatten();
    config::api_key(env).is_some_and(|key| shown(&key, header.as_deref()) == Shown::Key)
}

/// Whether the caller may act for the community that `named` means. One that cannot be a
/// community has no owner.
pub(super) fn may_act_for(caller: &Caller, named: &str) -> Result<(), ApiError> {
    let may = match AtUri::parse(named) {
        Ok(community) => caller.may_moderate(&community.authority()),
        Err(_) => *caller == Caller::Operator,
    };
    if may { Ok(()) } else { Err(ApiError::Forbidden(NOT_YOURS)) }
}

/// The person that the proof of a socket proves (X06, X07). The first rule that applies decides:
///   1. a proof that cannot be verified is refused;
///   2. a proof of another person than the one the socket names is refused;
///   3. the socket acts for the person of its proof.
pub(super) async fn proven(call: &Call, named: Option<&Did>, proof: &str) -> Result<Did, ApiError> {
    let did = if looks_like_jwt(proof) {
        verify(proof).await?
    } else {
        let opened = socket_tokens(call).and_then(|tokens| tokens.open(proof, now()));
        opened.ok_or(ApiError::AuthRequired("the proof is not valid, or not any more"))?
    };
    if named.is_some_and(|named| *named != did) {
        return Err(ApiError::Forbidden("the proof is of another did"));
    }
    Ok(did)
}

/// What makes and reads socket tokens (R25), if the server has a secret.
pub(super) fn socket_tokens(call: &Call) -> Option<SocketTokens> {
    SocketTokens::new(&config::token_secret(&call.env)?)
}

/// 403 for a person who does not own the community (X03).
pub(super) const NOT_YOURS: &str = "the token's owner does not own this community";
/// 403 for a person who asks for somebody else.
pub(super) const NOT_YOUR_DID: &str = "the token is of another did";
/// 500 while the server has no API key (X02).
pub(super) const NO_KEY: &str = "this server has no API key configured";
const MISSING: &str = "the header Authorization must be: Bearer and the API key";

/// What the header `Authorization` shows.
#[derive(Debug, PartialEq, Eq)]
enum Shown {
    /// The API key.
    Key,
    /// What looks like a JWT; whether it is valid is not known yet.
    Token(String),
    /// Neither.
    Nothing,
}

fn read(call: &Call) -> Result<Shown, ApiError> {
    let key = config::api_key(&call.env).ok_or(ApiError::NotConfigured(NO_KEY))?; // X02: whatever is sent
    Ok(shown(&key, call.header("authorization").as_deref()))
}

/// Reads the header, which holds the scheme, spelled exactly `Bearer`, one blank, and the proof.
fn shown(key: &str, header: Option<&str>) -> Shown {
    match header.and_then(|header| header.strip_prefix("Bearer ")) {
        Some(proof) if same(proof, key) => Shown::Key,
        Some(proof) if looks_like_jwt(proof) => Shown::Token(proof.to_owned()),
        _ => Shown::Nothing,
    }
}

/// Compares in a time that tells nothing of where two texts differ (X01). Digests are compared,
/// because a comparison of the texts would tell their length.
fn same(given: &str, key: &str) -> bool {
    let digest = |text: &str| {
        Hmac::<Sha256>::new_from_slice(b"colibri-edge api key").map(|mac| mac.chain_update(text))
    };
    match (digest(given), digest(key)) {
        (Ok(given), Ok(key)) => given.verify_slice(&key.finalize().into_bytes()).is_ok(),
        _ => false, // HMAC takes a key of any length
    }
}

/// Three parts of base64url with dots between them.
fn looks_like_jwt(text: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    text.split('.').count() == 3 && text.split('.').all(is_part)
}

/// X04: the person a service-auth JWT is of. While none can be verified, each is refused.
#[expect(clippy::unused_async, reason = "verifying looks up the key of the issuer")]
async fn verify(_token: &str) -> Result<Did, ApiError> {
    Err(ApiError::AuthRequired("the token cannot be verified: this server takes no service-auth tokens"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x01_the_header_is_read_exactly() {
        let jwt = "eyJhbGciOiJFUzI1NksifQ.eyJpc3MiOiJkaWQ6cGxjOmEifQ.c2ln";
        for (header, expected, why) in [
            (Some("Bearer secret".to_owned()), Shown::Key, "the key"),
            (None, Shown::Nothing, "no header"),
            (Some(String::new()), Shown::Nothing, "an empty one"),
            (Some("secret".into()), Shown::Nothing, "no scheme"),
            (Some("bearer secret".into()), Shown::Nothing, "the scheme is spelled exactly Bearer"),
            (Some("BEARER secret".into()), Shown::Nothing, "the scheme is spelled exactly Bearer"),
            (Some("Bearer  secret".into()), Shown::Nothing, "one blank"),
            (Some("Bearer secre".into()), Shown::Nothing, "a part of it"),
            (Some("Bearer secrets".into()), Shown::Nothing, "more than it"),
            (Some("Bearer Secret".into()), Shown::Nothing, "another case"),
            (Some("Basic secret".into()), Shown::Nothing, "another scheme"),
            (Some("Bearer a.b".into()), Shown::Nothing, "two parts are no JWT"),
            (Some("Bearer a.b.c=".into()), Shown::Nothing, "a JWT has no padding"),
            (Some("Bearer a..c".into()), Shown::Nothing, "no empty part"),
            (Some(format!("Bearer {jwt}")), Shown::Token(jwt.into()), "a JWT"),
        ] {
            assert_eq!(shown("secret", header.as_deref()), expected, "{why}");
        }
        assert_eq!(shown("a.b.c", Some("Bearer a.b.c")), Shown::Key, "a key may look like a JWT");
    }
}
