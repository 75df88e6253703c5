//! A relay's lists, through the real SQL: they make repositories known, once, and grow nothing
//! without bound.

use colibri_edge::domain::discovery::{EMPTY_KEPT, Ending, FORGOTTEN_AFTER, Next, Seen, WAITING_MAX, Walk};
use colibri_edge::domain::repos::Reason;
use colibri_edge::storage::repos::{self, Succeeded};
use colibri_edge::storage::{Statement, Store, discovery, reads};
use colibri_edge::wire::ids::Did;
use colibri_edge::wire::time::Micros;
use futures::executor::block_on;

use super::sqlite::Sqlite;
use super::story::{START, Service, Story};

const NOW: Micros = Micros(START);

fn dids(names: impl IntoIterator<Item = impl ToString>) -> Vec<Did> {
    names.into_iter().map(|name| Did::parse(&format!("did:plc:{}", name.to_string())).unwrap()).collect()
}

fn find(store: &Sqlite, names: &[&str], room: u32) -> usize {
    let found = dids(names.iter());
    block_on(store.write(&[discovery::found(found.iter(), room, NOW)])).unwrap()[0].len()
}

fn run(store: &Sqlite, statements: Vec<Statement>) {
    block_on(store.commit(statements)).unwrap();
}

fn known(store: &Sqlite) -> Vec<String> {
    store.look("SELECT did, status, reason FROM repos ORDER BY did")
}

fn read(store: &Sqlite, name: &str, status: &'static str) {
    let did = &dids([name])[0];
    let look = Succeeded {
        did,
        rev: Some("3a"),
        status,
        began: Micros(NOW.0 + 1_000),
        refused: Some(0),
        signed_by: None,
    };
    run(store, vec![repos::succeeded(&look, Micros(NOW.0 + 2_000))]);
}

fn fail(store: &Sqlite, name: &str, times: u32) {
    let did = &dids([name])[0];
    for _ in 0..times {
        let statements = vec![repos::failed(did, "failing", "why", NOW), discovery::forget_unread(did)];
        run(store, statements);
    }
}

fn begun(kept: u32) -> Walk {
    Walk::begin("https://relay.test/", kept, NOW)
}

#[test]
fn found_repositories_are_due_once() {
    let mut story = Story::default();
    story.community("alice", false);
    let store = Service::live(&story).store;
    assert_eq!(find(&store, &["alice", "bob", "carol"], 10), 2, "alice is known");
    assert_eq!(find(&store, &["alice", "bob", "carol"], 10), 0, "a second walk makes no work");
    let expected = ["did:plc:alice|waiting|new", "did:plc:bob|waiting|found", "did:plc:carol|waiting|found"];
    assert_eq!(known(&store), expected);
    let due = block_on(repos::due(&store, None, Micros(i64::MAX), 10)).unwrap();
    let order: Vec<&str> = due.iter().map(|due| due.did.as_str()).collect();
    assert_eq!(order, ["did:plc:alice", "did:plc:bob", "did:plc:carol"], "those that are listed come last");
    read(&store, "bob", "synced");
    read(&store, "carol", "empty");
    assert_eq!(find(&store, &["bob", "carol"], 10), 0, "also when they were read");
    assert_eq!(known(&store)[1..], ["did:plc:bob|synced|found", "did:plc:carol|empty|found"]);
}

#[test]
fn as_many_are_found_as_there_is_room() {
    let store = Sqlite::new();
    assert_eq!(find(&store, &["a", "b"], 1), 1);
    assert_eq!(find(&store, &["a", "b", "c", "d"], 2), 2, "who is known takes no room");
    assert_eq!(find(&store, &["e"], 0), 0);
    assert_eq!(block_on(discovery::kept(&store)).unwrap(), 3);
}

/// K01: a person whose record was accepted is known for their own sake.
#[test]
fn k01_a_discovered_repository_with_accepted_records_is_like_any_other() {
    let mut story = Story::default();
    story.community("alice", false).join("bob", "alice");
    let mut service = Service::new();
    find(&service.store, &["alice", "bob", "carol"], 10);
    read(&service.store, "bob", "empty");
    service.batch(&story.frames);
    let expected = ["did:plc:alice|waiting|new", "did:plc:bob|waiting|new", "did:plc:carol|waiting|found"];
    assert_eq!(known(&service.store), expected);
    assert_eq!(
        service.store.look("SELECT next_attempt_at IS NOT NULL FROM repos WHERE did = 'did:plc:bob'"),
        ["1"],
        "what held nothing does now"
    );
    assert_eq!(block_on(discovery::kept(&service.store)).unwrap(), 1);
    fail(&service.store, "alice", 2 * FORGOTTEN_AFTER);
    assert!(known(&service.store)[0].starts_with("did:plc:alice"), "K03: and never forgotten");
}

