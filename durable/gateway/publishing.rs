//! What is published about people goes to every gateway, and to the observers of their communities
//! (E16, A21): in order, one call at a time each, until all have it.

use std::collections::BTreeMap;
use std::rc::Rc;

use worker::wasm_bindgen_futures::spawn_local;

use super::object::{GatewayObject, Outcome};
use crate::domain::gateway::Input;
use crate::domain::gateway::settling::ROUND;
use crate::domain::lost::Attempt;
use crate::durable::community::commands::Overhear;
use crate::durable::gateway::commands::{Adopt, Say};
use crate::durable::replies::Done;
use crate::platform::incidents;
use crate::platform::objects::{all_gateways, call};
use crate::storage::gateway_people::{self, Saying};
use crate::storage::incidents::Incident;
use crate::storage::rows;
use crate::wire::ids::AtUri;

impl GatewayObject {
    /// Tells, in the background, every gateway that has not had everything.
    pub(super) fn tell_soon(self: &Rc<Self>) {
        let said = self.with(|sessions| {
            let said = std::mem::take(&mut sessions.said);
            Ok(if said {
                Some((self.last_saying()?, self.hearers()?, sessions.observed.clone()))
            } else {
                None
            })
        });
        let Ok(Some((last, hearers, observed))) = said else { return };
        let gateways = all_gateways(self.settings.gateway_shards);
        for name in gateways.chain(observed) {
            let is_behind = hearers.get(&name).copied().unwrap_or(0) < last;
            if is_behind && self.telling.borrow_mut().insert(name.clone()) {
                let object = Rc::clone(self);
                spawn_local(async move {
                    let result = object.tell(&name).await;
                    object.telling.borrow_mut().remove(&name);
                    if let Err(fault) = result {
                        *object.untold.borrow_mut().entry(name.clone()).or_default() += 1;
                        // Memory that cannot be had is rebuilt, and then looks again by itself.
                        let _ = object.with(|sessions| {
                            sessions.said = true;
                            Ok(())
                        });
                        object.retry(&fault, &format!("{name} hears about people later")).await;
                    }
                });
            }
        }
    }

    fn last_saying(&self) -> Outcome<i64> {
        let last: Vec<i64> = rows(Some(&self.sql.run(&gateway_people::last_saying())?))?;
        Ok(last.first().copied().unwrap_or(0))
    }

    fn hearers(&self) -> Outcome<BTreeMap<String, i64>> {
        Ok(rows::<(String, i64)>(Some(&self.sql.run(&gateway_people::hearers())?))?.into_iter().collect())
    }

    /// Tells one gateway, or the observers of one community, until it has everything.
    async fn tell(&self, name: &str) -> Outcome<()> {
        let from = self.name()?;
        loop {
            let after = self.hearers()?.get(name).copied().unwrap_or(0);
            let attempt = Attempt::after(self.untold.borrow().get(name).copied().unwrap_or(0));
            let limit = if attempt == Attempt::All { i64::try_from(ROUND).unwrap_or(100) } else { 1 };
            let (through, mut sayings, unreadable) =
                Saying::read(&self.sql.run(&gateway_people::sayings(after, limit))?)?;
            // Counted where this gateway tells itself, not once for each that hears it.
            let mut lost = if name == from { unreadable } else { 0 };
            let Some(through) = through else {
                self.untold.borrow_mut().remove(name);
                return Ok(());
            };
            let observed = AtUri::parse(name).ok();
            if let Some(community) = &observed {
                sayings.retain(|saying| saying.communities.contains(community));
            }
            if observed.is_none() || !sayings.is_empty() {
                let count = u32::try_from(sayings.len()).unwrap_or(1);
                let mut told = self.say_to(&from, name, sayings).await;
                if told.is_err() && attempt == Attempt::SetAside {
                    // Nothing stands in its place: what is said of people is state, and the next is
                    // complete. But whoever cannot be told even nothing was not reached.
                    lost += count;
                    told = self.say_to(&from, name, Vec::new()).await;
                }
                if !told? {
                    return self.unobserved(name);
                }
            }
            self.untold.borrow_mut().insert(name.to_owned(), attempt.failures_after_success());
            incidents::note(&self.env, Incident::People, lost, &from);
            self.sql.run(&gateway_people::hearer(name, through))?;
            self.forget_sayings()?;
        }
    }

    /// Tells one gateway, or the observers of one community; `false` if there are none any more.
    async fn say_to(&self, from: &str, name: &str, sayings: Vec<Saying>) -> Outcome<bool> {
        if AtUri::parse(name).is_ok() {
            return Ok(call(&self.env, name, &Overhear { sayings }).await?.listening);
        }
        let say = Say { from: from.to_owned(), sayings };
        if name == from {
            self.hear(say).await?;
        } else {
            call(&self.env, name, &say).await?;
        }
        Ok(true)
    }

    /// Forgets what everybody has.
    fn forget_sayings(&self) -> Outcome<()> {
        let hearers = self.hearers()?;
        let observed = self.with(|sessions| Ok(sessions.observed.clone()))?;
        let names = all_gateways(self.settings.gateway_shards).chain(observed);
        let all_have = names.map(|name| hearers.get(&name).copied().unwrap_or(0)).min().unwrap_or(0);
        self.sql.run(&gateway_people::forget_sayings(all_have)).map(drop)
    }

    /// What another gateway says about its people, or this one about its own.
    pub(super) async fn hear(&self, say: Say) -> Outcome<()> {
        self.wake()?;
        let audible = self.hearers_of(&say.sayings).await?;
        let had: Vec<i64> = rows(Some(&self.sql.run(&gateway_people::speaker(&say.from))?))?;
        let had = had.first().copied().unwrap_or(0);
        let Say { from, sayings } = say;
        self.on(Input::Published { from, sayings, had, audible })
    }

    /// The observers of a community hear about people from now on (A21).
    pub(super) fn observed(&self, community: &AtUri) -> Outcome<Done> {
        self.with(|sessions| {
            if sessions.observed.insert(community.to_string()) {
                self.sql.run(&gateway_people::observe(community.as_str(), true))?;
                self.sql.run(&gateway_people::hearer(community.as_str(), self.last_saying()?))?;
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
    /// sockets, and this one would tell the working set that they are gone.
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
                self.stand_up(did).await?;
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
