//! The presence of one person (contract section 5): online, away, dnd or offline.
//!
//! Pure: [`Presence::on`] takes an input and its time, and changes the state. The caller compares
//! [`Presence::current`] with what was last published, and calls again at [`Presence::deadline`].
//! Inputs may come late, twice or in any order. At rest a person is offline exactly when no socket
//! is open (P04), with the exceptions of P08 and P09.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::wire::time::Micros;

/// The most communities through which a person is watched (A36), and whose events a socket of the newest client
/// receives (N162). Otherwise one person could make every event about them grow without bound. A person in more
/// communities is watched through the first of them, by AT-URI.
pub const COMMUNITIES_MAX: u16 = 2_000;

/// A state, as on the wire and in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Present.
    Online,
    /// Present, but inactive.
    Away,
    /// Present, do not disturb.
    Dnd,
    /// Absent, or invisible (P08).
    Offline,
}

impl State {
    /// The state with this name.
    pub fn named(word: &str) -> Option<Self> {
        match word {
            "online" => Some(State::Online),
            "away" => Some(State::Away),
            "dnd" => Some(State::Dnd),
            "offline" => Some(State::Offline),
            _ => None,
        }
    }

    /// Its name.
    pub fn word(self) -> &'static str {
        match self {
            State::Online => "online",
            State::Away => "away",
            State::Dnd => "dnd",
            State::Offline => "offline",
        }
    }
}

/// Periods, in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Periods {
    /// `AWAY_AFTER_MS` (P06).
    pub away_after: i64,
    /// `OFFLINE_GRACE_MS` (P03, V07).
    pub grace: i64,
}

/// An input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The stored states are loaded; before this, nothing else counts.
    Loaded {
        /// The preferred state, if one was ever set.
        preferred: Option<State>,
        /// The state last stored, if the person was ever seen.
        current: Option<State>,
        /// Whether the account is active (P13).
        active: bool,
    },
    /// A socket opened.
    Opened(i64),
    /// A socket closed, for whatever reason. Repeating this changes nothing.
    Closed(i64),
    /// A frame that is activity (P05).
    Active,
    /// `set_state` (P08), or `actor.setState` (N160p).
    Set(State),
    /// R20 (P09).
    SetByApi(State),
    /// The account became active or inactive (P13).
    Account(bool),
    /// The service restarted: a state that R20 set without a socket ends (P04).
    Restarted,
    /// Time passed.
    Tick,
}

/// The presence of one person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    loaded: bool,
    active: bool,
    preferred: State,
    current: Option<State>,
    sockets: BTreeSet<i64>,
    last_activity: Micros,
    /// `AWAY_AFTER_MS` passed since the last activity.
    idle: bool,
    /// Whether the current state is `away` for that reason.
    away: bool,
    /// Until when a reconnect may follow the last close.
    grace_until: Option<Micros>,
    /// Whether R20 set the state without a socket; it stays until one opens (P04).
    pinned: bool,
    /// Whether a socket opened before the stored states were loaded.
    greeted: bool,
}

impl Default for Presence {
    fn default() -> Self {
        Self {
            loaded: false,
            active: true,
            preferred: State::Online,
            current: None,
            sockets: BTreeSet::new(),
            last_activity: Micros(0),
            idle: false,
            away: false,
            grace_until: None,
            pinned: false,
            greeted: false,
        }
    }
}

impl Presence {
    /// The state others see; `None` for a person never seen, or not loaded yet.
    pub fn current(&self) -> Option<State> {
        self.current.filter(|_| self.loaded)
    }

    /// The state the person chose (P01).
    pub fn preferred(&self) -> State {
        self.preferred
    }

    /// Whether the stored states are loaded.
    pub fn is_loaded(&self) -> bool {
        self.loaded
    }

    /// Whether the account is active, as far as is known (P13).
    pub fn is_active(&self) -> bool {
        self.active
    }

    /// Whether a choice shows at once: with a socket, or within the grace after the last one (P04).
    pub fn shows_choices(&self) -> bool {
        !self.sockets.is_empty() || self.grace_until.is_some()
    }

    /// The open sockets.
    pub fn sockets(&self) -> &BTreeSet<i64> {
        &self.sockets
    }

    /// The last activity (P05).
    pub fn last_activity(&self) -> Micros {
        self.last_activity
    }

