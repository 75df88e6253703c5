//! The connection to the stream, as a state machine without a socket and without a clock (J05, J06;
//! platform facts 2.4).
//!
//! [`Link::on`] takes an input and its time, and returns what to do. It keeps one connection alive,
//! treats long silence as death, pauses between attempts, replaces a connection before the
//! platform's limit ends it, and stays closed while the intake is full. Connections are numbered,
//! so that events of an old one change nothing.

use super::pause::growing;
use crate::wire::time::Micros;

const SECOND: i64 = 1_000_000;

/// An attempt that is not open after this time has failed.
const CONNECT_WITHIN: i64 = 20 * SECOND;
/// An outbound connection keeps its object in memory for at most 15 minutes (platform facts T1);
/// the successor is opened well before.
const ROTATE_AFTER: i64 = 12 * 60 * SECOND;
/// A connection that lived this long counts as a success even if it was silent.
const STABLE_AFTER: i64 = 10 * SECOND;
/// Pauses between attempts: 1 s, doubling up to 60 s (J05).
const PAUSE_MAX: i64 = 60 * SECOND;

/// The pause between connections that search for a frame that is too large.
const SEEK_EVERY: i64 = SECOND / 4;

/// How far back a start on another host goes (J04): clocks and delays of two servers differ by
/// less.
const REWIND: i64 = 10 * SECOND;

/// The stored position in the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamPosition {
    /// The Jetstream that the cursor belongs to (J04). Empty: nothing of any stream is stored yet.
    pub host: String,
    /// The `time_us` of the last stored event, or when reading began.
    pub cursor: Micros,
}

impl StreamPosition {
    /// The start of a service without a stored position: the cursor in its URL, or now. It is
    /// stored before the first connection; otherwise each connection would start at the end of the
    /// stream, and events during the first failed connections would be missed (J03).
    pub fn beginning(named: Option<Micros>, now: Micros) -> Self {
        let cursor = named.map_or(now, |named| Micros(named.min(now).0.saturating_add(REWIND)));
        Self { host: String::new(), cursor }
    }

    /// Where to resume at `host`: at the cursor, or on another host at least 10 s before it (J04).
    /// Repeated events change nothing.
    pub fn resume_at(&self, host: &str) -> Micros {
        if self.host == host { self.cursor } else { Micros(self.cursor.0.saturating_sub(REWIND)) }
    }

    /// The position after an event at `time` of `host`; `None` if the event does not move it. The
    /// first rule that applies decides:
    ///   1. a time further ahead than clocks differ is ignored, because everything until then would
    ///      be skipped;
    ///   2. on one host the position never goes back, because connections overlap, and clocks are
    ///      set;
    ///   3. another host takes over with its first event that is not older than the requested
    ///      position.
    pub fn moved(before: Option<&Self>, host: &str, time: Micros, now: Micros) -> Option<Self> {
        let moves = !time.is_ahead_of(now)
            && before.is_none_or(|before| match before.host == host {
                true => time > before.cursor,
                false => time.0 >= before.resume_at(host).0.saturating_sub(REWIND),
            });
        moves.then(|| Self { host: host.to_owned(), cursor: time })
    }

    /// Whether the stream cannot have reached this position: a clock was wrong when it was stored.
    pub fn is_impossible(&self, now: Micros) -> bool {
        self.cursor.is_ahead_of(now)
    }
}

/// Why a stretch of the stream was missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missed {
    /// The host's history does not reach back to the cursor.
    CursorTooOld,
    /// A frame in it is larger than the runtime accepts.
    FrameTooLarge,
}

impl Missed {
    /// Its name in the database.
    pub fn word(self) -> &'static str {
        match self {
            Missed::CursorTooOld => "cursor_too_old",
            Missed::FrameTooLarge => "frame_too_large",
        }
    }
}

/// A missed stretch of the stream (J07).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The Jetstream.
    pub host: String,
    /// The last stored event.
    pub from: Micros,
    /// The first event that the host still had, or where reading continues.
    pub to: Micros,
    /// The cause.
    pub reason: Missed,
}

