//! Pushes to browsers of this gateway's people (U28): keeps them until their push service has them.
//!
//! A push is stored in the same step in which what it is about counts as received, and counts as tried before it is
//! sent: a death between two awaits loses none, and repeats at most the one that was on its way.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use futures::future::join_all;
use worker::wasm_bindgen_futures::spawn_local;

use super::object::{GatewayObject, Outcome};
use super::rounds::{Round, next};
use crate::domain::hosts::may_ask;
use crate::domain::push::{About, Next, Push, TRIES, Tried, after, of_ping, pause};
use crate::domain::urgency::Urgency;
use crate::platform::clock::{now, unguessable};
use crate::platform::config;
use crate::platform::d1::D1;
use crate::platform::log;
use crate::platform::outbound::{Failure, PUSHING, post_push};
use crate::storage::gateway_pushes::{self as waiting, Due};
use crate::storage::push::{self as browsers};
use crate::storage::reads::notifications::Notice;
use crate::wire::ids::Did;
use crate::wire::time::Micros;
use crate::wire::web_push::{Subscription, Vapid};

/// The most pushes of one round: the platform lets six requests wait for an answer at once, and others need some.
const ROUND: i64 = 4;
/// How long a push service may take.
const WITHIN: Duration = Duration::from_secs(10);
const NEVER: Micros = Micros(i64::MAX);

impl GatewayObject {
    /// The browsers of each of these people that take pushes; nobody's while pushes are off.
    pub(super) async fn browsers_of(
        &self,
        db: &D1,
        people: &BTreeSet<Did>,
    ) -> Outcome<BTreeMap<Did, Vec<Subscription>>> {
        match config::vapid(&self.env) {
            Some(_) => browsers::of_people(db, people).await,
            None => Ok(BTreeMap::new()),
        }
    }

    /// Pushes a notification to the browsers of its person.
    pub(super) fn push_ping(&self, did: &Did, notice: &Notice, to: &[Subscription]) -> Outcome<()> {
        let about = About {
            id: notice.id,
            kind: notice.kind,
            message: &notice.message.uri,
            channel: &notice.message.channel_uri,
            community: &notice.community_uri,
            members_only: notice.members_only,
            author: notice.author.as_ref().and_then(|author| author.display_name.as_deref()),
            text: &notice.message.text,
        };
        self.push(did, to, &of_ping(&about), Urgency::Ping, notice.id)
    }

    /// Sends a text to these browsers, in the background.
    pub(super) fn push(
        &self,
        did: &Did,
        to: &[Subscription],
        text: &str,
        urgency: Urgency,
        topic: i64,
    ) -> Outcome<()> {
        for to in to {
            let (did, to, since) = (did.clone(), to.clone(), Some(now()));
            let push = Push { did, to, text: text.to_owned(), urgency, topic, since };
            waiting::send(&push, now()).iter().try_for_each(|one| self.sql.run(one).map(drop))?;
            self.pushes.next.set(now());
        }
        Ok(())
    }

    /// Does, in the background, what is due of both.
    pub(super) fn rounds_soon(self: &Rc<Self>) {
        self.digest_soon();
        self.push_soon();
    }

    /// Sends, in the background, the pushes that are due.
    pub(super) fn push_soon(self: &Rc<Self>) {
        if self.begins(&self.pushes) {
            let object = Rc::clone(self);
            spawn_local(async move { object.ends(&object.pushes, object.push_round().await).await });
        }
    }

    /// Whether a round begins now; otherwise the object wakes when it may.
    pub(super) fn begins(&self, round: &Round) -> bool {
        let at = round.next.get();
        if at <= now() {
            return !round.runs.replace(true);
        }
        if at < NEVER {
            self.wake_at(at);
        }
        false
    }

    /// A round ended.
    pub(super) async fn ends(&self, round: &Round, ended: Outcome<Option<Micros>>) {
        round.runs.set(false);
        match ended {
            Ok(next) => {
                round.next.set(next.unwrap_or(NEVER));
                next.into_iter().for_each(|at| self.wake_at(at));
                self.arm().await;
            }
            Err(fault) => self.retry(&fault, "the next round begins when the alarm rings").await,
        }
    }

    /// Sends all that are due. Returns when the next one is.
    async fn push_round(&self) -> Outcome<Option<Micros>> {
        loop {
            let due = Due::read(&self.sql.run(&waiting::due(now(), ROUND))?)?;
            if due.is_empty() {
                return Ok(next(&self.sql.run(&waiting::next())?));
            }
            // Together: a slow push service delays a round, and not each push of it.
            let sent = join_all(due.into_iter().map(|due| self.push_due(due))).await;
            sent.into_iter().collect::<Outcome<()>>()?;
        }
    }

    /// Tries a push that is due.
    async fn push_due(&self, Due { id, failures, push }: Due) -> Outcome<()> {
        let wanted = push.filter(|push| !push.is_over(now()));
        let (Some(push), Some(vapid), ..TRIES) = (wanted, config::vapid(&self.env), failures) else {
            self.sql.run(&waiting::over(id))?;
            return Ok(());
        };
        self.sql.run(&waiting::tried(id, Micros(now().0.saturating_add(pause(failures)))))?;
        let tried = self.push_once(&push, &vapid).await;
        match after(tried, failures, now()) {
            Next::Again(_) => return Ok(()),
            Next::Rest(until) => return self.sql.run(&waiting::rests(id, until)).map(drop),
            Next::Done => {}
            Next::Prune => {
                browsers::unsubscribe(&D1::of(&self.env)?, &push.did, push.to.endpoint.as_str()).await?;
            }
        }
        self.sql.run(&waiting::over(id))?;
        Ok(())
    }

    /// Sends a push.
    async fn push_once(&self, push: &Push, vapid: &Vapid) -> Tried {
        let endpoint = &push.to.endpoint;
        if !may_ask(endpoint, &config::outside(&self.env).reach) {
            return Tried::Answered(404); // what may be asked has changed since
        }
        let sent = async {
            let secret = [unguessable()?, unguessable()?, unguessable()?, unguessable()?].concat();
            let salt = [unguessable()?, unguessable()?].concat();
            let (Ok(secret), Ok(salt)) = (secret.try_into(), salt.try_into()) else {
                return Ok(Tried::Unanswered);
            };
            let Some(body) = push.to.encrypt(&push.text, &secret, &salt) else {
                return Ok(Tried::Answered(400));
            };
            let (authorization, topic) = (vapid.authorization(endpoint, now()), push.topic.to_string());
            let urgency = if push.urgency == Urgency::Ping { "high" } else { "low" };
            let headers = [
                ("authorization", authorization.as_str()),
                ("content-encoding", "aes128gcm"),
                ("content-type", "application/octet-stream"),
                ("ttl", "86400"),
                ("topic", topic.as_str()),
                ("urgency", urgency),
            ];
            match post_push(push.did.as_str(), endpoint, &headers, &body, WITHIN).await {
                Ok(status) => Ok(Tried::Answered(status)),
                Err(Failure::Resting(until)) => Ok(Tried::Resting(until)),
                Err(failure) => Err(failure.into_fault(PUSHING)),
            }
        };
        sent.await.unwrap_or_else(|fault| {
            log::fault(&fault, "a push is sent again later");
            Tried::Unanswered
        })
    }
}
