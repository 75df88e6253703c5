//! Mistakes of the original service in ingest: each has a test named after its ID (contract, appendix).
//! Other tests of this kind are next to the tests of their rule: `pipeline.rs`, `reads.rs`,
//! `delivery.rs`, and on real workerd in `tests/e2e`.

use colibri_edge::domain::announcement::Audience;
use colibri_edge::domain::points::Points;
use colibri_edge::pipeline::Batch;
use colibri_edge::storage::reads::communities;
use colibri_edge::wire::time::Micros;
use futures::executor::block_on;
use serde_json::json;

use super::sqlite::Break;
use super::story::{START, Service, Story, frame, message, message_in, reaction};

/// Every order of `0..count`.
fn orders(count: usize) -> Vec<Vec<usize>> {
    let Some(last) = count.checked_sub(1) else { return vec![Vec::new()] };
    let mut all = Vec::new();
    for order in orders(last) {
        for at in 0..=order.len() {
            let mut longer = order.clone();
            longer.insert(at, last);
            all.push(longer);
        }
    }
    all
}

fn ban(service: &Service, owner: &str, who: &str) {
    service.store.exec(&format!(
        "INSERT INTO bans (community_uri, member_did, banned_at) VALUES ('at://did:plc:{owner}/social.colibri.community/c', 'did:plc:{who}', '')"
    ));
}

/// Only alice may post in her channel `k`, and mallory is banned there; eve makes a channel with
/// the same key in an open community of hers, where mallory may post.
#[test]
fn b04_a_stolen_rkey_opens_no_door_in_whatever_order_the_records_arrive() {
    let mut story = Story::default();
    for (owner, is_alice) in [("alice", true), ("eve", false)] {
        story.create(owner, "community/c", json!({ "name": owner, "requiresApprovalToJoin": is_alice }));
        let channel = json!({ "name": "k", "type": "text", "community": "c", "ownerOnly": is_alice });
        story.create(owner, "channel/k", channel);
    }
    story.join("mallory", "eve").say("mallory", "1", "sneaky");
    // Every seventh of the 720, which is enough and takes a second.
    for order in orders(story.frames.len()).into_iter().step_by(7) {
        let mut service = Service::new();
        ban(&service, "alice", "mallory");
        // The times are arrival times: the stream's are strictly increasing.
        for n in &order {
            service.batch(std::slice::from_ref(&story.frames[*n]));
        }
        let heard_in_hers = service.announced.iter().any(|announced| match &announced.audience {
            Audience::Messages(channel) => channel.authority().as_str() == "did:plc:alice",
            _ => false,
        });
        let stored = service.store.look("SELECT channel_uri FROM messages WHERE channel_uri LIKE '%alice%'");
        assert!(!heard_in_hers && stored.is_empty(), "in the order {order:?}");
    }
}

#[test]
fn b07_storage_that_fails_during_the_check_decides_nothing() {
    for fault in [Break::Read, Break::CommitLost, Break::CommitStored] {
        for (who, expected) in [("bob", vec!["hello"]), ("eve", vec![])] {
            let mut story = Story::default();
            story.community("alice", false).join("bob", "alice");
            let mut service = Service::live(&story);
            story.say(who, "1", "hello");
            let frame = &story.frames[3..];
            service.store.break_next(fault);
            assert!(service.try_batch(frame).is_err(), "the fault is reported, not read as a refusal");
            assert_eq!(service.store.struck.get(), 1, "{fault:?} did not strike");
            if fault != Break::CommitStored {
                assert!(service.visible_texts().is_empty(), "neither accepted");
                assert!(service.store.look("SELECT uri FROM settled").is_empty(), "nor refused");
            }
            service.batch(frame);
            assert_eq!(service.visible_texts(), expected, "{who} after {fault:?}: decided on retry");
        }
    }
}

#[test]
fn b14_who_is_no_member_of_an_approval_community_does_not_react() {
    let mut story = Story::default();
    story.community("alice", true).join("bob", "alice").approve("alice", "bob").say("bob", "1", "hello");
    story.react("eve", "r1", "👍", "1").join("carol", "alice").react("carol", "r2", "👍", "1");
    let service = Service::live(&story);
    assert!(
        service.store.look("SELECT uri FROM reactions").is_empty(),
        "neither a stranger nor one who waits"
    );
    assert!(!service.published().iter().any(|event| event.starts_with("reaction_added")));
}

