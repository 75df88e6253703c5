//! The parts of the service, each with a verdict and what to do, for the operator (R66).

use serde::Serialize;

use crate::wire::time::Micros;

/// A round trip to the database over this is worth a look, in milliseconds.
const SLOW: i64 = 500;
/// An event of the stream that is older than this when it is stored is late, in seconds.
const LATE: i64 = 300;
/// Events that wait for their delivery: more than one page of them is a backlog.
const BACKLOG: usize = 1_000;
/// A record may wait this long for another one before it is worth a look, in seconds.
const LONG_HELD: i64 = 3_600;

/// For how long callers without the key share what the gateways answered, in microseconds.
const SHARED_FOR: i64 = 5_000_000;

/// How a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It works.
    Ok,
    /// It works, and something is worth a look.
    Note,
    /// It does not work.
    Wrong,
}

/// A part of the service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    /// Its name.
    pub part: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// What is known of it, in words.
    pub message: String,
    /// What to do, unless it is `ok`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<&'static str>,
}

/// What is known of the stream.
#[derive(Clone, Debug, Default)]
pub struct Stream<'f> {
    /// Whether frames are expected right now.
    pub connected: bool,
    /// Why they are not read or stored.
    pub because: Option<&'f str>,
    /// The age of the last stored event, in seconds.
    pub lag: Option<i64>,
    /// Events that are stored and not delivered.
    pub undelivered: usize,
}

/// What is stored.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stored {
    /// Records that wait for another one.
    pub held: i64,
    /// For how long the oldest of them has waited, in seconds.
    pub oldest_held: Option<i64>,
    /// Events and rows that were set aside (Q21).
    pub set_aside: i64,
    /// Unplanned ends of the program.
    pub restarts: i64,
    /// Known repositories.
    pub repositories: u64,
    /// Those that cannot be read.
    pub failing: u64,
}

/// What is known of the objects that hold sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gateways {
    /// How many were asked.
    pub asked: usize,
    /// How many of them answered.
    pub answered: usize,
    /// The sockets of those.
    pub sockets: usize,
}

/// What a caller knows of the gateways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// They answered just now.
    Now(Gateways),
    /// They answered another caller, this many seconds ago.
    Before(Gateways, i64),
    /// Another caller is asking them, and nobody has asked before.
    NotYet,
}

/// What the gateways answered to callers without the key. Asking wakes up to 16 objects, and anybody may call: so, however
/// many do, one of them asks, once in [`SHARED_FOR`].
#[derive(Debug, Default)]
pub struct Shared {
    /// When a caller began to ask. If that request ends without an answer, another one asks when the time is over.
    asked_at: Option<Micros>,
    answered: Option<(Gateways, Micros)>,
}

impl Shared {
    /// Before anybody called.
    pub const fn new() -> Self {
        Self { asked_at: None, answered: None }
    }

    /// What a caller at `now` learns. `None`: it asks the gateways itself, and says so with [`Shared::answered`].
    pub fn known(&mut self, now: Micros) -> Option<Known> {
        let is_recent = self.asked_at.is_some_and(|at| (0..SHARED_FOR).contains(&now.0.saturating_sub(at.0)));
        if !is_recent {
            self.asked_at = Some(now);
            return None;
        }
        Some(self.answered.map_or(Known::NotYet, |(gateways, at)| {
            Known::Before(gateways, (now.0.saturating_sub(at.0) / 1_000_000).max(0))
        }))
    }

    /// The gateways answered.
    pub fn answered(&mut self, gateways: Gateways, now: Micros) {
        self.answered = Some((gateways, now));
    }
}

/// The parts. `database` is the time of a round trip in milliseconds, or why there was no answer; `stored` is absent
/// then.
pub fn parts(
    database: Result<i64, &str>,
    stream: &Stream<'_>,
    stored: Option<Stored>,
    gateways: Known,
) -> Vec<Part> {
    let mut parts = vec![of_database(database), of_stream(stream), of_deliveries(stream.undelivered)];
    parts.push(of_gateways(gateways));
    if let Some(stored) = stored {
        parts.extend(of_stored(stored));
    }
    parts
}

fn ok(part: &'static str, message: String) -> Part {
    Part { part, verdict: Verdict::Ok, message, advice: None }
}

fn not_ok(part: &'static str, verdict: Verdict, message: String, advice: &'static str) -> Part {
    Part { part, verdict, message, advice: Some(advice) }
}

fn of_database(database: Result<i64, &str>) -> Part {
    const ADVICE: &str = "see the state of D1 at Cloudflare, or the disk and the folder of serve";
    match database {
        Ok(millis) if millis <= SLOW => ok("database", format!("answers in {millis} ms")),
        Ok(millis) => not_ok(
            "database",
            Verdict::Note,
            format!("answers in {millis} ms, which is slow"),
            "see whether other programs use the disk or the processor",
        ),
        Err(because) => not_ok("database", Verdict::Wrong, because.to_owned(), ADVICE),
    }
}

fn of_stream(stream: &Stream<'_>) -> Part {
    const ADVICE: &str =
        "check JETSTREAM_URL and whether its host is up; another Jetstream goes on where this one ends";
    let because = stream.because.or_else(|| (!stream.connected).then_some("it is not connected yet"));
    if let Some(because) = because {
        return not_ok("stream", Verdict::Wrong, because.to_owned(), ADVICE);
    }
    match stream.lag {
        Some(lag) if lag > LATE => not_ok(
            "stream",
            Verdict::Note,
            format!("is read, and {lag} s behind"),
            "wait, if the service catches up after an outage; otherwise it gets more than it can store",
        ),
        Some(lag) => ok("stream", format!("is read, and {lag} s behind")),
        None => ok("stream", "is read; nothing was stored from it yet".to_owned()),
    }
}

