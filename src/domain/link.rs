//! The connection to the stream, as a state machine without a socket and without a clock
//! (J05, J06; platform facts 2.4).
//!
//! [`Link::on`] takes what happened and when, and says what to do. It keeps one connection
//! alive, tells silence from death by a limit of time, pauses between attempts, replaces a
//! connection before the platform stops protecting it, and stays closed while the intake is
//! full. Connections are named by a number, so that news of an old one changes nothing.

use super::pause::growing;
use crate::wire::time::Micros;

const SECOND: i64 = 1_000_000;

/// An attempt that is not open by then has failed.
const CONNECT_WITHIN: i64 = 20 * SECOND;
/// An outbound connection keeps its object in memory for at most 15 minutes (platform facts
/// T1); the successor is opened well before.
const ROTATE_AFTER: i64 = 12 * 60 * SECOND;
/// A connection that lived this long counts as a success even if it was silent.
const STABLE_AFTER: i64 = 10 * SECOND;
/// Pauses between attempts: 1 s, doubling up to 60 s (J05).
const PAUSE_MAX: i64 = 60 * SECOND;

/// How far back a start on another host goes (J04): clocks and delays of two servers differ by
/// less.
const REWIND: i64 = 10 * SECOND;

/// How far the stream is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamPosition {
    /// The Jetstream the cursor belongs to (J04). Empty: nothing of any stream is stored yet.
    pub host: String,
    /// The `time_us` of the last event that is stored, or when reading began.
    pub cursor: Micros,
}

impl StreamPosition {
    /// Where a service begins that has stored nothing yet: at the cursor that its URL names, or
    /// now. It is stored before the first connection: without a cursor each connection would
    /// begin at the end of the stream, and what came while the first ones failed or died would
    /// be missed (J03).
    pub fn beginning(named: Option<Micros>, now: Micros) -> Self {
        let cursor = named.map_or(now, |named| Micros(named.0.saturating_add(REWIND)));
        Self { host: String::new(), cursor }
    }

    /// Where to go on reading at `host`: at the cursor, or on another host at least 10 s before
    /// it (J04). Events that come again change nothing.
    pub fn resume_at(&self, host: &str) -> Micros {
        if self.host == host { self.cursor } else { Micros(self.cursor.0.saturating_sub(REWIND)) }
    }

    /// The position after an event at `time` of `host` as well. It never goes back on one host:
    /// an old and a new connection may overlap.
    pub fn advance(before: Option<Self>, host: &str, time: Micros) -> Self {
        match before {
            Some(position) if position.host == host => Self { cursor: position.cursor.max(time), ..position },
            _ => Self { host: host.to_owned(), cursor: time },
        }
    }
}

/// A stretch of the stream that was not seen (J07).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The Jetstream.
    pub host: String,
    /// The last event that is stored.
    pub from: Micros,
    /// The first event the host still had.
    pub to: Micros,
}

