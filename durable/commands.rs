//! What the objects may be asked, declared once for callers and callees.
//!
//! Rust objects have no RPC (platform facts T7), so a command is a POST of JSON to
//! `https://do.internal/<name>` and its reply is JSON. Every command says whether it is
//! idempotent, for a caller that gets no answer asks again. Instance names are pinned below: a
//! changed name orphans the object and its storage.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use url::Url;
use worker::{Env, Headers, Method, Request, RequestInit, Response, Stub, WebSocket};

use crate::domain::pending::Told;
use crate::domain::presence::State;
use crate::domain::signaling::room::Caller;
use crate::storage::Fault;
use crate::storage::community_log::Numbered;
use crate::storage::gateway_people::Saying;
use crate::storage::used_tokens::Use;
use crate::wire::ids::{AtUri, Did, Rkey};
use crate::wire::time::Micros;

/// The kinds of object: one binding each in `wrangler.toml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object {
    /// Reads the stream. One instance, [`JETSTREAM`].
    Jetstream,
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

/// To `Jetstream`: see that the stream is read. Idempotent. Reply: where it stands.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ensure {}

/// The state of the stream, for `/api/health`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct StreamStatus {
    /// Whether frames are expected right now.
    pub connected: bool,
    /// The Jetstream.
    pub host: String,
    /// Failed attempts since the last success.
    pub failures: u32,
    /// When the last frame came, if one did since the object woke.
    pub last_frame_at: Option<String>,
    /// Frames read and not stored yet.
    pub queued: usize,
    /// Events stored and not told yet.
    pub untold: usize,
    /// Frames that were no text, and not read, since the object woke.
    #[serde(default)]
    pub binary: u64,
    /// Frames whose time is more than an hour ahead of the clock, since the object woke: let in, but
    /// no position.
    #[serde(default)]
    pub ahead: u64,
    /// Frames larger than the runtime takes that were stepped over since the object woke.
    #[serde(default)]
    pub stepped_over: u64,
    /// What was done since the object woke.
    pub since_woken: Spent,
}

/// What letting events in has cost.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Spent {
    /// Transactions.
    pub commits: u64,
    /// Events in them.
    pub events: u64,
    /// Rows of the database scanned, index entries included, as D1 counts and charges them.
    pub rows_read: u64,
    /// Rows written, likewise.
    pub rows_written: u64,
}

impl Command for Ensure {
    type Reply = StreamStatus;
    const OBJECT: Object = Object::Jetstream;
    const NAME: &'static str = "ensure";
}

/// To `RepoSync`: look at the repositories that are due. Idempotent. The reply comes before the
/// work.
#[derive(Debug, Serialize, Deserialize)]
pub struct Work {}

impl Command for Work {
    type Reply = Done;
    const OBJECT: Object = Object::RepoSync;
    const NAME: &'static str = "work";
}

/// To `Identities`: somebody is due to be looked at. Idempotent. Reply: they will be.
#[derive(Debug, Serialize, Deserialize)]
pub struct Look {}

impl Command for Look {
    type Reply = Done;
    const OBJECT: Object = Object::Identities;
    const NAME: &'static str = "look";
}

/// To `Community`: number these events, keep them, hand them on. Idempotent by [`Told::id`]:
/// what came in before is not numbered again. Reply: the last row it has.
#[derive(Debug, Serialize, Deserialize)]
pub struct Announce {
    /// The community, for a new object that does not know its name.
    pub community: AtUri,
    /// In the order of commits.
    pub told: Vec<Told>,
}

/// What a community or a gateway has.
#[derive(Debug, Serialize, Deserialize)]
pub struct Announced {
    /// The last row of the outbox that came in.
    pub through: i64,
}

impl Command for Announce {
    type Reply = Announced;
    const OBJECT: Object = Object::Community;
    const NAME: &'static str = "announce";
}

/// To `Community`: deliver to this gateway from now on. Idempotent. Reply: the last `seq`; the
/// gateway gets every later event.
#[derive(Debug, Serialize, Deserialize)]
pub struct Attach {
    /// The community.
    pub community: AtUri,
    /// The gateway's instance name.
    pub gateway: String,
}

