//! The key with which an account signs its repository, as DID documents and `did:key` write it.
//!
//! Promises: both curves of the network (secp256k1, NIST P-256); both notations, Multikey and the
//! verification methods of 2019; of the two signatures that belong to each message only the one
//! with the lower S is valid, so that nobody can make a second one of a first (platform facts
//! 7.1).

use sha2::{Digest, Sha256};

/// Where a Multikey says "secp256k1, compressed": its multicodec as a varint.
const SECP256K1: [u8; 2] = [0xe7, 0x01];
/// Where a Multikey says "P-256, compressed".
const P256: [u8; 2] = [0x80, 0x24];
/// The longest text read as a key. One of an uncompressed point has 91 characters; decoding
/// base58 takes the square of its length.
const TEXT_MAX: usize = 128;

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningKey(Curve);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Curve {
    Secp256k1(Box<k256::ecdsa::VerifyingKey>),
    P256(Box<p256::ecdsa::VerifyingKey>),
}

impl SigningKey {
    /// Reads a Multikey (`z…`), bare or as a `did:key:z…`. `None` if it is none of these curves.
    pub fn of_multikey(text: &str) -> Option<Self> {
        let bytes = base58(text.strip_prefix("did:key:").unwrap_or(text))?;
        let (codec, point) = bytes.split_at_checked(2)?;
        match codec {
            _ if point.len() != 33 => None,
            codec if codec == SECP256K1 => Self::secp256k1(point),
            codec if codec == P256 => Self::p256(point),
            _ => None,
        }
    }

    /// Reads the key of a verification method: its `type` and its `publicKeyMultibase`. The types
    /// of 2019 name the curve themselves, and the bytes are the point alone, in either form.
    pub fn of_method(kind: &str, public_key: &str) -> Option<Self> {
        match kind {
            "Multikey" => Self::of_multikey(public_key),
            "EcdsaSecp256k1VerificationKey2019" => Self::secp256k1(&base58(public_key)?),
            "EcdsaSecp256r1VerificationKey2019" => Self::p256(&base58(public_key)?),
            _ => None,
        }
    }

    /// The one Multikey of this key.
    pub fn multikey(&self) -> String {
        let (codec, point) = match &self.0 {
            Curve::Secp256k1(key) => (SECP256K1, key.to_encoded_point(true).as_bytes().to_vec()),
            Curve::P256(key) => (P256, key.to_encoded_point(true).as_bytes().to_vec()),
        };
        let bytes = [&codec, point.as_slice()].concat();
        format!("z{}", bs58::encode(bytes).into_string())
    }

    /// Whether `signature` (64 bytes, r and s) is the one this key makes of the SHA-256 of
    /// `message`.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let hash = Sha256::digest(message);
        match &self.0 {
            Curve::Secp256k1(key) => {
                use k256::ecdsa::signature::hazmat::PrehashVerifier;
                k256::ecdsa::Signature::from_slice(signature).is_ok_and(|signature| {
                    signature.normalize_s().is_none() && key.verify_prehash(&hash, &signature).is_ok()
                })
            }
            Curve::P256(key) => {
                use p256::ecdsa::signature::hazmat::PrehashVerifier;
                p256::ecdsa::Signature::from_slice(signature).is_ok_and(|signature| {
                    signature.normalize_s().is_none() && key.verify_prehash(&hash, &signature).is_ok()
                })
            }
        }
    }

    fn secp256k1(point: &[u8]) -> Option<Self> {
        let key = k256::ecdsa::VerifyingKey::from_sec1_bytes(point).ok()?;
        Some(Self(Curve::Secp256k1(Box::new(key))))
    }

    fn p256(point: &[u8]) -> Option<Self> {
        let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(point).ok()?;
        Some(Self(Curve::P256(Box::new(key))))
    }
}

