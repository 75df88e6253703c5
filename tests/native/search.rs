//! Search (R55, U70–U72), through the real SQL.

use std::collections::BTreeSet;

use colibri_edge::storage::reads::search::{Has, Search, search};
use colibri_edge::storage::reads::{self, Start};
use colibri_edge::storage::search as words;
use colibri_edge::wire::ids::{AtUri, Did};
use colibri_edge::wire::time::Micros;
use colibri_edge::wire::words::Query;
use futures::executor::block_on;
use proptest::prelude::*;
use serde_json::json;

use super::histories::{Moment, config, moments, steps};
use super::story::{Service, Story, ban, block, community, did, message_in, unblock};

const CDN: &str = "https://cdn.test";

/// What is found, page by page: author and text.
fn all(service: &Service, wanted: &Search<'_>, limit: i64) -> Vec<(Did, String)> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let (found, end) = block_on(search(&service.store, CDN, wanted, after, limit)).unwrap();
        assert!(found.len() <= usize::try_from(limit).unwrap());
        for one in found {
            for mark in &one.snippet.marks {
                assert!(!one.snippet.text[mark.byte_start..mark.byte_end].is_empty());
            }
            all.push((one.message.author_did, one.message.text));
        }
        match end {
            Some(place) => after = Some(place),
            None => return all,
        }
    }
}

fn texts(service: &Service, q: &str) -> Vec<String> {
    let query = Query::parse(q).unwrap();
    let place = community("alice");
    all(service, &plain(&query, &place), 2).into_iter().map(|(_, text)| text).collect()
}

fn plain<'a>(query: &'a Query, community: &'a AtUri) -> Search<'a> {
    Search { query, community, channel: None, author: None, before: None, has: None }
}

fn garden() -> Story {
    let mut story = Story::default();
    story.community("alice", false).join("bob", "alice");
    story.say("alice", "1", "Hello, world").say("bob", "2", "日本語を話す 👍").say(
        "bob",
        "3",
        "Привет, hello",
    );
    story
}

#[test]
fn r55_every_script_newest_first() {
    let service = Service::live(&garden());
    for (q, expected) in [
        ("hello", vec!["Привет, hello", "Hello, world"]),
        ("HEL*", vec!["Привет, hello", "Hello, world"]),
        ("hello привет", vec!["Привет, hello"]),
        ("本語", vec!["日本語を話す 👍"]),
        ("語本", vec![]),
        ("👍", vec!["日本語を話す 👍"]),
        ("world hello", vec!["Hello, world"]),
        ("world-hello", vec![]),
        ("NOT hello OR \"", vec![]),
    ] {
        assert_eq!(texts(&service, q), expected, "{q}");
    }
}

#[test]
fn r55_edits_deletions_blocks_and_accounts_count_at_once() {
    let mut story = garden();
    story.update("alice", "message/1", message_in("k", "good bye"));
    let mut service = Service::live(&story);
    assert_eq!(texts(&service, "hello"), ["Привет, hello"]);
    assert_eq!(texts(&service, "bye"), ["good bye"]);
    service.decide(block("bob", "3"));
    assert!(texts(&service, "hello").is_empty());
    service.decide(unblock("bob", "3"));
    assert_eq!(texts(&service, "hello"), ["Привет, hello"]);
    let mut end = Story { frames: story.frames };
    let from = end.frames.len();
    end.delete("alice", "message/1");
    super::pipeline::account(&mut end, "bob", false, "deactivated");
    end.frames[from..].iter().for_each(|frame| service.batch(std::slice::from_ref(frame)));
    assert!(texts(&service, "bye").is_empty() && texts(&service, "hello").is_empty());
    let from = end.frames.len();
    super::pipeline::account(&mut end, "bob", false, "deleted");
    end.frames[from..].iter().for_each(|frame| service.batch(std::slice::from_ref(frame)));
    assert_eq!(service.store.look("SELECT count(*) FROM message_words_docsize"), ["0"], "no words are left");
}

