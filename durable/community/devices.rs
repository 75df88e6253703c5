//! What the devices of people in calls do: the commands about it, and how it gets to the gateways (contract U30).

use serde::{Deserialize, Serialize};

use super::log::{CommunityLog, Outcome};
use crate::domain::community::devices::Devices;
use crate::durable::gateway::commands::ShowDevices;
use crate::durable::replies::Done;
use crate::platform::objects::{Command, Object};
use crate::wire::ids::AtUri;

/// To `Community`: what the devices of everybody in the room of a voice channel do. Idempotent. The gateways that
/// listen receive what changed, once. Reply: they have it.
#[derive(Debug, Serialize, Deserialize)]
pub struct DevicesAre {
    /// The community.
    pub community: AtUri,
    /// The channel.
    pub channel: AtUri,
    /// All states but the default ones.
    pub devices: Devices,
}

impl Command for DevicesAre {
    type Reply = Done;
    const OBJECT: Object = Object::Community;
    const NAME: &'static str = "devices-are";
}

impl CommunityLog {
    /// Stores the states of a room, and sends what changed to the gateways. The room waits for that, so its states
    /// keep their order. A gateway that cannot be reached is not called again: a snapshot has the states (U43).
    pub(super) async fn devices_are(&self, command: DevicesAre) -> Outcome<Done> {
        if self.was_never_seen()? {
            return Ok(Done {});
        }
        let DevicesAre { community, channel, devices } = command;
        let (news, listeners, members_only) = self.with(|core| {
            let news = core.devices_are(&channel, devices);
            Ok((news, core.listeners(), core.counters().members_only))
        })?;
        if news.is_empty() {
            return Ok(Done {});
        }
        let show = ShowDevices { community, channel, devices: news, members_only };
        self.show(&listeners, &show, "some people do not learn that somebody is muted").await;
        Ok(Done {})
    }
}