/// What a frame shows about the stretch between the cursor and itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Nothing is missing, or it is impossible to say.
    Whole,
    /// This stretch is missing.
    Gap(Gap),
    /// This frame does not show it; check the next one.
    Unknown,
}

impl Gap {
    /// What the first frames after a connection with a cursor show. A cursor is inclusive: the
    /// event at it comes again. If a later one comes first, the host's history does not reach back
    /// that far, and the host silently started where it could (platform facts 6.2). The first rule
    /// that applies decides:
    ///   1. on another host, and at the start, the cursor was rewound and names no event, so
    ///      nothing can be said;
    ///   2. a time that is far ahead or far behind says nothing: the host's clock was set, or it is
    ///      not a position;
    ///   3. a time after the cursor is a gap, any other time is not.
    pub fn look(stored: &StreamPosition, host: &str, time: Micros, now: Micros) -> Reach {
        if stored.host != host {
            Reach::Whole
        } else if time.is_ahead_of(now) || time.0 < stored.cursor.0.saturating_sub(REWIND) {
            Reach::Unknown
        } else if time > stored.cursor {
            Reach::Gap(Self {
                host: host.to_owned(),
                from: stored.cursor,
                to: time,
                reason: Missed::CursorTooOld,
            })
        } else {
            Reach::Whole
        }
    }
}

/// How many times a frame that is too large ends the connection before it is skipped: the host
/// itself may have failed to send it.
const OBSTACLE_MET: u32 = 3;
/// How much longer each step is than the one before, until one is beyond the frame.
const STRIDE_GROWS: i64 = 16;
/// How exactly the frame is located, in microseconds. Other events in this stretch are skipped with
/// it.
const OBSTACLE_WITHIN: i64 = 1_000;

/// A frame that the runtime does not accept. It ends every connection that reaches it (with code
/// 1009), so reading would never pass it. Its position is unknown, except that it comes after the
/// cursor. So the service searches for it: it opens connections from one position after another,
/// and each shows on which side of the frame that position is. Nothing is committed in the
/// meantime.
#[derive(Clone, Debug, Default)]
pub struct Obstacle {
    met: Option<Met>,
}

#[derive(Clone, Copy, Debug)]
struct Met {
    /// The last position before it.
    before: Micros,
    times: u32,
    /// The last position known to be before it or at it, and the first known to be beyond it.
    low: i64,
    high: Option<i64>,
    stride: i64,
    /// Whether the last probed position is the present.
    at_present: bool,
    /// The next position to probe; after the search, where reading continues.
    at: Micros,
    found: bool,
}

/// What to do about an [`Obstacle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Retry as before.
    Again,
    /// Open a connection from [`Obstacle::probe`].
    Probe,
    /// Continue at the second position, with a gap since the first.
    Over(Micros, Micros),
    /// No frame can be the cause: it is an ordinary end of the connection.
    Nothing,
}

impl Obstacle {
    /// Where the next connection that searches for the frame starts.
    pub fn probe(&self) -> Option<Micros> {
        self.met.filter(|met| met.times >= OBSTACLE_MET && !met.found).map(|met| met.at)
    }

    /// A connection from `at` met the frame.
    pub fn on_met(&mut self, at: Micros, now: Micros) -> Step {
        let same = self.met.filter(|met| !met.found && met.at == at);
        let mut met = same.unwrap_or(Met {
            before: at,
            times: 0,
            low: at.0,
            high: None,
            stride: 1,
            at_present: false,
            at,
            found: false,
        });
        met.times = met.times.saturating_add(1);
        met.low = at.0;
        let step = if met.times < OBSTACLE_MET { Step::Again } else { met.seek(now) };
        self.met = (step != Step::Nothing).then_some(met);
        step
    }

    /// A connection from [`Self::probe`] did not meet the frame.
    pub fn on_passed(&mut self, now: Micros) -> Step {
        let Some(mut met) = self.met else { return Step::Again };
        met.high = Some(met.at.0);
        let step = met.seek(now);
        self.met = Some(met);
        step
    }

