//! What goes wrong with a request, and how it is answered (H02, H20). The one type that knows
//! HTTP statuses.

use serde_json::json;
use worker::{Response, Result};

use crate::storage::Fault;

/// Why a request is not answered with what it asked for.
#[derive(Debug)]
pub(super) enum ApiError {
    /// 400: a bad header, or no upgrade where one is needed.
    BadRequest(&'static str),
    /// 401: a proof is missing or wrong.
    AuthRequired(&'static str),
    /// 403: proven, but not allowed here.
    #[expect(dead_code, reason = "X07: the answer to a proof for another DID, once there are proofs")]
    Forbidden(&'static str),
    /// 404: unknown path or resource.
    NotFound(&'static str),
    /// 405, with what is allowed.
    MethodNotAllowed(&'static str),
    /// 422: a missing or invalid parameter, named in the sentence.
    Invalid(String),
    /// 500: a defect.
    Internal,
    /// 503: the world failed. Never shown.
    Fault(Fault),
}

impl From<Fault> for ApiError {
    fn from(fault: Fault) -> Self {
        ApiError::Fault(fault)
    }
}

impl From<worker::Error> for ApiError {
    fn from(error: worker::Error) -> Self {
        ApiError::Fault(Fault::new("answering a request", error))
    }
}

impl ApiError {
    fn parts(&self) -> (u16, &'static str, &str) {
        match self {
            ApiError::BadRequest(sentence) => (400, "InvalidRequest", sentence),
            ApiError::AuthRequired(sentence) => (401, "AuthRequired", sentence),
            ApiError::Forbidden(sentence) => (403, "Forbidden", sentence),
            ApiError::NotFound(sentence) => (404, "NotFound", sentence),
            ApiError::MethodNotAllowed(_) => (405, "MethodNotAllowed", "this path does not take this method"),
            ApiError::Invalid(sentence) => (422, "InvalidRequest", sentence),
            ApiError::Internal => (500, "InternalError", "the service made a mistake"),
            ApiError::Fault(_) => (503, "Unavailable", "the service is overloaded or recovering, try again"),
        }
    }

    /// The answer (H02).
    pub(super) fn response(&self) -> Result<Response> {
        let (status, code, message) = self.parts();
        let response =
            Response::from_json(&json!({ "error": code, "message": message }))?.with_status(status);
        let headers = response.headers();
        match self {
            ApiError::MethodNotAllowed(allow) => headers.set("allow", allow)?,
            ApiError::AuthRequired(_) => headers.set("www-authenticate", "Bearer")?,
            ApiError::Fault(_) => headers.set("retry-after", "1")?,
            _ => {}
        }
        Ok(response)
    }
}
