//! Who shows that they write, where, and how often (contract U40), for both events sockets.

use std::collections::BTreeMap;

use super::gate::{Verdict, admit};
use super::gateway::session::View;
use super::working_set::WorkingSet;
use crate::wire::ids::{AtUri, Did};
use crate::wire::time::Micros;

/// How often a person's writing in a channel is published at most, in microseconds.
pub const PAUSE: i64 = 3_000_000;

/// How long a client shows it, in microseconds: a person who goes on is published again before that.
const SHOWN: i64 = 5_000_000;

/// The most channels that one name is looked for in: an rkey that has more is one that strangers made ambiguous.
pub const CANDIDATES_MAX: usize = 100;

/// Until when a client shows what was published at `now`.
pub fn expires_at(now: Micros) -> Micros {
    Micros(now.0.saturating_add(SHOWN))
}

/// Why a person may not show that they write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TypingRefusal {
    /// There is no such channel.
    Unknown,
    /// The gate would refuse a message of theirs there, or they did not prove who they are (X43).
    NotAllowed,
}

impl TypingRefusal {
    /// The text of the error frame (A15).
    pub fn text(self) -> &'static str {
        match self {
            TypingRefusal::Unknown => "Unknown channel",
            TypingRefusal::NotAllowed => "Not allowed in this channel",
        }
    }
}

/// The channel in which a message of `did` that names `channel` would stand (8.2, T20). The first rule that applies
/// refuses:
///   1. no such channel is known;
///   2. the gate does not accept the message now;
///   3. the community is for members only, and the person is not `proven`.
///
/// `working_set` must hold what `storage::facts::right_to_write` loads.
pub fn where_may_write(
    working_set: &WorkingSet,
    did: &Did,
    proven: bool,
    channel: &str,
    now: Micros,
) -> Result<View, TypingRefusal> {
    let channel = match admit(working_set, did, channel, now) {
        Verdict::Accepted(channel) => channel,
        Verdict::Held => return Err(TypingRefusal::Unknown),
        Verdict::Refused(_) | Verdict::Awaits(_) => return Err(TypingRefusal::NotAllowed),
    };
    let Some((_, community)) = working_set.channel(&channel) else { return Err(TypingRefusal::Unknown) };
    if working_set.members_only.contains(&community.uri) && !proven {
        return Err(TypingRefusal::NotAllowed);
    }
    Ok(View { channel, community: community.uri.clone() })
}

/// Where people of a gateway wrote in the last [`PAUSE`], by the names that their clients used and by AT-URI.
#[derive(Clone, Debug, Default)]
pub struct Writing {
    since: BTreeMap<(Did, String), Micros>,
}

impl Writing {
    /// Whether it was published just now that a person writes in the channel of this name.
    pub fn is_known(&self, did: &Did, channel: &str, now: Micros) -> bool {
        let at = self.since.get(&(did.clone(), channel.to_owned()));
        at.is_some_and(|at| now.0.saturating_sub(at.0) < PAUSE)
    }

    /// It is published now, under the name that the client used and as the channel; `false` if it was just now.
    pub fn begin(&mut self, did: &Did, name: &str, channel: &AtUri, now: Micros) -> bool {
        self.since.retain(|_, at| now.0.saturating_sub(at.0) < PAUSE);
        let was = self.since.get(&(did.clone(), channel.to_string())).copied();
        let at = was.unwrap_or(now);
        for name in [name, channel.as_str()] {
            self.since.insert((did.clone(), name.to_owned()), at);
        }
        was.is_none()
    }
}

/// The gateways where nobody receives typing of a channel, as they said: they are not asked again for a while, so
/// that who sleeps is not woken (U40).
#[derive(Clone, Debug, Default)]
pub struct Deaf {
    gateways: BTreeMap<(AtUri, String), Micros>,
    turn: u64,
}

/// How long a gateway is not asked again, in microseconds. It says earlier if somebody comes.
pub const DEAF: i64 = 60_000_000;

