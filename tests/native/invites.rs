//! Invites through the real SQL (R15–R19, I70).

use colibri_edge::storage::invites::{self, Use};
use colibri_edge::wire::ids::Did;
use colibri_edge::wire::time::Micros;
use futures::executor::block_on;
use serde_json::json;

use super::sqlite::Break;
use super::story::{Service, Story, community};

const CODE: &str = "0f3a9c51d2e84b76";

fn alice() -> Did {
    Did::parse("did:plc:alice").unwrap()
}

/// alice's community, and whether an invite to it was made.
fn with_invite(max_uses: Option<i64>) -> (Story, Service) {
    let mut story = Story::default();
    story.community("alice", false);
    let service = Service::live(&story);
    assert!(create(&service, CODE, max_uses, 0));
    (story, service)
}

fn create(service: &Service, code: &str, max_uses: Option<i64>, at: i64) -> bool {
    let (uri, now) = (community("alice"), Micros(at));
    block_on(invites::create(&service.store, code, uri.as_str(), &alice(), max_uses, now)).unwrap()
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
        let owner = Did::parse(owner).unwrap();
        block_on(invites::create(&service.store, "ff", uri, &owner, None, Micros(0))).unwrap()
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
        block_on(invites::revoke(&service.store, CODE, Micros(at))).unwrap();
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
    assert_eq!(count_use(&service), Use::Counted, "I53: what still stands");
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

/// Who breaks: the web client reads `active` and `community` (W17).
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
    block_on(invites::revoke(&service.store, "a", Micros(10))).unwrap();
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
