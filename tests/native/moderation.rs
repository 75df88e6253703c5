//! Blocks and bans through the real SQL: moderators' decisions, and the events that they publish
//! (R03, R08, R09).

use colibri_edge::domain::announcement::Topic;
use colibri_edge::domain::moderation::{Caller, Decision, Measure, Once, Proof, Ruling};
use colibri_edge::pipeline::end_bans;
use colibri_edge::storage::audit::{self, Filter};
use colibri_edge::storage::reads::bans::bans;
use colibri_edge::wire::bodies::AuditEntry;
use colibri_edge::wire::ids::Did;
use colibri_edge::wire::time::Micros;
use futures::executor::block_on;
use serde_json::json;

use super::sqlite::Break;
use super::story::{
    Service, Story, ban, ban_until, block, by_operator, kick, members_only, membership, message, message_in,
    moderators, person, unban, unblock,
};

/// alice's community with bob and carol as members, approved if it requires that, and bob's message
/// `1`.
fn garden(requires_approval: bool) -> Story {
    let mut story = Story::default();
    story.community("alice", requires_approval).join("bob", "alice").join("carol", "alice");
    if requires_approval {
        story.approve("alice", "bob").approve("alice", "carol");
    }
    story.say("bob", "1", "hello");
    story
}

/// A service that has processed `story`, and records events from now on.
fn after(story: &Story) -> Service {
    let mut service = Service::live(story);
    service.announced.clear();
    service
}

/// Processes what `more` adds to `story`.
fn go_on(service: &mut Service, story: &mut Story, more: impl FnOnce(&mut Story)) {
    let before = story.frames.len();
    more(story);
    story.frames[before..].iter().for_each(|frame| service.batch(std::slice::from_ref(frame)));
}

// ---- R03: blocks ----

#[test]
fn r03_a_block_hides_the_message_and_is_published_once() {
    let mut service = after(&garden(false));
    assert_eq!(service.decide(block("bob", "1")), Ruling::Made);
    assert_eq!(service.decide(block("bob", "1")), Ruling::Stood, "R03: 404 if it is blocked already");
    assert_eq!(service.published(), ["message_deleted 1"]);
    assert!(service.announced[0].live, "Q01: made by the service itself");
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
    assert_eq!(service.published(), ["message_deleted 1"], "I13");
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
    assert_eq!(service.published(), ["message_deleted 1"], "T11, I15: neither deleted again nor shown again");
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
    assert_eq!(service.published(), ["message_deleted 1"], "E04 is of visible messages");
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
    assert_eq!(service.published(), ["message_deleted 1", "member_left bob"], "E02 once");
}

#[test]
fn r03_a_message_that_is_hidden_with_its_author_is_blocked_without_an_event() {
    let mut service = after(&garden(false));
    service.store.exec("UPDATE messages SET hidden = 1");
    assert_eq!(service.decide(block("bob", "1")), Ruling::Made, "it is known (T07)");
    assert!(service.published().is_empty(), "E02 is of visible messages");
}

// ---- R08, R09: bans ----

#[test]
fn r08_a_ban_is_published_once_and_keeps_earlier_messages() {
    for requires_approval in [false, true] {
        let mut story = garden(requires_approval);
        let mut service = after(&story);
        assert_eq!(service.decide(ban("alice", "bob")), Ruling::Made);
        assert_eq!(service.decide(ban("alice", "bob")), Ruling::Stood);
        go_on(&mut service, &mut story, |story| {
            story.say("bob", "2", "still here?").update("bob", "message/1", message("edited"));
            story.delete("bob", "membership/m").join("bob", "alice").delete("bob", "membership/m");
        });
        assert_eq!(
            service.published(),
            ["member_left bob"],
            "B-17: what a banned person joins sends nothing"
        );
        assert_eq!(service.visible_texts(), ["hello"], "G2, G8: earlier messages stay");
    }
}

#[test]
fn b17_the_owner_cannot_be_banned_and_that_is_checked_first() {
    let mut service = after(&garden(false));
    assert_eq!(service.decide(ban("alice", "alice")), Ruling::IsOwner);
    let by_stranger = service.try_decide(person("eve"), ban("alice", "alice")).unwrap();
    assert_eq!(by_stranger, Ruling::IsOwner, "H03: 422 beats 403");
    assert!(service.published().is_empty());
}

