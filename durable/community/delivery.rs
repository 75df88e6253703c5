//! Delivers a community's events to the gateways that listen to it: one call at a time each,
//! from the gateway's own position. Which events come next is decided in `domain::community::deliveries`.

use std::rc::Rc;

use worker::wasm_bindgen_futures::spawn_local;

use super::log::{CommunityLog, Outcome, TIDY_MS};
use crate::domain::lost::{self, Attempt};
use crate::durable::gateway::commands::Deliver;
use crate::platform::log;
use crate::platform::objects::call;
use crate::storage::community_log;
use crate::wire::ids::AtUri;

/// How soon a gateway that could not be reached is tried again, in milliseconds.
pub(super) const RETRY_MS: i64 = 2_000;

impl CommunityLog {
    /// Delivers, in the background, to every gateway that has not had everything, and sees that
    /// the log is tidied some day.
    pub(super) async fn deliver_soon(self: &Rc<Self>) {
        self.start_delivering();
        self.start_asking_rooms();
        self.start_sending();
        self.look_after_observers();
        self.alarm.ring_within(TIDY_MS).await;
    }

    pub(super) fn start_delivering(self: &Rc<Self>) {
        let Some(community) = self.name() else { return };
        for gateway in self.with(|core| Ok(core.take_due())).unwrap_or_default() {
            let log = Rc::clone(self);
            let community = community.clone();
            spawn_local(async move {
                if let Err(fault) = log.deliver(&community, &gateway).await {
                    log::fault(&fault, &format!("{gateway} gets the events of {community} later"));
                    log.not_delivered(&gateway);
                    log.alarm.ring_within(RETRY_MS).await;
                }
            });
        }
    }

    /// Delivers to one gateway until it has everything.
    async fn deliver(&self, community: &AtUri, gateway: &str) -> Outcome<()> {
        // Read again each time: more may have been announced during the last call.
        while let Some(delivery) = self.with(|core| Ok(core.next_delivery(gateway)))? {
            let (events, more) = self.page(&community_log::after(delivery.after(), delivery.limit()))?;
            let through = delivery.through(events.last().map(|event| event.seq), more);
            let members_only = self.with(|core| Ok(core.counters().members_only))?;
            let deliver = Deliver { community: community.clone(), events, members_only };
            let mut delivered = call(&self.env, gateway, &deliver).await;
            let mut set_aside = 0;
            if delivered.is_err() && delivery.attempt == Attempt::SetAside {
                let mut without = deliver;
                for event in &mut without.events {
                    event.event = lost::event();
                    set_aside += 1;
                }
                delivered = call(&self.env, gateway, &without).await;
            }
            let listening = delivered?.listening;
            self.set_aside(set_aside);
            self.with(|core| {
                core.delivered(&delivery, through, listening);
                Ok(())
            })?;
        }
        Ok(())
    }
}
