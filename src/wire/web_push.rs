//! Web Push: the subscription of a browser (Push API), the encryption of what is sent to it (RFC 8291, RFC 8188), and the
//! token that says who sends it (VAPID, RFC 8292).

use aes_gcm::aead::Aead as _;
use aes_gcm::{Aes128Gcm, KeyInit as _, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hkdf::Hkdf;
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use p256::elliptic_curve::sec1::ToEncodedPoint as _;
use p256::{PublicKey, SecretKey};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::Sha256;
use url::Url;

use super::time::Micros;

/// The longest address of a subscription, in bytes.
pub const ENDPOINT_MAX: usize = 1_000;
/// The most bytes that fit into one message: a push service takes 4,096 with the header and the tag.
pub const TEXT_MAX: usize = 3_900;
/// The size of a record, as the header says it.
const RECORD: u32 = 4_096;
/// How long a token of the service is valid, in seconds; at most a day (RFC 8292, 2).
const TOKEN_LASTS: i64 = 12 * 3_600;

/// Where, and with which keys, a browser takes messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// The address at its push service.
    pub endpoint: Url,
    /// Its keys.
    pub keys: Keys,
}

/// The keys of a subscription, in base64url.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// The public key of the browser: a point of P-256, not compressed.
    pub p256dh: String,
    /// A secret of 16 bytes.
    pub auth: String,
}

impl Subscription {
    /// Whether messages to it can be encrypted, and its address is not too long.
    pub fn is_valid(&self) -> bool {
        self.endpoint.as_str().len() <= ENDPOINT_MAX && self.opened().is_some()
    }

    fn opened(&self) -> Option<(PublicKey, [u8; 16])> {
        let point = decoded(&self.keys.p256dh).filter(|point| point.len() == 65)?;
        let auth = decoded(&self.keys.auth)?.try_into().ok()?;
        Some((PublicKey::from_sec1_bytes(&point).ok()?, auth))
    }

    /// A text for this browser alone, as the body of a request with `Content-Encoding: aes128gcm`. `secret` and `salt`
    /// are random, and used for nothing else. `None` if a key is invalid or the text too long.
    pub fn encrypt(&self, text: &str, secret: &[u8; 32], salt: &[u8; 16]) -> Option<Vec<u8>> {
        if text.len() > TEXT_MAX {
            return None;
        }
        let (browser, auth) = self.opened()?;
        let own = SecretKey::from_slice(secret).ok()?;
        let shared = p256::ecdh::diffie_hellman(own.to_nonzero_scalar(), browser.as_affine());
        let (browser, own) = (browser.to_encoded_point(false), own.public_key().to_encoded_point(false));

        let info = [b"WebPush: info\0", browser.as_bytes(), own.as_bytes()].concat();
        let mut material = [0; 32];
        shared.extract::<Sha256>(Some(&auth)).expand(&info, &mut material).ok()?;
        let keys = Hkdf::<Sha256>::new(Some(salt), &material);
        let (mut key, mut nonce) = ([0; 16], [0; 12]);
        keys.expand(b"Content-Encoding: aes128gcm\0", &mut key).ok()?;
        keys.expand(b"Content-Encoding: nonce\0", &mut nonce).ok()?;

        let last_record = [text.as_bytes(), &[2]].concat();
        let sealed =
            Aes128Gcm::new(&key.into()).encrypt(Nonce::from_slice(&nonce), last_record.as_slice()).ok()?;
        let id = own.as_bytes();
        let header = [salt.as_slice(), &RECORD.to_be_bytes(), &[u8::try_from(id.len()).ok()?], id].concat();
        Some([header, sealed].concat())
    }
}

/// The key with which the service signs its tokens (VAPID).
#[derive(Clone, Debug)]
pub struct Vapid {
    key: SigningKey,
    /// Whom a push service may contact: a `mailto:` or `https:` URL; empty if nobody is named.
    subject: String,
}

impl Vapid {
    /// Reads a private key of 32 bytes in base64url. `None` if it is none.
    pub fn read(key: &str, subject: &str) -> Option<Self> {
        Some(Self { key: SigningKey::from_slice(&decoded(key)?).ok()?, subject: subject.to_owned() })
    }

