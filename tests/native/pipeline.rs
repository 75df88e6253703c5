//! The pipeline through the real SQL: what events do to the index and what is published, whatever
//! the stream does with them.

use super::sqlite::Break;
use super::story::{Service, Story, did, frame, membership, message, message_in};
use colibri_edge::domain::announcement::{Audience, Scope};
use serde_json::json;

/// Processes a story event by event and compares the published events.
fn check(story: &Story, expected: &[&str], why: &str) -> Service {
    let service = Service::live(story);
    assert_eq!(service.published(), expected, "{why}");
    service
}

#[test]
fn the_main_job() {
    let mut story = Story::default();
    story.create("alice", "community/c", json!({ "name": "Garden" }));
    story.create("alice", "category/g", json!({ "name": "General", "community": "c" }));
    story.create(
        "alice",
        "channel/k",
        json!({ "name": "hall", "type": "text", "community": "c", "category": "g" }),
    );
    story.join("bob", "alice").approve("alice", "bob").say("bob", "1", "hello");
    story.update("bob", "message/1", message("hello!")).delete("bob", "message/1");
    let service = check(
        &story,
        &[
            "community_upserted c",
            "category_created g",
            "channel_created k",
            "member_pending bob",
            "member_joined bob",
            "message 1 \"hello\"",
            "message 1 \"hello!\"",
            "message_deleted 1",
        ],
        "each step once",
    );
    assert!(service.visible_texts().is_empty());
}

// ---- membership (defects, theme 1) ----

#[test]
fn b01_a_member_cannot_approve_itself() {
    let mut story = Story::default();
    story.community("alice", true).join("bob", "alice");
    story.create("bob", "approval/x", super::story::approval("bob")).say("bob", "1", "let me in");
    let service = check(
        &story,
        &["community_upserted c", "channel_created k", "member_pending bob"],
        "no member_joined, no message",
    );
    assert_eq!(service.store.look("SELECT reason, count FROM refusals_by_reason"), ["author_not_approved|1"]);
}

#[test]
fn b02_a_strangers_approval_changes_nothing() {
    let mut story = Story::default();
    story.community("alice", true).join("bob", "alice").approve("alice", "bob");
    story.create("eve", "approval/x", super::story::approval("bob")).delete("eve", "approval/x");
    story.say("bob", "1", "still here");
    let service = Service::live(&story);
    assert!(!service.published().iter().any(|event| event.starts_with("member_left")));
    assert_eq!(service.visible_texts(), ["still here"]);
}

#[test]
fn b08_closing_a_community_tells_every_pending_member_once() {
    let mut story = Story::default();
    story.community("alice", false).join("bob", "alice").join("carol", "alice").join("dave", "alice");
    story.approve("alice", "dave").say("bob", "1", "open");
    story.update("alice", "community/c", json!({ "name": "Garden", "requiresApprovalToJoin": true }));
    story.say("bob", "2", "closed");
    let service = Service::live(&story);
    assert_eq!(
        service.published()[7..],
        ["community_upserted c", "member_pending bob", "member_pending carol"],
        "I26: by DID, approved members not; and the next message is refused"
    );
}

#[test]
fn b09_an_approval_may_come_first() {
    let mut story = Story::default();
    story.community("alice", true).approve("alice", "bob").join("bob", "alice");
    check(&story, &["community_upserted c", "channel_created k", "member_joined bob"], "no member_pending");
}

#[test]
fn b10_an_approval_deleted_before_the_membership_is_gone() {
    let mut story = Story::default();
    story
        .community("alice", true)
        .approve("alice", "bob")
        .delete("alice", "approval/bob")
        .join("bob", "alice");
    check(&story, &["community_upserted c", "channel_created k", "member_pending bob"], "pending");
}

#[test]
fn b37_a_membership_written_again_is_approved_again() {
    let mut story = Story::default();
    story.community("alice", true).join("bob", "alice").approve("alice", "bob");
    story.delete("bob", "membership/m").join("bob", "alice");
    check(
        &story,
        &[
            "community_upserted c",
            "channel_created k",
            "member_pending bob",
            "member_joined bob",
            "member_left bob",
            "community_deleted c *bob",
            "member_joined bob",
        ],
        "one member_joined each time; E06b to the leaver alone",
    );
}

