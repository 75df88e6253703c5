//! Random histories: whatever the stream does with them (cuts, repetitions, replays from an
//! earlier cursor), the index and what clients are told are those of the plain run (I01, J03).

use super::story::{Service, Story, approval, frame, membership, message_in, reaction};
use proptest::prelude::*;
use serde_json::json;

const PEOPLE: [&str; 4] = ["alice", "bob", "carol", "zoe"];
const OWNERS: [&str; 2] = ["alice", "zoe"];

/// One step of somebody. Numbers choose among few names, so that steps meet.
#[derive(Clone, Debug)]
enum Step {
    Community { owner: usize, approval: bool },
    Channel { owner: usize, rkey: u8, owner_only: bool },
    Join { who: usize, owner: usize },
    Approve { by: usize, who: usize },
    Say { who: usize, rkey: u8, channel: u8, parent: Option<u8> },
    React { who: usize, rkey: u8, emoji: bool, target: u8, of: Option<usize> },
    Edit { who: usize, rkey: u8, channel: u8 },
    Delete { who: usize, what: u8, rkey: u8 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (people, owners) = (0..PEOPLE.len(), 0..OWNERS.len());
    let step = prop_oneof![
        1 => (owners.clone(), any::<bool>()).prop_map(|(owner, approval)| Step::Community { owner, approval }),
        2 => (owners.clone(), 0..2u8, prop::bool::weighted(0.2)).prop_map(|(owner, rkey, owner_only)| Step::Channel { owner, rkey, owner_only }),
        3 => (people.clone(), owners).prop_map(|(who, owner)| Step::Join { who, owner }),
        3 => (people.clone(), people.clone()).prop_map(|(by, who)| Step::Approve { by, who }),
        6 => (people.clone(), 0..3u8, 0..4u8, prop::option::of(0..3u8)).prop_map(|(who, rkey, channel, parent)| Step::Say { who, rkey, channel, parent }),
        5 => (people.clone(), 0..2u8, any::<bool>(), 0..3u8, prop::option::of(people.clone()))
            .prop_map(|(who, rkey, emoji, target, of)| Step::React { who, rkey, emoji, target, of }),
        3 => (people.clone(), 0..3u8, 0..4u8).prop_map(|(who, rkey, channel)| Step::Edit { who, rkey, channel }),
        3 => (people, 0..6u8, 0..3u8).prop_map(|(who, what, rkey)| Step::Delete { who, what, rkey }),
    ];
    prop::collection::vec(step, 1..120)
}

/// Channels by rkey and by AT-URI.
fn channel(n: u8) -> String {
    match n {
        0 | 1 => format!("k{n}"),
        _ => format!("at://did:plc:{}/social.colibri.channel/k{}", OWNERS[usize::from(n % 2)], n % 2),
    }
}

fn tell(steps: &[Step]) -> Story {
    let mut story = Story::default();
    for (n, step) in steps.iter().enumerate() {
        match step {
            Step::Community { owner, approval } => {
                let record = json!({ "name": format!("n{n}"), "requiresApprovalToJoin": approval });
                story.update(OWNERS[*owner], "community/c", record)
            }
            Step::Channel { owner, rkey, owner_only } => {
                let record =
                    json!({ "name": "n", "type": "text", "community": "c", "ownerOnly": owner_only });
                story.update(OWNERS[*owner], &format!("channel/k{rkey}"), record)
            }
            Step::Join { who, owner } => {
                story.update(PEOPLE[*who], "membership/m", membership(OWNERS[*owner]))
            }
            Step::Approve { by, who } => {
                story.update(PEOPLE[*by], &format!("approval/{}", PEOPLE[*who]), approval(PEOPLE[*who]))
            }
            Step::Say { who, rkey, channel: at, parent } => {
                let mut record = message_in(&channel(*at), &format!("t{n}"));
                record["createdAt"] = json!(format!("2026-03-01T12:00:{:02}Z", n % 60));
                if let Some(parent) = parent {
                    record["parent"] = json!(format!("r{parent}"));
                }
                story.create(PEOPLE[*who], &format!("message/r{rkey}"), record)
            }
            Step::React { who, rkey, emoji, target, of } => {
                let target = match of {
                    Some(author) => {
                        format!("at://did:plc:{}/social.colibri.message/r{target}", PEOPLE[*author])
                    }
                    None => format!("r{target}"),
                };
                let record = reaction(if *emoji { "👍" } else { "🌿" }, &target);
                story.create(PEOPLE[*who], &format!("reaction/x{rkey}"), record)
            }
            Step::Edit { who, rkey, channel: at } => story.update(
                PEOPLE[*who],
                &format!("message/r{rkey}"),
                message_in(&channel(*at), &format!("e{n}")),
            ),
            Step::Delete { who, what, rkey } => {
                let path = match what {
                    0 => format!("message/r{rkey}"),
                    1 => "membership/m".into(),
                    2 => format!("approval/{}", PEOPLE[usize::from(*rkey)]),
                    3 => format!("channel/k{}", rkey % 2),
                    4 => format!("reaction/x{}", rkey % 2),
                    _ => "community/c".into(),
                };
                story.delete(PEOPLE[*who], &path)
            }
        };
    }
    story
}

/// What was told, without what depends on when the batch came.
fn transcript(service: &Service) -> Vec<String> {
    service
        .told
        .iter()
        .map(|told| {
            let mut event: serde_json::Value = frame(told);
            for object in ["/message", "/parent_message", "/message/parent_message", ""] {
                if let Some(fields) = event.pointer_mut(object).and_then(serde_json::Value::as_object_mut) {
                    fields.remove("indexed_at");
                }
            }
            format!("{} {:?} {event}", told.scope, told.audience)
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, max_shrink_iters: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn cuts_repetitions_and_replays_change_nothing(
        steps in steps(),
        cuts in prop::collection::vec((1..20usize, 0..15usize), 1..60),
    ) {
        let story = tell(&steps);
        let plain = Service::live(&story);
        let mut service = Service::new();
        let (mut at, mut cuts) = (0, cuts.into_iter().cycle());
        while at < story.frames.len() {
            let (size, back) = cuts.next().unwrap();
            let from = at.saturating_sub(back);
            at = (at + size).min(story.frames.len());
            // A batch that begins before the cursor: a replay after a crash or a host change.
            service.batch(&story.frames[from..at]);
        }
        prop_assert_eq!(transcript(&plain), transcript(&service));
        prop_assert_eq!(plain.store.index(), service.store.index());
    }

    #[test]
    fn other_communities_events_in_between_change_nothing(
        ours in steps(),
        theirs in steps(),
        order in prop::collection::vec(any::<bool>(), 1..40),
        sizes in prop::collection::vec(1..20usize, 1..20),
    ) {
        // Two histories of different people, and the same two woven together.
        let (ours, theirs) = (tell(&ours).frames, elsewhere(&tell(&theirs)).frames);
        let mut woven = Vec::new();
        let (mut left, mut right, mut order) = (ours.iter(), theirs.iter(), order.into_iter().cycle());
        loop {
            let (first, second) = if order.next().unwrap() { (&mut left, &mut right) } else { (&mut right, &mut left) };
            match first.next().or_else(|| second.next()) {
                Some(frame) => woven.push(frame.clone()),
                None => break,
            }
        }
        let mut together = Service::new();
        let (mut rest, mut sizes) = (woven.as_slice(), sizes.into_iter().cycle());
        while !rest.is_empty() {
            let (batch, after) = rest.split_at(sizes.next().unwrap().min(rest.len()));
            together.batch(batch);
            rest = after;
        }
        let alone = Service::live(&Story { frames: ours });
        let ours_of = |service: &Service| -> Vec<String> {
            transcript(service).into_iter().filter(|event| !event.contains(ELSEWHERE)).collect()
        };
        let index_of = |service: &Service| -> Vec<String> {
            service.store.index().into_iter()
                .filter(|row| !row.contains(ELSEWHERE) && !row.starts_with("refusals"))
                .collect()
        };
        prop_assert_eq!(transcript(&alone), ours_of(&together));
        prop_assert_eq!(index_of(&alone), index_of(&together));
    }
}

const ELSEWHERE: &str = "-elsewhere";

/// The same history with other people and other keys, so that nothing of it can meet ours.
fn elsewhere(story: &Story) -> Story {
    let rename = |frame: &String| {
        let mut text = frame.clone();
        for person in PEOPLE {
            text = text.replace(&format!("did:plc:{person}"), &format!("did:plc:{person}{ELSEWHERE}"));
        }
        for key in ["k0", "k1", "r0", "r1", "r2"] {
            text = text.replace(&format!("\"{key}\""), &format!("\"{key}{ELSEWHERE}\""));
            text = text.replace(&format!("/{key}\""), &format!("/{key}{ELSEWHERE}\""));
        }
        text
    };
    Story { frames: story.frames.iter().map(rename).collect() }
}
