//! What the object of a gateway does in the background, step by step: states are settled and published, people move
//! between voice channels, silent sockets are restored. Between any two steps something else may happen, and each
//! call may fail, before or after it was done.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use colibri_edge::domain::actions::Destination;
use colibri_edge::domain::gateway::Input;
use colibri_edge::domain::gateway::catching_up::{Catching, Replay};
use colibri_edge::domain::gateway::moving::{Answer, Ending, Move, Step as Walk};
use colibri_edge::domain::gateway::restoring::Change;
use colibri_edge::domain::gateway::settling::{Choice, Chosen, Known, Round};
use colibri_edge::domain::person::Stored;
use colibri_edge::domain::presence::State;
use colibri_edge::domain::replay::{Replayed, Resume, cursor_of, nothing_yet, resume};
use colibri_edge::domain::restore::Trace;
use colibri_edge::domain::voice::{Place, Rooms};
use colibri_edge::domain::voice_right::VoiceRefusal;
use colibri_edge::storage::Inner;
use colibri_edge::storage::gateway_people::{self, Changed, HeldEvent, Publication};
use colibri_edge::wire::bodies::Person;
use colibri_edge::wire::events::{march, stamp_state};
use colibri_edge::wire::ids::{AtUri, Did};
use colibri_edge::wire::socket::Reply;
use colibri_edge::wire::time::Micros;
use serde::de::DeserializeOwned;

use super::{Died, LOG, PAGE, PEOPLE, SECOND, Socket, World, community, did, event_of, resync, run};

/// What is outside of the object, and survives it.
#[derive(Default)]
pub(super) struct Outside {
    /// The states in D1: of alice always, of bob, a visitor, while he is there.
    stored: BTreeMap<Did, Stored>,
    /// The lists of voice of each community.
    lists: BTreeMap<String, Rooms>,
    /// When each event of a community was numbered.
    numbered: BTreeMap<String, Vec<Micros>>,
    /// The last state that watchers received of each person, and when a gateway last noted a change.
    published: BTreeMap<Did, State>,
    changed: BTreeMap<Did, Micros>,
    /// What each person chose last.
    preferred: BTreeMap<Did, State>,
    /// Nobody knows what they chose last: it was stored, and not published.
    unsure: BTreeSet<Did>,
    /// States that R20 set without a socket, in this run.
    pinned: BTreeSet<Did>,
    /// When each person last did something.
    active: BTreeMap<Did, Micros>,
    /// Who is in voice by a join that nothing has ended since: the socket, where, and whether they have done something
    /// often enough since.
    joined: BTreeMap<Did, (i64, Place, bool)>,
}

/// What the memory of the object does in the background.
#[derive(Default)]
pub(super) struct Tasks {
    choices: Vec<(Option<i64>, Choice)>,
    round: Option<(Round, Vec<Waiting>)>,
    /// Moves that wait for their turn, and the one of each person that has it.
    waiting: VecDeque<(Did, Option<(i64, Destination)>)>,
    moves: Vec<(Option<i64>, Move, Walk)>,
    restores: Vec<Restore>,
}

/// The socket that waits for what its person chose; `None` is R20.
type Waiting = (Option<i64>, Did);

/// The restore of a socket, and what comes next of it.
struct Restore {
    id: i64,
    due: Micros,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Inherit,
    Listen,
    Locate,
    Replay,
}

/// How a call ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Done,
    /// It is done, but the answer is lost.
    AnswerLost,
    Failed,
    /// The community has received an event since, or the right is gone.
    Turned,
}

fn exists(did: &Did) -> bool {
    did.as_str().ends_with(PEOPLE[0])
}

fn read<T: DeserializeOwned>(texts: &[String]) -> Vec<T> {
    texts.iter().map(|text| serde_json::from_str(text).unwrap()).collect()
}

pub(super) fn place(n: usize) -> Place {
    let community = community(n);
    let channel = ["v", "w"][(n / 2) % 2];
    let channel = format!("at://{}/social.colibri.channel/{channel}", community.authority());
    Place { community, channel: AtUri::parse(&channel).unwrap() }
}

