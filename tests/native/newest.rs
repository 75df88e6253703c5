//! Communities of the newest form (section 12), through the real SQL, beside one of the old form.

use colibri_edge::domain::announcement::{Audience, Scope};
use colibri_edge::domain::moderation::{Measure, Ruling};
use colibri_edge::domain::voice_right::{VoiceRefusal, may_be_in};
use colibri_edge::storage::facts;
use colibri_edge::storage::reads::{bans, communities};
use colibri_edge::wire::time::Micros;
use futures::executor::block_on;
use serde_json::json;

use super::story::{
    HALL, PLACE, Service, Story, did, frame, join_request, member, membership, message_in, moderation,
    newest_channel, newest_frame, person, role, uri,
};

/// The community of the newest form, with bob in it.
fn nest() -> Story {
    let mut story = Story::default();
    story.newest("nest").ask_to_join("bob", "nest").admit("nest", "bob", &[]);
    story
}

impl Story {
    /// As the newest client writes it: by AT-URI.
    fn post(&mut self, who: &str, rkey: &str, text: &str) -> &mut Self {
        self.create(who, &format!("message/{rkey}"), message_in(HALL, text))
    }
}

/// The n-th frame of a client of March 2026.
fn nth_frame(service: &Service, n: usize) -> serde_json::Value {
    service.announced.iter().map(frame).filter(|frame| !frame.is_null()).nth(n).unwrap()
}

/// Whose repository was read in full.
fn was_read(service: &Service, who: &str) {
    let sql = format!(
        "UPDATE repos SET synced_at = known_at, checked_at = known_at, next_attempt_at = NULL, status = 'synced' WHERE did = 'did:plc:{who}'"
    );
    service.store.exec(&sql);
}

/// Who is listed (R14), and how.
fn listed(service: &Service, place: &str) -> Vec<String> {
    let (members, _) = block_on(communities::members(&service.store, "", place, None, 50)).unwrap();
    members
        .iter()
        .map(|one| format!("{} {}", one.member_did.as_str().replace("did:plc:", ""), one.status))
        .collect()
}

/// Where somebody takes part (R11).
fn joined(service: &Service, who: &str) -> Vec<String> {
    let of = block_on(communities::of_person(&service.store, &did(who), false)).unwrap();
    of.joined.iter().map(|one| format!("{}/{}", one.owner_did, one.rkey)).collect()
}

#[test]
fn n12_n16_n30_from_the_wish_to_the_farewell() {
    let mut story = Story::default();
    story.newest("nest").ask_to_join("bob", "nest").admit("nest", "bob", &[]).post("bob", "1", "hello");
    let first = "at://did:plc:bob/social.colibri.message/1";
    let mut answer = message_in(HALL, "hello yourself");
    answer["parent"] = json!(first);
    story.create("nest", "message/2", answer).react(
        "bob",
        "r",
        "👍",
        "at://did:plc:nest/social.colibri.message/2",
    );
    story.delete("nest", "member/bob").post("bob", "3", "too late").delete("bob", "membership/m");
    let service = Service::live(&story);
    assert_eq!(
        service.published(),
        [
            "community_upserted self",
            "channel_created k",
            "member_pending bob",
            "member_joined bob",
            "message 1 \"hello\"",
            "message 2 \"hello yourself\"",
            "thread_updated at://did:plc:bob/social.colibri.message/1",
            "reaction_added 👍 r",
            "member_left bob",
            "community_deleted self *bob",
            "member_pending bob",
            "member_left bob",
            "community_deleted self *bob",
        ],
        "N30"
    );
    let shown = nth_frame(&service, 5);
    assert_eq!(shown["channel"], "k", "N06: by its key");
    assert_eq!(shown["channel_uri"], HALL);
    assert_eq!((&shown["parent"], &shown["parent_message"]["text"]), (&json!(first), &json!("hello")));
    assert_eq!(nth_frame(&service, 6)["channel"], "k", "N06");
    let pending = nth_frame(&service, 2);
    assert_eq!(pending["membership_uri"], "at://did:plc:bob/social.colibri.membership/m");
    assert_eq!(service.visible_texts(), ["hello", "hello yourself"], "G8");
}

#[test]
fn n01_n02_the_two_forms_do_not_meet() {
    let mut story = Story::default();
    // alice's community of the old form asks for approval; mallory admits people to nest by records of her own.
    story.newest("nest").community("alice", true).join("bob", "alice");
    story.create("alice", "member/bob", member("bob", &[])).say("bob", "1", "admitted in the wrong place");
    story.create("carol", "membership/m", join_request("nest"));
    story.create(
        "nest",
        "approval/carol",
        json!({ "membership": "at://did:plc:carol/social.colibri.membership/m" }),
    );
    story.create("mallory", "member/carol", member("carol", &["owner"]));
    story.post("carol", "1", "approved in the wrong way");
    let service = Service::live(&story);
    assert!(service.visible_texts().is_empty());
    assert_eq!(listed(&service, PLACE), ["carol pending"]);
    assert_eq!(
        service.store.look("SELECT uri FROM held WHERE uri LIKE '%.member/%' ORDER BY uri").len(),
        2,
        "N02: held"
    );
    // An account with one of each form.
    story.create("nest", "community/c", json!({ "name": "Old", "requiresApprovalToJoin": false }));
    story.create("nest", "channel/o", json!({ "name": "o", "type": "text", "community": "c" }));
    story.create("carol", "membership/o", super::story::membership("nest"));
    story.create("carol", "message/2", message_in("o", "accepted by the old rules"));
    assert_eq!(Service::live(&story).visible_texts(), ["accepted by the old rules"]);
}

