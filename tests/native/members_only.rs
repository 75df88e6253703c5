//! Communities for members only (X40–X44, R45, R46): the decision and the reads through the real SQL, and a gateway
//! whose sockets stay open while memberships and the setting change.

use std::collections::{BTreeMap, BTreeSet};

use colibri_edge::domain::actions::Subscribe;
use colibri_edge::domain::announcement::{Announcement, Audience, Numbered, Scope, Topic};
use colibri_edge::domain::community as core;
use colibri_edge::domain::frame_budget::Rate;
use colibri_edge::domain::gateway::restoring::{Change, still_open};
use colibri_edge::domain::gateway::session::Caller as Opens;
use colibri_edge::domain::gateway::{Effect, Gateway, Input, Moment, Settings, Stored};
use colibri_edge::domain::members_only::{Readers, may_read};
use colibri_edge::domain::moderation::{Caller, Measure, Ruling};
use colibri_edge::domain::pending::OutboxEvents;
use colibri_edge::domain::presence::Periods;
use colibri_edge::domain::subscriptions::{Candidate, Kind};
use colibri_edge::domain::voice_right::{Concern, concerns, may_be_in};
use colibri_edge::storage::audit::{self, Filter};
use colibri_edge::storage::members_only::BEHIND_MAX;
use colibri_edge::storage::reads::members_only::About;
use colibri_edge::storage::reads::{self, Start, communities, people};
use colibri_edge::storage::{
    Statement, Store as _, community as object, facts, invites, members_only, presence, rows,
};
use colibri_edge::wire::ids::{AtUri, Collection, Did, Rkey};
use colibri_edge::wire::socket::Reply;
use colibri_edge::wire::time::Micros;
use futures::executor::block_on;
use proptest::prelude::*;
use serde_json::json;
use serde_json::value::RawValue;

use super::story::{
    Service, Story, ban, ban_until, community, frame, kick, members_only as only, membership, message_in,
    moderators, person, unban,
};

fn did(who: &str) -> Did {
    Did::parse(&format!("did:plc:{who}")).unwrap()
}

/// alice's approval community with bob approved and carol waiting; bob wrote `1`. zoe has an open one.
fn garden() -> Story {
    let mut story = Story::default();
    story.community("alice", true).join("bob", "alice").approve("alice", "bob").join("carol", "alice");
    story.create("alice", "channel/v", json!({ "name": "talk", "type": "voice", "community": "c" }));
    story.say("bob", "1", "a secret");
    story
}

fn go_on(service: &mut Service, story: &mut Story, more: impl FnOnce(&mut Story)) {
    let before = story.frames.len();
    more(story);
    story.frames[before..].iter().for_each(|frame| service.batch(std::slice::from_ref(frame)));
}

/// Who of these people may read alice's community.
fn readers(service: &Service, who: &[&str]) -> Vec<String> {
    readers_of(service, &community("alice"), who)
}

fn readers_of(service: &Service, community: &AtUri, who: &[&str]) -> Vec<String> {
    let asked: Vec<Did> = who.iter().map(|name| did(name)).collect();
    let places =
        block_on(members_only::places(&service.store, community, &asked, Micros(service.now))).unwrap();
    assert_eq!(places.len(), asked.len(), "everybody has a place");
    let inside = places.iter().filter(|place| may_read(community, place));
    inside.map(|place| place.did.as_str().replace("did:plc:", "")).collect()
}

#[test]
fn r45_the_owner_decides_once_it_is_written_down_and_told() {
    let mut service = Service::live(&garden());
    service.announced.clear();
    for (caller, why) in
        [(person("mod"), "a moderator"), (person("bob"), "a member"), (person("zoe"), "nobody")]
    {
        service.try_decide(person("alice"), moderators("alice", &["mod"])).unwrap();
        assert_eq!(service.try_decide(caller, only("alice", true)).unwrap(), Ruling::Forbidden, "{why}");
    }
    assert!(!block_on(members_only::is_set(&service.store, community("alice").as_str())).unwrap());
    assert_eq!(service.decide(only("alice", false)), Ruling::Stood, "off by default");
    assert_eq!(service.decide(only("alice", true)), Ruling::Made);
    assert_eq!(service.decide(only("alice", true)), Ruling::Stood, "it is set already");
    assert_eq!(service.announced.len(), 1, "E17 once");
    assert_eq!(service.announced[0].topic, Topic::MembersOnly(true));
    let published = frame(&service.announced[0]);
    assert_eq!(
        (&published["type"], &published["members_only"], &published["community_uri"]),
        (&json!("members_only"), &json!(true), &json!(community("alice").as_str()))
    );
    assert_eq!(service.try_decide(person("alice"), only("alice", false)).unwrap(), Ruling::Made);
    let nobodys = only("nobody", true);
    assert_eq!(service.decide(nobodys), Ruling::NothingThere, "a community that is not known");
    let log = block_on(audit::page(
        &service.store,
        community("alice").as_str(),
        &Filter { action: "members_only".into(), ..Filter::default() },
        None,
        10,
    ))
    .unwrap()
    .0;
    let log: Vec<_> = log.iter().map(|entry| (entry.actor.as_str(), entry.subject.as_str())).collect();
    assert_eq!(log, [("did:plc:alice", "off"), ("operator", "on")], "X22: what was made, newest first");
}

