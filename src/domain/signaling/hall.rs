//! The rooms that share one object. Anybody can choose the name of a room, so one object per room
//! would cost files and descriptors for every invented name. Here a room costs as much as its
//! sockets, and ends with the last of them.

use std::collections::BTreeMap;

use super::room::{Caller, Room, Session, SocketId};
use crate::domain::frame_budget::{Budget, Rate, Verdict};
use crate::wire::time::Micros;

/// The most rooms with peers in one object, not counting voice channels (S21). A room of two takes
/// a few kilobytes, so all of them take an eighth of an object's memory (platform facts 2.8).
pub const ROOMS_MAX: usize = 2_000;

/// The most sockets of one object: of rooms, joined or not, of observers of one community, of a
/// gateway. The runtime accepts four times as many, and one more is a panic that ends every object
/// (platform facts 2.1, T5).
pub const SOCKETS_MAX: usize = 8_192;

/// Whether an object with this many sockets is full.
pub const fn is_full(sockets: usize) -> bool {
    sockets >= SOCKETS_MAX
}

/// How fast rooms may open in one object (S21): faster than one address may open sockets at all
/// (C14), so that nobody alone uses it up for the others.
pub const OPENINGS: Rate = Rate { per_second: 100, burst: 1_000 };

/// See the module.
#[derive(Debug)]
pub struct Hall {
    max_peers: usize,
    rooms: BTreeMap<String, Room>,
    openings: Budget,
}

impl Hall {
    /// An object without sockets. `max_peers` is `SIGNAL_MAX_PEERS` (S15).
    pub fn new(max_peers: usize) -> Self {
        Self { max_peers, rooms: BTreeMap::new(), openings: Budget::default() }
    }

    /// A room with sockets.
    pub fn room(&self, name: &str) -> Option<&Room> {
        self.rooms.get(name)
    }

    /// A room with sockets.
    pub fn room_mut(&mut self, name: &str) -> Option<&mut Room> {
        self.rooms.get_mut(name)
    }

    /// All rooms with sockets.
    pub fn names(&self) -> Vec<String> {
        self.rooms.keys().cloned().collect()
    }

    /// Whether any room has peers.
    pub fn is_occupied(&self) -> bool {
        self.rooms.values().any(|room| !room.is_empty())
    }

    /// Adds a new socket to a room.
    pub fn enter(&mut self, name: &str, id: SocketId, caller: Caller, now: Micros) -> Session {
        self.open(name).enter(id, caller, now)
    }

    /// Adds a socket after the object woke.
    pub fn restore(&mut self, name: &str, session: Session) {
        self.open(name).restore(session);
    }

    fn open(&mut self, name: &str) -> &mut Room {
        let max_peers = self.max_peers;
        self.rooms.entry(name.to_owned()).or_insert_with(|| Room::new(name.to_owned(), max_peers))
    }

    /// Whether a first peer may join a room (S21). A room with peers is open already.
    pub fn may_open(&mut self, name: &str, now: Micros) -> bool {
        if self.rooms.get(name).is_some_and(|room| !room.is_empty()) {
            return true;
        }
        let open = self.rooms.values().filter(|room| !room.is_empty() && !room.is_bound()).count();
        open < ROOMS_MAX && self.openings.take(OPENINGS, now) == Verdict::Fine
    }

    /// Deletes a room without sockets.
    pub fn tidy(&mut self, name: &str) {
        if self.rooms.get(name).is_some_and(Room::is_deserted) {
            self.rooms.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::signaling::room::{Access, JoinRequest, Lease};

    const NOW: Micros = Micros(1_772_366_400_000_000);

    /// Opens a socket to a room and tries to join it; returns whether that succeeded.
    fn join(hall: &mut Hall, id: SocketId, name: &str, access: Access, now: Micros) -> bool {
        hall.enter(name, id, Caller::default(), now);
        let may = access == Access::Bound || hall.may_open(name, now);
        if may {
            let request = JoinRequest { peer_id: format!("p{id}"), secret: None };
            hall.room_mut(name).unwrap().join(id, &request, access, &Lease::none(now));
        }
        may
    }

    #[test]
    fn an_object_takes_a_quarter_of_the_sockets_that_the_runtime_takes() {
        // The limit of hibernatable sockets per object (platform facts 2.1).
        const OF_THE_RUNTIME: usize = 32_768;
        let taken = (0..OF_THE_RUNTIME).take_while(|open| !is_full(*open)).count();
        assert_eq!(taken, OF_THE_RUNTIME / 4);
        assert!((taken..OF_THE_RUNTIME).all(is_full), "and no more");
    }

    #[test]
    fn s21_rooms_in_an_object_are_bounded_and_others_go_on() {
        let mut hall = Hall::new(64);
        let at = |n: usize| Micros(NOW.0 + 1_000_000 * i64::try_from(n).unwrap());
        let full = ROOMS_MAX as u64;
        for n in 0..full {
            assert!(join(&mut hall, n, &format!("r{n}"), Access::Free, at(n as usize)));
        }
        let later = at(ROOMS_MAX + 100);
        assert!(!join(&mut hall, full, "one more", Access::Free, later));
        assert!(join(&mut hall, full + 1, "r0", Access::Free, later), "a room that is open takes more");
        assert!(
            join(&mut hall, full + 2, "channel", Access::Bound, later),
            "a voice channel is no made-up name"
        );
        hall.room_mut("r1").unwrap().close(1);
        hall.tidy("r1");
        assert!(join(&mut hall, full + 3, "in its place", Access::Free, later), "one ended");
    }

    #[test]
    fn s21_rooms_begin_at_a_bounded_rate() {
        let mut hall = Hall::new(64);
        let burst = u64::try_from(OPENINGS.burst).unwrap();
        for n in 0..burst {
            assert!(join(&mut hall, n, &format!("r{n}"), Access::Free, NOW));
        }
        assert!(!join(&mut hall, burst, "late", Access::Free, NOW));
        let second = Micros(NOW.0 + 1_000_000);
        assert!(join(&mut hall, burst + 1, "a second later", Access::Free, second));
    }

    #[test]
    fn a_room_is_forgotten_with_its_last_socket() {
        let mut hall = Hall::new(64);
        hall.enter("r", 1, Caller::default(), NOW);
        hall.tidy("r");
        assert!(hall.room("r").is_some() && !hall.is_occupied(), "a socket that has not joined");
        hall.room_mut("r").unwrap().close(1);
        hall.tidy("r");
        assert!(hall.names().is_empty());
    }
}
