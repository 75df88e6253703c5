//! Delivers committed events to the objects: the calls of `pipeline::delivery`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use futures::future::join_all;
use worker::Env;

use crate::domain::announcement::{Audience as Watched, Scope, Topic};
use crate::domain::pending::OutboxEvents;
use crate::durable::community::commands::{Announce, Known};
use crate::durable::gateway::commands::{Reindexed, Watch};
use crate::pipeline::delivery::Audience;
use crate::platform::config;
use crate::platform::objects::{call, call_gateways, gateway_of, lobby_of};
use crate::storage::Fault;
use crate::wire::ids::Rkey;

/// The objects of the service. Communities ignore rows that they have (`storage::community_log`),
/// and so do gateways (`storage::gateway_sessions`).
pub(super) struct Objects {
    pub(super) env: Env,
}

impl Objects {
    pub(super) fn of(env: Env) -> Self {
        Self { env }
    }

    /// Delivers events about people to each person's gateway. If one fails, the delivery fails, and
    /// all are called again.
    async fn deliver_to_people(&self, rows: &[OutboxEvents]) -> Result<(), Fault> {
        let shards = config::sockets(&self.env).gateway_shards;
        let mut homes: BTreeMap<String, Vec<OutboxEvents>> = BTreeMap::new();
        for row in rows {
            for event in &row.events {
                let (Watched::Watchers(person) | Watched::Private(person)) = &event.audience else {
                    continue;
                };
                let of_home = homes.entry(gateway_of(person, shards)).or_default();
                match of_home.last_mut() {
                    Some(last) if last.id == row.id => last.events.push(event.clone()),
                    _ => of_home.push(OutboxEvents { id: row.id, events: vec![event.clone()] }),
                }
            }
        }
        let calls = homes
            .into_iter()
            .map(|(name, rows)| async move { call(&self.env, &name, &Watch { rows }).await.map(drop) });
        join_all(calls).await.into_iter().collect()
    }
}

impl Audience for Objects {
    async fn deliver(&self, scope: &Scope, rows: &[OutboxEvents]) -> Result<i64, Fault> {
        let community = match scope {
            Scope::Community(community) => community,
            Scope::People => {
                self.deliver_to_people(rows).await?;
                return Ok(rows.last().map_or(0, |last| last.id));
            }
        };
        // Gateways first, so that a socket that waits for a channel receives its first message
        // (A34).
        if let Some(rkeys) = reindexed(rows) {
            let shards = config::sockets(&self.env).gateway_shards;
            let reindexed = Reindexed { community: community.clone(), rkeys };
            call_gateways(&self.env, shards, &reindexed).await?;
        }
        let announce = Announce { community: community.clone(), rows: Cow::Borrowed(rows) };
        let through = call(&self.env, community.as_str(), &announce).await?.through;
        // After its first events are in its log, because waiting observers start with them (A21).
        if topics(rows).any(|topic| *topic == Topic::CommunityShown) {
            call(&self.env, &lobby_of(community.as_str()), &Known { community: community.clone() }).await?;
        }
        Ok(through)
    }
}

fn topics(rows: &[OutboxEvents]) -> impl Iterator<Item = &Topic> {
    rows.iter().flat_map(|row| &row.events).map(|event| &event.topic)
}

/// The keys of channels that appeared or disappeared in these events; an empty list if the whole
/// community did; `None` if nothing of the kind happened.
fn reindexed(rows: &[OutboxEvents]) -> Option<Vec<Rkey>> {
    let topics = || topics(rows);
    if topics().any(|topic| matches!(topic, Topic::CommunityShown | Topic::CommunityGone)) {
        return Some(Vec::new());
    }
    let rkeys: Vec<Rkey> = topics()
        .filter_map(|topic| match topic {
            Topic::ChannelShown(uri) | Topic::ChannelGone(uri) => Some(uri.rkey()),
            _ => None,
        })
        .collect();
    (!rkeys.is_empty()).then_some(rkeys)
}