#[test]
fn n12_what_waits_for_an_admission() {
    let mut story = Story::default();
    story.newest("nest").ask_to_join("bob", "nest").post("bob", "1", "early").react("bob", "r", "👍", "1");
    let seen = story.frames.len();
    story.admit("nest", "bob", &[]);
    for is_read in [false, true] {
        let mut service = Service::new();
        service.batch(&story.frames[..2]);
        if is_read {
            was_read(&service, "nest");
        }
        story.frames[2..seen].iter().for_each(|frame| service.batch(std::slice::from_ref(frame)));
        assert!(service.visible_texts().is_empty());
        let held = service.store.look("SELECT waits_for FROM held ORDER BY uri");
        assert_eq!(held, [format!("{PLACE} did:plc:bob"), "1".into()]);
        service.batch(&story.frames[seen..]);
        assert_eq!(
            service.published()[3..],
            ["member_joined bob", "message 1 \"early\"", "reaction_added 👍 r"]
        );
        assert!(service.store.look("SELECT uri FROM held").is_empty());
    }
}

#[test]
fn n12_held_for_two_minutes_or_until_the_repository_is_read() {
    for (later, is_read, expected, why) in [
        (119, true, "1|0", "119 s after the membership"),
        (121, true, "0|1", "121 s after it"),
        (121, false, "1|0", "the community's repository was never read"),
    ] {
        let mut story = Story::default();
        story.newest("nest").ask_to_join("bob", "nest");
        let mut service = Service::live(&story);
        if is_read {
            was_read(&service, "nest");
        }
        service.now += (later - 1) * 1_000_000;
        let seen = story.frames.len();
        story.post("bob", "1", "is it time");
        service.batch(&story.frames[seen..]);
        let sql = "SELECT (SELECT count(*) FROM held), (SELECT count(*) FROM refusals WHERE reason = 'author_not_a_member')";
        assert_eq!(service.store.look(sql), [expected], "{why}");
    }
    // Without a membership nobody waits once the repository is read.
    let mut story = nest();
    let mut service = Service::live(&story);
    was_read(&service, "nest");
    let seen = story.frames.len();
    story.post("eve", "1", "a stranger");
    service.batch(&story.frames[seen..]);
    assert!(service.store.look("SELECT uri FROM held").is_empty());
}

#[test]
fn n16_whoever_is_admitted_is_read_again() {
    let mut story = Story::default();
    story.newest("nest").ask_to_join("bob", "nest");
    let mut service = Service::live(&story);
    was_read(&service, "bob");
    let seen = story.frames.len();
    story.admit("nest", "bob", &[]).admit("nest", "kim", &[]);
    service.batch(&story.frames[seen..]);
    let due =
        "SELECT did, reason, next_attempt_at IS NOT NULL FROM repos WHERE did <> 'did:plc:nest' ORDER BY did";
    assert_eq!(service.store.look(due), ["did:plc:bob|gate|1", "did:plc:kim|new|1"]);
    let once = "SELECT next_attempt_at = strftime('%Y-%m-%dT%H:%M:%fZ', checked_at, '+60 seconds') FROM repos WHERE did = 'did:plc:bob'";
    assert_eq!(service.store.look(once), ["1"], "at most once a minute");
    // A change of roles admits nobody.
    was_read(&service, "bob");
    let seen = story.frames.len();
    story.update("nest", "member/bob", member("bob", &["mod"]));
    service.batch(&story.frames[seen..]);
    assert_eq!(service.store.look(due)[0], "did:plc:bob|gate|0");
}

#[test]
fn n16_one_of_two_admissions_is_as_good_as_both() {
    let mut story = nest();
    let before = story.frames.len();
    story.create("nest", "member/again", member("bob", &["mod"])).delete("nest", "member/bob");
    story.update("nest", "member/again", member("bob", &[])).post("bob", "1", "still here");
    let service = Service::live(&story);
    assert_eq!(service.published()[before - 2..], ["message 1 \"still here\""], "nobody left, nobody joined");
}

#[test]
fn n17_leaving_counts_at_once_whatever_comes_first() {
    let mut story = nest();
    story.delete("bob", "membership/m");
    let mut service = Service::live(&story);
    assert_eq!(service.published()[4..], ["member_left bob", "community_deleted self *bob"]);
    assert!(listed(&service, PLACE).is_empty());
    assert!(joined(&service, "bob").is_empty());
    let announced = service.published().len();
    let seen = story.frames.len();
    story.delete("nest", "member/bob").post("bob", "1", "gone");
    service.batch(&story.frames[seen..]);
    assert_eq!(
        service.published().len(),
        announced,
        "N30: the program that deletes it is late, and publishes nothing new"
    );

    // The admission comes after the farewell that it does not know of.
    let mut late = Story::default();
    late.newest("nest").ask_to_join("bob", "nest").delete("bob", "membership/m").admit("nest", "bob", &[]);
    let service = Service::live(&late);
    assert_eq!(
        service.published()[2..],
        ["member_pending bob", "member_left bob", "community_deleted self *bob"]
    );
    // Nor of one that was never seen.
    let mut unseen = Story::default();
    unseen.newest("nest").admit("nest", "bob", &[]).delete("bob", "membership/m");
    let service = Service::live(&unseen);
    assert_eq!(
        service.published()[2..],
        ["member_joined bob", "member_left bob", "community_deleted self *bob"]
    );
    assert!(nth_frame(&service, 2).get("membership_uri").is_none(), "N30: left out");
    // Written again, it is as if nothing had been.
    unseen.ask_to_join("bob", "nest");
    assert_eq!(Service::live(&unseen).published()[5..], ["member_joined bob"]);
}

#[test]
fn n04_who_is_listed_and_where() {
    let mut story = nest();
    story.ask_to_join("carol", "nest").admit("nest", "dave", &["owner"]).ask_to_join("eve", "nest");
    let mut service = Service::live(&story);
    assert_eq!(listed(&service, PLACE), ["bob approved", "dave approved", "carol pending", "eve pending"]);
    assert_eq!(joined(&service, "bob"), ["did:plc:nest/self"]);
    assert!(joined(&service, "carol").is_empty(), "not who waits");
    let seen = story.frames.len();
    story.admit("nest", "nest", &[]);
    service.batch(&story.frames[seen..]);
    assert_eq!(listed(&service, PLACE)[..2], ["nest owner", "bob approved"]);
    assert_eq!(service.decide(Measure::Ban(uri(PLACE), did("bob"), None)), Ruling::Made);
    assert_eq!(listed(&service, PLACE)[1], "dave approved");
    assert_eq!(service.decide(Measure::Unban(uri(PLACE), did("bob"))), Ruling::Made);
    assert_eq!(service.decide(Measure::Ban(uri(PLACE), did("nest"), None)), Ruling::IsOwner);
    let events = service.published();
    assert_eq!(events[events.len() - 2..], ["member_left bob", "member_joined bob"]);
}

