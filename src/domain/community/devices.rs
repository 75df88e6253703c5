//! What the devices of people in calls do (contract U30): whether they are muted, deafened, show their camera or their
//! screen. The room of a channel sends all of it each time, so a repeated or a later message makes up for a lost one.

use std::collections::BTreeMap;

use super::{Community, Keep};
use crate::domain::announcement::{Announcement, Topic};
use crate::domain::voice_right::silenced;
use crate::wire::ids::{AtUri, Did};
use crate::wire::signaling::VoiceState;

/// The states of people in the room of one channel; who is absent has the default.
pub type Devices = BTreeMap<Did, VoiceState>;

/// What differs between two states of a room, by DID.
fn difference(before: &Devices, after: &Devices) -> Devices {
    let gone = before.keys().filter(|did| !after.contains_key(*did)).map(|did| (did, VoiceState::default()));
    let said = after.iter().map(|(did, state)| (did, *state));
    let is_news = |(did, state): &(&Did, VoiceState)| before.get(*did).copied().unwrap_or_default() != *state;
    gone.chain(said).filter(is_news).map(|(did, state)| (did.clone(), state)).collect()
}

impl Community {
    /// The room of a channel has these states now. Returns what is news.
    pub fn devices_are(&mut self, channel: &AtUri, devices: Devices) -> Devices {
        let none = Devices::new();
        let news = difference(self.devices.get(channel).unwrap_or(&none), &devices);
        if !news.is_empty() {
            self.keep_devices(channel, devices);
        }
        news
    }

    /// The states of those who are in the voice channel in whose room they are (U43).
    pub fn devices(&self) -> Devices {
        let states = self.devices.iter().flat_map(|(channel, devices)| {
            devices.iter().filter(move |(did, _)| self.rooms.channel_of(did) == Some(channel))
        });
        states.map(|(did, state)| (did.clone(), *state)).collect()
    }

    /// Forgets what an event ends. There is no frame about it: the event says itself that these people are in no call (V06, E06).
    pub(super) fn end_devices(&mut self, event: &Announcement) {
        if self.devices.is_empty() {
            return; // nearly always
        }
        match &event.topic {
            Topic::MemberOut(did) => self.forget_devices(did),
            Topic::CommunityGone => {
                for channel in self.devices.keys().cloned().collect::<Vec<_>>() {
                    self.keep_devices(&channel, Devices::new());
                }
            }
            _ => silenced(event).into_iter().for_each(|channel| self.keep_devices(channel, Devices::new())),
        }
    }

    /// Forgets the states of a person.
    pub(super) fn forget_devices(&mut self, did: &Did) {
        let theirs: Vec<AtUri> =
            self.devices.iter().filter(|(_, of)| of.contains_key(did)).map(of_channel).collect();
        for channel in theirs {
            let mut devices = self.devices.remove(&channel).unwrap_or_default();
            devices.remove(did);
            self.keep_devices(&channel, devices);
        }
    }

    fn keep_devices(&mut self, channel: &AtUri, devices: Devices) {
        self.keep(Keep::Devices(channel.clone(), devices.clone()));
        match devices.is_empty() {
            true => self.devices.remove(channel),
            false => self.devices.insert(channel.clone(), devices),
        };
    }
}

fn of_channel((channel, _): (&AtUri, &Devices)) -> AtUri {
    channel.clone()
}
