//! Presence and voice through the real SQL: what gateways read and write in D1, and what objects
//! store in their own SQLite.

use colibri_edge::domain::person::{Person, Stored};
use colibri_edge::domain::presence::State;
use colibri_edge::domain::restore::{self, Place, Trace};
use colibri_edge::domain::subscriptions::{Kind, Subscriptions};
use colibri_edge::domain::voice::Rooms;
use colibri_edge::storage::gateway_people::{self, Changed, HeldEvent, Publication};
use colibri_edge::storage::gateway_sessions::{self, Session};
use colibri_edge::storage::presence::Shown;
use colibri_edge::storage::reads::communities;
use colibri_edge::storage::{Inner, Param, Statement, Store, community_voice, presence};
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
    let shown = |name: &str, preferred, current| Shown {
        did: did(name),
        preferred,
        current: Some(current),
        exists: name == "proven",
    };
    let store = |shown: Shown| block_on(service.store.commit(presence::store(&[shown], Micros(0)))).unwrap();
    store(shown("bob", Some(State::Dnd), State::Away));
    store(shown("nobody", Some(State::Dnd), State::Online));
    store(shown("proven", None, State::Online));
    let (members, _) =
        block_on(communities::members(&service.store, "", of("alice").as_str(), None, 100)).unwrap();
    let states: Vec<_> = members.iter().map(|member| member.person.state.as_deref()).collect();
    assert_eq!(states, [None, Some("away")], "null if never seen; the preferred state is never shown");
    let found = |name: &str| {
        let found = block_on(presence::people(&service.store, &[did(name)])).unwrap();
        found.into_iter().next().unwrap()
    };
    let online = |preferred| Stored { preferred, current: Some(State::Online) };
    assert_eq!(found("bob").stored(), Stored { preferred: Some(State::Dnd), current: Some(State::Away) });
    assert_eq!(found("nobody").stored(), online(Some(State::Dnd)), "somebody whom only a socket names");
    assert_eq!(found("proven").stored(), online(None));
    assert_eq!(found("x").stored(), Stored::default());
    let bob = found("bob").person.unwrap();
    assert_eq!(bob.status_text.as_deref(), Some("Reading"), "nothing else is touched");
    let people =
        || service.store.look("SELECT did FROM people WHERE did LIKE '%nobody' OR did LIKE '%proven'");
    assert_eq!(people(), ["did:plc:proven"], "I37: a person exists from a record or a proof on");
    store(shown("nobody", Some(State::Dnd), State::Offline));
    assert_eq!(found("nobody").stored(), Stored::default(), "gone, and nothing is left");
    assert_eq!(service.store.look("SELECT count(*) FROM visitors"), ["0"]);

    story.create("bob", "actor.data/other", json!({ "status": "Away" }));
    let again = Service::live(&story);
    assert_eq!(again.store.look("SELECT state FROM people WHERE did = 'did:plc:bob'"), ["null"]);
}

