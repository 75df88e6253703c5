//! One signaling room: its peers, and the effects of each frame (S01–S20).
//!
//! The [`Session`] of a socket holds everything that the room stores about it. It lives in the
//! socket's attachment, and the object rebuilds the room from its sockets' sessions whenever it wakes
//! (invariant 6). A room knows nothing of other rooms.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::door::{admit, close, error};
use crate::domain::frame_budget::Budget;
use crate::domain::restarting::retry_after;
use crate::domain::voice_moderation::Act;
use crate::domain::voice_right::{VoiceRefusal, home, may_be_in};
use crate::domain::working_set::WorkingSet;
use crate::wire::ids::{AtUri, Collection, Did};
use crate::wire::signaling::{ClientFrame, HEARTBEAT_ACK, ServerFrame, Signal, VoiceChange, VoiceState};
use crate::wire::socket::Reply;
use crate::wire::time::Micros;

/// Identifies a socket: a random number below 2^53 that is never reused, so that a late close of
/// one socket is not mistaken for the close of another.
pub type SocketId = u64;

/// The attachment of a socket, joined or not. The format is pinned: sockets outlive builds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The socket's number.
    pub id: SocketId,
    /// The DID that the socket acts for.
    pub did: Option<Did>,
    /// Whether the caller proved that DID (X06).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub proven: bool,
    /// The room. `None` in attachments of older builds, where each room had its own object: the
    /// room is then the object's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<String>,
    /// Whether the Worker relays the socket, and therefore counts its frames (S16).
    pub relayed: bool,
    /// The time of its latest frame, accurate to [`SEEN_STEP_MICROS`].
    pub seen: Micros,
    /// Whether it has sent a heartbeat that reached this object, rather than being answered by the
    /// runtime.
    pub beats: bool,
    /// Its peer, once it has joined.
    pub peer: Option<Peer>,
}

/// The caller that opens a socket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// See [`Session::did`].
    pub did: Option<Did>,
    /// See [`Session::proven`].
    pub proven: bool,
    /// See [`Session::relayed`].
    pub relayed: bool,
}

/// A request to join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRequest {
    /// The requested name.
    pub peer_id: String,
    /// The digest of the client's secret (S12).
    pub secret: Option<String>,
}

impl JoinRequest {
    /// A request for a name, with the client's secret. Only the secret's digest is stored: its
    /// length is fixed, and it does not reveal the secret.
    pub fn new(peer_id: String, secret: Option<&str>) -> Self {
        let secret = secret.map(|secret| URL_SAFE_NO_PAD.encode(Sha256::digest(secret)));
        Self { peer_id, secret }
    }
}

/// The inputs that decide whether a peer's lease is over.
pub struct Lease<'a> {
    /// The current time.
    pub now: Micros,
    /// `LEASE_MS`; 0 means that leases never end.
    pub millis: i64,
    /// When the runtime last answered a socket's heartbeat.
    pub beat: &'a dyn Fn(SocketId) -> Option<Micros>,
}

impl Lease<'_> {
    /// A lease that never ends.
    pub fn none(now: Micros) -> Lease<'static> {
        Lease { now, millis: 0, beat: &|_| None }
    }

    /// When the lease of a session ends; `None` if it never does.
    fn ends(&self, session: &Session) -> Option<Micros> {
        let alive_at = (self.beat)(session.id).map_or(session.seen, |at| at.max(session.seen));
        (self.millis > 0).then(|| Micros(alive_at.0.saturating_add(self.millis.saturating_mul(1000))))
    }

    fn is_over(&self, session: &Session) -> bool {
        self.ends(session).is_some_and(|ends| ends <= self.now)
    }

    /// Whether the client ever sent a heartbeat; only then does its silence mean that it is gone.
    fn promised(&self, session: &Session) -> bool {
        session.beats || (self.beat)(session.id).is_some()
    }
}

/// A joined socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its name in the room.
    pub peer_id: String,
    /// Peers are listed in this order (S01).
    pub order: u64,
    /// Whether it joined the room as a voice channel (S20).
    pub bound: bool,
    /// The state of its devices, as it last reported it.
    pub voice: Option<VoiceState>,
    /// The digest of its client's secret (S12).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

