//! One person at their gateway: presence and voice together, and what is published of them.
//!
//! The visible state is first stored and then published, so that a read after the event agrees with
//! it (H11). What remains to be done follows from comparing the states, so it survives a crash at
//! any point.

use serde::{Deserialize, Serialize};

use super::presence::{Input, Periods, Presence, State};
use super::voice::{self, VoicePresence};
use crate::wire::time::Micros;

/// The stored state of a person.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// The preferred state, if one was ever set.
    pub preferred: Option<State>,
    /// The state that others see; `None` for a person who was never seen.
    pub current: Option<State>,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// Their presence.
    pub presence: Presence,
    /// Their voice channel.
    #[serde(rename = "seat")]
    pub voice: VoicePresence,
    stored: Stored,
    /// The state that was last published.
    #[serde(rename = "told")]
    published: Option<State>,
    /// A state is being stored: until that is done, nobody can say what the database contains.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    storing: bool,
}

impl Person {
    /// Takes an input at `now`.
    pub fn on(&mut self, input: Input, now: Micros, periods: &Periods) {
        if let Input::Loaded { preferred, current, .. } = input
            && !self.presence.is_loaded()
        {
            self.stored = Stored { preferred, current };
            self.published = current;
        }
        let fell_silent = self.presence.on(input, now, periods);
        let ended = fell_silent || matches!(input, Input::Set(State::Offline) | Input::Account(false));
        let voice = match input {
            _ if ended => voice::Input::Ended,
            Input::Opened(socket) => voice::Input::Opened(socket),
            Input::Closed(socket) => voice::Input::Closed(socket),
            _ => voice::Input::Tick,
        };
        self.voice.on(voice, now, periods);
    }

    /// When [`Input::Tick`] would change something.
    pub fn deadline(&self, periods: &Periods) -> Option<Micros> {
        [self.presence.deadline(periods), self.voice.deadline()].into_iter().flatten().min()
    }

    /// What the database should contain, if it contains something else.
    pub fn to_store(&self) -> Option<Stored> {
        let wanted = self.now();
        (self.presence.is_loaded() && (self.storing || wanted != self.stored)).then_some(wanted)
    }

    /// What the database should contain.
    pub fn now(&self) -> Stored {
        let chosen = self.presence.preferred();
        let preferred = self.stored.preferred.is_some() || chosen != State::Online;
        Stored { preferred: preferred.then_some(chosen), current: self.presence.current() }
    }

    /// The database contains this.
    pub fn stored(&mut self, stored: Stored) {
        self.stored = stored;
        self.storing = false;
    }

    /// A state is about to be stored. Without a confirmation it is stored again.
    pub fn begin_storing(&mut self) {
        self.storing = true;
    }

    /// The state to publish to the watchers, if they know a different one (E15). A person who was
    /// never seen counts as offline.
    pub fn to_publish(&self) -> Option<State> {
        let known = self.published.unwrap_or(State::Offline);
        self.stored.current.filter(|state| *state != known)
    }

    /// This state was published.
    pub fn published(&mut self, state: State) {
        self.published = Some(state);
    }

    /// Whether something is to be read, stored or published.
    pub fn is_unsettled(&self) -> bool {
        !self.presence.is_loaded() || self.to_store().is_some() || self.to_publish().is_some()
    }

    /// Whether nothing about the person exists only here.
    pub fn is_over(&self) -> bool {
        self.presence.is_over() && self.voice.place().is_none() && !self.is_unsettled()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::voice::Place;
    use crate::wire::ids::AtUri;

    const S: i64 = 1_000_000;
    const PERIODS: Periods = Periods { away_after: 300 * S, grace: 5 * S };

    #[test]
    fn stored_first_and_published_second() {
        let mut person = Person::default();
        person.on(Input::Opened(1), Micros(0), &PERIODS);
        assert!(person.is_unsettled() && person.to_store().is_none(), "nothing before it is loaded");
        person.on(Input::Loaded { preferred: None, current: None, active: true }, Micros(0), &PERIODS);
        let online = Stored { preferred: None, current: Some(State::Online) };
        assert_eq!((person.to_store(), person.to_publish()), (Some(online), None));
        person.stored(online);
        assert_eq!((person.to_store(), person.to_publish()), (None, Some(State::Online)));
        person.published(State::Online);
        assert!(!person.is_unsettled() && !person.is_over());
        person.on(Input::Closed(1), Micros(S), &PERIODS);
        person.on(Input::Tick, Micros(6 * S), &PERIODS);
        let offline = Stored { preferred: None, current: Some(State::Offline) };
        assert_eq!(person.to_store(), Some(offline));
        person.on(Input::Opened(2), Micros(7 * S), &PERIODS);
        assert!(!person.is_unsettled(), "back before it was published: nothing happened");
        person.on(Input::Closed(2), Micros(8 * S), &PERIODS);
        person.on(Input::Tick, Micros(13 * S), &PERIODS);
        person.stored(offline);
        person.published(State::Offline);
        assert!(person.is_over());
    }

    /// Objects keep it in their database: a changed form makes everybody of a gateway unknown.
    #[test]
    fn the_stored_form_is_pinned() {
        let mut person = Person::default();
        person.on(Input::Loaded { preferred: None, current: None, active: true }, Micros(0), &PERIODS);
        person.published(State::Away);
        let text = serde_json::to_string(&person).unwrap();
        let end = r#""stored":{"preferred":null,"current":null},"told":"away"}"#;
        assert!(text.ends_with(end), "{text}");
        person.begin_storing();
        let storing = serde_json::to_string(&person).unwrap();
        assert!(storing.ends_with(r#""told":"away","storing":true}"#), "{storing}");
        assert_eq!(serde_json::from_str::<Person>(&storing).unwrap(), person);
        person.stored(Stored::default());
        assert_eq!(serde_json::from_str::<Person>(&text).unwrap(), person, "an older build's");
    }

    #[test]
    fn v06_what_ends_voice() {
        let place = Place {
            community: AtUri::parse("at://did:plc:o/social.colibri.community/c").unwrap(),
            channel: AtUri::parse("at://did:plc:o/social.colibri.channel/v").unwrap(),
        };
        for (input, at, out, why) in [
            (Input::Set(State::Offline), 1, true, "set_state offline"),
            (Input::Set(State::Dnd), 1, false, "set_state dnd"),
            (Input::Tick, 300, true, "silence"),
            (Input::Tick, 299, false, "not yet"),
            (Input::Account(false), 1, true, "the account"),
        ] {
            let mut person = Person::default();
            person.on(Input::Loaded { preferred: None, current: None, active: true }, Micros(0), &PERIODS);
            person.on(Input::Opened(1), Micros(0), &PERIODS);
            person.on(Input::Set(State::Dnd), Micros(0), &PERIODS);
            person.voice.on(voice::Input::Joined(1, place.clone()), Micros(0), &PERIODS);
            person.on(input, Micros(at * S), &PERIODS);
            assert_eq!(person.voice.leaving().is_some(), out, "{why}");
        }
    }
}