#[test]
fn x40_the_setting_outlives_the_community() {
    let mut story = garden();
    let mut service = Service::live(&story);
    service.decide(only("alice", true));
    go_on(&mut service, &mut story, |story| {
        story.delete("alice", "community/c");
    });
    let is_set = |service: &Service| {
        block_on(members_only::is_set(&service.store, community("alice").as_str())).unwrap()
    };
    assert!(is_set(&service));
    go_on(&mut service, &mut story, |story| {
        story.create("alice", "community/c", json!({ "name": "Garden", "requiresApprovalToJoin": false }));
    });
    assert!(is_set(&service), "as a ban does");
    assert_eq!(readers(&service, &["alice", "bob", "carol"]), ["alice", "bob"], "X40: also in an open one");
}

#[test]
fn x40_who_may_read_follows_everything_that_decides() {
    let everybody = ["alice", "bob", "carol", "mod", "zoe"];
    let mut story = garden();
    let mut service = Service::live(&story);
    service.decide(only("alice", true));
    assert_eq!(readers(&service, &everybody), ["alice", "bob"]);
    service.decide(moderators("alice", &["mod"]));
    assert_eq!(readers(&service, &everybody), ["alice", "bob", "mod"], "a moderator need not be a member");
    service.decide(ban("alice", "mod"));
    assert_eq!(readers(&service, &everybody), ["alice", "bob"], "but not while banned");
    service.decide(unban("alice", "mod"));
    service.decide(moderators("alice", &[]));
    go_on(&mut service, &mut story, |story| {
        story.approve("alice", "carol").create("carol", "approval/x", super::story::approval("zoe"));
    });
    assert_eq!(readers(&service, &everybody), ["alice", "bob", "carol"]);
    let until = service.now + 60_000_000;
    service.decide(ban_until("alice", "bob", until));
    assert_eq!(readers(&service, &everybody), ["alice", "carol"]);
    service.now = until + 1;
    assert_eq!(readers(&service, &everybody), ["alice", "bob", "carol"], "T10: by the clock");
    service.decide(kick("alice", "bob"));
    assert_eq!(readers(&service, &everybody), ["alice", "carol"]);
    go_on(&mut service, &mut story, |story| {
        story.delete("alice", "approval/carol");
    });
    assert_eq!(readers(&service, &everybody), ["alice"]);
    go_on(&mut service, &mut story, |story| {
        story.join("bob", "alice").approve("alice", "bob");
        super::pipeline::account(story, "bob", false, "deactivated");
    });
    assert_eq!(readers(&service, &everybody), ["alice"], "whose account is not active is not there");
}

/// In the newest form who is admitted reads, and an approval says nothing (N02, N12, N17, N41).
#[test]
fn x40_in_the_newest_form_who_is_admitted_reads() {
    let place = AtUri::parse("at://did:plc:nest/social.colibri.community/self").unwrap();
    let mut story = Story::default();
    story.newest("nest").ask_to_join("bob", "nest").admit("nest", "bob", &[]).ask_to_join("carol", "nest");
    story.create("nest", "approval/carol", super::story::approval("carol"));
    story.ask_to_join("dave", "nest").admit("nest", "dave", &["owner"]);
    let mut service = Service::live(&story);
    assert_eq!(service.decide(Measure::MembersOnly(place.clone(), true)), Ruling::Made);
    let inside = |service: &Service| readers_of(service, &place, &["nest", "bob", "carol", "dave", "zoe"]);
    assert_eq!(inside(&service), ["nest", "bob", "dave"]);
    service.decide(Measure::Ban(place.clone(), did("bob"), None));
    assert_eq!(inside(&service), ["nest", "dave"]);
    service.decide(Measure::Unban(place.clone(), did("bob")));
    go_on(&mut service, &mut story, |story| {
        story.delete("dave", "membership/m");
    });
    assert_eq!(inside(&service), ["nest", "bob"], "N17: a person who withdrew their membership has left");
    service.decide(Measure::Kick(place.clone(), did("bob")));
    assert_eq!(inside(&service), ["nest"], "N41");
    go_on(&mut service, &mut story, |story| {
        story.admit("nest", "carol", &[]);
    });
    assert_eq!(inside(&service), ["nest", "carol"]);
}

