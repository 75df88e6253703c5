//! Moderators' decisions that wait for the next commit of the stream.
//!
//! Decisions and the stream write to the same ledger, and a commit fails if another came in between (invariant 3). So
//! the object that commits the stream commits decisions too, many with one batch, instead of having all compete.
//!
//! Promises (X26): decisions leave in the order in which they came. No two of a commit have the same caller and
//! `Idempotency-Key`, because the second must find the first one stored. The number and size of those that wait are
//! bounded, for all and for each caller. After a commit with decisions failed, the events that were in it are
//! committed without any, so that a decision that the database cannot store does not stop the stream.

use std::collections::VecDeque;

use super::moderation::{Decision, Measure};
use crate::wire::time::Micros;

/// The most decisions that wait (X26).
const WAITING_MAX: usize = 1_000;
/// The most of one caller (X26).
const OF_ONE_MAX: usize = 500;
/// The most bytes of all that wait; the largest decision has 64 KiB (H03).
const BYTES_MAX: usize = 4 * 1024 * 1024;
/// The most decisions of one commit.
const AT_ONCE: usize = 200;
/// The most bytes of one commit, unless one decision alone is larger.
const BYTES_AT_ONCE: usize = 512 * 1024;
/// How long after a decision more are expected, in microseconds.
const MORE_WITHIN: i64 = 2_000_000;
/// The frames of a batch while decisions are expected: a decision waits for the end of one batch and for its own.
const FRAMES_BESIDE: usize = 200;
/// What a decision takes beside longer texts, in bytes: two identifiers, and what holds them.
const DECISION_BYTES: usize = 2 * 1024;

/// A decision that waits.
#[derive(Debug)]
struct Waiting {
    number: u64,
    bytes: usize,
    decision: Decision,
}

/// See the module.
#[derive(Debug, Default)]
pub struct DecisionQueue {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    last: u64,
    /// When the last decision came.
    came_at: Option<Micros>,
    /// A commit with decisions failed, and none without has followed.
    failed: bool,
}

impl DecisionQueue {
    /// Adds a decision that came at the time `now`, and returns its number; `None` if there is no room.
    pub fn join(&mut self, decision: Decision, now: Micros) -> Option<u64> {
        let bytes = size(&decision);
        let theirs = self.waiting.iter().filter(|one| one.decision.caller == decision.caller).count();
        let is_full =
            self.waiting.len() >= WAITING_MAX || theirs >= OF_ONE_MAX || self.bytes + bytes > BYTES_MAX;
        if is_full {
            return None;
        }
        self.last += 1;
        self.bytes += bytes;
        self.came_at = Some(now);
        self.waiting.push_back(Waiting { number: self.last, bytes, decision });
        Some(self.last)
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes the decisions of the next commit, with their numbers. `beside_events`: whether that commit has events.
    pub fn take(&mut self, beside_events: bool) -> Vec<(u64, Decision)> {
        if beside_events && std::mem::take(&mut self.failed) {
            return Vec::new();
        }
        let mut taken: Vec<(u64, Decision)> = Vec::new();
        let mut bytes = 0;
        while let Some(next) = self.waiting.front() {
            let is_same_request = |(_, one): &(u64, Decision)| {
                next.decision.once.is_some()
                    && one.caller == next.decision.caller
                    && one.once.as_ref().map(|once| &once.key)
                        == next.decision.once.as_ref().map(|once| &once.key)
            };
            let is_over = taken.len() >= AT_ONCE || bytes + next.bytes > BYTES_AT_ONCE;
            if !taken.is_empty() && (is_over || taken.iter().any(is_same_request)) {
                break;
            }
            let Some(next) = self.waiting.pop_front() else { break };
            bytes += next.bytes;
            self.bytes = self.bytes.saturating_sub(next.bytes);
            taken.push((next.number, next.decision));
        }
        taken
    }

    /// A commit with decisions failed.
    pub fn failed(&mut self) {
        self.failed = true;
    }

    /// Removes a decision, if it still waits: its caller waits no longer.
    pub fn withdraw(&mut self, number: u64) {
        if let Some(at) = self.waiting.iter().position(|one| one.number == number)
            && let Some(gone) = self.waiting.remove(at)
        {
            self.bytes = self.bytes.saturating_sub(gone.bytes);
        }
    }

    /// How many frames the next batch has at the time `now`, if it has `usual` otherwise.
    pub fn frames_at_once(&self, usual: usize, now: Micros) -> usize {
        let are_expected =
            self.came_at.is_some_and(|came| now.0.abs_diff(came.0) < MORE_WITHIN.unsigned_abs());
        if are_expected || !self.is_empty() { FRAMES_BESIDE.min(usual) } else { usual }
    }
}

/// About how much memory a decision takes, in bytes.
fn size(decision: &Decision) -> usize {
    let people = match &decision.what {
        Measure::Moderators(_, people) => people.iter().map(|did| did.as_str().len() + 64).sum(),
        _ => 0,
    };
    let once = decision.once.as_ref().map_or(0, |once| once.key.len() + once.request.len());
    DECISION_BYTES
        + people
        + once
        + decision.reason.as_ref().map_or(0, String::len)
        + decision.caller.name().len()
}

#[cfg(test)]
mod tests {
    use super::super::moderation::{Caller, Once, Proof};
    use super::*;
    use crate::wire::ids::{AtUri, Did};

