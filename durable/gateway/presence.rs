//! Presence is settled: the states of people are read, stored in D1, and noted for publication (E15, E16).
//!
//! One task settles all people of a gateway together, whatever changed meanwhile being taken up
//! in its next round; so a person's events keep their order, and a thousand who come at once
//! cost a few queries. What is to be said is kept until every gateway has it.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use futures::channel::oneshot;
use serde_json::value::RawValue;
use worker::Delay;
use worker::wasm_bindgen_futures::spawn_local;

use super::object::{Asked, Chosen, GatewayObject, Outcome, ROUND};
use crate::domain::gateway::{Gateway as Core, Present};
use crate::domain::person::Stored;
use crate::domain::presence::{Input as Happened, State};
use crate::durable::gateway::commands::SetState;
use crate::durable::replies::Done;
use crate::platform::clock::now;
use crate::platform::d1::D1;
use crate::platform::incidents;
use crate::storage::gateway_people::{self, Saying, Unsaid};
use crate::storage::incidents::Incident;
use crate::storage::presence::{self, Found, Shown};
use crate::storage::{CommitError, Fault, Store, rows};
use crate::wire::events::{Event, with_state};
use crate::wire::ids::Did;
use crate::wire::socket::Reply;
use crate::wire::time::Micros;

/// A round is followed by a pause as long as the round took, in microseconds within these bounds:
/// presence takes half of a busy isolate's time at most, and more people share the next round.
const ROUND_PAUSE: std::ops::RangeInclusive<i64> = 25_000..=250_000;

/// What one round is about.
#[derive(Default)]
struct Work {
    dids: Vec<Did>,
    held: Vec<Unsaid>,
    asked: Vec<Asked>,
}

impl GatewayObject {
    /// A socket's person chose a state (A13): the reply, once it is stored.
    pub(super) async fn set_by_socket(self: &Rc<Self>, did: Did, state: State) -> Reply {
        match self.set(did, state, false).await {
            Ok(Chosen::Stored) => Reply::ack(""),
            Ok(Chosen::Anonymous) => Reply::error("DID required for set_state"),
            Err(_) => Reply::error("Failed to update state"),
        }
    }

    /// R20.
    pub(super) async fn set_by_api(self: &Rc<Self>, command: SetState) -> Outcome<Done> {
        self.set(command.did, command.state, true).await.map(|_| Done {})
    }

    async fn set(self: &Rc<Self>, did: Did, state: State, by_api: bool) -> Outcome<Chosen> {
        let (done, outcome) = oneshot::channel();
        self.asked.borrow_mut().push(Asked { did, state, by_api, done });
        self.settle_soon();
        outcome.await.map_err(|_| Fault::new("setting a state", "it could not be stored"))
    }

    /// Settles in the background what is not settled yet.
    pub(super) fn settle_soon(self: &Rc<Self>) {
        let is_due = self.with(|sessions| Ok(sessions.held || !sessions.unsettled.is_empty()));
        if (!matches!(is_due, Ok(true)) && self.asked.borrow().is_empty()) || self.settling.replace(true) {
            return;
        }
        let object = Rc::clone(self);
        spawn_local(async move {
            let result = object.settle_all().await;
            object.settling.set(false);
            object.tell_soon();
            object.seat_soon();
            match result {
                Ok(()) => object.arm().await,
                Err(fault) => object.retry(&fault, "states are stored and told later").await,
            }
        });
    }

    async fn settle_all(self: &Rc<Self>) -> Outcome<()> {
        loop {
            let pause = self.next_round.get().0.saturating_sub(now().0);
            if pause > 0 {
                Delay::from(Duration::from_micros(pause.unsigned_abs())).await;
            }
            let work = self.work()?;
            if work.dids.is_empty() {
                return Ok(());
            }
            let began = now();
            self.settle(work).await?;
            let took = now().0.saturating_sub(began.0).clamp(*ROUND_PAUSE.start(), *ROUND_PAUSE.end());
            self.next_round.set(Micros(now().0.saturating_add(took)));
            self.tell_soon();
        }
    }