/// Where a community stands.
#[derive(Debug, Serialize, Deserialize)]
pub struct Attached {
    /// The last `seq` given.
    pub seq: u64,
}

impl Command for Attach {
    type Reply = Attached;
    const OBJECT: Object = Object::Community;
    const NAME: &'static str = "attach";
}

/// To `Community`: a page of the log for a client that comes back (Q02). Idempotent: reads only.
#[derive(Debug, Serialize, Deserialize)]
pub struct Replay {
    /// The community.
    pub community: AtUri,
    /// The client's cursor; on later pages the last `seq` it got.
    pub cursor: i64,
}

/// A page of a replay.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Replayed {
    /// Events after the cursor, in order. `through` is the last `seq` the page covers, `last`
    /// the community's last: when they are equal, the replay is complete.
    Page {
        /// In order.
        events: Vec<Numbered>,
        /// The cursor of the next page.
        through: u64,
        /// The last `seq` given.
        last: u64,
    },
    /// Events are missing (Q05).
    Resync {
        /// The smallest `seq` in the log.
        oldest: u64,
    },
}

impl Command for Replay {
    type Reply = Replayed;
    const OBJECT: Object = Object::Community;
    const NAME: &'static str = "replay";
}

/// To `Community`: which cursor has whoever had what was numbered before this moment (Q10)?
/// Idempotent: reads only.
#[derive(Debug, Serialize, Deserialize)]
pub struct Locate {
    /// The community.
    pub community: AtUri,
    /// The moment.
    pub at: Micros,
}

/// A place in a log.
#[derive(Debug, Serialize, Deserialize)]
pub struct Located {
    /// The cursor; `None` if the log does not reach back so far.
    pub cursor: Option<u64>,
}

impl Command for Locate {
    type Reply = Located;
    const OBJECT: Object = Object::Community;
    const NAME: &'static str = "locate";
}

/// To `Gateway` and `VoiceRoom`: take in a socket. Not a command with a reply but an upgrade,
/// forwarded by the Worker; the person it acts for stands in [`DID_HEADER`]. Not idempotent:
/// each is a new socket.
pub const CONNECT: &str = "connect";

/// See [`CONNECT`]. Absent for an anonymous socket.
pub const DID_HEADER: &str = "x-colibri-did";

/// See [`CONNECT`]: present if the Worker relays the socket, and counts its frames.
pub const RELAYED_HEADER: &str = "x-colibri-relayed";
/// See [`CONNECT`]: present if the person proved to be who they say (X06).
pub const PROVEN_HEADER: &str = "x-colibri-proven";
/// See [`CONNECT`]: the room, in the address, for it may have any letters in it.
pub const ROOM_PARAMETER: &str = "room";
/// See [`CONNECT`]. Present for a socket that names a person who was not proven (X05).
pub const UNPROVEN_HEADER: &str = "x-colibri-unproven";
/// See [`CONNECT`]. The secret that the client shows (Q15).
pub const SESSION_HEADER: &str = "x-colibri-session";
/// See [`CONNECT`]. Digests of where the socket came from: the address, a blank, the program.
pub const ORIGIN_HEADER: &str = "x-colibri-origin";

/// To `Gateway`: events of a community, in order. Idempotent by `seq`. Reply: whether the
/// gateway still listens to it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Deliver {
    /// The community.
    pub community: AtUri,
    /// In order.
    pub events: Vec<Numbered>,
}

/// Whether to go on.
#[derive(Debug, Serialize, Deserialize)]
pub struct Delivered {
    /// Whether some session still needs the community.
    pub listening: bool,
}

impl Command for Deliver {
    type Reply = Delivered;
    const OBJECT: Object = Object::Gateway;
    const NAME: &'static str = "deliver";
}

/// To the `Gateway` of these people: events of records about them. Idempotent by [`Told::id`].
/// The gateway adds the state of the moment (P12) and says them to all gateways. They have no
/// `seq`: they are state, not log (Q01).
#[derive(Debug, Serialize, Deserialize)]
pub struct Watch {
    /// In the order of commits.
    pub told: Vec<Told>,
}

