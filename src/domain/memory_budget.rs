//! The memory budget for large downloads: how many run at a time, and how many bytes they hold
//! together.
//!
//! An isolate has 128 MB for everything, and downloads come from hosts that anybody can name. So
//! there are slots, and bytes count as they arrive, not as they are announced. Promises: a host has
//! its share and no more while others need room; the download that holds most may continue, so that
//! one always finishes and no two wait for each other; a slow one yields to those that wait; those
//! that wait get slots in order, as far as their hosts have any left. A download that shows no sign
//! of life, because its request ended, loses its slot after a while.

use std::collections::BTreeMap;

use crate::wire::time::Micros;

const SECOND: u64 = 1_000_000;

/// See the module.
#[derive(Debug, Default)]
pub struct MemoryBudget {
    active: BTreeMap<u64, Active>,
    /// The number of slots that each host uses.
    hosts: BTreeMap<String, usize>,
    waiting: BTreeMap<u64, Waiting>,
    next: u64,
    checked_at: Micros,
}

/// The limits. All downloads together hold at most `all`, `small_in_all`, and the maximum of a
/// single one.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// All slots.
    pub slots: usize,
    /// Slots per host.
    pub slots_of_host: usize,
    /// Bytes of downloads larger than [`Size::small`].
    pub all: u64,
    /// Of these, the bytes per host.
    pub of_host: u64,
    /// Small downloads do not wait behind large ones.
    pub small: u64,
    /// Bytes of downloads no larger than [`Size::small`].
    pub small_in_all: u64,
    /// How long a slot, or a place in the queue, is kept without a sign of life, in microseconds.
    pub kept: i64,
    /// A download is slow if it started longer ago than this, in microseconds,
    pub grace: i64,
    /// and received fewer bytes per second since.
    pub slow: u64,
}

#[derive(Debug)]
struct Active {
    host: String,
    /// Bytes held.
    holds: u64,
    /// Bytes received.
    came: u64,
    since: Micros,
    seen: Micros,
    /// Since when it waits for room, which is not its host's fault.
    stalls_since: Option<Micros>,
    /// Whether everything has arrived.
    is_settled: bool,
}

#[derive(Debug)]
struct Waiting {
    host: String,
    seen: Micros,
}

/// The answer to a request to hold more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// Granted.
    Yes,
    /// There is no room now.
    Wait,
    /// The slot is lost: the download was slow while others waited, or showed no sign of life for
    /// too long.
    Lost,
}

impl MemoryBudget {
    /// Everything is free.
    pub const fn new() -> Self {
        Self {
            active: BTreeMap::new(),
            hosts: BTreeMap::new(),
            waiting: BTreeMap::new(),
            next: 0,
            checked_at: Micros(0),
        }
    }

    /// A place in the queue for a slot.
    pub fn queue(&mut self, host: &str, now: Micros) -> u64 {
        self.next = self.next.wrapping_add(1);
        self.waiting.insert(self.next, Waiting { host: host.to_owned(), seen: now });
        self.next
    }

    /// Whether the waiting download gets its slot now, under the same number. The first rule that
    /// applies decides:
    ///   1. its host has no slot left: if one of the host's is slow, that one is lost; otherwise
    ///      no;
    ///   2. there are more free slots than others who could start before it: yes;
    ///   3. it is the first that could start, and some download is slow: that slot is lost, and
    ///      yes;
    ///   4. otherwise no.
    pub fn start(&mut self, by: u64, size: &Size, now: Micros) -> bool {
        self.forget(size, now);
        let Some(waiting) = self.waiting.get_mut(&by) else { return false };
        waiting.seen = now;
        let host = waiting.host.clone();
        if self.slots_of(&host) >= size.slots_of_host && !self.lose_slow(size, now, |one| one.host == host) {
            return false;
        }
        let free = size.slots.saturating_sub(self.active.len());
        // Thousands may wait, and each of them checks, so this counts no more than necessary.
        let could_start = |other: &Waiting| self.slots_of(&other.host) < size.slots_of_host;
        let before =
            self.waiting.range(..by).filter(|(_, other)| could_start(other)).take(free.max(1)).count();
        if free <= before && !(before == 0 && self.lose_slow(size, now, |_| true)) {
            return false;
        }
        self.waiting.remove(&by);
        *self.hosts.entry(host.clone()).or_default() += 1;
        let active =
            Active { host, holds: 0, came: 0, since: now, seen: now, stalls_since: None, is_settled: false };
        self.active.insert(by, active);
        true
    }

