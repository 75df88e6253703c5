//! How objects are addressed and called, and how they answer.
//!
//! Rust objects have no RPC (platform facts T7), so a command is a POST of JSON to
//! `https://do.internal/<name>`, and its reply is JSON. Commands are defined next to their object
//! (`durable/*/commands.rs`). Each says whether it is idempotent, because a caller without an
//! answer calls again. Instance names are pinned below: a changed name orphans the object and its
//! storage.

use futures::future::join_all;
use serde::Serialize;
use serde::de::DeserializeOwned;
use worker::{Env, Headers, Method, Request, RequestInit, Response, Stub};

use crate::domain::fault_code::Code;
use crate::storage::Fault;
use crate::wire::ids::Did;

/// The classes of objects: each has one binding in `wrangler.toml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object {
    /// Reads the stream. One instance, [`JETSTREAM`].
    Jetstream,
    /// Numbers the parts of the index. One instance, [`EDITIONS`]; `platform::editions` asks it.
    Editions,
    /// Looks up identities. One instance, [`IDENTITIES`].
    Identities,
    /// Reads the repositories of one PDS host. Named by host and port, [`DISPATCH`] or [`RELAY`].
    RepoSync,
    /// Numbers and logs the events of one community. Named by its AT-URI.
    Community,
    /// Holds clients' sockets. Named by [`gateway_of`].
    Gateway,
    /// Holds signaling rooms. Named by [`rooms_of`].
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
            .map_err(|error| Fault::coded(Code::Object, "addressing an object", error))
    }
}

/// The one `Jetstream` instance.
pub const JETSTREAM: &str = "main";

/// The one `Editions` instance.
pub const EDITIONS: &str = "main";

/// The `RepoSync` instance that finds the hosts of repositories. No host has this name, because
/// hosts have a port.
pub const DISPATCH: &str = "dispatch";

/// The `RepoSync` instance that walks through a relay's lists.
pub const RELAY: &str = "relay";

/// The one `Identities` instance.
pub const IDENTITIES: &str = "main";

/// The name of the gateway number `shard`.
pub fn gateway(shard: u32) -> String {
    format!("gateway-{shard}")
}

/// All of them, with so many shards.
pub fn all_gateways(shards: u32) -> impl Iterator<Item = String> {
    (0..shards).map(gateway)
}

/// The gateway that holds the sockets of a DID; it is always the same one.
pub fn gateway_of(did: &Did, shards: u32) -> String {
    gateway(place_of(did.as_str(), shards))
}

/// The number of objects for signaling rooms. Anybody may name a room, and an object takes three
/// files and five descriptors on one machine (platform facts 4.3), so rooms share these; an object
/// can hold thousands of sockets (2.9).
const ROOM_OBJECTS: u32 = 16;

/// The object that holds a signaling room.
pub fn rooms_of(room: &str) -> String {
    format!("rooms-{}", place_of(room, ROOM_OBJECTS))
}

/// All of them.
pub fn all_rooms() -> impl Iterator<Item = String> {
    (0..ROOM_OBJECTS).map(|place| format!("rooms-{place}"))
}

/// The number of objects in which observers wait for unknown communities, for the same reason.
const LOBBIES: u32 = 4;

/// The object in which observers of an unknown community wait. Its name is not an AT-URI, so no
/// community has it.
pub fn lobby_of(community: &str) -> String {
    format!("lobby-{}", place_of(community, LOBBIES))
}

/// Maps a name to one of `count` places, always the same.
fn place_of(name: &str, count: u32) -> u32 {
    // FNV-1a: small, stable across builds and platforms, and spreads names well enough.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    u32::try_from(hash % u64::from(count.max(1))).unwrap_or(0)
}

/// A command to an object.
pub trait Command: Serialize + DeserializeOwned {
    /// The reply.
    type Reply: Serialize + DeserializeOwned;
    /// The class of the object.
    const OBJECT: Object;
    /// The path.
    const NAME: &'static str;
}

