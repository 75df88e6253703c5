//! Blocks and bans through the real SQL: what moderators decide, and who is told (R03, R08, R09).

use colibri_edge::domain::announcement::Topic;
use colibri_edge::domain::moderation::{Caller, Ruling};
use colibri_edge::storage::reads::bans::bans;
use futures::executor::block_on;
use serde_json::json;

use super::sqlite::Break;
use super::story::{Service, Story, ban, block, message, message_in, person, unban};

/// alice's community with bob and carol as members, approved if it asks for that, and bob's
/// message `1`.
fn garden(requires_approval: bool) -> Story {
    let mut story = Story::default();
    story.community("alice", requires_approval).join("bob", "alice").join("carol", "alice");
    if requires_approval {
        story.approve("alice", "bob").approve("alice", "carol");
    }
    story.say("bob", "1", "hello");
    story
}

/// A service that has lived through `story` and listens from now on.
fn after(story: &Story) -> Service {
    let mut service = Service::live(story);
    service.told.clear();
    service
}

/// Lets in what `more` adds to `story`.
fn go_on(service: &mut Service, story: &mut Story, more: impl FnOnce(&mut Story)) {
    let before = story.frames.len();
    more(story);
    story.frames[before..].iter().for_each(|frame| service.batch(std::slice::from_ref(frame)));
}

// ---- R03: blocks ----

#[test]
fn r03_a_block_hides_the_message_and_is_told_once() {
    let mut service = after(&garden(false));
    assert_eq!(service.decide(block("bob", "1")), Ruling::Made);
    assert_eq!(service.decide(block("bob", "1")), Ruling::Stood, "R03: 404 if it is blocked already");
    assert_eq!(service.heard(), ["message_deleted 1"]);
    assert!(service.told[0].live, "Q01: made by the service itself");
    assert!(service.visible_texts().is_empty());
}

#[test]
fn r03_what_is_not_known_cannot_be_blocked() {
    let mut story = garden(false);
    story.say("bob", "2", "gone").delete("bob", "message/2").say("eve", "3", "refused");
    story.create("bob", "message/4", message_in("later", "held"));
    let mut service = after(&story);
    for (author, rkey, why) in [
        ("bob", "9", "never seen"),
        ("bob", "2", "deleted"),
        ("eve", "3", "refused by the gate"),
        ("bob", "4", "held"),
    ] {
        assert_eq!(service.decide(block(author, rkey)), Ruling::NothingThere, "{why}");
    }
    go_on(&mut service, &mut story, |story| {
        story.delete("alice", "channel/k");
    });
    assert_eq!(service.decide(block("bob", "1")), Ruling::NothingThere, "T07: hidden by a deletion above");
    assert_eq!(service.store.look("SELECT count(*) FROM blocks"), ["0"]);
}

#[test]
fn b11_an_edit_of_a_blocked_message_stays_hidden() {
    let mut story = garden(false);
    let mut service = after(&story);
    service.decide(block("bob", "1"));
    go_on(&mut service, &mut story, |story| {
        story.update("bob", "message/1", message("edited"));
    });
    assert_eq!(service.heard(), ["message_deleted 1"], "I13");
    assert_eq!(service.store.look("SELECT text FROM messages"), ["edited"], "stored all the same");
}

#[test]
fn b12_a_block_outlives_the_message_and_the_community() {
    let mut story = garden(false);
    let mut service = after(&story);
    service.decide(block("bob", "1"));
    go_on(&mut service, &mut story, |story| {
        story.delete("bob", "message/1").say("bob", "1", "again");
    });
    assert_eq!(service.heard(), ["message_deleted 1"], "T11, I15: neither deleted again nor shown again");
    go_on(&mut service, &mut story, |story| {
        story.delete("alice", "community/c").create(
            "alice",
            "community/c",
            json!({ "name": "Garden", "requiresApprovalToJoin": false }),
        );
    });
    assert!(service.visible_texts().is_empty(), "I72: blocks still hold");
    assert_eq!(service.decide(block("bob", "1")), Ruling::Stood);
}

