//! Where sockets come in: R23.

use worker::{Headers, Method, Request, RequestInit, Response};

use super::error::ApiError;
use super::{Answer, Call, authority};
use crate::durable::commands::{CONNECT, DID_HEADER, Object, gateway, gateway_of};
use crate::platform::clock::chance;
use crate::platform::config;
use crate::wire::ids::Did;

/// R23 `GET /api/subscribe`: the events socket. A DID always lands on the same gateway; a socket
/// without one on any.
pub(super) async fn subscribe(call: &Call) -> Answer {
    upgrade(call)?;
    if call.query.optional("community").is_some() {
        return Err(ApiError::Invalid("community: this build serves no observers".into()));
    }
    let sockets = config::sockets(&call.env);
    let did = acts_for(call, sockets.open).await?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from 0 to the number of shards"
    )]
    let anywhere = || gateway((chance() * f64::from(sockets.gateway_shards)) as u32 % sockets.gateway_shards);
    let name = did.as_ref().map_or_else(anywhere, |did| gateway_of(did, sockets.gateway_shards));

    let headers = Headers::new();
    headers.set("upgrade", "websocket")?;
    if let Some(did) = &did {
        headers.set(DID_HEADER, did.as_str())?;
    }
    let mut init = RequestInit::new();
    init.with_method(Method::Get).with_headers(headers);
    let request = Request::new_with_init(&format!("https://do.internal/{CONNECT}"), &init)?;
    echo(call, Object::Gateway.stub(&call.env, &name)?.fetch_with_request(request).await?)
}

/// Refuses a request that is no WebSocket upgrade.
pub(super) fn upgrade(call: &Call) -> Result<(), ApiError> {
    if call.header("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket")) {
        Ok(())
    } else {
        Err(ApiError::BadRequest("this path takes a WebSocket upgrade"))
    }
}

/// The one place where a socket learns whom it acts for (X05–X07). The first rule that applies
/// decides:
///   1. a malformed `did` is refused;
///   2. with a proof it acts for the person of the proof, or is refused ([`authority::proven`]);
///   3. in `open` mode it acts for `did`, unproven;
///   4. in `verified` mode, without a proof, for nobody.
pub(super) async fn acts_for(call: &Call, open: bool) -> Result<Option<Did>, ApiError> {
    let did = call.query.optional_did("did")?;
    let offered = call.header("sec-websocket-protocol").and_then(|offered| bearer(&offered));
    if let Some(proof) = offered.as_deref().or_else(|| call.query.optional("auth")) {
        return authority::proven(call, did.as_ref(), proof).await.map(Some);
    }
    Ok(did.filter(|_| open))
}

/// The sub-protocol under which a proof is sent (X06).
const BEARER: &str = "colibri.auth.bearer";

/// The proof that follows [`BEARER`] in the list of sub-protocols, empty if nothing follows.
fn bearer(offered: &str) -> Option<String> {
    let mut parts = offered.split(',').map(str::trim);
    parts.find(|part| *part == BEARER)?;
    Some(parts.next().unwrap_or_default().to_owned())
}

/// Names the sub-protocol in the answer, and nothing else of what was offered (X06): browsers
/// close a socket whose sub-protocol is not echoed, and a proof does not belong into an answer.
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
