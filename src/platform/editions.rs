//! The object that knows the editions of the index (`domain::editions`): asking it, and telling it
//! of changes. One call each, with what is said in the address and in a header: both are part of
//! nearly every read, and of every commit that shows.

use worker::{Env, Response};

use crate::domain::editions::{Edition, Parts};
use crate::platform::log;
use crate::platform::objects::{EDITIONS, Object};
use crate::storage::Fault;

/// The header of its answers: an [`Edition`], or the number of a change.
pub const ANSWER: &str = "edition";

/// What the object is asked, as paths.
pub mod paths {
    /// For the [`Edition`](super::Edition) at this moment.
    pub const NOW: &str = "/now";
    /// Parts (`parts`) are about to change. Repeated, it is another change.
    pub const BEGIN: &str = "/begin";
    /// A change (`change`) of parts (`parts`) is over. Idempotent.
    pub const END: &str = "/end";
}

/// The edition at this moment.
pub async fn now(env: &Env) -> Result<Edition, Fault> {
    let text = ask(env, paths::NOW).await?;
    text.parse().map_err(|()| Fault::new("asking for the edition", text))
}

/// A change under way. Dropped without [`Change::end`], it lasts until the object gives it up: of
/// a commit that failed nobody knows whether it will happen yet.
#[derive(Debug)]
pub struct Change {
    number: String,
    parts: Parts,
}

/// Says that these parts are about to change. Must come before the change, which must not happen
/// if this fails; `None` if nothing that shows is changed.
pub async fn begin(env: &Env, parts: Parts) -> Result<Option<Change>, Fault> {
    if parts.is_none() {
        return Ok(None);
    }
    let number = say(env, &format!("{}?parts={}", paths::BEGIN, parts.number())).await?;
    Ok(Some(Change { number, parts }))
}

impl Change {
    /// Says that the change is committed, or that it never will be.
    pub async fn end(self, env: &Env) {
        let path = format!("{}?change={}&parts={}", paths::END, self.number, self.parts.number());
        if let Err(fault) = say(env, &path).await {
            log::fault(&fault, "cached responses are not used for a minute");
        }
    }
}

/// As [`ask`], twice if need be: an object that was just moved answers the second time.
async fn say(env: &Env, path: &str) -> Result<String, Fault> {
    match ask(env, path).await {
        Ok(answer) => Ok(answer),
        Err(_) => ask(env, path).await,
    }
}

async fn ask(env: &Env, path: &str) -> Result<String, Fault> {
    let fault = |error: worker::Error| Fault::new("asking for the edition", error);
    let stub = Object::Editions.stub(env, EDITIONS)?;
    let response: Response =
        stub.fetch_with_str(&format!("https://do.internal{path}")).await.map_err(fault)?;
    let answer = response.headers().get(ANSWER).map_err(fault)?;
    answer.ok_or_else(|| Fault::new("asking for the edition", "it does not know what it is asked"))
}
