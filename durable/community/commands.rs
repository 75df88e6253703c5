//! The commands of a `Community` object, and how an observer's socket is opened to it.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use url::Url;
use worker::{Env, Headers, Method, Request, RequestInit, WebSocket};

use crate::domain::community::devices::Devices;
use crate::domain::pending::OutboxEvents;
use crate::domain::replay::Replayed;
use crate::durable::replies::{Announced, Delivered, Done};
use crate::platform::objects::{Command, Object, lobby_of};
use crate::storage::Fault;
use crate::storage::gateway_people::Publication;
use crate::wire::ids::{AtUri, Did};
use crate::wire::time::Micros;

/// To `Community`: number these events, store and deliver them. Idempotent by [`OutboxEvents::id`]: rows
/// that it has are not numbered again. Reply: the last row that it has.
#[derive(Debug, Serialize, Deserialize)]
pub struct Announce<'a> {
    /// The community, for a new object that does not know its name.
    pub community: AtUri,
    /// In the order of commits.
    #[serde(rename = "told")]
    pub rows: Cow<'a, [OutboxEvents]>,
}

impl Command for Announce<'_> {
    type Reply = Announced;
    const OBJECT: Object = Object::Community;
    const NAME: &'static str = "announce";
}

/// To `Community`: attach this gateway. Idempotent. Reply: the last `seq`; the gateway gets every
/// later event.
#[derive(Debug, Serialize, Deserialize)]
pub struct Attach {
    /// The community.
    pub community: AtUri,
    /// The gateway's instance name.
    pub gateway: String,
}

/// The position of a community.
#[derive(Debug, Serialize, Deserialize)]
pub struct Attached {
    /// The last `seq` assigned.
    pub seq: u64,
}

impl Command for Attach {
    type Reply = Attached;
    const OBJECT: Object = Object::Community;
    const NAME: &'static str = "attach";
}

/// To `Community`: a page of the log for a returning client (Q02). Idempotent: reads only.
#[derive(Debug, Serialize, Deserialize)]
pub struct Replay {
    /// The community.
    pub community: AtUri,
    /// The client's cursor; for later pages, the last `seq` that it got.
    pub cursor: i64,
}

impl Command for Replay {
    type Reply = Replayed;
    const OBJECT: Object = Object::Community;
    const NAME: &'static str = "replay";
}

/// To `Community`: everything of this person is erased: let a page of the log say nothing of them (I58).
/// Idempotent. A community that was never used keeps nothing.
#[derive(Debug, Serialize, Deserialize)]
pub struct ClearLog {
    /// The community.
    pub community: AtUri,
    /// Who.
    pub did: Did,
    /// The page begins after this event.
    pub after: u64,
}

/// How far the log is cleared.
#[derive(Debug, Serialize, Deserialize)]
pub struct ClearedLog {
    /// The last event of the page; `None`: there is nothing behind it.
    pub through: Option<u64>,
}

impl Command for ClearLog {
    type Reply = ClearedLog;
    const OBJECT: Object = Object::Community;
    const NAME: &'static str = "clear-log";
}

/// To `Community`: the cursor of a client that received everything numbered before this moment
/// (Q10). Idempotent: reads only.
#[derive(Debug, Serialize, Deserialize)]
pub struct Locate {
    /// The community.
    pub community: AtUri,
    /// The moment.
    pub at: Micros,
}

/// A position in a log.
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

/// To `Community`: events about people for its observers (A21). Not idempotent: observers may
/// receive one twice if the reply is lost, which changes nothing for them. Reply: whether it has
/// observers.
#[derive(Debug, Serialize, Deserialize)]
pub struct PublishToObservers {
    /// The events, in order.
    #[serde(rename = "sayings")]
    pub publications: Vec<Publication>,
}

impl Command for PublishToObservers {
    type Reply = Delivered;
    const OBJECT: Object = Object::Community;
    const NAME: &'static str = "overhear";
}

/// To `Community`: puts this person into this voice channel, and no other of the community (V03).
/// Idempotent.
#[derive(Debug, Serialize, Deserialize)]
pub struct JoinVoice {
    /// The community.
    pub community: AtUri,
    /// The person.
    pub did: Did,
    /// A voice channel of the community that the person may enter.
    pub channel: AtUri,
    /// The person's gateway.
    pub gateway: String,
    /// The ledger version before the person's right was read.
    pub version: i64,
}

/// The result of a [`JoinVoice`].
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Joined {
    /// They are in the channel.
    In,
    /// The community received events since that version: read their right again.
    Stale,
}

impl Command for JoinVoice {
    type Reply = Joined;
    const OBJECT: Object = Object::Community;
    const NAME: &'static str = "join-voice";
}

/// To `Community`: removes this person from its voice channels, unless another gateway joined them.
/// Idempotent.
#[derive(Debug, Serialize, Deserialize)]
pub struct LeaveVoice {
    /// The community.
    pub community: AtUri,
    /// The person.
    pub did: Did,
    /// The person's gateway.
    pub gateway: String,
}

impl Command for LeaveVoice {
    type Reply = Done;
    const OBJECT: Object = Object::Community;
    const NAME: &'static str = "leave-voice";
}

/// To `Community`: the members of its voice channels (V10). Reads only.
#[derive(Debug, Serialize, Deserialize)]
pub struct Voices {}

/// The members of a community's voice channels.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Voiced {
    /// Occupied channels, each with its members, sorted.
    pub channels: Vec<(AtUri, Vec<Did>)>,
    /// What the devices of these people do (U30).
    #[serde(default)]
    pub devices: Devices,
    /// The last `seq` assigned: the lists include all events up to it.
    #[serde(default)]
    pub seq: u64,
}

impl Command for Voices {
    type Reply = Voiced;
    const OBJECT: Object = Object::Community;
    const NAME: &'static str = "voices";
}

/// To `Community`: accept an observer (A21). An upgrade like `CONNECT`; [`CURSOR_HEADER`] has its
/// `cursor`, if there is one.
pub const OBSERVE: &str = "observe";

/// See [`OBSERVE`].
pub const CURSOR_HEADER: &str = "x-colibri-cursor";

/// To the `Community` that is a lobby: accept an observer of an unknown community. An upgrade like
/// [`OBSERVE`]; the address names the community as [`COMMUNITY_PARAMETER`].
pub const WAIT: &str = "wait";

/// See [`WAIT`].
pub const COMMUNITY_PARAMETER: &str = "community";

/// To the `Community` that is a lobby: this community is known now, so its waiting observers must
/// go there. Idempotent.
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

/// To `Community`: this room belongs to a voice channel of the community and has people in it;
/// notify it when rights may have ended (S20). Idempotent. Notifications stop when the room answers
/// that it is empty.
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

/// Opens an observer's socket to the lobby of an unknown community ([`WAIT`]).
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
    response.websocket().ok_or_else(|| Fault::new("opening a socket to a community", "the object refused"))
}
