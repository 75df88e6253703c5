//! What a socket that says nothing starts to hear, and gets of what was missed (Q10–Q15).
//!
//! The shipped client does not subscribe again after a reconnect (W03). So what a socket had is
//! kept when it closes; a new one of the same person that subscribes to nothing at first is given
//! what others had (`domain::restore` says which); and a task sends what came meanwhile: each
//! community's events from its log, and the people who changed as they are now.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use worker::Delay;
use worker::wasm_bindgen_futures::spawn_local;

use super::object::{GatewayObject, Outcome, RETRY};

use super::subscriptions::NAMES;
use crate::domain::gateway::catching_up::{Catching, Replay};
use crate::domain::gateway::{Gateway as Core, LOST, Moment};
use crate::domain::restore::{Newcomer, Part, Place, Trace, sources};
use crate::domain::subscriptions::{BYTES_MAX, Subscriptions, needs};
use crate::durable::community::commands::Locate;
use crate::platform::clock::now;
use crate::platform::d1::D1;
use crate::platform::log;
use crate::platform::objects::call;
use crate::storage::gateway_people::{self, Changed};
use crate::storage::gateway_sessions::{self, Restoring};
use crate::storage::{Fault, Inner, presence, reads, rows};
use crate::wire::events::{Event, stamp_state};
use crate::wire::ids::{AtUri, Did};
use crate::wire::time::Micros;

/// How long a client has to say itself what it wants (Q10): that long one on a slow line needs, in
/// milliseconds.
const FIRST_WORD_MS: u64 = 500;

impl GatewayObject {
    /// Gives silent sockets what others had, and sends what they missed, in the background.
    pub(super) fn restore_soon(self: &Rc<Self>) {
        let due = self.with(|sessions| Ok(std::mem::take(&mut sessions.restoring)));
        for id in due.unwrap_or_default() {
            let object = Rc::clone(self);
            spawn_local(async move {
                Delay::from(Duration::from_millis(FIRST_WORD_MS)).await;
                while let Err(fault) = object.restore(id).await {
                    log::fault(&fault, "what a socket missed is sent later");
                    Delay::from(Duration::from_micros(RETRY.unsigned_abs())).await;
                }
            });
        }
    }

    /// Gives a socket that has said nothing yet what others of its person had (Q10).
    fn inherit(&self, sessions: &mut Core, id: i64, moment: &Moment<'_>) -> Outcome<()> {
        let Some(open) = sessions.open.get_mut(&id) else { return Ok(()) };
        let Some(declined) = open.session.silent.take() else { return Ok(()) };
        let session = &open.session;
        let new = Newcomer {
            origin: session.origin.clone(),
            proven: session.proven,
            secret: session.secret.clone(),
        };
        let Some(did) = session.did.clone() else { return Ok(()) };
        let others = self.others(sessions, &did, id, moment)?;
        let (mut parts, mut copied, mut cost) = (Vec::new(), BTreeSet::new(), 0);
        for other in sources(&new, &others, now(), self.settings.restore) {
            let mut subscriptions = other.subscriptions.clone();
            declined.apply(&mut subscriptions);
            cost += subscriptions.cost();
            // The most recent come first. What finds no room is left out.
            if cost > BYTES_MAX {
                break;
            }
            copied.insert(other.id);
            parts.push(Part { since: other.alive_at, subscriptions, heard: other.heard.clone() });
        }
        sessions.resubscribe(id, |open, others| {
            for part in &parts {
                open.subscriptions.unite(&part.subscriptions, others);
            }
        });
        let Core { open, communities, meanings, .. } = sessions;
        let Some(open) = open.get_mut(&id) else { return Ok(()) };
        if !parts.is_empty() {
            // What became known and is listened to since, for others, was missed from its beginning.
            let unknown = communities.keys().filter(|community| {
                needs(&open.subscriptions, community, meanings)
                    && !parts.iter().any(|part| part.heard.contains_key(*community))
            });
            let owed = unknown.map(|community| (community.clone(), 0)).collect();
            let restoring = Restoring { parts, owed, ..Restoring::default() };
            let heard = restoring.parts.iter().flat_map(|part| part.heard.keys());
            for community in heard.chain(restoring.owed.keys()) {
                // From now on live events wait until the replay is through.
                open.resuming.entry(community.clone()).or_insert_with(|| Some(Vec::new()));
            }
            self.sql.run_all(&gateway_sessions::inherit(id, &open.subscriptions))?;
            open.session.restoring = Some(restoring);
            open.session.copied = copied;
        }
        self.sql.run(&gateway_sessions::keep(id, &open.session)).map(drop)
    }

