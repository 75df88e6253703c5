//! Voice presence (contract section 6): the one channel a person is in, and the socket that keeps
//! them there.
//!
//! Pure, like [`super::presence`]. A [`VoicePresence`] belongs to one person and is held where their sockets
//! are. The list that others see, of who is in a channel, is with the community and follows from
//! [`Rooms`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::presence::Periods;
use crate::wire::ids::{AtUri, Did};
use crate::wire::time::Micros;

/// A presence that a socket took over by merely opening ends after this, in microseconds, unless a
/// `join` confirms it (V08). The web client repeats its `join` every 180 s.
pub const CONFIRM_WITHIN: i64 = 200 * 1_000_000;

/// The most sockets that are remembered as opened beside the holder. A person has a few devices;
/// the newest sockets are the likeliest result of a changed connection.
const BESIDE_MAX: usize = 8;

/// A voice channel.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// Its community.
    pub community: AtUri,
    /// The channel.
    pub channel: AtUri,
}

/// An input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A socket's `join` was allowed: the person is in this channel, held by that socket.
    Joined(i64, Place),
    /// The community has removed the person from its channels.
    Left,
    /// A socket opened.
    Opened(i64),
    /// The client of this socket showed a sign of life at this moment.
    Alive(i64, Micros),
    /// A socket closed.
    Closed(i64),
    /// The person may not stay: inactivity, `set_state offline`, account (V06).
    Ended,
    /// Time passed.
    Tick,
}

/// A person's channel, and what keeps them there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoicePresence {
    place: Option<Place>,
    /// The socket of the latest `join`, or the one that took over (V07, V08).
    holder: Option<i64>,
    /// Until when another socket may take over.
    grace_until: Option<Micros>,
    /// Until when a `join` must confirm a takeover.
    confirm_by: Option<Micros>,
    /// Whether the person must be removed, and the community does not know yet.
    leaving: bool,
    /// The last sign of life of the holder's client.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "heard")]
    alive_at: Option<Micros>,
    /// Sockets that opened while the holder was open, and when.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    beside: Vec<(i64, Micros)>,
}

impl VoicePresence {
    /// The channel the person is in, from the person's side.
    pub fn place(&self) -> Option<&Place> {
        self.place.as_ref()
    }

    /// The socket that keeps the person there (V07, V08).
    pub fn holder(&self) -> Option<i64> {
        self.holder
    }

    /// The channel to remove the person from: notify its community, then send [`Input::Left`].
    pub fn leaving(&self) -> Option<&Place> {
        self.place.as_ref().filter(|_| self.leaving)
    }

    /// When [`Input::Tick`] would change something.
    pub fn deadline(&self) -> Option<Micros> {
        [self.grace_until, self.confirm_by].into_iter().flatten().filter(|_| !self.leaving).min()
    }

