//! Sends a community's events to its webhooks (C50): to each one event at a time, in order, from its own position.
//!
//! A task for each webhook sends, so a slow receiver delays nobody else. Where they lead is in D1, and is read again
//! once a minute and whenever somebody changes it; an address is judged each time before it is used (R21.6).

use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use url::Url;
use worker::wasm_bindgen_futures::spawn_local;

use super::delivery::RETRY_MS;
use super::log::{CommunityLog, Outcome, PAGE_BYTES};
use crate::domain::breaker::Errand;
use crate::domain::hosts::may_ask;
use crate::domain::webhooks::{Answer, Logged, Next, Position, Then, signature};
use crate::durable::replies::Done;
use crate::platform::clock::now;
use crate::platform::config;
use crate::platform::d1::D1;
use crate::platform::log;
use crate::platform::objects::{Command, Object};
use crate::platform::outbound::{self, Failure};
use crate::storage::Fault;
use crate::storage::webhooks::{self, Target};
use crate::wire::ids::AtUri;
use crate::wire::time::Micros;
use crate::wire::webhooks::Message;

/// How long a receiver may take for an answer.
const WITHIN: Duration = Duration::from_secs(10);
/// How long it is remembered where webhooks lead, in microseconds.
const REMEMBERED: i64 = 60_000_000;
/// Events that are read at a time.
const PAGE: i64 = 20;
/// How long they count, in microseconds: a message may be deleted while a slow receiver has those before it (Q07).
const COUNT_FOR: i64 = 10_000_000;

/// To `Community`: a webhook was set or removed. Idempotent: the object reads D1.
#[derive(Debug, Serialize, Deserialize)]
pub struct WebhooksChanged {
    /// The community.
    pub community: AtUri,
    /// The one that somebody set (R82).
    #[serde(default)]
    pub set: Option<String>,
}

impl Command for WebhooksChanged {
    type Reply = Done;
    const OBJECT: Object = Object::Community;
    const NAME: &'static str = "webhooks-changed";
}

impl CommunityLog {
    /// Takes over what D1 says: a new webhook begins after the newest event, and the one that was set again is tried
    /// at once.
    pub(super) async fn webhooks_changed(self: &Rc<Self>, command: WebhooksChanged) -> Outcome<Done> {
        self.webhooks_differ();
        let targets = self.targets(&command.community).await?;
        let seq = self.with(|core| Ok(core.counters().seq))?;
        let known = self.positions()?;
        let enabled = targets.iter().filter(|target| target.enabled).map(|target| &*target.id);
        for position in Position::changed(enabled, &known, command.set.as_deref(), seq) {
            self.sql.run(&webhooks::keep(&position))?;
        }
        for gone in known.iter().filter(|one| targets.iter().all(|target| target.id != one.id)) {
            self.sql.run(&webhooks::drop_position(&gone.id))?;
        }
        self.webhooks.ids.replace(None);
        self.webhooks.targets.replace(Some((targets.into(), now())));
        self.deliver_soon().await;
        Ok(Done {})
    }

    /// What is being read may be older than what somebody changed.
    fn webhooks_differ(&self) {
        self.webhooks.changes.set(self.webhooks.changes.get() + 1);
    }

    async fn targets(&self, community: &AtUri) -> Outcome<Vec<Target>> {
        webhooks::targets_now(&D1::of(&self.env)?, community, &self.webhooks.changes).await
    }

    fn positions(&self) -> Outcome<Vec<Position>> {
        webhooks::positions_of(&self.sql.run(&webhooks::positions())?)
    }

    /// Sends, in the background, to every webhook that nobody sends to.
    pub(super) fn start_sending(self: &Rc<Self>) {
        let Some(community) = self.name() else { return };
        if self.webhooks.ids.borrow().is_none() {
            let Ok(positions) = self.positions() else { return };
            self.webhooks.ids.replace(Some(positions.into_iter().map(|one| one.id).collect()));
        }
        let ids = self.webhooks.ids.borrow().clone().unwrap_or_default();
        for id in ids {
            if !self.webhooks.sending.borrow_mut().insert(id.clone()) {
                continue;
            }
            let (log, community) = (Rc::clone(self), community.clone());
            spawn_local(async move {
                let sent = log.send(&community, &id).await;
                log.webhooks.sending.borrow_mut().remove(&id);
                match sent {
                    Ok(None) => {}
                    Ok(Some(at)) => log.alarm.ring_by(at).await,
                    Err(fault) => {
                        log::fault(&fault, "a webhook gets its events later");
                        log.alarm.ring_within(RETRY_MS).await;
                    }
                }
            });
        }
    }

