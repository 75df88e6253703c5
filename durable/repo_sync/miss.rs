//! Why a repository was not read.

use crate::platform::clock::now;
use crate::platform::memory::NoRoom;
use crate::platform::pds::Unread;
use crate::storage::Fault;
use crate::wire::time::Micros;

/// The pause for a repository that had to wait, and did so for a while.
const SOON_MICROS: i64 = 5_000_000;

/// The reason.
pub(super) enum Miss {
    /// The host is not contacted before then; the repository is not at fault.
    Resting(Micros),
    /// It must wait until then: others use all the room, or there are too many requests about
    /// strangers. Neither the host nor the repository is at fault.
    Later(Micros),
    /// Retried after a pause. `status` is stored in `repos`.
    Failed { status: &'static str, error: String },
    /// The account is, or always was, on another host.
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

/// When to retry a repository that had to wait.
pub(super) fn soon() -> Micros {
    Micros(now().0.saturating_add(SOON_MICROS))
}