impl Tasks {
    /// Whether something is under way that keeps the object in memory.
    pub(super) fn is_busy(&self) -> bool {
        !self.choices.is_empty() || self.round.is_some() || !self.waiting.is_empty() || !self.moves.is_empty()
    }

    /// Whether a socket is being restored that was given something already.
    pub(super) fn restores(&self) -> bool {
        self.restores.iter().any(|task| task.phase != Phase::Inherit)
    }

    pub(super) fn waits(&self, id: i64) -> bool {
        self.choices.iter().any(|(of, _)| *of == Some(id))
            || self.round.iter().any(|(_, waiting)| waiting.iter().any(|(of, _)| *of == Some(id)))
            || self.waiting.iter().any(|(_, of)| of.as_ref().is_some_and(|(of, _)| *of == id))
            || self.moves.iter().any(|(of, ..)| *of == Some(id))
    }
}

impl Outside {
    /// What the watchers received.
    pub(super) fn published(&self) -> BTreeMap<Did, State> {
        self.published.clone()
    }

    /// They received this, and nothing after it.
    pub(super) fn only_published(&mut self, published: BTreeMap<Did, State>) {
        self.published = published;
    }

    pub(super) fn crashed(&mut self) {
        self.pinned.clear();
        self.joined.clear();
    }

    pub(super) fn is_active(&mut self, did: &Did, now: Micros) {
        self.active.insert(did.clone(), now);
    }

    pub(super) fn opened(&mut self, did: &Did, now: Micros) {
        self.is_active(did, now);
        self.pinned.remove(did);
    }

    /// Time has passed: a person who does nothing falls silent (V06).
    pub(super) fn passed(&mut self, now: Micros) {
        for (did, (_, _, is_sure)) in &mut self.joined {
            let active = self.active.get(did).copied().unwrap_or_default();
            *is_sure &= now.0 - active.0 < 295 * SECOND;
        }
    }

    /// The socket that holds its person in voice is gone: another may take over, or none does.
    pub(super) fn closed(&mut self, id: i64) {
        self.joined.retain(|_, (holder, ..)| *holder != id);
    }
}

impl World {
    /// `fresh` events of a community are numbered; its last `seq`.
    pub(super) fn number(&mut self, name: &str, fresh: u64) -> u64 {
        let last = self.last.entry(name.to_owned()).or_default();
        *last += fresh;
        let numbered = self.outside.numbered.entry(name.to_owned()).or_default();
        numbered.resize(usize::try_from(*last).unwrap(), self.now);
        *last
    }

    /// Takes up what is to be done in the background.
    pub(super) fn stir(&mut self) {
        let Some(gateway) = &mut self.memory else { return };
        let due = Micros(self.now.0 + SECOND / 2);
        for id in gateway.take_restoring() {
            self.tasks.restores.push(Restore { id, due, phase: Phase::Inherit });
        }
        for did in gateway.take_leaving() {
            self.tasks.waiting.push_back((did, None));
        }
    }

    // Presence.

    pub(super) fn choose(&mut self, id: Option<i64>, did: Did, state: State) {
        self.tasks.choices.push((id, Choice { did, state, shows_alone: id.is_none() }));
    }

    /// Begins a round, or ends the one that was begun.
    pub(super) fn settle(&mut self, call: Call) -> Result<(), Died> {
        if let Some((round, waiting)) = self.tasks.round.take() {
            return self.end_round(round, waiting, call);
        }
        let choices = std::mem::take(&mut self.tasks.choices);
        let waiting = choices.iter().map(|(id, choice)| (*id, choice.did.clone())).collect();
        let choices = choices.into_iter().map(|(_, choice)| choice).collect();
        let held = run_on(self, &gateway_people::held(100))?;
        let held = HeldEvent::read(&held).unwrap();
        let Some(mut round) = self.change(|gateway, _| gateway.round(held, choices))? else { return Ok(()) };
        let known: Vec<Known> = round.dids().iter().map(|did| self.known(did)).collect();
        let strangers = self.change(|gateway, _| gateway.known(&mut round, known))?;
        let mut chosen = BTreeMap::new();
        for did in strangers {
            let words: Vec<String> = read(&run_on(self, &gateway_people::chosen(&did))?);
            chosen.extend(words.first().map(|word| (did, State::named(word).unwrap())));
        }
        self.change(|gateway, moment| gateway.load_round(&mut round, &chosen, moment.now))?;
        self.tasks.round = Some((round, waiting));
        Ok(())
    }

