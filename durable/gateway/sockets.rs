//! Accepts sockets, performs what their frames need from outside, and lets deliveries wait for room.

use std::rc::Rc;
use std::time::Duration;

use worker::wasm_bindgen_futures::spawn_local;
use worker::{Delay, Response, WebSocket, WebSocketPair};

use super::object::{GatewayObject, Outcome, number, temporary};
use crate::domain::gateway::session::{Caller, View};
use crate::domain::gateway::{Input, Job, ROOM_MILLIS, ROOM_TRIES};
use crate::domain::members_only::{Allowed, Readers};
use crate::domain::signaling::hall;
use crate::durable::gateway::commands::{Adopt, Deliver, Watch};
use crate::durable::replies::{Announced, Delivered, Done};
use crate::platform::clock::{now, unguessable};
use crate::platform::log;
use crate::platform::objects::full;
use crate::platform::socket_state::{self, Text};
use crate::storage::{Fault, gateway, gateway_people};
use crate::wire::socket::Spelling;

impl GatewayObject {
    /// Takes in a socket. The session is stored before the socket exists to the client.
    pub(super) async fn take_in(self: &Rc<Self>, caller: Caller) -> worker::Result<Response> {
        // A fault is handled below.
        let is_full = self.with(|gateway| {
            let is_full = hall::is_full(gateway.open.len());
            is_full.then(|| gateway.turned_away());
            Ok(is_full)
        });
        if is_full.is_ok_and(|is_full| is_full) {
            return full();
        }
        let pair = WebSocketPair::new()?;
        let (spelling, cursor) = (caller.spelling, caller.cursor.clone());
        let accepted = match (self.accept(caller, pair.server), spelling) {
            (Ok(id), Spelling::Newest) => self.follow_or_close(id, cursor).await,
            (accepted, _) => accepted.map(drop),
        };
        match accepted {
            Ok(()) => Response::from_websocket(pair.client),
            Err(fault) => {
                log::fault(&fault, "the client gets a 503 and should reconnect");
                Response::error("temporary failure", 503)
            }
        }
    }

    fn accept(&self, caller: Caller, socket: WebSocket) -> Outcome<i64> {
        self.wake()?;
        let has_traces = match &caller.did {
            Some(did) => !self.sql.run(&gateway_people::has_traces(did))?.is_empty(),
            None => false,
        };
        let session = self.with(|gateway| Ok(gateway.admit(caller, has_traces, now())))?;
        let id = gateway::open(&|statement| self.sql.run(statement), &session, self.given.get())?;
        self.given.set(id);
        self.state.accept_web_socket(&socket);
        socket.serialize_attachment(id).map_err(|error| Fault::new("opening a session", error))?;
        self.holds(id, socket);
        let came = session.did.clone().filter(|_| session.proven);
        self.on(Input::Opened(id, Box::new(session)))?;
        self.expect_digests(came.iter())?;
        Ok(id)
    }

    /// Sends a text to each of these sockets.
    pub(super) fn send_to(&self, to: &[i64], text: &str) {
        let sockets = self.sockets.borrow();
        if let [one] = to {
            sockets.get(one).into_iter().for_each(|socket| socket_state::send(socket, text));
        } else {
            let text = Text::new(text);
            to.iter().filter_map(|id| sockets.get(id)).for_each(|socket| text.send(socket));
        }
    }

    /// Sends a text to one socket.
    pub(super) fn send(&self, id: i64, text: &str) {
        self.send_to(&[id], text);
    }

    /// Bytes handed to a socket that its client has not taken yet.
    pub(super) fn unsent(&self, id: i64) -> u32 {
        self.sockets.borrow().get(&id).map_or(0, socket_state::unsent)
    }

    /// A socket was accepted for the session `id`.
    pub(super) fn holds(&self, id: i64, socket: WebSocket) {
        self.sockets.borrow_mut().insert(id, socket);
    }

    /// A socket is gone.
    pub(super) fn lost(&self, socket: &WebSocket, input: impl FnOnce(i64) -> Input) {
        let Some(id) = number(socket) else { return };
        self.end_session(input(id));
        self.sockets.borrow_mut().remove(&id);
    }

