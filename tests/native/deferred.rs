//! Random histories in which repositories run out of points (K17). Wherever a repository is deferred,
//! however the stream is cut and repeated, and whenever the service dies, the index ends as it does without
//! limits, and the messages of everybody else are in it at once. One exception are messages that a reading overtook: if
//! it was the owner's, the message is older than the moment when the service learned of its author's approval; if it
//! was the author's, it came before the approval. The gate refuses it (G7), and another reading of its author's
//! repository, which is due then, brings it (K05).

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use colibri_edge::domain::points::{Limits, Points};
use colibri_edge::pipeline::reconcile::reconcile;
use colibri_edge::pipeline::{Batch, walk};
use colibri_edge::storage::repos::{self, Due, Succeeded};
use colibri_edge::wire::time::Micros;
use futures::executor::block_on;
use proptest::prelude::*;
use serde_json::Value;

use super::histories::config;
use super::reconciling::{Act, Life, Steady, acts, dice, did, snapshot_of, visible};
use super::sqlite::Break;
use super::story::{START, Service, frame};

const SECOND: i64 = 1_000_000;
/// Who owns the communities of these histories.
const OWNER: &str = "did:plc:alice";
const BREAKS: [Break; 4] = [Break::CommitLost, Break::CommitStored, Break::Conflict, Break::Read];

/// The frames at times that lie further apart, so that points come back in between: often a second, now and
/// then a quarter of an hour.
fn spread(frames: &[String], dice: &mut impl FnMut(usize) -> usize) -> Vec<(i64, String)> {
    let mut at = START;
    frames
        .iter()
        .map(|frame| {
            at += SECOND * if dice(6) == 0 { 900 } else { 1 };
            let mut frame: Value = serde_json::from_str(frame).unwrap();
            frame["time_us"] = at.into();
            (at, frame.to_string())
        })
        .collect()
}

/// Whose frame it is.
fn author(frame: &str) -> String {
    let frame: Value = serde_json::from_str(frame).unwrap();
    frame["did"].as_str().unwrap().to_owned()
}

/// A service with limits, beside one without any that sees each frame once.
struct Run<D> {
    frames: Vec<(i64, String)>,
    service: Service,
    plain: Service,
    limits: Limits,
    dice: D,
    now: i64,
    /// How many frames are stored, and how many the plain service has seen.
    stored: usize,
    seen: usize,
    /// How many frames may be stored beyond those: a batch may be stored although its answer was lost.
    ahead: usize,
    /// Everybody who was ever deferred.
    deferred: BTreeSet<String>,
    /// Up to which frame the repository of each was read: what the stream brings is older.
    read: BTreeMap<String, usize>,
    /// Whose frames came while the stream was behind their repository or that of the owner, as long as they are due.
    overtaken: BTreeSet<String>,
    left_out: u64,
    deaths: u32,
}

impl<D: FnMut(usize) -> usize> Run<D> {
    fn new(frames: &[String], limits: Limits, mut dice: D) -> Self {
        let frames = spread(frames, &mut dice);
        let mut service = Service::new();
        service.points = Points::new(limits);
        let (plain, deferred) = (Service::new(), BTreeSet::new());
        Self {
            frames,
            service,
            plain,
            limits,
            dice,
            now: START,
            stored: 0,
            seen: 0,
            ahead: 0,
            deferred,
            read: BTreeMap::new(),
            overtaken: BTreeSet::new(),
            left_out: 0,
            deaths: 0,
        }
    }

    fn texts(&self, range: std::ops::Range<usize>) -> Vec<String> {
        self.frames[range].iter().map(|(_, text)| text.clone()).collect()
    }

    /// The service loses its memory: the points, and the batch that it was at.
    fn die(&mut self) {
        self.left_out += self.service.points.left_out();
        self.service.points = Points::new(self.limits);
        self.service.known.forget();
        self.service.store.unbreak();
        self.deaths += 1;
    }

