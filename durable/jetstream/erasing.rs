//! Drives erasures, and deletes what objects store about people (I56): one task, beside the stream.

use std::rc::Rc;
use std::time::Duration;

use worker::Delay;
use worker::wasm_bindgen_futures::spawn_local;

use super::consumer::Consumer;
use super::delivery::Objects;
use crate::durable::community::commands::ClearLog;
use crate::durable::repo_sync::commands::Work;
use crate::durable::{gateway, voice_room};
use crate::pipeline::erasing::{Keepers, round};
use crate::platform::clock::now;
use crate::platform::d1::D1;
use crate::platform::objects::{DISPATCH, all_rooms, call, call_gateways};
use crate::platform::{config, log};
use crate::storage::Fault;
use crate::wire::ids::{AtUri, Did};

/// The pause after a full piece, in which others have the database for themselves. Each piece makes a commit in
/// progress read its facts again.
const TURN: Duration = Duration::from_secs(1);

impl Keepers for Objects {
    async fn forget(&self, did: &Did, last: bool) -> Result<(), Fault> {
        let shards = config::sockets(&self.env).gateway_shards;
        call_gateways(&self.env, shards, &gateway::commands::Forget { did: did.clone(), last }).await?;
        let of_rooms = voice_room::commands::Forget { did: did.clone() };
        for name in all_rooms() {
            call(&self.env, &name, &of_rooms).await?;
        }
        Ok(())
    }

    async fn clear_log(&self, community: &AtUri, did: &Did) -> Result<(), Fault> {
        let mut after = Some(0);
        while let Some(from) = after {
            let clear = ClearLog { community: community.clone(), did: did.clone(), after: from };
            after = call(&self.env, community.as_str(), &clear).await?.through;
        }
        Ok(())
    }

    async fn read_repositories(&self) -> Result<(), Fault> {
        call(&self.env, DISPATCH, &Work {}).await.map(drop)
    }
}

impl Consumer {
    /// Continues erasures in the background. An erasure that waits or failed continues after the next delivery,
    /// and at every alarm.
    pub(super) fn erase_soon(self: &Rc<Self>) {
        if self.erasing.replace(true) {
            return;
        }
        let consumer = Rc::clone(self);
        spawn_local(async move {
            if let Err(fault) = consumer.erase().await {
                log::fault(&fault, "erasures go on later");
            }
            consumer.erasing.set(false);
        });
    }

    async fn erase(&self) -> Result<(), Fault> {
        let db = D1::of(&self.env)?;
        loop {
            let done = round(&db, &self.objects, now()).await?;
            self.erasures_wait.set(done.waits);
            for (_, fault) in &done.failed {
                log::fault(fault, "an erasure goes on later");
            }
            if !done.did_something {
                self.schedule().await;
                return Ok(());
            }
            if done.did_much {
                Delay::from(TURN).await;
            }
        }
    }
}
