//! Public keys as DID documents write them (specification "Cryptography" of the AT Protocol).
//!
//! Every form becomes a Multikey: `z`, and base58btc of the curve's code and the compressed point.
//! The code that verifies a signature checks that the point lies on the curve.

use serde::{Deserialize, Serialize};

/// A public key of one of the two curves of the AT Protocol, as a Multikey.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Multikey(String);

/// Codes of the curves in the table of multicodec, as varints: secp256k1-pub and p256-pub.
pub(super) const K256: [u8; 2] = [0xe7, 0x01];
pub(super) const P256: [u8; 2] = [0x80, 0x24];
/// The longest text read. A key has 49 characters, an uncompressed one 90.
const TEXT_MAX: usize = 128;

impl Multikey {
    /// Reads a Multikey.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = base58(text)?;
        let point = bytes.strip_prefix(&K256).or_else(|| bytes.strip_prefix(&P256))?;
        is_compressed(point).then(|| Self(text.to_owned()))
    }

    /// Reads the key of a verification method: `Multikey`, or one of the forms of 2019, whose type
    /// names the curve and whose point has no code in front and may be uncompressed.
    pub fn of_method(kind: &str, text: &str) -> Option<Self> {
        let code = match kind {
            "Multikey" => return Self::parse(text),
            "EcdsaSecp256k1VerificationKey2019" => K256,
            "EcdsaSecp256r1VerificationKey2019" => P256,
            _ => return None,
        };
        let point = compressed(&base58(text)?)?;
        Some(Self(format!("z{}", bs58::encode([code.as_slice(), &point].concat()).into_string())))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Multikey {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not a Multikey"))
    }
}

/// Multibase base58btc: `z`, then the digits.
pub(super) fn base58(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix('z').filter(|_| text.len() <= TEXT_MAX)?;
    bs58::decode(digits).into_vec().ok()
}

/// SEC 1, 2.3.3: the parity of y as 2 or 3, then x.
fn is_compressed(point: &[u8]) -> bool {
    point.len() == 33 && matches!(point.first(), Some(2 | 3))
}

/// Compresses a point, in whichever form it is.
fn compressed(point: &[u8]) -> Option<Vec<u8>> {
    if is_compressed(point) {
        return Some(point.to_vec());
    }
    let (x, y) = point.strip_prefix(&[4]).filter(|rest| rest.len() == 64)?.split_at_checked(32)?;
    let parity = 2 + (y.last()? & 1);
    Some([&[parity], x].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the specification, which gives both keys as `did:key` of a Multikey.
    const OF_P256: &str = "zDnaembgSGUhZULN2Caob4HLJPaxBh92N7rtH21TErzqf8HQo";
    const OF_K256: &str = "zQ3shqwJEJyMBsBXCWyCBpUBMqxcon9oHB7mCvx4sSpMdLJwc";

    fn point(multikey: &str) -> Vec<u8> {
        base58(multikey).unwrap()[2..].to_vec()
    }

    fn z(bytes: &[u8]) -> String {
        format!("z{}", bs58::encode(bytes).into_string())
    }

    /// The documents of 2019 wrote points in either form; all of these are the same key.
    #[test]
    fn both_formats_are_one_key() {
        let uncompressed = |multikey: &str, last: u8| {
            let mut bytes = vec![4];
            bytes.extend_from_slice(&point(multikey)[1..]);
            bytes.extend_from_slice(&[7; 31]);
            bytes.push(last);
            bytes
        };
        let (k256, p256) = ("EcdsaSecp256k1VerificationKey2019", "EcdsaSecp256r1VerificationKey2019");
        // Compression keeps only the parity of y, so an invented y will do.
        let parity = |multikey: &str| point(multikey)[0] - 2;
        for (kind, text, expected, why) in [
            ("Multikey", OF_P256.to_owned(), Some(OF_P256), "a Multikey"),
            ("Multikey", OF_K256.to_owned(), Some(OF_K256), "a Multikey of the other curve"),
            (k256, z(&point(OF_K256)), Some(OF_K256), "2019, compressed"),
            (p256, z(&point(OF_P256)), Some(OF_P256), "2019, compressed, the other curve"),
            (k256, z(&uncompressed(OF_K256, parity(OF_K256))), Some(OF_K256), "2019, uncompressed"),
            (p256, z(&uncompressed(OF_P256, 4 + parity(OF_P256))), Some(OF_P256), "2019, uncompressed"),
            ("Ed25519VerificationKey2020", OF_K256.to_owned(), None, "another kind"),
            ("Multikey", OF_K256[1..].to_owned(), None, "no multibase"),
            ("Multikey", z(&point(OF_K256)), None, "no code of a curve"),
            ("Multikey", z(&[&[0xed, 0x01], [2; 33].as_slice()].concat()), None, "another curve"),
            ("Multikey", z(&[K256.as_slice(), &[4; 33]].concat()), None, "no compressed point"),
            ("Multikey", z(&[K256.as_slice(), &[2; 32]].concat()), None, "too short"),
            ("Multikey", format!("{OF_K256}1"), None, "too long"),
            ("Multikey", OF_K256.replace('h', "0"), None, "a character that base58 has not"),
            (k256, z(&[4; 64]), None, "half a point"),
            (k256, z(&[]), None, "no point"),
            (k256, "z".repeat(10_000), None, "long"),
            (k256, String::new(), None, "empty"),
        ] {
            let got = Multikey::of_method(kind, &text);
            assert_eq!(got.as_ref().map(Multikey::as_str), expected, "{kind} {why}: {text}");
        }
    }
}
