//! The reads of REST, through the real SQL.

use colibri_edge::storage::Fault;
use colibri_edge::storage::reads::{self, Start, communities, operator, people, reactions};
use colibri_edge::wire::bodies::ReactionGroup;
use colibri_edge::wire::ids::{AtUri, Collection, Did, Rkey};
use colibri_edge::wire::time::Micros;
use futures::executor::block_on;
use serde_json::json;

use super::story::{START, Service, Story, message_in};

const CDN: &str = "https://cdn.test";

fn page(
    service: &Service,
    channel: &str,
    start: &Start,
    limit: i64,
) -> (Vec<String>, Option<reads::PageEnd>) {
    let (messages, end) = block_on(reads::messages(&service.store, CDN, channel, start, limit)).unwrap();
    (messages.into_iter().map(|message| message.core.text).collect(), end)
}

/// Every row of a list, page by page.
fn walk<P>(page: impl AsyncFn(Option<P>) -> Result<(Vec<String>, Option<P>), Fault>) -> Vec<String> {
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let (rows, end) = block_on(page(after)).unwrap();
        all.extend(rows);
        match end {
            Some(place) => after = Some(place),
            None => return all,
        }
    }
}

fn garden() -> Story {
    let mut story = Story::default();
    story.community("alice", false).join("bob", "alice");
    story
}

#[test]
fn b45_walking_by_cursor_gives_each_message_once() {
    let mut story = garden();
    for n in 0..120 {
        story.say("bob", &format!("m{n:03}"), &format!("t{n:03}"));
    }
    let service = Service::live(&story);
    let (mut texts, mut start, mut pages) = (Vec::new(), Start::Newest, 0);
    loop {
        let (page, end) = page(&service, "k", &start, 50);
        texts.extend(page);
        pages += 1;
        match end {
            Some(end) => start = Start::After(end),
            None => break,
        }
    }
    let expected: Vec<String> = (0..120).rev().map(|n| format!("t{n:03}")).collect();
    assert_eq!((texts, pages), (expected, 3), "all have one createdAt: rkey descending decides");
    let before = Start::Before {
        created_at: "2026-03-01T12:00:00.000Z".into(),
        instant: "2026-03-01T12:00:00.000000Z".into(),
    };
    assert_eq!(page(&service, "k", &before, 50).0, Vec::<String>::new(), "strictly before");
}

#[test]
fn r01_what_is_visible() {
    let mut story = garden();
    story
        .say("bob", "1", "shown")
        .say("bob", "2", "blocked")
        .say("bob", "3", "deleted")
        .delete("bob", "message/3");
    let service = Service::live(&story);
    service.store.exec(
        "INSERT INTO blocks (uri, blocked_at) VALUES ('at://did:plc:bob/social.colibri.message/2', '')",
    );
    assert_eq!(page(&service, "k", &Start::Newest, 50).0, ["shown"]);
    let by_uri = "at://did:plc:alice/social.colibri.channel/k";
    assert_eq!(page(&service, by_uri, &Start::Newest, 50).0, ["shown"]);
    assert!(page(&service, "unknown", &Start::Newest, 50).0.is_empty());
    let mut gone = story.clone();
    gone.delete("alice", "channel/k");
    assert!(page(&Service::live(&gone), "k", &Start::Newest, 50).0.is_empty(), "B-42, I70b");
}