/// A ban by record does not end with a timed ban of the service on the same person (N21, R30).
#[test]
fn x40_who_is_banned_by_record_stays_banned_when_a_timed_ban_ends() {
    let place = AtUri::parse("at://did:plc:nest/social.colibri.community/self").unwrap();
    let mut story = Story::default();
    story.newest("nest").ask_to_join("bob", "nest").admit("nest", "bob", &[]);
    story.create("nest", "moderation/1", super::story::moderation("ban", "did:plc:bob"));
    let mut service = Service::live(&story);
    service.decide(Measure::MembersOnly(place.clone(), true));
    let until = service.now + 60_000_000;
    assert_eq!(service.decide(Measure::Ban(place.clone(), did("bob"), Some(Micros(until)))), Ruling::Made);
    service.now = until + 1;
    assert_eq!(readers_of(&service, &place, &["nest", "bob"]), ["nest"]);
}

/// X41: each way to name something of the community, and nothing else, leads to it.
#[test]
fn x41_a_read_knows_what_it_is_about() {
    let mut story = garden();
    story.community("zoe", false).say("zoe", "2", "open");
    let mut service = Service::live(&story);
    let about = |service: &Service, about: About| {
        let answers = block_on(service.store.read(&[about.statement()])).unwrap();
        rows::<AtUri>(answers.first()).unwrap()
    };
    let message =
        |who: &str, rkey: &str| AtUri::of(&did(who), Collection::Message, &Rkey::parse(rkey).unwrap());
    let channel = |who: &str| format!("at://did:plc:{who}/social.colibri.channel/k");
    let closed = || {
        vec![
            About::Community(community("alice").to_string()),
            About::Channel(channel("alice")),
            About::Channel("k".into()), // T20: alice's was first
            About::Message(message("bob", "1")),
            About::MessageNamed(message("bob", "1").to_string()),
            About::MessageNamed("1".into()),
        ]
    };
    let open = || {
        vec![
            About::Community(community("zoe").to_string()),
            About::Community("at://nonsense".into()),
            About::Channel(channel("zoe")),
            About::Channel("none".into()),
            About::Message(message("zoe", "2")),
            About::MessageNamed("2".into()),
        ]
    };
    for one in closed().into_iter().chain(open()) {
        assert_eq!(about(&service, one.clone()), [], "off: {one:?}");
    }
    service.decide(only("alice", true));
    for one in closed() {
        assert_eq!(about(&service, one.clone()), [community("alice")], "{one:?}");
    }
    for one in open() {
        assert_eq!(about(&service, one.clone()), [], "{one:?}");
    }
    service.decide(super::story::block("bob", "1"));
    assert_eq!(
        about(&service, About::MessageNamed("1".into())),
        [community("alice")],
        "blocked, it is still of it"
    );
}

/// X43: what a name of a subscription may mean is resolved within a bound, whatever others call theirs.
#[test]
fn x43_a_name_leads_to_its_communities_and_to_no_more_than_can_be_looked_at() {
    let mut story = garden();
    story.community("zoe", false);
    let mut service = Service::live(&story);
    service.decide(only("alice", true));
    let behind = |service: &Service, kind, key: &str| {
        block_on(members_only::behind(&service.store, &[(kind, Some(key))])).unwrap().remove(0)
    };
    let closed = || vec![(community("alice"), true)];
    assert_eq!(behind(&service, Kind::Community, community("alice").as_str()), closed());
    assert_eq!(behind(&service, Kind::Community, community("zoe").as_str()), []);
    assert_eq!(behind(&service, Kind::Message, CHANNEL), closed());
    assert_eq!(behind(&service, Kind::Message, "k"), [(community("alice"), true), (community("zoe"), false)]);
    assert_eq!(behind(&service, Kind::UserStatus, "did:plc:bob"), []);
    let together =
        [(Kind::UserStatus, None), (Kind::Message, Some("two words")), (Kind::Message, Some(CHANNEL))];
    let means = block_on(members_only::behind(&service.store, &together)).unwrap();
    assert_eq!(means, [vec![], vec![], closed()], "each has its own answer, also where nothing is asked");
    go_on(&mut service, &mut story, |story| {
        for n in 0..2 * BEHIND_MAX {
            story.community(&format!("p{n}"), true);
        }
    });
    assert_eq!(behind(&service, Kind::Message, "k").len(), BEHIND_MAX + 1);
}

