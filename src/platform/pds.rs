//! Asking a PDS for a repository: its newest revision, its signed export, or its records in pages.
//!
//! Promises: a [`Snapshot`] is whole and, if it comes from the export, verified; whatever else
//! happens is an [`Unread`], never a part. Who asks keeps to two requests at a time (K07).

use std::time::Duration;

use url::Url;

use super::outbound::{Bounds, Failure, get_stream, get_text};
use crate::domain::repository::{Reading, Refused};
use crate::domain::snapshot::{Snapshot, SnapshotRecord};
use crate::storage::Fault;
use crate::wire::ids::{Collection, Did};
use crate::wire::pds;
use crate::wire::signing_key::SigningKey;
use crate::wire::time::Micros;

/// How long the beginning of an answer may take. A PDS prepares an export before it begins.
const WITHIN: Duration = Duration::from_secs(20);
/// How long an export may take, and how long it may pause.
const EXPORT: Bounds = Bounds {
    idle: Duration::from_secs(20),
    in_all_micros: 10 * 60 * 1_000_000,
    bytes: crate::domain::repository::ARCHIVE_MAX,
};
/// An answer that says a revision, or why not.
const SHORT_MAX: usize = 16 * 1024;
/// A page of 100 records: the network allows 1 MB each, those of interest have 64 kB at most.
const PAGE_MAX: usize = 16 * 1024 * 1024;
/// Records kept of a listing, in bytes of JSON: half of what an isolate has, for two at a time.
const LISTED_MAX: usize = 24 * 1024 * 1024;

/// Why a repository could not be read.
#[derive(Debug)]
pub enum Unread {
    /// The host says that the account is not there: `deactivated`, `takendown`, `suspended` or
    /// `not_found`.
    Absent(&'static str),
    /// The host is left alone until then.
    Resting(Micros),
    /// The host cannot serve this.
    Unserved(u16),
    /// What it served is not believed.
    Refused(Refused),
    /// No answer, or nonsense.
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

fn query(pds: &Url, method: &str, params: &[(&str, &str)]) -> Result<Url, Unread> {
    let mut url = pds
        .join(&format!("/xrpc/{method}"))
        .map_err(|error| Unread::Fault(Fault::new("addressing a PDS", error)))?;
    url.query_pairs_mut().extend_pairs(params);
    Ok(url)
}

/// The newest revision of a repository.
pub async fn latest_rev(pds: &Url, did: &Did) -> Result<String, Unread> {
    const DOING: &str = "asking for the newest revision of a repository";
    let url = query(pds, "com.atproto.sync.getLatestCommit", &[("did", did.as_str())])?;
    match get_text(DOING, &url, &[], WITHIN, SHORT_MAX).await {
        Ok((200, text)) => pds::latest_rev(&text)
            .ok_or_else(|| Unread::Fault(Fault::new(DOING, "the host answered nonsense"))),
        Ok((status, text)) => Err(Unread::of_status(status, &text)),
        Err(failure) => Err(Unread::of(DOING, failure)),
    }
}

/// The repository from its signed export (`com.atproto.sync.getRepo`), which is read as it comes.
pub async fn export(pds: &Url, did: &Did, key: &SigningKey) -> Result<Snapshot, Unread> {
    const DOING: &str = "reading the export of a repository";
    let url = query(pds, "com.atproto.sync.getRepo", &[("did", did.as_str())])?;
    let headers = [("accept", "application/vnd.ipld.car")];
    let mut streamed = get_stream(DOING, &url, &headers, WITHIN, EXPORT)
        .await
        .map_err(|failure| Unread::of(DOING, failure))?;
    let mut reading = Reading::new(Collection::ALL);
    let mut refusal = Vec::new();
    while let Some(piece) = streamed.next().await {
        let piece = piece.map_err(Unread::Fault)?;
        if streamed.status == 200 {
            reading.take(&piece).map_err(Unread::Refused)?;
        } else if refusal.len() < SHORT_MAX {
            refusal.extend_from_slice(&piece);
        }
    }
    if streamed.status != 200 {
        return Err(Unread::of_status(streamed.status, &String::from_utf8_lossy(&refusal)));
    }
    reading.finish(did, key).map_err(Unread::Refused)
}

/// The repository from its records in pages (`com.atproto.repo.listRecords`), for a host that
/// cannot serve the export. Nothing in it is signed. `rev` was its newest revision before.
pub async fn listing(pds: &Url, did: &Did, rev: String) -> Result<Snapshot, Unread> {
    const DOING: &str = "listing the records of a repository";
    let mut collections = Collection::ALL.to_vec();
    collections.sort_by_key(|collection| collection.nsid());
    let mut snapshot =
        Snapshot { rev, records: Vec::new(), complete: Collection::ALL.iter().copied().collect() };
    let mut bytes = 0;
    for collection in collections {
        let mut cursor: Option<String> = None;
        loop {
            let mut params = vec![
                ("repo", did.as_str()),
                ("collection", collection.nsid()),
                ("limit", "100"),
                ("reverse", "true"), // oldest key first
            ];
            params.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
            let url = query(pds, "com.atproto.repo.listRecords", &params)?;
            let text = match get_text(DOING, &url, &[], WITHIN, PAGE_MAX).await {
                Ok((200, text)) => text,
                Ok((status, text)) => return Err(Unread::of_status(status, &text)),
                Err(failure) => return Err(Unread::of(DOING, failure)),
            };
            let page = pds::page(&text, did, collection)
                .ok_or_else(|| Unread::Fault(Fault::new(DOING, "the host answered nonsense")))?;
            let is_last = page.records.is_empty() || page.cursor.is_none() || page.cursor == cursor;
            for (rkey, cid, json) in page.records {
                bytes += json.len();
                snapshot.records.push(SnapshotRecord { collection, rkey, cid, json });
            }
            if bytes > LISTED_MAX {
                return Err(Unread::Refused(Refused::TooLarge));
            }
            if is_last {
                break;
            }
            cursor = page.cursor;
        }
    }
    Ok(snapshot)
}