/// The web client hashes `created_at`, `facets`, `attachments` (W08) and reads the rest by name.
#[test]
fn o01_a_message_with_its_people_and_its_parent() {
    let mut story = garden();
    story.create("alice", "message/p", message_in("k", "question"));
    story.create(
        "bob",
        "message/1",
        json!({ "text": "answer", "channel": "k", "createdAt": "2026-03-01T12:00:01+00:00", "parent": "p", "attachments": [], "facets": [{ "index": { "byteStart": 0, "byteEnd": 6 }, "features": [] }] }),
    );
    let service = Service::live(&story);
    service.store.exec(
        "INSERT OR REPLACE INTO people (did, handle, display_name, avatar_cid, status_text, emoji, state, updated_at)
         VALUES ('did:plc:bob', 'bob.test', 'Bob', 'bafa', 'Reading', '📚', 'online', '')",
    );
    let uri = AtUri::of(&Did::parse("did:plc:bob").unwrap(), Collection::Message, &Rkey::parse("1").unwrap());
    let message = block_on(reads::message(&service.store, CDN, &uri)).unwrap().unwrap();
    let mut got = serde_json::to_value(&message).unwrap();
    for object in ["", "/parent_message"] {
        let fields = got.pointer_mut(object).unwrap().as_object_mut().unwrap();
        assert!(fields.remove("indexed_at").unwrap().as_str().unwrap().ends_with('Z'));
        fields.remove("id");
    }
    let nobody = json!(null);
    assert_eq!(
        got,
        json!({
            "reply_count": 0, "rkey": "1", "author_did": "did:plc:bob", "text": "answer", "channel": "k",
            "created_at": "2026-03-01T12:00:01+00:00", "edited": false, "parent": "p",
            "facets": [{ "index": { "byteStart": 0, "byteEnd": 6 }, "features": [] }], "attachments": [], "display_name": "Bob",
            "avatar_url": "https://cdn.test/img/avatar/plain/did:plc:bob/bafa@jpeg",
            "banner_url": nobody, "description": nobody, "handle": "bob.test",
            "status_text": "Reading", "emoji": "📚", "state": "online",
            "parent_message": {
                "rkey": "p", "author_did": "did:plc:alice", "text": "question", "channel": "k",
                "created_at": "2026-03-01T12:00:00.000Z", "edited": false, "parent": nobody,
                "facets": nobody, "attachments": nobody, "display_name": nobody, "avatar_url": nobody,
                "banner_url": nobody, "description": nobody, "handle": nobody, "status_text": nobody,
                "emoji": nobody, "state": nobody,
            },
            "reactions": [],
        })
    );
}

#[test]
fn r07_b48_a_bare_rkey_is_the_community_indexed_first() {
    let mut story = Story::default();
    story.community("zoe", true).community("alice", false);
    let service = Service::live(&story);
    let owner = |name: &str| {
        block_on(communities::community(&service.store, name))
            .unwrap()
            .map(|community| community.owner_did.to_string())
    };
    assert_eq!(owner("c").as_deref(), Some("did:plc:zoe"));
    assert_eq!(owner("at://did:plc:alice/social.colibri.community/c").as_deref(), Some("did:plc:alice"));
    assert_eq!(owner("nothing"), None);
}

#[test]
fn r12_channels_by_name_in_code_points() {
    let mut story = garden();
    for (rkey, name) in [("x", "b"), ("y", "B"), ("z", "a"), ("w", "a")] {
        story.create(
            "alice",
            &format!("channel/{rkey}"),
            json!({ "name": name, "type": "text", "community": "c" }),
        );
    }
    let service = Service::live(&story);
    let walked = |limit| {
        walk(async |after| {
            let community = "at://did:plc:alice/social.colibri.community/c";
            let (channels, end) =
                communities::channels(&service.store, community, after.as_ref(), limit).await?;
            Ok((channels.iter().map(|row| format!("{} {}", row.name, row.rkey)).collect(), end))
        })
    };
    for limit in [1, 2, 5, 6] {
        assert_eq!(walked(limit), ["B y", "a w", "a z", "b x", "hall k"], "pages of {limit}");
    }
}

#[test]
fn r14_owner_then_approved_then_pending_and_nobody_banned() {
    let mut story = Story::default();
    story.community("mallory", true);
    for who in ["zoe", "alice", "carol", "bob", "mallory"] {
        story.join(who, "mallory");
    }
    story.approve("mallory", "zoe").approve("mallory", "bob").create(
        "carol",
        "approval/x",
        super::story::approval("carol"),
    );
    story.create("zoe", "membership/second", super::story::membership("mallory"));
    let service = Service::live(&story);
    let community = "at://did:plc:mallory/social.colibri.community/c";
    service.store.exec(&format!(
        "INSERT INTO bans (community_uri, member_did, banned_at) VALUES ('{community}', 'did:plc:alice', '')"
    ));
    let walked = |limit| {
        walk(async |after| {
            let (members, end) =
                communities::members(&service.store, CDN, community, after.as_ref(), limit).await?;
            Ok((members.iter().map(|row| format!("{} {}", row.status, row.member_did)).collect(), end))
        })
    };
    for limit in [1, 2, 3, 4, 1000] {
        assert_eq!(
            walked(limit),
            [
                "owner did:plc:mallory",
                "approved did:plc:bob",
                "approved did:plc:zoe",
                "pending did:plc:carol"
            ],
            "pages of {limit}"
        );
    }
}

