//! The limits on what strangers' records can make grow: floods each table of D1, and checks that
//! honest people keep their data.

use colibri_edge::storage::sweep::{Place, sweep, sweep_approvals, sweep_people};
use colibri_edge::wire::time::Micros;
use futures::executor::block_on;
use serde_json::json;

use super::story::{Service, Story, message_in, rev, role};

const HOUR: i64 = 3_600_000_000;
const DAY: i64 = 24 * HOUR;

fn count(service: &Service, what: &str) -> usize {
    service.store.look(&format!("SELECT count(*) FROM {what}"))[0].parse().unwrap()
}

/// Sweeps until nothing is left to sweep.
fn swept(service: &Service, at: i64) {
    let mut place = Place::default();
    while block_on(sweep_approvals(&service.store, &mut place)).unwrap() {}
    for _ in 0..200 {
        let more = block_on(sweep(&service.store, &mut place, Micros(at))).unwrap();
        block_on(sweep_people(&service.store, &mut place, Micros(at))).unwrap();
        if !more && place == Place::default() {
            return;
        }
    }
    panic!("no end of sweeping");
}

/// alice's open community with bob in it, whose message waits for a channel.
fn garden() -> Story {
    let mut story = Story::default();
    story.community("alice", false).join("bob", "alice");
    story.create("bob", "message/waits", message_in("later", "I wait"));
    story
}

fn flooded(mut story: Story, count: usize, more: impl Fn(&mut Story, usize)) -> (Service, Story) {
    let mut service = Service::live(&story);
    let from = story.frames.len();
    (0..count).for_each(|n| more(&mut story, n));
    story.frames[from..].chunks(2_000).for_each(|frames| service.batch(frames));
    (service, story)
}

#[test]
fn i63_authors_with_the_most_held_records_lose_some() {
    for (strangers, why) in [(1, "one stranger"), (30, "thirty"), (20_000, "each with one record")] {
        let (mut service, mut story) = flooded(garden(), 20_000, |story, n| {
            let record = message_in(&format!("nowhere{}", n % 7), "x");
            story.create(&format!("evil{}", n % strangers), &format!("message/e{n}"), record);
        });
        let held = count(&service, "held");
        assert!(held <= 10_000 && held > 9_000, "{why}: {held}");
        story.create("alice", "channel/later", json!({ "name": "later", "type": "text", "community": "c" }));
        service.batch(&story.frames[story.frames.len() - 1..]);
        assert_eq!(service.visible_texts(), ["I wait"], "{why}: the member's record stayed");
    }
}

#[test]
fn i63_waiting_records_have_a_bound_in_bytes() {
    let long = "x".repeat(20_000);
    let (service, _) = flooded(garden(), 4_500, |story, n| {
        let mut record = message_in("nowhere", "x");
        record["padding"] = json!(&long);
        story.create(&format!("evil{}", n % 3), &format!("message/e{n}"), record);
    });
    let bytes: i64 = service.store.look("SELECT sum(bytes) FROM held")[0].parse().unwrap();
    assert!(bytes <= 64 * 1024 * 1024 && bytes > 50 * 1024 * 1024, "{bytes}");
    assert_eq!(service.store.look("SELECT count(*) FROM held WHERE author_did = 'did:plc:bob'"), ["1"]);
    assert_eq!(
        service.store.look("SELECT sum(bytes) - sum(length(CAST(record AS BLOB))) FROM held"),
        ["0"],
        "the column has the real size"
    );
}

#[test]
fn decisions_on_records_that_were_never_indexed_are_kept_for_a_while() {
    let mut story = garden();
    story.say("bob", "said", "said and deleted").delete("bob", "message/said");
    let (service, _) = flooded(story, 60_000, |story, n| {
        match n % 3 {
            0 => story.say("evil", &format!("r{n}"), "spam"),
            1 => story.delete("evil", &format!("message/d{n}")),
            _ => story.react("evil", &format!("x{n}"), "👍", "at://did:plc:bob/social.colibri.message/said"),
        };
    });
    assert_eq!(count(&service, "settled"), 60_001);
    swept(&service, service.now);
    assert_eq!(count(&service, "settled"), 50_001, "the newest, and what was in the index");
    swept(&service, service.now + 4 * DAY);
    assert_eq!(
        service.store.look("SELECT uri, outcome FROM settled"),
        ["at://did:plc:bob/social.colibri.message/said|deleted"],
        "a decision on an indexed record is permanent: its key means that message"
    );
}

#[test]
fn i06_a_stale_create_stays_without_effect_as_long_as_it_can_come() {
    let mut story = garden();
    story.delete("bob", "message/late");
    let mut service = Service::live(&story);
    swept(&service, service.now + 2 * DAY);
    let late = story.say("bob", "late", "too late").frames.pop().unwrap();
    let stale = late.replace(&rev(story.frames.len() + 1), &rev(1));
    assert_ne!(stale, late, "it has an earlier revision");
    service.batch(&[stale]);
    assert_eq!(service.visible_texts(), Vec::<String>::new());
}

#[test]
fn refusals_have_examples_and_counts() {
    let (service, _) = flooded(garden(), 3_000, |story, n| {
        story.say("evil", &format!("r{n}"), "spam");
        story.create("evil", &format!("message/i{n}"), json!({ "text": n }));
    });
    assert_eq!(count(&service, "refusals"), 200, "a hundred of each reason");
    assert_eq!(count(&service, "refusal_counts"), 2);
}

