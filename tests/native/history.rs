//! Reads back a channel as the shipped client does: by the `created_at` of the oldest message that
//! it shows (R01, W10), whatever the authors' clocks said.

use colibri_edge::storage::reads::{self, Start};
use colibri_edge::wire::bodies;
use colibri_edge::wire::time::Micros;
use futures::executor::block_on;
use serde_json::json;

use super::story::{START, Service, Story};

/// Pages of 3 where the client asks for 50: cases at the edges of pages become more frequent.
const LIMIT: i64 = 3;

fn garden() -> Story {
    let mut story = Story::default();
    story.community("alice", false).join("bob", "alice");
    story
}

/// Seconds after the stories begin, as a `createdAt`.
fn at(seconds: i64) -> String {
    Micros(START + seconds * 1_000_000).shown()
}

fn say(story: &mut Story, rkey: &str, created_at: &str) {
    story.create(
        "bob",
        &format!("message/{rkey}"),
        json!({ "text": rkey, "channel": "k", "createdAt": created_at }),
    );
}

fn page(service: &Service, before: Option<&str>) -> Vec<bodies::Message> {
    let start = before.map_or(Start::Newest, |created_at| Start::Before {
        created_at: created_at.to_owned(),
        instant: Micros::parse(created_at).unwrap().sortable(),
    });
    block_on(reads::history(&service.store, "", "k", &start, LIMIT)).unwrap().0
}

/// The messages that the client shows in the end, oldest last, and the lengths of the pages.
fn walked(service: &Service) -> (Vec<String>, Vec<usize>) {
    let (mut shown, mut lengths, mut before) = (Vec::new(), Vec::new(), None);
    loop {
        let page = page(service, before.as_deref());
        lengths.push(page.len());
        before = page.last().map(|last| last.core.created_at.clone());
        let short = i64::try_from(page.len()).unwrap() < LIMIT;
        shown.extend(page.into_iter().map(|message| message.core.text));
        assert!(lengths.len() < 100, "it never ends: {shown:?}");
        if short {
            return (shown, lengths);
        }
    }
}

/// All in one batch, so that all have one receive time with the precision of answers.
fn at_once(story: &Story) -> Service {
    let mut service = Service::new();
    service.batch(&story.frames);
    service
}

/// All messages of the channel in the order of R01.
fn all(service: &Service) -> Vec<String> {
    let order = "SELECT text FROM messages ORDER BY sort_at DESC, rkey DESC, author_did DESC";
    service.store.look(order)
}

#[test]
fn r01_a_clock_that_is_ahead_ends_nobodys_history() {
    let mut story = garden();
    for n in 0..5 {
        say(&mut story, &format!("a{n}"), &at(n - 100));
    }
    say(&mut story, "ahead", "2039-01-01T00:00:00Z");
    for n in 0..5 {
        say(&mut story, &format!("b{n}"), &at(n + 10));
    }
    let service = Service::live(&story);
    let first = page(&service, None);
    assert_eq!(first.len(), 3, "{first:?}");
    let (shown, lengths) = walked(&service);
    assert_eq!((shown.len(), &shown), (11, &all(&service)), "W10: each once, in order");
    assert_eq!(lengths, [3, 3, 3, 2]);
}

#[test]
fn r01_equal_times_are_passed_as_one() {
    let mut story = garden();
    for n in 0..4 {
        say(&mut story, &format!("a{n}"), &at(n - 100));
    }
    // Messages of one second, as a client without fractions writes them, in two spellings.
    for n in 0..5 {
        say(
            &mut story,
            &format!("same{n}"),
            if n % 2 == 0 { "2026-03-01T11:59:59Z" } else { "2026-03-01T12:59:59+01:00" },
        );
    }
    for n in 0..2 {
        say(&mut story, &format!("z{n}"), &at(n));
    }
    let service = Service::live(&story);
    let (shown, lengths) = walked(&service);
    assert_eq!(shown, all(&service), "nothing is skipped, nothing comes twice");
    assert_eq!(lengths, [7, 3, 1], "the page that would end among them holds them all");
}

