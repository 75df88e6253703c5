//! Finding and following: the directory (R52, R53), activity (R54), and events about threads (U33), through the real SQL.

use colibri_edge::domain::announcement::{Audience, Topic};
use colibri_edge::domain::moderation::{Caller, Proof};
use colibri_edge::storage::audit::{self, Act};
use colibri_edge::storage::listings::{self, LISTED_MAX, Set};
use colibri_edge::storage::reads::communities::communities_of;
use colibri_edge::storage::reads::{activity, directory, threads};
use colibri_edge::wire::ids::AtUri;
use colibri_edge::wire::time::Micros;
use futures::executor::block_on;
use serde_json::{Value, json};

use super::sqlite::Sqlite;
use super::story::{START, Service, Story, ban, block, community, did, members_only, message_in, unblock};

const CDN: &str = "https://cdn.test";

fn list(store: &Sqlite, owner: &str, on: bool, second: i64) -> Set {
    list_this(store, &community(owner), on, second)
}

fn list_this(store: &Sqlite, community: &AtUri, on: bool, second: i64) -> Set {
    let caller = Caller::Operator;
    let (proof, subject) = (Proof::ApiKey, "on".to_owned());
    let act =
        Act { community, caller: &caller, proof, action: "listing", subject, reason: None, until: None };
    block_on(listings::set(store, &act, on, Micros(START + second * 1_000_000))).unwrap()
}

/// The directory, page by page: the owner, and both counts.
fn listed(service: &Service, limit: i64) -> Vec<(String, Option<i64>, Option<i64>)> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = directory::directory(&service.store, after.as_ref(), limit);
        let (found, end) = block_on(page).unwrap();
        all.extend(found.into_iter().map(|one| {
            assert_eq!(one.members_only, one.member_count.is_none());
            (one.owner_did.as_str().replace("did:plc:", ""), one.member_count, one.online_count)
        }));
        match end {
            Some(place) => after = Some(place),
            None => return all,
        }
    }
}

#[test]
fn r52_r53_only_what_is_listed_and_there() {
    let mut story = Story::default();
    story.community("alice", false).join("bob", "alice").join("carol", "alice");
    story.community("bob", true).join("alice", "bob");
    story.community("carol", false);
    let mut service = Service::live(&story);
    assert_eq!(listed(&service, 1), [], "nobody asked for it");
    for (owner, second) in [("alice", 1), ("bob", 2), ("carol", 3)] {
        list(&service.store, owner, true, second);
        list(&service.store, owner, true, second + 10);
    }
    let all = |service: &Service| listed(service, 2).into_iter().map(|(owner, ..)| owner).collect::<Vec<_>>();
    assert_eq!(all(&service), ["carol", "bob", "alice"], "the last first; setting it again moves nothing");
    assert_eq!(
        listed(&service, 1)[1..],
        [("bob".into(), Some(1), Some(0)), ("alice".into(), Some(3), Some(0))]
    );
    service.store.by_hand("UPDATE people SET state = 'dnd' WHERE did IN ('did:plc:bob', 'did:plc:carol')");
    service.decide(ban("alice", "carol"));
    assert_eq!(listed(&service, 5)[2], ("alice".into(), Some(2), Some(1)), "banned people are in no count");
    service.decide(members_only("alice", true));
    assert_eq!(listed(&service, 5)[2], ("alice".into(), None, None), "X42");
    list(&service.store, "bob", false, 20);
    assert_eq!(all(&service), ["carol", "alice"]);
    let acts =
        block_on(audit::page(&service.store, community("bob").as_str(), &audit::Filter::default(), None, 10));
    assert_eq!(acts.unwrap().0.len(), 2, "X22: on and off, each once");
    story.delete("carol", "community/c");
    let service = Service::live(&story);
    for owner in ["alice", "carol"] {
        list(&service.store, owner, true, 1);
    }
    assert_eq!(all(&service), ["alice"], "a deleted community is in no list");
    service.store.by_hand("UPDATE communities SET hidden = 1 WHERE owner_did = 'did:plc:alice'");
    assert_eq!(all(&service), [] as [&str; 0], "nor one whose account is not active");
}

#[test]
fn r52_an_owner_lists_so_many_and_a_listing_ends_with_its_community() {
    let mut story = Story::default();
    story.community("alice", false).community("bob", false);
    let mut service = Service::live(&story);
    let (max, owned) =
        (LISTED_MAX, "INSERT INTO listings (community_uri, listed_at) VALUES ('at://did:plc:alice/");
    for n in 1..max {
        service.store.by_hand(&format!("{owned}social.colibri.community/x{n}', '')"));
    }
    let logged = |service: &Service, owner| {
        let (place, all) = (community(owner), audit::Filter::default());
        block_on(audit::page(&service.store, place.as_str(), &all, None, 10)).unwrap().0.len()
    };
    assert_eq!(list(&service.store, "alice", true, 1), Set::Done, "the last one");
    service.store.by_hand(&format!("{owned}social.colibri.community/more', '')"));
    assert_eq!(list(&service.store, "alice", true, 2), Set::Done, "it is so already");
    list(&service.store, "alice", false, 3);
    assert_eq!(list(&service.store, "alice", true, 4), Set::TooMany);
    assert_eq!(logged(&service, "alice"), 2, "on and off; what is refused is not logged");
    assert_eq!(list(&service.store, "bob", true, 5), Set::Done, "others may");
    let gone = AtUri::parse("at://did:plc:bob/social.colibri.community/gone").unwrap();
    assert_eq!(list_this(&service.store, &gone, true, 6), Set::NoCommunity);
    assert_eq!(list_this(&service.store, &gone, false, 6), Set::Done);
    let begun = story.frames.len();
    story.delete("bob", "community/c");
    service.batch(&story.frames[begun..]);
    let left = "SELECT count(*) FROM listings WHERE community_uri LIKE 'at://did:plc:bob/%'";
    assert_eq!(service.store.look(left), ["0"], "I70");
}