    /// Takes an input at `now`:
    ///   1. a `join` moves the person and makes its socket the holder (V07);
    ///   2. when the holder closes, the newest socket takes over that opened after the holder's
    ///      last sign of life: it is the same client on another connection (V08). Without one the
    ///      grace period begins (V07);
    ///   3. within it a socket that opens takes over, until confirmed by a `join` (V08);
    ///   4. when the grace period or the time for confirmation runs out, and after
    ///      [`Input::Ended`], the person must be removed.
    pub fn on(&mut self, input: Input, now: Micros, periods: &Periods) {
        let present = self.place.is_some() && !self.leaving;
        match input {
            Input::Joined(socket, place) => {
                let alive_at = Some(now);
                *self = Self { place: Some(place), holder: Some(socket), alive_at, ..Self::default() };
            }
            Input::Left => *self = Self::default(),
            Input::Opened(socket) if present && self.holder.is_none() => {
                if self.grace_until.is_some_and(|until| until > now) {
                    self.take_over(socket, now, now);
                }
            }
            Input::Opened(socket) if present => {
                self.beside.push((socket, now));
                let too_many = self.beside.len().saturating_sub(BESIDE_MAX);
                self.beside.drain(..too_many);
            }
            Input::Alive(socket, at) if self.holder == Some(socket) => {
                self.alive_at = self.alive_at.max(Some(at))
            }
            Input::Closed(socket) if present && self.holder == Some(socket) => {
                self.holder = None;
                let alive_at = self.alive_at.unwrap_or(now);
                match self.beside.iter().rev().find(|(_, opened)| *opened > alive_at).copied() {
                    Some((successor, opened)) => self.take_over(successor, opened, now),
                    None => self.grace_until = Some(Micros(now.0.saturating_add(periods.grace))),
                }
            }
            Input::Closed(socket) => self.beside.retain(|(beside, _)| *beside != socket),
            Input::Ended => self.leaving = self.place.is_some(),
            Input::Opened(_) | Input::Alive(..) | Input::Tick => {}
        }
        let over = |at: Option<Micros>| at.is_some_and(|at| at <= now);
        if over(self.grace_until) || over(self.confirm_by) {
            self.leaving = self.place.is_some();
        }
    }

    /// A socket that has not joined becomes the holder, for a limited time.
    fn take_over(&mut self, socket: i64, opened: Micros, now: Micros) {
        self.holder = Some(socket);
        self.alive_at = Some(opened);
        self.grace_until = None;
        self.beside.retain(|(beside, at)| *beside != socket && *at > opened);
        self.confirm_by.get_or_insert(Micros(now.0.saturating_add(CONFIRM_WITHIN)));
    }
}

/// The members of the voice channels of one community.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rooms {
    channel_of: BTreeMap<Did, AtUri>,
}

/// A channel whose list changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The channel.
    pub channel: AtUri,
    /// Its whole list, sorted (E14).
    pub members: Vec<Did>,
    /// Who left it, sorted.
    pub left: Vec<Did>,
    /// Who joined it.
    pub joined: Option<Did>,
}

impl Changed {
    fn emptied((channel, left): (AtUri, Vec<Did>)) -> Self {
        Self { channel, members: Vec::new(), left, joined: None }
    }
}

impl Rooms {
    /// The channels with these people in them.
    pub fn of(people: impl IntoIterator<Item = (Did, AtUri)>) -> Self {
        Self { channel_of: people.into_iter().collect() }
    }

    /// Whether nobody is in any channel.
    pub fn is_empty(&self) -> bool {
        self.channel_of.is_empty()
    }

    /// The channel of a person.
    pub fn channel_of(&self, person: &Did) -> Option<&AtUri> {
        self.channel_of.get(person)
    }

    /// The list of a channel, sorted (O05).
    pub fn members(&self, channel: &AtUri) -> Vec<Did> {
        self.channel_of.iter().filter(|(_, of)| *of == channel).map(|(did, _)| did.clone()).collect()
    }

    /// The lists of all channels that are not empty.
    pub fn lists(&self) -> BTreeMap<AtUri, Vec<Did>> {
        let mut lists: BTreeMap<AtUri, Vec<Did>> = BTreeMap::new();
        for (did, channel) in &self.channel_of {
            lists.entry(channel.clone()).or_default().push(did.clone());
        }
        lists
    }

    /// A person joins: first they leave the old channel, then they enter the new one (V03); nothing
    /// happens if they are there already (V04).
    pub fn join(&mut self, person: &Did, channel: &AtUri) -> Vec<Changed> {
        if self.channel_of.get(person) == Some(channel) {
            return Vec::new();
        }
        let mut changed = self.leave(person);
        self.channel_of.insert(person.clone(), channel.clone());
        let (members, joined) = (self.members(channel), Some(person.clone()));
        changed.push(Changed { channel: channel.clone(), members, left: Vec::new(), joined });
        changed
    }

