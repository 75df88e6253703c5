//! The work of a `RepoSync`: takes due repositories, reads and commits them, and stores the
//! results.
//!
//! The queue and the results are in D1, so nothing in here must survive. `pipeline::reconcile`
//! turns a repository into changes; `domain::repos` decides when it is read again.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use serde_json::json;
use url::Url;
use worker::wasm_bindgen_futures::spawn_local;
use worker::{Env, State};

use super::miss::{Miss, soon};
use crate::domain::fault_code::Code;
use crate::domain::repos::{Reason, pause_after};
use crate::pipeline::Settings;
use crate::platform::alarm::Alarm;
use crate::platform::clock::{chance, now};
use crate::platform::config::{self, Outside};
use crate::platform::d1::D1;
use crate::platform::identity::{Account, Unresolved, refresh, resolve, resolve_named};
use crate::platform::log::{self, Level};
use crate::platform::objects::DISPATCH;
use crate::storage::repos::{self, Due, HostDue};
use crate::storage::{CommitError, Fault, Statement, Store, discovery};
use crate::wire::ids::Did;
use crate::wire::time::Micros;

/// Parallel requests to one host (K07), and to the directory.
const AT_ONCE: u32 = 2;

/// The longest time between two alarms while there is work (platform facts T1).
const ALARM_MS: i64 = 25_000;

/// The pause before the queue is read again after a fault of the database.
const RETRY_MS: i64 = 5_000;

/// How long before their next due repository hosts are woken, in microseconds: twice the time for
/// which an account that changes rapidly is left alone (`repos::returned`).
const DUE_WITHIN: i64 = 10_000_000;

type Outcome<T> = std::result::Result<T, Fault>;

/// See the module. No borrow of it lasts over an await.
pub(super) struct Host {
    pub(super) env: Env,
    /// `None` for the instance that finds hosts.
    pub(super) name: Option<String>,
    pub(super) outside: Outside,
    pub(super) pipeline: Settings,
    /// Repositories that are being read.
    pub(super) busy: RefCell<BTreeSet<Did>>,
    pub(super) workers: Cell<u32>,
    /// Whether a command arrived during the work: read the queue again before resting.
    pub(super) again: Cell<bool>,
    pub(super) rests_until: Cell<Option<Micros>>,
    /// Hosts that were found and not woken yet, and when some were last woken.
    pub(super) found: RefCell<BTreeSet<String>>,
    pub(super) woken_at: Cell<Micros>,
    /// What was due at each host when it was last woken, and when that was.
    pub(super) woken: RefCell<BTreeMap<String, (HostDue, Micros)>>,
    alarm: Alarm,
    /// Whether the alarm rang and no command arrived since.
    rang: Cell<bool>,
}

impl Host {
    pub(super) fn new(state: &State, env: Env) -> Self {
        Self {
            name: state.id().name().filter(|name| name != DISPATCH),
            outside: config::outside(&env),
            pipeline: config::pipeline(&env),
            alarm: Alarm::of(state, "cron wakes the object within a minute"),
            env,
            busy: RefCell::default(),
            workers: Cell::new(0),
            again: Cell::new(false),
            rests_until: Cell::new(None),
            found: RefCell::default(),
            woken_at: Cell::default(),
            woken: RefCell::default(),
            rang: Cell::new(false),
        }
    }

    /// Makes sure that due repositories are read. Returns at once.
    pub(super) async fn work(self: &Rc<Self>) {
        self.rang.set(false);
        self.begin().await;
    }

    async fn begin(self: &Rc<Self>) {
        // The next alarm is set before the work: if the object dies, the work is repeated.
        self.wake_within(ALARM_MS).await;
        self.again.set(true);
        self.add_worker();
    }

    /// The alarm rang, so none is set any more.
    pub(super) async fn ring(self: &Rc<Self>) {
        self.alarm.rang();
        self.rang.set(true);
        self.begin().await;
    }

    /// Starts a worker, unless two are running.
    fn add_worker(self: &Rc<Self>) {
        if self.workers.get() < AT_ONCE {
            self.workers.set(self.workers.get() + 1);
            spawn_local(Rc::clone(self).take_turns());
        }
    }

    /// One worker: reads one repository after the other.
    async fn take_turns(self: Rc<Self>) {
        loop {
            match self.next().await {
                Ok(Some(due)) => {
                    // More than one may be due.
                    self.add_worker();
                    let did = due.did.clone();
                    if let Err(fault) = self.look_at(due).await {
                        log::fault(
                            &fault,
                            "the result of reading a repository is not stored; the repository is read again",
                        );
                    }
                    self.busy.borrow_mut().remove(&did);
                }
                // A command arrived while the queue was read, which may have more in it now.
                Ok(None) if self.again.get() => {}
                Ok(None) => break,
                Err(fault) => {
                    log::fault(&fault, "the queue of repositories is read again soon");
                    self.workers.set(self.workers.get() - 1);
                    return self.wake_within(RETRY_MS).await;
                }
            }
        }
        self.workers.set(self.workers.get() - 1);
        if self.workers.get() == 0
            && let Err(fault) = self.rest().await
        {
            log::fault(&fault, "the queue of repositories is read again soon");
            self.wake_within(RETRY_MS).await;
        }
    }