#[test]
fn b39_what_was_posted_while_pending_stays_out() {
    let mut story = Story::default();
    story.community("alice", true).join("bob", "alice").say("bob", "1", "too early").approve("alice", "bob");
    story.update("bob", "message/1", message("edited")).say("bob", "2", "in time");
    let mut service = Service::live(&story);
    assert_eq!(service.visible_texts(), ["in time"], "G7, I11b");
    service.batch(&story.frames);
    assert_eq!(service.visible_texts(), ["in time"], "and a replay does not bring it back (I01)");
}

#[test]
fn i42_a_membership_that_names_another_community_moves() {
    let mut story = Story::default();
    story.community("alice", false).community("zoe", false).join("bob", "alice");
    story.update("bob", "membership/m", membership("zoe"));
    assert_eq!(
        Service::live(&story).published()[4..],
        ["member_pending bob", "member_left bob", "community_deleted c *bob", "member_pending bob"]
    );
}

#[test]
fn i43_the_owners_own_membership_is_no_news() {
    let mut story = Story::default();
    story
        .community("alice", true)
        .join("alice", "alice")
        .approve("alice", "alice")
        .delete("alice", "membership/m");
    check(&story, &["community_upserted c", "channel_created k"], "nothing");
}

#[test]
fn i45_losing_approval() {
    for (requires_approval, expected) in [(true, "member_left bob"), (false, "member_pending bob")] {
        let mut story = Story::default();
        story.community("alice", requires_approval).join("bob", "alice").approve("alice", "bob");
        story.delete("alice", "approval/bob");
        assert_eq!(Service::live(&story).published().last().map(String::as_str), Some(expected));
    }
}

// ---- the gate (theme 2) ----

#[test]
fn b04_a_channel_with_a_stolen_rkey_opens_no_door() {
    for order in [["alice", "eve"], ["eve", "alice"]] {
        let mut story = Story::default();
        for owner in order {
            story.create(
                owner,
                "community/c",
                json!({ "name": owner, "requiresApprovalToJoin": owner == "alice" }),
            );
            story.create(
                owner,
                "channel/k",
                json!({ "name": "k", "type": "text", "community": "c", "ownerOnly": owner == "alice" }),
            );
        }
        story.join("mallory", "eve").say("mallory", "1", "sneaky");
        let service = Service::live(&story);
        assert_eq!(
            service.store.look("SELECT channel_uri FROM messages"),
            ["at://did:plc:eve/social.colibri.channel/k"],
            "T20.3, indexed in the order {order:?}"
        );
    }
}

#[test]
fn b07_a_message_waits_for_its_channel_and_is_gated_then() {
    let mut story = Story::default();
    story
        .say("bob", "1", "early")
        .say("eve", "2", "early too")
        .join("bob", "alice")
        .community("alice", false);
    let service = check(
        &story,
        &["community_upserted c", "member_pending bob", "channel_created k", "message 1 \"early\""],
        "I61: held, then gated: bob is a member, eve is not",
    );
    assert_eq!(service.store.look("SELECT count(*) FROM held"), ["0"]);
    assert_eq!(
        service.store.look("SELECT uri, outcome FROM settled"),
        ["at://did:plc:eve/social.colibri.message/2|refused"]
    );
}

#[test]
fn b07_nothing_is_accepted_in_a_deleted_community() {
    let mut story = Story::default();
    story
        .community("alice", false)
        .join("bob", "alice")
        .say("bob", "1", "before")
        .delete("alice", "community/c");
    story.say("bob", "2", "after");
    let mut service = Service::live(&story);
    assert_eq!(service.visible_texts(), Vec::<String>::new(), "I70: hidden, and the new one is held");
    let mut again = story.clone();
    again.create("alice", "community/c", json!({ "name": "Garden", "requiresApprovalToJoin": false }));
    service.batch(&again.frames[story.frames.len()..]);
    assert_eq!(
        service.visible_texts(),
        ["before", "after"],
        "I72, I61: shown again, and the held one is accepted"
    );
}

#[test]
fn b15_an_edit_that_moves_a_message() {
    let mut story = Story::default();
    story.community("alice", false).join("bob", "alice");
    story.create("alice", "channel/b", json!({ "name": "b", "type": "text", "community": "c" }));
    story.create(
        "alice",
        "channel/o",
        json!({ "name": "o", "type": "text", "community": "c", "ownerOnly": true }),
    );
    story.say("bob", "1", "here").update("bob", "message/1", message_in("b", "there"));
    story.update("bob", "message/1", message_in("o", "nowhere"));
    let service = Service::live(&story);
    assert_eq!(
        service.published()[5..],
        ["message 1 \"here\"", "message_deleted 1", "message 1 \"there\""],
        "I12; refused: nothing (I11)"
    );
    assert_eq!(service.visible_texts(), ["there"]);
}

