//! One room: its peers, and what each frame does to them (S01–S20).
//!
//! Everything a room must remember of a socket is its [`Seat`], which lives in the socket's
//! attachment; the room is rebuilt from the seats of its sockets whenever its object wakes
//! (invariant 6). Nothing here knows another room.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::door::{close, error, let_in};
use crate::domain::frame_budget::Budget;
use crate::domain::voice_right::{VoiceRefusal, home, may_be_in};
use crate::domain::working_set::WorkingSet;
use crate::wire::ids::{AtUri, Collection, Did};
use crate::wire::signaling::{ClientFrame, HEARTBEAT_ACK, ServerFrame, Signal, VoiceChange, VoiceState};
use crate::wire::time::Micros;

/// What tells the sockets of a room apart: a random number below 2^53, never given twice, so that
/// the late end of one socket is not taken for the end of another.
pub type SocketId = u64;

/// A socket of the room, joined or not: its attachment. Pinned: sockets outlive builds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seat {
    /// Its number.
    pub id: SocketId,
    /// Whom it acts for.
    pub did: Option<Did>,
    /// Somebody proved to be that person (X06).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub proven: bool,
    /// Its room. Without one it is that of which the object has the name: rooms had objects of
    /// their own once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<String>,
    /// The Worker relays it, and counts its frames (S16).
    pub relayed: bool,
    /// When a frame of it was seen, at least roughly ([`SEEN_STEP_MICROS`]).
    pub seen: Micros,
    /// It has sent a heartbeat that the runtime did not answer.
    pub beats: bool,
    /// The peer it is, once joined.
    pub peer: Option<Peer>,
}

/// Who opens a socket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// See [`Seat::did`].
    pub did: Option<Did>,
    /// See [`Seat::proven`].
    pub proven: bool,
    /// See [`Seat::relayed`].
    pub relayed: bool,
}

/// What a `join` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The name.
    pub peer_id: String,
    /// The digest of what only this client knows (S12).
    pub secret: Option<String>,
}

impl Wish {
    /// A wish for a name, with the client's secret. Only the digest of that is kept, which has one
    /// length whatever the secret's, and tells nobody the secret.
    pub fn new(peer_id: String, secret: Option<&str>) -> Self {
        let secret = secret.map(|secret| URL_SAFE_NO_PAD.encode(Sha256::digest(secret)));
        Self { peer_id, secret }
    }
}

/// What decides whether a peer still shows that it is there.
pub struct Lease<'a> {
    /// The time.
    pub now: Micros,
    /// `LEASE_MS`; 0 is for ever.
    pub millis: i64,
    /// When the runtime last answered a socket's heartbeat.
    pub beat: &'a dyn Fn(SocketId) -> Option<Micros>,
}

impl Lease<'_> {
    /// Nobody's silence counts.
    pub fn none(now: Micros) -> Lease<'static> {
        Lease { now, millis: 0, beat: &|_| None }
    }

    /// When the lease of a seat ends, if silence counts.
    fn ends(&self, seat: &Seat) -> Option<Micros> {
        let heard = (self.beat)(seat.id).map_or(seat.seen, |at| at.max(seat.seen));
        (self.millis > 0).then(|| Micros(heard.0.saturating_add(self.millis.saturating_mul(1000))))
    }

    fn is_over(&self, seat: &Seat) -> bool {
        self.ends(seat).is_some_and(|ends| ends <= self.now)
    }

    /// Whether the client ever sent a heartbeat, so that its silence says something.
    fn promised(&self, seat: &Seat) -> bool {
        seat.beats || (self.beat)(seat.id).is_some()
    }
}

/// A joined socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its name in the room.
    pub peer_id: String,
    /// Peers are listed in this order (S01).
    pub order: u64,
    /// It joined the room of a voice channel (S20).
    pub bound: bool,
    /// What it said of its devices.
    pub voice: Option<VoiceState>,
    /// The digest of what only its client knows (S12).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

/// What there is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send a frame to each of these sockets.
    Tell {
        /// In any order.
        to: Vec<SocketId>,
        /// JSON text.
        frame: String,
    },
    /// A seat changed: store it.
    Keep(SocketId),
    /// Close a socket. It has no seat any more.
    Close {
        /// Which.
        socket: SocketId,
        /// One of [`close`].
        code: u16,
        /// In words.
        reason: &'static str,
    },
}

/// What becomes of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// These effects, and it is done.
    Done(Vec<Effect>),
    /// It asks to join: find out [`Access`], then call [`Room::join`].
    Join(Wish),
}

