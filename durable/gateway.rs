//! `Gateway`: holds the sockets of clients and sends them what they want to hear.
//!
//! - Guarantee: a socket gets an event once, in order of `seq` (A38, A39); every frame gets one
//!   reply, in order (A03). The runtime hands over a socket's next frame only when the last one
//!   is done, and a community delivers to a gateway one call at a time.
//! - Gates: the memory and the object's database change together between two awaits. Calls to
//!   D1 and to communities let other events in, so nothing read before one is trusted after it.
//! - Stored: `storage::gateway_sessions`; the attachment of a socket is the number of its
//!   session.
//! - Commands: [`Connect`](CONNECT), [`Deliver`], [`Watch`], [`Reindexed`].
//! - Wakes on a frame, a delivery, a socket's end. The shipped client's heartbeat is answered by
//!   the runtime and wakes nobody (A10). Ends with its last socket.

use std::cell::RefCell;

use futures::future::join_all;
use worker::{
    DurableObject, Env, Error, Request, Response, Result, State, WebSocket, WebSocketIncomingMessage,
    WebSocketPair, WebSocketRequestResponsePair, durable_object, wasm_bindgen,
};

use super::commands::{
    Announced, Attach, CONNECT, Command, DID_HEADER, Deliver, Delivered, Done, Reindexed, Replay, Replayed,
    Watch, call, read, reply, unknown,
};
use super::sessions::{Open, Sessions, send};
use crate::domain::actions::{Action, Subscribe, action};
use crate::domain::replay::{Resume, resume};
use crate::domain::subscriptions::{KEYS_MAX, Kind};
use crate::platform::d1::D1;
use crate::platform::log;
use crate::platform::object_sql::ObjectSql;
use crate::storage::gateway_sessions::{self, Session};
use crate::storage::{Fault, reads, rows};
use crate::wire::events::stamp;
use crate::wire::ids::{AtUri, Did};
use crate::wire::socket::{HEARTBEAT, HEARTBEAT_ACK, Reply};

/// See the module.
#[durable_object]
pub struct Gateway {
    state: State,
    env: Env,
    sql: ObjectSql,
    memory: RefCell<Option<Sessions>>,
}

type Outcome<T> = std::result::Result<T, Fault>;

impl DurableObject for Gateway {
    fn new(state: State, env: Env) -> Self {
        if let Ok(pair) = WebSocketRequestResponsePair::new(HEARTBEAT, HEARTBEAT_ACK) {
            state.set_websocket_auto_response(&pair);
        }
        let sql = ObjectSql::of(&state);
        Self { state, env, sql, memory: RefCell::new(None) }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        match request.path().trim_start_matches('/') {
            CONNECT => {
                let did = request.headers().get(DID_HEADER)?.and_then(|text| Did::parse(&text).ok());
                self.take_in(did)
            }
            Deliver::NAME => reply::<Deliver>(
                read::<Deliver>(&mut request).await.and_then(|command| self.deliver(&command)),
            ),
            Watch::NAME => {
                reply::<Watch>(read::<Watch>(&mut request).await.and_then(|command| self.watch(&command)))
            }
            Reindexed::NAME => {
                let result = match read::<Reindexed>(&mut request).await {
                    Ok(command) => self.reindexed(&command).await,
                    Err(fault) => Err(fault),
                };
                reply::<Reindexed>(result)
            }
            _ => unknown(),
        }
    }

    async fn alarm(&self) -> Result<Response> {
        Response::empty()
    }

    async fn websocket_message(&self, socket: WebSocket, message: WebSocketIncomingMessage) -> Result<()> {
        let text = match &message {
            WebSocketIncomingMessage::String(text) => Some(text.as_str()),
            WebSocketIncomingMessage::Binary(_) => None,
        };
        match action(text) {
            Action::Reply(reply) => send(&socket, &reply.text()),
            Action::Subscribe(subscribe) => self.subscribe(&socket, subscribe).await,
            Action::Unsubscribe { kind, key, reply } => {
                let reply = match self.unsubscribe(&socket, kind, key.as_deref()) {
                    Ok(()) => reply,
                    Err(fault) => temporary(&fault),
                };
                send(&socket, &reply.text());
            }
            Action::Presence { action } => send(&socket, &self.not_yet(&socket, action).text()),
        }
        Ok(())
    }

    // A close and an error are the same to us: the socket is gone.
    async fn websocket_close(&self, socket: WebSocket, _: usize, _: String, _: bool) -> Result<()> {
        self.gone(&socket);
        Ok(())
    }

    async fn websocket_error(&self, socket: WebSocket, _: Error) -> Result<()> {
        self.gone(&socket);
        Ok(())
    }
}