    fn known(&self, did: &Did) -> Known {
        Known {
            did: did.clone(),
            stored: self.outside.stored.get(did).copied().unwrap_or_default(),
            exists: exists(did),
            active: true,
            communities: if exists(did) { vec![community(0)] } else { Vec::new() },
            closed: Vec::new(),
            pending: Vec::new(),
            shown: Person::default(),
        }
    }

    fn end_round(&mut self, round: Round, waiting: Vec<Waiting>, call: Call) -> Result<(), Died> {
        let fails = !round.states().is_empty() && call != Call::Done;
        if call != Call::Failed {
            for one in round.states() {
                let stored = Stored { preferred: one.preferred, current: one.current };
                if !exists(&one.did) && one.current == Some(State::Offline) {
                    self.outside.stored.remove(&one.did);
                } else {
                    self.outside.stored.insert(one.did.clone(), stored);
                }
                let preferred = one.preferred.unwrap_or(State::Online);
                self.outside.preferred.insert(one.did.clone(), preferred);
                if call == Call::Done {
                    self.outside.unsure.remove(&one.did);
                } else {
                    self.outside.unsure.insert(one.did.clone());
                }
            }
        }
        if fails {
            self.saw("round failed");
            for id in waiting.into_iter().filter_map(|(id, _)| id) {
                self.on(Input::Done(id, Some(Reply::error("Failed to update state"))))?;
            }
            return Ok(());
        }
        let chosen = self.change(|gateway, moment| gateway.settled(round, moment.now))?;
        self.saw("round");
        assert!(chosen.iter().all(|chosen| *chosen == Chosen::Stored), "every account is active");
        for (_, did) in waiting.iter().filter(|(id, _)| id.is_none()) {
            if !self.sockets.borrow().values().any(|socket| socket.did.as_ref() == Some(did)) {
                self.outside.pinned.insert(did.clone());
            }
        }
        for (_, did) in &waiting {
            if self.outside.preferred.get(did) == Some(&State::Offline) {
                self.outside.joined.remove(did); // V06
            }
        }
        for id in waiting.into_iter().filter_map(|(id, _)| id) {
            self.on(Input::Done(id, Some(Reply::ack(""))))?;
        }
        Ok(())
    }

    /// A gateway publishes a state: it is stored already (H11), and others know another one (P02, P10).
    pub(super) fn published(&mut self, publication: &Publication) {
        let event: serde_json::Value = serde_json::from_str(march(publication.event.get()).unwrap()).unwrap();
        let state = State::named(event["state"].as_str().unwrap()).unwrap();
        let stored = self.outside.stored.get(&publication.did).and_then(|stored| stored.current);
        assert_eq!(stored.unwrap_or(State::Offline), state, "H11: stored first, published second");
        let before = self.outside.published.insert(publication.did.clone(), state).unwrap_or(State::Offline);
        assert!(self.run > 0 || before != state, "P02, P10: {state:?} is no news");
    }

    /// What is published reaches the gateways, this one included.
    pub(super) fn publish(&mut self) -> Result<(), Died> {
        let had: Vec<i64> = read(&run_on(self, &gateway_people::publisher("gateway-0"))?);
        let had = had.first().copied().unwrap_or(0);
        let (_, publications, unreadable) =
            Publication::read(&run_on(self, &gateway_people::publications(had, 100))?).unwrap();
        assert_eq!(unreadable, 0);
        for publication in &publications {
            self.outside.changed.insert(publication.did.clone(), self.now);
        }
        if !publications.is_empty() {
            self.on(Input::Published {
                from: "gateway-0".to_owned(),
                publications,
                had,
                readers: BTreeMap::new(),
            })?;
        }
        Ok(())
    }

    // Voice.

    pub(super) fn wants(&mut self, id: i64, did: Did, destination: Destination) {
        self.tasks.waiting.push_back((did, Some((id, destination))));
    }

