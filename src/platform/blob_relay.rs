//! Relays blobs that are too large to verify (R21.2): the bytes pass through one small buffer, which
//! stays in the runtime.
//!
//! Promises: a host that hardly sends anything, and a caller that hardly takes anything, end the
//! transfer and both connections; a transfer that ends early never looks complete to the caller.

use std::pin::pin;
use std::time::Duration;

use futures::future::{Either, select};
use serde_json::json;
use worker::js_sys::{Promise, Reflect, Uint8Array};
use worker::wasm_bindgen::prelude::wasm_bindgen;
use worker::wasm_bindgen::{self, JsCast as _, JsValue};
use worker::wasm_bindgen_futures::{JsFuture, spawn_local};
use worker::web_sys::{self, TransformStream, WritableStreamDefaultWriter};
use worker::{Delay, Response};

use super::blobs::{Reader, reader};
use super::log::{self, Level};
use super::outbound::Answered;
use crate::domain::fault_code::Code;
use crate::storage::Fault;

/// The buffer of a transfer, and the least that must pass within each of these times.
const STEP: u32 = 64 * 1024;
/// From the host.
const SENT_WITHIN: Duration = Duration::from_secs(10);
/// To the caller, who may be on a slow line, or have a film on pause.
const TAKEN_WITHIN: Duration = Duration::from_secs(30);
const DOING: &str = "relaying a blob";

#[wasm_bindgen]
extern "C" {
    /// A stream that takes exactly so many bytes: one that ends early breaks the connection.
    #[wasm_bindgen(extends = TransformStream)]
    type FixedLengthStream;
    #[wasm_bindgen(constructor, catch)]
    fn new(length: f64) -> Result<FixedLengthStream, JsValue>;
    /// A stream of bytes of any number.
    #[wasm_bindgen(extends = TransformStream)]
    type IdentityTransformStream;
    #[wasm_bindgen(constructor, catch)]
    fn new() -> Result<IdentityTransformStream, JsValue>;
}

/// A response that relays the body of `answered`; `length` is the length that it claims, if any.
pub fn relay(answered: Answered, length: Option<u64>) -> Result<Response, Fault> {
    let fault = |error: JsValue| Fault::coded(Code::Host, DOING, worker::Error::from(error));
    let Some(body) = web_sys::Response::from(answered.into_response()).body() else {
        return Response::empty().map_err(|error| Fault::coded(Code::Host, DOING, error));
    };
    let pipe: TransformStream = match length {
        #[expect(clippy::cast_precision_loss, reason = "no blob has 2^53 bytes")]
        Some(length) => FixedLengthStream::new(length as f64).map_err(fault)?.unchecked_into(),
        None => IdentityTransformStream::new().map_err(fault)?.unchecked_into(),
    };
    let (reader, writer) = (reader(&body).map_err(fault)?, pipe.writable().get_writer().map_err(fault)?);
    let response = web_sys::Response::new_with_opt_readable_stream(Some(&pipe.readable())).map_err(fault)?;
    // If the caller leaves, the runtime ends the request, and this with it.
    spawn_local(async move {
        if let Err(why) = pump(&reader, &writer).await {
            let why = why.as_string().unwrap_or_else(|| format!("{why:?}"));
            log::line(Level::Debug, "a relayed blob ends early", &json!({ "why": why }));
            let _ = reader.cancel();
            let _ = writer.abort_with_reason(&JsValue::from_str(&why));
        }
    });
    Ok(Response::from(response))
}

/// Passes everything on, and ends with the body.
async fn pump(reader: &Reader, writer: &WritableStreamDefaultWriter) -> Result<(), JsValue> {
    let mut buffer = Uint8Array::new_with_length(STEP);
    loop {
        let next = reader.read_at_least(STEP, &buffer)?;
        let next = within(SENT_WITHIN, next, "its host hardly sends anything").await?;
        let came = Reflect::get(&next, &"value".into())?.dyn_into::<Uint8Array>().ok();
        let Some(came) = came.filter(|came| came.length() > 0) else {
            within(TAKEN_WITHIN, writer.close(), "its caller takes nothing").await?;
            return Ok(());
        };
        within(TAKEN_WITHIN, writer.write_with_chunk(&came), "its caller hardly takes anything").await?;
        buffer = Uint8Array::new(&came.buffer());
    }
}

async fn within(limit: Duration, done: Promise, otherwise: &str) -> Result<JsValue, JsValue> {
    match select(JsFuture::from(done), pin!(Delay::from(limit))).await {
        Either::Left((done, _)) => done,
        Either::Right(_) => Err(JsValue::from_str(otherwise)),
    }
}
