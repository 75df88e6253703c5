//! The instance that finds the hosts of repositories, and wakes the objects of hosts with due ones.

use std::collections::BTreeMap;

use super::host::{Host, host_of, write};
use super::miss::Miss;
use crate::durable::repo_sync::commands::Work;
use crate::platform::clock::now;
use crate::platform::d1::D1;
use crate::platform::log;
use crate::platform::objects::call;
use crate::storage::repos::{self, Due, HostDue};
use crate::wire::time::Micros;

/// How often hosts are woken while others are still being found.
const WAKE_EVERY: i64 = 1_000_000;

/// How long a host is not woken again for the same repositories, in microseconds: it has its own
/// alarm by then.
const WAKE_AGAIN_AFTER: i64 = 15_000_000;

impl Host {
    /// Finds the host of a repository.
    pub(super) async fn find(&self, db: &D1, due: &Due) -> Result<(), Miss> {
        let account = self.account(db, due, due.failures > 0).await?;
        let host = host_of(&account.pds);
        write(db, vec![repos::found_at(&due.did, account.pds.as_str(), &host)]).await?;
        self.found.borrow_mut().insert(host);
        // With thousands to find, the first hosts start before the last is found.
        if now().0.saturating_sub(self.woken_at.get().0) >= WAKE_EVERY {
            self.woken_at.set(now());
            let hosts = self.found.take();
            for host in hosts {
                self.wake_host(&host).await;
            }
        }
        Ok(())
    }

    /// Wakes hosts, except those that were woken just now for the same repositories.
    pub(super) async fn wake_hosts(&self, due: Vec<HostDue>) {
        let now = now();
        let mut woken = BTreeMap::new();
        let mut hosts = Vec::new();
        for one in due {
            let host = one.host.clone();
            let before = self.woken.borrow_mut().remove(&host);
            let is_known =
                |(for_what, at): &(HostDue, Micros)| *for_what == one && now.0 - at.0 < WAKE_AGAIN_AFTER;
            let at = before.filter(is_known).map(|(_, at)| at);
            if at.is_none() {
                hosts.push(host.clone());
            }
            woken.insert(host, (one, at.unwrap_or(now)));
        }
        self.woken.replace(woken);
        for host in hosts {
            self.wake_host(&host).await;
        }
    }

    pub(super) async fn wake_host(&self, host: &str) {
        if let Err(fault) = call(&self.env, host, &Work {}).await {
            log::fault(&fault, "cron wakes the host within a minute");
        }
    }
}
