//! A restart that the operator asks for (R63): what is restarted, and when the clients come back.

use serde::{Deserialize, Serialize};

/// What is restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// The events sockets, and the objects that hold them.
    Sockets,
    /// The signaling sockets, and the objects that hold their rooms.
    Calls,
    /// The connection to the stream.
    Stream,
    /// All of these.
    All,
}

impl Scope {
    /// Whether `part` is restarted.
    pub fn has(self, part: Self) -> bool {
        self == part || self == Self::All
    }
}

/// The earliest return of a client, in milliseconds.
const SOONEST: u32 = 500;

/// Clients come back within so many milliseconds after that. Both together are less than `OFFLINE_GRACE_MS` (C10) by
/// default, so that nobody goes offline.
const SPREAD: u32 = 2_000;

/// When the client of a socket comes back, in milliseconds (R65). Sockets differ, so that they do not come all at once.
pub fn retry_after(socket: u64) -> u32 {
    // Numbers of sockets may follow each other; the golden ratio spreads those evenly.
    let spread = socket.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    SOONEST + u32::try_from(spread % u64::from(SPREAD)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r65_clients_come_back_at_different_times_within_the_grace() {
        let times: Vec<u32> = (1..=1000).map(retry_after).collect();
        assert!(times.iter().all(|at| (SOONEST..SOONEST + SPREAD).contains(at)), "{times:?}");
        for tenth in 0..10 {
            let from = SOONEST + tenth * SPREAD / 10;
            let within = times.iter().filter(|at| (from..from + SPREAD / 10).contains(at)).count();
            assert!((70..=130).contains(&within), "{within} come between {from} and the next tenth");
        }
    }

    #[test]
    fn r63_scopes() {
        let named = |word: &str| serde_json::from_value::<Scope>(word.into());
        let all = ["sockets", "calls", "stream", "all"].map(|word| named(word).unwrap());
        assert_eq!(all, [Scope::Sockets, Scope::Calls, Scope::Stream, Scope::All]);
        assert!(named("everything").is_err());
        assert!(
            Scope::All.has(Scope::Calls)
                && Scope::Calls.has(Scope::Calls)
                && !Scope::Calls.has(Scope::Stream)
        );
    }
}