/// What a room is to somebody who would be in it (S20).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A name like any other.
    Free,
    /// A voice channel they may be in.
    Bound,
    /// A voice channel they may not be in.
    NotAllowed,
    /// A voice channel they may be in, but not under this `peer_id`.
    WrongName,
}

/// What the room `channel` is to a socket of `did` under the name `peer_id` (S20):
///   1. if it is no known voice channel, it is a name like any other;
///   2. nobody unnamed may be in a voice channel, nor anybody whom V02 does not let in;
///   3. the name there is the DID, or begins with it and `#`.
pub fn access(working_set: &WorkingSet, channel: &AtUri, did: Option<&Did>, peer_id: &str) -> Access {
    if home(working_set, channel, None).is_err() {
        return Access::Free;
    }
    let Some(did) = did else { return Access::NotAllowed };
    if may_be_in(working_set, did, channel, None).is_err() {
        return Access::NotAllowed;
    }
    if is_name_of(peer_id, did) { Access::Bound } else { Access::WrongName }
}

/// What a room that is no voice channel is, where people prove who they are (`verified` mode): a
/// `peer_id` that reads as a DID, with or without `#` and more, must be the caller's own.
pub fn access_proven(did: Option<&Did>, peer_id: &str) -> Access {
    let named = peer_id.split_once('#').map_or(peer_id, |(name, _)| name);
    match Did::parse(named) {
        Ok(named) if did != Some(&named) => Access::WrongName,
        _ => Access::Free,
    }
}

/// Whether a `peer_id` says that it is this person: it is the DID, or begins with it and `#`.
fn is_name_of(peer_id: &str, did: &Did) -> bool {
    peer_id.strip_prefix(did.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('#'))
}

/// How often [`Seat::seen`] is stored, in microseconds: a lease is far longer (P11).
const SEEN_STEP_MICROS: i64 = 5_000_000;

/// See the module.
#[derive(Debug)]
pub struct Room {
    name: String,
    max_peers: usize,
    seats: BTreeMap<SocketId, Open>,
    next_order: u64,
}

#[derive(Debug)]
struct Open {
    seat: Seat,
    budget: Budget,
    /// [`Seat::seen`] as it is stored.
    stored_seen: Micros,
}

impl Room {
    /// An empty room. `max_peers` is `SIGNAL_MAX_PEERS` (S15).
    pub fn new(name: String, max_peers: usize) -> Self {
        Self { name, max_peers, seats: BTreeMap::new(), next_order: 0 }
    }

    /// The channel the room is named after, whether it is known or not (S20).
    pub fn channel(&self) -> Option<AtUri> {
        AtUri::parse(&self.name).ok().filter(|uri| uri.is(Collection::Channel))
    }

    /// A new socket comes in. It is in the room's object, not yet in the room.
    pub fn enter(&mut self, id: SocketId, caller: Caller, now: Micros) -> Seat {
        let Caller { did, proven, relayed } = caller;
        let room = Some(self.name.clone());
        let seat = Seat { id, did, proven, room, relayed, seen: now, beats: false, peer: None };
        self.restore(seat.clone());
        seat
    }

    /// Puts a socket back after the object woke.
    pub fn restore(&mut self, seat: Seat) {
        let order = seat.peer.as_ref().map_or(0, |peer| peer.order.saturating_add(1));
        self.next_order = self.next_order.max(order);
        let open = Open { budget: Budget::default(), stored_seen: seat.seen, seat };
        self.seats.insert(open.seat.id, open);
    }

    /// The seat of a socket, for its attachment.
    pub fn seat(&self, socket: SocketId) -> Option<&Seat> {
        self.seats.get(&socket).map(|open| &open.seat)
    }

    /// The DIDs of the peers.
    pub fn people(&self) -> Vec<Did> {
        let mut people: Vec<Did> = self.peers().filter_map(|(seat, _)| seat.did.clone()).collect();
        people.sort_unstable();
        people.dedup();
        people
    }

    /// Whether nobody has joined.
    pub fn is_empty(&self) -> bool {
        self.peers().next().is_none()
    }

    /// Whether no socket is here, joined or not.
    pub fn is_deserted(&self) -> bool {
        self.seats.is_empty()
    }

    /// Whether its peers joined it as a voice channel (S20).
    pub fn is_bound(&self) -> bool {
        self.peers().any(|(_, peer)| peer.bound)
    }

    /// Whether a peer with this name and this secret is here.
    pub fn knows(&self, wish: &Wish) -> bool {
        wish.secret.is_some()
            && self.peers().any(|(_, peer)| peer.peer_id == wish.peer_id && peer.secret == wish.secret)
    }

