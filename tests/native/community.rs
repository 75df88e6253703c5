//! A community without a runtime: its state machine, its real SQL, gateways that listen, fail and come back, people
//! who join and leave voice, and commits that end something there. Between two steps the object may lose its memory.

mod rules;

use std::collections::{BTreeMap, BTreeSet};

use super::histories::config;
use super::sqlite::run;
use colibri_edge::domain::announcement::{Announcement, Audience, Scope, Topic};
use colibri_edge::domain::community::{Community, Effect, Settings};
use colibri_edge::domain::pending::OutboxEvents;
use colibri_edge::storage::{community, community_log};
use colibri_edge::wire::events::march;
use colibri_edge::wire::ids::{AtUri, Did};
use colibri_edge::wire::time::Micros;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use rusqlite::Connection;
use serde_json::json;
use serde_json::value::RawValue;

const GATEWAYS: [&str; 3] = ["gateway-0", "gateway-1", "gateway-2"];

fn uri() -> AtUri {
    AtUri::parse("at://did:plc:o/social.colibri.community/c").unwrap()
}

fn channel(n: usize) -> AtUri {
    AtUri::parse(&format!("at://did:plc:o/social.colibri.channel/{}", ["v", "w"][n % 2])).unwrap()
}

fn person(n: usize) -> Did {
    Did::parse(&format!("did:plc:{}", ["a", "b", "c"][n % 3])).unwrap()
}

fn settings() -> Settings {
    let home_of = |did: &Did, _| GATEWAYS[usize::from(did.as_str().ends_with('a'))].to_owned();
    Settings { shards: 3, home_of, log_max: i64::MAX }
}

/// A gateway, as the community sees it from outside.
#[derive(Default)]
struct Gateway {
    listens: bool,
    /// The `seq` of each event that arrived, and those that arrived again.
    got: Vec<u64>,
    /// It listens to everything after this.
    from: u64,
}

struct World {
    db: Connection,
    core: Option<Community>,
    gateways: BTreeMap<&'static str, Gateway>,
    /// Tasks that deliver.
    delivering: Vec<String>,
    /// The rows of the outbox, and the events that were numbered because of them.
    rows: i64,
    announced: Vec<String>,
    /// What observers received.
    published: Vec<u64>,
    seen: BTreeMap<&'static str, u32>,
}

#[derive(Clone, Debug)]
enum Step {
    /// A commit with so many messages, and what it ends; or the last one again.
    Commit(usize, Option<usize>),
    Again,
    Private(usize),
    Attach(usize),
    Deliver,
    /// A call of a delivery: it fails, its answer is lost, or it is done.
    Call(usize, u8),
    Deaf(usize),
    Join(usize, usize, usize, bool),
    Leave(usize, usize),
    Evict,
}

fn step() -> impl Strategy<Value = Step> {
    let n = 0..3usize;
    prop_oneof![
        5 => (0..4usize, prop::option::weighted(0.3, 0..6usize)).prop_map(|(count, ends)| Step::Commit(count, ends)),
        1 => Just(Step::Again),
        1 => n.clone().prop_map(Step::Private),
        3 => n.clone().prop_map(Step::Attach),
        5 => Just(Step::Deliver),
        8 => (n.clone(), 0..6u8).prop_map(|(n, how)| Step::Call(n, how)),
        1 => n.clone().prop_map(Step::Deaf),
        6 => (n.clone(), 0..2usize, n.clone(), prop::bool::weighted(0.2))
            .prop_map(|(who, at, by, stale)| Step::Join(who, at, by, stale)),
        3 => (n.clone(), n).prop_map(|(who, by)| Step::Leave(who, by)),
        2 => Just(Step::Evict),
    ]
}

fn announcement(topic: Topic, audience: Audience, text: &str) -> Announcement {
    let event = RawValue::from_string(json!({ "type": "x", "text": text }).to_string()).unwrap();
    Announcement { scope: Scope::Community(uri()), audience, topic, live: true, event }
}