#[test]
fn g2_a_banned_author_is_refused_and_members_events_about_them_are_silent() {
    let mut story = Story::default();
    story.community("alice", false).join("bob", "alice");
    let mut service = Service::live(&story);
    service
        .store
        .exec("INSERT INTO bans (community_uri, member_did, banned_at) VALUES ('at://did:plc:alice/social.colibri.community/c', 'did:plc:bob', '')");
    let mut more = story.clone();
    more.say("bob", "1", "banned").delete("bob", "membership/m").join("bob", "alice");
    service.batch(&more.frames[story.frames.len()..]);
    assert_eq!(service.published().len(), 3, "no message, no member_left, no member_pending (I45)");
}

// ---- moderation (theme 3) ----

#[test]
fn b11_b12_a_block_outlives_edits_and_a_second_writing() {
    let mut story = Story::default();
    story.community("alice", false).join("bob", "alice").say("bob", "1", "bad");
    let mut service = Service::live(&story);
    service.store.exec(
        "INSERT INTO blocks (uri, blocked_at) VALUES ('at://did:plc:bob/social.colibri.message/1', '')",
    );
    let announced = service.published().len();
    let mut more = story.clone();
    more.update("bob", "message/1", message("worse")).delete("bob", "message/1").say("bob", "1", "again");
    service.batch(&more.frames[story.frames.len()..]);
    assert_eq!(service.published().len(), announced, "I13, I14, I15: not a word");
    assert!(service.visible_texts().is_empty());
}

// ---- order and durability (theme 5) ----

#[test]
fn b24_the_last_state_counts_in_every_cut() {
    let mut story = Story::default();
    story.community("alice", false).join("bob", "alice");
    for round in 0..20 {
        story.say("bob", "1", "a").update("bob", "message/1", message(&format!("b{round}")));
        if round < 19 {
            story.delete("bob", "message/1");
        }
    }
    for size in [1, 2, 3, 7, 100] {
        let mut service = Service::new();
        story.frames.chunks(size).for_each(|frames| service.batch(frames));
        assert_eq!(service.visible_texts(), ["b19"], "batches of {size}");
    }
}

#[test]
fn i02_stale_and_repeated_events_change_nothing() {
    let mut story = Story::default();
    story.community("alice", false).join("bob", "alice").say("bob", "1", "a").delete("bob", "message/1");
    let mut service = Service::live(&story);
    let (index, announced) = (service.store.index(), service.published());
    service.batch(&story.frames);
    service.batch(&story.frames[3..4]);
    assert_eq!(
        (service.store.index(), service.published()),
        (index, announced),
        "I06: the late create stays out"
    );
}

#[test]
fn i11_what_an_edit_keeps_and_what_it_replaces() {
    let mut story = Story::default();
    story.community("alice", false).join("bob", "alice");
    story.create(
        "bob",
        "message/1",
        json!({ "text": "a", "channel": "k", "createdAt": "2099-01-01T00:00:00Z", "facets": [] }),
    );
    story.update(
        "bob",
        "message/1",
        json!({ "text": "b", "channel": "k", "createdAt": "2001-01-01T00:00:00Z", "parent": "p" }),
    );
    let service = Service::live(&story);
    let before = "SELECT text, created_at, edited, parent, facets, sort_at = indexed_at FROM messages";
    assert_eq!(
        service.store.look(before),
        ["b|2099-01-01T00:00:00Z|1|p|null|1"],
        "B-40: sorted by receive time"
    );
}

#[test]
fn b40_a_created_at_that_is_no_time_becomes_the_receive_time() {
    let mut story = Story::default();
    story.community("alice", false).join("bob", "alice");
    story.create("bob", "message/1", json!({ "text": "a", "channel": "k", "createdAt": "yesterday" }));
    let service = Service::live(&story);
    assert_eq!(
        service
            .store
            .look("SELECT substr(indexed_at, 1, 23) || 'Z' = created_at, sort_at = indexed_at FROM messages"),
        ["1|1"]
    );
}

