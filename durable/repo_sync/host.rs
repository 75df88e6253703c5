//! The work of a `RepoSync`: takes what is due, reads it, lets it in, notes how that went.
//!
//! What is due and how each look ended stands in D1, so nothing in here needs to survive. How a
//! repository becomes changes is the pipeline's (`pipeline::reconcile`), when it is looked at again
//! `domain::repos`'s.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use serde_json::json;
use url::Url;
use worker::wasm_bindgen_futures::spawn_local;
use worker::{Delay, Env, State};

use crate::domain::repos::{Reason, pause_after, wait_for_stream};
use crate::domain::repository::Refused;
use crate::domain::snapshot::Snapshot;
use crate::durable::jetstream::commands::Ensure;
use crate::durable::repo_sync::commands::Work;
use crate::pipeline::Settings;
use crate::pipeline::reconcile::{Pace, account, reconcile};
use crate::platform::alarm;
use crate::platform::clock::{chance, lost_a_race, now};
use crate::platform::config::{self, Outside};
use crate::platform::d1::D1;
use crate::platform::identity::{Account, Unresolved, refresh, resolve, resolve_named};
use crate::platform::log::{self, Level};
use crate::platform::memory::{NoRoom, Pool, Seat};
use crate::platform::objects::{DISPATCH, JETSTREAM, call};
use crate::platform::pds::{self, Unread};
use crate::storage::repos::{self, Due, Succeeded};
use crate::storage::{CommitError, Fault, Statement, Store, discovery};
use crate::wire::ids::{Collection, Did};
use crate::wire::multikey::Multikey;
use crate::wire::signing_key::SigningKey;
use crate::wire::time::Micros;

/// Requests to one host at a time (K07), and questions to the directory.
const AT_ONCE: u32 = 2;
/// The longest time between two alarms while there is work (platform facts T1).
const ALARM_MS: i64 = 25_000;
/// How soon the queue is asked again after a fault of the database.
const RETRY_MS: i64 = 5_000;
/// How often hosts are woken while others are looked for.
const WAKE_EVERY: i64 = 1_000_000;
/// How soon a repository is looked at again that had to wait, and did so for a while.
const SOON_MICROS: i64 = 5_000_000;
/// Hosts are woken this long before something of theirs is due, in microseconds: twice as long as an
/// account that comes and goes is left alone (`repos::returned`).
const DUE_WITHIN: i64 = 10_000_000;
/// An account that its host does not know is believed to be gone after so many answers: a host may
/// be restored, or moved, without all of its accounts at first.
const GONE_AFTER: u32 = 3;

type Outcome<T> = std::result::Result<T, Fault>;

/// See the module. Nothing in it is borrowed over an await.
pub(super) struct Host {
    state: State,
    env: Env,
    /// `None` for the instance that finds hosts.
    name: Option<String>,
    outside: Outside,
    pipeline: Settings,
    /// Repositories that are being read.
    busy: RefCell<BTreeSet<Did>>,
    workers: Cell<u32>,
    /// Asked for work while at it: look again before resting.
    again: Cell<bool>,
    rests_until: Cell<Option<Micros>>,
    /// Hosts that were found and not woken yet, and when some last were.
    found: RefCell<BTreeSet<String>>,
    woken_at: Cell<Micros>,
}

/// How a look ended, if not well.
enum Miss {
    /// The host is left alone until then; the repository did nothing wrong.
    Resting(Micros),
    /// It has to wait until then: others have all room that there is, or strangers had too much asked.
    /// Neither the host nor the repository did anything wrong.
    Later(Micros),
    /// Tried again after a pause. `status` stands in `repos`.
    Failed { status: &'static str, error: String },
    /// The account is, or was always, elsewhere.
    Moved,
}

impl From<Fault> for Miss {
    fn from(fault: Fault) -> Self {
        Miss::Failed { status: "failing", error: fault.to_string() }
    }
}

impl From<Unread> for Miss {
    fn from(unread: Unread) -> Self {
        let error = match unread {
            Unread::Resting(until) => return Miss::Resting(until),
            Unread::NoRoom(NoRoom::Crowded) => return Miss::Later(soon()),
            Unread::NoRoom(NoRoom::Slow) => "the host was slow while others waited for room".to_owned(),
            Unread::Fault(fault) => fault.to_string(),
            Unread::Absent(status) => return Miss::Failed { status: "absent", error: status.into() },
            Unread::Unserved(status) => format!("the host answers with status {status}"),
            Unread::Refused(refused) => format!("{}: {refused}", refused.reason()),
        };
        Miss::Failed { status: "failing", error }
    }
}

impl Host {
    pub(super) fn new(state: State, env: Env) -> Self {
        Self {
            name: state.id().name().filter(|name| name != DISPATCH),
            outside: config::outside(&env),
            pipeline: config::pipeline(&env),
            state,
            env,
            busy: RefCell::default(),
            workers: Cell::new(0),
            again: Cell::new(false),
            rests_until: Cell::new(None),
            found: RefCell::default(),
            woken_at: Cell::default(),
        }
    }

