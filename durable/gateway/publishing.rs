//! Publishes events about people to every gateway, and to the observers of their communities (E16, A21): in
//! order, one call at a time for each receiver, until all have them.

use std::collections::BTreeMap;
use std::rc::Rc;

use worker::wasm_bindgen_futures::spawn_local;

use super::object::{GatewayObject, Outcome};
use crate::domain::gateway::Input;
use crate::domain::gateway::settling::ROUND;
use crate::domain::lost::Attempt;
use crate::durable::community::commands::PublishToObservers;
use crate::durable::gateway::commands::{Adopt, Publish};
use crate::durable::replies::Done;
use crate::platform::incidents;
use crate::platform::objects::{all_gateways, call};
use crate::storage::gateway_people::{self, Publication};
use crate::storage::incidents::Incident;
use crate::storage::rows;
use crate::wire::ids::AtUri;

impl GatewayObject {
    /// Publishes, in the background, to every gateway that lacks something.
    pub(super) fn publish_soon(self: &Rc<Self>) {
        let due = self.with(|sessions| {
            let unpublished = std::mem::take(&mut sessions.unpublished);
            Ok(if unpublished {
                Some((self.last_publication()?, self.receivers()?, sessions.observed.clone()))
            } else {
                None
            })
        });
        let Ok(Some((last, receivers, observed))) = due else { return };
        let gateways = all_gateways(self.settings.gateway_shards);
        for name in gateways.chain(observed) {
            let is_behind = receivers.get(&name).copied().unwrap_or(0) < last;
            if is_behind && self.publishing_to.borrow_mut().insert(name.clone()) {
                let object = Rc::clone(self);
                spawn_local(async move {
                    let result = object.publish_to(&name).await;
                    object.publishing_to.borrow_mut().remove(&name);
                    if let Err(fault) = result {
                        *object.failures.borrow_mut().entry(name.clone()).or_default() += 1;
                        // Memory that cannot be had is rebuilt, and then looks again by itself.
                        let _ = object.with(|sessions| {
                            sessions.unpublished = true;
                            Ok(())
                        });
                        object.retry(&fault, &format!("{name} receives events about people later")).await;
                    }
                });
            }
        }
    }

    fn last_publication(&self) -> Outcome<i64> {
        let last: Vec<i64> = rows(Some(&self.sql.run(&gateway_people::last_publication())?))?;
        Ok(last.first().copied().unwrap_or(0))
    }

    fn receivers(&self) -> Outcome<BTreeMap<String, i64>> {
        Ok(rows::<(String, i64)>(Some(&self.sql.run(&gateway_people::receivers())?))?.into_iter().collect())
    }

    /// Publishes to one gateway, or to the observers of one community, until it has everything.
    async fn publish_to(&self, name: &str) -> Outcome<()> {
        let from = self.name()?;
        loop {
            let after = self.receivers()?.get(name).copied().unwrap_or(0);
            let attempt = Attempt::after(self.failures.borrow().get(name).copied().unwrap_or(0));
            let limit = if attempt == Attempt::All { i64::try_from(ROUND).unwrap_or(100) } else { 1 };
            let (through, mut publications, unreadable) =
                Publication::read(&self.sql.run(&gateway_people::publications(after, limit))?)?;
            // Counted once: when this gateway is its own receiver.
            let mut lost = if name == from { unreadable } else { 0 };
            let Some(through) = through else {
                self.failures.borrow_mut().remove(name);
                return Ok(());
            };
            let observed = AtUri::parse(name).ok();
            if let Some(community) = &observed {
                publications.retain(|publication| publication.communities.contains(community));
            }
            if observed.is_none() || !publications.is_empty() {
                let count = u32::try_from(publications.len()).unwrap_or(1);
                let mut is_received = self.publish_once(&from, name, publications).await;
                if is_received.is_err() && attempt == Attempt::SetAside {
                    // Nothing takes its place: events about people are state, and the next one is
                    // complete. A receiver that fails even without events was not reached.
                    lost += count;
                    is_received = self.publish_once(&from, name, Vec::new()).await;
                }
                if !is_received? {
                    return self.unobserved(name);
                }
            }
            self.failures.borrow_mut().insert(name.to_owned(), attempt.failures_after_success());
            incidents::note(&self.env, Incident::People, lost, &from);
            self.sql.run(&gateway_people::receiver(name, through))?;
            self.forget_publications()?;
        }
    }

    /// Sends to one gateway, or to the observers of one community; `false` if it has no observers any more.
    async fn publish_once(&self, from: &str, name: &str, publications: Vec<Publication>) -> Outcome<bool> {
        if AtUri::parse(name).is_ok() {
            return Ok(call(&self.env, name, &PublishToObservers { publications }).await?.listening);
        }
        let command = Publish { from: from.to_owned(), publications };
        if name == from {
            self.receive(command).await?;
        } else {
            call(&self.env, name, &command).await?;
        }
        Ok(true)
    }

    /// Deletes what every receiver has.
    fn forget_publications(&self) -> Outcome<()> {
        let receivers = self.receivers()?;
        let observed = self.with(|sessions| Ok(sessions.observed.clone()))?;
        let names = all_gateways(self.settings.gateway_shards).chain(observed);
        let all_have = names.map(|name| receivers.get(&name).copied().unwrap_or(0)).min().unwrap_or(0);
        self.sql.run(&gateway_people::forget_publications(all_have)).map(drop)
    }

    /// Receives what a gateway publishes about its people: another one, or this one.
    pub(super) async fn receive(&self, command: Publish) -> Outcome<()> {
        self.wake()?;
        let readers = self.readers_of(&command.publications).await?;
        let had: Vec<i64> = rows(Some(&self.sql.run(&gateway_people::publisher(&command.from))?))?;
        let had = had.first().copied().unwrap_or(0);
        let Publish { from, publications } = command;
        self.on(Input::Published { from, publications, had, readers })
    }

    /// From now on the observers of a community receive events about people (A21).
    pub(super) fn observed(&self, community: &AtUri) -> Outcome<Done> {
        self.with(|sessions| {
            if sessions.observed.insert(community.to_string()) {
                self.sql.run(&gateway_people::observe(community.as_str(), true))?;
                self.sql.run(&gateway_people::receiver(community.as_str(), self.last_publication()?))?;
            }
            Ok(Done {})
        })
    }

    fn unobserved(&self, community: &str) -> Outcome<()> {
        self.with(|sessions| {
            sessions.observed.remove(community);
            self.sql.run(&gateway_people::observe(community, false)).map(drop)
        })
    }

    /// Hands people whose home is another gateway over to it, in the background: it knows their
    /// sockets, and this one would publish that they are gone.
    pub(super) fn hand_over_soon(self: &Rc<Self>) {
        let due = self.with(|sessions| Ok(std::mem::take(&mut sessions.strangers)));
        if !matches!(due, Ok(true)) {
            return;
        }
        let object = Rc::clone(self);
        spawn_local(async move {
            if let Err(fault) = object.hand_over().await {
                object.retry(&fault, "people are handed over when the object wakes anew").await;
            }
        });
    }

    async fn hand_over(&self) -> Outcome<()> {
        let homes = self.with(|sessions| Ok(sessions.strangers()))?;
        for (home, dids) in homes {
            for did in &dids {
                self.leave_voice(did).await?;
            }
            call(&self.env, &home, &Adopt { dids: dids.clone() }).await?;
            self.with(|sessions| {
                for did in &dids {
                    sessions.persons.remove(did);
                    sessions.mark(did);
                    self.sql.run(&gateway_people::forget(did))?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }
}