#[test]
fn i22_a_blocked_message_takes_no_reactions_and_loses_none_aloud() {
    let mut story = garden(false);
    story.react("carol", "r1", "👍", "1");
    let mut service = after(&story);
    service.decide(block("bob", "1"));
    go_on(&mut service, &mut story, |story| {
        story.react("carol", "r2", "🌿", "at://did:plc:bob/social.colibri.message/1");
        story.delete("carol", "reaction/r1");
    });
    assert_eq!(service.heard(), ["message_deleted 1"], "E04 is of visible messages");
    assert_eq!(service.store.look("SELECT count(*) FROM reactions"), ["0"]);
}

#[test]
fn i51_an_account_that_goes_does_not_speak_of_blocked_messages() {
    let story = garden(false);
    let mut service = after(&story);
    service.decide(block("bob", "1"));
    let at = super::story::START + story.frames.len() as i64 * 1_000_000;
    let gone = json!({ "did": "did:plc:bob", "time_us": at, "kind": "account",
        "account": { "active": false, "did": "did:plc:bob", "seq": 1, "status": "deactivated", "time": "2026-03-01T12:00:00Z" } });
    service.batch(&[gone.to_string()]);
    assert_eq!(service.heard(), ["message_deleted 1", "member_left bob"], "E02 once");
}

#[test]
fn r03_a_message_that_is_hidden_with_its_author_is_blocked_without_an_event() {
    let mut service = after(&garden(false));
    service.store.exec("UPDATE messages SET hidden = 1");
    assert_eq!(service.decide(block("bob", "1")), Ruling::Made, "it is known (T07)");
    assert!(service.heard().is_empty(), "E02 is of visible messages");
}

// ---- R08, R09: bans ----

#[test]
fn r08_a_ban_is_told_once_and_keeps_what_was_said() {
    for requires_approval in [false, true] {
        let mut story = garden(requires_approval);
        let mut service = after(&story);
        assert_eq!(service.decide(ban("alice", "bob")), Ruling::Made);
        assert_eq!(service.decide(ban("alice", "bob")), Ruling::Stood);
        go_on(&mut service, &mut story, |story| {
            story.say("bob", "2", "still here?").update("bob", "message/1", message("edited"));
            story.delete("bob", "membership/m").join("bob", "alice").delete("bob", "membership/m");
        });
        assert_eq!(service.heard(), ["member_left bob"], "B-17: what a banned person joins sends nothing");
        assert_eq!(service.visible_texts(), ["hello"], "G2, G8: earlier messages stay");
    }
}

#[test]
fn b17_the_owner_cannot_be_banned_and_is_told_before_anything_else() {
    let mut service = after(&garden(false));
    assert_eq!(service.decide(ban("alice", "alice")), Ruling::IsOwner);
    let by_stranger = service.try_decide(person("eve"), ban("alice", "alice")).unwrap();
    assert_eq!(by_stranger, Ruling::IsOwner, "H03: 422 beats 403");
    assert!(service.heard().is_empty());
}

#[test]
fn r09_who_is_back_is_told() {
    for requires_approval in [false, true] {
        let mut story = garden(requires_approval);
        let mut service = after(&story);
        service.decide(ban("alice", "bob"));
        assert_eq!(service.decide(unban("alice", "bob")), Ruling::Made);
        assert_eq!(service.decide(unban("alice", "bob")), Ruling::NothingThere);
        assert_eq!(service.heard(), ["member_left bob", "member_joined bob"]);
        go_on(&mut service, &mut story, |story| {
            story.say("bob", "2", "back");
        });
        assert_eq!(service.visible_texts(), ["hello", "back"], "a standing approval counts again at once");
    }
}

