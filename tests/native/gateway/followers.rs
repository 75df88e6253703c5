//! Random histories of people who join and leave communities while their newest clients, and clients of March 2026,
//! come and go: what each socket gets, of which communities (N162, N165).
//!
//! A change of who takes part is first in the database, then numbered in the community's log, then delivered. A socket
//! of the newest client reads the database when it opens, so it may be ahead of the events, or behind them.

use std::collections::{BTreeMap, BTreeSet};

use colibri_edge::domain::announcement::{Audience, Numbered};
use colibri_edge::domain::gateway::Input;
use colibri_edge::domain::gateway::catching_up::Replay;
use colibri_edge::domain::gateway::session::Caller;
use colibri_edge::domain::members_only::Readers;
use colibri_edge::domain::replay::Replayed;
use colibri_edge::wire::ids::AtUri;
use colibri_edge::wire::socket::Spelling;
use colibri_edge::wire::subscribe_events::read_cursor;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use serde_json::Value;
use serde_json::value::RawValue;

use super::super::histories::config;
use super::newest::{channel, deleted, joined, left};
use super::{Died, PEOPLE, World, check_inbox, community, did};

/// The communities of these histories.
const COMMUNITIES: usize = 2;
/// Events of a page.
const PAGE: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    Joined(usize),
    Left(usize),
    Message,
}

impl Entry {
    fn is_about(self, who: usize) -> bool {
        matches!(self, Entry::Joined(of) | Entry::Left(of) if of == who)
    }

    fn event(self, n: usize, seq: usize) -> Numbered {
        let (audience, text) = match self {
            Entry::Joined(who) => (Audience::Community, joined(n, &did(PEOPLE[who]))),
            Entry::Left(who) => (Audience::Community, left(n, &did(PEOPLE[who]))),
            Entry::Message => (Audience::Messages(channel(n)), deleted(n)),
        };
        let event = RawValue::from_string(text).unwrap();
        Numbered { seq: u64::try_from(seq).unwrap(), audience, live: true, event }
    }
}

/// A community, as its object and the database know it.
#[derive(Clone, Debug, Default)]
struct Log {
    /// Everything in the database, in order.
    entries: Vec<Entry>,
    /// How much of that has a number.
    numbered: usize,
    /// What the gateway has; `None`: it does not listen.
    delivered: Option<usize>,
    /// The position at which it began to listen.
    began: usize,
}

impl Log {
    /// Whether somebody took part after so many entries.
    fn is_in(&self, who: usize, after: usize) -> bool {
        let own = self.entries[..after].iter().rev().find(|entry| entry.is_about(who));
        own == Some(&Entry::Joined(who))
    }

    fn listen(&mut self, at: usize) {
        if self.delivered.is_none() {
            (self.delivered, self.began) = (Some(at), at);
        }
    }
}

/// What the model knows of a socket of the newest client.
#[derive(Clone, Debug)]
struct Newcomer {
    id: i64,
    who: usize,
    cursor: Option<Vec<(AtUri, i64)>>,
    /// What was read of each community: how many entries, and whether its person took part.
    read: Option<Vec<usize>>,
    places: Vec<Place>,
    /// Its cursor does not name all communities of its person.
    may_resync: bool,
}

/// What one of them is owed of a community.
#[derive(Clone, Debug)]
struct Place {
    /// It is followed.
    followed: bool,
    /// Everything after this is owed while the person takes part.
    from: usize,
    /// The first that it may get.
    earliest: usize,
}

#[derive(Default)]
struct Network {
    logs: Vec<Log>,
    newest: Vec<Newcomer>,
    /// Sockets of clients of March 2026, and from where on they listen to each community.
    march: BTreeMap<i64, Vec<usize>>,
    replays: Vec<(Replay, i64)>,
    /// The position of each person's client, from its last socket.
    positions: BTreeMap<usize, BTreeMap<String, u64>>,
    seen: BTreeMap<&'static str, u32>,
}

