//! Builds repository archives that no honest host sends: block by block, with a correct tree or one
//! that a test modifies, and signed.

use std::collections::BTreeMap;

use colibri_edge::wire::dag_cbor::Link;
use colibri_edge::wire::signing_key::SigningKey;
use ipld_core::cid::Cid;
use ipld_core::ipld::Ipld;
use k256::ecdsa::signature::hazmat::PrehashSigner;
use sha2::{Digest, Sha256};

pub(crate) const DID: &str = "did:plc:archivist";
pub(crate) const REV: &str = "3n2syol7kom2o";

/// The blocks of an archive, in the order of writing.
pub(crate) type Blocks = Vec<(Link, Vec<u8>)>;

pub(crate) fn cid(link: Link) -> Cid {
    Cid::try_from(link.to_string()).unwrap()
}

pub(crate) fn map(fields: impl IntoIterator<Item = (&'static str, Ipld)>) -> Ipld {
    Ipld::Map(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

pub(crate) fn cbor(value: &Ipld) -> Vec<u8> {
    serde_ipld_dagcbor::to_vec(value).unwrap()
}

/// Adds a block to an archive and returns its hash.
pub(crate) fn add(blocks: &mut Blocks, bytes: Vec<u8>) -> Link {
    let link = Link::of(&bytes);
    blocks.push((link, bytes));
    link
}

/// A message as its author's PDS stores it.
pub(crate) fn message(text: &str) -> Vec<u8> {
    cbor(&map([
        ("$type", Ipld::String("social.colibri.message".to_owned())),
        ("text", Ipld::String(text.to_owned())),
        ("channel", Ipld::String("hall".to_owned())),
        ("createdAt", Ipld::String("2026-11-21T08:00:00.000Z".to_owned())),
    ]))
}

/// The number of leading pairs of zero bits in the hash of a key.
pub(crate) fn layer(key: &str) -> u32 {
    Sha256::digest(key)
        .iter()
        .fold((0, true), |(zeros, goes_on), byte| match goes_on {
            true => (zeros + byte.leading_zeros(), *byte == 0),
            false => (zeros, false),
        })
        .0
        / 2
}

/// `n` keys of messages on one layer, in order.
pub(crate) fn keys_on(wanted: u32, n: usize) -> Vec<String> {
    let all = (0..).map(|n| format!("social.colibri.message/key{n:05}"));
    all.filter(|key| layer(key) == wanted).take(n).collect()
}

/// An entry of a node: the length of the prefix shared with the previous key, the rest, its record,
/// the subtree after it.
pub(crate) type Entry = (usize, Vec<u8>, Link, Option<Link>);

/// The bytes of a node.
pub(crate) fn node(left: Option<Link>, entries: &[Entry]) -> Vec<u8> {
    let link = |link: Option<Link>| link.map_or(Ipld::Null, |link| Ipld::Link(cid(link)));
    let entries = entries.iter().map(|(prefix, suffix, value, right)| {
        map([
            ("p", Ipld::Integer(i128::try_from(*prefix).unwrap())),
            ("k", Ipld::Bytes(suffix.clone())),
            ("v", Ipld::Link(cid(*value))),
            ("t", link(*right)),
        ])
    });
    cbor(&map([("l", link(left)), ("e", Ipld::List(entries.collect()))]))
}

/// Entries of one node from keys in order, with the longest shared prefixes.
pub(crate) fn entries<'a>(keys: impl IntoIterator<Item = (&'a str, Link, Option<Link>)>) -> Vec<Entry> {
    let mut before = "";
    let mut entries = Vec::new();
    for (key, value, right) in keys {
        let shared = before.bytes().zip(key.bytes()).take_while(|(a, b)| a == b).count();
        entries.push((shared, key.as_bytes()[shared..].to_vec(), value, right));
        before = key;
    }
    entries
}

/// The correct tree of these keys; `bend` may change each node before it is hashed.
pub(crate) fn tree(blocks: &mut Blocks, keys: &[(&str, Link)], bend: &mut impl FnMut(&mut Vec<u8>)) -> Link {
    let top = keys.iter().map(|(key, _)| layer(key)).max().unwrap_or(0);
    subtree(blocks, keys, top, bend).unwrap_or_else(|| {
        let mut empty = node(None, &[]);
        bend(&mut empty);
        add(blocks, empty)
    })
}

fn subtree(
    blocks: &mut Blocks,
    keys: &[(&str, Link)],
    at: u32,
    bend: &mut impl FnMut(&mut Vec<u8>),
) -> Option<Link> {
    if keys.is_empty() {
        return None;
    }
    let mut stretches = keys.split(|(key, _)| layer(key) == at);
    let mut below = |stretch: &[(&str, Link)], blocks: &mut Blocks| {
        at.checked_sub(1).and_then(|lower| subtree(blocks, stretch, lower, bend))
    };
    let left = below(stretches.next().unwrap(), blocks);
    let own: Vec<_> = keys
        .iter()
        .filter(|(key, _)| layer(key) == at)
        .zip(stretches)
        .map(|((key, value), stretch)| (*key, *value, below(stretch, blocks)))
        .collect();
    let mut bytes = node(left, &entries(own));
    bend(&mut bytes);
    Some(add(blocks, bytes))
}

/// The key that signs the archives of this file.
pub(crate) fn secret() -> k256::ecdsa::SigningKey {
    k256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap()
}

pub(crate) fn key() -> SigningKey {
    let point = secret().verifying_key().to_encoded_point(true);
    let text = format!("z{}", bs58::encode([&[0xe7, 0x01], point.as_bytes()].concat()).into_string());
    SigningKey::of_multikey(&text).unwrap()
}

/// The fields of an unsigned commit.
pub(crate) fn unsigned(root: Link) -> BTreeMap<String, Ipld> {
    let fields = map([
        ("did", Ipld::String(DID.to_owned())),
        ("rev", Ipld::String(REV.to_owned())),
        ("data", Ipld::Link(cid(root))),
        ("prev", Ipld::Null),
        ("version", Ipld::Integer(3)),
    ]);
    let Ipld::Map(fields) = fields else { unreachable!() };
    fields
}

/// The bytes of a commit: its fields and their signature, which `bend` may change.
pub(crate) fn signed(
    mut fields: BTreeMap<String, Ipld>,
    bend: impl FnOnce(k256::ecdsa::Signature) -> Vec<u8>,
) -> Vec<u8> {
    let hash = Sha256::digest(cbor(&Ipld::Map(fields.clone())));
    let signature: k256::ecdsa::Signature = secret().sign_prehash(&hash).unwrap();
    fields.insert("sig".to_owned(), Ipld::Bytes(bend(signature)));
    cbor(&Ipld::Map(fields))
}

pub(crate) fn varint(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 0x7f {
        bytes.push(u8::try_from(number & 0x7f).unwrap() | 0x80);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).unwrap());
    bytes
}

