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

use worker::{
    DurableObject, Env, Error, Request, Response, Result, State, WebSocket, WebSocketIncomingMessage,
    WebSocketPair, WebSocketRequestResponsePair, durable_object, wasm_bindgen,
};

use super::commands::{
    Announced, CONNECT, Command, DID_HEADER, Deliver, Delivered, Done, Reindexed, Watch, read, reply, unknown,
};
use super::sessions::{Open, Sessions, send};
use crate::domain::actions::{Action, action};
use crate::domain::subscriptions::Kind;
use crate::platform::log;
use crate::platform::object_sql::ObjectSql;
use crate::storage::gateway_sessions::{self, Session};
use crate::storage::{Fault, rows};
use crate::wire::ids::Did;
use crate::wire::socket::{HEARTBEAT, HEARTBEAT_ACK, Reply};

/// See the module.
#[durable_object]
pub struct Gateway {
    pub(super) state: State,
    pub(super) env: Env,
    pub(super) sql: ObjectSql,
    memory: RefCell<Option<Sessions>>,
}

pub(super) type Outcome<T> = std::result::Result<T, Fault>;

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
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut Sessions) -> Outcome<T>) -> Outcome<T> {
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

/// The number of a socket's session.
pub(super) fn number(socket: &WebSocket) -> Option<i64> {
    socket.deserialize_attachment::<i64>().ok().flatten()
}

pub(super) fn temporary(fault: &Fault) -> Reply {
    log::fault(fault, "the client is told to try again");
    Reply::error("Temporary failure, try again")
}
