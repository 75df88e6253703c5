//! `VoiceRoom`: the peers of signaling rooms, and the frames between them (section 7).
//!
//! - Guarantee: the open sockets are the room. Frames from one peer to another arrive in order
//!   (S19): the runtime delivers a socket's next frame only when the last one is done.
//! - Gates: a frame is read, decided and sent without an await. Only the join of a room that
//!   belongs to a channel waits, for D1 and for the community (S20); what it read before is read
//!   again if something happened in the meantime ([`Rights::epoch`]).
//! - Stored: only the sessions, in the sockets' attachments (`domain::signaling::room`).
//! - Commands: [`Connect`](CONNECT), [`Recheck`], [`HasPeer`], [`ModeratePeers`], [`Forget`].
//! - Wakes on a frame and on a socket's end; while rooms have peers, on its alarm once after it was
//!   last awake, and every `LEASE_MS` while they send heartbeats, to find those that stopped. The
//!   runtime answers heartbeats and wakes nobody. A room ends with its last socket; the objects are
//!   few and stay ([`rooms_of`](crate::platform::objects::rooms_of)).

pub mod commands;
mod devices;
mod peers;
mod rights;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use worker::{
    DurableObject, Env, Error, Request, Response, Result, State, WebSocket, WebSocketIncomingMessage,
    WebSocketPair, WebSocketRequestResponsePair, durable_object, wasm_bindgen,
};

use self::peers::{Peers, session};
use self::rights::Rights;
use crate::domain::signaling::door::error;
use crate::domain::signaling::room::{Access, Caller, JoinRequest, Room, SocketId, access, access_proven};
use crate::durable::operator::RestartCalls;
use crate::durable::voice_room::commands::{
    Forget, Found, HasPeer, ModeratePeers, RELAYED_HEADER, ROOM_PARAMETER, Recheck,
};
use crate::platform::alarm::Alarm;
use crate::platform::clock::now;
use crate::platform::config::{self, Signaling, follow_log_level};
use crate::platform::incidents;
use crate::platform::log;
use crate::platform::objects::{CONNECT, Command, DID_HEADER, PROVEN_HEADER, full, serve, unknown};
use crate::storage::Fault;
use crate::wire::ids::{AtUri, Did};
use crate::wire::signaling::{HEARTBEAT, HEARTBEAT_ACK};
use crate::wire::time::Micros;

/// The shortest alarm, in milliseconds.
const ALARM_MIN_MS: i64 = 1_000;

/// See the module.
#[durable_object]
pub struct VoiceRoom {
    state: State,
    env: Env,
    settings: Signaling,
    memory: RefCell<Option<Peers>>,
    /// For each room of a channel with peers or joins.
    rights: RefCell<BTreeMap<AtUri, Rights>>,
    /// The rooms whose devices changed since their community was notified (U30).
    untold: RefCell<BTreeSet<AtUri>>,
    /// The rooms with a call about it, and since when.
    telling: RefCell<BTreeMap<AtUri, Micros>>,
    alarm: Alarm,
}

type Outcome<T> = std::result::Result<T, Fault>;

impl DurableObject for VoiceRoom {
    fn new(state: State, env: Env) -> Self {
        follow_log_level(&env);
        incidents::watch(&env);
        if let Ok(pair) = WebSocketRequestResponsePair::new(HEARTBEAT, HEARTBEAT_ACK) {
            state.set_websocket_auto_response(&pair);
        }
        Self {
            settings: config::signaling(&env),
            alarm: Alarm::of(&state, "the next frame sets it"),
            state,
            env,
            memory: RefCell::new(None),
            rights: RefCell::default(),
            untold: RefCell::default(),
            telling: RefCell::default(),
        }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        match request.path().trim_start_matches('/') {
            CONNECT => {
                let headers = request.headers();
                let caller = Caller {
                    did: headers.get(DID_HEADER)?.and_then(|text| Did::parse(&text).ok()),
                    proven: headers.has(PROVEN_HEADER)?,
                    relayed: headers.has(RELAYED_HEADER)?,
                };
                let url = request.url()?;
                let room = url.query_pairs().find(|(name, _)| name == ROOM_PARAMETER);
                let Some((_, room)) = room else { return unknown() };
                if self.with(|peers| peers.is_full()) {
                    return full();
                }
                let pair = WebSocketPair::new()?;
                self.state.accept_web_socket(&pair.server);
                self.with(|peers| peers.enter(pair.server, &room, caller))?;
                Response::from_websocket(pair.client)
            }
            HasPeer::NAME => {
                let is_peer = async |asked: HasPeer| {
                    let request = JoinRequest::new(asked.peer_id, Some(&asked.secret));
                    let knows = |room: &Room| room.knows(&request);
                    Ok(Found { found: self.with(|peers| peers.room(&asked.room).is_some_and(knows)) })
                };
                serve(&mut request, is_peer).await
            }
            Forget::NAME => {
                let forget = |forget: Forget| self.with(|peers| peers.forget(&forget.did));
                let forgotten = serve(&mut request, async |command: Forget| Ok(forget(command))).await;
                self.tell_devices().await;
                forgotten
            }
            ModeratePeers::NAME => {
                let moderate = async |asked: ModeratePeers| {
                    let ModeratePeers { room, did, act } = asked;
                    let found = self.with(|peers| peers.act(room.as_str(), |room| room.moderate(&did, &act)));
                    Ok(Found { found: found.unwrap_or_default() })
                };
                let moderated = serve(&mut request, moderate).await;
                self.tell_devices().await;
                moderated
            }
            RestartCalls::NAME => {
                let restarted =
                    serve(&mut request, async |_: RestartCalls| Ok(self.with(Peers::restart))).await;
                self.tell_devices().await;
                restarted
            }
            Recheck::NAME => {
                let recheck = async |recheck: Recheck| self.recheck(&recheck.room).await;
                let rechecked = serve(&mut request, recheck).await;
                self.tell_devices().await;
                rechecked
            }
            _ => unknown(),
        }
    }

