//! `VoiceRoom`: the peers of one signaling room.
//!
//! An empty shell: the class and its binding exist so that its namespace is created with the
//! first deployment. It answers every request with 404 and holds nothing.

use worker::{DurableObject, Env, Request, Response, Result, State, durable_object, wasm_bindgen};

use super::commands::unknown;

/// See the module. One object per room.
#[durable_object(fetch)]
pub struct VoiceRoom {}

impl DurableObject for VoiceRoom {
    fn new(_: State, _: Env) -> Self {
        Self {}
    }

    async fn fetch(&self, _: Request) -> Result<Response> {
        unknown()
    }
}
