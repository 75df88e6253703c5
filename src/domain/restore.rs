//! What a socket that does not subscribe receives: what other sockets of its person were subscribed
//! to (contract Q10–Q14).
//!
//! The shipped client opens a new socket when its connection changes, and does not subscribe again
//! (W03). Nothing identifies the socket that it replaces: the old one may still look open, may have
//! closed long ago, or may belong to another device that stays. So [`sources`] chooses, and prefers
//! too much to too little: a client ignores what it does not show, but never learns what it did not
//! receive.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::subscriptions::{Kind, Subscriptions};
use crate::wire::time::Micros;

/// The most sockets whose subscriptions a new one gets. A person with more devices and tabs gets
/// those of the most recent ones.
pub const SOURCES_MAX: usize = 8;
/// The most traces per person.
pub const PERSON_MAX: i64 = 16;
/// The most traces of all people of a gateway, and their maximum size: the object's database holds
/// 10 GB, but making room reads all of them.
pub const GATEWAY_MAX: i64 = 10_000;
/// See [`GATEWAY_MAX`].
pub const GATEWAY_BYTES: i64 = 32 * 1024 * 1024;
/// A larger trace is not stored, in bytes: it does not come from a shipped client, and the author
/// of another client can subscribe again.
pub const TRACE_BYTES: usize = 256 * 1024;

/// A socket that closed without a frame this soon after its last sign of life had received what was
/// sent to it, because the close itself came from the client. After a longer time, the connection
/// may have been dead for any part of it.
pub const PROMPT: i64 = 3_000_000;

/// The origin of a socket, as far as it is known: digests of the address and of the `User-Agent`.
/// Empty if unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The digest of the address.
    pub address: String,
    /// The digest of the `User-Agent`.
    pub agent: String,
}

/// A socket's position in a community.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Place {
    /// It received everything up to and including this `seq`.
    Seq(i64),
    /// It received everything numbered before this moment; the community's log knows the `seq`.
    Since {
        /// The moment.
        since: Micros,
    },
}

/// The state of a socket: when it closed, or now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// The number of its session.
    pub id: i64,
    /// When it opened.
    #[serde(default)]
    pub opened_at: Micros,
    /// When it closed; `None` while it is open.
    #[serde(default)]
    pub closed_at: Option<Micros>,
    /// Its last sign of life.
    pub alive_at: Micros,
    /// Since when it lacks changes of people, if it lacks earlier ones because of its own restore (Q13).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub people_since: Option<Micros>,
    /// Its origin.
    #[serde(default)]
    pub origin: Origin,
    /// Whether its person was proven (X06).
    #[serde(default)]
    pub proven: bool,
    /// The secret that its client requested.
    #[serde(default)]
    pub secret: Option<String>,
    /// The sessions whose subscriptions it got.
    #[serde(default)]
    pub copied: BTreeSet<i64>,
    /// Its subscriptions.
    pub subscriptions: Subscriptions,
    /// Its position in each community that it could receive events from.
    #[serde(rename = "heard")]
    pub positions: BTreeMap<String, Place>,
}

impl Trace {
    /// Since when it lacks changes of people.
    pub fn lacks_since(&self) -> Micros {
        self.people_since.map_or(self.alive_at, |since| since.min(self.alive_at))
    }
}

/// A new socket.
#[derive(Clone, Debug, Default)]
pub struct Newcomer {
    /// Its origin.
    pub origin: Origin,
    /// Whether its person is proven.
    pub proven: bool,
    /// The secret that it sends.
    pub secret: Option<String>,
}

