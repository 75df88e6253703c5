//! How an object is addressed, asked, and answers.
//!
//! Rust objects have no RPC (platform facts T7), so a command is a POST of JSON to
//! `https://do.internal/<name>` and its reply is JSON. The commands stand beside the object they
//! are for (`durable/*/commands.rs`). Each says whether it is idempotent, because a caller that
//! gets no answer asks again. Instance names are pinned below: a changed name orphans the object
//! and its storage.

use serde::Serialize;
use serde::de::DeserializeOwned;
use worker::{Env, Headers, Method, Request, RequestInit, Response, Stub};

use crate::storage::Fault;
use crate::wire::ids::Did;

/// The kinds of object: one binding each in `wrangler.toml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object {
    /// Reads the stream. One instance, [`JETSTREAM`].
    Jetstream,
    /// Numbers the parts of the index. One instance, [`EDITIONS`]; `platform::editions` asks it.
    Editions,
    /// Finds out who people are. One instance, [`IDENTITIES`].
    Identities,
    /// Syncs the repositories of one PDS host. Named by host and port, [`DISPATCH`] or [`RELAY`].
    RepoSync,
    /// One community's order and log. Named by its AT-URI.
    Community,
    /// Holds clients' sockets. Named by [`gateway_of`].
    Gateway,
    /// Signaling rooms. Named by [`rooms_of`].
    VoiceRoom,
}

impl Object {
    /// Its binding.
    pub fn binding(self) -> &'static str {
        match self {
            Object::Jetstream => "JETSTREAM",
            Object::Editions => "EDITIONS",
            Object::Identities => "IDENTITIES",
            Object::RepoSync => "REPO_SYNC",
            Object::Community => "COMMUNITY",
            Object::Gateway => "GATEWAY",
            Object::VoiceRoom => "VOICE_ROOM",
        }
    }

    /// The instance with this name.
    pub fn stub(self, env: &Env, name: &str) -> Result<Stub, Fault> {
        env.durable_object(self.binding())
            .and_then(|namespace| namespace.get_by_name(name))
            .map_err(|error| Fault::new("addressing an object", error))
    }
}

/// The one `Jetstream` instance.
pub const JETSTREAM: &str = "main";

/// The one `Editions` instance.
pub const EDITIONS: &str = "main";

/// The `RepoSync` instance that finds the hosts of repositories. No host has this name: hosts have a
/// port.
pub const DISPATCH: &str = "dispatch";

/// The `RepoSync` instance that walks through what a relay lists.
pub const RELAY: &str = "relay";

/// The one `Identities` instance.
pub const IDENTITIES: &str = "main";

/// The name of the gateway number `shard`.
pub fn gateway(shard: u32) -> String {
    format!("gateway-{shard}")
}

/// The gateway that holds the sockets of a DID: a DID always lands on the same one.
pub fn gateway_of(did: &Did, shards: u32) -> String {
    gateway(place_of(did.as_str(), shards))
}

/// The objects that hold signaling rooms. Anybody may name a room, and an object is three files
/// and five descriptors on one machine (platform facts 4.3), so rooms share these; an object takes
/// thousands of sockets (2.9).
const ROOM_OBJECTS: u32 = 16;

/// The object that holds a signaling room.
pub fn rooms_of(room: &str) -> String {
    format!("rooms-{}", place_of(room, ROOM_OBJECTS))
}

/// The objects in which observers wait for communities that nobody knows, for the same reason.
const LOBBIES: u32 = 4;

/// The object in which observers of a community wait that nobody knows. It is no AT-URI, so no
/// community has this name.
pub fn lobby_of(community: &str) -> String {
    format!("lobby-{}", place_of(community, LOBBIES))
}

/// One of `count` places for a name, always the same.
fn place_of(name: &str, count: u32) -> u32 {
    // FNV-1a: small, stable over builds and platforms, and spreads names well enough.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    u32::try_from(hash % u64::from(count.max(1))).unwrap_or(0)
}

/// A command to an object.
pub trait Command: Serialize + DeserializeOwned {
    /// What comes back.
    type Reply: Serialize + DeserializeOwned;
    /// Who is asked.
    const OBJECT: Object;
    /// The path.
    const NAME: &'static str;
}

/// To `Gateway` and `VoiceRoom`: take in a socket. Not a command with a reply but an upgrade,
/// forwarded by the Worker; the person it acts for stands in [`DID_HEADER`]. Not idempotent:
/// each is a new socket.
pub const CONNECT: &str = "connect";

