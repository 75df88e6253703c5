//! Deliveries to gateways: each receives every event of the log, in order, one call at a time (A39).

use super::{Community, Keep, Listener, PAGE};
use crate::domain::lost::Attempt;

/// One call to a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    listener: Listener,
    /// After some failures, events go one by one; in the end an empty event takes the place of the first (Q21).
    pub attempt: Attempt,
    /// The last `seq` assigned when the events were read.
    seq: u64,
}

impl Delivery {
    /// The call contains the events after this `seq`.
    pub fn after(&self) -> u64 {
        self.listener.delivered
    }

    /// The most events in the call.
    pub fn limit(&self) -> i64 {
        if self.attempt == Attempt::All { PAGE } else { 1 }
    }

    /// The gateway's position after this call: `last` is the last event read, and `more` says whether there are
    /// further ones.
    pub fn through(&self, last: Option<u64>, more: bool) -> u64 {
        last.filter(|_| more || self.limit() == 1).unwrap_or(self.seq)
    }
}

impl Community {
    /// Attaches a gateway, which receives all later events. Returns its position: before the last `seq`, if it was
    /// attached already because events concern its people. It must not take those for received.
    pub fn attach(&mut self, gateway: &str) -> u64 {
        let seq = self.counters.seq;
        self.listen(gateway, seq);
        self.listeners.get(gateway).map_or(seq, |listener| listener.delivered)
    }

    /// A gateway that is attached already keeps its position.
    pub(super) fn listen(&mut self, name: &str, delivered: u64) {
        let new = || Listener { name: name.to_owned(), delivered, attachments: 0 };
        self.listeners.entry(name.to_owned()).or_insert_with(new).attachments += 1;
        self.keep(Keep::Listen(name.to_owned(), delivered));
    }

    /// The attached gateways, by name.
    pub fn listeners(&self) -> Vec<Listener> {
        self.listeners.values().cloned().collect()
    }

    /// The gateways that lack events and have no delivery in progress. Returns each one once, until
    /// [`Community::next_delivery`] has nothing more for it or its call fails.
    pub fn take_due(&mut self) -> Vec<String> {
        let seq = self.counters.seq;
        let behind = self.listeners.values().filter(|listener| listener.delivered < seq);
        let due: Vec<String> =
            behind.map(|one| one.name.clone()).filter(|name| !self.delivering.contains(name)).collect();
        self.delivering.extend(due.iter().cloned());
        due
    }

    /// The next delivery to a gateway; `None` if it has everything or has detached.
    pub fn next_delivery(&mut self, name: &str) -> Option<Delivery> {
        let seq = self.counters.seq;
        let listener = self.listeners.get(name);
        if listener.is_some_and(|listener| listener.delivered >= seq) {
            self.failures.remove(name);
        }
        let Some(listener) = listener.filter(|listener| listener.delivered < seq) else {
            self.delivering.remove(name);
            return None;
        };
        let attempt = Attempt::after(self.failures.get(name).copied().unwrap_or(0));
        Some(Delivery { listener: listener.clone(), attempt, seq })
    }

    /// A gateway received everything up to and including `through`. If it no longer needs this community, it is
    /// detached, unless it attached again during the call. It receives the rest of the log first: that may concern its
    /// people.
    pub fn delivered(&mut self, delivery: &Delivery, through: u64, listening: bool) {
        let Listener { name, attachments, .. } = &delivery.listener;
        // While the event that makes calls fail is not found, deliveries stay one by one.
        self.failures.insert(name.clone(), delivery.attempt.failures_after_success());
        if let Some(listener) = self.listeners.get_mut(name) {
            listener.delivered = listener.delivered.max(through);
        }
        self.keep(Keep::Delivered(name.clone(), through));
        if !listening && through >= delivery.seq {
            if self.listeners.get(name).is_some_and(|listener| listener.attachments == *attachments) {
                self.listeners.remove(name);
            }
            self.keep(Keep::Leave(delivery.listener.clone()));
        }
    }

    /// A delivery failed and is retried later.
    pub fn not_delivered(&mut self, name: &str) {
        self.delivering.remove(name);
        *self.failures.entry(name.to_owned()).or_default() += 1;
    }
}
