//! Resolves DIDs: fetches, stores and caches their documents.
//!
//! For people whom the index knows, D1 keeps the result for a day, unless the network reports a
//! change (I50). In front of that, each isolate caches results for some minutes, strangers'
//! included, so that images cost no round trip each; it caches briefly that a DID does not exist,
//! and equal requests share one answer. Requests of anybody ([`recall`], [`identify_anybody`]) go
//! that way. The service's own lookups of known people ([`resolve`], [`refresh`], [`identify`])
//! never wait for strangers'; lookups of people whom others named use the strangers' allowance
//! ([`resolve_named`]). A caller who finds the account gone fetches the document again.

use std::cell::RefCell;
use std::time::Duration;

use url::Url;
use worker::Delay;

use super::clock::now;
use super::config::Outside;
use super::handles;
use super::outbound::{Failure, get_text};
use super::strangers::Service;
use crate::domain::allowance::{Allowance, Rate};
use crate::domain::answers::{Answers, Look};
use crate::domain::breaker::Errand;
use crate::domain::fault_code::Code;
use crate::domain::hosts::{document_of, may_ask};
use crate::domain::identity::{Identity, claim};
use crate::storage::{Fault, Store, identities};
use crate::wire::did_document::DidDocument;
use crate::wire::handle::Handle;
use crate::wire::ids::Did;
use crate::wire::multikey::Multikey;
use crate::wire::time::Micros;
use crate::wire::xrpc::origin;

const SECOND: i64 = 1_000_000;
/// How long an isolate caches a result. An account may move, and only another isolate may learn of
/// it. A caller who finds the account gone fetches again, so this only bounds how long an old
/// address that still answers is used.
const REMEMBERED: i64 = 5 * 60 * SECOND;
/// How long it is cached that a DID does not exist. Somebody may create it.
const NOBODY: i64 = 30 * SECOND;
/// How long a failure is cached: for requests at the same time.
const FAILED: i64 = SECOND;
/// How often a document is fetched again because the account was not at the address in it.
const ANEW: i64 = 10 * SECOND;
/// How often a document is fetched again because a signature is invalid (X04): the pause per DID in
/// microseconds, and the limit for all. Anybody can forge a token of anybody.
const REKEY: i64 = 60 * SECOND;
const REKEY_RATE: Rate = Rate { every: 200_000, at_once: 20 };
const WITHIN: Duration = Duration::from_secs(5);
/// How long equal requests wait for the one in progress: a little longer than it may take.
const PATIENCE: i64 = 7 * SECOND;
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Documents in the directory have 1 to 2 kB.
const DOCUMENT_MAX: usize = 64 * 1024;

/// Why a DID does not resolve.
#[derive(Debug)]
pub enum Unresolved {
    /// The DID does not exist, names no PDS, or names a host that the service must not contact
    /// (R21.6).
    Nowhere,
    /// The service does not ask the directory before then, because it failed to answer (K07). No
    /// other DID of that directory needs to be tried before.
    Resting(Micros),
    /// Too many requests about strangers are in progress.
    Busy,
    /// The host failed, or its answer was invalid.
    Fault(Fault),
}

impl Unresolved {
    /// As a fault, if it is one.
    pub fn into_fault(self) -> Option<Fault> {
        match self {
            Self::Nowhere => None,
            Self::Resting(until) => Some(Failure::Resting(until).into_fault(DOING)),
            Self::Busy => Some(Fault::coded(Code::Host, DOING, "too many strangers are asked about")),
            Self::Fault(fault) => Some(fault),
        }
    }
}

impl From<Fault> for Unresolved {
    fn from(fault: Fault) -> Self {
        Unresolved::Fault(fault)
    }
}

const DOING: &str = "resolving a DID";

/// Where an account is hosted, and which key signs for it.
#[derive(Clone, Debug)]
pub struct Account {
    /// Its PDS, which the service may contact (R21.6).
    pub pds: Url,
    /// The key that signs its repository; `None` if its document has none.
    pub signing_key: Option<Multikey>,
    /// Its handle, if proven.
    pub handle: Option<Handle>,
}

/// The cached result for a DID.
#[derive(Clone, Debug)]
enum Said {
    Found(Box<Identity>, bool),
    Nowhere,
    Failed,
}