#[test]
fn b16_when_a_member_leaves_only_the_leaver_hears_that_the_community_is_gone() {
    let mut story = Story::default();
    story.community("alice", false).join("bob", "alice").join("carol", "alice").delete("bob", "membership/m");
    let service = Service::live(&story);
    let left: Vec<_> = service.announced.iter().skip(4).map(|announced| announced.audience.clone()).collect();
    let bob = colibri_edge::wire::ids::Did::parse("did:plc:bob").unwrap();
    assert_eq!(service.published()[4..], ["member_left bob", "community_deleted c *bob"]);
    assert_eq!(left, [Audience::Community, Audience::Private(bob)], "E06b");
}

#[test]
fn b24_a_thousand_times_created_changed_and_deleted_with_storage_that_fails() {
    let mut story = Story::default();
    story.community("alice", false).join("bob", "alice").join("carol", "alice");
    for round in 0..1000 {
        story.say("bob", "1", "a").update("bob", "message/1", message(&format!("b{round}")));
        story.create("carol", &format!("reaction/r{round}"), reaction("👍", "1"));
        story.delete("bob", "message/1");
    }
    let mut service = Service::new();
    let mut faults = 0;
    for (n, frames) in story.frames.chunks(7).enumerate() {
        if n % 5 == 0 {
            service.store.break_next([Break::Read, Break::CommitLost, Break::Conflict][n / 5 % 3]);
            faults += 1;
        }
        let committed = loop {
            if let Ok(committed) = service.try_batch(frames) {
                break committed;
            }
        };
        service.announced.extend(committed.outbox.into_iter().flat_map(|(_, announcements)| announcements));
    }
    assert_eq!(service.store.struck.get(), faults, "every fault struck");
    assert!(service.visible_texts().is_empty(), "the last event of the record was its deletion");
    let events = service.published();
    let events: Vec<&str> = events[4..].iter().map(|event| event.split(' ').next().unwrap()).collect();
    let round = ["message", "message", "reaction_added", "message_deleted"];
    assert_eq!(events, round.repeat(1000), "a reaction directly after its message finds it");
}

#[test]
fn b30_profiles_of_strangers_cost_no_query_each_and_the_one_known_is_applied() {
    let mut story = Story::default();
    story.community("alice", false).join("bob", "alice");
    let mut service = Service::live(&story);
    let profile = |who: &str, n: usize| {
        json!({ "did": format!("did:plc:{who}"), "time_us": super::story::START + 9_000_000 + n as i64, "kind": "commit",
                "commit": { "rev": super::story::rev(n + 100_000), "operation": "update", "collection": "app.bsky.actor.profile",
                            "rkey": "self", "record": { "displayName": format!("Name {n}") }, "cid": "bafyreia" } })
        .to_string()
    };
    let mut frames: Vec<String> = (0..1000).map(|n| profile(&format!("stranger{n}"), n)).collect();
    frames[500] = profile("bob", 500);
    let (read, people) = (service.store.read_times.get(), service.store.look("SELECT count(*) FROM people"));
    service.batch(&frames);
    assert_eq!(service.store.read_times.get(), read + 1, "one round trip for all thousand");
    assert_eq!(service.store.look("SELECT count(*) FROM people"), people, "nobody new is stored");
    assert_eq!(service.published().last().unwrap(), "user_profile_updated bob \"Name 500\"");

    // A batch of nothing else may wait for others (J08).
    let mut batch = Batch::default();
    frames.iter().for_each(|frame| batch.take(frame, "test", Micros(START), &mut Points::default()));
    assert!(!batch.is_urgent());
}

#[test]
fn b42_deletions_cascade() {
    let mut story = Story::default();
    story
        .community("alice", false)
        .join("bob", "alice")
        .say("bob", "1", "hello")
        .react("alice", "r", "👍", "1");
    story.create("alice", "category/g", json!({ "name": "General", "community": "c" }));
    story.create("alice", "channel/b", json!({ "name": "b", "type": "text", "community": "c" }));
    story.create("bob", "message/2", message_in("b", "elsewhere"));
    let uri = "at://did:plc:alice/social.colibri.community/c";
    let channels = |service: &Service| -> Vec<String> {
        let found = block_on(communities::channels(&service.store, uri, None, 50)).unwrap().0;
        found.into_iter().map(|channel| channel.name).collect()
    };
    let mut channel_gone = story.clone();
    channel_gone.delete("alice", "channel/k");
    let service = Service::live(&channel_gone);
    assert_eq!(
        (channels(&service), service.visible_texts()),
        (vec!["b".to_owned()], vec!["elsewhere".to_owned()])
    );

    let mut community_gone = story.clone();
    community_gone.delete("alice", "community/c");
    let service = Service::live(&community_gone);
    assert!(channels(&service).is_empty(), "R12");
    assert!(service.visible_texts().is_empty(), "R01");
    assert!(block_on(communities::members(&service.store, "", uri, None, 50)).unwrap().0.is_empty(), "R14");
    assert!(block_on(communities::community(&service.store, uri)).unwrap().is_none(), "R07");
    assert_eq!(service.published().last().unwrap(), "community_deleted c", "one event says it all");
}

