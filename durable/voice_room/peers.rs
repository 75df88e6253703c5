//! The memory of a `VoiceRoom` object: its rooms, and the socket of each session.
//!
//! It is rebuilt from the sockets' attachments when the object wakes; every change of a session is
//! written there in the same step. Nothing here awaits, so nothing comes in between.

use std::collections::{BTreeMap, BTreeSet};

use worker::{State, WebSocket};

use crate::domain::community::devices::Devices;
use crate::domain::signaling::door::{UNSENT_MAX, close, error};
use crate::domain::signaling::hall::{self, Hall};
use crate::domain::signaling::room::{
    Access, Caller, Effect, JoinRequest, Lease, Next, Room, Session, SocketId,
};
use crate::durable::operator::Restarted;
use crate::durable::replies::Done;
use crate::platform::clock::{lot, now};
use crate::platform::log;
use crate::platform::socket_state::{is_open, last_auto_response, unsent};
use crate::storage::Fault;
use crate::wire::ids::{AtUri, Did};
use crate::wire::time::Micros;

/// See the module.
pub(super) struct Peers {
    hall: Hall,
    /// Each socket, and its room.
    sockets: BTreeMap<SocketId, (WebSocket, String)>,
    /// The rooms of channels in which the state of some device changed (U30).
    changed: BTreeSet<AtUri>,
}

impl Peers {
    /// Rebuilds the memory. Removes peers whose sockets ended while the object slept, if nothing
    /// reported that. `object` is the name of the object, see [`Session::room`].
    pub(super) fn load(state: &State, object: &str, max_peers: usize) -> Self {
        let mut peers =
            Self { hall: Hall::new(max_peers), sockets: BTreeMap::new(), changed: BTreeSet::new() };
        for socket in state.get_websockets() {
            if let Some(session) = session(&socket) {
                let room = session.room.clone().unwrap_or_else(|| object.to_owned());
                peers.hall.restore(&room, session.clone());
                peers.sockets.insert(session.id, (socket, room));
            }
        }
        peers.drop_dead();
        peers
    }

    /// Adds a socket that the runtime has accepted.
    pub(super) fn enter(&mut self, socket: WebSocket, room: &str, caller: Caller) -> worker::Result<()> {
        let session = self.hall.enter(room, lot(), caller, now());
        self.sockets.insert(session.id, (socket.clone(), room.to_owned()));
        socket.serialize_attachment(Some(session))
    }

    /// Whether there is no room for another socket.
    pub(super) fn is_full(&self) -> bool {
        hall::is_full(self.sockets.len())
    }

    /// A room with sockets.
    pub(super) fn room(&self, name: &str) -> Option<&Room> {
        self.hall.room(name)
    }

    /// The room of a socket.
    pub(super) fn room_of(&self, id: SocketId) -> Option<&Room> {
        self.hall.room(&self.sockets.get(&id)?.1)
    }

    /// Whether any room has peers.
    pub(super) fn is_occupied(&self) -> bool {
        self.hall.is_occupied()
    }

    /// Runs `act` on a room, and performs its effects.
    pub(super) fn act<T>(
        &mut self,
        room: &str,
        act: impl FnOnce(&mut Room) -> (Vec<Effect>, T),
    ) -> Option<T> {
        let (effects, result) = act(self.hall.room_mut(room)?);
        self.note_devices(room);
        self.perform(effects);
        self.hall.tidy(room);
        Some(result)
    }

    /// Processes a frame of a socket; returns its join, if it is one.
    pub(super) fn frame(&mut self, id: SocketId, text: Option<&str>) -> Option<JoinRequest> {
        let room = self.sockets.get(&id)?.1.clone();
        self.act(&room, |room| match room.on_frame(id, text, now()) {
            Next::Done(effects) => (effects, None),
            Next::Join(request) => (Vec::new(), Some(request)),
        })?
    }

    /// Joins a socket to its room, if allowed (S01).
    pub(super) fn join(
        &mut self,
        state: &State,
        id: SocketId,
        request: &JoinRequest,
        access: Access,
        lease_ms: i64,
    ) {
        let Some((_, room)) = self.sockets.get(&id) else { return };
        let room = room.clone();
        if access == Access::Free && !self.hall.may_open(&room, now()) {
            return self.send(id, error("Too many rooms, try again later"));
        }
        let sockets = &self.sockets;
        let beat = |id| last_auto_response(state, &sockets.get(&id)?.0);
        let lease = Lease { now: now(), millis: lease_ms, beat: &beat };
        let Some(room_now) = self.hall.room_mut(&room) else { return };
        let effects = room_now.join(id, request, access, &lease);
        self.note_devices(&room);
        self.perform(effects);
    }

    fn note_devices(&mut self, room: &str) {
        let Some(room) = self.hall.room_mut(room) else { return };
        let changed = if room.take_changed() { room.channel() } else { None };
        self.changed.extend(changed);
    }