    /// Begins what has its turn: one move at a time for each person (V01).
    fn take_turns(&mut self) -> Result<(), Died> {
        let mut later = VecDeque::new();
        while let Some((did, request)) = self.tasks.waiting.pop_front() {
            if self.tasks.moves.iter().any(|(_, moving, _)| *moving.did() == did) {
                later.push_back((did, request));
                continue;
            }
            match request {
                Some((id, destination)) => {
                    let (moving, step) =
                        self.change(|gateway, _| gateway.begin_move(id, &did, &destination))?;
                    self.tasks.moves.push((Some(id), moving, step));
                }
                None => {
                    let begun = self.change(|gateway, _| gateway.begin_end(&did))?;
                    self.tasks.moves.extend(begun.map(|(moving, step)| (None, moving, step)));
                }
            }
        }
        self.tasks.waiting = later;
        Ok(())
    }

    /// One step of a move.
    pub(super) fn walk(&mut self, n: usize, call: Call) -> Result<(), Died> {
        self.take_turns()?;
        if self.tasks.moves.is_empty() {
            return Ok(());
        }
        let (id, mut moving, step) = self.tasks.moves.remove(n % self.tasks.moves.len());
        let did = moving.did().clone();
        let answer = match &step {
            Walk::Over(ending) => {
                let ending = *ending;
                return self.end_move(id, &did, ending);
            }
            Walk::Judge(_) => match call {
                Call::Done | Call::AnswerLost => Answer::Judged(Ok(())),
                Call::Turned => Answer::Judged(Err(VoiceRefusal::NotAllowed)),
                Call::Failed => Answer::None,
            },
            Walk::Leave(place) => self.call_voice(&did, place, false, call),
            Walk::Join(place) => self.call_voice(&did, place, true, call),
        };
        let next = self.change(|gateway, moment| gateway.go_on(&mut moving, answer, moment.now))?;
        if let Walk::Join(place) = step {
            self.outside.joined.remove(&did);
            if let Some(id) = id.filter(|id| answer == Answer::In && self.sockets.borrow().contains_key(id)) {
                self.outside.joined.insert(did, (id, place, true));
            }
        }
        if answer == Answer::None {
            assert_eq!(next, Walk::Over(Ending::Failed));
        }
        self.tasks.moves.push((id, moving, next));
        Ok(())
    }

    /// A community takes somebody in or out.
    fn call_voice(&mut self, did: &Did, place: &Place, into: bool, call: Call) -> Answer {
        let lists = self.outside.lists.entry(place.community.to_string()).or_default();
        match (call, into) {
            (Call::Failed, _) => return Answer::None,
            (Call::Turned, true) => {
                self.saw("stale");
                return Answer::Stale;
            }
            (_, true) => drop(lists.join(did, &place.channel)),
            (_, false) => {
                self.outside.joined.remove(did);
                lists.leave(did);
            }
        }
        let everywhere = self.outside.lists.values().flat_map(|rooms| rooms.lists().into_values().flatten());
        let everybody: Vec<Did> = everywhere.collect();
        let distinct: BTreeSet<&Did> = everybody.iter().collect();
        assert_eq!(distinct.len(), everybody.len(), "V01: in one voice channel at most");
        match (call, into) {
            (Call::AnswerLost, _) => {
                self.saw("answer lost");
                Answer::None
            }
            (_, true) => Answer::In,
            (_, false) => Answer::Left,
        }
    }

    fn end_move(&mut self, id: Option<i64>, did: &Did, ending: Ending) -> Result<(), Died> {
        match id {
            Some(id) => {
                let reply = match ending {
                    Ending::Done => Reply::ack(""),
                    Ending::Refused(refusal) => Reply::error(refusal.text()),
                    Ending::Failed => Reply::error("Temporary failure, try again"),
                };
                self.saw(if ending == Ending::Done { "moved" } else { "not moved" });
                self.on(Input::Done(id, Some(reply)))
            }
            None => {
                self.saw("out");
                // Who is still to be taken out is found again.
                self.change(|gateway, _| gateway.mark(did))
            }
        }
    }

    pub(super) fn listed(&self, did: &Did) -> Option<Place> {
        let mut lists = self.outside.lists.iter();
        lists.find_map(|(community, rooms)| {
            let community = AtUri::parse(community).unwrap();
            rooms.channel_of(did).map(|channel| Place { community, channel: channel.clone() })
        })
    }

