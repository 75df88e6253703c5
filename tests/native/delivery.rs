//! Delivery despite faults and crashes: whatever fails between the commit and the communities'
//! logs, each event gets one number in one log, in order (J03, T14, invariants 1 and 6).
//!
//! Everything here is the service's own code: the pipeline, the outbox, `pipeline::delivery`, and
//! the statements of a community's log on a database of its own. Only the calls between them are
//! plain functions.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use colibri_edge::domain::announcement::Scope;
use colibri_edge::domain::community::{Community, Effect, Settings};
use colibri_edge::domain::moderation::Decision;
use colibri_edge::domain::pending::OutboxEvents;
use colibri_edge::pipeline::delivery::{Audience, Deliveries};
use colibri_edge::storage::{Fault, Statement};
use colibri_edge::storage::{bound_rooms, community, community_log, community_voice};
use colibri_edge::wire::ids::AtUri;
use colibri_edge::wire::time::Micros;
use futures::executor::block_on;
use proptest::prelude::*;
use rusqlite::{Connection, params_from_iter};

use super::histories::{Moment, config, moments, steps};
use super::sqlite::{Break, Sqlite};
use super::story::{START, Service, Story, by_operator, message};

/// Where a delivery to a community fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    /// The call does not arrive.
    CallLost,
    /// The community stores everything, and the answer is lost.
    ReplyLost,
    /// The community's database fails half-way, and what was written stays.
    HalfWay,
}

/// The objects of the communities, and the receivers of events about people.
#[derive(Default)]
struct Receivers {
    logs: RefCell<BTreeMap<String, Connection>>,
    /// The delivered rows with events about people.
    people: RefCell<Vec<i64>>,
    loses: Cell<Option<Loss>>,
    struck: Cell<u32>,
    /// A community whose object fails at any event that contains this text.
    poison: Cell<Option<(&'static str, &'static str)>>,
}

impl Receivers {
    fn strikes(&self, at: Loss) -> bool {
        let strikes = self.loses.get() == Some(at);
        if strikes {
            self.loses.set(None);
            self.struck.set(self.struck.get() + 1);
        }
        strikes
    }

    /// What a community does with a delivery (`durable/community/log.rs`).
    fn take(&self, name: &str, rows: &[OutboxEvents]) -> Result<i64, Fault> {
        if let Some((who, what)) = self.poison.get()
            && name.contains(who)
            && rows.iter().flat_map(|row| &row.events).any(|event| event.event.get().contains(what))
        {
            return Err(Fault::new("announce", "it ends without a word"));
        }
        let mut logs = self.logs.borrow_mut();
        let db = logs.entry(name.to_owned()).or_insert_with(|| {
            let db = Connection::open_in_memory().unwrap();
            let tables = [community_log::SCHEMA, community_voice::SCHEMA, bound_rooms::SCHEMA];
            tables.into_iter().flatten().for_each(|sql| db.execute_batch(sql).unwrap());
            db
        });
        let load = |statement: &Statement| -> Result<Vec<String>, Fault> {
            let mut prepared = db.prepare(statement.sql).unwrap();
            let rows =
                prepared.query_map(params_from_iter(Sqlite::bind(&statement.params)), |row| row.get("row"));
            Ok(rows.unwrap().map(Result::unwrap).collect())
        };
        let settings = Settings { shards: 1, home_of: |_, _| "gateway-0".into(), log_max: i64::MAX };
        let mut core = Community::wake(settings, community::load(&load).unwrap());
        core.announced(&AtUri::parse(name).unwrap(), rows.to_vec()).unwrap();
        let effects = core.take_effects();
        let keeps = effects.iter().filter_map(|effect| match effect {
            Effect::Keep(keep) => Some(community::statements(keep, Micros(START))),
            Effect::Publish(..) | Effect::EndObservers | Effect::Forget => None,
        });
        let statements: Vec<Statement> = keeps.flatten().collect();
        let run = |statements: &[Statement]| {
            for statement in statements {
                db.execute(statement.sql, params_from_iter(Sqlite::bind(&statement.params))).unwrap();
            }
        };
        if statements.len() > 2 && self.strikes(Loss::HalfWay) {
            run(&statements[..statements.len() / 2]);
            return Err(Fault::new("announce", "the disk is full"));
        }
        run(&statements);
        let stored = community::counters(&load).unwrap();
        assert_eq!(stored, core.counters(), "what is kept in memory is the database");
        Ok(stored.announced)
    }

