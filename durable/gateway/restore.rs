//! Restores sockets that subscribe to nothing: they get the subscriptions of other sockets of their
//! person, and the events that those missed (Q10–Q15).
//!
//! The shipped client does not subscribe again after a reconnect (W03). So the gateway keeps the
//! subscriptions of a closed socket; `domain::restore` chooses whose a new socket gets. A task then
//! sends the missed events: those of each community from its log, and the current values of people
//! who changed. `domain::gateway::restoring` decides; this file looks up what it asks for.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use worker::Delay;
use worker::wasm_bindgen_futures::spawn_local;

use super::object::{GatewayObject, Outcome};
use super::subscriptions::NAMES;
use crate::domain::gateway::catching_up::{Catching, Replay};
use crate::domain::gateway::restoring::{Change, still_open};
use crate::domain::gateway::settling::Known;
use crate::domain::restore::Trace;
use crate::domain::subscriptions::Subscriptions;
use crate::durable::community::commands::Locate;
use crate::platform::background::{Pauses, until_done};
use crate::platform::clock::now;
use crate::platform::d1::D1;
use crate::platform::objects::call;
use crate::storage::gateway_people::{self, Changed};
use crate::storage::{Fault, Inner, presence, reads, rows};
use crate::wire::events::stamp_state;
use crate::wire::ids::{AtUri, Did};
use crate::wire::time::Micros;

/// How long a client has for its first `subscribe` before it is restored (Q10), in milliseconds: enough
/// for one on a slow connection.
const FIRST_WORD_MS: u64 = 500;

/// The pauses after failed attempts, in milliseconds.
const PAUSES: Pauses = Pauses::new(2_000, 60_000);

impl GatewayObject {
    /// Restores, in the background, the sockets that are due.
    pub(super) fn restore_soon(self: &Rc<Self>) {
        let due = self.with(|gateway| Ok(gateway.take_restoring()));
        for id in due.unwrap_or_default() {
            let object = Rc::clone(self);
            spawn_local(async move {
                Delay::from(Duration::from_millis(FIRST_WORD_MS)).await;
                until_done(PAUSES, "what a socket missed is sent later", async move || {
                    object.restore(id).await
                });
            });
        }
    }

    /// One attempt. It also succeeds if the socket is gone.
    async fn restore(&self, id: i64) -> Outcome<()> {
        self.inherit(id)?;
        let Some(subscriptions) = self.with(|gateway| Ok(gateway.restores(id).cloned()))? else {
            return Ok(());
        };
        // Listening comes first: new events wait until the replay is complete.
        let wanted = self.wanted_by(&subscriptions).await?;
        self.with(|gateway| {
            gateway.owe_new_ones(id, &wanted);
            Ok(())
        })?;
        self.listen(wanted).await?;
        self.locate(id).await?;
        while let Some((community, cursor)) = self.with(|gateway| Ok(gateway.next_owed(id)))? {
            let Some(first) = self.page(id, &community, cursor).await? else { continue };
            self.catch_up(Replay::new(id, community, cursor, Catching::Restored), first).await;
        }
        self.restore_people(id).await?;
        self.with(|gateway| {
            gateway.restored(id, now());
            Ok(())
        })
    }

    /// Copies subscriptions of other sockets of the person to a socket that has not subscribed yet (Q10).
    fn inherit(&self, id: i64) -> Outcome<()> {
        self.with_moment(|gateway, moment| {
            let closed: Vec<Inner<Trace>> = match gateway.waits_for_traces(id) {
                Some(did) => rows(Some(&self.sql.run(&gateway_people::traces(did))?))?,
                None => return Ok(()),
            };
            // A trace that cannot be read back is ignored.
            gateway.inherit(id, closed.into_iter().filter_map(|trace| trace.0).collect(), moment);
            Ok(())
        })
    }

    /// Asks the communities' logs for the `seq` of positions of which only the time is known.
    async fn locate(&self, id: i64) -> Outcome<()> {
        let mut found = Vec::new();
        for (community, at) in self.with(|gateway| Ok(gateway.unlocated(id)))? {
            let located =
                call(&self.env, community.as_str(), &Locate { community: community.clone(), at }).await?;
            found.push((community, at, located.cursor));
        }
        self.with(|gateway| {
            gateway.located(id, &found);
            Ok(())
        })
    }

    /// The communities that subscriptions reach.
    async fn wanted_by(&self, subscriptions: &Subscriptions) -> Outcome<Vec<AtUri>> {
        let (message, community) = (&subscriptions.message, &subscriptions.community);
        let names: Vec<String> = message.keys.iter().cloned().collect();
        let mut wanted: BTreeSet<AtUri> = self.look_up(&names, &[]).await?.into_iter().collect();
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
        let (changes, missed) = self.with(|gateway| {
            let Some(since) = gateway.missed_since(id) else { return Ok((Vec::new(), Vec::new())) };
            let changes = self.changes(since)?;
            let missed = gateway.missed_people(id, &changes);
            Ok((changes, missed))
        })?;
        if missed.is_empty() {
            return Ok(());
        }
        let dids: Vec<Did> = missed.into_iter().map(|one| one.did).collect();
        let found = presence::people(&D1::of(&self.env)?, &dids).await?;
        let found: Vec<Known> = found.into_iter().map(|found| found.known(&self.cdn)).collect();
        self.with(|gateway| {
            let missed = gateway.missed_people(id, &still_open(changes, &found));
            for known in found {
                let Some(missed) = missed.iter().find(|missed| missed.did == known.did) else { continue };
                for event in missed.events(&known.now()) {
                    let text = event.text().map_err(|error| Fault::new("writing an event", error))?;
                    gateway.send(id, stamp_state(&text, false));
                }
            }
            Ok(())
        })
    }

    fn changes(&self, since: Micros) -> Outcome<Vec<Change>> {
        let changed: Vec<Changed> = rows(Some(&self.sql.run(&gateway_people::changed_since(since))?))?;
        Ok(changed.into_iter().map(Change::from).collect())
    }
}