    // Restore.

    /// One step of a restore whose time has come.
    pub(super) fn restore(&mut self, n: usize, fails: bool) -> Result<(), Died> {
        let now = self.now;
        let due: Vec<usize> =
            (0..self.tasks.restores.len()).filter(|n| self.tasks.restores[*n].due <= now).collect();
        let Some(at) = due.get(n % due.len().max(1)).copied() else { return Ok(()) };
        let Restore { id, phase, .. } = self.tasks.restores.remove(at);
        let next = match phase {
            _ if fails => Some((Phase::Inherit, now.0 + 2 * SECOND)),
            Phase::Inherit => self.inherit(id)?.then_some((Phase::Listen, now.0)),
            Phase::Listen => {
                self.listen(id)?;
                Some((Phase::Locate, now.0))
            }
            Phase::Locate => {
                self.locate(id)?;
                Some((Phase::Replay, now.0))
            }
            Phase::Replay => match self.with(|gateway, _| gateway.next_owed(id))?.0 {
                Some((uri, cursor)) => {
                    self.replays.push((Replay::new(id, uri, cursor, Catching::Restored), cursor));
                    None
                }
                None => {
                    self.restore_people(id)?;
                    self.change(|gateway, moment| gateway.restored(id, moment.now))?;
                    if let Some(socket) = self.sockets.borrow_mut().get_mut(&id) {
                        socket.whole_at = Some(self.now);
                    }
                    self.saw("restored");
                    None
                }
            },
        };
        let task = next.map(|(phase, due)| Restore { id, due: Micros(due), phase });
        self.tasks.restores.extend(task);
        Ok(())
    }

    /// Gives a silent socket what others had; whether there is anything to restore.
    fn inherit(&mut self, id: i64) -> Result<bool, Died> {
        let waits = self.with(|gateway, _| gateway.waits_for_traces(id).cloned())?.0;
        if let Some(did) = waits {
            let closed: Vec<Inner<Trace>> = read(&run_on(self, &gateway_people::traces(&did))?);
            let closed = closed.into_iter().map(|trace| trace.0.unwrap()).collect();
            self.change(|gateway, moment| gateway.inherit(id, closed, moment))?;
            let copied = self.with(|gateway, _| gateway.open[&id].session.copied.clone())?.0;
            self.copies(id, &copied, &did);
        }
        Ok(self.with(|gateway, _| gateway.restores(id).is_some())?.0)
    }

    /// What the model knows of a socket that was given what others had.
    fn copies(&mut self, id: i64, copied: &BTreeSet<i64>, did: &Did) {
        let mut sockets = self.sockets.borrow_mut();
        let gone = |id: i64| self.gone.iter().rev().find(|socket| socket.id == id);
        let sources: Vec<Socket> =
            copied.iter().filter_map(|id| sockets.get(id).or_else(|| gone(*id)).cloned()).collect();
        assert!(sources.iter().all(|source| source.did.as_ref() == Some(did)), "Q10: of its own person only");
        let socket = sockets.get_mut(&id).unwrap();
        for source in &sources {
            for name in source.listens.iter().filter(|name| !socket.declined.contains(*name)) {
                socket.listens.insert(name.clone());
                let had = source.had_at_the_end(name);
                let least = socket.base.entry(name.clone()).or_insert(had);
                *least = had.min(*least);
                // A client that read the community anew has more than the frames show.
                let reads_anew = source.inbox.iter().any(|frame| resync(frame) == Some(name));
                if reads_anew || source.odd.contains(name) || !source.base.contains_key(name) {
                    socket.odd.insert(name.clone());
                }
            }
        }
        socket.is_restored |= !copied.is_empty();
        socket.sources = sources;
    }

