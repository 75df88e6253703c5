//! Room for what is large: how many bytes are held at a time.
//!
//! Whoever takes room gives it back, or loses it after a while: a request whose client goes away
//! is never heard of again, and what it took must not be gone for good.

use std::collections::BTreeMap;

use crate::wire::time::Micros;

/// See the module.
#[derive(Debug, Default)]
pub struct Room {
    taken: BTreeMap<u64, (u64, Micros)>,
    next: u64,
}

/// How much there is, what needs none, and how long it may be kept.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Bytes in all. A single taker may have more, if nobody else has any.
    pub all: u64,
    /// Up to so many bytes are given at once, whatever else is taken.
    pub small: u64,
    /// How long room is kept, in microseconds.
    pub kept: i64,
}

impl Room {
    /// All of it is free.
    pub const fn new() -> Self {
        Self { taken: BTreeMap::new(), next: 0 }
    }

    /// Takes room for so many bytes; what it is given back by. `None`: there is none now.
    pub fn take(&mut self, bytes: u64, size: &Size, now: Micros) -> Option<u64> {
        self.taken.retain(|_, (_, until)| *until > now);
        let taken = self.taken.values().fold(0_u64, |sum, (bytes, _)| sum.saturating_add(*bytes));
        if bytes > size.small && taken > 0 && taken.saturating_add(bytes) > size.all {
            return None;
        }
        self.next = self.next.wrapping_add(1);
        self.taken.insert(self.next, (bytes, Micros(now.0.saturating_add(size.kept))));
        Some(self.next)
    }

    /// Gives room back.
    pub fn give(&mut self, by: u64) {
        self.taken.remove(&by);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { all: 100, small: 10, kept: 60 };

    #[test]
    fn b20_room_is_taken_and_given_back() {
        let mut room = Room::new();
        let first = room.take(70, &SIZE, Micros(0)).unwrap();
        assert!(room.take(40, &SIZE, Micros(1)).is_none(), "no room");
        assert!(room.take(10, &SIZE, Micros(1)).is_some(), "what is small waits for nobody");
        assert!(room.take(20, &SIZE, Micros(1)).is_some(), "it fits");
        room.give(first);
        assert!(room.take(70, &SIZE, Micros(2)).is_some(), "given back");
        room.give(first);
        assert!(room.take(40, &SIZE, Micros(3)).is_none(), "given back once only");
    }

    #[test]
    fn b20_what_is_never_given_back_is_lost_after_a_while() {
        let mut room = Room::new();
        assert!(room.take(500, &SIZE, Micros(0)).is_some(), "too much, but nobody else has any");
        assert!(room.take(20, &SIZE, Micros(59)).is_none());
        assert!(room.take(100, &SIZE, Micros(60)).is_some());
    }
}
