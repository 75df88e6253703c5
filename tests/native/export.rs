//! Exports, through the real SQL: what is in them, in which order, in which pages, and that the gate
//! makes the same index of them again (R43).

use std::collections::BTreeSet;

use colibri_edge::domain::export::{Rest, Step, Subject, Walk};
use colibri_edge::storage::export::page;
use colibri_edge::wire::ids::{AtUri, Did};
use colibri_edge::wire::time::Micros;
use futures::executor::block_on;
use serde_json::{Value, json};

use super::sqlite::Sqlite;
use super::story::{START, Service, Story, ban, block, community, member, message_in, newest_channel, role};

/// The lines of an export.
fn export(store: &Sqlite, subject: Subject) -> Vec<String> {
    let mut walk = Walk::of(subject, None, Micros(START));
    let mut text = String::new();
    while let Some(question) = walk.question() {
        let page = block_on(page(store, &question)).unwrap();
        text.push_str(&walk.take(&page));
    }
    text.push_str(&walk.end(None));
    text.lines().map(str::to_owned).collect()
}

fn of(who: &str) -> Subject {
    Subject::Person(Did::parse(&format!("did:plc:{who}")).unwrap())
}

/// `collection/rkey` of `who`, for each line but the last.
fn names(lines: &[String]) -> Vec<String> {
    lines[..lines.len() - 1]
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["uri"].as_str().unwrap().to_owned())
        .map(|uri| uri.replace("at://did:plc:", "").replace("social.colibri.", ""))
        .collect()
}

/// The frames of an export, as `npm run import` plays them.
fn frames(lines: &[String]) -> Vec<String> {
    let records = lines[..lines.len() - 1].iter().enumerate().map(|(n, line)| {
        let line: Value = serde_json::from_str(line).unwrap();
        let mut parts = line["uri"].as_str().unwrap().trim_start_matches("at://").split('/');
        let (did, collection, rkey) = (parts.next(), parts.next(), parts.next());
        let rev = line["rev"].as_str().unwrap_or("2222222222222");
        json!({ "did": did, "time_us": START + n as i64, "kind": "commit", "commit": {
            "operation": "create", "collection": collection, "rkey": rkey, "rev": rev, "cid": line["cid"],
            "record": line["value"] } })
        .to_string()
    });
    records.collect()
}

/// What people of a community say, in all collections, with what is hidden from others.
fn garden() -> Service {
    let mut story = Story::default();
    story.community("alice", true);
    story.create(
        "alice",
        "category/g",
        json!({ "name": "General", "community": "c", "channelOrder": ["k"] }),
    );
    story.create(
        "alice",
        "channel/l",
        json!({ "name": "loud", "type": "voice", "community": "c", "category": "g", "ownerOnly": true }),
    );
    story.join("bob", "alice").approve("alice", "bob").join("carol", "alice").join("eve", "alice");
    story.approve("alice", "eve");
    story.create("bob", "actor.data/self", json!({ "status": "Reading", "emoji": "📚" }));
    story.create("bob", "actor.data/other", json!({ "status": "Reading", "emoji": "📚" }));
    story.profile("bob", json!({ "displayName": "Bob", "avatar": { "ref": { "$link": "bafa" } } }));
    story.profile("alice", json!({ "displayName": "Alice" }));
    let blob = json!({ "$type": "blob", "ref": { "$link": "bafkreib" }, "mimeType": "image/png", "size": 1 });
    let mut with_picture = message_in("k", "look");
    with_picture["attachments"] = json!([{ "blob": blob, "name": "picture" }]);
    story.create("bob", "message/1", with_picture);
    story.say("eve", "2", "before the ban").say("bob", "3", "blocked").say("alice", "4", "typo");
    story.update("alice", "message/4", message_in("k", "mended"));
    let mut answer = message_in("at://did:plc:alice/social.colibri.channel/k", "answer");
    answer["parent"] = json!("1");
    story.create("alice", "message/5", answer);
    story.create("alice", "message/6", message_in("l", "aloud"));
    story.react("alice", "r1", "❤️", "1").react("eve", "r2", "👍", "1").react("bob", "r3", "❤", "1");
    story.react("bob", "r4", "👍", "2");
    let channel = "at://did:plc:alice/social.colibri.channel/k";
    let cursor = "2026-03-01T12:00:00.123456Z";
    story.create("bob", "channel.read/k", json!({ "channel": channel, "cursor": cursor }));
    story.react("bob", "waits", "👍", "unknown");
    // Another community of the same owner, and of somebody else.
    story.create("alice", "community/other", json!({ "name": "Other", "requiresApprovalToJoin": false }));
    story.create("alice", "channel/o", json!({ "name": "o", "type": "text", "community": "other" }));
    story.community("dave", false).create("alice", "message/7", message_in("o", "elsewhere"));
    let mut service = Service::live(&story);
    service.decide(block("bob", "3"));
    service.decide(ban("alice", "eve"));
    service
}

