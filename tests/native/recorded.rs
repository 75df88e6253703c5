//! Frames as the network really sends them (`tests/fixtures/network.jsonl`, recorded from a real
//! PDS): each is parsed as what it is, and the whole file leads to the state that its story
//! describes.
//!
//! DIDs differ with each recording, so people are named by their first handle here.

use std::collections::BTreeMap;

use colibri_edge::storage::reads::communities;
use colibri_edge::wire::jetstream::{Frame, What, Write, parse};
use colibri_edge::wire::records::{ReadUpTo, Record};
use futures::executor::block_on;

use super::story::{Service, Story};

const COMMUNITY: &str = "at://did:plc:alice/social.colibri.community/garden";

/// The recording, with people's names for their DIDs: `did:plc:alice`.
fn recording() -> Story {
    let text = std::fs::read_to_string("tests/fixtures/network.jsonl").unwrap();
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    for line in text.lines() {
        let Frame { did, what, .. } = parse(line).unwrap();
        if let What::Identity { handle: Some(handle) } = what {
            names.entry(did.to_string()).or_insert_with(|| handle.replace(".test", ""));
        }
    }
    assert_eq!(names.values().collect::<Vec<_>>().len(), 4, "four people: {names:?}");
    let named = names.iter().fold(text, |text, (did, name)| text.replace(did, &format!("did:plc:{name}")));
    Story { frames: named.lines().map(str::to_owned).collect() }
}

/// The result of parsing a frame, in short form.
fn read_as(line: &str) -> String {
    let Frame { did, what, .. } = parse(line).unwrap_or_else(|error| panic!("{error:?}: {line}"));
    let who = did.as_str().replace("did:plc:", "");
    let commit = match what {
        What::Identity { handle } => return format!("{who} is {}", handle.unwrap_or_default()),
        What::Account { active: true, .. } => return format!("{who} active"),
        What::Account { status, .. } => return format!("{who} {}", status.unwrap_or_default()),
        What::Passing => return format!("{who} passing"),
        What::Refused(error) => panic!("{error:?}: {line}"),
        What::Commit(commit) => commit,
    };
    let collection = commit.collection.nsid().rsplit('.').next().unwrap();
    match commit.write {
        Write::Delete => format!("{who} deletes {collection}"),
        Write::Put { record: Err(invalid), .. } => format!("{who} {collection} {}", invalid.reason()),
        Write::Put { record: Ok(record), is_create, .. } => {
            format!("{who} {} {collection} {}", if is_create { "creates" } else { "updates" }, said(&record))
        }
    }
}

/// The contents of a record, in short form.
fn said(record: &Record) -> String {
    let given =
        |field: &Option<String>, name: &str| field.as_ref().map_or(String::new(), |_| format!(" +{name}"));
    match record {
        Record::Message(message) => format!(
            "{:?} in {}{}{}{}{}",
            message.text,
            message.channel,
            given(&message.parent, "parent"),
            given(&message.facets, "facets"),
            given(&message.attachments, "attachments"),
            if message.edited { " edited" } else { "" }
        ),
        Record::Reaction(reaction) => {
            let by = if reaction.target.starts_with("at://") { "AT-URI" } else { "rkey" };
            format!("{} by {by}", reaction.emoji)
        }
        Record::Community(community) => format!(
            "{:?} approval={} {:?}{}{}",
            community.name,
            community.requires_approval_to_join,
            community.description.clone().unwrap_or_default(),
            given(&community.picture, "picture"),
            given(&community.category_order, "order"),
        ),
        Record::Channel(channel) => format!(
            "{:?} {} of {} in {:?} owner_only={}",
            channel.name, channel.channel_type, channel.community, channel.category, channel.owner_only
        ),
        Record::Category(category) => {
            format!("{:?} {}", category.name, category.channel_order.clone().unwrap_or_default())
        }
        Record::Membership(membership) => format!("of {}", membership.community),
        Record::Approval(approval) => format!(
            "of {}{}",
            approval.membership.authority(),
            given(&approval.community.as_ref().map(ToString::to_string), "community")
        ),
        Record::Member(member) => format!("{} with {} roles", member.subject, member.roles.len()),
        Record::Role(role) => format!("{:?} at {}", role.name, role.position),
        Record::Moderation(moderation) => format!("{} {:?}", moderation.action, moderation.about),
        Record::Actor(actor) => format!("{:?} {:?}", actor.status, actor.emoji),
        Record::ActorProfile(own) => format!("{:?} {}", own.profile.display_name, own.sync_bluesky),
        Record::Mute(mute) => mute.subject.to_string(),
        Record::Preference(preference) => preference.level.clone(),
        Record::ChannelRead(read) => format!(
            "{} until {}",
            read.channel,
            match &read.cursor {
                ReadUpTo::Time(time) => time.shown(),
                ReadUpTo::Message(message) => message.to_string(),
            }
        ),
        Record::Profile(profile) => format!(
            "{:?} {:?}{}{}",
            profile.display_name,
            profile.description,
            given(&profile.avatar_cid, "avatar"),
            given(&profile.banner_cid, "banner")
        ),
    }
}

