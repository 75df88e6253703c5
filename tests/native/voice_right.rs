//! Who may be in a voice channel, through the real SQL.

use colibri_edge::domain::voice_right::{VoiceRefusal, may_be_in};
use colibri_edge::storage::facts;
use colibri_edge::wire::ids::{AtUri, Did};
use colibri_edge::wire::time::Micros;
use futures::executor::block_on;
use serde_json::json;

use super::sqlite::Break;
use super::story::{Service, Story, approval, membership};

/// alice's approval community with the voice channel `v`. bob is approved, carol is not and
/// approves herself, dave is approved and leaves, erin is approved in another community.
fn studio() -> Story {
    let mut story = Story::default();
    story
        .community("alice", true)
        .create(
            "alice",
            "channel/v",
            json!({ "name": "talk", "type": "voice", "community": "c", "ownerOnly": true }),
        )
        .join("bob", "alice")
        .approve("alice", "bob")
        .join("carol", "alice")
        .create("carol", "approval/self", approval("carol"))
        .join("dave", "alice")
        .approve("alice", "dave")
        .delete("dave", "membership/m")
        .community("mallory", true)
        .create("erin", "membership/m", membership("mallory"))
        .approve("mallory", "erin");
    story
}

fn uri(text: &str) -> AtUri {
    AtUri::parse(text).unwrap()
}

/// The result for each of `people`, from one call.
fn answers(service: &Service, channel: &str, people: &[&str]) -> Vec<&'static str> {
    let people: Vec<Did> =
        people.iter().map(|name| Did::parse(&format!("did:plc:{name}")).unwrap()).collect();
    let channel = uri(channel);
    let working_set =
        block_on(facts::right_to_be_in(&service.store, &channel, &people, Micros(service.now))).unwrap();
    people
        .iter()
        .map(|person| {
            may_be_in(&working_set, person, false, &channel, None)
                .map_or_else(VoiceRefusal::text, |()| "welcome")
        })
        .collect()
}

const TALK: &str = "at://did:plc:alice/social.colibri.channel/v";
const NO: &str = "Not allowed in this voice channel";

#[test]
fn v02_many_people_in_one_read() {
    let service = Service::live(&studio());
    let people = ["alice", "bob", "carol", "dave", "erin", "nobody"];
    assert_eq!(answers(&service, TALK, &people), ["welcome", "welcome", NO, NO, NO, NO]);
    assert_eq!(
        answers(&service, "at://did:plc:alice/social.colibri.channel/k", &["bob"]),
        ["Not a voice channel"]
    );
    let unknown = "Unknown voice channel";
    assert_eq!(answers(&service, "at://did:plc:mallory/social.colibri.channel/v", &["erin"]), [unknown]);
}

#[test]
fn v02_b17_a_ban_and_the_end_of_the_channel_are_seen_at_once() {
    let mut story = studio();
    let service = Service::live(&story);
    service
        .store
        .exec("INSERT INTO bans (community_uri, member_did, banned_at) VALUES ('at://did:plc:alice/social.colibri.community/c', 'did:plc:bob', '')");
    assert_eq!(answers(&service, TALK, &["alice", "bob"]), ["welcome", NO]);
    story.delete("alice", "community/c");
    assert_eq!(answers(&Service::live(&story), TALK, &["alice", "bob"]), ["Unknown voice channel"; 2]);
}

#[test]
fn v06_an_account_that_is_not_active_has_no_right() {
    let mut story = studio();
    story.frames.push(
        json!({ "did": "did:plc:bob", "time_us": super::story::START + 90_000_000, "kind": "account",
                "account": { "active": false, "status": "deactivated", "did": "did:plc:bob", "seq": 1,
                             "time": "2026-03-01T12:01:30Z" } })
        .to_string(),
    );
    assert_eq!(answers(&Service::live(&story), TALK, &["bob"]), [NO]);
}

#[test]
fn invariant_9_a_read_that_fails_is_a_fault() {
    let service = Service::live(&studio());
    service.store.break_next(Break::Read);
    let people = [Did::parse("did:plc:bob").unwrap()];
    assert!(block_on(facts::right_to_be_in(&service.store, &uri(TALK), &people, Micros(0))).is_err());
    assert_eq!(service.store.struck.get(), 1);
}