/// The other sockets of the person whose subscriptions a new socket gets (Q10), the most recent
/// first. The rules, in order:
///   1. a socket that sends a secret gets those of the sockets with that secret, if there are any,
///      and nothing else;
///   2. otherwise, those guarded by a secret, and those of proven sockets, go to a proven socket
///      only;
///   3. those that another socket continued until its own end belong to that one (see
///      [`is_carried_on`]);
///   4. of closed sockets, those that closed within `restore` before the last of them count: the
///      last from the same address, and the last of the same program, or else the last of all;
///   5. all that look open count;
///   6. at most [`SOURCES_MAX`], those with the latest signs of life.
pub fn sources<'t>(new: &Newcomer, others: &'t [Trace], now: Micros, restore: i64) -> Vec<&'t Trace> {
    let shown: Vec<&Trace> = others
        .iter()
        .filter(|other| new.secret.is_some() && other.secret == new.secret && !other.subscriptions.is_empty())
        .collect();
    let is_allowed = |other: &&Trace| new.proven || !(other.proven || other.secret.is_some());
    let allowed: Vec<&Trace> = if shown.is_empty() {
        others.iter().filter(is_allowed).filter(|other| !other.subscriptions.is_empty()).collect()
    } else {
        shown
    };
    let rest: Vec<&Trace> = allowed
        .iter()
        .filter(|old| !allowed.iter().any(|young| is_carried_on(old, young, new, now, restore)))
        .copied()
        .collect();
    let (open, closed): (Vec<&Trace>, Vec<&Trace>) =
        rest.into_iter().partition(|one| one.closed_at.is_none());
    let last_of = |is_meant: &dyn Fn(&Origin) -> bool| {
        closed.iter().filter(|one| is_meant(&one.origin)).filter_map(|one| one.closed_at).max()
    };
    let lasts = [
        last_of(&|origin| *origin == new.origin),
        last_of(&|origin| origin.agent == new.origin.agent).or_else(|| last_of(&|_| true)),
    ];
    let is_among = |at: Micros, last: Micros| at <= last && last.0.saturating_sub(at.0) <= restore;
    let group = closed
        .iter()
        .copied()
        .filter(|one| lasts.iter().flatten().any(|last| one.closed_at.is_some_and(|at| is_among(at, *last))));
    let mut chosen: Vec<&Trace> = open.into_iter().chain(group).collect();
    chosen.sort_by_key(|one| (std::cmp::Reverse(one.alive_at), one.id));
    chosen.truncate(SOURCES_MAX);
    chosen
}

/// Whether `young` continued the state of `old`, from the view of the socket `new`: `young` got it,
/// and has closed since, without a later sign of life of `old`. Then `new` continues where `young`
/// ended, and receives nothing twice.
///
/// In `open` mode anybody may name a DID, and `young` may have been a stranger. So a copy that went
/// to another address leaves the original in place: for the address it came from as long as it is
/// stored, for others until `restore` is over. A proof, or the same secret, identifies `young`.
fn is_carried_on(old: &Trace, young: &Trace, new: &Newcomer, now: Micros, restore: i64) -> bool {
    let was_given_it = young.copied.contains(&old.id) && young.opened_at >= old.opened_at;
    if !was_given_it || young.closed_at.is_none() || old.alive_at > young.alive_at {
        return false;
    }
    let is_theirs = young.origin.address == old.origin.address
        || young.proven
        || (young.secret.is_some() && young.secret == old.secret);
    let comes_after_young = new.origin.address == young.origin.address;
    let is_late = now.0.saturating_sub(old.alive_at.0) > restore && new.origin.address != old.origin.address;
    is_theirs || comes_after_young || is_late
}

/// What a new socket must still receive from the state of one other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Since when it lacks changes of people: its last sign of life, or earlier.
    pub since: Micros,
    /// Its subscriptions, without those that the client has decided about (Q11).
    pub subscriptions: Subscriptions,
    /// Its positions.
    #[serde(rename = "heard")]
    pub positions: BTreeMap<String, Place>,
}

impl Part {
    /// Whether the former socket missed an event. A community that is absent from its positions was
    /// unknown then, so it missed all of it.
    pub fn missed(&self, community: &str, seq: u64) -> bool {
        match self.positions.get(community) {
            Some(Place::Seq(had)) => u64::try_from(*had).is_ok_and(|had| seq > had),
            Some(Place::Since { .. }) | None => true,
        }
    }
}

/// The client's own decisions about subscriptions, made before it gets any.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Declined(Vec<(Kind, Option<String>)>);

/// A client cannot send more than these in half a second: `WS_BURST` is 120 by default.
const DECLINED_MAX: usize = 200;

impl Declined {
    /// The client decided about this itself.
    pub fn note(&mut self, kind: Kind, key: Option<&str>) {
        if self.0.len() < DECLINED_MAX {
            self.0.push((kind, key.map(str::to_owned)));
        }
    }

    /// Removes it.
    pub fn apply(&self, subscriptions: &mut Subscriptions) {
        for (kind, key) in &self.0 {
            subscriptions.unsubscribe(*kind, key.as_deref());
        }
    }
}

