//! `Community`: the order of one community's events, their log, its voice channels, and the sockets
//! of its observers.
//!
//! - Guarantee: `seq` is strictly increasing, never reused, and every event gets one, once (T14).
//!   Commits of this object's SQLite ensure it: numbers, log and the last received row are written
//!   without an await in between, so they are stored together.
//! - Gates: storage is synchronous; outgoing messages wait until it is durable. No gate covers
//!   calls to gateways, so each gateway's position is stored and read again after each call.
//! - Stored: `storage::community_log`, `storage::community_voice`, `storage::bound_rooms`; an
//!   observer's attachment has its number, and its position while it catches up.
//! - Commands: [`Announce`], [`Attach`], [`Replay`], [`Locate`], [`JoinVoice`], [`LeaveVoice`], [`Voices`],
//!   [`PublishToObservers`], [`ClearLog`], [`Observe`](OBSERVE), [`Bind`], [`Typing`], [`ListensForTyping`],
//!   [`DevicesAre`], [`ApplicationMoved`], [`WebhooksChanged`]; of a lobby, which stores nothing, [`Wait`](WAIT) and [`Known`].
//! - Wakes on a command, a frame of an observer, and its alarm, which delivers what is left and
//!   deletes old events. Its log expires; the counters stay, because a `seq` is never reused.

pub mod applications;
mod clearing;
pub mod commands;
mod delivery;
pub mod devices;
mod log;
mod observer_sockets;
mod observers;
mod sending;
mod threads;
pub mod typing;
mod voice;
mod voice_rooms;
pub mod webhooks;

use std::rc::Rc;

use worker::{
    DurableObject, Env, Error, Request, Response, Result, State, WebSocket, WebSocketIncomingMessage,
    WebSocketRequestResponsePair, durable_object, wasm_bindgen,
};

use self::applications::ApplicationMoved;
use self::devices::DevicesAre;
use self::log::CommunityLog;
use self::typing::{ListensForTyping, Typing};
use self::webhooks::WebhooksChanged;
use crate::durable::community::commands::{
    Announce, Attach, Bind, COMMUNITY_PARAMETER, CURSOR_HEADER, ClearLog, JoinVoice, Known, LeaveVoice,
    Locate, OBSERVE, PublishToObservers, Replay, Voices, WAIT,
};
use crate::durable::gateway::commands::ORIGIN_HEADER;
use crate::durable::operator::RestartObservers;
use crate::platform::config::follow_log_level;
use crate::platform::incidents;
use crate::platform::objects::{Command, serve, unknown};
use crate::platform::socket_state;
use crate::wire::socket::{HEARTBEAT, HEARTBEAT_ACK};

/// See the module.
#[durable_object]
pub struct Community {
    log: Rc<CommunityLog>,
}

impl DurableObject for Community {
    fn new(state: State, env: Env) -> Self {
        follow_log_level(&env);
        incidents::watch(&env);
        if let Ok(pair) = WebSocketRequestResponsePair::new(HEARTBEAT, HEARTBEAT_ACK) {
            state.set_websocket_auto_response(&pair);
        }
        Self { log: Rc::new(CommunityLog::new(state, env)) }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        let log = &self.log;
        match request.path().trim_start_matches('/') {
            Announce::NAME => {
                let announce = async |command: Announce| {
                    let announced = log.announce(command).await?;
                    log.deliver_soon().await;
                    Ok(announced)
                };
                serve(&mut request, announce).await
            }
            Bind::NAME => serve(&mut request, async |command: Bind| log.bind(&command)).await,
            Attach::NAME => serve(&mut request, async |command: Attach| log.attach(&command)).await,
            Typing::NAME => serve(&mut request, async |command: Typing| log.publish_typing(command)).await,
            ListensForTyping::NAME => {
                serve(&mut request, async |command: ListensForTyping| Ok(log.listens_for_typing(&command)))
                    .await
            }
            DevicesAre::NAME => {
                serve(&mut request, async |command: DevicesAre| log.devices_are(command).await).await
            }
            ApplicationMoved::NAME => {
                serve(&mut request, async |command: ApplicationMoved| log.application_moved(command).await)
                    .await
            }
            WebhooksChanged::NAME => {
                serve(&mut request, async |command: WebhooksChanged| log.webhooks_changed(command).await)
                    .await
            }
            Replay::NAME => serve(&mut request, async |command: Replay| log.replay(&command)).await,
            Locate::NAME => serve(&mut request, async |command: Locate| log.locate(&command)).await,
            JoinVoice::NAME => {
                let join = async |command: JoinVoice| {
                    let joined = log.join_voice(&command);
                    log.deliver_soon().await;
                    joined
                };
                serve(&mut request, join).await
            }
            ClearLog::NAME => {
                let clear = async |command: ClearLog| {
                    let cleared = log.clear_log(&command);
                    log.deliver_soon().await;
                    cleared
                };
                serve(&mut request, clear).await
            }
            LeaveVoice::NAME => {
                let leave = async |command: LeaveVoice| {
                    let left = log.leave_voice(&command);
                    log.deliver_soon().await;
                    left
                };
                serve(&mut request, leave).await
            }
            Voices::NAME => serve(&mut request, async |_: Voices| log.voices()).await,
            PublishToObservers::NAME => {
                serve(&mut request, async |command: PublishToObservers| Ok(log.publish_people(&command)))
                    .await
            }
            RestartObservers::NAME => {
                serve(&mut request, async |_: RestartObservers| Ok(log.restart())).await
            }
            Known::NAME => serve(&mut request, async |command: Known| Ok(log.known(&command))).await,
            WAIT => {
                let url = request.url()?;
                match url.query_pairs().find(|(name, _)| name == COMMUNITY_PARAMETER) {
                    Some((_, community)) => log.wait(&community),
                    None => unknown(),
                }
            }
            OBSERVE => {
                let cursor = request.headers().get(CURSOR_HEADER)?.and_then(|text| text.parse().ok());
                let origin = request.headers().get(ORIGIN_HEADER)?.unwrap_or_default();
                let address = origin.split(' ').next().unwrap_or_default().to_owned();
                log.observe(cursor, address)
            }
            _ => unknown(),
        }
    }

    async fn alarm(&self) -> Result<Response> {
        self.log.tidy().await;
        Response::empty()
    }

    async fn websocket_message(&self, socket: WebSocket, message: WebSocketIncomingMessage) -> Result<()> {
        let text = match message {
            WebSocketIncomingMessage::String(text) => Some(text),
            WebSocketIncomingMessage::Binary(_) => None,
        };
        self.log.observers.frame(&socket, text.as_deref());
        Ok(())
    }

    // A close and an error mean the same here: the socket is gone.
    async fn websocket_close(&self, socket: WebSocket, code: usize, _: String, _: bool) -> Result<()> {
        self.log.observers.gone(&socket);
        socket_state::answer_close(&socket, code);
        Ok(())
    }

    async fn websocket_error(&self, socket: WebSocket, _: Error) -> Result<()> {
        self.log.observers.gone(&socket);
        Ok(())
    }
}
