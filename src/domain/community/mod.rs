//! A community: the numbers of its events, the gateways that listen, and who is in its voice channels.
//!
//! A state machine without I/O. What happens changes the memory and is answered with [`Effect`]s; the object performs
//! them in order, before it waits for anything. Whatever must survive the memory is an [`Effect::Keep`]. The log
//! itself stays in the database: the memory knows where it begins and ends.

pub mod deliveries;
pub mod observers;
mod voice;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use serde::Deserialize;

use super::announcement::{Announcement, Audience, Topic};
use super::pending::OutboxEvents;
use super::replay::{Replayed, Resume, resume};
use super::voice::Rooms;
use super::voice_right::{Concern, concerns};
use crate::domain::announcement::Numbered;
use crate::wire::ids::{AtUri, Did};

/// Events in one call to a gateway, and in one page of a replay: with 2 kB each 1 MB.
pub const PAGE: i64 = 500;

/// The counters of a community.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Counters {
    /// The last `seq` given.
    pub seq: u64,
    /// The last row of the outbox that arrived.
    pub announced: i64,
    /// The smallest `seq` in the log, if it is not empty.
    pub oldest: Option<u64>,
    /// Whether only members may hear the community, after all of that (X43).
    #[serde(default)]
    pub members_only: bool,
}

impl Counters {
    /// The smallest `seq` in the log, or the next one to be given (Q05).
    pub fn oldest(&self) -> u64 {
        self.oldest.unwrap_or(self.seq + 1)
    }

    /// The number of events in the log.
    pub fn kept(&self) -> i64 {
        i64::try_from((self.seq + 1).saturating_sub(self.oldest())).unwrap_or(i64::MAX)
    }
}

/// A gateway that listens.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Listener {
    /// Its instance name.
    pub name: String,
    /// The last `seq` it has.
    pub delivered: u64,
    /// How often it asked to listen.
    pub attachments: u64,
}

/// What a community is set up with.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// `GATEWAY_SHARDS` (C13).
    pub shards: u32,
    /// The name of the gateway that is a person's home, with so many shards.
    pub home_of: fn(&Did, u32) -> String,
    /// `EVENT_LOG_MAX` (C17).
    pub log_max: i64,
}

/// Everything that was kept, as it was read back.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    /// The counters.
    pub counters: Counters,
    /// Who listens.
    pub listeners: Vec<Listener>,
    /// Who is in which voice channel, and the gateway that joined them.
    pub seats: Vec<(Did, AtUri, String)>,
}

/// A change of the object's database. `storage::community` has the statements.
#[derive(Clone, Debug)]
pub enum Keep {
    /// From now on only members may hear the community, or everybody (X43).
    MembersOnly(bool),
    /// These rooms must look at their rights, because of the event with this `seq` (S20).
    Concern(Concern, u64),
    /// A gateway asks to listen, from the event after this `seq` on.
    Listen(String, u64),
    /// Events, the first of them under this `seq`.
    Append(u64, Rc<[Announcement]>),
    /// A person is in a voice channel; the gateway that joined them.
    Seat(Did, AtUri, String),
    /// Nobody else is in any voice channel.
    Seats(Rooms),
    /// The last `seq` given, and the last row of the outbox that arrived.
    Count(u64, i64),
    /// A gateway has everything up to and with this `seq`.
    Delivered(String, u64),
    /// A gateway listens no more, unless it asked to since.
    Leave(Listener),
}

/// What there is to do. Effects are performed in order, and all of them before the next await.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Write to the object's database.
    Keep(Keep),
    /// Send these events, the first of them under this `seq`, to the observers that are up to date.
    Publish(u64, Rc<[Announcement]>),
    /// Only members may hear the community: let its observers go (X43).
    EndObservers,
    /// The log holds too much: forget what is over (Q06), and say where it begins then.
    Forget,
}

/// See the module.
#[derive(Debug)]
pub struct Community {
    settings: Settings,
    counters: Counters,
    listeners: BTreeMap<String, Listener>,
    rooms: Rooms,
    /// The gateway that joined each person who is in voice: another one, of a time with another number of gateways,
    /// does not take them out.
    joined_by: BTreeMap<Did, String>,
    /// Gateways that are being delivered to: one call at a time, so that events arrive in order.
    delivering: BTreeSet<String>,
    /// How often in a row gateways could not be delivered to.
    failures: BTreeMap<String, u32>,
    effects: Vec<Effect>,
}

