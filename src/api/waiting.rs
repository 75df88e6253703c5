//! Observers of an unknown community (A21): they wait in a shared object, because a name that
//! somebody invents must not create an object of its own.
//!
//! A socket cannot be handed over, so the Worker holds it: first with a socket to the lobby; when
//! the community becomes known, the lobby closes that with 1012, and the Worker opens one to the
//! community itself, from its first event on. Frames pass unchanged in both directions.

use std::time::Duration;

use futures::StreamExt;
use futures::channel::mpsc::{UnboundedSender, unbounded};
use worker::wasm_bindgen_futures::spawn_local;
use worker::{Delay, Env, Response, WebSocket, WebSocketPair, WebsocketEvent};

use crate::domain::replay::{Resume, resume};
use crate::domain::signaling::door::{UNSENT_MAX, close};
use crate::durable::community::commands::{observe_community, wait_for_community};
use crate::platform::d1::D1;
use crate::platform::log;
use crate::platform::socket_state::unsent;
use crate::storage::{Fault, reads};
use crate::wire::ids::AtUri;
use crate::wire::socket::Reply;

/// The pause between attempts to open a socket to the community, and their number.
const RETRY: Duration = Duration::from_secs(1);
const TRIES: u32 = 10;
/// The close code for a broken connection.
const BROKEN: u16 = 1006;

/// The events of both sockets.
enum Incoming {
    Client(Option<String>),
    ClientGone,
    Object(Option<String>),
    ObjectGone(u16),
}

/// Whether a community is or was known, and so has an object of its own.
pub(super) async fn is_known(env: &Env, community: &str) -> Result<bool, Fault> {
    let named = [community.to_owned()];
    Ok(!reads::listed(&D1::of(env)?, &named).await?.is_empty())
}

/// Accepts the upgrade of an observer whose community is unknown, and serves it from then on.
pub(super) async fn accept(env: Env, community: String, cursor: Option<i64>) -> Result<Response, Fault> {
    let fault = |error: worker::Error| Fault::new("letting an observer wait", error);
    let mut object = wait_for_community(&env, &community).await?;
    let mut waits = true;
    // The lobby cannot report a community that became known before this waited there.
    if is_known(&env, &community).await? {
        let _ = object.close(Some(1000), None::<&str>);
        object = observe_community(&env, &community, cursor).await?;
        waits = false;
    }
    let pair = WebSocketPair::new().map_err(fault)?;
    let asked = cursor.filter(|_| waits);
    spawn_local(run(pair.server, object, env, community, waits, asked));
    Response::from_websocket(pair.client).map_err(fault)
}

async fn run(
    client: WebSocket,
    mut object: WebSocket,
    env: Env,
    community: String,
    mut waits: bool,
    cursor: Option<i64>,
) {
    let (sender, mut incoming) = unbounded::<Incoming>();
    let answer = cursor.and_then(|cursor| nothing_yet(&community, cursor));
    listen(client.clone(), answer, sender.clone(), Incoming::Client, |_| Incoming::ClientGone);
    listen(object.clone(), None, sender.clone(), Incoming::Object, Incoming::ObjectGone);
    // The `resumed` frame of a replay that the client did not request.
    let mut hides_resumed = false;
    while let Some(incoming) = incoming.next().await {
        // A socket that does not accept a frame or a close is closing; its close event will follow.
        match incoming {
            Incoming::Client(text) => drop(object.send_with_str(text.unwrap_or_default())),
            Incoming::Object(Some(text)) if hides_resumed && text.starts_with(r#"{"type":"resumed""#) => {
                hides_resumed = false;
            }
            Incoming::Object(text) => drop(client.send_with_str(text.unwrap_or_default())),
            Incoming::ClientGone => {
                let _ = object.close(Some(1000), None::<&str>);
                return;
            }
            Incoming::ObjectGone(close::RESTART) if waits => {
                let Some(own) = reach(&env, &community).await else { break };
                (object, waits, hides_resumed) = (own, false, true);
                listen(object.clone(), None, sender.clone(), Incoming::Object, Incoming::ObjectGone);
            }
            Incoming::ObjectGone(code @ (close::POLICY | close::GONE | close::TOO_SLOW)) => {
                let _ = client.close(Some(code), None::<&str>);
                return;
            }
            Incoming::ObjectGone(_) => break,
        }
        if unsent(&client) > UNSENT_MAX {
            let _ = client.close(Some(close::TOO_SLOW), Some("too slow"));
            let _ = object.close(Some(1000), None::<&str>);
            return;
        }
    }
    let _ = client.close(Some(close::RESTART), None::<&str>);
}

/// Opens a socket to the community, from its first event on.
async fn reach(env: &Env, community: &str) -> Option<WebSocket> {
    for _ in 0..TRIES {
        match observe_community(env, community, Some(0)).await {
            Ok(socket) => return Some(socket),
            Err(fault) => log::fault(&fault, "the observer waits a little longer"),
        }
        Delay::from(RETRY).await;
    }
    None
}

/// The answer to a cursor while the community has no events (Q03–Q05).
fn nothing_yet(community: &str, cursor: i64) -> Option<Reply> {
    let community_uri = AtUri::parse(community).ok()?;
    Some(match resume(cursor, 1, 0) {
        Resume::From(to) => Reply::Resumed { community_uri: community_uri.to_string(), from: to, to },
        Resume::Resync { oldest } => Reply::ResyncRequired { community_uri, oldest },
    })
}

/// Forwards every event of a socket, until it ends. `greeting` is sent first, because nothing can
/// be sent before the socket is accepted.
fn listen(
    socket: WebSocket,
    greeting: Option<Reply>,
    sender: UnboundedSender<Incoming>,
    said: fn(Option<String>) -> Incoming,
    gone: fn(u16) -> Incoming,
) {
    spawn_local(async move {
        let accepted = (socket.events(), socket.accept());
        if let Some(greeting) = greeting {
            let _ = socket.send_with_str(greeting.text());
        }
        let code = match accepted {
            (Ok(mut events), Ok(())) => loop {
                match events.next().await {
                    Some(Ok(WebsocketEvent::Message(message))) => {
                        // The relay has ended.
                        if sender.unbounded_send(said(message.text())).is_err() {
                            break BROKEN;
                        }
                    }
                    Some(Ok(WebsocketEvent::Close(close))) => break close.code(),
                    Some(Err(_)) | None => break BROKEN,
                }
            },
            _ => BROKEN,
        };
        let _ = sender.unbounded_send(gone(code));
    });
}
