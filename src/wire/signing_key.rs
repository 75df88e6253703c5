//! The key with which an account signs its repository.
//!
//! Promises: supports both curves of the network (secp256k1, NIST P-256). Of the two valid
//! signatures for each message it accepts only the one with the lower S, so that nobody can derive
//! a second one (platform facts 7.1). [`super::multikey`] reads keys from documents.

use sha2::{Digest, Sha256};

use super::multikey::{K256, P256, base58};

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningKey(Curve);

/// The name of each curve's signatures in a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// secp256k1
    Es256k,
    /// NIST P-256
    Es256,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Curve {
    Secp256k1(Box<k256::ecdsa::VerifyingKey>),
    P256(Box<p256::ecdsa::VerifyingKey>),
}

impl SigningKey {
    /// Reads a Multikey (`z…`), bare or as `did:key:z…`. `None` if it is not a point of these
    /// curves.
    pub fn of_multikey(text: &str) -> Option<Self> {
        let bytes = base58(text.strip_prefix("did:key:").unwrap_or(text))?;
        // The prefix is the curve's code; a Multikey holds the compressed point.
        let (code, point) = bytes.split_at_checked(2).filter(|(_, point)| point.len() == 33)?;
        let curve = if code == K256 {
            Curve::Secp256k1(Box::new(k256::ecdsa::VerifyingKey::from_sec1_bytes(point).ok()?))
        } else if code == P256 {
            Curve::P256(Box::new(p256::ecdsa::VerifyingKey::from_sec1_bytes(point).ok()?))
        } else {
            return None;
        };
        Some(Self(curve))
    }

    /// The name of its signatures.
    pub fn algorithm(&self) -> Algorithm {
        match self.0 {
            Curve::Secp256k1(_) => Algorithm::Es256k,
            Curve::P256(_) => Algorithm::Es256,
        }
    }

    /// Whether `signature` (64 bytes, r and s) is this key's signature of the SHA-256 of `message`.
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
}

#[cfg(test)]
mod tests {
    use super::super::multikey::Multikey;
    use super::*;

    /// A key of each curve, its signature of `a message`, the twin of that signature with the
    /// higher S, and the uncompressed point: made with `@atproto/crypto` 0.4.5 of the local
    /// network.
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
            assert!(key.is_some());
            assert_eq!(SigningKey::of_multikey(&format!("did:key:{multikey}")), key);
            let of_2019 = Multikey::of_method(kind, uncompressed).unwrap();
            assert_eq!(SigningKey::of_multikey(of_2019.as_str()), key);
        }
    }

    #[test]
    fn what_is_no_key() {
        let [(_, multikey, uncompressed, ..), ..] = GOLDEN;
        let point =
            |code: [u8; 2], point: &[u8]| format!("z{}", bs58::encode([&code, point].concat()).into_string());
        for (text, why) in [
            (uncompressed, "no code"),
            (&multikey[1..], "no multibase prefix"),
            (&multikey[..40], "cut"),
            (&format!("{multikey}1"), "longer"),
            ("z0OIl", "digits that base58 has not"),
            ("z", "nothing"),
            ("", "empty"),
            (&format!("z{}", "1".repeat(1_000_000)), "endless"),
            (&point(K256, &[0; 33]), "no point"),
            (&point(P256, &[0xff; 33]), "no point"),
            (&point([0xed, 0x01], &[2; 33]), "Ed25519"),
            (&point(K256, &base58(uncompressed).unwrap()), "an uncompressed point"),
            ("zä", "not ASCII"),
        ] {
            assert!(SigningKey::of_multikey(text).is_none(), "{text:.99}: {why}");
        }
    }
}