/// When a gateway received which `seq` of one community: recently, and while it was in memory.
#[derive(Clone, Debug, Default)]
pub struct Course {
    moments: VecDeque<(Micros, u64)>,
    /// Whether there was no listener before the first of these moments.
    is_whole: bool,
}

/// The number of moments: in a busy room, the last minutes.
const MOMENTS: usize = 256;
/// Moments closer than this count as one, in microseconds.
const MOMENT: i64 = 100_000;

impl Course {
    /// The first listener attaches, after everything up to and including `seq`.
    pub fn begins(at: Micros, seq: u64) -> Self {
        Self { moments: VecDeque::from([(at, seq)]), is_whole: true }
    }

    /// Everything up to and including `seq` was sent at `at`.
    pub fn note(&mut self, at: Micros, seq: u64) {
        // The first event of a moment keeps its time, so that no later event counts as received.
        let mut earlier = self.moments.iter().rev().skip(1).map(|(at, _)| *at);
        if earlier.next().is_some_and(|before| at.0 - before.0 < MOMENT) {
            self.moments.pop_back();
        }
        self.moments.push_back((at, seq));
        if self.moments.len() > MOMENTS {
            self.moments.pop_front();
            self.is_whole = false;
        }
    }

    /// What a socket with its last sign of life at `at` has certainly received: what was sent
    /// before that, or before the first listener attached.
    pub fn place(&self, at: Micros) -> Place {
        let before = self.moments.iter().rev().find(|(sent, _)| *sent < at);
        let had = before.or_else(|| self.moments.front().filter(|_| self.is_whole));
        match had.map(|(_, seq)| i64::try_from(*seq)) {
            Some(Ok(seq)) => Place::Seq(seq),
            _ => Place::Since { since: at },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000;
    const RESTORE: i64 = 60 * S;

    fn origin(address: &str, agent: &str) -> Origin {
        Origin { address: address.into(), agent: agent.into() }
    }

    fn receives(key: &str) -> Subscriptions {
        let mut subscriptions = Subscriptions::default();
        subscriptions.subscribe(Kind::Message, Some(key), 0);
        subscriptions
    }

    /// A socket that opened and showed its last sign of life at these seconds, and subscribes to a
    /// channel of its own.
    fn socket(id: i64, opened: i64, alive: i64) -> Trace {
        Trace {
            id,
            opened_at: Micros(opened * S),
            alive_at: Micros(alive * S),
            origin: origin("home", "browser"),
            subscriptions: receives(&format!("channel {id}")),
            ..Trace::default()
        }
    }

    impl Trace {
        fn closed(self, at: i64) -> Self {
            Self { closed_at: Some(Micros(at * S)), alive_at: Micros(at * S), ..self }
        }
        fn from(self, address: &str, agent: &str) -> Self {
            Self { origin: origin(address, agent), ..self }
        }
        fn copied(self, ids: &[i64]) -> Self {
            Self { copied: ids.iter().copied().collect(), ..self }
        }
        fn proven(self) -> Self {
            Self { proven: true, ..self }
        }
        fn secret(self, secret: &str) -> Self {
            Self { secret: Some(secret.into()), ..self }
        }
    }

    fn at_home() -> Newcomer {
        Newcomer { origin: origin("home", "browser"), ..Newcomer::default() }
    }

    fn check(why: &str, new: &Newcomer, others: &[Trace], now: i64, expected: &[i64]) {
        let chosen = sources(new, others, Micros(now * S), RESTORE);
        assert_eq!(chosen.iter().map(|one| one.id).collect::<Vec<_>>(), expected, "{why}");
    }

    #[test]
    fn q10_whose_subscriptions_a_silent_socket_gets() {
        let new = at_home();
        let days = 2 * 86_400;
        check("nobody was here", &new, &[], 100, &[]);
        check("beside a half-open old one", &new, &[socket(1, 0, 50)], 100, &[1]);
        check("a lid closed over a weekend", &new, &[socket(1, 0, 0).closed(50)], days, &[1]);
        check(
            "one of two tabs comes back: nobody says which",
            &new,
            &[socket(1, 0, 90), socket(2, 0, 0).closed(95)],
            100,
            &[2, 1],
        );
        check(
            "both tabs went with the line",
            &new,
            &[socket(1, 0, 0).closed(95), socket(2, 0, 0).closed(96)],
            100,
            &[2, 1],
        );
        check(
            "who left long before the last one did is not meant",
            &new,
            &[socket(1, 0, 0).closed(10), socket(2, 0, 0).closed(96)],
            100,
            &[2],
        );
        let phone = Newcomer { origin: origin("mobile", "phone"), ..Newcomer::default() };
        check(
            "a phone returns while the desktop stays, which was reloaded meanwhile",
            &phone,
            &[
                socket(1, 0, 0).closed(100).from("away", "phone"),
                socket(2, 0, 0).closed(5_000),
                socket(3, 5_001, 7_000),
            ],
            7_001,
            &[3, 1],
        );
        let silent = Trace { subscriptions: Subscriptions::default(), ..socket(1, 0, 99) };
        check(
            "who listened to nothing has nothing to give",
            &new,
            &[silent, socket(2, 0, 0).closed(9)],
            100,
            &[2],
        );
    }

    #[test]
    fn q10_a_flapping_line_gets_everything_once() {
        let new = at_home();
        let chain = [
            socket(1, 0, 0).closed(10),
            socket(2, 11, 0).closed(20).copied(&[1]),
            socket(3, 21, 0).closed(30).copied(&[2]),
        ];
        check("each goes on where the last one ended", &new, &chain, 31, &[3]);
        check(
            "an heir that is there itself leaves the old one for the other tab",
            &new,
            &[socket(1, 0, 10), socket(2, 0, 10), socket(3, 13, 13).copied(&[1, 2])],
            14,
            &[3, 1, 2],
        );
        check(
            "a desktop that stayed and was copied is no more twice in it",
            &new,
            &[socket(1, 0, 40), socket(2, 41, 0).closed(60).copied(&[1])],
            61,
            &[2],
        );
        check(
            "a sign of life since then counts anew",
            &new,
            &[socket(1, 0, 70), socket(2, 41, 0).closed(60).copied(&[1])],
            71,
            &[1, 2],
        );
    }

    #[test]
    fn q10_in_open_mode_a_stranger_takes_nothing_away() {
        let victim = socket(1, 0, 0).closed(10);
        let thief = || socket(2, 12, 0).closed(20).copied(&[1]).from("elsewhere", "browser");
        check("the victim comes back", &at_home(), &[victim.clone(), thief()], 30, &[2, 1]);
        let days = 86_400;
        check("much later, too", &at_home(), &[victim.clone(), thief()], days, &[2, 1]);
        let third = Newcomer { origin: origin("train", "browser"), ..Newcomer::default() };
        let late = socket(2, 30, 0).closed(5_000).copied(&[1]).from("elsewhere", "browser");
        check("however long the stranger stays", &at_home(), &[victim.clone(), late], 5_001, &[2, 1]);
        check("from another place, within RESTORE_MS", &third, &[victim.clone(), thief()], 40, &[2, 1]);
        check("and then it goes on where the copy ended", &third, &[victim.clone(), thief()], days, &[2]);
        let again = Newcomer { origin: origin("elsewhere", "browser"), ..Newcomer::default() };
        check("the stranger comes back", &again, &[victim, thief()], 30, &[2]);
    }

    #[test]
    fn q10_a_secret_and_a_proof_are_believed() {
        let new = at_home();
        let others = [
            socket(1, 0, 0).closed(50).secret("s"),
            socket(2, 0, 0).closed(60).proven(),
            socket(3, 0, 0).closed(40),
        ];
        check("neither: only what nobody guards", &new, &others, 61, &[3]);
        check("a proof", &Newcomer { proven: true, ..at_home() }, &others, 61, &[2, 1, 3]);
        let shows = |secret: &str| Newcomer { secret: Some(secret.into()), ..at_home() };
        check("the secret: that one and nothing else", &shows("s"), &others, 61, &[1]);
        check("a secret that nobody has", &shows("x"), &others, 61, &[3]);
        let far = Newcomer { origin: origin("far", "other"), ..shows("s") };
        let chain =
            [others[0].clone(), socket(4, 51, 0).closed(70).copied(&[1]).secret("s").from("away", "y")];
        check("with the secret, wherever it comes from, nothing twice", &far, &chain, 71, &[4]);
    }

    #[test]
    fn q10_a_person_with_many_sockets() {
        let many: Vec<Trace> = (0..50).map(|n| socket(n, 0, n)).collect();
        let expected: Vec<i64> = (42..50).rev().collect();
        check("the most recent ones", &at_home(), &many, 100, &expected);
    }

    #[test]
    fn q10_what_was_missed_is_counted_for_each_source() {
        let part = |positions: &[(&str, Place)]| Part {
            since: Micros(0),
            subscriptions: receives("k"),
            positions: positions.iter().map(|(community, place)| ((*community).to_owned(), *place)).collect(),
        };
        for (positions, seq, expected, why) in [
            (Some(Place::Seq(7)), 7, false, "it had it"),
            (Some(Place::Seq(7)), 8, true, "after that"),
            (None, 1, true, "a community that was not known then"),
            (Some(Place::Seq(i64::MAX)), 9, false, "lost: the client reads anew"),
        ] {
            let positions: Vec<_> = positions.map(|place| ("c", place)).into_iter().collect();
            assert_eq!(part(&positions).missed("c", seq), expected, "{why}");
        }
    }

    #[test]
    fn q11_what_the_client_declined() {
        let mut declined = Declined::default();
        declined.note(Kind::Message, Some("k"));
        declined.note(Kind::Community, None);
        let mut subscriptions = receives("k");
        subscriptions.subscribe(Kind::Message, Some("l"), 0);
        subscriptions.subscribe(Kind::Community, Some("c"), 0);
        declined.apply(&mut subscriptions);
        assert_eq!(subscriptions, receives("l"));
    }

    #[test]
    fn q10_the_position_at_the_last_sign_of_life() {
        let mut course = Course::default();
        assert_eq!(course.place(Micros(5 * S)), Place::Since { since: Micros(5 * S) }, "nothing is known");
        for (at, seq) in [(10 * S, 4), (20 * S, 5), (20 * S + 5_000, 6), (20 * S + 15_000, 7), (30 * S, 8)] {
            course.note(Micros(at), seq);
        }
        for (at, expected, why) in [
            (31 * S, Place::Seq(8), "after the last"),
            (30 * S, Place::Seq(7), "at the same moment: perhaps not"),
            (20 * S + 16_000, Place::Seq(7), "within a moment"),
            (15 * S, Place::Seq(4), "between two"),
            (9 * S, Place::Since { since: Micros(9 * S) }, "before memory begins: the log knows"),
        ] {
            assert_eq!(course.place(Micros(at)), expected, "{why}");
        }
        for n in 0..10_000 {
            course.note(Micros(100 * S + n * S), 100 + n.unsigned_abs());
        }
        assert!(course.moments.len() <= MOMENTS, "bounded");
        assert_eq!(course.place(Micros(100 * S + 9_999 * S + 1)), Place::Seq(10_099));
    }

    #[test]
    fn q10_what_was_sent_before_anybody_listened_was_not_missed() {
        let mut course = Course::begins(Micros(10 * S), 4);
        course.note(Micros(20 * S), 5);
        for (at, expected) in [(9 * S, 4), (10 * S, 4), (15 * S, 4), (21 * S, 5)] {
            assert_eq!(course.place(Micros(at)), Place::Seq(expected));
        }
        for n in 0..1_000 {
            course.note(Micros(100 * S + n * S), 100);
        }
        assert_eq!(course.place(Micros(9 * S)), Place::Since { since: Micros(9 * S) }, "that is long ago");
    }

    /// It protects people whose sockets closed before an update and who return after it.
    #[test]
    fn the_stored_form_is_pinned() {
        let text = r#"{"id":7,"opened_at":"2026-03-01T12:00:00.000000Z","closed_at":"2026-03-01T12:00:01.000000Z","alive_at":"2026-03-01T12:00:01.000000Z","origin":{"address":"a","agent":"b"},"proven":true,"secret":"s","copied":[5],"subscriptions":{"message":{"all":false,"keys":["k"]},"community":{"all":false,"keys":[]},"user_status":{"all":false,"keys":[]}},"heard":{"at://c":41,"at://d":{"since":"2026-03-01T12:00:00.000000Z"}}}"#;
        let read: Trace = serde_json::from_str(text).unwrap();
        assert_eq!(read.positions["at://c"], Place::Seq(41));
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
        let least = r#"{"id":-1,"alive_at":"1970-01-01T00:00:00.000000Z","subscriptions":{"message":{"all":false,"keys":[]},"community":{"all":false,"keys":[]},"user_status":{"all":false,"keys":[]}},"heard":{}}"#;
        assert_eq!(serde_json::from_str::<Trace>(least).unwrap().id, -1, "a row of before this form");
    }
}