    /// Sees that what is due is looked at. Returns at once.
    pub(super) async fn work(self: &Rc<Self>) {
        // The next alarm before the work: should the work die, it is done again.
        self.wake_within(ALARM_MS).await;
        self.again.set(true);
        while self.workers.get() < AT_ONCE {
            self.workers.set(self.workers.get() + 1);
            spawn_local(Rc::clone(self).take_turns());
        }
    }

    /// One worker: one repository after the other.
    async fn take_turns(self: Rc<Self>) {
        loop {
            match self.next().await {
                Ok(Some(due)) => {
                    let did = due.did.clone();
                    if let Err(fault) = self.look_at(due).await {
                        log::fault(
                            &fault,
                            "how looking at a repository went is not stored; it is looked at again",
                        );
                    }
                    self.busy.borrow_mut().remove(&did);
                }
                // Somebody asked for work while the queue was read: it may have more in it.
                Ok(None) if self.again.get() => {}
                Ok(None) => break,
                Err(fault) => {
                    log::fault(&fault, "the queue of repositories is asked again soon");
                    self.workers.set(self.workers.get() - 1);
                    return self.wake_within(RETRY_MS).await;
                }
            }
        }
        self.workers.set(self.workers.get() - 1);
        if self.workers.get() == 0
            && let Err(fault) = self.rest().await
        {
            log::fault(&fault, "the queue of repositories is asked again soon");
            self.wake_within(RETRY_MS).await;
        }
    }

    /// The next repository that is due and that nobody is reading.
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

    /// Nothing is due: gaps may be closed, other hosts have something to do, and the alarm rings
    /// when something is next due here.
    async fn rest(self: &Rc<Self>) -> Outcome<()> {
        let db = D1::of(&self.env)?;
        write(&db, vec![repos::close_gaps(now())]).await?;
        if self.name.is_none() {
            self.found.take(); // all of them are due
            // Also those with something due in a moment: each sets its own alarm, and nobody else would
            // wake it then.
            for host in repos::hosts_due(&db, Micros(now().0 + DUE_WITHIN)).await?.into_iter().flatten() {
                self.wake_host(&host).await;
            }
        }
        let due = repos::next_due(&db, self.name.as_deref()).await?;
        if self.workers.get() > 0 || self.again.get() {
            return Ok(()); // somebody asked for work meanwhile; the alarm is set
        }
        let rested = self.rests_until.get().filter(|until| *until > now());
        match due.map(|due| rested.map_or(due, |until| until.max(due))) {
            Some(at) => self.wake_within((at.millis() - now().millis() + 1).max(1)).await,
            None => drop(self.state.storage().delete_alarm().await), // it would find nothing to do
        }
        Ok(())
    }

    async fn wake_host(&self, host: &str) {
        if let Err(fault) = call(&self.env, host, &Work {}).await {
            log::fault(&fault, "cron wakes the host within a minute");
        }
    }