#[test]
fn every_recorded_frame_is_read_as_what_it_is() {
    let read: Vec<String> = recording().frames.iter().map(|line| read_as(line)).collect();
    assert_eq!(
        read,
        [
            "alice is alice.test",
            "alice active",
            "bob is bob.test",
            "bob active",
            "carol is carol.test",
            "carol active",
            "dave is dave.test",
            "dave active",
            r#"alice creates profile Some("Alice") Some("Gardener") +avatar +banner"#,
            r#"alice creates community "Garden" approval=true "Plants and people" +picture +order"#,
            r#"alice creates category "Paths" ["hall","notices"]"#,
            r#"alice creates channel "hall" text of garden in Some("paths") owner_only=false"#,
            r#"alice creates channel "notices" text of garden in Some("paths") owner_only=true"#,
            r#"alice creates channel "lounge" voice of garden in None owner_only=false"#,
            "bob creates membership of at://did:plc:alice/social.colibri.community/garden",
            r#"bob creates message "too early" in hall"#,
            "alice creates approval of did:plc:bob +community",
            r#"bob creates message "Hello 🌿 Garden, see #hall" in hall +facets +attachments"#,
            r#"alice creates message "Welcome, bob" in at://did:plc:alice/social.colibri.channel/hall +parent"#,
            r#"bob creates message "not his channel" in notices"#,
            r#"alice creates message "Water the plants" in notices"#,
            r#"bob creates message "Watering can found" in hall"#,
            r#"bob updates message "Watering can found!" in hall edited"#,
            r#"bob creates message "Never mind" in hall"#,
            "bob deletes message",
            "bob message record_malformed",
            "alice creates reaction 👍 by AT-URI",
            "alice creates reaction 🌿 by rkey",
            "bob creates reaction 🎉 by rkey",
            "bob deletes reaction",
            r#"bob creates profile Some("Bob") None"#,
            r#"bob creates data "Reading" Some("📚")"#,
            "bob creates read at://did:plc:alice/social.colibri.channel/hall until 2026-11-21T08:00:00.000Z",
            "bob updates read at://did:plc:alice/social.colibri.channel/hall until 2026-11-21T09:00:00.000Z",
            "bob is robert.test",
            r#"bob updates profile Some("Robert") Some("Was Bob")"#,
            r#"bob updates data "Writing" None"#,
            "carol creates membership of at://did:plc:alice/social.colibri.community/garden",
            "carol creates approval of did:plc:carol +community",
            r#"carol creates message "let me in" in hall"#,
            "carol creates reaction 👀 by AT-URI",
            "carol deletes approval",
            "carol deletes membership",
            r#"carol creates data "Elsewhere" None"#,
            "carol deletes data",
            "dave creates membership of at://did:plc:alice/social.colibri.community/garden",
            "alice creates approval of did:plc:dave +community",
            r#"dave creates message "Back in a minute" in hall"#,
            "alice creates reaction 👋 by AT-URI",
            "dave deactivated",
            "dave active",
            "dave is dave.test",
            "alice deletes approval",
            r#"dave creates message "Anybody?" in hall"#,
            r#"alice updates community "Old Garden" approval=true "" +picture +order"#,
            r#"alice updates channel "great hall" text of garden in Some("paths") owner_only=false"#,
            r#"alice updates category "Ways" ["hall"]"#,
            r#"alice creates category "Sheds" []"#,
            "alice deletes category",
            "alice deletes channel",
            "alice creates membership of at://did:plc:alice/social.colibri.community/garden",
            "alice deletes profile",
            r#"bob creates message "Good night" in hall"#,
        ]
    );
}

