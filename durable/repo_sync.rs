//! `RepoSync`: looks after the repositories of one PDS host, politely.
//!
//! - Guarantee: a repository that is due is read until it succeeds; at most two requests to the
//!   host at a time (K07). One object for each host gives it.
//! - Gates: none is needed. Which repositories are being read is noted without an await in between,
//!   and each is let in through commits that bear repetition.
//! - Stored here: nothing. The queue stands in D1 (`repos`), with the data it is about.
//! - Commands: [`Work`]. Wakes on its alarm: while it works every 25 s, then when something is next
//!   due. One instance, [`DISPATCH`], finds the hosts of repositories that have none yet and wakes
//!   theirs.
//! - Ends: when nothing is due there is no alarm.

use std::rc::Rc;

use worker::{DurableObject, Env, Request, Response, Result, State, durable_object, wasm_bindgen};

use super::commands::{Command, Done, Work, read, reply, unknown};
use super::host::Host;
use crate::platform::config::follow_log_level;

/// See the module. One object per host.
#[durable_object(alarm)]
pub struct RepoSync {
    host: Rc<Host>,
}

impl DurableObject for RepoSync {
    fn new(state: State, env: Env) -> Self {
        follow_log_level(&env);
        Self { host: Rc::new(Host::new(state, env)) }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        match request.path().trim_start_matches('/') {
            Work::NAME => {
                let result = match read::<Work>(&mut request).await {
                    Ok(_) => {
                        self.host.work().await;
                        Ok(Done {})
                    }
                    Err(fault) => Err(fault),
                };
                reply::<Work>(result)
            }
            _ => unknown(),
        }
    }

    async fn alarm(&self) -> Result<Response> {
        self.host.work().await;
        Response::empty()
    }
}
