//! `RepoSync`: reads the repositories of one PDS host, within its limits.
//!
//! - Guarantee: a due repository is read until that succeeds; at most two requests to the host at a
//!   time (K07). One object per host ensures it.
//! - Gates: none is needed. The set of repositories being read changes without an await in between,
//!   and repeating a commit of a repository changes nothing.
//! - Stored here: nothing. The queue is in D1 (`repos`), with the data it is about.
//! - Commands: [`Work`]. Wakes on its alarm: while it works every 25 s, then when something is next
//!   due. One instance, [`DISPATCH`], finds the hosts of repositories without one and wakes their
//!   objects. Another, [`RELAY`], discovers repositories through a relay, if one is configured; its
//!   alarm is set to the next page, or the next walk.
//! - Ends: when nothing is due there is no alarm, after at most one more ring.

pub mod commands;
mod dispatch;
mod host;
mod miss;
mod read;
mod relay_walk;

use std::rc::Rc;

use worker::{DurableObject, Env, Request, Response, Result, State, durable_object, wasm_bindgen};

use self::host::Host;
use self::relay_walk::Walker;
use crate::durable::replies::Done;
use crate::durable::repo_sync::commands::Work;
use crate::platform::config::follow_log_level;
use crate::platform::incidents;
use crate::platform::objects::{Command, RELAY, serve, unknown};

/// See the module. One object per host.
#[durable_object(alarm)]
pub struct RepoSync {
    task: Task,
}

/// The task of an instance.
enum Task {
    Read(Rc<Host>),
    Find(Rc<Walker>),
}

impl Task {
    async fn work(&self) {
        match self {
            Task::Read(host) => host.work().await,
            Task::Find(walker) => walker.work().await,
        }
    }

    async fn ring(&self) {
        match self {
            Task::Read(host) => host.ring().await,
            Task::Find(walker) => walker.work().await,
        }
    }
}

impl DurableObject for RepoSync {
    fn new(state: State, env: Env) -> Self {
        follow_log_level(&env);
        incidents::watch(&env);
        let task = match state.id().name().as_deref() {
            Some(RELAY) => Task::Find(Rc::new(Walker::new(&state, env))),
            _ => Task::Read(Rc::new(Host::new(&state, env))),
        };
        Self { task }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        match request.path().trim_start_matches('/') {
            Work::NAME => {
                let work = async |_: Work| {
                    self.task.work().await;
                    Ok(Done {})
                };
                serve(&mut request, work).await
            }
            _ => unknown(),
        }
    }

    async fn alarm(&self) -> Result<Response> {
        self.task.ring().await;
        Response::empty()
    }
}