impl Gap {
    /// What the first frame after a connection with a cursor tells. A cursor is inclusive: the
    /// event it names comes again. If the first frame is a later one, the host does not reach
    /// back that far and began where it could, without a word (platform facts 6.2).
    ///
    /// On another host, and at the beginning, the cursor was rewound and names no event, so
    /// nothing can be told.
    pub fn noticed(stored: &StreamPosition, host: &str, first: Micros) -> Option<Self> {
        (stored.host == host && first > stored.cursor).then(|| Self {
            host: host.to_owned(),
            from: stored.cursor,
            to: first,
        })
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Time passed.
    Tick,
    /// A connection is open.
    Opened(u64),
    /// A frame came over a connection.
    Frame(u64),
    /// A connection is closed, or could not be opened.
    Closed(u64),
    /// The intake is full: stop reading.
    Full,
    /// The intake is empty again.
    Drained,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Open a connection under this number, from the cursor.
    Open(u64),
    /// Close the connection with this number.
    Close(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Connection {
    number: u64,
    /// When it was opened, or, while connecting, when the attempt began.
    since: Micros,
    open: bool,
    last_frame: Micros,
}

/// The state of the link.
#[derive(Clone, Debug)]
pub struct Link {
    idle_limit: i64,
    current: Option<Connection>,
    successor: Option<Connection>,
    next_number: u64,
    failures: u32,
    retry_at: Micros,
    full: bool,
}

impl Link {
    /// A link that opens its first connection at the next [`Input::Tick`]. `idle_limit_ms` is
    /// `STREAM_IDLE_MS` (J05).
    pub fn new(idle_limit_ms: i64) -> Self {
        Self {
            idle_limit: idle_limit_ms.saturating_mul(1000),
            current: None,
            successor: None,
            next_number: 1,
            failures: 0,
            retry_at: Micros(0),
            full: false,
        }
    }

    /// Whether frames are expected right now.
    pub fn is_connected(&self) -> bool {
        self.current.is_some_and(|connection| connection.open)
    }

    /// Failed attempts since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether `number` is a connection whose frames count.
    pub fn reads(&self, number: u64) -> bool {
        [self.current, self.successor].into_iter().flatten().any(|c| c.number == number)
    }

    /// When to call again with [`Input::Tick`], at the latest.
    pub fn next_tick(&self) -> Option<Micros> {
        if self.full {
            return None;
        }
        let Some(current) = self.current else { return Some(self.retry_at) };
        let deadline = |c: Connection| {
            if c.open { c.last_frame.0 + self.idle_limit } else { c.since.0 + CONNECT_WITHIN }
        };
        let rotate = if self.successor.is_none() {
            (current.since.0 + ROTATE_AFTER).max(self.retry_at.0)
        } else {
            i64::MAX
        };
        let successor = self.successor.map_or(i64::MAX, deadline);
        Some(Micros(deadline(current).min(rotate).min(successor)))
    }

    /// Takes an input at the time `now`. `jitter` is a random number from 0 to 1.
    pub fn on(&mut self, input: Input, now: Micros, jitter: f64) -> Vec<Action> {
        match input {
            Input::Tick => self.tick(now, jitter),
            Input::Opened(number) => self.opened(number, now),
            Input::Frame(number) => {
                self.failures = 0;
                for connection in [&mut self.current, &mut self.successor].into_iter().flatten() {
                    if connection.number == number {
                        connection.last_frame = now;
                    }
                }
                Vec::new()
            }
            Input::Closed(number) => self.closed(number, now, jitter),
            Input::Full => {
                self.full = true;
                self.close_all()
            }
            Input::Drained => {
                if !std::mem::take(&mut self.full) {
                    return Vec::new();
                }
                self.retry_at = now;
                self.tick(now, jitter)
            }
        }
    }

    fn tick(&mut self, now: Micros, jitter: f64) -> Vec<Action> {
        if self.full {
            return Vec::new();
        }
        let mut actions = Vec::new();
        if let Some(successor) = self.successor.filter(|c| self.is_dead(*c, now)) {
            self.successor = None;
            self.pause(now, jitter);
            actions.push(Action::Close(successor.number));
        }
        if let Some(current) = self.current.filter(|c| self.is_dead(*c, now)) {
            actions.push(Action::Close(current.number));
            actions.extend(self.closed(current.number, now, jitter));
        }
        match self.current {
            None if now >= self.retry_at => {
                let connection = self.attempt(now);
                self.current = Some(connection);
                actions.push(Action::Open(connection.number));
            }
            Some(current)
                if current.open
                    && self.successor.is_none()
                    && now.0 - current.since.0 >= ROTATE_AFTER
                    && now >= self.retry_at =>
            {
                let connection = self.attempt(now);
                self.successor = Some(connection);
                actions.push(Action::Open(connection.number));
            }
            _ => {}
        }
        actions
    }

    fn is_dead(&self, connection: Connection, now: Micros) -> bool {
        if connection.open {
            now.0 - connection.last_frame.0 >= self.idle_limit
        } else {
            now.0 - connection.since.0 >= CONNECT_WITHIN
        }
    }

    fn attempt(&mut self, now: Micros) -> Connection {
        let number = self.next_number;
        self.next_number += 1;
        Connection { number, since: now, open: false, last_frame: now }
    }

    fn opened(&mut self, number: u64, now: Micros) -> Vec<Action> {
        let open = Connection { number, since: now, open: true, last_frame: now };
        if self.current.is_some_and(|c| c.number == number) {
            self.current = Some(open);
            Vec::new()
        } else if self.successor.is_some_and(|c| c.number == number) {
            self.successor = None;
            let old = self.current.replace(open);
            old.map(|c| Action::Close(c.number)).into_iter().collect()
        } else {
            vec![Action::Close(number)]
        }
    }

    fn closed(&mut self, number: u64, now: Micros, jitter: f64) -> Vec<Action> {
        if self.successor.is_some_and(|c| c.number == number) {
            self.successor = None;
            self.pause(now, jitter);
        } else if let Some(old) = self.current.filter(|c| c.number == number) {
            if old.open && now.0 - old.since.0 >= STABLE_AFTER {
                self.failures = 0;
            }
            self.current = self.successor.take();
            if self.current.is_none() {
                self.pause(now, jitter);
            }
        }
        Vec::new()
    }

    /// The next attempt comes after 1, 2, 4 … 60 s, ± 20 %.
    fn pause(&mut self, now: Micros, jitter: f64) {
        let pause = growing(SECOND, self.failures, PAUSE_MAX);
        self.failures = self.failures.saturating_add(1);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            reason = "at most 72 s in microseconds"
        )]
        let jittered = (pause as f64 * (0.8 + 0.4 * jitter.clamp(0.0, 1.0))) as i64;
        self.retry_at = Micros(now.0 + jittered);
    }

    fn close_all(&mut self) -> Vec<Action> {
        [self.current.take(), self.successor.take()]
            .into_iter()
            .flatten()
            .map(|connection| Action::Close(connection.number))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIDDLE: f64 = 0.5;

    fn at(seconds: i64) -> Micros {
        Micros(seconds * SECOND)
    }

    fn connected() -> Link {
        let mut link = Link::new(90_000);
        assert_eq!(link.on(Input::Tick, at(0), MIDDLE), [Action::Open(1)]);
        assert_eq!(link.on(Input::Opened(1), at(0), MIDDLE), []);
        assert!(link.is_connected());
        link
    }

    #[test]
    fn j05_pauses_grow_to_a_minute_and_start_over_after_success() {
        let mut link = Link::new(90_000);
        let mut now = 0;
        let mut pauses = Vec::new();
        for number in 1..=9 {
            assert_eq!(link.on(Input::Tick, at(now), MIDDLE), [Action::Open(number)]);
            link.on(Input::Closed(number), at(now), MIDDLE);
            let retry = link.next_tick().unwrap();
            assert_eq!(link.on(Input::Tick, Micros(retry.0 - 1), MIDDLE), [], "not before the pause is over");
            pauses.push(retry.0 / SECOND - now);
            now = retry.0 / SECOND;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        link.on(Input::Tick, at(now), MIDDLE);
        link.on(Input::Opened(10), at(now), MIDDLE);
        link.on(Input::Frame(10), at(now), MIDDLE);
        assert_eq!(link.failures(), 0, "a frame is a success");
    }

    #[test]
    fn j05_jitter_is_a_fifth() {
        for (jitter, millis) in [(0.0, 800), (1.0, 1200), (7.0, 1200)] {
            let mut link = Link::new(90_000);
            link.on(Input::Tick, at(0), jitter);
            link.on(Input::Closed(1), at(0), jitter);
            assert_eq!(link.next_tick().unwrap().millis(), millis);
        }
    }

    #[test]
    fn b29_silence_past_the_limit_is_death() {
        let mut link = connected();
        link.on(Input::Frame(1), at(50), MIDDLE);
        assert_eq!(link.on(Input::Tick, at(139), MIDDLE), [], "89 s of silence");
        assert_eq!(link.on(Input::Tick, at(140), MIDDLE), [Action::Close(1)], "90 s of silence");
        assert!(!link.is_connected());
        assert_eq!(link.on(Input::Tick, at(141), MIDDLE), [Action::Open(2)]);
    }

    #[test]
    fn an_attempt_that_hangs_has_failed() {
        let mut link = Link::new(90_000);
        link.on(Input::Tick, at(0), MIDDLE);
        assert_eq!(link.next_tick(), Some(at(20)));
        assert_eq!(link.on(Input::Tick, at(20), MIDDLE), [Action::Close(1)]);
        assert_eq!(link.on(Input::Opened(1), at(20), MIDDLE), [Action::Close(1)], "too late");
    }

    #[test]
    fn a_connection_is_replaced_before_fifteen_minutes_without_a_break() {
        let mut link = connected();
        for second in 1..720 {
            link.on(Input::Frame(1), at(second), MIDDLE);
        }
        assert_eq!(link.on(Input::Tick, at(720), MIDDLE), [Action::Open(2)]);
        assert!(
            link.is_connected() && link.reads(1) && link.reads(2),
            "both are read while the new one opens"
        );
        assert_eq!(link.on(Input::Opened(2), at(721), MIDDLE), [Action::Close(1)]);
        assert_eq!(link.on(Input::Closed(1), at(721), MIDDLE), [], "news of an old connection");
        assert!(link.is_connected() && !link.reads(1));
    }

    #[test]
    fn a_failed_successor_leaves_the_old_connection() {
        let mut link = connected();
        link.on(Input::Frame(1), at(700), MIDDLE);
        link.on(Input::Tick, at(720), MIDDLE);
        assert_eq!(link.on(Input::Closed(2), at(720), MIDDLE), []);
        assert!(link.is_connected());
        assert_eq!(link.next_tick(), Some(at(721)), "the next attempt comes after a pause");
        assert_eq!(link.on(Input::Tick, at(721), MIDDLE), [Action::Open(3)]);
        assert_eq!(link.on(Input::Closed(1), at(722), MIDDLE), [], "the successor takes over");
        link.on(Input::Opened(3), at(722), MIDDLE);
        assert!(link.is_connected());
    }

    #[test]
    fn j06_a_full_intake_closes_the_stream_until_it_is_drained() {
        let mut link = connected();
        assert_eq!(link.on(Input::Full, at(5), MIDDLE), [Action::Close(1)]);
        assert_eq!(link.on(Input::Tick, at(6), MIDDLE), []);
        assert_eq!(link.next_tick(), None);
        assert_eq!(link.on(Input::Drained, at(7), MIDDLE), [Action::Open(2)], "at once: nothing failed");
        assert_eq!(link.on(Input::Drained, at(7), MIDDLE), [], "drained twice");
    }

    #[test]
    fn j07_a_first_frame_after_the_cursor_is_a_gap() {
        let stored = StreamPosition { host: "a".into(), cursor: at(100) };
        assert_eq!(Gap::noticed(&stored, "a", at(100)), None, "the cursor's own event came again");
        assert_eq!(Gap::noticed(&stored, "a", at(99)), None, "or an earlier one");
        let gap = Gap { host: "a".into(), from: at(100), to: at(101) };
        assert_eq!(Gap::noticed(&stored, "a", at(101)), Some(gap));
        assert_eq!(Gap::noticed(&stored, "b", at(101)), None, "another host");
    }

    #[test]
    fn j04_a_cursor_belongs_to_its_host() {
        let position = StreamPosition::advance(None, "a", at(100));
        assert_eq!(position.resume_at("a"), at(100));
        assert_eq!(position.resume_at("b"), at(90));
        let position = StreamPosition::advance(Some(position), "a", at(99));
        assert_eq!(position.cursor, at(100), "an overlap does not go back");
        let position = StreamPosition::advance(Some(position), "b", at(91));
        assert_eq!((position.host.as_str(), position.cursor), ("b", at(91)));
    }

    #[test]
    fn j03_the_beginning_is_a_position_of_no_host() {
        let named = StreamPosition::beginning(Some(Micros(1)), at(100));
        assert_eq!(named.resume_at("a"), Micros(1), "what the operator named, to the letter");
        let beginning = StreamPosition::beginning(None, at(100));
        assert_eq!(beginning.resume_at("a"), at(90), "clocks differ");
        assert_eq!(Gap::noticed(&beginning, "a", at(500)), None, "it names no event that could be missing");
        let position = StreamPosition::advance(Some(beginning), "a", at(95));
        assert_eq!((position.host.as_str(), position.cursor), ("a", at(95)), "the first event names one");
    }
}