impl Community {
    /// The community that was kept.
    pub fn wake(settings: Settings, stored: Stored) -> Self {
        let mut community = Self {
            settings,
            counters: Counters::default(),
            listeners: BTreeMap::new(),
            rooms: Rooms::default(),
            joined_by: BTreeMap::new(),
            delivering: BTreeSet::new(),
            failures: BTreeMap::new(),
            effects: Vec::new(),
        };
        community.reload(stored);
        community
    }

    /// Something could not be kept: what was kept counts.
    pub fn reload(&mut self, stored: Stored) {
        let Stored { counters, listeners, seats } = stored;
        self.counters = counters;
        self.listeners = listeners.into_iter().map(|one| (one.name.clone(), one)).collect();
        self.joined_by = seats.iter().map(|(did, _, gateway)| (did.clone(), gateway.clone())).collect();
        self.rooms = Rooms::of(seats.into_iter().map(|(did, channel, _)| (did, channel)));
        self.effects.clear();
    }

    /// The effects of what was done.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// Where the community stands.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// What was committed: every event of a row that did not arrive before gets the next `seq` (T14), and the gateway
    /// of a private event's person is asked to listen (E06b). Whatever ends in voice gets its event first (V06).
    ///
    /// Numbers come from the counters alone, and those are kept last: should keeping fail half way, the same rows
    /// get the same numbers again.
    pub fn announced(&mut self, community: &AtUri, rows: Vec<OutboxEvents>) -> Result<(), serde_json::Error> {
        let before = self.counters;
        let mut announced = before.announced;
        let mut events = Vec::new();
        let mut is_voice_changed = false;
        for row in rows.into_iter().filter(|row| row.id > before.announced) {
            announced = announced.max(row.id);
            for event in row.events {
                if let Topic::MembersOnly(on) = event.topic {
                    self.counters.members_only = on;
                    self.keep(Keep::MembersOnly(on));
                }
                let ended = self.end_voice(community, &event)?;
                is_voice_changed |= !ended.is_empty();
                events.extend(ended);
                events.push(event);
            }
        }
        for (event, seq) in events.iter().zip(before.seq + 1..) {
            if let Some(concern) = concerns(event) {
                self.keep(Keep::Concern(concern, seq));
            }
            if let Audience::Private(did) = &event.audience {
                let home = (self.settings.home_of)(did, self.settings.shards);
                self.listen(&home, seq - 1);
            }
        }
        let cause = is_voice_changed.then(|| Keep::Seats(self.rooms.clone()));
        self.append(events, cause, announced);
        if self.counters.kept() > self.settings.log_max {
            self.effects.push(Effect::Forget);
        }
        Ok(())
    }

    /// Gives events their numbers, and keeps them with what caused them.
    fn append(&mut self, events: Vec<Announcement>, cause: Option<Keep>, announced: i64) {
        let first = self.counters.seq + 1;
        let events: Rc<[Announcement]> = events.into();
        if !events.is_empty() {
            self.counters.seq += events.len() as u64;
            self.counters.oldest.get_or_insert(first);
            self.keep(Keep::Append(first, Rc::clone(&events)));
        }
        self.counters.announced = announced;
        self.effects.extend(cause.map(Effect::Keep));
        self.keep(Keep::Count(self.counters.seq, announced));
        if self.counters.members_only {
            self.effects.push(Effect::EndObservers);
        } else if !events.is_empty() {
            self.effects.push(Effect::Publish(first, events));
        }
    }

    /// The log was tidied and begins here.
    pub fn begins_at(&mut self, oldest: Option<u64>) {
        self.counters.oldest = oldest;
    }

    /// Whoever comes back with this cursor (Q02–Q05).
    pub fn resume(&self, cursor: i64) -> Resume {
        resume(cursor, self.counters.oldest(), self.counters.seq)
    }

    /// A page of a replay, with `events` of the log, and whether there are `more` behind them.
    pub fn page(&self, events: Vec<Numbered>, more: bool) -> Replayed {
        let last = self.counters.seq;
        let through = events.last().filter(|_| more).map_or(last, |event| event.seq);
        Replayed::Page { events, through, last, members_only: self.counters.members_only }
    }

    fn keep(&mut self, keep: Keep) {
        self.effects.push(Effect::Keep(keep));
    }
}
