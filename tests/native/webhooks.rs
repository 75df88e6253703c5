//! Webhooks (R82 to R84, C50), through the real SQL of D1 and of a community's object.

use std::cell::Cell;
use std::collections::BTreeSet;

use colibri_edge::domain::announcement::{Announcement, Audience, Scope, Topic};
use colibri_edge::domain::webhooks::{Answer, Next, Position, Then};
use colibri_edge::storage::reads::operator;
use colibri_edge::storage::webhooks::{self, New, Put, WEBHOOKS_MAX};
use colibri_edge::storage::{CommitError, Fault, Statement, Store, community_log};
use colibri_edge::wire::ids::{AtUri, Did};
use colibri_edge::wire::time::Micros;
use futures::executor::block_on;
use serde_json::value::RawValue;

use super::sqlite::Sqlite;
use super::story::{START, Service, Story, community};

const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3_600 * SECOND;

/// A community's object with one webhook `h`, a clock, and a receiver.
struct Object {
    sqlite: Sqlite,
    now: i64,
    seq: u64,
    /// What the receiver has got: each id, whatever it answered.
    got: Vec<String>,
}

impl Object {
    fn new() -> Self {
        let sqlite = Sqlite::new();
        let schema = [community_log::SCHEMA, webhooks::SCHEMA].concat();
        let schema = schema.into_iter().map(|sql| Statement::new(sql, [])).collect();
        block_on(sqlite.commit(schema)).unwrap();
        let object = Self { sqlite, now: START, seq: 0, got: Vec::new() };
        object.run(vec![webhooks::keep(&Position::begin("h", 0))]);
        object
    }

    fn run(&self, statements: Vec<Statement>) {
        block_on(self.sqlite.commit(statements)).unwrap();
    }

    fn read(&self, statement: Statement) -> Vec<String> {
        block_on(self.sqlite.read(&[statement])).unwrap().pop().unwrap()
    }

