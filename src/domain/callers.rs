//! The address that limits count a request by (C14, C24).
//!
//! A caller can write anything into a header, so an address in one counts only if a trusted party
//! wrote it: Cloudflare, or a proxy that the operator names.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

/// The proxies whose headers are trusted: `TRUSTED_PROXIES` (C24).
#[derive(Clone, Debug, Default)]
pub struct Proxies(Vec<IpNet>);

impl Proxies {
    /// Reads addresses (`192.0.2.7`) and networks (`10.0.0.0/8`, `2001:db8::/32`), and returns
    /// also the entries that are neither.
    pub fn read(list: &[String]) -> (Self, Vec<&str>) {
        let (mut networks, mut wrong) = (Vec::new(), Vec::new());
        for entry in list {
            match entry.parse::<IpNet>().or_else(|_| entry.parse::<IpAddr>().map(|a| a.to_canonical().into()))
            {
                Ok(network) => networks.push(network),
                Err(_) => wrong.push(entry.as_str()),
            }
        }
        (Self(networks), wrong)
    }

    /// Whether no proxy is trusted, so that no header counts where a peer is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn trust(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// The known origin of a request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Origin<'h> {
    /// The peer of the connection, as `address:port`, where the runtime knows it: on one machine.
    pub peer: Option<&'h str>,
    /// The header `CF-Connecting-IP`.
    pub cloudflare: Option<&'h str>,
    /// The header `X-Forwarded-For`.
    pub forwarded_for: Option<&'h str>,
    /// The header `Forwarded` (RFC 7239).
    pub forwarded: Option<&'h str>,
}

/// The address that a request is counted for. The first rule that applies decides:
///   1. without a peer, this is Cloudflare, which sets `CF-Connecting-IP` itself; requests without
///      that header are counted together;
///   2. a peer that is not a trusted proxy is counted itself, whatever its headers contain;
///   3. a trusted proxy is counted itself if its headers name no hops, or unreadable ones, or if
///      `X-Forwarded-For` and `Forwarded` both name some: a proxy usually sets one of them and
///      passes on what its caller wrote into the other;
///   4. otherwise the last hop that is not a trusted proxy counts, or the first hop if all are.
///
/// For IPv6 the first 64 bits count, because a caller can choose the rest freely.
pub fn client(origin: &Origin, proxies: &Proxies) -> String {
    let peer = origin.peer.and_then(|peer| peer.parse::<SocketAddr>().ok());
    let Some(peer) = peer.map(|peer| peer.ip().to_canonical()) else {
        return origin.cloudflare.and_then(hop).map(counted).unwrap_or_default();
    };
    if !proxies.trust(peer) {
        return counted(peer);
    }
    let listed = match (origin.forwarded_for.map(hops), origin.forwarded.map(forwarded_hops)) {
        (Some(one), Some(other)) if one == other => one,
        (Some(hops), None) | (None, Some(hops)) => hops,
        _ => return counted(peer),
    };
    for hop in listed.iter().rev() {
        match hop {
            Some(address) if proxies.trust(*address) => {}
            Some(address) => return counted(*address),
            None => return counted(peer),
        }
    }
    counted(listed.first().copied().flatten().unwrap_or(peer))
}

/// The hops of `X-Forwarded-For`, the caller first.
fn hops(header: &str) -> Vec<Option<IpAddr>> {
    header.split(',').map(hop).collect()
}

/// The hops of `Forwarded`: the parameter `for` of each element.
fn forwarded_hops(header: &str) -> Vec<Option<IpAddr>> {
    let of = |element: &str| {
        element.split(';').find_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            name.trim().eq_ignore_ascii_case("for").then(|| hop(value.trim().trim_matches('"')))?
        })
    };
    header.split(',').map(of).collect()
}

/// An address, with or without a port, as proxies write it.
fn hop(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.split_once(']')).map(|(address, _)| address);
    let address = text.parse::<IpAddr>().ok().or_else(|| bare?.parse().ok());
    address.or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip())).map(|address| address.to_canonical())
}