#[test]
fn n41_a_kick_ends_what_admitted() {
    let story = nest();
    let mut service = Service::live(&story);
    assert_eq!(service.decide(Measure::Kick(uri(PLACE), did("bob"))), Ruling::Made);
    assert_eq!(service.published()[4..], ["member_left bob", "community_deleted self *bob"]);
    service.batch(&story.frames);
    assert!(listed(&service, PLACE).is_empty(), "nor does a repetition bring it back");
    assert_eq!(service.decide(Measure::Kick(uri(PLACE), did("bob"))), Ruling::NothingThere);
    let mut again = Story { frames: story.frames.clone() };
    let seen = again.frames.len();
    again.create("nest", "member/anew", member("bob", &[]));
    service.batch(&again.frames[seen..]);
    assert_eq!(listed(&service, PLACE), ["bob approved"]);
}

#[test]
fn i51_i52_accounts_come_and_go() {
    let mut story = nest();
    story.post("bob", "1", "hello");
    let seen = story.frames.len();
    super::pipeline::account(&mut story, "bob", false, "deactivated");
    super::pipeline::account(&mut story, "bob", true, "");
    super::pipeline::account(&mut story, "nest", false, "deactivated");
    super::pipeline::account(&mut story, "nest", true, "");
    let service = Service::live(&story);
    let events: Vec<_> = service.published()[5..].to_vec();
    assert_eq!(
        events,
        [
            "message_deleted 1",
            "member_left bob",
            "member_joined bob",
            "community_deleted self",
            "community_upserted self"
        ]
    );
    story.frames.truncate(seen);
    super::pipeline::account(&mut story, "nest", false, "deleted");
    let service = Service::live(&story);
    for table in ["communities", "members", "roles", "channels"] {
        assert!(service.store.look(&format!("SELECT uri FROM {table}")).is_empty(), "I52: {table}");
    }
}

#[test]
fn n05_n15_voice_follows_the_lists() {
    let mut story = nest();
    story.admit("nest", "dave", &["owner"]).admit("nest", "mo", &["mod"]).ask_to_join("carol", "nest");
    let mut channel = newest_channel("social.colibri.channel.voice");
    story.create("nest", "channel/v", channel.clone());
    let announced = |story: &Story| -> Vec<&'static str> {
        let service = Service::live(story);
        let people = ["bob", "dave", "mo", "carol", "eve"].map(did);
        let voice = uri("at://did:plc:nest/social.colibri.channel/v");
        let set =
            block_on(facts::right_to_be_in(&service.store, &voice, &people, Micros(service.now))).unwrap();
        people
            .iter()
            .map(|one| {
                may_be_in(&set, one, false, &voice, None).map_or_else(VoiceRefusal::text, |()| "welcome")
            })
            .collect()
    };
    const NO: &str = "Not allowed in this voice channel";
    assert_eq!(announced(&story), ["welcome", "welcome", "welcome", NO, NO]);
    channel["allowedRoles"] = json!(["mod"]);
    story.update("nest", "channel/v", channel.clone());
    assert_eq!(announced(&story), [NO, "welcome", "welcome", NO, NO], "a protected role passes");
    let service = Service::live(&story);
    assert_eq!(
        service.published().last().unwrap(),
        "channel_created v",
        "N15: who may not be there has to leave"
    );
    channel["ownerOnly"] = json!(true);
    story.update("nest", "channel/v", channel);
    assert_eq!(announced(&story), [NO, "welcome", NO, NO, NO]);
    story.delete("nest", "role/owner");
    assert_eq!(announced(&story), [NO, NO, NO, NO, NO], "N20: a role that is gone says nothing");
    story.create("nest", "role/owner", role(100, &[], true));
    assert_eq!(announced(&story), [NO, "welcome", NO, NO, NO]);
}

#[test]
fn n31_what_clients_of_march_do_not_show_is_not_told() {
    let mut story = nest();
    let before = Service::live(&story).published().len();
    story.update("nest", "member/bob", member("bob", &["mod"])).update(
        "nest",
        "role/mod",
        role(60, &[], false),
    );
    let mut channel = newest_channel("social.colibri.channel.text");
    channel["allowedMembers"] = json!(["did:plc:bob"]);
    channel["linkEmbeds"] = json!(false);
    story.update("nest", "channel/k", channel);
    let record = json!({ "name": "Nest", "description": "", "categoryOrder": [], "requiresApprovalToJoin": true,
        "linkEmbeds": false, "appview": "did:web:example.com" });
    story.update("nest", "community/self", record);
    let service = Service::live(&story);
    assert_eq!(service.published().len(), before);
    assert_eq!(service.store.look("SELECT link_embeds, appview FROM communities"), ["0|did:web:example.com"]);
    assert_eq!(
        service.store.look("SELECT allowed_members, link_embeds FROM channels"),
        ["[\"did:plc:bob\"]|0"]
    );
}

const FIRST: &str = "at://did:plc:bob/social.colibri.message/1";

#[test]
fn n21_a_ban_by_record() {
    let mut story = nest();
    story.post("bob", "1", "hello").create("nest", "moderation/1", moderation("ban", "did:plc:bob"));
    story.post("bob", "2", "still here?").update("bob", "message/1", message_in(HALL, "edited"));
    let seen = story.frames.len();
    let mut service = Service::live(&story);
    assert_eq!(service.published()[5..], ["message_deleted 1", "member_left bob"]);
    assert!(listed(&service, PLACE).is_empty() && joined(&service, "bob").is_empty());
    assert_eq!(service.store.look("SELECT hidden FROM messages"), ["2"]);
    // The admission goes a moment later, and comes back with the end of the ban.
    story.delete("nest", "member/bob").create("nest", "moderation/2", moderation("unban", "did:plc:bob"));
    story.admit("nest", "bob", &[]);
    service.batch(&story.frames[seen..]);
    assert_eq!(
        service.published()[7..],
        ["member_pending bob", "member_joined bob"],
        "N30: each change once"
    );
    assert_eq!(service.store.look("SELECT hidden FROM messages"), ["0"], "what was hidden is back, untold");
}

