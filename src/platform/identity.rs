//! Who is behind a DID: its document, asked for, stored and remembered for a while.
//!
//! What is read of people the index knows stands in D1 for a day, unless the network says that it
//! changed (I50). In front of that each isolate remembers for some minutes, also strangers, so
//! that pictures cost no round trip each. Whoever finds nobody home asks anew ([`refresh`]).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use url::Url;

use super::clock::now;
use super::config::Outside;
use super::handles;
use super::outbound::{Failure, get_text};
use crate::domain::hosts::{document_of, may_ask};
use crate::domain::identity::{Identity, claim};
use crate::storage::{Fault, Store, identities};
use crate::wire::did_document::DidDocument;
use crate::wire::handle::Handle;
use crate::wire::ids::Did;
use crate::wire::multikey::Multikey;
use crate::wire::time::Micros;

/// How long an isolate remembers. An account may move, and another isolate may hear of it:
/// whoever finds it gone asks anew, so this only bounds how long an address that still answers is
/// used.
const REMEMBERED_MICROS: i64 = 5 * 60 * 1_000_000;
/// Identities remembered: some hundred bytes each.
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
    /// The directory is left alone until then: it did not answer others (K07). Nobody else of it
    /// needs to be tried before.
    Resting(Micros),
    /// Who knows did not answer, or answered nonsense.
    Fault(Fault),
}

impl Unresolved {
    /// As a fault, if it is one.
    pub fn into_fault(self) -> Option<Fault> {
        match self {
            Self::Nowhere => None,
            Self::Resting(until) => Some(Failure::Resting(until).into_fault("resolving a DID")),
            Self::Fault(fault) => Some(fault),
        }
    }
}

impl From<Fault> for Unresolved {
    fn from(fault: Fault) -> Self {
        Unresolved::Fault(fault)
    }
}

/// Where an account lives, and who signs for it.
#[derive(Clone, Debug)]
pub struct Account {
    /// Its PDS, which may be asked (R21.6).
    pub pds: Url,
    /// The key that signs its repository; `None`: its document has none.
    pub signing_key: Option<Multikey>,
    /// Its handle, if it is proven.
    pub handle: Option<Handle>,
}

thread_local! {
    // Plain data only: nothing here belongs to a request (platform facts 5.5).
    static REMEMBERED: RefCell<BTreeMap<Did, (Identity, Micros)>> = const { RefCell::new(BTreeMap::new()) };
}

/// Where the account of a DID lives: from D1 if what stands there is believed, else asked for.
pub async fn resolve(db: &impl Store, did: &Did, outside: &Outside) -> Result<Account, Unresolved> {
    let stored = identities::find(db, did).await?;
    match stored.filter(|identity| identity.is_believed(now())) {
        Some(identity) => account(&identity, outside),
        None => refresh(db, did, outside).await,
    }
}

/// Asks for the document whatever is known. For an account that was not found where it should be,
/// or a signature that does not fit.
pub async fn refresh(db: &impl Store, did: &Did, outside: &Outside) -> Result<Account, Unresolved> {
    account(&read(db, did, outside).await?, outside)
}

/// As [`resolve`], with the memory of this isolate in front; `true` if nobody was asked just now.
pub async fn recall(db: &impl Store, did: &Did, outside: &Outside) -> Result<(Account, bool), Unresolved> {
    if let Some(identity) = remembered(did) {
        return Ok((account(&identity, outside)?, true));
    }
    let stored = identities::find(db, did).await?;
    match stored.filter(|identity| identity.is_believed(now())) {
        Some(identity) => {
            remember(&identity);
            Ok((account(&identity, outside)?, true))
        }
        None => Ok((refresh(db, did, outside).await?, false)),
    }
}

/// Who is behind a DID, with the claim to the handle checked (O10); what was found out within a
/// day is not asked for again.
pub async fn identify(db: &impl Store, did: &Did, outside: &Outside) -> Result<Identity, Unresolved> {
    let at = now();
    let known = match identities::find(db, did).await? {
        None => remembered(did), // a stranger
        stored => stored,
    };
    let mut identity = match known.filter(|identity| identity.is_believed(at)) {
        Some(identity) if identity.is_checked(at) => return Ok(identity),
        Some(identity) => identity,
        None => read(db, did, outside).await?,
    };
    if let Some(handle) = identity.handle.clone().filter(|_| !identity.is_checked(at)) {
        identity.handle_status = claim(did, &handles::lead(&handle, outside).await);
        identity.handle_checked_at = Some(at);
        identities::keep(db, &identity).await?;
        remember(&identity);
    }
    Ok(identity)
}

fn account(identity: &Identity, outside: &Outside) -> Result<Account, Unresolved> {
    // Judged again: what may be asked is a setting, and the row may be older.
    let pds = identity.pds.clone().filter(|url| may_ask(url, &outside.insecure));
    Ok(Account {
        pds: pds.ok_or(Unresolved::Nowhere)?,
        signing_key: identity.signing_key.clone(),
        handle: identity.proven_handle().cloned(),
    })
}

/// Asks for the document, stores what it says and remembers it.
async fn read(db: &impl Store, did: &Did, outside: &Outside) -> Result<Identity, Unresolved> {
    let asked_at = now();
    REMEMBERED.with_borrow_mut(|remembered| remembered.remove(did));
    let document = document(did, outside).await?;
    let mut identity = Identity::of(did, document, &outside.insecure, asked_at);
    if let Some(earlier) = identities::find(db, did).await? {
        identity.keep_check(&earlier);
    }
    identities::keep(db, &identity).await?;
    remember(&identity);
    Ok(identity)
}

fn remembered(did: &Did) -> Option<Identity> {
    let at = now();
    REMEMBERED.with_borrow(|remembered| {
        remembered.get(did).filter(|(_, until)| *until > at).map(|(identity, _)| identity.clone())
    })
}

fn remember(identity: &Identity) {
    let until = Micros(now().0.saturating_add(REMEMBERED_MICROS));
    REMEMBERED.with_borrow_mut(|remembered| {
        if remembered.len() >= REMEMBERED_MAX {
            remembered.clear(); // cheaper than to know which: each costs one request to have back
        }
        remembered.insert(identity.did.clone(), (identity.clone(), until));
    });
}

/// The document of a DID, asked for.
async fn document(did: &Did, outside: &Outside) -> Result<DidDocument, Unresolved> {
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
        // The host of one did:web is nobody else's.
        Err(Failure::Resting(until)) if did.as_str().starts_with("did:plc:") => {
            Err(Unresolved::Resting(until))
        }
        Err(failure) => Err(Unresolved::Fault(failure.into_fault(DOING))),
    }
}
