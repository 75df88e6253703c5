//! Questions that cost the same however much the database holds (issue of growth: repositories after a gap are all due).
//!
//! The cost is counted in instructions of SQLite's machine, so a test neither depends on the computer nor on the day.

use colibri_edge::storage::reads::directory;
use colibri_edge::storage::repos;
use colibri_edge::wire::time::Micros;
use futures::executor::block_on;

use super::sqlite::Sqlite;
use super::story::{Service, Story, community};

/// What reading costs.
fn cost<T>(store: &Sqlite, question: impl Future<Output = T>) -> i64 {
    let before = store.steps.get();
    block_on(question);
    store.steps.get() - before
}

/// A database with this many due repositories on each of three hosts and without a host, and as many that are not due.
fn with_due(count: u32) -> Sqlite {
    let store = Sqlite::new();
    store.by_hand(&format!(
        "INSERT INTO repos (did, host, status, reason, due_since, next_attempt_at, known_at, is_owner)
         SELECT 'did:plc:' || host.value || n.value, nullif(host.value, ''), 'waiting',
             CASE n.value % 3 WHEN 0 THEN 'found' ELSE 'gap' END, '2026-01-01T00:00:00.000Z',
             iif(n.value % 2, '2026-01-01T00:00:00.000Z', '2027-01-01T00:00:00.000Z'), '2026-01-01T00:00:00.000Z', n.value = 5
         FROM json_each('[\"\", \"one.example\", \"three.example\", \"two.example\"]') host
         CROSS JOIN (WITH RECURSIVE n(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n WHERE value < {}) SELECT value FROM n) n",
        2 * count,
    ));
    store
}

/// 2026-06-01: half of the repositories of [`with_due`] are due.
const NOW: Micros = Micros(1_780_272_000_000_000);

#[test]
fn k02_the_next_repository_is_found_at_the_same_cost_however_many_are_due() {
    let (small, large) = (with_due(20), with_due(5_000));
    for host in [None, Some("two.example")] {
        let first = block_on(repos::due(&large, host, NOW, 4)).unwrap();
        assert_eq!(first.len(), 4);
        assert!(
            first[0].did.as_str().ends_with(".example5") || host.is_none(),
            "an owner's is first: {:?}",
            first[0]
        );
        assert!(first.iter().all(|due| due.reason != "found"), "those from a relay come last");
        let of = |store| cost(store, repos::due(store, host, NOW, 4));
        assert_same(of(&small), of(&large));
        let of = |store| cost(store, repos::next_due(store, host));
        assert_same(of(&small), of(&large));
    }
    let hosts = block_on(repos::hosts_due(&large, NOW)).unwrap();
    let hosts: Vec<_> = hosts.iter().map(|one| one.host.as_str()).collect();
    assert_eq!(hosts, ["one.example", "three.example", "two.example"]);
    let of = |store| cost(store, repos::hosts_due(store, NOW));
    assert_same(of(&small), of(&large));
    assert_eq!(block_on(repos::hosts_due(&large, Micros(0))).unwrap(), [], "none is due yet");
}

/// A listed community with this many more people in it, of either form.
fn with_members(count: i64) -> Sqlite {
    let mut story = Story::default();
    story.community("alice", false);
    let store = Service::live(&story).store;
    let numbers =
        format!("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})");
    let place = community("alice");
    store.by_hand(&format!(
        "INSERT INTO listings (community_uri, listed_at) VALUES ('{place}', '2026-01-01T00:00:00.000000Z');
         {numbers} INSERT INTO memberships (uri, member_did, community_uri, rev, indexed_at)
            SELECT 'at://did:plc:x' || i || '/social.colibri.membership/m', 'did:plc:x' || i, '{place}', '', '' FROM n;
         {numbers} INSERT INTO members (uri, rkey, member_did, community_uri, roles, withdrawn, hidden, rev, indexed_at)
            SELECT '{place}/' || i, i, 'did:plc:y' || i, '{place}', '[]', 0, 0, '', '' FROM n;",
    ));
    store
}

#[test]
fn r53_a_page_costs_the_same_however_many_people_are_in_its_communities() {
    let (small, large) = (with_members(directory::COUNTED), with_members(directory::COUNTED * 10));
    for store in [&small, &large] {
        let (page, _) = block_on(directory::directory(store, None, 20)).unwrap();
        assert_eq!(page.iter().map(|one| one.member_count).collect::<Vec<_>>(), [Some(directory::COUNTED)]);
    }
    let of = |store| cost(store, directory::directory(store, None, 20));
    assert_same(of(&small), of(&large));
}

/// The larger database may cost a little more: its trees are deeper, which is no instruction, and its rows may differ.
fn assert_same(small: i64, large: i64) {
    assert!(small > 0 && large * 10 <= small * 12, "{small} steps with few rows, {large} with many");
}
