//! Who may see whose address in a call, and credentials for TURN servers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use sha1::Sha1;

use crate::wire::time::Micros;

/// `ICE_POLICY`: whether peers may connect to each other directly, and so learn each other's
/// addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcePolicy {
    /// `all`: they may, in every room.
    All,
    /// `members`: only in rooms that are voice channels (S20), where they are members of one
    /// community.
    Members,
    /// `relay`: never.
    Relay,
}

impl IcePolicy {
    /// The policy of this name. A name that is none hides addresses: a typing error must not show
    /// them.
    pub fn named(name: &str) -> Self {
        match name {
            "all" => IcePolicy::All,
            "members" => IcePolicy::Members,
            _ => IcePolicy::Relay,
        }
    }

    /// Whether callers of a room must use relays only. `bound`: the room is a voice channel.
    pub fn relay_only(self, bound: bool) -> bool {
        match self {
            IcePolicy::All => false,
            IcePolicy::Members => !bound,
            IcePolicy::Relay => true,
        }
    }
}

/// How long credentials live for somebody unproven, or in a room that anybody may make up, in
/// seconds: long enough to begin a call, after which a TURN server asks for them no more, and too
/// short to be worth collecting. Who stays asks again.
pub const SHORT_SECS: i64 = 600;

/// How often an address may ask for credentials without a proof, in a minute (S22): a household
/// that begins a few calls at once.
pub const CREDENTIALS_PER_MIN: i64 = 10;

/// Who asks for TURN credentials.
#[derive(Clone, Copy, Debug)]
pub struct Asking {
    /// The room is a voice channel, and they may be in it (S20).
    pub bound: bool,
    /// They proved who they are (X06).
    pub proven: bool,
    /// They showed that they are in the room (S12).
    pub seated: bool,
}

/// How long credentials of TURN servers live for somebody, in seconds; `None`: they get none
/// (S22). A relay costs its operator money for each byte, and an address of it is a way to hide.
///   1. a person who proved who they are, and may be in the voice channel: `ttl_secs`;
///   2. who may be in the voice channel, or proved who they are, or is in the room:
///      [`SHORT_SECS`] at most;
///   3. a passer-by: none.
pub fn lifetime(asking: Asking, ttl_secs: i64) -> Option<i64> {
    match asking {
        Asking { bound: true, proven: true, .. } => Some(ttl_secs),
        Asking { bound: false, proven: false, seated: false } => None,
        _ => Some(ttl_secs.min(SHORT_SECS)),
    }
}

/// A name and a password that a TURN server takes until `expires`, knowing nothing but the
/// secret it shares with us (draft-uberti-behave-turn-rest-00, `use-auth-secret` of coturn): the
/// name is `<seconds since 1970>:<id>`, the password its HMAC-SHA1 in Base64.
pub fn credential(secret: &str, id: &str, expires: Micros) -> (String, String) {
    let username = format!("{}:{id}", expires.0.div_euclid(1_000_000));
    // A key of any length is a key: this cannot fail.
    let password = Hmac::<Sha1>::new_from_slice(secret.as_bytes())
        .map(|mac| STANDARD.encode(mac.chain_update(username.as_bytes()).finalize().into_bytes()))
        .unwrap_or_default();
    (username, password)
}

/// How long an answer may be kept, in seconds: half of what credentials live, so that the other
/// half is left for a call that begins with them, and at most five minutes, so that a changed
/// configuration is soon everywhere.
pub fn keep_secs(ttl_secs: Option<i64>) -> i64 {
    const KEEP_MAX: i64 = 300;
    ttl_secs.map_or(KEEP_MAX, |ttl| (ttl / 2).clamp(0, KEEP_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who breaks: coturn computes the same and compares. The password was computed by
    /// `printf %s 1772370000:did:plc:bob | openssl dgst -sha1 -hmac north -binary | base64`.
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
        for (bound, proven, seated, expected, why) in [
            (false, false, false, None, "a passer-by"),
            (false, false, true, Some(600), "somebody in the room"),
            (false, true, false, Some(600), "a free room, with a proof"),
            (true, false, false, Some(600), "whoever says that they are a member"),
            (true, true, false, Some(43_200), "a member"),
        ] {
            assert_eq!(lifetime(Asking { bound, proven, seated }, 43_200), expected, "{why}");
        }
        assert_eq!(
            lifetime(Asking { bound: false, proven: true, seated: false }, 60),
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