    /// The rooms of channels in which the state of some device changed.
    pub(super) fn take_changed(&mut self) -> BTreeSet<AtUri> {
        std::mem::take(&mut self.changed)
    }

    /// A room counts as changed again: its community could not be notified.
    pub(super) fn note_changed(&mut self, channel: AtUri) {
        self.changed.insert(channel);
    }

    /// Every room in which some device is not in its default state counts as changed.
    pub(super) fn note_all_changed(&mut self) {
        let of_room = |name: String| {
            let room = self.hall.room(&name)?;
            room.channel().filter(|_| !room.devices().is_empty())
        };
        self.changed.extend(self.hall.names().into_iter().filter_map(of_room));
    }

    /// What the devices of people in the room of a channel do.
    pub(super) fn devices(&self, channel: &AtUri) -> Devices {
        self.hall.room(channel.as_str()).map(Room::devices).unwrap_or_default()
    }

    /// Sends a frame to a socket.
    pub(super) fn send(&mut self, id: SocketId, frame: String) {
        self.perform(vec![Effect::Send { to: vec![id], frame }]);
    }

    /// A socket closed.
    pub(super) fn gone(&mut self, socket: &WebSocket) {
        // Without an answer the client would wait until the object sleeps. An error means that it
        // is closed already.
        let _ = socket.close(Some(1000), None::<&str>);
        let Some(session) = session(socket) else { return };
        let Some((_, room)) = self.sockets.remove(&session.id) else { return };
        self.act(&room, |room| (room.close(session.id), ()));
    }

    /// Closes the sockets of an erased person (I56).
    pub(super) fn forget(&mut self, did: &Did) -> Done {
        for name in self.hall.names() {
            self.act(&name, |room| (room.dismiss(&room.sockets_of(did), 1008, "Erased", None), ()));
        }
        Done {}
    }

    /// R63: closes every socket. The peers join again.
    pub(super) fn restart(&mut self) -> Restarted {
        let sockets = self.sockets.len();
        for name in self.hall.names() {
            self.act(&name, |room| (room.restart(), ()));
        }
        Restarted { sockets, observed: Vec::new() }
    }

    /// Removes every socket that is no longer open.
    fn drop_dead(&mut self) {
        let dead: Vec<WebSocket> = self
            .sockets
            .values()
            .filter(|(socket, _)| !is_open(socket))
            .map(|(socket, _)| socket.clone())
            .collect();
        dead.iter().for_each(|socket| self.gone(socket));
    }

    /// Removes peers that stopped without a close, and returns when to check again.
    pub(super) fn sweep(&mut self, state: &State, lease_ms: i64) -> Option<Micros> {
        self.drop_dead();
        let beats: BTreeMap<SocketId, Micros> = self
            .sockets
            .iter()
            .filter_map(|(id, (socket, _))| Some((*id, last_auto_response(state, socket)?)))
            .collect();
        let beat = |id| beats.get(&id).copied();
        let lease = Lease { now: now(), millis: lease_ms, beat: &beat };
        self.hall.names().iter().filter_map(|name| self.act(name, |room| room.sweep(&lease)).flatten()).min()
    }

    /// Performs effects, and removes peers that are too slow (S19).
    fn perform(&mut self, effects: Vec<Effect>) {
        let mut slow: BTreeMap<String, BTreeSet<SocketId>> = BTreeMap::new();
        for effect in effects {
            match effect {
                Effect::Send { to, frame } => {
                    for id in to {
                        let Some((socket, room)) = self.sockets.get(&id) else { continue };
                        // A socket that does not accept it is closing, and its close event will
                        // follow.
                        let _ = socket.send_with_str(&frame);
                        if unsent(socket) > UNSENT_MAX {
                            slow.entry(room.clone()).or_default().insert(id);
                        }
                    }
                }
                Effect::Keep(id) => {
                    let Some((socket, room)) = self.sockets.get(&id) else { continue };
                    let Some(session) = self.hall.room(room).and_then(|room| room.session(id)) else {
                        continue;
                    };
                    if let Err(error) = socket.serialize_attachment(Some(session)) {
                        log::fault(
                            &Fault::new("keeping a session", error),
                            "the peer has its previous session when the object wakes",
                        );
                    }
                }
                Effect::Close { socket: id, code, reason } => {
                    let Some((socket, _)) = self.sockets.remove(&id) else { continue };
                    // Without its session the socket has no peer, even if the object sleeps before the
                    // close.
                    let _ = socket.serialize_attachment(None::<Session>);
                    // An error means that it is closing already.
                    let _ = socket.close(Some(code), Some(reason));
                }
            }
        }
        for (room, slow) in slow {
            let slow: Vec<SocketId> = slow.into_iter().collect();
            self.act(&room, |room| (room.dismiss(&slow, close::TOO_SLOW, "cannot keep up", None), ()));
        }
    }
}

/// The session in a socket's attachment.
pub(super) fn session(socket: &WebSocket) -> Option<Session> {
    socket.deserialize_attachment::<Option<Session>>().ok().flatten().flatten()
}