#[test]
fn i28_a_channel_moves_between_communities_of_its_owner() {
    let mut story = Story::default();
    story.community("alice", false);
    story.create("alice", "community/d", json!({ "name": "Second", "requiresApprovalToJoin": false }));
    story.update("alice", "channel/k", json!({ "name": "hall", "type": "text", "community": "d" }));
    assert_eq!(
        Service::live(&story).published()[2..],
        ["community_upserted d", "channel_deleted k", "channel_created k"]
    );
}

#[test]
fn t21_a_parent_is_found_in_the_same_channel_and_only_while_visible() {
    let mut story = Story::default();
    story.community("alice", false).join("bob", "alice").say("alice", "p", "question");
    story.create(
        "bob",
        "message/1",
        json!({ "text": "answer", "channel": "k", "createdAt": "x", "parent": "p" }),
    );
    story.delete("alice", "message/p");
    story.update(
        "bob",
        "message/1",
        json!({ "text": "answer!", "channel": "k", "createdAt": "x", "parent": "p" }),
    );
    let service = Service::live(&story);
    let parents: Vec<_> = service
        .announced
        .iter()
        .map(frame)
        .filter(|event| event["type"] == "message" && event["rkey"] == "1")
        .map(|event| {
            (
                event["parent"].clone(),
                event["parent_message"]["text"].clone(),
                event["message"]["text"].clone(),
            )
        })
        .collect();
    assert_eq!(
        parents,
        [(json!("p"), json!("question"), json!("answer")), (json!("p"), json!(null), json!("answer!")),]
    );
}

// ---- faults (invariants 1, 9) ----

#[test]
fn a_fault_anywhere_loses_nothing_and_tells_nothing_twice() {
    let mut story = Story::default();
    story.community("alice", false).join("bob", "alice").say("bob", "1", "a").say("bob", "2", "b");
    let plain = Service::live(&story);
    for fault in [Break::Read, Break::CommitLost, Break::CommitStored, Break::Conflict] {
        for at in 0..story.frames.len() {
            let mut service = Service::new();
            for (n, frame) in story.frames.iter().enumerate() {
                if n == at {
                    service.store.break_next(fault);
                }
                // As the consumer does: retry until it succeeds, then publish what the outbox
                // contains.
                while service.try_batch(std::slice::from_ref(frame)).is_err() {}
            }
            assert_eq!(service.store.struck.get(), 1, "{fault:?} at {at} did not strike");
            assert_eq!(service.store.index(), plain.store.index(), "{fault:?} at {at}");
            let announced: Vec<String> = service.store.look(
                "SELECT j.value ->> '$.event' FROM outbox o, json_each(o.announcements) j ORDER BY o.id, j.key",
            );
            assert_eq!(announced.len(), plain.announced.len(), "{fault:?} at {at}: each event once");
        }
    }
}

#[test]
fn the_cursor_is_stored_with_the_data() {
    let mut story = Story::default();
    story.community("alice", false);
    let mut service = Service::new();
    service.store.break_next(Break::CommitLost);
    assert!(service.try_batch(&story.frames).is_err());
    assert!(service.store.look("SELECT cursor_us FROM stream").is_empty(), "J03: no data, no cursor");
    service.batch(&story.frames);
    assert_eq!(
        service.store.look("SELECT host, cursor_us FROM stream"),
        [format!("test|{}", super::story::START + 1_000_000)]
    );
}

#[test]
fn a_malformed_frame_is_counted_and_skipped() {
    let mut story = Story::default();
    story.community("alice", false);
    story.frames.insert(1, "{ this is not a frame".into());
    let mut service = Service::new();
    service.batch(&story.frames);
    assert_eq!(service.published(), ["community_upserted c", "channel_created k"]);
    assert_eq!(service.store.look("SELECT reason, count FROM refusals_by_reason"), ["frame_malformed|1"]);
}

// ---- reactions (8.4) ----

/// alice's open community with bob and carol, and bob's message `1`.
fn talk() -> Story {
    let mut story = Story::default();
    story.community("alice", false).join("bob", "alice").join("carol", "alice").say("bob", "1", "hello");
    story
}

/// What was published after `story` of [`talk`] continued with `more`.
fn after_talk(more: impl FnOnce(&mut Story)) -> Service {
    let mut story = talk();
    let announced = Service::live(&story).published().len();
    more(&mut story);
    let mut service = Service::live(&story);
    service.announced.drain(..announced);
    service
}