    fn listen(&mut self, id: i64) -> Result<(), Died> {
        let wanted: Option<Vec<AtUri>> = self
            .with(|gateway, _| {
                gateway.restores(id).map(|subscriptions| {
                    subscriptions.community.keys.iter().map(|key| AtUri::parse(key).unwrap()).collect()
                })
            })?
            .0;
        let wanted = wanted.unwrap_or_default();
        self.change(|gateway, _| gateway.owe_new_ones(id, &wanted))?;
        for uri in wanted {
            let seq = self.number(uri.as_str(), 0);
            if !self.with(|gateway, _| gateway.listens_to(uri.as_str()))?.0 {
                self.attach(uri.as_str(), seq);
                self.change(|gateway, moment| gateway.attached(&uri, seq, moment.now))?;
            }
        }
        Ok(())
    }

    fn locate(&mut self, id: i64) -> Result<(), Died> {
        let mut found = Vec::new();
        for (uri, at) in self.with(|gateway, _| gateway.unlocated(id))?.0 {
            let last = self.number(uri.as_str(), 0);
            let oldest = last.saturating_sub(LOG) + 1;
            let numbered = &self.outside.numbered[uri.as_str()];
            // An event is numbered a moment before it is sent.
            let before = (oldest..=last)
                .rev()
                .find(|seq| numbered[usize::try_from(*seq).unwrap() - 1].0 < at.0 - SECOND);
            found.push((uri, at, cursor_of(before, oldest, last < LOG)));
            self.saw("located");
        }
        self.change(|gateway, _| gateway.located(id, &found))
    }

    /// A page of a restore's replay.
    pub(super) fn restored_page(&mut self, mut replay: Replay, cursor: i64, fails: bool) -> Result<(), Died> {
        let (id, name) = (replay.session(), replay.community().to_string());
        let last = self.number(&name, 0);
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
        match self.change(|gateway, _| gateway.replayed(&mut replay, page))? {
            Some(next) => self.replays.push((replay, next)),
            None => {
                let due = self.now;
                self.tasks.restores.push(Restore { id, due, phase: Phase::Replay });
            }
        }
        self.saw("restored page");
        Ok(())
    }

    /// Q13: every person who changed since one of their watchers was last alive, and nobody else.
    fn restore_people(&mut self, id: i64) -> Result<(), Died> {
        let Some(since) = self.with(|gateway, _| gateway.missed_since(id))?.0 else { return Ok(()) };
        let changed: Vec<Changed> = read(&run_on(self, &gateway_people::changed_since(since))?);
        let changes: Vec<Change> = changed.into_iter().map(Change::from).collect();
        let missed = self.with(|gateway, _| gateway.missed_people(id, &changes))?.0;
        let Some(socket) = self.sockets.borrow().get(&id).cloned() else { return Ok(()) };
        let watched = community(0).to_string();
        let is_odd = socket.odd.contains(&watched) || !socket.listens.contains(&watched);
        let sources: Vec<&Socket> =
            socket.sources.iter().filter(|source| source.listens.contains(&watched)).collect();
        let alice = did(PEOPLE[0]);
        if let Some(at) = self.outside.changed.get(&alice).filter(|_| !is_odd && self.run == 0) {
            let published = missed.iter().any(|one| one.did == alice && one.status);
            let must = sources.iter().any(|source| *at > source.lacks_since());
            let may = sources.iter().any(|source| at.0 + SECOND + SECOND / 10 >= source.lacks_since().0);
            assert!(published || !must, "Q13: a missed change is published");
            assert!(!published || may, "Q13: a received change is not published again");
            if published {
                self.saw("person restored");
            }
        }
        assert!(missed.iter().all(|one| one.did == alice), "Q13: only who is watched: {missed:?}");
        for one in missed {
            for event in one.events(&self.known(&one.did).now()) {
                let text = stamp_state(&event.text().unwrap(), false);
                self.change(|gateway, _| gateway.send(id, text))?;
            }
        }
        Ok(())
    }

    /// Q10, Q11, Q12: a restored socket has everything that its sources missed, or got `resync_required`; and nothing
    /// twice.
    pub(super) fn check_restored(&self, socket: &Socket) {
        for name in socket.listens.iter().filter(|name| !socket.odd.contains(*name)) {
            let (Some(base), Some(acked)) = (socket.base.get(name), self.acked.get(name)) else { continue };
            if socket.inbox.iter().any(|frame| resync(frame) == Some(name)) {
                continue;
            }
            let got = socket.events_of(name, Micros(i64::MAX));
            if socket.whole_at.is_some() {
                let missing: Vec<u64> = (base + 1..=*acked).filter(|seq| !got.contains(seq)).collect();
                assert!(missing.is_empty(), "Q10: socket {} missed {missing:?} after {base}", socket.id);
            }
            let [source] = socket.sources.as_slice() else { continue };
            if source.hung_up && !source.is_restored {
                let twice: Vec<&u64> = got.iter().filter(|seq| **seq <= *base).collect();
                assert!(twice.is_empty(), "Q10c: {twice:?} came before the client closed its socket");
            }
        }
    }