impl Gateway {
    /// Runs `act` on the memory, which is rebuilt first if the object has just woken.
    fn with<T>(&self, act: impl FnOnce(&mut Sessions) -> Outcome<T>) -> Outcome<T> {
        let mut memory = self.memory.borrow_mut();
        let sessions = match memory.take() {
            Some(sessions) => sessions,
            None => Sessions::load(&self.state, &self.sql)?,
        };
        act(memory.insert(sessions))
    }

    /// Takes in a socket. The session is stored before the socket exists to the client.
    fn take_in(&self, did: Option<Did>) -> Result<Response> {
        let pair = WebSocketPair::new()?;
        let session = Session { did, ..Session::default() };
        let accepted = self.with(|sessions| {
            let answer = self.sql.run(&gateway_sessions::open(&session))?;
            let id = answer
                .first()
                .and_then(|text| text.parse::<i64>().ok())
                .ok_or_else(|| Fault::new("opening a session", "it got no number"))?;
            self.state.accept_web_socket(&pair.server);
            pair.server.serialize_attachment(id).map_err(|error| Fault::new("opening a session", error))?;
            let socket = pair.server.clone();
            sessions.open.insert(id, Open::new(session, socket));
            Ok(())
        });
        match accepted {
            Ok(()) => Response::from_websocket(pair.client),
            Err(fault) => {
                log::fault(&fault, "the client is told to come back");
                Response::error("temporary failure", 503)
            }
        }
    }

    fn gone(&self, socket: &WebSocket) {
        let Some(id) = number(socket) else { return };
        let result = self.with(|sessions| {
            sessions.open.remove(&id);
            self.sql.run(&gateway_sessions::close(id)).map(drop)
        });
        if let Err(fault) = result {
            log::fault(&fault, "the session ends when the object wakes anew");
        }
    }

    fn deliver(&self, command: &Deliver) -> Outcome<Delivered> {
        let community = command.community.as_str();
        self.with(|sessions| {
            let had = sessions.communities.get(community).copied().unwrap_or(0);
            for event in command.events.iter().filter(|event| event.seq > had) {
                sessions.send(community, event);
            }
            let listening = sessions.need(community);
            if listening {
                let last = command.events.last().map_or(had, |event| event.seq.max(had));
                sessions.communities.insert(community.to_owned(), last);
                self.sql.run(&gateway_sessions::heard(community, last))?;
            } else {
                sessions.communities.remove(community);
                self.sql.run(&gateway_sessions::deafen(community))?;
            }
            Ok(Delivered { listening })
        })
    }

    /// Events about people, to whoever asked for them.
    fn watch(&self, command: &Watch) -> Outcome<Announced> {
        self.with(|sessions| {
            let had: Vec<i64> = rows(Some(&self.sql.run(&gateway_sessions::told_people())?))?;
            let had = had.first().copied().unwrap_or(0);
            for told in command.told.iter().filter(|told| told.id > had) {
                told.events.iter().for_each(|event| sessions.send_state(event));
            }
            let through = command.told.last().map_or(had, |told| told.id);
            self.sql.run(&gateway_sessions::tell_people(through))?;
            Ok(Announced { through })
        })
    }

    /// Channels appeared or went: looks again what the names of the sessions mean (A34).
    async fn reindexed(&self, command: &Reindexed) -> Outcome<Done> {
        let rkeys: Vec<&str> = command.rkeys.iter().map(|rkey| rkey.as_str()).collect();
        let (names, wanted) = self.with(|sessions| {
            let mut names = sessions.names();
            if !rkeys.is_empty() {
                names.retain(|name| rkeys.contains(&name.rsplit('/').next().unwrap_or(name)));
            }
            Ok((names, sessions.need(command.community.as_str())))
        })?;
        let mut communities = self.look_up(&names).await?;
        if wanted {
            communities.push(command.community.clone());
        }
        self.listen(communities).await?;
        Ok(Done {})
    }

    /// Subscribes, and resumes if the client asks for it (Q02): ack, replay, `resumed`. Should
    /// anything fail before the ack, nothing was changed.
    async fn subscribe(&self, socket: &WebSocket, subscribe: Subscribe) {
        let Some(id) = number(socket) else { return };
        let before = self.with(|sessions| self.change(sessions, id, &subscribe));
        let before = match before {
            Ok(Some(before)) => before,
            Ok(None) => {
                let full = format!("Too many subscriptions (max {KEYS_MAX})");
                return send(socket, &Reply::error(full).text());
            }
            Err(fault) => return send(socket, &temporary(&fault).text()),
        };
        let replay = match self.reach(&subscribe).await {
            Ok(replay) => replay,
            Err(fault) => {
                if let Err(fault) = self.undo(id, before) {
                    log::fault(&fault, "a subscription that failed stays until the socket closes");
                }
                return send(socket, &temporary(&fault).text());
            }
        };
        send(socket, &subscribe.reply.text());
        if let Some((community, cursor, first)) = replay {
            self.resume(id, socket, &community, cursor, first).await;
        }
    }