#[test]
fn r09_a_return_is_published() {
    for requires_approval in [false, true] {
        let mut story = garden(requires_approval);
        let mut service = after(&story);
        service.decide(ban("alice", "bob"));
        assert_eq!(service.decide(unban("alice", "bob")), Ruling::Made);
        assert_eq!(service.decide(unban("alice", "bob")), Ruling::NothingThere);
        assert_eq!(service.published(), ["member_left bob", "member_joined bob"]);
        go_on(&mut service, &mut story, |story| {
            story.say("bob", "2", "back");
        });
        assert_eq!(service.visible_texts(), ["hello", "back"], "a standing approval counts again at once");
    }
}

/// Without this, a list of pending members would lack people until it is read anew.
#[test]
fn r09_who_is_back_and_has_no_approval_asks_for_one() {
    let mut story = garden(true);
    let mut service = after(&story);
    service.decide(ban("alice", "bob"));
    go_on(&mut service, &mut story, |story| {
        story.delete("alice", "approval/bob");
    });
    service.decide(unban("alice", "bob"));
    assert_eq!(service.published(), ["member_left bob", "member_pending bob"]);
    let Topic::MemberOut(who) = &service.announced[1].topic else {
        panic!("{:?}", service.announced[1].topic)
    };
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
    assert_eq!(service.published(), ["member_left bob"]);
}

#[test]
fn r09_names_the_membership_that_decides() {
    let mut story = garden(false);
    story.create("bob", "membership/a", super::story::membership("alice")).approve("alice", "bob");
    let mut service = after(&story);
    service.decide(ban("alice", "bob"));
    service.decide(unban("alice", "bob"));
    let joined = super::story::frame(&service.announced[1]);
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
    assert_eq!(service.published(), ["community_upserted c", "channel_created k"], "it counts from then on");
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
        service.published(),
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
    assert_eq!(service.published(), ["member_left bob", "community_upserted c", "member_pending carol"]);
}

/// The web client's moderation page reads the members of this list by name.
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
            // As a caller does: retry until there is an answer.
            let mut asked = 1;
            while service.try_decide(Caller::Operator, what.clone()).is_err() {
                asked += 1;
            }
            assert_eq!(service.store.struck.get(), 1, "{fault:?} did not strike");
            assert_eq!(asked, if fault == Break::Conflict { 1 } else { 2 }, "{fault:?}");
            let announced = service.outbox_after(&before);
            assert_eq!(announced.len(), 1, "{fault:?}: published once");
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

// ---- R30: a block is lifted ----

#[test]
fn r30_an_unblocked_message_is_shown_with_what_belongs_to_it() {
    let mut story = garden(false);
    story.react("carol", "r1", "👍", "1");
    story.create(
        "carol",
        "message/2",
        json!({ "text": "yes", "channel": "k", "parent": "1", "createdAt": "2026-03-01T12:00:00.000Z" }),
    );
    let mut service = after(&story);
    for rkey in ["1", "2"] {
        let author = if rkey == "1" { "bob" } else { "carol" };
        assert_eq!(service.decide(block(author, rkey)), Ruling::Made);
    }
    assert_eq!(service.decide(unblock("bob", "1")), Ruling::Made);
    assert_eq!(service.decide(unblock("bob", "1")), Ruling::NothingThere, "it is not blocked any more");
    assert_eq!(service.decide(unblock("carol", "2")), Ruling::Made);
    assert_eq!(
        service.published(),
        [
            "message_deleted 1",
            "message_deleted 2",
            "thread_updated 1",
            "message 1 \"hello\"",
            "message 2 \"yes\"",
            "thread_updated 1"
        ]
    );
    let event = |at: usize| super::story::frame(&service.announced[at]);
    assert_eq!(event(4)["parent_message"]["text"], "hello", "with what it answers");
    assert_eq!(service.visible_texts(), ["hello", "yes"]);
    assert_eq!(service.decide(block("bob", "1")), Ruling::Made, "and may be blocked again");
}

