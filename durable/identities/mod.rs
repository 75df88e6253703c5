//! `Identities`: looks at people whose identity is not known, or not any more.
//!
//! - Guarantee: whoever the index comes to know, and whose identity changes, is looked at once
//!   (I50, K12); failures are tried again with growing pauses and keep nobody else waiting.
//! - Gates: none is needed. Who is due stands in D1 (`storage::identities`), and what is found is
//!   committed over the ledger; two objects at work would only do some of it twice.
//! - Stored here: nothing but the alarm.
//! - Commands: [`Look`]. Wakes on its alarm, which stands at the time when somebody is due. A
//!   quiet instance has none (K06).
//! - Ends: never.

pub mod commands;
mod lookup;

use std::cell::Cell;

use worker::{DurableObject, Env, Request, Response, Result, State, durable_object, wasm_bindgen};

use self::lookup::Next;
use crate::durable::identities::commands::Look;
use crate::durable::replies::Done;
use crate::platform::clock::now;
use crate::platform::config::follow_log_level;
use crate::platform::incidents;
use crate::platform::log;
use crate::platform::objects::{Command, serve, unknown};
use crate::storage::Fault;
use crate::wire::time::Micros;

/// The alarm set before the work, should the work die, in milliseconds.
const AGAIN_MS: i64 = 60_000;

/// See the module.
#[durable_object(alarm)]
pub struct Identities {
    state: State,
    env: Env,
    /// Asked to look while at work.
    asked: Cell<bool>,
    /// The directory is left alone until then.
    rests_until: Cell<Option<Micros>>,
}

impl DurableObject for Identities {
    fn new(state: State, env: Env) -> Self {
        follow_log_level(&env);
        incidents::watch(&env);
        Self { state, env, asked: Cell::new(false), rests_until: Cell::new(None) }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        match request.path().trim_start_matches('/') {
            Look::NAME => {
                let look = async |_: Look| {
                    self.asked.set(true);
                    // While the directory rests, the alarm stands at the end of that.
                    match self.rests_until.get().filter(|until| *until > now()) {
                        Some(_) => Ok(Done {}),
                        None => self.wake_in(1).await.map(|()| Done {}),
                    }
                };
                serve(&mut request, look).await
            }
            _ => unknown(),
        }
    }

    async fn alarm(&self) -> Result<Response> {
        // The next alarm before the work: should the work die, it is done again.
        let again = self.wake_in(AGAIN_MS).await;
        self.asked.set(false);
        let next = lookup::look(&self.env).await.unwrap_or_else(|fault| {
            log::fault(&fault, "tried again within a minute");
            Next::At(Micros(now().0 + AGAIN_MS * 1000))
        });
        let until = |at: Micros| (at.millis() - now().millis()).max(1);
        self.rests_until.set(None);
        let done = match next {
            Next::Rest(at) => {
                self.rests_until.set(Some(at));
                self.wake_in(until(at)).await
            }
            // Who became due meanwhile was perhaps not seen.
            _ if self.asked.get() => self.wake_in(1).await,
            Next::At(at) => self.wake_in(until(at)).await,
            Next::Nobody => self.sleep().await,
        };
        if let Err(fault) = again.and(done) {
            log::fault(&fault, "the next person who is due wakes the object");
        }
        Response::empty()
    }
}

impl Identities {
    async fn wake_in(&self, millis: i64) -> std::result::Result<(), Fault> {
        let set = self.state.storage().set_alarm(millis).await;
        set.map_err(|error| Fault::new("setting the alarm", error))
    }

    async fn sleep(&self) -> std::result::Result<(), Fault> {
        let gone = self.state.storage().delete_alarm().await;
        gone.map_err(|error| Fault::new("deleting the alarm", error))
    }
}