#[test]
fn x42_what_everybody_sees_of_it() {
    let mut story = Story::default();
    story.create(
        "alice",
        "community/c",
        json!({ "name": "Garden", "description": "a secret", "categoryOrder": ["x"], "requiresApprovalToJoin": true }),
    );
    story.create("alice", "channel/k", json!({ "name": "hall", "type": "text", "community": "c" }));
    story.join("bob", "alice").approve("alice", "bob");
    story.community("zoe", false).create("bob", "membership/z", membership("zoe"));
    for (rkey, owner) in [("r", "alice"), ("s", "zoe")] {
        let channel = format!("at://did:plc:{owner}/social.colibri.channel/k");
        story.create(
            "bob",
            &format!("channel.read/{rkey}"),
            json!({ "channel": channel, "cursor": "2026-03-01T12:00:00Z" }),
        );
    }
    let mut service = Service::live(&story);
    service.store.exec(
        "INSERT INTO invites (code, community_uri, created_by_did, created_at)
         VALUES ('code', 'at://did:plc:alice/social.colibri.community/c', 'did:plc:alice', '')",
    );
    service.decide(only("alice", true));
    let json = |value: &dyn text::Text| value.text();
    let public =
        block_on(communities::community(&service.store, community("alice").as_str())).unwrap().unwrap();
    let shown: serde_json::Value = serde_json::from_str(&json(&public)).unwrap();
    assert_eq!(
        shown,
        json!({ "owner_did": "did:plc:alice", "rkey": "c", "name": "Garden", "description": null, "picture": null,
                "category_order": null, "requires_approval_to_join": true }),
        "so that somebody can ask to join"
    );
    let (uri, full) = block_on(communities::community_in_full(&service.store, "c")).unwrap().unwrap();
    assert!(uri == community("alice") && json(&full).contains("a secret"), "T22: the same community");
    let invite = block_on(invites::shown(&service.store, "code")).unwrap().unwrap();
    assert!(!json(&invite).contains("a secret") && json(&invite).contains("Garden"), "R16");
    let of = |service: &Service, who: &str, themselves| {
        let found = block_on(communities::of_person(&service.store, &did(who), themselves)).unwrap();
        let owners = |list: &[colibri_edge::wire::bodies::Community]| {
            list.iter().map(|one| one.owner_did.as_str().replace("did:plc:", "")).collect::<Vec<_>>()
        };
        (owners(&found.owned), owners(&found.joined), json(&found).contains("a secret"))
    };
    assert_eq!(of(&service, "bob", false), (vec![], vec!["zoe".into()], false), "R11: of another person");
    assert_eq!(
        of(&service, "bob", true),
        (vec![], vec!["alice".into(), "zoe".into()], false),
        "of themselves"
    );
    assert_eq!(
        of(&service, "alice", false),
        (vec!["alice".into()], vec![], false),
        "its AT-URI names its owner"
    );
    assert_eq!(of(&service, "alice", true), (vec!["alice".into()], vec![], true), "the owner sees it all");
    let marks = |service: &Service, themselves| {
        let found =
            block_on(people::channel_reads(&service.store, "did:plc:bob", themselves, None, 10)).unwrap().0;
        found.iter().map(|mark| mark.channel_uri.contains("alice")).collect::<Vec<_>>()
    };
    assert_eq!((marks(&service, false), marks(&service, true)), (vec![false], vec![true, false]), "R22");
    let watched = |service: &Service| {
        let found = block_on(presence::people(&service.store, &[did("bob")])).unwrap().remove(0);
        (found.watched.open, found.watched.closed)
    };
    assert_eq!(watched(&service), (vec![community("zoe")], vec![community("alice")]), "A36");
    go_on(&mut service, &mut story, |story| {
        story.delete("alice", "channel/k");
    });
    assert_eq!(marks(&service, false), [false], "R22: a channel that is gone was somewhere");
    service.decide(only("alice", false));
    assert_eq!(of(&service, "bob", false).1, ["alice", "zoe"]);
    assert_eq!(watched(&service).1, [], "A36: as before");
}

