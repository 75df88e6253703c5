//! Relays a signaling socket that names its room only in its first frame: performs the orders of
//! `domain::signaling::relay`.
//!
//! For such a client the Worker holds two sockets until either ends: the client's, and one to the
//! room's object. The room's socket hibernates like any other. If the Worker dies, both close: the
//! room announces the end, and the client reconnects.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use futures::channel::mpsc::{UnboundedSender, unbounded};
use worker::wasm_bindgen_futures::spawn_local;
use worker::{Delay, Env, Response, Result, WebSocket, WebSocketPair, WebsocketEvent};

use crate::domain::signaling::door::UNSENT_MAX;
use crate::domain::signaling::relay::{Event, Line, Order, Relay};
use crate::domain::signaling::room::Caller;
use crate::durable::voice_room::commands::connect_to_room;
use crate::platform::clock::now;
use crate::platform::log;
use crate::platform::socket_state::unsent;
use crate::storage::Fault;

/// How long a room may take to open and to answer a join.
const OPEN_WITHIN: Duration = Duration::from_secs(10);
/// The close code for a broken connection, which is never sent.
const BROKEN: u16 = 1006;

/// The sender of a frame.
#[derive(Clone, Copy, Debug)]
enum Who {
    Client,
    Room(Line),
}

/// The messages from the tasks of a relay to its loop.
enum Incoming {
    Said(Who, Option<String>),
    Gone(Who, u16),
    Opened(Line, WebSocket),
    Failed(Line),
}

/// Accepts the upgrade, and relays from then on.
pub(super) fn accept(env: Env, caller: Caller) -> Result<Response> {
    let pair = WebSocketPair::new()?;
    spawn_local(run(pair.server, env, Caller { relayed: true, ..caller }));
    Response::from_websocket(pair.client)
}

async fn run(client: WebSocket, env: Env, caller: Caller) {
    let (sender, mut incoming) = unbounded::<Incoming>();
    listen(client.clone(), Who::Client, sender.clone());
    let mut relay = Relay::default();
    let mut rooms: BTreeMap<Line, WebSocket> = BTreeMap::new();
    while let Some(incoming) = incoming.next().await {
        let mut ends = false;
        let mut orders = match &incoming {
            Incoming::Said(Who::Client, text) => relay.on(Event::Client(text.as_deref()), now()),
            Incoming::Said(Who::Room(line), text) => {
                relay.on(Event::Room(*line, text.as_deref().unwrap_or_default()), now())
            }
            Incoming::Gone(Who::Client, _) => {
                ends = true;
                relay.on(Event::ClientGone, now())
            }
            Incoming::Gone(Who::Room(line), code) => relay.on(Event::RoomGone(*line, *code), now()),
            Incoming::Opened(line, socket) => {
                rooms.insert(*line, socket.clone());
                relay.on(Event::Opened(*line), now())
            }
            Incoming::Failed(line) => relay.on(Event::Failed(*line), now()),
        };
        if unsent(&client) > UNSENT_MAX {
            orders.extend(relay.on(Event::ClientSlow, now()));
        }
        for order in orders {
            // A socket that does not accept a frame or a close is closing; its close event will
            // follow.
            match order {
                Order::ToClient(text) => drop(client.send_with_str(&text)),
                Order::CloseClient(code) => {
                    ends = true;
                    let _ = client.close(Some(code), None::<&str>);
                }
                Order::Open(line, room) => open(&env, room, caller.clone(), line, &sender),
                Order::ToRoom(line, text) => {
                    if let Some(socket) = rooms.get(&line) {
                        let _ = socket.send_with_str(&text);
                    }
                }
                Order::CloseRoom(line) => {
                    if let Some(socket) = rooms.remove(&line) {
                        let _ = socket.close(Some(1000), None::<&str>);
                    }
                }
            }
        }
        if ends {
            break;
        }
    }
}

/// Forwards every event of a socket to the loop, until the socket ends.
fn listen(socket: WebSocket, from: Who, sender: UnboundedSender<Incoming>) {
    spawn_local(async move {
        let ended = match (socket.events(), socket.accept()) {
            (Ok(mut events), Ok(())) => loop {
                match events.next().await {
                    Some(Ok(WebsocketEvent::Message(message))) => {
                        // The relay has ended.
                        if sender.unbounded_send(Incoming::Said(from, message.text())).is_err() {
                            break BROKEN;
                        }
                    }
                    Some(Ok(WebsocketEvent::Close(close))) => break close.code(),
                    Some(Err(_)) | None => break BROKEN,
                }
            },
            _ => BROKEN,
        };
        let _ = sender.unbounded_send(Incoming::Gone(from, ended));
    });
}

/// Opens a socket to a room. Reports when it is open, and in any case when its time is over.
fn open(env: &Env, room: String, caller: Caller, line: Line, sender: &UnboundedSender<Incoming>) {
    let (env, sender, late) = (env.clone(), sender.clone(), sender.clone());
    spawn_local(async move {
        Delay::from(OPEN_WITHIN).await;
        let _ = late.unbounded_send(Incoming::Failed(line));
    });
    spawn_local(async move {
        let opened = match connect_to_room(&env, &room, &caller).await {
            Ok(response) => response
                .websocket()
                .ok_or_else(|| Fault::new("opening a socket to a room", "the object refused")),
            Err(fault) => Err(fault),
        };
        let _ = match opened {
            Ok(socket) => {
                listen(socket.clone(), Who::Room(line), sender.clone());
                sender.unbounded_send(Incoming::Opened(line, socket))
            }
            Err(fault) => {
                log::fault(&fault, "the client gets an error and may try again");
                sender.unbounded_send(Incoming::Failed(line))
            }
        };
    });
}