    /// Removes a person from their channel (V05, V06).
    pub fn leave(&mut self, person: &Did) -> Vec<Changed> {
        let Some(channel) = self.channel_of.remove(person) else { return Vec::new() };
        let (members, left) = (self.members(&channel), vec![person.clone()]);
        vec![Changed { channel, members, left, joined: None }]
    }

    /// A channel was deleted: removes everybody in it (V06, V09).
    pub fn clear(&mut self, channel: &AtUri) -> Vec<Changed> {
        let left = self.members(channel);
        self.channel_of.retain(|_, of| of != channel);
        if left.is_empty() { Vec::new() } else { vec![Changed::emptied((channel.clone(), left))] }
    }

    /// The community was deleted: empties every occupied channel (E06).
    pub fn clear_all(&mut self) -> Vec<Changed> {
        std::mem::take(self).lists().into_iter().map(Changed::emptied).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    const S: i64 = 1_000_000;
    const PERIODS: Periods = Periods { away_after: 300 * S, grace: 5 * S };

    fn place(channel: &str) -> Place {
        Place {
            community: AtUri::parse("at://did:plc:o/social.colibri.community/c").unwrap(),
            channel: AtUri::parse(&format!("at://did:plc:o/social.colibri.channel/{channel}")).unwrap(),
        }
    }

    #[test]
    fn v04_to_v08_what_holds_a_person() {
        use Input::{Alive, Closed, Ended, Joined, Left, Opened};
        let join = |socket| Joined(socket, place("a"));
        for (why, steps, expected) in [
            ("V07: the holder closes", vec![(0, join(1)), (10, Closed(1))], Some(15)),
            (
                "V07: also when another socket stays",
                vec![(0, Opened(2)), (0, join(1)), (10, Closed(1))],
                Some(15),
            ),
            ("V07: another socket closes", vec![(0, join(1)), (10, Closed(2))], None),
            ("V07: the latest join counts", vec![(0, join(1)), (1, join(2)), (10, Closed(1))], None),
            ("V07: its socket closes", vec![(0, join(1)), (1, join(2)), (10, Closed(2))], Some(15)),
            ("V08: a join takes over", vec![(0, join(1)), (10, Closed(1)), (12, join(2))], None),
            (
                "V08: so does opening, for 200 s",
                vec![(0, join(1)), (10, Closed(1)), (12, Opened(2))],
                Some(212),
            ),
            (
                "V08: confirmed by a join",
                vec![(0, join(1)), (10, Closed(1)), (12, Opened(2)), (180, join(2))],
                None,
            ),
            ("V08: an open socket is no new one", vec![(0, join(1)), (10, Opened(2))], None),
            (
                "V08: the line changes: the new socket opened when the old was silent already",
                vec![(0, join(1)), (10, Alive(1, Micros(10 * S))), (12, Opened(2)), (80, Closed(1))],
                Some(280),
            ),
            (
                "V08: and the client confirms it",
                vec![(0, join(1)), (12, Opened(2)), (80, Closed(1)), (180, join(2))],
                None,
            ),
            (
                "V07: a second device beside a live one is no successor",
                vec![(0, join(1)), (12, Opened(2)), (20, Alive(1, Micros(20 * S))), (80, Closed(1))],
                Some(85),
            ),
            (
                "V07: what another socket says counts for nothing",
                vec![(0, join(1)), (12, Opened(2)), (20, Alive(2, Micros(20 * S))), (80, Closed(1))],
                Some(280),
            ),
            (
                "V07: nor does a socket that is gone again",
                vec![(0, join(1)), (12, Opened(2)), (13, Closed(2)), (80, Closed(1))],
                Some(85),
            ),
            (
                "V08: the line changes twice",
                vec![(0, join(1)), (12, Opened(2)), (30, Opened(3)), (80, Closed(1)), (81, Closed(2))],
                Some(280),
            ),
            (
                "V08: and the newest is lost as well",
                vec![(0, join(1)), (12, Opened(2)), (30, Opened(3)), (31, Closed(3)), (80, Closed(1))],
                Some(280),
            ),
            ("V08: too late", vec![(0, join(1)), (10, Closed(1)), (15, Opened(2))], Some(15)),
            (
                "V08: and closes again",
                vec![(0, join(1)), (10, Closed(1)), (12, Opened(2)), (20, Closed(2))],
                Some(25),
            ),
            ("V06: at once", vec![(0, join(1)), (10, Ended)], Some(10)),
            ("V05", vec![(0, join(1)), (10, Left)], None),
            ("nowhere", vec![(0, Opened(1)), (10, Ended), (11, Closed(1))], None),
        ] {
            let mut voice = VoicePresence::default();
            let mut out_at = None;
            let mut steps = steps.into_iter().peekable();
            let mut now = 0;
            while out_at.is_none() {
                let due = voice.deadline().map(|at| at.0 / S);
                let next = steps.peek().map(|(at, _)| *at);
                let (at, input) = match (due, next) {
                    (Some(due), Some(next)) if due < next => (due, Input::Tick),
                    (_, Some(_)) => steps.next().unwrap(),
                    (Some(due), None) => (due, Input::Tick),
                    (None, None) => break,
                };
                now = at.max(now);
                voice.on(input, Micros(now * S), &PERIODS);
                out_at = voice.leaving().map(|_| now);
            }
            assert_eq!(out_at, expected, "{why}");
        }
    }

    #[test]
    fn v03_v04_v09_lists() {
        let did = |name: &str| Did::parse(&format!("did:plc:{name}")).unwrap();
        let channel = |name: &str| place(name).channel;
        let lists = |changed: Vec<Changed>| {
            changed.into_iter().map(|one| (one.channel, one.members)).collect::<Vec<_>>()
        };
        let mut rooms = Rooms::default();
        assert_eq!(lists(rooms.join(&did("m"), &channel("a"))), [(channel("a"), vec![did("m")])]);
        assert_eq!(
            lists(rooms.join(&did("b"), &channel("a"))),
            [(channel("a"), vec![did("b"), did("m")])],
            "sorted"
        );
        assert_eq!(lists(rooms.join(&did("b"), &channel("a"))), [], "V04");
        assert_eq!(
            lists(rooms.join(&did("m"), &channel("b"))),
            [(channel("a"), vec![did("b")]), (channel("b"), vec![did("m")])],
            "V03: out of the old one first"
        );
        assert_eq!(lists(rooms.leave(&did("b"))), [(channel("a"), vec![])], "V09");
        assert_eq!(lists(rooms.leave(&did("b"))), []);
        assert_eq!(lists(rooms.clear(&channel("a"))), [], "nobody was in it");
        assert_eq!(lists(rooms.clear(&channel("b"))), [(channel("b"), vec![])], "E08");
        rooms.join(&did("m"), &channel("b"));
        rooms.join(&did("b"), &channel("a"));
        assert_eq!(lists(rooms.clear_all()), [(channel("a"), vec![]), (channel("b"), vec![])], "E06");
        assert!(rooms.is_empty());
    }

    /// Objects store it in their database: a change of its form would lose who is in a call.
    #[test]
    fn the_stored_form_is_pinned() {
        let mut voice = VoicePresence::default();
        voice.on(Input::Joined(7, place("a")), Micros(0), &PERIODS);
        let text = r#"{"place":{"community":"at://did:plc:o/social.colibri.community/c","channel":"at://did:plc:o/social.colibri.channel/a"},"holder":7,"grace_until":null,"confirm_by":null,"leaving":false,"heard":"1970-01-01T00:00:00.000000Z","beside":[[8,"1970-01-01T00:00:01.000000Z"]]}"#;
        voice.on(Input::Opened(8), Micros(S), &PERIODS);
        assert_eq!(serde_json::to_string(&voice).unwrap(), text);
        assert_eq!(serde_json::from_str::<VoicePresence>(text).unwrap(), voice);
        let (before, _) = text.split_once(r#","heard""#).unwrap();
        let older: VoicePresence = serde_json::from_str(&format!("{before}}}")).unwrap();
        assert_eq!(
            (older.place(), older.holder, older.beside.len()),
            (voice.place(), Some(7), 0),
            "an older build's"
        );
    }

    fn input() -> impl Strategy<Value = Input> {
        prop_oneof![
            (0..4_i64, 0..3_usize).prop_map(|(socket, n)| Input::Joined(socket, place(["a", "b", "c"][n]))),
            (0..4_i64).prop_map(Input::Opened),
            (0..4_i64).prop_map(Input::Closed),
            Just(Input::Left),
            Just(Input::Ended),
            Just(Input::Tick),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

        /// V07, V11: whatever happens, evictions included, at rest a person without a socket is in
        /// no channel.
        #[test]
        fn v11_at_rest_a_voice_presence_has_an_open_socket(
            steps in proptest::collection::vec((input(), 0..30_i64, any::<bool>()), 1..60)
        ) {
            let mut voice = VoicePresence::default();
            let mut open = BTreeSet::new();
            let mut now = Micros(0);
            for (input, secs, evicted) in steps {
                now = Micros(now.0 + secs * S);
                if evicted {
                    voice = serde_json::from_str(&serde_json::to_string(&voice).unwrap()).unwrap();
                }
                match &input {
                    Input::Opened(socket) | Input::Joined(socket, _) => drop(open.insert(*socket)),
                    Input::Closed(socket) => drop(open.remove(socket)),
                    _ => {}
                }
                voice.on(input, now, &PERIODS);
                if voice.leaving().is_some() {
                    voice.on(Input::Left, now, &PERIODS);
                }
            }
            for socket in open {
                voice.on(Input::Closed(socket), now, &PERIODS);
            }
            while let Some(at) = voice.deadline() {
                now = now.max(at);
                voice.on(Input::Tick, now, &PERIODS);
            }
            prop_assert!(voice.place().is_none() || voice.leaving().is_some());
        }

        /// V01, V10: one channel per person, and every list equals what the events said last.
        #[test]
        fn v01_v10_lists_are_what_was_said(
            steps in proptest::collection::vec((0..4_usize, 0..3_usize, 0..10_u8), 1..80)
        ) {
            let mut rooms = Rooms::default();
            let mut said: BTreeMap<AtUri, Vec<Did>> = BTreeMap::new();
            for (who, channel, what) in steps {
                let did = Did::parse(&format!("did:plc:{}", ["a", "b", "c", "d"][who])).unwrap();
                let channel = place(["a", "b", "c"][channel]).channel;
                let changed = match what {
                    0 => rooms.clear_all(),
                    1 => rooms.clear(&channel),
                    2..=4 => rooms.leave(&did),
                    _ => rooms.join(&did, &channel),
                };
                for Changed { channel, members, left, joined } in changed {
                    let before = said.get(&channel).cloned().unwrap_or_default();
                    prop_assert_ne!(&before, &members, "a change");
                    let only_in = |here: &[Did], there: &[Did]| -> Vec<Did> {
                        here.iter().filter(|did| !there.contains(did)).cloned().collect()
                    };
                    prop_assert_eq!(left, only_in(&before, &members), "N168");
                    prop_assert_eq!(Vec::from_iter(joined), only_in(&members, &before), "N168");
                    said.insert(channel, members);
                    let everybody: Vec<&Did> = said.values().flatten().collect();
                    let distinct: BTreeSet<&Did> = everybody.iter().copied().collect();
                    prop_assert_eq!(everybody.len(), distinct.len(), "V01: never in two");
                }
                said.retain(|_, members| !members.is_empty());
                prop_assert_eq!(&rooms.lists(), &said);
            }
        }
    }
}