    /// Holds `bytes` in all, if there is room. The first rule that applies decides:
    ///   1. the slot is lost;
    ///   2. a small download has room of its own;
    ///   3. it fits beside the others, and beside the others of its host: yes;
    ///   4. no other holds more: yes, because one must finish first;
    ///   5. some download is slow: that slot is lost, and with its room this may fit;
    ///   6. otherwise it waits.
    pub fn hold(&mut self, by: u64, bytes: u64, size: &Size, now: Micros) -> Held {
        self.forget(size, now);
        let Some(one) = self.active.get_mut(&by) else { return Held::Lost };
        one.seen = now;
        let (host, holds) = (one.host.clone(), one.holds);
        loop {
            let others = || self.active.iter().filter(|(other, _)| **other != by).map(|(_, other)| other);
            let sum = |are: &dyn Fn(&Active) -> bool| {
                others().filter(|other| are(other)).fold(0_u64, |sum, other| sum.saturating_add(other.holds))
            };
            let small = sum(&|other| other.holds <= size.small);
            let large = sum(&|other| other.holds > size.small);
            let of_host = sum(&|other| other.holds > size.small && other.host == host);
            let fits = if bytes <= size.small {
                small.saturating_add(bytes) <= size.small_in_all
            } else {
                large.saturating_add(bytes) <= size.all && of_host.saturating_add(bytes) <= size.of_host
            };
            let is_first = || {
                self.active.iter().all(|(other, active)| {
                    *other == by || active.holds < holds || active.holds == holds && *other > by
                })
            };
            if bytes <= holds || fits || is_first() {
                if let Some(one) = self.active.get_mut(&by) {
                    one.holds = bytes;
                    let stalled = one.stalls_since.take().map_or(0, |since| now.0.saturating_sub(since.0));
                    one.since = Micros(one.since.0.saturating_add(stalled));
                }
                return Held::Yes;
            }
            if let Some(one) = self.active.get_mut(&by) {
                one.stalls_since.get_or_insert(now);
            }
            if !self.lose_slow(size, now, |other| other.holds > 0) {
                return Held::Wait;
            }
        }
    }

    /// Reports the bytes received so far; returns whether the slot still exists.
    pub fn came(&mut self, by: u64, bytes: u64, now: Micros) -> bool {
        self.active.get_mut(&by).is_some_and(|one| {
            (one.came, one.seen) = (bytes, now);
            true
        })
    }

    /// Everything has arrived, so the host's speed no longer matters. Returns whether the slot
    /// still exists.
    pub fn settle(&mut self, by: u64, now: Micros) -> bool {
        self.active.get_mut(&by).is_some_and(|one| {
            (one.is_settled, one.seen) = (true, now);
            true
        })
    }

    /// Releases the slot and its room, or the place in the queue.
    pub fn leave(&mut self, by: u64) {
        self.waiting.remove(&by);
        let Some(left) = self.active.remove(&by) else { return };
        if let Some(slots) = self.hosts.get_mut(&left.host) {
            *slots = slots.saturating_sub(1);
            if *slots == 0 {
                self.hosts.remove(&left.host);
            }
        }
    }

    fn slots_of(&self, host: &str) -> usize {
        self.hosts.get(host).copied().unwrap_or(0)
    }

    /// Drops those that showed no sign of life for too long. It checks once a second, because all
    /// of them may be waiting.
    fn forget(&mut self, size: &Size, now: Micros) {
        if now.0.saturating_sub(self.checked_at.0).unsigned_abs() < SECOND {
            return;
        }
        self.checked_at = now;
        let is_gone = |seen: Micros| now.0.saturating_sub(seen.0) >= size.kept;
        let gone: Vec<u64> =
            self.active.iter().filter(|(_, one)| is_gone(one.seen)).map(|(by, _)| *by).collect();
        gone.into_iter().for_each(|by| self.leave(by));
        self.waiting.retain(|_, one| !is_gone(one.seen));
    }

    /// Takes the slot of the slowest of these, if one of them is slow.
    fn lose_slow(&mut self, size: &Size, now: Micros, of: impl Fn(&Active) -> bool) -> bool {
        let slowest = self
            .active
            .iter()
            .filter(|(_, one)| of(one) && !one.is_settled && one.stalls_since.is_none())
            .filter(|(_, one)| now.0.saturating_sub(one.since.0) >= size.grace)
            .map(|(by, one)| (one.speed(now), *by))
            .min();
        match slowest.filter(|(speed, _)| *speed < size.slow) {
            Some((_, by)) => {
                self.leave(by);
                true
            }
            None => false,
        }
    }
}