    /// The public key, as browsers want it: `applicationServerKey` in base64url.
    pub fn public_key(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.key.verifying_key().to_encoded_point(false))
    }

    /// The header `Authorization` of a request to this address.
    pub fn authorization(&self, endpoint: &Url, now: Micros) -> String {
        let mut claims = json!({
            "aud": endpoint.origin().ascii_serialization(),
            "exp": now.0 / 1_000_000 + TOKEN_LASTS,
        });
        if let Some(fields) = claims.as_object_mut().filter(|_| !self.subject.is_empty()) {
            fields.insert("sub".to_owned(), json!(self.subject));
        }
        let header = URL_SAFE_NO_PAD.encode(r#"{"typ":"JWT","alg":"ES256"}"#);
        let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signature: Signature = self.key.sign(signed.as_bytes());
        let signature = URL_SAFE_NO_PAD.encode(signature.to_bytes());
        format!("vapid t={signed}.{signature}, k={}", self.public_key())
    }
}

fn decoded(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const AUTH: &str = "BTBZMqHH6r4Tts7J_aSIgg";
    const BROWSER: &str =
        "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";

    fn browser(p256dh: &str, auth: &str) -> Subscription {
        let endpoint = Url::parse("https://push.example.net/push/JzLQ3raZJfFBR0aqvOMsLrt54w4rJUsV").unwrap();
        Subscription { endpoint, keys: Keys { p256dh: p256dh.into(), auth: auth.into() } }
    }

    /// RFC 8291, appendix A.
    #[test]
    fn u29_the_vector_of_the_standard() {
        let bytes = |text: &str| decoded(text).unwrap();
        let secret = bytes("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw").try_into().unwrap();
        let salt = bytes("DGv6ra1nlYgDCS1FRnbzlw").try_into().unwrap();
        let body =
            browser(BROWSER, AUTH).encrypt("When I grow up, I want to be a watermelon", &secret, &salt);
        let expected = concat!(
            "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27ml",
            "mlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPT",
            "pK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
        );
        assert_eq!(URL_SAFE_NO_PAD.encode(body.unwrap()), expected);
    }

    #[test]
    fn u28_what_is_no_subscription() {
        let compressed = format!("A{}", &BROWSER[1..44]);
        for (p256dh, auth, valid) in [
            (BROWSER, AUTH, true),
            (&format!("{BROWSER}="), &format!("{AUTH}=="), true),
            (BROWSER, "BTBZMqHH6r4Tts7J_aSI", false),
            ("", AUTH, false),
            (&compressed, AUTH, false),
            (&BROWSER.replace('y', "z"), AUTH, false),
            ("BAAA", AUTH, false),
            ("not base64!", AUTH, false),
        ] {
            let one = browser(p256dh, auth);
            assert_eq!(one.is_valid(), valid, "{p256dh} {auth}");
            assert_eq!(one.encrypt("x", &[7; 32], &[0; 16]).is_some(), valid);
        }
        assert!(
            browser(BROWSER, AUTH).encrypt(&"x".repeat(TEXT_MAX), &[7; 32], &[0; 16]).unwrap().len() <= 4_096
        );
        assert_eq!(browser(BROWSER, AUTH).encrypt(&"x".repeat(TEXT_MAX + 1), &[7; 32], &[0; 16]), None);
        assert_eq!(browser(BROWSER, AUTH).encrypt("x", &[0; 32], &[0; 16]), None, "no key");
    }

    /// RFC 8292: the token names the push service, ends, and its signature is that of the key beside it.
    #[test]
    fn u28_the_token_of_the_service() {
        use p256::ecdsa::VerifyingKey;
        use p256::ecdsa::signature::Verifier as _;
        let vapid =
            Vapid::read("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw", "mailto:a@example.com").unwrap();
        let endpoint = Url::parse("https://push.example.net:8443/p/1").unwrap();
        let header = vapid.authorization(&endpoint, Micros(1_000_000_000_000));
        let (token, key) = header.strip_prefix("vapid t=").unwrap().split_once(", k=").unwrap();
        assert_eq!(key, vapid.public_key());
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let claims = decoded(signed.split_once('.').unwrap().1).unwrap();
        let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
        let expected = json!({ "aud": "https://push.example.net:8443", "exp": 1_043_200, "sub": "mailto:a@example.com" });
        assert_eq!(claims, expected);
        let key = VerifyingKey::from_sec1_bytes(&decoded(key).unwrap()).unwrap();
        let signature = Signature::from_slice(&decoded(signature).unwrap()).unwrap();
        assert!(key.verify(signed.as_bytes(), &signature).is_ok());
        for wrong in ["", "AA", "not base64!", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"] {
            assert!(Vapid::read(wrong, "").is_none(), "{wrong}");
        }
    }
}
