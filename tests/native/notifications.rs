//! Notifications, read positions and what is unread (section 15), through the real SQL, of both forms; and random
//! histories of them against a model that replays one event after the other.

use std::collections::{BTreeMap, BTreeSet};

use colibri_edge::domain::announcement::{Announcement, Audience, Scope, Topic};
use colibri_edge::domain::digest::{Digest, digest};
use colibri_edge::domain::notifications::{KEPT, KEPT_OF_AUTHOR, Kind, last_until, made_at};
use colibri_edge::domain::urgency::{Rhythm, Urgency};
use colibri_edge::storage::notifications::{move_position, see_message, see_until};
use colibri_edge::storage::reads::communities::communities_of;
use colibri_edge::storage::reads::lexicons::channels::view;
use colibri_edge::storage::reads::notifications::{
    Channel, UNREAD_MAX, for_digest, page, these, unread, unseen, unseen_count,
};
use colibri_edge::storage::{digests, rhythms};
use colibri_edge::wire::events::pack;
use colibri_edge::wire::ids::{AtUri, Did};
use colibri_edge::wire::records::mentioned;
use colibri_edge::wire::time::Micros;
use futures::executor::block_on;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::histories::{Moment, PEOPLE, config, moments, steps};
use super::pipeline::account;
use super::sqlite::Break;
use super::story::{
    HALL, PLACE, START, Service, Story, ban, block, did, members_only, message_in, moderation, unban, unblock,
};

const GARDEN: &str = "at://did:plc:alice/social.colibri.community/c";
const K: &str = "at://did:plc:alice/social.colibri.channel/k";

/// A message that mentions people.
fn mentioning(channel: &str, people: &[&str]) -> Value {
    let features: Vec<Value> = people
        .iter()
        .enumerate()
        .map(|(n, who)| {
            let spelling =
                if n % 2 == 0 { "social.colibri.richtext.facet" } else { "app.bsky.richtext.facet" };
            json!({ "$type": format!("{spelling}#mention"), "did": format!("did:plc:{who}") })
        })
        .collect();
    let mut record = message_in(channel, "hello");
    record["facets"] = json!([{ "index": { "byteStart": 0, "byteEnd": 5 }, "features": features }]);
    record
}

fn answering(channel: &str, parent: &str) -> Value {
    let mut record = message_in(channel, "yes");
    record["parent"] = json!(parent);
    record
}

/// An open community of alice with bob and carol, and one of the newest form with bob and moe.
fn world() -> Story {
    let mut story = Story::default();
    story.community("alice", false).join("bob", "alice").join("carol", "alice").newest("nest");
    for who in ["bob", "moe"] {
        story.create(who, "membership/n", super::story::join_request("nest")).admit("nest", who, &[]);
    }
    story
}

/// What shows to a person, newest first, as `kind author/key`, with an exclamation mark if it is not seen.
fn notices(service: &Service, who: &str) -> Vec<String> {
    let (found, count, end) = block_on(page(&service.store, &did(who), None, 2_000)).unwrap();
    assert_eq!(end, None);
    let unseen = found.iter().filter(|notice| notice.seen_at.is_none()).count();
    assert_eq!(i64::try_from(unseen).unwrap(), count, "the count is that of the list");
    assert_eq!(block_on(unseen_count(&service.store, &did(who))).unwrap(), count);
    let short = |notice: &colibri_edge::storage::reads::notifications::Notice| {
        let author = notice.message.author_did.as_str().replace("did:plc:", "");
        let mark = if notice.seen_at.is_none() { "!" } else { "" };
        format!("{} {author}/{}{mark}", notice.kind.word(), notice.message.uri.rkey())
    };
    found.iter().map(short).collect()
}

/// Unread messages, and messages with unseen notifications, of the channel `k` of a community.
fn counts(service: &Service, who: &str, community: &str) -> Option<(i64, i64)> {
    let found = block_on(unread(&service.store, &did(who), &[community])).unwrap();
    let channels: Vec<Channel> = found.into_values().next()?;
    channels.first().map(|channel| (channel.unread, channel.pings.messages))
}

#[test]
fn u01_u02_whom_a_message_notifies() {
    let mut story = world();
    story.create("bob", "message/m", mentioning("k", &["carol", "alice", "bob", "stranger", "moe"]));
    story.create("carol", "message/a", answering("k", "m"));
    story.create("bob", "message/o", answering("k", "m"));
    story.create("moe", "message/n", mentioning(HALL, &["bob", "nest", "carol"]));
    story.create("bob", "message/p", answering(HALL, "at://did:plc:moe/social.colibri.message/n"));
    story.create("carol", "message/x", answering("k", "at://did:plc:moe/social.colibri.message/n"));
    story.create("stranger", "message/s", mentioning("k", &["carol"]));
    let service = Service::live(&story);
    assert_eq!(notices(&service, "carol"), ["mention bob/m!"], "the stranger's message is not in the index");
    assert_eq!(notices(&service, "alice"), ["mention bob/m!"], "the owner takes part");
    assert_eq!(notices(&service, "bob"), ["mention moe/n!", "reply carol/a!"], "not of their own");
    assert_eq!(notices(&service, "stranger"), [""; 0]);
    assert_eq!(notices(&service, "moe"), ["reply bob/p!"], "of an answer from another community nothing");
    assert_eq!(notices(&service, "nest"), ["mention moe/n!"], "the account of the community takes part");
    assert_eq!(service.store.look("SELECT count(*) FROM notifications"), ["6"], "and no row says more");
}

