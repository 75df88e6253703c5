//! The pages: `/`, the sockets, the chat as an example of a client, and the console. `src/pages` has their sources, `npm run
//! build` their files; they are no part of the wasm.
//!
//! A page loads its script and its style from here and nothing from elsewhere; its policy allows no
//! inline script or style.

use super::error::ApiError;
use super::reply::tagged;
use super::{Answer, Call};
use crate::platform::{assets, config};

/// `GET /`.
pub(super) async fn home(call: &Call) -> Answer {
    document(call, "home", "'self'").await
}

/// `GET /docs/sockets`: the document of the sockets as a page.
pub(super) async fn sockets(call: &Call) -> Answer {
    document(call, "sockets", "'self'").await
}

/// `GET /asyncapi.json`: every frame of the sockets. `reference/asyncapi.json` is its source, and the tests of
/// [`super::reference`] compare it with the code.
pub(super) async fn sockets_document(call: &Call) -> Answer {
    let text = assets::text(&call.env, "asyncapi.json").await?;
    tagged(call, text.ok_or(ApiError::Internal)?, None)
}

/// `GET /demo/chat`. It signs in to the person's PDS, which may be anywhere.
pub(super) async fn chat(call: &Call) -> Answer {
    let insecure = config::outside(&call.env).reach.insecure;
    let is_plain =
        |host: &String| host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".:-[]".contains(&byte));
    let insecure: String =
        insecure.iter().filter(|host| is_plain(host)).map(|host| format!(" http://{host}")).collect();
    let sources = format!("'self' {} https:{insecure}", own_sockets(call)?);
    document(call, "chat", &sources).await
}

/// `GET /console`. Its requests carry the key that the operator types, so it connects to nothing else.
pub(super) async fn console(call: &Call) -> Answer {
    document(call, "console", &format!("'self' {}", own_sockets(call)?)).await
}

/// `GET /pages/{file}`: the script or the style of a page.
pub(super) async fn file(call: &Call) -> Answer {
    let kind = match call.segment.split_once('.') {
        Some((name, "js")) if is_name(name) => "text/javascript; charset=utf-8",
        Some((name, "css")) if is_name(name) => "text/css; charset=utf-8",
        _ => return Err(ApiError::NotFound("there is no such file")),
    };
    let text = assets::text(&call.env, &call.segment).await?;
    typed(call, text.ok_or(ApiError::NotFound("there is no such file"))?, kind)
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase())
}

/// A page that may connect to these sources only.
async fn document(call: &Call, name: &str, sources: &str) -> Answer {
    let text = assets::text(&call.env, &format!("{name}.html")).await?;
    let response = typed(call, text.ok_or(ApiError::Internal)?, "text/html; charset=utf-8")?;
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src {sources}; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    response.headers().set("content-security-policy", &policy)?;
    Ok(response)
}

fn typed(call: &Call, text: String, kind: &str) -> Answer {
    let response = tagged(call, text, None)?;
    if response.status_code() == 200 {
        response.headers().set("content-type", kind)?;
    }
    Ok(response)
}

/// The addresses of this service's sockets as sources of a policy: some browsers do not apply
/// `'self'` to a socket.
pub(super) fn own_sockets(call: &Call) -> Result<String, ApiError> {
    let url = call.request.url()?;
    let host = url.host_str().ok_or(ApiError::BadRequest("the address has no host"))?;
    let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    Ok(format!("ws://{host} wss://{host}"))
}
