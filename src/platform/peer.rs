//! The client that sent a request.

use worker::js_sys::Reflect;
use worker::wasm_bindgen::JsValue;
use worker::{Env, Request};

use super::config;
use crate::domain::callers::{self, Origin};

/// The address that rate limits count a request by (C14, C24).
pub fn client(request: &Request, env: &Env) -> String {
    let proxies = config::trusted_proxies(env);
    let peer = peer(request);
    // Each header costs a call to the runtime, and without a proxy they do not count.
    let headers = (peer.is_none() || !proxies.is_empty()).then(|| request.headers());
    let header = |name: &str| headers.as_ref().and_then(|headers| headers.get(name).ok().flatten());
    let (cloudflare, forwarded_for) = (header("cf-connecting-ip"), header("x-forwarded-for"));
    let forwarded = header("forwarded");
    let origin = Origin {
        peer: peer.as_deref(),
        cloudflare: cloudflare.as_deref(),
        forwarded_for: forwarded_for.as_deref(),
        forwarded: forwarded.as_deref(),
    };
    callers::client(&origin, &proxies)
}

/// The peer of a request as `address:port`, where the runtime provides it: workerd on one machine
/// does (`scripts/public-socket.js`); Cloudflare sets `CF-Connecting-IP` instead.
fn peer(request: &Request) -> Option<String> {
    let cf = Reflect::get(request.inner().as_ref(), &JsValue::from_str("cf")).ok()?;
    if !cf.is_object() {
        return None;
    }
    Reflect::get(&cf, &JsValue::from_str("clientIp")).ok()?.as_string()
}