fn did(name: &str) -> Did {
    Did::parse(&format!("did:plc:{name}")).unwrap()
}

/// Groups in short form: `emoji count`.
fn short(groups: &[ReactionGroup]) -> Vec<String> {
    groups.iter().map(|group| format!("{} {}", group.emoji, group.count)).collect()
}

#[test]
fn r05_t21_the_reactions_of_what_a_name_means() {
    let mut story = garden();
    story.community("zoe", false).join("bob", "zoe");
    // Two messages `m`: alice's, indexed first, and bob's.
    story.say("alice", "m", "first").say("bob", "m", "second").say("bob", "n", "other");
    let uri = |who: &str| format!("at://did:plc:{who}/social.colibri.message/m");
    story.react("bob", "1", "👍", &uri("alice")).react("alice", "2", "🎉", &uri("bob")).react(
        "bob",
        "3",
        "👍",
        &uri("bob"),
    );
    story.react("alice", "4", "👍", &uri("bob")).react("bob", "5", "🌿", "n");
    let service = Service::live(&story);
    let of = |name: &str| short(&block_on(reactions::of_message(&service.store, name)).unwrap());
    assert_eq!(of(&uri("alice")), ["👍 1"]);
    assert_eq!(of(&uri("bob")), ["👍 2", "🎉 1"], "O03: by count, then by first arrival");
    assert_eq!(of("m"), ["👍 1"], "T21: the message indexed first");
    assert_eq!(of("n"), ["🌿 1"]);
    assert_eq!(of("unknown"), Vec::<String>::new());
    assert_eq!(of("at://did:plc:bob/nonsense"), Vec::<String>::new());
    let (page, _) = block_on(reads::messages(&service.store, CDN, "k", &Start::Newest, 50)).unwrap();
    let each: Vec<_> = page.iter().map(|row| (row.core.text.as_str(), short(&row.reactions))).collect();
    assert_eq!(
        each,
        [
            ("other", vec!["🌿 1".to_owned()]),
            ("second", vec!["👍 2".to_owned(), "🎉 1".to_owned()]),
            ("first", vec!["👍 1".to_owned()])
        ],
        "B-05: each message shows its own"
    );
    service.store.exec(&format!("INSERT INTO blocks (uri, blocked_at) VALUES ('{}', '')", uri("alice")));
    assert_eq!(of("m"), Vec::<String>::new(), "B-14: blocked, and nobody takes its place");
    assert_eq!(of(&uri("alice")), Vec::<String>::new());
    let mut gone = story.clone();
    gone.delete("bob", "message/n");
    let gone = Service::live(&gone);
    assert!(block_on(reactions::of_message(&gone.store, "n")).unwrap().is_empty(), "deleted");
}

/// One row holds at most 2 MB: a message that collects more than that must not hide its channel.
#[test]
fn o03_any_number_of_reactions_can_be_read() {
    let mut story = garden();
    story.say("bob", "m", "liked").react("bob", "mine", "👍", "m");
    let service = Service::live(&story);
    // 20,000 people, and one person 5,000 times.
    service.store.exec(
        "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 25000)
         INSERT INTO reactions (uri, reactor_did, target_uri, emoji, rev, indexed_at)
         SELECT 'at://did:plc:p' || min(n, 20000) || '/social.colibri.reaction/r' || n, 'did:plc:p' || min(n, 20000),
                'at://did:plc:bob/social.colibri.message/m', '👍', '1', printf('2030-01-01T00:00:00.%06dZ', n) FROM n",
    );
    let (messages, _) = block_on(reads::messages(&service.store, CDN, "k", &Start::Newest, 50)).unwrap();
    let uri = messages.first().map(|message| message.core.rkey.to_string());
    assert_eq!(uri.as_deref(), Some("m"));
    for groups in [
        messages.into_iter().next().unwrap().reactions,
        block_on(reactions::of_message(&service.store, "m")).unwrap(),
        block_on(reactions::of_channel(&service.store, "k", None, 10)).unwrap().0.remove(0).1,
    ] {
        assert_eq!(short(&groups), ["👍 20001"], "each person once");
        assert_eq!(groups[0].reactor_dids[0], did("bob"), "by arrival");
        assert_eq!(
            groups[0].rkeys.last().map(Rkey::as_str),
            Some("r20000"),
            "the oldest record of each person"
        );
    }
}

