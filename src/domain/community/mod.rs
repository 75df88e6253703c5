//! A community: the numbers of its events, the gateways that listen, and who is in its voice channels.
//!
//! A state machine without I/O. Each method changes the memory and adds [`Effect`]s; the object performs them in
//! order, before it waits for anything. Whatever must survive the memory is an [`Effect::Keep`]. The log itself stays
//! in the database: the memory knows only where it begins and ends.

pub mod deliveries;
pub mod devices;
pub mod observers;
pub mod threads;
mod voice;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use serde::Deserialize;

use self::devices::Devices;
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
    /// The last `seq` assigned.
    pub seq: u64,
    /// The last outbox row received.
    pub announced: i64,
    /// The smallest `seq` in the log, if it is not empty.
    pub oldest: Option<u64>,
    /// Whether only members may read the community, after all of that (X43).
    #[serde(default)]
    pub members_only: bool,
}

impl Counters {
    /// The smallest `seq` in the log, or the next one to be assigned (Q05).
    pub fn oldest(&self) -> u64 {
        self.oldest.unwrap_or(self.seq + 1)
    }

    /// The number of events in the log.
    pub fn kept(&self) -> i64 {
        i64::try_from((self.seq + 1).saturating_sub(self.oldest())).unwrap_or(i64::MAX)
    }
}

/// A gateway that is attached.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Listener {
    /// Its instance name.
    pub name: String,
    /// The last `seq` it received.
    pub delivered: u64,
    /// How often it attached.
    pub attachments: u64,
}

/// The configuration of a community.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// `GATEWAY_SHARDS` (C13).
    pub shards: u32,
    /// The name of a person's home gateway, with this many shards.
    pub home_of: fn(&Did, u32) -> String,
    /// `EVENT_LOG_MAX` (C17).
    pub log_max: i64,
}

/// The stored state.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    /// The counters.
    pub counters: Counters,
    /// The attached gateways.
    pub listeners: Vec<Listener>,
    /// Each person in a voice channel: the person, the channel, and the gateway that joined them.
    pub in_voice: Vec<(Did, AtUri, String)>,
    /// What the devices of people in calls do, by voice channel (U30).
    pub devices: Vec<(AtUri, Devices)>,
}

/// A change of the object's database. `storage::community` has the statements.
#[derive(Clone, Debug)]
pub enum Keep {
    /// From now on only members may read the community, or everybody (X43).
    MembersOnly(bool),
    /// These rooms must check rights again, because of the event with this `seq` (S20).
    Concern(Concern, u64),
    /// A gateway attaches and receives the events after this `seq`.
    Listen(String, u64),
    /// Adds events to the log; the first one has this `seq`.
    Append(u64, Rc<[Announcement]>),
    /// A person joined a voice channel through this gateway.
    InVoice(Did, AtUri, String),
    /// Removes everybody from voice who is not in these lists.
    OnlyInVoice(Rooms),
    /// The people in the room of this voice channel have these states (U30); none deletes them.
    Devices(AtUri, Devices),
    /// The last `seq` assigned, and the last outbox row received.
    Count(u64, i64),
    /// A gateway received everything up to and including this `seq`.
    Delivered(String, u64),
    /// A gateway detaches, unless it attached again meanwhile.
    Leave(Listener),
}

/// What the object must do. It performs effects in order, and all of them before the next await.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Write to the object's database.
    Keep(Keep),
    /// Send these events to the observers that have caught up; the first one has this `seq`.
    Publish(u64, Rc<[Announcement]>),
    /// Only members may read the community: close its observers (X43).
    EndObservers,
    /// The log is too long: delete its oldest events (Q06), and report its new beginning.
    Forget,
}

