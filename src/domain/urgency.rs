//! How loud a notification is (U24 to U26): what its message asks for, and what its person lets through.
//!
//! Nothing here removes a notification: what is not let through is in the inbox and in the counts all the same.

use serde::{Deserialize, Serialize};

use super::notifications::Kind;
use crate::wire::ids::Did;
use crate::wire::records::calls_out_to;

/// How loud a notification is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Urgency {
    /// It is counted.
    #[default]
    Quiet,
    /// It interrupts.
    Ping,
}

impl Urgency {
    /// The word for clients.
    pub fn word(self) -> &'static str {
        match self {
            Urgency::Quiet => "quiet",
            Urgency::Ping => "ping",
        }
    }
}

/// How much of a community is to reach a person at once, from nothing to everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rhythm {
    /// Nothing is sent.
    Silent,
    /// All is quiet.
    Quiet,
    /// Each as its message asks.
    #[default]
    Engaged,
    /// All ping.
    Busy,
}

impl Rhythm {
    /// Every rhythm.
    pub const ALL: [Rhythm; 4] = [Rhythm::Silent, Rhythm::Quiet, Rhythm::Engaged, Rhythm::Busy];

    /// The word in the database and for clients.
    pub fn word(self) -> &'static str {
        match self {
            Rhythm::Silent => "silent",
            Rhythm::Quiet => "quiet",
            Rhythm::Engaged => "engaged",
            Rhythm::Busy => "busy",
        }
    }
}

/// What a message asks for, of the person whom it notifies so (U24).
pub fn asked(kind: Kind, text: &str, facets: Option<&str>, recipient: &Did) -> Urgency {
    let calls = kind == Kind::Mention && facets.is_some_and(|facets| calls_out_to(recipient, text, facets));
    if calls { Urgency::Ping } else { Urgency::Quiet }
}

/// How loud a notification is that is sent now; `None` if none is. `asked` is what its message asks for (U24), `rhythm`
/// that of its person in its community (U25). Do not disturb silences pings (U26).
pub fn sent_as(asked: Urgency, rhythm: Rhythm, do_not_disturb: bool) -> Option<Urgency> {
    let loud = match rhythm {
        Rhythm::Silent => return None,
        Rhythm::Quiet => Urgency::Quiet,
        Rhythm::Engaged => asked,
        Rhythm::Busy => Urgency::Ping,
    };
    Some(if do_not_disturb { Urgency::Quiet } else { loud })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn u25_u26_the_table() {
        use Urgency::{Ping, Quiet};
        for (rhythm, of_quiet, of_ping) in [
            (Rhythm::Silent, None, None),
            (Rhythm::Quiet, Some(Quiet), Some(Quiet)),
            (Rhythm::Engaged, Some(Quiet), Some(Ping)),
            (Rhythm::Busy, Some(Ping), Some(Ping)),
        ] {
            assert_eq!(sent_as(Quiet, rhythm, false), of_quiet, "{rhythm:?}");
            assert_eq!(sent_as(Ping, rhythm, false), of_ping, "{rhythm:?}");
            for asked in [Quiet, Ping] {
                let quiet = sent_as(asked, rhythm, false).map(|_| Quiet);
                assert_eq!(sent_as(asked, rhythm, true), quiet, "{rhythm:?}, do not disturb");
            }
        }
    }

    #[test]
    fn words_are_those_of_the_database() {
        for rhythm in Rhythm::ALL {
            assert_eq!(serde_json::to_string(&rhythm).unwrap(), format!("\"{}\"", rhythm.word()));
        }
        for urgency in [Urgency::Quiet, Urgency::Ping] {
            assert_eq!(serde_json::to_string(&urgency).unwrap(), format!("\"{}\"", urgency.word()));
        }
    }
}