#[test]
fn r30_what_is_not_known_or_not_blocked_cannot_be_unblocked() {
    let mut story = garden(false);
    let mut service = after(&story);
    assert_eq!(service.decide(unblock("bob", "1")), Ruling::NothingThere, "not blocked");
    assert_eq!(service.decide(unblock("bob", "9")), Ruling::NothingThere, "not known");
    service.decide(block("bob", "1"));
    go_on(&mut service, &mut story, |story| {
        story.delete("bob", "message/1");
    });
    assert_eq!(service.decide(unblock("bob", "1")), Ruling::NothingThere, "deleted by its author");
    go_on(&mut service, &mut story, |story| {
        story.say("bob", "1", "again");
    });
    assert!(service.visible_texts().is_empty(), "B-12");
    assert_eq!(service.decide(unblock("bob", "1")), Ruling::Made, "T11: written again, it can be");
    assert_eq!(service.visible_texts(), ["again"]);
}

// ---- rows that an admin writes by hand ----

#[test]
fn a_ban_that_is_written_by_hand_counts_within_a_minute() {
    let mut story = garden(true);
    let mut service = after(&story);
    let mut say = |service: &mut Service, rkey: &str, text: &str| {
        go_on(service, &mut story, |story| {
            story.say("bob", rkey, text);
        });
    };
    say(&mut service, "2", "his standing is cached");
    service.store.by_hand(
        "INSERT INTO bans (community_uri, member_did, banned_at)
         VALUES ('at://did:plc:alice/social.colibri.community/c', 'did:plc:bob', '2026-03-01T12:00:00.000Z')",
    );
    say(&mut service, "3", "it still is");
    service.now += 60_000_000;
    say(&mut service, "4", "banned");
    service.store.by_hand("DELETE FROM bans");
    service.now += 60_000_000;
    say(&mut service, "5", "not any more");
    assert_eq!(service.visible_texts(), ["hello", "his standing is cached", "it still is", "not any more"]);
}

// ---- R08: bans that end by themselves ----

#[test]
fn t10_a_ban_ends_by_the_clock_and_the_service_publishes_it() {
    let mut story = garden(false);
    let mut service = after(&story);
    let until = service.now + 5_000_000;
    assert_eq!(service.decide(ban_until("alice", "bob", until)), Ruling::Made);
    go_on(&mut service, &mut story, |story| {
        story.say("bob", "2", "too early");
    });
    assert!(!ended(&mut service), "before its end nothing ends");
    service.now = until;
    go_on(&mut service, &mut story, |story| {
        story.say("bob", "3", "back");
    });
    assert_eq!(service.visible_texts(), ["hello", "back"], "the gate goes by the clock, before any job ran");
    assert_eq!(service.published(), ["member_left bob", "message 3 \"back\""]);
    assert!(ended(&mut service));
    assert!(!ended(&mut service), "once");
    assert_eq!(service.published().last().unwrap(), "member_joined bob");
    assert_eq!(service.store.look("SELECT count(*) FROM bans"), ["0"]);
}

/// Has the service end expired bans; returns whether there was one.
fn ended(service: &mut Service) -> bool {
    let before = service.store.look("SELECT version FROM ledger").remove(0);
    block_on(end_bans(&service.store, &service.settings(), Micros(service.now))).unwrap();
    let announced = service.outbox_after(&before);
    let any = !announced.is_empty();
    service.announced.extend(announced);
    any
}

#[test]
fn r08_a_ban_is_made_longer_without_an_event_also_after_its_end() {
    let mut story = garden(false);
    let mut service = after(&story);
    let until = service.now + 10_000_000;
    assert_eq!(service.decide(ban_until("alice", "bob", until)), Ruling::Made);
    assert_eq!(service.decide(ban_until("alice", "bob", until)), Ruling::Stood);
    assert_eq!(service.decide(ban_until("alice", "bob", until + 10_000_000)), Ruling::Made, "longer");
    service.now = until + 10_000_000;
    assert_eq!(service.decide(ban("alice", "bob")), Ruling::Made, "its end came and was not published");
    assert!(!ended(&mut service), "it lasts for good");
    go_on(&mut service, &mut story, |story| {
        story.say("bob", "2", "never");
    });
    assert_eq!(service.published(), ["member_left bob"], "published once");
    assert_eq!(service.decide(unban("alice", "bob")), Ruling::Made);
}

/// Cached standings must follow the end of a ban by the clock, too.
#[test]
fn t10_a_remembered_ban_ends_too() {
    let mut story = garden(false);
    let mut service = after(&story);
    let until = service.now + 4_000_000;
    service.decide(ban_until("alice", "bob", until));
    go_on(&mut service, &mut story, |story| {
        story.say("bob", "2", "no").say("bob", "3", "no");
    });
    let bob = Did::parse("did:plc:bob").unwrap();
    assert!(service.known.knows(&bob), "his standing is remembered");
    service.now = until;
    go_on(&mut service, &mut story, |story| {
        story.say("bob", "4", "yes");
    });
    assert_eq!(service.visible_texts(), ["hello", "yes"]);
}

