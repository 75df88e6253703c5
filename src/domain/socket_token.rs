//! Tokens that this service signs: socket tokens, with which the website vouches for its users
//! (contract R25, X06), and tickets, which are valid once and briefly (X12).
//!
//! A token contains its person and its times, and is signed, so that nothing must be stored:
//! HMAC-SHA256 under a key that only this service has. It is opaque to clients, but its contents
//! are not secret. It has no dots, so it cannot be mistaken for a JWT. While a secret is being
//! replaced, the previous one still verifies tokens (C28) and signs none.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use crate::wire::ids::Did;
use crate::wire::time::Micros;

/// The allowed lifetimes of a token, in seconds (R25).
pub const TTL: std::ops::RangeInclusive<i64> = 60..=86_400;
/// The lifetime if the website names none.
pub const TTL_DEFAULT: i64 = 3_600;
/// The lifetime of a ticket, in seconds (X12).
pub const TICKET_TTL: i64 = 60;

/// The longest token, in characters. A DID of 256 characters, two timestamps, a number and a
/// signature take less than half of it.
const TOKEN_MAX: usize = 1_024;
const SIGNATURE: usize = 32;
const TIME: usize = 8;
/// The length of a ticket's unique number, in bytes. The number is signed, so it need not be
/// secret.
pub const NUMBER: usize = 8;
const SECOND: i64 = 1_000_000;
/// The formats. They are part of the signed text, so that a signature of any other text is not a
/// token.
const TOKEN_1: &[u8] = b"colibri-edge socket token 1\0";
const TOKEN_2: &[u8] = b"colibri-edge socket token 2\0";
const TICKET_1: &[u8] = b"colibri-edge ticket 1\0";

/// Signs and verifies tokens.
#[derive(Clone)]
pub struct SocketTokens {
    key: Hmac<Sha256>,
    before: Option<Hmac<Sha256>>,
}

/// The contents of a valid token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vouched {
    /// The person.
    pub did: Did,
    /// When it was issued; for a token of the first format, the earliest possible time.
    pub issued_at: Micros,
    /// For a ticket, its unique number and its expiry.
    pub once: Option<(String, Micros)>,
}

impl SocketTokens {
    /// With the service's secret (C08), and the previous one (C28).
    pub fn new(secret: &str, before: Option<&str>) -> Option<Self> {
        let key = |secret: &str| Hmac::new_from_slice(secret.as_bytes()).ok(); // HMAC accepts a key of any length
        Some(Self { key: key(secret)?, before: before.and_then(key) })
    }

    /// A token for `did`, issued at `now` and valid until `expires_at`.
    pub fn issue(&self, did: &Did, now: Micros, expires_at: Micros) -> String {
        let times = [now.millis().to_be_bytes(), expires_at.millis().to_be_bytes()].concat();
        self.signed(TOKEN_2, &[times.as_slice(), did.as_str().as_bytes()].concat())
    }

    /// A ticket for `did` with an unpredictable number, issued at `now`.
    pub fn ticket(&self, did: &Did, number: [u8; NUMBER], now: Micros) -> String {
        self.signed(
            TICKET_1,
            &[&now.millis().to_be_bytes(), number.as_slice(), did.as_str().as_bytes()].concat(),
        )
    }