    fn peers(&self) -> impl Iterator<Item = (&Seat, &Peer)> {
        self.seats.values().filter_map(|open| Some((&open.seat, open.seat.peer.as_ref()?)))
    }

    fn peer(&self, socket: SocketId) -> Option<&Peer> {
        self.seat(socket)?.peer.as_ref()
    }

    fn others(&self, socket: SocketId) -> Vec<SocketId> {
        self.peers().map(|(seat, _)| seat.id).filter(|id| *id != socket).collect()
    }

    /// What a frame does; `None` is a binary one. After [`let_in`] the first rule that applies
    /// decides:
    ///   1. a heartbeat is answered;
    ///   2. a join of this room goes on in [`Room::join`]; of another one it is refused: this
    ///      socket was opened for this room;
    ///   3. whoever has not joined must join first (S13);
    ///   4. whoever names another room is told so (S13);
    ///   5. the rest is done (S02–S05).
    pub fn on_frame(&mut self, socket: SocketId, text: Option<&str>, now: Micros) -> Next {
        let Some(open) = self.seats.get_mut(&socket) else { return Next::Done(Vec::new()) };
        let mut effects = Vec::new();
        open.seat.seen = now;
        if now.0.saturating_sub(open.stored_seen.0) >= SEEN_STEP_MICROS {
            open.stored_seen = now;
            effects.push(Effect::Keep(socket));
        }
        let budget = (!open.seat.relayed).then_some(&mut open.budget);
        let frame = match let_in(budget, text, now) {
            Ok(frame) => frame,
            Err(refused) => {
                effects.push(Effect::Tell { to: vec![socket], frame: refused.reply });
                if refused.close {
                    effects.extend(self.dismiss(&[socket], close::POLICY, "too many frames", None));
                }
                return Next::Done(effects);
            }
        };
        let (room, done): (String, Doing) = match frame {
            ClientFrame::Heartbeat => {
                open.seat.beats = true;
                effects.push(Effect::Keep(socket));
                effects.push(Effect::Tell { to: vec![socket], frame: HEARTBEAT_ACK.to_owned() });
                return Next::Done(effects);
            }
            ClientFrame::Join { room, peer_id, secret } if room == self.name => {
                return Next::Join(Wish::new(peer_id, secret.as_deref()));
            }
            ClientFrame::Join { room, .. } => {
                return Next::Done(refuse(socket, &format!("Not in room {room}")));
            }
            ClientFrame::Relay { room, target_peer_id, signal } => {
                (room, Doing::Relay(target_peer_id, signal))
            }
            ClientFrame::Leave { room } => (room, Doing::Leave),
            ClientFrame::VoiceState { room, change } => (room, Doing::Voice(change)),
        };
        let more = if open.seat.peer.is_none() {
            refuse(socket, "Join a room first")
        } else if room != self.name {
            refuse(socket, &format!("Not in room {room}"))
        } else {
            match done {
                Doing::Relay(target, signal) => self.relay(socket, &target, &signal),
                Doing::Leave => self.leave(socket),
                Doing::Voice(change) => self.voice(socket, change),
            }
        };
        effects.extend(more);
        Next::Done(effects)
    }

