//! `VoiceRoom`: the peers of one signaling room, and what they tell each other (section 7).
//!
//! - Guarantee: the room is what its open sockets say. Frames of one peer to another arrive in
//!   order (S19): the runtime hands over a socket's next frame only when the last one is done.
//! - Gates: a frame is read, decided and sent without an await. Only the join of a room named
//!   after a channel waits, for D1 and for the community (S20); what it read before is read
//!   again if something happened meanwhile ([`VoiceRoom::epoch`]).
//! - Stored: nothing but the seats, in the sockets' attachments (`domain::signaling::room`).
//! - Commands: [`Connect`](CONNECT), [`Recheck`].
//! - Wakes on a frame and on a socket's end; on its alarm once after the room was last awake,
//!   and every `LEASE_MS` while peers send heartbeats, to find those that stopped. Heartbeats
//!   are answered by the runtime and wake nobody. Ends with its last socket.

use std::cell::{Cell, RefCell};

use worker::{
    DurableObject, Env, Error, Request, Response, Result, State, WebSocket, WebSocketIncomingMessage,
    WebSocketPair, WebSocketRequestResponsePair, durable_object, wasm_bindgen,
};

use super::commands::{
    Bind, CONNECT, Command, DID_HEADER, RELAYED_HEADER, Recheck, Rechecked, call, read, reply, unknown,
};
use super::peers::{Peers, seat};
use crate::domain::signaling::door::error;
use crate::domain::signaling::room::{Access, Effect, Next, SocketId, access};
use crate::domain::voice_right::home;
use crate::domain::world::World;
use crate::platform::alarm;
use crate::platform::clock::now;
use crate::platform::config::{self, Signaling, follow_log_level};
use crate::platform::d1::D1;
use crate::platform::log;
use crate::storage::{Fault, facts};
use crate::wire::ids::{AtUri, Did};
use crate::wire::signaling::{HEARTBEAT, HEARTBEAT_ACK};

/// How often a decision is made anew because something happened while its facts were read.
const TRIES: u32 = 8;
/// No alarm sooner than this, in milliseconds.
const ALARM_MIN_MS: i64 = 1_000;

/// See the module.
#[durable_object]
pub struct VoiceRoom {
    state: State,
    env: Env,
    settings: Signaling,
    memory: RefCell<Option<Peers>>,
    /// Counts the times rights may have ended: facts read before the last of them are stale.
    epoch: Cell<u64>,
    /// Joins that wait for facts.
    joining: Cell<u32>,
    /// The community that tells us when rights may have ended, since the object woke.
    bound_at: RefCell<Option<AtUri>>,
    alarm_set: Cell<bool>,
}

type Outcome<T> = std::result::Result<T, Fault>;

impl DurableObject for VoiceRoom {
    fn new(state: State, env: Env) -> Self {
        follow_log_level(&env);
        if let Ok(pair) = WebSocketRequestResponsePair::new(HEARTBEAT, HEARTBEAT_ACK) {
            state.set_websocket_auto_response(&pair);
        }
        Self {
            settings: config::signaling(&env),
            state,
            env,
            memory: RefCell::new(None),
            epoch: Cell::new(0),
            joining: Cell::new(0),
            bound_at: RefCell::new(None),
            alarm_set: Cell::new(false),
        }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        match request.path().trim_start_matches('/') {
            CONNECT => {
                let did = request.headers().get(DID_HEADER)?.and_then(|text| Did::parse(&text).ok());
                let relayed = request.headers().has(RELAYED_HEADER)?;
                let pair = WebSocketPair::new()?;
                self.state.accept_web_socket(&pair.server);
                self.with(|peers| peers.enter(pair.server, did, relayed))?;
                self.look_after().await;
                Response::from_websocket(pair.client)
            }
            Recheck::NAME => {
                let result = match read::<Recheck>(&mut request).await {
                    Ok(_) => self.recheck().await,
                    Err(fault) => Err(fault),
                };
                reply::<Recheck>(result)
            }
            _ => unknown(),
        }
    }

    async fn alarm(&self) -> Result<Response> {
        self.alarm_set.set(false);
        self.sweep().await;
        Response::empty()
    }

    async fn websocket_message(&self, socket: WebSocket, message: WebSocketIncomingMessage) -> Result<()> {
        let text = match &message {
            WebSocketIncomingMessage::String(text) => Some(text.as_str()),
            WebSocketIncomingMessage::Binary(_) => None,
        };
        let Some(id) = seat(&socket).map(|seat| seat.id) else { return Ok(()) };
        let join = self.with(|peers| match peers.room.on_frame(id, text, now()) {
            Next::Done(effects) => {
                peers.perform(effects);
                None
            }
            Next::Join(peer_id) => Some(peer_id),
        });
        if let Some(peer_id) = join {
            self.join(id, &peer_id).await;
        }
        self.look_after().await;
        Ok(())
    }

