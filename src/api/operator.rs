//! What only the operator reads and does: refusals, communities, who is here, and restarts.

use std::collections::BTreeSet;

use futures::future::join_all;
use serde::Serialize;
use serde_json::json;

use super::reply::{List, shown};
use super::{Answer, Call, authority, json, json_text};
use crate::domain::restarting::Scope;
use crate::domain::statistics::Statistics;
use crate::durable::operator::{Count, Reconnect, RestartCalls, RestartObservers, RestartSockets, Restarted};
use crate::platform::config;
use crate::platform::log::{self, Level};
use crate::platform::objects::{Command, JETSTREAM, all_gateways, all_rooms, call as ask_object};
use crate::storage::Fault;
use crate::storage::reads::operator;

/// Objects that are asked at a time.
const AT_ONCE: usize = 32;
/// People about whom the index is asked at a time.
const PEOPLE_AT_ONCE: usize = 1_000;
/// Communities whose observers a restart closes at most: each is a request, and one of ours may make a thousand.
const OBSERVED_MAX: usize = 800;

/// R60 `GET /api/operator`: refusals by reason, the repositories that are to be read, and disabled webhooks.
pub(super) async fn overview(call: &Call) -> Answer {
    authority::operator(call)?;
    shown(call, &operator::overview(&call.db()?).await?)
}

/// R61 `GET /api/operator/communities`: every known community, by AT-URI.
pub(super) async fn communities(call: &Call) -> Answer {
    authority::operator(call)?;
    let db = call.db()?;
    let list = List { call, id: "R61", about: "" };
    list.answer(async move |after: Option<_>, limit| operator::communities(&db, after.as_ref(), limit).await)
        .await
}

/// R62 `GET /api/statistics`: who is here, and how many are in which community.
pub(super) async fn statistics(call: &Call) -> Answer {
    authority::operator(call)?;
    let counted = ask_all(call, gateways(call), &Count {}).await?;
    let (mut statistics, people) = Statistics::of(counted);
    let db = call.db()?;
    for page in people.chunks(PEOPLE_AT_ONCE) {
        let (names, present) = operator::present(&db, page).await?;
        let states = |found: operator::PresentIn| (found.uri, [found.online, found.away, found.dnd]);
        statistics.add(names.into_iter().map(|found| found.name), present.into_iter().map(states));
    }
    json(&statistics)
}

/// The body of R63.
#[derive(Serialize)]
struct Done {
    scope: Scope,
    sockets: usize,
}

/// R63 `POST /api/admin/restart`: objects start afresh, and their clients connect again.
pub(super) async fn restart(call: &Call) -> Answer {
    authority::operator(call)?;
    let body = call.body().await?;
    let scope = body.scope("scope")?;
    let sockets = restarted(call, scope).await?;
    json(&Done { scope, sockets })
}

/// R64 `POST /api/shutdown`: the same for everything, as BareRTC has it.
pub(super) async fn shutdown(call: &Call) -> Answer {
    authority::operator(call)?;
    restarted(call, Scope::All).await?;
    json_text(r#"{"OK":true}"#.to_owned(), 200)
}

/// Restarts what is in the scope; returns how many sockets were closed.
async fn restarted(call: &Call, scope: Scope) -> Result<usize, Fault> {
    log::line(Level::Info, "the operator restarts a part of the service", &json!({ "scope": scope }));
    let mut done: Vec<Restarted> = Vec::new();
    if scope.has(Scope::Stream) {
        ask_object(&call.env, JETSTREAM, &Reconnect {}).await?;
    }
    if scope.has(Scope::Calls) {
        done.extend(ask_all(call, all_rooms().collect(), &RestartCalls {}).await?);
    }
    if scope.has(Scope::Sockets) {
        let closed = ask_all(call, gateways(call), &RestartSockets {}).await?;
        let observed: BTreeSet<String> = closed.iter().flat_map(|one| one.observed.iter().cloned()).collect();
        done.extend(closed);
        let observed = observed.into_iter().take(OBSERVED_MAX).collect();
        done.extend(ask_all(call, observed, &RestartObservers {}).await?);
    }
    Ok(done.iter().map(|one| one.sockets).sum())
}

fn gateways(call: &Call) -> Vec<String> {
    all_gateways(config::sockets(&call.env).gateway_shards).collect()
}

/// The replies of these objects. If one fails, so does this, and the caller calls again.
async fn ask_all<C: Command>(call: &Call, names: Vec<String>, command: &C) -> Result<Vec<C::Reply>, Fault> {
    let mut replies = Vec::new();
    for some in names.chunks(AT_ONCE) {
        let asked = join_all(some.iter().map(|name| ask_object(&call.env, name, command))).await;
        replies.extend(asked.into_iter().collect::<Result<Vec<_>, _>>()?);
    }
    Ok(replies)
}
