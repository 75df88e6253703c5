//! The states of people are settled: read, stored, and then published (H11, E15, P12). One round is about all of a
//! gateway whose state moved meanwhile, so a thousand who come at once cost a few queries.
//!
//! What a round is about, what is stored of whom, which of two choices wins, and what is published when, is decided
//! here. The object reads what [`Round::dids`] names, stores [`Round::states`], and says when that is done.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::value::RawValue;

use super::saying::{Saying, Unsaid};
use super::{Effect, Gateway, Keep, Present};
use crate::domain::person::{Person, Stored};
use crate::domain::presence::{Input as Happened, State};
use crate::wire::bodies;
use crate::wire::events::{Event, with_state};
use crate::wire::ids::{AtUri, Did};
use crate::wire::time::Micros;

/// People settled in one round, and changes published in one call. With 2,000 communities of 100 bytes each a
/// change may be 200 kB, but nearly all are below 1 kB.
pub const ROUND: usize = 200;

/// A state that somebody chose and that is not stored yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Whose.
    pub did: Did,
    /// Which.
    pub state: State,
    /// Through REST (R20) rather than a socket (A13).
    pub by_api: bool,
}

/// What came of a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// It is stored.
    Stored,
    /// The account is not active, so its sockets are anonymous (P13).
    Anonymous,
}

/// What the database knows of a person.
#[derive(Clone, Debug)]
pub struct Known {
    /// Who.
    pub did: Did,
    /// Their states.
    pub stored: Stored,
    /// Whether they exist there (I37), beyond being here just now.
    pub exists: bool,
    /// Whether their account is there (P13).
    pub active: bool,
    /// The communities through which they are watched (A36), but those for members only.
    pub communities: Vec<AtUri>,
    /// Those for members only (X43).
    pub closed: Vec<AtUri>,
    /// What is shown of them.
    pub shown: bodies::Person,
}

impl Known {
    /// What is shown of them, with the state that is stored.
    pub fn now(&self) -> bodies::Person {
        let state = self.stored.current.map(|state| state.word().to_owned());
        bodies::Person { state, ..self.shown.clone() }
    }
}

/// A state to store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// The person.
    pub did: Did,
    /// The state they chose, if any.
    pub preferred: Option<State>,
    /// The state others see.
    pub current: Option<State>,
    /// Whether they get a row in `people`: proven, or named by the holder of the API key (I37).
    pub exists: bool,
}

/// One round.
#[derive(Debug, Default)]
pub struct Round {
    dids: BTreeSet<Did>,
    held: Vec<Unsaid>,
    choices: Vec<Choice>,
    known: BTreeMap<Did, Known>,
    anonymous: BTreeSet<Did>,
    states: Vec<Shown>,
}

impl Round {
    /// Those it is about.
    pub fn dids(&self) -> Vec<Did> {
        self.dids.iter().cloned().collect()
    }

    /// What is to be stored before anything takes effect.
    pub fn states(&self) -> &[Shown] {
        &self.states
    }

    fn is_chosen(&self, did: &Did) -> bool {
        self.choices.iter().any(|choice| choice.did == *did)
    }
}

impl Gateway {
    /// Whether there is anybody to settle.
    pub fn is_unsettled(&self) -> bool {
        self.held || !self.unsettled.is_empty()
    }

    /// Whether events of records may wait for the state of their person.
    pub fn may_hold(&self) -> bool {
        self.held
    }

    /// Begins a round: `held` are the first events that wait for the state of their person. `None` if there is
    /// nothing to do.
    pub fn round(&mut self, held: Vec<Unsaid>, choices: Vec<Choice>) -> Option<Round> {
        self.held = !held.is_empty();
        let mut dids: BTreeSet<Did> = self.unsettled.iter().take(ROUND).cloned().collect();
        dids.extend(held.iter().map(|held| held.did.clone()));
        dids.extend(choices.iter().map(|choice| choice.did.clone()));
        (!dids.is_empty()).then(|| Round { dids, held, choices, ..Round::default() })
    }

    /// The people of a round are `known`. Answered are those who exist nowhere, and whose last choice this gateway
    /// may remember (P01).
    pub fn known(&self, round: &mut Round, known: Vec<Known>) -> Vec<Did> {
        round.known = known.into_iter().map(|one| (one.did.clone(), one)).collect();
        let known = round.known.values();
        let strangers = known.filter(|one| one.stored.preferred.is_none() && !one.exists);
        strangers.filter(|one| self.is_to_be_loaded(round, &one.did)).map(|one| one.did.clone()).collect()
    }

    fn is_to_be_loaded(&self, round: &Round, did: &Did) -> bool {
        let present = self.persons.get(did);
        present.map_or(round.is_chosen(did), |present| !present.person.presence.is_loaded())
    }

