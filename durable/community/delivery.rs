//! Delivers a community's events to the attached gateways: one call at a time to each, from its own
//! position.

use std::rc::Rc;

use worker::wasm_bindgen_futures::spawn_local;

use super::log::CommunityLog;
use super::log::TIDY_MS;
use crate::domain::lost::{self, Attempt};
use crate::durable::community::commands::PAGE;
use crate::durable::gateway::commands::Deliver;
use crate::platform::log;
use crate::platform::objects::call;
use crate::storage::community_log::{self, Listener};
use crate::storage::{Fault, Statement, rows};
use crate::wire::ids::AtUri;

/// The pause before an unreachable gateway is retried, in milliseconds.
pub(super) const RETRY_MS: i64 = 2_000;

impl CommunityLog {
    /// Changes the list of attached gateways.
    pub(super) fn change_listeners(&self, statement: &Statement) -> Result<(), Fault> {
        self.listeners.replace(None);
        self.sql.run(statement).map(drop)
    }

    /// The last `seq`, and the attached gateways.
    fn listeners(&self) -> Result<(u64, Vec<Listener>), Fault> {
        let seq = self.counters()?.seq;
        if let Some(listeners) = self.listeners.borrow().clone() {
            return Ok((seq, listeners));
        }
        let listeners: Vec<Listener> = rows(Some(&self.sql.run(&community_log::listeners())?))?;
        self.listeners.replace(Some(listeners.clone()));
        Ok((seq, listeners))
    }

    /// Delivers, in the background, to every gateway that is behind, and schedules the clean-up of
    /// the log.
    pub(super) async fn deliver_soon(self: &Rc<Self>) {
        self.start_delivering();
        self.start_asking_rooms();
        self.look_after_observers();
        self.wake_within(TIDY_MS).await;
    }

    pub(super) fn start_delivering(self: &Rc<Self>) {
        let Some(community) = self.name() else { return };
        let Ok((seq, listeners)) = self.listeners() else { return };
        for listener in listeners.into_iter().filter(|listener| listener.delivered < seq) {
            if self.delivering.borrow_mut().insert(listener.name.clone()) {
                let order = Rc::clone(self);
                let community = community.clone();
                spawn_local(async move {
                    let result = order.deliver(&community, &listener.name).await;
                    order.delivering.borrow_mut().remove(&listener.name);
                    if let Err(fault) = result {
                        log::fault(
                            &fault,
                            &format!("{} gets the events of {community} later", listener.name),
                        );
                        *order.failures.borrow_mut().entry(listener.name).or_default() += 1;
                        order.wake_within(RETRY_MS).await;
                    }
                });
            }
        }
    }

    /// Delivers to one gateway until it has everything.
    async fn deliver(&self, community: &AtUri, name: &str) -> Result<(), Fault> {
        loop {
            // Read again each time, because more may have been announced during the last call.
            let (seq, listeners) = self.listeners()?;
            let Some(listener) = listeners.into_iter().find(|listener| listener.name == name) else {
                return Ok(());
            };
            if listener.delivered >= seq {
                self.failures.borrow_mut().remove(name);
                return Ok(());
            }
            let failures = self.failures.borrow().get(name).copied().unwrap_or(0);
            let attempt = Attempt::after(failures);
            let limit = if attempt == Attempt::All { PAGE } else { 1 };
            let (events, more) = self.page(&community_log::after(listener.delivered, limit))?;
            let through = events.last().filter(|_| more || limit == 1).map_or(seq, |event| event.seq);
            let deliver = Deliver { community: community.clone(), events };
            let mut delivered = call(&self.env, name, &deliver).await;
            let mut set_aside = 0;
            if delivered.is_err() && attempt == Attempt::SetAside {
                let mut without = deliver;
                for event in &mut without.events {
                    event.event = lost::event();
                    set_aside += 1;
                }
                delivered = call(&self.env, name, &without).await;
            }
            let listening = delivered?.listening;
            self.set_aside(set_aside);
            // While the search for a faulty event goes on, events are delivered one by one.
            self.failures.borrow_mut().insert(name.to_owned(), attempt.failures_after_success());
            self.change_listeners(&community_log::delivered(name, through))?;
            if !listening {
                self.change_listeners(&community_log::leave(&listener))?;
            }
        }
    }
}
