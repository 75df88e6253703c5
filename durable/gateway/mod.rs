//! `Gateway`: holds the sockets of clients, knows which people are online, and sends the sockets the
//! events that they subscribed to.
//!
//! - Guarantee: a socket gets an event once, in order of `seq` (A38, A39); every frame gets one
//!   reply, in order (A03); a person has presence here exactly while they have an open socket
//!   (P04). A socket's frames wait for each other (`domain::gateway`), and a community delivers to a
//!   gateway one call at a time.
//! - Gates: the memory and the object's database change together between two awaits. Calls to
//!   D1 and to communities allow other events to run, so nothing read before one is trusted after it.
//! - Stored: `storage::gateway_sessions`, `storage::gateway_people`, `storage::used_tokens`; the
//!   attachment of a socket is the number of its session.
//! - Commands: [`Connect`](CONNECT), [`Deliver`], [`Watch`], [`Publish`], [`Observed`],
//!   [`Reindexed`], [`ShowTyping`], [`ShowDevices`], [`ShowToApprovers`], [`ModerateVoice`], [`SetState`], [`Adopt`], [`UseToken`], [`Proved`], [`Forget`];
//!   the operator's [`Count`], [`ReadLoad`], [`RestartSockets`].
//! - Wakes on a frame, a delivery, a socket's end, its alarm. The shipped client's heartbeat is
//!   answered by the runtime and wakes nobody (A10). Ends with its last socket.

pub mod commands;
mod digests;
mod following;
mod looking;
mod members_only;
mod notices;
mod object;
mod presence;
mod proofs;
mod publishing;
mod pushes;
mod restore;
mod rounds;
mod sockets;
mod subscriptions;
mod voice;

use std::rc::Rc;

use serde_json::json;
use worker::{
    DurableObject, Env, Error, Headers, Request, Response, Result, State, WebSocket,
    WebSocketIncomingMessage, WebSocketRequestResponsePair, durable_object, wasm_bindgen,
};

use self::object::GatewayObject;
use crate::domain::gateway::Input;
use crate::domain::gateway::session::Caller;
use crate::domain::restore::Origin;
use crate::durable::gateway::commands::{
    Adopt, Deliver, Forget, ModerateVoice, NEWEST_HEADER, ORIGIN_HEADER, Observed, PRESENT_HEADER, Proved,
    Publish, RESUME_HEADER, Reindexed, SESSION_HEADER, SetState, Show, ShowDevices, ShowToApprovers,
    ShowTyping, UNPROVEN_HEADER, UseToken, Watch,
};
use crate::durable::operator::{Count, ReadLoad, RestartSockets};
use crate::durable::replies::Done;
use crate::platform::config::follow_log_level;
use crate::platform::incidents;
use crate::platform::objects::{CONNECT, Command, DID_HEADER, PROVEN_HEADER, serve, unknown};
use crate::platform::{log, socket_state};
use crate::wire::ids::Did;
use crate::wire::socket::{HEARTBEAT, HEARTBEAT_ACK, Spelling};
use crate::wire::subscribe_events::read_cursor;

/// See the module.
#[durable_object]
pub struct Gateway {
    object: Rc<GatewayObject>,
}

/// Waking a sleeping gateway costs money: `LOG_LEVEL=trace` logs each time.
fn woken(by: &str) {
    log::line(log::Level::Trace, "a gateway is at work", &json!({ "because": by }));
}

/// Who opens a socket, as the Worker says.
fn caller(headers: &Headers) -> Result<Caller> {
    let origin = headers.get(ORIGIN_HEADER)?.unwrap_or_default();
    let (address, agent) = origin.split_once(' ').unwrap_or_default();
    Ok(Caller {
        did: headers.get(DID_HEADER)?.and_then(|text| Did::parse(&text).ok()),
        unproven: headers.has(UNPROVEN_HEADER)?,
        proven: headers.has(PROVEN_HEADER)?,
        present: headers.has(PRESENT_HEADER)?,
        origin: Origin { address: address.to_owned(), agent: agent.to_owned() },
        secret: headers.get(SESSION_HEADER)?,
        spelling: if headers.has(NEWEST_HEADER)? { Spelling::Newest } else { Spelling::March },
        cursor: headers.get(RESUME_HEADER)?.and_then(|text| read_cursor(&text)),
    })
}

