//! What a gateway knows in memory: its open sockets, what they want, what names mean.
//!
//! Rebuilt from the sockets' attachments and the object's database whenever the object wakes
//! (platform facts 2.2); every change is written there in the same step.

use std::collections::BTreeMap;

use worker::{State, WebSocket};

use crate::domain::announcement::{Announcement, Audience};
use crate::domain::subscriptions::{Candidate, Meanings, hears, needs};
use crate::platform::object_sql::ObjectSql;
use crate::storage::community_log::Numbered;
use crate::storage::gateway_sessions::{self, Session};
use crate::storage::{Fault, Statement, rows};
use crate::wire::events::{stamp, stamp_state};
use crate::wire::ids::Did;

/// Events kept for a socket while it catches up. More means it is too slow to catch up.
const PENDING_MAX: usize = 2_000;

/// A session and its socket.
pub(super) struct Open {
    pub(super) session: Session,
    pub(super) socket: WebSocket,
    /// Communities it is catching up with: what came meanwhile, to be sent after the replay.
    /// `None` once there was too much of it.
    pub(super) resuming: BTreeMap<String, Option<Vec<(u64, String)>>>,
}

impl Open {
    pub(super) fn new(session: Session, socket: WebSocket) -> Self {
        Self { session, socket, resuming: BTreeMap::new() }
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct Sessions {
    pub(super) open: BTreeMap<i64, Open>,
    pub(super) meanings: Meanings,
    /// Communities listened to, and the last `seq` had from each.
    pub(super) communities: BTreeMap<String, u64>,
}

impl Sessions {
    /// Rebuilds the memory. Sessions whose socket is gone end here.
    pub(super) fn load(state: &State, sql: &ObjectSql) -> Result<Self, Fault> {
        for schema in gateway_sessions::SCHEMA {
            sql.run(&Statement::new(schema, []))?;
        }
        let mut sockets: BTreeMap<i64, WebSocket> = state
            .get_websockets()
            .into_iter()
            .filter_map(|socket| Some((socket.deserialize_attachment::<i64>().ok()??, socket)))
            .collect();
        let mut sessions = Self::default();
        for (id, session) in rows::<(i64, Session)>(Some(&sql.run(&gateway_sessions::sessions())?))? {
            match sockets.remove(&id) {
                Some(socket) => drop(sessions.open.insert(id, Open::new(session, socket))),
                None => drop(sql.run(&gateway_sessions::close(id))?),
            }
        }
        let known: Vec<Candidate> = rows(Some(&sql.run(&gateway_sessions::channels())?))?;
        sessions.meanings.set(&[], known);
        sessions.communities =
            rows::<(String, u64)>(Some(&sql.run(&gateway_sessions::communities())?))?.into_iter().collect();
        Ok(sessions)
    }

    /// The channel names some session listens to.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .open
            .values()
            .flat_map(|open| open.session.subscriptions.message.keys.iter().cloned())
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Whether some session needs a community.
    pub(super) fn need(&self, community: &str) -> bool {
        self.open.values().any(|open| needs(&open.session.subscriptions, community, &self.meanings))
    }

    /// Sends an event to every session that hears it and has not had it in a replay.
    pub(super) fn send(&mut self, community: &str, event: &Numbered) {
        let mut text: Option<String> = None;
        for open in self.open.values_mut() {
            let session = &open.session;
            if !hears(
                &session.subscriptions,
                session.did.as_ref(),
                &event.audience,
                community,
                &self.meanings,
            ) || session.replayed.get(community).is_some_and(|seq| event.seq <= *seq)
            {
                continue;
            }
            let text = text.get_or_insert_with(|| stamp(event.event.get(), event.seq, event.live));
            match open.resuming.get_mut(community) {
                None => send(&open.socket, text),
                Some(Some(pending)) if pending.len() < PENDING_MAX => pending.push((event.seq, text.clone())),
                Some(pending) => *pending = None,
            }
        }
    }

    /// Sends an event about a person to every session that asked for it.
    pub(super) fn send_state(&self, event: &Announcement) {
        let text = stamp_state(event.event.get(), event.live);
        for open in self.open.values() {
            let session = &open.session;
            if hears(&session.subscriptions, session.did.as_ref(), &event.audience, "", &self.meanings) {
                send(&open.socket, &text);
            }
        }
    }

    /// Whether the session `id` hears an event of a replay.
    pub(super) fn hears_replayed(&self, id: i64, community: &str, audience: &Audience) -> bool {
        self.open.get(&id).is_some_and(|open| {
            let session = &open.session;
            let did: Option<&Did> = session.did.as_ref();
            hears(&session.subscriptions, did, audience, community, &self.meanings)
        })
    }
}

/// Sends a frame. A socket that cannot take it is closing; its close is handled when it comes.
pub(super) fn send(socket: &WebSocket, text: &str) {
    let _ = socket.send_with_str(text);
}