#[test]
fn b38_a_person_counts_once_per_emoji_until_the_last_record_is_gone() {
    let service = after_talk(|story| {
        story.react("carol", "r1", "👍", "1").react("carol", "r2", "👍", "1").react("carol", "r3", "🌿", "1");
        story.delete("carol", "reaction/r1").delete("carol", "reaction/r2");
    });
    assert_eq!(
        service.published(),
        ["reaction_added 👍 r1", "reaction_added 🌿 r3", "reaction_removed 👍 r2"]
    );
}

#[test]
fn b14_reactions_pass_the_gate_without_owner_only() {
    let service = after_talk(|story| {
        story.react("eve", "r1", "👍", "1");
        story.update(
            "alice",
            "channel/k",
            json!({ "name": "hall", "type": "text", "community": "c", "ownerOnly": true }),
        );
        story.react("carol", "r2", "👍", "1");
    });
    assert_eq!(service.published(), ["channel_created k", "reaction_added 👍 r2"], "eve is no member (I20)");
}

#[test]
fn b14_a_banned_persons_reaction_is_refused_whenever_the_message_comes() {
    let mut story = Story::default();
    story
        .community("alice", false)
        .join("bob", "alice")
        .join("carol", "alice")
        .react("carol", "r1", "👍", "1");
    let mut service = Service::live(&story);
    assert_eq!(service.store.look("SELECT count(*) FROM held"), ["1"], "I21: the target is not known");
    service.store.exec(
        "INSERT INTO bans (community_uri, member_did, banned_at) VALUES ('at://did:plc:alice/social.colibri.community/c', 'did:plc:carol', '')",
    );
    let mut more = story.clone();
    more.say("bob", "1", "hello");
    service.batch(&more.frames[story.frames.len()..]);
    assert_eq!(service.published().last().unwrap(), "message 1 \"hello\"");
    assert_eq!(service.store.look("SELECT count(*) FROM reactions"), ["0"]);
}

#[test]
fn i21_a_reaction_waits_for_its_message_by_rkey_and_by_at_uri() {
    for target in ["1", "at://did:plc:bob/social.colibri.message/1"] {
        let mut story = Story::default();
        story.community("alice", false).join("bob", "alice").join("carol", "alice");
        story.react("carol", "r1", "👍", target).say("bob", "1", "hello");
        let events = Service::live(&story).published();
        assert_eq!(
            events[events.len() - 2..],
            ["message 1 \"hello\"", "reaction_added 👍 r1"],
            "K10: {target}"
        );
    }
}

#[test]
fn i22_no_reactions_to_blocked_or_deleted_messages() {
    let target = "at://did:plc:bob/social.colibri.message/1";
    let service = after_talk(|story| {
        story.delete("bob", "message/1").react("carol", "r1", "👍", target);
    });
    assert_eq!(service.published(), ["message_deleted 1"]);
    assert_eq!(service.store.look("SELECT reason FROM refusals_by_reason"), ["target_blocked_or_deleted"]);
}

#[test]
fn i23_an_update_of_a_reaction_is_ignored() {
    let service = after_talk(|story| {
        story.react("carol", "r1", "👍", "1").update(
            "carol",
            "reaction/r1",
            super::story::reaction("🌿", "1"),
        );
        story.delete("carol", "reaction/r1");
    });
    assert_eq!(service.published(), ["reaction_added 👍 r1", "reaction_removed 👍 r1"]);
}

#[test]
fn i71_b42_a_message_written_again_starts_without_reactions() {
    let mut story = talk();
    story.react("carol", "r1", "👍", "1").delete("bob", "message/1").say("bob", "1", "again");
    let mut service = Service::live(&story);
    service.batch(&story.frames);
    assert_eq!(
        service.store.look("SELECT count(*) FROM reactions"),
        ["0"],
        "also when the stream repeats them"
    );
}

#[test]
fn b05_a_reaction_by_at_uri_means_that_message_and_no_namesake() {
    let service = after_talk(|story| {
        story.create("alice", "channel/b", json!({ "name": "b", "type": "text", "community": "c" }));
        story.create("carol", "message/1", message_in("b", "namesake"));
        story.react("alice", "r1", "👍", "at://did:plc:carol/social.colibri.message/1");
        story.react("alice", "r2", "👍", "1");
    });
    let targets: Vec<_> = service
        .announced
        .iter()
        .map(frame)
        .filter(|event| event["type"] == "reaction_added")
        .map(|event| (event["target_author_did"].clone(), event["channel"].clone()))
        .collect();
    assert_eq!(
        targets,
        [(json!("did:plc:carol"), json!("b")), (json!("did:plc:bob"), json!("k"))],
        "T21.3: by rkey, the one indexed first"
    );
}

