//! STUN and TURN servers: reads the operator's list and the answer of a TURN service, and writes
//! the answer to clients.

use serde::{Deserialize, Deserializer, Serialize};

/// One entry of the list that browsers take (`RTCIceServer` in the WebRTC specification).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IceServer {
    /// `stun:…`, `turn:…`, `turns:…`.
    #[serde(deserialize_with = "one_or_many")]
    pub urls: Vec<String>,
    /// Absent for STUN.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub username: Option<String>,
    /// As `username`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub credential: Option<String>,
}

/// The body of `GET /api/webrtc/ice-servers`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IceServers {
    /// The list for `RTCPeerConnection`, unchanged.
    pub ice_servers: Vec<IceServer>,
    /// The client must set `iceTransportPolicy: "relay"`, which hides its address from the other
    /// peers.
    pub relay_only: bool,
    /// When the credentials expire (H10); `null` if none do.
    pub expires_at: Option<String>,
}

fn one_or_many<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Urls {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Urls::deserialize(d)? {
        Urls::One(url) => vec![url],
        Urls::Many(urls) => urls,
    })
}

fn is_url(url: &str) -> bool {
    ["stun:", "stuns:", "turn:", "turns:"].iter().any(|scheme| url.starts_with(scheme))
}

/// Reads the operator's list of servers: URLs separated by commas, or a JSON array of entries for
/// servers with a name and a password. `none` is the empty list. `None` if the text is invalid.
pub fn configured(text: &str) -> Option<Vec<IceServer>> {
    let text = text.trim();
    if text == "none" {
        return Some(Vec::new());
    }
    let servers: Vec<IceServer> = if text.starts_with('[') {
        serde_json::from_str(text).ok()?
    } else {
        let urls = text.split(',').map(|url| url.trim().to_owned()).collect();
        vec![IceServer { urls, username: None, credential: None }]
    };
    servers.iter().flat_map(|server| &server.urls).all(|url| is_url(url)).then_some(servers)
}

/// Reads the answer of Cloudflare's TURN service (`generate-ice-servers`). It leaves out port 53,
/// because browsers block it and would wait for a timeout.
pub fn issued(text: &str) -> Option<Vec<IceServer>> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Entries {
        One(IceServer),
        Many(Vec<IceServer>),
    }
    #[derive(Deserialize)]
    struct Issued {
        #[serde(rename = "iceServers")]
        ice_servers: Entries,
    }
    let issued: Issued = serde_json::from_str(text).ok()?;
    let mut servers = match issued.ice_servers {
        Entries::One(server) => vec![server],
        Entries::Many(servers) => servers,
    };
    for server in &mut servers {
        server
            .urls
            .retain(|url| is_url(url) && url.split('?').next().is_some_and(|url| !url.ends_with(":53")));
    }
    servers.retain(|server| !server.urls.is_empty());
    Some(servers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_as_operators_write_them() {
        for (text, expected) in [
            ("none", Some("[]")),
            ("stun:a.example:3478", Some(r#"[{"urls":["stun:a.example:3478"]}]"#)),
            (
                "stun:a, turns:b:443?transport=tcp",
                Some(r#"[{"urls":["stun:a","turns:b:443?transport=tcp"]}]"#),
            ),
            (
                r#"[{"urls":"turn:a","username":"u","credential":"c"}]"#,
                Some(r#"[{"urls":["turn:a"],"username":"u","credential":"c"}]"#),
            ),
            ("a.example", None),
            (r#"[{"urls":"http://a"}]"#, None),
            ("[", None),
            ("stun:a,,", None),
        ] {
            let got = configured(text).map(|servers| serde_json::to_string(&servers).unwrap());
            assert_eq!(got.as_deref(), expected, "{text}");
        }
    }

    /// The example of Cloudflare's documentation for `generate-ice-servers`, shortened.
    #[test]
    fn what_cloudflare_hands_out() {
        let text = r#"{"iceServers":[
            {"urls":["stun:stun.cloudflare.com:3478","stun:stun.cloudflare.com:53"]},
            {"urls":["turn:turn.cloudflare.com:3478?transport=udp","turn:turn.cloudflare.com:53?transport=udp"],
             "username":"u","credential":"c"}]}"#;
        assert_eq!(
            serde_json::to_string(&issued(text).unwrap()).unwrap(),
            r#"[{"urls":["stun:stun.cloudflare.com:3478"]},{"urls":["turn:turn.cloudflare.com:3478?transport=udp"],"username":"u","credential":"c"}]"#
        );
        assert_eq!(issued(r#"{"errors":[]}"#), None);
    }
}
