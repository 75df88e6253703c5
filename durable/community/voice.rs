//! Who is in a community's voice channels: the lists stand here and nowhere else, and REST asks here (V10). What
//! changes them, and what is said of that, is decided in `domain::community`.

use super::log::{CommunityLog, Outcome};
use crate::durable::community::commands::{JoinVoice, Joined, LeaveVoice, Voiced};
use crate::durable::replies::Done;
use crate::storage::Fault;
use crate::wire::ids::{AtUri, Did};

impl CommunityLog {
    /// V03, V04.
    pub(super) fn join_voice(&self, command: &JoinVoice) -> Outcome<Joined> {
        let JoinVoice { community, did, channel, gateway, version } = command;
        let is_in =
            self.with(|core| core.join_voice(community, did, channel, gateway, *version).map_err(unwritten))?;
        Ok(if is_in { Joined::In } else { Joined::Stale })
    }

    /// V05, V06.
    pub(super) fn leave_voice(&self, command: &LeaveVoice) -> Outcome<Done> {
        let LeaveVoice { community, did, gateway } = command;
        self.with(|core| core.leave_voice(community, did, gateway).map_err(unwritten))?;
        Ok(Done {})
    }

    /// Removes an erased person from voice (I58), whichever gateway joined them.
    pub(super) fn remove_from_voice(&self, community: &AtUri, did: &Did) -> Outcome<()> {
        self.with(|core| core.take_out(community, did).map_err(unwritten))
    }

    /// Who is where (V10).
    pub(super) fn voices(&self) -> Outcome<Voiced> {
        self.with(|core| {
            Ok(Voiced { channels: core.voices(), devices: core.devices(), seq: core.counters().seq })
        })
    }
}

fn unwritten(error: serde_json::Error) -> Fault {
    Fault::new("writing an event of voice", error)
}