/// Without this, people would see the same picture twice, and a client finds a group by its
/// `emoji`.
#[test]
fn o03_emoji_that_look_the_same_are_one_and_spelt_as_the_first() {
    let (fire, fire_picture) = ("🔥", "🔥\u{fe0f}");
    let act = |story: &mut Story| {
        story.react("carol", "r1", fire_picture, "1").react("alice", "r2", fire, "1");
        story.react("carol", "r3", fire, "1").delete("carol", "reaction/r1");
        story.react("alice", "r4", "👍", "1").react("alice", "r5", "👍🏽", "1");
        story.delete("carol", "reaction/r3").delete("alice", "reaction/r2").react("alice", "r6", fire, "1");
    };
    let announced = |service: &Service| -> Vec<(String, String)> {
        let events = service.announced.iter().map(frame).filter(|event| event["emoji"].is_string());
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        events
            .filter(|event| event["type"] != "user_status_changed")
            .map(|event| (text(&event["rkey"]), text(&event["emoji"])))
            .collect()
    };
    let expected: Vec<(String, String)> = [
        ("r1", fire_picture),
        ("r2", fire_picture),
        ("r4", "👍"),
        ("r5", "👍🏽"),
        ("r3", fire_picture),
        ("r2", fire_picture),
        ("r6", fire),
    ]
    .map(|(rkey, emoji)| (rkey.to_owned(), emoji.to_owned()))
    .to_vec();
    let live = after_talk(act);
    assert_eq!(announced(&live), expected, "E03, E04: by the spelling that the group is shown with");
    let mut story = talk();
    let before = story.frames.len();
    act(&mut story);
    let mut at_once = Service::live(&talk());
    at_once.announced.clear();
    at_once.batch(&story.frames[before..]);
    assert_eq!(announced(&at_once), expected, "I01");
    let rows = "SELECT uri, emoji FROM reactions ORDER BY uri";
    assert_eq!(live.store.look(rows), at_once.store.look(rows));
}

#[test]
fn i11_an_edit_carries_all_reactions() {
    let service = after_talk(|story| {
        story.react("carol", "r1", "👍", "1").react("alice", "r2", "👍", "1").react("alice", "r3", "🌿", "1");
        story.react("carol", "r4", "👍", "1").update("bob", "message/1", message("edited"));
    });
    let edit: serde_json::Value = frame(service.announced.last().unwrap());
    assert_eq!(
        edit["reactions"],
        json!([
            { "emoji": "👍", "count": 2, "reactor_dids": ["did:plc:carol", "did:plc:alice"],
              "authors": ["did:plc:carol", "did:plc:alice"], "rkeys": ["r1", "r2"] },
            { "emoji": "🌿", "count": 1, "reactor_dids": ["did:plc:alice"], "authors": ["did:plc:alice"], "rkeys": ["r3"] },
        ]),
        "O03: people once, with their oldest record, in order of arrival"
    );
}

#[test]
fn i72_a_reaction_to_a_hidden_message_waits_until_it_shows_again() {
    let channel = json!({ "name": "hall", "type": "text", "community": "c" });
    let service = after_talk(|story| {
        story.delete("alice", "channel/k").react("carol", "r1", "👍", "1").create(
            "alice",
            "channel/k",
            channel,
        );
    });
    assert_eq!(service.published(), ["channel_deleted k", "channel_created k", "reaction_added 👍 r1"]);
}

#[test]
fn a_record_deleted_and_written_again_in_one_batch_is_the_new_one() {
    let mut story = talk();
    story.react("carol", "r1", "👍", "1");
    let mut service = Service::live(&story);
    let mut more = story.clone();
    more.delete("carol", "reaction/r1").react("carol", "r1", "🌿", "1").delete("bob", "message/1");
    more.create(
        "bob",
        "message/1",
        json!({ "text": "again", "channel": "k", "createdAt": "2001-01-01T00:00:00Z" }),
    );
    service.batch(&more.frames[story.frames.len()..]);
    assert_eq!(service.store.look("SELECT text, created_at FROM messages"), ["again|2001-01-01T00:00:00Z"]);
}

// ---- people (8.6, 8.8) ----

