//! Presence and voice through the real SQL: what gateways read and write in D1, and what objects
//! keep in their own SQLite.

use colibri_edge::domain::person::{Person, Stored};
use colibri_edge::domain::presence::State;
use colibri_edge::domain::subscriptions::{Kind, Subscriptions};
use colibri_edge::domain::voice::Rooms;
use colibri_edge::storage::gateway_people::{self, Changed, Departed, Saying, Unsaid};
use colibri_edge::storage::reads::communities;
use colibri_edge::storage::{Param, Statement, Store, community_voice, presence};
use colibri_edge::wire::ids::{AtUri, Did};
use colibri_edge::wire::time::Micros;
use futures::executor::block_on;
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use serde::de::DeserializeOwned;
use serde_json::json;
use serde_json::value::RawValue;

use super::story::{Service, Story, membership};

fn did(name: &str) -> Did {
    Did::parse(&format!("did:plc:{name}")).unwrap()
}

fn of(owner: &str) -> AtUri {
    AtUri::parse(&format!("at://did:plc:{owner}/social.colibri.community/c")).unwrap()
}

#[test]
fn h11_what_a_gateway_stores_is_what_everybody_reads() {
    let mut story = Story::default();
    story.community("alice", false).join("bob", "alice");
    story.create("bob", "actor.data/self", json!({ "status": "Reading" }));
    let service = Service::live(&story);
    let states = [
        (did("bob"), Stored { preferred: Some(State::Dnd), current: Some(State::Away) }),
        (did("nobody"), Stored { preferred: None, current: Some(State::Online) }),
    ];
    block_on(service.store.commit(vec![presence::store(&states, Micros(0))])).unwrap();
    let (members, _) =
        block_on(communities::members(&service.store, "", of("alice").as_str(), None, 100)).unwrap();
    let states: Vec<_> = members.iter().map(|member| member.person.state.as_deref()).collect();
    assert_eq!(states, [None, Some("away")], "null if never seen; the preferred state is never shown");
    let found = block_on(presence::people(&service.store, &[did("bob"), did("nobody"), did("x")])).unwrap();
    let stored: Vec<Stored> = found.iter().map(presence::Found::stored).collect();
    assert_eq!(stored[0], Stored { preferred: Some(State::Dnd), current: Some(State::Away) });
    assert_eq!(
        stored[1],
        Stored { preferred: None, current: Some(State::Online) },
        "I37: cached from now on"
    );
    assert_eq!(stored[2], Stored::default());
    let bob = found[0].person.as_ref().unwrap();
    assert_eq!(bob.status_text.as_deref(), Some("Reading"), "nothing else is touched");
    story.create("bob", "actor.data/other", json!({ "status": "Away" }));
    let again = Service::live(&story);
    assert_eq!(again.store.look("SELECT state FROM people WHERE did = 'did:plc:bob'"), ["null"]);
}

#[test]
fn a36_through_which_communities_a_person_is_watched() {
    let mut story = Story::default();
    story
        .community("alice", true)
        .community("carol", false)
        .community("dave", false)
        .create("bob", "membership/1", membership("alice"))
        .create("bob", "membership/2", membership("carol"))
        .create("bob", "membership/3", membership("dave"))
        .join("alice", "carol");
    let service = Service::live(&story);
    let watched = |name: &str| {
        let found = block_on(presence::people(&service.store, &[did(name)])).unwrap();
        found.into_iter().next().unwrap().communities
    };
    assert_eq!(watched("bob"), [of("alice"), of("carol"), of("dave")], "pending counts");
    assert_eq!(watched("alice"), [of("alice"), of("carol")], "the owner, and a member");
    assert_eq!(watched("erin"), Vec::<AtUri>::new());
    service.store.exec(
        "INSERT INTO bans VALUES ('at://did:plc:carol/social.colibri.community/c', 'did:plc:bob', '');
         UPDATE communities SET hidden = 1 WHERE owner_did = 'did:plc:dave'",
    );
    assert_eq!(watched("bob"), [of("alice")], "neither the banned, nor through what is hidden");
}

/// The SQLite of an object.
struct Object(Connection);

impl Object {
    fn new(schema: &[&str]) -> Self {
        let db = Connection::open_in_memory().unwrap();
        schema.iter().for_each(|sql| db.execute_batch(sql).unwrap());
        Self(db)
    }

    fn run(&self, statement: &Statement) -> Vec<String> {
        let params = statement.params.iter().map(|param| match param {
            Param::Int(number) => Value::Integer(*number),
            Param::Text(text) => Value::Text(text.clone()),
            Param::Null => Value::Null,
        });
        let mut prepared = self.0.prepare(statement.sql).unwrap();
        let rows = prepared.query_map(params_from_iter(params), |row| row.get("row"));
        rows.unwrap().map(Result::unwrap).collect()
    }

    fn read<T: DeserializeOwned>(&self, statement: &Statement) -> Vec<T> {
        self.run(statement).iter().map(|text| serde_json::from_str(text).unwrap()).collect()
    }
}

