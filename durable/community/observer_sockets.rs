//! The sockets of observers: accepts them, lets them catch up with the log (Q02), and notifies the
//! gateways that the community has observers.

use std::rc::Rc;
use std::time::Duration;

use worker::wasm_bindgen_futures::spawn_local;
use worker::{Delay, Response, WebSocket, WebSocketPair};

use super::log::CommunityLog;
use super::observers::{Attachment, MEMBERS_ONLY, Observers, tag};
use crate::domain::community::PAGE;
use crate::domain::community::observers::{CatchUp, is_behind, is_open};
use crate::domain::replay::Replayed;
use crate::domain::restarting::retry_after;
use crate::domain::signaling::door::close::POLICY;
use crate::domain::signaling::hall;
use crate::domain::slow_sockets::SLOW_BYTES;
use crate::durable::community::commands::{Known, PublishToObservers, Replay};
use crate::durable::gateway::commands::Observed;
use crate::durable::operator::Restarted;
use crate::durable::reading::wait_to_read;
use crate::durable::replies::{Delivered, Done};
use crate::platform::background::{Pauses, until_done};
use crate::platform::d1::D1;
use crate::platform::objects::{call_gateways, full};
use crate::platform::socket_state::send;
use crate::platform::{log, socket_state};
use crate::storage::{Fault, reads};
use crate::wire::events::{march, stamp_state};
use crate::wire::ids::AtUri;
use crate::wire::socket::Reply;

/// How often a full socket is checked again, in milliseconds.
const ROOM_MS: u64 = 50;
/// The pauses before unreachable gateways are called again, in milliseconds.
const PAUSES: Pauses = Pauses::new(2_000, 60_000);

impl CommunityLog {
    /// Catches up, in the background, with every observer that is behind and has no task yet.
    pub(super) fn catch_up_soon(self: &Rc<Self>) {
        for (socket, (id, behind)) in Observers::all(&self.state) {
            let Some(behind) = is_behind(behind) else { continue };
            if self.observers.catching_up.borrow_mut().insert(id) {
                let log = Rc::clone(self);
                spawn_local(async move {
                    log.catch_up(&socket, id, behind).await;
                    log.observers.caught_up(id);
                    log.observers.catching_up.borrow_mut().remove(&id);
                });
            }
        }
    }

    async fn catch_up(&self, socket: &WebSocket, id: i64, cursor: i64) {
        let Some(community) = self.name() else { return };
        let mut way = CatchUp::new(community.clone(), cursor);
        loop {
            let page = self.page_for(socket, id, &community, way.after).await;
            let page = page.map_err(|fault| log::fault(&fault, "the observer reads anew")).ok();
            let (texts, is_over) = way.page(page);
            texts.iter().for_each(|text| send(socket, text));
            // In one step with the last text: from here on it gets live events. A socket that refuses an
            // attachment is closing.
            let behind = (!is_over).then_some(way.after);
            if socket.serialize_attachment((id, behind)).is_err() || is_over {
                return;
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
        if !self.may_read(socket, id).await || self.is_for_members_only()? {
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
        let may_read = || -> Result<_, Fault> {
            let may = self.observers.may_read(id, PAGE);
            Ok((may || socket_state::is_open(socket)).then_some(may))
        };
        wait_to_read(may_read).await.unwrap_or(false)
    }

    /// A community for members only has no observers (X43).
    fn is_for_members_only(&self) -> Result<bool, Fault> {
        self.with(|core| Ok(core.counters().members_only))
    }

    /// Accepts an observer from `address`; with a cursor it catches up first (Q02). One of a
    /// community for members only comes too late, and is closed.
    pub(super) fn observe(self: &Rc<Self>, cursor: Option<i64>, address: String) -> worker::Result<Response> {
        if self.is_full() {
            return full();
        }
        let pair = WebSocketPair::new()?;
        if self.is_for_members_only().map_err(|fault| worker::Error::RustError(fault.to_string()))? {
            self.state.accept_web_socket(&pair.server);
            socket_state::close(&pair.server, POLICY, MEMBERS_ONLY);
            return Response::from_websocket(pair.client);
        }
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

    /// R63: closes the sockets of all observers. They connect again with their cursors.
    pub(super) fn restart(&self) -> Restarted {
        let observers: Vec<(WebSocket, Attachment)> = Observers::all(&self.state).collect();
        for (socket, (id, _)) in &observers {
            send(socket, &Reply::ServerRestart { retry_after_ms: retry_after(id.unsigned_abs()) }.text());
            self.observers.gone(socket);
            socket_state::close(socket, 1012, "restart");
        }
        Restarted { sockets: observers.len(), observed: Vec::new() }
    }

    /// Serves observers after a wake, and when the community has become known.
    pub(super) fn look_after_observers(self: &Rc<Self>) {
        if Observers::all(&self.state).next().is_some() {
            self.catch_up_soon();
            self.register_soon();
        }
    }

    /// Notifies all gateways, in the background, that there are observers. Only for a known community:
    /// anybody may name an unknown one, and each costs the gateways a row.
    fn register_soon(self: &Rc<Self>) {
        let Some(community) = self.name() else { return };
        if self.observers.registered.get() || self.observers.registering.replace(true) {
            return;
        }
        let log = Rc::clone(self);
        until_done(PAUSES, "observers receive events about people later", async move || {
            let registered = log.register(&community).await;
            if registered.is_ok() || Observers::all(&log.state).next().is_none() {
                log.observers.registered.set(matches!(registered, Ok(true)));
                log.observers.registering.set(false);
                return Ok(());
            }
            registered.map(drop)
        });
    }

    async fn register(&self, community: &AtUri) -> Result<bool, Fault> {
        let named = [community.to_string()];
        if reads::listed(&D1::of(&self.env)?, &named).await?.is_empty() {
            return Ok(false);
        }
        let observed = Observed { community: community.clone() };
        call_gateways(&self.env, self.shards, &observed).await.map(|()| true)
    }

    /// Events about people who are watched through this community (A36).
    pub(super) fn publish_people(&self, command: &PublishToObservers) -> Delivered {
        let open = |(_, (_, behind)): &(WebSocket, Attachment)| is_open(*behind);
        let observers: Vec<_> = Observers::all(&self.state).filter(open).collect();
        if observers.is_empty() {
            self.observers.registered.set(false);
        }
        for publication in &command.publications {
            let Some(event) = march(publication.event.get()) else { continue };
            let text = stamp_state(event, publication.live);
            observers.iter().for_each(|(socket, _)| send(socket, &text));
        }
        Delivered { listening: !observers.is_empty() }
    }
}
