//! The sockets of observers: accepts them, lets them catch up with the log (Q02), and tells the
//! gateways that the community has observers.

use std::rc::Rc;
use std::time::Duration;

use futures::future::join_all;
use worker::wasm_bindgen_futures::spawn_local;
use worker::{Delay, Response, WebSocket, WebSocketPair};

use super::log::CommunityLog;
use super::observers::{Attachment, Observers, tag};
use crate::domain::announcement::Audience;
use crate::domain::lost::frame;
use crate::domain::replay::{ASK_AGAIN_MS, ASK_AGAIN_TIMES, Replayed};
use crate::domain::signaling::hall;
use crate::domain::slow_sockets::SLOW_BYTES;
use crate::durable::community::commands::{Known, Overhear, PAGE, Replay};
use crate::durable::gateway::commands::Observed;
use crate::durable::replies::{Delivered, Done};
use crate::platform::d1::D1;
use crate::platform::objects::{call, full, gateway};
use crate::platform::socket_state::send;
use crate::platform::{log, socket_state};
use crate::storage::{Fault, reads};
use crate::wire::events::stamp_state;
use crate::wire::ids::AtUri;
use crate::wire::socket::Reply;

/// How often a full socket is checked again, in milliseconds.
const ROOM_MS: u64 = 50;
/// The pause before unreachable gateways are called again, in milliseconds.
const RETRY_MS: u64 = 2_000;

impl CommunityLog {
    /// Catches up, in the background, with every observer that is behind and has no task yet.
    pub(super) fn catch_up_soon(self: &Rc<Self>) {
        for (socket, (id, behind)) in Observers::all(&self.state) {
            let Some(behind) = behind.filter(|behind| *behind != i64::MAX) else { continue };
            if self.observers.catching_up.borrow_mut().insert(id) {
                let order = Rc::clone(self);
                spawn_local(async move {
                    order.catch_up(&socket, id, behind).await;
                    order.observers.caught_up(id);
                    order.observers.catching_up.borrow_mut().remove(&id);
                });
            }
        }
    }

    async fn catch_up(&self, socket: &WebSocket, id: i64, cursor: i64) {
        let Some(community) = self.name() else { return };
        let mut after = cursor;
        let mut from = None;
        loop {
            let end = match self.page_for(socket, id, &community, after).await {
                Err(fault) => {
                    log::fault(&fault, "the observer reads anew");
                    Some(Reply::ResyncRequired { community_uri: community.clone(), oldest: 0 })
                }
                Ok(Replayed::Resync { oldest }) => {
                    Some(Reply::ResyncRequired { community_uri: community.clone(), oldest })
                }
                Ok(Replayed::Page { events, through, last }) => {
                    let from = *from.get_or_insert(u64::try_from(cursor).unwrap_or(last));
                    let heard = |audience: &Audience| !matches!(audience, Audience::Private(_));
                    for event in events.iter().filter(|event| heard(&event.audience)) {
                        send(socket, &frame(&event.event, &community, event.seq, false));
                    }
                    after = i64::try_from(through).unwrap_or(i64::MAX);
                    (through >= last).then(|| Reply::Resumed {
                        community_uri: community.to_string(),
                        from,
                        to: last,
                    })
                }
            };
            let behind = end.is_none().then_some(after);
            // A socket that refuses an attachment is closing.
            if socket.serialize_attachment((id, behind)).is_err() {
                return;
            }
            if let Some(reply) = end {
                // In one step with the attachment: from here on it gets live events.
                return send(socket, &reply.text());
            }
            while socket_state::unsent(socket) > SLOW_BYTES {
                if !socket_state::is_open(socket) {
                    return;
                }
                Delay::from(Duration::from_millis(ROOM_MS)).await;
            }
        }
    }

    /// A page of the log for an observer, within the limit of its address (Q08).
    async fn page_for(
        &self,
        socket: &WebSocket,
        id: i64,
        community: &AtUri,
        cursor: i64,
    ) -> Result<Replayed, Fault> {
        if !self.may_read(socket, id).await {
            return Ok(Replayed::Resync { oldest: 0 });
        }
        let page = self.replay(&Replay { community: community.clone(), cursor });
        let read = page.as_ref().map_or(0, Replayed::count);
        self.observers.give_back(id, PAGE.saturating_sub(read));
        page
    }