/// X43, Q13: whom members alone watch by now is shown to no outsider who was away, whatever was so when they changed.
#[test]
fn x43_what_was_missed_of_people_counts_as_the_setting_is_now() {
    let mut story = garden();
    story.community("zoe", false).create("bob", "membership/z", membership("zoe"));
    let mut service = Service::live(&story);
    let left = |service: &Service| {
        let found = block_on(presence::people(&service.store, &[did("bob")])).unwrap();
        let known: Vec<_> = found.into_iter().map(|found| found.known("")).collect();
        let communities = vec![community("alice"), community("zoe")];
        let change = Change { did: did("bob"), status_at: Micros(1), profile_at: Micros(1), communities };
        still_open(vec![change], &known).remove(0).communities
    };
    assert_eq!(left(&service), [community("alice"), community("zoe")]);
    service.decide(only("alice", true));
    assert_eq!(left(&service), [community("zoe")]);
}

mod text {
    /// What can be written as JSON.
    pub(super) trait Text {
        fn text(&self) -> String;
    }

    impl<T: serde::Serialize> Text for T {
        fn text(&self) -> String {
            serde_json::to_string(self).unwrap()
        }
    }
}

/// X44: an answer elsewhere does not carry the text along, in no read and no event.
#[test]
fn x44_a_parent_of_it_is_shown_only_inside() {
    let mut story = garden();
    story.community("zoe", false);
    let mut service = Service::live(&story);
    service.decide(only("alice", true));
    service.announced.clear();
    let parent = "at://did:plc:bob/social.colibri.message/1";
    let answer = |channel: &str| {
        let mut record = message_in(&format!("at://did:plc:{channel}/social.colibri.channel/k"), "an answer");
        record["parent"] = json!(parent);
        record
    };
    go_on(&mut service, &mut story, |story| {
        story.create("zoe", "message/out", answer("zoe")).create("bob", "message/in", answer("alice"));
    });
    let shown: Vec<_> =
        service.announced.iter().map(frame).filter(|frame| frame["type"] == "message").collect();
    let texts: Vec<_> = shown
        .iter()
        .map(|one| (one["rkey"].as_str().unwrap(), one["parent_message"]["text"].as_str()))
        .collect();
    assert_eq!(texts, [("out", None), ("in", Some("a secret"))], "E01");
    let read = |service: &Service, who: &str, rkey: &str| {
        let uri = AtUri::of(&did(who), Collection::Message, &Rkey::parse(rkey).unwrap());
        let found = block_on(reads::message(&service.store, "", &uri)).unwrap().unwrap();
        found.message.parent_message.map(|parent| parent.text)
    };
    assert_eq!(read(&service, "zoe", "out"), None, "R02");
    assert_eq!(read(&service, "bob", "in").as_deref(), Some("a secret"), "R02");
    let zoes = "at://did:plc:zoe/social.colibri.channel/k";
    let page = block_on(reads::messages(&service.store, "", zoes, &Start::Newest, 10)).unwrap().0;
    assert!(page.iter().all(|message| message.parent_message.is_none()), "R01");
    service.decide(only("alice", false));
    assert_eq!(read(&service, "zoe", "out").as_deref(), Some("a secret"), "everybody reads it again");
}

#[test]
fn x43_voice_needs_a_proof_there() {
    let mut story = garden();
    story.create("zoe", "membership/m", membership("alice"));
    let mut service = Service::live(&story);
    let channel = AtUri::parse("at://did:plc:alice/social.colibri.channel/v").unwrap();
    let may = |service: &Service, who: &str, proven| {
        let people = [did(who)];
        let facts =
            block_on(facts::right_to_be_in(&service.store, &channel, &people, Micros(service.now))).unwrap();
        may_be_in(&facts, &did(who), proven, &channel, None).is_ok()
    };
    let table = |service: &Service| {
        ["alice", "bob", "carol"].map(|who| [may(service, who, false), may(service, who, true)])
    };
    assert_eq!(table(&service), [[true, true], [true, true], [false, false]], "off: V02");
    service.decide(only("alice", true));
    assert_eq!(table(&service), [[false, true], [false, true], [false, false]]);
    go_on(&mut service, &mut story, |story| {
        story.update("alice", "community/c", json!({ "name": "Garden", "requiresApprovalToJoin": false }));
    });
    assert_eq!(
        table(&service),
        [[false, true], [false, true], [false, false]],
        "who waits is not in, G6 or not"
    );
    service.decide(only("alice", false));
    assert_eq!(table(&service), [[true, true]; 3], "G6");
}