    fn happens(&mut self, audience: Audience, topic: Topic) {
        self.seq += 1;
        let event = Announcement {
            scope: Scope::Community(community("alice")),
            audience,
            topic,
            live: true,
            event: RawValue::from_string(r#"{"type":"member_joined","did":"x"}"#.into()).unwrap(),
        };
        let mut statements = community_log::append(self.seq, [&event], Micros(self.now));
        statements.push(community_log::count(self.seq, 0));
        self.run(statements);
    }

    fn event(&mut self) {
        self.happens(Audience::Community, Topic::Other);
    }

    fn position(&self) -> Position {
        webhooks::positions_of(&self.read(webhooks::positions())).unwrap().pop().unwrap()
    }

    /// One turn of the loop that sends, from what is stored alone, as after a restart. `None` if nothing is left.
    fn turn(&mut self, answer: &Answer) -> Option<Then> {
        let mut position = self.position();
        self.now = self.now.max(position.next_at.0);
        let oldest = self.sqlite.look("SELECT coalesce(min(seq), 1) FROM log")[0].parse().unwrap();
        let events = webhooks::logged(&self.read(webhooks::standing_after(position.delivered, 50))).unwrap();
        let then = match position.next(&community("alice"), &[], oldest, &events)? {
            Next::Skip(through) => {
                position.delivered = through;
                Then::GoOn
            }
            Next::Send(message, through) => {
                self.got.push(message.id);
                position.on(answer, through, Micros(self.now))
            }
        };
        self.run(vec![webhooks::keep(&position)]);
        Some(then)
    }
}

#[test]
fn c50_a_receiver_that_is_down_for_an_hour_gets_each_event_once_in_order() {
    let mut object = Object::new();
    object.event();
    let (began, mut taken) = (object.now, 0);
    let down = Answer::Failed("it answered 503".into());
    while object.now < began + HOUR {
        assert_eq!(object.turn(&down), Some(Then::Wait));
        object.event(); // life goes on
    }
    let attempts: BTreeSet<_> = object.got.drain(..).collect();
    assert_eq!(attempts, ["h-1".to_owned()].into(), "the first one again and again, by the same id");
    while let Some(then) = object.turn(&Answer::Taken) {
        assert_eq!(then, Then::GoOn);
        taken += 1;
    }
    let expected: Vec<_> = (1..=object.seq).map(|seq| format!("h-{seq}")).collect();
    assert_eq!((object.got, taken), (expected, object.seq), "each once, in order");
}

#[test]
fn c50_a_lost_answer_repeats_the_id_and_loses_nothing() {
    let mut object = Object::new();
    (0..3).for_each(|_| object.event());
    object.turn(&Answer::Taken);
    object.turn(&Answer::Failed("no answer within 10000 ms".into()));
    while object.turn(&Answer::Taken).is_some() {}
    assert_eq!(object.got, ["h-1", "h-2", "h-2", "h-3"]);
}

#[test]
fn c50_what_is_private_withdrawn_or_forgotten_is_not_sent() {
    let mut object = Object::new();
    let message = |n: u8| AtUri::parse(&format!("at://did:plc:bob/social.colibri.message/{n}")).unwrap();
    let channel = || Audience::Messages(AtUri::parse("at://did:plc:alice/social.colibri.channel/k").unwrap());
    object.happens(Audience::Private(Did::parse("did:plc:bob").unwrap()), Topic::Other);
    object.happens(channel(), Topic::MessageShown(message(1)));
    object.happens(channel(), Topic::MessageShown(message(2)));
    object.happens(Audience::Approvers, Topic::Other);
    object.happens(channel(), Topic::MessageGone(message(1)));
    while object.turn(&Answer::Taken).is_some() {}
    assert_eq!(object.got, ["h-3", "h-5"], "the second message, and that the first is gone");
    (0..4).for_each(|_| object.event());
    object.run(community_log::forget(Micros(0), 2));
    object.got.clear();
    while object.turn(&Answer::Taken).is_some() {}
    assert_eq!(object.got, ["h-7", "h-8", "h-9"], "one that says what is lost, then the rest");
}

fn put(service: &Service, url: &str, chosen: Option<&str>) -> Put {
    let community = community("alice");
    let new =
        New { id: format!("of {url}"), community: &community, url, events: &[], chosen, made: "bWFkZQ==" };
    block_on(webhooks::put(&service.store, &new, Micros(START))).unwrap()
}

#[test]
fn r82_one_for_an_address_and_five_of_a_community() {
    let mut story = Story::default();
    let mut service = Service::live(&story);
    assert_eq!(put(&service, "https://a.test/", None), Put::NoCommunity);
    story.community("alice", false);
    service = Service::live(&story);
    for n in 0..WEBHOOKS_MAX {
        assert!(
            matches!(put(&service, &format!("https://a.test/{n}"), None), Put::Done(_, made) if made == "bWFkZQ==")
        );
    }
    assert_eq!(put(&service, "https://a.test/more", None), Put::TooMany);
    let (db, uri) = (&service.store, community("alice"));
    block_on(webhooks::disable(db, "of https://a.test/0", "why", Micros(START))).unwrap();
    let disabled = block_on(operator::overview(db)).unwrap().webhooks;
    assert_eq!(disabled.len(), 1);
    assert_eq!(disabled[0].disabled_because.as_deref(), Some("why"));
    let Put::Done(again, secret) = put(&service, "https://a.test/0", Some("Y2hvc2Vu")) else {
        panic!("it is there")
    };
    assert_eq!((again.disabled_at, &*secret), (None, "Y2hvc2Vu"), "set again: enabled");
    assert!(matches!(put(&service, "https://a.test/0", None), Put::Done(_, kept) if kept == "Y2hvc2Vu"));
    assert!(
        !block_on(webhooks::remove(db, "at://other", "of https://a.test/0")).unwrap(),
        "of this community only"
    );
    assert!(block_on(webhooks::remove(db, uri.as_str(), "of https://a.test/0")).unwrap());
    assert_eq!(block_on(webhooks::list(db, uri.as_str())).unwrap().len(), 4);
    let mut end = Story { frames: story.frames.clone() };
    end.delete("alice", "community/c");
    service.batch(&end.frames[story.frames.len()..]);
    assert_eq!(block_on(webhooks::targets(&service.store, &uri)).unwrap(), [], "I70");
}

/// D1, in which somebody sets a webhook right after it answered the first time.
struct Meanwhile<'a> {
    store: &'a Sqlite,
    changes: &'a Cell<u64>,
}

impl Store for Meanwhile<'_> {
    async fn read(&self, statements: &[Statement]) -> Result<Vec<Vec<String>>, Fault> {
        let answer = self.store.read(statements).await;
        if self.changes.get() == 0 {
            self.changes.set(1);
            let community = community("alice");
            let made = "c2VjcmV0";
            let new = New {
                id: "h".into(),
                community: &community,
                url: "https://a.test/",
                events: &[],
                chosen: None,
                made,
            };
            webhooks::put(self.store, &new, Micros(START)).await?;
        }
        answer
    }

    async fn write(&self, statements: &[Statement]) -> Result<Vec<Vec<String>>, Fault> {
        self.store.write(statements).await
    }

    async fn commit(&self, statements: Vec<Statement>) -> Result<(), CommitError> {
        self.store.commit(statements).await
    }
}

#[test]
fn c50_an_answer_from_before_a_change_is_read_again() {
    let mut story = Story::default();
    story.community("alice", false);
    let (service, changes) = (Service::live(&story), Cell::new(0));
    let store = Meanwhile { store: &service.store, changes: &changes };
    let targets = block_on(webhooks::targets_now(&store, &community("alice"), &changes)).unwrap();
    assert_eq!(targets.iter().map(|one| &*one.id).collect::<Vec<_>>(), ["h"]);
}