/// See [`CONNECT`]. Absent for an anonymous socket.
pub const DID_HEADER: &str = "x-colibri-did";

/// See [`CONNECT`]: present if the person proved to be who they say (X06).
pub const PROVEN_HEADER: &str = "x-colibri-proven";

/// Asks an object and waits for its reply. Anything but a reply is a fault; the caller may ask
/// again.
pub async fn call<C: Command>(env: &Env, instance: &str, command: &C) -> Result<C::Reply, Fault> {
    let stub = C::OBJECT.stub(env, instance)?;
    let fault = |error: worker::Error| Fault::new(C::NAME, error);
    let body = serde_json::to_string(command).map_err(|error| Fault::new(C::NAME, error))?;
    let mut init = RequestInit::new();
    init.with_method(Method::Post).with_headers(Headers::new()).with_body(Some(body.into()));
    let url = format!("https://do.internal/{}", C::NAME);
    let request = Request::new_with_init(&url, &init).map_err(fault)?;
    let mut response = stub.fetch_with_request(request).await.map_err(fault)?;
    let text = response.text().await.map_err(fault)?;
    let status = response.status_code();
    if status != 200 {
        return Err(Fault::new(C::NAME, format!("{status}: {text}")));
    }
    serde_json::from_str(&text).map_err(|error| Fault::new(C::NAME, error))
}

/// Reads a command out of a request.
async fn read<C: Command>(request: &mut Request) -> Result<C, Fault> {
    let text = request.text().await.map_err(|error| Fault::new(C::NAME, error))?;
    serde_json::from_str(&text).map_err(|error| Fault::new(C::NAME, error))
}

/// Answers a command. A fault becomes a 500 that only another object of ours sees.
fn reply<C: Command>(result: Result<C::Reply, Fault>) -> worker::Result<Response> {
    let text =
        result.and_then(|reply| serde_json::to_string(&reply).map_err(|error| Fault::new(C::NAME, error)));
    match text {
        Ok(text) => Response::ok(text),
        Err(fault) => Response::error(fault.to_string(), 500),
    }
}

/// Reads a command out of a request, performs it, and answers.
pub async fn serve<C: Command>(
    request: &mut Request,
    perform: impl AsyncFnOnce(C) -> Result<C::Reply, Fault>,
) -> worker::Result<Response> {
    reply::<C>(match read::<C>(request).await {
        Ok(command) => perform(command).await,
        Err(fault) => Err(fault),
    })
}

/// The answer to an upgrade that an object took in; otherwise a fault.
pub fn upgraded(response: Response) -> Result<Response, Fault> {
    let status = response.status_code();
    match status {
        101 => Ok(response),
        status => Err(Fault::new("opening a socket", format!("an object answered {status}"))),
    }
}

/// The answer to an upgrade for which there is no place.
pub fn full() -> worker::Result<Response> {
    Response::error("too many sockets", 503)
}

/// The answer to a request that is no command.
pub fn unknown() -> worker::Result<Response> {
    Response::error("no such command", 404)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A changed name orphans the object: sockets, logs and counters of the old one are lost.
    #[test]
    fn instance_names_are_pinned() {
        let did = |name: &str| Did::parse(&format!("did:plc:{name}")).unwrap();
        assert_eq!(JETSTREAM, "main");
        assert_eq!(EDITIONS, "main");
        assert_eq!(DISPATCH, "dispatch");
        assert_eq!(RELAY, "relay");
        assert_eq!(IDENTITIES, "main");
        assert_eq!(gateway(3), "gateway-3");
        assert_eq!(gateway_of(&did("member"), 1), "gateway-0");
        assert_eq!(gateway_of(&did("member"), 4), "gateway-3");
        assert_eq!(gateway_of(&did("owner"), 4), "gateway-0");
        assert_eq!(gateway_of(&did("guest"), 4), "gateway-3");
        assert_eq!(rooms_of("anything"), "rooms-7");
        assert_eq!(rooms_of("at://did:plc:alice/social.colibri.channel/v"), "rooms-0");
        assert_eq!(lobby_of("at://did:plc:alice/social.colibri.community/c"), "lobby-1");
    }

    #[test]
    fn dids_spread_over_gateways() {
        let mut counts = [0; 4];
        for n in 0..4000 {
            let did = Did::parse(&format!("did:plc:{n:x}abcdefghijk")).unwrap();
            let shard = gateway_of(&did, 4).trim_start_matches("gateway-").parse::<usize>().unwrap();
            counts[shard] += 1;
        }
        assert!(counts.iter().all(|count| (800..1200).contains(count)), "{counts:?}");
    }
}
