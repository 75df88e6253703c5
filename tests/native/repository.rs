//! Archives of repositories: an archive from a real PDS has the contents that the PDS lists, and
//! each kind of fault is refused for its own reason (K04, K05).

use std::collections::{BTreeMap, BTreeSet};

use colibri_edge::domain::repository::{Reading, Refused};
use colibri_edge::domain::snapshot::Snapshot;
use colibri_edge::wire::dag_cbor::Link;
use colibri_edge::wire::ids::{Collection, Did};
use colibri_edge::wire::multikey::Multikey;
use colibri_edge::wire::signing_key::SigningKey;
use ipld_core::ipld::Ipld;
use serde::Deserialize;

use super::archives::{
    Blocks, DID, REV, add, archive, cbor, cid, commit, entries, header, key, keys_on, map, message, node,
    repository, section, signed, tree, unsigned, varint,
};

/// A recorded archive (`npm run record:archives`), and its contents.
struct Recorded {
    bytes: Vec<u8>,
    did: Did,
    key: SigningKey,
    rev: String,
    /// CID and contents of each record, by its path.
    records: BTreeMap<String, (String, serde_json::Value)>,
}

fn signing_key(kind: &str, text: &str) -> SigningKey {
    let multikey = Multikey::of_method(kind, text).unwrap();
    SigningKey::of_multikey(multikey.as_str()).unwrap()
}