    /// S01, with the rules in this order:
    ///   1. who has no access is refused (S20);
    ///   2. joining again exactly as joined is answered again, and nobody else hears of it (S17);
    ///   3. a name that another socket has is refused, unless this one [may take it
    ///      over](Self::supersedes) (S12);
    ///   4. a full room is refused (S15);
    ///   5. whoever was in the room under another name leaves it first (S17), and the socket that
    ///      had the name is told and closed.
    ///
    /// A refusal changes nothing: a membership the socket already has stays (S12).
    pub fn join(&mut self, socket: SocketId, wish: &Wish, access: Access, lease: &Lease<'_>) -> Vec<Effect> {
        let Some(seat) = self.seat(socket) else { return Vec::new() };
        let peer_id = wish.peer_id.as_str();
        match access {
            Access::Free | Access::Bound => {}
            Access::NotAllowed => return refuse(socket, VoiceRefusal::NotAllowed.text()),
            Access::WrongName => {
                return refuse(
                    socket,
                    "Invalid signal: peer_id must be your DID, or begin with it and # in this room",
                );
            }
        }
        let bound = access == Access::Bound;
        if seat.peer.as_ref().is_some_and(|peer| peer.peer_id == peer_id) {
            if let Some(peer) = self.seats.get_mut(&socket).and_then(|open| open.seat.peer.as_mut()) {
                peer.bound = bound;
                peer.secret = wish.secret.clone().or_else(|| peer.secret.take());
            }
            return vec![Effect::Keep(socket), self.welcome(socket, peer_id)];
        }
        let holder = self.peers().find(|(_, peer)| peer.peer_id == peer_id);
        if holder.is_some_and(|(old, peer)| !self.supersedes(seat, wish, access, (old, peer), lease)) {
            return refuse(socket, "peer_id already in use");
        }
        let old: Vec<SocketId> = holder.map(|(seat, _)| seat.id).into_iter().collect();
        if self.others(socket).len().saturating_sub(old.len()) >= self.max_peers {
            return refuse(socket, "Room is full");
        }
        let mut effects = self.leave(socket);
        effects.extend(self.dismiss(&old, close::POLICY, TAKEN_OVER, Some(TAKEN_OVER)));
        let order = self.next_order;
        self.next_order = order.saturating_add(1);
        if let Some(open) = self.seats.get_mut(&socket) {
            let secret = wish.secret.clone();
            open.seat.peer = Some(Peer { peer_id: peer_id.to_owned(), order, bound, voice: None, secret });
        }
        effects.push(Effect::Keep(socket));
        effects.push(self.welcome(socket, peer_id));
        effects.extend(self.known_voices(socket));
        let frame = ServerFrame::PeerJoined { room: &self.name, peer_id }.text();
        effects.push(Effect::Tell { to: self.others(socket), frame });
        effects
    }

    /// Whether a socket may have the name of another (S12). Any of these is enough:
    ///   1. it shows the secret under which the name was taken: it is the same client;
    ///   2. the room is a voice channel, where a name belongs to a person, and it acts for them
    ///      (S20); who proved that yields only to who proves it;
    ///   3. it proved to be the person whom the name, or the other socket, claims to be;
    ///   4. the other has sent nothing for the whole lease. Nobody can tell a quiet client from
    ///      one whose line is lost, so a quiet one keeps its place, but not against somebody who
    ///      is there.
    fn supersedes(
        &self,
        new: &Seat,
        wish: &Wish,
        access: Access,
        (old, peer): (&Seat, &Peer),
        lease: &Lease<'_>,
    ) -> bool {
        let same_client = wish.secret.is_some() && wish.secret == peer.secret;
        let own_channel = access == Access::Bound && (new.proven || !old.proven);
        let claims = |did: &Did| old.did.as_ref() == Some(did) || is_name_of(&peer.peer_id, did);
        let own_name = new.proven && new.did.as_ref().is_some_and(claims);
        same_client || own_channel || own_name || lease.is_over(old)
    }

    /// `joined`, with the others in order of joining.
    fn welcome(&self, socket: SocketId, peer_id: &str) -> Effect {
        let mut others: Vec<&Peer> =
            self.peers().filter(|(seat, _)| seat.id != socket).map(|(_, peer)| peer).collect();
        others.sort_by_key(|peer| peer.order);
        let peers = others.into_iter().map(|peer| peer.peer_id.as_str()).collect();
        let frame = ServerFrame::Joined { room: &self.name, peer_id, peers }.text();
        Effect::Tell { to: vec![socket], frame }
    }

    /// What the others said of their devices, for a joiner.
    fn known_voices(&self, socket: SocketId) -> Vec<Effect> {
        self.peers()
            .filter(|(seat, _)| seat.id != socket)
            .filter_map(|(_, peer)| Some(self.voice_state(&peer.peer_id, peer.voice?)))
            .map(|frame| Effect::Tell { to: vec![socket], frame })
            .collect()
    }

    fn voice_state(&self, from_peer_id: &str, state: VoiceState) -> String {
        ServerFrame::VoiceState { room: &self.name, from_peer_id, state }.text()
    }

    /// S02–S04, S14.
    fn relay(&self, socket: SocketId, target: &str, signal: &Signal) -> Vec<Effect> {
        let Some(from) = self.peer(socket) else { return Vec::new() };
        let found = self.peers().find(|(seat, peer)| peer.peer_id == target && seat.id != socket);
        match found {
            Some((seat, _)) => {
                let frame = ServerFrame::relayed(&self.name, &from.peer_id, signal).text();
                vec![Effect::Tell { to: vec![seat.id], frame }]
            }
            None => refuse(socket, &format!("Unknown peer: {target}")),
        }
    }