    /// Every community's log: `seq`, and the event.
    fn transcript(&self) -> Vec<String> {
        let logs = self.logs.borrow();
        let read = |(community, db): (&String, &Connection)| {
            let mut events = db.prepare("SELECT seq, event FROM log ORDER BY seq").unwrap();
            let rows = events.query_map([], |row| {
                let (seq, event): (i64, String) = (row.get(0)?, row.get(1)?);
                // Nested too deeply for a value, it is compared as text.
                let mut event = serde_json::from_str(&event).unwrap_or(serde_json::Value::String(event));
                // Its receive time depends on when the fault ended.
                for object in ["", "/message"] {
                    if let Some(fields) = event.pointer_mut(object).and_then(serde_json::Value::as_object_mut)
                    {
                        fields.remove("indexed_at");
                    }
                }
                Ok(format!("{community} {seq} {event}"))
            });
            rows.unwrap().map(Result::unwrap).collect::<Vec<_>>()
        };
        logs.iter().flat_map(read).collect()
    }
}

impl Audience for Receivers {
    async fn deliver(&self, scope: &Scope, rows: &[OutboxEvents]) -> Result<i64, Fault> {
        if self.strikes(Loss::CallLost) {
            return Err(Fault::new("announce", "nobody answers"));
        }
        let through = match scope {
            Scope::Community(community) => self.take(community.as_str(), rows)?,
            Scope::People => {
                let mut had = self.people.borrow_mut();
                let last = had.last().copied().unwrap_or(0);
                had.extend(rows.iter().map(|row| row.id).filter(|id| *id > last));
                rows.last().unwrap().id
            }
        };
        if self.strikes(Loss::ReplyLost) {
            return Err(Fault::new("announce", "the answer was lost"));
        }
        Ok(through)
    }
}

/// Runs the batch loop (`durable/jetstream/batches.rs`): commit, take, catch up, deliver, forget,
/// and again after a fault. `crash` loses all memory at that step of that frame.
struct Reader {
    service: Service,
    receivers: Receivers,
    deliveries: Deliveries,
    now: i64,
    set_aside: usize,
}

/// The last step of the reader before it dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Crash {
    Committed,
    Taken,
    Delivered,
    Forgotten,
}

impl Reader {
    fn new() -> Self {
        Self {
            service: Service::new(),
            receivers: Receivers::default(),
            deliveries: Deliveries::default(),
            now: START,
            set_aside: 0,
        }
    }

    fn commit(&mut self, frame: &String, crash: Option<Crash>) {
        self.commit_with(std::slice::from_ref(frame), &[], crash);
    }

    fn commit_with(&mut self, frames: &[String], decisions: &[Decision], crash: Option<Crash>) {
        let committed = loop {
            if let Ok(committed) = self.service.try_batch_with(frames, decisions) {
                break committed;
            }
        };
        if crash == Some(Crash::Committed) {
            return self.die();
        }
        self.deliveries.take(committed);
        if crash == Some(Crash::Taken) {
            return self.die();
        }
        self.pass(crash);
    }

    /// One pass of delivery, with the reader's retries of the database.
    fn pass(&mut self, crash: Option<Crash>) {
        while block_on(self.deliveries.catch_up(&self.service.store)).is_err() {}
        self.now += 60_000_000; // pauses after failures are over
        let outcome = block_on(self.deliveries.deliver(&self.receivers, Micros(self.now)));
        self.set_aside += outcome.set_aside.iter().map(|(_, events)| events).sum::<usize>();
        if crash == Some(Crash::Delivered) {
            return self.die();
        }
        while block_on(self.deliveries.forget(&self.service.store)).is_err() {}
        if crash == Some(Crash::Forgotten) {
            self.die();
        }
    }

    fn die(&mut self) {
        self.deliveries = Deliveries::default();
    }

    /// Repeats passes until everything is delivered.
    fn settle(&mut self) {
        for _ in 0..5 {
            self.pass(None);
        }
        assert_eq!(self.deliveries.waiting(), 0);
        assert_eq!(
            self.service.store.look("SELECT count(*) FROM outbox"),
            ["0"],
            "all delivered is all forgotten"
        );
    }
}

/// Two communities, members, messages, an edit, a deletion, a person with a status.
fn story() -> Story {
    let mut story = Story::default();
    story.community("alice", false).community("zoe", false).join("bob", "alice").join("carol", "zoe");
    story.create(
        "carol",
        "message/9",
        super::story::message_in("at://did:plc:zoe/social.colibri.channel/k", "there"),
    );
    story.create(
        "bob",
        "message/1",
        super::story::message_in("at://did:plc:alice/social.colibri.channel/k", "here"),
    );
    story.update("bob", "message/1", message("edited")).react("alice", "r", "👍", "1");
    story.create("bob", "actor.data/self", serde_json::json!({ "status": "Reading" }));
    story.delete("bob", "message/1").delete("bob", "membership/m");
    story
}