#[test]
fn i37_who_is_there_already_brings_the_state_along_when_they_become_known() {
    let mut story = Story::default();
    story.community("alice", false);
    let mut service = Service::live(&story);
    let visitor =
        Shown { did: did("bob"), preferred: Some(State::Dnd), current: Some(State::Dnd), exists: false };
    let store = |service: &Service, current| {
        let shown = [Shown { current: Some(current), ..visitor.clone() }];
        block_on(service.store.commit(presence::store(&shown, Micros(0)))).unwrap();
    };
    store(&service, State::Dnd);
    let before = story.frames.len();
    story.join("bob", "alice");
    service.batch(&story.frames[before..]);
    let row = |service: &Service| {
        service.store.look("SELECT state, preferred_state FROM people WHERE did = 'did:plc:bob'")
    };
    assert_eq!(row(&service), ["dnd|dnd"]);
    store(&service, State::Offline);
    assert_eq!(row(&service), ["offline|dnd"], "from then on the row is theirs");
    assert_eq!(service.store.look("SELECT count(*) FROM visitors"), ["0"]);
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
        found.into_iter().next().unwrap().watched.open
    };
    assert_eq!(watched("bob"), [of("alice"), of("carol"), of("dave")], "pending counts");
    let pending =
        block_on(presence::people(&service.store, &[did("bob")])).unwrap().remove(0).watched.pending;
    assert_eq!(pending, [of("alice")], "N192: where admission takes more than asking");
    assert_eq!(watched("alice"), [of("alice"), of("carol")], "the owner, and a member");
    assert_eq!(watched("erin"), Vec::<AtUri>::new());
    service.store.exec(
        "INSERT INTO bans (community_uri, member_did, banned_at) VALUES ('at://did:plc:carol/social.colibri.community/c', 'did:plc:bob', '');
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

fn publication(name: &str, status: bool) -> Publication {
    let event = RawValue::from_string(r#"{"type":"x","n":1.50}"#.into()).unwrap();
    Publication {
        id: 0,
        did: did(name),
        communities: vec![of("alice")],
        closed: Vec::new(),
        pending: Vec::new(),
        status,
        live: true,
        event,
    }
}

#[test]
fn what_is_said_is_numbered_and_kept_until_everybody_has_it() {
    let object = Object::new(gateway_people::SCHEMA);
    object.run(&gateway_people::publish(&publication("a", true)));
    object.run(&gateway_people::publish(&publication("b", false)));
    let publications = || Publication::read(&object.run(&gateway_people::publications(0, 10))).unwrap();
    let (last, all, unreadable) = publications();
    assert_eq!((last, unreadable), (Some(2), 0));
    assert_eq!(
        all.iter().map(|one| (one.id, one.did.clone())).collect::<Vec<_>>(),
        [(1, did("a")), (2, did("b"))]
    );
    assert_eq!(all[0].event.get(), r#"{"type":"x","n":1.50}"#, "not a byte changes");
    assert_eq!(object.run(&gateway_people::last_publication()), ["2"]);
    object.run(&gateway_people::forget_publications(2));
    object.run(&gateway_people::publish(&publication("c", true)));
    assert_eq!(publications().1[0].id, 3, "an id is never given twice");
    object.0.execute_batch("INSERT INTO sayings (saying) VALUES ('nonsense')").unwrap();
    object.run(&gateway_people::publish(&publication("d", true)));
    let (last, rest, unreadable) = publications();
    let said: Vec<i64> = rest.iter().map(|publication| publication.id).collect();
    assert_eq!((last, said, unreadable), (Some(5), vec![3, 5], 1), "Q21: one that cannot be read hides none");
    for through in [5, 3] {
        object.run(&gateway_people::receiver("gateway-1", through));
        object.run(&gateway_people::published_by("gateway-1", through));
    }
    assert_eq!(object.read::<(String, i64)>(&gateway_people::receivers()), [("gateway-1".to_owned(), 5)]);
    assert_eq!(object.run(&gateway_people::publisher("gateway-1")), ["5"], "it never goes back");
}

#[test]
fn what_a_gateway_keeps_of_people_and_sockets() {
    let object = Object::new(gateway_people::SCHEMA);
    object.run(&gateway_people::keep(&did("a"), &Person::default()));
    object.run(&gateway_people::keep(&did("a"), &Person::default()));
    object.0.execute_batch("INSERT INTO persons VALUES ('did:plc:b', '[[[')").unwrap();
    assert_eq!(
        object.read::<(Did, Inner<Person>)>(&gateway_people::persons()),
        [(did("a"), Inner(Some(Person::default()))), (did("b"), Inner(None))],
        "Q21: one that cannot be read hides none"
    );
    object.run(&gateway_people::forget(&did("b")));
    object.run(&gateway_people::forget(&did("a")));
    assert_eq!(object.run(&gateway_people::persons()), Vec::<String>::new());

    object.run(&gateway_people::sign(7, Micros(5), false));
    object.run(&gateway_people::sign(7, Micros(9), true));
    assert_eq!(object.read::<(i64, i64, bool)>(&gateway_people::signs()), [(7, 9, true)]);
    object.run(&gateway_people::silence(7));
    assert!(object.run(&gateway_people::signs()).is_empty());

    let event = publication("a", true).event;
    object.run(&gateway_people::hold(&did("a"), false, &event));
    object.0.execute_batch("INSERT INTO unsaid VALUES (2, 'did:plc:a', 1, '{')").unwrap();
    let held = HeldEvent::read(&object.run(&gateway_people::held(10))).unwrap();
    let held: Vec<_> =
        held.iter().map(|one| (one.id, one.live, one.event.as_ref().map(|event| event.get()))).collect();
    assert_eq!(held, [(1, false, Some(event.get())), (2, true, None)]);
    object.run(&gateway_people::release(2));
    assert!(object.run(&gateway_people::held(10)).is_empty());

    for (name, status, at) in [("a", true, 10), ("a", false, 30), ("b", true, 20)] {
        object.run(&gateway_people::changed(&publication(name, status), Micros(at)));
    }
    let changed: Vec<Changed> = object.read(&gateway_people::changed_since(Micros(25)));
    assert_eq!(changed.len(), 1);
    assert_eq!((changed[0].status_at, changed[0].profile_at), (10, 30));
    assert_eq!(changed[0].communities, Inner(Some(vec![of("alice")])));

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

fn trace(id: i64, key: &str) -> Trace {
    let mut subscriptions = Subscriptions::default();
    subscriptions.subscribe(Kind::Message, Some(key), 0);
    Trace {
        id,
        subscriptions,
        positions: [(of("alice").to_string(), Place::Seq(41))].into(),
        ..Trace::default()
    }
}

#[test]
fn q10_traces_are_bounded_and_the_address_with_the_most_loses_its_oldest() {
    let object = Object::new(gateway_people::SCHEMA);
    let leave = |id: i64, name: &str, address: &str| {
        for statement in gateway_people::leave(&did(name), address, Micros(id), &trace(id, "k")) {
            object.run(&statement);
        }
    };
    let ids = |name: &str| -> Vec<i64> {
        let kept = object.read::<Inner<Trace>>(&gateway_people::traces(&did(name)));
        kept.iter().map(|trace| trace.0.as_ref().unwrap().id).collect()
    };
    leave(1, "victim", "home");
    leave(2, "victim", "train");
    for id in 3..100 {
        leave(id, "victim", "elsewhere");
    }
    let kept = ids("victim");
    assert_eq!(i64::try_from(kept.len()).unwrap(), restore::PERSON_MAX);
    assert!(
        kept.ends_with(&[2, 1]) && kept.starts_with(&[99]),
        "a stranger pushes out only their own: {kept:?}"
    );
    leave(100, "other", "home");
    object.run(&gateway_people::make_room(3));
    assert_eq!(i64::try_from(ids("victim").len()).unwrap(), restore::PERSON_MAX - 3);
    assert_eq!(ids("other"), [100], "spared");
    assert_eq!(object.run(&gateway_people::oldest_trace()), ["1"]);
    object.run(&gateway_people::forget_traces(Micros(100)));
    assert_eq!((ids("victim"), ids("other")), (vec![], vec![100]), "the older ones are forgotten");
    let held: Vec<(i64, i64)> = object.read(&gateway_people::traces_held());
    assert_eq!(held[0].0, 1);
    assert_eq!(object.run(&gateway_people::has_traces(&did("other"))), ["1"]);
    assert!(object.run(&gateway_people::has_traces(&did("victim"))).is_empty());
}

#[test]
fn q13_changes_of_people_who_belong_nowhere_push_nobody_out() {
    let object = Object::new(gateway_people::SCHEMA);
    object.run(&gateway_people::changed(&publication("member", true), Micros(1)));
    for n in 0..1_200 {
        let made_up = Publication { communities: Vec::new(), ..publication(&format!("x{n}"), true) };
        object.run(&gateway_people::changed(&made_up, Micros(10 + n)));
    }
    gateway_people::forget_changes(Micros(0)).iter().for_each(|statement| drop(object.run(statement)));
    let left: Vec<Changed> = object.read(&gateway_people::changed_since(Micros(0)));
    assert_eq!(left.len(), 1_001);
    assert!(left.iter().any(|one| one.did == did("member")));
    gateway_people::forget_changes(Micros(1_000)).iter().for_each(|statement| drop(object.run(statement)));
    let left: Vec<Changed> = object.read(&gateway_people::changed_since(Micros(0)));
    assert!(left.iter().all(|one| one.status_at >= 1_000), "older ones are forgotten");
}

#[test]
fn p01_what_visitors_chose_is_bounded() {
    let object = Object::new(gateway_people::SCHEMA);
    for n in 0..1_500 {
        let chosen = gateway_people::choose(&did(&format!("x{n}")), State::Dnd, Micros(n));
        chosen.iter().for_each(|statement| drop(object.run(statement)));
    }
    let chosen = |n: i64| object.read::<String>(&gateway_people::chosen(&did(&format!("x{n}"))));
    assert_eq!(chosen(1_499), ["dnd"]);
    assert!(chosen(1).is_empty(), "the oldest go");
    object.run(&gateway_people::unchoose(&did("x1499")));
    assert!(chosen(1_499).is_empty());
}

fn gateway_schema() -> Vec<&'static str> {
    [gateway_people::SCHEMA, gateway_sessions::SCHEMA].concat()
}

#[test]
fn a_session_has_a_row_for_each_key() {
    let object = Object::new(&gateway_schema());
    let open = || object.run(&gateway_sessions::open(&Session::default(), 0))[0].parse::<i64>().unwrap();
    let (one, two) = (open(), open());
    assert_eq!((one, two), (1, 2));
    for (kind, key) in [
        (Kind::Message, Some("k")),
        (Kind::Message, Some("k")),
        (Kind::Message, None),
        (Kind::UserStatus, Some("a")),
    ] {
        object.run(&gateway_sessions::subscribe(one, kind, key));
    }
    let rows = || -> Vec<(i64, String, String)> { object.read(&gateway_sessions::subscribed()) };
    let row = |id: i64, kind: &str, key: &str| (id, kind.to_owned(), key.to_owned());
    assert_eq!(rows(), [row(one, "all", "message"), row(one, "message", "k"), row(one, "user_status", "a")]);
    let run =
        |statements: Vec<Statement>| statements.iter().for_each(|statement| drop(object.run(statement)));
    run(gateway_sessions::take_back(one, Kind::Message, None));
    assert_eq!(rows(), [row(one, "message", "k"), row(one, "user_status", "a")], "all, and not the keys");
    object.run(&gateway_sessions::subscribe(one, Kind::Message, None));
    run(gateway_sessions::unsubscribe(one, Kind::Message, None));
    assert_eq!(rows(), [row(one, "user_status", "a")], "A32");
    let mut listening = Subscriptions::default();
    listening.subscribe(Kind::Message, Some("a \" b"), 0);
    listening.subscribe(Kind::Community, None, 0);
    run(gateway_sessions::inherit(two, &listening));
    let mut read = Subscriptions::default();
    for (_, kind, key) in rows().iter().filter(|(id, _, _)| *id == two) {
        let (kind, key) = gateway_sessions::of_row(kind, key).unwrap();
        read.subscribe(kind, key, 0);
    }
    assert_eq!(read, listening);
    run(gateway_sessions::close(two));
    for statement in gateway_people::leave(&did("a"), "", Micros(0), &trace(two, "k")) {
        object.run(&statement);
    }
    assert_eq!(open(), 3, "a number whose trace is kept is not given again");
    let sessions: Vec<(i64, Inner<Session>)> = object.read(&gateway_sessions::sessions());
    assert_eq!(sessions.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [1, 3]);
}

/// It protects everybody who was connected while a gateway was updated.
#[test]
fn rows_of_before_are_brought_over() {
    let object = Object::new(&[
        "CREATE TABLE sessions (id INTEGER PRIMARY KEY, session TEXT NOT NULL)",
        "CREATE TABLE departed (
            id INTEGER PRIMARY KEY, did TEXT NOT NULL, at INTEGER NOT NULL, last INTEGER NOT NULL, departed TEXT NOT NULL)",
        r#"INSERT INTO sessions VALUES (7, '{"did":"did:plc:a","subscriptions":{"message":{"all":true,"keys":["k","at://x/y"]},"community":{"all":false,"keys":["c"]},"user_status":{"all":true,"keys":[]}},"replayed":{"at://c":9},"unproven":true,"restoring":{"since":"2026-03-01T12:00:00.000000Z","subscriptions":{"message":{"all":false,"keys":[]},"community":{"all":false,"keys":[]},"user_status":{"all":false,"keys":[]}},"owed":{"at://c":4},"done":["at://d"]}}')"#,
        r#"INSERT INTO departed VALUES (3, 'did:plc:b', 1772366400000000, 1, '{"subscriptions":{"message":{"all":false,"keys":["k"]},"community":{"all":false,"keys":[]},"user_status":{"all":false,"keys":[]}},"heard":{"at://c":41}}')"#,
    ]);
    object
        .0
        .execute_batch(
            "INSERT INTO sessions VALUES (8, '{'); INSERT INTO departed VALUES (9, 'did:plc:b', 1, 1, '[')",
        )
        .unwrap();
    for _ in 0..2 {
        gateway_schema().iter().for_each(|sql| object.0.execute_batch(sql).unwrap());
        let sessions: Vec<(i64, Inner<Session>)> = object.read(&gateway_sessions::sessions());
        let (id, session) = (sessions[0].0, sessions[0].1.0.as_ref().unwrap());
        assert_eq!((id, session.did.clone(), session.unproven), (7, Some(did("a")), true));
        assert_eq!(session.replayed["at://c"], 9);
        assert_eq!(session.restoring.as_ref().unwrap().owed["at://c"], 4);
        let rows: Vec<(i64, String, String)> = object.read(&gateway_sessions::subscribed());
        let rows: Vec<(&str, &str)> =
            rows.iter().map(|(_, kind, key)| (kind.as_str(), key.as_str())).collect();
        let all = [("all", "message"), ("all", "user_status"), ("community", "c"), ("message", "at://x/y")];
        assert_eq!(rows[..4], all);
        assert_eq!(rows[4..], [("message", "k")]);
        assert_eq!(object.run(&gateway_sessions::subscribed()).len(), 5);
        let traces: Vec<Inner<Trace>> = object.read(&gateway_people::traces(&did("b")));
        let traces: Vec<Trace> = traces.into_iter().filter_map(|trace| trace.0).collect();
        let at = Micros(1_772_366_400_000_000);
        let expected = Trace { id: -3, alive_at: at, closed_at: Some(at), ..trace(0, "k") };
        assert_eq!(traces, [Trace { positions: [("at://c".into(), Place::Seq(41))].into(), ..expected }]);
    }
}

#[test]
fn what_a_community_keeps_of_voice() {
    let object = Object::new(community_voice::SCHEMA);
    let channel =
        |rkey: &str| AtUri::parse(&format!("at://did:plc:alice/social.colibri.channel/{rkey}")).unwrap();
    object.run(&community_voice::join(&did("a"), &channel("v"), "gateway-1"));
    object.run(&community_voice::join(&did("b"), &channel("v"), "gateway-2"));
    object.run(&community_voice::join(&did("a"), &channel("w"), "gateway-1"));
    let members = || object.read::<(Did, AtUri, String)>(&community_voice::members());
    assert!(members().contains(&(did("a"), channel("w"), "gateway-1".to_owned())), "{:?}", members());
    object.run(&community_voice::only(&Rooms::of([(did("a"), channel("w"))])));
    assert_eq!(members(), [(did("a"), channel("w"), "gateway-1".to_owned())]);
}
