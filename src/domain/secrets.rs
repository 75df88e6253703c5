//! What is no secret although it was meant as one (C25).

use url::{Host, Url};

/// The fewest characters of a key or secret: a shorter one is found by trying.
pub const SECRET_MIN: usize = 16;

/// Whether a text is long enough to be a secret.
pub fn is_long_enough(secret: &str) -> bool {
    secret.chars().count() >= SECRET_MIN
}

/// Whether a stream (`JETSTREAM_URL`) comes from this machine, so that what the service indexes is
/// a test network, which may have short secrets.
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
