//! State of a socket that the runtime knows and `worker` does not expose (platform facts 2.1).

use worker::js_sys::{Date, Function, JsString, Reflect};
use worker::wasm_bindgen::prelude::wasm_bindgen;
use worker::wasm_bindgen::{self, JsCast, JsValue};
use worker::{State, WebSocket};

use crate::wire::time::Micros;

#[wasm_bindgen]
extern "C" {
    /// The runtime's own method, with a text that is already a string of the runtime.
    type Taker;
    #[wasm_bindgen(method, catch)]
    fn send(this: &Taker, text: &JsString) -> Result<(), JsValue>;
}

/// A text for many sockets. It is copied into the runtime once for all of them: for a short frame,
/// the copy is most of the cost of sending.
pub struct Text(JsString);

impl Text {
    /// Copies the text into the runtime.
    pub fn new(text: &str) -> Self {
        Self(JsString::from(text))
    }

    /// Sends it. A socket that does not accept it is closing, and its close event will follow.
    pub fn send(&self, socket: &WebSocket) {
        let socket: &JsValue = socket.as_ref().as_ref();
        let _ = socket.unchecked_ref::<Taker>().send(&self.0);
    }
}

/// Sends a text. A socket that does not accept it is closing, and its close event will follow.
pub fn send(socket: &WebSocket, text: &str) {
    let _ = socket.send_with_str(text);
}

/// Whether the socket is open: neither side has begun to close it.
pub fn is_open(socket: &WebSocket) -> bool {
    const OPEN: u16 = 1;
    socket.as_ref().ready_state() == OPEN
}

/// The bytes handed to the socket that its client has not received yet.
pub fn unsent(socket: &WebSocket) -> u32 {
    socket.as_ref().buffered_amount()
}

/// When the runtime last answered a heartbeat of this socket itself; `None` if it never did.
pub fn last_auto_response(state: &State, socket: &WebSocket) -> Option<Micros> {
    let state: &JsValue = state.as_raw().as_ref();
    let ask = Reflect::get(state, &JsValue::from_str("getWebSocketAutoResponseTimestamp")).ok()?;
    let at = ask.dyn_ref::<Function>()?.call1(state, socket.as_ref()).ok()?;
    let millis = at.dyn_ref::<Date>()?.get_time();
    #[expect(clippy::cast_possible_truncation, reason = "milliseconds since 1970, a whole number")]
    let millis = millis.is_finite().then_some(millis as i64)?;
    Some(Micros::from_millis(millis))
}

/// Closes a socket with a code of A19. A closed one stays as it is.
pub fn close(socket: &WebSocket, code: u16, reason: &str) {
    // A socket that cannot be closed is gone.
    let _ = socket.close(Some(code), Some(reason));
}

/// Answers a close. For hibernating sockets, the runtime does so only when the object leaves
/// memory, ten seconds later (workerd of November 2026, whatever `web_socket_auto_reply_to_close`
/// says). Codes that must not be sent become 1000 (platform facts 2.2).
pub fn answer_close(socket: &WebSocket, code: usize) {
    let code = match u16::try_from(code) {
        Ok(1005 | 1006 | 1015) | Err(_) => 1000,
        Ok(code) => code,
    };
    if socket.close(Some(code), Some("")).is_err() {
        close(socket, 1000, "");
    }
}
