//! What is kept of DID documents, through the real SQL (I50, K06, K12).

use colibri_edge::domain::identity::{HandleStatus, Identity};
use colibri_edge::storage::{Store, identities};
use colibri_edge::wire::did_document::DidDocument;
use colibri_edge::wire::ids::Did;
use colibri_edge::wire::time::Micros;
use futures::executor::block_on;

use super::sqlite::Sqlite;
use super::story::{START, Service, Story};

/// What a document says that was asked for at `at`.
pub(crate) fn read(did: &Did, at: i64) -> Identity {
    let text = format!(
        r##"{{"id":"{did}","alsoKnownAs":["at://bob.test"],
        "verificationMethod":[{{"id":"#atproto","type":"Multikey",
            "publicKeyMultibase":"zQ3shqwJEJyMBsBXCWyCBpUBMqxcon9oHB7mCvx4sSpMdLJwc"}}],
        "service":[{{"id":"#atproto_pds","type":"AtprotoPersonalDataServer","serviceEndpoint":"https://pds.test"}}]}}"##
    );
    Identity::of(did, DidDocument::parse(&text, did).unwrap(), &[], Micros(at))
}

fn bob() -> Did {
    Did::parse("did:plc:bob").unwrap()
}

/// A world that knows bob.
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
    let nothing = Identity::of(&bare, nothing, &[], Micros(START));
    block_on(identities::keep(&store, &nothing)).unwrap();
    assert_eq!(find(&store, &bare), Some(nothing), "a document that says nothing");
}

/// K06, invariant 4: what anybody asks for leaves nothing behind.
#[test]
fn k06_of_strangers_nothing_is_kept() {
    let store = with_bob();
    for n in 0..100 {
        let stranger = Did::parse(&format!("did:plc:stranger{n}")).unwrap();
        block_on(identities::keep(&store, &read(&stranger, START))).unwrap();
        assert_eq!(find(&store, &stranger), None);
    }
    let added = Did::parse("did:plc:added").unwrap();
    block_on(store.commit(vec![identities::know(std::slice::from_ref(&added), Micros(START))])).unwrap();
    block_on(identities::keep(&store, &read(&added, START))).unwrap();
    assert_eq!(find(&store, &added), Some(read(&added, START)), "who was added is none");
}

/// I50: what was asked for before the network said that it changed is not believed, also if the
/// answer comes after.
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
