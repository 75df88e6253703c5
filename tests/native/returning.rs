//! Accounts that become active again (I51–I53): what is written, edited and deleted while an
//! account counts as inactive is neither lost nor visible, whatever its status was.

use colibri_edge::wire::ids::Did;
use futures::executor::block_on;
use serde_json::json;

use super::pipeline::account;
use super::reconciling::snapshot_of;
use super::story::{START, Service, Story, approval, frame, membership, message, message_in};
use colibri_edge::domain::points::{Limits, Points};
use colibri_edge::storage::{Store as _, repos};
use colibri_edge::wire::time::Micros;

/// alice's open community, where bob said something.
fn garden() -> Story {
    let mut story = Story::default();
    story.community("alice", false).join("bob", "alice").join("carol", "alice").say("bob", "1", "one");
    story
}

/// A service that has processed `before`, and what it published of `more`.
fn after(before: &Story, more: impl FnOnce(&mut Story)) -> (Service, Vec<String>) {
    let mut service = Service::live(before);
    let mut story = before.clone();
    more(&mut story);
    let announced = service.published().len();
    story.frames[before.frames.len()..].iter().for_each(|frame| service.batch(std::slice::from_ref(frame)));
    let events = service.published().split_off(announced);
    (service, events)
}

/// An identity event of a person.
fn identity(story: &mut Story, who: &str) {
    let did = format!("did:plc:{who}");
    let at = START + story.frames.len() as i64 * 1_000_000;
    let frame =
        json!({ "did": did, "time_us": at, "kind": "identity", "identity": { "did": did, "seq": 1 } });
    story.frames.push(frame.to_string());
}

fn due(service: &Service) -> Vec<String> {
    service
        .store
        .look("SELECT did, reason FROM repos WHERE reason = 'account' AND next_attempt_at IS NOT NULL")
}

/// Marks all repositories as read.
fn all_read(service: &Service) {
    service.store.exec("UPDATE repos SET status = 'synced', next_attempt_at = NULL, rev = '3'");
}

#[test]
fn i51_what_is_written_while_an_account_is_not_active_shows_when_it_is() {
    for status in ["deactivated", "suspended", "takendown", "desynchronized", "throttled", "a new word"] {
        let (service, events) = after(&garden(), |story| {
            account(story, "bob", false, status);
            story.say("bob", "2", "two").update("bob", "message/1", message("edited"));
            story.say("bob", "3", "never mind").delete("bob", "message/3").react("bob", "r", "👍", "1");
            account(story, "bob", true, "");
        });
        assert_eq!(service.visible_texts(), ["edited", "two"], "{status}");
        assert_eq!(service.store.look("SELECT hidden FROM reactions"), ["0"]);
        assert_eq!(
            events,
            ["message_deleted 1", "member_left bob", "member_pending bob", "message 2 \"two\""],
            "{status}: what was not published yet is published; what is older is read anew (I53)"
        );
        assert_eq!(service.store.look("SELECT count(*) FROM refusal_counts"), ["0"], "nothing was refused");
    }
}

#[test]
fn t21_i53_what_was_written_meanwhile_comes_with_what_it_answers() {
    let (service, _) = after(&garden(), |story| {
        story.say("carol", "9", "a question");
        account(story, "bob", false, "deactivated");
        let mut reply = message("an answer");
        reply["parent"] = json!("9");
        story.create("bob", "message/9", reply);
        account(story, "bob", true, "");
    });
    let [.., announced, thread] = &service.announced[..] else { panic!("E01 and U33") };
    assert_eq!(frame(thread)["type"], "thread_updated");
    let announced = frame(announced);
    assert_eq!(announced["message"]["text"], "an answer");
    assert_eq!(
        announced["parent_message"]["text"], "a question",
        "the first that has this key in the channel"
    );
}

#[test]
fn i51_nothing_is_seen_meanwhile() {
    let (service, events) = after(&garden(), |story| {
        account(story, "bob", false, "deactivated");
        story.say("bob", "2", "two").react("bob", "r", "👍", "2").react("carol", "r", "👍", "1");
        story.react("carol", "s", "🌿", "2").delete("bob", "reaction/r");
    });
    assert_eq!(events, ["message_deleted 1", "member_left bob"]);
    assert_eq!(service.visible_texts(), Vec::<String>::new());
    assert_eq!(
        service.store.look("SELECT count(*) FROM held"),
        ["0"],
        "carol's reactions are kept with them"
    );
}