/// An instruction to the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send a frame to each of these sockets.
    Send {
        /// The recipients, in any order.
        to: Vec<SocketId>,
        /// JSON text.
        frame: String,
    },
    /// Store a session that changed.
    Keep(SocketId),
    /// Close a socket, which no longer has a session.
    Close {
        /// The socket.
        socket: SocketId,
        /// One of [`close`].
        code: u16,
        /// The reason, in words.
        reason: &'static str,
    },
}

/// The result of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// The frame is handled; perform these effects.
    Done(Vec<Effect>),
    /// The socket asks to join: determine its [`Access`], then call [`Room::join`].
    Join(JoinRequest),
}

/// How a room treats a socket that asks to join (S20).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The room is not a voice channel; anybody may join.
    Free,
    /// The room is a voice channel that the person may join.
    Bound,
    /// The room is a voice channel that the person may not join.
    NotAllowed,
    /// The person may join, but not under this `peer_id`.
    WrongName,
}

/// The access of a socket of `did`, `proven` or not, to the room `channel`, under the name `peer_id` (S20):
///   1. a room that is not a known voice channel is free;
///   2. a voice channel refuses sockets without a DID, and people whom V02 refuses;
///   3. in a voice channel the name must be the DID, or begin with it and `#`.
pub fn access(
    working_set: &WorkingSet,
    channel: &AtUri,
    did: Option<&Did>,
    proven: bool,
    peer_id: &str,
) -> Access {
    if home(working_set, channel, None).is_err() {
        return Access::Free;
    }
    let Some(did) = did else { return Access::NotAllowed };
    if may_be_in(working_set, did, proven, channel, None).is_err() {
        return Access::NotAllowed;
    }
    if is_name_of(peer_id, did) { Access::Bound } else { Access::WrongName }
}

/// The access to a room that is not a voice channel, in `verified` mode: a `peer_id` that is a
/// DID, alone or followed by `#` and more, must be the caller's own.
pub fn access_proven(did: Option<&Did>, peer_id: &str) -> Access {
    let named = peer_id.split_once('#').map_or(peer_id, |(name, _)| name);
    match Did::parse(named) {
        Ok(named) if did != Some(&named) => Access::WrongName,
        _ => Access::Free,
    }
}

/// Whether a `peer_id` claims to be this person: it is the DID, or begins with it and `#`.
fn is_name_of(peer_id: &str, did: &Did) -> bool {
    peer_id.strip_prefix(did.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('#'))
}

/// [`Session::seen`] is stored at most this often, in microseconds; a lease is far longer (P11).
const SEEN_STEP_MICROS: i64 = 5_000_000;

/// A room and its sockets.
#[derive(Debug)]
pub struct Room {
    name: String,
    max_peers: usize,
    sessions: BTreeMap<SocketId, Open>,
    next_order: u64,
    /// What [`Room::devices`] says may have changed.
    is_changed: bool,
}

#[derive(Debug)]
struct Open {
    session: Session,
    budget: Budget,
    /// The stored value of [`Session::seen`].
    stored_seen: Micros,
}

impl Room {
    /// An empty room. `max_peers` is `SIGNAL_MAX_PEERS` (S15).
    pub fn new(name: String, max_peers: usize) -> Self {
        Self { name, max_peers, sessions: BTreeMap::new(), next_order: 0, is_changed: false }
    }

    /// The channel that the room is named after, known or not (S20).
    pub fn channel(&self) -> Option<AtUri> {
        AtUri::parse(&self.name).ok().filter(|uri| uri.is(Collection::Channel))
    }

    /// Adds a new socket, which has not joined the room yet.
    pub fn enter(&mut self, id: SocketId, caller: Caller, now: Micros) -> Session {
        let Caller { did, proven, relayed } = caller;
        let room = Some(self.name.clone());
        let session = Session { id, did, proven, room, relayed, seen: now, beats: false, peer: None };
        self.restore(session.clone());
        session
    }

    /// Restores a socket after the object woke.
    pub fn restore(&mut self, session: Session) {
        let order = session.peer.as_ref().map_or(0, |peer| peer.order.saturating_add(1));
        self.next_order = self.next_order.max(order);
        let open = Open { budget: Budget::default(), stored_seen: session.seen, session };
        self.sessions.insert(open.session.id, open);
    }