impl DurableObject for Gateway {
    fn new(state: State, env: Env) -> Self {
        follow_log_level(&env);
        incidents::watch(&env);
        if let Ok(pair) = WebSocketRequestResponsePair::new(HEARTBEAT, HEARTBEAT_ACK) {
            state.set_websocket_auto_response(&pair);
        }
        Self { object: Rc::new(GatewayObject::new(state, env)) }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        woken("command");
        let object = &self.object;
        let response = match request.path().trim_start_matches('/') {
            CONNECT => object.take_in(caller(request.headers())?).await,
            Deliver::NAME => {
                serve(&mut request, async |command: Deliver| object.deliver_with_room(command).await).await
            }
            Watch::NAME => serve(&mut request, async |command: Watch| object.watch(command).await).await,
            Show::NAME => {
                serve(&mut request, async |Show { did, event }: Show| {
                    object.reconsider_digest(&did)?;
                    object.on(Input::Shown(did, event)).map(|()| Done {})
                })
                .await
            }
            Publish::NAME => {
                serve(&mut request, async |command: Publish| object.receive(command).await.map(|()| Done {}))
                    .await
            }
            Observed::NAME => {
                serve(&mut request, async |command: Observed| object.observed(&command.community)).await
            }
            Reindexed::NAME => {
                serve(&mut request, async |command: Reindexed| object.reindexed(&command).await).await
            }
            SetState::NAME => {
                serve(&mut request, async |command: SetState| object.set_by_api(command).await).await
            }
            ShowDevices::NAME => {
                serve(&mut request, async |command: ShowDevices| object.show_devices(command).await).await
            }
            ShowToApprovers::NAME => {
                serve(&mut request, async |command: ShowToApprovers| object.show_to_approvers(command).await)
                    .await
            }
            ShowTyping::NAME => {
                serve(&mut request, async |command: ShowTyping| object.show_typing(command).await).await
            }
            ModerateVoice::NAME => {
                serve(&mut request, async |command: ModerateVoice| object.moderate(command).await).await
            }
            Count::NAME => {
                return serve(&mut request, async |_: Count| object.with(|gateway| Ok(gateway.counts())))
                    .await;
            }
            ReadLoad::NAME => {
                let load = async |_: ReadLoad| object.with(|gateway| Ok(gateway.load_now()));
                return serve(&mut request, load).await;
            }
            RestartSockets::NAME => serve(&mut request, async |_: RestartSockets| object.restart()).await,
            Adopt::NAME => serve(&mut request, async |command: Adopt| object.adopt(command)).await,
            Forget::NAME => serve(&mut request, async |command: Forget| object.forget(command)).await,
            Proved::NAME => serve(&mut request, async |command: Proved| object.proved(command.did)).await,
            UseToken::NAME => {
                let used = async |command: UseToken| proofs::use_token(&object.sql, &command);
                return serve(&mut request, used).await;
            }
            _ => return unknown(),
        };
        object.stir().await;
        response
    }

    async fn alarm(&self) -> Result<Response> {
        woken("alarm");
        self.object.ring().await;
        Response::empty()
    }

    async fn websocket_message(&self, socket: WebSocket, message: WebSocketIncomingMessage) -> Result<()> {
        woken("frame");
        let text = match message {
            WebSocketIncomingMessage::String(text) => Some(text),
            WebSocketIncomingMessage::Binary(_) => None,
        };
        self.object.frame(&socket, text).await;
        self.object.stir().await;
        Ok(())
    }

    // A close and an error are the same to us: the socket is gone. But who says so was there.
    async fn websocket_close(&self, socket: WebSocket, code: usize, _: String, clean: bool) -> Result<()> {
        woken("close");
        if clean {
            self.object.lost(&socket, Input::HungUp);
        } else {
            self.object.lost(&socket, Input::Broke);
        }
        socket_state::answer_close(&socket, code);
        self.object.stir().await;
        Ok(())
    }

    async fn websocket_error(&self, socket: WebSocket, _: Error) -> Result<()> {
        self.object.lost(&socket, Input::Broke);
        self.object.stir().await;
        Ok(())
    }
}
