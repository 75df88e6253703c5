//! What a person's next socket gets of what was missed, without asking (Q10–Q14).
//!
//! The shipped client does not subscribe again after a reconnect (W03). So what its sockets had
//! is kept for `RESTORE_MS`, a new socket starts with it, and a task sends what came meanwhile:
//! each community's events from its log, and the people who changed as they are now.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use worker::Delay;
use worker::wasm_bindgen_futures::spawn_local;

use super::desk::{Desk, Outcome, RETRY};
use super::sessions::{Sessions, send};
use super::subscribing::Catching;
use crate::domain::subscriptions::{Subscriptions, needs};
use crate::platform::clock::now;
use crate::platform::d1::D1;
use crate::platform::log;
use crate::storage::gateway_people::{self, Changed, Departed};
use crate::storage::gateway_sessions::{self, Restoring};
use crate::storage::{Fault, presence, reads, rows};
use crate::wire::events::{Event, stamp_state};
use crate::wire::ids::{AtUri, Did};
use crate::wire::time::Micros;

/// What a client sends first counts before anything is replayed (Q11): that long a client on a
/// slow line needs to say it, in milliseconds.
const FIRST_WORD_MS: u64 = 500;

impl Desk {
    /// What a new socket of a person starts with (Q10): the union of what their sockets had that
    /// closed within `RESTORE_MS` before the last of them did, if that is not longer ago.
    pub(super) fn restorable(&self, sessions: &Sessions, did: &Did) -> Outcome<Option<Restoring>> {
        if self.settings.restore == 0 {
            return Ok(None);
        }
        let departures: Vec<(i64, bool, Departed)> =
            rows(Some(&self.sql.run(&gateway_people::departures(did))?))?;
        let Some(since) = departures.iter().filter(|(_, last, _)| *last).map(|(at, _, _)| *at).max() else {
            return Ok(None);
        };
        if now().0.saturating_sub(since) > self.settings.restore {
            return Ok(None);
        }
        let mut restoring = Restoring { since: Micros(since), ..Restoring::default() };
        let recent = since.saturating_sub(self.settings.restore)..=since;
        for (_, _, departed) in departures.into_iter().filter(|(at, _, _)| recent.contains(at)) {
            restoring.subscriptions.unite(&departed.subscriptions);
            for (community, seq) in departed.heard {
                let owed = restoring.owed.entry(community).or_insert(seq);
                *owed = seq.max(*owed);
            }
        }
        // What became known and is listened to since, for others, was missed from its beginning.
        for community in sessions.communities.keys() {
            if needs(&restoring.subscriptions, community, &sessions.meanings) {
                restoring.owed.entry(community.clone()).or_insert(0);
            }
        }
        Ok(Some(restoring))
    }

    /// Sends, in the background, what restored sockets missed.
    pub(super) fn restore_soon(self: &Rc<Self>) {
        let due = self.with(|sessions| Ok(std::mem::take(&mut sessions.restoring)));
        for id in due.unwrap_or_default() {
            let desk = Rc::clone(self);
            spawn_local(async move {
                Delay::from(Duration::from_millis(FIRST_WORD_MS)).await;
                while let Err(fault) = desk.restore(id).await {
                    log::fault(&fault, "what a socket missed is sent later");
                    Delay::from(Duration::from_micros(RETRY.unsigned_abs())).await;
                }
            });
        }
    }

