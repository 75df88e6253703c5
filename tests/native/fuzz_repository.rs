//! Repositories from outside never panic (invariant 4): archives, blocks, keys and DID documents
//! that are damaged on purpose. Half of the archives are damaged before they are hashed and signed,
//! so that the damage itself is met, and not the first wrong hash.
//!
//! `FUZZ_CASES` and `FUZZ_SEED` as in `fuzz`; 4,000 cases by default.

use std::collections::{BTreeMap, BTreeSet};

use colibri_edge::domain::repository::{Reading, Refused};
use colibri_edge::domain::snapshot::Snapshot;
use colibri_edge::wire::cid::Cid;
use colibri_edge::wire::dag_cbor;
use colibri_edge::wire::did_document::DidDocument;
use colibri_edge::wire::ids::{Collection, Did};
use colibri_edge::wire::multikey::Multikey;
use colibri_edge::wire::repository::{Commit, Node};
use colibri_edge::wire::signing_key::SigningKey;
use colibri_edge::wire::tid;
use ipld_core::ipld::Ipld;

use super::archives::{Blocks, DID, add, archive, key, message, node, repository, signed, tree, unsigned};
use super::fuzz::{Dice, from_environment};

/// Numbers, lengths and prefixes that are likely to break CBOR, varints and CIDs.
const PIECES: [&[u8]; 14] = [
    &[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    &[0xbb, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    &[0x5a, 0xff, 0xff, 0xff, 0xff],
    &[0x7a, 0x00, 0x00, 0x00, 0x01],
    &[0x9f],
    &[0xff],
    &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01],
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0x01, 0x71, 0x12, 0x20],
    &[0xd8, 0x2a, 0x58, 0x25, 0x00],
    &[0x65, b'$', b't', b'y', b'p', b'e'],
    &[0xa2, 0x61, b'e', 0x80, 0x61, b'l', 0xf6],
    &[0xfb, 0x7f, 0xf0, 0, 0, 0, 0, 0, 0],
    b"social.colibri.message/",
];

/// Flips, cuts, doubles or replaces a few places.
fn damage(dice: &mut Dice, bytes: &mut Vec<u8>) {
    for _ in 0..=dice.roll(3) {
        let at = dice.roll(bytes.len() + 1);
        let end = (at + dice.roll(40)).min(bytes.len());
        match dice.roll(7) {
            0 | 1 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << dice.roll(8)),
            2 => drop(bytes.drain(at..end)),
            3 => bytes.truncate(at),
            4 => {
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            5 => {
                let piece = PIECES[dice.roll(PIECES.len())];
                bytes.splice(at..(at + piece.len() * dice.roll(2)).min(bytes.len()), piece.iter().copied());
            }
            _ => {
                let depth = dice.roll(2000);
                bytes.splice(at..at, std::iter::repeat_n([0x81, 0xd8, 0xa1][dice.roll(3)], depth));
            }
        }
    }
}