impl Command for Watch {
    type Reply = Announced;
    const OBJECT: Object = Object::Gateway;
    const NAME: &'static str = "watch";
}

/// To `Gateway`: what another gateway has to say about its people, for whoever watches them
/// (class U). Idempotent by [`Saying::id`].
#[derive(Debug, Serialize, Deserialize)]
pub struct Say {
    /// The gateway that says it.
    pub from: String,
    /// In order.
    pub sayings: Vec<Saying>,
}

impl Command for Say {
    type Reply = Done;
    const OBJECT: Object = Object::Gateway;
    const NAME: &'static str = "say";
}

/// To `Community`: the same, for its observers (A21). Not idempotent: observers may get one
/// twice if the reply is lost, which changes nothing for them. Reply: whether it has observers.
#[derive(Debug, Serialize, Deserialize)]
pub struct Overhear {
    /// In order.
    pub sayings: Vec<Saying>,
}

impl Command for Overhear {
    type Reply = Delivered;
    const OBJECT: Object = Object::Community;
    const NAME: &'static str = "overhear";
}

/// To `Gateway`: a community has observers; let them hear about its people from now on.
/// Idempotent.
#[derive(Debug, Serialize, Deserialize)]
pub struct Observed {
    /// The community.
    pub community: AtUri,
}

impl Command for Observed {
    type Reply = Done;
    const OBJECT: Object = Object::Gateway;
    const NAME: &'static str = "observed";
}

/// To the `Gateway` of a person: they chose this state (R20). Idempotent. Reply: it is stored.
#[derive(Debug, Serialize, Deserialize)]
pub struct SetState {
    /// Who.
    pub did: Did,
    /// What they chose.
    pub state: State,
}

impl Command for SetState {
    type Reply = Done;
    const OBJECT: Object = Object::Gateway;
    const NAME: &'static str = "set-state";
}

/// To the `Gateway` of a person: a token of theirs is used (X04). Not idempotent: asked again it
/// says that the token was used. Reply: what came of it.
#[derive(Debug, Serialize, Deserialize)]
pub struct UseToken {
    /// Whose.
    pub did: Did,
    /// What tells it from their others.
    pub token: String,
    /// From when on it would be refused anyway.
    pub ends: Micros,
}

impl Command for UseToken {
    type Reply = Use;
    const OBJECT: Object = Object::Gateway;
    const NAME: &'static str = "use-token";
}

/// To the `Gateway` of people: they have sockets at another one no more (a change of
/// `GATEWAY_SHARDS`). Idempotent.
#[derive(Debug, Serialize, Deserialize)]
pub struct Adopt {
    /// Who.
    pub dids: Vec<Did>,
}

impl Command for Adopt {
    type Reply = Done;
    const OBJECT: Object = Object::Gateway;
    const NAME: &'static str = "adopt";
}

/// To `Community`: this person is in this voice channel, and in no other of the community (V03).
/// Idempotent.
#[derive(Debug, Serialize, Deserialize)]
pub struct JoinVoice {
    /// The community.
    pub community: AtUri,
    /// Who.
    pub did: Did,
    /// A voice channel of the community where the person may be.
    pub channel: AtUri,
    /// The person's gateway.
    pub gateway: String,
    /// The version of the ledger before the person's right was read.
    pub version: i64,
}

/// What came of a [`JoinVoice`].
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Joined {
    /// They are in.
    In,
    /// The community has heard of something since: read their right again.
    Stale,
}

impl Command for JoinVoice {
    type Reply = Joined;
    const OBJECT: Object = Object::Community;
    const NAME: &'static str = "join-voice";
}

/// To `Community`: this person is in none of its voice channels, unless another gateway says
/// otherwise. Idempotent.
#[derive(Debug, Serialize, Deserialize)]
pub struct LeaveVoice {
    /// The community.
    pub community: AtUri,
    /// Who.
    pub did: Did,
    /// The person's gateway.
    pub gateway: String,
}

