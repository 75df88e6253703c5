//! Random histories of records and moderators' decisions: whatever the stream does with them (cuts,
//! repetitions, replays from an earlier cursor), the index and the published events equal those of
//! the plain run (I01, J03).

use super::story::{
    Service, Story, approval, ban, block, frame, join_request, member, membership, message_in, moderation,
    reaction, role, unban,
};
use colibri_edge::domain::moderation::Measure;
use colibri_edge::wire::ids::{AtUri, Did};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::json;

pub(crate) const PEOPLE: [&str; 5] = ["alice", "bob", "carol", "zoe", NEWEST];
const OWNERS: [&str; 3] = ["alice", "zoe", NEWEST];
/// An account that is a community of the newest form.
const NEWEST: &str = "nest";

/// A step of a person. Numbers choose among few names, so that steps interact.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Community { owner: usize, approval: bool },
    Channel { owner: usize, rkey: u8, owner_only: bool, lists: u8 },
    Admit { by: usize, who: usize, rkey: u8, roles: u8 },
    Moderate { by: usize, rkey: u8, lifts: bool, who: usize, message: Option<u8> },
    Role { by: usize, rkey: u8, protected: bool },
    Join { who: usize, owner: usize },
    Approve { by: usize, who: usize },
    Say { who: usize, rkey: u8, channel: u8, parent: Option<u8> },
    React { who: usize, rkey: u8, emoji: bool, target: u8, of: Option<usize> },
    Edit { who: usize, rkey: u8, channel: u8 },
    Delete { who: usize, what: u8, rkey: u8 },
    Block { author: usize, rkey: u8 },
    Ban { owner: usize, who: usize },
    Unban { owner: usize, who: usize },
    Account { who: usize, active: bool },
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (people, owners) = (0..PEOPLE.len(), 0..OWNERS.len());
    let step = prop_oneof![
        1 => (owners.clone(), any::<bool>()).prop_map(|(owner, approval)| Step::Community { owner, approval }),
        2 => (owners.clone(), 0..2u8, prop::bool::weighted(0.2), 0..6u8).prop_map(|(owner, rkey, owner_only, lists)| Step::Channel { owner, rkey, owner_only, lists }),
        4 => (prop::bool::weighted(0.9), people.clone(), 0..2u8, 0..4u8).prop_map(|(nest, who, rkey, roles)| Step::Admit { by: if nest { 4 } else { 1 }, who, rkey, roles }),
        3 => (prop::bool::weighted(0.9), 0..4u8, any::<bool>(), people.clone(), prop::option::of(0..3u8))
            .prop_map(|(nest, rkey, lifts, who, message)| Step::Moderate { by: if nest { 4 } else { 1 }, rkey, lifts, who, message }),
        1 => (prop::bool::weighted(0.9), 0..2u8, any::<bool>()).prop_map(|(nest, rkey, protected)| Step::Role { by: if nest { 4 } else { 1 }, rkey, protected }),
        3 => (people.clone(), owners.clone()).prop_map(|(who, owner)| Step::Join { who, owner }),
        3 => (people.clone(), people.clone()).prop_map(|(by, who)| Step::Approve { by, who }),
        6 => (people.clone(), 0..3u8, 0..5u8, prop::option::of(0..3u8)).prop_map(|(who, rkey, channel, parent)| Step::Say { who, rkey, channel, parent }),
        5 => (people.clone(), 0..2u8, any::<bool>(), 0..3u8, prop::option::of(people.clone()))
            .prop_map(|(who, rkey, emoji, target, of)| Step::React { who, rkey, emoji, target, of }),
        3 => (people.clone(), 0..3u8, 0..5u8).prop_map(|(who, rkey, channel)| Step::Edit { who, rkey, channel }),
        3 => (people.clone(), 0..9u8, 0..3u8).prop_map(|(who, what, rkey)| Step::Delete { who, what, rkey }),
        2 => (people.clone(), 0..3u8).prop_map(|(author, rkey)| Step::Block { author, rkey }),
        2 => (owners.clone(), people.clone()).prop_map(|(owner, who)| Step::Ban { owner, who }),
        2 => (owners, people.clone()).prop_map(|(owner, who)| Step::Unban { owner, who }),
        3 => (people, any::<bool>()).prop_map(|(who, active)| Step::Account { who, active }),
    ];
    prop::collection::vec(step, 1..120)
}

/// Channels by rkey and by AT-URI.
fn channel(n: u8) -> String {
    match n {
        0 | 1 => format!("k{n}"),
        2 | 3 => format!("at://did:plc:{}/social.colibri.channel/k{}", OWNERS[usize::from(n % 2)], n % 2),
        _ => format!("at://did:plc:{NEWEST}/social.colibri.channel/k0"),
    }
}

/// The key of an owner's community.
fn key(owner: &str) -> &'static str {
    if owner == NEWEST { "self" } else { "c" }
}

/// The history, in order: frames of the stream, and decisions through REST, which no stream
/// repeats.
#[derive(Clone, Debug)]
pub(crate) enum Moment {
    Frame(String),
    Decision(Measure),
}

