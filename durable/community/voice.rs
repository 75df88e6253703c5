//! The voice channels of a `Community` object (contract section 6).
//!
//! Only this object has the lists: every change publishes its E14 in the same step, and REST asks
//! here (V10).

use std::borrow::Cow;

use super::log::CommunityLog;
use crate::domain::announcement::{Announcement, Audience, Scope, Topic};
use crate::domain::pending::Told;
use crate::domain::voice::{Changed, Rooms};
use crate::domain::voice_right::silenced;
use crate::durable::community::commands::{Announce, JoinVoice, Joined, LeaveVoice, Voiced};
use crate::durable::replies::Done;
use crate::storage::community_log::Counters;
use crate::storage::{Fault, Statement, community_voice, rows};
use crate::wire::events::Event;
use crate::wire::ids::{AtUri, Did};

impl CommunityLog {
    fn rooms(&self) -> Result<Rooms, Fault> {
        let people: Vec<(Did, AtUri)> = rows(Some(&self.sql.run(&community_voice::people())?))?;
        Ok(Rooms::of(people))
    }

    /// V03, V04. A right that was read before the latest event here is stale.
    pub(super) fn join_voice(&self, command: &JoinVoice) -> Result<Joined, Fault> {
        if self.counters()?.announced > command.version {
            return Ok(Joined::Stale);
        }
        let changed = self.rooms()?.join(&command.did, &command.channel);
        let seat = community_voice::seat(&command.did, &command.channel, &command.gateway);
        self.tell(&events(&command.community, changed, true)?, &[seat])?;
        Ok(Joined::In)
    }

    /// V05, V06. A gateway removes only people whom it joined.
    pub(super) fn leave_voice(&self, command: &LeaveVoice) -> Result<Done, Fault> {
        self.counters()?;
        let joined_by = self.sql.run(&community_voice::joined_by(&command.did))?;
        if joined_by.first() == Some(&command.gateway) {
            let mut rooms = self.rooms()?;
            let changed = rooms.leave(&command.did);
            self.tell(&events(&command.community, changed, true)?, &[community_voice::only(&rooms)])?;
        }
        Ok(Done {})
    }

    /// Somebody of whom everything is erased is in no channel (I56).
    pub(super) fn stand_up(&self, community: &AtUri, did: &Did) -> Result<(), Fault> {
        let mut rooms = self.rooms()?;
        match rooms.leave(did) {
            changed if changed.is_empty() => Ok(()),
            changed => self.tell(&events(community, changed, true)?, &[community_voice::only(&rooms)]),
        }
    }

    /// The members of all channels (V10).
    pub(super) fn voices(&self) -> Result<Voiced, Fault> {
        self.counters()?;
        Ok(Voiced { channels: self.rooms()?.lists().into_iter().collect() })
    }

    /// The given events, with the voice events that some of them cause placed before them (V06),
    /// and the changes to store.
    pub(super) fn with_voice<'t>(
        &self,
        before: &Counters,
        command: &'t Announce,
    ) -> Result<(Cow<'t, [Told]>, Vec<Statement>), Fault> {
        let is_new = |told: &&Told| told.id > before.announced;
        let mut topics = command.told.iter().filter(is_new).flat_map(|told| &told.events);
        // The lists are read only if an event may change them: nearly all events are messages.
        if !topics.any(ends) {
            return Ok((Cow::Borrowed(&command.told), Vec::new()));
        }
        let mut rooms = self.rooms()?;
        if rooms.is_empty() {
            return Ok((Cow::Borrowed(&command.told), Vec::new()));
        }
        let mut with = Vec::new();
        for told in command.told.iter().filter(is_new) {
            let mut all = Vec::new();
            for event in &told.events {
                let changed = match &event.topic {
                    Topic::MemberOut(did) => rooms.leave(did),
                    Topic::CommunityGone => rooms.clear_all(),
                    _ => silenced(event).map_or_else(Vec::new, |channel| rooms.clear(channel)),
                };
                all.extend(events(&command.community, changed, event.live)?);
                all.push(event.clone());
            }
            with.push(Told { id: told.id, events: all });
        }
        Ok((Cow::Owned(with), vec![community_voice::only(&rooms)]))
    }
}

/// Whether an event may end somebody's stay in voice.
fn ends(event: &Announcement) -> bool {
    matches!(event.topic, Topic::MemberOut(_) | Topic::CommunityGone) || silenced(event).is_some()
}

/// E14 for each list that changed.
fn events(community: &AtUri, changed: Vec<Changed>, live: bool) -> Result<Vec<Announcement>, Fault> {
    changed
        .into_iter()
        .map(|(channel, member_dids)| {
            let event = Event::VoiceChannelUpdated {
                community_uri: community.clone(),
                channel_rkey: channel.rkey(),
                member_dids,
            };
            let text = event.text().and_then(serde_json::value::RawValue::from_string);
            Ok(Announcement {
                scope: Scope::Community(community.clone()),
                audience: Audience::Community,
                topic: Topic::Other,
                live,
                event: text.map_err(|error| Fault::new("writing an event of voice", error))?,
            })
        })
        .collect()
}