#[test]
fn r06_b05_the_reactions_of_a_channel() {
    let mut story = garden();
    story
        .say("alice", "m", "first")
        .say("bob", "m", "second")
        .say("bob", "n", "other")
        .say("bob", "o", "none");
    let uri = |who: &str| format!("at://did:plc:{who}/social.colibri.message/m");
    story
        .react("bob", "1", "👍", &uri("alice"))
        .react("alice", "2", "🎉", &uri("bob"))
        .react("bob", "3", "🌿", "n");
    let service = Service::live(&story);
    let walked = |service: &Service, channel: &str, limit| {
        walk(async |after| {
            let (entries, end) = reactions::of_channel(&service.store, channel, after, limit).await?;
            let entries = entries.iter().map(|(key, groups)| format!("{key}: {}", short(groups).join(" ")));
            Ok((entries.collect(), end))
        })
    };
    let second = uri("bob");
    for limit in [1, 2, 3, 1000] {
        assert_eq!(
            walked(&service, "k", limit),
            ["n: 🌿 1".to_owned(), format!("{second}: 🎉 1"), "m: 👍 1".to_owned()],
            "newest first; the second `m` under its AT-URI; pages of {limit}"
        );
    }
    assert!(walked(&service, "unknown", 10).is_empty());
    service.store.exec(&format!("INSERT INTO blocks (uri, blocked_at) VALUES ('{}', '')", uri("alice")));
    assert_eq!(
        walked(&service, "k", 10),
        ["n: 🌿 1".to_owned(), format!("{second}: 🎉 1")],
        "T21: what people do not see keeps its key"
    );
}

#[test]
fn r11_owned_by_rkey_and_joined_by_uri() {
    let mut story = Story::default();
    story.community("zoe", true).community("alice", false).community("carol", true).community("dan", false);
    story.create("bob", "community/z", json!({ "name": "Zed" })).create(
        "bob",
        "community/a",
        json!({ "name": "Ay" }),
    );
    for (n, owner) in ["zoe", "alice", "carol", "dan"].into_iter().enumerate() {
        story.create("bob", &format!("membership/{n}"), super::story::membership(owner));
    }
    story.create("bob", "membership/again", super::story::membership("alice"));
    story.create(
        "zoe",
        "approval/1",
        json!({ "membership": "at://did:plc:bob/social.colibri.membership/0", "createdAt": "2026-03-01T12:00:00Z" }),
    );
    let service = Service::live(&story);
    service
        .store
        .exec("INSERT INTO bans (community_uri, member_did, banned_at) VALUES ('at://did:plc:dan/social.colibri.community/c', 'did:plc:bob', '')");
    let body = |who: &str| {
        let found = block_on(communities::of_person(&service.store, &did(who), false)).unwrap();
        let names = |list: Vec<colibri_edge::wire::bodies::Community>| {
            list.iter().map(|row| format!("{} {}", row.owner_did, row.rkey)).collect::<Vec<_>>()
        };
        (names(found.owned), names(found.joined))
    };
    let (owned, joined) = body("bob");
    assert_eq!(owned, ["did:plc:bob a", "did:plc:bob z"], "by rkey");
    assert_eq!(
        joined,
        ["did:plc:alice c", "did:plc:zoe c"],
        "pending in an open one and approved; not pending in carol's (B-08), not banned in dan's; each once"
    );
    assert_eq!(body("alice"), (vec!["did:plc:alice c".into()], vec![]), "never joined: what one owns");
    assert_eq!(body("nobody"), (vec![], vec![]));
    let mut gone = story.clone();
    gone.delete("alice", "community/c");
    let gone = Service::live(&gone);
    let joined = block_on(communities::of_person(&gone.store, &did("bob"), false)).unwrap().joined;
    assert!(joined.iter().all(|row| row.owner_did != did("alice")), "I70: listed nowhere");
}

