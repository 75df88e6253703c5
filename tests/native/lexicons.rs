//! What the methods of the lexicons show (section 13), through the real SQL, of both forms.

use colibri_edge::storage::reads::lexicons::channels::{From, Which, messages, read_cursor, view};
use colibri_edge::storage::reads::lexicons::communities::{Named, Whole, members, of_member, whole};
use colibri_edge::storage::reads::lexicons::waiting::approvers;
use colibri_edge::storage::reads::lexicons::{mutes, person};
use colibri_edge::storage::reads::notifications::unread;
use colibri_edge::wire::ids::{AtUri, Rkey};
use colibri_edge::wire::time::Micros;
use colibri_edge::wire::views::Messages;
use futures::executor::block_on;
use serde_json::{Value, json};

use super::story::{
    HALL, PLACE, Service, Story, ban, block, did, message_in, moderation, newest_channel, role, uri,
};

const OLD: &str = "at://did:plc:alice/social.colibri.community/c";

/// A community of the newest form with an owner, a moderator and a member, beside one of the old form.
fn world() -> Story {
    let mut story = Story::default();
    story.newest("nest");
    for (who, roles) in [("olga", &["owner"][..]), ("moe", &["mod"]), ("bob", &[]), ("dora", &[])] {
        story.ask_to_join(who, "nest").admit("nest", who, roles);
    }
    story.ask_to_join("carol", "nest").community("alice", false);
    story.create("bob", "membership/o", super::story::membership("alice"));
    story
}

fn page(service: &Service, from: &From, limit: i64) -> Option<Messages> {
    block_on(messages(&service.store, HALL, from, Which::Visible, limit)).unwrap()
}

fn texts(page: &Messages) -> Vec<&str> {
    page.messages.iter().map(|message| message.text.as_str()).collect()
}

fn known(service: &Service, community: &str) -> Whole {
    match block_on(whole(&service.store, &uri(community), 50)).unwrap() {
        Named::Known(whole) => *whole,
        other => panic!("{other:?}"),
    }
}

#[test]
fn n160i_n187_pages_are_filled_after_filtering() {
    let mut story = world();
    // Sixty messages of somebody who is banned then, between a hundred others; times are their keys.
    for n in 0..160 {
        let who = if n % 8 < 3 { "dora" } else { "bob" };
        let record = json!({ "text": format!("{n}"), "channel": HALL, "createdAt": format!("2026-02-01T12:{:02}:{:02}Z", n / 60, n % 60) });
        story.create(who, &format!("message/m{n:03}"), record);
    }
    story.create("nest", "moderation/b", moderation("ban", "did:plc:dora"));
    let service = Service::live(&story);
    let (mut from, mut seen, mut pages) = (From::Newest, Vec::new(), 0);
    loop {
        let page = page(&service, &from, 30).unwrap();
        pages += 1;
        seen.extend(page.messages.iter().map(|message| message.text.clone()));
        let last = page.messages.last().map(|message| message.uri.rkey());
        assert_eq!(
            page.cursor.is_some(),
            page.messages.len() == 30 && seen.len() < 100,
            "a short page is the last"
        );
        match last.filter(|_| page.messages.len() == 30) {
            Some(key) => from = From::Key(key),
            None => break,
        }
    }
    let expected: Vec<String> = (0..160).rev().filter(|n| n % 8 >= 3).map(|n| n.to_string()).collect();
    assert_eq!((seen, pages), (expected, 4), "three full pages and a short one");
    let far = |key: &str| From::Key(Rkey::parse(key).unwrap());
    assert!(page(&service, &far("zzzz"), 30).is_none(), "no key of a message, and no time");
    assert!(texts(&page(&service, &far("3aaaaaaaaaaaa"), 30).unwrap()).len() <= 30, "a TID is a time");
    let other = block_on(messages(
        &service.store,
        "at://did:plc:x/social.colibri.channel/k",
        &From::Newest,
        Which::Visible,
        9,
    ));
    assert!(other.unwrap().unwrap().messages.is_empty(), "a channel that is not known is empty");
}