fn counted(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(list: &[&str]) -> Proxies {
        let list: Vec<String> = list.iter().map(|&entry| entry.into()).collect();
        let (proxies, wrong) = Proxies::read(&list);
        assert_eq!(wrong, Vec::<&str>::new());
        proxies
    }

    #[test]
    fn c24_entries_that_are_no_address_are_named() {
        let list = ["10.0.0.0/8", "proxy.example", "10.0.0.0/33", "::1", ""].map(String::from);
        let (proxies, wrong) = Proxies::read(&list);
        assert_eq!(wrong, ["proxy.example", "10.0.0.0/33", ""]);
        assert_eq!(proxies.0.len(), 2);
    }

    #[test]
    fn c14_who_is_counted_without_proxies() {
        let header = Some("198.51.100.1");
        for (peer, cloudflare, expected, why) in [
            (Some("203.0.113.7:443"), None, "203.0.113.7", "the peer"),
            (Some("203.0.113.7:443"), header, "203.0.113.7", "whatever it says"),
            (Some("127.0.0.1:443"), header, "127.0.0.1", "no machine is trusted unasked, not even this one"),
            (Some("[::ffff:127.0.0.1]:443"), header, "127.0.0.1", "likewise"),
            (Some("[2001:db8:1:2:3:4:5:6]:443"), None, "2001:db8:1:2::/64", "IPv6"),
            (None, header, "198.51.100.1", "Cloudflare"),
            (None, Some("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64", "IPv6"),
            (None, Some("2001:db8:1:2::9"), "2001:db8:1:2::/64", "the same client"),
            (None, Some("nonsense"), "", "no address"),
            (None, None, "", "nobody knows"),
        ] {
            let all = Origin { peer, cloudflare, forwarded_for: header, forwarded: Some("for=198.51.100.1") };
            assert_eq!(client(&all, &Proxies::default()), expected, "{why}");
        }
    }

    #[test]
    fn c24_who_is_counted_behind_proxies() {
        let proxies = proxies(&["127.0.0.1", "10.0.0.0/8", "2001:db8:ffff::/48"]);
        for (forwarded_for, forwarded, expected, why) in [
            (Some("198.51.100.1"), None, "198.51.100.1", "whom the proxy names"),
            (Some("203.0.113.9, 198.51.100.1"), None, "198.51.100.1", "not whom the caller names"),
            (Some("203.0.113.9, 198.51.100.1, 10.1.2.3"), None, "198.51.100.1", "two proxies in a row"),
            (Some("10.1.2.3"), None, "10.1.2.3", "a proxy asks for itself"),
            (Some("198.51.100.1:5678"), None, "198.51.100.1", "with a port"),
            (Some("[2001:db8:1:2::9]:5678"), None, "2001:db8:1:2::/64", "IPv6 with a port"),
            (Some("::ffff:198.51.100.1"), None, "198.51.100.1", "IPv4 as IPv6"),
            (Some("198.51.100.1, 2001:db8:ffff::1"), None, "198.51.100.1", "a proxy with IPv6"),
            (Some("198.51.100.1, unknown"), None, "127.0.0.1", "a hop that cannot be read"),
            (Some("unknown, 198.51.100.1"), None, "198.51.100.1", "what the caller wrote is not read"),
            (Some(""), None, "127.0.0.1", "an empty list"),
            (None, None, "127.0.0.1", "no list"),
            (None, Some("for=198.51.100.1"), "198.51.100.1", "RFC 7239"),
            (None, Some("For=\"[2001:db8:1:2::9]:47\";proto=https"), "2001:db8:1:2::/64", "quoted"),
            (None, Some("for=203.0.113.9, proto=https;for=198.51.100.1"), "198.51.100.1", "the last"),
            (None, Some("for=_hidden"), "127.0.0.1", "an obfuscated name"),
            (None, Some("proto=https"), "127.0.0.1", "no name"),
            (Some("198.51.100.1"), Some("for=198.51.100.1"), "198.51.100.1", "both say the same"),
            (Some("198.51.100.1"), Some("for=203.0.113.9"), "127.0.0.1", "one of them is the caller's own"),
        ] {
            let origin = Origin {
                peer: Some("127.0.0.1:443"),
                cloudflare: Some("192.0.2.1"),
                forwarded_for,
                forwarded,
            };
            assert_eq!(client(&origin, &proxies), expected, "{why}");
            let stranger = Origin { peer: Some("203.0.113.7:443"), ..origin };
            assert_eq!(client(&stranger, &proxies), "203.0.113.7", "{why}, sent by a stranger");
        }
    }
}