// ---- R31: kicks ----

#[test]
fn r31_a_kick_ends_the_membership_and_its_approval() {
    for requires_approval in [false, true] {
        let mut story = garden(requires_approval);
        let mut service = after(&story);
        assert_eq!(service.decide(kick("alice", "bob")), Ruling::Made);
        assert_eq!(service.decide(kick("alice", "bob")), Ruling::NothingThere, "he is no member any more");
        assert_eq!(
            service.published(),
            ["member_left bob", "community_deleted c *bob"],
            "as if he had left (E06b)"
        );
        service.batch(&story.frames.clone());
        go_on(&mut service, &mut story, |story| {
            story.say("bob", "2", "still here?");
        });
        assert_eq!(
            service.visible_texts(),
            ["hello"],
            "what he said stays, and a replay brings nothing back"
        );
        service.announced.clear();
        go_on(&mut service, &mut story, |story| {
            story.update("bob", "membership/m", membership("alice"));
        });
        assert_eq!(
            service.published(),
            ["member_pending bob"],
            "written anew it counts; an approval of before does not"
        );
        go_on(&mut service, &mut story, |story| {
            story.update("alice", "approval/bob", super::story::approval("bob"));
        });
        assert_eq!(service.published().last().unwrap(), "member_joined bob", "approved anew");
    }
}

#[test]
fn r31_the_owner_and_strangers_cannot_be_kicked() {
    let mut service = after(&garden(false));
    assert_eq!(service.decide(kick("alice", "alice")), Ruling::IsOwner);
    assert_eq!(service.decide(kick("alice", "eve")), Ruling::NothingThere);
    assert_eq!(service.decide(kick("nobody", "eve")), Ruling::NothingThere);
    assert!(service.published().is_empty());
}

#[test]
fn r08_r32_who_only_says_to_own_a_community_makes_nothing_grow() {
    let mut service = after(&garden(false));
    for what in [ban("eve", "bob"), moderators("eve", &["bob"])] {
        assert_eq!(service.try_decide(person("eve"), what).unwrap(), Ruling::NothingThere, "it is not known");
    }
    assert_eq!(service.decide(moderators("eve", &["bob"])), Ruling::NothingThere);
    let rows = "SELECT (SELECT count(*) FROM bans) + (SELECT count(*) FROM moderators) + (SELECT count(*) FROM audit_log)";
    assert_eq!(service.store.look(rows), ["0"]);
}

// ---- X20, R32: moderators ----

#[test]
fn x20_a_moderator_acts_in_one_community_only() {
    let mut story = garden(false);
    story.community("zoe", false);
    let mut service = after(&story);
    assert_eq!(service.try_decide(person("mod"), ban("alice", "bob")).unwrap(), Ruling::Forbidden);
    assert_eq!(service.try_decide(person("mod"), moderators("alice", &["mod"])).unwrap(), Ruling::Forbidden);
    assert_eq!(
        service.try_decide(person("alice"), moderators("alice", &["mod", "bob"])).unwrap(),
        Ruling::Made
    );
    assert_eq!(
        service.try_decide(person("alice"), moderators("alice", &["bob", "mod"])).unwrap(),
        Ruling::Stood
    );
    for (what, expected, why) in [
        (block("bob", "1"), Ruling::Made, "a message of the community"),
        (unblock("bob", "1"), Ruling::Made, "and back"),
        (ban("alice", "carol"), Ruling::Made, "a member"),
        (unban("alice", "carol"), Ruling::Made, "and back"),
        (kick("alice", "carol"), Ruling::Made, "a member"),
        (ban("alice", "bob"), Ruling::Forbidden, "not another moderator"),
        (kick("alice", "bob"), Ruling::Forbidden, "not another moderator"),
        (ban("alice", "alice"), Ruling::IsOwner, "not the owner"),
        (moderators("alice", &["mod"]), Ruling::Forbidden, "who moderates is the owner's to say"),
        (ban("zoe", "bob"), Ruling::Forbidden, "B-18: not elsewhere"),
    ] {
        assert_eq!(service.try_decide(person("mod"), what).unwrap(), expected, "{why}");
    }
    service.decide(ban("alice", "mod"));
    assert_eq!(
        service.try_decide(person("mod"), ban("alice", "carol")).unwrap(),
        Ruling::Forbidden,
        "who is banned there does not moderate"
    );
    service.decide(unban("alice", "mod"));
    service.decide(moderators("alice", &[]));
    assert_eq!(
        service.try_decide(person("mod"), ban("alice", "carol")).unwrap(),
        Ruling::Forbidden,
        "no more"
    );
}