    /// Whether the search set `position`, so that no event is there.
    pub fn was_stepped_to(&self, position: Micros) -> bool {
        self.met.is_some_and(|met| met.found && met.at == position)
    }
}

impl Met {
    fn seek(&mut self, now: Micros) -> Step {
        match self.high {
            Some(high) if high.saturating_sub(self.low) <= OBSTACLE_WITHIN => {
                self.at = Micros(high);
                self.found = true;
                Step::Over(self.before, self.at)
            }
            Some(high) => {
                self.at = Micros(self.low + (high - self.low) / 2);
                Step::Probe
            }
            // Met at the present, too: no frame is the cause.
            None if self.at_present => Step::Nothing,
            None => {
                let end = self.before.0.saturating_add(self.stride);
                self.at_present = end >= now.0;
                self.at = Micros(end.min(now.0));
                self.stride = self.stride.saturating_mul(STRIDE_GROWS);
                Step::Probe
            }
        }
    }
}

/// An input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Time passed.
    Tick,
    /// A connection is open.
    Opened(u64),
    /// A frame came over a connection.
    Frame(u64),
    /// A connection was closed, or could not be opened.
    Closed(u64),
    /// A connection was closed because of a frame that is too large, or was opened to search for
    /// one: pauses stay short.
    Obstructed(u64),
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

    /// Whether frames of connection `number` count.
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
            Input::Obstructed(number) => {
                self.failures = 0;
                let actions = self.closed(number, now, jitter);
                self.retry_at = self.retry_at.min(Micros(now.0 + SEEK_EVERY));
                actions
            }
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
        let (now, stored) = (at(10_000), StreamPosition { host: "a".into(), cursor: at(5_000) });
        let gap =
            |to| Reach::Gap(Gap { host: "a".into(), from: at(5_000), to, reason: Missed::CursorTooOld });
        for (host, time, expected, why) in [
            ("a", at(5_000), Reach::Whole, "the cursor's own event came again"),
            ("a", at(4_991), Reach::Whole, "or an earlier one"),
            ("a", at(5_001), gap(at(5_001)), "a later one"),
            ("a", at(13_600), gap(at(13_600)), "a clock that is an hour ahead"),
            ("b", at(5_001), Reach::Whole, "another host"),
            ("a", at(13_601), Reach::Unknown, "far ahead"),
            ("a", at(4_989), Reach::Unknown, "far behind"),
            ("a", at(0), Reach::Unknown, "no time"),
        ] {
            assert_eq!(Gap::look(&stored, host, time, now), expected, "{why}");
        }
    }

    #[test]
    fn j04_a_cursor_belongs_to_its_host_and_never_goes_back_there() {
        let now = at(10_000);
        let position = StreamPosition { host: "a".into(), cursor: at(5_000) };
        assert_eq!(position.resume_at("a"), at(5_000));
        assert_eq!(position.resume_at("b"), at(4_990));
        for (host, time, expected, why) in [
            ("a", at(5_001), Some(("a", at(5_001))), "the next"),
            ("a", at(5_000), None, "the same again"),
            ("a", at(4_999), None, "an overlap"),
            ("a", at(0), None, "no time"),
            ("a", at(13_600), Some(("a", at(13_600))), "a clock that is an hour ahead"),
            ("a", at(13_601), None, "one that is further ahead"),
            ("b", at(4_991), Some(("b", at(4_991))), "another host, that was asked for this"),
            ("b", at(4_979), None, "and for nothing so old"),
            ("b", at(99_999), None, "or so new"),
        ] {
            let moved = StreamPosition::moved(Some(&position), host, time, now);
            let moved = moved.as_ref().map(|to| (to.host.as_str(), to.cursor));
            assert_eq!(moved, expected, "{host}: {why}");
        }
        assert!(StreamPosition::moved(None, "a", at(1), now).is_some(), "the first of all");
        assert!(StreamPosition { cursor: at(13_601), ..position.clone() }.is_impossible(now));
        assert!(!position.is_impossible(now));
    }

    /// Reads on from `start` where a frame at `too_large` ends every connection that reaches it:
    /// returns the probed positions, and where reading continues.
    fn sought(start: Micros, too_large: Micros, now: Micros) -> (Vec<i64>, Option<Micros>) {
        let (mut obstacle, mut asked) = (Obstacle::default(), Vec::new());
        loop {
            assert!(asked.len() < 60, "no end: {asked:?}");
            let at = obstacle.probe().unwrap_or(start);
            asked.push(at.0 - start.0);
            let step = if at <= too_large { obstacle.on_met(at, now) } else { obstacle.on_passed(now) };
            match step {
                Step::Again | Step::Probe => {}
                Step::Over(before, to) => {
                    assert_eq!(before, start, "the gap begins at the last position that was read");
                    assert!(obstacle.was_stepped_to(to) && obstacle.probe().is_none());
                    return (asked, Some(to));
                }
                Step::Nothing => return (asked, None),
            }
        }
    }

    #[test]
    fn j10_a_frame_that_is_too_large_is_sought_and_stepped_over() {
        let (start, now) = (at(100), at(100_000));
        let (asked, to) = sought(start, start, now);
        assert_eq!((asked, to), (vec![0, 0, 0, 1], Some(Micros(start.0 + 1))), "right at the cursor");
        for distance in [1, 40, 546_000, 3_600_000_000, 80_000_000_000] {
            let (asked, to) = sought(start, Micros(start.0 + distance), now);
            let over = to.unwrap().0 - start.0 - distance;
            assert!((1..=OBSTACLE_WITHIN).contains(&over), "{distance}: {over} beyond it");
            assert_eq!(asked[..4], [0, 0, 0, 1], "three times as before");
            assert!(asked.len() <= 50, "{distance}: {} connections", asked.len());
        }
        assert_eq!(sought(start, at(200_000), now).1, None, "what ends all connections is no frame");
    }

    #[test]
    fn j10_progress_makes_it_another_frame() {
        let (mut obstacle, now) = (Obstacle::default(), at(1_000));
        assert_eq!(obstacle.on_met(at(100), now), Step::Again);
        assert_eq!(obstacle.on_met(at(100), now), Step::Again);
        assert_eq!(obstacle.on_met(at(200), now), Step::Again, "the first time here");
        assert_eq!(obstacle.on_met(at(200), now), Step::Again);
        assert_eq!(obstacle.on_met(at(200), now), Step::Probe);
    }

    #[test]
    fn a_frame_that_is_too_large_does_not_make_the_pauses_grow() {
        let mut link = Link::new(90_000);
        for second in [0, 1, 2, 3] {
            assert_eq!(link.on(Input::Tick, at(second), MIDDLE), [Action::Open(second.unsigned_abs() + 1)]);
            link.on(Input::Obstructed(second.unsigned_abs() + 1), at(second), MIDDLE);
            assert_eq!(link.next_tick(), Some(Micros(at(second).0 + SEEK_EVERY)));
        }
    }

    #[test]
    fn j03_the_beginning_is_a_position_of_no_host() {
        let named = StreamPosition::beginning(Some(Micros(1)), at(100));
        assert_eq!(named.resume_at("a"), Micros(1), "what the operator named, to the letter");
        let ahead = StreamPosition::beginning(Some(at(5_000)), at(100));
        assert_eq!(ahead.resume_at("a"), at(100), "not the future");
        let beginning = StreamPosition::beginning(None, at(100));
        assert_eq!(beginning.resume_at("a"), at(90), "clocks differ");
        let look = Gap::look(&beginning, "a", at(500), at(500));
        assert_eq!(look, Reach::Whole, "it names no event that could be missing");
        let position = StreamPosition::moved(Some(&beginning), "a", at(95), at(100)).unwrap();
        assert_eq!((position.host.as_str(), position.cursor), ("a", at(95)), "the first event names one");
    }
}