#[test]
fn r55_filters() {
    let mut story = garden();
    story.create("alice", "channel/x", json!({ "name": "other", "type": "text", "community": "c" }));
    let mut record = message_in("x", "hello there");
    record["facets"] = json!([{ "index": { "byteStart": 0, "byteEnd": 5 },
        "features": [{ "$type": "social.colibri.richtext.facet#link", "uri": "https://a.test" }] }]);
    story.create("bob", "message/4", record);
    let service = Service::live(&story);
    let (query, place, bob) = (Query::parse("hello").unwrap(), community("alice"), did("bob"));
    let with = |change: fn(&mut Search<'_>)| {
        let mut wanted = plain(&query, &place);
        change(&mut wanted);
        all(&service, &wanted, 1).into_iter().map(|(_, text)| text).collect::<Vec<_>>()
    };
    assert_eq!(with(|wanted| wanted.channel = Some("x")), ["hello there"]);
    assert_eq!(with(|wanted| wanted.has = Some(Has::Link)), ["hello there"]);
    assert!(with(|wanted| wanted.has = Some(Has::Attachment)).is_empty());
    assert!(with(|wanted| wanted.before = Some(Micros(0))).is_empty());
    let mut wanted = plain(&query, &place);
    wanted.author = Some(&bob);
    assert_eq!(all(&service, &wanted, 5).len(), 2);
    let elsewhere = community("bob");
    assert!(all(&service, &plain(&query, &elsewhere), 5).is_empty());
}

/// A page looks at so many candidates, and goes on behind them.
#[test]
fn r55_a_page_is_bounded() {
    let mut story = garden();
    for n in 0..1_100 {
        story.say("bob", &format!("n{n}"), "noise");
    }
    let mut service = Service::new();
    service.batch(&story.frames);
    service.store.exec("UPDATE messages SET hidden = 1 WHERE text = 'noise' AND rkey <> 'n0'");
    assert_eq!(texts(&service, "noise"), ["noise"]);
}

#[test]
fn u72_words_come_and_go_with_the_setting() {
    let service = Service::live(&garden());
    while block_on(words::fill(&service.store)).unwrap() {}
    block_on(words::clear(&service.store)).unwrap();
    assert!(texts(&service, "hello").is_empty());
    while block_on(words::fill(&service.store)).unwrap() {}
    assert_eq!(texts(&service, "hello").len(), 2);
}

proptest! {
    #![proptest_config(config(48))]

    /// What is found is what R01 shows and has the words, whatever happened before.
    #[test]
    fn r55_finds_what_r01_shows(steps in steps(), again in any::<bool>()) {
        let mut service = Service::new();
        for moment in moments(&steps) {
            match moment {
                Moment::Frame(frame) => {
                    let frame = frame.replace("\"text\":\"t", "\"text\":\"apple 日本 t");
                    service.batch(&[frame.replace("\"text\":\"e", "\"text\":\"pear 本日 e")]);
                }
                Moment::Decision(decision) => drop(service.decide(decision)),
            }
        }
        if again {
            while block_on(words::fill(&service.store)).unwrap() {}
            block_on(words::clear(&service.store)).unwrap();
            while block_on(words::fill(&service.store)).unwrap() {}
        }
        for place in service.store.look("SELECT uri FROM communities") {
            let place = AtUri::parse(&place).unwrap();
            let channels = service.store.look(&format!(
                "SELECT uri FROM channels WHERE community_uri = '{}'", place.as_str()
            ));
            for q in ["apple", "日本", "pea*", "本日 pear", "t1"] {
                let query = Query::parse(q).unwrap();
                let mut expected = BTreeSet::new();
                for channel in &channels {
                    let page = reads::messages(&service.store, CDN, channel, &Start::Newest, 1000);
                    let shown = block_on(page).unwrap().0.into_iter().map(|one| one.core);
                    expected.extend(
                        shown.filter(|core| query.is_in(&core.text)).map(|core| (core.author_did, core.text)),
                    );
                }
                let found = all(&service, &plain(&query, &place), 2);
                let once: BTreeSet<_> = found.iter().cloned().collect();
                prop_assert_eq!(once.len(), found.len(), "each once");
                prop_assert_eq!(once, expected, "{} in {}", q, place);
            }
        }
    }
}

/// A ban by this service hides nothing that R01 shows; both say the same.
#[test]
fn r55_bans_are_as_in_r01() {
    let mut service = Service::live(&garden());
    service.decide(ban("alice", "bob"));
    let shown = block_on(reads::messages(&service.store, CDN, "k", &Start::Newest, 10)).unwrap().0;
    let shown = shown.iter().filter(|one| one.core.text.contains("ello")).count();
    assert_eq!(texts(&service, "hello").len(), shown);
}