/// The activity of a person, page by page: the texts.
fn active(service: &Service, who: &str, limit: i64) -> Vec<String> {
    let (mut all, mut after) = (Vec::new(), None);
    let person = did(who);
    let mine = block_on(communities_of(&service.store, &person)).unwrap();
    loop {
        let page = activity::activity(&service.store, CDN, &person, &mine, after.as_ref(), limit);
        let (found, end) = block_on(page).unwrap();
        assert!(found.len() <= usize::try_from(limit).unwrap());
        all.extend(found.into_iter().map(|one| one.message.text));
        match end {
            Some(place) => after = Some(place),
            None => return all,
        }
    }
}

fn message(channel: &str, text: &str, second: usize) -> Value {
    let mut message = message_in(channel, text);
    message["createdAt"] = json!(format!("2026-03-01T12:00:{second:02}Z"));
    message
}

#[test]
fn r54_the_newest_messages_of_my_communities() {
    let mut story = Story::default();
    story.community("alice", false).join("bob", "alice");
    story.create("alice", "channel/x", json!({ "name": "other", "type": "text", "community": "c" }));
    story.community("carol", true).join("bob", "carol");
    for (n, channel) in ["k", "x", "k", "k", "x", "x", "k"].into_iter().enumerate() {
        story.create("alice", &format!("message/{n}"), message(channel, &n.to_string(), n));
    }
    story.create("bob", "message/same", message("x", "same", 3));
    let mut service = Service::live(&story);
    let expected = ["6", "5", "4", "same", "3", "2", "1", "0"];
    for limit in [1, 2, 3, 8, 50] {
        assert_eq!(active(&service, "bob", limit), expected, "{limit} on a page");
    }
    assert_eq!(active(&service, "carol", 5), [] as [&str; 0], "of her own community, where nobody wrote");
    service.decide(block("alice", "5"));
    assert_eq!(active(&service, "bob", 2)[..2], ["6", "4"], "blocked");
    service.decide(unblock("alice", "5"));
    service.decide(members_only("alice", true));
    assert_eq!(active(&service, "bob", 5), [] as [&str; 0], "X40: who is only pending reads nothing");
    assert_eq!(active(&service, "alice", 5).len(), 8, "its owner does");
    service.decide(members_only("alice", false));
    service.decide(ban("alice", "bob"));
    assert_eq!(active(&service, "bob", 5), [] as [&str; 0], "banned");
}

/// The threads that events are about, by what the answers name, in order; each as it is now.
fn threads_announced(service: &Service, after: &str) -> Vec<(String, Option<(String, i64)>)> {
    let events = service.outbox_after(after);
    let named = events.iter().filter_map(|event| match (&event.audience, &event.topic) {
        (Audience::Messages(channel), Topic::Thread(parent)) => Some((channel.clone(), parent.clone())),
        _ => None,
    });
    let state = |thread: (AtUri, String)| {
        let read = block_on(threads::states(&service.store, vec![thread.clone()])).unwrap();
        let now = read.into_iter().next().map(|(_, now)| (now.root_uri.rkey().to_string(), now.reply_count));
        (thread.1, now)
    };
    named.map(state).collect()
}

#[test]
fn u33_an_event_for_each_answer_that_comes_or_goes() {
    let mut story = Story::default();
    story.community("alice", false).join("bob", "alice");
    let answer = |text: &str, parent: &str| {
        let mut message = message("k", text, 1);
        message["parent"] = json!(parent);
        message
    };
    story.create("alice", "message/1", message("k", "root", 1));
    story.create("bob", "message/2", answer("by key", "1"));
    let by_uri = "at://did:plc:bob/social.colibri.message/2";
    story.create("bob", "message/3", answer("by AT-URI", by_uri));
    story.create("bob", "message/4", answer("to nothing", "!"));
    let mut service = Service::live(&story);
    let root = |count: i64| Some(("1".to_owned(), count));
    let said = threads_announced(&service, "0");
    assert_eq!(said, [("1".to_owned(), root(2)), (by_uri.to_owned(), root(2))]);
    let last = |service: &Service, count: usize| {
        let mut said = threads_announced(service, "0");
        said.split_off(said.len() - count)
    };
    service.decide(block("bob", "3"));
    assert_eq!(last(&service, 1), [(by_uri.to_owned(), root(1))], "hidden");
    service.decide(unblock("bob", "3"));
    assert_eq!(threads_announced(&service, "0").len(), 4, "and shown again");
    story.update("bob", "message/2", answer("edited", "1"));
    service.batch(&story.frames);
    assert_eq!(threads_announced(&service, "0").len(), 4, "an edit changes no thread");
    story.update("bob", "message/3", answer("moved up", "1"));
    service.batch(&story.frames);
    assert_eq!(last(&service, 2), [(by_uri.to_owned(), root(2)), ("1".to_owned(), root(2))], "both threads");
    story.delete("bob", "message/3").delete("alice", "message/1");
    service.batch(&story.frames);
    assert_eq!(last(&service, 1), [("1".to_owned(), None)], "the root is gone, too");
}