    /// Takes in what the database knows, and what visitors chose when they were last here, and decides what is to
    /// be stored ([`Round::states`]):
    ///   1. what was chosen, the last choice of each person; of an account that is not active through REST only, and
    ///      it is shown as before (P13);
    ///   2. otherwise what the person's sockets make of it, if that is not what is stored.
    pub fn load_round(&mut self, round: &mut Round, chosen: &BTreeMap<Did, State>, now: Micros) {
        let mut states: BTreeMap<Did, Stored> = BTreeMap::new();
        for one in
            round.known.values().filter(|one| self.is_to_be_loaded(round, &one.did)).collect::<Vec<_>>()
        {
            let Stored { preferred, current } = one.stored;
            let preferred = preferred.or_else(|| chosen.get(&one.did).copied());
            self.load_person(&one.did, Happened::Loaded { preferred, current, active: one.active }, now);
        }
        for did in round.known.keys() {
            let wanted = self.persons.get(did).and_then(|present| present.person.to_store());
            states.extend(wanted.map(|wanted| (did.clone(), wanted)));
        }
        let mut proven: BTreeSet<&Did> = BTreeSet::new();
        for choice in &round.choices {
            let Some(present) = self.persons.get(&choice.did) else { continue };
            let is_active = present.person.presence.is_active();
            if !choice.by_api && !is_active {
                round.anonymous.insert(choice.did.clone());
                continue;
            }
            let current = if is_active { Some(choice.state) } else { present.person.now().current };
            states.insert(choice.did.clone(), Stored { preferred: Some(choice.state), current });
            if choice.by_api {
                proven.insert(&choice.did);
            }
        }
        let shown = states.into_iter().map(|(did, Stored { preferred, current })| {
            let exists = proven.contains(&did) || self.is_proven(&did);
            Shown { did, preferred, current, exists }
        });
        round.states = shown.collect();
        for state in &round.states {
            self.change(&state.did, |person, _| person.begin_storing());
        }
    }

    fn load_person(&mut self, did: &Did, loaded: Happened, now: Micros) {
        self.person(did, loaded, now);
        if !self.persons.contains_key(did) {
            // Loaded and over at once: whoever chose something stays in memory until that is done.
            let mut person = Person::default();
            person.on(loaded, now, &self.settings.periods);
            self.persons.insert(did.clone(), Present::of(person));
        }
    }

    /// The states of a round are stored: what was chosen takes effect, what others do not know yet is published,
    /// and so is what waited for it. Answered is what came of each choice, in order.
    pub fn settled(&mut self, round: Round, now: Micros) -> Vec<Chosen> {
        self.remember_choices(&round, now);
        let chosen = |choice: &Choice| match round.anonymous.contains(&choice.did) {
            true => Chosen::Anonymous,
            false => Chosen::Stored,
        };
        for choice in round.choices.iter().filter(|choice| chosen(choice) == Chosen::Stored) {
            let set = if choice.by_api { Happened::SetByApi } else { Happened::Set };
            self.person(&choice.did, set(choice.state), now);
        }
        for Shown { did, preferred, current, .. } in &round.states {
            if self.persons.contains_key(did) {
                let stored = Stored { preferred: *preferred, current: *current };
                self.change(did, |person, _| person.stored(stored));
            }
        }
        let lost = round.known.values().filter(|one| !self.publish_state(one)).count();
        let lost = lost + round.held.iter().filter(|held| !self.publish_held(held, &round)).count();
        if lost > 0 {
            self.effects.push(Effect::Lost(u32::try_from(lost).unwrap_or(u32::MAX)));
        }
        if let Some(last) = round.held.last() {
            self.keep(Keep::Released(last.id));
        }
        round.choices.iter().map(chosen).collect()
    }

    /// What visitors chose is remembered here: they have no row in the database once they are gone (P01).
    fn remember_choices(&mut self, round: &Round, now: Micros) {
        for one in &round.states {
            let exists = one.exists || round.known.get(&one.did).is_some_and(|known| known.exists);
            let chosen = one.preferred.filter(|state| !exists && *state != State::Online);
            self.keep(Keep::Chosen(one.did.clone(), chosen, now));
        }
    }

    /// Publishes the state of a person, if others know another one; `false` if it cannot be written.
    fn publish_state(&mut self, known: &Known) -> bool {
        let person = self.persons.get(&known.did).map(|present| &present.person);
        let Some(state) = person.and_then(Person::to_tell) else { return true };
        let shown = bodies::Person { state: Some(state.word().to_owned()), ..known.shown.clone() };
        let is_written = self.publish(known, true, true, Event::status_of(&known.did, shown).text());
        self.change(&known.did, |person, _| person.told(state));
        is_written
    }

    /// Publishes an event of a record with the state of this moment (P12); `false` if it cannot be read or written.
    fn publish_held(&mut self, held: &Unsaid, round: &Round) -> bool {
        let Some(known) = round.known.get(&held.did) else { return true };
        let Some(event) = &held.event else { return false };
        let here = self.persons.get(&held.did).and_then(|present| present.person.presence.current());
        let state = here.or(known.stored.current).unwrap_or(State::Offline);
        let text = with_state(event.get(), state.word());
        let is_status = text.as_ref().is_ok_and(|text| text.contains("\"user_status_changed\""));
        self.publish(known, is_status, held.live, text)
    }

    fn publish(
        &mut self,
        known: &Known,
        status: bool,
        live: bool,
        text: Result<String, serde_json::Error>,
    ) -> bool {
        let Ok(event) = text.and_then(RawValue::from_string) else { return false };
        let did = known.did.clone();
        let (communities, closed) = (known.communities.clone(), known.closed.clone());
        self.keep(Keep::Publish(Saying { id: 0, did, communities, closed, status, live, event }));
        self.said = true;
        true
    }
}
