//! Rate limits (C14, H14).

use std::cell::RefCell;

use worker::{Env, Request, Response, Result};

use super::authority;
use crate::domain::budget::{Budget, Minute};
use crate::domain::ice::CREDENTIALS_PER_MIN;
use crate::platform::clock::now;
use crate::platform::{config, peer};

thread_local! {
    // Plain data: nothing here belongs to a request (platform facts 5.5).
    static MINUTE: RefCell<Minute> = const { RefCell::new(Minute::new()) };
    static CREDENTIALS: RefCell<Minute> = const { RefCell::new(Minute::new()) };
}

/// Counts a request for TURN credentials by somebody unproven (S22). One too many: in how many
/// seconds the next is welcome. It costs money elsewhere, so it counts also where C14 is off.
pub(super) fn count_credentials(request: &Request, env: &Env) -> std::result::Result<(), i64> {
    let client = peer::client(request, env);
    let budget = CREDENTIALS.with_borrow_mut(|minute| minute.count(&client, CREDENTIALS_PER_MIN, now()));
    if budget.remaining < 0 { Err(budget.reset_secs) } else { Ok(()) }
}

/// Counts a request. `None`: there is no limit, or none for this caller.
pub(super) fn count(request: &Request, env: &Env) -> Option<Budget> {
    let limit = config::rate_limit(env);
    if limit == 0 || authority::shows_key(request, env) {
        return None;
    }
    let client = peer::client(request, env);
    Some(MINUTE.with_borrow_mut(|minute| minute.count(&client, limit, now())))
}

/// Adds the headers of H14.
pub(super) fn tell(response: &Response, budget: &Budget) -> Result<()> {
    let headers = response.headers();
    headers.set("ratelimit-limit", &budget.limit.to_string())?;
    headers.set("ratelimit-remaining", &budget.remaining.max(0).to_string())?;
    headers.set("ratelimit-reset", &budget.reset_secs.to_string())
}