#[test]
fn n21_the_highest_key_decides_whatever_the_order() {
    let records = [("1", "ban"), ("2", "unban"), ("3", "ban")];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut story = nest();
        for at in order {
            let (rkey, action) = records[at];
            story.create("nest", &format!("moderation/{rkey}"), moderation(action, "did:plc:bob"));
        }
        let banned = |story: &Story| Service::live(story).store.look("SELECT by_record FROM bans");
        assert_eq!(banned(&story), ["1"], "{order:?}");
        story.delete("nest", "moderation/3");
        assert!(banned(&story).is_empty(), "{order:?}: a deletion takes its effect away");
        story.update("nest", "moderation/2", moderation("ban", "did:plc:carol"));
        assert_eq!(banned(&story), ["1", "1"], "{order:?}: an update is another word");
    }
}

#[test]
fn n21_records_count_in_their_own_community_only() {
    let mut story = nest();
    story.newest("other").community("alice", false).create("bob", "membership/a", membership("alice"));
    story.create("bob", "message/9", message_in("at://did:plc:alice/social.colibri.channel/k", "at alice's"));
    story.post("bob", "1", "hello");
    for who in ["other", "alice", "bob"] {
        story.create(who, "moderation/1", moderation("ban", "did:plc:bob"));
        story.create(who, "moderation/2", moderation("hideMessage", FIRST));
        let elsewhere = "at://did:plc:bob/social.colibri.message/9";
        story.create(who, "moderation/3", moderation("hideMessage", elsewhere));
    }
    story.create("nest", "moderation/5", moderation("ban", "did:plc:nest"));
    story.create("nest", "moderation/6", moderation("kick", "did:plc:bob"));
    let service = Service::live(&story);
    assert_eq!(service.visible_texts(), ["hello", "at alice's"]);
    assert_eq!(listed(&service, PLACE), ["bob approved"], "a kick alone says nothing");
}

#[test]
fn n21_hidden_and_shown_again_whatever_comes_first() {
    let mut story = nest();
    story.create("nest", "moderation/1", moderation("hideMessage", FIRST));
    story.post("bob", "1", "hidden from the start").update("bob", "message/1", message_in(HALL, "edited"));
    story.create("nest", "moderation/2", moderation("unhideMessage", FIRST)).react("bob", "r", "👍", FIRST);
    story.create("nest", "moderation/3", moderation("hideMessage", FIRST)).delete("nest", "moderation/3");
    let mut service = Service::live(&story);
    let expected =
        ["message 1 \"edited\"", "reaction_added 👍 r", "message_deleted 1", "message 1 \"edited\""];
    assert_eq!(service.published()[4..], expected);
    // Beside a block of the service's own: each lifts only its own.
    assert_eq!(service.decide(Measure::Block(uri(FIRST))), Ruling::Made);
    let seen = story.frames.len();
    story.create("nest", "moderation/4", moderation("hideMessage", FIRST)).delete("nest", "moderation/4");
    service.batch(&story.frames[seen..]);
    assert!(service.visible_texts().is_empty());
    assert_eq!(service.decide(Measure::Unblock(uri(FIRST))), Ruling::Made);
    assert_eq!(service.visible_texts(), ["edited"]);
}

#[test]
fn n53_n54_previews_are_hidden_for_the_newest_client_only() {
    let links = |action: &str, links: &[&str]| {
        let mut record = moderation(action, FIRST);
        record["embeds"] = json!(links);
        record
    };
    let (a, b) = ("https://a.test/", "https://b.test/");
    let mut story = nest();
    // Before the message, and in the wrong order.
    story.create("nest", "moderation/2", links("unsuppressEmbeds", &[b]));
    story.create("nest", "moderation/1", links("suppressEmbeds", &[b, a]));
    story.post("bob", "1", "see");
    story.create("nest", "moderation/3", links("suppressEmbeds", &[b]));
    story.create("nest", "moderation/4", links("suppressEmbeds", &[b])); // changes nothing
    story.create("bob", "moderation/9", links("suppressEmbeds", &["https://c.test/"]));
    story.delete("nest", "moderation/1");
    let mut own = message_in(HALL, "see");
    own["suppressedEmbeds"] = json!([a]);
    story.update("bob", "message/1", own);
    let service = Service::live(&story);
    let frames: Vec<serde_json::Value> = service.announced.iter().map(newest_frame).collect();
    let of_messages =
        frames.iter().filter(|frame| frame["type"] == "message_event").map(|frame| &frame["data"]);
    let shown: Vec<_> = of_messages
        .map(|data| {
            (data["event"].as_str().unwrap(), &data["suppressedEmbeds"], &data["modSuppressedEmbeds"])
        })
        .collect();
    let nothing = serde_json::Value::Null;
    assert_eq!(
        shown,
        [
            ("upsert", &json!([]), &json!([a])),
            ("embeds", &nothing, &json!([a, b])),
            ("embeds", &nothing, &json!([b])),
            ("upsert", &json!([a]), &json!([b])),
        ]
    );
    let of_march = service.announced.iter().map(frame).filter(|frame| frame["type"] == "message");
    assert_eq!(of_march.count(), 1, "N53, N54: this API has no previews");
    assert_eq!(service.store.look("SELECT edited FROM messages"), ["0"], "N53");
}

