//! The account behind a DID or a handle.

use serde::Serialize;

use super::error::ApiError;
use super::params::Who;
use super::reply::shown;
use super::{Answer, Call};
use crate::domain::identity::{HandleStatus, Identity, Proof};
use crate::platform::identity::{self, Unresolved};
use crate::platform::{handles, log};
use crate::wire::handle::Handle;
use crate::wire::ids::Did;
use crate::wire::multikey::Multikey;
use crate::wire::time::Micros;

/// The body of `/api/identity`.
#[derive(Serialize)]
pub(super) struct Shown {
    pub(super) did: Did,
    /// Only if proven (O10).
    pub(super) handle: Option<Handle>,
    pub(super) handle_status: HandleStatus,
    /// Absent if the service must not contact it (R21.6).
    pub(super) pds: Option<String>,
    pub(super) signing_key: Option<Multikey>,
    /// When the document was fetched.
    pub(super) resolved_at: Option<String>,
}

impl From<Identity> for Shown {
    fn from(identity: Identity) -> Self {
        Self {
            handle: identity.proven_handle().cloned(),
            did: identity.did,
            handle_status: identity.handle_status,
            pds: identity.pds.map(|url| url.as_str().trim_end_matches('/').to_owned()),
            signing_key: identity.signing_key,
            resolved_at: identity.resolved_at.map(Micros::shown),
        }
    }
}

/// `GET /api/identity`: where an account is hosted, the key that signs for it, and whether its
/// handle is verified. A handle resolves to the DID that it names, whose document may by now claim
/// another one.
pub(super) async fn identity(call: &Call) -> Answer {
    let who = call.query.did_or_handle("id")?;
    let did = match who {
        Who::Did(did) => did,
        Who::Handle(handle) => match leads_to(call, &handle).await? {
            Some(did) => did,
            None => return Err(ApiError::NotFound("this handle resolves to no DID")),
        },
    };
    shown(call, &Shown::from(of_did(call, &did).await?))
}

/// The DID to which a handle resolves, if it does.
pub(super) async fn leads_to(call: &Call, handle: &Handle) -> Result<Option<Did>, ApiError> {
    match handles::lead_for_anybody(handle, &call.outside()?).await {
        Proof::Names(did) => Ok(Some(did)),
        Proof::Nothing => Ok(None),
        Proof::Failed => Err(ApiError::Upstream("this handle could not be resolved")),
    }
}

/// The handle of a person, if it is proven and can be found out now.
pub(super) async fn proven_handle(call: &Call, did: &Did) -> Option<Handle> {
    let (db, outside) = (call.db().ok()?, call.outside().ok()?);
    identity::identify_anybody(&db, did, &outside).await.ok()?.proven_handle().cloned()
}

/// The account behind a DID.
pub(super) async fn of_did(call: &Call, did: &Did) -> Result<Identity, ApiError> {
    let found = identity::identify_anybody(&call.db()?, did, &call.outside()?).await;
    found.map_err(|unresolved| refused(unresolved, "there is no such did"))
}

/// The error for a DID that does not resolve. `nobody` is the message if the DID does not exist.
pub(super) fn refused(unresolved: Unresolved, nobody: &'static str) -> ApiError {
    match unresolved {
        Unresolved::Nowhere => ApiError::NotFound(nobody),
        Unresolved::Busy => ApiError::RateLimited(1),
        Unresolved::Resting(_) => ApiError::Upstream("the DID directory is failing, try again in a minute"),
        Unresolved::Fault(fault) => {
            log::fault(&fault, "the caller gets an error");
            ApiError::Upstream("this did could not be resolved")
        }
    }
}
