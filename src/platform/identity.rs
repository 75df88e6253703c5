//! Who is behind a DID: its document, asked for and remembered for a while.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use url::Url;

use super::clock::now;
use super::config::Outside;
use super::outbound::{Failure, get_text};
use crate::domain::hosts::{document_of, may_ask};
use crate::storage::Fault;
use crate::wire::did_document::DidDocument;
use crate::wire::ids::Did;
use crate::wire::time::Micros;

/// How long a document is believed. An account may move; whoever finds it gone asks anew
/// ([`forget`]), so this only bounds how long an address that still answers is used.
const BELIEVED_MICROS: i64 = 5 * 60 * 1_000_000;
/// Addresses remembered: a few hundred bytes each.
const REMEMBERED_MAX: usize = 2000;
const WITHIN: Duration = Duration::from_secs(5);
/// Documents of the directory have 1 to 2 kB.
const DOCUMENT_MAX: usize = 64 * 1024;

/// Why a DID leads nowhere.
#[derive(Debug)]
pub enum Unresolved {
    /// There is no such DID, it names no PDS, or it leads to a host that may not be asked
    /// (R21.6).
    Nowhere,
    /// Who knows did not answer, or answered nonsense.
    Fault(Fault),
}

thread_local! {
    // Plain data only: nothing here belongs to a request (platform facts 5.5).
    static REMEMBERED: RefCell<BTreeMap<Did, (Url, Micros)>> = const { RefCell::new(BTreeMap::new()) };
}

/// The PDS of a DID, and whether it was remembered.
pub async fn pds_of(did: &Did, outside: &Outside) -> Result<(Url, bool), Unresolved> {
    let at = now();
    let remembered = REMEMBERED.with_borrow(|remembered| {
        remembered.get(did).filter(|(_, until)| *until > at).map(|(url, _)| url.clone())
    });
    if let Some(url) = remembered {
        return Ok((url, true));
    }
    let document = document(did, outside).await?;
    let pds = document.pds.filter(|url| may_ask(url, &outside.insecure)).ok_or(Unresolved::Nowhere)?;
    let until = Micros(now().0.saturating_add(BELIEVED_MICROS));
    REMEMBERED.with_borrow_mut(|remembered| {
        if remembered.len() >= REMEMBERED_MAX {
            remembered.clear(); // cheaper than to know which: each costs one request to have back
        }
        remembered.insert(did.clone(), (pds.clone(), until));
    });
    Ok((pds, false))
}

/// Forgets where a DID leads, because it was not found there.
pub fn forget(did: &Did) {
    REMEMBERED.with_borrow_mut(|remembered| remembered.remove(did));
}

/// The document of a DID, asked for anew.
pub async fn document(did: &Did, outside: &Outside) -> Result<DidDocument, Unresolved> {
    const DOING: &str = "resolving a DID";
    let url = document_of(did, &outside.plc, &outside.insecure).ok_or(Unresolved::Nowhere)?;
    let headers = [("accept", "application/did+ld+json, application/json")];
    match get_text(DOING, &url, &headers, WITHIN, DOCUMENT_MAX).await {
        Ok((200, text)) => DidDocument::parse(&text, did).ok_or_else(|| {
            if did.as_str().starts_with("did:web:") {
                Unresolved::Nowhere // a host that is no did:web at all
            } else {
                Unresolved::Fault(Fault::new(DOING, "the directory answered nonsense"))
            }
        }),
        Ok((400 | 401 | 403 | 404 | 410, _)) | Err(Failure::ElsewhereRefused) => Err(Unresolved::Nowhere),
        Ok((status, _)) => Err(Unresolved::Fault(Fault::new(DOING, format!("status {status}")))),
        Err(Failure::Fault(fault)) => Err(Unresolved::Fault(fault)),
    }
}
