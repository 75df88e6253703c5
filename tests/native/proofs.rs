//! What is stored about people's proofs (X13, R26), through the real SQL.

use colibri_edge::storage::proofs::{Noted, find, prove, revoke};
use colibri_edge::storage::push::subscribe;
use colibri_edge::storage::sweep::{Place, sweep};
use colibri_edge::wire::ids::Did;
use colibri_edge::wire::time::Micros;
use colibri_edge::wire::web_push::{Keys, Subscription};
use futures::executor::block_on;
use url::Url;

use super::sqlite::Sqlite;

const DAY: i64 = 24 * 3_600_000_000;

fn did(name: &str) -> Did {
    Did::parse(&format!("did:plc:{name}")).unwrap()
}

fn noted(store: &Sqlite, name: &str) -> Noted {
    block_on(find(store, &did(name))).unwrap()
}

fn known(noted_at: i64, proven: bool, revoked_at: i64) -> Noted {
    Noted { noted_at: Some(Micros(noted_at)), proven, revoked_at: Some(Micros(revoked_at)), erased: false }
}

#[test]
fn x13_r26_proofs_and_revocations_are_noted_beside_each_other() {
    let store = Sqlite::new();
    assert_eq!(noted(&store, "a"), Noted::default());
    assert!(Noted::default().is_stale(Micros(0)));
    block_on(revoke(&store, &did("a"), Micros(1))).unwrap();
    let revoked = known(1, false, 1);
    assert_eq!(noted(&store, "a"), revoked);
    assert!(revoked.is_stale(Micros(2)), "a proof is news");
    block_on(prove(&store, &did("a"), Micros(2))).unwrap();
    let proven = known(2, true, 1);
    assert_eq!(noted(&store, "a"), proven);
    assert!(!proven.is_stale(Micros(1 + DAY)), "once a day is enough");
    assert!(proven.is_stale(Micros(2 + DAY)));
    block_on(revoke(&store, &did("a"), Micros(7))).unwrap();
    block_on(revoke(&store, &did("a"), Micros(5))).unwrap();
    let again = known(7, true, 7);
    assert_eq!(noted(&store, "a"), again, "the latest counts, whatever comes late");
}

#[test]
fn r26_u28_a_revocation_forgets_the_browsers_of_its_person() {
    let store = Sqlite::new();
    for name in ["a", "b"] {
        let keys = Keys { p256dh: "p".into(), auth: "a".into() };
        let endpoint = Url::parse(&format!("https://push.example.com/{name}")).unwrap();
        block_on(subscribe(&store, &did(name), &Subscription { endpoint, keys }, Micros(0))).unwrap();
    }
    block_on(revoke(&store, &did("a"), Micros(1))).unwrap();
    assert_eq!(store.look("SELECT did FROM push_subscriptions"), ["did:plc:b"]);
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
    assert_eq!(noted(&store, "old"), Noted::default(), "every token from before it has ended");
    assert!(noted(&store, "new").revoked_at.is_some() && noted(&store, "stranger").proven);
    store.exec(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
         INSERT INTO proofs (did, noted_at, proven) SELECT 'did:plc:n' || i, '2026-03-01T12:00:00.000000Z', 1 FROM n",
    );
    while block_on(sweep(&store, &mut place, Micros(2 * DAY))).unwrap() {}
    assert_eq!(store.look("SELECT count(*) FROM proofs"), ["100000"], "so many");
    assert_eq!(noted(&store, "stranger"), Noted::default(), "the oldest go");
    assert!(noted(&store, "known").proven, "but a person in the index stays");
}