/// N162, N168: who asks, and how it ends, in both forms.
#[test]
fn n168_applications() {
    let mut story = nest();
    story.ask_to_join("carol", "nest").ask_to_join("dora", "nest").delete("dora", "membership/m");
    story.create("nest", "moderation/1", moderation("ban", "did:plc:carol"));
    story.create("nest", "moderation/2", moderation("unban", "did:plc:carol"));
    story.delete("nest", "member/bob").community("alice", false).create(
        "bob",
        "membership/a",
        membership("alice"),
    );
    let service = Service::live(&story);
    let said = service.announced.iter().filter(|said| said.audience == Audience::Approvers).map(newest_frame);
    let said: Vec<String> = said
        .map(|frame| {
            let (data, known) = (&frame["data"], |name: &str| frame["data"][name].is_string());
            assert_eq!(data["community"], PLACE);
            let is_new = data["event"] == "create";
            assert_eq!((known("handle"), known("createdAt")), (is_new, is_new));
            format!("{} {} {}", data["event"], data["did"], known("membership")).replace('"', "")
        })
        .collect();
    assert_eq!(
        said,
        [
            "create did:plc:bob true",
            "resolve did:plc:bob true",
            "create did:plc:carol true",
            "create did:plc:dora true",
            "resolve did:plc:dora false",
            "resolve did:plc:carol true",
            "create did:plc:carol true",
            "create did:plc:bob true",
        ]
    );
}

/// N168: what somebody does on one device, their other devices learn.
#[test]
fn n168_what_a_person_mutes_and_reads() {
    let mut story = nest();
    story.create("bob", "actor.mute/m", json!({ "subject": HALL }));
    story.update("bob", "actor.mute/m", json!({ "subject": HALL })); // changes nothing
    story.update("bob", "actor.mute/m", json!({ "subject": PLACE })).delete("bob", "actor.mute/m");
    let read = |time: &str| json!({ "channel": HALL, "cursor": time });
    story.create("bob", "channel.read/k", read("2026-02-01T12:00:02Z"));
    story.update("bob", "channel.read/k", read("2026-02-01T12:00:01Z")); // moves nothing
    let service = Service::live(&story);
    let private = service.announced.iter().filter(|said| said.scope == Scope::People);
    let frames: Vec<serde_json::Value> =
        private.filter(|said| said.audience == Audience::Private(did("bob"))).map(newest_frame).collect();
    let mute = |event: &str, subject: &str| json!({ "type": "mute_event", "data": { "event": event, "subject": subject } });
    let expected = [
        mute("muted", HALL),
        mute("unmuted", HALL),
        mute("muted", PLACE),
        mute("unmuted", PLACE),
        json!({ "type": "seen_event", "data": { "event": "channel_read", "channelUri": HALL } }),
    ];
    assert_eq!(frames, expected);
}

#[test]
fn n21_rest_and_records_lift_only_their_own() {
    let mut story = nest();
    story.create("nest", "moderation/1", moderation("ban", "did:plc:bob"));
    let mut service = Service::live(&story);
    let ban = || Measure::Ban(uri(PLACE), did("bob"), None);
    let unban = || Measure::Unban(uri(PLACE), did("bob"));
    let announced = service.published().len();
    assert_eq!(service.decide(unban()), Ruling::ByRecord);
    assert_eq!(service.decide(ban()), Ruling::Made);
    let source = |service: &Service| {
        let (bans, _) = block_on(bans::bans(&service.store, "", PLACE, None, 9)).unwrap();
        bans.into_iter().map(|ban| ban.source).collect::<Vec<_>>()
    };
    assert_eq!(source(&service), [Some("both".to_owned())]);
    assert_eq!(service.decide(unban()), Ruling::Made);
    assert_eq!(source(&service), [Some("record".to_owned())]);
    assert_eq!(service.published().len(), announced, "banned all the time");
    assert_eq!(service.decide(ban()), Ruling::Made);
    let seen = story.frames.len();
    story.delete("nest", "moderation/1");
    service.batch(&story.frames[seen..]);
    assert_eq!((source(&service), service.published().len()), (vec![None], announced));
    assert_eq!(service.decide(unban()), Ruling::Made);
    assert_eq!(service.published()[announced..], ["member_joined bob"]);
}

#[test]
fn n22_n23_who_may_moderate_by_their_roles() {
    let mut story = nest();
    story.admit("nest", "olga", &["owner"]).admit("nest", "moe", &["mod"]).admit("nest", "pat", &["high"]);
    story.create("nest", "role/high", role(60, &["member.ban", "member.kick"], false));
    story.post("bob", "1", "hello").post("olga", "1", "mine");
    let mut service = Service::live(&story);
    let ban = |who: &str| Measure::Ban(uri(PLACE), did(who), None);
    let moderators = || Measure::Moderators(uri(PLACE), [did("eve")].into());
    for (caller, what, expected, why) in [
        ("bob", ban("moe"), Ruling::Forbidden, "no role"),
        ("eve", ban("bob"), Ruling::Forbidden, "no member"),
        ("moe", Measure::Kick(uri(PLACE), did("bob")), Ruling::Forbidden, "his role permits bans, no kicks"),
        ("moe", ban("pat"), Ruling::Forbidden, "pat's role is above his"),
        ("moe", ban("olga"), Ruling::Forbidden, "a protected role is above all"),
        ("moe", ban("nest"), Ruling::IsOwner, "nobody acts on the account"),
        ("moe", moderators(), Ruling::Forbidden, "not his to say"),
        ("moe", Measure::Block(uri(FIRST)), Ruling::Made, "message.hide"),
        ("pat", Measure::Unblock(uri(FIRST)), Ruling::Forbidden, "not in pat's role"),
        ("moe", Measure::Unblock(uri(FIRST)), Ruling::Made, "message.hide"),
        ("pat", ban("moe"), Ruling::Made, "above him"),
        ("moe", Measure::Block(uri(FIRST)), Ruling::Forbidden, "banned"),
        ("moe", ban("bob"), Ruling::Forbidden, "banned"),
        (
            "olga",
            Measure::Unban(uri(PLACE), did("moe")),
            Ruling::Made,
            "a protected role has all permissions",
        ),
        ("eve", ban("olga"), Ruling::Forbidden, "a stranger"),
        ("nest", ban("olga"), Ruling::Made, "the account acts on everybody"),
    ] {
        assert_eq!(service.try_decide(person(caller), what).unwrap(), expected, "{why}");
    }
    service.decide(moderators());
    service.decide(Measure::Unban(uri(PLACE), did("olga")));
    assert_eq!(service.try_decide(person("eve"), ban("olga")).unwrap(), Ruling::Forbidden, "N23: protected");
    assert_eq!(service.try_decide(person("eve"), ban("bob")).unwrap(), Ruling::Made, "X20");
    let mut change = |record: serde_json::Value| {
        let seen = story.frames.len();
        story.update("nest", "role/mod", record);
        service.batch(&story.frames[seen..]);
        let ruling = service.try_decide(person("moe"), Measure::Block(uri(FIRST))).unwrap();
        service.decide(Measure::Unblock(uri(FIRST)));
        ruling
    };
    let mut exception = role(50, &[], false);
    exception["channelOverrides"] = json!([{ "channel": "k", "allow": ["message.hide"] }]);
    assert_eq!(change(exception.clone()), Ruling::Made, "allowed in this channel");
    exception["permissions"] = json!(["message.hide"]);
    exception["channelOverrides"][0]["deny"] = json!(["message.hide"]);
    assert_eq!(change(exception), Ruling::Forbidden, "what is denied wins");
}