    fn work(&self) -> Outcome<Work> {
        let asked: Vec<Asked> = self.asked.take();
        let mut work = self.with(|sessions| {
            let held: Vec<Unsaid> = match sessions.held {
                true => Unsaid::read(&self.sql.run(&gateway_people::held(100))?)?,
                false => Vec::new(),
            };
            sessions.held = !held.is_empty();
            let dids = sessions.unsettled.iter().take(ROUND).cloned().collect();
            Ok(Work { dids, held, asked: Vec::new() })
        })?;
        work.dids.extend(work.held.iter().map(|held| held.did.clone()));
        work.dids.extend(asked.iter().map(|asked| asked.did.clone()));
        work.dids.sort_unstable();
        work.dids.dedup();
        work.asked = asked;
        Ok(work)
    }

    /// One round. Should it fail, nobody's choice was changed, and whoever waits is told so.
    async fn settle(&self, work: Work) -> Outcome<()> {
        let db = D1::of(&self.env)?;
        let found = presence::people(&db, &work.dids).await?;
        let found: BTreeMap<Did, Found> = found.into_iter().map(|one| (one.did.clone(), one)).collect();
        let (mut states, mut anonymous) = (BTreeMap::new(), Vec::new());
        let mut proven = BTreeSet::new();
        self.with(|sessions| {
            for (did, one) in &found {
                self.load(sessions, one, work.asked.iter().any(|asked| asked.did == *did))?;
                if let Some(wanted) = sessions.persons.get(did).and_then(|present| present.person.to_store())
                {
                    states.insert(did.clone(), wanted);
                }
            }
            for asked in &work.asked {
                let Some(present) = sessions.persons.get(&asked.did) else { continue };
                let person = &present.person;
                let is_active = person.presence.is_active();
                if !asked.by_api && !is_active {
                    anonymous.push(asked.did.clone());
                    continue;
                }
                let current = if is_active { Some(asked.state) } else { person.now().current };
                states.insert(asked.did.clone(), Stored { preferred: Some(asked.state), current });
                if asked.by_api {
                    proven.insert(asked.did.clone());
                }
            }
            proven.extend(states.keys().filter(|did| sessions.is_proven(did)).cloned());
            Ok(())
        })?;
        let states: Vec<(Did, Stored)> = states.into_iter().collect();
        if !states.is_empty() {
            let shown: Vec<Shown> = states
                .iter()
                .map(|(did, stored)| Shown {
                    did: did.clone(),
                    preferred: stored.preferred,
                    current: stored.current,
                    exists: proven.contains(did),
                })
                .collect();
            db.commit(presence::store(&shown, now())).await.map_err(|error| match error {
                CommitError::Fault(fault) => fault,
                CommitError::Conflict => Fault::new("storing states", "another commit came first"),
            })?;
            self.remember_choices(&shown, &found)?;
        }
        self.with(|sessions| self.stored(sessions, &states, &found, &work, &anonymous))?;
        for asked in work.asked {
            let chosen = if anonymous.contains(&asked.did) { Chosen::Anonymous } else { Chosen::Stored };
            // Whoever waited may be gone.
            let _ = asked.done.send(chosen);
        }
        Ok(())
    }

    /// What the database holds of a person is known.
    fn load(&self, sessions: &mut Core, found: &Found, asked: bool) -> Outcome<()> {
        if !sessions.persons.get(&found.did).map_or(asked, |present| !present.person.presence.is_loaded()) {
            return Ok(());
        }
        let Stored { preferred, current } = found.stored();
        let preferred = match (preferred, found.person.is_some()) {
            (None, false) => self.chosen(&found.did)?,
            (preferred, _) => preferred,
        };
        let loaded = Happened::Loaded { preferred, current, active: found.is_active() };
        sessions.person(&found.did, loaded, now());
        if asked && !sessions.persons.contains_key(&found.did) {
            // Loaded and over at once: it stays in memory until what was asked for is done.
            let mut person = crate::domain::person::Person::default();
            let loaded = Happened::Loaded { preferred, current, active: found.is_active() };
            person.on(loaded, now(), &self.settings.periods);
            sessions.persons.insert(found.did.clone(), Present::of(person));
        }
        Ok(())
    }