#[test]
fn i33_every_actor_record_of_a_person_speaks_for_them() {
    let service = after_talk(|story| {
        story.create("bob", "actor.data/self", json!({ "status": "Reading", "emoji": "📚" }));
        story.update("bob", "actor.data/other", json!({ "status": "Writing" }));
        story.update("bob", "actor.data/other", json!({ "status": "Writing" }));
        story.create("bob", "actor.data/third", json!({ "communities": ["c"] }));
        story.delete("bob", "actor.data/self");
    });
    let announced: Vec<_> = service
        .announced
        .iter()
        .map(frame)
        .map(|event| (event["status"].clone(), event["emoji"].clone(), event["state"].clone()))
        .collect();
    let (none, offline) = (json!(null), json!("offline"));
    assert_eq!(
        announced,
        [
            (json!("Reading"), json!("📚"), offline.clone()),
            (json!("Writing"), none.clone(), offline.clone()),
            (json!("Writing"), none.clone(), offline.clone()),
            (json!(""), none, offline),
        ],
        "each applied one sends E15; one without a status is invalid (W20)"
    );
    assert_eq!(
        service.store.look("SELECT status_text, emoji FROM people WHERE did = 'did:plc:bob'"),
        ["|null"],
        "O10"
    );
}

/// A profile record of `who`.
pub(crate) fn profile(story: &mut Story, operation: &str, who: &str, rkey: &str, record: &serde_json::Value) {
    story.create(who, &format!("message/{rkey}"), record.clone());
    let frame = story.frames.pop().unwrap();
    let mut frame: serde_json::Value = serde_json::from_str(&frame).unwrap();
    frame["commit"]["collection"] = json!("app.bsky.actor.profile");
    frame["commit"]["operation"] = json!(operation);
    story.frames.push(frame.to_string());
}

#[test]
fn b44_a_profile_becomes_exactly_what_its_record_says() {
    let avatar =
        json!({ "$type": "blob", "ref": { "$link": "bafkreia" }, "mimeType": "image/png", "size": 1 });
    let service = after_talk(|story| {
        profile(story, "create", "bob", "self", &json!({ "displayName": "Bob", "avatar": avatar }));
        profile(
            story,
            "update",
            "bob",
            "self",
            &json!({ "displayName": "Bob", "avatar": avatar, "unknown": 1 }),
        );
        profile(story, "update", "bob", "self", &json!({ "displayName": "" }));
        profile(story, "create", "bob", "other", &json!({ "displayName": "Nobody" }));
        profile(story, "create", "stranger", "self", &json!({ "displayName": "Stranger" }));
    });
    let announced: Vec<_> = service
        .announced
        .iter()
        .map(frame)
        .map(|event| (event["display_name"].clone(), event["avatar_url"].clone()))
        .collect();
    let link = json!("https://cdn.test/img/avatar/plain/did:plc:bob/bafkreia@jpeg");
    assert_eq!(
        announced,
        [(json!("Bob"), link), (json!(null), json!(null))],
        "E16 when something shown changed (I36)"
    );
    assert_eq!(
        service.store.look("SELECT did FROM people WHERE did LIKE '%stranger'"),
        Vec::<String>::new(),
        "J08"
    );
}

#[test]
fn b43_a_read_cursor_never_goes_back() {
    let read = |at: &str| json!({ "channel": "at://did:plc:alice/social.colibri.channel/k", "cursor": format!("2026-02-{at}T12:00:00Z") });
    let service = after_talk(|story| {
        story.create("bob", "channel.read/a", read("10")).create("bob", "channel.read/b", read("05"));
        story.update("bob", "channel.read/a", read("01"));
    });
    let cursors = "SELECT did, max(cursor_at) FROM channel_reads GROUP BY did, channel_uri";
    assert_eq!(service.store.look(cursors), ["did:plc:bob|2026-02-10T12:00:00.000000Z"]);
    let [moved] = service.announced.as_slice() else { panic!("N168: it moved once") };
    assert_eq!(frame(moved)["type"], "channel_read", "U22");
    assert_eq!(moved.scope, Scope::People, "I38: no event of the community");
    assert_eq!(moved.audience, Audience::Private(did("bob")), "U22: to him alone");
    let gone = after_talk(|story| {
        story.create("bob", "channel.read/a", read("10")).create("bob", "channel.read/b", read("05"));
        story.delete("bob", "channel.read/a");
    });
    assert_eq!(gone.store.look(cursors), ["did:plc:bob|2026-02-10T12:00:00.000000Z"], "one is left");
}