fn of_deliveries(undelivered: usize) -> Part {
    let message = format!("{undelivered} events wait");
    if undelivered <= BACKLOG {
        return ok("deliveries", message);
    }
    const ADVICE: &str =
        "look in the log for objects that do not answer; the events are delivered when they do";
    not_ok("deliveries", Verdict::Note, message, ADVICE)
}

fn of_gateways(known: Known) -> Part {
    let (Gateways { asked, answered, sockets }, when) = match known {
        Known::Now(gateways) => (gateways, String::new()),
        Known::Before(gateways, age) => (gateways, format!(", {age} s ago")),
        Known::NotYet => return ok("gateways", "are being asked".to_owned()),
    };
    let message = format!("{answered} of {asked} answer, with {sockets} sockets{when}");
    if answered == asked {
        return ok("gateways", message);
    }
    let verdict = if answered == 0 { Verdict::Wrong } else { Verdict::Note };
    not_ok("gateways", verdict, message, "look in the log; POST /api/admin/restart makes them start afresh")
}

fn of_stored(stored: Stored) -> [Part; 4] {
    let Stored { held, oldest_held, set_aside, restarts, repositories, failing } = stored;
    let held = match oldest_held {
        Some(age) if age > LONG_HELD => not_ok(
            "held records",
            Verdict::Note,
            format!("{held}, the oldest for {} minutes", age / 60),
            "their communities are missing: read their owners' repositories with POST /api/sync",
        ),
        _ => ok("held records", held.to_string()),
    };
    let counted = |part, count: i64, advice| match count {
        0 => ok(part, "0".to_owned()),
        _ => not_ok(part, Verdict::Note, count.to_string(), advice),
    };
    let of = format!("{failing} of {repositories} cannot be read");
    let repositories = match failing {
        0 => ok("repositories", of),
        _ => {
            not_ok("repositories", Verdict::Note, of, "GET /api/operator names them, with the error of each")
        }
    };
    [
        held,
        counted(
            "set aside",
            set_aside,
            "look in the log for code set_aside, and report it: this is a defect",
        ),
        counted("panics", restarts, "look in the log for code panic, and report it: this is a defect"),
        repositories,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(parts: &[Part]) -> Vec<(&str, Verdict)> {
        parts
            .iter()
            .filter(|part| part.verdict != Verdict::Ok)
            .map(|part| (part.part, part.verdict))
            .collect()
    }

    const STREAM: Stream<'static> = Stream { connected: true, because: None, lag: Some(2), undelivered: 0 };
    const GATEWAYS: Gateways = Gateways { asked: 4, answered: 4, sockets: 7 };

    #[test]
    fn r66_each_part_has_a_verdict_and_what_to_do() {
        let well = parts(Ok(3), &STREAM, Some(Stored::default()), Known::Now(GATEWAYS));
        assert_eq!(verdicts(&well), []);
        assert_eq!(well.len(), 8);
        assert!(well.iter().all(|part| part.advice.is_none()));
        let stream = Stream { lag: Some(LATE + 1), undelivered: BACKLOG + 1, ..STREAM };
        let stored = Stored {
            held: 2,
            oldest_held: Some(LONG_HELD + 1),
            set_aside: 1,
            restarts: 1,
            repositories: 9,
            failing: 1,
        };
        let ill =
            parts(Ok(SLOW + 1), &stream, Some(stored), Known::Now(Gateways { answered: 3, ..GATEWAYS }));
        assert!(ill.iter().all(|part| part.verdict == Verdict::Note && part.advice.is_some()), "{ill:?}");
        let none = Known::Before(Gateways { answered: 0, ..GATEWAYS }, 1);
        let down = parts(Err("gone"), &Stream::default(), None, none);
        let wrong = ["database", "stream", "gateways"].map(|part| (part, Verdict::Wrong));
        assert_eq!(verdicts(&down), wrong);
        assert_eq!(down[0].message, "gone");
        let unread = parts(Ok(1), &Stream { because: Some("no such host"), ..STREAM }, None, Known::NotYet);
        assert_eq!(verdicts(&unread), [("stream", Verdict::Wrong)]);
    }

    #[test]
    fn r66_strangers_together_ask_the_gateways_once_in_five_seconds() {
        let at = |seconds: i64| Micros(seconds * 1_000_000);
        let mut shared = Shared::new();
        assert_eq!(shared.known(at(10)), None, "the first one asks");
        assert_eq!(shared.known(at(10)), Some(Known::NotYet));
        shared.answered(GATEWAYS, at(11));
        assert_eq!(shared.known(at(14)), Some(Known::Before(GATEWAYS, 3)));
        assert_eq!(shared.known(at(15)), None, "the time is over");
        let others = shared.known(at(15));
        assert_eq!(others, Some(Known::Before(GATEWAYS, 4)), "meanwhile others learn what was");
        assert_eq!(of_gateways(others.unwrap()).message, "4 of 4 answer, with 7 sockets, 4 s ago");
        assert_eq!(shared.known(at(20)), None, "the request that asked ended without an answer");
        assert_eq!(shared.known(at(3)), None, "a clock that went back blocks nobody");
    }
}
