//! Reports (R86 to R88), through the real SQL.

use colibri_edge::domain::moderation::{Caller, Proof};
use colibri_edge::storage::audit::{self, Act, Filter};
use colibri_edge::storage::reports::{self, A_DAY, Added, KEPT, New, OPEN};
use colibri_edge::wire::bodies::Report;
use colibri_edge::wire::ids::{AtUri, Collection, Did, Rkey};
use colibri_edge::wire::time::Micros;
use futures::executor::block_on;

use super::story::{START, Service, Story, block, community, did};

const DAY: i64 = 24 * 3_600_000_000;

fn garden() -> Service {
    let mut story = Story::default();
    story.community("alice", false).join("bob", "alice").say("bob", "m", "rude");
    Service::live(&story)
}

fn add(service: &Service, reporter: &Did, subject: &str, at: i64) -> Added {
    add_in(service, "alice", reporter, subject, at)
}

fn add_in(service: &Service, owner: &str, reporter: &Did, subject: &str, at: i64) -> Added {
    let (community, about) = (community(owner), did("bob"));
    let new = New {
        community: &community,
        reporter,
        subject,
        about: &about,
        reason: "rude",
        comment: Some("see there"),
    };
    block_on(reports::add(&service.store, &new, Micros(at))).unwrap()
}

fn listed(service: &Service, open: Option<bool>) -> Vec<Report> {
    let uri = community("alice");
    block_on(reports::page(&service.store, uri.as_str(), open, None, 1_000)).unwrap().0
}

#[test]
fn r86_of_what_is_visible_once_for_a_person_and_a_subject() {
    let mut service = garden();
    let message = AtUri::of(&did("bob"), Collection::Message, &Rkey::parse("m").unwrap());
    let about = block_on(reports::about(&service.store, &message)).unwrap();
    assert_eq!(about, Some((community("alice"), did("bob"))));
    let Added::Open(id) = add(&service, &did("carol"), message.as_str(), START) else { panic!("it is open") };
    assert_eq!(add(&service, &did("carol"), message.as_str(), START + 1), Added::Open(id), "the same one");
    assert_ne!(add(&service, &did("dora"), message.as_str(), START), Added::Open(id), "somebody else's");
    assert_eq!(listed(&service, Some(true)).len(), 2);
    service.decide(block("bob", "m"));
    assert_eq!(block_on(reports::about(&service.store, &message)).unwrap(), None, "nobody sees it any more");
}

#[test]
fn r86_bounds() {
    let mut story = Story::default();
    story.community("alice", false);
    let owners: Vec<String> = (0..A_DAY / OPEN).map(|n| format!("owner{n}")).collect();
    for owner in &owners {
        story.community(owner, false);
    }
    let service = Service::live(&story);
    let mut now = START;
    for owner in &owners {
        for n in 0..OPEN {
            let subject = format!("did:plc:x{n}");
            assert!(matches!(add_in(&service, owner, &did("carol"), &subject, now), Added::Open(_)));
        }
    }
    assert_eq!(add(&service, &did("carol"), "did:plc:more", now), Added::TooMany);
    assert!(matches!(add(&service, &did("dora"), "did:plc:more", now), Added::Open(_)), "others may");
    now += DAY;
    assert!(matches!(add(&service, &did("carol"), "did:plc:more", now), Added::Open(_)), "the next day");
    service.store.by_hand(&format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {KEPT})
         INSERT INTO reports (community_uri, reporter_did, subject, about_did, reason, reported_at)
         SELECT '{}', 'did:plc:y' || i, 'did:plc:bob', 'did:plc:bob', 'spam', '' FROM n",
        community("alice")
    ));
    let Added::Open(newest) = add(&service, &did("dora"), "did:plc:last", now) else { panic!("it is open") };
    let count =
        format!("SELECT count(*), max(id) FROM reports WHERE community_uri = '{}'", community("alice"));
    assert_eq!(service.store.look(&count), [format!("{KEPT}|{newest}")], "the oldest go");
    service
        .store
        .by_hand(&format!("UPDATE reports SET resolved_at = 'then' WHERE id IN ({newest}, {newest} - 1)"));
    let oldest = service.store.look("SELECT min(id) FROM reports WHERE community_uri LIKE '%alice%'");
    assert!(matches!(add(&service, &did("erin"), "did:plc:last", now), Added::Open(_)));
    let gone =
        format!("SELECT count(*), min(id) FROM reports WHERE resolved_at = 'then' OR id = {}", oldest[0]);
    assert_eq!(
        service.store.look(&gone),
        [format!("2|{}", oldest[0])],
        "a resolved one goes before any open one"
    );
}

#[test]
fn r86_a_person_has_so_many_open_reports_in_a_community() {
    let service = garden();
    let (carol, subject) = (did("carol"), |n| format!("did:plc:x{n}"));
    for n in 0..OPEN {
        assert!(matches!(add(&service, &carol, &subject(n), START), Added::Open(_)));
    }
    assert_eq!(add(&service, &carol, &subject(OPEN), START), Added::TooMany);
    assert!(matches!(add(&service, &carol, &subject(0), START), Added::Open(_)), "the same one changes");
    assert!(matches!(add(&service, &did("dora"), &subject(OPEN), START), Added::Open(_)), "others may");
    service.store.by_hand("UPDATE reports SET resolved_at = 'then' WHERE subject = 'did:plc:x0'");
    assert!(matches!(add(&service, &carol, &subject(OPEN), START), Added::Open(_)), "one is resolved");
    assert_eq!(add(&service, &carol, &subject(0), START), Added::TooMany, "nor is it opened again");
}

#[test]
fn r88_resolved_once_and_logged_and_opened_again() {
    let service = garden();
    let Added::Open(id) = add(&service, &did("carol"), "did:plc:bob", START) else { panic!("it is open") };
    let (here, elsewhere) = (community("alice"), community("bob"));
    let caller = Caller::Person(did("mod"));
    let resolve = |community: &AtUri| {
        let act = Act {
            community,
            caller: &caller,
            proof: Proof::SocketToken,
            action: "resolve_report",
            subject: id.to_string(),
            reason: Some("talked to him"),
            until: None,
        };
        block_on(reports::resolve(&service.store, &act, id, Micros(START))).unwrap()
    };
    assert!(!resolve(&elsewhere), "of another community");
    assert!(resolve(&here));
    assert!(!resolve(&here), "once");
    let log = block_on(audit::page(&service.store, here.as_str(), &Filter::default(), None, 10)).unwrap().0;
    assert_eq!(
        log.iter().map(|one| (&*one.action, &*one.actor)).collect::<Vec<_>>(),
        [("resolve_report", "did:plc:mod")]
    );
    let one = listed(&service, Some(false)).pop().unwrap();
    assert_eq!(
        (one.resolved_by.as_deref(), one.resolution.as_deref()),
        (Some("did:plc:mod"), Some("talked to him"))
    );
    assert_eq!(listed(&service, Some(true)), []);
    add(&service, &did("carol"), "did:plc:bob", START + 1);
    assert_eq!(listed(&service, None), listed(&service, Some(true)), "open again");
}

#[test]
fn i70_reports_end_with_their_community() {
    let mut story = Story::default();
    story.community("alice", false);
    let mut service = Service::live(&story);
    add(&service, &did("carol"), "did:plc:bob", START);
    let begun = story.frames.len();
    story.delete("alice", "community/c");
    service.batch(&story.frames[begun..]);
    assert_eq!(listed(&service, None), []);
    assert_eq!(add(&service, &did("carol"), "did:plc:bob", START), Added::NoCommunity);
}