    /// Notes the subscription. The session as it was; `None` if there is no room for the key.
    fn change(&self, sessions: &mut Sessions, id: i64, subscribe: &Subscribe) -> Outcome<Option<Session>> {
        let Some(open) = sessions.open.get_mut(&id) else {
            return Err(Fault::new("subscribing", "the session is gone"));
        };
        let before = open.session.clone();
        if !open.session.subscriptions.subscribe(subscribe.kind, subscribe.key.as_deref()) {
            return Ok(None);
        }
        if let Some((community, _)) = &subscribe.resume {
            open.session.replayed.remove(community.as_str());
            open.resuming.insert(community.to_string(), Some(Vec::new()));
        }
        if open.session != before {
            self.sql.run(&gateway_sessions::keep(id, &open.session))?;
        }
        Ok(Some(before))
    }

    /// Takes a subscription back. What came for it meanwhile is sent: the session may have heard
    /// that community before.
    fn undo(&self, id: i64, before: Session) -> Outcome<()> {
        self.with(|sessions| {
            let Some(open) = sessions.open.get_mut(&id) else { return Ok(()) };
            for (_, text) in std::mem::take(&mut open.resuming).into_values().flatten().flatten() {
                send(&open.socket, &text);
            }
            open.session = before;
            self.sql.run(&gateway_sessions::keep(id, &open.session)).map(drop)
        })
    }

    /// Listens to what the subscription needs, and fetches the first page of its replay.
    async fn reach(&self, subscribe: &Subscribe) -> Outcome<Option<(AtUri, i64, Replayed)>> {
        let communities = match (subscribe.kind, &subscribe.key) {
            (Kind::UserStatus, _) => Vec::new(),
            (Kind::Message | Kind::Community, None) => reads::all_communities(&D1::of(&self.env)?).await?,
            (Kind::Message, Some(name)) => self.look_up(std::slice::from_ref(name)).await?,
            (Kind::Community, Some(name)) => reads::listed(&D1::of(&self.env)?, name).await?,
        };
        self.listen(communities).await?;
        let Some((community, cursor)) = subscribe.resume.clone() else { return Ok(None) };
        if self.with(|sessions| Ok(!sessions.communities.contains_key(community.as_str())))? {
            return Ok(Some((community, cursor, nothing_yet(cursor))));
        }
        let replay = Replay { community: community.clone(), cursor };
        let first = call(&self.env, community.as_str(), &replay).await?;
        Ok(Some((community, cursor, first)))
    }

