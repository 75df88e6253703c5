//! Errors of a request, and their responses (H02, H20). The only type that knows HTTP statuses.

use serde_json::json;
use worker::{Response, Result};

use crate::domain::service_auth::Refusal;
use crate::domain::spending::Over;
use crate::storage::Fault;
use crate::wire::ids::Did;

/// Why a request failed: the table H20, in its order. Messages are plain sentences that name the
/// field they are about (H02).
#[derive(Debug)]
#[allow(dead_code, reason = "the table is whole, whatever the handlers of a build make use of")]
pub(super) enum ApiError {
    /// 400: a body that is not JSON, a bad header, or a missing upgrade.
    BadRequest(&'static str),
    /// 422: a missing or invalid parameter or field.
    Invalid(String),
    /// 400: a state that the lexicon does not have (N160p).
    InvalidState(&'static str),
    /// 401: a key or proof is missing or wrong.
    AuthRequired(&'static str),
    /// 401: an invalid service-auth token (X04).
    NoProof(Refusal),
    /// 403: authenticated, but not allowed.
    Forbidden(&'static str),
    /// 403: a function that this service does not have (N174).
    NotEnabled(&'static str),
    /// 421: another service writes the community's repository (N173), which the answer names.
    NotHub(Did),
    /// 404: unknown path or resource.
    NotFound(&'static str),
    /// 405, with the value of `Allow`.
    MethodNotAllowed(String),
    /// 410: it existed and can no longer be used.
    Gone(&'static str),
    /// 413: a body over 64 KiB.
    PayloadTooLarge,
    /// 416, with the value of `Content-Range`, if the size is known.
    InvalidRange(Option<String>),
    /// 429, with the seconds until the next request is welcome.
    RateLimited(i64),
    /// 500: a guarded endpoint while its key or secret is not configured (X02).
    NotConfigured(&'static str),
    /// 500: a defect.
    Internal,
    /// 502: a PDS, the PLC directory or the profile API failed or sent an invalid answer.
    Upstream(&'static str),
    /// 503: the database, network or platform failed. The details are never shown.
    Fault(Fault),
}

impl From<Fault> for ApiError {
    fn from(fault: Fault) -> Self {
        ApiError::Fault(fault)
    }
}

impl From<Over> for ApiError {
    fn from(Over(seconds): Over) -> Self {
        ApiError::RateLimited(seconds)
    }
}

impl From<worker::Error> for ApiError {
    fn from(error: worker::Error) -> Self {
        ApiError::Fault(Fault::new("answering a request", error))
    }
}

impl ApiError {
    /// Status, code and message.
    pub(super) fn parts(&self) -> (u16, &'static str, &str) {
        match self {
            ApiError::BadRequest(sentence) => (400, "InvalidRequest", sentence),
            ApiError::Invalid(sentence) => (422, "InvalidRequest", sentence),
            ApiError::InvalidState(sentence) => (400, "InvalidState", sentence),
            ApiError::AuthRequired(sentence) => (401, "AuthRequired", sentence),
            ApiError::NoProof(refusal) => (401, "AuthRequired", refusal.sentence()),
            ApiError::Forbidden(sentence) => (403, "Forbidden", sentence),
            ApiError::NotEnabled(sentence) => (403, "NotEnabled", sentence),
            ApiError::NotFound(sentence) => (404, "NotFound", sentence),
            ApiError::MethodNotAllowed(_) => (405, "MethodNotAllowed", "this path does not take this method"),
            ApiError::Gone(sentence) => (410, "Gone", sentence),
            ApiError::PayloadTooLarge => (413, "PayloadTooLarge", "the body is larger than 64 KiB"),
            ApiError::InvalidRange(_) => (416, "InvalidRange", "the range lies outside of the blob"),
            ApiError::NotHub(_) => {
                (421, "NotCommunityHub", "another service writes this community's repository")
            }
            ApiError::RateLimited(_) => (429, "RateLimited", "too many requests, slow down"),
            ApiError::NotConfigured(sentence) => (500, "NotConfigured", sentence),
            ApiError::Internal => (500, "InternalError", "the service made a mistake"),
            ApiError::Upstream(sentence) => (502, "UpstreamFailure", sentence),
            ApiError::Fault(_) => (503, "Unavailable", "the service is overloaded or recovering, try again"),
        }
    }

    /// Status, code and message as the clients of the lexicons expect them (N157).
    fn lexicon_parts(&self) -> (u16, &'static str, &str) {
        match self.parts() {
            (422, code, sentence) => (400, code, sentence),
            (410, _, sentence) => (404, "NotFound", sentence),
            (405, _, sentence) => (405, "InvalidRequest", sentence),
            (503, _, sentence) => (503, "UpstreamFailure", sentence),
            parts => parts,
        }
    }

    /// The response (H02), to a request for a method of the lexicons as these spell it.
    pub(super) fn response(&self, of_lexicon: bool) -> Result<Response> {
        let (status, code, message) = if of_lexicon { self.lexicon_parts() } else { self.parts() };
        let mut body = json!({ "error": code, "message": message });
        if let (ApiError::NotHub(hub), Some(fields)) = (self, body.as_object_mut()) {
            fields.insert("hub".into(), hub.as_str().into());
        }
        let response = Response::from_json(&body)?.with_status(status);
        let headers = response.headers();
        headers.set("cache-control", "no-store")?;
        match self {
            ApiError::MethodNotAllowed(allow) => headers.set("allow", allow)?,
            ApiError::AuthRequired(_) | ApiError::NoProof(_) => headers.set("www-authenticate", "Bearer")?,
            ApiError::InvalidRange(size) => {
                headers.set("content-range", size.as_deref().unwrap_or("bytes */*"))?;
            }
            ApiError::RateLimited(seconds) => headers.set("retry-after", &seconds.to_string())?,
            ApiError::Fault(_) => headers.set("retry-after", "1")?,
            _ => {}
        }
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// N157: the client knows a list of codes, and reads others by their status.
    #[test]
    fn n157_the_errors_of_the_lexicons() {
        for (error, expected) in [
            (ApiError::BadRequest("x"), (400, "InvalidRequest")),
            (ApiError::Invalid("x".into()), (400, "InvalidRequest")),
            (ApiError::AuthRequired("x"), (401, "AuthRequired")),
            (ApiError::Forbidden("x"), (403, "Forbidden")),
            (ApiError::NotFound("x"), (404, "NotFound")),
            (ApiError::Gone("x"), (404, "NotFound")),
            (ApiError::MethodNotAllowed("GET".into()), (405, "InvalidRequest")),
            (ApiError::RateLimited(1), (429, "RateLimited")),
            (ApiError::Internal, (500, "InternalError")),
            (ApiError::Upstream("x"), (502, "UpstreamFailure")),
            (Fault::new("testing", "nothing").into(), (503, "UpstreamFailure")),
        ] {
            let (status, code, sentence) = error.lexicon_parts();
            assert_eq!((status, code), expected, "{error:?}");
            assert!(!sentence.is_empty());
        }
    }
}
