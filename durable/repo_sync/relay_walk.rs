//! The relay walk: the work of the `RepoSync` named [`RELAY`].
//!
//! `domain::discovery` decides the next step; the progress is in D1. The repositories of a page are
//! stored before the page is: after a crash in between, the page is read once more.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use serde_json::json;
use url::Url;
use worker::wasm_bindgen_futures::spawn_local;
use worker::{Env, State};

use crate::domain::discovery::{Next, Page, Walk};
use crate::domain::fault_code::Code;
use crate::domain::pages::{Held, Pages};
use crate::durable::repo_sync::commands::Work;
use crate::platform::alarm::Alarm;
use crate::platform::clock::{chance, now};
use crate::platform::config;
use crate::platform::d1::D1;
use crate::platform::log::{self, Level};
use crate::platform::objects::{DISPATCH, call};
use crate::platform::relay;
use crate::storage::{Fault, Store, discovery};
use crate::wire::ids::Collection;
use crate::wire::time::Micros;

/// The longest time between two alarms while there is work (platform facts T1).
const ALARM_MS: i64 = 25_000;
/// The pause after a fault of the database.
const RETRY_MS: i64 = 60_000;

type Outcome<T> = std::result::Result<T, Fault>;

/// See the module. No borrow of it lasts over an await.
pub(super) struct Walker {
    alarm: Alarm,
    env: Env,
    /// The relay, if any.
    relay: Option<Url>,
    busy: Cell<bool>,
    /// The pages of the current collection that this object saw: an object that wakes in the middle
    /// of it starts a new count, below the limits of the whole walk.
    pages: RefCell<Pages>,
}

impl Walker {
    pub(super) fn new(state: &State, env: Env) -> Self {
        let alarm = Alarm::of(state, "cron wakes the object within a minute");
        Self { relay: config::relay(&env), alarm, env, busy: Cell::new(false), pages: RefCell::default() }
    }

    /// Makes sure that the walk continues. Returns at once.
    pub(super) async fn work(self: &Rc<Self>) {
        let Some(relay) = self.relay.clone() else {
            return self.alarm.delete().await; // one that was set when a relay was configured
        };
        if self.busy.replace(true) {
            return;
        }
        // The next alarm is set before the work: if the object dies, the work is repeated.
        self.wake_within(ALARM_MS).await;
        let walker = Rc::clone(self);
        spawn_local(async move {
            let until = walker.walk(&relay).await;
            walker.busy.set(false);
            match until {
                Ok(until) => walker.wake_within((until.millis() - now().millis() + 1).max(1)).await,
                Err(fault) => {
                    log::fault(&fault, "the relay walk continues in a minute");
                    walker.wake_within(RETRY_MS).await;
                }
            }
        });
    }

    /// Continues the walk until there is a reason to wait, and returns until when.
    async fn walk(&self, relay: &Url) -> Outcome<Micros> {
        let db = D1::of(&self.env)?;
        let name = relay.as_str();
        loop {
            let (walk, seen) = discovery::state(&db, now()).await?;
            match (Walk::next(walk.as_ref(), name, seen, now()), walk) {
                (Next::Wait(until), _) => return Ok(until),
                (Next::Ask { collection, cursor }, Some(walk)) => {
                    self.ask(&db, relay, walk, collection, cursor.as_deref()).await?;
                }
                (Next::Begin | Next::Ask { .. }, _) => {
                    let forget = discovery::forget_empty(now());
                    let begun = Walk::begin(name, discovery::kept(&db).await?, now());
                    db.write(&[forget, discovery::keep(&begun)]).await?;
                }
            }
        }
    }

    /// Requests a page and stores the result.
    async fn ask(
        &self,
        db: &D1,
        relay: &Url,
        mut walk: Walk,
        collection: Collection,
        cursor: Option<&str>,
    ) -> Outcome<()> {
        match relay::page(relay, collection, cursor).await {
            Ok(page) => {
                if cursor.is_none() {
                    self.pages.take();
                }
                // Whether an entry is new in this walk is unknown, so all of a page's entries count as new.
                let entries = page.dids.len() + usize::try_from(page.dropped).unwrap_or(0);
                let held = Held { entries, new: entries };
                let next = self.pages.borrow_mut().turn(held, page.cursor);
                let statement = discovery::found(page.dids.iter(), walk.room_left(), now());
                let found = db.write(&[statement]).await?.first().map_or(0, Vec::len);
                let page =
                    Page { listed: count(page.dids.len()), found: count(found), dropped: page.dropped, next };
                walk.on_page(page, now());
                if found > 0
                    && let Err(fault) = call(&self.env, DISPATCH, &Work {}).await
                {
                    log::fault(&fault, "cron starts reading repositories within a minute");
                }
            }
            Err(miss) => walk.on_miss(miss, now(), chance()),
        }
        db.write(&[discovery::keep(&walk)]).await?;
        if let Some((_, ending)) = walk.ended {
            let fields = json!({ "relay": walk.relay, "ending": ending.word(), "pages": walk.pages,
                "listed": walk.listed, "found": walk.found, "dropped": walk.dropped });
            log::line(Level::Info, "the relay walk has ended", &fields);
        } else if let Some(error) = &walk.error {
            let fields = json!({ "relay": walk.relay, "because": error, "failures": walk.failures });
            log::problem(Code::Relay, Level::Warn, "the relay sent no page; retrying after a pause", &fields);
        }
        Ok(())
    }

    async fn wake_within(&self, millis: i64) {
        self.alarm.ring_in(millis).await;
    }
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