    /// Looks up what names mean, remembers it, and answers the communities concerned.
    async fn look_up(&self, names: &[String]) -> Outcome<Vec<AtUri>> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let found = reads::candidates(&D1::of(&self.env)?, names).await?;
        let communities = found.iter().filter_map(|channel| AtUri::parse(&channel.community).ok()).collect();
        self.with(|sessions| {
            self.sql.run_all(&gateway_sessions::mean(names, &found))?;
            sessions.meanings.set(names, found);
            Ok(communities)
        })
    }

    /// Attaches to communities that this gateway does not listen to yet.
    async fn listen(&self, communities: Vec<AtUri>) -> Outcome<()> {
        let gateway =
            self.state.id().name().ok_or_else(|| Fault::new("listening", "the gateway has no name"))?;
        let new: Vec<AtUri> = self.with(|sessions| {
            let known = &sessions.communities;
            Ok(communities.into_iter().filter(|uri| !known.contains_key(uri.as_str())).collect())
        })?;
        let attached = join_all(new.iter().map(|community| {
            let attach = Attach { community: community.clone(), gateway: gateway.clone() };
            async move { call(&self.env, community.as_str(), &attach).await }
        }))
        .await;
        for (community, attached) in new.iter().zip(attached) {
            let seq = attached?.seq;
            self.with(|sessions| {
                let had = sessions.communities.entry(community.to_string()).or_insert(seq);
                self.sql.run(&gateway_sessions::heard(community.as_str(), *had)).map(drop)
            })?;
        }
        Ok(())
    }

    /// Sends what the session missed, page by page, then `resumed`, then what came meanwhile
    /// (Q02). Events are neither lost nor doubled between the two.
    async fn resume(&self, id: i64, socket: &WebSocket, community: &AtUri, cursor: i64, first: Replayed) {
        let mut page = first;
        let mut from = None;
        let end = loop {
            match page {
                Replayed::Resync { oldest } => break Err(oldest),
                Replayed::Page { events, through, last } => {
                    from.get_or_insert_with(|| u64::try_from(cursor).unwrap_or(last));
                    let sent = self.with(|sessions| {
                        for event in &events {
                            if sessions.hears_replayed(id, community.as_str(), &event.audience) {
                                send(socket, &stamp(event.event.get(), event.seq, false));
                            }
                        }
                        Ok(())
                    });
                    if let Err(fault) = sent {
                        log::fault(&fault, "the client reads anew");
                        break Err(through);
                    }
                    if through >= last {
                        break Ok(last);
                    }
                    let next =
                        Replay { community: community.clone(), cursor: i64::try_from(through).unwrap_or(-1) };
                    page = match call(&self.env, community.as_str(), &next).await {
                        Ok(next) => next,
                        Err(fault) => {
                            log::fault(&fault, "the client reads anew");
                            Replayed::Resync { oldest: through }
                        }
                    };
                }
            }
        };
        let finished = self.with(|sessions| self.caught_up(sessions, id, community, from.unwrap_or(0), end));
        if let Err(fault) = finished {
            log::fault(&fault, "the client reads anew");
            send(socket, &Reply::ResyncRequired { community_uri: community.clone(), oldest: 0 }.text());
        }
    }

    /// The end of a replay: `resumed` or `resync_required`, then what came meanwhile.
    fn caught_up(
        &self,
        sessions: &mut Sessions,
        id: i64,
        community: &AtUri,
        from: u64,
        end: std::result::Result<u64, u64>,
    ) -> Outcome<()> {
        let Some(open) = sessions.open.get_mut(&id) else { return Ok(()) };
        let pending = open.resuming.remove(community.as_str()).flatten();
        let to = match (end, &pending) {
            (Ok(to), Some(_)) => {
                let resumed = Reply::Resumed { community_uri: community.to_string(), from, to };
                send(&open.socket, &resumed.text());
                to
            }
            (Ok(oldest) | Err(oldest), _) => {
                let resync = Reply::ResyncRequired { community_uri: community.clone(), oldest };
                send(&open.socket, &resync.text());
                0
            }
        };
        for (seq, text) in pending.into_iter().flatten().filter(|(seq, _)| *seq > to) {
            open.session.replayed.insert(community.to_string(), seq);
            send(&open.socket, &text);
        }
        let replayed = open.session.replayed.entry(community.to_string()).or_insert(to);
        *replayed = to.max(*replayed);
        self.sql.run(&gateway_sessions::keep(id, &open.session)).map(drop)
    }

    fn unsubscribe(&self, socket: &WebSocket, kind: Kind, key: Option<&str>) -> Outcome<()> {
        let Some(id) = number(socket) else { return Ok(()) };
        self.with(|sessions| {
            let Some(open) = sessions.open.get_mut(&id) else { return Ok(()) };
            open.session.subscriptions.unsubscribe(kind, key);
            self.sql.run(&gateway_sessions::keep(id, &open.session)).map(drop)
        })
    }

    /// Presence and voice are not served by this build: a socket without a person hears the
    /// reason that would come first anyway (A15), any other that nothing was changed.
    fn not_yet(&self, socket: &WebSocket, action: &'static str) -> Reply {
        let did = self.with(|sessions| {
            Ok(number(socket).and_then(|id| sessions.open.get(&id)).and_then(|open| open.session.did.clone()))
        });
        match (did, action) {
            (Ok(None), _) => Reply::error(format!("DID required for {action}")),
            (_, "set_state") => Reply::error("Failed to update state"),
            _ => Reply::error("Temporary failure, try again"),
        }
    }
}

/// What a cursor comes to in a community that was never seen: its log is empty (Q05).
fn nothing_yet(cursor: i64) -> Replayed {
    match resume(cursor, 1, 0) {
        Resume::From(through) => Replayed::Page { events: Vec::new(), through, last: through },
        Resume::Resync { oldest } => Replayed::Resync { oldest },
    }
}

/// The number of a socket's session.
fn number(socket: &WebSocket) -> Option<i64> {
    socket.deserialize_attachment::<i64>().ok().flatten()
}

fn temporary(fault: &Fault) -> Reply {
    log::fault(fault, "the client is told to try again");
    Reply::error("Temporary failure, try again")
}
