//! The members of a community's voice channels (contract section 6). Every change sends E14 in the same step (V10).

use serde_json::value::RawValue;

use super::{Community, Keep};
use crate::domain::announcement::{Announcement, Audience, Scope, Topic};
use crate::domain::voice::Changed;
use crate::domain::voice_right::silenced;
use crate::wire::events::{Event, pack};
use crate::wire::ids::{AtUri, Did};
use crate::wire::subscribe_events::{NewestEvent, VoicePresenceEvent};

impl Community {
    /// V03, V04: a person joins a channel through `gateway`. `false` if the community received an event after
    /// `version`: the person's right must be read again.
    pub fn join_voice(
        &mut self,
        community: &AtUri,
        did: &Did,
        channel: &AtUri,
        gateway: &str,
        version: i64,
    ) -> Result<bool, serde_json::Error> {
        if self.counters.announced > version {
            return Ok(false);
        }
        let changed = events(community, self.rooms.join(did, channel), true)?;
        self.joined_by.insert(did.clone(), gateway.to_owned());
        let joined = Keep::InVoice(did.clone(), channel.clone(), gateway.to_owned());
        self.append(changed, Some(joined), self.counters.announced);
        Ok(true)
    }

    /// V05, V06: a person leaves through `gateway`, which must be the one that joined them.
    pub fn leave_voice(
        &mut self,
        community: &AtUri,
        did: &Did,
        gateway: &str,
    ) -> Result<(), serde_json::Error> {
        if self.joined_by.get(did).is_some_and(|joined_by| joined_by == gateway) {
            self.take_out(community, did)?;
        }
        Ok(())
    }

    /// Removes a person, whichever gateway joined them.
    pub fn take_out(&mut self, community: &AtUri, did: &Did) -> Result<(), serde_json::Error> {
        self.forget_devices(did);
        if self.joined_by.remove(did).is_some() {
            let changed = events(community, self.rooms.leave(did), true)?;
            self.append(changed, Some(Keep::OnlyInVoice(self.rooms.clone())), self.counters.announced);
        }
        Ok(())
    }

    /// The occupied channels with their members (V10).
    pub fn voices(&self) -> Vec<(AtUri, Vec<Did>)> {
        self.rooms.lists().into_iter().collect()
    }

    /// Removes those from voice whose right an event ends (V06). Returns the events about it.
    pub(super) fn end_voice(
        &mut self,
        community: &AtUri,
        event: &Announcement,
    ) -> Result<Vec<Announcement>, serde_json::Error> {
        let changed = match &event.topic {
            _ if self.rooms.is_empty() => Vec::new(), // nearly always
            Topic::MemberOut(did) => self.rooms.leave(did),
            // People who may be there with a proof join again (X43).
            Topic::CommunityGone | Topic::MembersOnly(true) => self.rooms.clear_all(),
            _ => silenced(event).map_or_else(Vec::new, |channel| self.rooms.clear(channel)),
        };
        if !changed.is_empty() {
            let rooms = &self.rooms;
            self.joined_by.retain(|did, _| rooms.channel_of(did).is_some());
        }
        events(community, changed, event.live)
    }
}

/// E14 for each list that changed. The newest client learns of one person at a time (N168): of the first with the
/// list, of the others in events of their own.
fn events(
    community: &AtUri,
    changed: Vec<Changed>,
    live: bool,
) -> Result<Vec<Announcement>, serde_json::Error> {
    let announcement = |text: String| {
        Ok(Announcement {
            scope: Scope::Community(community.clone()),
            audience: Audience::Community,
            topic: Topic::Other,
            live,
            event: RawValue::from_string(text)?,
        })
    };
    let mut events = Vec::new();
    for Changed { channel, members, left, joined } in changed {
        let moves = left.into_iter().map(|did| ("leave", did)).chain(joined.map(|did| ("join", did)));
        let mut moves = moves.map(|(event, did)| {
            let channel = channel.clone();
            NewestEvent::VoicePresenceEvent(VoicePresenceEvent { event, channel, did }).text()
        });
        let event = Event::VoiceChannelUpdated {
            community_uri: community.clone(),
            channel_rkey: channel.rkey(),
            member_dids: members,
        };
        let first = moves.next().transpose()?;
        events.push(announcement(pack(first.as_deref(), Some(&event.text()?)))?);
        for other in moves {
            events.push(announcement(pack(Some(&other?), None))?);
        }
    }
    Ok(events)
}
