//! How a look at a repository ended, if it was not read.

use crate::platform::clock::now;
use crate::platform::memory::NoRoom;
use crate::platform::pds::Unread;
use crate::storage::Fault;
use crate::wire::time::Micros;

/// How soon a repository is looked at again that had to wait, and did so for a while.
const SOON_MICROS: i64 = 5_000_000;

/// How a look ended, if not well.
pub(super) enum Miss {
    /// The host is left alone until then; the repository did nothing wrong.
    Resting(Micros),
    /// It has to wait until then: others have all room that there is, or strangers had too much asked.
    /// Neither the host nor the repository did anything wrong.
    Later(Micros),
    /// Tried again after a pause. `status` stands in `repos`.
    Failed { status: &'static str, error: String },
    /// The account is, or was always, elsewhere.
    Moved,
}

impl From<Fault> for Miss {
    fn from(fault: Fault) -> Self {
        Miss::Failed { status: "failing", error: fault.to_string() }
    }
}

impl From<Unread> for Miss {
    fn from(unread: Unread) -> Self {
        let error = match unread {
            Unread::Resting(until) => return Miss::Resting(until),
            Unread::NoRoom(NoRoom::Crowded) => return Miss::Later(soon()),
            Unread::NoRoom(NoRoom::Slow) => "the host was slow while others waited for room".to_owned(),
            Unread::Fault(fault) => fault.to_string(),
            Unread::Absent(status) => return Miss::Failed { status: "absent", error: status.into() },
            Unread::Unserved(status) => format!("the host answers with status {status}"),
            Unread::Refused(refused) => format!("{}: {refused}", refused.reason()),
        };
        Miss::Failed { status: "failing", error }
    }
}

/// When something is looked at again that had to wait.
pub(super) fn soon() -> Micros {
    Micros(now().0.saturating_add(SOON_MICROS))
}