/// U20: a live notification is announced to its person alone, once, and says what it shows when it is read.
#[test]
fn u20_a_live_notification_is_announced_once() {
    let mut story = world();
    story.create("bob", "message/m", mentioning("k", &["carol", "moe"]));
    story.create("carol", "message/a", answering("k", "m"));
    let mut service = Service::live(&story);
    let pointers = |service: &Service| -> Vec<(Did, AtUri, i64)> {
        let announced = service.announced.iter().filter(|one| one.scope == Scope::People);
        let notified = announced.filter_map(|one| match (&one.audience, &one.topic) {
            (Audience::Private(did), Topic::Notification(message, id)) => {
                assert_eq!(one.event.get(), pack(None, None), "the text says nothing");
                Some((did.clone(), message.clone(), *id))
            }
            _ => None,
        });
        notified.collect()
    };
    let found = pointers(&service);
    let whom: Vec<&str> = found.iter().map(|(did, ..)| did.as_str()).collect();
    assert_eq!(whom, ["did:plc:carol", "did:plc:bob"], "of those who are there, and in order");
    let wanted: BTreeMap<_, _> =
        found.iter().map(|(did, uri, id)| (did.clone(), vec![(*id, uri.clone())])).collect();
    let shown = |service: &Service| block_on(these(&service.store, &wanted)).unwrap();
    let kinds: Vec<_> = shown(&service).iter().map(|(did, one)| (did.to_string(), one.kind)).collect();
    assert_eq!(kinds, [("did:plc:bob".into(), Kind::Reply), ("did:plc:carol".into(), Kind::Mention)]);
    service.decide(block("bob", "m"));
    assert_eq!(shown(&service).len(), 1, "U04: of a blocked message nothing");
}

/// A message with facets that mention people, each with what its text says there.
fn saying(channel: &str, named: &[(&str, &str)]) -> Value {
    let (mut text, mut facets) = ("é ".to_owned(), Vec::new());
    for (who, says) in named {
        let begin = text.len();
        text.push_str(says);
        facets.push(json!({ "index": { "byteStart": begin, "byteEnd": text.len() },
            "features": [{ "$type": "app.bsky.richtext.facet#mention", "did": format!("did:plc:{who}") }] }));
        text.push(' ');
    }
    let mut record = message_in(channel, &text);
    record["facets"] = json!(facets);
    record
}

fn urgencies(service: &Service, who: &str) -> Vec<Urgency> {
    block_on(page(&service.store, &did(who), None, 100)).unwrap().0.iter().map(|one| one.urgency).collect()
}

#[test]
fn u24_two_signs_make_a_ping() {
    use Urgency::{Ping, Quiet};
    let mut story = world();
    story.create("bob", "message/m", saying("k", &[("carol", "@@carol"), ("alice", "@alice")]));
    let mut service = Service::live(&story);
    assert_eq!([urgencies(&service, "carol"), urgencies(&service, "alice")], [[Ping], [Quiet]]);
    let mut change = |record: Value| {
        story.update("bob", "message/m", record);
        service.batch(&story.frames[story.frames.len() - 1..]);
        (urgencies(&service, "carol"), notices(&service, "carol"))
    };
    let one = vec!["mention bob/m!".to_owned()];
    assert_eq!(change(saying("k", &[("carol", "@carol"), ("bob", "@@bob")])), (vec![Quiet], one.clone()));
    assert_eq!(change(saying("k", &[("carol", "carol"), ("carol", "@@")])), (vec![Ping], one.clone()));
    let mut odd = saying("k", &[("carol", "@@carol")]);
    for index in [(3, 4), (9_000, 9_002), (2, 7)] {
        odd["facets"][0]["index"] = json!({ "byteStart": index.0, "byteEnd": index.1 });
        assert_eq!(change(odd.clone()), (vec![Quiet], one.clone()), "{index:?}");
    }
    // An answer is quiet, whatever it says.
    story.create("carol", "message/c", message_in("k", "hm"));
    let mut answer = saying("k", &[("alice", "@@alice")]);
    answer["parent"] = json!("c");
    story.create("bob", "message/n", answer);
    story.frames[story.frames.len() - 2..]
        .iter()
        .for_each(|frame| service.batch(std::slice::from_ref(frame)));
    assert_eq!([urgencies(&service, "carol")[0], urgencies(&service, "alice")[0]], [Quiet, Ping]);
}

