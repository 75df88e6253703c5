//! The commands of a `VoiceRoom` object, and how a socket is opened to it.

use serde::{Deserialize, Serialize};
use url::Url;
use worker::{Env, Headers, Method, Request, RequestInit, Response};

use crate::domain::signaling::room::Caller;
use crate::domain::voice_moderation::Act;
use crate::durable::replies::Done;
use crate::platform::objects::{CONNECT, Command, DID_HEADER, Object, PROVEN_HEADER, rooms_of, upgraded};
use crate::storage::Fault;
use crate::wire::ids::{AtUri, Did};

/// See [`CONNECT`]: present if the Worker relays the socket, and counts its frames.
pub const RELAYED_HEADER: &str = "x-colibri-relayed";

/// See [`CONNECT`]: the room, in the address, because it may contain any characters.
pub const ROOM_PARAMETER: &str = "room";

/// To `VoiceRoom`: a right to be in this room may have ended; check all peers (S20). Idempotent.
/// Reply: whether the room is occupied.
#[derive(Debug, Serialize, Deserialize)]
pub struct Recheck {
    /// The room.
    pub room: AtUri,
}

/// Whether to keep notifying it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Rechecked {
    /// Whether the room has peers, or a join in progress.
    pub occupied: bool,
}

impl Command for Recheck {
    type Reply = Rechecked;
    const OBJECT: Object = Object::VoiceRoom;
    const NAME: &'static str = "recheck";
}

/// To `VoiceRoom`: whether the client with this secret is in this room (S12). Reads only.
#[derive(Debug, Serialize, Deserialize)]
pub struct HasPeer {
    /// The room.
    pub room: String,
    /// Its name there.
    pub peer_id: String,
    /// Its secret.
    pub secret: String,
}

/// Whether a client is where it claims to be.
#[derive(Debug, Serialize, Deserialize)]
pub struct Found {
    /// Whether it is.
    pub found: bool,
}

impl Command for HasPeer {
    type Reply = Found;
    const OBJECT: Object = Object::VoiceRoom;
    const NAME: &'static str = "seated";
}

/// To `VoiceRoom`: a moderator mutes a person in this room, disconnects them, or moves them (U32). Idempotent. Reply:
/// whether they had peers there.
#[derive(Debug, Serialize, Deserialize)]
pub struct ModeratePeers {
    /// The room.
    pub room: AtUri,
    /// Who.
    pub did: Did,
    /// What is done.
    pub act: Act,
}

impl Command for ModeratePeers {
    type Reply = Found;
    const OBJECT: Object = Object::VoiceRoom;
    const NAME: &'static str = "moderate-peers";
}

/// To every `VoiceRoom`: everything of this person is erased (I56). Idempotent. Reply: their sockets are closed.
#[derive(Debug, Serialize, Deserialize)]
pub struct Forget {
    /// Who.
    pub did: Did,
}

impl Command for Forget {
    type Reply = Done;
    const OBJECT: Object = Object::VoiceRoom;
    const NAME: &'static str = "forget";
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