    /// Verifies a token or ticket. The first rule that applies decides:
    ///   1. a text that this service did not sign is neither;
    ///   2. an expired one is invalid.
    pub fn open(&self, token: &str, now: Micros) -> Option<Vouched> {
        if token.len() > TOKEN_MAX {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (signature, said) = bytes.split_at_checked(SIGNATURE)?;
        let is_of = |kind: &[u8]| {
            let keys = std::iter::once(&self.key).chain(&self.before);
            // In constant time.
            keys.into_iter().any(|key| signing(key, kind, said).verify_slice(signature).is_ok())
        };
        let (first, rest) = time(said)?;
        let (vouched, end) = if is_of(TOKEN_2) {
            let (end, did) = time(rest)?;
            (Vouched { did: parse(did)?, issued_at: first, once: None }, end)
        } else if is_of(TICKET_1) {
            let (number, did) = rest.split_at_checked(NUMBER)?;
            let end = Micros(first.0.saturating_add(TICKET_TTL * SECOND));
            let once = Some((URL_SAFE_NO_PAD.encode(number), end));
            (Vouched { did: parse(did)?, issued_at: first, once }, end)
        } else if is_of(TOKEN_1) {
            let issued_at = Micros(first.0.saturating_sub(TTL.end() * SECOND));
            (Vouched { did: parse(rest)?, issued_at, once: None }, first)
        } else {
            return None;
        };
        (now.millis() < end.millis()).then_some(vouched)
    }

    fn signed(&self, kind: &[u8], said: &[u8]) -> String {
        let signature = signing(&self.key, kind, said).finalize().into_bytes();
        URL_SAFE_NO_PAD.encode([signature.as_slice(), said].concat())
    }
}

fn signing(key: &Hmac<Sha256>, kind: &[u8], said: &[u8]) -> Hmac<Sha256> {
    key.clone().chain_update(kind).chain_update(said)
}

fn time(bytes: &[u8]) -> Option<(Micros, &[u8])> {
    let (time, rest) = bytes.split_at_checked(TIME)?;
    Some((Micros::from_millis(i64::from_be_bytes(time.try_into().ok()?)), rest))
}

fn parse(did: &[u8]) -> Option<Did> {
    Did::parse(std::str::from_utf8(did).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MADE_AT: Micros = Micros(1_772_362_800_000_000);
    const END_AT: Micros = Micros(1_772_366_400_000_000);
    /// In the first format, valid until [`END_AT`]. Made with Python's hmac and base64.
    const FIRST_FORMAT: &str = "5mgKjU8mIkW3TcZ16ghysFrXmMcJUSGdAp_PPwe5fOsAAAGcqUUKAGRpZDpwbGM6YQ";

    fn did(name: &str) -> Did {
        Did::parse(&format!("did:plc:{name}")).unwrap()
    }

    fn tokens(secret: &str) -> SocketTokens {
        SocketTokens::new(secret, None).unwrap()
    }

    #[test]
    fn r25_a_token_is_good_for_its_did_until_its_end() {
        let tokens = tokens("secret");
        let token = tokens.issue(&did("a"), MADE_AT, END_AT);
        let vouched = Some(Vouched { did: did("a"), issued_at: MADE_AT, once: None });
        assert_eq!(tokens.open(&token, Micros(0)), vouched);
        assert_eq!(tokens.open(&token, Micros(END_AT.0 - 1_000)), vouched);
        assert_eq!(tokens.open(&token, END_AT), None, "at its end it is good no more");
        assert!(
            !token.contains('.') && token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        );
    }

    #[test]
    fn x12_a_ticket_lasts_a_minute_and_has_a_number() {
        let tokens = tokens("secret");
        let ticket = tokens.ticket(&did("a"), [7; NUMBER], MADE_AT);
        let end = Micros(MADE_AT.0 + 60_000_000);
        let once = Some((URL_SAFE_NO_PAD.encode([7; NUMBER]), end));
        assert_eq!(tokens.open(&ticket, MADE_AT), Some(Vouched { did: did("a"), issued_at: MADE_AT, once }));
        assert_eq!(tokens.open(&ticket, end), None);
        assert_ne!(tokens.ticket(&did("a"), [8; NUMBER], MADE_AT), ticket);
    }

    #[test]
    fn x07_nothing_else_is_a_token() {
        let tokens = tokens("secret");
        let token = tokens.issue(&did("a"), MADE_AT, END_AT);
        let ticket = tokens.ticket(&did("a"), [7; NUMBER], MADE_AT);
        let other = super::tests::tokens("secrets").issue(&did("a"), MADE_AT, END_AT);
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
        for text in [token, ticket, FIRST_FORMAT.to_owned()] {
            let bytes = URL_SAFE_NO_PAD.decode(&text).unwrap();
            for at in 0..bytes.len() {
                let mut bent = bytes.clone();
                bent[at] ^= 1;
                assert_eq!(tokens.open(&URL_SAFE_NO_PAD.encode(&bent), Micros(0)), None, "byte {at} changed");
                assert_eq!(
                    tokens.open(&URL_SAFE_NO_PAD.encode(&bytes[..at]), Micros(0)),
                    None,
                    "cut at {at}"
                );
            }
        }
    }

    #[test]
    fn c28_the_secret_before_is_believed_and_signs_nothing() {
        let (old, new) = (tokens("old"), tokens("new"));
        let turning = SocketTokens::new("new", Some("old")).unwrap();
        let token = old.issue(&did("a"), MADE_AT, END_AT);
        assert!(turning.open(&token, MADE_AT).is_some());
        assert_eq!(new.open(&token, MADE_AT), None, "once it is gone");
        assert_eq!(turning.issue(&did("a"), MADE_AT, END_AT), new.issue(&did("a"), MADE_AT, END_AT));
        assert!(turning.open(&old.ticket(&did("a"), [1; NUMBER], MADE_AT), MADE_AT).is_some());
    }

    /// It protects people whose socket token was issued before an update.
    #[test]
    fn the_formats_are_pinned() {
        let tokens = tokens("secret");
        let day_before = Micros(END_AT.0 - 86_400_000_000);
        let first = Some(Vouched { did: did("a"), issued_at: day_before, once: None });
        assert_eq!(tokens.open(FIRST_FORMAT, Micros(0)), first, "as old as it may be");
        // Made with Python's hmac and base64.
        assert_eq!(
            tokens.issue(&did("a"), MADE_AT, END_AT),
            "jI2FsZamW5Oyv6JHKwLV2OMWbLPdDJmgBU7aebSYemMAAAGcqQ4bgAAAAZypRQoAZGlkOnBsYzph"
        );
        assert_eq!(
            tokens.ticket(&did("a"), [7; NUMBER], MADE_AT),
            "CnYH5Y09xbBQ774B6NxwtNzoKzT1c43IuOu2Ynd6R1wAAAGcqQ4bgAcHBwcHBwcHZGlkOnBsYzph"
        );
    }
}
