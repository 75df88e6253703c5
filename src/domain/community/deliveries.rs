//! Which gateway gets which events of the log next: everything, in order, one call at a time each (A39).

use super::{Community, Keep, Listener, PAGE};
use crate::domain::lost::Attempt;

/// One call to a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    listener: Listener,
    /// How it is tried: after some failures event by event, in the end without what the first says (Q21).
    pub attempt: Attempt,
    /// The last `seq` given when the events were read.
    seq: u64,
}

impl Delivery {
    /// The events after this `seq` are sent.
    pub fn after(&self) -> u64 {
        self.listener.delivered
    }

    /// At most so many of them.
    pub fn limit(&self) -> i64 {
        if self.attempt == Attempt::All { PAGE } else { 1 }
    }

    /// How far the gateway is with the events that were read, the last of them `last`; there may be `more`.
    pub fn through(&self, last: Option<u64>, more: bool) -> u64 {
        last.filter(|_| more || self.limit() == 1).unwrap_or(self.seq)
    }
}

impl Community {
    /// A gateway listens from now on; the last `seq`.
    pub fn attach(&mut self, gateway: &str) -> u64 {
        let seq = self.counters.seq;
        self.listen(gateway, seq);
        seq
    }

    /// One that listens already keeps its place.
    pub(super) fn listen(&mut self, name: &str, delivered: u64) {
        let new = || Listener { name: name.to_owned(), delivered, attachments: 0 };
        self.listeners.entry(name.to_owned()).or_insert_with(new).attachments += 1;
        self.keep(Keep::Listen(name.to_owned(), delivered));
    }

    /// Who listens, by name.
    pub fn listeners(&self) -> Vec<Listener> {
        self.listeners.values().cloned().collect()
    }

    /// The gateways that have not had everything and that nobody delivers to. Each is answered once, until
    /// [`Community::next_delivery`] has nothing more for it, or its call failed.
    pub fn take_due(&mut self) -> Vec<String> {
        let seq = self.counters.seq;
        let behind = self.listeners.values().filter(|listener| listener.delivered < seq);
        let due: Vec<String> =
            behind.map(|one| one.name.clone()).filter(|name| !self.delivering.contains(name)).collect();
        self.delivering.extend(due.iter().cloned());
        due
    }

    /// What a gateway gets next; `None` if it has everything, or listens no more.
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

    /// A gateway has everything up to and with `through`. If it is not listening any more, it is left out, unless it
    /// asked to listen since.
    pub fn delivered(&mut self, delivery: &Delivery, through: u64, listening: bool) {
        let Listener { name, attachments, .. } = &delivery.listener;
        // While one is looked for that is to blame, they go on one by one.
        self.failures.insert(name.clone(), delivery.attempt.failures_after_success());
        if let Some(listener) = self.listeners.get_mut(name) {
            listener.delivered = listener.delivered.max(through);
        }
        self.keep(Keep::Delivered(name.clone(), through));
        if !listening {
            if self.listeners.get(name).is_some_and(|listener| listener.attachments == *attachments) {
                self.listeners.remove(name);
            }
            self.keep(Keep::Leave(delivery.listener.clone()));
        }
    }

    /// A gateway could not be delivered to: it is tried again later.
    pub fn not_delivered(&mut self, name: &str) {
        self.delivering.remove(name);
        *self.failures.entry(name.to_owned()).or_default() += 1;
    }
}