#[test]
fn r13_b42_b47_the_sidebar() {
    let mut story = garden();
    story.create("alice", "category/x", json!({ "name": "B", "community": "c", "channelOrder": ["p"] }));
    story.create("alice", "category/y", json!({ "name": "A", "community": "c" }));
    for (rkey, name, category) in [("o", "a", "x"), ("p", "b", "x"), ("q", "c", "y"), ("r", "d", "gone")] {
        story.create(
            "alice",
            &format!("channel/{rkey}"),
            json!({ "name": name, "type": "text", "community": "c", "category": category }),
        );
    }
    let shown = |story: &Story| {
        let service = Service::live(story);
        let community = "at://did:plc:alice/social.colibri.community/c";
        let sidebar = block_on(communities::sidebar_of(&service.store, community)).unwrap();
        let names = |channels: &[colibri_edge::wire::bodies::Channel]| {
            channels.iter().map(|row| row.rkey.to_string()).collect::<Vec<_>>().join(" ")
        };
        let categories: Vec<_> =
            sidebar.categories.iter().map(|row| format!("{}: {}", row.rkey, names(&row.channels))).collect();
        format!("{} || {}", categories.join(" | "), names(&sidebar.uncategorized))
    };
    assert_eq!(shown(&story), "y: q | x: p o || r k", "by name; channelOrder; uncategorized by name");
    let mut ordered = story.clone();
    ordered.update(
        "alice",
        "community/c",
        json!({ "name": "Garden", "requiresApprovalToJoin": false, "categoryOrder": ["x"] }),
    );
    assert_eq!(shown(&ordered), "x: p o | y: q || r k", "categoryOrder");
    ordered.delete("alice", "category/x");
    assert_eq!(shown(&ordered), "y: q || o p r k", "B-47: its channels are without one");
    ordered.delete("alice", "community/c");
    assert_eq!(shown(&ordered), " || ", "B-42: nothing");
}

#[test]
fn r22_how_far_a_person_has_read() {
    let mut story = garden();
    let channel = |rkey: &str| format!("at://did:plc:alice/social.colibri.channel/{rkey}");
    for (record, rkey, cursor) in [
        ("1", "b", "2026-02-01T12:00:00Z"),
        ("2", "a", "2026-02-01T12:00:00Z"),
        ("3", "k", "2026-02-15T14:30:00.5+00:00"),
        ("4", "k", "2026-02-02T00:00:00Z"),
    ] {
        story.create(
            "bob",
            &format!("channel.read/{record}"),
            json!({ "channel": channel(rkey), "cursor": cursor }),
        );
    }
    let service = Service::live(&story);
    for limit in [1, 2, 3, 1000] {
        let walked = walk(async |after| {
            let (reads, end) =
                people::channel_reads(&service.store, "did:plc:bob", false, after.as_ref(), limit).await?;
            Ok((reads.iter().map(|row| format!("{} {}", row.channel_uri, row.cursor_at)).collect(), end))
        });
        assert_eq!(
            walked,
            [
                format!("{} 2026-02-15T14:30:00.500Z", channel("k")),
                format!("{} 2026-02-01T12:00:00.000Z", channel("a")),
                format!("{} 2026-02-01T12:00:00.000Z", channel("b")),
            ],
            "I38: never back; newest first, ties by channel; pages of {limit}"
        );
    }
    let nobody = block_on(people::channel_reads(&service.store, "did:plc:x", false, None, 10)).unwrap();
    assert!(nobody.0.is_empty());
}

#[test]
fn r04_i37_what_is_looked_up_is_cached() {
    use colibri_edge::pipeline::remember;
    use colibri_edge::wire::profile::LookedUp;
    let mut service = Service::live(&garden());
    let profile = |name: &str| LookedUp { display_name: Some(name.into()), ..LookedUp::default() };
    let look_up = |service: &Service, who: &str, name: &str| {
        service.store.break_next(super::sqlite::Break::Conflict);
        block_on(remember(&service.store, &did(who), &profile(name), &service.settings(), Micros(START)))
            .unwrap();
    };
    let name = |service: &Service, who: &str| {
        let found = block_on(people::person(&service.store, &did(who))).unwrap();
        found.map(|cached| (cached.person.display_name, cached.updated_at.ends_with('Z')))
    };
    assert_eq!(name(&service, "stranger"), None);
    look_up(&service, "stranger", "Stranger");
    assert_eq!(service.store.struck.get(), 1, "another writer came first, and it was done again");
    assert_eq!(name(&service, "stranger"), Some((Some("Stranger".into()), true)));
    look_up(&service, "stranger", "Impostor");
    assert_eq!(name(&service, "stranger"), Some((Some("Stranger".into()), true)), "known already");
    let mut story = garden();
    story.profile("bob", json!({ "displayName": "Bob" }));
    service.batch(&story.frames[story.frames.len() - 1..]);
    look_up(&service, "bob", "Old name");
    assert_eq!(name(&service, "bob"), Some((Some("Bob".into()), true)), "his own record is newer");
    assert!(
        service.announced.iter().all(|announced| !announced.event.get().contains("Stranger")),
        "R04: no events"
    );
}