/// A small record can cause a large event: a message event contains everybody who reacted to it. An
/// event that no database accepts would be retried for ever, and block everything behind it.
#[test]
fn b30_a_message_with_very_many_reactions_can_still_be_edited() {
    let mut story = Story::default();
    story.community("alice", false).join("bob", "alice").say("bob", "1", "hello");
    let mut service = Service::live(&story);
    service.store.exec(
        "WITH RECURSIVE n(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM n WHERE n < 30000)
         INSERT INTO reactions (uri, reactor_did, target_uri, emoji, rev, indexed_at)
         SELECT 'at://did:plc:' || printf('%024d', n) || '/social.colibri.reaction/3kreaction', 'did:plc:' || printf('%024d', n),
             'at://did:plc:bob/social.colibri.message/1', iif(n % 3, '👍', '🌿'), '3', printf('2026-03-01T12:00:00.%06dZ', n)
         FROM n",
    );
    story.update("bob", "message/1", message("hello, all of you"));
    service.batch(&story.frames[4..]);
    let event = frame(service.announced.last().unwrap());
    let bytes = event.to_string().len();
    assert!(bytes < 512 * 1024, "the event has {bytes} bytes");
    assert_eq!(event["text"], "hello, all of you");
    assert_eq!(
        (&event["reactions"][0]["count"], &event["reactions"][1]["count"]),
        (&json!(20_000), &json!(10_000))
    );
    let listed = |field: &str| event["reactions"][0][field].as_array().unwrap().len();
    assert!(
        listed("rkeys") > 100
            && listed("rkeys") == listed("authors")
            && listed("authors") == listed("reactor_dids")
    );
    assert_eq!(event["reactions"][0]["reactor_dids"][0], format!("did:plc:{:024}", 1), "the first of them");
    assert_eq!(event["message"]["reactions"], event["reactions"]);
}

/// T23: a record that is nested too deeply is refused like any other invalid one. One that was
/// stored before this rule existed does not spread through answers to it.
#[test]
fn t23_what_is_nested_too_deeply_is_refused_and_not_carried_on() {
    let mut story = Story::default();
    story.community("alice", false).join("bob", "alice").say("bob", "1", "hello");
    let mut service = Service::live(&story);
    let nested = |depth: usize| (1..depth).fold(json!([]), |inside, _| json!([inside]));
    let deep = |depth: usize| {
        let mut record = message("deep");
        record["unknown"] = nested(depth);
        record
    };
    let mut more = story.clone();
    more.create("bob", "message/2", deep(63)).create("bob", "message/3", deep(64));
    more.create("bob", "message/4", deep(120)).update("bob", "message/1", deep(64));
    service.batch(&more.frames[story.frames.len()..]);
    assert_eq!(
        service.store.look("SELECT reason, count FROM refusal_counts"),
        ["record_too_deep|3"],
        "the record itself is a level"
    );
    assert_eq!(service.store.look("SELECT rkey, text FROM messages ORDER BY rkey"), ["1|hello", "2|deep"]);

    let stored = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
    service.store.exec(&format!("UPDATE messages SET facets = '{stored}' WHERE rkey = '1'"));
    let mut answer = message("what?");
    answer["parent"] = json!("1");
    let before = more.frames.len();
    more.create("bob", "message/5", answer);
    service.batch(&more.frames[before..]);
    let [.., announced, _thread] = &service.announced[..] else { panic!("E01 and U33") };
    let announced: serde_json::Value = serde_json::from_str(announced.event.get()).unwrap();
    assert_eq!(announced["message"]["parent_message"]["text"], "hello");
    assert_eq!(announced["message"]["parent_message"]["facets"], json!(null));
}