/// See the module.
#[derive(Debug)]
pub struct Community {
    settings: Settings,
    counters: Counters,
    listeners: BTreeMap<String, Listener>,
    rooms: Rooms,
    /// For each person in voice, the gateway that joined them. Only that one can remove them: after a change of
    /// `GATEWAY_SHARDS`, a former home must not.
    joined_by: BTreeMap<Did, String>,
    /// What the devices of people in calls do, by voice channel (U30). None is empty.
    devices: BTreeMap<AtUri, Devices>,
    /// Gateways with a delivery in progress: one call at a time, so that events arrive in order.
    delivering: BTreeSet<String>,
    /// The number of failed deliveries in a row, per gateway.
    failures: BTreeMap<String, u32>,
    effects: Vec<Effect>,
}

impl Community {
    /// Rebuilds a community from its stored state.
    pub fn wake(settings: Settings, stored: Stored) -> Self {
        let mut community = Self {
            settings,
            counters: Counters::default(),
            listeners: BTreeMap::new(),
            rooms: Rooms::default(),
            joined_by: BTreeMap::new(),
            devices: BTreeMap::new(),
            delivering: BTreeSet::new(),
            failures: BTreeMap::new(),
            effects: Vec::new(),
        };
        community.reload(stored);
        community
    }

    /// A write failed: replaces the memory by the stored state.
    pub fn reload(&mut self, stored: Stored) {
        let Stored { counters, listeners, in_voice, devices } = stored;
        self.counters = counters;
        self.listeners = listeners.into_iter().map(|one| (one.name.clone(), one)).collect();
        self.joined_by = in_voice.iter().map(|(did, _, gateway)| (did.clone(), gateway.clone())).collect();
        self.rooms = Rooms::of(in_voice.into_iter().map(|(did, channel, _)| (did, channel)));
        self.devices = devices.into_iter().collect();
        self.effects.clear();
    }

    /// Returns the effects that were added.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// The counters.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Takes committed events. Every event of a new row gets the next `seq` (T14). A private event attaches the
    /// gateway of its person (E06b), and so does an event with which a person begins or ceases to take part (N162).
    /// If an event ends somebody's time in voice, the E14 about it comes first (V06).
    ///
    /// Numbers follow from the counters alone, and those are written last: if a write fails half way, the same rows
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
                self.end_devices(&event);
                is_voice_changed |= !ended.is_empty();
                events.extend(ended);
                events.push(event);
            }
        }
        for (event, seq) in events.iter().zip(before.seq + 1..) {
            if let Some(concern) = concerns(event) {
                self.keep(Keep::Concern(concern, seq));
            }
            let concerned = match (&event.audience, &event.topic) {
                (Audience::Private(did), _) | (_, Topic::MemberIn(did) | Topic::MemberOut(did)) => {
                    Some(did.clone())
                }
                (_, Topic::CommunityShown) => Some(community.authority()),
                _ => None,
            };
            if let Some(did) = concerned {
                let home = (self.settings.home_of)(&did, self.settings.shards);
                self.listen(&home, seq - 1);
            }
        }
        let cause = is_voice_changed.then(|| Keep::OnlyInVoice(self.rooms.clone()));
        self.append(events, cause, announced);
        if self.counters.kept() > self.settings.log_max {
            self.effects.push(Effect::Forget);
        }
        Ok(())
    }

    /// Numbers events and stores them, together with the change that caused them.
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

    /// The log was shortened and begins here.
    pub fn begins_at(&mut self, oldest: Option<u64>) {
        self.counters.oldest = oldest;
    }

    /// Where a client with this cursor resumes (Q02–Q05).
    pub fn resume(&self, cursor: i64) -> Resume {
        resume(cursor, self.counters.oldest(), self.counters.seq)
    }

    /// A page of a replay with these events; `more` says whether the log has further ones.
    pub fn page(&self, events: Vec<Numbered>, more: bool) -> Replayed {
        let last = self.counters.seq;
        let through = events.last().filter(|_| more).map_or(last, |event| event.seq);
        Replayed::Page { events, through, last, members_only: self.counters.members_only }
    }

    fn keep(&mut self, keep: Keep) {
        self.effects.push(Effect::Keep(keep));
    }
}
