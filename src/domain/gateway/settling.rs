//! Settles the states of people: reads them, stores them, and then publishes them (H11, E15, P12). One round covers
//! everybody whose state changed since the last one, so a thousand arrivals cost a few queries.
//!
//! This file decides who is in a round, what is stored, which of two choices wins, and what is published when. The
//! object reads the people of [`Round::dids`], stores [`Round::states`], and reports that with [`Gateway::settled`].

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::value::RawValue;

use super::publication::{HeldEvent, Publication};
use super::{Effect, Gateway, Keep, Present};
use crate::domain::person::{Person, Stored};
use crate::domain::presence::{Input as Happened, State};
use crate::wire::bodies;
use crate::wire::events::{Event, pack, with_state};
use crate::wire::ids::{AtUri, Did};
use crate::wire::subscribe_events::NewestEvent;
use crate::wire::time::Micros;

/// People settled in one round, and changes published in one call. With 2,000 communities of 100 bytes each a
/// change may be 200 kB, but nearly all are below 1 kB.
pub const ROUND: usize = 200;

/// A chosen state that is not stored yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Whose.
    pub did: Did,
    /// Which.
    pub state: State,
    /// Whether it shows without a socket, too (P09): chosen through REST (R20), not through a socket (A13) or
    /// `actor.setState` (N160p).
    pub shows_alone: bool,
}

/// The result of a choice.
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
    /// Whether they have a row there (I37).
    pub exists: bool,
    /// Whether their account is active (P13).
    pub active: bool,
    /// The communities through which others watch them (A36), but those for members only.
    pub communities: Vec<AtUri>,
    /// Those for members only (X43).
    pub closed: Vec<AtUri>,
    /// Of both, those in which they only wait to be admitted (N192).
    pub pending: Vec<AtUri>,
    /// Their public profile.
    pub shown: bodies::Person,
}

impl Known {
    /// Their public profile with the stored state.
    pub fn now(&self) -> bodies::Person {
        self.shown_in(self.stored.current)
    }

    /// Their public profile with this state.
    fn shown_in(&self, state: Option<State>) -> bodies::Person {
        let state = state.map(|state| state.word().to_owned());
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
    /// Whether they get a row in `people`: they showed a proof, or the holder of the API key named them (I37).
    pub exists: bool,
}

/// One round.
#[derive(Debug, Default)]
pub struct Round {
    dids: BTreeSet<Did>,
    held: Vec<HeldEvent>,
    choices: Vec<Choice>,
    known: BTreeMap<Did, Known>,
    anonymous: BTreeSet<Did>,
    states: Vec<Shown>,
}

impl Round {
    /// The people of the round.
    pub fn dids(&self) -> Vec<Did> {
        self.dids.iter().cloned().collect()
    }

    /// The states to store before anything takes effect.
    pub fn states(&self) -> &[Shown] {
        &self.states
    }

    fn is_chosen(&self, did: &Did) -> bool {
        self.choices.iter().any(|choice| choice.did == *did)
    }
}

impl Gateway {
    /// Whether a round has anything to do.
    pub fn is_unsettled(&self) -> bool {
        self.held || !self.unsettled.is_empty()
    }

    /// Whether events of records may wait for the state of their person.
    pub fn may_hold(&self) -> bool {
        self.held
    }

    /// Begins a round: `held` are the first events that wait for the state of their person. `None` if there is
    /// nothing to do.
    pub fn round(&mut self, held: Vec<HeldEvent>, choices: Vec<Choice>) -> Option<Round> {
        self.held = !held.is_empty();
        let mut dids: BTreeSet<Did> = self.unsettled.iter().take(ROUND).cloned().collect();
        dids.extend(held.iter().map(|held| held.did.clone()));
        dids.extend(choices.iter().map(|choice| choice.did.clone()));
        (!dids.is_empty()).then(|| Round { dids, held, choices, ..Round::default() })
    }

    /// Takes the rows of the people of a round. Returns those without a row: this gateway may have stored what they
    /// chose last (P01).
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

