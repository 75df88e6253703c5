//! R43: the records of a community or a person, as lines.

use futures::TryStreamExt as _;
use worker::{Headers, Response};

use super::authority::{self, NOT_YOUR_DID};
use super::error::ApiError;
use super::{Answer, Call, cursor};
use crate::domain::export::{Rest, Subject, Walk};
use crate::domain::moderation::Caller;
use crate::platform::clock::now;
use crate::platform::d1::D1;
use crate::platform::exports::Slot;
use crate::platform::log;
use crate::storage::reads::communities;
use crate::storage::{Fault, export as pages};
use crate::wire::ids::AtUri;

/// The rule of the contract, as a part of its cursors.
const LIST: &str = "R43";

/// R43 `GET /api/export`: what is shown of a community, for its owner; what a person wrote, for that
/// person; both for the API key.
pub(super) async fn export(call: &Call) -> Answer {
    let caller = authority::moderator(call).await?;
    let subject = subject(call, &caller).await?;
    let about = format!("{subject:?}");
    let rest: Option<Rest> = call.query.cursor(LIST, &about)?;
    // One at a time for each person; the operator may export several things at once.
    let who = match &caller {
        Caller::Person(did) => did.to_string(),
        Caller::Operator | Caller::Service => about.clone(),
    };
    let full = || Fault::new("beginning an export", "as many as there may be are being written");
    let slot = Slot::take(&who).ok_or_else(full)?;
    let export = Export { db: call.db()?, walk: Walk::of(subject, rest, now()), about, slot, is_over: false };
    // Before the status is sent: a fault here is a 503.
    let first = export.next().await?;
    let lines = futures::stream::try_unfold(Next::Ready(first), |next| async {
        match next {
            Next::Ready(Some((text, export))) => Ok(Some((text, Next::After(export)))),
            Next::Ready(None) => Ok(None),
            Next::After(export) => Ok(export.next().await?.map(|(text, export)| (text, Next::After(export)))),
        }
    });
    // What arrived lacks the last line.
    let lines = lines.map_ok(String::into_bytes).map_err(|fault: Fault| {
        log::fault(&fault, "the response is aborted");
        worker::Error::RustError("the response is aborted".into())
    });
    let headers = Headers::new();
    headers.set("content-type", "application/x-ndjson")?;
    headers.set("cache-control", "no-store")?;
    Ok(Response::from_stream(lines)?.with_headers(headers))
}

/// What is asked for, if the caller may have it.
async fn subject(call: &Call, caller: &Caller) -> Result<Subject, ApiError> {
    match (call.query.optional_at_uri("community")?, call.query.optional_did("did")?) {
        (Some(named), None) => {
            authority::must_own(caller, named)?;
            let nothing = ApiError::NotFound("there is no such community");
            let Ok(community) = AtUri::parse(named) else { return Err(nothing) };
            match communities::community(&call.db()?, named).await? {
                Some(_) => Ok(Subject::Community(community)),
                None => Err(nothing),
            }
        }
        (None, Some(did)) => match caller {
            Caller::Person(person) if *person != did => Err(ApiError::Forbidden(NOT_YOUR_DID)),
            _ => Ok(Subject::Person(did)),
        },
        _ => Err(ApiError::Invalid("community or did is required, and not both of them".into())),
    }
}

/// An export that is being written.
struct Export {
    db: D1,
    walk: Walk,
    /// What it is about, for its cursor.
    about: String,
    slot: Slot,
    is_over: bool,
}

/// How it goes on.
enum Next {
    /// With what is here.
    Ready(Option<(String, Export)>),
    /// With what is read now.
    After(Export),
}

impl Export {
    /// The next lines, read when the caller takes them.
    async fn next(mut self) -> Result<Option<(String, Self)>, Fault> {
        if self.is_over {
            return Ok(None);
        }
        loop {
            if !self.slot.goes_on() {
                return Err(Fault::new("exporting", "the slot went to another export"));
            }
            let cursor = self.walk.pause().map(|rest| cursor::write(LIST, &self.about, &rest));
            let question = self.walk.question().filter(|_| cursor.is_none());
            let Some(question) = question else {
                self.is_over = true;
                return Ok(Some((self.walk.end(cursor.as_deref()), self)));
            };
            let page = pages::page(&self.db, &question).await?;
            let lines = self.walk.take(&page);
            if !lines.is_empty() {
                return Ok(Some((lines, self)));
            }
        }
    }
}
