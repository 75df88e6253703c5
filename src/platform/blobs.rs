//! Blobs: verifies bytes against their CID before anybody receives them, and caches those that
//! match.
//!
//! The bytes stay in the runtime, which reads, hashes, cuts and sends them natively; only their
//! hash enters the program. Promises: every cached blob was verified; every blob in progress has a
//! slot, and room as its bytes arrive (`platform::memory`); a host that hardly sends anything is
//! given up.

use std::cell::RefCell;
use std::pin::pin;
use std::time::Duration;

use futures::future::{Either, select};
use worker::crypto::{DigestStream, DigestStreamAlgorithm};
use worker::js_sys::{Function, Object, Promise, Reflect, Uint8Array};
use worker::wasm_bindgen::prelude::wasm_bindgen;
use worker::wasm_bindgen::{self, JsCast as _, JsValue};
use worker::wasm_bindgen_futures::JsFuture;
use worker::web_sys;
use worker::{Cache, Delay, Headers, Method, Request, RequestInit, Response};

use super::clock::now;
use super::memory::{NoRoom, Slot};
use super::outbound::Answered;
use crate::domain::admission::Admission;
use crate::domain::fault_code::Code;
use crate::domain::lru::{Lru, Size};
use crate::storage::Fault;
use crate::wire::ids::Did;
use crate::wire::range::Range;

/// How long a PDS may take to send a blob to verify: 32 MiB at half a megabyte per second.
const BODY_WITHIN_MILLIS: i64 = 60_000;
/// The least that must arrive within [`STEP_WITHIN`], unless it is the end: 13 kB a second.
const STEP: u32 = 128 * 1024;
const STEP_WITHIN: Duration = Duration::from_secs(10);
/// The most that one read waits for. The more a host has sent, the more each read asks for, which
/// saves reads.
const STEP_MAX: u32 = 1024 * 1024;
/// The buffer that a body gets at first, whatever length it claims; the buffer then grows in
/// proportion to what arrived. A length that a host merely announces costs nothing.
const FIRST: u32 = 1024 * 1024;
const GROWTH: u32 = 8;
/// How long the cache keeps a blob. A blob never changes, but its owner may delete it, and may
/// expect it to disappear.
const KEPT_SECS: u32 = 24 * 60 * 60;
/// The cache's share for people whom the index knows, in bytes (R21.10). On one machine the cache's
/// files have no limit of their own.
const KNOWN_SIZE: Size = Size { all: 112 * MIB, one: 32 * MIB, key: 1024 };
/// The cache's share for strangers, who evict only each other.
const STRANGERS_SIZE: Size = Size { all: 16 * MIB, one: 4 * MIB, key: 1024 };
const MIB: usize = 1024 * 1024;
const DOING: &str = "comparing a blob with its CID";

thread_local! {
    // Plain data only: nothing here belongs to a request (platform facts 5.5).
    static ASKED: RefCell<Admission> = const { RefCell::new(Admission::new()) };
    /// The blobs that this isolate put into the cache and did not remove: of known people, and of
    /// strangers.
    static KNOWN: RefCell<Lru<()>> = const { RefCell::new(Lru::new()) };
    static STRANGERS: RefCell<Lru<()>> = const { RefCell::new(Lru::new()) };
}

/// The result of the verification.
#[derive(Debug)]
pub enum Compared {
    /// The bytes match the CID.
    Fits(Blob),
    /// The bytes do not match.
    Differs,
    /// The blob is too large to verify. The response, if nothing was read of it.
    TooLarge(Option<Answered>),
}

/// Verified bytes.
#[derive(Debug)]
pub struct Blob {
    bytes: Uint8Array,
    kind: Option<String>,
    _slot: Slot,
}

/// Reads the body of `answered`, if it has at most `max` bytes, and verifies it against the
/// expected SHA-256. `slot` is released with the bytes.
pub async fn compare(
    answered: Answered,
    expected: &[u8; 32],
    max: u64,
    slot: Slot,
) -> Result<Compared, Fault> {
    let kind = answered.header("content-type");
    // The length of a body that is compressed in transit differs from that of its bytes.
    let plain = answered.header("content-encoding").is_none_or(|encoding| encoding == "identity");
    let length = answered.header("content-length").filter(|_| plain).and_then(|text| text.parse().ok());
    if length.is_some_and(|length: u64| length > max) {
        return Ok(Compared::TooLarge(Some(answered)));
    }
    let response = web_sys::Response::from(answered.into_response());
    let Some(body) = response.body() else {
        let bytes = Uint8Array::new_with_length(0);
        return fitting(bytes, kind, expected, slot).await;
    };
    let reader = reader(&body).map_err(fault)?;
    let read = read(&reader, length, max, &slot).await;
    if !matches!(read, Ok(Some(_))) {
        // Nobody waits for the rest of the body. A failed reader needs no cancelling.
        let _ = reader.cancel();
    }
    match read? {
        Some(bytes) => fitting(bytes, kind, expected, slot).await,
        None => Ok(Compared::TooLarge(None)),
    }
}

