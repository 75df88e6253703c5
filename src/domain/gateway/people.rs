//! The people of a gateway: what happens to them, what is stored, and what remains to be done.

use super::{FRESH, Gateway, Keep, Moment, Present};
use crate::domain::announcement::{Audience, Topic};
use crate::domain::lost::is_lost;
use crate::domain::pending::OutboxEvents;
use crate::domain::person::Person;
use crate::domain::presence::{Input as Happened, Periods};
use crate::domain::voice::Input as Moved;
use crate::wire::ids::Did;
use crate::wire::time::Micros;

impl Gateway {
    /// Something happened to a person.
    pub fn person(&mut self, did: &Did, input: Happened, now: Micros) {
        self.change(did, |person, periods| person.on(input, now, periods));
    }

    /// Changes a person, and stores the change: nothing once the person is over, and mere activity at most once a
    /// second.
    pub fn change(&mut self, did: &Did, change: impl FnOnce(&mut Person, &Periods)) {
        self.change_within(FRESH, did, change);
    }

    /// The same, where activity that changes nothing else is stored when the stored one is older than `fresh`,
    /// in microseconds.
    pub(super) fn change_within(
        &mut self,
        fresh: i64,
        did: &Did,
        change: impl FnOnce(&mut Person, &Periods),
    ) {
        let periods = self.settings.periods;
        let is_new = !self.persons.contains_key(did);
        let present = self.persons.entry(did.clone()).or_default();
        let before = present.person.clone();
        change(&mut present.person, &periods);
        let active_at = present.person.presence.last_activity();
        let mut as_before = before;
        as_before.presence = as_before.presence.at_activity(active_at);
        let same = as_before == present.person;
        if present.person.is_over() {
            self.persons.remove(did);
            self.keep(Keep::PersonOver(did.clone()));
        } else {
            let deadline = present.person.deadline(&periods);
            if is_new || !same || active_at.0.saturating_sub(present.stored_at.0) >= fresh {
                present.stored_at = active_at;
                let person = Box::new(present.person.clone());
                self.keep(Keep::Person(did.clone(), person));
            }
            if let Some(at) = deadline {
                self.wake_at(at);
            }
        }
        self.mark(did);
    }

    /// Notes what is to be done about a person.
    pub fn mark(&mut self, did: &Did) {
        let person = self.persons.get(did).map(|present| &present.person);
        let marks = [
            (&mut self.unsettled, person.is_some_and(Person::is_unsettled)),
            (&mut self.leaving, person.is_some_and(|person| person.voice.leaving().is_some())),
        ];
        for (set, belongs) in marks {
            if belongs {
                set.insert(did.clone());
            } else {
                set.remove(did);
            }
        }
    }

    /// The client of a socket was alive at this moment. If the socket keeps its person in a voice channel, a socket
    /// that opened later is another connection of the same client (V08).
    pub(super) fn note_alive(&mut self, did: &Did, id: i64, at: Micros, now: Micros) {
        if self.persons.get(did).is_some_and(|present| present.person.voice.place().is_some()) {
            self.change(did, |person, periods| person.voice.on(Moved::Alive(id, at), now, periods));
        }
    }

    /// Events of records about this gateway's people: kept until they are published with the state of that
    /// moment. An account that comes or goes changes presence instead (P13).
    pub(super) fn records(&mut self, rows: Vec<OutboxEvents>, moment: &Moment<'_>) {
        let had = self.records;
        let through = rows.last().map_or(had, |row| row.id.max(had));
        for event in rows.into_iter().filter(|row| row.id > had).flat_map(|row| row.events) {
            match (event.audience, event.topic) {
                (Audience::Watchers(did), Topic::Account(active)) => self.account(&did, active, moment.now),
                // Set aside (Q21): what is published about people is state, and the next is complete.
                (Audience::Watchers(_), _) if is_lost(&event.event) => {}
                (Audience::Watchers(did), _) => {
                    self.keep(Keep::Hold(did, event.live, event.event));
                    self.held = true;
                }
                (Audience::Private(did), _) => self.show_to(&did, &event.event, moment),
                _ => {}
            }
        }
        self.records = through;
        self.keep(Keep::Records(through));
    }

    /// An account became active or inactive (P13). A person who is not here has no presence to change.
    fn account(&mut self, did: &Did, active: bool, now: Micros) {
        if self.persons.contains_key(did) {
            self.person(did, Happened::Account(active), now);
        }
    }

    /// The last row of the outbox with events of records about people.
    pub fn has_records_through(&self) -> i64 {
        self.records
    }

    /// People who had their sockets at another gateway: if they are shown as present and do not come here, they
    /// are gone after the grace (P10).
    pub(super) fn adopted(&mut self, dids: &[Did], moment: &Moment<'_>) {
        for did in dids {
            self.person(did, Happened::Tick, moment.now);
        }
    }

    /// What is known of a person.
    pub fn present(&self, did: &Did) -> Option<&Present> {
        self.persons.get(did)
    }
}
