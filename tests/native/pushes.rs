//! Which pushes and digests wait in a gateway, and which of them are due (U27, U28), through the real SQL.

use colibri_edge::domain::push::{OF_ONE_MAX, Push, WAITING_MAX};
use colibri_edge::domain::urgency::Urgency;
use colibri_edge::storage::Store;
use colibri_edge::storage::gateway_digests as digests;
use colibri_edge::storage::gateway_pushes::{self as waiting, Due};
use colibri_edge::wire::ids::Did;
use colibri_edge::wire::time::Micros;
use colibri_edge::wire::web_push::{Keys, Subscription};
use futures::executor::block_on;

use super::sqlite::Sqlite;

fn object() -> Sqlite {
    let store = Sqlite::new();
    waiting::SCHEMA.iter().for_each(|sql| store.exec(sql));
    store
}

fn push(name: &str, topic: i64) -> Push {
    let did = Did::parse(&format!("did:plc:{name}")).unwrap();
    let keys = Keys { p256dh: "p".into(), auth: "a".into() };
    let to = Subscription { endpoint: url::Url::parse("https://push.example.com/").unwrap(), keys };
    Push { did, to, text: "{}".into(), urgency: Urgency::Ping, topic, since: None }
}

fn send(store: &Sqlite, name: &str, topics: std::ops::RangeInclusive<i64>) {
    for topic in topics {
        block_on(store.commit(waiting::send(&push(name, topic), Micros(0)).to_vec())).unwrap();
    }
}

fn due(store: &Sqlite, now: i64, limit: i64) -> Vec<Due> {
    Due::read(&block_on(store.read(&[waiting::due(Micros(now), limit)])).unwrap()[0]).unwrap()
}

fn topics(due: &[Due]) -> Vec<i64> {
    due.iter().filter_map(|due| due.push.as_ref()).map(|push| push.topic).collect()
}

#[test]
fn u28_a_further_push_takes_the_place_of_the_oldest_of_its_person() {
    let store = object();
    send(&store, "alice", 1..=1);
    send(&store, "bob", 1..=OF_ONE_MAX + 3);
    let kept = "SELECT count(*), min(json_extract(push, '$.topic')) FROM pushes GROUP BY did ORDER BY did";
    assert_eq!(store.look(kept), ["1|1", "20|4"]);
}

#[test]
fn u28_when_too_many_wait_further_ones_are_not_sent() {
    let store = object();
    store.exec(&format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {WAITING_MAX})
         INSERT INTO pushes (did, push, due_at) SELECT 'did:plc:n' || i, '{{}}', 0 FROM n"
    ));
    send(&store, "bob", 1..=1);
    assert_eq!(store.look("SELECT count(*) FROM pushes"), [WAITING_MAX.to_string()]);
    assert!(store.look("SELECT id FROM pushes WHERE did = 'did:plc:bob'").is_empty());
}

#[test]
fn u28_the_pushes_of_one_person_do_not_hold_up_those_of_others() {
    let store = object();
    send(&store, "bob", 1..=20);
    send(&store, "alice", 100..=102);
    send(&store, "carol", 200..=200);
    let first = due(&store, 0, 4);
    assert_eq!(topics(&first), [1, 2, 100, 101], "two of each");
    for one in first {
        block_on(store.commit(vec![waiting::tried(one.id, Micros(9))])).unwrap();
    }
    assert_eq!(topics(&due(&store, 0, 4)), [3, 4, 102, 200]);
    assert_eq!(topics(&due(&store, 9, 9)), [3, 4, 102, 200, 100], "those that were due first");
}

#[test]
fn u28_a_try_does_not_count_while_the_push_service_rests() {
    let store = object();
    send(&store, "bob", 1..=1);
    let [one] = &due(&store, 0, 4)[..] else { panic!("one is due") };
    let run = |statement| block_on(store.commit(vec![statement])).unwrap();
    run(waiting::tried(one.id, Micros(2)));
    assert_eq!(due(&store, 2, 4)[0].failures, 1, "a death in a try counts as one");
    run(waiting::rests(one.id, Micros(7)));
    assert!(due(&store, 6, 4).is_empty());
    assert_eq!(due(&store, 7, 4)[0].failures, 0);
}

#[test]
fn u27_who_comes_is_decided_about_although_nothing_was_scheduled() {
    let store = Sqlite::new();
    store.exec("DROP TABLE digests"); // that of D1
    digests::SCHEMA.iter().for_each(|sql| store.exec(sql));
    let bob = Did::parse("did:plc:bob").unwrap();
    let run = |statements| block_on(store.commit(statements)).unwrap();
    run(vec![digests::awaken(&bob, Micros(1))]);
    assert!(store.look("SELECT did FROM digests").is_empty(), "who saw something has nothing more to expect");
    run(digests::schedule(&bob, Micros(2)).to_vec());
    run(vec![digests::begin(&bob, Micros(60))]);
    run(digests::schedule(&bob, Micros(3)).to_vec());
    run(vec![digests::end(&bob, Micros(60), None)]);
    assert_eq!(
        store.look("SELECT did, due_at FROM digests"),
        ["did:plc:bob|3"],
        "who comes meanwhile is not lost"
    );
}