#[derive(Clone, Debug)]
enum Step {
    /// A person joins a community, or leaves it.
    Turn(usize, usize),
    Post(usize),
    Number(usize, usize),
    Deliver(usize, usize, usize),
    /// A newest client connects: 0 without a cursor, 1 with `now`, else where it was.
    Open(usize, u8),
    March,
    /// The read of a new socket begins; it ends.
    Read(usize),
    Answer(usize),
    Page(usize),
    Cut(usize, bool),
    Evict,
    Crash(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let (person, of) = (0..PEOPLE.len(), 0..COMMUNITIES);
    prop_oneof![
        8 => (person.clone(), of.clone()).prop_map(|(who, n)| Step::Turn(who, n)),
        4 => of.clone().prop_map(Step::Post),
        8 => (of.clone(), 1..4usize).prop_map(|(n, many)| Step::Number(n, many)),
        9 => (of, 1..4usize, 0..3usize).prop_map(|(n, many, again)| Step::Deliver(n, many, again)),
        4 => (person, 0..6u8).prop_map(|(who, how)| Step::Open(who, how)),
        1 => Just(Step::March),
        6 => (0..3usize).prop_map(Step::Read),
        6 => (0..3usize).prop_map(Step::Answer),
        7 => (0..3usize).prop_map(Step::Page),
        2 => (0..4usize, any::<bool>()).prop_map(|(n, hung_up)| Step::Cut(n, hung_up)),
        2 => Just(Step::Evict),
        1 => (0..5usize).prop_map(Step::Crash),
    ]
}

impl Network {
    fn new() -> Self {
        Self { logs: vec![Log::default(); COMMUNITIES], ..Self::default() }
    }

