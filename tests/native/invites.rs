//! Invites through the real SQL (R15–R19, I70).

use colibri_edge::domain::moderation::{Caller, Once, Proof};
use colibri_edge::storage::audit::Act;
use colibri_edge::storage::invites::{self, Created, Use};
use colibri_edge::wire::ids::{AtUri, Did};
use colibri_edge::wire::time::Micros;
use futures::executor::block_on;
use serde_json::json;

use super::sqlite::Break;
use super::story::{Service, Story, community};

const CODE: &str = "0f3a9c51d2e84b76";

fn alice() -> Did {
    Did::parse("did:plc:alice").unwrap()
}

/// alice's community, and the result of making an invite to it.
fn with_invite(max_uses: Option<i64>) -> (Story, Service) {
    let mut story = Story::default();
    story.community("alice", false);
    let service = Service::live(&story);
    assert!(create(&service, CODE, max_uses, 0));
    (story, service)
}

fn act<'a>(community: &'a AtUri, action: &'static str, code: &str) -> Act<'a> {
    let (caller, proof) = (&Caller::Operator, Proof::ApiKey);
    Act { community, caller, proof, action, subject: code.to_owned(), reason: None, until: None }
}

fn create(service: &Service, code: &str, max_uses: Option<i64>, at: i64) -> bool {
    let (uri, now) = (community("alice"), Micros(at));
    let act = act(&uri, "invite", code);
    block_on(invites::create(&service.store, &act, &alice(), max_uses, None, now)).unwrap()
        == Created::Made(code.to_owned())
}

fn revoke(service: &Service, code: &str, at: i64) {
    let uri = community("alice");
    block_on(invites::revoke(&service.store, &act(&uri, "revoke_invite", code), Micros(at))).unwrap();
}

fn count_use(service: &Service) -> Use {
    block_on(invites::count_use(&service.store, CODE)).unwrap()
}

fn is_active(service: &Service) -> bool {
    block_on(invites::find(&service.store, CODE)).unwrap().unwrap().active
}

#[test]
fn r17_only_for_a_known_community_and_its_owner() {
    let (_, service) = with_invite(None);
    let try_create = |uri: &str, owner: &str| {
        let (owner, uri) = (Did::parse(owner).unwrap(), AtUri::parse(uri).unwrap());
        let act = act(&uri, "invite", "ff");
        let created = invites::create(&service.store, &act, &owner, None, None, Micros(0));
        block_on(created).unwrap() != Created::NotOwned
    };
    let uri = community("alice").to_string();
    assert!(!try_create(&uri, "did:plc:bob"), "not the owner");
    assert!(!try_create("at://did:plc:alice/social.colibri.community/x", "did:plc:alice"), "not known");
    service.store.exec("UPDATE communities SET hidden = 1");
    assert!(!try_create(&uri, "did:plc:alice"), "I51: hidden as if deleted");
    assert_eq!(service.store.look("SELECT count(*) FROM invites"), ["1"]);
}

#[test]
fn b22_no_more_uses_are_counted_than_there_are() {
    let (_, service) = with_invite(Some(2));
    assert_eq!(
        [count_use(&service), count_use(&service), count_use(&service)],
        [Use::Counted, Use::Counted, Use::Gone]
    );
    assert!(is_active(&service), "O08: an exhausted code stays active");
    assert_eq!(service.store.look("SELECT use_count FROM invites"), ["2"]);
    assert_eq!(block_on(invites::count_use(&service.store, "ff")).unwrap(), Use::Unknown);
}

#[test]
fn a_use_that_was_not_stored_is_a_fault_and_not_counted() {
    let (_, service) = with_invite(Some(1));
    service.store.break_next(Break::CommitLost);
    assert!(block_on(invites::count_use(&service.store, CODE)).is_err());
    assert_eq!(service.store.struck.get(), 1);
    assert_eq!(count_use(&service), Use::Counted);
}

#[test]
fn r18_a_revoked_code_is_gone_for_good_and_revoking_again_changes_nothing() {
    let (_, service) = with_invite(None);
    for at in [1_000_000, 2_000_000] {
        revoke(&service, CODE, at);
    }
    assert!(!is_active(&service));
    assert_eq!(count_use(&service), Use::Gone);
    assert_eq!(
        service.store.look("SELECT ended_because, ended_at FROM invites"),
        ["revoked|1970-01-01T00:00:01.000Z"]
    );
}

#[test]
fn i70_b23_a_deleted_community_ends_its_invites_for_good() {
    let again = |story: &mut Story| {
        story.delete("alice", "community/c");
        story.create("alice", "community/c", json!({ "name": "Garden", "requiresApprovalToJoin": false }));
    };
    for in_one_batch in [true, false] {
        let (mut story, mut service) = with_invite(None);
        let before = story.frames.len();
        again(&mut story);
        if in_one_batch {
            service.batch(&story.frames[before..]);
        } else {
            story.frames[before..].iter().for_each(|frame| service.batch(std::slice::from_ref(frame)));
        }
        assert!(!is_active(&service), "also when it is written again, in one batch: {in_one_batch}");
        assert_eq!(count_use(&service), Use::Gone);
        assert_eq!(service.store.look("SELECT ended_because FROM invites"), ["community_deleted"]);
        assert!(create(&service, "ffffffffffffffff", None, 1), "a new one can be made");
    }
}