/// A profile of the collection `kind`.
fn looks(name: &str) -> serde_json::Value {
    json!({ "displayName": name, "description": format!("{name} says") })
}

/// How bob looks, and what Bluesky says meanwhile.
fn bob_looks(service: &Service) -> Vec<String> {
    service.store.look(
        "SELECT coalesce(display_name, '-'), coalesce(description, '-'), coalesce(avatar_cid, '-'),
             coalesce(bluesky ->> 'display_name', '-') FROM people WHERE did = 'did:plc:bob'",
    )
}

/// Whether bob is a bot: as the index keeps it, and in the events about him so far.
fn bob_is_a_bot(service: &Service) -> (Vec<String>, Vec<bool>) {
    let said = service.announced.iter().map(super::story::frame);
    let said = said.filter(|event| event["type"] == "user_profile_updated");
    let kept = service.store.look("SELECT is_bot FROM people WHERE did = 'did:plc:bob'");
    (kept, said.map(|event| event["is_bot"] == true).collect())
}

#[test]
fn i36_whoever_labels_themselves_is_a_bot() {
    let labelled = |values: serde_json::Value| {
        let mut record = looks("Bob");
        record["labels"] = json!({ "$type": "com.atproto.label.defs#selfLabels", "values": values });
        record
    };
    let bot = labelled(json!([{ "val": "!no-unauthenticated" }, { "val": "bot" }]));
    let mut story = nest();
    story.profile("bob", looks("Bob"));
    story.profile("bob", bot.clone());
    let kept = |is: &str| vec![is.to_owned()];
    assert_eq!(bob_is_a_bot(&Service::live(&story)), (kept("1"), vec![false, true]), "E16: it is shown");
    // A profile of their own, which says something else, is no way out of it, whatever it shows.
    let mut own = labelled(json!([]));
    own["displayName"] = json!("Own");
    story.create("bob", "actor.profile/self", own.clone());
    own["syncBluesky"] = json!(true);
    story.update("bob", "actor.profile/self", own);
    let service = Service::live(&story);
    assert_eq!(bob_is_a_bot(&service), (kept("1"), vec![false, true, true, true]));
    // The same once more: the stream repeats what it brought.
    let last = story.frames.clone();
    story.frames.extend(last);
    assert_eq!(bob_is_a_bot(&Service::live(&story)), (kept("1"), vec![false, true, true, true]));
    let many: Vec<_> =
        (0..10).map(|n| json!({ "val": n.to_string() })).chain([json!({ "val": "bot" })]).collect();
    for labels in [json!([]), json!(many), json!([7, { "val": "bot" }]), json!("bot")] {
        let mut other = story.clone();
        other.profile("bob", labelled(labels.clone()));
        assert_eq!(bob_is_a_bot(&Service::live(&other)).0, kept("0"), "{labels}");
    }
    story.profile("bob", bot);
    story.delete("bob", "actor.profile/self");
    super::pipeline::profile(&mut story, "delete", "bob", "self", &json!({}));
    assert_eq!(bob_is_a_bot(&Service::live(&story)).0, kept("0"), "the profile is gone");
}

#[test]
fn n50_a_profile_of_their_own() {
    let mut story = nest();
    story.profile("bob", looks("Bluesky"));
    let announced = Service::live(&story).published().len();
    let mut own = looks("Own");
    own["theme"] = json!({ "accentColor": "#ff8800" });
    own["avatar"] =
        json!({ "$type": "blob", "ref": { "$link": "bafyown" }, "mimeType": "image/png", "size": 1 });
    story.create("bob", "actor.profile/self", own.clone());
    let service = Service::live(&story);
    assert_eq!(bob_looks(&service), ["Own|Own says|bafyown|Bluesky"]);
    assert_eq!(service.published()[announced..], ["user_profile_updated bob \"Own\""]);
    // Meanwhile Bluesky says something else, which nobody sees.
    story.profile("bob", looks("Newer"));
    let service = Service::live(&story);
    assert_eq!(bob_looks(&service), ["Own|Own says|bafyown|Newer"]);
    assert_eq!(service.published()[announced..].len(), 1);
    // A field that is gone is absent.
    story.update("bob", "actor.profile/self", json!({ "displayName": "Own" }));
    assert_eq!(bob_looks(&Service::live(&story)), ["Own|-|-|Newer"]);
    own["syncBluesky"] = json!(true);
    story.update("bob", "actor.profile/self", own);
    assert_eq!(bob_looks(&Service::live(&story)), ["Newer|Newer says|-|-"], "theirs is what Bluesky says");
    story.update("bob", "actor.profile/self", looks("Again")).delete("bob", "actor.profile/self");
    let service = Service::live(&story);
    assert_eq!(bob_looks(&service), ["Newer|Newer says|-|-"]);
    assert!(service.store.look("SELECT uri FROM actor_profiles").is_empty());
    // One that is not `self` says nothing; one of somebody unknown makes them known (I37).
    story.create("bob", "actor.profile/other", looks("Other")).create(
        "zoe",
        "actor.profile/self",
        looks("Zoe"),
    );
    let service = Service::live(&story);
    assert_eq!(bob_looks(&service), ["Newer|Newer says|-|-"]);
    assert_eq!(service.store.look("SELECT display_name FROM people WHERE did = 'did:plc:zoe'"), ["Zoe"]);
    // A deleted account takes it away.
    story.create("bob", "actor.profile/self", looks("Last"));
    super::pipeline::account(&mut story, "bob", false, "deleted");
    let service = Service::live(&story);
    assert_eq!(bob_looks(&service), ["Newer|Newer says|-|-"]);
    assert_eq!(service.store.look("SELECT did FROM actor_profiles"), ["did:plc:zoe"]);
}