fn run(
    story: &Story,
    prepare: impl Fn(&mut Reader, usize),
    crash: impl Fn(usize) -> Option<Crash>,
) -> Reader {
    let mut reader = Reader::new();
    for (n, frame) in story.frames.iter().enumerate() {
        prepare(&mut reader, n);
        reader.commit(frame, crash(n));
    }
    reader.settle();
    reader
}

fn plain(story: &Story) -> Reader {
    run(story, |_, _| {}, |_| None)
}

#[test]
fn the_plain_run_numbers_every_event_of_a_community_from_one_on() {
    let reader = plain(&story());
    let transcript = reader.receivers.transcript();
    let seqs = |owner: &str| -> Vec<i64> {
        let mine = format!("at://did:plc:{owner}/");
        let seq = |line: &String| line.split(' ').nth(1).unwrap().parse().unwrap();
        transcript.iter().filter(|line| line.starts_with(&mine)).map(seq).collect()
    };
    assert_eq!(seqs("zoe"), (1..=4).collect::<Vec<_>>(), "{transcript:#?}");
    assert_eq!(seqs("alice"), (1..=9).collect::<Vec<_>>(), "{transcript:#?}");
    assert_eq!(reader.receivers.people.borrow().len(), 1, "the status is published once, and has no number");
}

/// Health and moderators ask the reader to check the outbox. Events that it holds are not loaded again
/// for that: here they would be gone.
#[test]
fn a_check_of_the_outbox_keeps_what_is_in_memory() {
    let story = story();
    let mut reader = Reader::new();
    while block_on(reader.deliveries.catch_up(&reader.service.store)).is_err() {}
    for frame in &story.frames {
        reader.deliveries.look();
        let committed = reader.service.try_batch(std::slice::from_ref(frame)).unwrap();
        reader.deliveries.look();
        reader.deliveries.take(committed);
        // `exec` raises the version, as another writer does; this is not one.
        reader.service.store.exec("DELETE FROM outbox; UPDATE ledger SET version = version - 1");
    }
    let waiting = reader.deliveries.waiting();
    reader.settle();
    assert_eq!(reader.receivers.transcript(), plain(&story).receivers.transcript());
    assert!(waiting > reader.receivers.transcript().len(), "all events and the status: {waiting}");
}

/// Events in the outbox count as waiting, so that the reader's bound holds for them.
#[test]
fn events_that_are_not_loaded_count_as_waiting() {
    let story = story();
    let mut reader = Reader::new();
    for frame in &story.frames {
        // Another writer's commit comes before each.
        reader.service.store.exec("UPDATE ledger SET version = version + 1");
        let committed = reader.service.try_batch(std::slice::from_ref(frame)).unwrap();
        reader.deliveries.take(committed);
    }
    let waiting = reader.deliveries.waiting();
    while block_on(reader.deliveries.catch_up(&reader.service.store)).is_err() {}
    assert_eq!(reader.deliveries.waiting(), waiting, "loaded, they are as many");
    reader.settle();
    assert_eq!(reader.receivers.transcript(), plain(&story).receivers.transcript());
}

/// Q21: an event that a community's object cannot store is found and set aside; the events before
/// and after it are delivered once and in order, and no other community waits.
#[test]
fn q21_an_undeliverable_event_delays_nobody() {
    let story = story();
    let plain = plain(&story);
    let mut reader = Reader::new();
    reader.receivers.poison.set(Some(("alice", "\"text\":\"edited\"")));
    story.frames.iter().for_each(|frame| reader.commit(frame, None));
    let of = |reader: &Reader, who: &str| -> Vec<String> {
        reader.receivers.transcript().into_iter().filter(|line| line.contains(who)).collect()
    };
    assert_eq!(of(&reader, "did:plc:zoe/"), of(&plain, "did:plc:zoe/"), "published at once");
    for _ in 0..20 {
        reader.pass(None);
    }
    reader.settle();
    assert_eq!(reader.set_aside, 1, "the edit");
    let (delivered, expected) = (of(&reader, "at://did:plc:alice/"), of(&plain, "at://did:plc:alice/"));
    assert_eq!(delivered.len(), expected.len(), "each has its number");
    let differs: Vec<_> =
        delivered.iter().zip(&expected).filter(|(delivered, expected)| delivered != expected).collect();
    assert_eq!(differs.len(), 1, "{differs:#?}");
    assert!(differs[0].0.ends_with(" null") && differs[0].1.contains("edited"));
}

