//! A database of any earlier schema, brought to today's: what it held is there, it answers as one that began with today's
//! schema, and it goes on.
//!
//! No migration took a table or a column away, so a database of today without what came later is one of that time.

use colibri_edge::storage::reads::{self, Start, communities, people, reactions};
use futures::executor::block_on;
use serde_json::{Value, json};

use super::sqlite::{Sqlite, migrations};
use super::story::{Service, Story, community, did};

const CDN: &str = "https://cdn.test";

/// What clients of March 2026 read.
fn answers(store: &Sqlite) -> Value {
    let garden = community("alice");
    let garden = garden.as_str();
    let messages = block_on(reads::messages(store, CDN, "k", &Start::Newest, 50)).unwrap().0;
    let in_channel = block_on(reactions::of_channel(store, "k", None, 50)).unwrap().0;
    let of_people = ["alice", "bob", "carol"].map(|who| {
        let person = block_on(people::person(store, &did(who))).unwrap();
        let lists = block_on(communities::of_person(store, &did(who), false)).unwrap();
        json!([person.map(|cached| cached.person.shown(CDN)), lists])
    });
    json!({
        "messages": messages,
        "reactions": in_channel,
        "community": block_on(communities::community(store, garden)).unwrap(),
        "channels": block_on(communities::channels(store, garden, None, 50)).unwrap().0,
        "sidebar": block_on(communities::sidebar_of(store, garden)).unwrap(),
        "members": block_on(communities::members(store, CDN, garden, None, 50)).unwrap().0,
        "people": of_people,
    })
}

fn story() -> Story {
    let mut story = Story::default();
    story
        .community("alice", true)
        .create("alice", "category/a", json!({ "name": "All", "channelOrder": ["k"], "community": "c" }))
        .join("bob", "alice")
        .approve("alice", "bob")
        .join("carol", "alice")
        .profile("bob", json!({ "displayName": "Bob" }))
        .say("bob", "1", "hello")
        .say("alice", "2", "welcome")
        .say("bob", "3", "gone soon")
        .react("alice", "r", "\u{2764}\u{fe0f}", "1")
        .delete("bob", "message/3")
        .update("bob", "message/1", super::story::message("hello, all"));
    story
}

#[test]
fn a_database_of_every_earlier_schema_answers_as_one_of_today_and_goes_on() {
    let today = Service::live(&story());
    let expected = answers(&today.store);
    assert_eq!(expected["messages"].as_array().map(Vec::len), Some(2), "{expected}");
    assert_eq!(expected["members"].as_array().map(Vec::len), Some(3), "{expected}");
    // The reactions of a schema before the fourth are not in it.
    for n in 4..=migrations().len() {
        let store = today.store.upgraded_from(n);
        assert_eq!(answers(&store), expected, "after {}", migrations()[n - 1].display());
        let mut again = Service { store, now: today.now, ..Service::new() };
        let mut later = story();
        later.say("bob", "4", "and on it goes").delete("bob", "message/1").delete("bob", "membership/m");
        let new = later.frames.len() - 3;
        again.batch(&later.frames[new..]);
        assert_eq!(again.visible_texts(), ["welcome", "and on it goes"], "after {n} migrations");
        assert_eq!(
            again.published(),
            [
                "message 4 \"and on it goes\"",
                "message_deleted 1",
                "member_left bob",
                "community_deleted c *bob"
            ],
            "after {n} migrations"
        );
    }
}