    /// The session of a socket, for its attachment.
    pub fn session(&self, socket: SocketId) -> Option<&Session> {
        self.sessions.get(&socket).map(|open| &open.session)
    }

    /// The DIDs of the peers.
    pub fn people(&self) -> Vec<Did> {
        let mut people: Vec<Did> = self.peers().filter_map(|(session, _)| session.did.clone()).collect();
        people.sort_unstable();
        people.dedup();
        people
    }

    /// What the devices of the people of a bound room do (U30), of those who reported anything but the default. Of a
    /// person with several peers the last to join counts.
    pub fn devices(&self) -> BTreeMap<Did, VoiceState> {
        let mut last: BTreeMap<&Did, &Peer> = BTreeMap::new();
        for (session, peer) in self.peers().filter(|(_, peer)| peer.bound) {
            let Some(did) = &session.did else { continue };
            let known = last.entry(did).or_insert(peer);
            if known.order < peer.order {
                *known = peer;
            }
        }
        let state = |(did, peer): (&Did, &Peer)| Some((did.clone(), peer.voice?));
        let is_said = |(_, state): &(Did, VoiceState)| *state != VoiceState::default();
        last.into_iter().filter_map(state).filter(is_said).collect()
    }

    fn has_voices(&self) -> bool {
        self.peers().any(|(_, peer)| peer.voice.is_some())
    }

