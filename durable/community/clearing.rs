//! Clears a community's log of everything about an erased person (I58).

use super::log::{CommunityLog, PAGE_BYTES};
use crate::domain::community::PAGE;
use crate::domain::erasure::{Cleared, clear};
use crate::durable::community::commands::{ClearLog, ClearedLog};
use crate::storage::{Fault, community_log};

impl CommunityLog {
    /// Clears one page of the log. Numbers stay, so a client that resumes sees no gap.
    pub(super) fn clear_log(&self, command: &ClearLog) -> Result<ClearedLog, Fault> {
        if self.was_never_seen()? {
            return Ok(ClearedLog { through: None });
        }
        let ClearLog { community, did, after } = command;
        self.remove_from_voice(community, did)?;
        let page = community_log::everything_after(*after, PAGE);
        let (texts, cut) = self.sql.run_within(&page, PAGE_BYTES)?;
        let (mut withdrawn, mut set_aside, mut changed, mut last) = (Vec::new(), Vec::new(), Vec::new(), 0);
        for event in community_log::logged(&texts)? {
            last = event.seq;
            match clear(&event.event, community, &event.audience, did) {
                Cleared::Stays => {}
                Cleared::Reads(text) => changed.push((event.seq, text)),
                Cleared::Withdrawn => withdrawn.push(event.seq),
                Cleared::SetAside => set_aside.push(event.seq),
            }
        }
        self.sql.run_all(&community_log::clear(&withdrawn, &set_aside, &changed))?;
        let is_full = i64::try_from(texts.len()).is_ok_and(|count| count >= PAGE);
        Ok(ClearedLog { through: (is_full || cut).then_some(last) })
    }
}
