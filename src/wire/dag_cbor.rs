//! DAG-CBOR, the format of all blocks in repositories: reads links, and turns records into JSON.
//!
//! Promises: refuses bytes that are not valid DAG-CBOR of the AT Protocol's data model; allocates
//! nothing by a length that the bytes merely claim; the library limits the depth (256 steps, two
//! per level), so no input exhausts the stack.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use ipld_core::cid::Cid;
use ipld_core::cid::multihash::Multihash;
use ipld_core::cid::serde::BytesToCidVisitor;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_ipld_dagcbor::de::Deserializer as Cbor;
use sha2::{Digest, Sha256};

/// The multicodec of DAG-CBOR.
const DAG_CBOR: u64 = 0x71;
/// The multicodec of SHA-256.
const SHA_256: u64 = 0x12;

/// The hash of a block in a repository: a SHA-256. As a CID it is version 1, DAG-CBOR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Link([u8; 32]);

impl Link {
    /// The hash of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// A link with this hash.
    pub fn of_hash(hash: [u8; 32]) -> Self {
        Self(hash)
    }
}

/// The CID in base32.
impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hash = Multihash::wrap(SHA_256, &self.0).map_err(|_| fmt::Error)?;
        Cid::new_v1(DAG_CBOR, hash).fmt(f)
    }
}

/// Succeeds only for a CID of a repository block, not for one of a blob.
impl TryFrom<Cid> for Link {
    type Error = NotABlock;

    fn try_from(cid: Cid) -> Result<Self, NotABlock> {
        let names_a_block = cid.codec() == DAG_CBOR && cid.hash().code() == SHA_256;
        let hash = <[u8; 32]>::try_from(cid.hash().digest()).ok().filter(|_| names_a_block);
        hash.map(Self).ok_or(NotABlock)
    }
}

/// The CID is not one of a repository block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotABlock;

impl<'de> Deserialize<'de> for Link {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let cid = Cid::deserialize(deserializer)?;
        Self::try_from(cid).map_err(|_| D::Error::custom("not the CID of a block"))
    }
}

/// What kind of block the bytes claim to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind<'a> {
    /// A map with this `$type`.
    Named(&'a str),
    /// A map without a `$type`.
    Nameless,
    /// Not a map, not DAG-CBOR, or with a `$type` that is not a text.
    Unreadable,
}

#[derive(Deserialize)]
struct Typed<'a> {
    #[serde(rename = "$type", borrow, default)]
    kind: Option<&'a str>,
}

/// Reads the kind of a block, and nothing else.
pub fn kind(bytes: &[u8]) -> Kind<'_> {
    match serde_ipld_dagcbor::from_slice(bytes) {
        Ok(Typed { kind: Some(kind) }) => Kind::Named(kind),
        Ok(Typed { kind: None }) => Kind::Nameless,
        Err(_) => Kind::Unreadable,
    }
}

/// The JSON of a record as Jetstream shows it: links as `{"$link":…}`, bytes as `{"$bytes":…}`.
/// `None` if the bytes are not valid in the AT Protocol (it has no fractions), or if the text would
/// be longer than `max` bytes.
pub fn json(bytes: &[u8], max: usize) -> Option<String> {
    // JSON is a little longer than its CBOR.
    let mut text = Text { json: Vec::with_capacity((bytes.len() + bytes.len() / 4).min(max)), max };
    let mut cbor = Cbor::from_slice(bytes);
    Value(&mut text).deserialize(&mut cbor).ok()?;
    cbor.end().ok()?;
    // Many of these texts are held at once.
    text.json.shrink_to_fit();
    String::from_utf8(text.json).ok()
}

/// JSON under construction.
struct Text {
    json: Vec<u8>,
    max: usize,
}

impl Text {
    fn push<E: Error>(&mut self, text: &str) -> Result<(), E> {
        self.json.extend_from_slice(text.as_bytes());
        if self.json.len() > self.max { Err(E::custom("too long")) } else { Ok(()) }
    }

    fn push_string<E: Error>(&mut self, text: &str) -> Result<(), E> {
        serde_json::to_writer(&mut self.json, text).map_err(E::custom)?;
        self.push("")
    }
}

/// Writes one value of any kind while reading it.
struct Value<'a>(&'a mut Text);

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("data of the AT Protocol")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.0.push(if value { "true" } else { "false" })
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.0.push(&value.to_string())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.0.push(&value.to_string())
    }

    fn visit_none<E: Error>(self) -> Result<(), E> {
        self.0.push("null")
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        self.0.push_string(value)
    }

    fn visit_bytes<E: Error>(self, value: &[u8]) -> Result<(), E> {
        self.0.push(r#"{"$bytes":""#)?;
        self.0.push(&STANDARD_NO_PAD.encode(value))?;
        self.0.push("\"}")
    }

    /// The library's form of a link.
    fn visit_newtype_struct<D: Deserializer<'de>>(self, link: D) -> Result<(), D::Error> {
        let cid: Cid = link.deserialize_bytes(BytesToCidVisitor)?;
        self.0.push(r#"{"$link":""#)?;
        self.0.push(&cid.to_string())?;
        self.0.push("\"}")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        self.0.push("[")?;
        let start = self.0.json.len();
        // Each comma is written before it is known whether another value follows.
        while seq.next_element_seed(Value(self.0))?.is_some() {
            self.0.push(",")?;
        }
        if self.0.json.len() > start {
            self.0.json.pop();
        }
        self.0.push("]")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.0.push("{")?;
        let start = self.0.json.len();
        while map.next_key_seed(Key(self.0))?.is_some() {
            self.0.push(":")?;
            map.next_value_seed(Value(self.0))?;
            self.0.push(",")?;
        }
        if self.0.json.len() > start {
            self.0.json.pop();
        }
        self.0.push("}")
    }
}