/// It protects a person with one record of the year 9999, for whom no later record would count.
#[test]
fn i38_nobody_has_read_what_is_not_written_yet() {
    let read = |at: &str| json!({ "channel": "at://did:plc:alice/social.colibri.channel/k", "cursor": at });
    let mut service = after_talk(|story| {
        story.create("bob", "channel.read/a", read("9999-12-31T23:59:59Z"));
    });
    let of_arrival = "SELECT cursor_at = indexed_at FROM channel_reads";
    assert_eq!(service.store.look(of_arrival), ["1"], "as far as there was something to read");
    let mut story = Story { frames: vec![String::new(); 60] }; // a minute later
    story.update("bob", "channel.read/a", read("2026-03-01T12:00:30Z"));
    service.now += 60_000_000;
    service.batch(&story.frames[60..]);
    let cursor = "SELECT cursor_at FROM channel_reads";
    assert_eq!(service.store.look(cursor), ["2026-03-01T12:00:30.000000Z"], "and on from there");
}

/// An account event of `who`.
pub(super) fn account(story: &mut Story, who: &str, active: bool, status: &str) {
    let at = super::story::START + story.frames.len() as i64 * 1_000_000;
    let mut fields = json!({ "active": active, "did": format!("did:plc:{who}"), "seq": 1 });
    if !active {
        fields["status"] = json!(status);
    }
    let frame =
        json!({ "did": format!("did:plc:{who}"), "time_us": at, "kind": "account", "account": fields });
    story.frames.push(frame.to_string());
}

#[test]
fn b28_i51_to_i53_an_account_goes_and_comes_back() {
    let service = after_talk(|story| {
        account(story, "bob", false, "deactivated");
        account(story, "bob", false, "deactivated");
        account(story, "stranger", false, "takendown");
        account(story, "bob", true, "");
        story.say("bob", "2", "back");
    });
    assert_eq!(
        service.published(),
        ["message_deleted 1", "member_left bob", "member_pending bob", "message 2 \"back\""],
        "hidden once, shown again without E01 for old messages"
    );
    assert_eq!(service.visible_texts(), ["hello", "back"]);
    assert_eq!(service.store.look("SELECT count(*) FROM people WHERE did LIKE '%stranger'"), ["0"]);
}

#[test]
fn i51_what_an_inactive_account_wrote_or_owns_is_out_of_sight() {
    for who in ["bob", "alice"] {
        let service = after_talk(|story| account(story, who, false, "deactivated"));
        assert_eq!(service.visible_texts(), Vec::<String>::new(), "{who}");
    }
}

#[test]
fn i51_an_owner_takes_the_communities_along() {
    let service = after_talk(|story| {
        account(story, "alice", false, "suspended");
        story.say("bob", "2", "anybody here?");
        account(story, "alice", true, "");
    });
    assert_eq!(
        service.published(),
        ["community_deleted c", "community_upserted c", "message 2 \"anybody here?\""],
        "I70: nothing is accepted meanwhile; what was written is held, and accepted when she is back"
    );
}

#[test]
fn i52_a_deleted_account_is_gone_for_good() {
    let mut story = talk();
    story.react("carol", "r1", "👍", "1").create("bob", "actor.data/self", json!({ "status": "x" }));
    account(&mut story, "bob", false, "deleted");
    let mut service = Service::live(&story);
    assert!(service.published().ends_with(&["message_deleted 1".into(), "member_left bob".into()]));
    service.batch(&story.frames);
    for table in ["messages", "memberships", "reactions", "actors"] {
        assert_eq!(
            service.store.look(&format!(
                "SELECT count(*) FROM {table} WHERE uri NOT LIKE '%carol/social.colibri.membership%'"
            )),
            ["0"],
            "{table}, also when the stream repeats itself"
        );
    }
}

#[test]
fn i61_what_waits_for_a_waiting_channel_is_released_before_the_channel_goes() {
    let mut story = Story::default();
    story.create("alice", "channel/k", json!({ "name": "hall", "type": "text", "community": "c" }));
    story.say("alice", "1", "early");
    let waiting = story.frames.len();
    story.create("alice", "community/c", json!({ "name": "Garden" })).delete("alice", "channel/k");
    let mut service = Service::new();
    service.batch(&story.frames[..waiting]);
    service.batch(&story.frames[waiting..]);
    assert_eq!(
        service.published(),
        ["community_upserted c", "channel_created k", "message 1 \"early\"", "channel_deleted k"],
        "one batch or two"
    );
}
