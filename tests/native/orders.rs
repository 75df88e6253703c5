//! Repositories reach the service in any order, because nothing orders one after another: communities of
//! both forms and the people in them, woven together at random, in random batches and with repetitions.
//! What people see in the end is always the same, and each thing was published once (I01, I41, I60, N12).

use proptest::prelude::*;
use serde_json::{Value, json};

use super::histories::config;
use super::story::{
    HALL, PLACE, Service, Story, frame, member, membership, message_in, moderation, newest_channel, reaction,
    role,
};

const PEOPLE: [&str; 4] = ["bob", "carol", "dave", "eve"];
/// The channel that only holders of a role and named people may post in.
const DESK: &str = "at://did:plc:nest/social.colibri.channel/desk";
/// The channel of the old form.
const YARD: &str = "at://did:plc:alice/social.colibri.channel/yard";

/// What a person does; `None` of `admitted` is nothing, else whether with the role.
#[derive(Clone, Debug)]
struct Life {
    asks: bool,
    admitted: Option<bool>,
    joins_old: bool,
    banned: bool,
    says: Vec<u8>,
    reacts: Vec<(u8, u8)>,
}

fn life() -> impl Strategy<Value = Life> {
    let weighted = prop::bool::weighted;
    (
        weighted(0.7),
        prop::option::weighted(0.7, any::<bool>()),
        weighted(0.6),
        weighted(0.2),
        prop::collection::vec(0..4u8, 0..6),
        prop::collection::vec((0..4u8, 0..6u8), 0..4),
    )
        .prop_map(|(asks, admitted, joins_old, banned, says, reacts)| Life {
            asks,
            admitted,
            joins_old,
            banned,
            says,
            reacts,
        })
}

/// Every repository's own history.
fn repositories(lives: &[Life]) -> Vec<Vec<String>> {
    let of = |write: &dyn Fn(&mut Story)| {
        let mut story = Story::default();
        write(&mut story);
        story.frames
    };
    let nest = of(&|story| {
        story.newest("nest");
        story.create("nest", "role/desk", role(10, &[], false));
        let mut desk = newest_channel("social.colibri.channel.text");
        desk["allowedRoles"] = json!(["desk"]);
        desk["allowedMembers"] = json!(["did:plc:bob"]);
        story.create("nest", "channel/desk", desk);
        for (who, life) in PEOPLE.iter().zip(lives) {
            if let Some(desk) = life.admitted {
                story.create(
                    "nest",
                    &format!("member/{who}"),
                    member(who, if desk { &["desk"] } else { &[] }),
                );
            }
            if life.banned {
                story.create(
                    "nest",
                    &format!("moderation/{who}"),
                    moderation("ban", &format!("did:plc:{who}")),
                );
            }
        }
    });
    let alice = of(&|story| {
        story.community("alice", false);
        story.create("alice", "channel/yard", json!({ "name": "yard", "type": "text", "community": "c" }));
    });
    let theirs = PEOPLE.iter().zip(lives).map(|(who, life)| {
        of(&|story| {
            if life.asks {
                story.ask_to_join(who, "nest");
            }
            if life.joins_old {
                story.create(who, "membership/o", membership("alice"));
            }
            for (n, channel) in life.says.iter().enumerate() {
                let channel = [HALL, DESK, YARD, "yard"][usize::from(*channel)];
                let mut record = message_in(channel, &format!("{n} of {who}"));
                record["createdAt"] = json!(format!("2026-03-01T12:00:{n:02}Z"));
                story.create(who, &format!("message/{who}{n}"), record);
            }
            for (n, (author, message)) in life.reacts.iter().enumerate() {
                let author = PEOPLE[usize::from(*author)];
                let target = format!("at://did:plc:{author}/social.colibri.message/{author}{message}");
                // Its key names both, for `told`.
                story.create(who, &format!("reaction/{who}-{author}-{n}"), reaction("🌿", &target));
            }
        })
    });
    [nest, alice].into_iter().chain(theirs).collect()
}

