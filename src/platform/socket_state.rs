//! What the runtime knows of a socket and `worker` does not pass on (platform facts 2.1).

use worker::js_sys::{Date, Function, JsString, Reflect};
use worker::wasm_bindgen::prelude::wasm_bindgen;
use worker::wasm_bindgen::{self, JsCast, JsValue};
use worker::{State, WebSocket};

use crate::wire::time::Micros;

#[wasm_bindgen]
extern "C" {
    /// The runtime's own method, which takes a text that is its own already.
    type Taker;
    #[wasm_bindgen(method, catch)]
    fn send(this: &Taker, text: &JsString) -> Result<(), JsValue>;
}

/// A text for many sockets. It crosses to the runtime once, however many get it: for a short frame
/// that is most of what sending it costs here.
pub struct Text(JsString);

impl Text {
    /// Takes the text over.
    pub fn new(text: &str) -> Self {
        Self(JsString::from(text))
    }

    /// Sends it. A socket that cannot take it is closing; its close is handled when it comes.
    pub fn send(&self, socket: &WebSocket) {
        let socket: &JsValue = socket.as_ref().as_ref();
        let _ = socket.unchecked_ref::<Taker>().send(&self.0);
    }
}

/// Sends a text. A socket that cannot take it is closing; its close is handled when it comes.
pub fn send(socket: &WebSocket, text: &str) {
    let _ = socket.send_with_str(text);
}

/// Whether the socket is open: neither side has begun to close it.
pub fn is_open(socket: &WebSocket) -> bool {
    const OPEN: u16 = 1;
    socket.as_ref().ready_state() == OPEN
}

/// Bytes handed to the socket that its client has not taken yet.
pub fn unsent(socket: &WebSocket) -> u32 {
    socket.as_ref().buffered_amount()
}

/// When the runtime last answered a heartbeat of this socket by itself; `None` if it never did.
pub fn last_auto_response(state: &State, socket: &WebSocket) -> Option<Micros> {
    let state: &JsValue = state.as_raw().as_ref();
    let ask = Reflect::get(state, &JsValue::from_str("getWebSocketAutoResponseTimestamp")).ok()?;
    let at = ask.dyn_ref::<Function>()?.call1(state, socket.as_ref()).ok()?;
    let millis = at.dyn_ref::<Date>()?.get_time();
    #[expect(clippy::cast_possible_truncation, reason = "milliseconds since 1970, a whole number")]
    let millis = millis.is_finite().then_some(millis as i64)?;
    Some(Micros::from_millis(millis))
}

/// Closes a socket with one of the codes of A19. One that is closed already stays so.
pub fn close(socket: &WebSocket, code: u16, reason: &str) {
    // Nothing to do about a socket that cannot be closed: it is gone.
    let _ = socket.close(Some(code), Some(reason));
}

/// Answers a close. The runtime does not do it for hibernating sockets before the object leaves
/// its memory, ten seconds later (workerd of November 2026, whatever
/// `web_socket_auto_reply_to_close` says). Codes that must not be sent become 1000 (platform
/// facts 2.2).
pub fn answer_close(socket: &WebSocket, code: usize) {
    let code = match u16::try_from(code) {
        Ok(1005 | 1006 | 1015) | Err(_) => 1000,
        Ok(code) => code,
    };
    if socket.close(Some(code), Some("")).is_err() {
        close(socket, 1000, "");
    }
}
