//! How many people are there, and where (R62): what gateways count and what the index knows, together.

use std::collections::BTreeMap;

use serde::Serialize;

use super::gateway::operating::Counts;
use super::presence::State;
use crate::wire::ids::Did;

/// The names that R62 lists at most.
const NAMES_MAX: usize = 1_000;

/// The people whom R62 counts at most.
const PEOPLE_MAX: usize = 100_000;

/// The body of R62. The first two fields are BareRTC's, in its spelling.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Statistics {
    /// How many people are present.
    #[serde(rename = "UserCount")]
    pub user_count: usize,
    /// Their handles, ascending; of somebody without one, the DID. At most [`NAMES_MAX`].
    #[serde(rename = "Usernames")]
    pub usernames: Vec<String>,
    /// Open events sockets, without observers'.
    pub sockets: usize,
    /// By AT-URI: the communities where anybody is.
    pub communities: BTreeMap<String, Here>,
}

/// Who is in a community.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Here {
    /// Members in this state, the owner and pending ones included.
    pub online: u32,
    /// Likewise.
    pub away: u32,
    /// Likewise.
    pub dnd: u32,
    /// Sockets that named it in a subscription.
    pub connections: u32,
    /// People in its voice channels.
    pub voice: u32,
}

impl Statistics {
    /// What gateways count, and the people to ask the index about.
    pub fn of(counted: Vec<Counts>) -> (Self, Vec<(Did, State)>) {
        let mut statistics = Self::default();
        let mut people: BTreeMap<Did, State> = BTreeMap::new();
        for counts in counted {
            statistics.sockets += counts.sockets;
            people.extend(counts.people);
            for (uri, connections) in counts.connections {
                statistics.communities.entry(uri).or_default().connections += connections;
            }
            for (uri, voice) in counts.voice {
                statistics.communities.entry(uri).or_default().voice += voice;
            }
        }
        statistics.user_count = people.len();
        (statistics, people.into_iter().take(PEOPLE_MAX).collect())
    }

    /// Adds what the index knows of some of these people: their names, and how many are in which community.
    pub fn add(
        &mut self,
        names: impl IntoIterator<Item = String>,
        present: impl IntoIterator<Item = (String, [u32; 3])>,
    ) {
        self.usernames.extend(names);
        self.usernames.sort_unstable();
        self.usernames.truncate(NAMES_MAX);
        for (uri, [online, away, dnd]) in present {
            let here = self.communities.entry(uri).or_default();
            here.online += online;
            here.away += away;
            here.dnd += dnd;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn did(name: &str) -> Did {
        Did::parse(&format!("did:plc:{name}")).unwrap()
    }

    #[test]
    fn r62_gateways_and_pages_of_people_add_up() {
        let one = |who: &str, state| Counts {
            sockets: 2,
            people: vec![(did(who), state)],
            connections: BTreeMap::from([("at://c".to_owned(), 2)]),
            voice: BTreeMap::from([("at://c".to_owned(), 1)]),
        };
        let (mut statistics, people) =
            Statistics::of(vec![one("b", State::Online), one("a", State::Dnd), Counts::default()]);
        assert_eq!(people, [(did("a"), State::Dnd), (did("b"), State::Online)]);
        statistics.add(["b.test".to_owned()], [("at://c".to_owned(), [1, 0, 0])]);
        statistics.add(["a.test".to_owned()], [("at://c".to_owned(), [0, 0, 1])]);
        let shown = serde_json::to_value(&statistics).unwrap();
        assert_eq!(
            shown,
            serde_json::json!({ "UserCount": 2, "Usernames": ["a.test", "b.test"], "sockets": 4, "communities": {
                "at://c": { "online": 1, "away": 0, "dnd": 1, "connections": 4, "voice": 2 } } })
        );
    }
}