    // At rest.

    /// Everything that is under way ends well.
    pub(super) fn finish(&mut self) -> Result<(), Died> {
        for _ in 0..4_000 {
            let unsettled = self.with(|gateway, _| gateway.is_unsettled())?.0;
            if !self.jobs.is_empty() {
                self.work(0)?;
            } else if !self.looking.is_empty() {
                self.look(0, false)?;
            } else if !self.replays.is_empty() {
                self.page(0, false)?;
            } else if unsettled || self.tasks.round.is_some() || !self.tasks.choices.is_empty() {
                self.settle(Call::Done)?;
            } else if !self.tasks.moves.is_empty() || !self.tasks.waiting.is_empty() {
                self.walk(0, Call::Done)?;
            } else if self.tasks.restores.iter().any(|task| task.due <= self.now) {
                self.restore(0, false)?;
            } else {
                return self.publish();
            }
            self.jobs.retain(|(id, _)| self.sockets.borrow().contains_key(id));
        }
        panic!("what is to be done never ends");
    }

    pub(super) fn rest(&mut self) -> Result<(), Died> {
        self.dies_after = None;
        self.finish()?;
        self.check();
        for (did, (id, place, is_sure)) in self.outside.joined.clone() {
            if is_sure && self.sockets.borrow().contains_key(&id) {
                assert_eq!(self.listed(&did), Some(place), "V07: {did} joined, and nothing ended that");
                self.saw("in voice");
            }
        }
        // The last takeover by mere opening is over, and everybody is found who is dead.
        for _ in 0..57 {
            self.pass(5 * SECOND)?;
            self.finish()?;
            self.check();
        }
        for name in PEOPLE {
            let did = did(name);
            let open: BTreeSet<i64> = {
                let sockets = self.sockets.borrow();
                sockets.iter().filter(|(_, one)| one.did.as_ref() == Some(&did)).map(|(id, _)| *id).collect()
            };
            self.check_presence(&did, !open.is_empty());
            let place = self.with(|gateway, _| {
                gateway.present(&did).and_then(|present| present.person.voice.place().cloned())
            })?;
            if self.listed(&did).is_some() {
                assert_eq!(self.listed(&did), place.0, "V10, V11: the gateway knows where {name} is");
                let holder = self.outside.joined.get(&did).map(|(id, ..)| *id);
                assert!(
                    holder.is_some_and(|id| open.contains(&id)),
                    "V07, V08: nobody holds {name} in voice"
                );
            }
        }
        Ok(())
    }

    fn check_presence(&mut self, did: &Did, is_open: bool) {
        let preferred = self.outside.preferred.get(did).copied().unwrap_or(State::Online);
        let current =
            self.outside.stored.get(did).and_then(|stored| stored.current).unwrap_or(State::Offline);
        let expected = match (is_open, preferred) {
            (true, State::Online) => [State::Online, State::Away],
            (true, chosen) => [chosen, chosen],
            (false, chosen) if self.outside.pinned.contains(did) => [chosen, chosen],
            (false, _) => [State::Offline, State::Offline],
        };
        let is_unsure = is_open && self.outside.unsure.contains(did);
        assert!(is_unsure || expected.contains(&current), "P04, P10: {did} is {current:?}, not {expected:?}");
        let published = self.outside.published.get(did).copied().unwrap_or(State::Offline);
        assert_eq!(published, current, "E15: others know what is stored of {did}");
    }
}

/// Runs a statement in the object's database, which is awake.
fn run_on(world: &mut World, statement: &colibri_edge::storage::Statement) -> Result<Vec<String>, Died> {
    world.with(|_, _| ())?;
    Ok(run(&world.db, statement).unwrap())
}
