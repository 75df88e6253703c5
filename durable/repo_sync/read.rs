//! Reads one repository, verifies it, and lets the pipeline index it.

use std::time::Duration;

use worker::Delay;

use super::host::Host;
use super::host::host_of;
use super::host::write;
use super::miss::Miss;
use crate::domain::repos::{Reason, wait_for_stream};
use crate::domain::repository::Refused;
use crate::domain::snapshot::Snapshot;
use crate::durable::jetstream::commands::Ensure;
use crate::pipeline::reconcile::{Pace, account, reconcile};
use crate::platform::clock::{lost_a_race, now};
use crate::platform::d1::D1;
use crate::platform::identity::Account;
use crate::platform::log;
use crate::platform::memory::{Pool, Slot};
use crate::platform::objects::{DISPATCH, JETSTREAM, call};
use crate::platform::pds::{self, Unread};
use crate::storage::repos::{self, Due, Succeeded};
use crate::wire::ids::Collection;
use crate::wire::multikey::Multikey;
use crate::wire::signing_key::SigningKey;
use crate::wire::time::Micros;

/// The number of answers after which an account that its host does not know counts as gone: a host
/// may be restored, or moved, without all of its accounts at first.
const GONE_AFTER: u32 = 3;

/// The clock, and pauses that give the stream its turn at the ledger.
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

/// A host whose revision is older than the index was reset, or is outdated (K09).
fn must_be_newer(due: &Due, rev: &str) -> Result<(), Miss> {
    if due.rev.as_deref().is_some_and(|known| rev < known) {
        let error = format!("the host shows revision {rev}, which is older than what is known");
        return Err(Miss::Failed { status: "failing", error });
    }
    Ok(())
}

/// This repository may make others' records acceptable that the gate refused before. It may have refused
/// them since the repository was due.
fn since(due: &Due) -> Micros {
    Micros::parse(&due.due_since).unwrap_or_default()
}

/// Whether it has no Colibri records.
fn is_empty(snapshot: &Snapshot) -> bool {
    snapshot.records.iter().all(|record| record.collection == Collection::Profile)
}

/// The signed export, if this key signed it.
async fn exported(
    due: &Due,
    account: &Account,
    key: Option<&Multikey>,
    slot: &Slot,
) -> Result<(Snapshot, Option<Multikey>), Unread> {
    let signing = key.and_then(|key| SigningKey::of_multikey(key.as_str()));
    let signing = signing.ok_or(Unread::Refused(Refused::WrongSignature))?;
    Ok((pds::export(&account.pds, &due.did, &signing, slot).await?, key.cloned()))
}

impl Host {
    /// Reads a repository, if it has anything new, and commits it.
    pub(super) async fn read(&self, db: &D1, host: &str, due: &Due) -> Result<(), Miss> {
        let began = now();
        let reason = Reason::named(&due.reason).unwrap_or(Reason::Gap);
        let mut account = self.account(db, due, due.failures > 0 || reason == Reason::Identity).await?;
        self.must_be_here(db, host, &account, due).await?;
        // Held until the commit: the number of repositories read at a time is limited over all
        // hosts.
        let slot = Pool::Repositories.slot(host).await.map_err(Unread::NoRoom)?;
        let head = match pds::latest_rev(&account.pds, &due.did).await {
            Err(Unread::Absent(status)) => {
                // It may have moved without notice.
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
        if unchanged && !due.is_deferred && !reason.reads_unchanged() {
            write(db, vec![repos::succeeded(&look, now())]).await?;
        } else {
            let (snapshot, signed_by) = self.snapshot(db, due, &account, &head, &slot).await?;
            slot.settle().map_err(Unread::NoRoom)?;
            must_be_newer(due, &snapshot.rev)?;
            let wait = wait_for_stream(&snapshot.rev, now());
            Delay::from(Duration::from_micros(wait.unsigned_abs())).await;
            let found = reconcile(db, &due.did, &snapshot, since(due), &self.pipeline, &Steps).await?;
            done.announced |= found.announced;
            look.rev = Some(&snapshot.rev);
            look.refused = Some(found.refused);
            look.signed_by = signed_by.as_ref();
            if reason.is_guess() && is_empty(&snapshot) {
                look.status = "empty";
            }
            let mut statements = vec![repos::succeeded(&look, now())];
            // The commit marked other repositories as due. Mark again those that were being read at
            // that moment.
            if found.changed_gate {
                statements.push(repos::ask_the_gate_again(&due.did, since(due), now()));
            }
            write(db, statements).await?;
            if found.commits > 0 {
                self.wake_host(DISPATCH).await; // others may be due because of this
            }
        }
        if done.announced {
            self.deliver_soon().await;
        }
        Ok(())
    }

    /// The host says that the account is not available.
    async fn absent(&self, db: &D1, due: &Due, status: &'static str, began: Micros) -> Result<(), Miss> {
        if status == "not_found" && due.failures + 1 < GONE_AFTER {
            return Err(Miss::Failed { status: "absent", error: status.into() });
        }
        let done = account(db, &due.did, Some(status), &self.pipeline, &Steps).await?;
        // A repository that only a relay listed has nothing to hide.
        let is_found = Reason::named(&due.reason) == Some(Reason::Found);
        let status = if is_found { "empty" } else { "absent" };
        let look = Succeeded { did: &due.did, rev: None, status, began, refused: None, signed_by: None };
        write(db, vec![repos::succeeded(&look, now())]).await?;
        if done.announced {
            self.deliver_soon().await;
        }
        Ok(())
    }

    /// Checks that the account is on this host; otherwise moves the repository to its host (K11).
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

    /// The contents of the repository, and the key that signed them: from its signed export, or
    /// from a listing if the host cannot serve that or it is too large.
    ///
    /// An invalid signature is checked again with a key that is fetched anew, because keys change;
    /// and then with the key that signed the last reading, because a host that takes over an
    /// account shows its last commit as it was signed elsewhere, until something is written. From
    /// then on that key is invalid.
    async fn snapshot(
        &self,
        db: &D1,
        due: &Due,
        account: &Account,
        head: &str,
        slot: &Slot,
    ) -> Result<(Snapshot, Option<Multikey>), Miss> {
        let exported = match exported(due, account, account.signing_key.as_ref(), slot).await {
            Err(Unread::Refused(Refused::WrongSignature)) => {
                let anew = self.account(db, due, true).await?;
                let others = [anew.signing_key.as_ref(), due.signed_by.as_ref()];
                let mut tried = Err(Unread::Refused(Refused::WrongSignature));
                for key in others.into_iter().filter(|key| *key != account.signing_key.as_ref()) {
                    if matches!(tried, Err(Unread::Refused(Refused::WrongSignature))) {
                        tried = exported(due, account, key, slot).await;
                    }
                }
                tried
            }
            exported => exported,
        };
        match exported {
            Err(Unread::Unserved(400..=499 | 501)) => {
                Ok((pds::listing(&account.pds, &due.did, head.to_owned(), slot).await?, None))
            }
            Err(Unread::Refused(refused)) if refused.is_for_its_size() => {
                Ok((pds::listing(&account.pds, &due.did, head.to_owned(), slot).await?, None))
            }
            exported => Ok(exported?),
        }
    }

    /// Wakes the Jetstream object, which delivers the outbox.
    async fn deliver_soon(&self) {
        if let Err(fault) = call(&self.env, JETSTREAM, &Ensure {}).await {
            log::fault(&fault, "the Jetstream object delivers the events when it wakes");
        }
    }
}