#[test]
fn r01_a_clock_that_stands_is_passed_where_another_goes() {
    let mut story = garden();
    let stands = "2039-01-01T00:00:00Z";
    for n in 0..30 {
        say(&mut story, &format!("m{n:02}"), &if n % 3 == 1 { at(n + 3) } else { stands.to_owned() });
    }
    let service = Service::live(&story);
    let (shown, lengths) = walked(&service);
    assert_eq!(shown, all(&service), "nothing is skipped, nothing comes twice");
    assert!(lengths.iter().all(|length| *length <= 5), "{lengths:?}");
}

/// The limit of a page. Messages beyond it with an equal time are skipped, but the client makes
/// progress.
#[test]
fn r01_a_page_grows_by_a_hundred_at_most() {
    let mut story = garden();
    say(&mut story, "a", &at(-1));
    for n in 0..LIMIT + 100 + 1 {
        say(&mut story, &format!("m{n:03}"), "2039-01-01T00:00:00Z");
    }
    let service = Service::live(&story);
    let (shown, lengths) = walked(&service);
    assert_eq!((lengths, shown.last().map(String::as_str)), (vec![3, 1], Some("a")));
    let mut fewer = garden();
    say(&mut fewer, "a", &at(-1));
    for n in 0..LIMIT + 100 {
        say(&mut fewer, &format!("m{n:03}"), "2039-01-01T00:00:00Z");
    }
    let service = Service::live(&fewer);
    assert_eq!(walked(&service).1, [103, 1], "one fewer, and all of them are shown");
}

#[test]
fn r01_times_that_are_none_are_gone_on_from_too() {
    let mut story = garden();
    for (n, time) in [
        "yesterday",
        "",
        "2016-12-31T23:59:60Z",
        "0000-01-01T00:00:00+23:59",
        "0000-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999-23:59",
        "2026-03-01T11:00:00\u{2212}02:00",
        "2026-03-01 11:00:00Z",
        "-000001-01-01T00:00:00Z",
        "2026-03-01T11:00:00.123456789012Z",
        "2026-03-01T11:00:00+02:00",
    ]
    .iter()
    .enumerate()
    {
        say(&mut story, &format!("m{n:02}"), time);
    }
    for service in [Service::live(&story), at_once(&story)] {
        assert_eq!(walked(&service).0, all(&service), "also those that came in one millisecond");
        for created_at in service.store.look("SELECT created_at FROM messages") {
            assert!(Micros::parse(&created_at).is_some(), "O01, W10: {created_at}");
        }
    }
}

/// An edit keeps `created_at` and the position; a blocked or hidden message keeps its position,
/// too.
#[test]
fn r01_a_message_keeps_its_place() {
    let mut story = garden();
    say(&mut story, "old", &at(-5));
    say(&mut story, "ahead", "2039-01-01T00:00:00Z");
    say(&mut story, "new", &at(6));
    story.update(
        "bob",
        "message/ahead",
        json!({ "text": "edited", "channel": "k", "createdAt": "2001-01-01T00:00:00Z" }),
    );
    let service = Service::live(&story);
    let texts = |before: &str| -> Vec<String> {
        page(&service, Some(before)).into_iter().map(|message| message.core.text).collect()
    };
    assert_eq!(texts("2039-01-01T00:00:00Z"), ["old"], "I11: the place it had");
    assert!(texts("2001-01-01T00:00:00Z").is_empty(), "nobody shows this: an instant");
    service.store.exec(
        "INSERT INTO blocks (uri, blocked_at) VALUES ('at://did:plc:bob/social.colibri.message/ahead', '')",
    );
    assert_eq!(texts("2039-01-01T00:00:00Z"), ["old"], "who shows it goes on from it");
    assert_eq!(texts("2039-01-01T00:00:00.000Z"), ["new", "old"], "another text is an instant");
}