#[test]
fn i33_i38_marks_and_actor_records_of_one_person_are_bounded() {
    let (service, _) = flooded(garden(), 3_000, |story, n| {
        let channel = format!("at://did:plc:nobody/social.colibri.channel/{n}");
        story.create(
            "evil",
            &format!("channel.read/{n}"),
            json!({ "channel": channel, "cursor": "2026-03-01T12:00:00Z" }),
        );
        story.create("evil", &format!("actor.data/{n}"), json!({ "status": "spam" }));
        story.create("evil", &format!("actor.mute/{n}"), json!({ "subject": channel }));
        story.create("evil", &format!("actor.profile/{n}"), json!({ "displayName": "spam" }));
        story.create("evil", &format!("actor.notificationPreference/{n}"), json!({ "level": "spam" }));
        match n {
            0 => drop(story.newest("evil")),
            1..300 => drop(story.create("evil", &format!("role/{n}"), role(1, &[], false))),
            _ => {}
        }
        if n % 1_000 == 0 {
            let channel = "at://did:plc:alice/social.colibri.channel/k";
            story.create(
                "bob",
                &format!("channel.read/{n}"),
                json!({ "channel": channel, "cursor": "2026-03-01T12:00:00Z" }),
            );
        }
    });
    assert_eq!(count(&service, "channel_reads WHERE did = 'did:plc:evil'"), 1_000);
    assert_eq!(count(&service, "actors"), 20);
    assert_eq!(count(&service, "roles"), 250);
    assert_eq!(count(&service, "mutes"), 1_000);
    assert_eq!(
        (count(&service, "actor_profiles"), count(&service, "preferences")),
        (0, 0),
        "only `self` counts"
    );
    assert_eq!(
        count(&service, "channel_reads WHERE did = 'did:plc:bob'"),
        3,
        "a person with few marks loses none"
    );
    assert_eq!(service.store.look("SELECT channel_uri FROM channel_reads WHERE did = 'did:plc:evil' ORDER BY indexed_at DESC LIMIT 1"),
        ["at://did:plc:nobody/social.colibri.channel/2999"], "the newest stay");
}

#[test]
fn people_without_data_are_deleted() {
    let (mut service, mut story) = flooded(garden(), 500, |story, n| {
        story.create(&format!("evil{n}"), "community/c", json!({ "name": "c" }));
        story.create(&format!("evil{n}"), "actor.data/self", json!({ "status": "x" }));
    });
    let from = story.frames.len();
    for n in 0..500 {
        story.delete(&format!("evil{n}"), "community/c").delete(&format!("evil{n}"), "actor.data/self");
    }
    service.batch(&story.frames[from..]);
    service.store.exec("UPDATE repos SET status = 'failing' WHERE did <> 'did:plc:bob'");
    swept(&service, service.now + 29 * DAY);
    assert_eq!((count(&service, "people"), count(&service, "repos")), (502, 502), "for a month");
    swept(&service, service.now + 31 * DAY);
    for table in ["people", "identities", "repos"] {
        assert_eq!(
            service.store.look(&format!("SELECT did FROM {table} ORDER BY did")),
            ["did:plc:alice", "did:plc:bob"],
            "{table}: people with data stay"
        );
    }
}

#[test]
fn the_newest_two_hundred_closed_gaps_are_kept() {
    let service = Service::live(&garden());
    for n in 0..300 {
        let state = if n % 100 == 0 { "open" } else { "closed" };
        service.store.exec(&format!(
            "INSERT INTO gaps (host, from_us, to_us, from_at, to_at, reason, state, noticed_at)
             VALUES ('h', {n}, {n}, '', '', 'cursor_too_old', '{state}', '')"
        ));
    }
    swept(&service, service.now);
    assert_eq!(
        (count(&service, "gaps WHERE state = 'closed'"), count(&service, "gaps WHERE state = 'open'")),
        (200, 3)
    );
}

#[test]
fn i65_approvals_that_make_nobody_a_member_are_bounded_for_each_author() {
    let mut story = garden();
    story.community("carol", true);
    let approval = |who: &str, of: &str| json!({ "membership": format!("at://did:plc:{who}/social.colibri.membership/{of}") });
    // Both approvals come before everything that the strangers write.
    story.create("carol", "approval/early", approval("dave", "m"));
    story.community("evil0", true).join("mallory", "evil0");
    story.create("evil0", "approval/real", approval("mallory", "m"));
    let (mut service, mut story) = flooded(story, 43_000, |story, n| {
        // One of the two owns a community, the other does not.
        story.create(&format!("evil{}", n % 2), &format!("approval/{n}"), approval(&format!("made{n}"), "m"));
    });
    assert_eq!(count(&service, "approvals"), 43_002);
    let ledger =
        |service: &Service| service.store.look("SELECT version FROM ledger")[0].parse::<i64>().unwrap();
    let before = ledger(&service);
    swept(&service, service.now);
    for evil in ["evil0", "evil1"] {
        let kept = count(&service, &format!("approvals WHERE approver_did = 'did:plc:{evil}'"));
        assert!((19_999..=20_500).contains(&kept), "{evil}: {kept}");
    }
    assert!(ledger(&service) > before, "a commit that relied on one of them reads its facts again");
    assert_eq!(count(&service, "approvals WHERE uri LIKE '%/real'"), 1, "the member stays one");
    let newest = service.store.look("SELECT count(*) FROM approvals WHERE uri LIKE '%/42999'");
    assert_eq!(newest, ["1"], "the newest stay");
    let from = story.frames.len();
    story.join("dave", "carol");
    service.batch(&story.frames[from..]);
    let shown = service.store.look(
        "SELECT count(*) FROM approvals a JOIN memberships m ON m.uri = a.membership_uri WHERE m.member_did = 'did:plc:dave'",
    );
    assert_eq!(shown, ["1"], "I41: another owner's approval stayed");
    let version = ledger(&service);
    swept(&service, service.now);
    assert_eq!(ledger(&service), version, "without a deletion no commit has to read its facts again");
}
