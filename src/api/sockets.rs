//! Entry of the events sockets: R23, N161.

use sha2::{Digest as _, Sha256};
use worker::{Headers, Method, Request, RequestInit, Response};

use super::error::ApiError;
use super::members_only::NO_OBSERVERS;
use super::params::Query;
use super::{Answer, Call, authority, sync, waiting};
use crate::domain::auth_mode::{AuthMode, Standing};
use crate::durable::community::commands::{CURSOR_HEADER, OBSERVE};
use crate::durable::gateway::commands::{
    NEWEST_HEADER, ORIGIN_HEADER, PRESENT_HEADER, RESUME_HEADER, SESSION_HEADER, UNPROVEN_HEADER,
};
use crate::platform::clock::chance;
use crate::platform::objects::{CONNECT, DID_HEADER, Object, PROVEN_HEADER, gateway, gateway_of, upgraded};
use crate::platform::{config, peer};
use crate::storage::members_only::is_set;
use crate::wire::ids::Did;
use crate::wire::subscribe_events::read_cursor;

/// R23 `GET /api/subscribe`: the events socket. A DID always gets the same gateway, a socket
/// without DID any.
pub(super) async fn subscribe(call: &Call) -> Answer {
    upgrade(call)?;
    let sockets = config::sockets(&call.env);
    let acting = acts(call, sockets.mode).await?;
    let headers = Headers::new();
    headers.set("upgrade", "websocket")?;
    headers.set(ORIGIN_HEADER, &origin(call))?;
    if let Some(community) = call.query.optional("community") {
        return observe(call, acting.as_ref(), community, &headers).await;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from 0 to the number of shards"
    )]
    let anywhere = || gateway((chance() * f64::from(sockets.gateway_shards)) as u32 % sockets.gateway_shards);
    let name = match &acting {
        Some(Acting { did, .. }) => gateway_of(did, sockets.gateway_shards),
        None => anywhere(),
    };
    match &acting {
        Some(acting) => {
            headers.set(DID_HEADER, acting.did.as_str())?;
            match acting.by {
                By::Proof => headers.set(PROVEN_HEADER, "1")?,
                By::Presence => headers.set(PRESENT_HEADER, "1")?,
                By::Claim => {}
            }
            if let Some(secret) = call.query.optional("session").filter(|secret| may_be_secret(secret)) {
                headers.set(SESSION_HEADER, secret)?;
            }
        }
        // It named a person without proof, so its errors say what it may not do (A15).
        None if call.query.optional("did").is_some() => headers.set(UNPROVEN_HEADER, "1")?,
        None => {}
    }
    hand_on(call, Object::Gateway, &name, CONNECT, headers).await
}

/// N161: the events socket of the newest client. It acts for the person of its proof, or is refused.
pub(super) async fn subscribe_events(call: &Call) -> Answer {
    upgrade(call)?;
    let sockets = config::sockets(&call.env);
    if proof(&call.request, &call.query).is_none() {
        return Err(ApiError::AuthRequired("the events socket takes a proof"));
    }
    let cursor = call.query.optional("cursor");
    if cursor.is_some_and(|cursor| read_cursor(cursor).is_none()) {
        return Err(ApiError::Invalid("cursor is none of this socket's".into()));
    }
    let acting = acts(call, sockets.mode).await?;
    let did = acting.ok_or(ApiError::Forbidden("everything of this account is erased"))?.did;
    let headers = Headers::new();
    headers.set("upgrade", "websocket")?;
    headers.set(ORIGIN_HEADER, &origin(call))?;
    headers.set(DID_HEADER, did.as_str())?;
    headers.set(PROVEN_HEADER, "1")?;
    headers.set(NEWEST_HEADER, "1")?;
    if let Some(cursor) = cursor {
        headers.set(RESUME_HEADER, cursor)?;
    }
    hand_on(call, Object::Gateway, &gateway_of(&did, sockets.gateway_shards), CONNECT, headers).await
}

/// A21: an observer of one community, which holds the socket itself. An unknown community can be
/// waited for ([`waiting`]); a value that cannot name one stays unknown, and its socket stays
/// silent. A community for members only has no observers (X43).
async fn observe(call: &Call, acting: Option<&Acting>, community: &str, headers: &Headers) -> Answer {
    let named = call.query.at_uri("community")?;
    if community.len() > NAME_MAX {
        return Err(ApiError::Invalid(format!("community is longer than {NAME_MAX} characters")));
    }
    let cursor = call.query.optional("cursor").map(str::parse::<i64>).transpose();
    let cursor = cursor.map_err(|_| ApiError::Invalid("cursor must be a whole number".into()))?;
    if is_set(&call.db()?, named).await? {
        let is_proven = acting.is_some_and(|acting| acting.by == By::Proof);
        return Err(match is_proven {
            true => ApiError::Forbidden(NO_OBSERVERS),
            false => ApiError::AuthRequired(authority::MEMBERS_ONLY),
        });
    }
    if !waiting::is_known(&call.env, named).await? {
        return echo(call, waiting::accept(call.env.clone(), named.to_owned(), cursor).await?);
    }
    if let Some(cursor) = cursor {
        headers.set(CURSOR_HEADER, &cursor.to_string())?;
    }
    hand_on(call, Object::Community, named, OBSERVE, headers.clone()).await
}