    async fn alarm(&self) -> Result<Response> {
        self.alarm.rang();
        self.sweep().await;
        self.with(Peers::note_all_changed);
        self.tell_devices().await;
        Response::empty()
    }

    async fn websocket_message(&self, socket: WebSocket, message: WebSocketIncomingMessage) -> Result<()> {
        let text = match &message {
            WebSocketIncomingMessage::String(text) => Some(text.as_str()),
            WebSocketIncomingMessage::Binary(_) => None,
        };
        let Some(id) = session(&socket).map(|session| session.id) else { return Ok(()) };
        let request = self.with(|peers| peers.frame(id, text));
        if let Some(request) = request {
            self.join(id, &request).await;
        }
        self.tidy();
        self.look_after().await;
        self.tell_devices().await;
        Ok(())
    }

    // A close and an error mean the same here: the socket is gone.
    async fn websocket_close(&self, socket: WebSocket, _: usize, _: String, _: bool) -> Result<()> {
        self.with(|peers| peers.gone(&socket));
        self.tell_devices().await;
        self.tidy();
        Ok(())
    }

    async fn websocket_error(&self, socket: WebSocket, _: Error) -> Result<()> {
        self.with(|peers| peers.gone(&socket));
        self.tell_devices().await;
        self.tidy();
        Ok(())
    }
}

impl VoiceRoom {
    /// Runs `act` on the memory, which is rebuilt first if the object has just woken.
    fn with<T>(&self, act: impl FnOnce(&mut Peers) -> T) -> T {
        let mut memory = self.memory.borrow_mut();
        let peers = memory.get_or_insert_with(|| {
            let object = self.state.id().name().unwrap_or_default();
            Peers::load(&self.state, &object, self.settings.max_peers)
        });
        act(peers)
    }

    /// Joins a socket to its room, if allowed (S01, S20).
    async fn join(&self, id: SocketId, request: &JoinRequest) {
        let lease = self.settings.lease_ms;
        let (did, proven) = self
            .with(|peers| peers.room_of(id)?.session(id).map(|session| (session.did.clone(), session.proven)))
            .unwrap_or_default();
        let free = || match self.settings.proven {
            true => access_proven(did.as_ref(), &request.peer_id),
            false => Access::Free,
        };
        let Some(channel) = self.with(|peers| peers.room_of(id).and_then(Room::channel)) else {
            return self.with(|peers| peers.join(&self.state, id, request, free(), lease));
        };
        self.rights(&channel, |rights| rights.joining += 1);
        let facts = self.facts(&channel, Some(id)).await;
        self.rights(&channel, |rights| rights.joining = rights.joining.saturating_sub(1));
        match facts {
            Ok((working_set, people)) => {
                let access = match access(&working_set, &channel, did.as_ref(), proven, &request.peer_id) {
                    Access::Free => free(),
                    access => access,
                };
                self.with(|peers| {
                    peers.act(channel.as_str(), |room| (room.recheck(&working_set, &people), ()));
                    peers.join(&self.state, id, request, access, lease);
                });
            }
            Err(fault) => {
                log::fault(&fault, "the client gets an error and may try again");
                self.with(|peers| peers.send(id, error("Temporary failure, try again")));
            }
        }
    }

    /// Finds peers that stopped without a close.
    async fn sweep(&self) {
        let lease = self.settings.lease_ms;
        if lease == 0 {
            return;
        }
        let next = self.with(|peers| peers.sweep(&self.state, lease));
        if let Some(at) = next {
            self.alarm_within((at.0 - now().0).div_euclid(1000)).await;
        }
    }

    /// Makes sure that dead peers are looked for within a lease, as long as there is a peer. Before
    /// that, nothing is stored.
    async fn look_after(&self) {
        let lease = self.settings.lease_ms;
        if lease == 0 || !self.with(|peers| peers.is_occupied()) {
            return;
        }
        if !self.alarm.is_set().await {
            self.alarm_within(lease).await;
        }
    }

    async fn alarm_within(&self, millis: i64) {
        self.alarm.ring_in(millis.max(ALARM_MIN_MS)).await;
    }
}
