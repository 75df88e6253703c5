//! `Identities`: looks up people whose identity is unknown or outdated.
//!
//! - Guarantee: everybody who becomes known, or whose identity changes, is looked up once (I50,
//!   K12); failures are retried with growing pauses and delay nobody else.
//! - Gates: none is needed. The due people are in D1 (`storage::identities`), and results are
//!   committed against the ledger; a second object would only repeat some of the work.
//! - Stored here: only the alarm.
//! - Commands: [`Look`]. Wakes on its alarm, which is set to when the next person is due. A quiet
//!   instance has none (K06).
//! - Ends: never.

pub mod commands;
mod lookup;

use std::cell::Cell;

use worker::{DurableObject, Env, Request, Response, Result, State, durable_object, wasm_bindgen};

use self::lookup::Next;
use crate::durable::identities::commands::Look;
use crate::durable::replies::Done;
use crate::platform::alarm::Alarm;
use crate::platform::clock::now;
use crate::platform::config::follow_log_level;
use crate::platform::incidents;
use crate::platform::log;
use crate::platform::objects::{Command, serve, unknown};
use crate::storage::Fault;
use crate::wire::time::Micros;

/// The alarm that is set before the work, in case the object dies, in milliseconds.
const AGAIN_MS: i64 = 60_000;

/// See the module.
#[durable_object(alarm)]
pub struct Identities {
    alarm: Alarm,
    env: Env,
    /// Whether a command arrived during the work.
    asked: Cell<bool>,
    /// The directory is not asked before then.
    rests_until: Cell<Option<Micros>>,
}

impl DurableObject for Identities {
    fn new(state: State, env: Env) -> Self {
        follow_log_level(&env);
        incidents::watch(&env);
        Self {
            alarm: Alarm::of(&state, "the next person who is due wakes the object"),
            env,
            asked: Cell::new(false),
            rests_until: Cell::new(None),
        }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        match request.path().trim_start_matches('/') {
            Look::NAME => {
                let look = async |_: Look| {
                    self.asked.set(true);
                    // While the directory rests, the alarm is set to the end of the rest.
                    match self.rests_until.get().filter(|until| *until > now()) {
                        Some(_) => Ok(Done {}),
                        None if self.alarm.ring_in(1).await => Ok(Done {}),
                        None => Err(Fault::new("setting the alarm", "it could not be set")),
                    }
                };
                serve(&mut request, look).await
            }
            _ => unknown(),
        }
    }

    async fn alarm(&self) -> Result<Response> {
        // The next alarm is set before the work: if the object dies, the work is repeated.
        self.alarm.ring_in(AGAIN_MS).await;
        self.asked.set(false);
        let next = lookup::look(&self.env).await.unwrap_or_else(|fault| {
            log::fault(&fault, "tried again within a minute");
            Next::At(Micros(now().0 + AGAIN_MS * 1000))
        });
        let until = |at: Micros| (at.millis() - now().millis()).max(1);
        self.rests_until.set(None);
        match next {
            Next::Rest(at) => {
                self.rests_until.set(Some(at));
                self.alarm.ring_in(until(at)).await;
            }
            // People who became due in the meantime may have been missed.
            _ if self.asked.get() => drop(self.alarm.ring_in(1).await),
            Next::At(at) => drop(self.alarm.ring_in(until(at)).await),
            Next::Nobody => self.alarm.delete().await,
        }
        Response::empty()
    }
}
