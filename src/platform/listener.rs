//! A socket to another server, each of whose messages calls a function at once.
//!
//! `worker`'s stream of events takes a channel, a wake and a microtask per message, which is a third of the cost of
//! a small message. Promise: after the end nothing is called any more, and no listener stays when this is dropped.

use futures::StreamExt;
use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use worker::wasm_bindgen::closure::Closure;
use worker::wasm_bindgen::{JsCast, JsValue};
use worker::web_sys::{self, CloseEvent, ErrorEvent, MessageEvent};
use worker::{Error, Result, WebSocket};

/// What the runtime calls.
type OnEvent = Closure<dyn FnMut(JsValue)>;

/// Why a listener ended.
#[derive(Debug)]
pub enum Ended<E> {
    /// The function wants no more.
    Enough(E),
    /// The socket closed, with this code.
    Closed(u16),
    /// The socket failed.
    Failed(Error),
}

/// See the module.
#[derive(Debug)]
pub struct Listener<E> {
    socket: web_sys::WebSocket,
    listeners: [(&'static str, OnEvent); 3],
    ends: UnboundedReceiver<Ended<E>>,
}

impl<E: 'static> Listener<E> {
    /// Calls `on_message` with each text, or with nothing for a binary message, until it returns a value.
    pub fn to(
        socket: &WebSocket,
        mut on_message: impl FnMut(Option<String>) -> Option<E> + 'static,
    ) -> Result<Self> {
        let (end, ends) = unbounded::<Ended<E>>();
        let (closing, failing) = (end.clone(), end.clone());
        let mut has_ended = false;
        let message = move |event: JsValue| {
            if has_ended {
                return;
            }
            let text = event.unchecked_ref::<MessageEvent>().data().as_string();
            if let Some(enough) = on_message(text) {
                has_ended = true;
                send(&end, Ended::Enough(enough));
            }
        };
        let close =
            move |event: JsValue| send(&closing, Ended::Closed(event.unchecked_ref::<CloseEvent>().code()));
        let error = move |event: JsValue| {
            send(&failing, Ended::Failed(event.unchecked_ref::<ErrorEvent>().error().into()));
        };
        let socket: &web_sys::WebSocket = socket.as_ref();
        let listeners =
            [("message", listener(message)), ("close", listener(close)), ("error", listener(error))];
        let this = Self { socket: socket.clone(), listeners, ends };
        for (name, listener) in &this.listeners {
            let listener = listener.as_ref().unchecked_ref();
            this.socket.add_event_listener_with_callback(name, listener).map_err(Error::from)?;
        }
        Ok(this)
    }

    /// Waits for the end.
    pub async fn ended(&mut self) -> Ended<E> {
        // The senders live as long as the listeners.
        self.ends.next().await.unwrap_or(Ended::Closed(0))
    }
}

fn listener(on: impl FnMut(JsValue) + 'static) -> OnEvent {
    Closure::wrap_assert_unwind_safe(Box::new(on) as Box<dyn FnMut(JsValue)>)
}

fn send<E>(to: &UnboundedSender<Ended<E>>, end: Ended<E>) {
    // Fails only when nobody waits any more.
    let _ = to.unbounded_send(end);
}

impl<E> Drop for Listener<E> {
    fn drop(&mut self) {
        for (name, listener) in &self.listeners {
            // Fails only for a socket that is gone.
            let _ = self.socket.remove_event_listener_with_callback(name, listener.as_ref().unchecked_ref());
        }
    }
}
