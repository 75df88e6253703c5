//! Rate limits (C14, H14): what `domain::spending` decides, for the requests of this isolate.

use std::cell::RefCell;
use std::rc::Rc;

use worker::{Env, Headers, Request, Result};

use super::authority;
use super::error::ApiError;
use crate::domain::budget::{Buckets, requests};
use crate::domain::ice::CREDENTIALS_PER_MIN;
use crate::domain::spending::{Over, Purse, Spending};
use crate::platform::clock::now;
use crate::platform::{config, peer};
use crate::wire::ids::Did;

thread_local! {
    // Plain data: nothing here belongs to a request (platform facts 5.5).
    static PURSE: RefCell<Purse> = const { RefCell::new(Purse::new()) };
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

/// What a request spends; nothing where C14 is off, or if it shows the API key (H14).
#[derive(Clone, Default)]
pub(super) struct Spends(Rc<RefCell<Option<Spending>>>);

impl Spends {
    /// A request comes in, and takes from its address.
    pub(super) fn of(request: &Request, env: &Env) -> Self {
        let limit = config::rate_limit(env);
        if limit == 0 || authority::shows_key(request, env) {
            return Self::default();
        }
        let address = peer::client(request, env);
        let may_prove = || authority::may_prove(request, env);
        let spending = PURSE.with_borrow_mut(|purse| purse.enter(limit, address, may_prove, now()));
        Self(Rc::new(RefCell::new(Some(spending))))
    }

    /// Refuses a request whose address has nothing left, unless it shows a proof that is not verified yet.
    pub(super) fn admit(&self) -> std::result::Result<(), ApiError> {
        if self.is_in_doubt() { Ok(()) } else { self.refuse() }
    }

    /// Whether a proof must hold before anything is answered ([`authority::settle`]).
    pub(super) fn is_in_doubt(&self) -> bool {
        self.0.borrow().as_ref().is_some_and(Spending::is_in_doubt)
    }

    /// Refuses a request whose address has nothing left.
    pub(super) fn refuse(&self) -> std::result::Result<(), ApiError> {
        Ok(self.0.borrow().as_ref().map_or(Ok(()), Spending::refused)?)
    }

    /// The request opens a socket.
    pub(super) fn opens_a_socket(&self) {
        if let Some(spending) = self.0.borrow_mut().as_mut() {
            spending.opens_a_socket();
        }
    }

    /// The request claims that `did` asks, which is not verified yet: refused where that person has nothing left.
    pub(super) fn claim(&self, did: &Did) -> std::result::Result<(), ApiError> {
        self.spend(|purse, spending| purse.claim(spending, did, now()))
    }

    /// The request proves that `did` asks: they pay, or are refused.
    pub(super) fn prove(&self, did: &Did) -> std::result::Result<(), ApiError> {
        self.spend(|purse, spending| purse.prove(spending, did, now()))
    }

    /// The request proves nothing: its address pays for the socket that it opens, or it is refused.
    pub(super) fn prove_nothing(&self) -> std::result::Result<(), ApiError> {
        self.spend(|purse, spending| purse.open(spending, now()))
    }

    fn spend(
        &self,
        take: impl FnOnce(&mut Purse, &mut Spending) -> std::result::Result<(), Over>,
    ) -> std::result::Result<(), ApiError> {
        let mut spending = self.0.borrow_mut();
        let Some(spending) = spending.as_mut() else { return Ok(()) };
        Ok(PURSE.with_borrow_mut(|purse| take(purse, spending))?)
    }

    /// Adds the headers of H14.
    pub(super) fn set_headers(&self, headers: &Headers) -> Result<()> {
        let Some(budget) = self.0.borrow().as_ref().map(Spending::budget) else { return Ok(()) };
        headers.set("ratelimit-limit", &budget.limit.to_string())?;
        headers.set("ratelimit-remaining", &budget.remaining.max(0).to_string())?;
        headers.set("ratelimit-reset", &budget.reset_secs.to_string())
    }
}