// ---- X22: the audit log ----

#[test]
fn x22_every_act_that_was_made_is_written_down_with_it() {
    let mut service = after(&garden(false));
    let until = service.now + 60_000_000;
    service.try_decide(person("alice"), moderators("alice", &["mod"])).unwrap();
    service.try_decide(person("mod"), block("bob", "1")).unwrap();
    service.try_decide(person("mod"), block("bob", "1")).unwrap(); // it was in force
    service.try_decide(person("eve"), unblock("bob", "1")).unwrap(); // forbidden
    service.decide(unblock("bob", "1"));
    service.decide(ban_until("alice", "bob", until));
    service.now = until;
    ended(&mut service);
    service.decide(kick("alice", "carol"));
    let page = |filter: &Filter, after: Option<&audit::AuditPlace>, limit| {
        let uri = super::story::community("alice");
        block_on(audit::page(&service.store, uri.as_str(), filter, after, limit)).unwrap()
    };
    let short = |rows: Vec<AuditEntry>| -> Vec<String> {
        let line =
            |row: AuditEntry| format!("{} {} {}", row.actor, row.action, row.subject).replace("did:plc:", "");
        rows.into_iter().map(line).collect()
    };
    let all = [
        "operator kick carol",
        "service ban_ended bob",
        "operator ban bob",
        "operator unblock at://bob/social.colibri.message/1",
        "mod block at://bob/social.colibri.message/1",
        "alice moderators mod",
    ];
    assert_eq!(short(page(&Filter::default(), None, 50).0), all, "newest first, nothing that was not made");
    for limit in 1..=6 {
        let (mut walked, mut place) = (Vec::new(), None);
        loop {
            let (rows, end) = page(&Filter::default(), place.as_ref(), limit);
            walked.extend(short(rows));
            place = end;
            if place.is_none() {
                break;
            }
        }
        assert_eq!(walked, all, "H40: pages of {limit}");
    }
    let of = |actor: &str, action: &str, subject: &str| Filter {
        actor: actor.into(),
        action: action.into(),
        subject: subject.into(),
    };
    assert_eq!(short(page(&of("did:plc:mod", "", ""), None, 50).0), [all[4]]);
    assert_eq!(short(page(&of("", "kick", ""), None, 50).0), [all[0]]);
    assert_eq!(short(page(&of("", "", "did:plc:bob"), None, 50).0), [all[1], all[2]]);
}

#[test]
fn x22_a_fault_leaves_neither_an_act_without_an_entry_nor_an_entry_without_an_act() {
    for fault in [Break::Read, Break::CommitLost, Break::CommitStored, Break::Conflict] {
        let mut service = after(&garden(false));
        service.store.break_next(fault);
        while service.try_decide(Caller::Operator, ban("alice", "bob")).is_err() {}
        assert_eq!(service.store.struck.get(), 1, "{fault:?} did not strike");
        let counts = "SELECT (SELECT count(*) FROM bans) || ' ' || (SELECT count(*) FROM audit_log)";
        assert_eq!(service.store.look(counts), ["1 1"], "{fault:?}");
    }
}

#[test]
fn x22_the_log_of_a_community_is_bounded() {
    let mut service = after(&garden(false));
    service.store.exec(&format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i <= {})
         INSERT INTO audit_log (community_uri, actor, proof, action, subject, at)
         SELECT '{}', 'operator', 'api_key', 'kick', 'did:plc:x', '2026-03-01T12:00:00.000Z' FROM n",
        audit::KEPT,
        super::story::community("alice"),
    ));
    service.decide(ban("alice", "bob"));
    assert_eq!(service.store.look("SELECT count(*) FROM audit_log"), [audit::KEPT.to_string()]);
    assert_eq!(service.store.look("SELECT action FROM audit_log ORDER BY id DESC LIMIT 1"), ["ban"]);
}