/// Who breaks: a list of people who ask to join, which would lack them until it is read anew.
#[test]
fn r09_who_is_back_and_has_no_approval_asks_for_one() {
    let mut story = garden(true);
    let mut service = after(&story);
    service.decide(ban("alice", "bob"));
    go_on(&mut service, &mut story, |story| {
        story.delete("alice", "approval/bob");
    });
    service.decide(unban("alice", "bob"));
    assert_eq!(service.heard(), ["member_left bob", "member_pending bob"]);
    let Topic::MemberOut(who) = &service.told[1].topic else { panic!("{:?}", service.told[1].topic) };
    assert_eq!(who.as_str(), "did:plc:bob", "A36, V02: no member yet, whatever is watched");
}

#[test]
fn r09_without_a_membership_nobody_joins() {
    let mut story = garden(false);
    let mut service = after(&story);
    service.decide(ban("alice", "bob"));
    go_on(&mut service, &mut story, |story| {
        story.delete("bob", "membership/m");
    });
    service.decide(unban("alice", "bob"));
    assert_eq!(service.heard(), ["member_left bob"]);
}

#[test]
fn r09_names_the_membership_that_decides() {
    let mut story = garden(false);
    story.create("bob", "membership/a", super::story::membership("alice")).approve("alice", "bob");
    let mut service = after(&story);
    service.decide(ban("alice", "bob"));
    service.decide(unban("alice", "bob"));
    let joined: serde_json::Value = serde_json::from_str(service.told[1].event.get()).unwrap();
    assert_eq!(joined["membership_uri"], "at://did:plc:bob/social.colibri.membership/m", "I44: the approved");
}

#[test]
fn r08_a_ban_may_come_before_the_community() {
    let mut service = Service::new();
    assert_eq!(service.decide(ban("alice", "bob")), Ruling::Made);
    let mut story = Story::default();
    go_on(&mut service, &mut story, |story| {
        story.community("alice", false).join("bob", "alice").say("bob", "1", "hello");
    });
    assert_eq!(service.heard(), ["community_upserted c", "channel_created k"], "it counts from then on");
    assert_eq!(service.store.look("SELECT reason FROM refusals_by_reason"), ["author_banned"]);
}

#[test]
fn i72_a_ban_outlives_membership_approval_and_community() {
    let mut story = garden(true);
    let mut service = after(&story);
    service.decide(ban("alice", "bob"));
    go_on(&mut service, &mut story, |story| {
        story.delete("bob", "membership/m").delete("alice", "approval/bob").delete("alice", "community/c");
        story.create("alice", "community/c", json!({ "name": "Garden" }));
        story.join("bob", "alice").approve("alice", "bob").say("bob", "2", "let me in");
    });
    assert_eq!(service.visible_texts(), ["hello"], "T10");
    assert_eq!(
        service.heard(),
        ["member_left bob", "community_deleted c", "community_upserted c"],
        "nothing of bob while banned"
    );
    assert_eq!(service.decide(ban("alice", "bob")), Ruling::Stood);
}

#[test]
fn i26_a_community_that_closes_does_not_speak_of_the_banned() {
    let mut story = garden(false);
    let mut service = after(&story);
    service.decide(ban("alice", "bob"));
    go_on(&mut service, &mut story, |story| {
        story.update("alice", "community/c", json!({ "name": "Garden", "requiresApprovalToJoin": true }));
    });
    assert_eq!(service.heard(), ["member_left bob", "community_upserted c", "member_pending carol"]);
}

