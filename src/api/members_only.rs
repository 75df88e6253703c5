//! Reads of communities for members only (X41, X42): nobody reads them without a proof.
//!
//! A handler reads through [`Guarded`], which checks in the same round trip whether the read concerns such a
//! community. If it does, nothing reaches the handler until the caller has shown a proof and the index says
//! that they may read it; no cache keeps the answer. A read of any other community verifies no proof and
//! costs nothing extra. A streamed list is checked page by page.
//!
//! Promises: a handler that ignores the outcome shows nothing, because it got nothing.

use std::cell::RefCell;
use std::rc::Rc;

use super::error::ApiError;
use super::response_cache::Keeps;
use super::router::Handler;
use super::{Answer, Call, authority};
use crate::domain::members_only::{Verdict, admits};
use crate::domain::moderation::Caller;
use crate::platform::clock::now;
use crate::platform::d1::D1;
use crate::storage::reads::members_only::About;
use crate::storage::{CommitError, Fault, Statement, Store, members_only, rows};
use crate::wire::ids::AtUri;

/// 403 for a person who may not read the community.
const NO_MEMBER: &str = "this community is for members only, and the proof is of nobody who may read it";
/// 403 for every observer.
pub(super) const NO_OBSERVERS: &str = "a community for members only has no observers; its members subscribe";

/// Whether the caller of a request may read what is for members only.
#[derive(Default)]
pub(super) struct Door(RefCell<State>);

#[derive(Default)]
enum State {
    /// Nothing for members only was read.
    #[default]
    Unasked,
    /// Something was, and nobody has shown a proof yet.
    ProofNeeded,
    /// The caller has proved who they are.
    Known(Caller),
    /// This caller read something that they may not.
    NoMember,
}

impl Door {
    /// The caller has shown a proof, which is used up by that.
    pub(super) fn know(&self, caller: Caller) {
        self.0.replace(State::Known(caller));
    }

    fn caller(&self) -> Option<Caller> {
        if let State::Known(caller) = &*self.0.borrow() { Some(caller.clone()) } else { None }
    }
}

/// Runs the handler of a read, and, if that turned out to be for members only, once more when the caller
/// has shown who they are.
pub(super) async fn answer(handler: Handler, call: &Call) -> Answer {
    let mut answer = handler(call).await;
    if matches!(*call.door.0.borrow(), State::ProofNeeded) {
        authority::reader(call).await?;
        answer = handler(call).await;
    }
    if matches!(*call.door.0.borrow(), State::NoMember) {
        Err(ApiError::Forbidden(NO_MEMBER))
    } else {
        answer
    }
}

/// Whether the caller of an open read, who may show a proof, may read the community (X42).
pub(super) async fn may_read(
    call: &Call,
    caller: Option<&Caller>,
    community: &AtUri,
) -> Result<bool, ApiError> {
    Ok(verdict(&call.db()?, caller, community).await? == Verdict::In)
}

async fn verdict(db: &D1, caller: Option<&Caller>, community: &AtUri) -> Result<Verdict, Fault> {
    let place = match caller {
        Some(Caller::Person(did)) => {
            members_only::places(db, community, std::slice::from_ref(did), now()).await?.pop()
        }
        _ => None,
    };
    Ok(admits(community, caller, place.as_ref()))
}

/// D1, for a read about something of one community. See the module.
pub(super) struct Guarded {
    db: D1,
    /// The same without noting parts of the index: for queries about the caller, on which no cached answer depends.
    quiet: D1,
    about: Statement,
    door: Rc<Door>,
    keeps: Rc<Keeps>,
}

impl Guarded {
    /// Reads `db`, if the caller may read the community that `about` refers to.
    pub(super) fn new(db: D1, quiet: D1, about: &About, door: &Rc<Door>, keeps: &Rc<Keeps>) -> Self {
        Self { db, quiet, about: about.statement(), door: Rc::clone(door), keeps: Rc::clone(keeps) }
    }
}

impl Store for Guarded {
    async fn read(&self, statements: &[Statement]) -> Result<Vec<Vec<String>>, Fault> {
        let asked: Vec<Statement> = statements.iter().chain([&self.about]).cloned().collect();
        let mut answers = self.db.read(&asked).await?;
        if answers.len() != asked.len() {
            return Err(Fault::new("reading for a caller", "the database left out an answer"));
        }
        let Some(community) = rows::<AtUri>(answers.pop().as_ref())?.pop() else { return Ok(answers) };
        self.keeps.is_for_its_caller();
        let caller = self.door.caller();
        match verdict(&self.quiet, caller.as_ref(), &community).await? {
            Verdict::In => return Ok(answers),
            Verdict::ProofNeeded => self.door.0.replace(State::ProofNeeded),
            Verdict::NoMember => self.door.0.replace(State::NoMember),
        };
        Err(Fault::new("reading for a caller", "the community is for members only"))
    }

    async fn write(&self, _: &[Statement]) -> Result<Vec<Vec<String>>, Fault> {
        Err(Fault::new("writing for a caller", "this is a read"))
    }

    async fn commit(&self, _: Vec<Statement>) -> Result<(), CommitError> {
        Err(CommitError::Fault(Fault::new("writing for a caller", "this is a read")))
    }
}