// ---- X23: acts that are made once ----

#[test]
fn x23_an_act_under_a_key_is_made_once_and_answered_the_same() {
    let mut service = after(&garden(false));
    let once = |request: &str| Once { key: "k".into(), request: request.into() };
    let mut go = |what: Measure, request: &str| service.decide_once(what, once(request));
    assert_eq!(go(block("bob", "1"), "block"), Ruling::Made);
    assert_eq!(go(block("bob", "1"), "block"), Ruling::Made, "without a key it would be Stood");
    assert_eq!(go(unblock("bob", "1"), "unblock"), Ruling::KeyReused);
    assert_eq!(service.decide(unblock("bob", "1")), Ruling::Made);
    let again = Once { key: "k".into(), request: "block".into() };
    assert_eq!(service.decide_once(block("bob", "1"), again), Ruling::Made, "a late repetition acts no more");
    assert_eq!(service.visible_texts(), ["hello"]);
    assert_eq!(service.store.look("SELECT count(*) FROM audit_log"), ["2"]);
}

// ---- Many decisions in one commit ----

#[test]
fn decisions_of_one_commit_see_what_those_before_them_changed() {
    let mut service = after(&garden(false));
    let by = |who: &str, what| Decision::new(person(who), Proof::ServiceAuth, what);
    let decisions = [
        by("bob", ban("alice", "carol")),
        by("alice", moderators("alice", &["bob"])),
        by("bob", ban("alice", "carol")),
        by("alice", moderators("alice", &[])),
        by("bob", unban("alice", "carol")),
        by("alice", members_only("alice", true)),
        by("alice", members_only("alice", true)),
    ];
    let committed = service.try_batch_with(&[], &decisions).unwrap();
    let (made, no) = (Ruling::Made, Ruling::Forbidden);
    assert_eq!(committed.rulings, [no, made, made, made, no, made, Ruling::Stood]);
    let log = service.store.look("SELECT actor || ' ' || action FROM audit_log ORDER BY id");
    assert_eq!(
        log,
        [
            "did:plc:alice moderators",
            "did:plc:bob ban",
            "did:plc:alice moderators",
            "did:plc:alice members_only"
        ],
        "X22: in order"
    );
    assert_eq!(service.store.look("SELECT count(*) FROM moderators"), ["0"]);
}

#[test]
fn x23_decisions_of_one_commit_are_made_once_under_their_keys() {
    let mut service = after(&garden(false));
    let under = |key: &str, request: &str, what| {
        let once = Once { key: key.into(), request: request.into() };
        Decision { once: Some(once), ..by_operator(what) }
    };
    let mut go = |decisions: &[Decision]| {
        let committed = service.try_batch_with(&[], decisions).unwrap();
        (committed.rulings, committed.after > committed.before)
    };
    let [made, reused] = [Ruling::Made, Ruling::KeyReused];
    let first = [under("1", "a", block("bob", "1")), under("2", "b", ban("alice", "carol"))];
    assert_eq!(go(&first), (vec![made, made], true));
    assert_eq!(go(&[under("1", "a", unblock("bob", "1"))]), (vec![made], false), "it acts no more");
    let mixed = [under("2", "c", unban("alice", "carol")), by_operator(unblock("bob", "1"))];
    assert_eq!(go(&mixed), (vec![reused, made], true), "each gets its own result");
    assert_eq!(go(&[by_operator(unblock("bob", "1"))]), (vec![Ruling::NothingThere], false), "no commit");
    assert_eq!(service.visible_texts(), ["hello"]);
    assert_eq!(service.store.look("SELECT key FROM idempotency_keys ORDER BY key"), ["1", "2"]);
}

#[test]
fn a_decision_sees_the_events_that_are_committed_with_it() {
    let mut story = Story::default();
    story.community("alice", false).join("bob", "alice").say("bob", "1", "hello");
    let mut service = Service::new();
    service.batch_with(&story.frames, vec![block("bob", "1"), kick("alice", "bob")]);
    assert!(service.visible_texts().is_empty());
    assert_eq!(service.store.look("SELECT count(*) FROM memberships"), ["0"]);
    story.say("bob", "2", "again");
    service.batch(&story.frames[story.frames.len() - 1..]);
    assert_eq!(service.store.look("SELECT count(*) FROM messages"), ["1"], "what is kept knows it too");
}
