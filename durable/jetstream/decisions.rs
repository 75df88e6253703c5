//! Moderators' decisions: each waits for the next commit of this object, and its caller for the result.
//!
//! - Guarantee: a caller gets a result only after the commit that stored it; a decision is committed at most once.
//! - A fault of the commit, a full queue or too long a wait is a fault for the caller, who may ask again.
//! - While events are delivered, and in the pause after a fault, decisions are committed without events.

use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use futures::channel::oneshot;
use futures::future::{Either, poll_fn, select};
use worker::Delay;
use worker::wasm_bindgen_futures::spawn_local;

use super::consumer::Consumer;
use crate::domain::moderation::{Decision, Ruling};
use crate::pipeline::Batch;
use crate::platform::clock::now;
use crate::platform::d1::D1;
use crate::platform::log;
use crate::storage::Fault;

/// How long a decision waits at most (X26): the database fails, or is far too slow.
const WAIT: Duration = Duration::from_secs(10);

impl Consumer {
    /// Commits a decision with the next batch, and waits for its result.
    pub(super) async fn decide(self: &Rc<Self>, decision: Decision) -> Result<Ruling, Fault> {
        let (caller, result) = oneshot::channel();
        let number = {
            let full = || Fault::new("deciding", "too many decisions wait");
            self.decisions.borrow_mut().join(decision, caller, now()).ok_or_else(full)?
        };
        if !self.started.get() {
            let consumer = Rc::clone(self);
            spawn_local(async move { consumer.ensure().await });
        }
        self.flush_soon();
        match select(result, pin!(Delay::from(WAIT))).await {
            Either::Left((Ok(result), _)) => result,
            Either::Left((Err(_), _)) => Err(Fault::new("deciding", "the decision was not committed")),
            Either::Right(_) => {
                self.decisions.borrow_mut().withdraw(number);
                Err(Fault::new("deciding", "no commit succeeded in time"))
            }
        }
    }

    /// Does `work`, and meanwhile commits decisions that come.
    pub(super) async fn while_deciding<T>(&self, db: &D1, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            match select(work.as_mut(), pin!(self.decision_comes())).await {
                Either::Left((done, _)) => return done,
                // The callers got the fault.
                Either::Right(_) => {
                    if let Err(fault) = self.commit(db, &Batch::default()).await {
                        log::fault(&fault, "the callers of decisions may try again");
                    }
                }
            }
        }
    }

    async fn decision_comes(&self) {
        poll_fn(|context| match self.decisions.borrow_mut().is_there(context.waker()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
    }
}
