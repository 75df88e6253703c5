//! Content identifiers in parameters (H04, R21).

use std::fmt;

/// The longest CID accepted, in characters. CIDs on the network have 59.
const CID_MAX: usize = 128;

/// A CID as the AT Protocol writes it: version 1 in base32, or version 0. One identifier has
/// exactly one spelling, and a `Cid` contains no character that has a meaning in a URL (B-21).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cid(String);

impl Cid {
    /// Reads a CID.
    pub fn parse(text: &str) -> Option<Self> {
        let ok = text.len() <= CID_MAX && (is_version_0(text) || is_version_1(text));
        ok.then(|| Self(text.to_owned()))
    }

    /// Its SHA-256; `None` if it uses another hash. Blobs of the AT Protocol always use SHA-256
    /// (specification "Data Model").
    pub fn sha256(&self) -> Option<[u8; 32]> {
        const SHA2_256: u64 = 0x12;
        let bytes = match self.0.strip_prefix('b') {
            Some(digits) => base32(digits)?,
            None => bs58::decode(&self.0).into_vec().ok()?,
        };
        let mut rest = bytes.as_slice();
        if self.0.starts_with('b') {
            varint(&mut rest)?; // version
            varint(&mut rest)?; // codec: how to read the bytes, not how they are hashed
        }
        let (kind, _length) = (varint(&mut rest)?, varint(&mut rest)?);
        rest.try_into().ok().filter(|_| kind == SHA2_256)
    }

    /// The text as it arrived.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Cid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A bare SHA-256 in base58: 46 characters that begin with `Qm`.
fn is_version_0(text: &str) -> bool {
    text.len() == 46
        && text.starts_with("Qm")
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() && !b"0OIl".contains(&byte))
}

/// `b`, then in base32: version, codec, kind of hash, its length, and that many bytes.
fn is_version_1(text: &str) -> bool {
    let Some(bytes) = text.strip_prefix('b').and_then(base32) else { return false };
    let mut rest = bytes.as_slice();
    let (Some(version), Some(_codec), Some(_hash), Some(length)) =
        (varint(&mut rest), varint(&mut rest), varint(&mut rest), varint(&mut rest))
    else {
        return false;
    };
    version == 1 && length > 0 && usize::try_from(length).is_ok_and(|length| length == rest.len())
}

/// RFC 4648 base32, lower case, without padding. Unused bits must be zero.
fn base32(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 5 / 8);
    let (mut bits, mut count) = (0_u16, 0_u32);
    for byte in text.bytes() {
        let five = match byte {
            b'a'..=b'z' => byte - b'a',
            b'2'..=b'7' => byte - b'2' + 26,
            _ => return None,
        };
        bits = bits << 5 | u16::from(five);
        count += 5;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count).ok()?);
            bits &= (1 << count) - 1;
        }
    }
    (count < 5 && bits == 0).then_some(bytes)
}

/// An unsigned LEB128 of at most nine bytes.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..63).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h04_b21_what_is_a_cid() {
        let blob = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku";
        let record = "bafyreidfayvfuwqa7qlnopdjiqrxzs6blmoeu4rujcjtnci5beludirz2a";
        for (text, expected, why) in [
            (blob, true, "raw bytes, of the multiformats specification (the empty blob)"),
            (record, true, "a record"),
            ("QmbWqxBEKC3P8tqsKc98xmWNzrzDtRLMiMPL8wBuTGsMnR", true, "version 0"),
            (&blob.to_uppercase(), false, "another case"),
            (&blob[1..], false, "no multibase prefix"),
            (&blob[..58], false, "cut"),
            (&format!("{blob}a"), false, "longer than its hash"),
            (&blob.replace('h', "1"), false, "a character that is not in base32"),
            ("x&did=did:plc:other", false, "a parameter pasted into it"),
            (&format!("{blob}&did=x"), false, "likewise"),
            (&"b".repeat(10_000), false, "long"),
            ("Qm", false, "short"),
            ("b", false, "nothing in it"),
            ("bae", false, "a version only"),
            ("", false, "empty"),
            ("b\0", false, "NUL"),
            ("bäfkrei", false, "not ASCII"),
        ] {
            assert_eq!(Cid::parse(text).is_some(), expected, "{text}: {why}");
        }
    }

    #[test]
    fn r21_2_the_hash_in_a_cid() {
        use sha2::{Digest as _, Sha256};
        let empty: [u8; 32] = Sha256::digest("").into();
        let of = |text: &str| Cid::parse(text).unwrap().sha256();
        assert_eq!(of("bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"), Some(empty), "nothing");
        let record = "bafyreidfayvfuwqa7qlnopdjiqrxzs6blmoeu4rujcjtnci5beludirz2a";
        assert!(of(record).is_some_and(|hash| hash != empty), "a record is hashed so too");
        let empty_0 = bs58::encode([&[0x12, 0x20], empty.as_slice()].concat()).into_string();
        assert_eq!(of(&empty_0), Some(empty), "version 0");
        // Version 1, raw, SHA-512 (0x13) and blake3 (0x1e) of 32 bytes.
        for kind in [0x13_u8, 0x1e] {
            let bytes = [&[1, 0x55, kind, 0x20], [7_u8; 32].as_slice()].concat();
            assert_eq!(of(&format!("b{}", to_base32(&bytes))), None, "another hash");
        }
    }

    fn to_base32(bytes: &[u8]) -> String {
        let bits: Vec<u8> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |n| byte >> n & 1)).collect();
        let five = |bits: &[u8]| (0..5).fold(0, |value, n| value << 1 | bits.get(n).copied().unwrap_or(0));
        bits.chunks(5)
            .map(|bits| char::from(b"abcdefghijklmnopqrstuvwxyz234567"[usize::from(five(bits))]))
            .collect()
    }
}
