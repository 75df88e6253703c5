//! Reads a repository from a PDS: its newest revision, its signed export, or its records in pages.
//!
//! Promises: a [`Snapshot`] is complete and, if it comes from the export, verified; everything else
//! is an [`Unread`], never a part; buffers are charged to the memory budget (`platform::memory`).
//! The caller keeps to two requests at a time per host (K07).

use std::collections::BTreeSet;
use std::time::Duration;

use url::Url;

use super::clock::now;
use super::memory::{NoRoom, Slot};
use super::outbound::{Bounds, Failure, Streamed, get_stream, get_text};
use crate::domain::breaker::Errand;
use crate::domain::fault_code::Code;
use crate::domain::pages::{Held, Pages};
use crate::domain::repository::{Reading, Refused};
use crate::domain::snapshot::{Snapshot, SnapshotRecord};
use crate::storage::Fault;
use crate::wire::ids::{Collection, Did};
use crate::wire::pds;
use crate::wire::signing_key::SigningKey;
use crate::wire::time::Micros;
use crate::wire::xrpc::address;

/// How long a response may take to start: a PDS first prepares an export.
const WITHIN: Duration = Duration::from_secs(20);
/// How long an export may take, and how long it may pause.
const EXPORT: Bounds = Bounds {
    idle: Duration::from_secs(20),
    in_all_micros: 10 * 60 * 1_000_000,
    bytes: crate::domain::repository::ARCHIVE_MAX,
};
/// The length of an answer with a revision or an error.
const SHORT_MAX: usize = 16 * 1024;
/// A page of 100 records: the network allows 1 MB each, those of interest have 64 kB at most.
const PAGE: Bounds =
    Bounds { idle: Duration::from_secs(20), in_all_micros: 60 * 1_000_000, bytes: 16 * 1024 * 1024 };
/// The step in which room is requested.
const CHARGED_AHEAD: u64 = 64 * 1024;
/// The most bytes of records kept of a listing.
const LISTED_MAX: usize = 24 * 1024 * 1024;
/// The cost of a record beside its JSON: its key and CID, in the snapshot and in the set of keys
/// seen.
const LISTED_COST: usize = 256;
/// How long all pages of a listing may take together: as long as an export.
const LISTING_MICROS: i64 = 10 * 60 * 1_000_000;
const LISTING: &str = "listing the records of a repository";

/// Why a repository could not be read.
#[derive(Debug)]
pub enum Unread {
    /// The host says that the account is not available: `deactivated`, `takendown`, `suspended` or
    /// `not_found`.
    Absent(&'static str),
    /// The service does not contact the host before then.
    Resting(Micros),
    /// The host does not support this request.
    Unserved(u16),
    /// The contents failed verification.
    Refused(Refused),
    /// There is no room for it now.
    NoRoom(NoRoom),
    /// No answer, or an invalid one.
    Fault(Fault),
}

impl Unread {
    fn of(doing: &'static str, failure: Failure) -> Self {
        match failure {
            Failure::Resting(until) => Unread::Resting(until),
            other => Unread::Fault(other.into_fault(doing)),
        }
    }

