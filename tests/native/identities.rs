//! Stored DID documents, through the real SQL (I50, K06, K12).

use colibri_edge::domain::hosts::Reach;
use colibri_edge::domain::identity::{Finding, HandleStatus, Identity};
use colibri_edge::pipeline::{learn, remember};
use colibri_edge::storage::Store;
use colibri_edge::storage::identities::{self, Due, Looked};
use colibri_edge::wire::did_document::DidDocument;
use colibri_edge::wire::handle::Handle;
use colibri_edge::wire::ids::Did;
use colibri_edge::wire::profile::LookedUp;
use colibri_edge::wire::time::Micros;
use futures::executor::block_on;
use serde_json::json;

use super::sqlite::Sqlite;
use super::story::{START, Service, Story};

/// The contents of a document that was requested at `at`.
pub(crate) fn read(did: &Did, at: i64) -> Identity {
    let text = format!(
        r##"{{"id":"{did}","alsoKnownAs":["at://bob.test"],
        "verificationMethod":[{{"id":"#atproto","type":"Multikey",
            "publicKeyMultibase":"zQ3shqwJEJyMBsBXCWyCBpUBMqxcon9oHB7mCvx4sSpMdLJwc"}}],
        "service":[{{"id":"#atproto_pds","type":"AtprotoPersonalDataServer","serviceEndpoint":"https://pds.test"}}]}}"##
    );
    Identity::of(did, DidDocument::parse(&text, did).unwrap(), &Reach::default(), Micros(at))
}

fn bob() -> Did {
    Did::parse("did:plc:bob").unwrap()
}

/// A working set that knows bob.
fn with_bob() -> Sqlite {
    let mut story = Story::default();
    story.community("alice", false).join("bob", "alice");
    Service::live(&story).store
}

fn find(store: &Sqlite, did: &Did) -> Option<Identity> {
    block_on(identities::find(store, did)).unwrap()
}

