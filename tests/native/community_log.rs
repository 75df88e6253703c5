//! The log of a community, through its real SQL.

use colibri_edge::domain::announcement::{Announcement, Audience, Scope, Topic};
use colibri_edge::domain::lost::is_lost;
use colibri_edge::storage::{Statement, Store as _, community_log};
use colibri_edge::wire::ids::AtUri;
use colibri_edge::wire::time::Micros;
use futures::executor::block_on;
use proptest::prelude::*;
use serde_json::value::RawValue;

use super::sqlite::Sqlite;

fn uri(text: &str) -> AtUri {
    AtUri::parse(&format!("at://did:plc:o/social.colibri.{text}")).unwrap()
}

fn event(topic: Topic) -> Announcement {
    let audience = match &topic {
        Topic::MessageShown(message) | Topic::MessageGone(message) => {
            // Even messages are in one channel, odd ones in the other.
            let odd = message.rkey().as_str().ends_with(['1', '3', '5']);
            Audience::Messages(uri(if odd { "channel/odd" } else { "channel/even" }))
        }
        _ => Audience::Community,
    };
    Announcement {
        scope: Scope::Community(uri("community/c")),
        audience,
        topic,
        live: true,
        event: RawValue::from_string(r#"{"text":"a \" b \u0000 c"}"#.into()).unwrap(),
    }
}

fn log() -> Sqlite {
    let sqlite = Sqlite::new();
    run(&sqlite, community_log::SCHEMA.iter().map(|sql| Statement::new(sql, [])).collect());
    sqlite
}

fn run(sqlite: &Sqlite, statements: Vec<Statement>) {
    block_on(sqlite.commit(statements)).unwrap();
}

fn kept(sqlite: &Sqlite) -> Vec<String> {
    sqlite.look(
        "SELECT seq, at, audience, channel_uri, message_uri, live, withdrawn, event FROM log ORDER BY seq",
    )
}

fn topics() -> impl Strategy<Value = Vec<Topic>> {
    let message = |n: u8| uri(&format!("message/{n}"));
    let topic = prop_oneof![
        6 => (0..6_u8).prop_map(move |n| Topic::MessageShown(message(n))),
        4 => (0..6_u8).prop_map(move |n| Topic::MessageGone(message(n))),
        1 => Just(Topic::ChannelGone(uri("channel/odd"))),
        1 => Just(Topic::ChannelShown(uri("channel/odd"))),
        1 => Just(Topic::CommunityGone),
        1 => Just(Topic::Other),
    ];
    prop::collection::vec(topic, 1..30)
}

proptest! {
    /// Q07: the withdrawn events do not depend on how many calls deliver the events.
    #[test]
    fn q07_one_call_appends_what_many_calls_append(topics in topics(), cut in 1..7_usize) {
        let events: Vec<Announcement> = topics.into_iter().map(event).collect();
        let (one, many) = (log(), log());
        run(&one, community_log::append(1, &events, Micros(5)));
        let mut seq = 1;
        for some in events.chunks(cut) {
            run(&many, community_log::append(seq, some, Micros(5)));
            seq += some.len() as u64;
        }
        prop_assert_eq!(kept(&one), kept(&many));
    }
}

#[test]
fn q07_a_message_shown_again_after_it_was_gone_is_replayed_once() {
    let sqlite = log();
    let message = || uri("message/1");
    let events = [
        event(Topic::MessageShown(message())),
        event(Topic::MessageGone(message())),
        event(Topic::MessageShown(message())),
    ];
    run(&sqlite, community_log::append(1, &events, Micros(5)));
    assert_eq!(sqlite.look("SELECT seq FROM log WHERE NOT withdrawn ORDER BY seq"), ["2", "3"]);
}

/// Q21: one unreadable row hides no other, and the community's clients are notified of it.
#[test]
fn q21_what_cannot_be_read_is_set_aside() {
    let sqlite = log();
    let deep =
        format!(r#"{{"type":"message","message":{{"facets":{}{}}}}}"#, "[".repeat(5_000), "]".repeat(5_000));
    let old =
        |text: String| Announcement { event: RawValue::from_string(text).unwrap(), ..event(Topic::Other) };
    let events = [event(Topic::Other), old(deep.clone()), event(Topic::Other), event(Topic::Other)];
    run(&sqlite, community_log::append(1, &events, Micros(5)));
    sqlite.exec("UPDATE log SET event = '{\"type\":' WHERE seq = 3; UPDATE log SET audience = '\"nobody\"' WHERE seq = 4");
    for statement in [community_log::after(0, 10), community_log::standing_after(0, 10)] {
        let texts = block_on(sqlite.read(&[statement])).unwrap().remove(0);
        let mut unreadable = Vec::new();
        let read = community_log::events(&texts, &mut unreadable).unwrap();
        let seqs: Vec<(u64, bool)> = read.iter().map(|one| (one.seq, is_lost(&one.event))).collect();
        assert_eq!(seqs, [(1, false), (2, false), (3, true), (4, true)]);
        assert_eq!(unreadable, [3, 4]);
        assert_eq!(read[0].event.get(), events[0].event.get(), "not a byte changes");
        assert_eq!(read[1].event.get(), deep, "however deep: SQLite takes nothing apart");
    }
    run(&sqlite, vec![community_log::set_aside(&[3, 4])]);
    let texts = block_on(sqlite.read(&[community_log::after(0, 10)])).unwrap().remove(0);
    let mut unreadable = Vec::new();
    let read = community_log::events(&texts, &mut unreadable).unwrap();
    assert!(unreadable.is_empty() && is_lost(&read[2].event) && is_lost(&read[3].event), "for good");
    assert_eq!(read[3].audience, Audience::Community);
}

#[test]
fn q06_old_events_and_those_over_the_maximum_go() {
    for (before, max, left) in
        [(0, 100, "1,2,3,4,5,6"), (3, 100, "3,4,5,6"), (7, 100, "null"), (0, 2, "5,6"), (6, 2, "6")]
    {
        let sqlite = log();
        for n in 1..=6_i64 {
            let seq = n.unsigned_abs();
            run(&sqlite, community_log::append(seq, &[event(Topic::Other)], Micros(n)));
            run(&sqlite, vec![community_log::count(seq, n)]);
        }
        run(&sqlite, community_log::forget(Micros(before), max));
        let kept = sqlite.look("SELECT group_concat(seq) FROM (SELECT seq FROM log ORDER BY seq)");
        assert_eq!(kept, [left], "before {before}, at most {max}");
        run(&sqlite, community_log::forget(Micros(before), max));
    }
}