#[test]
fn n160i_n160j_what_is_hidden_is_hidden_everywhere() {
    let mut story = world();
    let said = |rkey: &str| format!("at://did:plc:bob/social.colibri.message/{rkey}");
    let answer = |parent: &str| {
        let mut record = message_in(HALL, "answer");
        record["parent"] = json!(parent);
        record
    };
    story.create("bob", "message/1", message_in(HALL, "one")).create(
        "bob",
        "message/2",
        message_in(HALL, "two"),
    );
    story.create("olga", "message/3", answer(&said("1"))).create("olga", "message/4", answer("2"));
    story.react("moe", "r", "👍", &said("1")).react("dora", "r", "👍", &said("1")).react(
        "dora",
        "s",
        "🌿",
        &said("1"),
    );
    story.create("nest", "moderation/b", moderation("ban", "did:plc:dora"));
    story.create("nest", "moderation/h", moderation("hideMessage", &said("2")));
    let mut service = Service::live(&story);
    let shown = page(&service, &From::Newest, 50).unwrap();
    let of = |rkey: &str| shown.messages.iter().find(|message| message.uri.rkey().as_str() == rkey);
    assert!(of("2").is_none(), "hidden");
    let parent = of("3").unwrap().parent.as_ref().unwrap();
    assert_eq!((parent.text.as_str(), parent.parent.is_none()), ("one", true));
    assert!(of("4").unwrap().parent.is_none(), "the parent is hidden");
    let reactions: Vec<_> =
        of("1").unwrap().reactions.iter().map(|one| (one.emoji.as_str(), one.count)).collect();
    assert_eq!(reactions, [("👍", 1)], "without those of whom a record bans");
    let all = block_on(messages(&service.store, HALL, &From::Newest, Which::All, 50)).unwrap().unwrap();
    assert_eq!(all.messages.len(), shown.messages.len() + 1, "who may hide messages sees them");
    // A ban by REST leaves what was said (R08), and a block hides it (R03).
    story.community("zoe", false);
    service.decide(block("bob", "1"));
    assert!(!texts(&page(&service, &From::Newest, 50).unwrap()).contains(&"one"));
}

#[test]
fn n171b_who_may_admit() {
    let mut story = world();
    story.create("nest", "role/door", role(10, &["approval.manage"], false));
    story.create("nest", "role/mod", role(50, &["message.hide"], false)).admit("nest", "pat", &["door"]);
    // Of two admissions the one with most roles counts.
    let two =
        json!({ "subject": "did:plc:dora", "roles": ["mod", "gone"], "joinedAt": "2026-03-01T12:00:00Z" });
    story.create("nest", "member/d2", two).update(
        "nest",
        "member/dora",
        json!({ "subject": "did:plc:dora", "roles": ["door"] }),
    );
    story.admit("nest", "eve", &["door"]).create("nest", "moderation/b", moderation("ban", "did:plc:eve"));
    let service = Service::live(&story);
    let people: Vec<_> =
        ["nest", "olga", "moe", "bob", "pat", "dora", "eve", "carol", "alice"].map(did).into();
    let of = |community: &str| {
        let found =
            block_on(approvers(&service.store, &uri(community), &people, Micros(service.now))).unwrap();
        found.iter().map(|did| did.to_string().replace("did:plc:", "")).collect::<Vec<_>>()
    };
    assert_eq!(of(PLACE), ["nest", "olga", "pat"]);
    assert_eq!(of(OLD), ["alice"]);
}

#[test]
fn n55_communities_in_a_persons_own_order() {
    let mut story = world();
    story.newest("attic").create("attic", "member/bob", json!({ "subject": "did:plc:bob", "roles": [] }));
    let order = |service: &Service| -> Vec<String> {
        let found = block_on(of_member(&service.store, &did("bob"), false)).unwrap();
        found.iter().map(|one| one.uri.authority().to_string().replace("did:plc:", "")).collect()
    };
    let by_name = order(&Service::live(&story));
    let said = |communities: Value| json!({ "status": "", "communities": communities });
    story.create("bob", "actor.data/other", said(json!(["did:plc:nest"])));
    assert_eq!(order(&Service::live(&story)), by_name, "only `self` counts");
    story.create("bob", "actor.data/self", said(json!(["did:plc:nobody", "c", "two words", "did:plc:nest"])));
    assert_eq!(order(&Service::live(&story)), ["alice", "nest", "attic"]);
    story.update("bob", "actor.data/self", said(json!("nonsense")));
    assert_eq!(order(&Service::live(&story)), by_name);
}