#[test]
fn n51_mutes_and_preferences_are_kept() {
    let mut story = nest();
    let announced = Service::live(&story).published().len();
    story.create("bob", "actor.mute/1", json!({ "subject": HALL })).create(
        "bob",
        "actor.mute/2",
        json!({ "subject": PLACE }),
    );
    story.create("bob", "actor.mute/3", json!({ "subject": FIRST }));
    story.create("bob", "actor.notificationPreference/self", json!({ "level": "mentionsAndReplies" }));
    story
        .create("bob", "actor.notificationPreference/x", json!({ "level": "all" }))
        .delete("bob", "actor.mute/2");
    let service = Service::live(&story);
    assert_eq!(service.store.look("SELECT did, subject FROM mutes"), [format!("did:plc:bob|{HALL}")]);
    assert_eq!(service.store.look("SELECT level FROM preferences"), ["mentionsAndReplies"]);
    assert_eq!(service.published().len(), announced);
}

#[test]
fn n52_a_read_mark_that_names_a_message() {
    let mut story = nest();
    story.post("bob", "1", "hello");
    // The time of this key is 2026-03-01T12:00:00Z.
    let tid = "at://did:plc:bob/social.colibri.message/3mfyouuy62222";
    let mark = |cursor: &str| json!({ "channel": HALL, "cursor": cursor });
    let at = |story: &Story| {
        let service = Service::live(story);
        service.store.look(
            "SELECT r.cursor_at = m.sort_at, coalesce(r.cursor_uri, '-') FROM channel_reads r, messages m",
        )
    };
    story.create("bob", "channel.read/k", mark(FIRST));
    assert_eq!(at(&story), [format!("1|{FIRST}")], "where the message is");
    story.update("bob", "channel.read/k", mark("2020-01-01T00:00:00Z"));
    assert_eq!(at(&story), ["1|-"], "never back");
    story.update("bob", "channel.read/k", mark(tid));
    assert_eq!(at(&story).len(), 1, "one that is not known");
    let seen = Service::live(&story).store.look("SELECT count(*) FROM refusals");
    story.update("bob", "channel.read/k", mark("at://did:plc:bob/social.colibri.message/nowhere"));
    story.update("bob", "channel.read/k", mark(HALL));
    let service = Service::live(&story);
    assert_eq!(
        (seen, service.store.look("SELECT count(*) FROM refusals")),
        (vec!["0".into()], vec!["2".into()])
    );
    assert_eq!(service.store.look("SELECT cursor_uri FROM channel_reads"), [tid]);
}

#[test]
fn n53_previews_are_no_news() {
    let mut story = nest();
    let mut message = message_in(HALL, "https://example.com");
    message["suppressedEmbeds"] = json!(["https://example.com"]);
    story.post("bob", "1", "https://example.com");
    let announced = Service::live(&story).published().len();
    story.update("bob", "message/1", message.clone());
    let service = Service::live(&story);
    assert_eq!(service.published().len(), announced);
    let stored = "SELECT suppressed_embeds, edited FROM messages";
    assert_eq!(service.store.look(stored), ["[\"https://example.com\"]|0"]);
    message["suppressedEmbeds"] = json!([7]);
    story.update("bob", "message/1", message);
    assert_eq!(
        Service::live(&story).store.look("SELECT coalesce(suppressed_embeds, '-') FROM messages"),
        ["-"]
    );
}

#[test]
fn n07_a_community_that_moved_leaves_the_lists() {
    let mut story = nest();
    story.community("alice", false).join("carol", "alice");
    let old = "at://did:plc:alice/social.colibri.community/c";
    let lists = |story: &Story| {
        let service = Service::live(story);
        let of = block_on(communities::of_person(&service.store, &did("alice"), false)).unwrap();
        (of.owned.len(), joined(&service, "carol").len())
    };
    let record = json!({ "name": "c", "description": "", "requiresApprovalToJoin": false });
    let (mut from, mut to) = (record.clone(), record);
    to["migratedFrom"] = json!(old);
    from["migratedTo"] = json!(PLACE);
    assert_eq!(lists(&story), (1, 1));
    story.update("nest", "community/self", to);
    assert_eq!(lists(&story), (1, 1), "only a claim");
    story.update("alice", "community/c", from);
    assert_eq!(lists(&story), (0, 0), "both say so");
    let service = Service::live(&story);
    assert!(
        block_on(communities::community(&service.store, old)).unwrap().is_some(),
        "by its address as before"
    );
    story.delete("nest", "community/self");
    assert_eq!(lists(&story), (1, 1), "what took its place is gone");
}

#[test]
fn n21_i72_a_channel_that_returns_shows_nothing_of_who_is_banned_meanwhile() {
    let mut story = nest();
    story.post("bob", "1", "hello").delete("nest", "channel/k").create(
        "nest",
        "moderation/1",
        moderation("ban", "did:plc:bob"),
    );
    story.create("nest", "channel/k", newest_channel("social.colibri.channel.text"));
    let hidden = "SELECT hidden FROM messages";
    assert_eq!(Service::live(&story).store.look(hidden), ["2"]);
    story.delete("nest", "channel/k").create("nest", "moderation/2", moderation("unban", "did:plc:bob"));
    story.create("nest", "channel/k", newest_channel("social.colibri.channel.text"));
    assert_eq!(Service::live(&story).store.look(hidden), ["0"]);
}

