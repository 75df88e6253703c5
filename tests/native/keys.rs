//! What bare record keys mean (T21, I22, I71): the message that had the key first in the channel,
//! or nothing; never somebody else's.

use colibri_edge::storage::reads::{self, reactions};
use colibri_edge::wire::ids::{AtUri, Collection, Did, Rkey};
use futures::executor::block_on;
use serde_json::{Value, json};

use super::story::{Service, Story, block, frame, message_in};

/// alice's open community with bob and carol; bob's message `1`.
fn talk() -> Story {
    let mut story = Story::default();
    story.community("alice", false).join("bob", "alice").join("carol", "alice").say("bob", "1", "bob's");
    story
}

fn reply(story: &mut Story, who: &str, rkey: &str, parent: &str) {
    let mut record = message_in("k", "answer");
    record["parent"] = json!(parent);
    story.create(who, &format!("message/{rkey}"), record);
}

fn uri(who: &str, rkey: &str) -> AtUri {
    let did = Did::parse(&format!("did:plc:{who}")).unwrap();
    AtUri::of(&did, Collection::Message, &Rkey::parse(rkey).unwrap())
}

/// The text of a message's parent: as last published on the socket, and as REST shows it.
fn parents(service: &Service, who: &str, rkey: &str) -> [Value; 2] {
    let announced = service
        .announced
        .iter()
        .map(frame)
        .rfind(|event| event["type"] == "message" && event["rkey"] == rkey);
    let shown = block_on(reads::message(&service.store, "", &uri(who, rkey))).unwrap().unwrap();
    let shown = serde_json::to_value(&shown).unwrap();
    [announced.unwrap(), shown].map(|message| message["parent_message"]["text"].clone())
}

/// Live, and everything in one batch: the cuts between batches must not matter (I01).
fn services(story: &Story) -> [Service; 2] {
    let mut at_once = Service::new();
    at_once.batch(&story.frames);
    [Service::live(story), at_once]
}

fn reactions_of(service: &Service) -> Vec<String> {
    service.store.look("SELECT emoji, target_uri FROM reactions ORDER BY uri")
}

#[test]
fn t21_a_reply_means_the_first_message_with_the_key_or_nothing() {
    type Change = fn(&mut Story);
    let cases: [(Change, Value, &str); 4] = [
        (|_| {}, json!("bob's"), "the first of two"),
        (
            |story| {
                story.delete("bob", "message/1");
            },
            Value::Null,
            "deleted: not the other",
        ),
        (
            |story| {
                story.create("alice", "channel/b", json!({ "name": "b", "type": "text", "community": "c" }));
                story.update("bob", "message/1", message_in("b", "moved"));
            },
            Value::Null,
            "moved away: not the other",
        ),
        (
            |story| {
                story.delete("bob", "message/1").say("bob", "1", "written again");
            },
            json!("written again"),
            "deleted and written again: it is the first still",
        ),
    ];
    for (change, expected, why) in cases {
        // The message with the same key comes before the change, or after it.
        for late in [false, true] {
            let mut story = talk();
            if !late {
                story.say("carol", "1", "carol's");
            }
            change(&mut story);
            if late {
                story.say("carol", "1", "carol's");
            }
            reply(&mut story, "alice", "r", "1");
            for service in services(&story) {
                assert_eq!(parents(&service, "alice", "r"), [expected.clone(), expected.clone()], "{why}");
            }
        }
    }
}

#[test]
fn t21_a_reply_keeps_what_it_answered_to() {
    let mut story = talk();
    reply(&mut story, "alice", "r", "1");
    story.delete("bob", "message/1").say("carol", "1", "something nasty");
    story.update("alice", "message/r", {
        let mut record = message_in("k", "answer, edited");
        record["parent"] = json!("1");
        record
    });
    for service in services(&story) {
        assert_eq!(parents(&service, "alice", "r"), [Value::Null, Value::Null]);
    }
}

#[test]
fn t21_a_blocked_or_hidden_parent_has_no_stand_in() {
    for hides in [true, false] {
        let mut story = talk();
        story.say("carol", "1", "carol's");
        let mut service = Service::live(&story);
        let from = story.frames.len();
        if hides {
            super::pipeline::account(&mut story, "bob", false, "deactivated");
        } else {
            service.decide(block("bob", "1"));
        }
        reply(&mut story, "alice", "r", "1");
        story.frames[from..].iter().for_each(|frame| service.batch(std::slice::from_ref(frame)));
        assert_eq!(parents(&service, "alice", "r"), [Value::Null, Value::Null]);
    }
}

#[test]
fn t21_a_reply_may_come_before_its_parent() {
    let mut story = talk();
    reply(&mut story, "alice", "r", "2");
    story.say("bob", "2", "late").say("carol", "2", "later");
    let service = Service::live(&story);
    assert_eq!(parents(&service, "alice", "r")[1], "late");
}

#[test]
fn i22_a_reaction_by_key_never_lands_on_a_namesake() {
    let mut story = talk();
    story.delete("bob", "message/1").say("carol", "1", "something nasty").react("alice", "r", "👍", "1");
    for service in services(&story) {
        assert!(reactions_of(&service).is_empty(), "it is refused");
        assert_eq!(service.store.look("SELECT count(*) FROM held"), ["0"], "and does not wait");
        assert_eq!(
            service.store.look("SELECT reason, count FROM refusal_counts"),
            ["target_blocked_or_deleted|1"]
        );
    }
    let mut late = talk();
    late.delete("bob", "message/1").react("alice", "r", "👍", "1").say("carol", "1", "something nasty");
    for service in services(&late) {
        assert!(reactions_of(&service).is_empty(), "nor when the namesake comes later");
        assert_eq!(service.store.look("SELECT count(*) FROM held"), ["0"]);
    }
}

