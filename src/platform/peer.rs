//! Who opened a connection.

use worker::Request;
use worker::js_sys::Reflect;
use worker::wasm_bindgen::JsValue;

/// The peer of a request as `address:port`, where the runtime says so: workerd on this machine
/// does (`scripts/public-socket.js`), Cloudflare does not and sets `CF-Connecting-IP` instead.
pub fn of(request: &Request) -> Option<String> {
    let cf = Reflect::get(request.inner().as_ref(), &JsValue::from_str("cf")).ok()?;
    if !cf.is_object() {
        return None;
    }
    Reflect::get(&cf, &JsValue::from_str("clientIp")).ok()?.as_string()
}