impl Active {
    /// Bytes per second since it started.
    fn speed(&self, now: Micros) -> u64 {
        let micros = u64::try_from(now.0.saturating_sub(self.since.0)).unwrap_or(0).max(1);
        self.came.saturating_mul(SECOND) / micros
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size {
        slots: 4,
        slots_of_host: 2,
        all: 100,
        of_host: 60,
        small: 10,
        small_in_all: 25,
        kept: 60_000_000,
        grace: 3_000_000,
        slow: 1_000,
    };

    fn at(seconds: i64) -> Micros {
        Micros(seconds * 1_000_000)
    }

    impl MemoryBudget {
        fn slot(&mut self, host: &str, now: Micros) -> Option<u64> {
            let by = self.queue(host, now);
            self.start(by, &SIZE, now).then_some(by)
        }

        fn holds(&mut self, by: u64, bytes: u64) -> Held {
            self.hold(by, bytes, &SIZE, at(0))
        }

        fn in_all(&self) -> u64 {
            self.active.values().map(|one| one.holds).sum()
        }
    }

    #[test]
    fn b20_bytes_count_as_they_come() {
        let mut room = MemoryBudget::new();
        let [a, b, c] = ["a", "b", "c"].map(|host| room.slot(host, at(0)).unwrap());
        assert_eq!(room.holds(a, 55), Held::Yes, "it fits");
        assert_eq!(room.holds(b, 40), Held::Yes, "it fits");
        assert_eq!(room.holds(c, 10), Held::Yes, "what is small waits for nobody");
        assert_eq!(room.holds(c, 11), Held::Wait, "what is not does");
        assert_eq!(room.holds(b, 46), Held::Wait, "more than there is");
        assert_eq!(room.holds(a, 90), Held::Yes, "who holds most goes on");
        assert_eq!(room.holds(b, 41), Held::Wait);
        room.leave(a);
        assert_eq!(room.holds(b, 80), Held::Yes, "given back; the largest may have more than its share");
        assert_eq!(room.holds(c, 20), Held::Yes);
        assert_eq!(room.holds(b, 30), Held::Yes, "less is always given");
        room.leave(b);
        assert_eq!(room.holds(b, 1), Held::Lost, "who left is gone");
    }

    #[test]
    fn b20_a_host_has_its_share() {
        let mut room = MemoryBudget::new();
        let [a, b] = [room.slot("a", at(0)).unwrap(), room.slot("a", at(0)).unwrap()];
        assert_eq!(room.slot("a", at(0)), None, "no third slot");
        let other = room.slot("b", at(0)).unwrap();
        assert_eq!((room.holds(a, 40), room.holds(b, 20)), (Held::Yes, Held::Yes));
        assert_eq!(room.holds(b, 30), Held::Wait, "its host holds enough");
        assert_eq!(room.holds(other, 30), Held::Yes, "another host's does not wait for that");
        assert_eq!(room.holds(a, 61), Held::Yes, "but the largest ends");
    }

    #[test]
    fn b20_small_ones_are_bounded_too() {
        let mut room = MemoryBudget::new();
        let slots = ["a", "b", "c"].map(|host| room.slot(host, at(0)).unwrap());
        assert_eq!(slots.map(|by| room.holds(by, 10)), [Held::Yes, Held::Yes, Held::Wait]);
    }

    /// Two downloads that announce much, send a byte and stall keep nobody waiting.
    #[test]
    fn b20_who_is_slow_makes_room_for_those_who_wait() {
        let mut room = MemoryBudget::new();
        let slow = ["a", "a", "b", "b"].map(|host| room.slot(host, at(0)).unwrap());
        let honest = room.queue("c", at(0));
        for by in slow {
            assert!(room.came(by, 100, at(1)));
        }
        assert!(!room.start(honest, &SIZE, at(2)), "everybody may begin slowly");
        assert!(room.start(honest, &SIZE, at(3)));
        assert!(!room.came(slow[0], 100, at(3)), "its slot is lost");
        assert!(slow[1..].iter().all(|by| room.came(*by, 100, at(3))), "and only that one");
        // The same holds for the bytes.
        assert_eq!(room.hold(slow[1], 60, &SIZE, at(3)), Held::Yes);
        assert_eq!(room.hold(slow[2], 40, &SIZE, at(3)), Held::Yes);
        room.came(slow[2], 1_000_000, at(3));
        assert_eq!(room.hold(honest, 30, &SIZE, at(4)), Held::Yes, "the slowest makes room");
        assert!(!room.came(slow[1], 100, at(4)));
        assert!(room.came(slow[2], 1_000_000, at(4)), "who is fast keeps it");
        assert_eq!(room.hold(honest, 61, &SIZE, at(5)), Held::Wait);
        assert!(room.settle(slow[2], at(5)));
        assert_eq!(room.hold(honest, 61, &SIZE, at(50_000_000)), Held::Lost, "no sign of life for too long");
    }

    #[test]
    fn b20_who_settled_is_not_hurried() {
        let mut room = MemoryBudget::new();
        let all = ["a", "a", "b", "b"].map(|host| room.slot(host, at(0)).unwrap());
        for by in all {
            assert!(room.settle(by, at(0)));
        }
        let waits = room.queue("c", at(0));
        assert!(!room.start(waits, &SIZE, at(50)));
        assert!(room.start(waits, &SIZE, at(61)), "but one that shows no sign of life again is gone");
    }

    /// A host is not slow while its bytes are not accepted.
    #[test]
    fn b20_who_waits_for_room_is_not_hurried() {
        let mut room = MemoryBudget::new();
        let [a, b, c] = ["a", "b", "c"].map(|host| room.slot(host, at(0)).unwrap());
        for by in [a, b] {
            room.came(by, 1_000_000, at(0));
        }
        assert_eq!((room.holds(a, 60), room.holds(b, 40)), (Held::Yes, Held::Yes));
        assert_eq!(room.holds(b, 50), Held::Wait);
        room.came(a, 100_000_000, at(0));
        assert_eq!(room.hold(c, 20, &SIZE, at(50)), Held::Wait, "a is fast, and b waits");
        room.leave(a);
        assert_eq!(room.hold(b, 50, &SIZE, at(51)), Held::Yes);
        assert_eq!(room.hold(c, 55, &SIZE, at(52)), Held::Wait, "nor is it slow for having waited");
    }

    #[test]
    fn b20_waiting_downloads_get_slots_in_order() {
        let mut room = MemoryBudget::new();
        let slots = ["a", "a", "b", "b"].map(|host| room.slot(host, at(0)).unwrap());
        let [first, second, third] = ["a", "c", "d"].map(|host| room.queue(host, at(0)));
        let started = |room: &mut MemoryBudget| [first, second, third].map(|by| room.start(by, &SIZE, at(1)));
        assert_eq!(started(&mut room), [false, false, false]);
        room.leave(slots[2]);
        assert!(!room.start(third, &SIZE, at(1)), "not before the second");
        assert_eq!(started(&mut room), [false, true, false], "the first one's host has its slots");
        room.leave(slots[0]);
        assert!(!room.start(third, &SIZE, at(1)), "now the first one's turn has come");
        assert!(room.start(first, &SIZE, at(1)));
    }

    /// 115 hosts with two readers each, each of which wants the maximum for a repository.
    #[test]
    fn k15_memory_does_not_grow_with_the_number_of_hosts() {
        const MB: u64 = 1 << 20;
        const BIG: Size = Size {
            slots: 24,
            slots_of_host: 2,
            all: 24 * MB,
            of_host: 16 * MB,
            small: MB / 4,
            small_in_all: 8 * MB,
            kept: 120_000_000,
            grace: 20_000_000,
            slow: 1 << 16,
        };
        let mut room = MemoryBudget::new();
        let mut wants: BTreeMap<u64, u64> = BTreeMap::new();
        let mut waiting: Vec<u64> = (0..230).map(|n| room.queue(&format!("h{}", n / 2), at(0))).collect();
        let (mut most, mut ended, mut rounds) = (0, 0, 0);
        while ended < 230 {
            rounds += 1;
            assert!(rounds < 20_000, "{ended} of 230 ended: somebody always ends");
            let now = Micros(rounds * 10_000);
            waiting.retain(|by| {
                let started = room.start(*by, &BIG, now);
                if started {
                    wants.insert(*by, 0);
                }
                !started
            });
            let slots: Vec<u64> = wants.keys().copied().collect();
            for by in slots {
                let Some(has) = wants.get(&by).copied() else { continue };
                match room.hold(by, has + 4 * MB, &BIG, now) {
                    Held::Yes if has + 4 * MB >= 52 * MB => {
                        room.leave(by);
                        wants.remove(&by);
                        ended += 1;
                    }
                    Held::Yes => {
                        room.came(by, (has + MB) * 1_000_000, now);
                        wants.insert(by, has + 4 * MB);
                    }
                    Held::Wait => {}
                    Held::Lost => panic!("nobody was slow"),
                }
            }
            most = most.max(room.in_all());
            assert!(room.active.len() <= BIG.slots);
        }
        assert!(most <= (24 + 52) * MB, "{} MB at most", most / MB);
    }
}