pub(crate) fn moments(steps: &[Step]) -> Vec<Moment> {
    let mut story = Story::default();
    let mut moments = Vec::new();
    // Account events of unknown people are ignored, so everybody becomes known.
    for person in PEOPLE {
        story.create(person, "actor.data/self", json!({ "status": "here" }));
        moments.extend(story.frames.last().cloned().map(Moment::Frame));
    }
    for (n, step) in steps.iter().enumerate() {
        let decision = match step {
            Step::Block { author, rkey } => block(PEOPLE[*author], &format!("r{rkey}")),
            Step::Ban { owner, who } => at(OWNERS[*owner], ban(OWNERS[*owner], PEOPLE[*who])),
            Step::Unban { owner, who } => at(OWNERS[*owner], unban(OWNERS[*owner], PEOPLE[*who])),
            step => {
                write(&mut story, n, step);
                moments.extend(story.frames.last().cloned().map(Moment::Frame));
                continue;
            }
        };
        moments.push(Moment::Decision(decision));
    }
    moments
}

/// The same decision, for the community of its own that the owner may be.
fn at(owner: &str, decision: Measure) -> Measure {
    let place =
        AtUri::parse(&format!("at://did:plc:{owner}/social.colibri.community/{}", key(owner))).unwrap();
    match decision {
        Measure::Ban(_, member, until) => Measure::Ban(place, member, until),
        Measure::Unban(_, member) => Measure::Unban(place, member),
        other => other,
    }
}

/// Facets that mention a person.
fn mention(who: &str) -> serde_json::Value {
    let feature =
        json!({ "$type": "social.colibri.richtext.facet#mention", "did": format!("did:plc:{who}") });
    json!([{ "index": { "byteStart": 0, "byteEnd": 1 }, "features": [feature] }])
}

/// The frame of a step, if it is one.
fn write(story: &mut Story, n: usize, step: &Step) {
    match step {
        Step::Block { .. } | Step::Ban { .. } | Step::Unban { .. } => story,
        Step::Account { who, active } => {
            super::pipeline::account(story, PEOPLE[*who], *active, "deactivated");
            story
        }
        Step::Community { owner, approval } => {
            let record = json!({ "name": format!("n{n}"), "requiresApprovalToJoin": approval });
            story.update(OWNERS[*owner], &format!("community/{}", key(OWNERS[*owner])), record)
        }
        Step::Channel { owner, rkey, owner_only, lists } => {
            let mut record = json!({ "name": "n", "type": "text", "community": key(OWNERS[*owner]), "ownerOnly": owner_only });
            match lists {
                0 => record["allowedRoles"] = json!(["w0"]),
                1 => record["allowedMembers"] = json!(["did:plc:bob"]),
                _ => {}
            }
            story.update(OWNERS[*owner], &format!("channel/k{rkey}"), record)
        }
        Step::Join { who, owner } if OWNERS[*owner] == NEWEST => {
            story.update(PEOPLE[*who], "membership/m", join_request(NEWEST))
        }
        Step::Join { who, owner } => story.update(PEOPLE[*who], "membership/m", membership(OWNERS[*owner])),
        Step::Admit { by, who, rkey, roles } => {
            let roles: &[&str] = [&[][..], &["w0"], &["w1"], &["w0", "w1"]][usize::from(*roles)];
            story.update(PEOPLE[*by], &format!("member/m{rkey}"), member(PEOPLE[*who], roles))
        }
        Step::Moderate { by, rkey, lifts, who, message } => {
            let (action, subject) = match message {
                Some(message) => (
                    if *lifts { "unhideMessage" } else { "hideMessage" },
                    format!("at://did:plc:{}/social.colibri.message/r{message}", PEOPLE[*who]),
                ),
                None => (if *lifts { "unban" } else { "ban" }, format!("did:plc:{}", PEOPLE[*who])),
            };
            story.update(PEOPLE[*by], &format!("moderation/x{rkey}"), moderation(action, &subject))
        }
        Step::Role { by, rkey, protected } => {
            story.update(PEOPLE[*by], &format!("role/w{rkey}"), role(i64::from(*rkey), &[], *protected))
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
            if n.is_multiple_of(3) {
                record["facets"] = mention(PEOPLE[n / 3 % PEOPLE.len()]);
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
                5 => format!("member/m{}", rkey % 2),
                6 => format!("role/w{}", rkey % 2),
                7 => format!("moderation/x{rkey}"),
                _ => format!("community/{}", key(PEOPLE[*who])),
            };
            story.delete(PEOPLE[*who], &path)
        }
    };
}

