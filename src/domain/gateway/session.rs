//! What a gateway knows of one socket: its stored session, and what lives in memory only.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::looking::Meanwhile;
use crate::domain::frame_budget::Budget;
use crate::domain::restore::{Declined, Origin, Part, Place};
use crate::domain::subscriptions::{Kind, Receiver, Subscriptions};
use crate::wire::ids::{AtUri, Did};
use crate::wire::socket::Spelling;
use crate::wire::time::Micros;

/// A socket's session without its subscriptions, which have rows of their own. Pinned: it is stored as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The person the socket acts for (A02).
    pub did: Option<Did>,
    /// For each community it resumed: the last `seq` of the replay, which it has had.
    #[serde(default)]
    pub replayed: BTreeMap<String, u64>,
    /// Whether it names a person who was not proven (X05).
    #[serde(default)]
    pub unproven: bool,
    /// Whether its person was proven (X06).
    #[serde(default)]
    pub proven: bool,
    /// Whether its person is believed for presence only (X13).
    #[serde(default)]
    pub present: bool,
    /// When it opened.
    #[serde(default)]
    pub opened_at: Micros,
    /// Where it came from.
    #[serde(default)]
    pub origin: Origin,
    /// The secret that its client requested, or sent (Q15).
    #[serde(default)]
    pub secret: Option<String>,
    /// Set while the client may still subscribe on its own (Q10): what it declined so far.
    #[serde(default)]
    pub silent: Option<Declined>,
    /// The sessions whose subscriptions it got.
    #[serde(default)]
    pub copied: BTreeSet<i64>,
    /// The part of its person's missed events that it has not got yet (Q10).
    #[serde(default)]
    pub restoring: Option<Restoring>,
    /// How it spells its frames.
    #[serde(default, skip_serializing_if = "is_march")]
    pub spelling: Spelling,
    /// The channel that its person sees (A52, N168).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view: Option<View>,
    /// The last restore, until a frame shows that the client was still there after it (Q10c).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<Sent>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_march(spelling: &Spelling) -> bool {
    *spelling == Spelling::March
}

impl Session {
    /// This session as a receiver of events.
    pub(super) fn receiver(&self) -> Receiver<'_> {
        Receiver { did: self.did.as_ref(), proven: self.proven, spelling: self.spelling }
    }

    /// Whether the newest client holds it (section 14).
    pub fn is_newest(&self) -> bool {
        self.spelling == Spelling::Newest
    }
}

/// A channel on somebody's screen, and its community.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// The channel.
    pub channel: AtUri,
    /// Its community.
    pub community: AtUri,
}

impl View {
    /// Whether a client that uses this name means the channel.
    pub(super) fn is_named(&self, name: &str) -> bool {
        self.channel.as_str() == name || self.channel.rkey().as_str() == name
    }
}

/// A finished restore whose last frames the client may not have received.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// When the restore ended.
    pub at: Micros,
    /// The positions where the restore began.
    #[serde(rename = "heard")]
    pub positions: BTreeMap<String, Place>,
    /// Since when changes of people were missing.
    pub since: Option<Micros>,
}

/// What a restored socket has not got yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restoring {
    /// The state of each socket whose subscriptions it got.
    #[serde(default)]
    pub parts: Vec<Part>,
    /// For each community, the last `seq` received. A community that is absent, and wanted because of *all*,
    /// was unknown then.
    pub owed: BTreeMap<String, i64>,
    /// Communities that the client resumes itself, or that are done.
    pub done: BTreeSet<String>,
}

impl Restoring {
    /// The position in each community where the restore begins: the earliest of all parts. Of two positions that
    /// cannot be compared, the one of the part with the earlier last sign of life.
    pub fn positions(&self) -> BTreeMap<String, Place> {
        let mut parts: Vec<&Part> = self.parts.iter().collect();
        parts.sort_by_key(|part| part.since);
        let mut positions: BTreeMap<String, Place> = BTreeMap::new();
        for (community, place) in parts.into_iter().flat_map(|part| &part.positions) {
            let earliest = positions.entry(community.clone()).or_insert(*place);
            if let (Place::Seq(before), Place::Seq(seq)) = (*earliest, *place) {
                *earliest = Place::Seq(before.min(seq));
            }
        }
        positions
    }

    /// Since when changes of people are missing.
    pub fn since(&self) -> Option<Micros> {
        self.parts.iter().map(|part| part.since).min()
    }

    /// The whole log of this community was missed.
    pub fn owe_all(&mut self, community: &str) {
        for part in &mut self.parts {
            part.positions.entry(community.to_owned()).or_insert(Place::Seq(0));
        }
        self.owed.insert(community.to_owned(), 0);
    }

    /// The client resumes this community itself (Q11).
    pub fn resume(&mut self, community: &str) {
        self.owed.remove(community);
        for part in &mut self.parts {
            part.positions.remove(community);
        }
        self.done.insert(community.to_owned());
    }