thread_local! {
    // Plain data only: nothing here belongs to a request (platform facts 5.5).
    static SAID: RefCell<Answers<Said>> = const { RefCell::new(Answers::new()) };
    static ANEW_LATELY: RefCell<Answers<()>> = const { RefCell::new(Answers::new()) };
    static REKEYED: RefCell<Answers<()>> = const { RefCell::new(Answers::new()) };
    static REKEYS: RefCell<Allowance> = const { RefCell::new(Allowance::new()) };
}

/// The account of a known DID: from D1 if the stored document is fresh enough, otherwise fetched.
pub async fn resolve(db: &impl Store, did: &Did, outside: &Outside) -> Result<Account, Unresolved> {
    let stored = identities::find(db, did).await?;
    match stored.filter(|identity| identity.is_believed(now())) {
        Some(identity) => account(&identity, outside),
        None => refresh(db, did, outside).await,
    }
}

/// Fetches the document, whatever is stored: for an account that was not at its address, or an
/// invalid signature.
pub async fn refresh(db: &impl Store, did: &Did, outside: &Outside) -> Result<Account, Unresolved> {
    account(&read(db, did, outside, true).await?, outside)
}

/// As [`resolve`] or [`refresh`], for a DID that others merely named: it uses the strangers'
/// allowance.
pub async fn resolve_named(
    db: &impl Store,
    did: &Did,
    outside: &Outside,
    anew: bool,
) -> Result<Account, Unresolved> {
    let stored = identities::find(db, did).await?;
    match stored.filter(|identity| !anew && identity.is_believed(now())) {
        Some(identity) => account(&identity, outside),
        None => account(&ask(&Asking(did), db, outside, false).await?, outside),
    }
}

/// Anybody's account.
#[derive(Clone, Debug)]
pub struct Recalled {
    /// The account.
    pub account: Account,
    /// Whether it came from the cache.
    pub remembered: bool,
    /// Whether the index knows the person.
    pub is_known: bool,
}

/// As [`resolve`] for any DID, through the isolate's cache.
pub async fn recall(db: &impl Store, did: &Did, outside: &Outside) -> Result<Recalled, Unresolved> {
    let (identity, is_known, remembered) = remembered(db, did, outside).await?;
    Ok(Recalled { account: account(&identity, outside)?, remembered, is_known })
}

/// Resolves any DID; also returns whether the index knows it and whether the result was cached.
async fn remembered(
    db: &impl Store,
    did: &Did,
    outside: &Outside,
) -> Result<(Identity, bool, bool), Unresolved> {
    if let Some(said) = turn(did, false).await {
        let (identity, is_known) = said?;
        return Ok((identity, is_known, true));
    }
    let asking = Asking(did);
    let stored = identities::find(db, did).await?;
    let is_known = stored.is_some();
    match stored.filter(|identity| identity.is_believed(now())) {
        Some(identity) => {
            remember(&identity, true);
            Ok((identity, true, true))
        }
        None => Ok((ask(&asking, db, outside, is_known).await?, is_known, false)),
    }
}

/// The key of an account, for its signatures on tokens.
#[derive(Clone, Debug)]
pub struct Signer {
    /// The key in its document; `None` if it has none, or if there is no document.
    pub key: Option<Multikey>,
    /// Whether the document was fetched just now.
    pub is_fresh: bool,
    is_known: bool,
}

/// The cached signing key of an account. A DID that does not exist is not a fault: its token is
/// refused.
pub async fn signer(db: &impl Store, did: &Did, outside: &Outside) -> Result<Signer, Unresolved> {
    match remembered(db, did, outside).await {
        Ok((identity, is_known, is_remembered)) => {
            Ok(Signer { key: identity.signing_key, is_fresh: !is_remembered, is_known })
        }
        Err(Unresolved::Nowhere) => Ok(Signer { key: None, is_fresh: true, is_known: false }),
        Err(other) => Err(other),
    }
}

