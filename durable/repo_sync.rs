//! `RepoSync`: the queue and the budget of one PDS host.
//!
//! An empty shell: the class and its binding exist so that its namespace is created with the
//! first deployment. It answers every request with 404 and holds nothing.

use worker::{DurableObject, Env, Request, Response, Result, State, durable_object, wasm_bindgen};

use super::commands::unknown;

/// See the module. One object per host.
#[durable_object(fetch)]
pub struct RepoSync {}

impl DurableObject for RepoSync {
    fn new(_: State, _: Env) -> Self {
        Self {}
    }

    async fn fetch(&self, _: Request) -> Result<Response> {
        unknown()
    }
}