/// A repository that was read before is not read again because of its contents.
#[test]
fn letting_a_found_repository_in_makes_no_work() {
    let mut story = Story::default();
    story.community("alice", false);
    let mut service = Service::new();
    find(&service.store, &["alice"], 10);
    read(&service.store, "alice", "synced");
    service.batch(&story.frames);
    let columns = "SELECT status, reason, next_attempt_at IS NULL FROM repos WHERE did = 'did:plc:alice'";
    assert_eq!(service.store.look(columns), ["synced|new|1"]);
}

#[test]
fn what_cannot_be_read_is_forgotten_and_what_holds_nothing_later() {
    let store = Sqlite::new();
    find(&store, &["gone", "empty", "here"], 10);
    fail(&store, "gone", FORGOTTEN_AFTER - 1);
    assert_eq!(known(&store).len(), 3);
    fail(&store, "gone", 1);
    read(&store, "empty", "empty");
    read(&store, "here", "synced");
    fail(&store, "here", 2 * FORGOTTEN_AFTER);
    let kept = ["did:plc:empty|empty|found", "did:plc:here|failing|found"];
    assert_eq!(known(&store), kept, "one that was read is not forgotten for failures");
    run(&store, vec![discovery::forget_empty(Micros(NOW.0 + EMPTY_KEPT))]);
    assert_eq!(known(&store), kept);
    run(&store, vec![discovery::forget_empty(Micros(NOW.0 + EMPTY_KEPT + 1_000_000))]);
    assert_eq!(known(&store), ["did:plc:here|failing|found"]);
    assert_eq!(find(&store, &["gone", "empty"], 10), 2, "they may be found anew");
}

/// A repository that somebody asked for no longer counts as a guess.
#[test]
fn who_is_asked_for_is_not_forgotten() {
    let store = Sqlite::new();
    find(&store, &["a"], 10);
    let asked = repos::want(&dids(["a"])[0], Reason::Asked, NOW);
    block_on(store.write(&[asked])).unwrap();
    fail(&store, "a", 2 * FORGOTTEN_AFTER);
    assert_eq!(known(&store), ["did:plc:a|failing|asked"]);
}

#[test]
fn a_walk_comes_back_as_it_was_stored() {
    let store = Sqlite::new();
    let state = |at| block_on(discovery::state(&store, at)).unwrap();
    let (none, Seen { last_gap, waiting }) = state(NOW);
    assert_eq!((none, last_gap, waiting), (None, None, 0));
    let mut walk = begun(7);
    for ended in [None, Some((Micros(NOW.0 + 5_000), Ending::Full))] {
        (walk.step, walk.cursor, walk.ended) = (2, Some("c".into()), ended);
        (walk.pages, walk.listed, walk.found, walk.dropped) = (3, 4, 5, 6);
        (walk.failures, walk.error, walk.broken) = (1, Some("why".into()), 2);
        block_on(store.write(&[discovery::keep(&walk)])).unwrap();
        assert_eq!(state(NOW).0.as_ref(), Some(&walk));
    }
    let shown = block_on(reads::ingest_status(&store)).unwrap().relay.unwrap();
    assert_eq!((shown.pages, shown.found, shown.ending.as_deref()), (3, 5, Some("full")));
    block_on(store.write(&[discovery::keep(&begun(0))])).unwrap();
    assert_eq!(state(NOW).0, Some(begun(0)), "every column is written");
}

/// Waiting repositories count until they are tried; those that are due later do not count.
#[test]
fn the_walk_waits_for_those_who_were_not_tried() {
    let store = Sqlite::new();
    let names: Vec<String> = (0..WAITING_MAX + 5).map(|n| format!("n{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    find(&store, &names, u32::MAX);
    let waiting = || block_on(discovery::state(&store, NOW)).unwrap().1.waiting;
    assert_eq!(waiting(), WAITING_MAX, "no more are counted than matter");
    let walk = begun(0);
    let next = |waiting| Walk::next(Some(&walk), &walk.relay, Seen { last_gap: None, waiting }, NOW);
    assert!(matches!(next(waiting()), Next::Wait(_)));
    for name in &names[3..] {
        read(&store, name, "empty");
    }
    assert_eq!(waiting(), 3);
    fail(&store, names[0], 1);
    run(&store, vec![repos::postponed(&dids([names[1]])[0], Micros(NOW.0 + 60_000_000))]);
    assert_eq!(waiting(), 1);
    assert!(matches!(next(waiting()), Next::Ask { .. }));
}

#[test]
fn a_gap_is_seen() {
    let store = Sqlite::new();
    let gap = "INSERT INTO gaps (host, from_us, to_us, from_at, to_at, reason, state, noticed_at)
               VALUES ('h', 1, 2, 'x', 'y', 'cursor_too_old', 'closed', '2026-03-01T12:00:00.000Z') RETURNING '1' AS row";
    block_on(store.write(&[Statement::new(gap, [])])).unwrap();
    let seen = block_on(discovery::state(&store, NOW)).unwrap().1;
    assert_eq!(seen.last_gap, Micros::parse("2026-03-01T12:00:00Z"));
}