    /// Loads the people of a round, with the states that visitors `chose` earlier, and decides what to store
    /// ([`Round::states`]). The first rule that applies to a person decides:
    ///   1. their last choice in this round. For an account that is not active, only a choice through REST counts, and
    ///      others see the same state as before (P13);
    ///   2. the state that follows from their sockets, if it differs from the stored one.
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
            if !choice.shows_alone && !is_active {
                round.anonymous.insert(choice.did.clone());
                continue;
            }
            let shows = is_active && (choice.shows_alone || present.person.presence.shows_choices());
            let current = if shows { Some(choice.state) } else { present.person.now().current };
            states.insert(choice.did.clone(), Stored { preferred: Some(choice.state), current });
            if choice.shows_alone {
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
            // Nothing keeps this person in memory, but a choice of theirs is being stored: keep them until then.
            let mut person = Person::default();
            person.on(loaded, now, &self.settings.periods);
            self.persons.insert(did.clone(), Present::of(person));
        }
    }

    /// The states of a round are stored: applies the choices, publishes each state that changed, and publishes the
    /// events that waited for a state. Returns the result of each choice, in order.
    pub fn settled(&mut self, round: Round, now: Micros) -> Vec<Chosen> {
        self.remember_choices(&round, now);
        let chosen = |choice: &Choice| match round.anonymous.contains(&choice.did) {
            true => Chosen::Anonymous,
            false => Chosen::Stored,
        };
        for choice in round.choices.iter().filter(|choice| chosen(choice) == Chosen::Stored) {
            let set = if choice.shows_alone { Happened::SetByApi } else { Happened::Set };
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

    /// Stores what visitors chose here, because they have no row in the database (P01).
    fn remember_choices(&mut self, round: &Round, now: Micros) {
        for one in &round.states {
            let exists = one.exists || round.known.get(&one.did).is_some_and(|known| known.exists);
            let chosen = one.preferred.filter(|state| !exists && *state != State::Online);
            self.keep(Keep::Chosen(one.did.clone(), chosen, now));
        }
    }

    /// Publishes the state of a person if it differs from the published one; `false` if it cannot be written.
    fn publish_state(&mut self, known: &Known) -> bool {
        let person = self.persons.get(&known.did).map(|present| &present.person);
        let Some(state) = person.and_then(Person::to_publish) else { return true };
        let shown = known.shown_in(Some(state));
        let text = Event::status_of(&known.did, shown.clone()).text();
        let is_written = self.publish(known, &shown, true, true, text);
        self.change(&known.did, |person, _| person.published(state));
        is_written
    }

    /// Publishes an event of a record with the state of this moment (P12); `false` if it cannot be read or written.
    fn publish_held(&mut self, held: &HeldEvent, round: &Round) -> bool {
        let Some(known) = round.known.get(&held.did) else { return true };
        let Some(event) = &held.event else { return false };
        let here = self.persons.get(&held.did).and_then(|present| present.person.presence.current());
        let state = here.or(known.stored.current).unwrap_or(State::Offline);
        let text = with_state(event.get(), state.word());
        let is_status = text.as_ref().is_ok_and(|text| text.contains("\"user_status_changed\""));
        self.publish(known, &known.shown_in(Some(state)), is_status, held.live, text)
    }

    /// Publishes an event about a person. The newest client gets everything that is `shown` of them (N168).
    fn publish(
        &mut self,
        known: &Known,
        shown: &bodies::Person,
        status: bool,
        live: bool,
        text: Result<String, serde_json::Error>,
    ) -> bool {
        let newest = NewestEvent::user(&known.did, shown).text();
        let packed = text.and_then(|march| RawValue::from_string(pack(Some(&newest?), Some(&march))));
        let Ok(event) = packed else { return false };
        let did = known.did.clone();
        let (communities, closed) = (known.communities.clone(), known.closed.clone());
        let pending = known.pending.clone();
        self.keep(Keep::Publish(Publication {
            id: 0,
            did,
            communities,
            closed,
            pending,
            status,
            live,
            event,
        }));
        self.unpublished = true;
        true
    }
}