#[test]
fn what_was_read_comes_back() {
    let store = with_bob();
    let mut identity = read(&bob(), START);
    block_on(identities::keep(&store, &identity)).unwrap();
    assert_eq!(find(&store, &bob()).as_ref(), Some(&identity));
    (identity.handle_status, identity.handle_checked_at) = (HandleStatus::Valid, Some(Micros(START + 1)));
    block_on(identities::keep(&store, &identity)).unwrap();
    assert_eq!(find(&store, &bob()).as_ref(), Some(&identity), "the handle was checked");
    block_on(identities::keep(&store, &read(&bob(), START - 1))).unwrap();
    assert_eq!(
        find(&store, &bob()).as_ref(),
        Some(&identity),
        "an answer that was asked for earlier is late"
    );
    let bare = Did::parse("did:plc:alice").unwrap();
    let nothing = DidDocument::parse(r#"{"id":"did:plc:alice"}"#, &bare).unwrap();
    let nothing = Identity::of(&bare, nothing, &Reach::default(), Micros(START));
    block_on(identities::keep(&store, &nothing)).unwrap();
    assert_eq!(find(&store, &bare), Some(nothing), "a document that says nothing");
}

/// K06, invariant 4: a request about anybody leaves nothing behind.
#[test]
fn k06_of_strangers_nothing_is_kept() {
    let store = with_bob();
    for n in 0..100 {
        let stranger = Did::parse(&format!("did:plc:stranger{n}")).unwrap();
        block_on(identities::keep(&store, &read(&stranger, START))).unwrap();
        assert_eq!(find(&store, &stranger), None);
    }
    let added = Did::parse("did:plc:added").unwrap();
    block_on(store.commit(vec![identities::know(format!("[\"{added}\"]"), Micros(START))])).unwrap();
    block_on(identities::keep(&store, &read(&added, START))).unwrap();
    assert_eq!(find(&store, &added), Some(read(&added, START)), "who was added is none");
}

/// I50: a document that was requested before the network reported a change does not count, even if
/// it arrives after.
#[test]
fn i50_a_document_that_changed_is_dropped() {
    let store = with_bob();
    let mut identity = read(&bob(), START);
    identity.handle_checked_at = Some(Micros(START));
    block_on(identities::keep(&store, &identity)).unwrap();
    let changed = identities::changed(std::slice::from_ref(&bob()), Micros(START + 5));
    block_on(store.commit(vec![changed])).unwrap();
    for asked_at in [START, START + 4, START + 5] {
        block_on(identities::keep(&store, &read(&bob(), asked_at))).unwrap();
        let found = find(&store, &bob()).unwrap();
        assert_eq!((found.resolved_at, found.handle_checked_at), (None, None), "asked at {asked_at}");
        assert!(!found.is_believed(Micros(START + 6)) && !found.is_checked(Micros(START + 6)));
    }
    block_on(identities::keep(&store, &read(&bob(), START + 6))).unwrap();
    assert!(find(&store, &bob()).unwrap().is_believed(Micros(START + 7)));
}

fn due(store: &Sqlite, at: i64) -> Vec<Due> {
    block_on(identities::due(store, Micros(at), 50)).unwrap()
}

/// K12, K06: new people are looked up at once, people whom somebody merely asked about never.
#[test]
fn k12_who_becomes_known_is_due_once() {
    let mut story = Story::default();
    story.community("alice", false).join("bob", "alice");
    let service = Service::live(&story);
    let known = due(&service.store, i64::from(i32::MAX) * 1_000_000);
    let names: Vec<&str> = known.iter().map(|due| due.did.as_str()).collect();
    assert_eq!(names, ["did:plc:alice", "did:plc:bob"]);
    assert!(known.iter().all(|due| due.wants_profile && due.failures == 0));
    let done: Vec<Looked> = known
        .iter()
        .map(|due| Looked {
            did: due.did.clone(),
            since: due.since,
            again_at: None,
            failures: 0,
            error: None,
        })
        .collect();
    block_on(identities::looked(&service.store, &done)).unwrap();
    assert_eq!(block_on(identities::next_due(&service.store)).unwrap(), None);
    let stranger = Did::parse("did:plc:stranger").unwrap();
    let profile = LookedUp { display_name: Some("S".into()), ..LookedUp::default() };
    block_on(remember(&service.store, &stranger, &profile, &service.settings(), Micros(START))).unwrap();
    assert_eq!(block_on(identities::next_due(&service.store)).unwrap(), None, "K06: a lookup is no reason");
}

/// K12: each failure makes the pause longer; people who wait for the first time come first.
#[test]
fn k12_who_fails_keeps_nobody_waiting() {
    let store = with_bob();
    let far = i64::from(i32::MAX) * 1_000_000;
    let failed = due(&store, far).remove(0);
    let again_at = Micros(far - 1);
    let looked = |since| Looked {
        did: failed.did.clone(),
        since,
        again_at: Some(again_at),
        failures: 1,
        error: Some("status 500".into()),
    };
    block_on(identities::looked(&store, &[looked(failed.since)])).unwrap();
    let order: Vec<(Did, i64)> = due(&store, far).into_iter().map(|due| (due.did, due.failures)).collect();
    assert_eq!(order, [(bob(), 0), (failed.did.clone(), 1)]);
    // Another reason during a look-up: the person is looked up again.
    let changed = identities::changed(std::slice::from_ref(&failed.did), Micros(far - 2));
    block_on(store.commit(vec![changed])).unwrap();
    block_on(identities::looked(&store, &[looked(again_at)])).unwrap();
    let again = due(&store, far).into_iter().find(|due| due.did == failed.did).unwrap();
    assert_eq!(again.since, Micros(far - 2));
}

/// I50, B-28: a different handle is unproven until it is verified; a shown change is published.
#[test]
fn i50_b28_a_handle_is_published_when_it_is_verified() {
    let mut story = Story::default();
    story.community("alice", false).join("bob", "alice");
    let service = Service::live(&story);
    let found = |handle: Option<Option<&str>>, profile: Option<LookedUp>| {
        let handle = handle.map(|handle| handle.map(|text| Handle::parse(text).unwrap()));
        let findings = [(bob(), Finding { handle, profile })];
        block_on(learn(&service.store, &findings, &service.settings(), Micros(START))).unwrap()
    };
    let shown = || service.store.look("SELECT handle, display_name FROM people WHERE did = 'did:plc:bob'");
    let told = || {
        let sql = "SELECT json_extract(announcements, '$[0].event.type'),
            json_extract(announcements, '$[0].event.handle') FROM outbox ORDER BY id DESC LIMIT 1";
        service.store.look(sql).join("")
    };
    assert!(found(Some(Some("bob.test")), None));
    assert_eq!((shown().join(""), told()), ("bob.test|null".into(), "user_profile_updated|bob.test".into()));
    assert!(!found(Some(Some("bob.test")), None), "nothing new is not committed");
    assert!(!found(None, None), "nor is what could not be found out");
    let profile =
        LookedUp { handle: Some("x.test".into()), display_name: Some("Bob".into()), ..LookedUp::default() };
    assert!(found(None, Some(profile.clone())));
    assert_eq!(shown().join(""), "bob.test|Bob", "the handle of a profile was proven by somebody else");
    let other = LookedUp { display_name: Some("Robert".into()), ..profile };
    assert!(!found(None, Some(other)), "a profile that is known is not replaced");
    assert!(found(Some(None), None));
    assert_eq!((shown().join(""), told()), ("null|Bob".into(), "user_profile_updated|null".into()));
    let nobody = [(Did::parse("did:plc:nobody").unwrap(), Finding { handle: Some(None), profile: None })];
    assert!(!block_on(learn(&service.store, &nobody, &service.settings(), Micros(START))).unwrap());
}

/// I50: the event makes the person due, and the stored document does not count any more.
#[test]
fn i50_an_identity_event_is_a_reason_to_look() {
    let store = with_bob();
    let mut service = Service::new();
    service.store = store;
    let far = i64::from(i32::MAX) * 1_000_000;
    let done: Vec<Looked> = due(&service.store, far)
        .into_iter()
        .map(|due| Looked { did: due.did, since: due.since, again_at: None, failures: 0, error: None })
        .collect();
    block_on(identities::looked(&service.store, &done)).unwrap();
    block_on(identities::keep(&service.store, &read(&bob(), 5))).unwrap();
    let event = |did: &str| {
        json!({ "did": did, "time_us": START, "kind": "identity",
            "identity": { "did": did, "handle": "new.test", "seq": 1, "time": "2026-03-01T12:00:00Z" } })
        .to_string()
    };
    service.batch(&[event("did:plc:bob"), event("did:plc:foreigner")]);
    let names: Vec<Did> = due(&service.store, far).into_iter().map(|due| due.did).collect();
    assert_eq!(names, [bob()], "and strangers are none of our business");
    assert_eq!(find(&service.store, &bob()).unwrap().resolved_at, None);
}