    /// The state that a visitor chose when they were last here.
    fn chosen(&self, did: &Did) -> Outcome<Option<State>> {
        let chosen: Vec<String> = rows(Some(&self.sql.run(&gateway_people::chosen(did))?))?;
        Ok(chosen.first().and_then(|word| State::named(word)))
    }

    /// Remembers what visitors chose, who have no row in D1 once they are gone.
    fn remember_choices(&self, shown: &[Shown], found: &BTreeMap<Did, Found>) -> Outcome<()> {
        for one in shown {
            let exists = one.exists || found.get(&one.did).is_some_and(|found| found.person.is_some());
            match one.preferred.filter(|state| !exists && *state != State::Online) {
                Some(state) => self.sql.run_all(&gateway_people::choose(&one.did, state, now()))?,
                None => drop(self.sql.run(&gateway_people::unchoose(&one.did))?),
            }
        }
        Ok(())
    }

    /// States are stored: what was chosen takes effect, and what is to be told is noted.
    fn stored(
        &self,
        sessions: &mut Core,
        states: &[(Did, Stored)],
        found: &BTreeMap<Did, Found>,
        work: &Work,
        anonymous: &[Did],
    ) -> Outcome<()> {
        for asked in work.asked.iter().filter(|asked| !anonymous.contains(&asked.did)) {
            let set = if asked.by_api { Happened::SetByApi(asked.state) } else { Happened::Set(asked.state) };
            sessions.person(&asked.did, set, now());
        }
        for (did, stored) in states {
            if sessions.persons.contains_key(did) {
                sessions.change(did, |person, _| person.stored(*stored));
            }
        }
        for (did, one) in found {
            let Some(state) = sessions.persons.get(did).and_then(|present| present.person.to_tell()) else {
                continue;
            };
            let mut person = one.person.as_ref().map(|row| row.shown(&self.cdn)).unwrap_or_default();
            person.state = Some(state.word().to_owned());
            self.say(did, one, true, true, Event::status_of(did, person).text())?;
            sessions.said = true;
            sessions.change(did, |person, _| person.told(state));
        }
        let mut lost = 0;
        for held in &work.held {
            let Some(one) = found.get(&held.did) else { continue };
            let Some(event) = &held.event else {
                lost += 1;
                continue;
            };
            let here = sessions.persons.get(&held.did).and_then(|present| present.person.presence.current());
            let state = here.or(one.stored().current).unwrap_or(State::Offline);
            let Ok(text) = with_state(event.get(), state.word()) else {
                lost += 1;
                continue;
            };
            let is_status = text.contains("\"user_status_changed\"");
            self.say(&held.did, one, is_status, held.live, Ok(text))?;
            sessions.said = true;
        }
        incidents::note(&self.env, Incident::People, lost, &self.name()?);
        if let Some(last) = work.held.last() {
            self.sql.run(&gateway_people::release(last.id))?;
        }
        Ok(())
    }

    fn say(
        &self,
        did: &Did,
        found: &Found,
        status: bool,
        live: bool,
        text: Result<String, serde_json::Error>,
    ) -> Outcome<()> {
        let event = text
            .and_then(RawValue::from_string)
            .map_err(|error| Fault::new("writing an event about a person", error))?;
        let communities = found.communities.clone();
        let saying = Saying { id: 0, did: did.clone(), communities, status, live, event };
        self.sql.run(&gateway_people::say(&saying)).map(drop)
    }
}
