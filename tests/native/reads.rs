//! What REST reads, through the real SQL.

use colibri_edge::storage::reads::{self, Start};
use colibri_edge::wire::ids::{AtUri, Collection, Did, Rkey};
use futures::executor::block_on;
use serde_json::json;

use super::story::{Service, Story, message_in};

const CDN: &str = "https://cdn.test";

fn page(
    service: &Service,
    channel: &str,
    start: &Start,
    limit: i64,
) -> (Vec<String>, Option<reads::PageEnd>) {
    let (messages, end) = block_on(reads::messages(&service.store, CDN, channel, start, limit)).unwrap();
    (messages.into_iter().map(|message| message.core.text).collect(), end)
}

fn garden() -> Story {
    let mut story = Story::default();
    story.community("alice", false).join("bob", "alice");
    story
}

#[test]
fn b45_walking_by_cursor_gives_each_message_once() {
    let mut story = garden();
    for n in 0..120 {
        story.say("bob", &format!("m{n:03}"), &format!("t{n:03}"));
    }
    let service = Service::live(&story);
    let (mut texts, mut start, mut pages) = (Vec::new(), Start::Newest, 0);
    loop {
        let (page, end) = page(&service, "k", &start, 50);
        texts.extend(page);
        pages += 1;
        match end {
            Some(end) => start = Start::After(end),
            None => break,
        }
    }
    let expected: Vec<String> = (0..120).rev().map(|n| format!("t{n:03}")).collect();
    assert_eq!((texts, pages), (expected, 3), "all have one createdAt: rkey descending decides");
    let before = Start::Before("2026-03-01T12:00:00.000000Z".into());
    assert_eq!(page(&service, "k", &before, 50).0, Vec::<String>::new(), "strictly before");
}

#[test]
fn r01_what_is_visible() {
    let mut story = garden();
    story
        .say("bob", "1", "shown")
        .say("bob", "2", "blocked")
        .say("bob", "3", "deleted")
        .delete("bob", "message/3");
    let service = Service::live(&story);
    service.store.exec("INSERT INTO blocks VALUES ('at://did:plc:bob/social.colibri.message/2', '')");
    assert_eq!(page(&service, "k", &Start::Newest, 50).0, ["shown"]);
    let by_uri = "at://did:plc:alice/social.colibri.channel/k";
    assert_eq!(page(&service, by_uri, &Start::Newest, 50).0, ["shown"]);
    assert!(page(&service, "unknown", &Start::Newest, 50).0.is_empty());
    let mut gone = story.clone();
    gone.delete("alice", "channel/k");
    assert!(page(&Service::live(&gone), "k", &Start::Newest, 50).0.is_empty(), "B-42, I70b");
}

/// Who breaks: the web client hashes `created_at`, `facets`, `attachments` (W08) and reads the
/// rest by name.
#[test]
fn o01_a_message_with_its_people_and_its_parent() {
    let mut story = garden();
    story.create("alice", "message/p", message_in("k", "question"));
    story.create(
        "bob",
        "message/1",
        json!({ "text": "answer", "channel": "k", "createdAt": "2026-03-01T12:00:01+00:00", "parent": "p", "attachments": [], "facets": [{ "index": 1 }] }),
    );
    let service = Service::live(&story);
    service.store.exec(
        "INSERT OR REPLACE INTO people (did, handle, display_name, avatar_cid, status_text, emoji, state, updated_at)
         VALUES ('did:plc:bob', 'bob.test', 'Bob', 'bafa', 'Reading', '📚', 'online', '')",
    );
    let uri = AtUri::of(&Did::parse("did:plc:bob").unwrap(), Collection::Message, &Rkey::parse("1").unwrap());
    let message = block_on(reads::message(&service.store, CDN, &uri)).unwrap().unwrap();
    let mut got = serde_json::to_value(&message).unwrap();
    for object in ["", "/parent_message"] {
        let fields = got.pointer_mut(object).unwrap().as_object_mut().unwrap();
        assert!(fields.remove("indexed_at").unwrap().as_str().unwrap().ends_with('Z'));
        fields.remove("id");
    }
    let nobody = json!(null);
    assert_eq!(
        got,
        json!({
            "rkey": "1", "author_did": "did:plc:bob", "text": "answer", "channel": "k",
            "created_at": "2026-03-01T12:00:01+00:00", "edited": false, "parent": "p",
            "facets": [{ "index": 1 }], "attachments": [], "display_name": "Bob",
            "avatar_url": "https://cdn.test/img/avatar/plain/did:plc:bob/bafa@jpeg",
            "banner_url": nobody, "description": nobody, "handle": "bob.test",
            "status_text": "Reading", "emoji": "📚", "state": "online",
            "parent_message": {
                "rkey": "p", "author_did": "did:plc:alice", "text": "question", "channel": "k",
                "created_at": "2026-03-01T12:00:00.000Z", "edited": false, "parent": nobody,
                "facets": nobody, "attachments": nobody, "display_name": nobody, "avatar_url": nobody,
                "banner_url": nobody, "description": nobody, "handle": nobody, "status_text": nobody,
                "emoji": nobody, "state": nobody,
            },
            "reactions": [],
        })
    );
}