/// Multibase base58btc: `z`, then the digits.
fn base58(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix('z').filter(|digits| digits.len() <= TEXT_MAX)?;
    bs58::decode(digits).into_vec().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key of each curve with a signature of `a message`, its twin with the higher S, and the
    /// uncompressed point: made with `@atproto/crypto` 0.4.5 of the local network.
    const GOLDEN: [(&str, &str, &str, &str, &str); 2] = [
        (
            "EcdsaSecp256k1VerificationKey2019",
            "zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme",
            "zQBL1VZCdC6hs61fqgwdoNjwh93UBcTg7imvRF9qShKfHR4DQ4RjKyqupL4f2mKduhzF5SzWzDbxKgGwnTsN2zSkg",
            "49658b47e7da76c0110b3c9e5c50a3dbf22016b3b091d6797d4fb83e6835796971cc0e691a87bc7515a23d4802f3a2d7c9e2c1a9b1bec66c34f60d13f228f638",
            "49658b47e7da76c0110b3c9e5c50a3dbf22016b3b091d6797d4fb83e683579698e33f196e578438aea5dc2b7fd0c5d26f0cc1b3cfd89d9cf8adc5178de0d4b09",
        ),
        (
            "EcdsaSecp256r1VerificationKey2019",
            "zDnaexhwt5EdJEnhM7od5VWEjgw6ZRon65ZYJfRjr7LfN9RB7",
            "zRwfwfonYk3A6hexDfnJBmif3tfryQ8tyxthyUzEz34iC3JczunExMLinRQdxqQaWkCbHtnNLyaZMHab6dK2x4iWU",
            "9ef3bc63cf75c279cb80f9b093018b467b50ff5e4e9f606fc820d7387e4cf554274d6bfa940baa23598e14ce7c73d8282faaaca962c22a490499606c0f2c622f",
            "9ef3bc63cf75c279cb80f9b093018b467b50ff5e4e9f606fc820d7387e4cf554d8b294046bf455dda671eb31838c27d78d3c4e044455743bef206a56ed36c322",
        ),
    ];

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn only_the_lower_signature_of_the_message_is_valid() {
        for (_, multikey, _, signature, twin) in GOLDEN {
            let key = SigningKey::of_multikey(multikey).unwrap();
            let signature = hex(signature);
            assert!(key.verifies(b"a message", &signature));
            assert!(!key.verifies(b"a massage", &signature), "another message");
            assert!(!key.verifies(b"a message", &hex(twin)), "the higher S");
            assert!(!key.verifies(b"a message", &signature[..63]), "cut");
            assert!(!key.verifies(b"a message", &[0; 64]), "zeros");
            assert!(!key.verifies(b"a message", &[0xff; 64]), "over the order of the group");
            assert!(!key.verifies(b"a message", b""), "none");
            for (_, other, ..) in GOLDEN.iter().filter(|(_, other, ..)| *other != multikey) {
                assert!(!SigningKey::of_multikey(other).unwrap().verifies(b"a message", &signature));
            }
        }
    }

    #[test]
    fn every_notation_of_a_key_is_that_key() {
        for (kind, multikey, uncompressed, ..) in GOLDEN {
            let key = SigningKey::of_multikey(multikey);
            assert_eq!(key.as_ref().map(SigningKey::multikey).as_deref(), Some(multikey));
            assert_eq!(SigningKey::of_multikey(&format!("did:key:{multikey}")), key);
            assert_eq!(SigningKey::of_method("Multikey", multikey), key);
            assert_eq!(SigningKey::of_method(kind, uncompressed), key);
            let compressed = base58(multikey).unwrap().split_off(2);
            let compressed = format!("z{}", bs58::encode(compressed).into_string());
            assert_eq!(SigningKey::of_method(kind, &compressed), key);
        }
    }

    #[test]
    fn what_is_no_key() {
        let [(kind, multikey, uncompressed, ..), (other, ..)] = GOLDEN;
        let point = |codec: [u8; 2], point: &[u8]| {
            format!("z{}", bs58::encode([&codec, point].concat()).into_string())
        };
        for (kind, text, why) in [
            (other, uncompressed, "a point of the other curve"),
            ("Ed25519VerificationKey2020", multikey, "a curve that signs no repository"),
            ("Multikey", uncompressed, "no codec"),
            (kind, multikey, "a codec where none belongs"),
            ("Multikey", &multikey[1..], "no multibase prefix"),
            ("Multikey", &multikey[..40], "cut"),
            ("Multikey", &format!("{multikey}1"), "longer"),
            ("Multikey", "z0OIl", "digits that base58 has not"),
            ("Multikey", "z", "nothing"),
            ("Multikey", "", "empty"),
            ("Multikey", &format!("z{}", "1".repeat(1_000_000)), "endless"),
            ("Multikey", &point(SECP256K1, &[0; 33]), "no point"),
            ("Multikey", &point(P256, &[0xff; 33]), "no point"),
            ("Multikey", &point([0xed, 0x01], &[2; 33]), "Ed25519"),
            ("Multikey", &point(SECP256K1, &base58(uncompressed).unwrap()), "an uncompressed Multikey"),
            ("Multikey", "zä", "not ASCII"),
        ] {
            assert!(SigningKey::of_method(kind, text).is_none(), "{text:.99}: {why}");
        }
    }
}
