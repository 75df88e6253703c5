//! Notifies communities of what the devices of people in their voice channels do (contract U30).
//!
//! All states of a room go at once, one call at a time for each room. After a failure the alarm tries again. It also
//! repeats what an object that died may not have sent; a community ignores what it knows. A call whose request ended
//! without notice (gotcha 47) counts as lost after [`LOST_AFTER`].

use std::collections::BTreeSet;

use super::{ALARM_MIN_MS, Outcome, VoiceRoom};
use crate::durable::community::devices::DevicesAre;
use crate::platform::clock::now;
use crate::platform::log;
use crate::platform::objects::call;
use crate::wire::ids::AtUri;
use crate::wire::time::Micros;

/// See the module. In microseconds; a call takes milliseconds.
const LOST_AFTER: i64 = 60_000_000;

impl VoiceRoom {
    /// Notifies the communities of all rooms that changed. A room whose states are on their way sends them once more
    /// after that.
    pub(super) async fn tell_devices(&self) {
        let mut changed: BTreeSet<AtUri> = self.with(|peers| peers.take_changed());
        changed.extend(self.lost_calls());
        for channel in changed {
            self.untold.borrow_mut().insert(channel.clone());
            if self.telling.borrow().contains_key(&channel) {
                continue;
            }
            self.telling.borrow_mut().insert(channel.clone(), now());
            let mut told = Ok(());
            while told.is_ok() && self.untold.borrow_mut().remove(&channel) {
                told = self.tell(&channel).await;
            }
            self.telling.borrow_mut().remove(&channel);
            if let Err(fault) = told {
                log::fault(&fault, "the community learns later who is muted in a call");
                self.with(|peers| peers.note_changed(channel));
                self.alarm_within(ALARM_MIN_MS).await;
            }
        }
    }

    /// The rooms whose call was lost.
    fn lost_calls(&self) -> Vec<AtUri> {
        let mut telling = self.telling.borrow_mut();
        let is_lost = |(_, since): &(&AtUri, &Micros)| now().0.saturating_sub(since.0) >= LOST_AFTER;
        let lost: Vec<AtUri> = telling.iter().filter(is_lost).map(|(channel, _)| channel.clone()).collect();
        telling.retain(|channel, _| !lost.contains(channel));
        lost
    }

    async fn tell(&self, channel: &AtUri) -> Outcome<()> {
        let devices = self.with(|peers| peers.devices(channel));
        let known = self.rights.borrow().get(channel).and_then(|rights| rights.bound_at.clone());
        let community = match known {
            Some(community) => Some(community),
            None => self.community_of(channel).await?,
        };
        if let Some(community) = community {
            let object = community.to_string();
            call(&self.env, &object, &DevicesAre { community, channel: channel.clone(), devices }).await?;
        }
        Ok(())
    }
}
