//! Where sockets come in: R23.

use worker::{Headers, Method, Request, RequestInit};

use super::error::ApiError;
use super::{Answer, Call};
use crate::durable::commands::{CONNECT, DID_HEADER, Object, gateway, gateway_of};
use crate::platform::clock::chance;
use crate::platform::config;
use crate::wire::ids::Did;

/// R23 `GET /api/subscribe`: the events socket. A DID always lands on the same gateway; a socket
/// without one on any.
pub(super) async fn subscribe(call: &Call) -> Answer {
    if !call.header("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket")) {
        return Err(ApiError::BadRequest("this path takes a WebSocket upgrade"));
    }
    if call.query.optional("community").is_some() {
        return Err(ApiError::Invalid("community: this build serves no observers".into()));
    }
    let sockets = config::sockets(&call.env);
    let did = acts_for(call, sockets.open)?;
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
    Ok(Object::Gateway.stub(&call.env, &name)?.fetch_with_request(request).await?)
}

/// The one place where a socket learns whom it acts for (X05–X07):
///   1. a malformed `did` is refused;
///   2. a proof is refused: this build knows none (X04: while `SERVICE_DID` is unset every JWT
///      is refused);
///   3. in `open` mode the socket acts for `did`, unproven;
///   4. in `verified` mode, without a proof, for nobody.
fn acts_for(call: &Call, open: bool) -> Result<Option<Did>, ApiError> {
    let did = call.query.optional_did("did")?;
    let offered = call.header("sec-websocket-protocol").unwrap_or_default();
    if call.query.optional("auth").is_some() || offered.contains("colibri.auth.bearer") {
        return Err(ApiError::AuthRequired("the proof cannot be verified"));
    }
    Ok(did.filter(|_| open))
}