/// What the newest client gets: the type, `event`, and who or what it is about.
fn newest_lines(service: &Service) -> Vec<String> {
    let line = |frame: serde_json::Value| {
        let data = &frame["data"];
        let about = ["uri", "memberDid"].into_iter().find_map(|name| data[name].as_str());
        let about = about.or(data["member"]["did"].as_str()).unwrap_or_default();
        let about = about.rsplit(['/', ':']).next().unwrap_or_default().to_owned();
        let words = [&frame["type"], &data["event"]].map(|word| word.as_str().unwrap_or_default().to_owned());
        format!("{} {about}", words.join(" ").replace("_event", ""))
    };
    service.announced.iter().map(newest_frame).filter(|frame| !frame.is_null()).map(line).collect()
}

/// N162, N168: members learn who takes part, and nothing of who only asks to.
#[test]
fn n168_what_the_newest_client_learns_of_people() {
    let mut story = Story::default();
    story.newest("nest").ask_to_join("bob", "nest").admit("nest", "bob", &["mod"]).ask_to_join("eve", "nest");
    story.delete("eve", "membership/m").delete("bob", "membership/m");
    let service = Service::live(&story);
    assert_eq!(
        newest_lines(&service),
        [
            "community upsert self",
            "role upsert owner",
            "role upsert mod",
            "channel upsert k",
            "application create ", // these are for those who may admit people
            "member join bob",
            "application resolve ",
            "application create ",
            "application resolve ",
            "community delete self", // private, to eve; the newest client's sockets get it otherwise (N162)
            "member leave bob",
            "community delete self"
        ]
    );
    let join = newest_frame(&service.announced[6]);
    assert_eq!(join["data"]["member"]["roles"], json!(["at://did:plc:nest/social.colibri.role/mod"]));
    assert_eq!(join["data"]["membership"], "at://did:plc:bob/social.colibri.membership/m");
    assert_eq!(nth_frame(&service, 3)["type"], "member_joined");

    let mut open = Story::default();
    open.community("alice", false).join("bob", "alice").delete("bob", "membership/m");
    let lines = newest_lines(&Service::live(&open));
    assert_eq!(
        lines,
        [
            "community upsert c",
            "channel upsert k",
            "member join bob",
            "member leave bob",
            "community delete c"
        ],
        "in an open community whoever asks takes part"
    );
    let mut closed = Story::default();
    closed.community("alice", true).join("bob", "alice").delete("bob", "membership/m");
    assert_eq!(
        newest_lines(&Service::live(&closed)),
        ["community upsert c", "channel upsert k", "community delete c"],
        "A39: an application there would take a number that clients of March 2026 miss"
    );
}

/// N168, N169: what only the newest client shows is an event for it alone, and complete.
#[test]
fn n168_what_only_the_newest_client_shows() {
    let mut story = nest();
    let before = Service::live(&story).announced.len();
    let mut channel = newest_channel("social.colibri.channel.text");
    channel["allowedMembers"] = json!(["did:plc:bob"]);
    channel["allowedRoles"] = json!(["mod"]);
    story.update("nest", "channel/k", channel.clone());
    channel["name"] = json!("Other");
    story.update("nest", "channel/k", channel);
    let mut record =
        json!({ "name": "Nest", "description": "", "categoryOrder": [], "requiresApprovalToJoin": true });
    record["linkEmbeds"] = json!(false);
    story.update("nest", "community/self", record.clone());
    story.update("nest", "community/self", record);
    let service = Service::live(&story);
    let of = |n: usize| (frame(&service.announced[before + n]), newest_frame(&service.announced[before + n]));
    assert_eq!(service.announced.len(), before + 3, "no event for nothing");
    assert!(of(0).0.is_null() && !of(1).0.is_null() && of(2).0.is_null());
    assert_eq!(of(1).0.get("newest"), None, "what the March client gets is as it was");
    for (_, newest) in [of(0), of(1)] {
        assert_eq!(newest["data"]["allowedRoles"], json!(["at://did:plc:nest/social.colibri.role/mod"]));
        assert_eq!(newest["data"]["allowedMembers"], json!(["did:plc:bob"]));
    }
    assert_eq!(
        (&of(2).1["type"], &of(2).1["data"]["linkEmbeds"]),
        (&json!("community_event"), &json!(false))
    );
}

/// N168: roles, and whose they are.
#[test]
fn n168_roles_are_events_of_the_newest_client() {
    let mut story = nest();
    let before = Service::live(&story).announced.len();
    story.update("nest", "member/bob", member("bob", &["mod"]));
    story.update("nest", "member/bob", member("bob", &["mod"]));
    story.update("nest", "role/mod", role(60, &["member.ban"], false));
    story.update("nest", "role/mod", role(60, &["member.ban"], false));
    story.delete("nest", "role/mod");
    let service = Service::live(&story);
    assert_eq!(service.announced.len(), before + 3, "no event for nothing");
    let frames: Vec<_> = service.announced[before..].iter().map(newest_frame).collect();
    assert!(service.announced[before..].iter().all(|one| frame(one).is_null()), "N31");
    let uri = "at://did:plc:nest/social.colibri.role/mod";
    assert_eq!(frames[0]["data"]["event"], "roles_updated");
    assert_eq!(frames[0]["data"]["member"]["roles"], json!([uri]));
    let upsert = &frames[1]["data"];
    assert_eq!(
        (&upsert["event"], &upsert["uri"], &upsert["community"]),
        (&json!("upsert"), &json!(uri), &json!(PLACE))
    );
    assert_eq!((&upsert["position"], &upsert["permissions"]), (&json!(60), &json!(["member.ban"])));
    assert_eq!(
        frames[2],
        json!({ "type": "role_event", "data": { "event": "delete", "uri": uri, "community": PLACE } })
    );
    let protected = Service::live(&nest())
        .announced
        .iter()
        .map(newest_frame)
        .find(|one| one["data"]["protected"] == true);
    assert!(protected.unwrap()["data"]["permissions"].as_array().unwrap().len() > 15, "N22: all of them");
}
