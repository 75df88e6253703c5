//! A gateway without a runtime: its state machine, its real SQL, a clock that only this test moves,
//! and clients that open, close, fall silent, read too slowly and return in any order. Between two
//! steps the object may lose its memory (its sockets stay), or die while it performs effects (its
//! sockets close).

mod followers;
mod looking;
mod newest;
mod returns;
mod rules;
mod tasks;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::histories::config;
use super::sqlite::run;
use colibri_edge::domain::actions::Subscribe;
use colibri_edge::domain::announcement::{Audience, Numbered};
use colibri_edge::domain::frame_budget::Rate;
use colibri_edge::domain::gateway::catching_up::{Catching, Noted, Replay};
use colibri_edge::domain::gateway::looking::Found;
use colibri_edge::domain::gateway::session::{Caller, View};
use colibri_edge::domain::gateway::{Effect, Gateway, Input, Job, Keep, Moment, Settings};
use colibri_edge::domain::members_only::Readers;
use colibri_edge::domain::presence::{Periods, State};
use colibri_edge::domain::replay::{Replayed, Resume, nothing_yet, resume};
use colibri_edge::domain::restore::{self, Origin, PROMPT};
use colibri_edge::domain::slow_sockets::{FULL_BYTES, SLOW_BYTES};
use colibri_edge::domain::subscriptions::Candidate;
use colibri_edge::domain::typing::TypingRefusal;
use colibri_edge::storage::{gateway, gateway_people};
use colibri_edge::wire::ids::{AtUri, Collection, Did};
use colibri_edge::wire::socket::Reply;
use colibri_edge::wire::time::Micros;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use rusqlite::Connection;
use serde_json::json;
use serde_json::value::RawValue;

use self::tasks::{Call, Outside, Tasks, place};

const SECOND: i64 = 1_000_000;
const LEASE: i64 = 75 * SECOND;

fn settings(shards: u32) -> Settings {
    Settings {
        name: "gateway-0".to_owned(),
        shards,
        home_of: |did, shards| {
            if shards > 1 && did.as_str().ends_with("bob") { "gateway-1" } else { "gateway-0" }.to_owned()
        },
        periods: Periods { away_after: 300 * SECOND, grace: 5 * SECOND },
        lease: LEASE,
        restore: 60 * SECOND,
        restore_keep: 3 * 24 * 3_600 * SECOND,
        rate: Rate { per_second: 20, burst: 120 },
    }
}

fn did(name: &str) -> Did {
    Did::parse(&format!("did:plc:{name}")).unwrap()
}

const PEOPLE: [&str; 2] = ["alice", "bob"];

fn community(n: usize) -> AtUri {
    let owner = ["olga", "otto"][n % 2];
    AtUri::parse(&format!("at://did:plc:{owner}/social.colibri.community/c")).unwrap()
}

/// What the name of a channel means in a community.
fn candidate(n: usize, name: &str) -> Option<Candidate> {
    let community = community(n);
    let uri = AtUri::named(name, &community.authority(), Collection::Channel)?;
    (uri.authority() == community.authority()).then(|| Candidate {
        indexed_at: n.to_string(),
        uri: uri.to_string(),
        community: community.to_string(),
    })
}

/// What a client and the runtime know of a socket.
#[derive(Clone, Debug, Default)]
struct Socket {
    id: i64,
    did: Option<Did>,
    /// The received frames, in order, and when each arrived.
    inbox: Vec<serde_json::Value>,
    times: Vec<Micros>,
    /// What it had of each community when it began to listen. `odd` are those that its client resumed, or took into
    /// its own hands: the model does not say what comes of these beyond `expected`.
    base: BTreeMap<String, u64>,
    odd: BTreeSet<String>,
    /// What its client unsubscribed before it was given anything, the sockets whose subscriptions it was given, and
    /// when it had got all of that.
    declined: BTreeSet<String>,
    sources: Vec<Socket>,
    is_restored: bool,
    whole_at: Option<Micros>,
    /// It is gone, and took everything that was sent to it (Q10c): its client closed it, or nobody can say.
    took_all: bool,
    hung_up: bool,
    gone_at: Option<Micros>,
    /// `(community, seq)` of every event it must receive.
    expected: Vec<(String, u64)>,
    /// Its subscriptions.
    listens: BTreeSet<String>,
    /// Communities that it is catching up with, and their new events in the meantime.
    resuming: BTreeMap<String, Vec<u64>>,
    /// The position after its last resume, per community.
    had: BTreeMap<String, u64>,
    /// Where in the received frames the replay of a community starts, and after which `seq`.
    restarts: Vec<(usize, String, u64)>,
    /// The number of frames it sent.
    asked: usize,
    unsent: u32,
    /// When the runtime last answered its heartbeat.
    answered: Option<Micros>,
    /// Its last sign of life of any kind.
    sign: Micros,
    /// Whether it sent a heartbeat itself: one that was read already, and any at all.
    beats: bool,
    may_beat: bool,
    closed: Option<u16>,
}

impl Socket {
    /// A frame arrives.
    fn get(&mut self, frame: serde_json::Value, now: Micros) {
        self.inbox.push(frame);
        self.times.push(now);
    }

    /// What arrived of a community until then.
    fn events_of(&self, name: &str, until: Micros) -> Vec<u64> {
        let arrived = self.inbox.iter().zip(&self.times).filter(|(_, at)| **at <= until);
        arrived
            .filter_map(|(frame, _)| event(frame))
            .filter(|(of, _)| of == name)
            .map(|(_, seq)| seq)
            .collect()
    }

    fn last_sign(&self) -> Micros {
        self.sign.max(self.answered.unwrap_or_default())
    }

    /// When its client was surely there for the last time (Q10c).
    fn alive(&self) -> Micros {
        self.gone_at.filter(|_| self.took_all).unwrap_or(self.last_sign())
    }

    /// Since when its client surely lacks changes of people (Q13): its restore may not have reached it.
    fn lacks_since(&self) -> Micros {
        let is_received = self.whole_at.is_some_and(|at| at <= self.alive());
        let sources = self.sources.iter().filter(|_| !is_received).map(Socket::lacks_since);
        sources.fold(self.alive(), Micros::min)
    }

    /// What its client surely had of a community in the end.
    fn had_at_the_end(&self, name: &str) -> u64 {
        let until = if self.took_all { Micros(i64::MAX) } else { self.alive() };
        let last = self.events_of(name, until).into_iter().max().unwrap_or(0);
        last.max(self.base.get(name).copied().unwrap_or(0))
    }
}