/// A frame at another place of the stream.
fn moved(text: &str, at: usize) -> String {
    let mut frame: Value = serde_json::from_str(text).unwrap();
    frame["time_us"] = json!(super::story::START + i64::try_from(at).unwrap() * 1_000);
    frame.to_string()
}

/// All repositories as one stream: `choices` say which of them comes next.
fn woven(repositories: &[Vec<String>], choices: &[usize]) -> Vec<String> {
    let mut left: Vec<_> = repositories.iter().map(|frames| frames.iter().peekable()).collect();
    let mut choices = choices.iter().cycle();
    let mut stream = Vec::new();
    loop {
        left.retain_mut(|frames| frames.peek().is_some());
        let Some(frames) = choices.next().filter(|_| !left.is_empty()).map(|choice| choice % left.len())
        else {
            return stream;
        };
        let frame = left[frames].next().unwrap();
        stream.push(moved(frame, stream.len()));
    }
}

/// What people see of both communities. A ban by record hides reactions where they are read (N160j).
fn seen(service: &Service) -> Vec<String> {
    [
        "SELECT uri, channel_uri, text FROM messages WHERE NOT hidden ORDER BY uri",
        "SELECT r.target_uri, r.emoji, r.uri FROM reactions r JOIN messages m ON m.uri = r.target_uri
         WHERE NOT m.hidden AND NOT EXISTS (SELECT 1 FROM bans b WHERE r.uri LIKE 'at://' || b.member_did || '/%')
         ORDER BY r.uri",
        "SELECT uri, community_uri FROM memberships ORDER BY uri",
        "SELECT uri, member_did, roles FROM members ORDER BY uri",
        "SELECT community_uri, member_did FROM bans ORDER BY 1, 2",
        "SELECT uri, name FROM channels ORDER BY uri",
    ]
    .into_iter()
    .flat_map(|sql| service.store.look(sql))
    .collect()
}

/// The published events about what those say who are not banned. How somebody became a member is told
/// differently, as it happened differently.
fn told(service: &Service, lives: &[Life]) -> Vec<String> {
    let banned: Vec<_> =
        PEOPLE.iter().zip(lives).filter(|(_, life)| life.banned).map(|(who, _)| who).collect();
    let mut events: Vec<String> = service
        .announced
        .iter()
        .map(|announced| (announced.scope.to_string(), frame(announced)))
        .filter(|(_, event)| !event["type"].as_str().is_some_and(|kind| kind.starts_with("member")))
        .map(|(scope, event)| format!("{scope} {} {}", event["type"], event["rkey"]))
        .filter(|event| !event.contains("null") && !banned.iter().any(|who| event.contains(**who)))
        .collect();
    events.sort();
    events
}

proptest! {
    #![proptest_config(config(96))]

    #[test]
    fn i60_n12_whatever_the_order_of_repositories_people_see_the_same(
        lives in prop::collection::vec(life(), PEOPLE.len()),
        choices in prop::collection::vec(0..60usize, 1..80),
        sizes in prop::collection::vec((1..12usize, 0..6usize), 1..20),
    ) {
        let repositories = repositories(&lives);
        // The communities first, and then person by person.
        let plain = Service::live(&Story { frames: woven(&repositories, &[0]) });
        let stream = woven(&repositories, &choices);
        let (mut service, mut done, mut sizes) = (Service::new(), 0, sizes.into_iter().cycle());
        while done < stream.len() {
            let (size, back) = sizes.next().unwrap();
            let end = stream.len().min(done + size);
            service.batch(&stream[done.saturating_sub(back)..end]);
            done = end;
        }
        prop_assert_eq!(seen(&plain), seen(&service), "{:#?}", stream);
        prop_assert_eq!(told(&plain, &lives), told(&service, &lives), "{:#?}", stream);
        prop_assert!(plain.store.look("SELECT uri FROM communities ORDER BY uri").contains(&PLACE.to_owned()));
    }
}
