//! What the working set is told of people: states are read, stored in D1, and then told to every
//! gateway (E15, E16).
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

use super::object::{Asked, Chosen, GatewayObject, Outcome};
use crate::domain::gateway::{Gateway as Core, Input, Present};
use crate::domain::lost::Attempt;
use crate::domain::person::Stored;
use crate::domain::presence::{Input as Happened, State};
use crate::durable::community::commands::Overhear;
use crate::durable::gateway::commands::{Adopt, Say, SetState};
use crate::durable::replies::Done;
use crate::platform::clock::now;
use crate::platform::d1::D1;
use crate::platform::incidents;
use crate::platform::objects::{call, gateway};
use crate::storage::gateway_people::{self, Saying, Unsaid};
use crate::storage::incidents::Incident;
use crate::storage::presence::{self, Found, Shown};
use crate::storage::{CommitError, Fault, Store, rows};
use crate::wire::events::{Event, with_state};
use crate::wire::ids::{AtUri, Did};
use crate::wire::socket::Reply;
use crate::wire::time::Micros;

/// People settled in one round, and sayings told in one call. With 2,000 communities of 100
/// bytes each a saying may be 200 kB, but nearly all are below 1 kB.
const ROUND: usize = 200;

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

    /// Tells, in the background, every gateway that has not had everything.
    pub(super) fn tell_soon(self: &Rc<Self>) {
        let said = self.with(|sessions| {
            let said = std::mem::take(&mut sessions.said);
            Ok(if said {
                Some((self.last_saying()?, self.hearers()?, sessions.observed.clone()))
            } else {
                None
            })
        });
        let Ok(Some((last, hearers, observed))) = said else { return };
        let gateways = (0..self.settings.gateway_shards).map(gateway);
        for name in gateways.chain(observed) {
            let is_behind = hearers.get(&name).copied().unwrap_or(0) < last;
            if is_behind && self.telling.borrow_mut().insert(name.clone()) {
                let object = Rc::clone(self);
                spawn_local(async move {
                    let result = object.tell(&name).await;
                    object.telling.borrow_mut().remove(&name);
                    if let Err(fault) = result {
                        *object.untold.borrow_mut().entry(name.clone()).or_default() += 1;
                        // Memory that cannot be had is rebuilt, and then looks again by itself.
                        let _ = object.with(|sessions| {
                            sessions.said = true;
                            Ok(())
                        });
                        object.retry(&fault, &format!("{name} hears about people later")).await;
                    }
                });
            }
        }
    }

    fn last_saying(&self) -> Outcome<i64> {
        let last: Vec<i64> = rows(Some(&self.sql.run(&gateway_people::last_saying())?))?;
        Ok(last.first().copied().unwrap_or(0))
    }

    fn hearers(&self) -> Outcome<BTreeMap<String, i64>> {
        Ok(rows::<(String, i64)>(Some(&self.sql.run(&gateway_people::hearers())?))?.into_iter().collect())
    }

    /// Tells one gateway, or the observers of one community, until it has everything.
    async fn tell(&self, name: &str) -> Outcome<()> {
        let from = self.name()?;
        loop {
            let after = self.hearers()?.get(name).copied().unwrap_or(0);
            let attempt = Attempt::after(self.untold.borrow().get(name).copied().unwrap_or(0));
            let limit = if attempt == Attempt::All { i64::try_from(ROUND).unwrap_or(100) } else { 1 };
            let (through, mut sayings, unreadable) =
                Saying::read(&self.sql.run(&gateway_people::sayings(after, limit))?)?;
            // Counted where this gateway tells itself, not once for each that hears it.
            let mut lost = if name == from { unreadable } else { 0 };
            let Some(through) = through else {
                self.untold.borrow_mut().remove(name);
                return Ok(());
            };
            let observed = AtUri::parse(name).ok();
            if let Some(community) = &observed {
                sayings.retain(|saying| saying.communities.contains(community));
            }
            if observed.is_none() || !sayings.is_empty() {
                let count = u32::try_from(sayings.len()).unwrap_or(1);
                let mut told = self.say_to(&from, name, sayings).await;
                if told.is_err() && attempt == Attempt::SetAside {
                    // Nothing stands in its place: what is said of people is state, and the next is
                    // complete. But whoever cannot be told even nothing was not reached.
                    lost += count;
                    told = self.say_to(&from, name, Vec::new()).await;
                }
                if !told? {
                    return self.unobserved(name);
                }
            }
            self.untold.borrow_mut().insert(name.to_owned(), attempt.failures_after_success());
            incidents::note(&self.env, Incident::People, lost, &from);
            self.sql.run(&gateway_people::hearer(name, through))?;
            self.forget_sayings()?;
        }
    }

    /// Tells one gateway, or the observers of one community; `false` if there are none any more.
    async fn say_to(&self, from: &str, name: &str, sayings: Vec<Saying>) -> Outcome<bool> {
        if AtUri::parse(name).is_ok() {
            return Ok(call(&self.env, name, &Overhear { sayings }).await?.listening);
        }
        let say = Say { from: from.to_owned(), sayings };
        if name == from {
            self.hear(say)?;
        } else {
            call(&self.env, name, &say).await?;
        }
        Ok(true)
    }

    /// Forgets what everybody has.
    fn forget_sayings(&self) -> Outcome<()> {
        let hearers = self.hearers()?;
        let observed = self.with(|sessions| Ok(sessions.observed.clone()))?;
        let names = (0..self.settings.gateway_shards).map(gateway).chain(observed);
        let all_have = names.map(|name| hearers.get(&name).copied().unwrap_or(0)).min().unwrap_or(0);
        self.sql.run(&gateway_people::forget_sayings(all_have)).map(drop)
    }

    /// What another gateway says about its people, or this one about its own.
    pub(super) fn hear(&self, say: Say) -> Outcome<()> {
        self.wake()?;
        let had: Vec<i64> = rows(Some(&self.sql.run(&gateway_people::speaker(&say.from))?))?;
        let had = had.first().copied().unwrap_or(0);
        let Say { from, sayings } = say;
        self.on(Input::Published { from, sayings, had })
    }

    /// The observers of a community hear about people from now on (A21).
    pub(super) fn observed(&self, community: &AtUri) -> Outcome<Done> {
        self.with(|sessions| {
            if sessions.observed.insert(community.to_string()) {
                self.sql.run(&gateway_people::observe(community.as_str(), true))?;
                self.sql.run(&gateway_people::hearer(community.as_str(), self.last_saying()?))?;
            }
            Ok(Done {})
        })
    }

    fn unobserved(&self, community: &str) -> Outcome<()> {
        self.with(|sessions| {
            sessions.observed.remove(community);
            self.sql.run(&gateway_people::observe(community, false)).map(drop)
        })
    }

    /// Hands people whose home is another gateway over to it, in the background: it knows their
    /// sockets, and this one would tell the working set that they are gone.
    pub(super) fn hand_over_soon(self: &Rc<Self>) {
        let due = self.with(|sessions| Ok(std::mem::take(&mut sessions.strangers)));
        if !matches!(due, Ok(true)) {
            return;
        }
        let object = Rc::clone(self);
        spawn_local(async move {
            if let Err(fault) = object.hand_over().await {
                object.retry(&fault, "people are handed over when the object wakes anew").await;
            }
        });
    }

    async fn hand_over(&self) -> Outcome<()> {
        let homes = self.with(|sessions| Ok(sessions.strangers()))?;
        for (home, dids) in homes {
            for did in &dids {
                self.stand_up(did).await?;
            }
            call(&self.env, &home, &Adopt { dids: dids.clone() }).await?;
            self.with(|sessions| {
                for did in &dids {
                    sessions.persons.remove(did);
                    sessions.mark(did);
                    self.sql.run(&gateway_people::forget(did))?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }
}