impl Command for LeaveVoice {
    type Reply = Done;
    const OBJECT: Object = Object::Community;
    const NAME: &'static str = "leave-voice";
}

/// To `Community`: who is in which voice channel (V10)? Reads only.
#[derive(Debug, Serialize, Deserialize)]
pub struct Voices {}

/// Who is in the voice channels of a community.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Voiced {
    /// Channels that are not empty, each with its members, sorted.
    pub channels: Vec<(AtUri, Vec<Did>)>,
}

impl Command for Voices {
    type Reply = Voiced;
    const OBJECT: Object = Object::Community;
    const NAME: &'static str = "voices";
}

/// To `Community`: take in an observer (A21). An upgrade like [`CONNECT`]; its `cursor`, if there
/// is one, stands in [`CURSOR_HEADER`].
pub const OBSERVE: &str = "observe";

/// See [`OBSERVE`].
pub const CURSOR_HEADER: &str = "x-colibri-cursor";

/// To the `Community` that is a lobby: take in an observer of a community that nobody knows. An
/// upgrade like [`OBSERVE`]; the community stands in the address, as [`COMMUNITY_PARAMETER`].
pub const WAIT: &str = "wait";
/// See [`WAIT`].
pub const COMMUNITY_PARAMETER: &str = "community";

/// To the `Community` that is a lobby: this community is known now, so whoever waits for it goes
/// there. Idempotent.
#[derive(Debug, Serialize, Deserialize)]
pub struct Known {
    /// The community.
    pub community: AtUri,
}

impl Command for Known {
    type Reply = Done;
    const OBJECT: Object = Object::Community;
    const NAME: &'static str = "known";
}

/// To `Gateway`: channels with these keys appeared or went; look again what they mean, and
/// listen to their communities if some session names them (A34). Idempotent.
#[derive(Debug, Serialize, Deserialize)]
pub struct Reindexed {
    /// The community concerned.
    pub community: AtUri,
    /// Keys of channels; none means that the whole community appeared or went.
    pub rkeys: Vec<Rkey>,
}

/// Done.
#[derive(Debug, Serialize, Deserialize)]
pub struct Done {}

impl Command for Reindexed {
    type Reply = Done;
    const OBJECT: Object = Object::Gateway;
    const NAME: &'static str = "reindexed";
}

/// To `Community`: this room is named after a voice channel of the community and people are in
/// it; tell it when rights may have ended (S20). Idempotent. It is told until it answers that
/// nobody is there.
#[derive(Debug, Serialize, Deserialize)]
pub struct Bind {
    /// The community.
    pub community: AtUri,
    /// The room.
    pub room: AtUri,
}

impl Command for Bind {
    type Reply = Done;
    const OBJECT: Object = Object::Community;
    const NAME: &'static str = "bind";
}

/// To `VoiceRoom`: a right to be in this room may have ended; look at all of them (S20).
/// Idempotent. Reply: whether anybody is there.
#[derive(Debug, Serialize, Deserialize)]
pub struct Recheck {
    /// The room.
    pub room: AtUri,
}

/// Whether to go on telling.
#[derive(Debug, Serialize, Deserialize)]
pub struct Rechecked {
    /// Whether the room has peers, or somebody is about to join.
    pub occupied: bool,
}

impl Command for Recheck {
    type Reply = Rechecked;
    const OBJECT: Object = Object::VoiceRoom;
    const NAME: &'static str = "recheck";
}

/// To `VoiceRoom`: is the client with this secret in this room (S12)? Reads only.
#[derive(Debug, Serialize, Deserialize)]
pub struct Seated {
    /// The room.
    pub room: String,
    /// Its name there.
    pub peer_id: String,
    /// What only it knows.
    pub secret: String,
}

/// Whether somebody is where they say.
#[derive(Debug, Serialize, Deserialize)]
pub struct Found {
    /// Whether they are.
    pub found: bool,
}

impl Command for Seated {
    type Reply = Found;
    const OBJECT: Object = Object::VoiceRoom;
    const NAME: &'static str = "seated";
}

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
    if response.status_code() != 200 {
        return Err(Fault::new(C::NAME, format!("{}: {text}", response.status_code())));
    }
    serde_json::from_str(&text).map_err(|error| Fault::new(C::NAME, error))
}