#[test]
fn r43_an_owner_gets_what_is_shown_and_who_is_in_it() {
    let service = garden();
    let lines = export(&service.store, Subject::Community(community("alice")));
    assert_eq!(
        names(&lines),
        [
            "alice/community/c",
            "alice/category/g",
            "alice/channel/k",
            "alice/channel/l",
            "bob/membership/m",
            "carol/membership/m",
            "eve/membership/m",
            "alice/approval/bob",
            "alice/approval/eve",
            "alice/app.bsky.actor.profile/self",
            "bob/actor.data/other",
            "bob/actor.data/self",
            "bob/app.bsky.actor.profile/self",
            "bob/message/1",
            "eve/message/2",
            "alice/message/4",
            "alice/message/5",
            "alice/message/6",
            "alice/reaction/r1",
            "eve/reaction/r2",
            "bob/reaction/r3",
            "bob/reaction/r4",
        ],
        "no blocked message, nothing of other communities, no read marks, nothing that waits"
    );
    assert_eq!(lines.last().unwrap(), r#"{"end":true,"records":22,"at":"2026-03-01T12:00:00.000Z"}"#);
    let first: Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!(first["cid"], "bafyreia");
    assert!(
        lines[0].starts_with(
            r#"{"uri":"at://did:plc:alice/social.colibri.community/c","cid":"bafyreia","rev":""#
        )
    );
}

#[test]
fn r43_a_person_gets_everything_of_theirs() {
    let service = garden();
    service.store.exec("UPDATE messages SET hidden = 1 WHERE author_did = 'did:plc:bob'");
    let lines = export(&service.store, of("bob"));
    assert_eq!(
        names(&lines),
        [
            "bob/membership/m",
            "bob/actor.data/other",
            "bob/actor.data/self",
            "bob/app.bsky.actor.profile/self",
            "bob/message/1",
            "bob/message/3",
            "bob/reaction/r3",
            "bob/reaction/r4",
            "bob/channel.read/k",
            "bob/reaction/waits",
        ],
        "also what is blocked, hidden, or waits"
    );
    assert_eq!(names(&export(&service.store, of("nobody"))), [""; 0]);
    let owners = export(&service.store, of("alice"));
    let found = names(&owners);
    for path in ["community/c", "community/other", "channel/o", "message/7", "approval/bob"] {
        assert!(found.contains(&format!("alice/{path}")), "{path}: {found:?}");
    }
}

/// An import of an export makes the same index as the original, except for columns that are not of records.
#[test]
fn r43_an_import_makes_the_same_index() {
    let service = garden();
    let everybody: Vec<String> = ["alice", "dave", "bob", "carol", "eve"]
        .iter()
        .flat_map(|who| export(&service.store, of(who)))
        .collect();
    let mut of_everybody = frames(&{
        let mut lines: Vec<String> =
            everybody.into_iter().filter(|line| !line.starts_with("{\"end\"")).collect();
        lines.push(String::new());
        lines
    });
    let of_community = export(&service.store, Subject::Community(community("alice")));
    let mut again = Service::new();
    again.batch(&frames(&of_community));
    // Everything else finds its place behind what it needs.
    of_everybody.retain(|frame| !frame.contains("blocked"));
    again.batch(&of_everybody);
    let columns = |store: &Sqlite| -> Vec<String> {
        let left_out = ["ban|", "block|", "refusals|", "settled|"];
        let mut all: Vec<String> = store
            .index()
            .into_iter()
            .filter(|row| !left_out.iter().any(|kind| row.starts_with(kind)))
            .collect();
        all.retain(|row| !row.contains("|blocked|"));
        for sql in [
            "SELECT uri, cid, attachments FROM messages WHERE text <> 'blocked' ORDER BY uri",
            "SELECT uri, target_uri, emoji, cid FROM reactions ORDER BY target_uri, indexed_at",
            "SELECT did, display_name, avatar_cid, status_text, emoji, profile_rev, profile_cid FROM people ORDER BY did",
            "SELECT uri, cursor_at, cid FROM channel_reads ORDER BY uri",
            "SELECT uri, description, channel_type, category_rkey, owner_only, cid FROM channels ORDER BY uri",
            "SELECT uri, cid, record FROM held ORDER BY uri",
            "SELECT uri, cid FROM communities UNION SELECT uri, cid FROM categories UNION SELECT uri, cid FROM memberships
             UNION SELECT uri, cid FROM approvals UNION SELECT uri, cid FROM actors ORDER BY uri",
        ] {
            all.extend(store.look(sql));
        }
        all
    };
    assert_eq!(columns(&again.store), columns(&service.store));
    let refused = again.store.look("SELECT reason, count FROM refusal_counts");
    assert!(refused.is_empty(), "{refused:?}");

    let before = (again.store.index(), again.announced.len());
    again.batch(&frames(&of_community));
    assert_eq!(
        (again.store.index(), again.announced.len()),
        before,
        "a second time changes and publishes nothing"
    );
}

/// A community of the newest form: who is admitted, with or without a membership, and what roles are there.
#[test]
fn r43_a_community_of_the_newest_form() {
    let mut story = Story::default();
    story.newest("nest").create("nest", "role/mod", role(5, &["member.ban"], false));
    let mut quiet = newest_channel("social.colibri.channel.text");
    quiet["allowedRoles"] = json!(["mod"]);
    story.create("nest", "channel/quiet", quiet);
    story.ask_to_join("bob", "nest").admit("nest", "bob", &["mod"]).admit("nest", "carol", &[]);
    story.ask_to_join("dave", "nest").admit("nest", "dave", &[]).ask_to_join("eve", "nest");
    for who in ["bob", "carol", "dave"] {
        story.create(who, "actor.data/self", json!({ "status": "here" }));
        story.profile(who, json!({ "displayName": who }));
    }
    let hall = "at://did:plc:nest/social.colibri.channel/k";
    let quiet = "at://did:plc:nest/social.colibri.channel/quiet";
    story.create("bob", "message/1", message_in(quiet, "from a moderator"));
    story.create("carol", "message/2", message_in(hall, "admitted without asking"));
    let mut admission = member("dave", &[]);
    admission["fromMembership"] = json!("at://did:plc:dave/social.colibri.membership/m");
    story.update("nest", "member/dave", admission);
    story.delete("dave", "membership/m");
    let service = Service::live(&story);
    let place = AtUri::parse("at://did:plc:nest/social.colibri.community/self").unwrap();
    let lines = export(&service.store, Subject::Community(place.clone()));
    assert_eq!(
        names(&lines),
        [
            "nest/community/self",
            "nest/role/mod",
            "nest/role/owner",
            "nest/channel/k",
            "nest/channel/quiet",
            "bob/membership/m",
            "eve/membership/m",
            "nest/member/bob",
            "nest/member/carol",
            "bob/actor.data/self",
            "bob/app.bsky.actor.profile/self",
            "carol/actor.data/self",
            "carol/app.bsky.actor.profile/self",
            "carol/message/2",
            "bob/message/1",
        ],
        "not the admission of dave, who left"
    );
    let mut again = Service::new();
    again.batch(&frames(&lines));
    assert!(again.store.look("SELECT reason, count FROM refusal_counts").is_empty());
    for sql in [
        "SELECT * FROM roles WHERE indexed_at <> '' ORDER BY uri",
        "SELECT uri, allowed_roles, allowed_members, channel_type, cid FROM channels ORDER BY uri",
        "SELECT uri, member_did, roles, nickname, from_membership, cid FROM members WHERE member_did <> 'did:plc:dave' ORDER BY uri",
        "SELECT uri, channel_uri, channel, text, cid FROM messages ORDER BY uri",
    ] {
        let times = |rows: Vec<String>| -> Vec<String> {
            rows.into_iter().map(|row| row.split("|2026-").next().unwrap().to_owned()).collect()
        };
        assert_eq!(times(again.store.look(sql)), times(service.store.look(sql)), "{sql}");
    }
    let own = export(&service.store, of("nest"));
    assert!(names(&own).contains(&"nest/member/dave".to_owned()), "its own export has all of its records");
    let lines = export(&again.store, Subject::Community(place));
    assert_eq!(names(&lines).len(), 15);
}

#[test]
fn r43_rows_of_before_say_what_is_known() {
    let service = garden();
    service
        .store
        .exec("UPDATE messages SET cid = NULL; UPDATE people SET profile_rev = NULL, profile_cid = NULL");
    let lines = export(&service.store, of("bob"));
    for (path, expected) in
        [("message/1", r#""cid":null,"rev":"3"#), ("profile/self", r#""cid":null,"rev":null"#)]
    {
        let line = lines.iter().find(|line| line.contains(path)).unwrap();
        assert!(line.contains(expected), "{line}");
    }
}

/// The CID is that of the version that is shown, not of one that was refused or came from nowhere.
#[test]
fn r43_the_cid_is_that_of_what_is_shown() {
    let mut story = Story::default();
    story.community("alice", false).join("bob", "alice").say("bob", "1", "one");
    let mut service = Service::live(&story);
    let cid = |service: &Service| service.store.look("SELECT cid FROM messages").concat();
    let mut write = |service: &mut Service, cid: &str, text: &str| {
        story.update("bob", "message/1", message_in("k", text));
        let frame = story.frames.last_mut().unwrap();
        *frame = frame.replace(r#""cid":"bafyreia","#, cid);
        service.batch(std::slice::from_ref(frame));
    };
    write(&mut service, r#""cid":"bafyreib","#, "two");
    assert_eq!(cid(&service), "bafyreib");
    write(&mut service, r#""cid":"bafyreic","#, &"x".repeat(3_000));
    assert_eq!(cid(&service), "bafyreib", "too long: the earlier version stays");
    service.decide(ban("alice", "bob"));
    write(&mut service, r#""cid":"bafyreid","#, "three");
    assert_eq!(cid(&service), "bafyreib", "the gate refused it");
    service.decide(super::story::unban("alice", "bob"));
    write(&mut service, "", "four");
    assert_eq!(cid(&service), "", "nobody said it");
}

#[test]
fn r43_pages_are_bounded_and_lose_nothing() {
    let mut story = Story::default();
    story.community("alice", false).join("bob", "alice");
    story.create("alice", "channel/l", json!({ "name": "second", "type": "text", "community": "c" }));
    for n in 0..2_300 {
        story.create(
            "bob",
            &format!("message/m{n:04}"),
            message_in(if n % 2 == 0 { "k" } else { "l" }, "short"),
        );
    }
    for n in 0..1_500 {
        let emoji = if n % 3 == 0 { "👍" } else { "❤" };
        story.react("bob", &format!("r{n:04}"), emoji, if n < 1_200 { "m0000" } else { "m0002" });
    }
    let mut service = Service::new();
    service.batch(&story.frames);
    // Long ones, with what few people write.
    service
        .store
        .exec("UPDATE messages SET attachments = '[' || hex(zeroblob(30000)) || ']' WHERE rkey LIKE 'm1%'");
    for subject in [Subject::Community(community("alice")), of("bob")] {
        let mut walk = Walk::of(subject, None, Micros(START));
        let (mut seen, mut largest) = (BTreeSet::new(), 0);
        while let Some(question) = walk.question() {
            let page = block_on(page(&service.store, &question)).unwrap();
            assert!(page.entries.len() <= 1_000);
            largest = largest.max(page.entries.len());
            for entry in page.entries.iter().filter(|entry| entry.shown) {
                assert!(seen.insert(entry.uri.clone()), "{} comes twice", entry.uri);
            }
            if question.step == Step::Messages {
                let long =
                    page.entries.iter().filter(|entry| entry.uri.rkey().as_str().starts_with("m1")).count();
                assert!(long * 60_000 <= 524_288 + 60_000, "{long} long ones on a page");
            }
            walk.take(&page);
        }
        assert_eq!(largest, 1_000);
        let count = |path: &str| seen.iter().filter(|uri| uri.as_str().contains(path)).count();
        assert_eq!((count("message/"), count("reaction/")), (2_300, 1_500));
    }
}

#[test]
fn r43_parts_are_the_whole() {
    let service = garden();
    for subject in [Subject::Community(community("alice")), of("bob")] {
        let whole = export(&service.store, subject.clone());
        let (mut lines, mut rest, mut parts) = (Vec::new(), None, 0);
        loop {
            let mut walk = Walk::of(subject.clone(), rest, Micros(START));
            // As many questions as an answer can ask at least.
            let mut text = String::new();
            while let Some(question) = walk.question() {
                text.push_str(&walk.take(&block_on(page(&service.store, &question)).unwrap()));
                if walk.rest().is_some() {
                    break;
                }
            }
            lines.extend(text.lines().map(str::to_owned));
            parts += 1;
            rest = walk.rest();
            if rest.is_none() {
                lines.push(walk.end(None).trim_end().to_owned());
                break;
            }
        }
        assert!(parts > 8, "{parts}");
        assert_eq!(lines, whole);
    }
}

/// What is left out is not read at one go either, and hides nothing behind it.
#[test]
fn r43_pages_over_what_is_left_out_are_bounded() {
    let mut story = Story::default();
    story.community("alice", false);
    for n in 0..1_200 {
        let who = format!("m{n:04}");
        story.join(&who, "alice");
        story.say(&who, "1", "hidden");
    }
    story.join("zoe", "alice").say("zoe", "2", "shown");
    story.create("zoe", "actor.data/self", json!({ "status": "here" }));
    story.create("zoe", "actor.data/two", json!({ "status": "here" }));
    story.profile("zoe", json!({ "displayName": "Zoe" }));
    let mut service = Service::new();
    service.batch(&story.frames);
    service.store.exec(
        "UPDATE messages SET hidden = 1 WHERE text = 'hidden'; UPDATE memberships SET hidden = 1 WHERE member_did < 'did:plc:z'",
    );
    let mut walk = Walk::of(Subject::Community(community("alice")), None, Micros(START));
    let (mut written, mut left_out) = (Vec::new(), 0);
    while let Some(question) = walk.question() {
        let page = block_on(page(&service.store, &question)).unwrap();
        assert!(page.entries.len() <= 1_000, "{:?}", question.step);
        left_out += page.entries.iter().filter(|entry| !entry.shown).count();
        written.extend(walk.take(&page).lines().map(str::to_owned));
    }
    written.push(String::new());
    assert_eq!(
        names(&written),
        [
            "alice/community/c",
            "alice/channel/k",
            "zoe/membership/m",
            "zoe/actor.data/self",
            "zoe/actor.data/two",
            "zoe/app.bsky.actor.profile/self",
            "zoe/message/2",
        ]
    );
    assert_eq!(left_out, 4 * 1_200, "memberships, actors, profiles and messages were read in pages");
}

/// A cursor comes back from a caller: whatever it says, it leads to nothing of others.
#[test]
fn r43_a_place_that_was_made_up_leads_to_nothing_of_others() {
    let service = garden();
    let own = export(&service.store, of("bob"));
    let shown = export(&service.store, Subject::Community(community("alice")));
    for (subject, whole) in [(of("bob"), own), (Subject::Community(community("alice")), shown)] {
        for step in 0..14 {
            for after in ["", "at:", "at://did:plc:alice/", "at://did:plc:b", "zzz", "at://did:plc:bob/a"] {
                let made_up = json!({ "step": step, "after": vec![after; 4], "records": 0, "began": 0 });
                let rest: Rest = serde_json::from_value(made_up).unwrap();
                let mut walk = Walk::of(subject.clone(), Some(rest), Micros(START));
                while let Some(question) = walk.question() {
                    let text = walk.take(&block_on(page(&service.store, &question)).unwrap());
                    for line in text.lines() {
                        assert!(whole.iter().any(|known| known == line), "{step}, {after}: {line}");
                    }
                }
            }
        }
    }
}
