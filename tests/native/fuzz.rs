//! Outside bytes never panic (invariant 4): runs every parser on frames that are damaged on
//! purpose.
//!
//! `FUZZ_CASES` sets the number of inputs per parser (20,000 by default, a second or two);
//! `FUZZ_CASES=1000000 cargo test --release --test native fuzz` is the long run. A failure prints
//! the seed, and `FUZZ_SEED` repeats it.

use colibri_edge::domain::actions::action;
use colibri_edge::domain::lost;
use colibri_edge::domain::points::Points;
use colibri_edge::pipeline::Batch;
use colibri_edge::storage::outbox::OutboxRow;
use colibri_edge::wire::ids::{AtUri, Collection, Did, Rkey};
use colibri_edge::wire::jetstream::{Frame, What, parse, subscribe_url};
use colibri_edge::wire::json::is_too_deep;
use colibri_edge::wire::pds;
use colibri_edge::wire::records::Record;
use colibri_edge::wire::signaling;
use colibri_edge::wire::socket;
use colibri_edge::wire::tid;
use colibri_edge::wire::time::Micros;

/// A small random generator (xorshift64*).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap() % sides.max(1)
    }
}

const FRAMES: [&str; 8] = [
    r#"{"did":"did:plc:alice","time_us":1795181639857000,"kind":"commit","commit":{"rev":"3n2qp7zan4s2e","operation":"create","collection":"social.colibri.message","rkey":"3n2qp7zan4s2e","record":{"$type":"social.colibri.message","text":"hello 🌿","channel":"k","parent":"p","facets":[{"index":{"byteStart":0,"byteEnd":5},"features":[]}],"attachments":[],"createdAt":"2026-11-20T13:33:59.840Z"},"cid":"bafyreia"}}"#,
    r#"{"did":"did:plc:alice","time_us":1795181639857000,"kind":"commit","commit":{"rev":"3n2qp7zan4s2e","operation":"update","collection":"social.colibri.channel","rkey":"k","record":{"name":"hall","type":"text","community":"c","category":"g","ownerOnly":true},"cid":"bafyreia"}}"#,
    r#"{"did":"did:plc:alice","time_us":1795181639857000,"kind":"commit","commit":{"rev":"3n2qp7zan4s2e","operation":"delete","collection":"social.colibri.reaction","rkey":"x"}}"#,
    r#"{"did":"did:plc:alice","time_us":1795181639857000,"kind":"commit","commit":{"rev":"3n2qp7zan4s2f","operation":"create","collection":"app.bsky.actor.profile","rkey":"self","record":{"displayName":"A","avatar":{"$type":"blob","ref":{"$link":"bafkreia"},"mimeType":"image/png","size":1}},"cid":"b"}}"#,
    r#"{"did":"did:plc:alice","time_us":1795181639857000,"kind":"identity","identity":{"did":"did:plc:alice","handle":"alice.test","seq":7,"time":"2026-11-20T13:33:59.840Z"}}"#,
    r#"{"did":"did:plc:alice","time_us":1795181639857000,"kind":"account","account":{"active":false,"did":"did:plc:alice","seq":8,"time":"2026-11-20T13:33:59.840Z","status":"deactivated"}}"#,
    r#"{"action":"subscribe","event_type":"community","community_uri":"at://did:plc:alice/social.colibri.community/c","cursor":40}"#,
    r#"{"emoji":"👍","targetMessage":"at://did:plc:alice/social.colibri.message/1","status":"x","cursor":"2026-11-20T13:33:59.840Z","membership":"at://did:plc:a/social.colibri.membership/m","name":"n","type":"text","community":"c","channel":"at://did:plc:a/social.colibri.channel/k","text":"t","createdAt":"x"}"#,
];

/// Replacement values: other types, limits, absurdities.
const VALUES: [&str; 16] = [
    "null",
    "true",
    "[]",
    "{}",
    "-1",
    "1e400",
    "18446744073709551616",
    "9007199254740993",
    "0.1",
    "\"\"",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\"at://\"",
    "\"at:////\"",
    "\"did:plc:\"",
    "\"🇩🇪👨‍👩‍👧\"",
];