    /// The client decided about this subscription itself (Q11).
    pub fn unsubscribe(&mut self, kind: Kind, key: Option<&str>) {
        for part in &mut self.parts {
            part.subscriptions.unsubscribe(kind, key);
        }
    }
}

/// Who opens a socket.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    /// Whom the socket acts for.
    pub did: Option<Did>,
    /// It names a person who was not proven (X05).
    pub unproven: bool,
    /// Its person was proven (X06).
    pub proven: bool,
    /// Its person is believed for presence only (X13).
    pub present: bool,
    /// Where it comes from.
    pub origin: Origin,
    /// The secret it shows (Q15).
    pub secret: Option<String>,
    /// How it spells its frames.
    pub spelling: Spelling,
    /// Where it resumes, in the newest client (N165).
    pub cursor: Option<Vec<(AtUri, i64)>>,
}

/// Signs of life of a socket (P11).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Signs {
    /// Its last frame that reached the object, or up to a second later if the object slept since.
    pub(super) alive_at: Micros,
    /// The same, or earlier.
    pub(super) surely_at: Micros,
    /// The one that is stored.
    pub(super) stored_at: Micros,
    /// Whether a heartbeat did.
    pub(super) beats: bool,
}

/// Frames of one socket that wait until the one before them is answered (A03).
#[derive(Clone, Debug, Default)]
pub(super) struct Waiting {
    frames: VecDeque<Option<String>>,
    bytes: usize,
}

/// The memory overhead of a waiting frame, in bytes.
const FRAME_COST: usize = 64;

impl Waiting {
    fn cost(frame: Option<&str>) -> usize {
        frame.map_or(0, str::len) + FRAME_COST
    }

    /// Queues a frame. Returns the bytes of all that wait.
    pub(super) fn push(&mut self, frame: Option<String>) -> usize {
        self.bytes += Self::cost(frame.as_deref());
        self.frames.push_back(frame);
        self.bytes
    }

    /// The next frame, which stays in the queue.
    pub(super) fn peek(&self) -> Option<Option<&str>> {
        self.frames.front().map(Option::as_deref)
    }

    /// The next frame.
    pub(super) fn pop(&mut self) -> Option<Option<String>> {
        let frame = self.frames.pop_front()?;
        self.bytes = self.bytes.saturating_sub(Self::cost(frame.as_deref()));
        Some(frame)
    }
}

/// What waits for the end of a replay.
#[derive(Clone, Debug)]
pub enum Later {
    /// An event, as this socket gets it.
    Event(u64, String),
    /// From this event on, the person of a newest client takes part in the community, or no more (N162).
    Turn(u64, bool),
}

impl Later {
    /// The number of the event.
    pub fn seq(&self) -> u64 {
        let (Later::Event(seq, _) | Later::Turn(seq, _)) = self;
        *seq
    }
}

/// An open socket.
#[derive(Clone, Debug)]
pub struct Open {
    /// What is stored of it.
    pub session: Session,
    /// What it listens to.
    pub subscriptions: Subscriptions,
    /// Communities it is catching up with: events that came meanwhile, to be sent after the replay. `None`
    /// once there were too many.
    pub resuming: BTreeMap<String, Option<Vec<Later>>>,
    pub(super) budget: Budget,
    pub(super) signs: Signs,
    /// Set while a frame is being answered.
    pub(super) waiting: Option<Waiting>,
    /// Set while the communities of its person are being read: those that they joined (`true`) or left meanwhile
    /// (N162).
    pub(super) following: Option<BTreeMap<String, bool>>,
    /// A replay was not complete: its client reads everything again (N165).
    pub(super) is_behind: bool,
    /// When its person last said what they see (A52).
    pub(super) viewed_at: Option<Micros>,
    /// Set while a snapshot is being read for it (A50).
    pub(super) meanwhile: Option<Meanwhile>,
}

impl Open {
    pub(super) fn new(session: Session, subscriptions: Subscriptions) -> Self {
        let owed = session.restoring.iter().flat_map(|restoring| {
            let positions = restoring.parts.iter().flat_map(|part| part.positions.keys());
            restoring.owed.keys().chain(positions.filter(|community| !restoring.done.contains(*community)))
        });
        let resuming = owed.map(|community| (community.clone(), Some(Vec::new()))).collect();
        let opened_at = session.opened_at;
        let signs = Signs { alive_at: opened_at, surely_at: opened_at, ..Signs::default() };
        let (budget, following) = (Budget::default(), session.is_newest().then(BTreeMap::new));
        Self {
            session,
            subscriptions,
            resuming,
            budget,
            signs,
            waiting: None,
            following,
            is_behind: false,
            viewed_at: None,
            meanwhile: None,
        }
    }
}
