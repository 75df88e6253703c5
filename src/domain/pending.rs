//! The commits that are not delivered to every community yet.
//!
//! Outbox rows are added in the order of commits. Each community gets its events in that order, and
//! an unreachable one delays no other. This is bookkeeping only: `pipeline::delivery` delivers.

use std::collections::BTreeMap;

use super::announcement::{Announcement, Scope};
use super::lost::Attempt;
use super::pause::growing;
use crate::wire::time::Micros;

/// The events of one commit for one scope. A receiver ignores an id that it has already.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct OutboxEvents {
    /// The id of the outbox row.
    pub id: i64,
    /// The events, in order.
    pub events: Vec<Announcement>,
}

/// The undelivered events.
#[derive(Debug, Default)]
pub struct PendingDeliveries {
    seen: i64,
    pending: BTreeMap<Scope, Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    rows: Vec<OutboxEvents>,
    failures: u32,
    next_try: Micros,
}

/// An unreachable community is retried after 1, 2, 4 … 30 s.
const PAUSE_MAX_SECS: i64 = 30;

impl PendingDeliveries {
    /// The last outbox row that was added.
    pub fn seen(&self) -> i64 {
        self.seen
    }

    /// Adds a row. A row that was added before changes nothing.
    pub fn take(&mut self, id: i64, announcements: Vec<Announcement>) {
        if id <= self.seen {
            return;
        }
        self.seen = id;
        for announcement in announcements {
            let queue = &mut self.pending.entry(announcement.scope.clone()).or_default().rows;
            match queue.last_mut() {
                Some(last) if last.id == id => last.events.push(announcement),
                _ => queue.push(OutboxEvents { id, events: vec![announcement] }),
            }
        }
    }

    /// Notes that the outbox has no further rows up to and including `id`.
    pub fn nothing_until(&mut self, id: i64) {
        self.seen = self.seen.max(id);
    }

    /// The events to deliver now to each scope, in order, and how: after some failures row by row,
    /// and in the end without the contents of the first row (Q21).
    pub fn due(&self, now: Micros) -> impl Iterator<Item = (&Scope, Attempt, &[OutboxEvents])> {
        let due = self.pending.iter().filter(move |(_, queue)| queue.next_try <= now);
        due.map(|(scope, queue)| {
            let attempt = Attempt::after(queue.failures);
            let first = queue.rows.get(..1).unwrap_or_default();
            (scope, attempt, if attempt == Attempt::All { queue.rows.as_slice() } else { first })
        })
    }

    /// The undelivered events of all communities.
    pub fn len(&self) -> usize {
        self.pending.values().flat_map(|queue| &queue.rows).map(|row| row.events.len()).sum()
    }

    /// Whether everything is delivered.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// A scope received everything up to and including `id`.
    pub fn delivered(&mut self, scope: &Scope, id: i64) {
        if let Some(queue) = self.pending.get_mut(scope) {
            queue.rows.retain(|row| row.id > id);
            queue.failures = Attempt::after(queue.failures).failures_after_success();
            if queue.rows.is_empty() {
                self.pending.remove(scope);
            }
        }
    }

    /// A delivery failed: the scope is retried after a growing pause.
    pub fn failed(&mut self, scope: &Scope, now: Micros) {
        if let Some(queue) = self.pending.get_mut(scope) {
            let pause = growing(1, queue.failures, PAUSE_MAX_SECS);
            queue.failures = queue.failures.saturating_add(1);
            queue.next_try = Micros(now.0 + pause * 1_000_000);
        }
    }

    /// When the next retry is due.
    pub fn next_try(&self) -> Option<Micros> {
        self.pending.values().map(|queue| queue.next_try).min()
    }

    /// The last row up to which everything is delivered: the outbox can drop these rows.
    pub fn delivered_through(&self) -> i64 {
        let oldest = self.pending.values().filter_map(|queue| queue.rows.first()).map(|row| row.id).min();
        oldest.map_or(self.seen, |id| id - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::super::announcement::{Audience, Topic};
    use super::*;
    use serde_json::value::RawValue;

    fn event(owner: &str) -> Announcement {
        Announcement {
            scope: community(owner),
            audience: Audience::Community,
            topic: Topic::Other,
            live: true,
            event: RawValue::from_string("{}".into()).unwrap(),
        }
    }

    fn community(owner: &str) -> Scope {
        let uri = format!("at://did:plc:{owner}/social.colibri.community/c");
        Scope::Community(crate::wire::ids::AtUri::parse(&uri).unwrap())
    }

    #[test]
    fn a_community_that_fails_holds_up_nobody_and_keeps_its_rows() {
        let mut pending = PendingDeliveries::default();
        pending.take(1, vec![event("a"), event("b"), event("a")]);
        pending.take(2, vec![event("a")]);
        pending.take(3, vec![event("b")]);
        pending.take(2, vec![event("a")]);
        assert_eq!(pending.len(), 5, "a row that came in before changes nothing");
        pending.delivered(&community("b"), 3);
        assert_eq!(pending.delivered_through(), 0, "a has not even had row 1");
        let due = |pending: &PendingDeliveries, secs: i64| -> Vec<_> {
            pending.due(Micros(secs * 1_000_000)).map(|(c, _, queue)| (c.clone(), queue.len())).collect()
        };
        assert_eq!(due(&pending, 0), [(community("a"), 2)]);
        pending.failed(&community("a"), Micros(0));
        assert_eq!(due(&pending, 0), [], "not before its pause is over");
        assert_eq!(due(&pending, 1), [(community("a"), 2)]);
        pending.delivered(&community("a"), 1);
        assert_eq!(pending.delivered_through(), 1);
        pending.delivered(&community("a"), 2);
        assert!(pending.is_empty());
        assert_eq!(pending.delivered_through(), 3);
    }

    #[test]
    fn q21_after_some_failures_rows_are_delivered_one_by_one_and_in_the_end_set_aside() {
        let mut pending = PendingDeliveries::default();
        pending.take(1, vec![event("a"), event("a")]);
        pending.take(2, vec![event("a")]);
        let mut now = Micros(0);
        let mut tried = Vec::new();
        while pending.delivered_through() == 0 {
            now = pending.next_try().unwrap().max(now);
            let (scope, attempt, rows) = pending.due(now).next().unwrap();
            let scope = scope.clone();
            tried.push((attempt, rows.len()));
            match attempt {
                Attempt::SetAside => pending.delivered(&scope, 1),
                _ => pending.failed(&scope, now),
            }
        }
        assert_eq!(tried[..5], [(Attempt::All, 2); 5]);
        assert_eq!(tried[5..8], [(Attempt::First, 1); 3]);
        assert_eq!(tried[8..], [(Attempt::SetAside, 1)]);
        assert!(now.0 <= 240_000_000, "it takes minutes, not hours: {now:?}");
        let (_, attempt, rows) = pending.due(now).next().unwrap();
        assert_eq!((attempt, rows.len()), (Attempt::All, 1), "the next row is delivered as ever");
    }
}