#[test]
fn i51_a_membership_written_meanwhile_counts_from_the_return_on() {
    let (service, events) = after(&garden(), |story| {
        account(story, "bob", false, "suspended");
        story.delete("bob", "membership/m").create("bob", "membership/n", membership("alice"));
        story.create(
            "alice",
            "approval/n",
            json!({ "membership": "at://did:plc:bob/social.colibri.membership/n" }),
        );
        story.say("bob", "2", "two");
        account(story, "bob", true, "");
    });
    assert_eq!(
        events,
        ["message_deleted 1", "member_left bob", "member_joined bob", "message 2 \"two\""],
        "approved while away"
    );
    assert_eq!(service.visible_texts(), ["one", "two"]);
}

#[test]
fn i51_the_gate_judges_who_is_away_as_if_they_were_here() {
    let (service, events) = after(&garden(), |story| {
        let closed = json!({ "name": "Garden", "requiresApprovalToJoin": true });
        story.update("alice", "community/c", closed);
        account(story, "bob", false, "deactivated");
        story.say("bob", "2", "two");
        account(story, "bob", true, "");
    });
    assert_eq!(events.last().unwrap(), "member_pending bob");
    assert_eq!(service.store.look("SELECT reason FROM refusal_counts"), ["author_not_approved"]);
}

#[test]
fn i51_an_owner_who_is_away_loses_nothing() {
    let (mut service, events) = after(&garden(), |story| {
        account(story, "alice", false, "deactivated");
        story.create("alice", "channel/new", json!({ "name": "new", "type": "text", "community": "c" }));
        story.say("bob", "2", "two").react("carol", "r", "👍", "1");
        story.join("dave", "alice").create("alice", "approval/dave", approval("dave"));
        story.say("alice", "3", "three");
    });
    assert_eq!(events, ["community_deleted c"]);
    assert_eq!(service.visible_texts(), Vec::<String>::new());
    // Much longer than the limit of held records (I63): what waits for an account has no limit.
    service.now += 100 * 3_600_000_000;
    let mut story = Story { frames: garden().frames };
    story.frames.resize(60, String::new());
    let from = story.frames.len();
    story.create("eve", "message/x", message_in("nowhere", "waits"));
    account(&mut story, "alice", true, "");
    let announced = service.published().len();
    story.frames[from..].iter().for_each(|frame| service.batch(std::slice::from_ref(frame)));
    let events = service.published().split_off(announced);
    assert_eq!(events[0], "community_upserted c");
    for event in ["channel_created new", "member_joined dave", "reaction_added 👍"] {
        assert!(events.iter().any(|announced| announced.starts_with(event)), "{event}: {events:?}");
    }
    assert_eq!(service.visible_texts(), ["three", "one", "two"]);
}

#[test]
fn i53_a_return_makes_the_repository_due() {
    let mut story = garden();
    let mut service = Service::live(&story);
    all_read(&service);
    let say = |service: &mut Service, story: &mut Story, active, status| {
        account(story, "bob", active, status);
        service.batch(std::slice::from_ref(story.frames.last().unwrap()))
    };
    say(&mut service, &mut story, false, "deactivated");
    assert_eq!(due(&service), Vec::<String>::new(), "going is no reason");
    say(&mut service, &mut story, true, "");
    assert_eq!(due(&service), ["did:plc:bob|account"]);
    all_read(&service);
    service.store.exec("UPDATE repos SET reason = 'new'");
    say(&mut service, &mut story, true, "");
    assert_eq!(due(&service), Vec::<String>::new(), "it was active already");
    say(&mut service, &mut story, false, "deleted");
    say(&mut service, &mut story, true, "");
    assert_eq!(due(&service), ["did:plc:bob|account"], "also one that was deleted");
    // The repository of an account that changes rapidly is read once in a few seconds.
    let read_at = Micros(service.now + 500_000).shown();
    service.store.exec(&format!("UPDATE repos SET checked_at = '{read_at}', reason = 'new'"));
    say(&mut service, &mut story, false, "deactivated");
    say(&mut service, &mut story, true, "");
    let at = service.store.look("SELECT next_attempt_at FROM repos WHERE reason = 'account'").remove(0);
    assert_eq!(Micros::parse(&at).unwrap().0, service.now - 1_500_000 + 5_000_000);
}

