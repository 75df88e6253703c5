//! What the operator asks of a gateway: how many are here (R62), what it refused (O26), and that they connect again
//! (R63, R65).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::sockets::Gone;
use super::{Gateway, Moment};
use crate::domain::presence::State;
use crate::domain::restarting::retry_after;
use crate::wire::ids::Did;
use crate::wire::socket::Reply;

/// Who is at a gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Open sockets.
    pub sockets: usize,
    /// The people who are present, each with their state.
    pub people: Vec<(Did, State)>,
    /// By community: the sockets that named it in a subscription.
    pub connections: BTreeMap<String, u32>,
    /// By community: the people in one of its voice channels.
    pub voice: BTreeMap<String, u32>,
}

/// What a gateway refused since it woke or was restarted (O26).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Sockets that were closed because they did not read what was sent to them (Q20).
    #[serde(rename = "closed_slow")]
    pub slow: u64,
    /// Sockets that were closed because they sent too many frames (A18).
    #[serde(rename = "closed_flooding")]
    pub flooding: u64,
    /// Frames over the budget of their socket (A18).
    #[serde(rename = "refused_frames")]
    pub frames: u64,
    /// Subscriptions over a limit of their socket or of the gateway (A40).
    #[serde(rename = "refused_subscriptions")]
    pub subscriptions: u64,
    /// Sockets that were not accepted because the gateway was full (C13).
    pub turned_away: u64,
}

/// What a gateway carries, and what it refused (O26).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// Open sockets.
    pub sockets: usize,
    /// Those of them that had more than [`SLOW_BYTES`](crate::domain::slow_sockets::SLOW_BYTES) unsent at the latest
    /// delivery.
    pub slow: usize,
    /// What was refused.
    #[serde(flatten)]
    pub refused: Refused,
}

impl Gateway {
    /// O26: what is carried now, and what was refused.
    ///
    /// It does not look at sockets: to ask the runtime for the unsent bytes of one that just closed has ended workerd
    /// (November 2026).
    pub fn load_now(&self) -> Load {
        let slow = self.slow.iter().filter(|id| self.open.contains_key(id)).count();
        Load { sockets: self.open.len(), slow, refused: self.refused }
    }

    /// A socket was not accepted, because the gateway is full.
    pub fn turned_away(&mut self) {
        self.refused.turned_away += 1;
    }

    /// R62: who is here now.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts { sockets: self.open.len(), ..Counts::default() };
        for open in self.open.values() {
            for community in &open.subscriptions.community.keys {
                *counts.connections.entry(community.clone()).or_default() += 1;
            }
        }
        for (did, present) in &self.persons {
            let state = present.person.presence.current().filter(|state| *state != State::Offline);
            counts.people.extend(state.map(|state| (did.clone(), state)));
            if let Some(place) = present.person.voice.place() {
                *counts.voice.entry(place.community.to_string()).or_default() += 1;
            }
        }
        counts
    }

    /// R65: every socket is closed, with what it had kept for the one that follows it (Q10).
    pub(super) fn restart(&mut self, moment: &Moment<'_>) {
        let all: Vec<i64> = self.open.keys().copied().collect();
        for id in all {
            // The newest client knows no such frame; it connects again after any close.
            if self.open.get(&id).is_some_and(|open| !open.session.is_newest()) {
                self.send(id, Reply::ServerRestart { retry_after_ms: retry_after(id.unsigned_abs()) }.text());
            }
            self.dismiss(id, 1012, "restart", Gone::Broke, moment);
        }
    }
}