/// The final index and the published events, however the stream was cut: event by event, or in one
/// batch and then once more.
#[test]
fn the_recorded_stream_ends_in_the_state_its_story_says() {
    let recording = recording();
    // Three hours later, after all times in its records.
    let then = parse(&recording.frames[0]).unwrap().time.0 + 3 * 3_600_000_000;
    let mut live = Service { now: then, ..Service::new() };
    recording.frames.iter().for_each(|frame| live.batch(std::slice::from_ref(frame)));
    let mut whole = Service { now: then, ..Service::new() };
    whole.batch(&recording.frames);
    whole.batch(&recording.frames);
    let events = |service: &Service| -> Vec<String> {
        service.published().iter().map(|event| without_tids(event)).collect()
    };
    assert_eq!(events(&whole), events(&live), "one batch or many; twice");
    // An invalid record leaves nothing behind, so it counts each time it comes.
    let index = |service: &Service| -> Vec<String> {
        service.store.index().into_iter().filter(|row| row != "refusals|record_malformed|2").collect()
    };
    let index_live: Vec<String> =
        live.store.index().into_iter().filter(|row| row != "refusals|record_malformed|1").collect();
    assert_eq!(index(&whole), index_live, "one batch or many; twice");
    assert_eq!(
        events(&live),
        [
            "community_upserted garden",
            "category_created paths",
            "channel_created hall",
            "channel_created notices",
            "channel_created lounge",
            "member_pending bob",
            "member_joined bob",
            r#"message "Hello 🌿 Garden, see #hall""#,
            r#"message "Welcome, bob""#,
            "thread_updated",
            r#"message "Water the plants""#,
            r#"message "Watering can found""#,
            r#"message "Watering can found!""#,
            r#"message "Never mind""#,
            "message_deleted",
            "reaction_added 👍",
            "reaction_added 🌿",
            "reaction_added 🎉",
            "reaction_removed 🎉",
            r#"user_profile_updated bob "Bob""#,
            r#"user_status_changed bob "Reading""#,
            r#"user_profile_updated bob "Robert""#,
            r#"user_status_changed bob "Writing""#,
            "member_pending carol",
            "member_left carol",
            "community_deleted garden *carol",
            r#"user_status_changed carol "Elsewhere""#,
            r#"user_status_changed carol """#,
            "member_pending dave",
            "member_joined dave",
            r#"message "Back in a minute""#,
            "reaction_added 👋",
            "message_deleted",
            "member_left dave",
            "member_joined dave",
            "member_left dave",
            "community_upserted garden",
            "channel_created hall",
            "category_created paths",
            "category_created sheds",
            "category_deleted sheds",
            "channel_deleted lounge",
            r#"message "Good night""#,
        ]
    );

    let look = |sql: &str| live.store.look(sql);
    assert_eq!(
        look("SELECT author_did, text FROM recent_messages ORDER BY sort_at"),
        [
            "did:plc:bob|Hello 🌿 Garden, see #hall",
            "did:plc:alice|Welcome, bob",
            "did:plc:alice|Water the plants",
            "did:plc:bob|Watering can found!",
            "did:plc:dave|Back in a minute",
            "did:plc:bob|Good night"
        ]
    );
    let members =
        block_on(communities::members(&live.store, "https://cdn.test", COMMUNITY, None, 50)).unwrap().0;
    let members: Vec<String> = members
        .into_iter()
        .map(|member| {
            format!(
                "{} {} {:?} {:?}",
                member.member_did, member.status, member.person.display_name, member.person.status_text
            )
        })
        .collect();
    assert_eq!(
        members,
        [
            "did:plc:alice owner None None",
            r#"did:plc:bob approved Some("Robert") Some("Writing")"#,
            "did:plc:dave pending None None"
        ]
    );
    assert_eq!(
        look(
            "SELECT reactor_did, emoji, (SELECT text FROM messages m WHERE m.uri = target_uri) FROM reactions ORDER BY indexed_at"
        ),
        [
            "did:plc:alice|👍|Hello 🌿 Garden, see #hall",
            "did:plc:alice|🌿|Watering can found!",
            "did:plc:alice|👋|Back in a minute"
        ]
    );
    assert_eq!(
        look("SELECT name, rkey, category_rkey, description, owner_only FROM channels ORDER BY name"),
        ["great hall|hall|paths|Mind the step|0", "notices|notices|paths|null|1"]
    );
    assert_eq!(look("SELECT name, rkey, channel_order FROM categories"), [r#"Ways|paths|["hall"]"#]);
    assert_eq!(
        look(
            "SELECT name, description, picture IS NOT NULL, category_order, requires_approval_to_join FROM communities"
        ),
        [r#"Old Garden|null|1|["paths"]|1"#]
    );
    assert_eq!(
        look("SELECT did, channel_uri, cursor_at FROM channel_reads"),
        ["did:plc:bob|at://did:plc:alice/social.colibri.channel/hall|2026-11-21T09:00:00.000000Z"]
    );
    assert_eq!(
        look("SELECT reason, count FROM refusal_counts ORDER BY reason"),
        ["author_not_approved|4", "channel_owner_only|1", "record_malformed|1"]
    );
    assert_eq!(look("SELECT count(*) FROM held"), ["0"]);
}

/// Keys generated by the PDS differ with each recording.
fn without_tids(event: &str) -> String {
    let is_tid = |word: &&str| word.len() == 13 && word.starts_with('3');
    event.split(' ').filter(|word| !is_tid(word)).collect::<Vec<_>>().join(" ")
}
