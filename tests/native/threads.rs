//! Threads (U50, R70, R71) and `reply_count` (R02), through the real SQL.

use std::collections::{BTreeMap, BTreeSet};

use colibri_edge::storage::reads::{self, PageEnd, threads};
use colibri_edge::wire::ids::{AtUri, Collection, Rkey};
use futures::executor::block_on;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::story::{Service, Story, block, did, message_in};

const CDN: &str = "https://cdn.test";

/// alice's open community, where bob and carol are.
fn garden() -> Story {
    let mut story = Story::default();
    story.community("alice", false).join("bob", "alice").join("carol", "alice");
    story.create("alice", "channel/x", json!({ "name": "other", "type": "text", "community": "c" }));
    story
}

fn answer(text: &str, parent: &str, second: usize) -> Value {
    let mut message = message_in("k", text);
    message["createdAt"] = json!(format!("2026-03-01T12:{:02}:{:02}Z", second / 60, second % 60));
    if !parent.is_empty() {
        message["parent"] = json!(parent);
    }
    message
}

fn uri(who: &str, rkey: &str) -> AtUri {
    AtUri::of(&did(who), Collection::Message, &Rkey::parse(rkey).unwrap())
}

/// The threads of a channel, page by page: the text of each root, how many answers it has, and by whom.
fn listed(service: &Service, limit: i64) -> Vec<(String, i64, Vec<String>)> {
    let (mut all, mut after) = (Vec::new(), None::<PageEnd>);
    loop {
        let page = threads::threads(&service.store, CDN, "k", after.as_ref(), limit);
        let (found, end) = block_on(page).unwrap();
        assert!(found.len() <= usize::try_from(limit).unwrap());
        all.extend(found.into_iter().map(|one| {
            let people = one.participants.iter().map(|did| did.as_str().replace("did:plc:", "")).collect();
            (one.message.text, one.reply_count, people)
        }));
        match end {
            Some(place) => after = Some(place),
            None => return all,
        }
    }
}

/// A thread, page by page: the text of each message, and its depth.
fn whole(service: &Service, message: &AtUri, limit: i64) -> Vec<(String, u32)> {
    let (mut all, mut after) = (Vec::new(), None::<PageEnd>);
    loop {
        let page = threads::thread(&service.store, CDN, message, after.as_ref(), limit);
        let (found, end) = block_on(page).unwrap();
        all.extend(found.into_iter().map(|one| {
            assert_eq!(one.depth == 0, one.parent_uri.is_none());
            (one.message.text, one.depth)
        }));
        match end {
            Some(place) => after = Some(place),
            None => return all,
        }
    }
}

fn count(service: &Service, message: &AtUri) -> Option<i64> {
    block_on(reads::message(&service.store, CDN, message)).unwrap().map(|found| found.reply_count)
}

/// U50: by key and by AT-URI, several levels, only what is visible, only in the same channel.
#[test]
fn u50_what_belongs_to_a_thread() {
    let mut story = garden();
    story.create("alice", "message/1", answer("root", "", 1));
    story.create("bob", "message/2", answer("by key", "1", 2));
    story.create("carol", "message/3", answer("by AT-URI", uri("bob", "2").as_str(), 3));
    story.create("bob", "message/4", answer("alone", "", 4));
    story.create("carol", "message/5", answer("to nothing", "unknown", 5));
    story.create("bob", "message/6", answer("hidden", "1", 6));
    story.create("carol", "message/7", answer("below what is hidden", "6", 7));
    let mut elsewhere = message_in("x", "elsewhere");
    elsewhere["parent"] = json!(uri("alice", "1"));
    story.create("bob", "message/8", elsewhere);
    let mut service = Service::live(&story);
    service.decide(block("bob", "6"));
    let people = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(listed(&service, 10), [("root".to_owned(), 2, people(&["carol", "bob"]))]);
    let thread = |service: &Service, who: &str, rkey: &str| whole(service, &uri(who, rkey), 2);
    let expected =
        [("root", 0), ("by key", 1), ("by AT-URI", 2)].map(|(text, depth)| (text.to_owned(), depth));
    for (who, rkey) in [("alice", "1"), ("bob", "2"), ("carol", "3")] {
        assert_eq!(thread(&service, who, rkey), expected, "from every message of it");
    }
    assert_eq!(thread(&service, "bob", "4"), [("alone".to_owned(), 0)]);
    assert_eq!(
        thread(&service, "carol", "7"),
        [("below what is hidden".to_owned(), 0)],
        "it answers nothing visible"
    );
    assert_eq!(thread(&service, "bob", "6"), []);
    let counts = [("alice", "1"), ("bob", "2"), ("carol", "3"), ("bob", "6")];
    assert_eq!(counts.map(|(who, rkey)| count(&service, &uri(who, rkey))), [Some(2), Some(1), Some(0), None]);
}

