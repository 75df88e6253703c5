//! The DID document of this service, if its DID is a `did:web` (X11).

use serde::Serialize;

use super::reply::shown;
use super::{Answer, Call, error::ApiError};
use crate::domain::secrets::is_test_stream;
use crate::platform::config;

/// The entries in the document, by the name that `atproto-proxy` has, and their types (N154).
const SERVICES: [(&str, &str); 2] =
    [("#colibri_appview", "ColibriAppView"), ("#colibri_notif", "ColibriNotificationService")];

/// The document.
#[derive(Serialize)]
pub(super) struct Document {
    #[serde(rename = "@context")]
    pub(super) context: [&'static str; 1],
    pub(super) id: String,
    pub(super) service: [Service; 2],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Service {
    pub(super) id: &'static str,
    pub(super) r#type: &'static str,
    pub(super) service_endpoint: String,
}

impl Document {
    /// The document for this DID and this address.
    pub(super) fn new(did: String, service_endpoint: String) -> Self {
        let entry = |(id, r#type)| Service { id, r#type, service_endpoint: service_endpoint.clone() };
        Self { context: ["https://www.w3.org/ns/did/v1"], id: did, service: SERVICES.map(entry) }
    }
}

/// `GET /.well-known/did.json`: the document of `SERVICE_DID`. A `did:plc` has its document in the
/// directory instead. `localhost` has no TLS.
pub(super) async fn document(call: &Call) -> Answer {
    let did = config::service_did(&call.env);
    let host = did.as_ref().and_then(config::web_host);
    let (Some(did), Some(host)) = (did, host) else {
        return Err(ApiError::NotFound("this server has no did:web"));
    };
    let scheme = if is_test_stream(&format!("ws://{host}")) { "http" } else { "https" };
    shown(call, &Document::new(did.to_string(), format!("{scheme}://{host}")))
}