    /// The next due repository that no worker is reading.
    async fn next(&self) -> Outcome<Option<Due>> {
        self.again.set(false);
        if self.rests_until.get().is_some_and(|until| until > now()) {
            return Ok(None);
        }
        let limit = i64::from(AT_ONCE) * 2;
        let due = repos::due(&D1::of(&self.env)?, self.name.as_deref(), now(), limit).await?;
        let mut busy = self.busy.borrow_mut();
        Ok(due.into_iter().find(|due| busy.insert(due.did.clone())))
    }

    /// Nothing is due: closes gaps, wakes other hosts with due repositories, and sets the alarm to
    /// when the next one is due here.
    async fn rest(self: &Rc<Self>) -> Outcome<()> {
        let db = D1::of(&self.env)?;
        let (due, has_gap) = repos::next_due(&db, self.name.as_deref()).await?;
        if has_gap {
            write(&db, vec![repos::close_gaps(now())]).await?;
        }
        if self.name.is_none() {
            self.found.take(); // all of them are due
            // Also wakes hosts whose next repository is due in a moment, because nothing else would
            // wake them then: each sets its own alarm.
            self.wake_hosts(repos::hosts_due(&db, Micros(now().0 + DUE_WITHIN)).await?).await;
        }
        if self.workers.get() > 0 || self.again.get() {
            return Ok(()); // a command arrived in the meantime; the alarm is set
        }
        let rested = self.rests_until.get().filter(|until| *until > now());
        match due.map(|due| rested.map_or(due, |until| until.max(due))) {
            Some(at) => self.wake_within((at.millis() - now().millis() + 1).max(1)).await,
            // The alarm would find nothing to do, but deleting it is a write. So it stays while
            // commands keep arriving, and rings once more after they stop.
            None if self.rang.get() => self.alarm.delete().await,
            None => {}
        }
        Ok(())
    }

    /// Reads a repository and stores the result.
    async fn look_at(&self, due: Due) -> Outcome<()> {
        let db = D1::of(&self.env)?;
        let did = due.did.clone();
        let missed = match self.name.as_deref() {
            None => self.find(&db, &due).await,
            Some(host) => self.read(&db, host, &due).await,
        };
        let statement = match missed {
            Ok(()) | Err(Miss::Moved) => return Ok(()),
            Err(Miss::Resting(until)) => {
                self.rests_until.set(Some(until));
                repos::postponed(&did, until)
            }
            Err(Miss::Later(until)) => repos::postponed(&did, until),
            Err(Miss::Failed { status, error }) => {
                let pause = pause_after(due.failures.saturating_add(1), chance());
                let fields =
                    json!({ "did": did, "host": self.name, "because": error, "failures": due.failures + 1 });
                log::problem(
                    Code::Repository,
                    Level::Warn,
                    "a repository could not be read; trying again after a pause",
                    &fields,
                );
                repos::failed(&did, status, &error, Micros(now().0.saturating_add(pause)))
            }
        };
        write(&db, vec![statement, discovery::forget_unread(&did)]).await
    }

    /// The account of the DID, fetched again if the stored one may be outdated.
    pub(super) async fn account(&self, db: &D1, due: &Due, anew: bool) -> Result<Account, Miss> {
        // Anybody may name a DID that does not exist, and a relay may list it.
        let is_guess = Reason::named(&due.reason).is_some_and(Reason::is_guess);
        let found = if is_guess {
            resolve_named(db, &due.did, &self.outside, anew).await
        } else if anew {
            refresh(db, &due.did, &self.outside).await
        } else {
            resolve(db, &due.did, &self.outside).await
        };
        found.map_err(|unresolved| match unresolved {
            Unresolved::Nowhere => {
                Miss::Failed { status: "failing", error: "the DID leads to no PDS".into() }
            }
            Unresolved::Resting(until) if is_guess => Miss::Later(until),
            Unresolved::Busy => Miss::Later(soon()),
            // An object of a host continues with repositories whose keys are known.
            Unresolved::Resting(until) if self.name.is_none() => Miss::Resting(until),
            Unresolved::Resting(until) => Miss::Failed {
                status: "failing",
                error: format!("the directory rests until {}", until.shown()),
            },
            Unresolved::Fault(fault) => fault.into(),
        })
    }

    /// Sets the alarm to ring within this many milliseconds. Each setting is a write to disk, so an
    /// earlier alarm stays.
    async fn wake_within(&self, millis: i64) {
        self.alarm.ring_within(millis).await;
    }
}

/// Host and port: the name of the object for this host.
pub(super) fn host_of(pds: &Url) -> String {
    let host = pds.host_str().unwrap_or_default();
    pds.port_or_known_default().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Writes to the queue that depend on no facts.
pub(super) async fn write(db: &D1, statements: Vec<Statement>) -> Outcome<()> {
    db.commit(statements).await.map_err(|error| match error {
        CommitError::Fault(fault) => fault,
        CommitError::Conflict => Fault::new("noting how a repository is", "a conflict"),
    })
}