#[test]
fn r07_b48_a_bare_rkey_is_the_community_indexed_first() {
    let mut story = Story::default();
    story.community("zoe", true).community("alice", false);
    let service = Service::live(&story);
    let owner = |name: &str| {
        block_on(reads::community(&service.store, name))
            .unwrap()
            .map(|community| community.owner_did.to_string())
    };
    assert_eq!(owner("c").as_deref(), Some("did:plc:zoe"));
    assert_eq!(owner("at://did:plc:alice/social.colibri.community/c").as_deref(), Some("did:plc:alice"));
    assert_eq!(owner("nothing"), None);
}

#[test]
fn r12_channels_by_name_in_code_points() {
    let mut story = garden();
    for (rkey, name) in [("x", "b"), ("y", "B"), ("z", "a"), ("w", "a")] {
        story.create(
            "alice",
            &format!("channel/{rkey}"),
            json!({ "name": name, "type": "text", "community": "c" }),
        );
    }
    let service = Service::live(&story);
    let channels =
        block_on(reads::channels(&service.store, "at://did:plc:alice/social.colibri.community/c")).unwrap();
    let names: Vec<_> = channels.iter().map(|channel| format!("{} {}", channel.name, channel.rkey)).collect();
    assert_eq!(names, ["B y", "a w", "a z", "b x", "hall k"]);
}

#[test]
fn r14_owner_then_approved_then_pending_and_nobody_banned() {
    let mut story = Story::default();
    story.community("mallory", true);
    for who in ["zoe", "alice", "carol", "bob", "mallory"] {
        story.join(who, "mallory");
    }
    story.approve("mallory", "zoe").approve("mallory", "bob").create(
        "carol",
        "approval/x",
        super::story::approval("carol"),
    );
    story.create("zoe", "membership/second", super::story::membership("mallory"));
    let service = Service::live(&story);
    let community = "at://did:plc:mallory/social.colibri.community/c";
    service.store.exec(&format!("INSERT INTO bans VALUES ('{community}', 'did:plc:alice', '')"));
    let members = block_on(reads::members(&service.store, CDN, community)).unwrap();
    let listed: Vec<_> =
        members.iter().map(|member| format!("{} {}", member.status, member.member_did)).collect();
    assert_eq!(
        listed,
        ["owner did:plc:mallory", "approved did:plc:bob", "approved did:plc:zoe", "pending did:plc:carol"]
    );
}

/// An admin's first questions; a view that does not run is found here, not in the console.
#[test]
fn the_views_answer() {
    let mut story = garden();
    story.say("bob", "1", "hello").say("eve", "2", "let me in");
    let service = Service::live(&story);
    assert_eq!(
        service.store.look("SELECT name, joining, channels, members, messages, bans FROM community_overview"),
        ["Garden|open|1|1|1|0"]
    );
    assert_eq!(
        service.store.look("SELECT community, channel, text FROM recent_messages"),
        ["Garden|hall|hello"]
    );
    assert_eq!(
        service.store.look("SELECT host, cursor_at, held_records FROM ingest_status"),
        ["test|2026-03-01T12:00:04.000Z|0"]
    );
    assert_eq!(service.store.look("SELECT reason, count FROM refusals_by_reason"), ["author_not_a_member|1"]);
}
