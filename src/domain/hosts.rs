//! Which addresses the service may contact when other people name them (R21.6), and where the
//! document of a DID is.
//!
//! Anybody can write any address into a DID document, so a request to one must not reach what only
//! this service can reach. The rule judges names, before any request; the platform resolves them.

use url::{Host, Url};

use crate::wire::handle::Handle;
use crate::wire::ids::Did;
use crate::wire::xrpc::is_loopback;

/// Names that are never public (R21.6), with their subdomains.
const PRIVATE: [&str; 4] = ["localhost", "local", "internal", "onion"];

/// Top-level domains that are never public, so that no handle under them has a host (specification
/// "Handle", reserved top-level domains; `.test` is resolved through DNS only).
const RESERVED: [&str; 9] =
    ["alt", "arpa", "example", "internal", "invalid", "local", "localhost", "onion", "test"];

/// Which hosts the service may contact.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    /// `INSECURE_HOSTS` (C19): `host:port` each.
    pub insecure: Vec<String>,
    /// The addresses of the service itself: `host:port` each.
    pub own: Vec<String>,
}

/// Whether the service may contact an address from a DID or a DID document. The first rule that
/// applies decides:
///   1. an address with a name or password: no;
///   2. the service itself ([`is_own`]): no, because it would request from itself;
///   3. an address whose `host:port` is in `INSECURE_HOSTS` (C19): yes, over `http` and `https`;
///   4. any scheme but `https`: no;
///   5. an IP literal, in any notation such as `127.1`: no;
///   6. a name without a dot, or one of [`PRIVATE`]: no;
///   7. otherwise yes.
pub fn may_ask(url: &Url, reach: &Reach) -> bool {
    if !url.username().is_empty() || url.password().is_some() || is_own(url, &reach.own) {
        return false;
    }
    let Some(place) = place_of(url) else { return false };
    if is_listed(&place, &reach.insecure) {
        return matches!(url.scheme(), "http" | "https");
    }
    let Some(Host::Domain(name)) = url.host() else { return false };
    url.scheme() == "https" && is_public(name)
}

/// Whether an address leads to the service itself. On this machine the port alone decides, because
/// the machine has many names and the same service listens on all of them.
fn is_own(url: &Url, own: &[String]) -> bool {
    let Some(place) = place_of(url) else { return false };
    let port = place.rsplit(':').next();
    let same_port = |listed: &String| listed.rsplit(':').next() == port;
    is_listed(&place, own) || is_loopback(url) && own.iter().any(same_port)
}

/// Host and port of an address, as `host:port`, without a trailing dot.
pub fn place_of(url: &Url) -> Option<String> {
    let host = url.host()?.to_string();
    Some(format!("{}:{}", host.strip_suffix('.').unwrap_or(&host), url.port_or_known_default()?))
}

fn is_listed(host: &str, list: &[String]) -> bool {
    list.iter().any(|listed| listed.eq_ignore_ascii_case(host))
}

/// Whether a handle can belong to anybody. Under reserved top-level domains DNS proves nothing
/// (specification "Handle"); `handle.invalid` represents an unproven handle. In `.test` only DNS
/// counts.
pub fn may_be_proven(handle: &Handle) -> bool {
    top_of(handle).is_some_and(|top| top == "test" || !RESERVED.contains(&top))
}

fn top_of(handle: &Handle) -> Option<&str> {
    handle.as_str().rsplit('.').next()
}

/// Whether a name, as `url` normalises it, may be that of a public host.
fn is_public(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name); // a trailing dot is allowed
    let below = |suffix: &str| name.strip_suffix(suffix).is_some_and(|rest| rest.ends_with('.'));
    name.contains('.') && !name.starts_with('.') && !name.ends_with('.') && !PRIVATE.into_iter().any(below)
}

