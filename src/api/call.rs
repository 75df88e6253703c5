//! A request in parsed form: everything that a handler reads.

use std::cell::RefCell;
use std::rc::Rc;

use worker::{ByteStream, Context, Env, Request};

use super::error::ApiError;
use super::limits::Spends;
use super::params::Query;
use super::{body, members_only, response_cache};
use crate::domain::hosts::place_of;
use crate::platform::d1::D1;
use crate::platform::{config, outbound};
use crate::storage::reads::members_only::About;

/// A request in parsed form.
pub(super) struct Call {
    pub(super) request: Request,
    pub(super) env: Env,
    pub(super) context: Context,
    pub(super) query: Query,
    /// What of the path matches the braces of the route, as sent, with slashes between.
    pub(super) segment: String,
    /// The methods that a token for this route may name (X09).
    pub(super) methods: &'static [&'static str],
    /// The body, until it is read.
    pub(super) stream: RefCell<Option<ByteStream>>,
    /// What the response cache stores of the answer.
    pub(super) keeps: Rc<response_cache::Keeps>,
    /// Whose budget it spends (C14).
    pub(super) spends: Spends,
    /// Whether the caller may read what is for members only.
    pub(super) door: Rc<members_only::Door>,
}

impl Call {
    pub(super) fn db(&self) -> std::result::Result<D1, ApiError> {
        Ok(D1::of(&self.env)?.noting(self.keeps.shows()))
    }

    /// The database for a read about something of one community: what is for members only comes to
    /// nobody else (X41).
    pub(super) fn db_about(&self, about: About) -> std::result::Result<members_only::Guarded, ApiError> {
        Ok(members_only::Guarded::new(self.db()?, D1::of(&self.env)?, &about, &self.door, &self.keeps))
    }

    /// The hosts that this request may contact. Handlers get them only here, so that no request
    /// leads back to this service (R21.7): neither to the address of this request, nor, for a
    /// request from another service of this kind, to any host.
    pub(super) fn outside(&self) -> std::result::Result<config::Outside, ApiError> {
        if self.header("user-agent").is_some_and(|agent| outbound::is_ours(&agent)) {
            return Err(ApiError::Forbidden(
                "a request of another colibri-edge is refused; it must ask the source itself",
            ));
        }
        let mut outside = config::outside(&self.env);
        outside.reach.own.extend(self.request.url().ok().as_ref().and_then(place_of));
        Ok(outside)
    }

    pub(super) fn cdn(&self) -> String {
        config::cdn(&self.env)
    }

    /// The body, read to its end (H08).
    pub(super) async fn body(&self) -> std::result::Result<body::Body, ApiError> {
        let stream = self.stream.take();
        body::read(stream).await
    }

    /// Runs `work` after the caller has received the answer.
    pub(super) fn after_answer(&self, work: impl Future<Output = ()> + 'static) {
        self.context.wait_until(work);
    }

    pub(super) fn header(&self, name: &str) -> Option<String> {
        self.request.headers().get(name).ok().flatten()
    }
}
