//! Blobs: bytes that are compared with their CID before anybody sees them, and the cache of those
//! that fit.
//!
//! The bytes stay with the runtime, which reads, hashes, cuts and sends them natively; only their
//! hash comes here. Promises: what is in the cache was compared; of all blobs that an isolate
//! compares at a time, the large ones hold no more than [`ROOM`] together.

use std::cell::RefCell;
use std::pin::pin;
use std::time::Duration;

use futures::future::{Either, select};
use worker::crypto::{DigestStream, DigestStreamAlgorithm};
use worker::js_sys::{ArrayBuffer, Reflect, Uint8Array};
use worker::wasm_bindgen::{JsCast as _, JsValue};
use worker::wasm_bindgen_futures::JsFuture;
use worker::web_sys::{self, ReadableStreamDefaultReader};
use worker::{Cache, Delay, Headers, Method, Request, RequestInit, Response};

use super::clock::now;
use super::outbound::Answered;
use crate::domain::admission::Admission;
use crate::domain::room::{Room, Size};
use crate::storage::Fault;
use crate::wire::range::Range;

/// Bytes compared at a time in an isolate, which has 128 MB for everything (platform facts 2.8).
/// Pictures wait for nobody: they must not stand behind films. Room is kept a little longer than
/// reading may take.
const ROOM: Size = Size { all: 48 * 1024 * 1024, small: 1024 * 1024, kept: 70_000_000 };
/// How long a large blob waits for others to end, and how often it looks.
const WAIT_MILLIS: i64 = 10_000;
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long a PDS may take to send what is compared: 32 MiB at half a megabyte per second.
const BODY_WITHIN: Duration = Duration::from_secs(60);
/// How long the cache keeps a blob. Not for ever, though it never changes: whoever deletes it from
/// their repository may expect it gone.
const KEPT_SECS: u32 = 24 * 60 * 60;
const DOING: &str = "comparing a blob with its CID";

thread_local! {
    // Plain data only: nothing here belongs to a request (platform facts 5.5).
    static TAKEN: RefCell<Room> = const { RefCell::new(Room::new()) };
    static ASKED: RefCell<Admission> = const { RefCell::new(Admission::new()) };
}

/// What became of the comparison.
#[derive(Debug)]
pub enum Compared {
    /// The bytes are those the CID names.
    Fits(Blob),
    /// They are others.
    Differs,
    /// There are more than are compared. The answer, if nothing was read of it.
    TooLarge(Option<Answered>),
}

/// Bytes that were compared.
#[derive(Debug)]
pub struct Blob {
    bytes: Uint8Array,
    kind: Option<String>,
    _held: Held,
}

/// Reads the body of `answered`, if it has at most `max` bytes, and compares it with the SHA-256
/// that is expected.
pub async fn compare(answered: Answered, expected: &[u8; 32], max: u64) -> Result<Compared, Fault> {
    let kind = answered.header("content-type");
    // A body that is compressed on the way has another length than its bytes.
    let plain = answered.header("content-encoding").is_none_or(|encoding| encoding == "identity");
    let length = answered.header("content-length").filter(|_| plain).and_then(|text| text.parse().ok());
    if length.is_some_and(|length: u64| length > max) {
        return Ok(Compared::TooLarge(Some(answered)));
    }
    let held = hold(length.unwrap_or(max)).await?;
    let response = web_sys::Response::from(answered.into_response());
    let read = async {
        match length {
            Some(_) => whole(&response).await.map(Some),
            None => counted(&response, max).await,
        }
    };
    let read = match select(pin!(read), pin!(Delay::from(BODY_WITHIN))).await {
        Either::Left((read, _)) => read,
        Either::Right(_) => Err(JsValue::from_str("it takes too long")),
    };
    let Some(bytes) = read.map_err(fault)? else { return Ok(Compared::TooLarge(None)) };
    let hash = sha256(&bytes).await.map_err(fault)?;
    if hash != expected {
        return Ok(Compared::Differs);
    }
    Ok(Compared::Fits(Blob { bytes, kind, _held: held }))
}

impl Blob {
    /// How many bytes there are.
    pub fn size(&self) -> u64 {
        u64::from(self.bytes.length())
    }

    /// Its media type, as the PDS says.
    pub fn kind(&self) -> Option<&str> {
        self.kind.as_deref()
    }

    /// An answer with the bytes from `first` to `last`, both included, or with all of them.
    pub fn answer(&self, part: Option<(u64, u64)>) -> Result<Response, Fault> {
        let view = match part {
            // Within the size, which fits.
            Some((first, last)) => self.bytes.subarray(
                u32::try_from(first).unwrap_or(u32::MAX),
                u32::try_from(last.saturating_add(1)).unwrap_or(u32::MAX),
            ),
            None => self.bytes.clone(),
        };
        let response = web_sys::Response::new_with_opt_buffer_source(Some(&view)).map_err(fault)?;
        response.headers().set("content-length", &view.length().to_string()).map_err(fault)?;
        Ok(Response::from(response))
    }

