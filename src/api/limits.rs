//! Rate limits (C14, H14).

use std::cell::RefCell;

use sha2::{Digest as _, Sha256};
use worker::{Env, Request, Response, Result};

use crate::domain::budget::{Budget, Minute, client};
use crate::platform::clock::now;
use crate::platform::{config, peer};

thread_local! {
    // Plain data: nothing here belongs to a request (platform facts 5.5).
    static MINUTE: RefCell<Minute> = const { RefCell::new(Minute::new()) };
}

/// Counts a request. `None`: there is no limit, or none for this caller.
pub(super) fn count(request: &Request, env: &Env) -> Option<Budget> {
    let limit = config::rate_limit(env);
    if limit == 0 || has_key(request, env) {
        return None;
    }
    let named = request.headers().get("cf-connecting-ip").ok().flatten();
    let client = client(peer::of(request).as_deref(), named.as_deref());
    Some(MINUTE.with_borrow_mut(|minute| minute.count(&client, limit, now())))
}

/// Whether the caller shows the API key, which is not limited. Digests are compared, all of
/// them to their ends, so that time tells nothing about the key (X01).
fn has_key(request: &Request, env: &Env) -> bool {
    let given = request.headers().get("authorization").ok().flatten();
    let (Some(given), Some(key)) = (given, config::api_key(env)) else { return false };
    let Some(given) = given.strip_prefix("Bearer ") else { return false };
    let (given, key) = (Sha256::digest(given), Sha256::digest(key));
    given.iter().zip(key.iter()).fold(0, |differences, (one, other)| differences | (one ^ other)) == 0
}

/// Adds the headers of H14.
pub(super) fn tell(response: &Response, budget: &Budget) -> Result<()> {
    let headers = response.headers();
    headers.set("ratelimit-limit", &budget.limit.to_string())?;
    headers.set("ratelimit-remaining", &budget.remaining.max(0).to_string())?;
    headers.set("ratelimit-reset", &budget.reset_secs.to_string())
}