#[test]
fn u25_u26_rhythms_decide_what_is_sent_and_nothing_else() {
    use Urgency::{Ping, Quiet};
    let mut story = world();
    story.create("bob", "message/m", saying("k", &[("carol", "@@carol")]));
    story.create("moe", "message/n", saying(HALL, &[("bob", "@@bob")]));
    let service = Service::live(&story);
    let store = &service.store;
    let sent = |who: &str| {
        let (found, ..) = block_on(page(store, &did(who), None, 1)).unwrap();
        let wanted = [(did(who), vec![(found[0].id, found[0].message.uri.clone())])].into();
        block_on(these(store, &wanted)).unwrap()[0].1.sent_as()
    };
    let set = |who: &str, place: Option<&str>, rhythm| {
        block_on(rhythms::set(store, &did(who), place, rhythm, Micros(START))).unwrap()
    };
    assert_eq!(sent("carol"), Some(Ping), "at first");
    assert!(set("carol", None, Some(Rhythm::Silent)));
    assert_eq!(sent("carol"), None, "everywhere");
    assert!(set("carol", Some(GARDEN), Some(Rhythm::Quiet)));
    assert_eq!((sent("carol"), sent("bob")), (Some(Quiet), Some(Ping)), "there; of nobody else");
    assert!(!set("carol", Some(PLACE), Some(Rhythm::Busy)), "takes no part");
    let kept = block_on(rhythms::of_person(store, &did("carol"))).unwrap();
    assert_eq!(kept, [(String::new(), Rhythm::Silent), (GARDEN.into(), Rhythm::Quiet)].into());
    assert!(set("carol", Some(GARDEN), None) && set("carol", None, None));
    assert_eq!(sent("carol"), Some(Ping), "as at first");
    store.exec("UPDATE people SET preferred_state = 'dnd' WHERE did = 'did:plc:carol'");
    assert_eq!(sent("carol"), Some(Quiet), "not to be disturbed");
    assert_eq!(urgencies(&service, "carol"), [Ping], "the inbox says what was asked");
    assert!(set("carol", None, Some(Rhythm::Silent)));
    assert_eq!(counts(&service, "carol", GARDEN), Some((1, 1)), "nothing is lost");
    for n in 0..1_050 {
        let row = format!("INSERT INTO rhythms VALUES ('did:plc:carol', 'at://c{n}', 'busy', '{n:04}')");
        store.exec(&row);
    }
    assert!(set("carol", Some(GARDEN), Some(Rhythm::Busy)));
    assert_eq!(store.look("SELECT count(*) FROM rhythms"), [rhythms::KEPT.to_string()]);
    assert_eq!(sent("carol"), Some(Quiet), "the newest are kept, and dnd is above all");
}

/// U20: of a flood that comes in one commit, the sockets get the beginning.
#[test]
fn u20_a_flood_is_announced_in_part() {
    let mut story = world();
    for n in 0..30 {
        story.create("bob", &format!("message/m{n}"), mentioning("k", &["carol", "alice"]));
    }
    let mut service = Service::new();
    service.batch(&story.frames);
    let notified = |who: &str| {
        let is_theirs = |one: &&Announcement| {
            one.audience == Audience::Private(did(who)) && matches!(one.topic, Topic::Notification(..))
        };
        service.announced.iter().filter(is_theirs).count()
    };
    assert_eq!([notified("carol"), notified("alice"), notices(&service, "carol").len()], [20, 20, 30]);
}