    /// Puts it into the cache under a key, which is an address.
    pub async fn keep(&self, key: &str) -> Result<(), Fault> {
        let response = self.answer(None)?;
        let headers = response.headers();
        let set = |name, value: &str| headers.set(name, value).map_err(|error| Fault::new(KEEPING, error));
        set("cache-control", &format!("public, max-age={KEPT_SECS}"))?;
        // Absent is another thing than unknown: what is not there must not be guessed.
        set("content-type", self.kind.as_deref().unwrap_or(UNKNOWN))?;
        Cache::default().put(key, response).await.map_err(|error| Fault::new(KEEPING, error))
    }
}

const KEEPING: &str = "caching a blob";
/// The type of bytes of which nobody says what they are.
pub const UNKNOWN: &str = "application/octet-stream";

/// Whether a key was asked for lately in this isolate; it was from now on.
pub fn is_asked_again(key: &str) -> bool {
    ASKED.with_borrow_mut(|asked| asked.again(key))
}

/// What the cache has under a key: an answer with 200, 206 or 416.
pub async fn cached(key: &str, range: Option<Range>) -> Result<Option<(u16, Response)>, Fault> {
    let fault = |error: worker::Error| Fault::new("looking for a blob in the cache", error);
    let headers = Headers::new();
    if let Some(range) = range {
        headers.set("range", &range.to_string()).map_err(fault)?;
    }
    let mut init = RequestInit::new();
    init.with_method(Method::Get).with_headers(headers);
    let request = Request::new_with_init(key, &init).map_err(fault)?;
    let found = Cache::default().get(&request, false).await.map_err(fault)?;
    Ok(found.map(|response| {
        let status = response.status_code();
        (status, response)
    }))
}

/// Room that is taken, until it is dropped.
#[derive(Debug)]
struct Held(u64);

impl Drop for Held {
    fn drop(&mut self) {
        TAKEN.with_borrow_mut(|taken| taken.give(self.0));
    }
}

/// Waits until there is room for so many bytes. By looking, not by being woken: a request must
/// not wake another one (platform facts 5.5).
async fn hold(bytes: u64) -> Result<Held, Fault> {
    let give_up = now().millis().saturating_add(WAIT_MILLIS);
    loop {
        if let Some(by) = TAKEN.with_borrow_mut(|taken| taken.take(bytes, &ROOM, now())) {
            return Ok(Held(by));
        }
        if now().millis() >= give_up {
            return Err(Fault::new(DOING, "too many large ones at a time"));
        }
        Delay::from(LOOK_EVERY).await;
    }
}

/// All bytes of a body that says how long it is.
async fn whole(response: &web_sys::Response) -> Result<Uint8Array, JsValue> {
    let buffer: ArrayBuffer = JsFuture::from(response.array_buffer()?).await?.unchecked_into();
    Ok(Uint8Array::new(&buffer))
}

/// All bytes of a body that does not, if there are at most `max`.
async fn counted(response: &web_sys::Response, max: u64) -> Result<Option<Uint8Array>, JsValue> {
    let Some(body) = response.body() else { return Ok(Some(Uint8Array::new_with_length(0))) };
    let reader = ReadableStreamDefaultReader::new(&body)?;
    let (mut pieces, mut length) = (Vec::new(), 0_u32);
    loop {
        let next = JsFuture::from(reader.read()).await?;
        if Reflect::get(&next, &"done".into())?.is_truthy() {
            break;
        }
        let piece: Uint8Array = Reflect::get(&next, &"value".into())?.unchecked_into();
        length = length.saturating_add(piece.length());
        if u64::from(length) > max {
            JsFuture::from(reader.cancel()).await?;
            return Ok(None);
        }
        pieces.push(piece);
    }
    let all = Uint8Array::new_with_length(length);
    let mut at = 0;
    for piece in pieces {
        all.set(&piece, at);
        at += piece.length();
    }
    Ok(Some(all))
}

async fn sha256(bytes: &Uint8Array) -> Result<Vec<u8>, JsValue> {
    let digest = DigestStream::new(DigestStreamAlgorithm::Sha256);
    let writer = digest.raw().get_writer()?;
    JsFuture::from(writer.write_with_chunk(bytes)).await?;
    JsFuture::from(writer.close()).await?;
    Ok(digest.digest().await.map_err(JsValue::from)?.to_vec())
}

fn fault(error: JsValue) -> Fault {
    Fault::new(DOING, worker::Error::from(error))
}