    // A close and an error are the same to us: the socket is gone.
    async fn websocket_close(&self, socket: WebSocket, _: usize, _: String, _: bool) -> Result<()> {
        self.with(|peers| peers.gone(&socket));
        Ok(())
    }

    async fn websocket_error(&self, socket: WebSocket, _: Error) -> Result<()> {
        self.with(|peers| peers.gone(&socket));
        Ok(())
    }
}

impl VoiceRoom {
    /// Runs `act` on the memory, which is rebuilt first if the object has just woken.
    fn with<T>(&self, act: impl FnOnce(&mut Peers) -> T) -> T {
        let mut memory = self.memory.borrow_mut();
        let peers = memory.get_or_insert_with(|| {
            Peers::load(&self.state, self.state.id().name().unwrap_or_default(), self.settings.max_peers)
        });
        act(peers)
    }

    /// Lets a socket in, if it may (S01, S20).
    async fn join(&self, id: SocketId, peer_id: &str) {
        let Some(channel) = self.with(|peers| peers.room.channel()) else {
            self.with(|peers| {
                let effects = peers.room.join(id, peer_id, Access::Free);
                peers.perform(effects);
            });
            return;
        };
        self.joining.set(self.joining.get() + 1);
        let facts = self.facts(&channel, Some(id)).await;
        self.joining.set(self.joining.get() - 1);
        self.with(|peers| {
            let effects = match facts {
                Ok((world, people)) => {
                    let did = peers.room.seat(id).and_then(|seat| seat.did.clone());
                    let access = access(&world, &channel, did.as_ref(), peer_id);
                    let mut effects = peers.room.recheck(&world, &people);
                    effects.extend(peers.room.join(id, peer_id, access));
                    effects
                }
                Err(fault) => {
                    log::fault(&fault, "the client is told to try again");
                    vec![Effect::Tell { to: vec![id], frame: error("Temporary failure, try again") }]
                }
            };
            peers.perform(effects);
        });
    }

    /// What decides about rights now, and the people it is about: the peers, and the socket that
    /// asks to join. If there is a community, it tells us of changes from before the facts were
    /// read.
    async fn facts(&self, channel: &AtUri, joining: Option<SocketId>) -> Outcome<(World, Vec<Did>)> {
        let db = D1::of(&self.env)?;
        for _ in 0..TRIES {
            let epoch = self.epoch.get();
            let people = self.with(|peers| {
                let asks = joining.and_then(|id| peers.room.seat(id)).and_then(|seat| seat.did.clone());
                peers.room.people().into_iter().chain(asks).collect::<Vec<Did>>()
            });
            let world = facts::right_to_be_in(&db, channel, &people).await?;
            let community = home(&world, channel, None).ok().map(|community| community.uri.clone());
            if joining.is_some()
                && let Some(community) = community.filter(|uri| *self.bound_at.borrow() != Some(uri.clone()))
            {
                let bind = Bind { community: community.clone(), room: channel.clone() };
                call(&self.env, community.as_str(), &bind).await?;
                *self.bound_at.borrow_mut() = Some(community);
            } else if self.epoch.get() == epoch {
                return Ok((world, people));
            }
        }
        Err(Fault::new("looking at rights", "they change faster than they can be read"))
    }

    /// Looks at everybody's right again (S20).
    async fn recheck(&self) -> Outcome<Rechecked> {
        self.epoch.set(self.epoch.get() + 1);
        let (channel, empty) = self.with(|peers| (peers.room.channel(), peers.room.is_empty()));
        if let Some(channel) = channel.filter(|_| !empty) {
            let (world, people) = self.facts(&channel, None).await?;
            self.with(|peers| {
                let effects = peers.room.recheck(&world, &people);
                peers.perform(effects);
            });
        }
        let occupied = self.joining.get() > 0 || !self.with(|peers| peers.room.is_empty());
        if !occupied {
            self.bound_at.borrow_mut().take();
        }
        Ok(Rechecked { occupied })
    }

    /// Finds peers that are gone without a word.
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

    /// Sees that somebody looks for the dead within a lease, as long as there is a socket.
    async fn look_after(&self) {
        let lease = self.settings.lease_ms;
        if lease == 0 || self.alarm_set.get() || self.with(|peers| peers.is_empty()) {
            return;
        }
        self.alarm_set.set(true);
        match self.state.storage().get_alarm().await {
            Ok(Some(_)) => {}
            _ => self.alarm_within(lease).await,
        }
    }

    async fn alarm_within(&self, millis: i64) {
        self.alarm_set.set(true);
        if !alarm::ring_in(&self.state, millis.max(ALARM_MIN_MS), "the next frame sets it").await {
            self.alarm_set.set(false);
        }
    }
}