/// A damaged frame: bytes flipped, parts cut out, doubled, spliced in from another frame, values
/// replaced, nested without end; or noise.
pub(crate) fn broken(dice: &mut Dice, frames: &[&str]) -> String {
    let mut bytes = frames[dice.roll(frames.len())].as_bytes().to_vec();
    for _ in 0..=dice.roll(4) {
        let at = dice.roll(bytes.len());
        let end = (at + dice.roll(24)).min(bytes.len());
        match dice.roll(8) {
            0 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << dice.roll(8)),
            1 => drop(bytes.drain(at..end)),
            2 => bytes.truncate(at),
            3 => {
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            4 => {
                let other = frames[dice.roll(frames.len())].as_bytes();
                let from = dice.roll(other.len());
                bytes.splice(at..end, other[from..(from + dice.roll(80)).min(other.len())].iter().copied());
            }
            5 => {
                let value = VALUES[dice.roll(VALUES.len())];
                let colon = bytes.iter().skip(at).position(|byte| *byte == b':').map_or(at, |n| at + n + 1);
                let until = bytes
                    .iter()
                    .skip(colon)
                    .position(|byte| b",}".contains(byte))
                    .map_or(colon, |n| colon + n);
                bytes.splice(colon..until, value.bytes());
            }
            6 => {
                let most = [10, 100, 400, 20_000][dice.roll(4)];
                let depth = dice.roll(most);
                bytes.splice(at..at, std::iter::repeat_n(b"[{\""[dice.roll(3)], depth));
            }
            _ => bytes = (0..dice.roll(64)).map(|_| u8::try_from(dice.roll(256)).unwrap()).collect(),
        }
        if bytes.is_empty() {
            break;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// How many cases to try, and the seed.
pub(crate) fn from_environment(cases: usize) -> (usize, u64) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let cases = number("FUZZ_CASES").and_then(|cases| usize::try_from(cases).ok()).unwrap_or(cases);
    (cases, number("FUZZ_SEED").unwrap_or(0x5eed))
}

#[test]
fn no_parser_panics() {
    let (cases, seed) = from_environment(20_000);
    let mut dice = Dice(seed);
    let author = Did::parse("did:plc:alice").unwrap();
    let mut understood = 0;
    for case in 0..cases {
        let input = broken(&mut dice, &FRAMES);
        let tried = std::panic::catch_unwind(|| {
            let mut batch = Batch::default();
            batch.take(&input, "test", Micros(1_795_181_640_000_000), &mut Points::default());
            for collection in Collection::ALL {
                let record = Record::parse(*collection, &author, &input);
                assert!(record.is_err() || !is_too_deep(&input), "T23");
            }
            if let Ok(Frame { what: What::Commit(commit), .. }) = parse(&input) {
                // J20: every accepted value can be stored, compared and shown.
                assert!(tid::time(&commit.rev).is_some());
            }
            let _ = (OutboxRow::read(1, &input), lost::communities(&input));
            let _ = (signaling::read(Some(&input)).is_ok(), pds::page(&input, &author, Collection::Message));
            let _ = (socket::read(&input), action(Some(&input)), subscribe_url(&input, Some(Micros(1))));
            let parts: Vec<&str> = input.split('"').collect();
            for part in parts.iter().take(40) {
                let _ = (
                    Did::parse(part),
                    Rkey::parse(part),
                    AtUri::parse(part),
                    Micros::parse(part).map(Micros::shown),
                );
            }
            parse(&input).is_ok()
        });
        match tried {
            Ok(parsed) => understood += usize::from(parsed),
            Err(_) => panic!("case {case} of seed {seed} panicked: {input:?}"),
        }
    }
    assert!(
        understood * 100 > cases,
        "{understood} of {cases} inputs were frames: the damage goes too deep to test much"
    );
    assert!(understood < cases, "nothing was broken");
}
