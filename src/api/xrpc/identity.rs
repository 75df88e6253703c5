//! Handles and DIDs: N160a, N160q.

use serde::Serialize;
use serde_json::json;

use super::{Answer, Call};
use crate::api::error::ApiError;
use crate::api::identity;
use crate::api::reply::shown;
use crate::wire::ids::Did;

#[derive(Serialize)]
struct Resolved {
    did: Did,
}

/// N160a `com.atproto.identity.resolveHandle`: the DID to which a handle resolves. The sentence of the
/// refusal is the one by which sign-in libraries know that there is no such handle.
pub(in crate::api) async fn resolve_handle(call: &Call) -> Answer {
    let handle = call.query.handle("handle")?;
    match identity::leads_to(call, &handle).await? {
        Some(did) => shown(call, &Resolved { did }),
        None => Err(ApiError::BadRequest("Unable to resolve handle")),
    }
}

/// N160q `com.atproto.identity.resolveDid`: the document of a DID, as far as the service reads documents: the
/// handle that it claims, the key and the PDS, each under its full name.
pub(in crate::api) async fn resolve_did(call: &Call) -> Answer {
    let identity = identity::of_did(call, &call.query.did("did")?).await?;
    let did = identity.did.as_str();
    let key = identity.signing_key.iter().map(|key| {
        json!({ "id": format!("{did}#atproto"), "type": "Multikey", "controller": did, "publicKeyMultibase": key })
    });
    let pds = identity.pds.iter().map(|pds| {
        let endpoint = pds.as_str().trim_end_matches('/');
        json!({ "id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": endpoint })
    });
    let document = json!({
        "@context": ["https://www.w3.org/ns/did/v1", "https://w3id.org/security/multikey/v1"],
        "id": did,
        "alsoKnownAs": identity.handle.iter().map(|handle| format!("at://{handle}")).collect::<Vec<_>>(),
        "verificationMethod": key.collect::<Vec<_>>(),
        "service": pds.collect::<Vec<_>>(),
    });
    shown(call, &document)
}
