//! colibri-edge: the Colibri AppView on Cloudflare Workers.
//!
//! `docs/architecture.md` has the map and the walkthroughs, `docs/invariants.md` the invariants
//! that comments cite as "invariant 1"; IDs such as R07 or I11 are rules of `docs/contract.md`.
//! Read the layers in this order: `wire` (other people's formats), `domain` (the rules), `storage`
//! (SQL as values), `pipeline` (how a record is indexed), `platform` (what the runtime provides),
//! `durable` (the objects), `api` (HTTP).

pub mod domain;
pub mod wire;

pub mod storage;

pub mod pipeline;

pub mod platform;

#[path = "../durable/mod.rs"]
pub mod durable;

pub mod api;

// A class is a Durable Object because the root exports it (platform facts 5.7).
pub use durable::{Community, Editions, Gateway, Identities, Jetstream, RepoSync, VoiceRoom};

use serde_json::json;
use worker::{Context, Env, Request, Response, Result, ScheduleContext, ScheduledEvent, event};

use crate::domain::fault_code::Code;
use crate::durable::jetstream::commands::Ensure;
use crate::durable::repo_sync::commands::Work;
use crate::platform::config::{follow_log_level, relay};
use crate::platform::objects::{DISPATCH, JETSTREAM, RELAY, call};
use crate::platform::{incidents, log};

/// HTTP and sockets.
#[event(fetch)]
async fn fetch(request: Request, env: Env, context: Context) -> Result<Response> {
    follow_log_level(&env);
    if let Some(counting) = incidents::ends(&env) {
        context.wait_until(counting);
    }
    api::answer(request, env, context).await
}

/// Every minute: wakes the objects of the stream, of due repositories, and of the relay if one is
/// configured. They also wake themselves; this is a safeguard (platform facts 2.4).
#[event(scheduled)]
async fn scheduled(_event: ScheduledEvent, env: Env, _context: ScheduleContext) {
    follow_log_level(&env);
    incidents::watch(&env);
    match call(&env, JETSTREAM, &Ensure {}).await {
        Ok(status) if status.connected => {}
        Ok(status) => log::problem(
            Code::Stream,
            log::Level::Warn,
            "the stream is not connected",
            &json!({ "host": status.host, "failures": status.failures }),
        ),
        Err(fault) => log::fault(&fault, "cron tries again in a minute"),
    }
    for name in [DISPATCH, RELAY] {
        if name == RELAY && relay(&env).is_none() {
            continue;
        }
        if let Err(fault) = call(&env, name, &Work {}).await {
            log::fault(&fault, "cron tries again in a minute");
        }
    }
}
