//! What a `VoiceRoom` object knows in memory: the room, and the socket of each seat.
//!
//! Rebuilt from the sockets' attachments whenever the object wakes; every change of a seat is
//! written there in the same step. Nothing here waits, so nothing comes between.

use std::collections::BTreeMap;

use worker::{State, WebSocket};

use crate::domain::signaling::door::{UNSENT_MAX, close};
use crate::domain::signaling::room::{Effect, Room, Seat, SocketId};
use crate::platform::clock::{lot, now};
use crate::platform::log;
use crate::platform::socket_state::{is_open, last_auto_response, unsent};
use crate::storage::Fault;
use crate::wire::ids::Did;
use crate::wire::time::Micros;

/// See the module.
pub(super) struct Peers {
    pub(super) room: Room,
    sockets: BTreeMap<SocketId, WebSocket>,
}

impl Peers {
    /// Rebuilds the memory. Sockets that ended while the object slept, and whose end was not
    /// reported, leave here.
    pub(super) fn load(state: &State, name: String, max_peers: usize) -> Self {
        let mut peers = Self { room: Room::new(name, max_peers), sockets: BTreeMap::new() };
        for socket in state.get_websockets() {
            if let Some(seat) = seat(&socket) {
                peers.sockets.insert(seat.id, socket);
                peers.room.restore(seat);
            }
        }
        peers.drop_dead();
        peers
    }

    /// Takes in a socket that the runtime has accepted.
    pub(super) fn enter(&mut self, socket: WebSocket, did: Option<Did>, relayed: bool) -> worker::Result<()> {
        let seat = self.room.enter(lot(), did, relayed, now());
        self.sockets.insert(seat.id, socket.clone());
        socket.serialize_attachment(Some(seat))
    }

    /// The socket is gone.
    pub(super) fn gone(&mut self, socket: &WebSocket) {
        // Without an answer the client waits for one until the object sleeps. Already closed is
        // closed enough.
        let _ = socket.close(Some(1000), None::<&str>);
        let Some(seat) = seat(socket) else { return };
        self.sockets.remove(&seat.id);
        let effects = self.room.close(seat.id);
        self.perform(effects);
    }

    /// Lets go of every socket that is not open any more.
    fn drop_dead(&mut self) {
        let dead: Vec<WebSocket> = self.sockets.values().filter(|socket| !is_open(socket)).cloned().collect();
        dead.iter().for_each(|socket| self.gone(socket));
    }

    /// Whether there is any socket.
    pub(super) fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }

    /// Lets go of peers that are gone without a word; when to look again.
    pub(super) fn sweep(&mut self, state: &State, lease: i64) -> Option<Micros> {
        self.drop_dead();
        let beats: BTreeMap<SocketId, Micros> = self
            .sockets
            .iter()
            .filter_map(|(id, socket)| Some((*id, last_auto_response(state, socket)?)))
            .collect();
        let (effects, next) = self.room.sweep(now(), lease, |id| beats.get(&id).copied());
        self.perform(effects);
        next
    }

    /// Performs effects, and lets go of peers that cannot keep up (S19).
    pub(super) fn perform(&mut self, effects: Vec<Effect>) {
        let mut slow: Vec<SocketId> = Vec::new();
        for effect in effects {
            match effect {
                Effect::Tell { to, frame } => {
                    for id in to {
                        let Some(socket) = self.sockets.get(&id) else { continue };
                        // A socket that cannot take it is closing; its close is handled when it
                        // comes.
                        let _ = socket.send_with_str(&frame);
                        if unsent(socket) > UNSENT_MAX && !slow.contains(&id) {
                            slow.push(id);
                        }
                    }
                }
                Effect::Keep(id) => {
                    let (Some(socket), Some(seat)) = (self.sockets.get(&id), self.room.seat(id)) else {
                        continue;
                    };
                    if let Err(error) = socket.serialize_attachment(Some(seat)) {
                        log::fault(
                            &Fault::new("keeping a seat", error),
                            "it is as it was when the object wakes",
                        );
                    }
                }
                Effect::Close { socket: id, code, reason } => {
                    let Some(socket) = self.sockets.remove(&id) else { continue };
                    // Without a seat it is nobody, should the object sleep before it is closed.
                    let _ = socket.serialize_attachment(None::<Seat>);
                    // Already closing is closed enough.
                    let _ = socket.close(Some(code), Some(reason));
                }
            }
        }
        if !slow.is_empty() {
            let effects = self.room.dismiss(&slow, close::TOO_SLOW, "cannot keep up", None);
            self.perform(effects);
        }
    }
}

/// The seat in a socket's attachment.
pub(super) fn seat(socket: &WebSocket) -> Option<Seat> {
    socket.deserialize_attachment::<Option<Seat>>().ok().flatten().flatten()
}