/// The longest AT-URI: the longest DID, collection and rkey (T01, T02).
const NAME_MAX: usize = 1_024;

/// Forwards the upgrade to an object, whose response goes to the client unchanged.
async fn hand_on(call: &Call, object: Object, name: &str, path: &str, headers: Headers) -> Answer {
    let mut init = RequestInit::new();
    init.with_method(Method::Get).with_headers(headers);
    let request = Request::new_with_init(&format!("https://do.internal/{path}"), &init)?;
    echo(call, upgraded(object.stub(&call.env, name)?.fetch_with_request(request).await?)?)
}

/// Refuses a request that is not a WebSocket upgrade. Who pays for one is known when it is known who asks
/// ([`acts`], C14).
pub(super) fn upgrade(call: &Call) -> Result<(), ApiError> {
    if call.header("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket")) {
        call.spends.opens_a_socket();
        Ok(())
    } else {
        Err(ApiError::BadRequest("this path takes a WebSocket upgrade"))
    }
}

/// The origin of a socket (Q10): a digest of its address, and one of its `User-Agent`. They are
/// digests because they are only compared.
fn origin(call: &Call) -> String {
    let digest = |text: &str| {
        let hash = Sha256::digest(text.as_bytes());
        hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let agent = call.header("user-agent").unwrap_or_default();
    format!("{} {}", digest(&peer::client(&call.request, &call.env)), digest(&agent))
}

/// Whether a text can be a session's secret (Q15).
fn may_be_secret(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The person that a socket acts for, and how they are known.
pub(super) struct Acting {
    pub(super) did: Did,
    pub(super) by: By,
}

/// How a person is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// They proved it (X06).
    Proof,
    /// They claim it (X05).
    Claim,
    /// They claim it, which counts for presence only (X13).
    Presence,
}

/// The only place that decides whom a socket acts for (X05–X07, X13). The first rule that applies
/// decides:
///   1. a malformed `did` is refused;
///   2. with a proof, the socket acts for the person of the proof, or is refused
///      ([`authority::proven`]);
///   3. an address that opens too many is refused (C14);
///   4. without a proof, the mode decides how far `did` is believed (`domain::auth_mode`);
///   5. no socket acts for an erased person (I57).
pub(super) async fn acts(call: &Call, mode: AuthMode) -> Result<Option<Acting>, ApiError> {
    let (named, proof) = (call.query.optional_did("did")?, proof(&call.request, &call.query));
    let (did, noted) = if let Some(proof) = &proof {
        authority::proven(call, named.as_ref(), proof).await?
    } else {
        call.spends.prove_nothing()?;
        let Some(did) = named else { return Ok(None) };
        let noted = authority::noted(call, &did).await?;
        (did, noted)
    };
    if noted.erased {
        return Ok(None);
    }
    if proof.is_some() {
        sync::know(call, &did);
        return Ok(Some(Acting { did, by: By::Proof }));
    }
    Ok(match mode.without_proof(noted.proven) {
        Standing::Believed => Some(Acting { did, by: By::Claim }),
        Standing::Present => Some(Acting { did, by: By::Presence }),
        Standing::Nobody => None,
    })
}

/// The proof that a caller sends (X06).
pub(super) fn proof(request: &Request, query: &Query) -> Option<String> {
    let offered = request.headers().get("sec-websocket-protocol").ok().flatten();
    let offered = offered.and_then(|offered| bearer(&offered));
    offered.or_else(|| query.optional("auth").map(str::to_owned))
}

/// The sub-protocol that announces a proof (X06).
const BEARER: &str = "colibri.auth.bearer";

/// The proof that follows [`BEARER`] in the list of sub-protocols, empty if nothing follows.
fn bearer(offered: &str) -> Option<String> {
    let mut parts = offered.split(',').map(str::trim);
    parts.find(|part| *part == BEARER)?;
    Some(parts.next().unwrap_or_default().to_owned())
}

/// Echoes this sub-protocol, and nothing else that was offered (X06): browsers close a socket whose
/// sub-protocol is not echoed, and a proof must not be in a response.
pub(super) fn echo(call: &Call, response: Response) -> Answer {
    let offered = call.header("sec-websocket-protocol").and_then(|offered| bearer(&offered));
    if response.status_code() != 101 || offered.is_none() {
        return Ok(response);
    }
    let headers = Headers::new();
    headers.set("sec-websocket-protocol", BEARER)?;
    Ok(response.with_headers(headers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x06_the_proof_follows_its_sub_protocol() {
        for (offered, expected) in [
            ("colibri.auth.bearer, abc", Some("abc")),
            ("colibri.auth.bearer,abc,def", Some("abc")),
            ("other, colibri.auth.bearer , abc", Some("abc")),
            ("colibri.auth.bearer", Some("")),
            ("colibri.auth.bearers, abc", None),
            ("other", None),
            ("", None),
        ] {
            assert_eq!(bearer(offered).as_deref(), expected, "{offered}");
        }
    }
}