/// As [`signer`], after a signature that the cached key does not verify: fetches the document
/// again, unless that happened within a minute for this DID, or too often for others. `None` if it
/// must not be fetched, so the cached key decides.
pub async fn signer_anew(
    db: &impl Store,
    did: &Did,
    outside: &Outside,
    remembered: &Signer,
) -> Result<Option<Signer>, Unresolved> {
    let at = now();
    let may = REKEYED.with_borrow_mut(|rekeyed| {
        let may = rekeyed.said(did.as_str(), at).is_none()
            && REKEYS.with_borrow_mut(|allowance| allowance.take(&REKEY_RATE, at));
        if may {
            rekeyed.say(did.as_str(), (), Micros(at.0 + REKEY), at);
        }
        may
    });
    if !may {
        return Ok(None);
    }
    match ask(&Asking(did), db, outside, remembered.is_known).await {
        Ok(identity) => {
            Ok(Some(Signer { key: identity.signing_key, is_fresh: true, is_known: remembered.is_known }))
        }
        Err(Unresolved::Nowhere) => Ok(Some(Signer { key: None, is_fresh: true, is_known: false })),
        Err(other) => Err(other),
    }
}

/// As [`recall`], for an account that was not at its cached address: fetches the document again,
/// unless that happened recently.
pub async fn recall_anew(
    db: &impl Store,
    did: &Did,
    outside: &Outside,
    is_known: bool,
) -> Result<Account, Unresolved> {
    let at = now();
    let lately = ANEW_LATELY.with_borrow(|lately| lately.said(did.as_str(), at)).is_some();
    if lately {
        return Ok(recall(db, did, outside).await?.account);
    }
    ANEW_LATELY.with_borrow_mut(|lately| lately.say(did.as_str(), (), Micros(at.0 + ANEW), at));
    account(&ask(&Asking(did), db, outside, is_known).await?, outside)
}

/// The identity of a known DID, with a verified handle (O10). A result of the last day is not
/// fetched again.
pub async fn identify(db: &impl Store, did: &Did, outside: &Outside) -> Result<Identity, Unresolved> {
    let stored = identities::find(db, did).await?;
    let identity = match stored.filter(|identity| identity.is_believed(now())) {
        Some(identity) => identity,
        None => read(db, did, outside, true).await?,
    };
    checked(db, identity, outside, true).await
}

/// As [`identify`] for any DID.
pub async fn identify_anybody(db: &impl Store, did: &Did, outside: &Outside) -> Result<Identity, Unresolved> {
    let stored = identities::find(db, did).await?;
    let is_known = stored.is_some();
    let identity = match stored.filter(|identity| identity.is_believed(now())) {
        Some(identity) => identity,
        // For a known person, the cached result is older than the stored one.
        None => match turn(did, is_known).await {
            Some(said) => said?.0,
            None => ask(&Asking(did), db, outside, is_known).await?,
        },
    };
    checked(db, identity, outside, is_known).await
}

/// The claimed handle, verified unless it was before.
async fn checked(
    db: &impl Store,
    mut identity: Identity,
    outside: &Outside,
    is_known: bool,
) -> Result<Identity, Unresolved> {
    let at = now();
    if let Some(handle) = identity.handle.clone().filter(|_| !identity.is_checked(at)) {
        let proof = if is_known {
            handles::lead(&handle, outside, Errand::Trusted).await
        } else {
            handles::lead_for_anybody(&handle, outside).await
        };
        identity.handle_status = claim(&identity.did, &proof);
        identity.handle_checked_at = Some(at);
        identities::keep(db, &identity).await?;
        remember(&identity, is_known);
    }
    Ok(identity)
}

/// The cached result for a DID, perhaps after waiting for another request. `None` if the caller
/// must fetch it. `anew`: accept only a result that was fetched just now.
async fn turn(did: &Did, mut anew: bool) -> Option<Result<(Identity, bool), Unresolved>> {
    loop {
        match SAID.with_borrow_mut(|said| said.look(did.as_str(), PATIENCE, now())) {
            Look::Ask => return None,
            Look::Asked => {
                anew = false;
                Delay::from(LOOK_EVERY).await;
            }
            Look::Said(Said::Found(..)) if anew => {
                SAID.with_borrow_mut(|said| said.forget(did.as_str()));
            }
            Look::Said(Said::Found(identity, is_known)) => return Some(Ok((*identity, is_known))),
            Look::Said(Said::Nowhere) => return Some(Err(Unresolved::Nowhere)),
            Look::Said(Said::Failed) => {
                return Some(Err(Unresolved::Fault(Fault::coded(
                    Code::Host,
                    DOING,
                    "it was not answered just now",
                ))));
            }
        }
    }
}

