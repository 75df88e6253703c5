//! HTTP: the router as a table of contents, the parameters, the handlers, the errors.
//!
//! A handler's doc line is its route and rule. A bad value never reaches a handler's read: the
//! extractors of `params` refuse it first (H03).

mod cors;
mod error;
mod params;

mod communities;
mod health;
mod messages;
mod sockets;

use serde::Serialize;
use worker::{Env, Headers, Method, Request, Response, Result};

use error::ApiError;
use params::Query;

use crate::platform::d1::D1;
use crate::platform::{config, log};

/// Every route of the service.
async fn route(call: &Call) -> Answer {
    match call.path.as_str() {
        "/api/messages" => get(call, messages::page(call)).await, // R01
        "/api/message" => get(call, messages::one(call)).await,   // R02
        "/api/community" => get(call, communities::one(call)).await, // R07
        "/api/channels" => get(call, communities::channels(call)).await, // R12
        "/api/members" => get(call, communities::members(call)).await, // R14
        "/api/subscribe" => get(call, sockets::subscribe(call)).await, // R23
        "/api/health" => get(call, health::health(call)).await,
        _ => Err(ApiError::NotFound("there is nothing at this path")),
    }
}

/// What a handler answers.
type Answer = std::result::Result<Response, ApiError>;

/// A request, taken apart.
struct Call {
    request: Request,
    env: Env,
    path: String,
    query: Query,
}

impl Call {
    fn db(&self) -> std::result::Result<D1, ApiError> {
        Ok(D1::of(&self.env)?)
    }

    fn cdn(&self) -> String {
        config::cdn(&self.env)
    }

    fn header(&self, name: &str) -> Option<String> {
        self.request.headers().get(name).ok().flatten()
    }
}

/// Answers a request, whatever it is. A fault is logged here, once; the caller never sees it.
pub async fn answer(request: Request, env: Env) -> Result<Response> {
    let origins = config::allowed_origins(&env);
    let origin = request.headers().get("origin").ok().flatten();
    let method = request.method();
    let answer = if method == Method::Options {
        cors::preflight()
    } else {
        match request.url() {
            Ok(url) => {
                let (path, query) = (url.path().to_owned(), Query::of(&url));
                route(&Call { request, env, path, query }).await
            }
            Err(_) => Err(ApiError::BadRequest("the address cannot be read")),
        }
    };
    let response = match answer {
        Ok(response) => response,
        Err(error) => {
            if let ApiError::Fault(fault) = &error {
                log::fault(fault, "the caller is told to come back");
            }
            error.response()?
        }
    };
    // An upgrade is handed through as it came: its headers are the runtime's.
    if response.status_code() == 101 {
        return Ok(response);
    }
    let response = if method == Method::Head { without_body(response)? } else { response };
    cors::allow(response, &origins, origin.as_deref())
}

/// Runs `handler` for GET and HEAD (H09); every other method is refused with `Allow` (H03).
async fn get(call: &Call, handler: impl Future<Output = Answer>) -> Answer {
    match call.request.method() {
        Method::Get | Method::Head => handler.await,
        _ => Err(ApiError::MethodNotAllowed("GET, HEAD, OPTIONS")),
    }
}

/// 200 with a JSON body (H01).
fn json<T: Serialize>(body: &T) -> Answer {
    let text = serde_json::to_string(body).map_err(|_| ApiError::Internal)?;
    json_text(text, 200)
}

fn json_text(text: String, status: u16) -> Answer {
    let headers = Headers::new();
    headers.set("content-type", "application/json")?;
    Ok(Response::ok(text)?.with_status(status).with_headers(headers))
}

fn without_body(response: Response) -> Result<Response> {
    let headers = response.headers().clone();
    Ok(Response::empty()?.with_status(response.status_code()).with_headers(headers))
}