#[test]
fn invariant_9_a_right_that_cannot_be_read_is_a_fault() {
    let service = Service::live(&garden());
    service.store.break_next(super::sqlite::Break::Read);
    assert!(
        block_on(members_only::places(&service.store, &community("alice"), &[did("bob")], Micros(0)))
            .is_err()
    );
}

// ---- A gateway, and sockets that stay open ----

const CHANNEL: &str = "at://did:plc:alice/social.colibri.channel/k";

/// A socket as the test knows it.
#[derive(Debug)]
struct Socket {
    who: &'static str,
    proven: bool,
    kinds: BTreeSet<&'static str>,
    expected: Vec<u64>,
    ended: usize,
    got: Vec<u64>,
    ends_received: usize,
}

/// A gateway with the sockets of some people, and a community whose setting and members change.
struct World {
    gateway: Gateway,
    sockets: BTreeMap<i64, Socket>,
    closed: bool,
    members: BTreeSet<&'static str>,
    seq: u64,
    delivered: usize,
    kept_from: usize,
}

fn moment<T>(act: impl FnOnce(&Moment<'_>) -> T) -> T {
    act(&Moment { now: Micros(1), answered: &|_| None, unsent: &|_| 0 })
}

impl World {
    fn new() -> Self {
        let settings = Settings {
            name: "gateway-0".to_owned(),
            shards: 1,
            home_of: |_, _| "gateway-0".to_owned(),
            periods: Periods { away_after: 300_000_000, grace: 5_000_000 },
            lease: 0,
            restore: 0,
            restore_keep: 0,
            rate: Rate { per_second: 1_000, burst: 1_000 },
        };
        let (mut gateway, _) =
            moment(|moment| Gateway::wake(settings, Stored::default(), &BTreeSet::new(), "run", moment));
        let channel = Candidate {
            indexed_at: String::new(),
            uri: CHANNEL.into(),
            community: community("alice").to_string(),
        };
        gateway.meanings.set(&[], [channel]);
        let (sockets, members) = (BTreeMap::new(), BTreeSet::from(["alice"]));
        Self { gateway, sockets, closed: false, members, seq: 0, delivered: 0, kept_from: 0 }
    }

    /// Takes in what the gateway sends.
    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send { to, text } => {
                    let frame: serde_json::Value = serde_json::from_str(&text).unwrap();
                    for id in to {
                        let socket = self.sockets.get_mut(&id).unwrap();
                        match frame["type"].as_str().unwrap() {
                            "subscription_ended" => socket.ends_received += 1,
                            _ => socket.got.extend(frame["seq"].as_u64()),
                        }
                    }
                }
                Effect::Keep(_) => self.kept_from += 1,
                _ => {}
            }
        }
    }

    fn open(&mut self, who: &'static str, proven: bool) {
        let id = i64::try_from(self.sockets.len()).unwrap() + 1;
        let opens = Opens { did: (!who.is_empty()).then(|| did(who)), proven, ..Opens::default() };
        let session = self.gateway.admit(opens, false, Micros(1));
        let socket = Socket {
            who,
            proven,
            kinds: BTreeSet::new(),
            expected: vec![],
            ended: 0,
            got: vec![],
            ends_received: 0,
        };
        self.sockets.insert(id, socket);
        let effects = moment(|moment| self.gateway.on(Input::Opened(id, Box::new(session)), moment));
        self.perform(effects);
    }

    fn may_read(&self, socket: &Socket) -> bool {
        socket.proven && self.members.contains(socket.who)
    }

    /// As the object does: what is closed to a socket is refused, all else is noted.
    fn subscribe(&mut self, id: i64, what: &'static str) {
        let Some(socket) = self.sockets.get(&id) else { return };
        let is_named = !what.ends_with("all");
        if self.closed && is_named && !self.may_read(socket) {
            return;
        }
        let uri = community("alice").to_string();
        let (kind, key) = match what {
            "community" => (Kind::Community, Some(uri)),
            "channel" => (Kind::Message, Some(CHANNEL.to_owned())),
            "rkey" => (Kind::Message, Some("k".to_owned())),
            "community all" => (Kind::Community, None),
            _ => (Kind::Message, None),
        };
        let subscribe = Subscribe { kind, key, resume: None, reply: Reply::ack("") };
        self.gateway.subscribe(id, &subscribe).unwrap().unwrap();
        self.gateway.attached(&community("alice"), self.seq, Micros(1));
        self.sockets.get_mut(&id).unwrap().kinds.insert(what);
        let effects = self.gateway.take_effects();
        self.perform(effects);
    }

    /// An event of the community, or to one person.
    fn deliver(&mut self, audience: Audience) {
        self.seq += 1;
        self.delivered += 1;
        let closed = self.closed;
        let members = self.members.clone();
        for socket in self.sockets.values_mut() {
            let may = socket.proven && members.contains(socket.who);
            let named: BTreeSet<_> =
                socket.kinds.iter().filter(|kind| !kind.ends_with("all")).copied().collect();
            if closed && !may && !named.is_empty() {
                socket.kinds.retain(|kind| kind.ends_with("all"));
                socket.ended += 1;
            }
            let has = |kinds: &[&str]| kinds.iter().any(|kind| socket.kinds.contains(kind));
            let receives = match (&audience, closed) {
                (Audience::Private(person), false) => *person == did_of(socket.who),
                (Audience::Private(person), true) => socket.proven && *person == did_of(socket.who),
                (Audience::Community, false) => has(&["community", "community all"]),
                (Audience::Community, true) => may && has(&["community"]),
                (_, false) => has(&["channel", "rkey", "message all"]),
                (_, true) => may && has(&["channel", "rkey"]),
            };
            if receives {
                socket.expected.push(self.seq);
            }
        }
        let event = RawValue::from_string(r#"{"type":"x","text":"a secret"}"#.into()).unwrap();
        let events = vec![Numbered { seq: self.seq, audience, live: true, event }];
        let readers = if closed {
            let asked = self.gateway.askers(community("alice").as_str());
            Readers::Only(
                asked.into_iter().filter(|person| members.iter().any(|who| *person == did(who))).collect(),
            )
        } else {
            Readers::All
        };
        let input = Input::Delivered {
            community: community("alice"),
            events,
            full: BTreeMap::new(),
            allowed: readers.into(),
        };
        let effects = moment(|moment| self.gateway.on(input, moment));
        self.perform(effects);
    }

    fn check(&self) {
        for (id, socket) in &self.sockets {
            assert_eq!(socket.got, socket.expected, "socket {id}: {socket:?}");
            assert_eq!(socket.ends_received, socket.ended, "one `subscription_ended` each time: {socket:?}");
        }
    }
}