/// A fetch in progress; others wait until this is dropped.
struct Asking<'a>(&'a Did);

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        SAID.with_borrow_mut(|said| said.give_up(self.0.as_str()));
    }
}

/// Fetches the document, and shares the result.
async fn ask(
    asking: &Asking<'_>,
    db: &impl Store,
    outside: &Outside,
    is_known: bool,
) -> Result<Identity, Unresolved> {
    let did = asking.0;
    let is_counted = !is_known && did.as_str().starts_with("did:plc:");
    let turn = if is_counted { Some(Service::Directory.turn().await.ok_or(Unresolved::Busy)?) } else { None };
    let read = read(db, did, outside, is_known).await;
    let at = now();
    let say = |said, for_so_long: i64| {
        SAID.with_borrow_mut(|all| all.say(did.as_str(), said, Micros(at.0 + for_so_long), at));
    };
    match &read {
        Ok(_) => {
            if let Some(turn) = turn {
                turn.led_somewhere();
            }
        }
        Err(Unresolved::Nowhere) => say(Said::Nowhere, NOBODY),
        Err(_) => say(Said::Failed, FAILED),
    }
    read
}

fn account(identity: &Identity, outside: &Outside) -> Result<Account, Unresolved> {
    // Judged again, because the reach is a setting and the row may be older. Parsed again, too:
    // older rows contain endpoints with a path.
    let pds = identity.pds.clone().and_then(origin).filter(|url| may_ask(url, &outside.reach));
    Ok(Account {
        pds: pds.ok_or(Unresolved::Nowhere)?,
        signing_key: identity.signing_key.clone(),
        handle: identity.proven_handle().cloned(),
    })
}

/// Fetches the document, and stores and caches what it says.
async fn read(db: &impl Store, did: &Did, outside: &Outside, is_known: bool) -> Result<Identity, Unresolved> {
    let asked_at = now();
    SAID.with_borrow_mut(|said| said.forget(did.as_str()));
    let document = document(did, outside, is_known).await?;
    let mut identity = Identity::of(did, document, &outside.reach, asked_at);
    if let Some(earlier) = identities::find(db, did).await? {
        identity.keep_check(&earlier);
    }
    identities::keep(db, &identity).await?;
    remember(&identity, is_known);
    Ok(identity)
}

fn remember(identity: &Identity, is_known: bool) {
    let at = now();
    let said = Said::Found(Box::new(identity.clone()), is_known);
    SAID.with_borrow_mut(|all| all.say(identity.did.as_str(), said, Micros(at.0 + REMEMBERED), at));
}

/// Fetches the document of a DID.
async fn document(did: &Did, outside: &Outside, is_known: bool) -> Result<DidDocument, Unresolved> {
    let is_plc = did.as_str().starts_with("did:plc:");
    let errand = match (is_plc, is_known) {
        (false, _) => Errand::Document,
        (true, true) => Errand::Trusted,
        (true, false) => Errand::TrustedForStrangers,
    };
    let url = document_of(did, &outside.plc, &outside.reach).ok_or(Unresolved::Nowhere)?;
    let headers = [("accept", "application/did+ld+json, application/json")];
    match get_text(DOING, errand, &url, &headers, WITHIN, DOCUMENT_MAX).await {
        Ok((200, text)) => DidDocument::parse(&text, did).ok_or_else(|| {
            if did.as_str().starts_with("did:web:") {
                Unresolved::Nowhere // not a valid host for a did:web
            } else {
                Unresolved::Fault(Fault::coded(Code::Host, DOING, "the directory answered nonsense"))
            }
        }),
        Ok((400 | 401 | 403 | 404 | 410, _)) | Err(Failure::ElsewhereRefused) => Err(Unresolved::Nowhere),
        Ok((status, _)) => {
            Err(Unresolved::Fault(Fault::coded(Code::Host, DOING, format!("status {status}"))))
        }
        // The host of one did:web serves no other DID.
        Err(Failure::Resting(until)) if is_plc => Err(Unresolved::Resting(until)),
        Err(failure) => Err(Unresolved::Fault(failure.into_fault(DOING))),
    }
}