    /// Looks at a repository and stores how that went.
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
                log::line(Level::Warn, "a repository could not be read; trying again after a pause", &fields);
                repos::failed(&did, status, &error, Micros(now().0.saturating_add(pause)))
            }
        };
        write(&db, vec![statement, discovery::forget_unread(&did)]).await
    }

    /// Finds the host of a repository.
    async fn find(&self, db: &D1, due: &Due) -> Result<(), Miss> {
        let account = self.account(db, due, due.failures > 0).await?;
        let host = host_of(&account.pds);
        write(db, vec![repos::found_at(&due.did, account.pds.as_str(), &host)]).await?;
        self.found.borrow_mut().insert(host);
        // With thousands to be found, the first hosts begin before the last is known.
        if now().0.saturating_sub(self.woken_at.get().0) >= WAKE_EVERY {
            self.woken_at.set(now());
            let hosts = self.found.take();
            for host in hosts {
                self.wake_host(&host).await;
            }
        }
        Ok(())
    }

    /// Who is behind the DID, asked anew if what is known may be wrong.
    async fn account(&self, db: &D1, due: &Due, anew: bool) -> Result<Account, Miss> {
        // Anybody may name somebody who does not exist, and a relay may list them.
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
            // A host that is asked for repositories goes on with those whose keys are known.
            Unresolved::Resting(until) if self.name.is_none() => Miss::Resting(until),
            Unresolved::Resting(until) => Miss::Failed {
                status: "failing",
                error: format!("the directory rests until {}", until.shown()),
            },
            Unresolved::Fault(fault) => fault.into(),
        })
    }

    /// Reads a repository, if there is anything new in it, and lets it in.
    async fn read(&self, db: &D1, host: &str, due: &Due) -> Result<(), Miss> {
        let began = now();
        let reason = Reason::named(&due.reason).unwrap_or(Reason::Gap);
        let mut account = self.account(db, due, due.failures > 0 || reason == Reason::Identity).await?;
        self.must_be_here(db, host, &account, due).await?;
        // Until what was read is let in: so many are read at a time, over all hosts.
        let seat = Pool::Repositories.seat(host).await.map_err(Unread::NoRoom)?;
        let head = match pds::latest_rev(&account.pds, &due.did).await {
            Err(Unread::Absent(status)) => {
                // Perhaps it moved, and nobody said so.
                account = self.account(db, due, true).await?;
                self.must_be_here(db, host, &account, due).await?;
                return self.absent(db, due, status, began).await;
            }
            head => head?,
        };
        must_be_newer(due, &head)?;
        let unchanged = due.is_synced && due.rev.as_deref() == Some(head.as_str());
        let mut done =
            crate::pipeline::reconcile::account(db, &due.did, None, &self.pipeline, &Steps).await?;
        let mut look = Succeeded {
            did: &due.did,
            rev: Some(&head),
            status: "synced",
            began,
            refused: None,
            signed_by: None,
        };
        if unchanged && !reason.reads_unchanged() {
            write(db, vec![repos::succeeded(&look, now())]).await?;
        } else {
            let (snapshot, signed_by) = self.snapshot(db, due, &account, &head, &seat).await?;
            seat.settle().map_err(Unread::NoRoom)?;
            must_be_newer(due, &snapshot.rev)?;
            let wait = wait_for_stream(&snapshot.rev, now());
            Delay::from(Duration::from_micros(wait.unsigned_abs())).await;
            let found = reconcile(db, &due.did, &snapshot, since(due), &self.pipeline, &Steps).await?;
            done.told |= found.told;
            look.rev = Some(&snapshot.rev);
            look.refused = Some(found.refused);
            look.signed_by = signed_by.as_ref();
            if reason.is_guess() && is_empty(&snapshot) {
                look.status = "empty";
            }
            let mut statements = vec![repos::succeeded(&look, now())];
            // Noted with what opened it, and again for those who were being read at that moment.
            if found.changed_gate {
                statements.push(repos::ask_the_gate_again(&due.did, since(due), now()));
            }
            write(db, statements).await?;
            if found.commits > 0 {
                self.wake_host(DISPATCH).await; // others may be due with this
            }
        }
        if done.told {
            self.tell().await;
        }
        Ok(())
    }

    /// The host says that the account is not there.
    async fn absent(&self, db: &D1, due: &Due, status: &'static str, began: Micros) -> Result<(), Miss> {
        if status == "not_found" && due.failures + 1 < GONE_AFTER {
            return Err(Miss::Failed { status: "absent", error: status.into() });
        }
        let done = account(db, &due.did, Some(status), &self.pipeline, &Steps).await?;
        // One that a relay lists, and nobody else knows, has nothing to be hidden.
        let is_found = Reason::named(&due.reason) == Some(Reason::Found);
        let status = if is_found { "empty" } else { "absent" };
        let look = Succeeded { did: &due.did, rev: None, status, began, refused: None, signed_by: None };
        write(db, vec![repos::succeeded(&look, now())]).await?;
        if done.told {
            self.tell().await;
        }
        Ok(())
    }

    /// The account lives at this host, or the repository goes to the one where it lives (K11).
    async fn must_be_here(&self, db: &D1, host: &str, account: &Account, due: &Due) -> Result<(), Miss> {
        let lives_at = host_of(&account.pds);
        if due.pds.as_deref() != Some(account.pds.as_str()) {
            write(db, vec![repos::found_at(&due.did, account.pds.as_str(), &lives_at)]).await?;
        }
        if lives_at == host {
            return Ok(());
        }
        self.wake_host(&lives_at).await;
        Err(Miss::Moved)
    }

    /// What the repository holds, and the key that signed it: from its signed export, or if the host
    /// cannot serve that or it is too large, from a listing.
    ///
    /// A signature that does not fit is checked once more with a key that was asked for anew, for
    /// keys change; and then with the key that signed what was read last, for a host that takes an
    /// account over shows its last commit as it was signed elsewhere, until something is written.
    /// From then on that key counts no more.
    async fn snapshot(
        &self,
        db: &D1,
        due: &Due,
        account: &Account,
        head: &str,
        seat: &Seat,
    ) -> Result<(Snapshot, Option<Multikey>), Miss> {
        let exported = match exported(due, account, account.signing_key.as_ref(), seat).await {
            Err(Unread::Refused(Refused::WrongSignature)) => {
                let anew = self.account(db, due, true).await?;
                let others = [anew.signing_key.as_ref(), due.signed_by.as_ref()];
                let mut tried = Err(Unread::Refused(Refused::WrongSignature));
                for key in others.into_iter().filter(|key| *key != account.signing_key.as_ref()) {
                    if matches!(tried, Err(Unread::Refused(Refused::WrongSignature))) {
                        tried = exported(due, account, key, seat).await;
                    }
                }
                tried
            }
            exported => exported,
        };
        match exported {
            Err(Unread::Unserved(400..=499 | 501)) => {
                Ok((pds::listing(&account.pds, &due.did, head.to_owned(), seat).await?, None))
            }
            Err(Unread::Refused(refused)) if refused.is_for_its_size() => {
                Ok((pds::listing(&account.pds, &due.did, head.to_owned(), seat).await?, None))
            }
            exported => Ok(exported?),
        }
    }

    /// Has the outbox told.
    async fn tell(&self) {
        if let Err(fault) = call(&self.env, JETSTREAM, &Ensure {}).await {
            log::fault(&fault, "what was found is told when the stream's object wakes");
        }
    }

    async fn wake_within(&self, millis: i64) {
        alarm::ring_in(&self.state, millis, "cron wakes the object within a minute").await;
    }
}