    /// Whether [`Self::devices`] may have changed since the last call.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.is_changed)
    }

    /// Whether nobody has joined.
    pub fn is_empty(&self) -> bool {
        self.peers().next().is_none()
    }

    /// Whether the room has no socket, joined or not.
    pub fn is_deserted(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Whether any peer joined it as a voice channel (S20).
    pub fn is_bound(&self) -> bool {
        self.peers().any(|(_, peer)| peer.bound)
    }

    /// Whether a peer with this name and this secret has joined.
    pub fn knows(&self, request: &JoinRequest) -> bool {
        request.secret.is_some()
            && self.peers().any(|(_, peer)| peer.peer_id == request.peer_id && peer.secret == request.secret)
    }

    fn peers(&self) -> impl Iterator<Item = (&Session, &Peer)> {
        self.sessions.values().filter_map(|open| Some((&open.session, open.session.peer.as_ref()?)))
    }

    fn peer(&self, socket: SocketId) -> Option<&Peer> {
        self.session(socket)?.peer.as_ref()
    }

    fn others(&self, socket: SocketId) -> Vec<SocketId> {
        self.peers().map(|(session, _)| session.id).filter(|id| *id != socket).collect()
    }

    /// Handles a frame; `None` is a binary one. If [`admit`] accepts it, the first rule that
    /// applies decides:
    ///   1. a heartbeat is answered;
    ///   2. a join of this room continues in [`Room::join`]; a join of another room is refused,
    ///      since the socket was opened for this one;
    ///   3. a socket that has not joined gets an error (S13);
    ///   4. a frame that names another room gets an error (S13);
    ///   5. all other frames are performed (S02–S05).
    pub fn on_frame(&mut self, socket: SocketId, text: Option<&str>, now: Micros) -> Next {
        let Some(open) = self.sessions.get_mut(&socket) else { return Next::Done(Vec::new()) };
        let mut effects = Vec::new();
        open.session.seen = now;
        if now.0.saturating_sub(open.stored_seen.0) >= SEEN_STEP_MICROS {
            open.stored_seen = now;
            effects.push(Effect::Keep(socket));
        }
        let budget = (!open.session.relayed).then_some(&mut open.budget);
        let frame = match admit(budget, text, now) {
            Ok(frame) => frame,
            Err(refused) => {
                effects.push(Effect::Send { to: vec![socket], frame: refused.reply });
                if refused.close {
                    effects.extend(self.dismiss(&[socket], close::POLICY, "too many frames", None));
                }
                return Next::Done(effects);
            }
        };
        let (room, done): (String, Doing) = match frame {
            ClientFrame::Heartbeat => {
                open.session.beats = true;
                effects.push(Effect::Keep(socket));
                effects.push(Effect::Send { to: vec![socket], frame: HEARTBEAT_ACK.to_owned() });
                return Next::Done(effects);
            }
            ClientFrame::Join { room, peer_id, secret } if room == self.name => {
                return Next::Join(JoinRequest::new(peer_id, secret.as_deref()));
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
        let more = if open.session.peer.is_none() {
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

    /// Joins a socket to the room (S01), with the rules in this order:
    ///   1. a socket without access is refused (S20);
    ///   2. a repeated join under the same name is answered, and the other peers get no frame (S17);
    ///   3. a name that another socket holds is refused, unless this one [may take it
    ///      over](Self::supersedes) (S12);
    ///   4. a full room refuses the socket (S15);
    ///   5. a socket that joined under another name leaves first (S17), and the previous holder of
    ///      the name gets an error and is closed.
    ///
    /// A refusal changes nothing: the socket stays joined as before (S12).
    pub fn join(
        &mut self,
        socket: SocketId,
        request: &JoinRequest,
        access: Access,
        lease: &Lease<'_>,
    ) -> Vec<Effect> {
        let Some(session) = self.session(socket) else { return Vec::new() };
        let peer_id = request.peer_id.as_str();
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
        if session.peer.as_ref().is_some_and(|peer| peer.peer_id == peer_id) {
            if let Some(peer) = self.sessions.get_mut(&socket).and_then(|open| open.session.peer.as_mut()) {
                peer.bound = bound;
                peer.secret = request.secret.clone().or_else(|| peer.secret.take());
            }
            return vec![Effect::Keep(socket), self.welcome(socket, peer_id)];
        }
        let holder = self.peers().find(|(_, peer)| peer.peer_id == peer_id);
        if holder.is_some_and(|(old, peer)| !self.supersedes(session, request, access, (old, peer), lease)) {
            return refuse(socket, "peer_id already in use");
        }
        let old: Vec<SocketId> = holder.map(|(session, _)| session.id).into_iter().collect();
        if self.others(socket).len().saturating_sub(old.len()) >= self.max_peers {
            return refuse(socket, "Room is full");
        }
        let mut effects = self.leave(socket);
        effects.extend(self.dismiss(&old, close::POLICY, TAKEN_OVER, Some(TAKEN_OVER)));
        let order = self.next_order;
        self.next_order = order.saturating_add(1);
        self.is_changed |= bound && self.has_voices();
        if let Some(open) = self.sessions.get_mut(&socket) {
            let secret = request.secret.clone();
            open.session.peer = Some(Peer { peer_id: peer_id.to_owned(), order, bound, voice: None, secret });
        }
        effects.push(Effect::Keep(socket));
        effects.push(self.welcome(socket, peer_id));
        effects.extend(self.known_voices(socket));
        let frame = ServerFrame::PeerJoined { room: &self.name, peer_id }.text();
        effects.push(Effect::Send { to: self.others(socket), frame });
        effects
    }

    /// Whether a socket may take over the name of another (S12). Any of these is enough:
    ///   1. it shows the secret under which the name was taken, so it is the same client;
    ///   2. the room is a voice channel, where a name belongs to a person, and it acts for that
    ///      person (S20); a proven holder yields only to a proven socket;
    ///   3. it proved the DID that the name or the other socket claims;
    ///   4. the other has sent nothing for the whole lease. A quiet client looks like one whose
    ///      connection is lost, so it keeps its name only until another socket wants it.
    fn supersedes(
        &self,
        new: &Session,
        request: &JoinRequest,
        access: Access,
        (old, peer): (&Session, &Peer),
        lease: &Lease<'_>,
    ) -> bool {
        let same_client = request.secret.is_some() && request.secret == peer.secret;
        let own_channel = access == Access::Bound && (new.proven || !old.proven);
        let claims = |did: &Did| old.did.as_ref() == Some(did) || is_name_of(&peer.peer_id, did);
        let own_name = new.proven && new.did.as_ref().is_some_and(claims);
        same_client || own_channel || own_name || lease.is_over(old)
    }

    /// The `joined` frame, which lists the other peers in order of joining.
    fn welcome(&self, socket: SocketId, peer_id: &str) -> Effect {
        let mut others: Vec<&Peer> =
            self.peers().filter(|(session, _)| session.id != socket).map(|(_, peer)| peer).collect();
        others.sort_by_key(|peer| peer.order);
        let peers = others.into_iter().map(|peer| peer.peer_id.as_str()).collect();
        let frame = ServerFrame::Joined { room: &self.name, peer_id, peers }.text();
        Effect::Send { to: vec![socket], frame }
    }

    /// The device states of the other peers, sent to a socket that joins.
    fn known_voices(&self, socket: SocketId) -> Vec<Effect> {
        self.peers()
            .filter(|(session, _)| session.id != socket)
            .filter_map(|(_, peer)| Some(self.voice_state(&peer.peer_id, peer.voice?)))
            .map(|frame| Effect::Send { to: vec![socket], frame })
            .collect()
    }

    fn voice_state(&self, from_peer_id: &str, state: VoiceState) -> String {
        ServerFrame::VoiceState { room: &self.name, from_peer_id, state }.text()
    }

    /// Relays a signal to another peer (S02–S04, S14).
    fn relay(&self, socket: SocketId, target: &str, signal: &Signal) -> Vec<Effect> {
        let Some(from) = self.peer(socket) else { return Vec::new() };
        let found = self.peers().find(|(session, peer)| peer.peer_id == target && session.id != socket);
        match found {
            Some((session, _)) => {
                let frame = ServerFrame::relayed(&self.name, &from.peer_id, signal).text();
                vec![Effect::Send { to: vec![session.id], frame }]
            }
            None => refuse(socket, &format!("Unknown peer: {target}")),
        }
    }

    fn voice(&mut self, socket: SocketId, change: VoiceChange) -> Vec<Effect> {
        let Some(peer) = self.sessions.get_mut(&socket).and_then(|open| open.session.peer.as_mut()) else {
            return Vec::new();
        };
        let state = peer.voice.unwrap_or_default().after(change);
        self.is_changed |= peer.bound && peer.voice.unwrap_or_default() != state;
        peer.voice = Some(state);
        let peer_id = peer.peer_id.clone();
        let frame = self.voice_state(&peer_id, state);
        vec![Effect::Keep(socket), Effect::Send { to: self.others(socket), frame }]
    }

    /// Removes a socket's peer; the socket stays open (S05).
    fn leave(&mut self, socket: SocketId) -> Vec<Effect> {
        let Some(peer) = self.sessions.get_mut(&socket).and_then(|open| open.session.peer.take()) else {
            return Vec::new();
        };
        self.is_changed |= peer.bound && (peer.voice.is_some() || self.has_voices());
        let frame = ServerFrame::PeerLeft { room: &self.name, peer_id: &peer.peer_id }.text();
        vec![Effect::Keep(socket), Effect::Send { to: self.others(socket), frame }]
    }

    /// Removes a socket that closed (S06).
    pub fn close(&mut self, socket: SocketId) -> Vec<Effect> {
        let effects = self.leave(socket);
        self.sessions.remove(&socket);
        effects.into_iter().filter(|effect| *effect != Effect::Keep(socket)).collect()
    }

    /// The sockets that act for a person.
    pub fn sockets_of(&self, did: &Did) -> Vec<SocketId> {
        let theirs = self.sessions.values().filter(|open| open.session.did.as_ref() == Some(did));
        theirs.map(|open| open.session.id).collect()
    }

    /// R65: closes every socket. Nobody is left who could be notified.
    pub fn restart(&mut self) -> Vec<Effect> {
        let all: Vec<SocketId> = self.sessions.keys().copied().collect();
        let frame = |id: SocketId| Reply::ServerRestart { retry_after_ms: retry_after(id) }.text();
        let sent = all.iter().map(|id| Effect::Send { to: vec![*id], frame: frame(*id) });
        sent.chain(self.dismiss(&all, close::RESTART, "restart", None)).collect()
    }

    /// Closes sockets, each after an error frame if there is one. Only the remaining peers get
    /// `peer_left`.
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
            let Some(open) = self.sessions.remove(socket) else { continue };
            left.extend(open.session.peer);
            if let Some(text) = last_word {
                effects.push(Effect::Send { to: vec![*socket], frame: error(text) });
            }
            effects.push(Effect::Close { socket: *socket, code, reason });
        }
        let is_heard = self.has_voices();
        self.is_changed |= left.iter().any(|peer| peer.bound && (peer.voice.is_some() || is_heard));
        let to: Vec<SocketId> = self.peers().map(|(session, _)| session.id).collect();
        effects.extend(left.iter().map(|peer| {
            let frame = ServerFrame::PeerLeft { room: &self.name, peer_id: &peer.peer_id }.text();
            Effect::Send { to: to.clone(), frame }
        }));
        effects
    }

    /// U32: what a moderator does to a person. Their peers get a frame. Then they count as muted,
    /// or are closed. Also returns whether the person has peers here.
    pub fn moderate(&mut self, did: &Did, act: &Act) -> (Vec<Effect>, bool) {
        let theirs = self.peers().filter(|(session, _)| session.did.as_ref() == Some(did));
        let theirs: Vec<SocketId> = theirs.map(|(session, _)| session.id).collect();
        if theirs.is_empty() {
            return (Vec::new(), false);
        }
        let to = act.to().map(AtUri::as_str);
        let frame = ServerFrame::Moderated { room: &self.name, action: act.word(), to }.text();
        let mut effects = vec![Effect::Send { to: theirs.clone(), frame }];
        if *act == Act::Mute {
            let mute = VoiceChange { muted: Some(true), ..VoiceChange::default() };
            theirs.iter().for_each(|socket| effects.extend(self.voice(*socket, mute)));
        } else {
            effects.extend(self.dismiss(&theirs, close::POLICY, MODERATED, None));
        }
        (effects, true)
    }

    /// Closes the sockets that may not be in the room according to `working_set`, which holds the
    /// facts about `people` (S20): those without access and, once the channel is gone, those that
    /// joined it as a channel. A socket of any other DID stays, since its facts are not loaded.
    pub fn recheck(&mut self, working_set: &WorkingSet, people: &[Did]) -> Vec<Effect> {
        let Some(channel) = self.channel() else { return Vec::new() };
        let (mut out, mut effects) = (Vec::new(), Vec::new());
        for open in self.sessions.values_mut() {
            let session = &mut open.session;
            let Some(peer) = &mut session.peer else { continue };
            if session.did.as_ref().is_some_and(|did| !people.contains(did)) {
                continue;
            }
            match access(working_set, &channel, session.did.as_ref(), session.proven, &peer.peer_id) {
                Access::Free if !peer.bound => {}
                Access::Bound if peer.bound => {}
                Access::Bound => {
                    peer.bound = true;
                    self.is_changed = true;
                    effects.push(Effect::Keep(session.id));
                }
                Access::Free | Access::NotAllowed | Access::WrongName => out.push(session.id),
            }
        }
        let text = VoiceRefusal::NotAllowed.text();
        effects.extend(self.dismiss(&out, close::POLICY, text, Some(text)));
        effects
    }

    /// Closes sockets that have sent heartbeats and then nothing for a whole lease: the runtime
    /// does not report every close (P11, platform facts 2.2). Also returns when the next lease
    /// ends, if there is one.
    pub fn sweep(&mut self, lease: &Lease<'_>) -> (Vec<Effect>, Option<Micros>) {
        let (mut gone, mut next) = (Vec::new(), None);
        for session in
            self.sessions.values().map(|open| &open.session).filter(|session| lease.promised(session))
        {
            match lease.ends(session) {
                Some(ends) if ends <= lease.now => gone.push(session.id),
                ends => next = next.into_iter().chain(ends).min(),
            }
        }
        (self.dismiss(&gone, close::GONE, "no heartbeat", None), next)
    }
}

/// Why a moderator's act closes a peer (U32).
const MODERATED: &str = "A moderator ended this";

/// The error for a peer whose name another socket took over (S12).
const TAKEN_OVER: &str = "Taken over by another connection";

enum Doing {
    Relay(String, Signal),
    Leave,
    Voice(VoiceChange),
}

fn refuse(socket: SocketId, message: &str) -> Vec<Effect> {
    vec![Effect::Send { to: vec![socket], frame: error(message) }]
}

#[cfg(test)]
#[path = "room_tests.rs"]
mod tests;