pub(crate) fn header(version: i128, roots: &[Link]) -> Vec<u8> {
    let roots = roots.iter().map(|link| Ipld::Link(cid(*link))).collect();
    let header = cbor(&map([("version", Ipld::Integer(version)), ("roots", Ipld::List(roots))]));
    [varint(header.len()), header].concat()
}

pub(crate) fn section(cid: &[u8], bytes: &[u8]) -> Vec<u8> {
    [varint(cid.len() + bytes.len()).as_slice(), cid, bytes].concat()
}

/// The bytes of an archive.
pub(crate) fn archive(root: Link, blocks: &Blocks) -> Vec<u8> {
    let mut bytes = header(1, &[root]);
    for (link, block) in blocks {
        bytes.extend(section(&cid(*link).to_bytes(), block));
    }
    bytes
}

/// The correct archive of a repository with these records.
pub(crate) fn repository(records: &BTreeMap<String, Vec<u8>>) -> (Link, Blocks) {
    let mut blocks = Blocks::new();
    let keys: Vec<_> =
        records.iter().map(|(key, bytes)| (key.as_str(), add(&mut blocks, bytes.clone()))).collect();
    let data = tree(&mut blocks, &keys, &mut |_| {});
    let root = commit(&mut blocks, data);
    (root, blocks)
}

/// Adds the signed commit of a tree.
pub(crate) fn commit(blocks: &mut Blocks, data: Link) -> Link {
    add(blocks, signed(unsigned(data), |signature| signature.to_bytes().to_vec()))
}