    /// What the other sockets of a person have, and what those had that closed.
    fn others(&self, sessions: &Core, did: &Did, id: i64, moment: &Moment<'_>) -> Outcome<Vec<Trace>> {
        let open =
            sessions.persons.get(did).into_iter().flat_map(|present| present.person.presence.sockets());
        let mut others: Vec<Trace> = open
            .filter(|other| **other != id)
            .filter_map(|other| {
                let alive_at = sessions.last_sign(*other, moment)?;
                sessions.trace(*other, alive_at, false)
            })
            .collect();
        let traces: Vec<Inner<Trace>> = rows(Some(&self.sql.run(&gateway_people::traces(did))?))?;
        // What cannot be read back is as if it had not been kept.
        others.extend(traces.into_iter().filter_map(|trace| trace.0));
        Ok(others)
    }

    /// One try. Ends well when the socket is gone, too.
    async fn restore(&self, id: i64) -> Outcome<()> {
        let Some(subscriptions) = self.with_moment(|sessions, moment| {
            self.inherit(sessions, id, moment)?;
            let open = sessions.open.get(&id).filter(|open| open.session.restoring.is_some());
            Ok(open.map(|open| open.subscriptions.clone()))
        })?
        else {
            return Ok(());
        };
        // Listening first: what comes from now on waits until the replay is through.
        let wanted = self.wanted_by(&subscriptions).await?;
        self.with(|sessions| {
            owe_new_ones(sessions, id, &wanted);
            Ok(())
        })?;
        self.listen(wanted).await?;
        self.locate(id).await?;
        loop {
            let next = self.with(|sessions| Ok(next_owed(sessions, id)))?;
            let Some((community, cursor)) = next else { break };
            let first = self.page(id, &community, cursor).await?;
            self.catch_up(Replay::new(id, community, cursor, Catching::Restored), first).await;
        }
        self.restore_people(id).await?;
        self.with(|sessions| {
            let Some(open) = sessions.open.get_mut(&id) else { return Ok(()) };
            open.session.restoring = None;
            self.sql.run(&gateway_sessions::keep(id, &open.session)).map(drop)
        })
    }

    /// Asks the logs where those were of whom only a moment is known, and notes from where each
    /// community is owed: from the earliest place of all.
    async fn locate(&self, id: i64) -> Outcome<()> {
        let unknown: BTreeSet<(String, Micros)> = self.with(|sessions| {
            let restoring = sessions.open.get(&id).and_then(|open| open.session.restoring.as_ref());
            let heard = restoring.into_iter().flat_map(|one| &one.parts).flat_map(|part| &part.heard);
            let unknown = heard.filter_map(|(community, place)| match place {
                Place::Since { since } => Some((community.clone(), *since)),
                Place::Seq(_) => None,
            });
            Ok(unknown.collect())
        })?;
        for (name, since) in unknown {
            let Ok(community) = AtUri::parse(&name) else { continue };
            // A community that nobody here listens to any more is not there any more.
            let is_heard = self.with(|sessions| Ok(sessions.communities.contains_key(&name)))?;
            let cursor = if is_heard {
                let located = call(&self.env, &name, &Locate { community, at: since }).await?;
                located.cursor.map_or(LOST, |seq| i64::try_from(seq).unwrap_or(LOST))
            } else {
                0
            };
            self.with(|sessions| {
                let open = sessions.open.get_mut(&id);
                let restoring = open.and_then(|open| open.session.restoring.as_mut());
                for part in restoring.into_iter().flat_map(|restoring| &mut restoring.parts) {
                    if let Some(place) =
                        part.heard.get_mut(&name).filter(|place| **place == Place::Since { since })
                    {
                        *place = Place::Seq(cursor);
                    }
                }
                Ok(())
            })?;
        }
        self.with(|sessions| {
            let Some(open) = sessions.open.get_mut(&id) else { return Ok(()) };
            let Some(restoring) = &mut open.session.restoring else { return Ok(()) };
            for (community, place) in restoring.parts.iter().flat_map(|part| &part.heard) {
                let Place::Seq(seq) = *place else { continue };
                if !restoring.done.contains(community) {
                    let owed = restoring.owed.entry(community.clone()).or_insert(seq);
                    *owed = seq.min(*owed);
                }
            }
            self.sql.run(&gateway_sessions::keep(id, &open.session)).map(drop)
        })
    }