impl World {
    fn new() -> Self {
        let db = Connection::open_in_memory().unwrap();
        community::prepare(&|statement| run(&db, statement)).unwrap();
        Self {
            db,
            core: None,
            gateways: GATEWAYS.into_iter().map(|name| (name, Gateway::default())).collect(),
            delivering: Vec::new(),
            rows: 0,
            announced: Vec::new(),
            published: Vec::new(),
            seen: BTreeMap::new(),
        }
    }

    fn saw(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    fn with<T>(&mut self, act: impl FnOnce(&mut Community) -> T) -> T {
        let load = || community::load(&|statement| run(&self.db, statement)).unwrap();
        let mut core = self.core.take().unwrap_or_else(|| Community::wake(settings(), load()));
        let done = act(&mut core);
        for effect in core.take_effects() {
            match effect {
                Effect::Keep(keep) => community::statements(&keep, Micros(0))
                    .iter()
                    .for_each(|statement| drop(run(&self.db, statement).unwrap())),
                Effect::Publish(first, events) => {
                    self.published.extend((first..).take(events.len()));
                }
                Effect::EndObservers => panic!("nobody sets it here"),
                Effect::Forget => panic!("the log holds all"),
            }
        }
        self.core = Some(core);
        done
    }

    /// A commit reaches the community; one that did before changes nothing.
    fn announce(&mut self, events: Vec<Announcement>) {
        self.rows += 1;
        self.announced.extend(events.iter().map(|event| event.event.get().to_owned()));
        let rows = vec![OutboxEvents { id: self.rows, events }];
        self.with(|core| core.announced(&uri(), rows)).unwrap();
    }

    fn commit(&mut self, count: usize, ends: Option<usize>) {
        let row = self.rows + 1;
        let text = |n: usize| format!("{row}.{n}");
        let message = |n| announcement(Topic::Other, Audience::Community, &text(n));
        let mut events: Vec<Announcement> = (0..count).map(message).collect();
        let topic = ends.map(|what| match what {
            0..3 => Topic::MemberOut(person(what)),
            3..5 => Topic::ChannelGone(channel(what)),
            _ => Topic::CommunityGone,
        });
        events.extend(topic.map(|topic| announcement(topic, Audience::Community, &text(count))));
        self.announce(events);
        if let Some(what @ 0..3) = ends {
            // N162: their gateway receives that event, listening or not.
            let home = (settings().home_of)(&person(what), 3);
            let seq = self.with(|core| core.counters()).seq;
            self.receives_from(&home, seq - 1);
        }
    }

    /// A gateway receives what comes after `seq`, unless it listens already.
    fn receives_from(&mut self, name: &str, seq: u64) {
        let gateway = self.gateways.get_mut(name).unwrap();
        if !gateway.listens {
            gateway.from = gateway.from.max(seq);
            gateway.listens = true;
        }
    }

    fn attach(&mut self, n: usize) {
        let name = GATEWAYS[n];
        let seq = self.with(|core| core.attach(name));
        let gateway = self.gateways.get_mut(name).unwrap();
        if !gateway.listens && gateway.got.last().is_none_or(|last| *last < seq) {
            gateway.from = seq;
        }
        gateway.listens = true;
    }

    /// One call of a delivery that is under way.
    fn call(&mut self, n: usize, how: u8) {
        if self.delivering.is_empty() {
            return;
        }
        let name = self.delivering.remove(n % self.delivering.len());
        let Some(delivery) = self.with(|core| core.next_delivery(&name)) else { return };
        let texts = run(&self.db, &community_log::after(delivery.after(), delivery.limit().min(2))).unwrap();
        let events = community_log::events(&texts, &mut Vec::new()).unwrap();
        let more = events.len() == 2;
        let through = delivery.through(events.last().map(|event| event.seq), more);
        let gateway = self.gateways.get_mut(name.as_str()).unwrap();
        if how == 0 {
            self.saw("failed");
            return self.with(|core| core.not_delivered(&name));
        }
        for event in &events {
            let last = gateway.got.last().copied().unwrap_or(0).max(gateway.from);
            if event.seq > last {
                assert_eq!(event.seq, last + 1, "A39: {name} misses none");
                gateway.got.push(event.seq);
            }
        }
        let listening = gateway.listens;
        if how == 1 {
            self.saw("answer lost");
            return self.with(|core| core.not_delivered(&name));
        }
        self.with(|core| core.delivered(&delivery, through, listening));
        self.delivering.push(name);
        self.saw("delivered");
    }

    fn start(&mut self) {
        let due = self.with(Community::take_due);
        let busy: BTreeSet<&String> = self.delivering.iter().collect();
        assert!(!due.iter().any(|name| busy.contains(name)), "one call at a time each");
        self.delivering.extend(due);
    }

    /// What is in the log.
    fn log(&self) -> Vec<(u64, serde_json::Value)> {
        let texts = run(&self.db, &community_log::after(0, 100_000)).unwrap();
        let events = community_log::events(&texts, &mut Vec::new()).unwrap();
        let read = |text: &str| serde_json::from_str(text).unwrap();
        let shown = |event: &RawValue| march(event.get()).map_or(serde_json::Value::Null, read);
        events.iter().map(|one| (one.seq, shown(&one.event))).collect()
    }

    fn check(&mut self) {
        let log = self.log();
        let seqs: Vec<u64> = log.iter().map(|(seq, _)| *seq).collect();
        let counters = self.with(|core| core.counters());
        assert_eq!(seqs, (1..=counters.seq).collect::<Vec<u64>>(), "T14: each number once, none left out");
        assert_eq!(self.published, seqs, "observers receive everything, in order");
        let commits = log.iter().filter(|(_, event)| event["type"] == "x");
        let commits: Vec<String> = commits.map(|(_, event)| event.to_string()).collect();
        let announced: Vec<String> = self
            .announced
            .iter()
            .map(|text| serde_json::from_str::<serde_json::Value>(text).unwrap().to_string())
            .collect();
        assert_eq!(commits, announced, "T14: every event once, in order");
        let mut lists: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (seq, event) in log.iter().filter(|(_, event)| event["type"] == "voice_channel_updated") {
            let members: Vec<String> = serde_json::from_value(event["member_dids"].clone()).unwrap();
            lists.insert(event["channel_rkey"].as_str().unwrap().to_owned(), members);
            let everybody: Vec<&String> = lists.values().flatten().collect();
            let distinct: BTreeSet<&&String> = everybody.iter().collect();
            assert_eq!(distinct.len(), everybody.len(), "V03: out of the old channel first, at {seq}");
        }
        lists.retain(|_, members| !members.is_empty());
        let voices = self.with(|core| core.voices());
        let voices: BTreeMap<String, Vec<String>> = voices
            .into_iter()
            .map(|(channel, dids)| {
                (channel.rkey().as_str().to_owned(), dids.iter().map(ToString::to_string).collect())
            })
            .collect();
        assert_eq!(voices, lists, "V10: the list is what the last E14 says");
        let stored = community::load(&|statement| run(&self.db, statement)).unwrap();
        assert_eq!(stored.counters, counters, "what is kept is what the memory knows");
        let again = Community::wake(settings(), stored);
        assert_eq!(again.voices(), self.with(|core| core.voices()), "also of voice");
        let listeners = |core: &Community| core.listeners();
        assert_eq!(listeners(&again), self.with(|core| core.listeners()), "and of who listens");
    }

    fn act(&mut self, step: &Step) {
        match step {
            Step::Commit(count, ends) => self.commit(*count, *ends),
            Step::Again => {
                let rows = vec![OutboxEvents {
                    id: self.rows,
                    events: vec![announcement(Topic::CommunityGone, Audience::Community, "again")],
                }];
                if self.rows > 0 {
                    self.with(|core| core.announced(&uri(), rows)).unwrap();
                }
            }
            Step::Private(n) => {
                let did = person(*n);
                let name = settings().home_of;
                let name = name(&did, 3);
                let before = self.with(|core| core.counters()).seq;
                let text = format!("{}.private", self.rows + 1);
                self.announce(vec![announcement(Topic::Other, Audience::Private(did), &text)]);
                // E06b: the person concerned receives it, subscribed or not.
                self.receives_from(&name, before);
            }
            Step::Attach(n) => self.attach(*n),
            Step::Deliver => self.start(),
            Step::Call(n, how) => self.call(*n, *how),
            Step::Deaf(n) => {
                self.gateways.get_mut(GATEWAYS[*n]).unwrap().listens = false;
                self.saw("deaf");
            }
            Step::Join(who, at, by, stale) => {
                let announced = self.with(|core| core.counters()).announced;
                let version = announced - i64::from(*stale);
                let (did, channel) = (person(*who), channel(*at));
                let is_in = self
                    .with(|core| core.join_voice(&uri(), &did, &channel, GATEWAYS[*by], version))
                    .unwrap();
                assert_eq!(
                    is_in, !stale,
                    "V02: a right that was read before the last event counts for nothing"
                );
                if is_in {
                    let voices = self.with(|core| core.voices());
                    assert!(voices.iter().any(|(of, dids)| *of == channel && dids.contains(&did)), "V03");
                    self.saw("joined");
                }
            }
            Step::Leave(who, by) => {
                let did = person(*who);
                let before = self.with(|core| core.voices());
                let joined_by: Vec<(Did, AtUri, String)> =
                    community::load(&|statement| run(&self.db, statement)).unwrap().in_voice;
                self.with(|core| core.leave_voice(&uri(), &did, GATEWAYS[*by])).unwrap();
                let after = self.with(|core| core.voices());
                let is_theirs =
                    joined_by.iter().any(|(of, _, gateway)| *of == did && gateway == GATEWAYS[*by]);
                assert_eq!(
                    before != after,
                    is_theirs,
                    "V05: a gateway takes out whom it joined, and nobody else"
                );
                if is_theirs {
                    self.saw("left");
                }
            }
            Step::Evict => {
                (self.core, self.delivering) = (None, Vec::new());
                self.saw("eviction");
            }
        }
    }

    /// Every gateway that listens gets everything.
    fn rest(&mut self) {
        for _ in 0..10_000 {
            if self.delivering.is_empty() {
                self.start();
            }
            if self.delivering.is_empty() {
                break;
            }
            self.call(0, 2);
        }
        let seq = self.with(|core| core.counters()).seq;
        for (name, gateway) in self.gateways.iter().filter(|(_, gateway)| gateway.listens) {
            let last = gateway.got.last().copied().unwrap_or(0).max(gateway.from);
            assert_eq!(last, seq, "A39: {name} has everything");
        }
    }
}

fn live(steps: &[Step]) -> World {
    let mut world = World::new();
    for step in steps {
        world.act(step);
        world.check();
    }
    world.rest();
    world.check();
    world
}

proptest! {
    #![proptest_config(config(96))]

    #[test]
    fn whatever_happens_every_event_has_one_number_and_lists_are_what_was_said(
        steps in prop::collection::vec(step(), 1..100),
    ) {
        live(&steps);
    }
}

/// The histories above are worth something only if what they are about happens in them.
#[test]
fn random_communities_meet_what_they_are_about() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
    for _ in 0..30 {
        let steps = prop::collection::vec(step(), 60..100).new_tree(&mut runner).unwrap().current();
        for (what, times) in live(&steps).seen {
            *seen.entry(what).or_default() += times;
        }
    }
    for what in ["delivered", "failed", "answer lost", "deaf", "joined", "left", "eviction"] {
        assert!(seen.contains_key(what), "no {what} in thirty histories: {seen:?}");
    }
}