/// How a property is checked: with the same `usual` histories each time, so that a whole check means the same on every
/// machine. `HISTORIES` names another number, and looks for new ones.
pub(crate) fn config(usual: u32) -> ProptestConfig {
    let (cases, rng_seed) = match std::env::var("HISTORIES") {
        Ok(text) => (text.parse().unwrap_or(usual), RngSeed::Random),
        Err(_) => (usual, RngSeed::Fixed(38)),
    };
    ProptestConfig {
        cases,
        rng_seed,
        max_shrink_iters: 4_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// Each step separately, in order, by a service that caches nothing in between.
fn live(moments: &[Moment]) -> Service {
    let mut service = Service::new();
    for moment in moments {
        service.known.forget();
        match moment {
            Moment::Frame(frame) => service.batch(std::slice::from_ref(frame)),
            Moment::Decision(decision) => drop(service.decide(decision.clone())),
        }
    }
    service
}

/// The published events, without what depends on when the batch came.
fn transcript(service: &Service) -> Vec<String> {
    service
        .announced
        .iter()
        .map(|announced| {
            let mut event: serde_json::Value = frame(announced);
            for object in ["/message", "/parent_message", "/message/parent_message", ""] {
                if let Some(fields) = event.pointer_mut(object).and_then(serde_json::Value::as_object_mut) {
                    fields.remove("indexed_at");
                }
            }
            format!("{} {:?} {event}", announced.scope, announced.audience)
        })
        .collect()
}

proptest! {
    #![proptest_config(config(96))]

    #[test]
    fn cuts_repetitions_and_replays_change_nothing(
        steps in steps(),
        cuts in prop::collection::vec((1..20usize, 0..15usize), 1..60),
    ) {
        let moments = moments(&steps);
        let plain = live(&moments);
        let mut service = Service::new();
        let mut cuts = cuts.into_iter().cycle();
        let mut cut = |service: &mut Service, seen: &[String], fresh: &mut Vec<String>| {
            while !fresh.is_empty() {
                let (size, back) = cuts.next().unwrap();
                let done = seen.len() - fresh.len();
                let size = size.min(fresh.len());
                // A batch that begins before the cursor: a replay after a crash or a change of
                // host, including events from before a decision.
                service.batch(&seen[done.saturating_sub(back)..done + size]);
                fresh.drain(..size);
            }
        };
        let (mut seen, mut fresh) = (Vec::new(), Vec::new());
        for moment in &moments {
            match moment {
                Moment::Frame(frame) => {
                    seen.push(frame.clone());
                    fresh.push(frame.clone());
                }
                Moment::Decision(decision) => {
                    cut(&mut service, &seen, &mut fresh);
                    service.decide(decision.clone());
                }
            }
        }
        cut(&mut service, &seen, &mut fresh);
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
        // Two histories of different people, and both interleaved.
        let (ours, theirs) = (moments(&ours), elsewhere(moments(&theirs)));
        let mut woven = Vec::new();
        let (mut left, mut right, mut order) = (ours.iter(), theirs.iter(), order.into_iter().cycle());
        loop {
            let (first, second) = if order.next().unwrap() { (&mut left, &mut right) } else { (&mut right, &mut left) };
            match first.next().or_else(|| second.next()) {
                Some(moment) => woven.push(moment.clone()),
                None => break,
            }
        }
        let mut together = Service::new();
        let (mut batch, mut sizes) = (Vec::new(), sizes.into_iter().cycle());
        let mut size = sizes.next().unwrap();
        for moment in woven {
            match moment {
                Moment::Frame(frame) => batch.push(frame),
                // In the commit of the frames before it.
                Moment::Decision(decision) => {
                    together.batch_with(&std::mem::take(&mut batch), vec![decision]);
                }
            }
            if batch.len() >= size {
                together.batch(&std::mem::take(&mut batch));
                size = sizes.next().unwrap();
            }
        }
        together.batch(&batch);
        let alone = live(&ours);
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

/// The same history with other people and other keys, so that it cannot affect ours.
fn elsewhere(moments: Vec<Moment>) -> Vec<Moment> {
    let rename = |mut text: String| {
        for person in PEOPLE {
            text = text.replace(&format!("did:plc:{person}"), &format!("did:plc:{person}{ELSEWHERE}"));
        }
        for key in ["k0", "k1", "r0", "r1", "r2"] {
            text = text.replace(&format!("\"{key}\""), &format!("\"{key}{ELSEWHERE}\""));
            text = text.replace(&format!("/{key}\""), &format!("/{key}{ELSEWHERE}\""));
        }
        text
    };
    let place = |uri: AtUri| {
        let quoted = rename(format!("\"{uri}\""));
        AtUri::parse(quoted.trim_matches('"')).unwrap()
    };
    let person = |did: Did| Did::parse(&rename(did.to_string())).unwrap();
    let moved = |decision| match decision {
        Measure::Block(message) => Measure::Block(place(message)),
        Measure::Ban(community, member, until) => Measure::Ban(place(community), person(member), until),
        Measure::Unban(community, member) => Measure::Unban(place(community), person(member)),
        _ => unreachable!("no step of these histories"),
    };
    moments
        .into_iter()
        .map(|moment| match moment {
            Moment::Frame(frame) => Moment::Frame(rename(frame)),
            Moment::Decision(decision) => Moment::Decision(moved(decision)),
        })
        .collect()
}
