//! Presence is settled: the states of people are read, stored in D1, and noted for publication (E15, E16).
//!
//! One task settles all people of a gateway together, whatever changed meanwhile being taken up
//! in its next round; so a person's events keep their order, and a thousand who come at once
//! cost a few queries. What a round stores and publishes is decided in `domain::gateway::settling`.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use futures::channel::oneshot;
use worker::Delay;
use worker::wasm_bindgen_futures::spawn_local;

use super::object::{GatewayObject, Outcome};
use crate::domain::gateway::settling::{Choice, Chosen, Round};
use crate::domain::presence::State;
use crate::durable::gateway::commands::SetState;
use crate::durable::replies::Done;
use crate::platform::clock::now;
use crate::platform::d1::D1;
use crate::storage::gateway_people::{self, HeldEvent};
use crate::storage::presence;
use crate::storage::{CommitError, Fault, Store, rows};
use crate::wire::ids::Did;
use crate::wire::socket::Reply;
use crate::wire::time::Micros;

/// A round is followed by a pause as long as the round took, in microseconds within these bounds:
/// presence takes half of a busy isolate's time at most, and more people share the next round.
const ROUND_PAUSE: std::ops::RangeInclusive<i64> = 25_000..=250_000;

/// Events of records that one round takes up.
const HELD: i64 = 100;

type Waiting = oneshot::Sender<Chosen>;

impl GatewayObject {
    /// A socket's person chose a state (A13): the reply, once it is stored.
    pub(super) async fn set_by_socket(self: &Rc<Self>, did: Did, state: State) -> Reply {
        match self.set(Choice { did, state, shows_alone: false }).await {
            Ok(Chosen::Stored) => Reply::ack(""),
            Ok(Chosen::Anonymous) => Reply::error("DID required for set_state"),
            Err(_) => Reply::error("Failed to update state"),
        }
    }

    /// R20, N160p.
    pub(super) async fn set_by_api(self: &Rc<Self>, command: SetState) -> Outcome<Done> {
        let choice = Choice { did: command.did, state: command.state, shows_alone: command.shows_alone };
        self.set(choice).await.map(|_| Done {})
    }

    async fn set(self: &Rc<Self>, choice: Choice) -> Outcome<Chosen> {
        let (done, outcome) = oneshot::channel();
        self.chosen.borrow_mut().push((choice, done));
        self.settle_soon();
        outcome.await.map_err(|_| Fault::new("setting a state", "it could not be stored"))
    }

    /// Settles in the background what is not settled yet.
    pub(super) fn settle_soon(self: &Rc<Self>) {
        let is_due = self.with(|gateway| Ok(gateway.is_unsettled()));
        if (!matches!(is_due, Ok(true)) && self.chosen.borrow().is_empty()) || self.settling.replace(true) {
            return;
        }
        let object = Rc::clone(self);
        spawn_local(async move {
            let result = object.settle_all().await;
            object.settling.set(false);
            object.publish_soon();
            object.clear_voice_soon();
            match result {
                Ok(()) => object.arm().await,
                Err(fault) => object.retry(&fault, "states are stored and published later").await,
            }
        });
    }

    async fn settle_all(self: &Rc<Self>) -> Outcome<()> {
        loop {
            let pause = self.next_round.get().0.saturating_sub(now().0);
            if pause > 0 {
                Delay::from(Duration::from_micros(pause.unsigned_abs())).await;
            }
            let Some((round, waiting)) = self.round()? else { return Ok(()) };
            let began = now();
            self.settle(round, waiting).await?;
            let took = now().0.saturating_sub(began.0).clamp(*ROUND_PAUSE.start(), *ROUND_PAUSE.end());
            self.next_round.set(Micros(now().0.saturating_add(took)));
            self.publish_soon();
        }
    }

    /// What one round is about, and who waits for what they chose.
    fn round(&self) -> Outcome<Option<(Round, Vec<Waiting>)>> {
        let (choices, waiting) = self.chosen.take().into_iter().unzip();
        let round = self.with(|gateway| {
            let held = match gateway.may_hold() {
                true => HeldEvent::read(&self.sql.run(&gateway_people::held(HELD))?)?,
                false => Vec::new(),
            };
            Ok(gateway.round(held, choices))
        })?;
        Ok(round.map(|round| (round, waiting)))
    }

    /// One round. Should it fail, no choice takes effect, and those who wait get an error.
    async fn settle(&self, mut round: Round, waiting: Vec<Waiting>) -> Outcome<()> {
        let db = D1::of(&self.env)?;
        let found = presence::people(&db, &round.dids()).await?;
        let known = found.into_iter().map(|found| found.known(&self.cdn)).collect();
        self.with(|gateway| {
            let strangers = gateway.known(&mut round, known);
            let chosen = self.chosen_before(&strangers)?;
            gateway.load_round(&mut round, &chosen, now());
            Ok(())
        })?;
        if !round.states().is_empty() {
            db.commit(presence::store(round.states(), now())).await.map_err(|error| match error {
                CommitError::Fault(fault) => fault,
                CommitError::Conflict => Fault::new("storing states", "another commit came first"),
            })?;
        }
        let chosen = self.with(|gateway| Ok(gateway.settled(round, now())))?;
        for (waiting, chosen) in waiting.into_iter().zip(chosen) {
            // The task that waited may be gone.
            let _ = waiting.send(chosen);
        }
        Ok(())
    }

    /// The states that visitors chose when they were last here.
    fn chosen_before(&self, visitors: &[Did]) -> Outcome<BTreeMap<Did, State>> {
        let mut chosen = BTreeMap::new();
        for did in visitors {
            let words: Vec<String> = rows(Some(&self.sql.run(&gateway_people::chosen(did))?))?;
            let state = words.first().and_then(|word| State::named(word));
            chosen.extend(state.map(|state| (did.clone(), state)));
        }
        Ok(chosen)
    }
}