    fn saw(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    fn act(&mut self, world: &mut World, step: &Step) -> Result<(), Died> {
        match step {
            Step::Turn(who, n) => {
                let log = &mut self.logs[*n];
                let is_in = log.is_in(*who, log.entries.len());
                log.entries.push(if is_in { Entry::Left(*who) } else { Entry::Joined(*who) });
                Ok(())
            }
            Step::Post(n) => {
                self.logs[*n].entries.push(Entry::Message);
                Ok(())
            }
            Step::Number(n, many) => {
                self.number(*n, *many);
                Ok(())
            }
            Step::Deliver(n, many, again) => self.deliver(world, *n, *many, *again),
            Step::Open(who, how) => self.open(world, *who, *how),
            Step::March => self.open_march(world),
            Step::Read(n) => {
                let lengths = self.logs.iter().map(|log| log.entries.len()).collect();
                let mut waiting = self.newest.iter_mut().filter(|one| one.read.is_none());
                if let Some(one) = waiting.nth(*n) {
                    one.read = Some(lengths);
                }
                Ok(())
            }
            Step::Answer(n) => self.answer(world, *n),
            Step::Page(n) if !self.replays.is_empty() => self.page(world, n % self.replays.len()),
            Step::Cut(n, hung_up) => {
                let ids: Vec<i64> = world.sockets.borrow().keys().copied().collect();
                ids.get(*n).map_or(Ok(()), |id| world.leaves(*id, *hung_up))
            }
            Step::Evict => {
                // The object stays in memory while it works for a socket.
                if self.replays.is_empty() && self.newest.iter().all(|one| !one.places.is_empty()) {
                    world.evict();
                }
                Ok(())
            }
            Step::Crash(after) => {
                world.dies_after = Some(*after);
                Ok(())
            }
            Step::Page(_) => Ok(()),
        }
    }

    /// A community numbers entries. The home of a person whom one concerns listens to it.
    fn number(&mut self, n: usize, many: usize) {
        let log = &mut self.logs[n];
        for _ in 0..many.min(log.entries.len() - log.numbered) {
            if log.entries[log.numbered] != Entry::Message {
                log.listen(log.numbered);
            }
            log.numbered += 1;
        }
    }

    fn deliver(&mut self, world: &mut World, n: usize, many: usize, again: usize) -> Result<(), Died> {
        let log = &self.logs[n];
        let Some(had) = log.delivered else { return Ok(()) };
        let last = log.numbered.min(had + many);
        let from = had.saturating_sub(again).max(log.began);
        let events = (from..last).map(|at| log.entries[at].event(n, at + 1)).collect();
        let (uri, full) = (community(n), BTreeMap::new());
        if last == from {
            return Ok(());
        }
        world.on(Input::Delivered { community: uri.clone(), events, full, allowed: Readers::All.into() })?;
        let listens = world.with(|gateway, _| gateway.listens_to(uri.as_str()))?.0;
        // A community detaches a gateway when that has everything.
        let log = &mut self.logs[n];
        log.delivered = (listens || last < log.numbered).then_some(last);
        Ok(())
    }

    fn open(&mut self, world: &mut World, who: usize, how: u8) -> Result<(), Died> {
        if world.sockets.borrow().len() >= 5 {
            return Ok(());
        }
        let known = self.positions.get(&who).cloned();
        let cursor = match (how, known) {
            (0, _) => None,
            (1, _) | (_, None) => Some(Vec::new()),
            (_, Some(known)) => {
                let at =
                    |(name, seq): (String, u64)| (AtUri::parse(&name).unwrap(), i64::try_from(seq).unwrap());
                Some(known.into_iter().map(at).collect())
            }
        };
        let caller = Caller {
            did: Some(did(PEOPLE[who])),
            proven: true,
            spelling: Spelling::Newest,
            ..Caller::default()
        };
        let id = world.open_as(caller)?;
        let places = Vec::new();
        self.newest.push(Newcomer { id, who, cursor, read: None, places, may_resync: false });
        Ok(())
    }

    /// A client of March 2026 that listens to all communities.
    fn open_march(&mut self, world: &mut World) -> Result<(), Died> {
        if world.sockets.borrow().len() >= 5 {
            return Ok(());
        }
        let id = world.open(None, 0)?;
        let mut from = Vec::new();
        for n in 0..COMMUNITIES {
            let frame = super::rules::action("subscribe", n);
            world.frame(id, &frame)?;
            let at = world.jobs.iter().position(|(of, _)| *of == id).unwrap();
            let (_, job) = world.jobs.remove(at);
            let super::Job::Subscribe(all) = job else { panic!("it subscribes") };
            for one in &all {
                let noted = world.change(|gateway, _| gateway.subscribe(id, one))?;
                assert!(noted.is_some_and(|noted| noted.is_ok()), "two communities find room");
            }
            self.attach(world, n)?;
            world.on(Input::Done(id, None))?;
            from.push(world.with(|gateway, _| gateway.communities[community(n).as_str()])?.0);
        }
        let from = from.into_iter().map(|seq| usize::try_from(seq).unwrap()).collect();
        self.march.insert(id, from);
        Ok(())
    }

    fn attach(&mut self, world: &mut World, n: usize) -> Result<(), Died> {
        let uri = community(n);
        if !world.with(|gateway, _| gateway.listens_to(uri.as_str()))?.0 {
            let log = &mut self.logs[n];
            log.listen(log.numbered);
            let seq = u64::try_from(log.delivered.unwrap()).unwrap();
            world.change(|gateway, moment| gateway.attached(&uri, seq, moment.now))?;
        }
        Ok(())
    }

    /// What was read for a new socket is there.
    fn answer(&mut self, world: &mut World, n: usize) -> Result<(), Died> {
        let is_read = |one: &Newcomer| one.read.is_some() && one.places.is_empty();
        let Some(at) =
            self.newest.iter().enumerate().filter(|(_, one)| is_read(one)).nth(n).map(|(at, _)| at)
        else {
            return Ok(());
        };
        let Newcomer { id, who, cursor, read, .. } = self.newest[at].clone();
        let read = read.unwrap();
        let of = |n: &usize| self.logs[*n].is_in(who, read[*n]);
        let found: Vec<AtUri> = (0..COMMUNITIES).filter(of).map(community).collect();
        let (followed, replays) = world.change(|gateway, _| {
            let followed = gateway.follows(id, &found);
            (followed, cursor.as_ref().map(|cursor| gateway.resumes(id, cursor)))
        })?;
        let had = |world: &mut World, n: usize| -> Result<usize, Died> {
            let had = world.with(|gateway, _| gateway.communities.get(community(n).as_str()).copied())?.0;
            Ok(usize::try_from(had.unwrap_or(0)).unwrap())
        };
        let mut places = Vec::new();
        for n in 0..COMMUNITIES {
            if followed.contains(&community(n)) {
                self.attach(world, n)?;
            }
            let is_followed = followed.contains(&community(n));
            let replay = replays.iter().flatten().find(|replay| *replay.community() == community(n));
            let now = self.logs[n].entries.len();
            let earliest = match replay {
                Some(replay) => usize::try_from(replay.cursor()).unwrap(),
                None => had(world, n)?,
            };
            let from = if replay.is_some() { earliest } else { now };
            places.push(Place { followed: is_followed, from, earliest });
        }
        let may_resync = cursor.is_some_and(|cursor| {
            !cursor.is_empty() && followed.iter().any(|uri| cursor.iter().all(|(named, _)| named != uri))
        });
        (self.newest[at].places, self.newest[at].may_resync) = (places, may_resync);
        match replays {
            Some(replays) if replays.is_empty() => {
                world.change(|gateway, moment| gateway.resumed(id, moment))
            }
            Some(replays) => {
                self.saw("replay");
                self.replays.extend(replays.into_iter().map(|replay| {
                    let cursor = replay.cursor();
                    (replay, cursor)
                }));
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// A page of a replay arrives.
    fn page(&mut self, world: &mut World, at: usize) -> Result<(), Died> {
        let (mut replay, cursor) = self.replays.remove(at);
        let n = (0..COMMUNITIES).find(|n| community(*n) == *replay.community()).unwrap();
        let id = replay.session();
        let log = &self.logs[n];
        let from = usize::try_from(cursor).unwrap();
        let page = if from > log.numbered {
            Replayed::Resync { oldest: 0 }
        } else {
            let through = log.numbered.min(from + PAGE);
            let events = (from..through).map(|at| log.entries[at].event(n, at + 1)).collect();
            let number = |at: usize| u64::try_from(at).unwrap();
            Replayed::Page {
                events,
                through: number(through),
                last: number(log.numbered),
                members_only: false,
            }
        };
        match world.change(|gateway, _| gateway.replayed(&mut replay, page))? {
            Some(next) => self.replays.push((replay, next)),
            None if self.replays.iter().all(|(other, _)| other.session() != id) => {
                world.change(|gateway, moment| gateway.resumed(id, moment))?;
            }
            None => {}
        }
        Ok(())
    }

    /// What remains when an object died, or sockets closed.
    fn tidy(&mut self, world: &World) {
        let here: BTreeSet<i64> = world.sockets.borrow().keys().copied().collect();
        self.replays.retain(|(replay, _)| here.contains(&replay.session()));
        self.march.retain(|id, _| here.contains(id));
        let (stay, gone): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.newest).into_iter().partition(|one| here.contains(&one.id));
        self.newest = stay;
        for one in gone {
            let socket = world.gone.iter().find(|socket| socket.id == one.id).unwrap();
            if socket.closed.is_some() {
                assert!(one.may_resync, "N166: nothing was lost to {one:?}: {:?}", socket.inbox);
                self.saw("reads again");
            }
            let known = self.positions.remove(&one.who);
            if let Some(known) = position(&socket.inbox, known.filter(|_| one.cursor.is_some())) {
                self.positions.insert(one.who, known);
            }
        }
    }

    /// Everything that is under way ends.
    fn rest(&mut self, world: &mut World) -> Result<(), Died> {
        world.dies_after = None;
        for n in 0..COMMUNITIES {
            self.number(n, usize::MAX);
        }
        self.act(world, &Step::Deliver(0, 1, 1))?;
        while self.newest.iter().any(|one| one.places.is_empty()) {
            self.act(world, &Step::Read(0))?;
            self.act(world, &Step::Answer(0))?;
        }
        self.act(world, &Step::Deliver(1, 1, 1))?;
        while !self.replays.is_empty() {
            self.page(world, 0)?;
        }
        for n in 0..COMMUNITIES {
            self.deliver(world, n, usize::MAX / 2, 1)?;
        }
        self.tidy(world);
        self.check(world);
        Ok(())
    }

    fn check(&self, world: &World) {
        let sockets = world.sockets.borrow();
        for one in &self.newest {
            let inbox = &sockets[&one.id].inbox;
            for (n, place) in one.places.iter().enumerate() {
                self.check_place(one, n, place, inbox);
            }
        }
        for (id, from) in &self.march {
            for (n, from) in from.iter().enumerate() {
                let log = &self.logs[n];
                let listens = |at: &usize| log.entries[*at] != Entry::Message;
                let owed: Vec<usize> = (*from..log.numbered).filter(listens).map(|at| at + 1).collect();
                let got = &sockets[id].inbox;
                let of = |frame: &&Value| frame["community_uri"] == community(n).as_str();
                let got: Vec<usize> = got.iter().filter(of).filter_map(seq).collect();
                assert_eq!(got, owed, "A38: the socket of March 2026");
            }
        }
    }

    fn check_place(&self, one: &Newcomer, n: usize, place: &Place, inbox: &[Value]) {
        let log = &self.logs[n];
        let name = community(n);
        let got: BTreeMap<usize, &Value> = inbox
            .iter()
            .filter(|frame| frame["community"] == name.as_str())
            .filter_map(|frame| Some((seq(frame)?, frame)))
            .collect();
        let of = |at: usize| format!("{at} of {name} to {one:?}: {:?}; {inbox:#?}", log.entries);
        let mut is_told = false;
        for (at, entry) in log.entries.iter().enumerate() {
            let (seq, own) = (at + 1, entry.is_about(one.who));
            let is_in = log.is_in(one.who, seq);
            let frame = got.get(&seq);
            if seq <= place.earliest {
                assert_eq!(frame, None, "N165: it had {}", of(seq));
                continue;
            }
            if seq > place.from && (is_in || own) {
                let is_owed = is_in || is_told || place.followed;
                assert!(frame.is_some() || !is_owed, "N162: it lacks {}", of(seq));
            }
            if !is_in && !own && (is_told || !place.followed) {
                assert_eq!(frame, None, "N162: it takes no part: {}", of(seq));
            }
            if let (Some(frame), true) = (frame, own) {
                let kind = if is_in { "member_event" } else { "community_event" };
                assert_eq!(frame["type"], kind, "N162: {}", of(seq));
            }
            is_told |= own;
        }
    }
}

fn seq(frame: &Value) -> Option<usize> {
    usize::try_from(frame["seq"].as_u64()?).ok()
}

/// The position of a client after these frames, which knew this before.
fn position(inbox: &[Value], mut known: Option<BTreeMap<String, u64>>) -> Option<BTreeMap<String, u64>> {
    for frame in inbox {
        if frame["type"] == "resumed" {
            let all = read_cursor(frame["cursor"].as_str().unwrap()).unwrap();
            let all = all.into_iter().map(|(uri, seq)| (uri.to_string(), u64::try_from(seq).unwrap()));
            known = Some(all.collect());
        } else if frame["type"] == "community_event" {
            let uri = frame["data"]["uri"].as_str().unwrap();
            if let Some(known) = &mut known {
                known.remove(uri);
            }
        } else if let (Some(known), Some(name), Some(seq)) =
            (&mut known, frame["community"].as_str(), frame["seq"].as_u64())
        {
            known.insert(name.to_owned(), seq);
        }
    }
    known
}

fn live(steps: &[Step]) -> Network {
    let (mut world, mut network) = (World::new(), Network::new());
    for step in steps {
        if network.act(&mut world, step).is_err() {
            world.crash();
            network.saw("crash");
        }
        network.tidy(&world);
        for socket in world.sockets.borrow().values().chain(&world.gone) {
            check_inbox(&as_march(socket));
        }
        if let Some(gateway) = world.memory.take() {
            let here = world.sockets.borrow().keys().copied().collect();
            world.check_rows(&gateway, &here);
            world.memory = Some(gateway);
        }
    }
    assert!(network.rest(&mut world).is_ok(), "nothing dies at rest");
    network
}

/// A socket whose frames name their community as those of the newest client do.
fn as_march(socket: &super::Socket) -> super::Socket {
    let mut socket = socket.clone();
    for frame in &mut socket.inbox {
        if let Some(community) = frame.get("community_uri").cloned() {
            frame["community"] = community;
        }
    }
    socket
}

proptest! {
    #![proptest_config(config(192))]

    #[test]
    fn n162_a_socket_follows_its_person_whatever_comes_first(steps in prop::collection::vec(step(), 1..120)) {
        live(&steps);
    }
}

/// The histories above prove something only if the cases in question occur in them.
#[test]
fn histories_of_followers_meet_what_they_are_about() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
    for _ in 0..120 {
        let steps = prop::collection::vec(step(), 80..120).new_tree(&mut runner).unwrap().current();
        for (what, times) in live(&steps).seen {
            *seen.entry(what).or_default() += times;
        }
    }
    for what in ["replay", "reads again", "crash"] {
        assert!(seen.contains_key(what), "no {what} in so many histories: {seen:?}");
    }
}

/// N162, A38: somebody left and joined again while their client was away. The replay says both; the gateway gets both
/// afterwards, or meanwhile, and must not end the subscription for the earlier one.
#[test]
fn n162_a_leave_before_the_join_of_a_replay_ends_nothing() {
    use Step::{Answer, Cut, Deliver, Number, Open, Page, Post, Read, Turn};
    let away =
        [Turn(0, 0), Number(0, 1), Open(0, 1), Read(0), Answer(0), Post(0), Number(0, 1), Deliver(0, 3, 0)];
    let back = [Cut(0, true), Turn(0, 0), Turn(0, 0), Number(0, 2), Open(0, 2), Read(0), Answer(0)];
    let replay_first = [Page(0), Page(0), Deliver(0, 1, 0), Post(0), Deliver(0, 1, 0)];
    let leave_first = [Deliver(0, 1, 0), Page(0), Deliver(0, 1, 0), Post(0), Page(0)];
    for rest in [replay_first, leave_first] {
        let network = live(&[away.as_slice(), &back, &rest].concat());
        assert!(network.seen.contains_key("replay"), "{:?}", network.logs);
    }
}