/// Q21: outbox rows from before the start, in any state.
#[test]
fn q21_what_cannot_be_read_in_the_outbox_is_set_aside() {
    let mut reader = Reader::new();
    story().frames.iter().for_each(|frame| reader.commit(frame, None));
    reader.settle();
    let before = reader.receivers.transcript().len();
    let community = |who: &str| format!("at://did:plc:{who}/social.colibri.community/c");
    let announcement = |who: &str, event: &str| {
        let scope = community(who);
        format!(
            r#"{{"scope":{{"community":"{scope}"}},"audience":"community","topic":"other","live":true,"event":{event}}}"#
        )
    };
    let deep = format!(r#"{{"type":"x","facets":{}{}}}"#, "[".repeat(20_000), "]".repeat(20_000));
    let rows = [
        format!("[{}]", announcement("zoe", &deep)),
        "nonsense".to_owned(),
        format!("[{},7,{}", announcement("zoe", "{}"), announcement("alice", "{}")),
        format!(
            r#"[{},{{"scope":{{"community":"{}"}},"topic":"of a later build"}}]"#,
            announcement("alice", "{}"),
            community("zoe")
        ),
        format!("[{}]", announcement("alice", r#"{"type":"y"}"#)),
    ];
    for row in rows {
        let text = row.replace('\'', "''");
        reader.service.store.exec(&format!(
            "UPDATE ledger SET version = version + 1;
             INSERT INTO outbox VALUES ((SELECT version FROM ledger), '{text}', '')"
        ));
    }
    reader.die();
    let unreadable = block_on(reader.deliveries.catch_up(&reader.service.store)).unwrap();
    assert_eq!(unreadable, 3, "a row, another row, and one event");
    reader.settle();
    let delivered = reader.receivers.transcript();
    assert_eq!(delivered.len(), before + 6, "{delivered:#?}");
    let last = |who: &str, n: usize| -> Vec<String> {
        let mine: Vec<_> = delivered.iter().filter(|line| line.starts_with(&community(who))).collect();
        mine[mine.len() - n..].iter().map(|line| line.splitn(3, ' ').nth(2).unwrap().to_owned()).collect()
    };
    assert_eq!(last("alice", 3), ["null", "{}", r#"{"type":"y"}"#]);
    let zoe = last("zoe", 3);
    assert!(zoe[0].contains("facets"), "published, however deep: {zoe:?}");
    assert_eq!(zoe[1..], ["null", "null"]);
}

#[test]
fn j03_a_fault_at_announce_tells_each_event_once() {
    let story = story();
    let plain = plain(&story);
    for fault in [Loss::CallLost, Loss::ReplyLost, Loss::HalfWay] {
        for at in 0..story.frames.len() {
            let reader = run(
                &story,
                |reader, n| {
                    if n == at {
                        reader.receivers.loses.set(Some(fault))
                    }
                },
                |_| None,
            );
            // A half-way fault needs a community that writes something; a person's status causes no
            // such write.
            assert_eq!(reader.receivers.struck.get(), 1, "{fault:?} at {at} did not strike");
            assert_eq!(reader.receivers.transcript(), plain.receivers.transcript(), "{fault:?} at {at}");
            assert_eq!(
                *reader.receivers.people.borrow(),
                *plain.receivers.people.borrow(),
                "{fault:?} at {at}"
            );
        }
    }
}

#[test]
fn j03_an_unreachable_community_delays_nobody_and_loses_nothing() {
    let story = story();
    let plain = plain(&story);
    let mut reader = Reader::new();
    let mut failures = 0;
    for frame in &story.frames {
        // The first scope receives nothing during the whole test.
        reader.receivers.loses.set(Some(Loss::CallLost));
        reader.commit(frame, None);
        failures = reader.receivers.struck.get();
    }
    assert!(failures > 5, "only {failures} calls were lost");
    reader.receivers.loses.set(None);
    reader.settle();
    assert_eq!(reader.receivers.transcript(), plain.receivers.transcript());
}

#[test]
fn j03_a_crash_between_any_two_steps_of_telling_tells_each_event_once() {
    let story = story();
    let plain = plain(&story);
    for crash in [Crash::Committed, Crash::Taken, Crash::Delivered, Crash::Forgotten] {
        for at in 0..story.frames.len() {
            let reader = run(&story, |_, _| {}, |n| (n == at).then_some(crash));
            assert_eq!(reader.receivers.transcript(), plain.receivers.transcript(), "{crash:?} at {at}");
        }
    }
}

#[test]
fn j03_a_fault_of_the_outbox_tells_each_event_once() {
    let story = story();
    let plain = plain(&story);
    for fault in [Break::Read, Break::CommitLost, Break::CommitStored] {
        for at in 0..story.frames.len() {
            let mut reader = Reader::new();
            for (n, frame) in story.frames.iter().enumerate() {
                reader.commit(frame, (n == at).then_some(Crash::Taken));
                if n == at {
                    // The next read is the one of catching up, the next commit the one of
                    // forgetting.
                    reader.service.store.break_next(fault);
                    reader.pass(None);
                    assert_eq!(reader.service.store.struck.get(), 1, "{fault:?} at {at} did not strike");
                }
            }
            reader.settle();
            assert_eq!(reader.receivers.transcript(), plain.receivers.transcript(), "{fault:?} at {at}");
        }
    }
}

/// The cursor has no boundary of its own: it is a statement of the transaction that stores the data
/// and the outbox. So a fault at the commit is a fault at the cursor, and all three agree after it:
/// nothing is stored, or everything is.
#[test]
fn j03_a_fault_at_the_cursor_is_one_at_the_data_and_the_outbox() {
    let story = story();
    let state = |service: &Service| -> (Vec<String>, Vec<String>, Vec<String>) {
        (
            service.store.look("SELECT cursor_us FROM stream"),
            service.store.index(),
            service.store.look("SELECT id, announcements FROM outbox"),
        )
    };
    for at in 0..story.frames.len() {
        for (fault, is_stored) in [(Break::CommitLost, false), (Break::CommitStored, true)] {
            let (before, frame) = (&story.frames[..at], std::slice::from_ref(&story.frames[at]));
            let mut service = Service::new();
            before.iter().for_each(|frame| service.batch(std::slice::from_ref(frame)));
            let mut expected = state(&service);
            if is_stored {
                let mut plain = Service::new();
                story.frames[..=at].iter().for_each(|frame| plain.batch(std::slice::from_ref(frame)));
                expected = state(&plain);
            }
            service.store.break_next(fault);
            assert!(service.try_batch(frame).is_err());
            assert_eq!(service.store.struck.get(), 1, "{fault:?} at {at} did not strike");
            assert_eq!(state(&service), expected, "{fault:?} at {at}: all or nothing");
        }
    }
}

/// What may go wrong between a commit and the logs of the communities.
#[derive(Clone, Copy, Debug)]
enum Outage {
    Dies(Crash),
    Loses(Loss),
}

fn outage() -> impl Strategy<Value = Outage> {
    let crash =
        prop::sample::select(vec![Crash::Committed, Crash::Taken, Crash::Delivered, Crash::Forgotten]);
    let loss = prop::sample::select(vec![Loss::CallLost, Loss::ReplyLost, Loss::HalfWay]);
    prop_oneof![crash.prop_map(Outage::Dies), loss.prop_map(Outage::Loses)]
}

/// A history of communities of both forms, with an outage at some of its moments.
fn lived(moments: &[Moment], outages: &[Option<Outage>]) -> Reader {
    let mut reader = Reader::new();
    for (moment, outage) in moments.iter().zip(outages.iter().cycle()) {
        let mut crash = None;
        match outage {
            Some(Outage::Dies(at)) => crash = Some(*at),
            Some(Outage::Loses(loss)) => reader.receivers.loses.set(Some(*loss)),
            None => {}
        }
        match moment {
            Moment::Frame(frame) => reader.commit(frame, crash),
            Moment::Decision(decision) => reader.commit_with(&[], &[by_operator(decision.clone())], crash),
        }
    }
    reader.receivers.loses.set(None);
    reader.settle();
    reader
}

proptest! {
    #![proptest_config(config(32))]

    #[test]
    fn j03_outages_between_commit_and_delivery_change_nothing_in_either_form(
        steps in steps(),
        outages in prop::collection::vec(prop::option::weighted(0.4, outage()), 1..40),
    ) {
        let moments = moments(&steps);
        let plain = lived(&moments, &[None]);
        let reader = lived(&moments, &outages);
        prop_assert_eq!(plain.receivers.transcript(), reader.receivers.transcript());
        prop_assert_eq!(plain.service.store.index(), reader.service.store.index());
        prop_assert_eq!(&*plain.receivers.people.borrow(), &*reader.receivers.people.borrow());
    }
}
