//! `Jetstream`: reads the stream and commits it.
//!
//! - Guarantee: every event of the stream takes effect once, in order (J03). The database ensures
//!   it: data, events and cursor are one transaction (`storage::commit`).
//! - Gates: none is needed. One loop commits batches (`flushing`), and a second object would lose
//!   against the ledger version.
//! - Stored here: nothing. The cursor is in D1, in the transaction of its data.
//! - Commands: [`Decide`], sent for each decision of a moderator (`decisions`); [`Ensure`], sent after a
//!   commit by others (repositories, identities), after an erasure, by cron and by `/api/health`; the
//!   operator's [`Reconnect`]. An alarm wakes it at least every 25 s, because an outbound
//!   socket alone does not keep an object in memory (platform facts T1).
//! - Ends: never.

mod batches;
mod callers;
pub mod commands;
mod connection;
mod consumer;
mod decisions;
mod delivery;
mod erasing;
mod sweep;

use std::rc::Rc;

use worker::{
    DurableObject, Env, Error, Request, Response, Result, State, WebSocket, WebSocketIncomingMessage,
    durable_object, wasm_bindgen,
};

use self::consumer::Consumer;
use crate::durable::jetstream::commands::{Decide, Ensure};
use crate::durable::operator::Reconnect;
use crate::durable::replies::Done;
use crate::platform::config::follow_log_level;
use crate::platform::incidents;
use crate::platform::objects::{Command, serve, unknown};

/// The longest time between two alarms.
pub(super) const ALARM_MS: i64 = 25_000;
/// See the module.
#[durable_object]
pub struct Jetstream {
    consumer: Rc<Consumer>,
}

impl DurableObject for Jetstream {
    fn new(state: State, env: Env) -> Self {
        follow_log_level(&env);
        incidents::watch(&env);
        Self { consumer: Rc::new(Consumer::new(&state, env)) }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        match request.path().trim_start_matches('/') {
            Ensure::NAME => {
                let ensure = async |_: Ensure| {
                    self.consumer.ensure().await;
                    Ok(self.consumer.status())
                };
                serve(&mut request, ensure).await
            }
            Decide::NAME => {
                let decide = async |Decide { decision }| self.consumer.decide(decision).await;
                serve(&mut request, decide).await
            }
            Reconnect::NAME => {
                let reconnect = async |_: Reconnect| {
                    self.consumer.reconnect().await;
                    Ok(Done {})
                };
                serve(&mut request, reconnect).await
            }
            _ => unknown(),
        }
    }

    async fn alarm(&self) -> Result<Response> {
        // The next alarm is set before the work: if the object dies, the work is repeated.
        self.consumer.wake_within(ALARM_MS).await;
        self.consumer.ensure().await;
        Response::empty()
    }

    // It holds no hibernating sockets; this exists because a missing handler panics (platform facts
    // T4).
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