    fn voice(&mut self, socket: SocketId, change: VoiceChange) -> Vec<Effect> {
        let Some(peer) = self.seats.get_mut(&socket).and_then(|open| open.seat.peer.as_mut()) else {
            return Vec::new();
        };
        let state = peer.voice.unwrap_or_default().after(change);
        peer.voice = Some(state);
        let peer_id = peer.peer_id.clone();
        let frame = self.voice_state(&peer_id, state);
        vec![Effect::Keep(socket), Effect::Tell { to: self.others(socket), frame }]
    }

    /// S05: the socket stays, its peer goes.
    fn leave(&mut self, socket: SocketId) -> Vec<Effect> {
        let Some(peer) = self.seats.get_mut(&socket).and_then(|open| open.seat.peer.take()) else {
            return Vec::new();
        };
        let frame = ServerFrame::PeerLeft { room: &self.name, peer_id: &peer.peer_id }.text();
        vec![Effect::Keep(socket), Effect::Tell { to: self.others(socket), frame }]
    }

    /// S06: the socket is gone.
    pub fn close(&mut self, socket: SocketId) -> Vec<Effect> {
        let effects = self.leave(socket);
        self.seats.remove(&socket);
        effects.into_iter().filter(|effect| *effect != Effect::Keep(socket)).collect()
    }

    /// Closes sockets, with a last word for them. Only who stays is told who left.
    pub fn dismiss(
        &mut self,
        sockets: &[SocketId],
        code: u16,
        reason: &'static str,
        last_word: Option<&str>,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        let mut left: Vec<Peer> = Vec::new();
        for socket in sockets {
            let Some(open) = self.seats.remove(socket) else { continue };
            left.extend(open.seat.peer);
            if let Some(text) = last_word {
                effects.push(Effect::Tell { to: vec![*socket], frame: error(text) });
            }
            effects.push(Effect::Close { socket: *socket, code, reason });
        }
        let to: Vec<SocketId> = self.peers().map(|(seat, _)| seat.id).collect();
        effects.extend(left.iter().map(|peer| {
            let frame = ServerFrame::PeerLeft { room: &self.name, peer_id: &peer.peer_id }.text();
            Effect::Tell { to: to.clone(), frame }
        }));
        effects
    }

    /// Sends away whoever may not be here (any more), now that `working set` is what is known of
    /// `people` (S20): those without access, and, when the channel is gone, those who joined it
    /// as a channel. Of anybody else who acts for a DID nothing is known, so they stay.
    pub fn recheck(&mut self, working_set: &WorkingSet, people: &[Did]) -> Vec<Effect> {
        let Some(channel) = self.channel() else { return Vec::new() };
        let (mut out, mut effects) = (Vec::new(), Vec::new());
        for open in self.seats.values_mut() {
            let seat = &mut open.seat;
            let Some(peer) = &mut seat.peer else { continue };
            if seat.did.as_ref().is_some_and(|did| !people.contains(did)) {
                continue;
            }
            match access(working_set, &channel, seat.did.as_ref(), &peer.peer_id) {
                Access::Free if !peer.bound => {}
                Access::Bound if peer.bound => {}
                Access::Bound => {
                    peer.bound = true;
                    effects.push(Effect::Keep(seat.id));
                }
                Access::Free | Access::NotAllowed | Access::WrongName => out.push(seat.id),
            }
        }
        let text = VoiceRefusal::NotAllowed.text();
        effects.extend(self.dismiss(&out, close::POLICY, text, Some(text)));
        effects
    }

    /// Sends away sockets that have sent heartbeats and then nothing for the lease: an end is not
    /// always reported (P11, platform facts 2.2). Also answers when to look again, if anybody is
    /// to be looked after.
    pub fn sweep(&mut self, lease: &Lease<'_>) -> (Vec<Effect>, Option<Micros>) {
        let (mut gone, mut next) = (Vec::new(), None);
        for seat in self.seats.values().map(|open| &open.seat).filter(|seat| lease.promised(seat)) {
            match lease.ends(seat) {
                Some(ends) if ends <= lease.now => gone.push(seat.id),
                ends => next = next.into_iter().chain(ends).min(),
            }
        }
        (self.dismiss(&gone, close::GONE, "no heartbeat", None), next)
    }
}

/// What a peer is told whose name another socket has now (S12).
const TAKEN_OVER: &str = "Taken over by another connection";

enum Doing {
    Relay(String, Signal),
    Leave,
    Voice(VoiceChange),
}

fn refuse(socket: SocketId, message: &str) -> Vec<Effect> {
    vec![Effect::Tell { to: vec![socket], frame: error(message) }]
}

#[cfg(test)]
#[path = "room_tests.rs"]
mod tests;
