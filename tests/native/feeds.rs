//! Feeds of channels (R80, R81), through the real SQL.

use colibri_edge::storage::reads::feeds::{ENTRIES, Named, feed};
use colibri_edge::wire::feeds::Feed;
use colibri_edge::wire::ids::Rkey;
use futures::executor::block_on;
use serde_json::json;

use super::story::{Service, Story, block, did, members_only, message_in};

fn read(service: &Service, community: &Named) -> Option<Feed> {
    block_on(feed(&service.store, community, &Rkey::parse("k").unwrap())).unwrap()
}

fn owner(who: &str) -> Named {
    Named::Owner(did(who))
}

fn key(rkey: &str) -> Named {
    Named::Rkey(Rkey::parse(rkey).unwrap())
}

#[test]
fn r80_only_open_communities_have_feeds() {
    let mut story = Story::default();
    story.community("alice", false).community("carol", true).newest("nest");
    story.say("alice", "m", "to everybody").say("carol", "m", "to members");
    let mut service = Service::live(&story);
    assert_eq!(read(&service, &owner("alice")).unwrap().entries[0].text, "to everybody");
    assert_eq!(read(&service, &key("c")), read(&service, &owner("alice")), "T22: indexed first");
    for (community, why) in [
        (owner("carol"), "it requires approval"),
        (owner("nest"), "so does this one"),
        (key("self"), "by its key, too"),
        (owner("bob"), "no community"),
        (key("nothing"), "no community"),
    ] {
        assert_eq!(read(&service, &community), None, "{community:?}: {why}");
    }
    service.decide(members_only("alice", true));
    assert_eq!(read(&service, &owner("alice")), None, "for members only");
    assert_eq!(read(&service, &key("c")), None, "and no other community takes its place");
    service.decide(members_only("alice", false));
    assert!(read(&service, &owner("alice")).is_some());
}

#[test]
fn r80_the_newest_visible_messages() {
    let mut story = Story::default();
    story.community("alice", false).join("bob", "alice");
    let last = ENTRIES + 10;
    for n in 0..last {
        let mut message = message_in("k", &format!("message {n}"));
        message["createdAt"] = json!(format!("2026-03-01T12:{:02}:{:02}Z", n / 60, n % 60));
        story.create("bob", &format!("message/m{n}"), message);
    }
    story.update("bob", "message/m3", message_in("k", "edited long ago"));
    let mut service = Service::live(&story);
    service.decide(block("bob", "m58"));
    let found = read(&service, &owner("alice")).unwrap();
    let texts: Vec<_> = found.entries.iter().map(|entry| entry.text.clone()).collect();
    let expected: Vec<_> =
        (0..last).rev().filter(|n| *n != 58).map(|n| format!("message {n}")).take(texts.len()).collect();
    assert_eq!(i64::try_from(texts.len()).unwrap(), ENTRIES);
    assert_eq!(texts, expected, "newest first, without the blocked one");
    assert_eq!(found.entries[0].author_name, "did:plc:bob", "nobody knows more of him");
    assert_eq!((found.name.as_str(), found.community_name.as_str()), ("hall", "Garden"));
}

/// Both forms of a feed with a text, as whole documents.
#[test]
fn r80_r81_as_written() {
    let mut story = Story::default();
    story.community("alice", false).say("alice", "m", "<b>&\u{1}\n\"second\" line");
    let service = Service::live(&story);
    let found = read(&service, &owner("alice")).unwrap();
    let at = found.entries[0].published.shown();
    let expected = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<feed xmlns=\"http://www.w3.org/2005/Atom\">\n\
         <id>at://did%3Aplc%3Aalice/social.colibri.channel/k</id>\n<title>hall – Garden</title>\n\
         <updated>{at}</updated>\n<link rel=\"self\" type=\"application/atom+xml\" href=\"/own\"/>\n\
         <generator>colibri-edge</generator>\n<entry>\n\
         <id>at://did%3Aplc%3Aalice/social.colibri.message/m</id>\n<title>&lt;b&gt;&amp;\u{fffd}</title>\n\
         <author><name>did:plc:alice</name>\n<uri>did:plc:alice</uri>\n</author>\n\
         <published>{at}</published>\n<updated>{at}</updated>\n\
         <content>&lt;b&gt;&amp;\u{fffd}\n&quot;second&quot; line</content>\n</entry>\n</feed>\n"
    );
    assert_eq!(found.atom("/own"), expected);
    let json: serde_json::Value = serde_json::from_str(&found.json().unwrap()).unwrap();
    assert_eq!(json["items"][0]["content_text"], "<b>&\u{1}\n\"second\" line");
    assert_eq!(json["items"][0]["id"], "at://did:plc:alice/social.colibri.message/m");
}
