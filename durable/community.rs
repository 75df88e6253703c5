//! `Community`: the order of one community's events, and their log.
//!
//! - Guarantee: `seq` is strictly increasing, never reused, and every event gets one, once
//!   (T14). Commits of this object's SQLite give it: numbers, log and the mark of what came in
//!   are written without an await between them, so they are stored together.
//! - Gates: storage is synchronous; what is sent out waits until it is durable. Calls to
//!   gateways are not covered by any gate, so how far a gateway is stands in the database and is
//!   read again after each call.
//! - Stored: `storage::community_log`, `storage::bound_rooms`.
//! - Commands: [`Announce`], [`Attach`], [`Replay`], [`Bind`].
//! - Wakes on a command, and on its alarm: to deliver what a gateway has not had, to ask voice
//!   rooms that could not be reached, and to forget old events. Ends when the log is empty and nobody listens; the counters stay, for a `seq`
//!   is never given twice.

use std::rc::Rc;

use worker::{
    DurableObject, Env, Error, Request, Response, Result, State, WebSocket, WebSocketIncomingMessage,
    durable_object, wasm_bindgen,
};

use super::commands::{Announce, Attach, Bind, Command, Replay, read, reply, unknown};
use super::order::Order;

/// See the module.
#[durable_object]
pub struct Community {
    order: Rc<Order>,
}

impl DurableObject for Community {
    fn new(state: State, env: Env) -> Self {
        Self { order: Rc::new(Order::new(state, env)) }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        let order = &self.order;
        match request.path().trim_start_matches('/') {
            Announce::NAME => {
                let result =
                    read::<Announce>(&mut request).await.and_then(|command| order.announce(&command));
                if result.is_ok() {
                    order.deliver_soon().await;
                }
                reply::<Announce>(result)
            }
            Bind::NAME => {
                reply::<Bind>(read::<Bind>(&mut request).await.and_then(|command| order.bind(&command)))
            }
            Attach::NAME => {
                reply::<Attach>(read::<Attach>(&mut request).await.and_then(|command| order.attach(&command)))
            }
            Replay::NAME => {
                reply::<Replay>(read::<Replay>(&mut request).await.and_then(|command| order.replay(&command)))
            }
            _ => unknown(),
        }
    }

    async fn alarm(&self) -> Result<Response> {
        self.order.tidy().await;
        Response::empty()
    }

    // It holds no sockets yet; written all the same, because a handler that is missing panics
    // (platform facts T4).
    async fn websocket_message(&self, _: WebSocket, _: WebSocketIncomingMessage) -> Result<()> {
        Ok(())
    }

    async fn websocket_close(&self, _: WebSocket, _: usize, _: String, _: bool) -> Result<()> {
        Ok(())
    }

    async fn websocket_error(&self, _: WebSocket, _: Error) -> Result<()> {
        Ok(())
    }
}