#[test]
fn n54_previews_that_a_community_hides() {
    let mut story = world();
    let said = "at://did:plc:bob/social.colibri.message/1";
    let links = |action: &str, links: Value| {
        let mut record = moderation(action, said);
        record["embeds"] = links;
        record
    };
    story.create("bob", "message/1", message_in(HALL, "one")).create(
        "bob",
        "message/2",
        message_in(HALL, "two"),
    );
    story.create("nest", "moderation/b", links("unsuppressEmbeds", json!(["https://b.test/"])));
    story.create(
        "nest",
        "moderation/a",
        links("suppressEmbeds", json!(["https://b.test/", "https://a.test/"])),
    );
    // Nobody else's word counts, and none that says nothing.
    story.create("alice", "moderation/c", links("suppressEmbeds", json!(["https://c.test/"])));
    story.create("nest", "moderation/c", links("suppressEmbeds", json!("https://c.test/")));
    let service = Service::live(&story);
    for which in [Which::Visible, Which::All] {
        let page = block_on(messages(&service.store, HALL, &From::Newest, which, 50)).unwrap().unwrap();
        let hidden = |key: &str| {
            let message = page.messages.iter().find(|message| message.uri.rkey().as_str() == key);
            message.unwrap().mod_suppressed_embeds.clone()
        };
        assert_eq!(hidden("1"), ["https://a.test/"]);
        assert!(hidden("2").is_empty());
    }
    let view = block_on(view(&service.store, &did("moe"), HALL, 50)).unwrap();
    assert_eq!(
        view.page.messages.iter().map(|message| message.mod_suppressed_embeds.len()).sum::<usize>(),
        1
    );
}

