//! Addresses of XRPC methods on other hosts: reads the origin of an endpoint, and is the only place
//! that builds an address from it.

use url::{Host, Url};

/// The endpoint of an AT Protocol server, as a document or a database names it: an origin (by the
/// specification "DID", an endpoint has a scheme, a host and an optional port, and no path). The
/// first rule that applies decides:
///   1. a text that is not an HTTP address with a host is refused;
///   2. an address with a name or a password is refused, because it is made to be mistaken for
///      another host;
///   3. path, query and fragment are dropped: a document that names a server must not choose the
///      request.
pub fn endpoint(address: &str) -> Option<Url> {
    Url::parse(address).ok().and_then(origin)
}

/// See [`endpoint`].
pub fn origin(mut url: Url) -> Option<Url> {
    let is_http = matches!(url.scheme(), "http" | "https") && url.host().is_some();
    if !is_http || !url.username().is_empty() || url.password().is_some() {
        return None;
    }
    url.set_path("/");
    url.set_query(None);
    url.set_fragment(None);
    Some(url)
}

/// The address of a method on the server at `base`. An endpoint is an origin; an operator's `base`
/// may have a path, to which this appends.
pub fn address(base: &Url, method: &str, params: &[(&str, &str)]) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}/xrpc/{method}", base.path().trim_end_matches('/')));
    url.set_fragment(None);
    url.set_query(None);
    if !params.is_empty() {
        url.query_pairs_mut().extend_pairs(params);
    }
    url
}

/// Whether the host of an address is this machine.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback() || address.is_unspecified(),
        Some(Host::Ipv6(address)) => {
            let mapped = address.to_ipv4_mapped();
            address.is_loopback()
                || address.is_unspecified()
                || mapped.is_some_and(|address| address.is_loopback() || address.is_unspecified())
        }
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            name == "localhost" || name.ends_with(".localhost")
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r21_8_an_endpoint_is_an_origin() {
        for (address, expected, why) in [
            ("https://pds.test", Some("https://pds.test/"), "the usual form"),
            ("https://pds.test/", Some("https://pds.test/"), "with a slash"),
            ("https://PDS.test:443", Some("https://pds.test/"), "one spelling"),
            ("https://pds.test:8443", Some("https://pds.test:8443/"), "a port"),
            ("https://pds.test/base", Some("https://pds.test/"), "a path is dropped"),
            ("https://pds.test/api/blob?did=a&cid=b&x=", Some("https://pds.test/"), "and a query"),
            ("https://pds.test/#x", Some("https://pds.test/"), "and a fragment"),
            ("http://127.0.0.1:2583/a/../b", Some("http://127.0.0.1:2583/"), "plain"),
            ("https://user@pds.test", None, "a name in it"),
            ("https://user:word@pds.test", None, "a password in it"),
            ("https://:word@pds.test", None, "a password without a name"),
            ("ftp://pds.test", None, "another scheme"),
            ("data:text/plain,x", None, "no host"),
            ("pds.test", None, "no scheme"),
            ("nonsense", None, "no address"),
            ("", None, "empty"),
        ] {
            assert_eq!(endpoint(address).map(String::from).as_deref(), expected, "{address}: {why}");
        }
    }

    #[test]
    fn one_way_to_a_method() {
        for (base, params, expected) in [
            ("https://pds.test/", &[("did", "did:plc:a")][..], "https://pds.test/xrpc/x.y?did=did%3Aplc%3Aa"),
            ("https://pds.test", &[], "https://pds.test/xrpc/x.y"),
            ("https://api.test/base/?a=b#c", &[("q", "1&2")], "https://api.test/base/xrpc/x.y?q=1%262"),
        ] {
            assert_eq!(address(&Url::parse(base).unwrap(), "x.y", params).as_str(), expected, "{base}");
        }
    }

    #[test]
    fn what_is_this_machine() {
        for (address, expected) in [
            ("http://localhost:1", true),
            ("http://LOCALHOST.:1", true),
            ("http://a.localhost:1", true),
            ("http://127.0.0.1:1", true),
            ("http://127.8.9.1:1", true),
            ("http://0.0.0.0:1", true),
            ("http://[::1]:1", true),
            ("http://[::]:1", true),
            ("http://[::ffff:127.0.0.1]:1", true),
            ("http://128.0.0.1:1", false),
            ("http://localhost.test:1", false),
            ("http://pds.test:1", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(address).unwrap()), expected, "{address}");
        }
    }
}