/// Where the document of a DID is: in the directory at `plc` (C03), which the operator trusts, or
/// on the host of a `did:web`, if the service may contact it. `None` if the DID cannot be resolved.
/// The AT Protocol does not allow paths in a `did:web`.
pub fn document_of(did: &Did, plc: &str, reach: &Reach) -> Option<Url> {
    let text = did.as_str();
    if text.starts_with("did:plc:") {
        return Url::parse(&format!("{}/{text}", plc.trim_end_matches('/'))).ok();
    }
    let host = text.strip_prefix("did:web:")?.replace("%3A", ":").replace("%3a", ":");
    if host.contains('%') || text.matches(':').count() > 2 {
        return None;
    }
    let scheme = if is_listed(&host, &reach.insecure) { "http" } else { "https" };
    let url = Url::parse(&format!("{scheme}://{host}/.well-known/did.json")).ok()?;
    may_ask(&url, reach).then_some(url)
}

/// The file on a handle's host that names its DID, if the service may contact the host.
pub fn file_of(handle: &Handle, reach: &Reach) -> Option<Url> {
    if top_of(handle).is_none_or(|top| RESERVED.contains(&top)) {
        return None;
    }
    let url = Url::parse(&format!("https://{handle}/.well-known/atproto-did")).ok()?;
    may_ask(&url, reach).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insecure() -> Reach {
        let insecure = vec!["localhost:2583".into(), "127.0.0.1:2582".into(), "[::1]:2581".into()];
        Reach { insecure, own: Vec::new() }
    }

    #[test]
    fn r21_7_the_service_does_not_ask_itself() {
        let reach = Reach {
            insecure: ["127.0.0.1:8787", "localhost:8787", "[::1]:8787", "127.0.0.1:2583"]
                .map(str::to_owned)
                .to_vec(),
            own: vec!["chat.example.com:443".into(), "127.0.0.1:8787".into()],
        };
        for (address, expected, why) in [
            ("https://chat.example.com", false, "its public name"),
            ("https://CHAT.example.com.:443/api/blob", false, "spelled otherwise"),
            ("https://chat.example.com:8443", true, "another port is another service"),
            ("https://other.example.com", true, "another name"),
            ("http://127.0.0.1:8787", false, "where it listens"),
            ("http://localhost:8787", false, "by another name of this machine"),
            ("http://[::1]:8787", false, "and another"),
            ("http://127.0.0.1:2583", true, "another service of this machine"),
        ] {
            assert_eq!(may_ask(&Url::parse(address).unwrap(), &reach), expected, "{address}: {why}");
        }
        let web = Did::parse("did:web:chat.example.com").unwrap();
        assert_eq!(document_of(&web, "https://plc.test", &reach), None, "nor for a document");
    }

    #[test]
    fn o10_which_handles_can_be_anybodys() {
        for (handle, expected) in [
            ("alice.example.com", true),
            ("alice.test", true),
            ("handle.invalid", false),
            ("HANDLE.INVALID", false),
            ("alice.invalid", false),
            ("alice.local", false),
            ("alice.onion", false),
            ("alice.example", false),
            ("invalid.com", true),
        ] {
            assert_eq!(may_be_proven(&Handle::parse(handle).unwrap()), expected, "{handle}");
        }
    }

    #[test]
    fn r21_6_b19_what_may_be_asked() {
        for (address, expected, why) in [
            ("https://pds.example.com", true, "a public host"),
            ("https://PDS.Example.com:8443/path", true, "with a port and a path"),
            ("https://pds.example.com.", true, "the root written out"),
            ("https://xn--bcher-kva.example", true, "a name of another script"),
            ("http://pds.example.com", false, "plain"),
            ("ftp://pds.example.com", false, "another scheme"),
            ("file:///etc/passwd", false, "no host"),
            ("https://127.0.0.1", false, "an IP literal"),
            ("https://10.0.0.1", false, "private"),
            ("https://93.184.215.14", false, "public, but a literal"),
            ("https://127.1", false, "short"),
            ("https://0x7f.0.0.1", false, "hexadecimal"),
            ("https://0177.0.0.1", false, "octal"),
            ("https://2130706433", false, "as a number"),
            ("https://169.254.169.254/latest/meta-data", false, "metadata of a cloud"),
            ("https://[::1]", false, "IPv6"),
            ("https://[::ffff:127.0.0.1]", false, "IPv4 inside IPv6"),
            ("https://localhost", false, "this machine"),
            ("https://localhost.", false, "with the root"),
            ("https://pds.localhost", false, "below it"),
            ("https://LOCALHOST", false, "a name has no case"),
            ("https://printer", false, "no dot"),
            ("https://printer.", false, "no dot but the root's"),
            ("https://printer.local", false, "link-local"),
            ("https://metadata.google.internal", false, "internal"),
            ("https://a.internal.", false, "internal with the root"),
            ("https://abc.onion", false, "Tor"),
            ("https://local.example.com", true, "only the end counts"),
            ("https://notlocal", false, "no dot"),
            ("https://x.notlocal", true, "a label, not an ending"),
            ("https://user@pds.example.com", false, "a name in it"),
            ("https://user:password@pds.example.com", false, "a password in it"),
            ("https://pds.example.com@127.0.0.1", false, "a host in disguise"),
            ("http://localhost:2583/xrpc", true, "C19, plain"),
            ("https://localhost:2583", true, "C19, with TLS"),
            ("http://127.0.0.1:2582", true, "C19, a literal"),
            ("http://[::1]:2581", true, "C19, IPv6"),
            ("http://localhost:2584", false, "C19, another port"),
            ("http://localhost", false, "C19, no port"),
            ("http://user@localhost:2583", false, "C19, a name in it"),
            ("ws://localhost:2583", false, "no HTTP"),
        ] {
            let got = Url::parse(address).is_ok_and(|url| may_ask(&url, &insecure()));
            assert_eq!(got, expected, "{address}: {why}");
        }
    }

    #[test]
    fn where_documents_stand() {
        for (did, expected, why) in [
            ("did:plc:abc", Some("http://plc.test/did:plc:abc"), "in the directory"),
            ("did:web:example.com", Some("https://example.com/.well-known/did.json"), "on its host"),
            ("did:web:example.com%3A8443", Some("https://example.com:8443/.well-known/did.json"), "a port"),
            ("did:web:localhost%3A2583", Some("http://localhost:2583/.well-known/did.json"), "C19"),
            ("did:web:localhost%3a2583", Some("http://localhost:2583/.well-known/did.json"), "C19"),
            ("did:web:localhost%3A2584", None, "this machine"),
            ("did:web:127.0.0.1", None, "an IP literal"),
            ("did:web:127.1", None, "in disguise"),
            ("did:web:printer", None, "no dot"),
            ("did:web:example.com:user:alice", None, "a path"),
            ("did:web:example.com%2F..%2Fsecret", None, "a path in disguise"),
            ("did:web:user%40example.com", None, "a name in it"),
            ("did:web:example.com%3Aport", None, "no port"),
            ("did:key:zabc", None, "a method without documents"),
        ] {
            let got = document_of(&Did::parse(did).unwrap(), "http://plc.test/", &insecure());
            assert_eq!(got.map(String::from).as_deref(), expected, "{did}: {why}");
        }
    }

    #[test]
    fn where_handles_say_whose_they_are() {
        for (handle, expected) in [
            ("alice.example.com", Some("https://alice.example.com/.well-known/atproto-did")),
            ("Alice.Example.com", Some("https://alice.example.com/.well-known/atproto-did")),
            ("test.com", Some("https://test.com/.well-known/atproto-did")),
            ("alice.test", None),
            ("alice.example", None),
            ("alice.localhost", None),
            ("printer.local", None),
            ("metadata.google.internal", None),
            ("a.onion", None),
            ("1.0.0.127.in-addr.arpa", None),
        ] {
            let got = file_of(&Handle::parse(handle).unwrap(), &insecure());
            assert_eq!(got.map(String::from).as_deref(), expected, "{handle}");
        }
    }
}