    /// The stream goes on by a few frames, after a death or now and then from some frames back.
    fn deliver(&mut self) {
        let back = if (self.dice)(5) == 0 { (self.dice)(6) } else { 0 };
        let from = self.stored.saturating_sub(back);
        let to = (self.stored + 1 + (self.dice)(7)).min(self.frames.len());
        if to == 0 || from == to {
            return;
        }
        self.now = self.now.max(self.frames[to - 1].0 + SECOND);
        let (now, settings) = (Micros(self.now), self.service.settings());
        let mut batch = Batch::default();
        for text in self.texts(from..to) {
            batch.take(&text, "test", now, &mut self.service.points);
        }
        if (self.dice)(6) == 0 {
            self.service.store.break_next(BREAKS[(self.dice)(BREAKS.len())]);
        }
        loop {
            let Service { store, known, .. } = &mut self.service;
            match block_on(walk(store, &batch, &[], &settings, None, known, now)) {
                Ok(committed) => {
                    let announced = committed.outbox.into_iter().flat_map(|(_, announcements)| announcements);
                    self.service.announced.extend(announced);
                    break;
                }
                Err(_) if (self.dice)(3) == 0 => {
                    self.ahead = self.ahead.max(to);
                    return self.die();
                }
                Err(_) => {}
            }
        }
        self.service.store.unbreak(); // what did not strike must not strike elsewhere
        self.stored = self.stored.max(to);
        let read = |did: &str| self.read.get(did).copied().unwrap_or_default();
        let brought = (from..to).map(|n| (n, author(&self.frames[n].1)));
        let overtaken = brought.filter(|(n, did)| *n < read(OWNER).max(read(did))).map(|(_, did)| did);
        self.overtaken.extend(overtaken.collect::<Vec<_>>());
        let now_deferred = self.service.store.look("SELECT did FROM repos WHERE deferred_until IS NOT NULL");
        self.deferred.extend(now_deferred);
        self.nobody_else_waits();
    }

    /// Everybody who was never deferred has all their messages in the index, and no others unless their
    /// repository was read, or is due after a reading overtook them. Nothing is compared while the
    /// owner, on whom all depend, was deferred or read, nor while the service may know more of the stream than
    /// it says.
    fn nobody_else_waits(&mut self) {
        for n in self.seen..self.stored {
            let text = self.texts(n..n + 1);
            self.plain.batch(&text);
        }
        self.seen = self.stored;
        let due = self.service.store.look("SELECT did FROM repos WHERE next_attempt_at IS NOT NULL");
        self.overtaken.retain(|did| due.contains(did));
        if self.stored < self.ahead {
            return;
        }
        let is_beside = |did: &str| {
            self.deferred.contains(did)
                || self.overtaken.contains(did)
                || self.read.get(did).is_some_and(|frame| *frame > self.stored)
        };
        if is_beside(OWNER) {
            return;
        }
        let messages = |service: &Service| {
            let rows =
                service.store.look("SELECT author_did, uri, channel_uri, text FROM messages ORDER BY uri");
            let others = |row: &String| !is_beside(row.split('|').next().unwrap_or_default());
            rows.into_iter().filter(others).collect::<Vec<_>>()
        };
        assert_eq!(messages(&self.service), messages(&self.plain), "deferred are {:?}", self.deferred);
    }

    fn due(&self) -> Vec<Due> {
        block_on(repos::due(&self.service.store, None, Micros(self.now), 100)).unwrap()
    }