    /// The same presence with another time of the last activity, for comparison or storage.
    #[must_use]
    pub fn at_activity(&self, last_activity: Micros) -> Self {
        Self { last_activity, ..self.clone() }
    }

    /// Whether nothing of it would be lost with the memory.
    pub fn is_over(&self) -> bool {
        self.loaded
            && self.sockets.is_empty()
            && self.grace_until.is_none()
            && !self.pinned
            && self.current.is_none_or(|state| state == State::Offline)
    }

    /// When [`Input::Tick`] would change something.
    pub fn deadline(&self, periods: &Periods) -> Option<Micros> {
        let away = (self.loaded && !self.sockets.is_empty() && !self.idle)
            .then(|| after(self.last_activity, periods.away_after));
        [away, self.grace_until].into_iter().flatten().min()
    }

    /// Takes an input at `now`. Returns `true` if the person has just been inactive for
    /// `AWAY_AFTER_MS`, whatever their state (P06, V06).
    pub fn on(&mut self, input: Input, now: Micros, periods: &Periods) -> bool {
        let mut fell_silent = false;
        match input {
            Input::Loaded { preferred, current, active } => self.load(preferred, current, active),
            Input::Opened(socket) => self.opened(socket, now),
            Input::Closed(socket) => self.closed(socket, now, periods),
            Input::Active => self.activity(now),
            // Without a socket the choice is stored, and shows with the next one (P04, N160p).
            Input::Set(state) if !self.shows_choices() => {
                self.preferred = state;
            }
            Input::Set(state) => {
                self.activity(now);
                self.set(state);
            }
            Input::SetByApi(state) => {
                self.set(state);
                if self.sockets.is_empty() {
                    self.pinned = true;
                    self.grace_until = None;
                }
            }
            Input::Account(active) => self.account(active),
            Input::Restarted => self.pinned = false,
            Input::Tick => fell_silent = self.tick(now, periods),
        }
        self.settle(now, periods);
        fell_silent
    }

    fn load(&mut self, preferred: Option<State>, current: Option<State>, active: bool) {
        if self.loaded {
            return;
        }
        self.loaded = true;
        self.preferred = preferred.unwrap_or(State::Online);
        self.current = current;
        self.active = active;
        if self.greeted && self.sockets.is_empty() {
            self.current = Some(self.preferred); // P02, even if it is closed again
        }
    }

    fn opened(&mut self, socket: i64, now: Micros) {
        self.sockets.insert(socket);
        self.grace_until = None;
        self.pinned = false;
        self.greeted = true;
        self.activity(now);
    }

    /// P03: the grace period counts from the newest close of a last socket.
    fn closed(&mut self, socket: i64, now: Micros, periods: &Periods) {
        if self.sockets.remove(&socket) && self.sockets.is_empty() {
            self.grace_until = Some(after(now, periods.grace));
        }
    }

    /// P05, P07.
    fn activity(&mut self, now: Micros) {
        self.last_activity = self.last_activity.max(now);
        self.idle = false;
        self.away = false;
    }

    fn set(&mut self, state: State) {
        self.preferred = state;
        self.away = false;
        if self.sockets.is_empty() && self.active {
            self.current = Some(state);
        }
    }

    fn account(&mut self, active: bool) {
        self.active = active;
        if !active {
            self.pinned = false;
        }
    }

    fn tick(&mut self, now: Micros, periods: &Periods) -> bool {
        if self.grace_until.is_some_and(|until| until <= now) {
            self.grace_until = None;
        }
        let silent = self.loaded && !self.sockets.is_empty() && !self.idle;
        if silent && after(self.last_activity, periods.away_after) <= now {
            self.idle = true;
            self.away = self.current == Some(State::Online);
            return true;
        }
        false
    }

    /// Computes the current state. The first rule that applies decides:
    ///   1. nothing, before the stored states are loaded;
    ///   2. an inactive account is offline (P13);
    ///   3. with an open socket it is the preferred state, or `away` after inactivity (P02, P06);
    ///   4. within the grace period, and after R20, it stays as it was (P03, P04);
    ///   5. if it is stored as present and there is no socket, the grace period starts (P10);
    ///   6. otherwise it is offline.
    fn settle(&mut self, now: Micros, periods: &Periods) {
        let present = self.current.is_some_and(|state| state != State::Offline);
        if !self.loaded {
            return;
        }
        let in_grace = self.grace_until.is_some_and(|until| until > now);
        if !self.active {
            self.current = self.current.map(|_| State::Offline);
        } else if !self.sockets.is_empty() {
            self.current = Some(if self.away { State::Away } else { self.preferred });
        } else if in_grace || self.pinned || !present {
            // Rule 4, or no change.
        } else if self.grace_until.is_none() && !self.greeted {
            self.greeted = true;
            self.grace_until = Some(after(now, periods.grace));
        } else {
            self.grace_until = None;
            self.current = Some(State::Offline);
        }
    }
}