async fn fitting(
    bytes: Uint8Array,
    kind: Option<String>,
    expected: &[u8; 32],
    slot: Slot,
) -> Result<Compared, Fault> {
    let hash = sha256(&bytes).await.map_err(fault)?;
    if hash != expected {
        return Ok(Compared::Differs);
    }
    Ok(Compared::Fits(Blob { bytes, kind, _slot: slot }))
}

impl Blob {
    /// The length in bytes.
    pub fn size(&self) -> u64 {
        u64::from(self.bytes.length())
    }

    /// The media type that the PDS named.
    pub fn kind(&self) -> Option<&str> {
        self.kind.as_deref()
    }

    /// A response with the bytes from `first` to `last`, inclusive, or with all of them.
    pub fn answer(&self, part: Option<(u64, u64)>) -> Result<Response, Fault> {
        let view = match part {
            // Within the length, which fits.
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

    /// Caches it under a key, which is a URL, and evicts the least recently used (R21.10).
    pub async fn keep(&self, key: &str, is_known: bool) -> Result<(), Fault> {
        let size = usize::try_from(self.size()).unwrap_or(usize::MAX);
        let (shelf, room) = if is_known { (&KNOWN, KNOWN_SIZE) } else { (&STRANGERS, STRANGERS_SIZE) };
        let (gone, fits) = shelf.with_borrow_mut(|shelf| (shelf.put(key, (), size, &room), shelf.has(key)));
        for key in gone {
            let deleted = Cache::default().delete(&*key, true).await;
            deleted.map_err(|error| Fault::coded(Code::Host, "making room in the cache of blobs", error))?;
        }
        if !fits {
            return Ok(());
        }
        let response = self.answer(None)?;
        let headers = response.headers();
        let set = |name, value: &str| {
            headers.set(name, value).map_err(|error| Fault::coded(Code::Host, KEEPING, error))
        };
        set("cache-control", &format!("public, max-age={KEPT_SECS}"))?;
        // An absent type differs from an unknown one: a missing type must not be guessed.
        set("content-type", self.kind.as_deref().unwrap_or(UNKNOWN))?;
        Cache::default().put(key, response).await.map_err(|error| Fault::coded(Code::Host, KEEPING, error))
    }
}

/// Takes every blob of a person out of the cache that this isolate put there. On one machine that is every
/// one; elsewhere others have theirs, for [`KEPT_SECS`] at most.
pub async fn forget_of(did: &Did) -> Result<(), Fault> {
    let part = format!("/api/blob/{did}/");
    for shelf in [&KNOWN, &STRANGERS] {
        for key in shelf.with_borrow_mut(|shelf| shelf.forget_where(|key| key.contains(&part))) {
            delete(&key).await?;
        }
    }
    Ok(())
}

/// Takes one blob out of the cache.
pub async fn forget(key: &str) -> Result<(), Fault> {
    for shelf in [&KNOWN, &STRANGERS] {
        shelf.with_borrow_mut(|shelf| shelf.forget_where(|kept| kept == key));
    }
    delete(key).await
}

async fn delete(key: &str) -> Result<(), Fault> {
    let deleted = Cache::default().delete(key, true).await;
    deleted.map(drop).map_err(|error| Fault::coded(Code::Host, "taking a blob out of the cache", error))
}

const KEEPING: &str = "caching a blob";
/// The media type of bytes without a type.
pub const UNKNOWN: &str = "application/octet-stream";

/// Whether a key was requested recently in this isolate; notes this request.
pub fn is_asked_again(key: &str) -> bool {
    ASKED.with_borrow_mut(|asked| asked.again(key))
}

/// The cached entry of a key: a response with 200, 206 or 416.
pub async fn cached(key: &str, range: Option<Range>) -> Result<Option<(u16, Response)>, Fault> {
    let fault = |error: worker::Error| Fault::coded(Code::Host, "looking for a blob in the cache", error);
    let headers = Headers::new();
    if let Some(range) = range {
        headers.set("range", &range.to_string()).map_err(fault)?;
    }
    let mut init = RequestInit::new();
    init.with_method(Method::Get).with_headers(headers);
    let request = Request::new_with_init(key, &init).map_err(fault)?;
    let found = Cache::default().get(&request, false).await.map_err(fault)?;
    if found.is_some() {
        // This counts as a use.
        for shelf in [&KNOWN, &STRANGERS] {
            let _ = shelf.with_borrow_mut(|shelf| shelf.get(key).copied());
        }
    }
    Ok(found.map(|response| {
        let status = response.status_code();
        (status, response)
    }))
}

#[wasm_bindgen]
extern "C" {
    /// A reader into a given buffer (`ReadableStreamBYOBReader`).
    pub type Reader;
    /// The runtime's own method: reads at least `min` bytes into `view`, unless the stream ends
    /// (developers.cloudflare.com/workers/runtime-apis/streams/readablestreambyobreader).
    #[wasm_bindgen(method, catch, js_name = readAtLeast)]
    pub fn read_at_least(this: &Reader, min: u32, view: &Uint8Array) -> Result<Promise, JsValue>;
    /// Gives the rest of the stream up.
    #[wasm_bindgen(method, catch)]
    pub fn cancel(this: &Reader) -> Result<Promise, JsValue>;
}

/// A reader of a body of the runtime.
pub(super) fn reader(body: &web_sys::ReadableStream) -> Result<Reader, JsValue> {
    let options = Object::new();
    Reflect::set(&options, &"mode".into(), &"byob".into())?;
    let open: Function = Reflect::get(body, &"getReader".into())?.unchecked_into();
    Ok(open.call1(body, &options)?.unchecked_into())
}

/// Reads a whole body of at most `max` bytes; `length` is the length that it claims, if any.
async fn read(
    reader: &Reader,
    length: Option<u64>,
    max: u64,
    slot: &Slot,
) -> Result<Option<Uint8Array>, Fault> {
    // One byte more than allowed shows that the body is too long.
    let most = u32::try_from(length.unwrap_or(max.saturating_add(1))).unwrap_or(u32::MAX);
    let until = now().millis().saturating_add(BODY_WITHIN_MILLIS);
    let room = |none| Fault::coded(Code::Host, DOING, no_room(none));
    let mut room_for = most.min(FIRST);
    slot.hold(u64::from(room_for)).await.map_err(room)?;
    let mut bytes = Uint8Array::new_with_length(room_for);
    let (mut filled, mut step) = (0, STEP);
    while filled < most {
        if filled == room_for {
            room_for = most.min(room_for.saturating_mul(GROWTH));
            slot.hold(u64::from(room_for)).await.map_err(room)?;
            let larger = Uint8Array::new_with_length(room_for);
            larger.set(&bytes, 0);
            bytes = larger;
        }
        // The buffer moves to the runtime, and returns with what was read.
        let view = bytes.subarray(filled, room_for);
        let next = reader.read_at_least(step.min(room_for - filled), &view).map_err(fault)?;
        let next = match select(JsFuture::from(next), pin!(Delay::from(STEP_WITHIN))).await {
            Either::Left((next, _)) => next.map_err(fault)?,
            Either::Right(_) => return Err(Fault::coded(Code::Host, DOING, "hardly anything of it comes")),
        };
        let came = Reflect::get(&next, &"value".into()).map_err(fault)?;
        let Some(came) = came.dyn_ref::<Uint8Array>() else { break };
        bytes = Uint8Array::new(&came.buffer());
        filled += came.length();
        slot.came(u64::from(filled)).map_err(room)?;
        if came.length() == 0 || Reflect::get(&next, &"done".into()).map_err(fault)?.is_truthy() {
            break;
        }
        if now().millis() > until {
            return Err(Fault::coded(Code::Host, DOING, "it takes too long"));
        }
        step = step.saturating_mul(2).min(STEP_MAX);
    }
    if u64::from(filled) > max {
        return Ok(None);
    }
    Ok(Some(bytes.subarray(0, filled)))
}

fn no_room(none: NoRoom) -> &'static str {
    match none {
        NoRoom::Crowded => "too much is read at a time",
        NoRoom::Slow => "its host was slow while others waited",
    }
}

async fn sha256(bytes: &Uint8Array) -> Result<Vec<u8>, JsValue> {
    let digest = DigestStream::new(DigestStreamAlgorithm::Sha256);
    let writer = digest.raw().get_writer()?;
    JsFuture::from(writer.write_with_chunk(bytes)).await?;
    JsFuture::from(writer.close()).await?;
    Ok(digest.digest().await.map_err(JsValue::from)?.to_vec())
}

fn fault(error: JsValue) -> Fault {
    Fault::coded(Code::Host, DOING, worker::Error::from(error))
}