/// The clock, and pauses that let the stream have its turn at the ledger.
struct Steps;

impl Pace for Steps {
    fn now(&self) -> Micros {
        now()
    }

    async fn pause(&self, losses: u32) {
        if losses > 0 {
            lost_a_race(losses).await;
        }
    }
}

/// A host that shows less than is known was set back, or is not up to date (K09).
fn must_be_newer(due: &Due, rev: &str) -> Result<(), Miss> {
    if due.rev.as_deref().is_some_and(|known| rev < known) {
        let error = format!("the host shows revision {rev}, which is older than what is known");
        return Err(Miss::Failed { status: "failing", error });
    }
    Ok(())
}

/// From when on others may have been refused what this repository lets in: it was due since.
fn since(due: &Due) -> Micros {
    Micros::parse(&due.due_since).unwrap_or_default()
}

/// Whether there is nothing of Colibri in it.
fn is_empty(snapshot: &Snapshot) -> bool {
    snapshot.records.iter().all(|record| record.collection == Collection::Profile)
}

/// The signed export, if this key signed it.
async fn exported(
    due: &Due,
    account: &Account,
    key: Option<&Multikey>,
    seat: &Seat,
) -> Result<(Snapshot, Option<Multikey>), Unread> {
    let signing = key.and_then(|key| SigningKey::of_multikey(key.as_str()));
    let signing = signing.ok_or(Unread::Refused(Refused::WrongSignature))?;
    Ok((pds::export(&account.pds, &due.did, &signing, seat).await?, key.cloned()))
}

/// When something is looked at again that had to wait.
fn soon() -> Micros {
    Micros(now().0.saturating_add(SOON_MICROS))
}

/// Host and port: the name of the object that looks after it.
fn host_of(pds: &Url) -> String {
    let host = pds.host_str().unwrap_or_default();
    pds.port_or_known_default().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Notes of the queue, which rest on no facts.
async fn write(db: &D1, statements: Vec<Statement>) -> Outcome<()> {
    db.commit(statements).await.map_err(|error| match error {
        CommitError::Fault(fault) => fault,
        CommitError::Conflict => Fault::new("noting how a repository is", "a conflict"),
    })
}
