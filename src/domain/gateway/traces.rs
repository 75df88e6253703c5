//! The traces that closed sockets leave for their successors (Q10, Q16), and the changes of people that are kept
//! for these (Q13).

use std::collections::BTreeMap;

use super::publication::Publication;
use super::{Effect, Gateway, Keep, Moment};
use crate::domain::restore::{self, Place, Trace};
use crate::wire::ids::Did;
use crate::wire::time::Micros;

/// Traces are counted once for so many new ones.
const COUNT_EVERY: i64 = 64;
/// Changes of people are counted once for so many new ones.
const CHANGES_EVERY: u32 = 500;

/// A position that is in no log: a client that resumes from it must read anew (Q05).
pub const LOST: i64 = i64::MAX;

/// The position of a socket that received everything up to and including `seq`.
pub(super) fn place_of(seq: u64) -> Place {
    Place::Seq(i64::try_from(seq).unwrap_or(LOST))
}

/// How many of `count` traces with `bytes` in all to delete next; `None` if all may stay (Q16).
pub fn room_to_make(count: i64, bytes: i64) -> Option<i64> {
    let over = (count - restore::GATEWAY_MAX).max(i64::from(bytes > restore::GATEWAY_BYTES));
    (over > 0).then(|| over.min(COUNT_EVERY))
}

impl Gateway {
    /// The time from which traces are kept.
    pub(super) fn kept_since(&self, now: Micros) -> Micros {
        Micros(now.0.saturating_sub(self.settings.restore_keep))
    }

    /// What a session leaves to later ones: its positions at its last sign of life, or behind everything that was
    /// sent to it if the client has `taken` all of that. One of the newest client leaves nothing (N165).
    pub fn trace(&self, id: i64, alive_at: Micros, taken: bool) -> Option<Trace> {
        let open = self.open.get(&id).filter(|open| !open.session.is_newest())?;
        let mut positions: BTreeMap<String, Place> = self
            .received_by(&open.subscriptions)
            .map(|(community, seq)| {
                let place = match self.courses.get(community) {
                    _ if taken => place_of(seq),
                    Some(course) => course.place(alive_at),
                    None => Place::Since { since: alive_at },
                };
                (community.clone(), place)
            })
            .collect();
        // A replay that the client asked for and has not got: it must read anew.
        positions.extend(open.resuming.keys().map(|community| (community.clone(), Place::Seq(LOST))));
        let mut people_since = None;
        // Its own restore is not over: the next session continues it, or repeats it if its frames may be lost.
        if let Some(restoring) = &open.session.restoring {
            let mut left = restoring.positions();
            if taken {
                left.retain(|community, _| !restoring.done.contains(community));
                left.extend(
                    restoring.owed.iter().map(|(community, seq)| (community.clone(), Place::Seq(*seq))),
                );
            }
            positions.extend(left);
            people_since = restoring.since();
        }
        // Its restore ended after the last sign of life: the next session repeats it (Q10c).
        if let Some(sent) = open.session.sent.as_ref().filter(|sent| !taken && alive_at < sent.at) {
            positions.extend(sent.positions.clone());
            people_since = sent.since;
        }
        let session = &open.session;
        Some(Trace {
            id,
            opened_at: session.opened_at,
            closed_at: None,
            alive_at,
            people_since,
            origin: session.origin.clone(),
            proven: session.proven,
            secret: session.secret.clone(),
            copied: session.copied.clone(),
            subscriptions: open.subscriptions.clone(),
            positions,
        })
    }

    /// Stores the trace of a socket that is gone.
    pub(super) fn keep_trace(&mut self, did: &Did, mut trace: Trace, now: Micros) {
        if self.settings.restore == 0
            || trace.subscriptions.is_empty()
            || trace.subscriptions.cost() > restore::TRACE_BYTES
        {
            return;
        }
        let is_time_to_count = trace.id % COUNT_EVERY == 0;
        trace.closed_at = Some(now);
        self.keep(Keep::Trace(did.clone(), now, Box::new(trace)));
        if is_time_to_count {
            self.keep(Keep::TidyTraces(self.kept_since(now)));
        }
        self.effects.push(Effect::WakeForTraces);
    }

    /// Notes that a person changed, for those who miss it (Q13).
    pub(super) fn note_change(&mut self, publication: &Publication, moment: &Moment<'_>) {
        if self.settings.restore == 0 {
            return;
        }
        self.keep(Keep::Changed(publication.clone(), moment.now));
        self.changes += 1;
        self.tidy_changes(CHANGES_EVERY, moment.now);
    }

    /// Deletes old changes of people, if `at_least` so many came since the last time.
    pub(super) fn tidy_changes(&mut self, at_least: u32, now: Micros) {
        if self.changes >= at_least {
            self.changes = 0;
            self.keep(Keep::TidyChanges(self.kept_since(now)));
        }
    }
}