/// Damages text, and keeps it text.
fn damage_text(dice: &mut Dice, text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    damage(dice, &mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A correctly signed repository of a few records with some damage in it.
fn bent(dice: &mut Dice) -> Vec<u8> {
    let mut blocks = Blocks::new();
    let mut records = BTreeMap::new();
    for _ in 0..dice.roll(12) {
        let collection =
            ["social.colibri.message", "app.bsky.feed.post", "social.colibri.reaction"][dice.roll(3)];
        let mut key = format!("{collection}/{}", dice.roll(10_000));
        let mut bytes = message(&"x".repeat(dice.roll(200)));
        match dice.roll(12) {
            0 => damage(dice, &mut bytes),
            1 => key = damage_text(dice, &key),
            2 => bytes = node(None, &[]),
            _ => {}
        }
        records.insert(key, bytes);
    }
    let mut keys: Vec<_> =
        records.iter().map(|(key, bytes)| (key.as_str(), add(&mut blocks, bytes.clone()))).collect();
    if keys.len() > 1 && dice.roll(6) == 0 {
        let (one, other) = (dice.roll(keys.len()), dice.roll(keys.len()));
        keys.swap(one, other);
    }
    let data = tree(&mut blocks, &keys, &mut |bytes| {
        if dice.roll(6) == 0 {
            damage(dice, bytes);
        }
    });
    let mut fields = unsigned(data);
    if dice.roll(10) == 0 {
        let name = ["did", "rev", "data", "prev", "version", "more"][dice.roll(6)].to_owned();
        fields
            .insert(name, [Ipld::Null, Ipld::Integer(2), Ipld::String("x".to_owned())][dice.roll(3)].clone());
    }
    let mut commit = signed(fields, |signature| signature.to_bytes().to_vec());
    if dice.roll(10) == 0 {
        damage(dice, &mut commit);
    }
    let root = add(&mut blocks, commit);
    let at = dice.roll(blocks.len());
    match dice.roll(5) {
        0 => drop(blocks.remove(at)),
        1 => blocks.rotate_left(at),
        2 => blocks.reverse(),
        _ => {}
    }
    archive(root, &blocks)
}

/// Reads an archive in chunks of a size, and checks the result.
fn read(bytes: &[u8], size: usize, key: &SigningKey) -> Result<Snapshot, Refused> {
    let mut reading = Reading::new(&[Collection::Message, Collection::Reaction]);
    bytes.chunks(size).try_for_each(|chunk| reading.take(chunk))?;
    let snapshot = reading.finish(&Did::parse(DID).unwrap(), key)?;
    let names: BTreeSet<_> =
        snapshot.records.iter().map(|record| (record.collection, &record.rkey)).collect();
    assert_eq!(names.len(), snapshot.records.len(), "each record once");
    for record in &snapshot.records {
        assert!(Cid::parse(&record.cid).is_some(), "{}", record.cid);
        let json = &record.json;
        assert!(json.is_empty() || serde_json::from_str::<serde::de::IgnoredAny>(json).is_ok(), "{json}");
    }
    Ok(snapshot)
}

const DOCUMENT: &str = r##"{"@context":["https://www.w3.org/ns/did/v1"],"id":"did:plc:archivist","alsoKnownAs":["at://a.test"],"verificationMethod":[{"id":"did:plc:archivist#atproto","type":"Multikey","controller":"did:plc:archivist","publicKeyMultibase":"zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme"}],"service":[{"id":"#atproto_pds","type":"AtprotoPersonalDataServer","serviceEndpoint":"https://pds.test"}]}"##;
const KEYS: [&str; 3] = [
    "did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme",
    "zDnaexhwt5EdJEnhM7od5VWEjgw6ZRon65ZYJfRjr7LfN9RB7",
    "zQBL1VZCdC6hs61fqgwdoNjwh93UBcTg7imvRF9qShKfHR4DQ4RjKyqupL4f2mKduhzF5SzWzDbxKgGwnTsN2zSkg",
];
const METHODS: [&str; 3] =
    ["Multikey", "EcdsaSecp256k1VerificationKey2019", "EcdsaSecp256r1VerificationKey2019"];

/// Valid inputs, before they are damaged.
struct Sound {
    archive: Vec<u8>,
    commit: Vec<u8>,
    key: SigningKey,
}

/// Tries one case; returns the result for an archive.
fn attempt(dice: &mut Dice, sound: &Sound) -> Option<Result<(), Refused>> {
    let size = 1 + dice.roll(3000);
    match dice.roll(8) {
        0 | 1 => {
            let mut bytes = sound.archive.clone();
            damage(dice, &mut bytes);
            return Some(read(&bytes, size, &sound.key).map(|_| ()));
        }
        2 | 3 => return Some(read(&bent(dice), size, &sound.key).map(|_| ())),
        4 => {
            let mut bytes = message(&"\"\u{1}🌿".repeat(dice.roll(30)));
            damage(dice, &mut bytes);
            let _ = (dag_cbor::json(&bytes, dice.roll(300)), dag_cbor::kind(&bytes));
        }
        5 => {
            let link = dag_cbor::Link::of(b"x");
            let mut bytes = node(Some(link), &vec![(0, b"a/b".to_vec(), link, Some(link)); 3]);
            damage(dice, &mut bytes);
            let _ = Node::parse(&bytes).map(|node| node.entries.len());
            let mut bytes = sound.commit.clone();
            damage(dice, &mut bytes);
            let _ = Commit::parse(&bytes);
        }
        6 => {
            let text = KEYS[dice.roll(KEYS.len())];
            let text = damage_text(dice, text);
            if let Some(key) = Multikey::of_method(METHODS[dice.roll(3)], &text) {
                assert_eq!(Multikey::parse(key.as_str()), Some(key), "{text}");
            }
            let _ = (SigningKey::of_multikey(&text), tid::time(&text), Cid::parse(&text));
            let mut signature = vec![7; 64];
            damage(dice, &mut signature);
            let _ = sound.key.verifies(b"a message", &signature);
        }
        _ => {
            let _ = DidDocument::parse(&damage_text(dice, DOCUMENT), &Did::parse(DID).unwrap());
        }
    }
    None
}

#[test]
fn no_repository_panics() {
    let (cases, seed) = from_environment(4_000);
    let mut dice = Dice(seed);
    let records = (0..20)
        .map(|n| (format!("social.colibri.message/m{n:04}"), message(&format!("message {n}"))))
        .collect();
    let (root, blocks) = repository(&records);
    let (commit, archive) = (blocks.last().unwrap().1.clone(), archive(root, &blocks));
    let sound = Sound { archive, commit, key: key() };
    let mut ends: BTreeMap<&str, usize> = BTreeMap::new();
    for case in 0..cases {
        let before = dice.0;
        let tried = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| attempt(&mut dice, &sound)));
        match tried {
            Ok(Some(end)) => *ends.entry(end.map_or_else(Refused::reason, |()| "read")).or_default() += 1,
            Ok(None) => {}
            Err(_) => {
                panic!("case {case} of seed {seed} panicked (FUZZ_SEED={before} FUZZ_CASES=1 repeats it)")
            }
        }
    }
    println!("{cases} cases: {ends:?}");
    // All except the limits on size, length and depth, which random damage does not reach.
    if cases >= 4_000 {
        let met = ends.len();
        assert!(met >= 12, "the damage is met in {met} places only: {ends:?}");
        assert!(ends["read"] * 50 > cases, "{ends:?}");
    }
}
