//! The policy for peers' addresses in a call, and credentials for TURN servers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use sha1::Sha1;

use crate::wire::time::Micros;

/// `ICE_POLICY`: whether peers may connect directly, which shows them each other's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcePolicy {
    /// `all`: in every room.
    All,
    /// `members`: only in voice channels (S20), whose peers are members of one community.
    Members,
    /// `relay`: never.
    Relay,
}

impl IcePolicy {
    /// The policy with this name. An unknown name hides addresses, so that a typing error does not
    /// expose them.
    pub fn named(name: &str) -> Self {
        match name {
            "all" => IcePolicy::All,
            "members" => IcePolicy::Members,
            _ => IcePolicy::Relay,
        }
    }

    /// Whether peers in a room must use relays only. `bound`: the room is a voice channel.
    pub fn relay_only(self, bound: bool) -> bool {
        match self {
            IcePolicy::All => false,
            IcePolicy::Members => !bound,
            IcePolicy::Relay => true,
        }
    }
}

/// The lifetime of credentials for unproven callers, or in a room that anybody may invent, in
/// seconds: long enough to start a call, after which a TURN server does not check them again, and
/// too short to be worth collecting. A client that needs more asks again.
pub const SHORT_SECS: i64 = 600;

/// The most unproven requests for credentials per address and minute (S22): enough for a household
/// that starts a few calls at once.
pub const CREDENTIALS_PER_MIN: i64 = 10;

/// A request for TURN credentials.
#[derive(Clone, Copy, Debug)]
pub struct Asking {
    /// The room is a voice channel, and the caller may be in it (S20).
    pub bound: bool,
    /// The caller proved their DID (X06).
    pub proven: bool,
    /// The caller showed that they are in the room (S12).
    pub is_peer: bool,
}

/// The lifetime of the caller's TURN credentials, in seconds; `None` if they get none (S22). A
/// relay costs its operator money per byte, and hides its user's address.
///   1. a proven person who may be in the voice channel: `ttl_secs`;
///   2. a caller who may be in the voice channel, or is proven, or is in the room: at most
///      [`SHORT_SECS`];
///   3. anybody else: none.
pub fn lifetime(asking: Asking, ttl_secs: i64) -> Option<i64> {
    match asking {
        Asking { bound: true, proven: true, .. } => Some(ttl_secs),
        Asking { bound: false, proven: false, is_peer: false } => None,
        _ => Some(ttl_secs.min(SHORT_SECS)),
    }
}

/// A name and a password that a TURN server accepts until `expires`, using only the secret that it
/// shares with this service (draft-uberti-behave-turn-rest-00, `use-auth-secret` of coturn): the
/// name is `<seconds since 1970>:<id>`, the password its HMAC-SHA1 in Base64.
pub fn credential(secret: &str, id: &str, expires: Micros) -> (String, String) {
    let username = format!("{}:{id}", expires.0.div_euclid(1_000_000));
    // HMAC accepts a key of any length, so this cannot fail.
    let password = Hmac::<Sha1>::new_from_slice(secret.as_bytes())
        .map(|mac| STANDARD.encode(mac.chain_update(username.as_bytes()).finalize().into_bytes()))
        .unwrap_or_default();
    (username, password)
}

/// How long clients may cache the answer, in seconds: half of the credentials' lifetime, so that
/// the other half remains for a call, and at most five minutes, so that configuration changes
/// spread soon.
pub fn keep_secs(ttl_secs: Option<i64>) -> i64 {
    const KEEP_MAX: i64 = 300;
    ttl_secs.map_or(KEEP_MAX, |ttl| (ttl / 2).clamp(0, KEEP_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// coturn computes the same password and compares. This one was computed by `printf %s
    /// 1772370000:did:plc:bob | openssl dgst -sha1 -hmac north -binary | base64`.
    #[test]
    fn a_credential_is_what_coturn_computes() {
        let (username, password) = credential("north", "did:plc:bob", Micros(1_772_370_000_999_999));
        assert_eq!(username, "1772370000:did:plc:bob");
        assert_eq!(password, "CbFm6OKtW/sTQ9QBvedRbwJvAeo=");
    }

    #[test]
    fn an_answer_is_not_kept_longer_than_its_credentials_live() {
        for (ttl, expected) in [(None, 300), (Some(43_200), 300), (Some(60), 30), (Some(1), 0), (Some(0), 0)]
        {
            assert_eq!(keep_secs(ttl), expected);
        }
    }

    #[test]
    fn s22_credentials_are_for_callers() {
        for (bound, proven, is_peer, expected, why) in [
            (false, false, false, None, "a passer-by"),
            (false, false, true, Some(600), "somebody in the room"),
            (false, true, false, Some(600), "a free room, with a proof"),
            (true, false, false, Some(600), "a caller who claims to be a member"),
            (true, true, false, Some(43_200), "a member"),
        ] {
            assert_eq!(lifetime(Asking { bound, proven, is_peer }, 43_200), expected, "{why}");
        }
        assert_eq!(
            lifetime(Asking { bound: false, proven: true, is_peer: false }, 60),
            Some(60),
            "never longer"
        );
    }

    #[test]
    fn policies() {
        for (name, stranger, member) in [
            ("all", false, false),
            ("members", true, false),
            ("relay", true, true),
            ("ALL", true, true),
            ("nonsense", true, true),
        ] {
            let policy = IcePolicy::named(name);
            assert_eq!((policy.relay_only(false), policy.relay_only(true)), (stranger, member), "{name}");
        }
    }
}