    /// The session of a socket is over.
    pub(super) fn end_session(&self, input: Input) {
        if let Err(fault) = self.on(input) {
            log::fault(&fault, "the session ends when the object next wakes");
        }
    }

    /// Takes a client's frame, and performs what it and the frames behind it need from outside, one after the other.
    pub(super) async fn frame(self: &Rc<Self>, socket: &WebSocket, text: Option<String>) {
        let Some(id) = number(socket) else { return };
        let mut taken = self.on(Input::Frame(id, text));
        loop {
            if let Err(fault) = taken {
                self.send(id, &temporary(&fault).text());
            }
            let Some(job) = self.job_of(id) else { return };
            let done = self.run(id, job).await;
            taken = self.on(done);
        }
    }

    fn job_of(&self, id: i64) -> Option<Job> {
        let mut jobs = self.jobs.borrow_mut();
        let at = jobs.iter().position(|(of, _)| *of == id)?;
        Some(jobs.remove(at).1)
    }

    async fn run(self: &Rc<Self>, id: i64, job: Job) -> Input {
        let reply = match job {
            Job::Subscribe(subscribe) => {
                self.subscribe(id, subscribe).await;
                return Input::Done(id, None);
            }
            Job::MakeSecret => match secret() {
                Ok(secret) => return Input::Secret(id, secret),
                Err(fault) => temporary(&fault),
            },
            Job::SetState(did, state) => self.set_by_socket(did, state).await,
            Job::View(channel) => {
                let community = self.community_of(&channel).await;
                if let Some(community) = community.clone() {
                    let (object, channel) = (Rc::clone(self), channel.clone());
                    // Begins when the view is noted.
                    spawn_local(async move {
                        if let Err(fault) = object.listen_for_typing(vec![View { channel, community }]).await
                        {
                            log::fault(&fault, "this person learns late that somebody is writing");
                        }
                    });
                }
                return Input::Viewed(id, channel, community);
            }
            Job::Look(name) => return self.look(id, name).await,
            Job::Write(did, name) => return self.write(id, did, name).await,
            Job::Snapshot(community) => return self.snapshot(id, community).await,
            Job::Move(did, destination) => self.move_to(id, &did, destination).await,
        };
        Input::Done(id, Some(reply))
    }

    /// Delivers when the sockets concerned have room, or when they had a moment for it (Q20).
    pub(super) async fn deliver_with_room(&self, command: Deliver) -> Outcome<Delivered> {
        let Deliver { community, events, members_only } = command;
        let full = || self.with_moment(|gateway, moment| Ok(gateway.has_no_room(community.as_str(), moment)));
        let before = full()?;
        for _ in 0..ROOM_TRIES {
            if full()?.is_empty() {
                break;
            }
            Delay::from(Duration::from_millis(ROOM_MILLIS)).await;
        }
        let readers = if members_only { self.readers(&community).await? } else { Readers::All };
        let allowed = Allowed { readers, approvers: self.approvers(&community, &events).await? };
        self.on(Input::Delivered { community: community.clone(), events, full: before, allowed })?;
        let listening = self.with(|gateway| Ok(gateway.listens_to(community.as_str())))?;
        Ok(Delivered { listening })
    }

    /// Events of records about this gateway's people.
    pub(super) async fn watch(&self, command: Watch) -> Outcome<Announced> {
        let mut rows = command.rows;
        self.read_notices(&mut rows).await?;
        self.on(Input::Records(rows))?;
        self.with(|gateway| Ok(Announced { through: gateway.has_records_through() }))
    }

    /// People who had their sockets at another gateway.
    pub(super) fn adopt(&self, command: Adopt) -> Outcome<Done> {
        self.on(Input::Adopted(command.dids)).map(|()| Done {})
    }
}

/// A secret that nobody can guess (Q15).
fn secret() -> Outcome<String> {
    let bytes = [unguessable()?, unguessable()?].concat();
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