#[test]
fn i70_while_the_community_is_gone_its_invites_lead_nowhere() {
    let (mut story, mut service) = with_invite(None);
    let shown = |service: &Service| block_on(invites::shown(&service.store, CODE)).unwrap();
    assert_eq!(shown(&service).unwrap().community.name, "Garden");
    let before = story.frames.len();
    story.delete("alice", "community/c");
    service.batch(&story.frames[before..]);
    assert!(shown(&service).is_none(), "R16: 404");
    assert_eq!(count_use(&service), Use::Gone, "R19: 410, not 404");
}

#[test]
fn i51_a_suspended_owner_hides_the_invites_and_brings_them_back() {
    let (_, service) = with_invite(None);
    service.store.exec("UPDATE communities SET hidden = 1");
    assert_eq!(count_use(&service), Use::Gone);
    service.store.exec("UPDATE communities SET hidden = 0");
    assert_eq!(count_use(&service), Use::Counted, "I53: what remains");
}

#[test]
fn i52_a_deleted_account_ends_its_invites_for_good() {
    let (story, mut service) = with_invite(None);
    let at = super::story::START + story.frames.len() as i64 * 1_000_000;
    let gone = json!({ "did": "did:plc:alice", "time_us": at, "kind": "account",
        "account": { "active": false, "did": "did:plc:alice", "seq": 1, "status": "deleted", "time": "2026-03-01T12:00:00Z" } });
    service.batch(&[gone.to_string()]);
    assert!(!is_active(&service));
}

/// The web client reads `active` and `community` (W17).
#[test]
fn r16_the_body() {
    let (_, service) = with_invite(Some(10));
    count_use(&service);
    let body = block_on(invites::shown(&service.store, CODE)).unwrap().unwrap();
    assert_eq!(
        serde_json::to_string(&body).unwrap(),
        r#"{"code":"0f3a9c51d2e84b76","community_uri":"at://did:plc:alice/social.colibri.community/c","created_by_did":"did:plc:alice","max_uses":10,"use_count":1,"active":true,"community":{"owner_did":"did:plc:alice","rkey":"c","name":"Garden","description":null,"picture":null,"category_order":null,"requires_approval_to_join":false}}"#
    );
}

#[test]
fn r15_newest_first_ties_by_code_also_those_that_ended_in_pages() {
    let (mut story, mut service) = with_invite(Some(1));
    for (code, at) in [("b", 5), ("a", 5), ("c", 9), ("d", 1)] {
        assert!(create(&service, code, None, at));
    }
    revoke(&service, "a", 10);
    let uri = community("alice").to_string();
    let list = |service: &Service, limit: i64| {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = invites::list(&service.store, &uri, after.as_ref(), limit);
            let (page, end) = block_on(page).unwrap();
            all.extend(page.into_iter().map(|invite| format!("{} {}", invite.code, invite.active)));
            match end {
                Some(place) => after = Some(place),
                None => return all,
            }
        }
    };
    let code = format!("{CODE} true");
    let expected = ["c true", "a false", "b true", "d true", code.as_str()];
    for limit in 1..=6 {
        assert_eq!(list(&service, limit), expected, "H40: pages of {limit}");
    }
    let before = story.frames.len();
    story.delete("alice", "community/c");
    service.batch(&story.frames[before..]);
    assert!(list(&service, 10).is_empty(), "R15, I70: an unknown community");
}

// ---- X22, X23: logged, and made once ----

#[test]
fn x22_what_is_done_with_invites_is_written_down_once() {
    let (_, service) = with_invite(None);
    revoke(&service, CODE, 1);
    revoke(&service, CODE, 2);
    assert!(!create_elsewhere(&service));
    assert_eq!(
        service.store.look("SELECT action || ' ' || subject FROM audit_log ORDER BY id"),
        [format!("invite {CODE}"), format!("revoke_invite {CODE}")],
        "neither what was not made nor what had ended"
    );
}

fn create_elsewhere(service: &Service) -> bool {
    let uri = AtUri::parse("at://did:plc:alice/social.colibri.community/x").unwrap();
    let act = act(&uri, "invite", "ee");
    block_on(invites::create(&service.store, &act, &alice(), None, None, Micros(0))).unwrap()
        != Created::NotOwned
}

#[test]
fn x23_one_key_makes_one_invite() {
    let (_, service) = with_invite(None);
    let uri = community("alice");
    let make = |code: &str, key: &str, request: &str, at: i64| {
        let once = Once { key: key.into(), request: request.into() };
        let act = act(&uri, "invite", code);
        block_on(invites::create(&service.store, &act, &alice(), None, Some(&once), Micros(at))).unwrap()
    };
    let made = |code: &str| Created::Made(code.to_owned());
    let day = 24 * 3_600_000_000;
    for (code, key, request, at, expected, why) in [
        ("a1", "k", "one", 0, made("a1"), "new"),
        ("a2", "k", "one", 1, made("a1"), "again"),
        ("a3", "k", "another", 2, Created::KeyReused, "something else"),
        ("a4", "l", "one", 3, made("a4"), "another key"),
        ("a5", "k", "another", day, made("a5"), "a day later the key means nothing any more"),
    ] {
        assert_eq!(make(code, key, request, at), expected, "{why}");
    }
    assert_eq!(
        service.store.look("SELECT code FROM invites WHERE code LIKE 'a%' ORDER BY code"),
        ["a1", "a4", "a5"]
    );
}
