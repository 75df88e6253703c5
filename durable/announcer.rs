//! Tells the communities what was committed (the step after the hallway).
//!
//! Guarantee needed: every event once, in the order of commits, to each community, through any
//! crash. It comes from three things: events are stored in the outbox with their data; a
//! community ignores a row it has had; a row is forgotten only when every community has it.

use std::cell::{Cell, RefCell};

use futures::future::join_all;
use worker::Env;

use super::commands::{Announce, Command, Reindexed, Watch, call, gateway};
use crate::domain::announcement::{Scope, Topic};
use crate::domain::untold::{Told, Untold};
use crate::hallway::Committed;
use crate::platform::config;
use crate::platform::d1::D1;
use crate::platform::log;
use crate::storage::{CommitError, Fault, Store, outbox};
use crate::wire::ids::Rkey;
use crate::wire::time::Micros;

/// Communities told at the same time. Each call waits for one object; the platform allows six
/// connections waiting for headers, and queues the rest (platform facts 2.8).
const AT_ONCE: usize = 32;

/// Tells communities. Lives in the `Jetstream` object; nothing in it needs to survive.
pub(super) struct Announcer {
    env: Env,
    untold: RefCell<Untold>,
    forgotten: Cell<i64>,
    /// The outbox holds rows that did not come in yet.
    behind: Cell<bool>,
}

impl Announcer {
    pub(super) fn new(env: Env) -> Self {
        Self {
            env,
            untold: RefCell::new(Untold::default()),
            forgotten: Cell::new(0),
            behind: Cell::new(true),
        }
    }

    /// Events that wait to be told.
    pub(super) fn waiting(&self) -> usize {
        self.untold.borrow().len()
    }

    /// The row up to which everything was told, if that is news to the outbox.
    pub(super) fn to_forget(&self) -> Option<i64> {
        let through = self.untold.borrow().told_through();
        (through > self.forgotten.get()).then_some(through)
    }

    /// The outbox has forgotten everything up to and with `id`.
    pub(super) fn forgot(&self, id: i64) {
        self.forgotten.set(id);
    }

    /// Takes in what a commit left in the outbox. If other writers committed since, their rows
    /// come first: the next [`Self::catch_up`] brings all of them from the database.
    pub(super) fn take(&self, committed: Committed) {
        if self.behind.get() || committed.before != self.untold.borrow().seen() {
            return self.behind.set(true);
        }
        let mut untold = self.untold.borrow_mut();
        for (id, announcements) in committed.outbox {
            untold.take(id, announcements);
        }
        untold.nothing_until(committed.after);
    }

    /// Somebody else may have committed: the next [`Self::catch_up`] looks.
    pub(super) fn look(&self) {
        self.behind.set(true);
    }

    /// Whether somebody else may have committed since the outbox was last read.
    pub(super) fn is_behind(&self) -> bool {
        self.behind.get()
    }

    /// Takes in what stands in the outbox: after a start, and when somebody else committed.
    pub(super) async fn catch_up(&self, db: &D1) -> Result<(), Fault> {
        // Noted before the first read: what is committed from now on sets it again.
        if !self.behind.replace(false) {
            return Ok(());
        }
        let result = self.read_outbox(db).await;
        if result.is_err() {
            self.behind.set(true);
        }
        result
    }

    async fn read_outbox(&self, db: &D1) -> Result<(), Fault> {
        // Read before the rows: a commit that comes between is picked up by the next call.
        let (_, version) = outbox::position(db).await?;
        loop {
            let after = self.untold.borrow().seen();
            let rows = outbox::untold(db, after).await?;
            if rows.is_empty() {
                break;
            }
            let mut untold = self.untold.borrow_mut();
            rows.into_iter().for_each(|row| untold.take(row.id, row.announcements));
        }
        self.untold.borrow_mut().nothing_until(version);
        Ok(())
    }

    /// Tells every community what it has not had. Who cannot be told is tried again later and
    /// holds up nobody else.
    pub(super) async fn tell(&self, now: Micros) {
        let waiting: Vec<(Scope, Vec<Told>)> =
            self.untold.borrow().due(now).map(|(scope, told)| (scope.clone(), told.to_vec())).collect();
        for some in waiting.chunks(AT_ONCE) {
            let results = join_all(some.iter().map(|(scope, told)| self.tell_one(scope, told))).await;
            for ((scope, _), result) in some.iter().zip(results) {
                match result {
                    Ok(through) => self.untold.borrow_mut().told(scope, through),
                    Err(fault) => {
                        log::fault(&fault, &format!("{scope} is told again after a pause"));
                        self.untold.borrow_mut().failed(scope, now);
                    }
                }
            }
        }
    }

    /// When a community that could not be told is tried again.
    pub(super) fn next_try(&self) -> Option<Micros> {
        self.untold.borrow().next_try()
    }

    async fn tell_one(&self, scope: &Scope, told: &[Told]) -> Result<i64, Fault> {
        let community = match scope {
            Scope::Community(community) => community,
            Scope::People => {
                self.call_gateways(&Watch { told: told.to_vec() }).await?;
                return Ok(told.last().map_or(0, |last| last.id));
            }
        };
        // Gateways first, so that a socket waiting for a channel hears its first message (A34).
        if let Some(rkeys) = reindexed(told) {
            self.call_gateways(&Reindexed { community: community.clone(), rkeys }).await?;
        }
        let announce = Announce { community: community.clone(), told: told.to_vec() };
        Ok(call(&self.env, community.as_str(), &announce).await?.through)
    }

    /// Asks every gateway; a fault of one is a fault of all, and they are asked again.
    async fn call_gateways<C: Command>(&self, command: &C) -> Result<(), Fault> {
        let shards = config::sockets(&self.env).gateway_shards;
        let names: Vec<String> = (0..shards).map(gateway).collect();
        let replies = join_all(names.iter().map(|name| call(&self.env, name, command))).await;
        replies.into_iter().collect::<Result<Vec<_>, _>>().map(drop)
    }

    /// Forgets told rows when there is no commit to do it on the way.
    pub(super) async fn forget(&self, db: &D1) {
        let Some(id) = self.to_forget() else { return };
        match db.commit(vec![outbox::told(id)]).await {
            Ok(()) => self.forgot(id),
            Err(CommitError::Conflict) => {}
            Err(CommitError::Fault(fault)) => log::fault(&fault, "the outbox is tidied later"),
        }
    }
}

/// The keys of channels that appeared or went in these events; an empty list if the whole
/// community did; `None` if nothing of the kind happened.
fn reindexed(told: &[Told]) -> Option<Vec<Rkey>> {
    let topics = || told.iter().flat_map(|told| &told.events).map(|event| &event.topic);
    if topics().any(|topic| matches!(topic, Topic::CommunityShown | Topic::CommunityGone)) {
        return Some(Vec::new());
    }
    let rkeys: Vec<Rkey> = topics()
        .filter_map(|topic| match topic {
            Topic::ChannelShown(uri) | Topic::ChannelGone(uri) => Some(uri.rkey()),
            _ => None,
        })
        .collect();
    (!rkeys.is_empty()).then_some(rkeys)
}