fn did_of(who: &str) -> Did {
    did(if who.is_empty() { "nobody-there" } else { who })
}

#[derive(Clone, Debug)]
enum Step {
    Open(&'static str, bool),
    Subscribe(i64, &'static str),
    Set(bool),
    Member(&'static str, bool),
    Deliver(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let who = prop::sample::select(vec!["alice", "bob", "carol", ""]);
    let member = prop::sample::select(vec!["bob", "carol"]);
    let what = prop::sample::select(vec!["community", "channel", "rkey", "community all", "message all"]);
    prop_oneof![
        2 => (who, any::<bool>()).prop_map(|(who, proven)| Step::Open(who, proven && !who.is_empty())),
        4 => (1..8_i64, what).prop_map(|(id, what)| Step::Subscribe(id, what)),
        1 => any::<bool>().prop_map(Step::Set),
        2 => (member, any::<bool>()).prop_map(|(who, joins)| Step::Member(who, joins)),
        4 => (0..3_u8).prop_map(Step::Deliver),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// X43: whatever happens while sockets are open, each receives exactly what it may.
    #[test]
    fn x43_histories_of_rights_and_sockets(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        for step in steps {
            match step {
                Step::Open(who, proven) => world.open(who, proven),
                Step::Subscribe(id, what) => world.subscribe(id, what),
                Step::Set(on) => {
                    // The event itself is for those who may read what comes after it (E17).
                    world.closed = on;
                    world.deliver(Audience::Community);
                }
                Step::Member(who, true) => drop(world.members.insert(who)),
                Step::Member(who, false) => {
                    world.members.remove(who);
                    world.deliver(Audience::Community);
                    world.deliver(Audience::Private(did(who)));
                }
                Step::Deliver(0) => world.deliver(Audience::Community),
                Step::Deliver(_) => world.deliver(Audience::Messages(AtUri::parse(CHANNEL).unwrap())),
            }
            world.check();
        }
    }
}

/// The history above can fail: a gateway that takes everybody for a reader sends to everybody.
#[test]
fn x43_the_world_of_the_test_would_notice_a_leak() {
    let mut world = World::new();
    world.open("carol", true);
    world.subscribe(1, "community");
    world.deliver(Audience::Community);
    world.closed = true;
    let event = RawValue::from_string(r#"{"type":"x"}"#.into()).unwrap();
    let events = vec![Numbered { seq: 2, audience: Audience::Community, live: true, event }];
    let input = Input::Delivered {
        community: community("alice"),
        events,
        full: BTreeMap::new(),
        allowed: Readers::All.into(),
    };
    let effects = moment(|moment| world.gateway.on(input, moment));
    world.perform(effects);
    assert_eq!(
        (world.sockets[&1].got.as_slice(), world.sockets[&1].expected.as_slice()),
        (&[1, 2][..], &[1][..])
    );
}

#[test]
fn x22_a_decision_says_what_it_is() {
    let on = Measure::MembersOnly(community("alice"), true);
    assert_eq!((on.word(), on.subject(), on.until()), ("members_only", "on".to_owned(), None));
    assert!(!Caller::Person(did("bob")).owns(&community("alice")));
}

/// A community keeps the setting, marks what it delivers and replays, empties its voice channels, and lets its
/// observers go; a death between two effects changes nothing of that.
#[test]
fn x43_a_community_obeys_the_setting_also_when_it_wakes() {
    let db = rusqlite::Connection::open_in_memory().unwrap();
    let run = |statement: &Statement| {
        let mut prepared = db.prepare(statement.sql).unwrap();
        let params = rusqlite::params_from_iter(super::sqlite::Sqlite::bind(&statement.params));
        let found = prepared.query_map(params, |row| row.get::<_, String>("row")).unwrap();
        Ok(found.map(Result::unwrap).collect::<Vec<_>>())
    };
    object::prepare(&run).unwrap();
    let settings = core::Settings { shards: 1, home_of: |_, _| "gateway-0".into(), log_max: 100 };
    let event = |topic| Announcement {
        scope: Scope::Community(community("alice")),
        audience: Audience::Community,
        topic,
        live: true,
        event: RawValue::from_string(r#"{"type":"members_only"}"#.into()).unwrap(),
    };
    let lost = event(Topic::MembersOnly(true)).set_aside();
    assert_eq!(concerns(&lost), Some(Concern::Community), "S20: also where the text of the event was lost");
    let voice = AtUri::parse("at://did:plc:alice/social.colibri.channel/v").unwrap();
    let act = |act: &dyn Fn(&mut core::Community), performs: usize| {
        let mut core = core::Community::wake(settings, object::load(&run).unwrap());
        act(&mut core);
        let mut ended = false;
        for effect in core.take_effects().into_iter().take(performs) {
            match effect {
                core::Effect::Keep(keep) => {
                    object::statements(&keep, Micros(0)).iter().for_each(|one| drop(run(one).unwrap()));
                }
                core::Effect::EndObservers => ended = true,
                core::Effect::Publish(..) | core::Effect::Forget => {}
            }
        }
        ended
    };
    let row = |id, topic| vec![OutboxEvents { id, events: vec![event(topic)] }];
    let is_closed = || core::Community::wake(settings, object::load(&run).unwrap()).counters().members_only;
    let join = |core: &mut core::Community| {
        assert!(core.join_voice(&community("alice"), &did("bob"), &voice, "gateway-0", 9).unwrap());
    };
    act(&join, usize::MAX);
    let set = |on| {
        move |core: &mut core::Community| {
            core.announced(&community("alice"), row(1, Topic::MembersOnly(on))).unwrap()
        }
    };
    for dies_after in 0..4 {
        act(&set(true), dies_after); // announced again, it has the same effects
    }
    assert!(act(&set(true), usize::MAX), "observers are let go");
    assert!(is_closed());
    let core = core::Community::wake(settings, object::load(&run).unwrap());
    assert!(core.voices().is_empty(), "V06: nobody there proved anything");
    let page = core.page(Vec::new(), false);
    assert!(matches!(page, colibri_edge::domain::replay::Replayed::Page { members_only: true, .. }));
    let more =
        |core: &mut core::Community| core.announced(&community("alice"), row(2, Topic::Other)).unwrap();
    assert!(act(&more, usize::MAX), "an event is published to no observer");
    let unset = |core: &mut core::Community| {
        core.announced(&community("alice"), row(3, Topic::MembersOnly(false))).unwrap()
    };
    assert!(!act(&unset, usize::MAX));
    assert!(!is_closed());
}