fn saying(name: &str, status: bool) -> Saying {
    let event = RawValue::from_string(r#"{"type":"x","n":1.50}"#.into()).unwrap();
    Saying { id: 0, did: did(name), communities: vec![of("alice")], status, live: true, event }
}

#[test]
fn what_is_said_is_numbered_and_kept_until_everybody_has_it() {
    let object = Object::new(gateway_people::SCHEMA);
    object.run(&gateway_people::say(&saying("a", true)));
    object.run(&gateway_people::say(&saying("b", false)));
    let all: Vec<Saying> = object.read(&gateway_people::sayings(0, 10));
    assert_eq!(
        all.iter().map(|one| (one.id, one.did.clone())).collect::<Vec<_>>(),
        [(1, did("a")), (2, did("b"))]
    );
    assert_eq!(all[0].event.get(), r#"{"type":"x","n":1.50}"#, "not a byte changes");
    assert_eq!(object.run(&gateway_people::last_saying()), ["2"]);
    object.run(&gateway_people::forget_sayings(2));
    object.run(&gateway_people::say(&saying("c", true)));
    let rest: Vec<Saying> = object.read(&gateway_people::sayings(0, 10));
    assert_eq!(rest[0].id, 3, "an id is never given twice");
    for through in [5, 3] {
        object.run(&gateway_people::hearer("gateway-1", through));
        object.run(&gateway_people::listened("gateway-1", through));
    }
    assert_eq!(object.read::<(String, i64)>(&gateway_people::hearers()), [("gateway-1".to_owned(), 5)]);
    assert_eq!(object.run(&gateway_people::speaker("gateway-1")), ["5"], "it never goes back");
}

#[test]
fn what_a_gateway_keeps_of_people_and_sockets() {
    let object = Object::new(gateway_people::SCHEMA);
    object.run(&gateway_people::keep(&did("a"), &Person::default()));
    object.run(&gateway_people::keep(&did("a"), &Person::default()));
    assert_eq!(object.read::<(Did, Person)>(&gateway_people::persons()), [(did("a"), Person::default())]);
    object.run(&gateway_people::forget(&did("a")));
    assert_eq!(object.run(&gateway_people::persons()), Vec::<String>::new());

    object.run(&gateway_people::heard(7, Micros(5), false));
    object.run(&gateway_people::heard(7, Micros(9), true));
    assert_eq!(object.read::<(i64, i64, bool)>(&gateway_people::signs()), [(7, 9, true)]);
    object.run(&gateway_people::silence(7));
    assert!(object.run(&gateway_people::signs()).is_empty());

    let event = saying("a", true).event;
    object.run(&gateway_people::hold(&did("a"), false, &event));
    let held: Vec<Unsaid> = object.read(&gateway_people::held(10));
    assert_eq!((held[0].id, held[0].live, held[0].event.get()), (1, false, event.get()));
    object.run(&gateway_people::release(1));
    assert!(object.run(&gateway_people::held(10)).is_empty());

    let mut subscriptions = Subscriptions::default();
    subscriptions.subscribe(Kind::Message, Some("k"));
    let departed = Departed { subscriptions, heard: [(of("alice").to_string(), 41)].into() };
    for (at, last) in [(10, false), (20, true)] {
        for statement in gateway_people::depart(&did("a"), Micros(at), last, &departed, Micros(15)) {
            object.run(&statement);
        }
    }
    let kept: Vec<(i64, bool, Departed)> = object.read(&gateway_people::departures(&did("a")));
    assert_eq!(kept, [(20, true, departed)], "the older one is forgotten");

    for (name, status, at) in [("a", true, 10), ("a", false, 30), ("b", true, 20)] {
        for statement in gateway_people::changed(&saying(name, status), Micros(at), Micros(0)) {
            object.run(&statement);
        }
    }
    let changed: Vec<Changed> = object.read(&gateway_people::changed_since(Micros(25)));
    assert_eq!(changed.len(), 1);
    assert_eq!((changed[0].status_at, changed[0].profile_at), (10, 30));

    assert!(object.run(&gateway_people::run()).is_empty());
    object.run(&gateway_people::runs("one"));
    object.run(&gateway_people::runs("two"));
    assert_eq!(object.run(&gateway_people::run()), ["two"]);

    object.run(&gateway_people::observe("at://c", true));
    object.run(&gateway_people::observe("at://c", true));
    assert_eq!(object.read::<String>(&gateway_people::observed()), ["at://c"]);
    object.run(&gateway_people::observe("at://c", false));
    assert!(object.run(&gateway_people::observed()).is_empty());
}

#[test]
fn what_a_community_keeps_of_voice() {
    let object = Object::new(community_voice::SCHEMA);
    let channel =
        |rkey: &str| AtUri::parse(&format!("at://did:plc:alice/social.colibri.channel/{rkey}")).unwrap();
    object.run(&community_voice::seat(&did("a"), &channel("v"), "gateway-1"));
    object.run(&community_voice::seat(&did("b"), &channel("v"), "gateway-2"));
    object.run(&community_voice::seat(&did("a"), &channel("w"), "gateway-1"));
    assert_eq!(object.run(&community_voice::joined_by(&did("a"))), ["gateway-1"]);
    object.run(&community_voice::only(&Rooms::of([(did("a"), channel("w"))])));
    assert_eq!(object.read::<(Did, AtUri)>(&community_voice::people()), [(did("a"), channel("w"))]);
}