    /// One try. Ends well when the socket is gone, too.
    async fn restore(&self, id: i64) -> Outcome<()> {
        let Some((subscriptions, socket)) = self.with(|sessions| {
            Ok(sessions.open.get(&id).map(|open| (open.session.subscriptions.clone(), open.socket.clone())))
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
        loop {
            let next = self.with(|sessions| Ok(next_owed(sessions, id)))?;
            let Some((community, cursor)) = next else { break };
            let first = self.page(&community, cursor).await?;
            self.catch_up(id, &socket, &community, cursor, first, Catching::Restored).await;
        }
        self.restore_people(id).await?;
        self.with(|sessions| {
            let Some(open) = sessions.open.get_mut(&id) else { return Ok(()) };
            open.session.restoring = None;
            self.sql.run(&gateway_sessions::keep(id, &open.session)).map(drop)
        })
    }

    /// The communities that subscriptions reach.
    async fn wanted_by(&self, subscriptions: &Subscriptions) -> Outcome<Vec<AtUri>> {
        let (message, community) = (&subscriptions.message, &subscriptions.community);
        let names: Vec<String> = message.keys.iter().cloned().collect();
        let mut wanted: BTreeSet<AtUri> = self.look_up(&names).await?.into_iter().collect();
        let db = D1::of(&self.env)?;
        if !community.keys.is_empty() {
            let keys: Vec<String> = community.keys.iter().cloned().collect();
            wanted.extend(reads::listed(&db, &keys).await?);
        }
        if message.all || community.all {
            wanted.extend(reads::all_communities(&db).await?);
        }
        Ok(wanted.into_iter().collect())
    }

    /// Q13: one frame for each watched person whose status or profile changed, as they are now.
    async fn restore_people(&self, id: i64) -> Outcome<()> {
        let changed: Vec<Changed> = self.with(|sessions| {
            let Some(restoring) = sessions.open.get(&id).and_then(|open| open.session.restoring.clone())
            else {
                return Ok(Vec::new());
            };
            let since = gateway_people::changed_since(restoring.since);
            let mut changed: Vec<Changed> = rows(Some(&self.sql.run(&since)?))?;
            changed.retain(|one| restoring.subscriptions.watches(&one.did, &one.communities));
            for one in &mut changed {
                // Only which of the two is asked from here on.
                one.status_at -= restoring.since.0;
                one.profile_at -= restoring.since.0;
            }
            Ok(changed)
        })?;
        if changed.is_empty() {
            return Ok(());
        }
        let dids: Vec<Did> = changed.iter().map(|one| one.did.clone()).collect();
        let found = presence::people(&D1::of(&self.env)?, &dids).await?;
        self.with(|sessions| {
            let Some(open) = sessions.open.get(&id) else { return Ok(()) };
            for one in &found {
                let Some(what) = changed.iter().find(|what| what.did == one.did) else { continue };
                let person = one.person.as_ref().map(|row| row.shown(&self.cdn)).unwrap_or_default();
                let status = (what.status_at >= 0).then(|| Event::status_of(&one.did, person.clone()));
                let profile = (what.profile_at >= 0).then(|| Event::profile_of(&one.did, person));
                for event in [status, profile].into_iter().flatten() {
                    let text = event.text().map_err(|error| Fault::new("writing an event", error))?;
                    send(&open.socket, &stamp_state(&text, false));
                }
            }
            Ok(())
        })
    }
}

/// The next community a session has to catch up with, and from where.
fn next_owed(sessions: &Sessions, id: i64) -> Option<(AtUri, i64)> {
    let restoring = sessions.open.get(&id)?.session.restoring.as_ref()?;
    let (community, cursor) = restoring.owed.first_key_value()?;
    Some((AtUri::parse(community).ok()?, *cursor))
}

/// Of the communities a restored session wants, those that nobody at this gateway listened to
/// were not known when its person left: their whole log was missed. Those that came to be
/// listened to since the socket opened have told it everything.
fn owe_new_ones(sessions: &mut Sessions, id: i64, wanted: &[AtUri]) {
    let Some(open) = sessions.open.get_mut(&id) else { return };
    let Some(restoring) = &mut open.session.restoring else { return };
    for community in wanted.iter().map(AtUri::as_str) {
        if !restoring.done.contains(community) && !sessions.communities.contains_key(community) {
            restoring.owed.entry(community.to_owned()).or_insert(0);
            open.resuming.entry(community.to_owned()).or_insert_with(|| Some(Vec::new()));
        }
    }
}