#[test]
fn i22_a_blocked_message_keeps_its_key() {
    let mut story = talk();
    story.say("carol", "1", "something nasty");
    let mut service = Service::live(&story);
    service.decide(block("bob", "1"));
    let from = story.frames.len();
    story.react("alice", "r", "👍", "1");
    service.batch(&story.frames[from..]);
    assert!(reactions_of(&service).is_empty());
    assert_eq!(service.store.look("SELECT count(*) FROM held"), ["0"]);
}

/// The message of an inactive account may return: reactions to it wait.
#[test]
fn i21_a_reaction_by_key_means_a_message_whose_author_is_away() {
    let mut story = talk();
    story.say("carol", "1", "something nasty");
    super::pipeline::account(&mut story, "bob", false, "deactivated");
    story.react("alice", "r", "👍", "1");
    let service = Service::live(&story);
    let of_bob = "👍|at://did:plc:bob/social.colibri.message/1";
    assert_eq!(reactions_of(&service), [of_bob], "I51: out of sight with it, and on no namesake");
    assert_eq!(service.store.look("SELECT count(*) FROM held"), ["0"]);
}

#[test]
fn t21_a_message_that_is_back_or_elsewhere_is_meant_still() {
    let mut story = talk();
    story.create("alice", "channel/b", json!({ "name": "b", "type": "text", "community": "c" }));
    story.update("bob", "message/1", message_in("b", "moved")).say("carol", "1", "carol's");
    story.react("alice", "r1", "👍", "1");
    story.delete("bob", "message/1").say("bob", "1", "back").react("alice", "r2", "👍", "1");
    for service in services(&story) {
        assert_eq!(
            reactions_of(&service),
            ["👍|at://did:plc:bob/social.colibri.message/1"],
            "I71: r1 is gone"
        );
    }
}

/// A key that waits is looked up when something with it appears: in the channels where its author
/// may react.
#[test]
fn i61_a_held_reaction_means_what_appears_first() {
    let mut story = Story::default();
    story.community("alice", false).join("bob", "alice").join("carol", "alice");
    story.react("alice", "r", "👍", "1").say("bob", "1", "first").say("carol", "1", "second");
    for service in services(&story) {
        assert_eq!(reactions_of(&service), ["👍|at://did:plc:bob/social.colibri.message/1"]);
    }
}

#[test]
fn r05_r06_a_key_that_meant_a_message_shows_no_reactions_of_another() {
    let mut story = talk();
    story.say("carol", "1", "carol's");
    story.react("alice", "r", "👍", "at://did:plc:carol/social.colibri.message/1");
    story.delete("bob", "message/1");
    let service = Service::live(&story);
    let of = |name: &str| block_on(reactions::of_message(&service.store, name)).unwrap().len();
    assert_eq!(of("1"), 0, "R05");
    assert_eq!(of("at://did:plc:carol/social.colibri.message/1"), 1);
    let (channel, _) = block_on(reactions::of_channel(&service.store, "k", None, 50)).unwrap();
    let keys: Vec<&str> = channel.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["at://did:plc:carol/social.colibri.message/1"], "R06: the key is not its own");
}

/// I52: a deleted account leaves its keys behind, too.
#[test]
fn t21_the_keys_of_a_deleted_account_mean_nothing() {
    let mut story = talk();
    super::pipeline::account(&mut story, "bob", false, "deleted");
    story.say("carol", "1", "something nasty");
    reply(&mut story, "alice", "r", "1");
    for service in services(&story) {
        assert_eq!(parents(&service, "alice", "r"), [Value::Null, Value::Null]);
    }
}

/// The limit of what one message leaves behind: a reaction to another message with its key loads
/// all of it.
#[test]
fn t21_a_message_that_is_moved_for_ever_leaves_sixteen_channels() {
    let mut story = talk();
    for n in 0..40 {
        let rkey = format!("b{n}");
        let channel = json!({ "name": "b", "type": "text", "community": "c" });
        story.create("alice", &format!("channel/{rkey}"), channel);
        story.update("bob", "message/1", message_in(&rkey, &rkey));
    }
    let mut service = Service::live(&story);
    assert_eq!(service.store.look("SELECT count(*) FROM gone_messages"), ["16"]);
    let from = story.frames.len();
    story.say("carol", "1", "carol's");
    reply(&mut story, "alice", "r", "1");
    service.batch(&story.frames[from..]);
    assert_eq!(
        parents(&service, "alice", "r"),
        [Value::Null, Value::Null],
        "the first of them is known still"
    );
}

/// The limit of what is remembered: a month, and longer only while a message answers to the key.
#[test]
fn t21_keys_are_forgotten_after_a_month_unless_they_are_answered_to() {
    let mut story = talk();
    story.say("bob", "2", "nobody answers").delete("bob", "message/2");
    reply(&mut story, "alice", "r", "1");
    story.delete("bob", "message/1");
    let mut service = Service::live(&story);
    let gone = |service: &Service| service.store.look("SELECT rkey FROM gone_messages ORDER BY rkey");
    assert_eq!(gone(&service), ["1", "2"]);
    let day = 86_400_000_000;
    for (days, expected, why) in [
        (29, &["1", "2", "3"][..], "not yet"),
        (2, &["1", "3", "4"], "2 is forgotten"),
        (31, &["1", "5"], "1 never is"),
    ] {
        service.now += days * day;
        let from = story.frames.len();
        let rkey = expected.last().unwrap();
        story.say("bob", rkey, "short").delete("bob", &format!("message/{rkey}"));
        service.batch(&story.frames[from..]);
        assert_eq!(gone(&service), expected, "{why}");
    }
}
