//! Which connections stay: the rule. No system calls, no clock.
//!
//! A connection is *silent* until the head of its first request is complete. A stranger can open
//! many silent ones for nothing, so they are the first to be closed. A connection with unread bytes
//! is not silent: a busy runtime may not have read them yet.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

/// What counts as one address: an IPv4 address, or the first 64 bits of an IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Address(u128);

impl Address {
    /// The address that a peer counts for.
    pub fn of(peer: IpAddr) -> Self {
        match peer.to_canonical() {
            IpAddr::V4(address) => Self(u128::from(address.to_bits())),
            IpAddr::V6(address) => Self(address.to_bits() >> 64 << 64),
        }
    }
}

/// The limits on connections; 0 is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// In all.
    pub all: usize,
    /// Of one address.
    pub per_address: usize,
    /// How long a connection may be silent.
    pub silent_millis: u64,
}

/// How many silent connections are checked for one without unread bytes. If there are more, the
/// oldest is closed: checking all of them would delay new connections.
const LOOKED_AT: usize = 64;

/// The verdict on a connection that was just accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It stays.
    Kept,
    /// It stays, and the silent connection with this descriptor is ended for it.
    KeptFor(i32),
    /// It is closed.
    Refused,
}

/// See the module.
#[derive(Debug)]
pub struct Table {
    limits: Limits,
    open: HashMap<i32, Connection>,
    /// The number per limited address.
    per_address: HashMap<Address, usize>,
    /// Silent connections, the oldest first.
    silent: BTreeMap<u64, i32>,
    accepted: u64,
    /// Whether a connection has sent bytes that were not read yet.
    is_unread: fn(i32) -> bool,
}

#[derive(Debug)]
struct Connection {
    /// `None`: not limited by address.
    address: Option<Address>,
    number: u64,
    since: u64,
    head: Head,
}

/// How much of the head of the first request was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Head {
    Nothing,
    /// A part; whether its last byte ends a line.
    Begun {
        at_line_start: bool,
    },
    Complete,
}

impl Table {
    /// No connections.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            open: HashMap::new(),
            per_address: HashMap::new(),
            silent: BTreeMap::new(),
            accepted: 0,
            is_unread: |_| false,
        }
    }

    /// Connections of which `is_unread` is true are not silent.
    pub fn sparing(self, is_unread: fn(i32) -> bool) -> Self {
        Self { is_unread, ..self }
    }

    /// The number of connections.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether there are no connections.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Adds a connection from `address`; `None` is not limited by address. The first rule that
    /// applies decides:
    ///   1. at the limit of its address, the new connection replaces the oldest silent one of that
    ///      address, or is refused if there is none;
    ///   2. at the limit for all, the new connection replaces the oldest silent one of any address,
    ///      or is refused if there is none;
    ///   3. otherwise it stays.
    pub fn accept(&mut self, fd: i32, address: Option<Address>, now: u64) -> Verdict {
        self.close(fd); // the number was reused, so its last connection is gone
        let of_address = address.and_then(|address| self.per_address.get(&address)).copied().unwrap_or(0);
        let verdict = if is_reached(of_address, self.limits.per_address) {
            self.oldest_silent(|connection| connection.address == address)
        } else if is_reached(self.open.len(), self.limits.all) {
            self.oldest_silent(|_| true)
        } else {
            Verdict::Kept
        };
        match verdict {
            Verdict::Refused => return verdict,
            Verdict::KeptFor(ended) => self.close(ended),
            Verdict::Kept => {}
        }
        self.accepted += 1;
        self.silent.insert(self.accepted, fd);
        if let Some(address) = address {
            *self.per_address.entry(address).or_default() += 1;
        }
        self.open.insert(fd, Connection { address, number: self.accepted, since: now, head: Head::Nothing });
        verdict
    }

    fn oldest_silent(&self, fits: impl Fn(&Connection) -> bool) -> Verdict {
        let silent = || self.silent.values().copied().filter(|fd| self.open.get(fd).is_some_and(&fits));
        let quiet = silent().take(LOOKED_AT).find(|fd| !(self.is_unread)(*fd));
        quiet.or_else(|| silent().next()).map_or(Verdict::Refused, Verdict::KeptFor)
    }

    /// Whether a connection has sent nothing yet.
    pub fn is_fresh(&self, fd: i32) -> bool {
        self.open.get(&fd).is_some_and(|connection| connection.head == Head::Nothing)
    }

    /// Adds bytes that a connection sent. Returns whether its head is complete, at the first empty
    /// line.
    pub fn read(&mut self, fd: i32, bytes: &[u8]) -> bool {
        let Some(connection) = self.open.get_mut(&fd) else { return true };
        let mut at_line_start = match connection.head {
            Head::Nothing => false,
            Head::Begun { at_line_start } => at_line_start,
            Head::Complete => return true,
        };
        for byte in bytes {
            match byte {
                b'\n' if at_line_start => {
                    connection.head = Head::Complete;
                    self.silent.remove(&connection.number);
                    return true;
                }
                b'\n' => at_line_start = true,
                b'\r' => {}
                _ => at_line_start = false,
            }
        }
        connection.head = Head::Begun { at_line_start };
        false
    }

    /// Removes a connection.
    pub fn close(&mut self, fd: i32) {
        let Some(connection) = self.open.remove(&fd) else { return };
        self.silent.remove(&connection.number);
        let Some(address) = connection.address else { return };
        if let Some(count) = self.per_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.per_address.remove(&address);
            }
        }
    }

    /// Removes those that have been silent for too long, and returns them.
    pub fn expire(&mut self, now: u64) -> Vec<i32> {
        let is_late = |fd: &&i32| {
            self.open.get(fd).is_some_and(|one| now.saturating_sub(one.since) >= self.limits.silent_millis)
        };
        let late: Vec<i32> =
            self.silent.values().take_while(is_late).copied().filter(|fd| !(self.is_unread)(*fd)).collect();
        for fd in &late {
            self.close(*fd);
        }
        late
    }
}