    /// Reads one of the repositories that are due, as it is at this time, while the stream may go on.
    fn read(&mut self) {
        let due = self.due();
        if due.is_empty() {
            return;
        }
        let one = &due[(self.dice)(due.len())];
        let who = one.did.as_str().replace("did:plc:", "");
        let since = Micros::parse(&one.due_since).unwrap_or_default();
        let written = self.frames.iter().filter(|(at, _)| *at <= self.now).count();
        let frames = written.max(self.stored);
        let snapshot = snapshot_of(&who, &self.texts(0..frames));
        let read = self.read.entry(one.did.to_string()).or_default();
        *read = frames.max(*read);
        let began = Micros(self.now);
        if (self.dice)(2) == 0 {
            self.deliver();
        }
        self.now += 10 * SECOND;
        let before = self.service.store.look("SELECT version FROM ledger").remove(0);
        if (self.dice)(6) == 0 {
            self.service.store.break_next(BREAKS[(self.dice)(BREAKS.len())]);
        }
        let pace = Steady(Cell::new(self.now));
        let (store, settings) = (&self.service.store, self.service.settings());
        let done = block_on(reconcile(store, &did(&who), &snapshot, since, &settings, &pace));
        self.service.store.unbreak();
        self.service.announced.extend(self.service.outbox_after(&before));
        self.now = pace.0.get() + SECOND;
        let Ok(done) = done else { return };
        let look = Succeeded {
            did: &did(&who),
            rev: Some(&snapshot.rev),
            status: "synced",
            began,
            refused: Some(done.refused),
            signed_by: None,
        };
        self.service.run(repos::succeeded(&look, Micros(self.now)));
        if done.changed_gate {
            self.service.run(repos::ask_the_gate_again(&did(&who), since, Micros(self.now)));
        }
    }

    /// Lives through everything, until the stream is at its end and nothing is due any more.
    fn live_to_the_end(&mut self) {
        for _ in 0..4_000 {
            if self.stored < self.frames.len() {
                match (self.dice)(16) {
                    0 => self.die(),
                    1..5 => self.read(),
                    _ => self.deliver(),
                }
                continue;
            }
            let next = "SELECT min(next_attempt_at) FROM repos WHERE next_attempt_at IS NOT NULL";
            let next = self.service.store.look(next).into_iter().next().and_then(|at| Micros::parse(&at));
            let Some(next) = next else { return };
            self.now = self.now.max(next.0);
            self.read();
        }
        panic!("there is no end to it: {:?}", self.service.store.look("SELECT * FROM repos"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 400, ..config(48) })]

    #[test]
    fn k17_histories_of_floods_lose_nothing_and_delay_nobody_else(
        before in acts(30),
        who in 0..3usize,
        flood in 15..40usize,
        after in acts(40),
        hour in 9..40i64,
        day in prop_oneof![Just(0i64), 60..200i64],
        seed in any::<u64>(),
    ) {
        let mut life = Life::begin();
        life.live(&before);
        life.live(&vec![Act::Say(who, 0, None); flood]);
        life.live(&after);
        let mut run = Run::new(&life.story.frames, Limits { hour, day }, dice(seed));
        run.live_to_the_end();
        run.left_out += run.service.points.left_out();
        prop_assume!(run.left_out > 0 || run.deaths > 0); // the others show nothing

        let (ours, theirs) = (visible(&run.service), visible(&run.plain));
        let only = |one: &[String], other: &[String]| one.iter().filter(|row| !other.contains(row)).cloned().collect::<Vec<_>>();
        prop_assert_eq!(only(&ours, &theirs), only(&theirs, &ours), "{:#?}", run.frames);
        prop_assert_eq!(run.service.store.look("SELECT did FROM repos WHERE deferred_until IS NOT NULL"), Vec::<String>::new());

        // A second reading of everything changes and publishes nothing.
        let (index, count) = (run.service.store.index(), run.service.announced.len());
        let frames = run.texts(0..run.frames.len());
        for who in &life.people {
            run.service.reconcile(who, &snapshot_of(who, &frames));
        }
        prop_assert_eq!(run.service.store.index(), index);
        prop_assert_eq!(run.service.announced.len(), count);
        let shown: Vec<String> = run.service.announced.iter().map(|one| frame(one).to_string())
            .filter(|event| event.contains("\"message\"") && !event.contains("\"edited\":true")).collect();
        let mut once = shown.clone();
        once.sort();
        once.dedup();
        prop_assert_eq!(once.len(), shown.len(), "no message is published twice as new");
    }
}