/// Writes the key of a map, which must be a text.
struct Key<'a>(&'a mut Text);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text as key")
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        self.0.push_string(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 10_000;

    #[test]
    fn json_of_what_records_hold() {
        for (bytes, expected, why) in [
            (&[0xa0][..], Some("{}"), "an empty map"),
            (&[0x80], Some("[]"), "an empty list"),
            (
                &[0xa2, 0x61, b'a', 0x01, 0x61, b'b', 0x82, 0xf6, 0xf5],
                Some(r#"{"a":1,"b":[null,true]}"#),
                "nested",
            ),
            (
                &[0x1b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
                Some("18446744073709551615"),
                "the largest",
            ),
            (
                &[0x3b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
                Some("-9223372036854775808"),
                "the smallest",
            ),
            (&[0x3b, 0x80, 0, 0, 0, 0, 0, 0, 0], None, "smaller"),
            (&[0x63, b'"', 0x01, b'\\'], Some(r#""\"\u0001\\""#), "what JSON must escape"),
            (&[0x43, 0, 1, 0xff], Some(r#"{"$bytes":"AAH/"}"#), "bytes"),
            (&[0x41, 0xff], Some(r#"{"$bytes":"/w"}"#), "bytes, without padding"),
            (&[0xfb, 0x3f, 0xe0, 0, 0, 0, 0, 0, 0], None, "a fraction"),
            (&[0xf7], None, "undefined"),
            (&[0x18, 0x01], None, "a number in another form"),
            (&[0x9f, 0xff], None, "a list without a length"),
            (&[0xc1, 0x01], None, "another tag"),
            (&[0xd8, 0x2a, 0x42, 0x00, 0x01], None, "a link that is none"),
            (&[0xa1, 0x01, 0x01], None, "a key that is no text"),
            (&[0x61, 0xff], None, "a text that is none"),
            (&[0x01, 0x01], None, "two values"),
            (&[0x82, 0x01], None, "cut"),
            (
                &[0x9b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
                None,
                "a length that it only claims",
            ),
            (&[], None, "nothing"),
        ] {
            assert_eq!(json(bytes, MAX).as_deref(), expected, "{why}");
        }
        let link = [&[0xd8, 0x2a, 0x58, 0x25, 0x00, 0x01, 0x55, 0x12, 0x20], &[0; 32][..]].concat();
        let shown = r#"{"$link":"bafkreiaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}"#;
        assert_eq!(json(&link, MAX).as_deref(), Some(shown), "a link to a blob");
        assert_eq!(json(&[0x63, b'a', b'b', b'c'], 5).as_deref(), Some(r#""abc""#));
        assert_eq!(json(&[0x63, b'a', b'b', b'c'], 4), None, "longer than is wanted");
        assert!(json(&[vec![0x81; 100], vec![0x80]].concat(), MAX).is_some(), "deep");
        assert!(json(&[vec![0x81; 1_000_000], vec![0x80]].concat(), MAX).is_none(), "too deep");
    }

    #[test]
    fn what_a_block_says_it_is() {
        let named = [&[0xa2, 0x61, b'a', 0x80, 0x65], "$type".as_bytes(), &[0x61, b'x']].concat();
        let number = [&[0xa1, 0x65], "$type".as_bytes(), &[0x01]].concat();
        for (bytes, expected, why) in [
            (named.as_slice(), Kind::Named("x"), "its type, whatever comes before"),
            (&[0xa1, 0x61, b'a', 0x80], Kind::Nameless, "none"),
            (&number, Kind::Unreadable, "no text"),
            (&named[..named.len() - 1], Kind::Unreadable, "cut"),
            (&[0x80], Kind::Unreadable, "a list"),
            (&[vec![0xa1, 0x61, b'a'], vec![0x81; 1_000_000]].concat(), Kind::Unreadable, "too deep"),
            (&[], Kind::Unreadable, "nothing"),
        ] {
            assert_eq!(kind(bytes), expected, "{why}");
        }
    }

    #[test]
    fn a_link_is_the_cid_of_a_block() {
        let link = Link::of(&[0xa0]);
        let text = "bafyreigbtj4x7ip5legnfznufuopl4sg4knzc2cof6duas4b3q2fy6swua";
        assert_eq!(link.to_string(), text, "the empty map, of the multiformats specification");
        let read = |version: u8, codec: u8| {
            let head = [0xd8, 0x2a, 0x58, 0x25, 0x00, version, codec, 0x12, 0x20];
            serde_ipld_dagcbor::from_slice::<Link>(&[&head, link.0.as_slice()].concat()).ok()
        };
        assert_eq!(read(1, 0x71), Some(link));
        assert_eq!(read(1, 0x55), None, "a blob");
        assert_eq!(read(2, 0x71), None, "another version");
    }
}