fn recorded(name: &str) -> Recorded {
    #[derive(Deserialize)]
    struct Content {
        did: Did,
        key: Key,
        rev: String,
        records: BTreeMap<String, Record>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Key {
        r#type: String,
        public_key_multibase: String,
    }
    #[derive(Deserialize)]
    struct Record {
        cid: String,
        value: serde_json::Value,
    }
    let text = std::fs::read_to_string(format!("tests/fixtures/{name}.json")).unwrap();
    let Content { did, key, rev, records } = serde_json::from_str(&text).unwrap();
    Recorded {
        bytes: std::fs::read(format!("tests/fixtures/{name}.car")).unwrap(),
        did,
        key: signing_key(&key.r#type, &key.public_key_multibase),
        rev,
        records: records.into_iter().map(|(uri, record)| (uri, (record.cid, record.value))).collect(),
    }
}

fn read<'a>(
    chunks: impl IntoIterator<Item = &'a [u8]>,
    did: &Did,
    key: &SigningKey,
) -> Result<Snapshot, Refused> {
    let mut reading = Reading::new(Collection::ALL);
    for chunk in chunks {
        reading.take(chunk)?;
    }
    reading.finish(did, key)
}

/// Reads an archive of `archives.rs`.
fn read_built(bytes: &[u8]) -> Result<Snapshot, Refused> {
    read([bytes], &Did::parse(DID).unwrap(), &key())
}

fn shown(snapshot: &Snapshot, did: &Did) -> BTreeMap<String, (String, serde_json::Value)> {
    let shown: BTreeMap<_, _> = snapshot
        .records
        .iter()
        .map(|record| {
            let json = serde_json::from_str(&record.json).unwrap();
            (record.uri(did).to_string(), (record.cid.clone(), json))
        })
        .collect();
    assert_eq!(shown.len(), snapshot.records.len(), "each once");
    shown
}

#[test]
fn k05_an_archive_holds_what_its_pds_lists() {
    for name in ["repository", "repository-p256"] {
        let recorded = recorded(name);
        let snapshot = read([recorded.bytes.as_slice()], &recorded.did, &recorded.key).unwrap();
        assert_eq!(shown(&snapshot, &recorded.did), recorded.records, "{name}");
        assert_eq!(snapshot.rev, recorded.rev);
        assert_eq!(snapshot.complete, Collection::ALL.iter().copied().collect());
    }
}

#[test]
fn k04_what_was_not_asked_for_is_not_called_complete() {
    let recorded = recorded("repository");
    let mut reading = Reading::new(&[Collection::Reaction, Collection::Approval]);
    reading.take(&recorded.bytes).unwrap();
    let snapshot = reading.finish(&recorded.did, &recorded.key).unwrap();
    let wanted = |uri: &str| uri.contains(".reaction/") || uri.contains(".approval/");
    let expected: BTreeMap<_, _> = recorded.records.into_iter().filter(|(uri, _)| wanted(uri)).collect();
    assert_eq!(shown(&snapshot, &recorded.did), expected);
    assert_eq!(snapshot.complete, BTreeSet::from([Collection::Reaction, Collection::Approval]));
}

#[test]
fn chunks_may_be_cut_anywhere() {
    let recorded = recorded("repository-p256");
    let whole = read([recorded.bytes.as_slice()], &recorded.did, &recorded.key);
    for size in [1, 2, 3, 35, 36, 37, 100, 1000, 8000] {
        assert_eq!(read(recorded.bytes.chunks(size), &recorded.did, &recorded.key), whole, "{size}");
    }
    for at in (0..recorded.bytes.len()).step_by(13) {
        let (first, second) = recorded.bytes.split_at(at);
        assert_eq!(read([first, &[], second], &recorded.did, &recorded.key), whole, "cut at {at}");
    }
}

#[test]
fn blocks_may_come_in_any_order_and_twice() {
    let records = messages(60);
    let (root, mut blocks) = repository(&records);
    let whole = read_built(&archive(root, &blocks)).unwrap();
    assert_eq!(whole.records.len(), 60);
    blocks.reverse();
    assert_eq!(read_built(&archive(root, &blocks)), Ok(whole.clone()), "the commit first");
    blocks.sort();
    assert_eq!(read_built(&archive(root, &blocks)), Ok(whole.clone()), "by name");
    blocks.extend(blocks.clone());
    assert_eq!(read_built(&archive(root, &blocks)), Ok(whole.clone()), "each twice");
    add(&mut blocks, message("never linked"));
    add(&mut blocks, node(None, &[]));
    assert_eq!(read_built(&archive(root, &blocks)), Ok(whole.clone()), "more than belongs to it");
    let mut bytes = archive(root, &blocks);
    let mut raw = cid(Link::of(b"a blob")).to_bytes();
    raw[1] = 0x55;
    bytes.extend(section(&raw, b"a blob"));
    assert_eq!(read_built(&bytes), Ok(whole), "a blob");
}

fn messages(n: usize) -> BTreeMap<String, Vec<u8>> {
    (0..n).map(|n| (format!("social.colibri.message/m{n:04}"), message(&format!("message {n}")))).collect()
}

#[test]
fn an_empty_repository_is_one() {
    let (root, blocks) = repository(&BTreeMap::new());
    let snapshot = read_built(&archive(root, &blocks)).unwrap();
    assert_eq!((snapshot.records, snapshot.rev.as_str()), (Vec::new(), REV));
    assert_eq!(snapshot.complete.len(), Collection::ALL.len());
}

#[test]
fn equal_records_and_strange_ones_are_there() {
    let fraction = cbor(&map([("text", Ipld::Float(0.5))]));
    let deep = [vec![0x81; 100_000], vec![0x80]].concat();
    let records = BTreeMap::from([
        ("social.colibri.message/a".to_owned(), message("twin")),
        ("social.colibri.message/b".to_owned(), message("twin")),
        ("social.colibri.message/nameless".to_owned(), cbor(&map([("text", Ipld::String("x".to_owned()))]))),
        ("social.colibri.message/fraction".to_owned(), fraction),
        ("social.colibri.message/deep".to_owned(), deep),
        ("social.colibri.message/noise".to_owned(), vec![0xff; 9]),
        (
            "social.colibri.message/claims".to_owned(),
            vec![0x9b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        ),
        ("social.colibri.message/long".to_owned(), message(&"x".repeat(70_000))),
        ("app.bsky.feed.post/other".to_owned(), cbor(&map([("$type", Ipld::String("x".to_owned()))]))),
    ]);
    let (root, blocks) = repository(&records);
    let snapshot = read_built(&archive(root, &blocks)).unwrap();
    let json: BTreeMap<&str, &str> =
        snapshot.records.iter().map(|record| (record.rkey.as_str(), record.json.as_str())).collect();
    assert!(json["a"].contains(r#""text":"twin""#));
    assert_eq!(json["a"], json["b"]);
    assert_eq!(json["nameless"], r#"{"text":"x"}"#);
    for unreadable in ["fraction", "deep", "noise", "claims", "long"] {
        assert_eq!(json[unreadable], "", "{unreadable}");
    }
    assert_eq!(json.len(), 8);
}

/// Those of [`refusals`] that only exceed a limit.
const TOO_MUCH: [&str; 3] = ["a long block", "a node over the limit", "a record under very many keys"];

/// A repository with a record that is too long to be kept.
fn long_record() -> Vec<u8> {
    let long = ("social.colibri.message/long".to_owned(), message(&"x".repeat(3 << 20)));
    let (root, blocks) = repository(&BTreeMap::from([long]));
    archive(root, &blocks)
}

/// Specification "Repository": a reader ignores unreferenced blocks and further roots. A block that
/// something refers to must match its hash all the same ([`refusals`]).
#[test]
fn k04_what_does_not_belong_to_the_repository_is_passed_over() {
    let records = messages(60);
    let (root, blocks) = repository(&records);
    let good = archive(root, &blocks);
    let body = good[header(1, &[root]).len()..].to_vec();
    let first = |sections: Vec<u8>| [header(1, &[root]), sections, body.clone()].concat();
    let last = |sections: Vec<u8>| [good.clone(), sections].concat();
    let other_header = |fields: Vec<(&'static str, Ipld)>| {
        let header = cbor(&map(fields));
        [varint(header.len()), header, body.clone()].concat()
    };
    let roots = |links: &[Ipld]| ("roots", Ipld::List(links.to_vec()));
    let version = ("version", Ipld::Integer(1));
    let blob = ipld_core::cid::Cid::try_from([&[1, 0x55, 0x12, 0x20], [7; 32].as_slice()].concat()).unwrap();
    let long = message(&"x".repeat(3 << 20));
    // In the order of writing, which is not that of DAG-CBOR.
    let root_bytes = [&[0], cid(root).to_bytes().as_slice()].concat();
    let unordered = [
        b"\xa3\x65roots\x81\xd8\x2a\x58\x25".as_slice(),
        root_bytes.as_slice(),
        b"\x67version\x01\x61x\x81\xf6".as_slice(),
    ]
    .concat();
    let archives = vec![
        ("every block twice", last(body.clone())),
        ("a header in another order", [varint(unordered.len()), unordered, body.clone()].concat()),
        ("a CID of version 0", first(section(&[&[0x12, 0x20], [7; 32].as_slice()].concat(), b"x"))),
        ("an identity", first(section(&[1, 0x55, 0, 3, b'a', b'b', b'c'], b"abc"))),
        ("a SHA-512", first(section(&[&[1, 0x71, 0x13, 0x40], [7; 64].as_slice()].concat(), b"x"))),
        (
            "another hash, of two bytes",
            first(section(&[&[1, 0x71, 0xa0, 0xe4, 0x02, 0x20], [7; 32].as_slice()].concat(), b"x")),
        ),
        ("another codec", first(section(&[&[1, 0x70, 0x12, 0x20], [7; 32].as_slice()].concat(), b"x"))),
        ("an empty section", first(vec![0])),
        ("zeros at the end", last(vec![0; 64])),
        ("a long block", first(section(&cid(Link::of(&long)).to_bytes(), &long))),
        ("two roots", other_header(vec![roots(&[Ipld::Link(cid(root)), Ipld::Link(blob)]), version.clone()])),
        (
            "a header with more in it",
            other_header(vec![roots(&[Ipld::Link(cid(root))]), version, ("x", Ipld::Bytes(vec![0; 5000]))]),
        ),
    ];
    for (why, bytes) in archives {
        for chunk in [bytes.len(), 1000, 7] {
            if bytes.len() / chunk > 500_000 {
                continue;
            }
            let snapshot = read(bytes.chunks(chunk), &Did::parse(DID).unwrap(), &key())
                .unwrap_or_else(|refused| panic!("{why}: {refused}"));
            assert_eq!(snapshot.records.len(), records.len(), "{why}");
        }
    }
}

/// Duplicate blocks cost nothing: a limit counts what is held, not what arrived.
#[test]
fn k04_twins_do_not_fill_the_room() {
    let (root, blocks) = repository(&messages(60));
    let (link, bytes) = blocks.iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
    let twin = section(&cid(*link).to_bytes(), bytes);
    let mut archive = archive(root, &blocks);
    archive.extend(twin.repeat((40 << 20) / twin.len()));
    assert_eq!(read_built(&archive).unwrap().records.len(), 60);
}

/// Faulty archives, and the reason for which each is refused.
fn refusals() -> Vec<(&'static str, Vec<u8>, Refused)> {
    let records = messages(60);
    let (root, blocks) = repository(&records);
    let good = archive(root, &blocks);
    let without = |link: Link| archive(root, &blocks.iter().filter(|(l, _)| *l != link).cloned().collect());
    let is_node = |bytes: &[u8]| bytes.starts_with(&[0xa2, 0x61, b'e']);
    let nodes: Vec<Link> = blocks.iter().filter(|(_, b)| is_node(b)).map(|(link, _)| *link).collect();
    let lone = Link::of(&message("lone"));
    // A commit over one node with these `entries`.
    let over = |bytes: Vec<u8>, more: &[Vec<u8>]| {
        let mut blocks = Blocks::new();
        add(&mut blocks, message("lone"));
        for block in more {
            add(&mut blocks, block.clone());
        }
        let data = add(&mut blocks, bytes);
        let root = commit(&mut blocks, data);
        archive(root, &blocks)
    };
    let with_commit = |change: &dyn Fn(&mut BTreeMap<String, Ipld>)| {
        let mut blocks = Blocks::new();
        let data = add(&mut blocks, node(None, &[]));
        let mut fields = unsigned(data);
        change(&mut fields);
        let root = add(&mut blocks, signed(fields, |signature| signature.to_bytes().to_vec()));
        archive(root, &blocks)
    };
    let low = keys_on(0, 4);
    let high = keys_on(1, 2);
    let one = |key: &str| entries([(key, lone, None)]);
    let many = |keys: &[&str]| entries(keys.iter().map(|key| (*key, lone, None)));
    let mut mixed = [low[0].as_str(), high[0].as_str()];
    mixed.sort_unstable();
    let leaf = node(None, &one(&low[0]));
    let empty = node(None, &[]);
    vec![
        ("nothing", Vec::new(), Refused::Truncated),
        ("a page", b"<!doctype html>".repeat(9), Refused::NotAnArchive),
        ("an answer in JSON", br#"{"error":"RepoNotFound"}"#.repeat(9), Refused::NotAnArchive),
        ("zeros", vec![0; 100], Refused::NotAnArchive),
        ("a length without end", vec![0xff; 100], Refused::NotAnArchive),
        ("another version", header(2, &[root]), Refused::NotAnArchive),
        ("no root", header(1, &[]), Refused::NotAnArchive),
        (
            "another root before the commit",
            [header(1, &[blocks[0].0, root]), good[header(1, &[root]).len()..].to_vec()].concat(),
            Refused::NoCommit,
        ),
        ("a header only", header(1, &[root]), Refused::NoCommit),
        ("an endless header", [varint(1 << 20), vec![0; 1 << 20]].concat(), Refused::NotAnArchive),
        ("a section without a CID", [good.clone(), section(&[], b"x")].concat(), Refused::NotAnArchive),
        (
            "a CID longer than its section",
            [good.clone(), section(&[1, 0x71, 0x13, 64], b"x")].concat(),
            Refused::NotAnArchive,
        ),
        ("a CID of version 2", [good.clone(), section(&[2; 36], &[])].concat(), Refused::NotAnArchive),
        ("a block of a gigabyte", [good.clone(), varint(1 << 30)].concat(), Refused::NotAnArchive),
        ("a long block", long_record(), Refused::BlockTooLong),
        ("cut within a long block", [good.clone(), varint(3 << 20), vec![7; 9]].concat(), Refused::Truncated),
        ("cut within a block", good[..good.len() - 1].to_vec(), Refused::Truncated),
        ("cut within a length", [good.clone(), vec![0x80]].concat(), Refused::Truncated),
        ("a flipped bit in a record", flipped(&good, b"message 17"), Refused::WrongHash),
        ("a flipped bit in a node", flipped(&good, b"social.colibri.message/m00"), Refused::WrongHash),
        ("a flipped bit in the commit", flipped(&good, DID.as_bytes()), Refused::WrongHash),
        ("without its commit", without(root), Refused::NoCommit),
        ("a record as its commit", archive(blocks[0].0, &blocks), Refused::NoCommit),
        ("without a record", without(Link::of(&message("message 9"))), Refused::MissingRecord),
        ("without its root", without(*nodes.last().unwrap()), Refused::MissingNode),
        ("without a leaf", without(nodes[0]), Refused::MissingNode),
        (
            "of another account",
            with_commit(&|fields| {
                drop(fields.insert("did".to_owned(), Ipld::String("did:plc:x".to_owned())))
            }),
            Refused::WrongAccount,
        ),
        (
            "a version to come",
            with_commit(&|fields| drop(fields.insert("version".to_owned(), Ipld::Integer(4)))),
            Refused::NoCommit,
        ),
        ("without a revision", with_commit(&|fields| drop(fields.remove("rev"))), Refused::NoCommit),
        (
            "a revision that is no TID",
            with_commit(&|fields| drop(fields.insert("rev".to_owned(), Ipld::String("zzz".to_owned())))),
            Refused::NoCommit,
        ),
        ("keys not in order", over(node(None, &many(&[&low[1], &low[0]])), &[]), Refused::OutOfOrder),
        ("a key twice", over(node(None, &many(&[&low[0], &low[0]])), &[]), Refused::OutOfOrder),
        (
            "a subtree that is not before its key",
            over(
                node(Some(Link::of(&node(None, &one(low.last().unwrap())))), &one(&high[0])),
                &[node(None, &one(low.last().unwrap()))],
            ),
            Refused::OutOfOrder,
        ),
        (
            "a subtree twice",
            over(
                node(Some(Link::of(&leaf)), &entries([(high[0].as_str(), lone, Some(Link::of(&leaf)))])),
                std::slice::from_ref(&leaf),
            ),
            Refused::OutOfOrder,
        ),
        ("a key above its layer", over(node(None, &many(&mixed)), &[]), Refused::WrongLayer),
        (
            "a key two layers down",
            over(node(Some(Link::of(&leaf)), &one(&keys_on(2, 1)[0])), std::slice::from_ref(&leaf)),
            Refused::WrongLayer,
        ),
        (
            "a root without keys",
            over(node(Some(Link::of(&leaf)), &[]), std::slice::from_ref(&leaf)),
            Refused::WrongLayer,
        ),
        (
            "a subtree without keys",
            over(node(Some(Link::of(&empty)), &one(&high[0])), std::slice::from_ref(&empty)),
            Refused::WrongLayer,
        ),
        (
            "below the lowest layer",
            over(node(Some(Link::of(&leaf)), &one(&low[1])), std::slice::from_ref(&leaf)),
            Refused::TooDeep,
        ),
        ("a prefix of nothing", over(node(None, &[(3, b"x/y".to_vec(), lone, None)]), &[]), Refused::BadKey),
        (
            "a prefix that could be longer",
            over(
                node(
                    None,
                    &[
                        (0, low[0].clone().into_bytes(), lone, None),
                        (0, low[1].clone().into_bytes(), lone, None),
                    ],
                ),
                &[],
            ),
            Refused::BadKey,
        ),
        ("a key without a slash", over(node(None, &one("social.colibri.message")), &[]), Refused::BadKey),
        ("a key with two", over(node(None, &one("social.colibri.message/a/b")), &[]), Refused::BadKey),
        ("a key in another script", over(node(None, &one("social.colibri.message/ä")), &[]), Refused::BadKey),
        ("an rkey that is none", over(node(None, &one("social.colibri.message/..")), &[]), Refused::BadKey),
        ("an endless key", over(node(None, &one(&format!("a/{}", "x".repeat(2000)))), &[]), Refused::BadKey),
        ("a record for a root", over(message("lone"), &[]), Refused::MissingNode),
        (
            "a node that says more",
            over(cbor(&map([("e", Ipld::List(vec![])), ("l", Ipld::Null), ("x", Ipld::Null)])), &[]),
            Refused::MissingNode,
        ),
        (
            "a record of another collection",
            {
                let post = cbor(&map([("$type", Ipld::String("app.bsky.feed.post".to_owned()))]));
                let records = BTreeMap::from([("social.colibri.message/a".to_owned(), post)]);
                let (root, blocks) = repository(&records);
                archive(root, &blocks)
            },
            Refused::MissingRecord,
        ),
        (
            "a node over the limit",
            over(node(None, &entries((0..6000).map(|_| (low[0].as_str(), lone, None)))), &[]),
            Refused::TooLarge,
        ),
        (
            "a record under very many keys",
            {
                let mut blocks = Blocks::new();
                let record = add(&mut blocks, message(&"x".repeat(60_000)));
                let keys: Vec<String> =
                    (0..1000).map(|n| format!("social.colibri.message/m{n:04}")).collect();
                let keys: Vec<_> = keys.iter().map(|key| (key.as_str(), record)).collect();
                let data = tree(&mut blocks, &keys, &mut |_| {});
                let root = commit(&mut blocks, data);
                archive(root, &blocks)
            },
            Refused::TooLarge,
        ),
    ]
}

/// `bytes` with a flipped bit in the first place where they contain `text`.
fn flipped(bytes: &[u8], text: &[u8]) -> Vec<u8> {
    let at = bytes.windows(text.len()).position(|window| window == text).unwrap();
    let mut bytes = bytes.to_vec();
    bytes[at + text.len() - 1] ^= 1;
    bytes
}

#[test]
fn k04_what_is_wrong_is_refused() {
    for (what, bytes, expected) in refusals() {
        assert_eq!(read_built(&bytes), Err(expected), "{what}");
        assert_eq!(expected.is_for_its_size(), TOO_MUCH.contains(&what), "{what}");
        let bytewise = read(bytes.chunks(1), &Did::parse(DID).unwrap(), &key());
        assert_eq!(bytewise, Err(expected), "{what}, byte by byte");
    }
}

#[test]
fn only_the_account_s_own_key_is_believed() {
    let (root, blocks) = repository(&messages(3));
    let bytes = archive(root, &blocks);
    let other = recorded("repository-p256");
    let did = Did::parse(DID).unwrap();
    assert_eq!(read([bytes.as_slice()], &did, &other.key), Err(Refused::WrongSignature));
    assert_eq!(read([bytes.as_slice()], &other.did, &key()), Err(Refused::WrongAccount));

    let bent = |bend: &dyn Fn(k256::ecdsa::Signature) -> Vec<u8>| {
        let mut blocks = Blocks::new();
        let data = add(&mut blocks, node(None, &[]));
        let root = add(&mut blocks, signed(unsigned(data), bend));
        read_built(&archive(root, &blocks)).map(|snapshot| snapshot.rev)
    };
    assert_eq!(bent(&|signature| signature.to_bytes().to_vec()), Ok(REV.to_owned()), "as it is");
    let high = |signature: k256::ecdsa::Signature| {
        let twin =
            k256::ecdsa::Signature::from_scalars(signature.r().to_bytes(), (-*signature.s()).to_bytes());
        twin.unwrap().to_bytes().to_vec()
    };
    assert_eq!(bent(&high), Err(Refused::WrongSignature), "the higher S");
    assert_eq!(bent(&|_| Vec::new()), Err(Refused::WrongSignature), "none");
    assert_eq!(bent(&|_| vec![0; 64]), Err(Refused::WrongSignature), "zeros");
    let der = |signature: k256::ecdsa::Signature| signature.to_der().as_bytes().to_vec();
    assert_eq!(bent(&der), Err(Refused::WrongSignature), "another form");
}

#[test]
fn a_commit_of_version_2_with_a_revision_is_read() {
    let mut blocks = Blocks::new();
    let data = add(&mut blocks, node(None, &[]));
    let mut fields = unsigned(data);
    fields.insert("version".to_owned(), Ipld::Integer(2));
    fields.insert("prev".to_owned(), Ipld::Link(cid(data)));
    let root = add(&mut blocks, signed(fields, |signature| signature.to_bytes().to_vec()));
    assert!(read_built(&archive(root, &blocks)).is_ok());
}

/// A part of an archive never counts as the whole: either something is missing, or the missing
/// blocks were not wanted.
#[test]
fn k04_no_part_of_an_archive_is_taken_for_the_whole() {
    let recorded = recorded("repository");
    let whole = read([recorded.bytes.as_slice()], &recorded.did, &recorded.key).unwrap();
    let mut refused = 0;
    for end in (0..recorded.bytes.len()).step_by(401) {
        match read([&recorded.bytes[..end]], &recorded.did, &recorded.key) {
            Ok(snapshot) => assert_eq!(snapshot, whole, "cut at {end}"),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 150, "{refused}");
}

/// A flipped bit is noticed, or it turns an unwanted block into an unreferenced one.
#[test]
fn no_flipped_bit_changes_what_is_read() {
    let recorded = recorded("repository");
    let whole = read([recorded.bytes.as_slice()], &recorded.did, &recorded.key).unwrap();
    let (mut flipped, mut refused) = (0, 0);
    for at in (0..recorded.bytes.len()).step_by(331) {
        let mut bytes = recorded.bytes.clone();
        bytes[at] ^= 1 << (at % 8);
        flipped += 1;
        match read([bytes.as_slice()], &recorded.did, &recorded.key) {
            Ok(snapshot) => assert_eq!(snapshot, whole, "byte {at}, bit {}", at % 8),
            Err(_) => refused += 1,
        }
    }
    assert!(refused * 20 > flipped * 19, "{refused} of {flipped}");
}