    fn of_status(status: u16, text: &str) -> Self {
        match pds::error_name(text).as_deref().and_then(pds::absence) {
            Some(absence) => Unread::Absent(absence),
            None => Unread::Unserved(status),
        }
    }
}

/// The newest revision of a repository.
pub async fn latest_rev(pds: &Url, did: &Did) -> Result<String, Unread> {
    const DOING: &str = "asking for the newest revision of a repository";
    let url = address(pds, "com.atproto.sync.getLatestCommit", &[("did", did.as_str())]);
    match get_text(DOING, Errand::Known, &url, &[], WITHIN, SHORT_MAX).await {
        Ok((200, text)) => pds::latest_rev(&text)
            .ok_or_else(|| Unread::Fault(Fault::coded(Code::Host, DOING, "the host answered nonsense"))),
        Ok((status, text)) => Err(Unread::of_status(status, &text)),
        Err(failure) => Err(Unread::of(DOING, failure)),
    }
}

/// The repository from its signed export (`com.atproto.sync.getRepo`), parsed as it arrives.
pub async fn export(pds: &Url, did: &Did, key: &SigningKey, slot: &Slot) -> Result<Snapshot, Unread> {
    const DOING: &str = "reading the export of a repository";
    let url = address(pds, "com.atproto.sync.getRepo", &[("did", did.as_str())]);
    let headers = [("accept", "application/vnd.ipld.car")];
    let mut streamed = get_stream(DOING, Errand::Known, &url, &headers, WITHIN, EXPORT)
        .await
        .map_err(|failure| Unread::of(DOING, failure))?;
    if streamed.status != 200 {
        let refusal = whole(&mut streamed, SHORT_MAX, slot, 0).await?;
        return Err(Unread::of_status(streamed.status, &String::from_utf8_lossy(&refusal)));
    }
    let mut reading = Reading::new(Collection::ALL);
    let (mut came, mut held) = (0_u64, 0);
    while let Some(piece) = streamed.next().await {
        let piece = piece.map_err(Unread::Fault)?;
        came = came.saturating_add(piece.len() as u64);
        slot.came(came).map_err(Unread::NoRoom)?;
        reading.take(&piece).map_err(Unread::Refused)?;
        if reading.held() > held {
            held = reading.held().saturating_add(CHARGED_AHEAD);
            slot.hold(held).await.map_err(Unread::NoRoom)?;
        }
    }
    reading.finish(did, key).map_err(Unread::Refused)
}

/// The whole body, at most `max` bytes, in addition to `holds` bytes that are held already. The
/// excess is skipped.
async fn whole(streamed: &mut Streamed, max: usize, slot: &Slot, holds: u64) -> Result<Vec<u8>, Unread> {
    let mut bytes = Vec::new();
    let (mut came, mut held) = (0_u64, 0);
    while let Some(piece) = streamed.next().await {
        let piece = piece.map_err(Unread::Fault)?;
        came = came.saturating_add(piece.len() as u64);
        slot.came(holds.saturating_add(came)).map_err(Unread::NoRoom)?;
        if bytes.len() + piece.len() <= max {
            bytes.extend_from_slice(&piece);
        }
        if bytes.capacity() as u64 > held {
            held = (bytes.capacity() as u64).saturating_add(CHARGED_AHEAD);
            slot.hold(holds.saturating_add(held)).await.map_err(Unread::NoRoom)?;
        }
    }
    Ok(bytes)
}

/// The repository from its records in pages (`com.atproto.repo.listRecords`), for a host that
/// cannot serve the export. Nothing in it is signed. `rev` was its newest revision before.
///
/// An incomplete listing is a fault; nothing is concluded from a part of it (K04).
pub async fn listing(pds: &Url, did: &Did, rev: String, slot: &Slot) -> Result<Snapshot, Unread> {
    let until = Micros(now().0.saturating_add(LISTING_MICROS));
    let mut collections = Collection::ALL.to_vec();
    collections.sort_by_key(|collection| collection.nsid());
    let mut snapshot =
        Snapshot { rev, records: Vec::new(), complete: Collection::ALL.iter().copied().collect() };
    let mut bytes = 0;
    for collection in collections {
        let (mut pages, mut seen, mut cursor) = (Pages::default(), BTreeSet::new(), None);
        loop {
            if now() > until {
                return Err(Unread::Fault(Fault::coded(Code::Host, LISTING, "the listing takes too long")));
            }
            let page = page(pds, did, (collection, cursor.as_deref()), slot, bytes as u64).await?;
            let entries = page.records.len();
            let mut new = 0;
            for (rkey, cid, json) in page.records {
                // The first occurrence of a duplicate counts: nothing says which one is newer.
                if !seen.insert(rkey.clone()) {
                    continue;
                }
                new += 1;
                bytes += json.len() + LISTED_COST;
                snapshot.records.push(SnapshotRecord { collection, rkey, cid, json });
            }
            if bytes > LISTED_MAX {
                return Err(Unread::Refused(Refused::TooLarge));
            }
            let next = pages.turn(Held { entries, new }, page.cursor);
            cursor = next.map_err(|endless| Unread::Fault(Fault::coded(Code::Host, LISTING, endless)))?;
            if cursor.is_none() {
                break;
            }
        }
    }
    Ok(snapshot)
}

/// A page of a [`listing`], in addition to `holds` bytes of earlier pages.
async fn page(
    pds: &Url,
    did: &Did,
    (collection, cursor): (Collection, Option<&str>),
    slot: &Slot,
    holds: u64,
) -> Result<pds::Page, Unread> {
    let mut params = vec![
        ("repo", did.as_str()),
        ("collection", collection.nsid()),
        ("limit", "100"),
        ("reverse", "true"), // oldest key first
    ];
    params.extend(cursor.map(|cursor| ("cursor", cursor)));
    let url = address(pds, "com.atproto.repo.listRecords", &params);
    let mut streamed = get_stream(LISTING, Errand::Known, &url, &[], WITHIN, PAGE)
        .await
        .map_err(|failure| Unread::of(LISTING, failure))?;
    let max = if streamed.status == 200 { usize::MAX } else { SHORT_MAX };
    let bytes = whole(&mut streamed, max, slot, holds).await?;
    if streamed.status != 200 {
        return Err(Unread::of_status(streamed.status, &String::from_utf8_lossy(&bytes)));
    }
    // The parsed records of the page and its text are both in memory for a moment.
    let twice = (bytes.len() as u64).saturating_mul(2);
    slot.hold(holds.saturating_add(twice)).await.map_err(Unread::NoRoom)?;
    let page = std::str::from_utf8(&bytes).ok().and_then(|text| pds::page(text, did, collection));
    page.ok_or_else(|| Unread::Fault(Fault::coded(Code::Host, LISTING, "the host answered nonsense")))
}