#[test]
fn u02_the_first_twenty() {
    let people: Vec<String> = (0..30).map(|n| format!("p{n:02}")).collect();
    let names: Vec<&str> = people.iter().map(String::as_str).collect();
    let record = mentioning("k", &names);
    let found = mentioned(&record["facets"].to_string(), 20);
    assert_eq!(
        found.into_iter().map(|did| did.to_string()).collect::<Vec<_>>(),
        Vec::from_iter(people.iter().take(20).map(|who| format!("did:plc:{who}")))
    );
    for (facets, why) in [
        ("[]", "nothing"),
        ("null", "no list"),
        (r##"[{"features":[{"$type":"a#mention","did":7}]}]"##, "no DID"),
        (r##"[{"features":[{"$type":"a#mention","did":"mention"}]}]"##, "no DID, but a text"),
        (r##"[{"features":[{"$type":"a#link","did":"did:plc:bob"}]}]"##, "no mention"),
        (r##"[{"features":"mention"}]"##, "no features"),
    ] {
        assert!(mentioned(facets, 20).is_empty(), "{why}");
    }
}

#[test]
fn u03_edits_add_once_and_withdraw() {
    let mut story = world();
    story.create("bob", "message/m", message_in("k", "plain"));
    story.create("carol", "message/c", message_in("k", "another"));
    story.update("bob", "message/m", mentioning("k", &["carol"]));
    let mut service = Service::live(&story);
    assert_eq!(notices(&service, "carol"), ["mention bob/m!"]);
    block_on(see_message(
        &service.store,
        &did("carol"),
        "at://did:plc:bob/social.colibri.message/m",
        Micros(START),
    ))
    .unwrap();
    let mut more = |service: &mut Service, change: &dyn Fn(&mut Story)| {
        let before = story.frames.len();
        change(&mut story);
        story.frames[before..].iter().for_each(|frame| service.batch(std::slice::from_ref(frame)));
    };
    more(&mut service, &|story| {
        story.update("bob", "message/m", mentioning("k", &["alice", "carol"]));
    });
    assert_eq!(notices(&service, "carol"), ["mention bob/m"], "once, and it stays seen");
    assert_eq!(notices(&service, "alice"), ["mention bob/m!"]);
    more(&mut service, &|story| {
        story.update("bob", "message/m", answering("k", "c"));
    });
    assert_eq!(notices(&service, "alice"), [""; 0], "gone with the mention");
    assert_eq!(notices(&service, "carol"), ["reply bob/m!"]);
    more(&mut service, &|story| {
        story.update("bob", "message/m", message_in("k", "plain"));
    });
    assert_eq!(notices(&service, "carol"), [""; 0]);
    more(&mut service, &|story| {
        story.update("bob", "message/m", mentioning("k", &["carol"]));
    });
    assert_eq!(notices(&service, "carol"), ["mention bob/m!"], "and anew");
    more(&mut service, &|story| {
        story.update("bob", "message/m", mentioning(HALL, &["carol", "moe"]));
    });
    assert_eq!(notices(&service, "carol"), [""; 0], "it moved to where they take no part");
    assert_eq!(notices(&service, "moe"), ["mention bob/m!"]);
    more(&mut service, &|story| {
        story.delete("bob", "message/m");
    });
    assert_eq!(service.store.look("SELECT * FROM notifications"), [""; 0]);
    more(&mut service, &|story| {
        story.create("bob", "message/m", mentioning("k", &["carol"]));
    });
    assert_eq!(notices(&service, "carol"), ["mention bob/m!"], "written again");
}

#[test]
fn u04_what_may_not_be_read_does_not_show() {
    let mut story = world();
    story.create("bob", "message/m", mentioning("k", &["carol"]));
    story.create("moe", "message/n", mentioning(HALL, &["bob"]));
    let mut service = Service::live(&story);
    let shows = |service: &Service, yes: bool, why: &str| {
        let expected = if yes { vec!["mention bob/m!"] } else { vec![] };
        assert_eq!(notices(service, "carol"), expected, "{why}");
        let counted = counts(service, "carol", GARDEN).map_or(0, |(_, mentions)| mentions);
        assert_eq!(counted, i64::from(yes), "{why}");
    };
    shows(&service, true, "at first");
    service.decide(block("bob", "m"));
    shows(&service, false, "blocked");
    service.decide(unblock("bob", "m"));
    shows(&service, true, "not any more");
    service.decide(ban("alice", "carol"));
    shows(&service, false, "banned people are shown nothing");
    service.decide(unban("alice", "carol"));
    service.decide(ban("alice", "bob"));
    shows(&service, true, "what a banned author wrote before stays (R08)");
    service.decide(unban("alice", "bob"));
    service.decide(members_only("alice", true));
    shows(&service, true, "carol is one of them");
    let mut frames = |service: &mut Service, change: &dyn Fn(&mut Story)| {
        let before = story.frames.len();
        change(&mut story);
        story.frames[before..].iter().for_each(|frame| service.batch(std::slice::from_ref(frame)));
    };
    frames(&mut service, &|story| account(story, "bob", false, "deactivated"));
    shows(&service, false, "the author's account is inactive");
    frames(&mut service, &|story| account(story, "bob", true, ""));
    shows(&service, true, "and active again");
    for subject in [K, GARDEN] {
        frames(&mut service, &|story| {
            story.create("carol", "actor.mute/m", json!({ "subject": subject }));
        });
        shows(&service, false, "muted");
        frames(&mut service, &|story| {
            story.delete("carol", "actor.mute/m");
        });
        shows(&service, true, "and heard again");
    }
    frames(&mut service, &|story| {
        story.delete("carol", "membership/m");
    });
    shows(&service, false, "left");
    frames(&mut service, &|story| {
        story.join("carol", "alice");
    });
    shows(&service, true, "joined again");
    frames(&mut service, &|story| {
        story.delete("alice", "channel/k");
    });
    assert_eq!(notices(&service, "carol"), [""; 0], "the channel is gone");
    assert_eq!(notices(&service, "bob"), ["mention moe/n!"]);
    let hidden = "at://did:plc:moe/social.colibri.message/n";
    frames(&mut service, &|story| {
        story.create("nest", "moderation/1", moderation("hideMessage", hidden));
    });
    assert_eq!(notices(&service, "bob"), [""; 0], "hidden by record");
    frames(&mut service, &|story| {
        story.create("nest", "moderation/2", moderation("unhideMessage", hidden));
    });
    frames(&mut service, &|story| {
        story.create("nest", "moderation/3", moderation("ban", "did:plc:moe"));
    });
    assert_eq!(notices(&service, "bob"), [""; 0], "its author is banned by record");
    frames(&mut service, &|story| {
        story.create("nest", "moderation/4", moderation("unban", "did:plc:moe"));
    });
    assert_eq!(notices(&service, "bob"), ["mention moe/n!"]);
    frames(&mut service, &|story| account(story, "moe", false, "deleted"));
    assert_eq!(
        service.store.look("SELECT message_uri FROM notifications"),
        ["at://did:plc:bob/social.colibri.message/m"]
    );
    frames(&mut service, &|story| account(story, "carol", false, "deleted"));
    assert_eq!(
        service.store.look("SELECT message_uri FROM notifications"),
        [""; 0],
        "nor is a recipient left"
    );
}

#[test]
fn u05_a_flood_of_mentions_is_bounded_and_costs_two_rows_each() {
    let mut story = world();
    story.create("alice", "message/first", mentioning("k", &["carol"]));
    let mut service = Service::live(&story);
    let begun = story.frames.len();
    for n in 0..10_000 {
        story.create("bob", &format!("message/m{n}"), mentioning("k", &["carol", "alice"]));
    }
    for frames in story.frames[begun..].chunks(500) {
        service.points = Default::default();
        service.batch(frames);
    }
    let of_carol = "SELECT count(*) FROM notifications WHERE recipient_did = 'did:plc:carol'";
    assert_eq!(service.store.look(of_carol), [(KEPT_OF_AUTHOR + 1).to_string()], "the newest of one author");
    let shown = notices(&service, "carol");
    assert_eq!(shown.first().map(String::as_str), Some("mention bob/m9999!"));
    assert_eq!(shown.last().map(String::as_str), Some("mention alice/first!"), "nobody else's is displaced");
    // Many authors together displace the oldest.
    let begun = story.frames.len();
    for author in 0..12 {
        let who = format!("author{author}");
        story.join(&who, "alice");
        for n in 0..100 {
            story.create(&who, &format!("message/x{n}"), mentioning("k", &["carol"]));
        }
    }
    for frames in story.frames[begun..].chunks(500) {
        service.points = Default::default();
        service.batch(frames);
    }
    assert_eq!(service.store.look(of_carol), [KEPT.to_string()]);
    let (first, _, end) = block_on(page(&service.store, &did("carol"), None, 100)).unwrap();
    let (second, _, _) = block_on(page(&service.store, &did("carol"), end, 100)).unwrap();
    assert!(first.last().unwrap().id > second.first().unwrap().id, "pages do not overlap");
}

#[test]
fn u06_u10_what_is_seen_and_read_stays_so() {
    let mut story = world();
    for n in 1..=4 {
        story.create("bob", &format!("message/m{n}"), mentioning("k", &["carol"]));
    }
    let mut service = Service::live(&story);
    let (store, carol) = (&service.store, did("carol"));
    let all = ["mention bob/m4!", "mention bob/m3!", "mention bob/m2!", "mention bob/m1!"];
    assert_eq!(
        (notices(&service, "carol"), counts(&service, "carol", GARDEN)),
        (all.map(String::from).to_vec(), Some((4, 4)))
    );
    let m1 = "at://did:plc:bob/social.colibri.message/m1";
    assert_eq!(block_on(see_message(store, &carol, m1, Micros(START))).unwrap(), 1);
    assert_eq!(block_on(see_message(store, &carol, m1, Micros(START))).unwrap(), 0, "seen is seen");
    assert_eq!(counts(&service, "carol", GARDEN), Some((4, 3)), "not read because of that");
    let m2 = Some("at://did:plc:bob/social.colibri.message/m2");
    let garden = block_on(move_position(store, &carol, K, m2, Micros(START))).unwrap();
    assert_eq!(garden.unwrap().as_str(), GARDEN);
    assert_eq!(
        notices(&service, "carol"),
        ["mention bob/m4!", "mention bob/m3!", "mention bob/m2", "mention bob/m1"]
    );
    assert_eq!(counts(&service, "carol", GARDEN), Some((2, 2)));
    let unseen_there = block_on(unseen(store, &carol, K)).unwrap();
    assert_eq!(unseen_there.len(), 2);
    assert_eq!(block_on(view(store, &carol, K, 50)).unwrap().unseen.len(), 2, "N160f");
    block_on(move_position(store, &carol, K, Some(m1), Micros(START))).unwrap();
    assert_eq!(counts(&service, "carol", GARDEN), Some((2, 2)), "never back");
    let third = unseen_there.last().unwrap().id;
    assert_eq!(
        block_on(see_until(store, &carol, third, Micros(START))).unwrap(),
        2,
        "with m2, that was read only"
    );
    assert_eq!(notices(&service, "carol")[..2], ["mention bob/m4!", "mention bob/m3"]);
    for (who, channel, message, why) in [
        ("carol", HALL, None, "takes no part"),
        ("stranger", K, None, "takes no part"),
        ("carol", "at://did:plc:alice/social.colibri.channel/none", None, "no channel"),
        ("carol", K, Some("at://did:plc:moe/social.colibri.message/n"), "no message of the channel"),
    ] {
        assert_eq!(
            block_on(move_position(store, &did(who), channel, message, Micros(START))).unwrap(),
            None,
            "{why}"
        );
    }
    story.create(
        "carol",
        "channel.read/k",
        json!({ "channel": K, "cursor": "at://did:plc:bob/social.colibri.message/m3" }),
    );
    service.batch(&story.frames[story.frames.len() - 1..]);
    assert_eq!(counts(&service, "carol", GARDEN), Some((1, 1)), "a record counts, if it says more");
    let late = Micros(START + 3_600_000_000);
    block_on(move_position(&service.store, &carol, K, None, late)).unwrap();
    assert_eq!(counts(&service, "carol", GARDEN), Some((0, 0)));
    assert!(notices(&service, "carol").iter().all(|notice| !notice.ends_with('!')));
    assert!(last_until(late) > third);
}

#[test]
fn u10_read_positions_are_bounded() {
    let mut story = world();
    for n in 0..1_050 {
        story.create(
            "alice",
            &format!("channel/c{n}"),
            json!({ "name": "c", "type": "text", "community": "c" }),
        );
    }
    let mut service = Service::new();
    story.frames.chunks(300).for_each(|frames| service.batch(frames));
    for n in 0..1_050 {
        let channel = format!("at://did:plc:alice/social.colibri.channel/c{n}");
        block_on(move_position(&service.store, &did("carol"), &channel, None, Micros(START + n))).unwrap();
    }
    assert_eq!(service.store.look("SELECT count(*) FROM read_positions"), ["1000"]);
    let oldest = "SELECT channel_uri FROM read_positions ORDER BY moved_at LIMIT 1";
    assert_eq!(service.store.look(oldest), ["at://did:plc:alice/social.colibri.channel/c50"]);
}

#[test]
fn u11_unread_counts_end_at_a_hundred() {
    let mut story = world();
    for n in 0..150 {
        story.create("bob", &format!("message/m{n:03}"), message_in("k", "x"));
    }
    let mut service = Service::new();
    story.frames.chunks(300).for_each(|frames| service.batch(frames));
    assert_eq!(counts(&service, "carol", GARDEN), Some((UNREAD_MAX, 0)));
    assert_eq!(counts(&service, "bob", GARDEN), Some((0, 0)), "the newest is their own");
    assert_eq!(counts(&service, "stranger", GARDEN), None);
    assert_eq!(counts(&service, "moe", PLACE), Some((0, 0)), "of the newest form");
}

/// What happens to the quiet notifications of one person.
#[derive(Clone, Debug)]
enum Happening {
    Comes { ping: bool },
    Seen(usize),
    AllSeen,
    Minutes(i64),
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let one = prop_oneof![
        6 => Just(Happening::Comes { ping: false }),
        1 => Just(Happening::Comes { ping: true }),
        2 => (0..40usize).prop_map(Happening::Seen),
        1 => Just(Happening::AllSeen),
        2 => (1..50i64).prop_map(Happening::Minutes),
    ];
    prop::collection::vec(one, 1..40)
}

proptest! {
    #![proptest_config(config(48))]

    /// U27: the digests are those of a model that remembers each notification, however often it is decided.
    #[test]
    fn u27_digests_are_those_of_the_model(happenings in happenings()) {
        const HOUR: i64 = 3_600_000_000;
        let mut story = world();
        for n in 0..40 {
            let named = if n < 20 { "@carol" } else { "@@carol" };
            story.create("bob", &format!("message/m{n:02}"), saying("k", &[("carol", named)]));
        }
        let mut service = Service::new();
        service.batch(&story.frames);
        service.store.exec("DELETE FROM notifications");
        let (store, carol) = (&service.store, did("carol"));
        let uri = |n: usize| format!("at://did:plc:bob/social.colibri.message/m{n:02}");
        // By message: its number, and whether it is quiet, not seen, and counted by the last digest.
        let mut model: BTreeMap<usize, (i64, bool, bool, bool)> = BTreeMap::new();
        let mut now = Micros(START);
        for happening in happenings {
            now = Micros(now.0 + 1_000_000);
            match happening {
                Happening::Comes { ping } => {
                    let from = if ping { 20 } else { 0 };
                    let Some(n) = (from..from + 20).find(|n| !model.contains_key(n)) else { continue };
                    let number = colibri_edge::domain::notifications::id(Kind::Mention, now);
                    store.exec(&format!(
                        "INSERT INTO notifications VALUES ('{}', 'mention', '{carol}', {number}, NULL)", uri(n)));
                    model.insert(n, (number, !ping, true, false));
                }
                Happening::Seen(n) => {
                    block_on(see_message(store, &carol, &uri(n), now)).unwrap();
                    model.entry(n).and_modify(|one| one.2 = false);
                }
                Happening::AllSeen => {
                    block_on(see_until(store, &carol, last_until(now), now)).unwrap();
                    model.values_mut().for_each(|one| one.2 = false);
                }
                Happening::Minutes(minutes) => now = Micros(now.0 + minutes * 60_000_000),
            }
            let waiting: Vec<i64> =
                model.values().filter(|(_, quiet, unseen, _)| *quiet && *unseen).map(|one| one.0).collect();
            let unopened = model.values().any(|(_, quiet, unseen, counted)| *quiet && *unseen && *counted);
            let first = waiting.iter().min().copied();
            let is_due = !unopened
                && (waiting.len() >= 5 || first.is_some_and(|first| made_at(first).0 + HOUR <= now.0));
            let decide = || {
                let found = block_on(for_digest(store, &carol)).unwrap();
                digest(found.unseen, found.through, found.do_not_disturb, HOUR, now)
            };
            let mut sent = Vec::new();
            for _ in 0..3 {
                if let Digest::Due { count, first, last } = decide()
                    && block_on(digests::claim(store, &carol, last, now)).unwrap()
                {
                    sent.push((count, Some(first)));
                    prop_assert!(!block_on(digests::claim(store, &carol, last, now)).unwrap(), "a second delivery");
                }
            }
            let expected: Vec<_> = is_due.then_some((waiting.len(), first)).into_iter().collect();
            prop_assert_eq!(sent, expected);
            if is_due {
                model.values_mut().for_each(|one| one.3 = true);
            }
            if let Digest::Later(at) = decide() {
                prop_assert_eq!(Some(at.0), first.map(|first| made_at(first).0 + HOUR));
            }
        }
    }
}

/// The same history, in which every second message mentions somebody.
fn with_mentions(moments: Vec<Moment>) -> Vec<Moment> {
    let mention = |(n, moment)| match moment {
        Moment::Frame(text) => {
            let mut frame: Value = serde_json::from_str(&text).unwrap();
            let is_message = frame["commit"]["collection"] == "social.colibri.message";
            if is_message && frame["commit"]["record"].is_object() && n % 2 == 0 {
                let named = [PEOPLE[n / 2 % PEOPLE.len()], PEOPLE[n / 7 % PEOPLE.len()]];
                frame["commit"]["record"]["facets"] = mentioning("", &named)["facets"].take();
            }
            Moment::Frame(frame.to_string())
        }
        decision => decision,
    };
    moments.into_iter().enumerate().map(mention).collect()
}

/// A message as the model knows it.
#[derive(Clone, Debug, PartialEq)]
struct Said {
    channel: String,
    parent: Option<String>,
    mentions: BTreeSet<String>,
}

/// What a service has said, by AT-URI.
fn said(service: &Service) -> BTreeMap<String, Said> {
    let rows = service.store.look(
        "SELECT json_object('uri', uri, 'channel', channel_uri, 'parent', parent, 'facets', facets) FROM messages",
    );
    rows.iter()
        .map(|row| {
            let row: Value = serde_json::from_str(row).unwrap();
            let mentions = row["facets"].as_str().map(|facets| mentioned(facets, 20)).unwrap_or_default();
            let said = Said {
                channel: row["channel"].as_str().unwrap().to_owned(),
                parent: row["parent"].as_str().map(str::to_owned),
                mentions: mentions.into_iter().map(|did| did.to_string()).collect(),
            };
            (row["uri"].as_str().unwrap().to_owned(), said)
        })
        .collect()
}

/// The model: whom each message notifies, found by looking at the messages before and after each event.
#[derive(Debug, Default)]
struct Model {
    notices: BTreeSet<(String, &'static str, String)>,
}

impl Model {
    fn after(&mut self, service: &Service, before: &BTreeMap<String, Said>) -> BTreeMap<String, Said> {
        let now = said(service);
        self.notices.retain(|(uri, ..)| now.contains_key(uri));
        for (uri, is) in &now {
            let was = before.get(uri);
            if was == Some(is) {
                continue;
            }
            let was = was.filter(|was| was.channel == is.channel);
            let author = uri.split('/').nth(2).unwrap().to_owned();
            let kept = |notice: &(String, &str, String)| match (was, notice.1) {
                _ if notice.0 != *uri => true,
                (None, _) => false,
                (Some(_), "mention") => is.mentions.contains(&notice.2),
                (Some(was), _) => was.parent == is.parent,
            };
            self.notices.retain(kept);
            let new = |who: &String| was.is_none_or(|was| !was.mentions.contains(who));
            for who in is.mentions.iter().filter(|who| **who != author && new(who)) {
                if takes_part(service, who, &is.channel) {
                    self.notices.insert((uri.clone(), "mention", who.clone()));
                }
            }
            if was.is_none_or(|was| was.parent != is.parent)
                && let Some(answered) = is.parent.as_ref().and_then(|key| answered(service, key, &is.channel))
                && answered != author
            {
                self.notices.insert((uri.clone(), "reply", answered));
            }
        }
        now
    }
}

/// Whether a person takes part in the community of a channel, by other reads than those under test.
fn takes_part(service: &Service, who: &str, channel: &str) -> bool {
    let community =
        service.store.look(&format!("SELECT community_uri FROM channels WHERE uri = '{channel}'"));
    let who = colibri_edge::wire::ids::Did::parse(who).unwrap();
    let there = block_on(communities_of(&service.store, &who)).unwrap();
    there.iter().any(|uri| community.iter().any(|community| community == uri.as_str()))
}

/// The author of the visible message that a key means in a channel.
fn answered(service: &Service, key: &str, channel: &str) -> Option<String> {
    let meant = service.store.look(&format!(
        "SELECT uri FROM (SELECT uri, indexed_at FROM messages WHERE rkey = '{key}' AND channel_uri = '{channel}'
         UNION ALL SELECT uri, indexed_at FROM gone_messages WHERE rkey = '{key}' AND channel_uri = '{channel}')
         ORDER BY indexed_at, uri LIMIT 1"
    ));
    let meant = meant.first()?;
    let visible = visible(service, meant);
    visible.then(|| meant.split('/').nth(2).unwrap().to_owned())
}

fn visible(service: &Service, uri: &str) -> bool {
    !service
        .store
        .look(&format!(
            "SELECT 1 FROM messages m JOIN channels ch ON ch.uri = m.channel_uri
             JOIN communities c ON c.uri = ch.community_uri
             WHERE m.uri = '{uri}' AND NOT m.hidden AND NOT c.hidden AND m.uri NOT IN (SELECT uri FROM blocks)"
        ))
        .is_empty()
}

/// What is stored, without what depends on when the batches came.
fn stored(service: &Service) -> BTreeSet<(String, String, String)> {
    let rows = service.store.look("SELECT json_array(message_uri, kind, recipient_did) FROM notifications");
    rows.iter().map(|row| serde_json::from_str(row).unwrap()).collect()
}

proptest! {
    #![proptest_config(config(48))]

    #[test]
    fn u01_to_u11_counts_are_those_of_the_model(
        steps in steps(),
        cuts in prop::collection::vec((1..20usize, 0..15usize), 1..60),
    ) {
        let moments = with_mentions(moments(&steps));
        let (mut plain, mut model) = (Service::new(), Model::default());
        let mut before = BTreeMap::new();
        for moment in &moments {
            match moment {
                Moment::Frame(frame) => plain.batch(std::slice::from_ref(frame)),
                Moment::Decision(decision) => drop(plain.decide(decision.clone())),
            }
            before = model.after(&plain, &before);
        }
        let expected: BTreeSet<_> = model.notices.iter()
            .map(|(uri, kind, who)| (uri.clone(), (*kind).to_owned(), who.clone())).collect();
        prop_assert_eq!(&stored(&plain), &expected);

        // Cuts and repetitions, and the death of the object before, in or after every second commit.
        let mut service = Service::new();
        let mut cuts = cuts.into_iter().cycle();
        let (mut seen, mut done) = (Vec::new(), 0);
        for moment in moments.iter().chain([&Moment::Frame(String::new())]) {
            if let Moment::Frame(frame) = moment && !frame.is_empty() {
                seen.push(frame.clone());
                continue;
            }
            while done < seen.len() {
                let (size, back) = cuts.next().unwrap();
                let end = (done + size).min(seen.len());
                let frames = &seen[done.saturating_sub(back)..end];
                let fault = [Break::Read, Break::CommitLost, Break::CommitStored, Break::Conflict].get(size % 8);
                if let Some(fault) = fault {
                    service.store.break_next(*fault);
                    drop(service.try_batch(frames)); // the object died here
                    service.store.unbreak();
                    service.known.forget();
                }
                service.batch(frames);
                done = end;
            }
            if let Moment::Decision(decision) = moment {
                service.decide(decision.clone());
            }
        }
        prop_assert_eq!(stored(&service), expected);

        // What shows, and what is counted.
        for who in PEOPLE {
            let person = did(who);
            let shows = |(uri, _, recipient): &&(String, &'static str, String)| {
                let channel = before[uri].channel.as_str();
                recipient == person.as_str() && visible(&plain, uri) && takes_part(&plain, recipient, channel)
            };
            let mut shown: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
            for (uri, ..) in model.notices.iter().filter(shows) {
                shown.entry(before[uri].channel.clone()).or_default().insert(uri);
            }
            let total = model.notices.iter().filter(shows).count();
            prop_assert_eq!(block_on(unseen_count(&plain.store, &person)).unwrap(), i64::try_from(total).unwrap());
            let communities = block_on(communities_of(&plain.store, &person)).unwrap();
            let communities: Vec<&str> = communities.iter().map(|uri| uri.as_str()).collect();
            for channel in block_on(unread(&plain.store, &person, &communities)).unwrap().into_values().flatten() {
                let name = channel.channel_uri.as_str();
                let there: Vec<&String> = before.keys()
                    .filter(|uri| before[*uri].channel == name && visible(&plain, uri)).collect();
                let newest = plain.store.look(&format!(
                    "SELECT uri FROM messages WHERE uri IN (SELECT value FROM json_each('{}'))
                     ORDER BY sort_at DESC, rkey DESC, author_did DESC LIMIT 1", json!(there)));
                let is_own = |uri: &str| uri.starts_with(&format!("at://{person}/"));
                let since = if name.starts_with("at://did:plc:nest/") {
                    format!("SELECT min(indexed_at) FROM members WHERE member_did = '{person}' AND community_uri = '{}'", channel.community_uri)
                } else {
                    format!("SELECT min(indexed_at) FROM memberships WHERE member_did = '{person}' AND community_uri = '{}'", channel.community_uri)
                };
                let since = plain.store.look(&since).pop().filter(|since| since.len() > 4).unwrap_or_default();
                let after = |uri: &&&String| {
                    let at = plain.store.look(&format!("SELECT indexed_at FROM messages WHERE uri = '{uri}'"));
                    !is_own(uri) && at[0] > since
                };
                let expected = match newest.first() {
                    Some(newest) if !is_own(newest) => there.iter().filter(after).count(),
                    _ => 0,
                };
                prop_assert_eq!(channel.unread, i64::try_from(expected).unwrap(), "{} in {}", who, name);
                let mentions = shown.get(name).map_or(0, BTreeSet::len);
                prop_assert_eq!(channel.pings.messages, i64::try_from(mentions).unwrap(), "{} in {}", who, name);
            }
        }
    }
}
