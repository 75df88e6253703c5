//! Who may be in the room of a voice channel, as D1 and its community say (S20).

use super::{Outcome, VoiceRoom};
use crate::domain::signaling::room::SocketId;
use crate::domain::voice_right::home;
use crate::domain::working_set::WorkingSet;
use crate::durable::community::commands::Bind;
use crate::durable::voice_room::commands::Rechecked;
use crate::platform::clock::now;
use crate::platform::d1::D1;
use crate::platform::objects::call;
use crate::storage::{Fault, facts};
use crate::wire::ids::{AtUri, Did};

/// How often a decision is repeated because something happened while its facts were read.
const TRIES: u32 = 8;

/// What is known of the rights in a room since the object woke.
#[derive(Debug, Default)]
pub(super) struct Rights {
    /// Counts the times that rights may have ended: facts read before the latest are stale.
    pub(super) epoch: u64,
    /// Joins that wait for facts.
    pub(super) joining: u32,
    /// The community that notifies this room when rights may have ended.
    pub(super) bound_at: Option<AtUri>,
}

impl VoiceRoom {
    /// Runs `act` on the known rights in a room.
    pub(super) fn rights<T>(&self, channel: &AtUri, act: impl FnOnce(&mut Rights) -> T) -> T {
        act(self.rights.borrow_mut().entry(channel.clone()).or_default())
    }

    /// Drops the rights of rooms without peers and joins: the next join asks anew.
    pub(super) fn tidy(&self) {
        let is_occupied = |channel: &AtUri| {
            self.with(|peers| peers.room(channel.as_str()).is_some_and(|room| !room.is_empty()))
        };
        self.rights.borrow_mut().retain(|channel, rights| rights.joining > 0 || is_occupied(channel));
    }

    /// The facts for the current rights, and the people concerned: the peers, and the joining
    /// socket. If there is a community, it notifies this object of changes since before the facts
    /// were read.
    pub(super) async fn facts(
        &self,
        channel: &AtUri,
        joining: Option<SocketId>,
    ) -> Outcome<(WorkingSet, Vec<Did>)> {
        let db = D1::of(&self.env)?;
        for _ in 0..TRIES {
            let epoch = self.rights(channel, |rights| rights.epoch);
            let people = self.with(|peers| {
                let Some(room) = peers.room(channel.as_str()) else { return Vec::new() };
                let asks = joining.and_then(|id| room.session(id)).and_then(|session| session.did.clone());
                room.people().into_iter().chain(asks).collect::<Vec<Did>>()
            });
            let working_set = facts::right_to_be_in(&db, channel, &people, now()).await?;
            let community =
                home(&working_set, channel, None).ok().map(|(_, community)| community.uri.clone());
            let (now, bound_at) = self.rights(channel, |rights| (rights.epoch, rights.bound_at.clone()));
            if joining.is_some() && community.is_some() && community != bound_at {
                if let Some(community) = community {
                    let bind = Bind { community: community.clone(), room: channel.clone() };
                    call(&self.env, community.as_str(), &bind).await?;
                    self.rights(channel, |rights| rights.bound_at = Some(community));
                }
            } else if now == epoch {
                return Ok((working_set, people));
            }
        }
        Err(Fault::new("looking at rights", "they change faster than they can be read"))
    }

    /// Checks everybody's right in a room again (S20).
    pub(super) async fn recheck(&self, channel: &AtUri) -> Outcome<Rechecked> {
        // While there are peers there is an entry from here on, so it shows whether anybody stays.
        if self.with(|peers| peers.room(channel.as_str()).is_some_and(|room| !room.is_empty())) {
            self.rights(channel, |rights| rights.epoch += 1);
            let (working_set, people) = self.facts(channel, None).await?;
            self.with(|peers| peers.act(channel.as_str(), |room| (room.recheck(&working_set, &people), ())));
        } else if let Some(rights) = self.rights.borrow_mut().get_mut(channel) {
            rights.epoch += 1;
        }
        self.tidy();
        Ok(Rechecked { occupied: self.rights.borrow().contains_key(channel) })
    }

    /// The community of a known voice channel.
    pub(super) async fn community_of(&self, channel: &AtUri) -> Outcome<Option<AtUri>> {
        let working_set = facts::right_to_be_in(&D1::of(&self.env)?, channel, &[], now()).await?;
        Ok(home(&working_set, channel, None).ok().map(|(_, community)| community.uri.clone()))
    }
}