/// T21: a key means the message that had it first, so an answer never moves below a stranger's words.
#[test]
fn u50_a_key_means_what_had_it_first() {
    let mut story = garden();
    story.create("alice", "message/1", answer("first", "", 1));
    story.create("bob", "message/1", answer("the same key", "", 2));
    story.create("carol", "message/2", answer("answer", "1", 3));
    let service = Service::live(&story);
    assert_eq!(listed(&service, 10).len(), 1);
    assert_eq!((count(&service, &uri("alice", "1")), count(&service, &uri("bob", "1"))), (Some(1), Some(0)));
    story.delete("alice", "message/1");
    let service = Service::live(&story);
    assert_eq!(count(&service, &uri("bob", "1")), Some(0), "no other takes its place");
    assert_eq!(listed(&service, 10), []);
}

/// U50: messages that answer each other end nothing and loop nowhere.
#[test]
fn u50_circles() {
    let mut story = garden();
    story.create("alice", "message/1", answer("one", "", 1));
    story.create("bob", "message/2", answer("two", "1", 2));
    story.update("alice", "message/1", answer("one", "2", 1));
    let service = Service::live(&story);
    assert_eq!(listed(&service, 10), []);
    let mut texts: Vec<String> =
        whole(&service, &uri("bob", "2"), 10).into_iter().map(|(text, _)| text).collect();
    texts.sort();
    assert_eq!(texts, ["one", "two"], "each once");
    assert_eq!(count(&service, &uri("bob", "2")), Some(1));
}

/// U50: depth and size are bounded.
#[test]
fn u50_threads_are_bounded() {
    let mut story = garden();
    story.create("alice", "message/0", answer("0", "", 0));
    for n in 1..=20 {
        story.create("bob", &format!("message/{n}"), answer(&n.to_string(), &(n - 1).to_string(), n));
    }
    let service = Service::live(&story);
    assert_eq!(count(&service, &uri("alice", "0")), Some(16));
    let deep = whole(&service, &uri("alice", "0"), 7);
    assert_eq!(deep.last(), Some(&("16".to_owned(), 16)));
    let mut story = garden();
    story.create("alice", "message/root", answer("root", "", 0));
    for n in 0..2_010 {
        story.create("bob", &format!("message/{n}"), answer("x", "root", 1));
    }
    let mut service = Service::new();
    service.batch(&story.frames);
    assert_eq!(count(&service, &uri("alice", "root")), Some(1_999));
    assert_eq!(whole(&service, &uri("alice", "root"), 1_000).len(), 2_000);
}

/// R70: a page that finds nothing says where it stopped to look, so a walk ends.
#[test]
fn r70_a_walk_passes_many_messages_without_answers() {
    let mut story = garden();
    story.create("alice", "message/a", answer("old", "", 0));
    story.create("bob", "message/b", answer("answer", "a", 1));
    for n in 0..1_200 {
        story.create("bob", &format!("message/m{n:04}"), answer("alone", "", 2 + n % 50));
    }
    let mut service = Service::new();
    service.batch(&story.frames);
    let (first, end) = block_on(threads::threads(&service.store, CDN, "k", None, 20)).unwrap();
    assert!(first.is_empty() && end.is_some());
    assert_eq!(listed(&service, 20), [("old".to_owned(), 1, vec!["bob".to_owned()])]);
}

proptest! {
    #![proptest_config(super::histories::config(40))]

    /// U50 against a model: random parents, deletions and blocks; every page size gives the same.
    #[test]
    fn u50_threads_are_those_of_a_model(
        parents in prop::collection::vec(0_usize..12, 1..12),
        deleted in prop::collection::btree_set(0_usize..12, 0..4),
        limit in 1_i64..6,
    ) {
        let mut story = garden();
        for (n, parent) in parents.iter().enumerate() {
            let parent = if *parent < n { parent.to_string() } else { String::new() };
            story.create("bob", &format!("message/{n}"), answer(&n.to_string(), &parent, n));
        }
        let gone: BTreeSet<usize> = deleted.into_iter().filter(|n| *n < parents.len()).collect();
        for n in &gone {
            story.delete("bob", &format!("message/{n}"));
        }
        let service = Service::live(&story);
        let parent_of = |n: usize| Some(parents[n]).filter(|parent| *parent < n && !gone.contains(parent));
        let mut below: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for n in (0..parents.len()).filter(|n| !gone.contains(n)) {
            let mut root = n;
            while let Some(parent) = parent_of(root) {
                root = parent;
            }
            below.entry(root).or_default().push(n);
        }
        let expected: Vec<(String, i64)> = below
            .iter()
            .rev()
            .filter(|(_, all)| all.len() > 1)
            .map(|(root, all)| (root.to_string(), i64::try_from(all.len() - 1).unwrap()))
            .collect();
        let found: Vec<(String, i64)> =
            listed(&service, limit).into_iter().map(|(text, count, _)| (text, count)).collect();
        prop_assert_eq!(found, expected);
        for all in below.values() {
            let texts: Vec<String> = all.iter().map(usize::to_string).collect();
            for n in all {
                let whole = whole(&service, &uri("bob", &n.to_string()), limit);
                let found: Vec<String> = whole.into_iter().map(|(text, _)| text).collect();
                prop_assert_eq!(&found, &texts);
            }
        }
    }
}