/// What a changed identity does to bob's repository after a successful or failed reading.
#[test]
fn k11_however_often_an_identity_changes_a_repository_is_read_now_and_then() {
    let second = 1_000_000;
    let mut story = garden();
    let mut service = Service::live(&story);
    let change = |service: &mut Service, story: &mut Story, before: &str| {
        service.store.exec(&format!("UPDATE repos SET {before} WHERE did = 'did:plc:bob'"));
        identity(story, "bob");
        service.batch(std::slice::from_ref(story.frames.last().unwrap()));
        let found = "SELECT next_attempt_at FROM repos WHERE did = 'did:plc:bob'";
        Micros::parse(&service.store.look(found)[0]).unwrap().0 - service.now
    };
    let shown = |at: i64| Micros(at).shown();
    let read = |ago: i64, now: i64| {
        format!("failures = 0, next_attempt_at = NULL, checked_at = '{}'", shown(now - ago))
    };
    let quiet = read(60 * second, service.now);
    assert!(change(&mut service, &mut story, &quiet).abs() <= second, "it is read at once");
    let just_now = read(0, service.now);
    let left = change(&mut service, &mut story, &just_now);
    assert!((3 * second..=5 * second).contains(&left), "five seconds after the last reading: {left}");

    let failed = format!("failures = 7, next_attempt_at = '{}'", shown(service.now + 3_600 * second));
    let first = change(&mut service, &mut story, &failed);
    assert!((58 * second..=61 * second).contains(&first), "sooner than its pause: {first}");
    let second_time = change(&mut service, &mut story, "failures = failures");
    assert!(second_time < first, "but further changes do not move it: {second_time}");
    let soon = format!("next_attempt_at = '{}'", shown(service.now + 2 * second));
    assert!(change(&mut service, &mut story, &soon) <= 2 * second, "a short pause stays");
}

#[test]
fn i52_i53_an_account_that_was_deleted_and_is_back_has_what_its_repository_holds() {
    let mut story = garden();
    story.react("carol", "r", "👍", "1");
    let before = story.frames.len();
    account(&mut story, "bob", false, "deleted");
    story.say("bob", "2", "written meanwhile");
    let gone = story.frames.len();
    account(&mut story, "bob", true, "");
    let mut service = Service::live(&story);
    assert_eq!(service.visible_texts(), Vec::<String>::new());
    // The stream repeats earlier events: deleted records stay deleted.
    service.batch(&story.frames[before - 4..]);
    service.batch(&story.frames[gone..]);
    assert_eq!(service.visible_texts(), Vec::<String>::new());
    assert_eq!(service.store.look("SELECT count(*) FROM reactions"), ["0"], "I71");
    // Its repository still contains everything.
    service.reconcile("bob", &snapshot_of("bob", &story.frames));
    assert_eq!(service.visible_texts(), ["one", "written meanwhile"]);
    assert_eq!(service.store.look("SELECT count(*) FROM reactions"), ["0"], "I71");
}

#[test]
fn two_account_events_of_one_time_count_in_their_order_and_once() {
    for (last_active, texts) in [(true, 1), (false, 0)] {
        let mut story = garden();
        let from = story.frames.len();
        account(&mut story, "bob", !last_active, "deactivated");
        let first = story.frames[from].clone();
        account(&mut story, "bob", last_active, "deactivated");
        let (at, later) = (START + from as i64 * 1_000_000, START + (from as i64 + 1) * 1_000_000);
        story.frames[from + 1] = story.frames[from + 1].replace(&later.to_string(), &at.to_string());
        let mut service = Service::live(&story);
        assert_eq!(service.visible_texts().len(), texts, "the last of them counts: {first}");
        let announced = service.announced.len();
        for again in 0..3 {
            service.batch(&story.frames[from..from + 1]);
            service.batch(&story.frames[from..]);
            assert_eq!(service.announced.len(), announced, "repeated {again}: nothing is published twice");
        }
        assert_eq!(service.visible_texts().len(), texts);
        // The reverse order, together with the rest.
        let mut whole = Service::new();
        whole.batch(&story.frames);
        assert_eq!(whole.store.index(), service.store.index());
    }
}

