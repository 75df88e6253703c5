//! Observers: read-only sockets of one community, held by its own object (A21).
//!
//! They hibernate like all sockets. A socket's attachment has its number and, while it catches up,
//! the last `seq` that it received. An observer that catches up gets no live events: its task sends
//! the log to its end, and then `resumed`.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use worker::{State, WebSocket};

use crate::domain::announcement::Announcement;
use crate::domain::community::observers::{LET_GO, receives, reply};
use crate::domain::frame_budget::{Budget, Rate, Verdict};
use crate::domain::lost::frame;
use crate::domain::replay::ReadBudgets;
use crate::domain::signaling::door::close::POLICY;
use crate::domain::slow_sockets::SLOW_BYTES;
use crate::platform::clock::now;
use crate::platform::socket_state;
use crate::platform::socket_state::send;
use crate::wire::ids::AtUri;
use crate::wire::socket::{Reply, Spelling};

/// An observer's number and, while it catches up, the last `seq` that it received (negative: it gave no
/// cursor).
pub(super) type Attachment = (i64, Option<i64>);

/// Why an observer is closed (X43).
pub(super) const MEMBERS_ONLY: &str = "this community is for members only";

/// The state of a community's observers beyond their attachments.
pub(super) struct Observers {
    pub(super) rate: Rate,
    pub(super) budgets: RefCell<BTreeMap<i64, Budget>>,
    /// The addresses of observers that catch up, as digests. Observers whose address was lost when
    /// the object slept count as one address.
    addresses: RefCell<BTreeMap<i64, String>>,
    /// How much each address has read from the log (Q08).
    read_budgets: RefCell<ReadBudgets>,
    pub(super) last: Cell<i64>,
    /// The observers with a catch-up task.
    pub(super) catching_up: RefCell<std::collections::BTreeSet<i64>>,
    pub(super) registering: Cell<bool>,
    /// Whether all gateways know that there are observers.
    pub(super) registered: Cell<bool>,
}

impl Observers {
    pub(super) fn new(rate: Rate) -> Self {
        Self {
            rate,
            budgets: RefCell::default(),
            addresses: RefCell::default(),
            read_budgets: RefCell::default(),
            last: Cell::new(0),
            catching_up: RefCell::default(),
            registering: Cell::new(false),
            registered: Cell::new(false),
        }
    }

    /// Every observer, with its attachment.
    pub(super) fn all(state: &State) -> impl Iterator<Item = (WebSocket, Attachment)> {
        state
            .get_websockets()
            .into_iter()
            .filter_map(|socket| Some((socket.deserialize_attachment::<Attachment>().ok()??, socket)))
            .map(|(attachment, socket)| (socket, attachment))
    }

    /// Sends events, numbered from `first`, to all that are not catching up. Closes a slow observer
    /// with a notice (Q20).
    pub(super) fn publish<'a>(
        &self,
        state: &State,
        first: u64,
        events: impl IntoIterator<Item = &'a Announcement>,
    ) {
        let mut observers: Vec<WebSocket> =
            Self::all(state).filter(|(_, (_, behind))| behind.is_none()).map(|(socket, _)| socket).collect();
        observers.retain(|socket| !self.let_go_if_slow(state, socket, first));
        let Some(community) = state.id().name().and_then(|name| AtUri::parse(&name).ok()) else { return };
        if observers.is_empty() {
            return;
        }
        for (seq, event) in (first..).zip(events) {
            if receives(&event.audience) {
                let text = frame(&event.event, &community, seq, event.live, Spelling::March);
                text.into_iter().for_each(|text| observers.iter().for_each(|socket| send(socket, &text)));
            }
        }
    }

    fn let_go_if_slow(&self, state: &State, socket: &WebSocket, oldest: u64) -> bool {
        if socket_state::unsent(socket) <= SLOW_BYTES {
            return false;
        }
        if let Some(community_uri) = state.id().name().and_then(|name| AtUri::parse(&name).ok()) {
            send(socket, &Reply::ResyncRequired { community_uri, oldest }.text());
        }
        self.gone(socket);
        // Permanently behind: nothing more is sent to it.
        let _ = socket.serialize_attachment((0, Some(LET_GO)));
        socket_state::close(socket, 1013, "too slow");
        true
    }

    /// Only members may read the community from now on: its observers are closed (X43).
    pub(super) fn end_all(&self, state: &State) {
        for (socket, (_, behind)) in Self::all(state) {
            if behind != Some(LET_GO) {
                self.gone(&socket);
                // Nothing more is sent to it.
                let _ = socket.serialize_attachment((0, Some(LET_GO)));
                socket_state::close(&socket, POLICY, MEMBERS_ONLY);
            }
        }
    }

    /// A socket closed.
    pub(super) fn gone(&self, socket: &WebSocket) {
        if let Ok(Some((id, _))) = socket.deserialize_attachment::<Attachment>() {
            self.budgets.borrow_mut().remove(&id);
            self.addresses.borrow_mut().remove(&id);
        }
    }

    /// Notes the address of an observer that will catch up.
    pub(super) fn came_from(&self, id: i64, address: String) {
        self.addresses.borrow_mut().insert(id, address);
    }

    /// An observer has caught up.
    pub(super) fn caught_up(&self, id: i64) {
        self.addresses.borrow_mut().remove(&id);
    }

    /// Charges the reading of `events` to an observer's address; `false` if it must wait (Q08).
    pub(super) fn may_read(&self, id: i64, events: i64) -> bool {
        let addresses = self.addresses.borrow();
        let address = addresses.get(&id).map_or("", String::as_str);
        self.read_budgets.borrow_mut().take(address, events, now())
    }

    /// Credits events that were charged and not read.
    pub(super) fn give_back(&self, id: i64, events: i64) {
        let addresses = self.addresses.borrow();
        let address = addresses.get(&id).map_or("", String::as_str);
        self.read_budgets.borrow_mut().give_back(address, events);
    }

    /// Answers a frame: the usual replies, without effect.
    pub(super) fn frame(&self, socket: &WebSocket, text: Option<&str>) {
        let id = socket.deserialize_attachment::<Attachment>().ok().flatten().map_or(0, |(id, _)| id);
        let verdict = self.budgets.borrow_mut().entry(id).or_default().take(self.rate, now());
        send(socket, &reply(text, verdict).text());
        if verdict == Verdict::Enough {
            socket_state::close(socket, 1008, "too many frames");
        }
    }
}

/// The tag of a socket that waits for a community. A name may be longer than a tag (platform facts
/// T5).
pub(super) fn tag(community: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(community))
}
