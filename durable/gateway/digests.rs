//! Digests of what is quiet (U27): decides, when one may be due, and sends it once.
//!
//! Whose digest is to be decided about is stored before the notification counts as received, so a death between two
//! awaits repeats the decision. That a digest is sent is noted in D1 before it is: it is never sent twice.

use std::rc::Rc;

use worker::wasm_bindgen_futures::spawn_local;

use super::object::{GatewayObject, Outcome};
use super::rounds::next;
use crate::domain::digest::{Digest, digest};
use crate::domain::gateway::Input;
use crate::domain::notifications::made_at;
use crate::domain::pause::growing;
use crate::domain::push::of_digest;
use crate::domain::urgency::Urgency;
use crate::platform::clock::now;
use crate::platform::d1::D1;
use crate::platform::log;
use crate::storage::reads::notifications;
use crate::storage::{digests, gateway_digests as waiting, rows};
use crate::wire::events::{Personal, to_person};
use crate::wire::ids::Did;
use crate::wire::time::Micros;

/// The most people about whose digests one round decides.
const ROUND: i64 = 20;
/// When a decision that does not end is made anew, in microseconds.
const UNTIL_AGAIN: i64 = 60_000_000;
/// The pause after the first failure, and the longest, in microseconds.
const PAUSE: i64 = 2_000_000;
const LONGEST: i64 = 300_000_000;
/// After so many failures in a row the digest waits for the next notification.
const TRIES: u32 = 8;

impl GatewayObject {
    /// Something quiet came for these people, or they came: their digests are decided about at once.
    pub(super) fn expect_digests<'d>(&self, people: impl Iterator<Item = &'d Did>) -> Outcome<()> {
        for did in people {
            waiting::schedule(did, now())
                .iter()
                .try_for_each(|statement| self.sql.run(statement).map(drop))?;
            self.digests.next.set(now());
        }
        Ok(())
    }

    /// A person saw something.
    pub(super) fn reconsider_digest(&self, did: &Did) -> Outcome<()> {
        self.sql.run(&waiting::awaken(did, now()))?;
        self.digests.next.set(now());
        Ok(())
    }

    /// Decides, in the background, about the digests that may be due.
    pub(super) fn digest_soon(self: &Rc<Self>) {
        if self.begins(&self.digests) {
            let object = Rc::clone(self);
            spawn_local(async move { object.ends(&object.digests, object.digest_round().await).await });
        }
    }

    /// Decides about all that are due. Returns when the next one is.
    async fn digest_round(&self) -> Outcome<Option<Micros>> {
        loop {
            let due: Vec<(Did, u32)> = rows(Some(&self.sql.run(&waiting::due(now(), ROUND))?))?;
            if due.is_empty() {
                return Ok(next(&self.sql.run(&waiting::next())?));
            }
            for (did, failures) in due {
                let began = Micros(now().0.saturating_add(UNTIL_AGAIN));
                self.sql.run(&waiting::begin(&did, began))?;
                let over = match self.digest_of(&did).await {
                    Ok(Next::Nothing) => waiting::drop_waiting(&did, began),
                    Ok(Next::At(at)) => waiting::end(&did, began, Some(at)),
                    Ok(Next::Seen) => waiting::end(&did, began, None),
                    Err(fault) if failures < TRIES => {
                        log::fault(&fault, "a digest is decided about again later");
                        let pause = growing(PAUSE, failures, LONGEST);
                        waiting::failed(&did, began, Micros(now().0.saturating_add(pause)))
                    }
                    Err(fault) => {
                        log::fault(&fault, "a digest waits until its person comes, or sees something");
                        waiting::end(&did, began, None)
                    }
                };
                self.sql.run(&over)?;
            }
        }
    }

    /// Decides about the digest of a person, and sends it if it is due and they are here. Returns when to decide again.
    async fn digest_of(&self, did: &Did) -> Outcome<Next> {
        let db = D1::of(&self.env)?;
        let mut browsers =
            self.browsers_of(&db, &[did.clone()].into()).await?.remove(did).unwrap_or_default();
        let found = notifications::for_digest(&db, did).await?;
        if found.do_not_disturb || self.with(|gateway| Ok(gateway.looks(did)))? {
            browsers.clear();
        }
        // Nothing is awaited from here on until the digest is claimed: who left meanwhile gets it when they come.
        let is_here = self.with(|gateway| Ok(gateway.proven_people().contains(did)))?;
        if !is_here && browsers.is_empty() {
            return Ok(Next::Seen);
        }
        let after = self.settings.digest_after;
        let (count, first, last) =
            match digest(found.unseen, found.through, found.do_not_disturb, after, now()) {
                Digest::Nothing => return Ok(Next::Nothing),
                Digest::Unopened => return Ok(Next::Seen),
                Digest::Later(at) => return Ok(Next::At(at)),
                Digest::Due { count, first, last } => (count, first, last),
            };
        if digests::claim(&db, did, last, now()).await? {
            let since = made_at(first).shown();
            self.push(did, &browsers, &of_digest(count, &since), Urgency::Quiet, last)?;
            let march = Personal::digest(count, since);
            if let Ok(event) = to_person(None, Some(&march)) {
                self.on(Input::Shown(did.clone(), event))?;
            }
        }
        Ok(Next::Seen)
    }
}

/// When to decide again.
enum Next {
    /// When the next quiet notification comes.
    Nothing,
    /// Then.
    At(Micros),
    /// When the person sees something, or comes.
    Seen,
}