/// Reads a command out of a request.
pub async fn read<C: Command>(request: &mut Request) -> Result<C, Fault> {
    let text = request.text().await.map_err(|error| Fault::new(C::NAME, error))?;
    serde_json::from_str(&text).map_err(|error| Fault::new(C::NAME, error))
}

/// Answers a command. A fault becomes a 500 that only another object of ours sees.
pub fn reply<C: Command>(result: Result<C::Reply, Fault>) -> worker::Result<Response> {
    let text =
        result.and_then(|reply| serde_json::to_string(&reply).map_err(|error| Fault::new(C::NAME, error)));
    match text {
        Ok(text) => Response::ok(text),
        Err(fault) => Response::error(fault.to_string(), 500),
    }
}

/// Opens a socket of an observer to the lobby of a community that nobody knows ([`WAIT`]).
pub async fn wait_for_community(env: &Env, community: &str) -> Result<WebSocket, Fault> {
    let url =
        Url::parse_with_params(&format!("https://do.internal/{WAIT}"), [(COMMUNITY_PARAMETER, community)])
            .map_err(|error| Fault::new(WAIT, error))?;
    open_socket(env, &lobby_of(community), &url, Headers::new()).await
}

/// Opens a socket of an observer to its community ([`OBSERVE`]).
pub async fn observe_community(env: &Env, community: &str, cursor: Option<i64>) -> Result<WebSocket, Fault> {
    let url =
        Url::parse(&format!("https://do.internal/{OBSERVE}")).map_err(|error| Fault::new(OBSERVE, error))?;
    let headers = Headers::new();
    if let Some(cursor) = cursor {
        headers.set(CURSOR_HEADER, &cursor.to_string()).map_err(|error| Fault::new(OBSERVE, error))?;
    }
    open_socket(env, community, &url, headers).await
}

async fn open_socket(env: &Env, community: &str, url: &Url, headers: Headers) -> Result<WebSocket, Fault> {
    let fault = |error: worker::Error| Fault::new("opening a socket to a community", error);
    headers.set("upgrade", "websocket").map_err(fault)?;
    let mut init = RequestInit::new();
    init.with_method(Method::Get).with_headers(headers);
    let request = Request::new_with_init(url.as_str(), &init).map_err(fault)?;
    let response =
        Object::Community.stub(env, community)?.fetch_with_request(request).await.map_err(fault)?;
    response.websocket().ok_or_else(|| Fault::new("opening a socket to a community", "it said no"))
}

/// Opens a socket to the object of a signaling room ([`CONNECT`]).
pub async fn connect_to_room(env: &Env, room: &str, caller: &Caller) -> Result<Response, Fault> {
    let fault = |error: worker::Error| Fault::new("opening a socket to a room", error);
    let headers = Headers::new();
    headers.set("upgrade", "websocket").map_err(fault)?;
    if let Some(did) = &caller.did {
        headers.set(DID_HEADER, did.as_str()).map_err(fault)?;
    }
    for (name, is_so) in [(RELAYED_HEADER, caller.relayed), (PROVEN_HEADER, caller.proven)] {
        if is_so {
            headers.set(name, "1").map_err(fault)?;
        }
    }
    let mut init = RequestInit::new();
    init.with_method(Method::Get).with_headers(headers);
    let base = format!("https://do.internal/{CONNECT}");
    let url = Url::parse_with_params(&base, [(ROOM_PARAMETER, room)])
        .map_err(|error| Fault::new("opening a socket to a room", error))?;
    let request = Request::new_with_init(url.as_str(), &init).map_err(fault)?;
    let object = Object::VoiceRoom.stub(env, &rooms_of(room))?;
    upgraded(object.fetch_with_request(request).await.map_err(fault)?)
}

/// The answer to an upgrade that an object took in; otherwise a fault.
pub fn upgraded(response: Response) -> Result<Response, Fault> {
    match response.status_code() {
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
