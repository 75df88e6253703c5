//! What a `Community` object may be asked, and how an observer's socket is opened to it.

use serde::{Deserialize, Serialize};
use url::Url;
use worker::{Env, Headers, Method, Request, RequestInit, WebSocket};

use crate::domain::pending::Told;
use crate::domain::replay::Replayed;
use crate::durable::replies::{Announced, Delivered, Done};
use crate::platform::objects::{Command, Object, lobby_of};
use crate::storage::Fault;
use crate::storage::gateway_people::Saying;
use crate::wire::ids::{AtUri, Did};
use crate::wire::time::Micros;

/// To `Community`: number these events, keep them, hand them on. Idempotent by [`Told::id`]:
/// what came in before is not numbered again. Reply: the last row it has.
#[derive(Debug, Serialize, Deserialize)]
pub struct Announce {
    /// The community, for a new object that does not know its name.
    pub community: AtUri,
    /// In the order of commits.
    pub told: Vec<Told>,
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

/// Events in one call to a gateway, and in one page of a replay: with 2 kB each 1 MB.
pub const PAGE: i64 = 500;

/// To `Community`: a page of the log for a client that comes back (Q02). Idempotent: reads only.
#[derive(Debug, Serialize, Deserialize)]
pub struct Replay {
    /// The community.
    pub community: AtUri,
    /// The client's cursor; on later pages the last `seq` it got.
    pub cursor: i64,
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

/// To `Community`: take in an observer (A21). An upgrade like `CONNECT`; its `cursor`, if there
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
