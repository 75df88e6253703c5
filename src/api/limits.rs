//! Rate limits (C14, H14).

use std::cell::RefCell;
use std::thread::LocalKey;

use worker::{Env, Request, Response, Result};

use super::error::ApiError;
use crate::domain::bucket::Size;
use crate::domain::budget::{Buckets, Budget, requests, sockets};
use crate::domain::ice::CREDENTIALS_PER_MIN;
use crate::platform::clock::now;
use crate::platform::{config, peer};
use crate::wire::ids::Did;

thread_local! {
    // Plain data: nothing here belongs to a request (platform facts 5.5).
    static ADDRESSES: RefCell<Buckets> = const { RefCell::new(Buckets::new()) };
    static OPENINGS: RefCell<Buckets> = const { RefCell::new(Buckets::new()) };
    static PEOPLE: RefCell<Buckets> = const { RefCell::new(Buckets::new()) };
    static CREDENTIALS: RefCell<Buckets> = const { RefCell::new(Buckets::new()) };
}

/// Counts a request for TURN credentials without proof (S22). Over the limit: the seconds until the
/// next one is allowed. Credentials cost money elsewhere, so this counts even where C14 is off.
pub(super) fn count_credentials(request: &Request, env: &Env) -> std::result::Result<(), i64> {
    let client = peer::client(request, env);
    let budget =
        CREDENTIALS.with_borrow_mut(|buckets| buckets.count(&client, requests(CREDENTIALS_PER_MIN), now()));
    budget.over.map_or(Ok(()), Err)
}

/// Counts a request of an address. `None` if there is no limit.
pub(super) fn count(request: &Request, env: &Env) -> Option<Budget> {
    let limit = config::rate_limit(env);
    if limit == 0 {
        return None;
    }
    let client = peer::client(request, env);
    Some(ADDRESSES.with_borrow_mut(|buckets| buckets.count(&client, requests(limit), now())))
}

/// Counts the opening of a socket, or refuses it.
pub(super) fn count_opening(request: &Request, env: &Env) -> std::result::Result<(), ApiError> {
    admit(&OPENINGS, &peer::client(request, env), sockets, env)
}

/// Counts a request of an authenticated person, from any address, or refuses it.
pub(super) fn count_person(did: &Did, env: &Env) -> std::result::Result<(), ApiError> {
    admit(&PEOPLE, did.as_str(), requests, env)
}

/// Takes from the bucket of `client`, or refuses; admits everything where C14 is off.
fn admit(
    buckets: &'static LocalKey<RefCell<Buckets>>,
    client: &str,
    size: fn(i64) -> Size,
    env: &Env,
) -> std::result::Result<(), ApiError> {
    let limit = config::rate_limit(env);
    if limit == 0 {
        return Ok(());
    }
    let budget = buckets.with_borrow_mut(|buckets| buckets.count(client, size(limit), now()));
    budget.over.map_or(Ok(()), |secs| Err(ApiError::RateLimited(secs)))
}

/// Adds the headers of H14.
pub(super) fn tell(response: &Response, budget: &Budget) -> Result<()> {
    let headers = response.headers();
    headers.set("ratelimit-limit", &budget.limit.to_string())?;
    headers.set("ratelimit-remaining", &budget.remaining.max(0).to_string())?;
    headers.set("ratelimit-reset", &budget.reset_secs.to_string())
}