/// A subscription whose communities are being looked up.
struct Looking {
    id: i64,
    each: Vec<Noticed>,
}

/// One of them.
struct Noticed {
    subscribe: Subscribe,
    noted: Noted,
    /// The socket's state before it: whether it was subscribed, and the position after an earlier
    /// resume.
    listened: bool,
    had: Option<u64>,
    /// Its cursor was beyond the log when it came.
    ahead: bool,
}

/// The number of events in a log, and in a page of it.
const LOG: u64 = 8;
const PAGE: u64 = 3;

/// The object: what survives a crash, and what does not.
struct World {
    now: Micros,
    db: Connection,
    memory: Option<Gateway>,
    sockets: RefCell<BTreeMap<i64, Socket>>,
    /// Closed sockets.
    gone: Vec<Socket>,
    jobs: Vec<(i64, Job)>,
    /// The pending tasks of the object, including those for closed sockets.
    looking: Vec<Looking>,
    replays: Vec<(Replay, i64)>,
    /// The last session number assigned since the object woke.
    given: i64,
    /// The alarm, and what the object's memory knows of it.
    alarm: Option<Micros>,
    alarm_known: Option<Micros>,
    wanted: Option<Micros>,
    rests: bool,
    run: u32,
    shards: u32,
    /// The last `seq` of each community, and the gateway's position as the community knows it.
    last: BTreeMap<String, u64>,
    acked: BTreeMap<String, u64>,
    /// The position at which it attached.
    began: BTreeMap<String, u64>,
    /// The object dies after this many further effects.
    dies_after: Option<usize>,
    outside: Outside,
    tasks: Tasks,
    /// Who was to be published as writing, and where.
    typing: Vec<(View, Did)>,
    has_read: Vec<(View, Did)>,
    /// How often each kind of step happened, so that a test can check that it did.
    seen: BTreeMap<&'static str, u32>,
}

/// The object died while it was working.
struct Died;

impl World {
    fn new() -> Self {
        Self {
            now: Micros(1_700_000_000 * SECOND),
            db: Connection::open_in_memory().unwrap(),
            memory: None,
            sockets: RefCell::default(),
            gone: Vec::new(),
            jobs: Vec::new(),
            looking: Vec::new(),
            replays: Vec::new(),
            given: 0,
            alarm: None,
            alarm_known: None,
            wanted: None,
            rests: false,
            run: 0,
            shards: 1,
            last: BTreeMap::new(),
            acked: BTreeMap::new(),
            began: BTreeMap::new(),
            dies_after: None,
            outside: Outside::default(),
            tasks: Tasks::default(),
            typing: Vec::new(),
            has_read: Vec::new(),
            seen: BTreeMap::new(),
        }
    }

