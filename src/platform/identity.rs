//! Who is behind a DID: its document, asked for, stored and remembered for a while.
//!
//! What is read of people the index knows stands in D1 for a day, unless the network says that it
//! changed (I50). In front of that each isolate remembers for some minutes, also strangers, so
//! that pictures cost no round trip each, and for a moment who is nobody; equal questions share one
//! answer. What anybody may ask ([`recall`], [`identify_anybody`]) goes that way; the service itself
//! asks for people whom the index knows ([`resolve`], [`refresh`], [`identify`]), and is not held up by
//! what strangers had asked, also by naming people who do not exist ([`resolve_named`]). Whoever finds nobody home asks anew.

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
/// How long an isolate remembers. An account may move, and another isolate may hear of it:
/// whoever finds it gone asks anew, so this only bounds how long an address that still answers is
/// used.
const REMEMBERED: i64 = 5 * 60 * SECOND;
/// How long a DID is remembered that is nobody's. Somebody may make it theirs.
const NOBODY: i64 = 30 * SECOND;
/// How long it is remembered that there was no answer: for those who asked at the same time.
const FAILED: i64 = SECOND;
/// How often a document is asked for anew because the account was not found where it says.
const ANEW: i64 = 10 * SECOND;
/// How often a document is asked for anew because a signature does not fit (X04): so often for one
/// DID, in microseconds, and so often in all. Anybody can forge a token of anybody.
const REKEY: i64 = 60 * SECOND;
const REKEY_RATE: Rate = Rate { every: 200_000, at_once: 20 };
const WITHIN: Duration = Duration::from_secs(5);
/// How long those who ask the same wait for the one who asks: a little longer than that may take.
const PATIENCE: i64 = 7 * SECOND;
const LOOK_EVERY: Duration = Duration::from_millis(20);
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
    /// Too many strangers are asked about just now.
    Busy,
    /// Who knows did not answer, or answered nonsense.
    Fault(Fault),
}

impl Unresolved {
    /// As a fault, if it is one.
    pub fn into_fault(self) -> Option<Fault> {
        match self {
            Self::Nowhere => None,
            Self::Resting(until) => Some(Failure::Resting(until).into_fault(DOING)),
            Self::Busy => Some(Fault::new(DOING, "too many strangers are asked about")),
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

/// What is remembered about a DID.
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

/// Where the account of a DID lives that the index knows: from D1 if what stands there is believed,
/// else asked for.
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
    account(&read(db, did, outside, true).await?, outside)
}

/// As [`resolve`] or [`refresh`] for somebody whom others only named: their turn is a stranger's.
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

/// Where anybody's account lives.
#[derive(Clone, Debug)]
pub struct Recalled {
    /// Where.
    pub account: Account,
    /// Whether nobody was asked just now.
    pub remembered: bool,
    /// Whether the index knows them.
    pub is_known: bool,
}

/// As [`resolve`] for anybody, with the memory of this isolate in front.
pub async fn recall(db: &impl Store, did: &Did, outside: &Outside) -> Result<Recalled, Unresolved> {
    let (identity, is_known, remembered) = remembered(db, did, outside).await?;
    Ok(Recalled { account: account(&identity, outside)?, remembered, is_known })
}

/// Who is behind anybody's DID, whether the index knows them, and whether nobody was asked just now.
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
    /// The key in its document, if it has one; `None` also where there is no such document.
    pub key: Option<Multikey>,
    /// Whether it was asked for just now.
    pub is_fresh: bool,
    is_known: bool,
}

/// Who signs for an account, as it is remembered. Nobody is no fault: a token of theirs is refused.
pub async fn signer(db: &impl Store, did: &Did, outside: &Outside) -> Result<Signer, Unresolved> {
    match remembered(db, did, outside).await {
        Ok((identity, is_known, is_remembered)) => {
            Ok(Signer { key: identity.signing_key, is_fresh: !is_remembered, is_known })
        }
        Err(Unresolved::Nowhere) => Ok(Signer { key: None, is_fresh: true, is_known: false }),
        Err(other) => Err(other),
    }
}

/// As [`signer`], after a signature that did not fit the one that is remembered: the document is asked
/// for anew, unless it was within the minute for this DID, or too often for others. `None`: it may
/// not be asked for, so what is remembered counts.
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

/// As [`recall`], of somebody who was not found where that says: the document is asked for once more,
/// unless it was lately.
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

/// Who is behind a DID that the index knows, with the claim to the handle checked (O10); what was
/// found out within a day is not asked for again.
pub async fn identify(db: &impl Store, did: &Did, outside: &Outside) -> Result<Identity, Unresolved> {
    let stored = identities::find(db, did).await?;
    let identity = match stored.filter(|identity| identity.is_believed(now())) {
        Some(identity) => identity,
        None => read(db, did, outside, true).await?,
    };
    checked(db, identity, outside, true).await
}

/// As [`identify`] for anybody.
pub async fn identify_anybody(db: &impl Store, did: &Did, outside: &Outside) -> Result<Identity, Unresolved> {
    let stored = identities::find(db, did).await?;
    let is_known = stored.is_some();
    let identity = match stored.filter(|identity| identity.is_believed(now())) {
        Some(identity) => identity,
        // What is remembered of somebody whom the index knows is older than what stands there.
        None => match turn(did, is_known).await {
            Some(said) => said?.0,
            None => ask(&Asking(did), db, outside, is_known).await?,
        },
    };
    checked(db, identity, outside, is_known).await
}

/// The claim to the handle, checked unless it was.
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

/// What is remembered of a DID, perhaps after somebody else has asked, or `None`: it is for the caller
/// to ask. `anew`: only what somebody was asked just now counts.
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
                return Some(Err(Unresolved::Fault(Fault::new(DOING, "it was not answered just now"))));
            }
        }
    }
}

/// Somebody asks; others wait, until this ends.
struct Asking<'a>(&'a Did);

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        SAID.with_borrow_mut(|said| said.give_up(self.0.as_str()));
    }
}

/// Asks for the document, and has the answer shared.
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
    // Judged again: what may be asked is a setting, and the row may be older.
    // Read again too: a row may be of a time when an endpoint was kept with its path.
    let pds = identity.pds.clone().and_then(origin).filter(|url| may_ask(url, &outside.reach));
    Ok(Account {
        pds: pds.ok_or(Unresolved::Nowhere)?,
        signing_key: identity.signing_key.clone(),
        handle: identity.proven_handle().cloned(),
    })
}

/// Asks for the document, stores what it says and remembers it.
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

/// The document of a DID, asked for.
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
                Unresolved::Nowhere // a host that is no did:web at all
            } else {
                Unresolved::Fault(Fault::new(DOING, "the directory answered nonsense"))
            }
        }),
        Ok((400 | 401 | 403 | 404 | 410, _)) | Err(Failure::ElsewhereRefused) => Err(Unresolved::Nowhere),
        Ok((status, _)) => Err(Unresolved::Fault(Fault::new(DOING, format!("status {status}")))),
        // The host of one did:web is nobody else's.
        Err(Failure::Resting(until)) if is_plc => Err(Unresolved::Resting(until)),
        Err(failure) => Err(Unresolved::Fault(failure.into_fault(DOING))),
    }
}