    fn did(name: &str) -> Did {
        Did::parse(&format!("did:plc:{name}")).unwrap()
    }

    fn decision(caller: &str, key: Option<&str>) -> Decision {
        let community = AtUri::parse("at://did:plc:alice/social.colibri.community/c").unwrap();
        let what = Measure::Kick(community, did("bob"));
        let once = key.map(|key| Once { key: key.into(), request: "r".into() });
        Decision { once, ..Decision::new(Caller::Person(did(caller)), Proof::ServiceAuth, what) }
    }

    fn numbers(taken: &[(u64, Decision)]) -> Vec<u64> {
        taken.iter().map(|(number, _)| *number).collect()
    }

    #[test]
    fn decisions_leave_in_order_and_once_unless_they_are_withdrawn() {
        let mut queue = DecisionQueue::default();
        for n in 1..=4 {
            assert_eq!(queue.join(decision("alice", None), Micros(0)), Some(n));
        }
        queue.withdraw(2);
        queue.withdraw(9);
        assert_eq!(numbers(&queue.take(true)), [1, 3, 4]);
        assert!(queue.is_empty() && queue.bytes == 0 && queue.take(true).is_empty());
    }

    #[test]
    fn x23_the_second_request_with_a_key_waits_until_the_first_is_stored() {
        let mut queue = DecisionQueue::default();
        for (caller, key) in [("alice", Some("1")), ("zoe", Some("1")), ("alice", None), ("alice", None)] {
            queue.join(decision(caller, key), Micros(0));
        }
        queue.join(decision("alice", Some("1")), Micros(0));
        queue.join(decision("alice", Some("2")), Micros(0));
        assert_eq!(numbers(&queue.take(true)), [1, 2, 3, 4]);
        assert_eq!(numbers(&queue.take(true)), [5, 6]);
    }

    #[test]
    fn x26_what_waits_is_bounded_for_all_and_for_each_caller() {
        let mut queue = DecisionQueue::default();
        let mut fill = |caller: &str| {
            (0..).take_while(|_| queue.join(decision(caller, None), Micros(0)).is_some()).count()
        };
        assert_eq!([fill("alice"), fill("zoe"), fill("carol")], [OF_ONE_MAX, WAITING_MAX - OF_ONE_MAX, 0]);
        assert_eq!(queue.take(true).len(), AT_ONCE);
        let people = (0..100).map(|n| did(&format!("{n}{}", "a".repeat(200)))).collect();
        let community = AtUri::parse("at://did:plc:alice/social.colibri.community/c").unwrap();
        let large = Decision { what: Measure::Moderators(community, people), ..decision("dora", None) };
        let mut queue = DecisionQueue::default();
        let count = (0..).take_while(|_| queue.join(large.clone(), Micros(0)).is_some()).count();
        assert_eq!(count, BYTES_MAX / size(&large));
        assert_eq!(queue.take(true).len(), BYTES_AT_ONCE / size(&large));
    }

    #[test]
    fn after_a_failure_the_events_are_committed_without_decisions_first() {
        let mut queue = DecisionQueue::default();
        queue.join(decision("alice", None), Micros(0));
        queue.failed();
        assert!(queue.take(true).is_empty());
        assert_eq!(queue.take(true).len(), 1);
        queue.join(decision("alice", None), Micros(0));
        queue.failed();
        assert_eq!(queue.take(false).len(), 1, "there are no events to commit first");
    }

    #[test]
    fn batches_are_small_while_decisions_are_expected() {
        let mut queue = DecisionQueue::default();
        assert_eq!(queue.frames_at_once(2_000, Micros(0)), 2_000);
        queue.join(decision("alice", None), Micros(0));
        queue.take(true);
        assert_eq!(queue.frames_at_once(2_000, Micros(MORE_WITHIN - 1)), FRAMES_BESIDE);
        assert_eq!(queue.frames_at_once(2_000, Micros(MORE_WITHIN)), 2_000);
    }
}
