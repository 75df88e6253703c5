//! The client of the `Editions` object (`domain::editions`): reads the edition, and announces
//! changes. Each is one call whose contents are in the path and a header, because nearly every read
//! and every visible commit makes one.

use worker::{Env, Response};

use crate::domain::editions::{Edition, Parts};
use crate::domain::fault_code::Code;
use crate::platform::log;
use crate::platform::objects::{EDITIONS, Object};
use crate::storage::Fault;

/// The header of the object's answers: an [`Edition`], or the number of a change.
pub const ANSWER: &str = "edition";

/// The paths of the object.
pub mod paths {
    /// Returns the [`Edition`](super::Edition) of this moment.
    pub const NOW: &str = "/now";
    /// Some `parts` are about to change. Repeating it announces another change.
    pub const BEGIN: &str = "/begin";
    /// A `change` of `parts` is over. Idempotent.
    pub const END: &str = "/end";
}

/// The edition of this moment.
pub async fn now(env: &Env) -> Result<Edition, Fault> {
    let text = ask(env, paths::NOW).await?;
    text.parse().map_err(|()| Fault::coded(Code::Object, "asking for the edition", text))
}

/// A change in progress. If dropped without [`Change::end`], it lasts until the object times it
/// out: a failed commit may still happen.
#[derive(Debug)]
pub struct Change {
    number: String,
    parts: Parts,
}

/// Announces that these parts are about to change. It must come before the change, which must not
/// happen if this fails. `None` if nothing visible changes.
pub async fn begin(env: &Env, parts: Parts) -> Result<Option<Change>, Fault> {
    if parts.is_none() {
        return Ok(None);
    }
    let number = say(env, &format!("{}?parts={}", paths::BEGIN, parts.number())).await?;
    Ok(Some(Change { number, parts }))
}

impl Change {
    /// Announces that the change is committed, or that it never will be.
    pub async fn end(self, env: &Env) {
        let path = format!("{}?change={}&parts={}", paths::END, self.number, self.parts.number());
        if let Err(fault) = say(env, &path).await {
            log::fault(&fault, "cached responses are not used for a minute");
        }
    }
}

/// As [`ask`], with one retry: an object that was just moved answers the second time.
async fn say(env: &Env, path: &str) -> Result<String, Fault> {
    match ask(env, path).await {
        Ok(answer) => Ok(answer),
        Err(_) => ask(env, path).await,
    }
}

async fn ask(env: &Env, path: &str) -> Result<String, Fault> {
    let fault = |error: worker::Error| Fault::coded(Code::Object, "asking for the edition", error);
    let stub = Object::Editions.stub(env, EDITIONS)?;
    let response: Response =
        stub.fetch_with_str(&format!("https://do.internal{path}")).await.map_err(fault)?;
    let answer = response.headers().get(ANSWER).map_err(fault)?;
    answer
        .ok_or_else(|| Fault::coded(Code::Object, "asking for the edition", "it does not know this request"))
}