/// An admin's first questions; this finds a broken view before the console does.
#[test]
fn the_views_answer() {
    let mut story = garden();
    story.say("bob", "1", "hello").say("eve", "2", "let me in");
    let service = Service::live(&story);
    let overview = "SELECT name, joining, channels, members, messages, bans FROM community_overview";
    assert_eq!(service.store.look(overview), ["Garden|open|1|2|1|0"], "the owner and bob");
    assert_eq!(
        service.store.look("SELECT community, channel, text FROM recent_messages"),
        ["Garden|hall|hello"]
    );
    service.store.exec(
        "UPDATE people SET handle = 'bob.test' WHERE did = 'did:plc:bob';
         UPDATE people SET handle = 'alice.test' WHERE did = 'did:plc:alice';
         INSERT INTO people (did, handle, updated_at) VALUES ('did:plc:eve', 'eve.test', '') ON CONFLICT DO UPDATE SET handle = 'eve.test'",
    );
    assert_eq!(
        service.store.look("SELECT at, author FROM recent_messages"),
        ["2026-03-01T12:00:00.000Z|bob.test"],
        "a handle, and the API's form of a time"
    );
    assert_eq!(
        service.store.look("SELECT owner, last_message_at FROM community_overview"),
        ["alice.test|2026-03-01T12:00:00.000Z"]
    );
    assert_eq!(service.store.look("SELECT newest_author FROM refusals_by_reason"), ["eve.test"]);
    // What clients do not see is not counted.
    service.store.exec(
        "INSERT INTO blocks (uri, blocked_at) VALUES ('at://did:plc:bob/social.colibri.message/1', '')",
    );
    assert_eq!(service.store.look(overview), ["Garden|open|1|2|0|0"], "a blocked message");
    service.store.exec(
        "INSERT INTO bans (community_uri, member_did, banned_at)
         SELECT uri, 'did:plc:bob', '' FROM communities",
    );
    assert_eq!(service.store.look(overview), ["Garden|open|1|1|0|1"], "a banned member");
    service.store.exec("DELETE FROM bans; UPDATE communities SET requires_approval_to_join = 1");
    assert_eq!(service.store.look(overview), ["Garden|approval|1|1|0|0"], "nobody approved bob");
    service.store.exec("UPDATE communities SET hidden = 1");
    assert!(service.store.look(overview).is_empty(), "a community whose owner is not active");
    assert_eq!(
        service.store.look("SELECT host, cursor_at, held_records FROM ingest_status"),
        ["test|2026-03-01T12:00:04.000Z|0"]
    );
    assert_eq!(service.store.look("SELECT reason, count FROM refusals_by_reason"), ["author_not_a_member|1"]);
}

#[test]
fn r60_r61_the_operator_sees_every_community_and_what_was_refused() {
    let mut story = garden();
    story.community("carol", true);
    story.say("mallory", "m1", "not a member");
    let service = Service::live(&story);
    let listed = walk(async |after: Option<AtUri>| {
        let (rows, end) = operator::communities(&service.store, after.as_ref(), 1).await?;
        Ok((rows.into_iter().map(|row| format!("{} {}", row.owner_did, row.name)).collect(), end))
    });
    assert_eq!(listed.len(), 2, "{listed:?}");
    assert!(listed.is_sorted(), "{listed:?}");
    let overview = block_on(operator::overview(&service.store)).unwrap();
    let [refused] = &overview.refusals[..] else { panic!("{overview:?}") };
    assert_eq!(refused.count, 1);
    assert_eq!(refused.example.as_deref(), Some("at://did:plc:mallory/social.colibri.message/m1"));
    assert!(overview.repositories.is_sorted_by_key(|due| due.next_attempt_at.clone()));
    assert!(overview.repositories.iter().any(|due| due.did.as_str() == "did:plc:bob"), "{overview:?}");
}
