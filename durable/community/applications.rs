//! Dismissed applications: how those who may admit people learn of them (contract N168).

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::log::{CommunityLog, Outcome};
use crate::durable::gateway::commands::ShowToApprovers;
use crate::durable::replies::Done;
use crate::platform::objects::{Command, Object};
use crate::wire::ids::AtUri;

/// To `Community`: an application was dismissed, or waits again. The gateways that listen receive the event, once;
/// nothing is stored. Not idempotent, and not repeated: clients read the list when they connect.
#[derive(Debug, Serialize, Deserialize)]
pub struct ApplicationMoved {
    /// The community.
    pub community: AtUri,
    /// The event, packed for both clients.
    pub event: Box<RawValue>,
}

impl Command for ApplicationMoved {
    type Reply = Done;
    const OBJECT: Object = Object::Community;
    const NAME: &'static str = "application-moved";
}

impl CommunityLog {
    /// Sends the event to the gateways that listen.
    pub(super) async fn application_moved(&self, command: ApplicationMoved) -> Outcome<Done> {
        if self.was_never_seen()? {
            return Ok(Done {});
        }
        let listeners = self.with(|core| Ok(core.listeners()))?;
        let ApplicationMoved { community, event } = command;
        let show = ShowToApprovers { community, event };
        let failed = "some moderators see a dismissed application until they read the list";
        self.show(&listeners, &show, failed).await;
        Ok(Done {})
    }
}
