//! What is stored about people's proofs (X13, R26), through the real SQL.

use colibri_edge::storage::proofs::{Noted, find, prove, revoke};
use colibri_edge::storage::sweep::{Place, sweep};
use colibri_edge::wire::ids::Did;
use colibri_edge::wire::time::Micros;
use futures::executor::block_on;

use super::sqlite::Sqlite;

const DAY: i64 = 24 * 3_600_000_000;

fn did(name: &str) -> Did {
    Did::parse(&format!("did:plc:{name}")).unwrap()
}

fn noted(store: &Sqlite, name: &str) -> Option<Noted> {
    block_on(find(store, &did(name))).unwrap()
}

#[test]
fn x13_r26_proofs_and_revocations_are_noted_beside_each_other() {
    let store = Sqlite::new();
    assert_eq!(noted(&store, "a"), None);
    block_on(revoke(&store, &did("a"), Micros(1))).unwrap();
    let revoked = Noted { noted_at: Micros(1), proven: false, revoked_at: Some(Micros(1)) };
    assert_eq!(noted(&store, "a"), Some(revoked.clone()));
    assert!(revoked.is_stale(Micros(2)), "a proof is news");
    block_on(prove(&store, &did("a"), Micros(2))).unwrap();
    let proven = Noted { noted_at: Micros(2), proven: true, revoked_at: Some(Micros(1)) };
    assert_eq!(noted(&store, "a"), Some(proven.clone()));
    assert!(!proven.is_stale(Micros(1 + DAY)), "once a day is enough");
    assert!(proven.is_stale(Micros(2 + DAY)));
    block_on(revoke(&store, &did("a"), Micros(7))).unwrap();
    block_on(revoke(&store, &did("a"), Micros(5))).unwrap();
    let again = Noted { noted_at: Micros(7), proven: true, revoked_at: Some(Micros(7)) };
    assert_eq!(noted(&store, "a"), Some(again), "the latest counts, whatever comes late");
}

#[test]
fn x13_r26_what_is_remembered_is_bounded() {
    let store = Sqlite::new();
    block_on(revoke(&store, &did("old"), Micros(0))).unwrap();
    block_on(revoke(&store, &did("new"), Micros(2 * DAY))).unwrap();
    block_on(prove(&store, &did("known"), Micros(0))).unwrap();
    block_on(prove(&store, &did("stranger"), Micros(0))).unwrap();
    store.exec("INSERT INTO people (did, updated_at) VALUES ('did:plc:known', '2026-03-01T12:00:00.000Z')");
    let mut place = Place::default();
    block_on(sweep(&store, &mut place, Micros(2 * DAY))).unwrap();
    assert_eq!(noted(&store, "old"), None, "every token from before it has ended");
    assert!(noted(&store, "new").is_some() && noted(&store, "stranger").is_some());
    store.exec(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
         INSERT INTO proofs (did, noted_at, proven) SELECT 'did:plc:n' || i, '2026-03-01T12:00:00.000000Z', 1 FROM n",
    );
    while block_on(sweep(&store, &mut place, Micros(2 * DAY))).unwrap() {}
    assert_eq!(store.look("SELECT count(*) FROM proofs"), ["100000"], "so many");
    assert_eq!(noted(&store, "stranger"), None, "the oldest go");
    assert!(noted(&store, "known").is_some(), "but whoever the index knows stays");
}