/// The most pairs of a channel and a gateway.
const DEAF_MAX: usize = 10_000;

impl Deaf {
    /// The state of [`Self::nobody`] before a gateway is asked.
    pub fn turn(&self) -> u64 {
        self.turn
    }

    /// Whether a gateway has nobody for a channel.
    pub fn includes(&self, channel: &AtUri, gateway: &str, now: Micros) -> bool {
        let until = self.gateways.get(&(channel.clone(), gateway.to_owned()));
        until.is_some_and(|until| now < *until)
    }

    /// A gateway that was asked at `turn` has nobody for a channel, unless somebody came to one meanwhile.
    pub fn nobody(&mut self, channel: &AtUri, gateway: &str, turn: u64, now: Micros) {
        if turn != self.turn {
            return;
        }
        if self.gateways.len() >= DEAF_MAX {
            self.gateways.retain(|_, until| now < *until);
        }
        if self.gateways.len() < DEAF_MAX {
            let until = Micros(now.0.saturating_add(DEAF));
            self.gateways.insert((channel.clone(), gateway.to_owned()), until);
        }
    }

    /// Somebody at a gateway receives typing of these channels from now on.
    pub fn listens(&mut self, channels: &[AtUri], gateway: &str) {
        self.turn += 1;
        for channel in channels {
            self.gateways.remove(&(channel.clone(), gateway.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(rkey: &str) -> AtUri {
        AtUri::parse(&format!("at://did:plc:o/social.colibri.channel/{rkey}")).unwrap()
    }

    #[test]
    fn u40_once_in_three_seconds_for_each_person_and_channel_under_any_name() {
        let (alice, bob) = (Did::parse("did:plc:alice").unwrap(), Did::parse("did:plc:bob").unwrap());
        let mut writing = Writing::default();
        for (did, name, rkey, at, expected, why) in [
            (&alice, "k", "k", 0, true, "the first"),
            (&alice, "at://did:plc:o/social.colibri.channel/k", "k", 1, false, "by another name"),
            (&alice, "x", "x", 2, true, "another channel"),
            (&bob, "k", "k", 2, true, "another person"),
            (&alice, "k", "k", 3, true, "after three seconds"),
        ] {
            let now = Micros(at * 1_000_000);
            assert_eq!(writing.begin(did, name, &channel(rkey), now), expected, "{why}");
            assert!(writing.is_known(did, name, now), "{why}");
        }
        assert!(!writing.is_known(&alice, "k", Micros(6_000_000)));
        writing.begin(&bob, "k", &channel("k"), Micros(60_000_000));
        assert_eq!(writing.since.len(), 2, "what is over takes no room");
    }

    #[test]
    fn u40_who_has_nobody_is_not_asked_until_somebody_comes() {
        let mut deaf = Deaf::default();
        let at = |seconds: i64| Micros(seconds * 1_000_000);
        deaf.nobody(&channel("k"), "g", deaf.turn(), at(0));
        assert!(deaf.includes(&channel("k"), "g", at(59)) && !deaf.includes(&channel("k"), "g", at(60)));
        assert!(!deaf.includes(&channel("x"), "g", at(1)) && !deaf.includes(&channel("k"), "h", at(1)));
        let turn = deaf.turn();
        deaf.listens(&[channel("k")], "g");
        assert!(!deaf.includes(&channel("k"), "g", at(1)));
        deaf.nobody(&channel("k"), "g", turn, at(1));
        assert!(!deaf.includes(&channel("k"), "g", at(1)), "the answer is older than the one who came");
    }

    #[test]
    fn u40_the_gateways_that_are_remembered_are_bounded() {
        let mut deaf = Deaf::default();
        for n in 0..DEAF_MAX + 10 {
            deaf.nobody(&channel("k"), &n.to_string(), deaf.turn(), Micros(0));
        }
        assert_eq!(deaf.gateways.len(), DEAF_MAX);
    }
}