    /// Sends to one webhook until it has everything, or must wait; then returns until when.
    async fn send(&self, community: &AtUri, id: &str) -> Outcome<Option<Micros>> {
        let (mut events, mut read_at) = (Vec::new(), Micros(0));
        loop {
            let Some(target) = self.target(community, id).await? else { return Ok(None) };
            // Read after the await, and again each time: somebody may have set it again.
            let Some(position) = self.position(id)? else { return Ok(None) };
            if position.next_at > now() {
                return Ok(Some(position.next_at));
            }
            let oldest = self.with(|core| Ok(core.counters().oldest()))?;
            events.retain(|event: &Logged| event.seq > position.delivered);
            if events.is_empty() || now().0.saturating_sub(read_at.0) > COUNT_FOR {
                let page = webhooks::standing_after(position.delivered, PAGE);
                events = webhooks::logged(&self.sql.run_within(&page, PAGE_BYTES)?.0)?;
                read_at = now();
            }
            match position.next(community, &target.events, oldest, &events) {
                None => return Ok(None),
                Some(Next::Skip(through)) => {
                    self.sql.run(&webhooks::keep(&Position { delivered: through, ..position }))?;
                }
                Some(Next::Send(message, through)) => {
                    let answer = self.post(&target, &message).await;
                    let Some(mut position) = self.position(id)? else { return Ok(None) };
                    let then = position.on(&answer, through, now());
                    if let Then::Disable(because) = &then {
                        self.disable(community, id, because).await?;
                    }
                    self.sql.run(&webhooks::keep(&position))?;
                }
            }
        }
    }

    fn position(&self, id: &str) -> Outcome<Option<Position>> {
        Ok(self.positions()?.into_iter().find(|position| position.id == id))
    }

    /// Where the webhook leads; `None` if it is disabled or gone.
    async fn target(&self, community: &AtUri, id: &str) -> Outcome<Option<Target>> {
        let remembered = self.webhooks.targets.borrow().clone();
        let fresh = remembered.filter(|(_, at)| now().0.saturating_sub(at.0) < REMEMBERED);
        let targets = match fresh {
            Some((targets, _)) => targets,
            None => {
                let targets: Rc<[Target]> = self.targets(community).await?.into();
                self.webhooks.targets.replace(Some((Rc::clone(&targets), now())));
                targets
            }
        };
        let found = targets.iter().find(|target| target.id == id);
        if found.is_none() {
            self.sql.run(&webhooks::drop_position(id))?;
            self.webhooks.ids.replace(None);
        }
        Ok(found.filter(|target| target.enabled).cloned())
    }

    /// Notes in D1 that nothing more is sent, where the console shows it.
    async fn disable(&self, community: &AtUri, id: &str, because: &str) -> Outcome<()> {
        log::fault(&Fault::new("sending to a webhook", because), &format!("{id} of {community} is disabled"));
        webhooks::disable(&D1::of(&self.env)?, id, because, now()).await?;
        self.webhooks_differ();
        self.webhooks.targets.replace(None);
        Ok(())
    }

    async fn post(&self, target: &Target, message: &Message) -> Answer {
        let failed = |why: &str| Answer::Failed(why.to_owned());
        let reach = config::outside(&self.env).reach;
        let Some(url) = Url::parse(&target.url).ok().filter(|url| may_ask(url, &reach)) else {
            return failed("its address may not be contacted");
        };
        let seconds = now().0 / 1_000_000;
        let Some(signature) = signature(message, seconds, &target.secret) else {
            return failed("its secret cannot be read");
        };
        let at = seconds.to_string();
        let headers =
            [("webhook-id", &*message.id), ("webhook-timestamp", &*at), ("webhook-signature", &*signature)];
        let errand = Errand::Webhook(&target.id);
        match outbound::post("sending to a webhook", errand, &url, &headers, &message.body, WITHIN).await {
            Ok(200..=299) => Answer::Taken,
            Ok(410) => Answer::Gone,
            Ok(status) => Answer::Failed(format!("it answered {status}")),
            Err(Failure::Resting(until)) => Answer::Rests(until),
            Err(Failure::ElsewhereRefused) => failed("it redirects"),
            Err(Failure::Fault(fault)) => Answer::Failed(fault.because),
        }
    }
}