    fn saw(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    /// Runs `act` on the memory, rebuilt first if it is lost.
    fn with<T>(
        &mut self,
        act: impl FnOnce(&mut Gateway, &Moment<'_>) -> T,
    ) -> Result<(T, Vec<Effect>), Died> {
        if self.memory.is_none() {
            let stored = gateway::load(&|statement| run(&self.db, statement)).unwrap();
            self.given = self.given.max(stored.last_number());
            let here: BTreeSet<i64> = self.sockets.borrow().keys().copied().collect();
            let name = self.run.to_string();
            let (answered, unsent) = (|id| self.answered(id), |id| self.unsent(id));
            let moment = Moment { now: self.now, answered: &answered, unsent: &unsent };
            let (gateway, effects) = Gateway::wake(settings(self.shards), stored, &here, &name, &moment);
            self.perform(effects)?;
            self.memory = Some(gateway);
        }
        let mut gateway = self.memory.take().unwrap();
        let (answered, unsent) = (|id| self.answered(id), |id| self.unsent(id));
        let moment = Moment { now: self.now, answered: &answered, unsent: &unsent };
        let done = act(&mut gateway, &moment);
        let effects = gateway.take_effects();
        self.memory = Some(gateway);
        Ok((done, effects))
    }

    fn answered(&self, id: i64) -> Option<Micros> {
        self.sockets.borrow().get(&id)?.answered
    }

    fn unsent(&self, id: i64) -> u32 {
        self.sockets.borrow().get(&id).map_or(0, |socket| socket.unsent)
    }

    fn on(&mut self, input: Input) -> Result<(), Died> {
        let (effects, _) = self.with(|gateway, moment| gateway.on(input, moment))?;
        self.perform(effects)?;
        self.stir();
        self.arm();
        Ok(())
    }

    /// What is published and that it was published is stored together (platform facts 2.6); of everything else, whatever
    /// was written before the object died may stay.
    fn perform(&mut self, effects: Vec<Effect>) -> Result<(), Died> {
        if !effects.iter().any(|effect| matches!(effect, Effect::Keep(Keep::Publish(_)))) {
            return self.perform_each(effects);
        }
        self.db.execute_batch("SAVEPOINT together").unwrap();
        let published = self.outside.published();
        let performed = self.perform_each(effects);
        if performed.is_err() {
            self.db.execute_batch("ROLLBACK TO together").unwrap();
            self.outside.only_published(published);
        }
        self.db.execute_batch("RELEASE together").unwrap();
        performed
    }

    fn perform_each(&mut self, effects: Vec<Effect>) -> Result<(), Died> {
        for effect in effects {
            if let Some(left) = &mut self.dies_after {
                if *left == 0 {
                    return Err(Died);
                }
                *left -= 1;
            }
            match effect {
                Effect::Send { to, text } => {
                    let frame: serde_json::Value = serde_json::from_str(&text).unwrap();
                    for id in to {
                        if let Some(socket) = self.sockets.borrow_mut().get_mut(&id) {
                            socket.get(frame.clone(), self.now);
                        }
                    }
                }
                Effect::Keep(Keep::Publish(publication)) => {
                    self.published(&publication);
                    gateway::keep(&|statement| run(&self.db, statement), &Keep::Publish(publication))
                        .unwrap();
                }
                Effect::Keep(keep) => gateway::keep(&|statement| run(&self.db, statement), &keep).unwrap(),
                Effect::Close { socket, code, .. } => {
                    let socket = self.sockets.borrow_mut().remove(&socket);
                    if let Some(mut socket) = socket {
                        self.check_close(&socket, code);
                        socket.closed = Some(code);
                        socket.took_all = code == 1008;
                        socket.gone_at = Some(self.now);
                        self.outside.closed(socket.id);
                        if code == 1013 {
                            socket.odd.extend(socket.listens.clone());
                        }
                        self.gone.push(socket);
                    }
                }
                Effect::Start(id, job) => self.jobs.push((id, job)),
                Effect::Typing(view, did) => self.typing.push((view, did)),
                Effect::HasRead(view, did) => self.has_read.push((view, did)),
                Effect::WakeAt(at) => self.want(at),
                Effect::WakeForTraces => self.traces_end().into_iter().for_each(|at| self.want(at)),
                Effect::Rest => self.rests = true,
                Effect::Unreadable(count) | Effect::Lost(count) => {
                    panic!("{count} rows of our own cannot be read")
                }
            }
        }
        Ok(())
    }

    /// A socket is closed only for a reason.
    fn check_close(&mut self, socket: &Socket, code: u16) {
        let silent = self.now.0 - socket.sign.0.max(socket.answered.map_or(0, |at| at.0));
        match code {
            1001 => {
                assert!(
                    socket.may_beat || socket.answered.is_some(),
                    "P11: only who sends heartbeats has a lease"
                );
                assert!(silent >= LEASE, "P11: closed {silent} after a sign of life");
                self.saw("lease");
            }
            // N161, N166: of the newest client, whose frames say nothing more.
            1013 if socket.inbox.iter().any(|frame| frame.as_object().is_some_and(|it| it.len() == 1)) => {}
            1013 => {
                assert!(socket.unsent > SLOW_BYTES, "Q20: closed as slow with {} bytes", socket.unsent);
                let mut resyncs: Vec<&str> = socket.inbox.iter().rev().map_while(resync).collect();
                resyncs.sort_unstable();
                resyncs.dedup();
                let known = |community: &&String| self.acked.contains_key(*community);
                let receiving: Vec<&String> = socket.listens.iter().filter(known).collect();
                let is_named = |uri: &&String| resyncs.contains(&uri.as_str());
                assert!(
                    resyncs == receiving || (socket.is_restored && receiving.iter().all(is_named)),
                    "Q20: word for each community, and nothing after it: {resyncs:?} of {receiving:?}"
                );
                self.saw("slow");
            }
            1008 => self.saw("flood"),
            other => panic!("closed with {other}"),
        }
    }

    fn want(&mut self, at: Micros) {
        self.wanted = Some(self.wanted.map_or(at, |wanted| wanted.min(at)));
    }

    fn traces_end(&self) -> Option<Micros> {
        let oldest = gateway::oldest_trace(&|statement| run(&self.db, statement)).unwrap();
        oldest.map(|at| Micros(at.0 + settings(1).restore_keep))
    }

    /// As the object does it: it overwrites an alarm that it does not remember.
    fn arm(&mut self) {
        let Some(at) = self.wanted.take() else { return };
        if self.alarm_known.is_none_or(|known| known > at) {
            self.alarm = Some(at);
            self.alarm_known = Some(at);
        }
    }

    fn pass(&mut self, micros: i64) -> Result<(), Died> {
        let until = Micros(self.now.0 + micros);
        let mut rung = 0;
        while let Some(at) = self.alarm.filter(|at| *at <= until) {
            rung += 1;
            assert!(rung < 2_000, "the alarm rings for ever");
            self.now = self.now.max(at);
            (self.alarm, self.alarm_known) = (None, None);
            self.want(Micros(self.now.0 + 25 * SECOND));
            self.arm();
            self.on(Input::Alarm)?;
            if std::mem::take(&mut self.rests) {
                (self.alarm, self.alarm_known) = (None, None);
                self.wanted = self.traces_end();
                self.arm();
            }
        }
        self.now = until;
        self.outside.passed(until);
        Ok(())
    }

    fn open(&mut self, who: Option<usize>, address: u8) -> Result<i64, Died> {
        let origin = Origin { address: format!("a{address}"), agent: "client".to_owned() };
        self.open_as(Caller { did: who.map(|who| did(PEOPLE[who])), origin, ..Caller::default() })
    }

    fn open_as(&mut self, caller: Caller) -> Result<i64, Died> {
        let did = caller.did.clone();
        let has_traces = match &did {
            Some(did) => {
                // The object creates its tables when it wakes.
                self.with(|_, _| ())?;
                !run(&self.db, &gateway_people::has_traces(did)).unwrap().is_empty()
            }
            None => false,
        };
        let (session, _) = self.with(|gateway, moment| gateway.admit(caller, has_traces, moment.now))?;
        let id = gateway::open(&|statement| run(&self.db, statement), &session, self.given).unwrap();
        self.given = id;
        if let Some(did) = &did {
            self.outside.opened(did, self.now);
        }
        let socket = Socket { id, did, sign: self.now, ..Socket::default() };
        assert!(self.sockets.borrow_mut().insert(id, socket).is_none(), "a number is given once");
        self.on(Input::Opened(id, Box::new(session)))?;
        Ok(id)
    }

    fn frame(&mut self, id: i64, text: &str) -> Result<(), Died> {
        let now = self.now;
        let waits = self.waits(id);
        let did = self.sockets.borrow().get(&id).and_then(|socket| socket.did.clone());
        if let Some(did) =
            did.filter(|_| !waits && (text.contains("activity") || text.contains("voice_event")))
        {
            self.outside.is_active(&did, now);
        }
        if let Some(socket) = self.sockets.borrow_mut().get_mut(&id) {
            socket.asked += 1;
            socket.sign = now;
            socket.may_beat |= text.contains("heartbeat");
            socket.beats |= text.contains("heartbeat") && !waits;
        }
        self.on(Input::Frame(id, Some(text.to_owned())))
    }

    /// Performs what a frame asked for.
    fn work(&mut self, n: usize) -> Result<(), Died> {
        let (id, job) = self.jobs.remove(n);
        match job {
            Job::Subscribe(subscribe) => self.subscribe(id, subscribe),
            Job::View(channel) => {
                let of = |n: &usize| community(*n).authority() == channel.authority();
                let found = [0, 1].iter().find(|n| of(n)).map(|n| community(*n));
                self.on(Input::Viewed(id, channel, found))
            }
            Job::Look(name) => {
                let found =
                    name.iter().flat_map(|name| [0, 1].into_iter().filter_map(move |n| candidate(n, name)));
                self.change(|gateway, moment| {
                    gateway.look(id, name.as_deref(), found.collect(), moment);
                })?;
                self.on(Input::Done(id, Some(Reply::ack(""))))
            }
            Job::Write(did, name) => {
                let found = [0, 1].into_iter().find_map(|n| candidate(n, &name));
                let view = |one: Candidate| View {
                    channel: AtUri::parse(&one.uri).unwrap(),
                    community: AtUri::parse(&one.community).unwrap(),
                };
                let found = found.map(view).ok_or(TypingRefusal::NotAllowed);
                self.on(Input::Writes { id, did, name, found })
            }
            Job::Snapshot(community) => {
                let found = Found {
                    community,
                    present: Vec::new(),
                    voice: Vec::new(),
                    devices: BTreeMap::new(),
                    seq: 0,
                };
                self.on(Input::Snapshot(id, Box::new(Ok(found))))
            }
            Job::MakeSecret => self.on(Input::Secret(id, format!("{id:032x}"))),
            Job::SetState(did, state) => {
                self.choose(Some(id), did, state);
                Ok(())
            }
            Job::Move(did, destination) => {
                self.wants(id, did, destination);
                Ok(())
            }
        }
    }

    /// Whether an answer to a frame of this socket is pending.
    fn waits(&self, id: i64) -> bool {
        self.jobs.iter().any(|(of, _)| *of == id)
            || self.looking.iter().any(|looking| looking.id == id)
            || self.tasks.waits(id)
            || self.replays.iter().any(|(replay, _)| replay.session() == id)
    }

    /// Changes the memory, and performs the effects.
    fn change<T>(&mut self, act: impl FnOnce(&mut Gateway, &Moment<'_>) -> T) -> Result<T, Died> {
        let (done, effects) = self.with(act)?;
        self.perform(effects)?;
        self.stir();
        self.arm();
        Ok(done)
    }

    /// Notes subscriptions, before their communities are looked up.
    fn subscribe(&mut self, id: i64, all: Vec<Subscribe>) -> Result<(), Died> {
        let noted = self.change(|gateway, _| {
            all.iter().map(|one| gateway.subscribe(id, one)).collect::<Option<Vec<_>>>()
        })?;
        let Some(noted) = noted else { return self.on(Input::Done(id, None)) };
        let mut each = Vec::new();
        for (subscribe, noted) in all.into_iter().zip(noted) {
            let noted = noted.unwrap_or_else(|_| unreachable!("two communities find room"));
            let name = subscribe.key.clone().unwrap();
            let (mut listened, mut had) = (false, None);
            if let Some(socket) = self.sockets.borrow_mut().get_mut(&id) {
                listened = !socket.listens.insert(name.clone());
                if listened || subscribe.resume.is_some() {
                    socket.odd.insert(name.clone());
                }
                if let Some(acked) = self.acked.get(&name) {
                    socket.base.entry(name.clone()).or_insert(*acked);
                }
                if subscribe.resume.is_some() {
                    socket.resuming.insert(name.clone(), Vec::new());
                    had = socket.had.remove(&name);
                }
            }
            let last = i64::try_from(self.number(&name, 0)).unwrap();
            let ahead = subscribe.resume.as_ref().is_some_and(|(_, cursor)| *cursor > last);
            each.push(Noticed { subscribe, noted, listened, had, ahead });
        }
        if each.len() > 1 {
            self.saw("subscribed together");
        }
        self.looking.push(Looking { id, each });
        Ok(())
    }

    /// The communities of subscriptions are known and attached, or cannot be reached: then the
    /// subscriptions are undone.
    fn look(&mut self, n: usize, fails: bool) -> Result<(), Died> {
        let Looking { id, mut each } = self.looking.remove(n);
        if fails {
            return self.take_back(id, each);
        }
        for Noticed { subscribe, .. } in &each {
            let name = subscribe.key.clone().unwrap();
            let seq = self.number(&name, 0);
            if !self.with(|gateway, _| gateway.listens_to(&name))?.0 {
                self.attach(&name, seq);
                let uri = AtUri::parse(&name).unwrap();
                self.change(|gateway, moment| gateway.attached(&uri, seq, moment.now))?;
            }
            if let (Some(socket), Some(acked)) =
                (self.sockets.borrow_mut().get_mut(&id), self.acked.get(&name))
            {
                socket.base.entry(name.clone()).or_insert(*acked);
            }
        }
        let Noticed { subscribe, ahead, .. } = each.pop().unwrap();
        if let Some(socket) = self.sockets.borrow_mut().get_mut(&id) {
            for one in &each {
                socket.get(serde_json::from_str(&one.subscribe.reply.text()).unwrap(), self.now);
            }
        }
        let name = subscribe.key.clone().unwrap();
        let seq = self.number(&name, 0);
        let Some((uri, cursor)) = subscribe.resume else {
            return self.on(Input::Done(id, Some(subscribe.reply)));
        };
        if let Some(socket) = self.sockets.borrow_mut().get_mut(&id) {
            let had = u64::try_from(cursor).unwrap_or(0);
            socket.restarts.push((socket.inbox.len(), name, if ahead || had > seq { 0 } else { had }));
            socket.get(serde_json::from_str(&subscribe.reply.text()).unwrap(), self.now);
        }
        self.replays.push((Replay::new(id, uri, cursor, Catching::Asked), cursor));
        Ok(())
    }

    /// The communities of subscriptions cannot be reached.
    fn take_back(&mut self, id: i64, each: Vec<Noticed>) -> Result<(), Died> {
        self.change(|gateway, _| {
            each.iter().rev().for_each(|one| gateway.take_back(id, one.noted, &one.subscribe));
        })?;
        let failed = Reply::error("Temporary failure, try again");
        if let Some(socket) = self.sockets.borrow_mut().get_mut(&id) {
            for Noticed { subscribe, listened, had, .. } in each.iter().rev() {
                let name = subscribe.key.clone().unwrap();
                if !listened {
                    socket.listens.remove(&name);
                    socket.base.remove(&name);
                }
                socket.odd.insert(name.clone());
                let meanwhile = socket.resuming.remove(&name).into_iter().flatten();
                let missed = meanwhile.filter(|seq| had.is_none_or(|had| *seq > had));
                socket.expected.extend(missed.map(|seq| (name.clone(), seq)));
                socket.had.extend(had.map(|had| (name.clone(), had)));
            }
            for _ in 1..each.len() {
                socket.get(serde_json::from_str(&failed.text()).unwrap(), self.now);
            }
        }
        self.saw("taken back");
        self.on(Input::Done(id, Some(failed)))
    }

    /// A page of a replay arrives, or cannot be read.
    fn page(&mut self, n: usize, fails: bool) -> Result<(), Died> {
        let (mut replay, cursor) = self.replays.remove(n);
        if !replay.is_asked() {
            return self.restored_page(replay, cursor, fails);
        }
        let (id, uri) = (replay.session(), replay.community().clone());
        let name = uri.to_string();
        let last = self.last[&name];
        let listens = self.with(|gateway, _| gateway.listens_to(&name))?.0;
        let page = match resume(cursor, last.saturating_sub(LOG) + 1, last) {
            _ if fails => replay.broken(),
            _ if !listens => nothing_yet(cursor),
            Resume::Resync { oldest } => Replayed::Resync { oldest },
            Resume::From(after) => {
                let through = last.min(after + PAGE);
                let events = (after + 1..=through).map(|seq| event_of(&name, seq)).collect();
                Replayed::Page { events, through, last, members_only: false }
            }
        };
        let end = match &page {
            Replayed::Page { through, last, .. } => (through == last).then_some(Ok(*last)),
            Replayed::Resync { oldest } => Some(Err(*oldest)),
        };
        if let Some(socket) = self.sockets.borrow_mut().get_mut(&id) {
            if let Replayed::Page { events, .. } = &page {
                socket.expected.extend(events.iter().map(|event| (name.clone(), event.seq)));
            }
            if let Some(end) = end {
                let to = end.unwrap_or_else(|_| replay.had());
                let meanwhile = socket.resuming.remove(&name).into_iter().flatten();
                let later: Vec<u64> = meanwhile.filter(|seq| *seq > to).collect();
                socket.had.insert(name.clone(), later.last().copied().unwrap_or(to));
                socket.expected.extend(later.into_iter().map(|seq| (name.clone(), seq)));
            }
        }
        match self.change(|gateway, _| gateway.replayed(&mut replay, page))? {
            Some(next) => {
                assert!(end.is_none() && next > cursor, "a replay goes on, and forward");
                self.replays.push((replay, next));
                self.saw("second page");
                return Ok(());
            }
            None => assert!(
                end.is_some() || !self.sockets.borrow().contains_key(&id),
                "Q02: a replay ends at the last event"
            ),
        }
        let word = self.sockets.borrow().get(&id).map(|socket| {
            let mut words = socket.inbox.iter().rev().filter(|frame| frame.get("seq").is_none());
            words.next().unwrap().clone()
        });
        match (end, word) {
            (Some(Ok(to)), Some(word)) => {
                assert_eq!((&word["type"], &word["to"]), (&json!("resumed"), &json!(to)), "Q02");
                self.saw("resumed");
            }
            (Some(Err(oldest)), Some(word)) => {
                assert_eq!(resync(&word), Some(name.as_str()), "Q05");
                assert_eq!(word["oldest"], json!(oldest), "Q05");
                self.saw("read anew");
            }
            (_, _) => self.saw("replay for nobody"),
        }
        self.on(Input::Done(id, None))
    }

    /// A community delivers `fresh` new events, and repeats `again` earlier ones. `drains` says
    /// which full sockets take some bytes while the delivery waits.
    fn deliver(&mut self, n: usize, fresh: u64, again: u64, drains: bool) -> Result<(), Died> {
        let (uri, name) = (community(n), community(n).to_string());
        let Some(acked) = self.acked.get(&name).copied() else { return Ok(()) };
        let last = self.number(&name, fresh);
        let from = acked.saturating_sub(again).max(self.began[&name]) + 1;
        let events: Vec<Numbered> = (from..=last).map(|seq| event_of(&name, seq)).collect();
        let (full, _) = self.with(|gateway, moment| gateway.has_no_room(uri.as_str(), moment))?;
        let mut stuck = BTreeSet::new();
        for (id, bytes) in &full {
            if drains && let Some(socket) = self.sockets.borrow_mut().get_mut(id) {
                socket.unsent = bytes / 2;
            }
            let left = self.unsent(*id);
            if left > FULL_BYTES || (left > SLOW_BYTES && left >= *bytes) {
                stuck.insert(*id);
            }
        }
        for (id, socket) in self.sockets.borrow_mut().iter_mut() {
            if socket.listens.contains(&name) && !stuck.contains(id) {
                let had = socket.had.get(&name).copied().unwrap_or(0);
                let new = (acked + 1..=last).filter(|seq| *seq > had);
                match socket.resuming.get_mut(&name) {
                    Some(meanwhile) => meanwhile.extend(new),
                    None => socket.expected.extend(new.map(|seq| (name.clone(), seq))),
                }
            }
        }
        self.on(Input::Delivered { community: uri, events, full, allowed: Readers::All.into() })?;
        let sockets = self.sockets.borrow();
        assert!(!stuck.iter().any(|id| sockets.contains_key(id)), "Q20: who is stuck is let go");
        drop(sockets);
        let listening = self.with(|gateway, _| gateway.listens_to(&name))?.0;
        let needed = self.sockets.borrow().values().any(|socket| socket.listens.contains(&name));
        assert_eq!(listening, needed, "a community delivers exactly while somebody needs it");
        if listening {
            self.acked.insert(name, last)
        } else {
            self.began.remove(&name);
            self.acked.remove(&name)
        };
        Ok(())
    }

    /// A community delivers from now on what comes after `seq`. It repeats nothing from before it did so first.
    fn attach(&mut self, name: &str, seq: u64) {
        self.began.entry(name.to_owned()).or_insert(seq);
        self.acked.insert(name.to_owned(), seq);
    }

    /// A client closes its socket, or its line breaks.
    fn leaves(&mut self, id: i64, hung_up: bool) -> Result<(), Died> {
        let input = if hung_up { Input::HungUp(id) } else { Input::Broke(id) };
        let now = self.now;
        if let Some(socket) = self.sockets.get_mut().get_mut(&id) {
            socket.hung_up = hung_up;
            socket.took_all = hung_up || now.0 - socket.last_sign().0 <= PROMPT;
        }
        self.on(input)?;
        self.gone(id);
        Ok(())
    }

    fn gone(&mut self, id: i64) {
        let socket = self.sockets.borrow_mut().remove(&id);
        self.gone.extend(socket.map(|socket| Socket { gone_at: Some(self.now), ..socket }));
        self.outside.closed(id);
        self.jobs.retain(|(of, _)| *of != id || self.memory.is_some());
    }

    /// The memory is lost; everything else stays.
    fn evict(&mut self) {
        let asked = self.replays.iter().any(|(replay, _)| replay.is_asked());
        if self.jobs.is_empty() && self.looking.is_empty() && !asked && !self.tasks.is_busy() {
            if !self.replays.is_empty() || self.tasks.restores() {
                self.saw("eviction while restoring");
            }
            (self.replays, self.tasks) = (Vec::new(), Tasks::default());
            self.memory = None;
            self.given = 0;
            (self.alarm_known, self.wanted) = (None, None);
            self.saw("eviction");
        }
    }

    /// The object died: its sockets and pending work are lost, and the runtime restarts. An alarm
    /// that was set stays; if none was, the next event sets one.
    fn crash(&mut self) {
        self.memory = None;
        (self.given, self.looking, self.replays) = (0, Vec::new(), Vec::new());
        self.tasks = Tasks::default();
        self.outside.crashed();
        self.jobs.clear();
        let sockets = std::mem::take(&mut *self.sockets.borrow_mut());
        // Nobody can say how long their lines had been dead.
        let gone = |socket| Socket { took_all: true, gone_at: Some(self.now), ..socket };
        self.gone.extend(sockets.into_values().map(gone));
        (self.alarm_known, self.wanted, self.dies_after) = (None, None, None);
        self.rests = false;
        self.run += 1;
        self.saw("crash");
    }

    fn count(&self, sql: &str) -> i64 {
        self.db.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// The invariants between any two steps.
    fn check(&mut self) {
        for socket in self.sockets.borrow().values().chain(&self.gone) {
            check_inbox(socket);
        }
        if self.memory.is_none() {
            return;
        }
        let gateway = self.memory.take().unwrap();
        let here: BTreeSet<i64> = self.sockets.borrow().keys().copied().collect();
        assert_eq!(
            gateway.open.keys().copied().collect::<BTreeSet<i64>>(),
            here,
            "a session for each socket"
        );
        let sockets = self.sockets.borrow();
        for (id, socket) in sockets.iter() {
            if socket.is_restored {
                self.check_restored(socket);
            } else {
                let events: Vec<(String, u64)> = socket.inbox.iter().filter_map(event).collect();
                assert_eq!(events, socket.expected, "A38: socket {id} got what it listens to");
            }
            let answers =
                socket.inbox.iter().filter(|frame| ["ack", "error"].iter().any(|of| frame["type"] == *of));
            let waits = self.waits(*id);
            let answers = answers.count();
            assert!(
                answers <= socket.asked && (waits || answers == socket.asked),
                "A03: a reply for each frame"
            );
            let sign = socket.sign.0.max(socket.answered.map_or(0, |at| at.0));
            let is_leased = socket.did.is_some() && (socket.beats || socket.answered.is_some());
            // After a loss of memory, a sign of life counts for up to a second more.
            assert!(
                !is_leased || self.now.0 - sign <= LEASE + SECOND,
                "P11: socket {id} has been silent for {} s",
                (self.now.0 - sign) / SECOND
            );
        }
        for name in PEOPLE {
            let mine = sockets.iter().filter(|(_, socket)| socket.did == Some(did(name))).map(|(id, _)| *id);
            let mine: BTreeSet<i64> = mine.collect();
            let present =
                gateway.present(&did(name)).map(|present| present.person.presence.sockets().clone());
            assert_eq!(present.unwrap_or_default(), mine, "P04: the sockets of {name}");
        }
        drop(sockets);
        self.check_rows(&gateway, &here);
        self.memory = Some(gateway);
    }

    /// The stored rows equal the memory, so losing the memory changes nothing.
    fn check_rows(&self, gateway: &Gateway, here: &BTreeSet<i64>) {
        let stored = gateway::load(&|statement| run(&self.db, statement)).unwrap();
        let answered = |id| self.answered(id);
        let moment = Moment { now: self.now, answered: &answered, unsent: &|_| 0 };
        let name = self.run.to_string();
        let (again, effects) = Gateway::wake(settings(self.shards), stored, here, &name, &moment);
        let ends = effects.iter().any(|effect| matches!(effect, Effect::Close { .. } | Effect::Send { .. }));
        assert!(!ends, "nobody notices that an object wakes: {effects:?}");
        for (id, open) in &gateway.open {
            let other = again.open.get(id).unwrap();
            assert_eq!(open.session, other.session, "session {id}");
            assert_eq!(open.subscriptions, other.subscriptions, "what session {id} listens to");
        }
        assert_eq!(gateway.communities, again.communities);
        let at_rest = |gateway: &Gateway| -> Vec<_> {
            let person = |present: &colibri_edge::domain::gateway::Present| {
                let mut person = present.person.clone();
                person.presence = person.presence.at_activity(Micros(0));
                person
            };
            // A person without stored state must not be in memory either.
            let persons = gateway.persons.iter().filter(|(_, present)| !present.person.is_over());
            persons.map(|(did, present)| (did.clone(), person(present))).collect()
        };
        assert_eq!(at_rest(gateway), at_rest(&again), "who is here");
        let open = i64::try_from(here.len()).unwrap();
        assert_eq!(self.count("SELECT count(*) FROM sessions"), open, "a row for each open socket");
        let orphans =
            "SELECT (SELECT count(*) FROM subscribed WHERE session NOT IN (SELECT id FROM sessions))
            + (SELECT count(*) FROM signs WHERE id NOT IN (SELECT id FROM sessions))";
        assert_eq!(self.count(orphans), 0, "nothing is left of closed sockets but their traces");
        let most = "SELECT coalesce(max(n), 0) FROM (SELECT count(*) AS n FROM traces GROUP BY did)";
        assert!(self.count(most) <= restore::PERSON_MAX, "Q16: traces of one person");
        assert!(self.count("SELECT count(*) FROM persons") <= i64::try_from(PEOPLE.len()).unwrap());
    }
}

fn resync(frame: &serde_json::Value) -> Option<&str> {
    (frame["type"] == "resync_required").then(|| frame["community_uri"].as_str().unwrap())
}

fn event_of(community: &str, seq: u64) -> Numbered {
    let text = json!({ "type": "event", "community": community }).to_string();
    let event = RawValue::from_string(text).unwrap();
    Numbered { seq, audience: Audience::Community, live: true, event }
}

fn event(frame: &serde_json::Value) -> Option<(String, u64)> {
    let seq = frame["seq"].as_u64()?;
    Some((frame["community"].as_str().unwrap().to_owned(), seq))
}

/// A socket receives an event once and in order; again only in a replay that it requested.
fn check_inbox(socket: &Socket) {
    let mut last: BTreeMap<&str, u64> = BTreeMap::new();
    let mut restarts = socket.restarts.iter().peekable();
    for (n, frame) in socket.inbox.iter().enumerate() {
        while let Some((_, community, had)) = restarts.next_if(|(at, ..)| *at <= n) {
            last.insert(community, *had);
        }
        let Some((_, seq)) = event(frame) else { continue };
        let before = last.insert(frame["community"].as_str().unwrap(), seq).unwrap_or(0);
        assert!(before < seq, "A38: {seq} came after {before}");
    }
}

/// A step. Sockets are chosen among the open ones.
#[derive(Clone, Debug)]
enum Step {
    Open(Option<usize>, u8),
    Frame(usize, u8),
    Flood(usize),
    Subscribe(usize, usize),
    Unsubscribe(usize, usize),
    /// As `Subscribe`, with a cursor at this distance from the last event.
    Resume(usize, usize, i64),
    Work(usize),
    /// The look-up of a subscription succeeds, or fails.
    Look(usize, bool),
    /// A page of a replay arrives, or fails.
    Page(usize, bool),
    /// A community numbers events that it delivers later.
    Publish(usize, u64),
    Beat(usize),
    HangUp(usize),
    Break(usize),
    Clog(usize, u32),
    Deliver(usize, u64, u64, bool),
    /// A person joins, or leaves, a voice channel.
    Voice(usize, Option<usize>),
    /// A state set through REST (R20).
    Api(usize, u8),
    /// A round of states begins or ends.
    Settle(Call),
    /// What was published arrives.
    DeliverPublications,
    /// A move between voice channels goes on.
    Walk(usize, Call),
    /// The restore of a socket goes on.
    Restore(usize, bool),
    /// Everything that is under way ends well.
    Finish,
    /// A person's line changes: the client opens a socket and says nothing on it, then the old one is gone or not.
    Return(usize, Option<bool>),
    Pass(i64),
    Evict,
    Crash(usize),
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![8 => Just(Call::Done), 1 => Just(Call::AnswerLost), 1 => Just(Call::Failed), 1 => Just(Call::Turned)]
}

fn step() -> impl Strategy<Value = Step> {
    let (socket, community) = (0..8usize, 0..2usize);
    let background = prop_oneof![
        6 => call().prop_map(Step::Settle),
        4 => Just(Step::DeliverPublications),
        8 => (0..3usize, call()).prop_map(|(n, call)| Step::Walk(n, call)),
        6 => (0..3usize, prop::bool::weighted(0.1)).prop_map(|(n, fails)| Step::Restore(n, fails)),
    ];
    prop_oneof![
        20 => background,
        2 => Just(Step::Finish),
        5 => (socket.clone(), prop::option::of(any::<bool>())).prop_map(|(n, goes)| Step::Return(n, goes)),
        3 => (socket.clone(), prop::option::weighted(0.8, 0..4usize)).prop_map(|(n, to)| Step::Voice(n, to)),
        1 => (0..2usize, 0..3u8).prop_map(|(who, state)| Step::Api(who, state)),
        4 => (prop::option::of(0..2usize), 0..2u8).prop_map(|(who, address)| Step::Open(who, address)),
        4 => (socket.clone(), 0..8u8).prop_map(|(n, kind)| Step::Frame(n, kind)),
        1 => socket.clone().prop_map(Step::Flood),
        5 => (socket.clone(), community.clone()).prop_map(|(n, of)| Step::Subscribe(n, of)),
        1 => (socket.clone(), community.clone()).prop_map(|(n, of)| Step::Unsubscribe(n, of)),
        3 => (socket.clone(), community.clone(), -12..3i64).prop_map(|(n, of, from)| Step::Resume(n, of, from)),
        6 => (0..4usize).prop_map(Step::Work),
        6 => (0..4usize, prop::bool::weighted(0.2)).prop_map(|(n, fails)| Step::Look(n, fails)),
        5 => (0..4usize, prop::bool::weighted(0.1)).prop_map(|(n, fails)| Step::Page(n, fails)),
        3 => (community.clone(), 1..4u64).prop_map(|(of, fresh)| Step::Publish(of, fresh)),
        3 => socket.clone().prop_map(Step::Beat),
        1 => socket.clone().prop_map(Step::HangUp),
        1 => socket.clone().prop_map(Step::Break),
        2 => (socket, prop::sample::select(vec![0, SLOW_BYTES / 2, 2 * SLOW_BYTES, 3 * FULL_BYTES]))
            .prop_map(|(n, bytes)| Step::Clog(n, bytes)),
        8 => (community, 0..4u64, 0..3u64, any::<bool>()).prop_map(|(n, fresh, again, drains)| Step::Deliver(n, fresh, again, drains)),
        5 => prop::sample::select(vec![1, SECOND / 2, 3 * SECOND, 6 * SECOND, 30 * SECOND, 80 * SECOND, 400 * SECOND])
            .prop_map(Step::Pass),
        4 => Just(Step::Evict),
        1 => (0..6usize).prop_map(Step::Crash),
    ]
}

fn act(world: &mut World, step: &Step) -> Result<(), Died> {
    let ids: Vec<i64> = world.sockets.borrow().keys().copied().collect();
    let pick = |n: usize| ids.get(n % ids.len().max(1)).copied();
    let subscribe = |action: &str, of: usize| {
        json!({ "action": action, "event_type": "community", "community_uri": community(of) }).to_string()
    };
    match step {
        Step::Voice(n, to) => {
            let frame = to.map(place).map_or(json!({ "action": "voice_event", "voice_action": "leave" }), |place| {
                json!({
                    "action": "voice_event", "community_uri": place.community, "voice_channel_rkey": place.channel
                })
            });
            pick(*n).map_or(Ok(()), |id| world.frame(id, &frame.to_string()))
        }
        Step::Api(who, state) => {
            let state = [State::Online, State::Away, State::Dnd][usize::from(*state) % 3];
            world.choose(None, did(PEOPLE[*who]), state);
            Ok(())
        }
        Step::Settle(call) => world.settle(*call),
        Step::DeliverPublications => world.publish(),
        Step::Walk(n, call) => world.walk(*n, *call),
        Step::Restore(n, fails) => world.restore(*n, *fails),
        Step::Finish => world.finish(),
        Step::Return(n, goes) => {
            let known = |id: &i64| world.sockets.borrow()[id].did.clone();
            let Some((id, did)) = pick(*n).and_then(|id| Some((id, known(&id)?))) else { return Ok(()) };
            if *goes == Some(true) {
                act(world, &Step::HangUp(*n))?;
            }
            let who = PEOPLE.iter().position(|name| did.as_str().ends_with(name));
            if ids.len() < 8 {
                world.open(who, 0)?;
            }
            world.pass(SECOND)?;
            if *goes == Some(false) && world.sockets.borrow().contains_key(&id) {
                world.leaves(id, false)?;
            }
            Ok(())
        }
        Step::Open(who, address) if ids.len() < 8 => world.open(*who, *address).map(drop),
        Step::Frame(n, kind) => {
            let texts = [
                r#"{"action":"activity"}"#,
                r#"{"action":"heartbeat","event_type":"heartbeat","mine":1}"#,
                "no JSON",
                r#"{"action":"session"}"#,
                r#"{"action":"set_state","state":"dnd"}"#,
                r#"{"action":"set_state","state":"offline"}"#,
                r#"{"action":"set_state","state":"online"}"#,
                r#"{"action":"dance"}"#,
            ];
            pick(*n).map_or(Ok(()), |id| world.frame(id, texts[usize::from(*kind) % texts.len()]))
        }
        Step::Flood(n) => {
            let Some(id) = pick(*n) else { return Ok(()) };
            for _ in 0..900 {
                if !world.sockets.borrow().contains_key(&id) {
                    break;
                }
                world.frame(id, r#"{"action":"activity"}"#)?;
            }
            Ok(())
        }
        Step::Subscribe(n, of) => pick(*n).map_or(Ok(()), |id| world.frame(id, &subscribe("subscribe", *of))),
        Step::Resume(n, of, from) => {
            let last = world.last.get(community(*of).as_str()).copied().unwrap_or(0);
            let cursor = i64::try_from(last).unwrap() + from;
            let frame = json!({
                "action": "subscribe", "event_type": "community", "community_uri": community(*of), "cursor": cursor
            });
            pick(*n).map_or(Ok(()), |id| world.frame(id, &frame.to_string()))
        }
        Step::Look(n, fails) if !world.looking.is_empty() => world.look(n % world.looking.len(), *fails),
        Step::Page(n, fails) if !world.replays.is_empty() => world.page(n % world.replays.len(), *fails),
        Step::Publish(of, fresh) => {
            world.number(community(*of).as_str(), *fresh);
            Ok(())
        }
        Step::Unsubscribe(n, of) => {
            // Only if it is answered at once: otherwise the model does not know when it counts.
            let Some(id) = pick(*n).filter(|id| !world.waits(*id)) else {
                return Ok(());
            };
            world.frame(id, &subscribe("unsubscribe", *of))?;
            if let Some(socket) = world.sockets.borrow_mut().get_mut(&id)
                && socket.inbox.last().is_some_and(|frame| frame["type"] == "ack")
            {
                let name = community(*of).to_string();
                socket.listens.remove(&name);
                socket.base.remove(&name);
                if socket.is_restored {
                    socket.odd.insert(name.clone());
                }
                socket.declined.insert(name);
            }
            Ok(())
        }
        Step::Work(n) if !world.jobs.is_empty() => world.work(n % world.jobs.len()),
        Step::Beat(n) => {
            let now = world.now;
            if let Some(socket) = pick(*n).and_then(|id| world.sockets.get_mut().get_mut(&id)) {
                socket.answered = Some(now);
            }
            Ok(())
        }
        Step::HangUp(n) | Step::Break(n) => {
            pick(*n).map_or(Ok(()), |id| world.leaves(id, matches!(step, Step::HangUp(_))))
        }
        Step::Clog(n, bytes) => {
            if let Some(socket) = pick(*n).and_then(|id| world.sockets.get_mut().get_mut(&id)) {
                socket.unsent = *bytes;
            }
            Ok(())
        }
        Step::Deliver(n, fresh, again, drains) => world.deliver(*n, *fresh, *again, *drains),
        Step::Pass(micros) => world.pass(*micros),
        Step::Evict => {
            world.evict();
            Ok(())
        }
        Step::Crash(after) => {
            world.dies_after = Some(*after);
            Ok(())
        }
        Step::Open(..) | Step::Work(_) | Step::Look(..) | Step::Page(..) => Ok(()),
    }
}

fn live(steps: &[Step]) -> World {
    let mut world = World::new();
    for step in steps {
        if act(&mut world, step).is_err() {
            world.crash();
        }
        world.jobs.retain(|(id, _)| world.sockets.borrow().contains_key(id));
        world.check();
    }
    if world.rest().is_err() {
        panic!("nothing dies at rest");
    }
    world
}

proptest! {
    #![proptest_config(config(96))]

    #[test]
    fn whatever_happens_a_socket_gets_every_event_once_and_nobody_is_there_without_one(
        steps in prop::collection::vec(step(), 1..150),
    ) {
        live(&steps);
    }
}

/// A03: subscriptions that wait right behind each other are looked up together, and one that resumes alone.
#[test]
fn a03_subscriptions_that_wait_are_looked_up_together() {
    use Step::{Frame, Look, Open, Resume, Subscribe, Work};
    let asked =
        [Subscribe(0, 0), Subscribe(0, 1), Subscribe(0, 0), Frame(0, 0), Subscribe(0, 1), Resume(0, 1, 0)];
    let mut world = World::new();
    for step in [Open(None, 0)].iter().chain(&asked) {
        assert!(act(&mut world, step).is_ok());
    }
    for expected in [1, 2, 1, 1] {
        let [(_, Job::Subscribe(together))] = world.jobs.as_slice() else { panic!("{:?}", world.jobs) };
        assert_eq!(together.len(), expected);
        for step in [Work(0), Look(0, false)] {
            assert!(act(&mut world, &step).is_ok());
            world.check();
        }
    }
    assert!(world.jobs.is_empty());
}

/// The histories above prove something only if the cases in question occur in them.
#[test]
fn random_histories_meet_what_they_are_about() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
    for _ in 0..120 {
        let steps = prop::collection::vec(step(), 100..150).new_tree(&mut runner).unwrap().current();
        for (what, times) in live(&steps).seen {
            *seen.entry(what).or_default() += times;
        }
    }
    let replays = ["second page", "resumed", "read anew", "replay for nobody", "taken back"];
    let restores = ["restored", "restored page", "located", "person restored", "eviction while restoring"];
    let people = ["round", "round failed", "moved", "not moved", "out", "stale", "answer lost", "in voice"];
    let all = ["lease", "slow", "flood", "eviction", "crash", "subscribed together"].into_iter();
    for what in all.chain(replays).chain(restores).chain(people) {
        assert!(seen.contains_key(what), "no {what} in so many histories: {seen:?}");
    }
}
