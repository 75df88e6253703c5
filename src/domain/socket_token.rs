//! Socket tokens: how the website vouches for people it knows (contract R25, X06).
//!
//! A token says for whom and until when, and is signed, so that nothing has to be kept: HMAC-SHA256
//! under a key that only this service has. Opaque to clients; what is in it is no secret. It has
//! no dots, so that it is never taken for a JWT.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use crate::wire::ids::Did;
use crate::wire::time::Micros;

/// How long a token is good for, in seconds (R25).
pub const TTL: std::ops::RangeInclusive<i64> = 60..=86_400;
/// How long it is unless the website says so.
pub const TTL_DEFAULT: i64 = 3_600;

/// The longest token read, in characters: a DID of 256 characters, an end and a signature make
/// less than half of it.
const TOKEN_MAX: usize = 1_024;
const SIGNATURE: usize = 32;
const END: usize = 8;
/// The format. Part of what is signed, so that a signature of another kind of text is no token.
const KIND: &[u8] = b"colibri-edge socket token 1\0";

/// Makes and reads tokens.
#[derive(Clone)]
pub struct SocketTokens {
    key: Hmac<Sha256>,
}

impl SocketTokens {
    /// With the secret of the service (C08).
    pub fn new(secret: &str) -> Option<Self> {
        let key = Hmac::new_from_slice(secret.as_bytes()).ok()?; // HMAC takes a key of any length
        Some(Self { key })
    }

    /// A token for `did`, good until `expires_at`.
    pub fn issue(&self, did: &Did, expires_at: Micros) -> String {
        let mut said = expires_at.millis().to_be_bytes().to_vec();
        said.extend_from_slice(did.as_str().as_bytes());
        let signature = self.signing(&said).finalize().into_bytes();
        URL_SAFE_NO_PAD.encode([signature.as_slice(), &said].concat())
    }

    /// For whom a token is. The first rule that applies decides:
    ///   1. what this service did not sign is no token;
    ///   2. at its end it is good no more.
    pub fn open(&self, token: &str, now: Micros) -> Option<Did> {
        if token.len() > TOKEN_MAX {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (signature, said) = bytes.split_at_checked(SIGNATURE)?;
        self.signing(said).verify_slice(signature).ok()?; // in constant time
        let (end, did) = said.split_at_checked(END)?;
        let end = i64::from_be_bytes(end.try_into().ok()?);
        if now.millis() >= end {
            return None;
        }
        Did::parse(std::str::from_utf8(did).ok()?).ok()
    }

    fn signing(&self, said: &[u8]) -> Hmac<Sha256> {
        self.key.clone().chain_update(KIND).chain_update(said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END_AT: Micros = Micros(1_772_366_400_000_000);

    fn did(name: &str) -> Did {
        Did::parse(&format!("did:plc:{name}")).unwrap()
    }

    #[test]
    fn r25_a_token_is_good_for_its_did_until_its_end() {
        let tokens = SocketTokens::new("secret").unwrap();
        let token = tokens.issue(&did("a"), END_AT);
        assert_eq!(tokens.open(&token, Micros(0)), Some(did("a")));
        assert_eq!(tokens.open(&token, Micros(END_AT.0 - 1_000)), Some(did("a")));
        assert_eq!(tokens.open(&token, END_AT), None, "at its end it is good no more");
        assert!(
            !token.contains('.') && token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        );
    }

    #[test]
    fn x07_nothing_else_is_a_token() {
        let tokens = SocketTokens::new("secret").unwrap();
        let token = tokens.issue(&did("a"), END_AT);
        let other = SocketTokens::new("secrets").unwrap().issue(&did("a"), END_AT);
        for (text, why) in [
            (String::new(), "nothing"),
            ("nonsense".into(), "too short to be signed"),
            (other, "signed with another secret"),
            (format!("{token}="), "with something behind it"),
            (token.to_lowercase(), "another case"),
            ("A".repeat(2_000), "long"),
            ("\0".into(), "not base64"),
            ("é".into(), "not ASCII"),
        ] {
            assert_eq!(tokens.open(&text, Micros(0)), None, "{why}");
        }
        let bytes = URL_SAFE_NO_PAD.decode(&token).unwrap();
        for at in 0..bytes.len() {
            let mut bent = bytes.clone();
            bent[at] ^= 1;
            assert_eq!(tokens.open(&URL_SAFE_NO_PAD.encode(&bent), Micros(0)), None, "byte {at} changed");
            assert_eq!(tokens.open(&URL_SAFE_NO_PAD.encode(&bytes[..at]), Micros(0)), None, "cut at {at}");
        }
    }

    /// Who breaks: people with a socket token from before an update must come in after it.
    #[test]
    fn the_format_is_pinned() {
        let token = SocketTokens::new("secret").unwrap().issue(&did("a"), END_AT);
        // Made by Python's hmac and base64.
        assert_eq!(token, "5mgKjU8mIkW3TcZ16ghysFrXmMcJUSGdAp_PPwe5fOsAAAGcqUUKAGRpZDpwbGM6YQ");
    }
}
