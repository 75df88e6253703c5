//! Texts that are too weak to be secrets (C25).

use url::{Host, Url};

/// The minimum length of a key or secret in characters: a shorter one can be found by trying.
pub const SECRET_MIN: usize = 16;

/// Whether a text is long enough to be a secret.
pub fn is_long_enough(secret: &str) -> bool {
    secret.chars().count() >= SECRET_MIN
}

/// Whether a stream (`JETSTREAM_URL`) comes from this machine: then the network is a test network,
/// and short secrets are allowed.
pub fn is_test_stream(url: &str) -> bool {
    match Url::parse(url).as_ref().ok().and_then(Url::host) {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c25_length() {
        assert!(!is_long_enough("hunter2"));
        assert!(!is_long_enough("123456789012345"));
        assert!(is_long_enough("1234567890123456"));
        assert!(!is_long_enough("éééééééé"), "characters, not bytes");
    }

    #[test]
    fn c25_a_test_network_is_on_this_machine() {
        for (url, expected) in [
            ("ws://127.0.0.1:9/subscribe", true),
            ("ws://127.9.9.9:9", true),
            ("ws://[::1]:9/subscribe?x=1", true),
            ("ws://localhost:9/subscribe", true),
            ("wss://jetstream2.us-east.bsky.network/subscribe", false),
            ("wss://127.0.0.1.example.com/subscribe", false),
            ("wss://localhost.example.com/", false),
            ("wss://user:127.0.0.1@example.com/", false),
            ("ws://10.0.0.1/", false),
            ("", false),
            ("nonsense", false),
        ] {
            assert_eq!(is_test_stream(url), expected, "{url}");
        }
    }
}