#[test]
fn n160g_both_forms_as_a_whole() {
    let mut story = world();
    story.create(
        "nest",
        "category/g",
        json!({ "name": "General", "community": "self", "channelOrder": ["v", "k"] }),
    );
    story.create("nest", "channel/v", newest_channel("social.colibri.channel.voice"));
    let mut stray = newest_channel("forum");
    stray["category"] = json!("nowhere");
    stray["allowedRoles"] = json!(["mod"]);
    story.create("nest", "channel/s", stray).create("nest", "role/top", role(70, &["message.hide"], false));
    // Two admissions: the one with most roles counts (N16).
    story.create(
        "nest",
        "member/again",
        json!({ "subject": "did:plc:bob", "roles": ["mod", "top"], "joinedAt": "2026-03-01T12:00:00Z" }),
    );
    story.create("nest", "moderation/b", moderation("ban", "did:plc:dora"));
    let service = Service::live(&story);
    let nest = known(&service, PLACE);
    let name = |uri: &AtUri| uri.rkey().to_string();
    assert_eq!(nest.info.category_order.iter().map(name).collect::<Vec<_>>(), ["g", "uncategorized"]);
    assert_eq!(nest.channels.iter().map(|one| name(&one.uri)).collect::<Vec<_>>(), ["v", "k", "s"]);
    assert_eq!(nest.channels[2].r#type, "social.colibri.channel.forum");
    assert_eq!(nest.channels[2].allowed_roles, [uri("at://did:plc:nest/social.colibri.role/mod")]);
    assert!(nest.has_voice);
    assert_eq!(nest.roles.iter().map(|role| name(&role.uri)).collect::<Vec<_>>(), ["owner", "top", "mod"]);
    assert_eq!(serde_json::to_value(nest.roles[0].permissions).unwrap().as_array().unwrap().len(), 19);
    let of = |whole: &Whole| -> Vec<String> {
        let roles = |roles: &[AtUri]| roles.iter().map(name).collect::<Vec<_>>().join("+");
        whole
            .members
            .0
            .iter()
            .map(|one| format!("{} {}", one.actor.did, roles(&one.roles)).replace("did:plc:", ""))
            .collect()
    };
    assert_eq!(of(&nest), ["bob mod+top", "moe mod", "olga owner"], "no pending, no banned");
    assert_eq!(nest.info.appview.as_str(), "did:web:api.colibri.social");
    let garden = known(&service, OLD);
    assert_eq!(of(&garden), ["alice owner", "bob "], "an open one has everybody who asked");
    assert!(garden.roles[0].protected);
    assert_eq!(garden.channels[0].category, garden.categories[0].uri, "no channel is outside");
    let roles = nest.roles.iter().map(|role| role.uri.clone()).collect();
    let first = block_on(members(&service.store, &uri(PLACE), &roles, None, 2)).unwrap();
    let rest = block_on(members(&service.store, &uri(PLACE), &roles, first.1.as_ref(), 2)).unwrap();
    assert_eq!((first.0.len(), rest.0.len(), rest.1), (2, 1, None), "H15: page by page");
    let nobody = "at://did:plc:nobody/social.colibri.community/self";
    assert!(matches!(block_on(whole(&service.store, &uri(nobody), 9)).unwrap(), Named::Unknown));
    service.store.exec(
        "INSERT INTO repos (did, status, reason, due_since, next_attempt_at, known_at)
         VALUES ('did:plc:nobody', 'waiting', 'lookup', 'x', 'x', 'x')",
    );
    assert!(matches!(block_on(whole(&service.store, &uri(nobody), 9)).unwrap(), Named::Awaited), "N158");
}

#[test]
fn n158_a_community_is_gone_for_good_only_with_its_account() {
    for (status, is_gone) in [("deactivated", false), ("takendown", false), ("deleted", true)] {
        let mut story = world();
        super::pipeline::account(&mut story, "nest", false, status);
        let service = Service::live(&story);
        service.store.exec("UPDATE repos SET synced_at = 'x', next_attempt_at = NULL");
        let found = block_on(whole(&service.store, &uri(PLACE), 9)).unwrap();
        assert_eq!(matches!(found, Named::Unknown), is_gone, "{status}: {found:?}");
        assert!(!matches!(found, Named::Known(_)), "{status}");
    }
}

#[test]
fn n160e_own_communities() {
    let mut story = world();
    story.community("zoe", false);
    let mut moved = json!({ "name": "Garden", "requiresApprovalToJoin": false, "migratedTo": PLACE });
    story.create("zoe", "community/m", moved.clone());
    moved["name"] = json!("Only claims");
    let mut service = Service::live(&story);
    let list = |service: &Service, who: &str, locked: bool| -> Vec<String> {
        let of = block_on(of_member(&service.store, &did(who), locked)).unwrap();
        let flags = |one: &colibri_edge::wire::views::CommunityOfMember| {
            let owner = if one.is_owner { " owner" } else { "" };
            format!("{}{owner}{}", one.name, if one.is_legacy { " legacy" } else { "" })
        };
        of.iter().map(flags).collect()
    };
    assert_eq!(list(&service, "bob", false), ["Garden", "Nest"], "by name");
    assert_eq!(list(&service, "bob", true), ["Garden legacy", "Nest"], "C41");
    assert_eq!(list(&service, "olga", false), ["Nest owner"], "a protected role");
    assert_eq!(list(&service, "nest", false), ["Nest owner"], "the account");
    assert_eq!(list(&service, "carol", false), [""; 0], "a pending person polls this");
    assert_eq!(
        list(&service, "zoe", false),
        ["Garden owner", "Garden owner legacy"],
        "one names where it moved"
    );
    service.decide(ban("alice", "bob"));
    assert_eq!(list(&service, "bob", false), ["Nest"], "banned");
}

#[test]
fn n160h_n160l_what_is_unread() {
    let mut story = world();
    let mark =
        |cursor: &str| json!({ "channel": HALL, "cursor": cursor, "createdAt": "2026-03-01T12:00:00Z" });
    story.create("bob", "message/1", message_in(HALL, "one"));
    let service = Service::live(&story);
    let is_unread = |service: &Service, who: &str| {
        let found = block_on(unread(&service.store, &did(who), &[PLACE])).unwrap().into_values().next();
        found.map(|channels| channels.iter().map(|one| one.unread > 0).collect::<Vec<_>>())
    };
    assert_eq!(is_unread(&service, "bob"), Some(vec![false]), "their own");
    assert_eq!(is_unread(&service, "moe"), Some(vec![true]), "it came after the admission");
    assert_eq!(is_unread(&service, "carol"), None, "pending");
    assert_eq!(is_unread(&service, "stranger"), None);
    assert!(block_on(read_cursor(&service.store, &did("moe"), HALL)).unwrap().is_none());
    let read = "at://did:plc:bob/social.colibri.message/1";
    story.create("moe", "channel.read/k", mark(read));
    let service = Service::live(&story);
    assert_eq!(is_unread(&service, "moe"), Some(vec![false]), "read");
    let cursor = block_on(view(&service.store, &did("moe"), HALL, 50)).unwrap().read_cursor.unwrap();
    assert_eq!((cursor.cursor.as_str(), cursor.channel.as_str()), (read, HALL), "as it was written");
    story.create("bob", "message/2", message_in(HALL, "two"));
    let service = Service::live(&story);
    assert_eq!(is_unread(&service, "moe"), Some(vec![true]), "of the same time, and a later key");
    story.update("moe", "channel.read/k", mark("2026-03-01T12:00:01Z"));
    let service = Service::live(&story);
    assert_eq!(is_unread(&service, "moe"), Some(vec![false]), "a time");
    let cursor = block_on(read_cursor(&service.store, &did("moe"), HALL)).unwrap().unwrap();
    assert_eq!(cursor.cursor, "2026-03-01T12:00:01.000Z");
}

#[test]
fn n160d_n160n_people() {
    let mut story = world();
    let blob =
        |cid: &str| json!({ "$type": "blob", "ref": { "$link": cid }, "mimeType": "image/png", "size": 7 });
    let (own, bluesky) = (
        "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku",
        "bafkreifzjut3te7nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e",
    );
    story.profile("bob", json!({ "displayName": "Bob of Bluesky", "avatar": blob(bluesky) }));
    story.create("bob", "actor.profile/self", json!({ "displayName": "Bob", "avatar": blob(own), "theme": { "accentColor": "#fff", "gradient": 7 } }));
    story.create("bob", "actor.mute/m", json!({ "subject": HALL }));
    let shown = |story: &Story, who: &str| -> Value {
        let service = Service::live(story);
        serde_json::to_value(block_on(person(&service.store, &did(who))).unwrap().actor).unwrap()
    };
    let bob = shown(&story, "bob");
    assert_eq!(bob["data"]["displayName"], "Bob");
    assert_eq!(bob["data"]["avatar"]["ref"]["$link"], own);
    assert_eq!(bob["data"]["avatar"]["size"], 7, "as the record has it");
    assert_eq!(bob["data"]["theme"], json!({ "accentColor": "#fff" }));
    assert_eq!(bob["handle"], "handle.invalid");
    story.update("bob", "actor.profile/self", json!({ "displayName": "Bob", "syncBluesky": true }));
    let bob = shown(&story, "bob");
    assert_eq!(
        (&bob["data"]["displayName"], &bob["data"]["syncBluesky"]),
        (&json!("Bob of Bluesky"), &json!(true))
    );
    assert_eq!(
        bob["data"]["avatar"],
        json!({ "$type": "blob", "ref": { "$link": bluesky }, "mimeType": "application/octet-stream", "size": -1 })
    );
    let service = Service::live(&story);
    let stranger = block_on(person(&service.store, &did("stranger"))).unwrap();
    assert!(stranger.is_blank && !stranger.is_known);
    assert_eq!(stranger.actor.data.display_name, "did:plc:stranger");
    let muted = block_on(mutes(&service.store, &did("bob"))).unwrap();
    assert_eq!(muted.iter().map(|one| one.subject.as_str()).collect::<Vec<_>>(), [HALL]);
}
