//! What a client's frame does: exactly one reply, in the order of the frames (A03, A15, A18).

use super::session::Waiting;
use super::sockets::Gone;
use super::{Effect, FRESH, Gateway, Job, Keep, Moment, PULSES};
use crate::domain::actions::{
    Action, Actor, Decided, Sign, Subscribe, action, wanted_channel, wanted_community, wanted_state,
    wanted_writing,
};
use crate::domain::frame_budget::Verdict;
use crate::domain::presence::Input as Happened;
use crate::domain::subscriptions::Kind;
use crate::wire::socket::Reply;

/// Frames of one socket that wait for their turn, in bytes: a client that resumes sends a few hundred bytes.
/// One with more than this is flooding (A18).
const WAITING_BYTES: usize = 2 * 1024 * 1024;

/// The most subscriptions that are looked up together.
const TOGETHER: usize = 128;

impl Gateway {
    /// A frame came. The runtime hands over the next frame while one still waits for an answer from elsewhere
    /// (workerd of November 2026), so it waits here for its turn.
    pub(super) fn frame(&mut self, id: i64, text: Option<String>, moment: &Moment<'_>) {
        let Some(open) = self.open.get_mut(&id) else { return };
        // It is a sign of life when it arrives, not when it is answered (P11).
        open.signs.alive_at = moment.now;
        open.signs.surely_at = moment.now;
        // The client received what a restore sent before (Q10c).
        let is_received = open.session.sent.take().is_some();
        if is_received {
            self.keep_session(id);
        }
        let Some(open) = self.open.get_mut(&id) else { return };
        if let Some(waiting) = &mut open.waiting {
            if waiting.push(text) > WAITING_BYTES {
                self.flooded(id, moment);
            }
            return;
        }
        open.waiting = Some(Waiting::default());
        if !self.answer(id, text.as_deref(), moment) {
            self.next_frame(id, moment);
        }
    }

    /// What a frame needed from outside is done.
    pub(super) fn done(&mut self, id: i64, reply: Option<Reply>, moment: &Moment<'_>) {
        if !self.open.contains_key(&id) {
            return;
        }
        if let Some(reply) = reply {
            self.send(id, reply.text());
        }
        self.next_frame(id, moment);
    }

    /// Answers the frames that wait, until one needs something from outside.
    fn next_frame(&mut self, id: i64, moment: &Moment<'_>) {
        while let Some(open) = self.open.get_mut(&id) {
            let Some(text) = open.waiting.as_mut().and_then(Waiting::pop) else {
                open.waiting = None;
                return;
            };
            if self.answer(id, text.as_deref(), moment) {
                return;
            }
        }
    }

    /// Answers a frame; `true` if that needs something from outside first.
    fn answer(&mut self, id: i64, text: Option<&str>, moment: &Moment<'_>) -> bool {
        if self.open.get(&id).is_some_and(|open| open.session.is_newest()) {
            return self.answer_newest(id, text, moment);
        }
        let Decided { action, sign } = action(text);
        let Some((verdict, actor)) = self.note_frame(id, sign, moment) else { return false };
        if verdict != Verdict::Fine {
            // An unreadable frame gets its own error, whatever the budget says (A15, in this order).
            let reply = match (action, sign) {
                (Action::Reply(reply), Sign::Refused) => reply,
                _ => Reply::error("Rate limit exceeded"),
            };
            self.send(id, reply.text());
            if verdict == Verdict::Enough {
                self.flooded(id, moment);
            }
            return false;
        }
        match self.decide(id, action, &actor, moment) {
            Ok(reply) => {
                self.send(id, reply.text());
                false
            }
            Err(job) => {
                self.effects.push(Effect::Start(id, job));
                true
            }
        }
    }

    /// The reply to a frame, or what is needed for it.
    fn decide(&mut self, id: i64, action: Action, actor: &Actor, moment: &Moment<'_>) -> Result<Reply, Job> {
        match action {
            Action::Reply(reply) => Ok(reply),
            Action::Subscribe(subscribe) => {
                Err(Job::Subscribe(self.with_those_behind(id, subscribe, moment)))
            }
            Action::Unsubscribe { kind, key, reply } => {
                self.unsubscribe(id, kind, key.as_deref());
                Ok(reply)
            }
            Action::Session => match (actor.person("session"), self.secret_of(id)) {
                (Err(reply), _) => Ok(reply),
                (Ok(_), Some(secret)) => Ok(Reply::ack(secret)),
                (Ok(_), None) => Err(Job::MakeSecret),
            },
            Action::SetState { state } => match wanted_state(actor, state.as_deref()) {
                Ok((did, state)) => Err(Job::SetState(did, state)),
                Err(reply) => Ok(reply),
            },
            Action::Voice(frame) => match wanted_channel(actor, frame) {
                Ok((did, destination)) => Err(Job::Move(did, destination)),
                Err(reply) => Ok(reply),
            },
            Action::Presence { community } => match wanted_community(community.as_deref()) {
                Ok(community) => self.begin_snapshot(id, community, moment),
                Err(reply) => Ok(reply),
            },
            Action::Typing { channel } => match wanted_writing(actor, channel) {
                Ok((did, channel)) => self.begin_writing(did, channel, moment),
                Err(reply) => Ok(reply),
            },
            Action::View { channel } => self.begin_view(id, actor, channel, moment),
        }
    }