fn after(at: Micros, period: i64) -> Micros {
    Micros(at.0.saturating_add(period))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const S: i64 = 1_000_000;
    const PERIODS: Periods = Periods { away_after: 300 * S, grace: 5 * S };

    /// A person on virtual time, and what was published.
    struct Stage {
        presence: Presence,
        now: Micros,
        told: Vec<(i64, State)>,
        silences: usize,
    }

    impl Stage {
        fn new() -> Self {
            Self { presence: Presence::default(), now: Micros(0), told: Vec::new(), silences: 0 }
        }

        fn loaded(preferred: Option<State>, current: Option<State>) -> Self {
            let mut stage = Self::new();
            stage.on(Input::Loaded { preferred, current, active: true });
            stage.told.clear();
            stage
        }

        fn on(&mut self, input: Input) {
            let before = self.presence.current();
            self.silences += usize::from(self.presence.on(input, self.now, &PERIODS));
            if let Some(state) = self.presence.current().filter(|_| before != self.presence.current()) {
                self.told.push((self.now.0 / S, state));
            }
        }

        /// Advances the time, and meets every deadline.
        fn until(&mut self, secs: i64) {
            let end = Micros(secs * S);
            while let Some(at) = self.presence.deadline(&PERIODS).filter(|at| *at <= end) {
                self.now = self.now.max(at);
                self.on(Input::Tick);
            }
            self.now = end;
        }
    }

    /// Takes steps at these seconds, and checks what is published.
    fn check(why: &str, stage: &mut Stage, steps: &[(i64, Input)], end: i64, expected: &[(i64, State)]) {
        for (at, input) in steps {
            stage.until(*at);
            stage.on(*input);
        }
        stage.until(end);
        assert_eq!(stage.told, expected, "{why}");
    }

    #[test]
    fn p01_to_p09_states_over_time() {
        use Input::{Active, Closed, Opened, Set, SetByApi};
        use State::{Away, Dnd, Offline, Online};
        for (why, steps, end, expected) in [
            ("P02, B-49: the first socket", vec![(0, Opened(1))], 10, vec![(0, Online)]),
            ("P02: a further socket", vec![(0, Opened(1)), (1, Opened(2))], 10, vec![(0, Online)]),
            (
                "P03: after the grace",
                vec![(0, Opened(1)), (10, Closed(1))],
                20,
                vec![(0, Online), (15, Offline)],
            ),
            (
                "P03: a reconnect",
                vec![(0, Opened(1)), (10, Closed(1)), (13, Opened(2))],
                100,
                vec![(0, Online)],
            ),
            (
                "B-53: the grace counts from the newest close",
                vec![(0, Opened(1)), (10, Closed(1)), (13, Opened(2)), (14, Closed(2))],
                100,
                vec![(0, Online), (19, Offline)],
            ),
            (
                "B-53: a reconnect at the very end of the grace",
                vec![(0, Opened(1)), (10, Closed(1)), (15, Opened(2))],
                100,
                vec![(0, Online), (15, Offline), (15, Online)],
            ),
            (
                "P03: a close reported twice",
                vec![(0, Opened(1)), (0, Opened(2)), (9, Closed(1)), (9, Closed(1))],
                100,
                vec![(0, Online)],
            ),
            ("P06", vec![(0, Opened(1))], 400, vec![(0, Online), (300, Away)]),
            (
                "P05, B-57: a new socket is activity",
                vec![(0, Opened(1)), (290, Opened(2))],
                580,
                vec![(0, Online)],
            ),
            ("P07", vec![(0, Opened(1)), (350, Active)], 360, vec![(0, Online), (300, Away), (350, Online)]),
            (
                "P06: dnd stays",
                vec![(0, Opened(1)), (1, Set(Dnd)), (600, Active)],
                700,
                vec![(0, Online), (1, Dnd)],
            ),
            (
                "B-13, P07: the current preferred state, set by any socket",
                vec![(0, Opened(1)), (0, Opened(2)), (350, SetByApi(Dnd)), (400, Active)],
                1000,
                vec![(0, Online), (300, Away), (350, Dnd)],
            ),
            (
                "A13, B-49: the same state again",
                vec![(0, Opened(1)), (1, Set(Online)), (2, Set(Online))],
                9,
                vec![(0, Online)],
            ),
            (
                "P08: invisible, through activity and a reconnect",
                vec![
                    (0, Opened(1)),
                    (1, Set(Offline)),
                    (2, Active),
                    (3, Closed(1)),
                    (5, Opened(2)),
                    (20, Closed(2)),
                    (60, Opened(3)),
                ],
                100,
                vec![(0, Online), (1, Offline)],
            ),
            ("P09: without a socket it stays", vec![(0, SetByApi(Dnd))], 9999, vec![(0, Dnd)]),
            (
                "P04: until a socket opens and closes again",
                vec![(0, SetByApi(Dnd)), (100, Opened(1)), (200, Closed(1))],
                999,
                vec![(0, Dnd), (205, Offline)],
            ),
            (
                "P09: within the grace",
                vec![(0, Opened(1)), (1, Closed(1)), (2, SetByApi(Away))],
                99,
                vec![(0, Online), (2, Away)],
            ),
            (
                "P09: with a socket it ends with it",
                vec![(0, Opened(1)), (1, SetByApi(Dnd)), (2, Closed(1))],
                99,
                vec![(0, Online), (1, Dnd), (7, Offline)],
            ),
            (
                "P04: a restart ends it",
                vec![(0, SetByApi(Dnd)), (10, Input::Restarted)],
                99,
                vec![(0, Dnd), (15, Offline)],
            ),
            (
                "P13",
                vec![(0, Opened(1)), (5, Input::Account(false)), (6, Active), (9, Input::Account(true))],
                99,
                vec![(0, Online), (5, Offline), (9, Online)],
            ),
        ] {
            check(why, &mut Stage::loaded(None, None), &steps, end, &expected);
        }
    }

    #[test]
    fn p10_what_was_stored_before_a_crash() {
        use State::{Dnd, Offline, Online};
        check("nobody came back", &mut Stage::loaded(None, Some(Online)), &[], 100, &[(5, Offline)]);
        let back = [(3, Input::Opened(1))];
        check("back in time", &mut Stage::loaded(Some(Dnd), Some(Dnd)), &back, 100, &[]);
        check("was offline", &mut Stage::loaded(None, Some(Offline)), &[], 100, &[]);
    }

    #[test]
    fn p02_a_socket_opens_before_the_stored_states_are_known() {
        let mut stage = Stage::new();
        stage.on(Input::Opened(1));
        assert_eq!(stage.presence.current(), None);
        let stored =
            Input::Loaded { preferred: Some(State::Dnd), current: Some(State::Offline), active: true };
        stage.on(stored);
        assert_eq!(stage.presence.current(), Some(State::Dnd));
        let mut gone = Stage::new();
        gone.on(Input::Opened(1));
        gone.on(Input::Closed(1));
        gone.on(stored);
        gone.until(10);
        assert_eq!(gone.told, [(0, State::Dnd), (5, State::Offline)], "closed again meanwhile");
        assert!(gone.presence.is_over());
    }

    #[test]
    fn p06_once_per_silence_and_v06_whatever_the_state() {
        let mut stage = Stage::loaded(None, None);
        stage.on(Input::Opened(1));
        stage.on(Input::Set(State::Dnd));
        stage.until(2000);
        assert_eq!(stage.silences, 1);
        stage.on(Input::Active);
        stage.until(4000);
        assert_eq!(stage.silences, 2);
    }

    #[test]
    fn n160p_without_a_socket_a_choice_shows_with_the_next_one() {
        let mut presence = Presence::default();
        let mut on = |input, at: i64| {
            presence.on(input, Micros(at), &PERIODS);
            (presence.current(), presence.preferred())
        };
        on(Input::Loaded { preferred: None, current: None, active: true }, 0);
        let (current, preferred) = on(Input::Set(State::Dnd), 1);
        assert!(!matches!(current, Some(State::Dnd)), "P04: {current:?}");
        assert_eq!(preferred, State::Dnd);
        assert_eq!(on(Input::Opened(7), 2).0, Some(State::Dnd));
    }

    /// Objects store it in their database: after a change of its form, everybody at a gateway would
    /// be unknown.
    #[test]
    fn the_stored_form_is_pinned() {
        let mut presence = Presence::default();
        presence.on(Input::Loaded { preferred: None, current: None, active: true }, Micros(0), &PERIODS);
        presence.on(Input::Opened(7), Micros(S), &PERIODS);
        let text = r#"{"loaded":true,"active":true,"preferred":"online","current":"online","sockets":[7],"last_activity":"1970-01-01T00:00:01.000000Z","idle":false,"away":false,"grace_until":null,"pinned":false,"greeted":true}"#;
        assert_eq!(serde_json::to_string(&presence).unwrap(), text);
        assert_eq!(serde_json::from_str::<Presence>(text).unwrap(), presence);
    }

    fn state() -> impl Strategy<Value = State> {
        prop_oneof![Just(State::Online), Just(State::Away), Just(State::Dnd), Just(State::Offline)]
    }

    fn input() -> impl Strategy<Value = Input> {
        prop_oneof![
            4 => (0..4_i64).prop_map(Input::Opened),
            4 => (0..4_i64).prop_map(Input::Closed),
            3 => Just(Input::Active),
            1 => state().prop_map(Input::Set),
            1 => prop_oneof![Just(State::Online), Just(State::Away), Just(State::Dnd)].prop_map(Input::SetByApi),
            1 => any::<bool>().prop_map(Input::Account),
            1 => Just(Input::Restarted),
            2 => Just(Input::Tick),
            1 => (proptest::option::of(state()), proptest::option::of(state()))
                .prop_map(|(preferred, current)| Input::Loaded { preferred, current, active: true }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

        /// P04, P10: whatever happens, with or without a loss of memory in between (eviction,
        /// crash), at rest online means that a socket is open.
        #[test]
        fn p04_at_rest_online_means_an_open_socket(
            steps in proptest::collection::vec((input(), 0..400_i64, any::<bool>(), any::<bool>()), 1..60)
        ) {
            let mut stage = Stage::new();
            stage.on(Input::Loaded { preferred: None, current: None, active: true });
            let mut set_by_api = false;
            for (input, secs, late, evicted) in steps {
                let at = stage.now.0 / S + secs;
                if late { stage.now = Micros(at * S) } else { stage.until(at) }
                if evicted {
                    let text = serde_json::to_string(&stage.presence).unwrap();
                    stage.presence = serde_json::from_str(&text).unwrap();
                }
                match input {
                    Input::SetByApi(_) if stage.presence.sockets().is_empty() => set_by_api = true,
                    Input::Opened(_) | Input::Restarted | Input::Account(false) => set_by_api = false,
                    _ => {}
                }
                stage.on(input);
                let presence = &stage.presence;
                let open = !presence.sockets().is_empty();
                match presence.current() {
                    Some(State::Offline) | None if open && presence.is_active() => {
                        prop_assert_eq!(presence.preferred(), State::Offline, "only who chose it is invisible");
                    }
                    Some(state) if !presence.is_active() => prop_assert_eq!(state, State::Offline, "P13"),
                    _ => {}
                }
            }
            stage.until(stage.now.0 / S + 1000);
            let present = stage.presence.current().is_some_and(|state| state != State::Offline);
            if stage.presence.sockets().is_empty() {
                prop_assert!(!present || set_by_api, "present without a socket");
                prop_assert!(set_by_api || stage.presence.is_over(), "nothing is left to remember");
            } else if stage.presence.is_active() {
                prop_assert!(present || stage.presence.preferred() == State::Offline, "a socket, but offline");
            }
            prop_assert_eq!(stage.presence.deadline(&PERIODS), None, "at rest nothing is due");
        }

        /// P03: a client that reconnects within the grace period, however often, never flickers.
        #[test]
        fn p03_no_flicker(gaps in proptest::collection::vec((1..5_i64, 0..4_i64), 1..40)) {
            let mut stage = Stage::loaded(None, None);
            stage.on(Input::Opened(0));
            for (n, (gap, stay)) in (1_i64..).zip(gaps) {
                stage.on(Input::Closed(n - 1));
                stage.until(stage.now.0 / S + gap);
                stage.on(Input::Opened(n));
                stage.until(stage.now.0 / S + stay);
            }
            prop_assert_eq!(stage.told, [(0, State::Online)]);
        }
    }
}