fn is_reached(count: usize, limit: usize) -> bool {
    limit > 0 && count >= limit
}

/// How many connections a number of descriptors allows: workerd uses two for each, and a quarter of
/// all, at least 512, remains for databases, objects and outbound requests.
pub fn affordable(asked: usize, descriptors: usize) -> usize {
    let most = (descriptors.saturating_sub((descriptors / 4).max(512)) / 2).max(1);
    if asked == 0 { most } else { asked.min(most) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { all: 5, per_address: 3, silent_millis: 10_000 };

    fn address(text: &str) -> Option<Address> {
        Some(Address::of(text.parse().unwrap()))
    }

    #[test]
    fn an_address_is_a_network_of_64_bits() {
        for (one, other, same) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("::ffff:192.0.2.1", "192.0.2.1", true),
            ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", true),
            ("2001:db8:0:1::1", "2001:db8:0:2::1", false),
        ] {
            assert_eq!(address(one) == address(other), same, "{one} {other}");
        }
    }

    #[test]
    fn a_newcomer_takes_the_place_of_the_oldest_silent_one_of_its_address() {
        let mut table = Table::new(LIMITS);
        let (a, b) = (address("192.0.2.1"), address("192.0.2.2"));
        assert_eq!(table.accept(10, b, 0), Verdict::Kept, "of somebody else, and older");
        for fd in [11, 12, 13] {
            assert_eq!(table.accept(fd, a, 0), Verdict::Kept);
        }
        assert!(table.read(11, b"GET / HTTP/1.1\r\n\r\n"));
        assert_eq!(table.accept(14, a, 1), Verdict::KeptFor(12));
        for fd in [13, 14] {
            table.read(fd, b"GET / HTTP/1.1\r\n\r\n");
        }
        assert_eq!(table.accept(15, a, 2), Verdict::Refused, "all of them have asked");
        assert_eq!(table.accept(16, b, 2), Verdict::Kept, "others are not concerned");
        table.close(11);
        assert_eq!(table.accept(15, a, 3), Verdict::Kept);
    }

    #[test]
    fn one_whose_request_waits_to_be_read_is_spared() {
        let mut table = Table::new(LIMITS).sparing(|fd| fd % 2 == 0);
        for fd in 0..5 {
            table.accept(fd, None, 0);
        }
        assert_eq!(table.accept(10, None, 1), Verdict::KeptFor(1), "0 is older, and has asked");
        assert_eq!(table.accept(12, None, 1), Verdict::KeptFor(3));
        assert_eq!(table.accept(14, None, 1), Verdict::KeptFor(0), "if all wait, the oldest");
        assert_eq!(table.expire(99_000), [0; 0], "it is not its fault that nobody looked");
        let mut table = Table::new(LIMITS).sparing(|_| false);
        table.accept(0, None, 0);
        assert_eq!(table.expire(99_000), [0]);
    }

    #[test]
    fn all_together_are_bounded_too() {
        let mut table = Table::new(LIMITS);
        for fd in 0..5 {
            assert_eq!(table.accept(fd, None, 0), Verdict::Kept, "an exempt address");
        }
        assert_eq!(table.accept(5, address("192.0.2.1"), 0), Verdict::KeptFor(0));
        for fd in 1..6 {
            assert!(table.read(fd, b"\n\n"));
        }
        assert_eq!(table.accept(6, None, 0), Verdict::Refused);
        assert_eq!(table.len(), 5);
        let mut table = Table::new(Limits { all: 0, per_address: 0, ..LIMITS });
        for fd in 0..100 {
            assert_eq!(table.accept(fd, address("192.0.2.1"), 0), Verdict::Kept, "0 is no limit");
        }
    }

    #[test]
    fn silence_ends_with_the_head_of_a_request() {
        let mut table = Table::new(LIMITS);
        table.accept(1, None, 0);
        table.accept(2, None, 0);
        for piece in [&b"GET / HTTP/1.1\r"[..], b"\nhost: x", b"\r\n\r"] {
            assert!(!table.read(1, piece));
            assert!(!table.read(2, piece));
        }
        assert!(table.read(1, b"\n"), "in pieces");
        table.accept(3, None, 5_000);
        assert_eq!(table.expire(9_999), [0; 0]);
        assert_eq!(table.expire(10_000), [2]);
        assert_eq!(table.expire(14_999), [0; 0]);
        assert_eq!(table.expire(15_000), [3]);
        assert_eq!(table.expire(99_000), [0; 0], "who asked may be silent");
        assert!(table.read(7, b"x"), "nobody knows it");
        assert_eq!(table.len(), 1);
    }

    /// Any order of events: the sums stay correct, and nothing outgrows the open connections.
    #[test]
    fn books_agree() {
        let mut table = Table::new(LIMITS);
        let mut random = 1_u32;
        for now in 0..100_000 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let fd = i32::from((random >> 24) as u8 % 12);
            match (random >> 16) % 4 {
                0 | 1 => {
                    let _ = table.accept(fd, [None, address("192.0.2.1")][(random >> 9) as usize % 2], now);
                }
                2 => table.close(fd),
                _ => drop(table.read(fd, &[b'\n'; 2][..(random >> 9) as usize % 3])),
            }
            table.expire(now);
            assert!(table.len() <= LIMITS.all);
            assert_eq!(
                table.silent.len(),
                table.open.values().filter(|one| one.head != Head::Complete).count()
            );
            let limited = table.open.values().filter(|one| one.address.is_some()).count();
            assert_eq!(table.per_address.values().sum::<usize>(), limited);
            assert!(limited <= LIMITS.per_address);
        }
    }

    #[test]
    fn descriptors_are_left_for_the_rest() {
        for (asked, descriptors, expected) in [
            (20_000, 262_144, 20_000),
            (20_000, 20_000, 7_500),
            (0, 20_000, 7_500),
            (20_000, 1_024, 256),
            (5, 100, 1),
        ] {
            assert_eq!(affordable(asked, descriptors), expected, "{asked} of {descriptors}");
        }
    }
}