/// To `Gateway` and `VoiceRoom`: accept a socket. It is an upgrade that the Worker forwards, not a
/// command with a reply; [`DID_HEADER`] names its person. Not idempotent: each call opens a new
/// socket.
pub const CONNECT: &str = "connect";

/// See [`CONNECT`]. Absent for an anonymous socket.
pub const DID_HEADER: &str = "x-colibri-did";

/// See [`CONNECT`]: present if the person proved their DID (X06).
pub const PROVEN_HEADER: &str = "x-colibri-proven";

/// Calls an object and waits for its reply. Anything else is a fault; the caller may call again.
pub async fn call<C: Command>(env: &Env, instance: &str, command: &C) -> Result<C::Reply, Fault> {
    let stub = C::OBJECT.stub(env, instance)?;
    let fault = |error: worker::Error| Fault::coded(Code::Object, C::NAME, error);
    let body = serde_json::to_string(command).map_err(|error| Fault::coded(Code::Object, C::NAME, error))?;
    let mut init = RequestInit::new();
    init.with_method(Method::Post).with_headers(Headers::new()).with_body(Some(body.into()));
    let url = format!("https://do.internal/{}", C::NAME);
    let request = Request::new_with_init(&url, &init).map_err(fault)?;
    let mut response = stub.fetch_with_request(request).await.map_err(fault)?;
    let text = response.text().await.map_err(fault)?;
    let status = response.status_code();
    if status != 200 {
        return Err(Fault::coded(Code::Object, C::NAME, format!("{status}: {text}")));
    }
    serde_json::from_str(&text).map_err(|error| Fault::coded(Code::Object, C::NAME, error))
}

/// Calls every gateway. If one fails, the call fails, and the caller calls all again.
pub async fn call_gateways<C: Command>(env: &Env, shards: u32, command: &C) -> Result<(), Fault> {
    let names: Vec<String> = all_gateways(shards).collect();
    let replies = join_all(names.iter().map(|name| call(env, name, command))).await;
    replies.into_iter().collect::<Result<Vec<_>, _>>().map(drop)
}

/// Reads a command from a request.
async fn read<C: Command>(request: &mut Request) -> Result<C, Fault> {
    let text = request.text().await.map_err(|error| Fault::coded(Code::Object, C::NAME, error))?;
    serde_json::from_str(&text).map_err(|error| Fault::coded(Code::Object, C::NAME, error))
}

/// Answers a command. A fault becomes a 500, which only other objects of this service see.
fn reply<C: Command>(result: Result<C::Reply, Fault>) -> worker::Result<Response> {
    let text = result.and_then(|reply| {
        serde_json::to_string(&reply).map_err(|error| Fault::coded(Code::Object, C::NAME, error))
    });
    match text {
        Ok(text) => Response::ok(text),
        Err(fault) => Response::error(fault.to_string(), 500),
    }
}

/// Reads a command from a request, performs it, and answers.
pub async fn serve<C: Command>(
    request: &mut Request,
    perform: impl AsyncFnOnce(C) -> Result<C::Reply, Fault>,
) -> worker::Result<Response> {
    reply::<C>(match read::<C>(request).await {
        Ok(command) => perform(command).await,
        Err(fault) => Err(fault),
    })
}

/// The response to an upgrade that an object accepted; otherwise a fault.
pub fn upgraded(response: Response) -> Result<Response, Fault> {
    let status = response.status_code();
    match status {
        101 => Ok(response),
        status => Err(Fault::coded(Code::Object, "opening a socket", format!("an object answered {status}"))),
    }
}

/// The response to an upgrade without room.
pub fn full() -> worker::Result<Response> {
    Response::error("too many sockets", 503)
}

/// The response to a request that is not a command.
pub fn unknown() -> worker::Result<Response> {
    Response::error("no such command", 404)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A changed name orphans the object: its sockets, logs and counters are lost.
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