    /// A subscription and those that wait directly behind it: their names are looked up together. One that
    /// resumes is handled alone.
    fn with_those_behind(&mut self, id: i64, first: Subscribe, moment: &Moment<'_>) -> Vec<Subscribe> {
        let is_alone = first.resume.is_some();
        let mut together = vec![first];
        while !is_alone && together.len() < TOGETHER {
            let Some((next, sign)) = self.subscription_behind(id, moment) else { break };
            self.open.get_mut(&id).and_then(|open| open.waiting.as_mut()?.pop());
            self.note_frame(id, sign, moment);
            together.push(next);
        }
        together
    }

    /// The next waiting frame, if it is a subscription that resumes nothing and is within the budget.
    fn subscription_behind(&self, id: i64, moment: &Moment<'_>) -> Option<(Subscribe, Sign)> {
        let open = self.open.get(&id)?;
        let Decided { action, sign } = action(open.waiting.as_ref()?.peek()?);
        let Action::Subscribe(subscribe) = action else { return None };
        let mut budget = open.budget;
        let is_within = budget.take(self.settings.rate, moment.now) == Verdict::Fine;
        (is_within && subscribe.resume.is_none()).then_some((subscribe, sign))
    }

    /// Notes that a frame arrived. Returns the budget's verdict, and for whom the socket acts now; `None` if its
    /// session is over.
    pub(super) fn note_frame(
        &mut self,
        id: i64,
        sign: Sign,
        moment: &Moment<'_>,
    ) -> Option<(Verdict, Actor)> {
        let now = moment.now;
        let open = self.open.get_mut(&id)?;
        let verdict = open.budget.take(self.settings.rate, now);
        self.refused.frames += u64::from(verdict != Verdict::Fine);
        let beats = open.signs.beats || matches!(sign, Sign::Heartbeat | Sign::Pulse);
        // It may have waited for its turn since it came.
        let came_at = open.signs.surely_at;
        // Those of the newest client are not stored: they come all the time, and a memory that is rebuilt takes
        // them for alive (N163).
        let is_stale = came_at.0.saturating_sub(open.signs.stored_at.0) >= FRESH && !open.session.is_newest();
        if beats != open.signs.beats || is_stale {
            open.signs.stored_at = came_at;
            open.signs.beats = beats;
            self.keep(Keep::Sign(id, came_at, beats));
        }
        let actor = self.actor(id);
        if let Actor::Person(did) | Actor::Present(did) = &actor
            && matches!(sign, Sign::Activity | Sign::Pulse)
            && verdict == Verdict::Fine
        {
            let stored_within = if sign == Sign::Pulse { PULSES } else { FRESH };
            self.change_within(stored_within, did, |person, periods| {
                person.on(Happened::Active, now, periods);
            });
        }
        Some((verdict, actor))
    }

    fn unsubscribe(&mut self, id: i64, kind: Kind, key: Option<&str>) {
        let changed = self.resubscribe(id, |open, _| open.subscriptions.unsubscribe(kind, key));
        if changed == Some(true) {
            self.keep(Keep::Unsubscribed(id, kind, key.map(str::to_owned)));
        }
        let Some(open) = self.open.get_mut(&id) else { return };
        let silent = open.session.silent.as_mut();
        let is_waited_for = silent.map(|declined| declined.note(kind, key)).is_some();
        let restoring = open.session.restoring.as_mut();
        let is_restored = restoring.map(|restoring| restoring.unsubscribe(kind, key)).is_some(); // Q11
        if is_waited_for || is_restored {
            self.keep_session(id);
        }
    }

    /// Closes a socket that sends too many frames. The newest client gets a code that it does not take for a refusal
    /// (N161).
    pub(super) fn flooded(&mut self, id: i64, moment: &Moment<'_>) {
        let Some(open) = self.open.get(&id) else { return };
        let code = if open.session.is_newest() { 1013 } else { 1008 };
        self.refused.flooding += 1;
        self.dismiss(id, code, "too many frames", Gone::Closed, moment);
    }

    fn secret_of(&self, id: i64) -> Option<String> {
        self.open.get(&id)?.session.secret.clone()
    }

    /// Q15: stores the secret of a session, which is made when its client requests it.
    pub(super) fn make_secret(&mut self, id: i64, secret: String, moment: &Moment<'_>) {
        if let Some(open) = self.open.get_mut(&id) {
            let secret = open.session.secret.get_or_insert(secret).clone();
            self.keep_session(id);
            self.done(id, Some(Reply::ack(secret)), moment);
        }
    }
}