    /// Waits until the observer's address may read another page of the log. `false` if it exceeded
    /// the limit for a whole minute (Q08), or the observer is gone.
    async fn may_read(&self, socket: &WebSocket, id: i64) -> bool {
        for _ in 0..ASK_AGAIN_TIMES {
            if self.observers.may_read(id, PAGE) {
                return true;
            }
            if !socket_state::is_open(socket) {
                return false;
            }
            Delay::from(Duration::from_millis(ASK_AGAIN_MS)).await;
        }
        false
    }

    /// Accepts an observer from `address`; with a cursor it catches up first (Q02).
    pub(super) fn observe(self: &Rc<Self>, cursor: Option<i64>, address: String) -> worker::Result<Response> {
        if self.is_full() {
            return full();
        }
        let pair = WebSocketPair::new()?;
        let id = self.next_observer();
        self.state.accept_web_socket(&pair.server);
        pair.server.serialize_attachment((id, cursor))?;
        if cursor.is_some() {
            self.observers.came_from(id, address);
        }
        self.look_after_observers();
        Response::from_websocket(pair.client)
    }

    /// Whether there is no room for another observer.
    fn is_full(&self) -> bool {
        hall::is_full(self.state.get_websockets().len())
    }

    fn next_observer(&self) -> i64 {
        let last = Observers::all(&self.state).map(|(_, (id, _))| id).max().unwrap_or(0);
        let id = last.max(self.observers.last.get()) + 1;
        self.observers.last.set(id);
        id
    }

    /// Accepts an observer that waits for a community to become known; it receives nothing until
    /// then.
    pub(super) fn wait(&self, community: &str) -> worker::Result<Response> {
        if self.is_full() {
            return full();
        }
        let pair = WebSocketPair::new()?;
        self.state.accept_websocket_with_tags(&pair.server, &[&tag(community)]);
        pair.server.serialize_attachment((self.next_observer(), None::<i64>))?;
        Response::from_websocket(pair.client)
    }

    /// The community is known now: closes the sockets that wait for it, with a code that says so.
    pub(super) fn known(&self, command: &Known) -> Done {
        for socket in self.state.get_websockets_with_tag(&tag(command.community.as_str())) {
            self.observers.gone(&socket);
            socket_state::close(&socket, 1012, "the community is known now");
        }
        Done {}
    }

    /// Serves observers after a wake, and when the community has become known.
    pub(super) fn look_after_observers(self: &Rc<Self>) {
        if Observers::all(&self.state).next().is_some() {
            self.catch_up_soon();
            self.register_soon();
        }
    }

    /// Tells all gateways, in the background, that there are observers. Only for a known community:
    /// anybody may name an unknown one, and each costs the gateways a row.
    fn register_soon(self: &Rc<Self>) {
        let Some(community) = self.name() else { return };
        if self.observers.registered.get() || self.observers.registering.replace(true) {
            return;
        }
        let order = Rc::clone(self);
        spawn_local(async move {
            loop {
                match order.register(&community).await {
                    Ok(registered) => {
                        order.observers.registered.set(registered);
                        break;
                    }
                    Err(fault) => log::fault(&fault, "observers receive events about people later"),
                }
                if Observers::all(&order.state).next().is_none() {
                    break;
                }
                Delay::from(Duration::from_millis(RETRY_MS)).await;
            }
            order.observers.registering.set(false);
        });
    }

    async fn register(&self, community: &AtUri) -> Result<bool, Fault> {
        let named = [community.to_string()];
        if reads::listed(&D1::of(&self.env)?, &named).await?.is_empty() {
            return Ok(false);
        }
        let names: Vec<String> = (0..self.shards).map(gateway).collect();
        let observed = Observed { community: community.clone() };
        let replies = join_all(names.iter().map(|name| call(&self.env, name, &observed))).await;
        replies.into_iter().collect::<Result<Vec<_>, _>>().map(|_| true)
    }

    /// Events about people who are watched through this community (A36).
    pub(super) fn overhear(&self, command: &Overhear) -> Delivered {
        let is_open = |(_, (_, behind)): &(WebSocket, Attachment)| *behind != Some(i64::MAX);
        let observers: Vec<_> = Observers::all(&self.state).filter(is_open).collect();
        if observers.is_empty() {
            self.observers.registered.set(false);
        }
        for saying in &command.sayings {
            let text = stamp_state(saying.event.get(), saying.live);
            observers.iter().for_each(|(socket, _)| send(socket, &text));
        }
        Delivered { listening: !observers.is_empty() }
    }
}