#[test]
fn a_time_far_ahead_does_not_silence_later_events() {
    let mut story = garden();
    let (month, at) = (30 * 86_400_000_000_i64, START + story.frames.len() as i64 * 1_000_000);
    account(&mut story, "bob", false, "deactivated");
    let last = story.frames.len() - 1;
    story.frames[last] = story.frames[last].replace(&at.to_string(), &(at + month).to_string());
    account(&mut story, "bob", true, "");
    let service = Service::live(&story);
    assert_eq!(service.visible_texts(), ["one"]);
}

#[test]
fn a_return_is_among_the_reasons_of_repositories() {
    let mut story = garden();
    let mut service = Service::live(&story);
    all_read(&service);
    account(&mut story, "bob", false, "takendown");
    account(&mut story, "bob", true, "");
    service.batch(&story.frames[story.frames.len() - 2..]);
    let bob = Did::parse("did:plc:bob").unwrap();
    let shown = block_on(repos::shown(&service.store, &bob)).unwrap().unwrap();
    assert_eq!((shown.status.as_str(), shown.reason.as_str()), ("waiting", "account"));
}

#[test]
fn k17_what_is_left_out_is_read_when_points_are_back() {
    let mut story = garden();
    let mut service = Service::live(&story);
    all_read(&service);
    service.points = Points::new(Limits { hour: 9, day: 0 });
    let from = story.frames.len();
    for n in 2..8 {
        story.say("bob", &n.to_string(), &format!("bob {n}"));
    }
    story.say("carol", "1", "carol");
    service.batch(&story.frames[from..]);
    assert_eq!(service.visible_texts(), ["one", "bob 2", "bob 3", "bob 4", "carol"]);
    let row = |service: &Service| {
        let columns = "status, reason, next_attempt_at, deferred_until";
        service.store.look(&format!("SELECT {columns} FROM repos WHERE deferred_until IS NOT NULL"))
    };
    let deferred = row(&service);
    assert_eq!(deferred.len(), 1);
    let until = deferred[0].rsplit('|').next().unwrap().to_owned();
    assert_eq!(deferred[0], format!("waiting|points|{until}|{until}"));
    let until = Micros::parse(&until).unwrap();
    assert!(until.0 > service.now + 10 * 60_000_000, "a third of nine points takes twenty minutes");

    // A reading that began before does not count as the latest; one that begins after it does.
    let mut look = repos::Succeeded {
        did: &Did::parse("did:plc:bob").unwrap(),
        rev: None,
        status: "synced",
        began: Micros(until.0 - 1_000_000),
        refused: Some(0),
        signed_by: None,
    };
    block_on(service.store.write(&[repos::succeeded(&look, look.began)])).unwrap();
    assert_eq!(row(&service), deferred);
    look.began = until;
    block_on(service.store.write(&[repos::succeeded(&look, until)])).unwrap();
    assert_eq!(row(&service), Vec::<String>::new());
    let due = "SELECT count(*) FROM repos WHERE did = 'did:plc:bob' AND next_attempt_at IS NULL";
    assert_eq!(service.store.look(due), ["1"]);
}

#[test]
fn k17_authors_refused_while_an_owner_is_deferred_are_read() {
    let mut story = garden();
    let mut service = Service::live(&story);
    let from = story.frames.len();
    story.say("stranger", "1", "refused");
    service.batch(&story.frames[from..]);
    let looked = "SELECT did, reason FROM repos WHERE did LIKE '%stranger%'";
    assert_eq!(service.store.look(looked), Vec::<String>::new());
    service
        .store
        .exec("UPDATE repos SET deferred_until = '2026-03-02T00:00:00.000Z' WHERE did = 'did:plc:alice'");
    let from = story.frames.len();
    story.say("stranger", "2", "refused while approvals may be missing");
    service.batch(&story.frames[from..]);
    assert_eq!(service.store.look(looked), ["did:plc:stranger|gate"]);
}