/// Who breaks: the web client's moderation page reads the members of this list by name.
#[test]
fn r10_newest_ban_first_ties_by_did_in_pages() {
    let mut story = garden(true);
    let mut service = after(&story);
    let uri = super::story::community("alice").to_string();
    let list = |service: &Service, limit: i64| {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let (page, end) =
                block_on(bans(&service.store, "https://cdn.test", &uri, after.as_ref(), limit)).unwrap();
            all.extend(page.into_iter().map(|member| serde_json::to_value(member).unwrap()));
            match end {
                Some(place) => after = Some(place),
                None => return all,
            }
        }
    };
    for who in ["bob", "eve", "carol", "dave"] {
        service.decide(ban("alice", who));
    }
    service
        .store
        .exec("UPDATE bans SET banned_at = '2026-03-01T12:00:00.000000Z' WHERE member_did <> 'did:plc:bob'");
    for limit in 1..=5 {
        let dids: Vec<_> = list(&service, limit).iter().map(|member| member["member_did"].clone()).collect();
        assert_eq!(
            dids,
            [json!("did:plc:bob"), json!("did:plc:carol"), json!("did:plc:dave"), json!("did:plc:eve")],
            "H40: pages of {limit}"
        );
    }
    service.store.exec("UPDATE people SET display_name = 'Bob', state = 'offline' WHERE did = 'did:plc:bob'");
    let nobody = json!(null);
    assert_eq!(
        list(&service, 5)[0],
        json!({ "member_did": "did:plc:bob", "status": "banned", "display_name": "Bob", "avatar_url": nobody,
            "banner_url": nobody, "description": nobody, "handle": nobody, "status_text": nobody,
            "emoji": nobody, "state": "offline" })
    );
    go_on(&mut service, &mut story, |story| {
        story.delete("alice", "community/c");
    });
    assert!(list(&service, 5).is_empty(), "R10, I70: an unknown community");
}

// ---- who decides (X03) ----

#[test]
fn b18_a_persons_token_reaches_no_other_community() {
    let mut story = garden(false);
    story.community("zoe", false);
    let mut service = after(&story);
    for (caller, what, expected, why) in [
        (person("zoe"), block("bob", "1"), Ruling::Forbidden, "a message of another community"),
        (person("bob"), block("bob", "1"), Ruling::Forbidden, "its author is not its moderator"),
        (person("zoe"), block("bob", "9"), Ruling::NothingThere, "of no community"),
        (person("zoe"), ban("alice", "bob"), Ruling::Forbidden, "a ban elsewhere"),
        (person("zoe"), unban("alice", "bob"), Ruling::Forbidden, "also if there is none"),
        (person("alice"), ban("alice", "bob"), Ruling::Made, "at home"),
        (person("alice"), unban("alice", "bob"), Ruling::Made, "at home"),
        (person("alice"), block("bob", "1"), Ruling::Made, "at home"),
        (person("zoe"), block("bob", "1"), Ruling::Forbidden, "also if it is blocked already"),
        (Caller::Operator, ban("zoe", "bob"), Ruling::Made, "the key moderates every community"),
    ] {
        assert_eq!(service.try_decide(caller, what).unwrap(), expected, "{why}");
    }
}

// ---- faults and races (invariants 1, 3, 9) ----

#[test]
fn a_fault_anywhere_neither_loses_a_decision_nor_tells_it_twice() {
    for what in [block("bob", "1"), ban("alice", "bob")] {
        for fault in [Break::Read, Break::CommitLost, Break::CommitStored, Break::Conflict] {
            let mut service = after(&garden(false));
            let before = service.store.look("SELECT version FROM ledger").remove(0);
            service.store.break_next(fault);
            // A caller's way: ask again until there is an answer.
            let mut asked = 1;
            while service.try_decide(Caller::Operator, what.clone()).is_err() {
                asked += 1;
            }
            assert_eq!(service.store.struck.get(), 1, "{fault:?} did not strike");
            assert_eq!(asked, if fault == Break::Conflict { 1 } else { 2 }, "{fault:?}");
            let told = service.outbox_after(&before);
            assert_eq!(told.len(), 1, "{fault:?}: told once");
        }
    }
}

#[test]
fn a_decision_that_changes_nothing_is_no_commit() {
    let mut service = after(&garden(false));
    let version = |service: &Service| service.store.look("SELECT version FROM ledger");
    let before = version(&service);
    service.decide(unban("alice", "bob"));
    service.decide(block("bob", "9"));
    service.decide(ban("alice", "alice"));
    assert_eq!(version(&service), before, "other writers do not have to begin again");
}
