//! Single rules of a community that random histories do not prove.

use colibri_edge::domain::announcement::{Announcement, Audience, Scope, Topic};
use colibri_edge::domain::community::devices::Devices;
use colibri_edge::domain::community::observers::{CatchUp, receives};
use colibri_edge::domain::community::{Community, Effect, Keep, Settings, Stored};
use colibri_edge::domain::lost::Attempt;
use colibri_edge::domain::pending::OutboxEvents;
use colibri_edge::wire::signaling::VoiceState;
use serde_json::value::RawValue;

use super::{channel, person, settings, uri};

fn core(log_max: i64) -> Community {
    Community::wake(Settings { log_max, ..settings() }, Stored::default())
}

fn row(id: i64, topic: Topic) -> OutboxEvents {
    let event = RawValue::from_string(r#"{"type":"cause"}"#.to_owned()).unwrap();
    let scope = Scope::Community(uri());
    OutboxEvents {
        id,
        events: vec![Announcement { scope, audience: Audience::Community, topic, live: true, event }],
    }
}

fn appended(effects: &[Effect]) -> Vec<String> {
    let events = effects.iter().filter_map(|effect| match effect {
        Effect::Keep(Keep::Append(_, events)) => Some(events.to_vec()),
        _ => None,
    });
    events.flatten().map(|event| event.event.get().to_owned()).collect()
}

/// V06, V10: the event about a voice channel comes before the event that emptied it, and nobody is removed twice.
#[test]
fn v06_who_loses_membership_leaves_voice_first() {
    let mut core = core(i64::MAX);
    assert!(core.join_voice(&uri(), &person(0), &channel(0), "gateway-0", 0).unwrap());
    core.take_effects();
    core.announced(&uri(), vec![row(1, Topic::MemberOut(person(0)))]).unwrap();
    let events = appended(&core.take_effects());
    assert_eq!(events.len(), 2, "{events:?}");
    assert!(events[0].contains("voice_channel_updated") && events[1].contains("cause"), "{events:?}");
    core.leave_voice(&uri(), &person(0), "gateway-0").unwrap();
    assert!(core.take_effects().is_empty(), "they have left already");
}

/// U30: a repeated state is no news, who is absent has the default, and what ends with an event is forgotten silently.
#[test]
fn u30_the_states_of_a_room_are_complete_and_told_once() {
    let mut core = core(i64::MAX);
    for who in [0, 1] {
        assert!(core.join_voice(&uri(), &person(who), &channel(0), "gateway-0", 0).unwrap());
    }
    let muted = VoiceState { muted: true, ..VoiceState::default() };
    let of = |people: &[usize]| people.iter().map(|who| (person(*who), muted)).collect::<Devices>();
    assert_eq!(core.devices_are(&channel(0), of(&[0, 1])), of(&[0, 1]));
    assert_eq!(core.devices_are(&channel(0), of(&[0, 1])), of(&[]), "again");
    assert_eq!(core.devices_are(&channel(0), of(&[1])), Devices::from([(person(0), VoiceState::default())]));
    assert_eq!(core.devices_are(&channel(1), of(&[2])), of(&[2]));
    assert_eq!(core.devices(), of(&[1]), "U43: of those who are in the list of that channel");
    core.take_effects();
    core.announced(&uri(), vec![row(1, Topic::MemberOut(person(1)))]).unwrap();
    let kept = |effects: Vec<Effect>| {
        let kept = effects.into_iter().filter_map(|effect| match effect {
            Effect::Keep(Keep::Devices(of, devices)) => Some((of, devices)),
            _ => None,
        });
        kept.collect::<Vec<_>>()
    };
    assert_eq!(kept(core.take_effects()), [(channel(0), of(&[]))]);
    core.announced(&uri(), vec![row(2, Topic::CommunityGone)]).unwrap();
    assert_eq!(kept(core.take_effects()), [(channel(1), of(&[]))]);
}

/// Q06: a log over its limit is shortened.
#[test]
fn q06_the_log_is_bounded() {
    let mut core = core(2);
    let mut forgets = |id: i64| {
        core.announced(&uri(), vec![row(id, Topic::Other)]).unwrap();
        core.take_effects().iter().any(|effect| matches!(effect, Effect::Forget))
    };
    assert_eq!([1, 2, 3].map(&mut forgets), [false, false, true]);
}

/// A39: a gateway that attaches again while a delivery says that it needs nothing stays attached.
#[test]
fn a39_a_gateway_that_attached_again_stays() {
    for again in [false, true] {
        let mut core = core(i64::MAX);
        core.attach("gateway-0");
        core.announced(&uri(), vec![row(1, Topic::Other)]).unwrap();
        assert_eq!(core.take_due(), ["gateway-0"]);
        let delivery = core.next_delivery("gateway-0").unwrap();
        if again {
            core.attach("gateway-0");
        }
        core.delivered(&delivery, delivery.through(Some(1), false), false);
        assert_eq!(!core.listeners().is_empty(), again);
    }
}

/// A39, N162: a gateway that needs nothing gets the rest of the log before it is detached, and one that attaches
/// meanwhile learns how far it is: what is still on its way to it concerns its people.
#[test]
fn a39_what_is_on_its_way_is_neither_lost_nor_taken_for_received() {
    let mut core = core(i64::MAX);
    core.attach("gateway-0");
    core.announced(&uri(), vec![row(1, Topic::Other), row(2, Topic::Other)]).unwrap();
    assert_eq!(core.attach("gateway-0"), 0);
    assert_eq!(core.attach("gateway-1"), 2);
    let delivery = core.next_delivery("gateway-0").unwrap();
    core.delivered(&delivery, delivery.through(Some(1), true), false);
    let delivery = core.next_delivery("gateway-0").unwrap();
    assert_eq!((delivery.after(), core.attach("gateway-1")), (1, 2));
    core.delivered(&delivery, delivery.through(Some(2), false), false);
    assert_eq!(core.listeners().iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["gateway-1"]);
}

/// Q21: after some failures a gateway gets its events one by one, and has only those that it got.
#[test]
fn q21_after_failures_events_go_one_by_one() {
    let mut core = core(i64::MAX);
    core.attach("gateway-0");
    core.announced(&uri(), vec![row(1, Topic::Other), row(2, Topic::Other)]).unwrap();
    let mut failures = 0;
    let delivery = loop {
        assert_eq!(core.take_due(), ["gateway-0"]);
        let delivery = core.next_delivery("gateway-0").unwrap();
        if delivery.attempt != Attempt::All {
            break delivery;
        }
        failures += 1;
        assert!(failures < 20, "failures are forgotten");
        core.not_delivered("gateway-0");
    };
    assert_eq!((delivery.limit(), delivery.through(Some(1), false)), (1, 1));
    core.delivered(&delivery, 1, true);
    assert_eq!(
        core.next_delivery("gateway-0").map(|next| next.after()),
        Some(1),
        "the second is still to come"
    );
}

/// A21, Q05: observers get nothing private, and get `resync_required` if the log cannot be read.
#[test]
fn a21_what_observers_receive() {
    assert!(receives(&Audience::Community) && !receives(&Audience::Private(person(0))));
    let (texts, is_over) = CatchUp::new(uri(), 3).page(None);
    assert!(is_over && texts.len() == 1 && texts[0].contains("resync_required"), "{texts:?}");
}