    /// The communities that subscriptions reach.
    async fn wanted_by(&self, subscriptions: &Subscriptions) -> Outcome<Vec<AtUri>> {
        let (message, community) = (&subscriptions.message, &subscriptions.community);
        let names: Vec<String> = message.keys.iter().cloned().collect();
        let mut wanted: BTreeSet<AtUri> = self.look_up(&names).await?.into_iter().collect();
        let db = D1::of(&self.env)?;
        let keys: Vec<String> = community.keys.iter().cloned().collect();
        for keys in keys.chunks(NAMES) {
            wanted.extend(reads::listed(&db, keys).await?);
        }
        if message.all || community.all {
            wanted.extend(reads::all_communities(&db).await?);
        }
        Ok(wanted.into_iter().collect())
    }

    /// Q13: one frame for each watched person whose status or profile changed, as they are now.
    async fn restore_people(&self, id: i64) -> Outcome<()> {
        let changed: Vec<Changed> = self.with(|sessions| {
            let Some(restoring) = sessions.open.get(&id).and_then(|open| open.session.restoring.as_ref())
            else {
                return Ok(Vec::new());
            };
            let Some(since) = restoring.parts.iter().map(|part| part.since).min() else {
                return Ok(Vec::new());
            };
            let mut changed: Vec<Changed> =
                rows(Some(&self.sql.run(&gateway_people::changed_since(since))?))?;
            changed.retain_mut(|one| {
                let communities = one.communities.0.as_deref().unwrap_or_default();
                let parts = restoring.parts.iter();
                let watching = parts.filter(|part| part.subscriptions.watches(&one.did, communities));
                let Some(since) = watching.map(|part| part.since).min() else { return false };
                // Only which of the two is asked from here on.
                one.status_at -= since.0;
                one.profile_at -= since.0;
                one.status_at >= 0 || one.profile_at >= 0
            });
            Ok(changed)
        })?;
        if changed.is_empty() {
            return Ok(());
        }
        let dids: Vec<Did> = changed.iter().map(|one| one.did.clone()).collect();
        let found = presence::people(&D1::of(&self.env)?, &dids).await?;
        self.with(|sessions| {
            for one in &found {
                let Some(what) = changed.iter().find(|what| what.did == one.did) else { continue };
                let mut person = one.person.as_ref().map(|row| row.shown(&self.cdn)).unwrap_or_default();
                person.state = one.stored().current.map(|state| state.word().to_owned());
                let status = (what.status_at >= 0).then(|| Event::status_of(&one.did, person.clone()));
                let profile = (what.profile_at >= 0).then(|| Event::profile_of(&one.did, person));
                for event in [status, profile].into_iter().flatten() {
                    let text = event.text().map_err(|error| Fault::new("writing an event", error))?;
                    sessions.send(id, stamp_state(&text, false));
                }
            }
            Ok(())
        })
    }
}

/// The next community a session has to catch up with, and from where.
fn next_owed(sessions: &Core, id: i64) -> Option<(AtUri, i64)> {
    let restoring = sessions.open.get(&id)?.session.restoring.as_ref()?;
    let (community, cursor) = restoring.owed.first_key_value()?;
    Some((AtUri::parse(community).ok()?, *cursor))
}

/// Of the communities a restored session wants, those that nobody at this gateway listened to, and
/// none of those before it had heard, were not known then: their whole log was missed. Those that
/// came to be listened to since the socket opened have told it everything.
fn owe_new_ones(sessions: &mut Core, id: i64, wanted: &[AtUri]) {
    let Some(open) = sessions.open.get_mut(&id) else { return };
    let Some(restoring) = &mut open.session.restoring else { return };
    for community in wanted.iter().map(AtUri::as_str) {
        let is_known = restoring.parts.iter().any(|part| part.heard.contains_key(community));
        if !is_known && !restoring.done.contains(community) && !sessions.communities.contains_key(community) {
            restoring.owed.entry(community.to_owned()).or_insert(0);
            open.resuming.entry(community.to_owned()).or_insert_with(|| Some(Vec::new()));
        }
    }
}
