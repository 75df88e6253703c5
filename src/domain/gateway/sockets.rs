//! Sockets come and go, fall silent, or are found dead (contract sections 4.1, 5, 6).

use super::session::{Open, Session};
use super::traces::LOST;
use super::{Effect, Gateway, Keep, Moment};
use crate::domain::actions::Actor;
use crate::domain::lease::{self, Life};
use crate::domain::presence::Input as Happened;
use crate::domain::restore::{PROMPT, Place, Trace};
use crate::domain::subscriptions::{Subscriptions, needs};
use crate::wire::ids::{AtUri, Did};
use crate::wire::socket::Reply;
use crate::wire::time::Micros;

/// How a socket went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gone {
    /// Its client closed it, or this gateway did.
    Closed,
    /// Its connection broke, and the runtime noticed.
    Broke,
    /// Its lease ran out (P11).
    Silent,
    /// It did not read what was sent to it, and got a notice (Q20).
    Slow,
}

impl Gone {
    /// Whether the client took everything that was sent to it before, as far as the service can know (Q10c).
    fn took_everything(self, alive_at: Micros, now: Micros) -> bool {
        match self {
            Gone::Closed => true,
            Gone::Broke => now.0.saturating_sub(alive_at.0) <= PROMPT,
            Gone::Silent | Gone::Slow => false,
        }
    }
}

impl Gateway {
    pub(super) fn opened(&mut self, id: i64, session: Session, moment: &Moment<'_>) {
        if session.silent.is_some() {
            self.restoring.insert(id);
        }
        let did = session.did.clone();
        self.open.insert(id, Open::new(session, Subscriptions::default()));
        if let Some(did) = did {
            // Its heartbeats do not wake the object, so the alarm must check it (P11).
            self.wake_at(Micros(moment.now.0.saturating_add(lease::round(self.settings.lease))));
            self.person(&did, Happened::Opened(id), moment.now);
        }
    }

    /// For whom a socket acts now: for nobody while the account is not active (P13).
    pub(super) fn actor(&self, id: i64) -> Actor {
        let Some(open) = self.open.get(&id) else { return Actor::Nobody };
        let is_active =
            |did: &Did| self.persons.get(did).is_none_or(|present| present.person.presence.is_active());
        match &open.session.did {
            Some(did) if is_active(did) && open.session.present => Actor::Present(did.clone()),
            Some(did) if is_active(did) => Actor::Person(did.clone()),
            None if open.session.unproven => Actor::Unproven,
            _ => Actor::Nobody,
        }
    }

    /// Whether an open socket of a person proved who they are.
    pub fn is_proven(&self, did: &Did) -> bool {
        let present = self.persons.get(did).into_iter();
        let sockets = present.flat_map(|present| present.person.presence.sockets());
        sockets.filter_map(|id| self.open.get(id)).any(|open| open.session.proven)
    }

    /// A client closed its socket in order: it was there until then (V07).
    pub(super) fn hung_up(&mut self, id: i64, moment: &Moment<'_>) {
        if let Some(did) = self.open.get(&id).and_then(|open| open.session.did.clone()) {
            self.note_alive(&did, id, moment.now, moment.now);
        }
        self.reads_to_the_end(id);
        self.depart(id, Gone::Closed, moment);
    }

    /// A socket is gone.
    pub(super) fn depart(&mut self, id: i64, how: Gone, moment: &Moment<'_>) {
        let Some(open) = self.open.get(&id) else { return };
        let alive_at = Self::alive_at(id, open, moment);
        let taken = how.took_everything(alive_at, moment.now);
        let mut trace = self.trace(id, alive_at, taken);
        if let Some(trace) = &mut trace {
            if taken {
                trace.alive_at = moment.now;
            }
            if how == Gone::Slow {
                trace.positions.values_mut().for_each(|place| *place = Place::Seq(LOST));
            }
        }
        self.resubscribe(id, |open, _| open.subscriptions = Subscriptions::default());
        let did = self.open.remove(&id).and_then(|open| open.session.did);
        self.restoring.remove(&id);
        if let Some(did) = &did {
            self.note_alive(did, id, alive_at, moment.now);
        }
        self.end(id, trace, did, moment.now);
    }

    /// The end of a session. What it had is kept for those who come after it, if it acted for somebody
    /// (Q10).
    pub(super) fn end(&mut self, id: i64, trace: Option<Trace>, did: Option<Did>, now: Micros) {
        self.keep(Keep::Ended(id));
        if let Some(did) = did {
            self.person(&did, Happened::Closed(id), now);
            if let Some(trace) = trace {
                self.keep_trace(&did, trace, now);
            }
        }
    }

    /// Closes a socket with one of the codes of A19. It counts as gone at once.
    pub(super) fn dismiss(
        &mut self,
        id: i64,
        code: u16,
        reason: &'static str,
        how: Gone,
        moment: &Moment<'_>,
    ) {
        if self.open.contains_key(&id) {
            self.depart(id, how, moment);
            self.effects.push(Effect::Close { socket: id, code, reason });
        }
    }

    /// Somebody showed a proof for the first time: sockets that claim to be theirs without one are closed (X13).
    pub(super) fn proved(&mut self, did: &Did, moment: &Moment<'_>) {
        let is_claimed = |open: &Open| open.session.present && open.session.did.as_ref() == Some(did);
        let claimed = self.open.iter().filter(|(_, open)| is_claimed(open));
        let claimed: Vec<i64> = claimed.map(|(id, _)| *id).collect();
        for id in claimed {
            self.dismiss(id, 1008, "this did takes a proof", Gone::Closed, moment);
        }
    }

    /// Everything of a person is erased (I56): their sockets are closed, and leave nothing. Others
    /// see them go as with an account that went (P13), unless it is the last time.
    pub(super) fn erased(&mut self, did: &Did, last: bool, moment: &Moment<'_>) {
        if self.persons.contains_key(did) {
            self.person(did, Happened::Account(false), moment.now);
        }
        let theirs = self.open.iter().filter(|(_, open)| open.session.did.as_ref() == Some(did));
        let theirs: Vec<i64> = theirs.map(|(id, _)| *id).collect();
        for id in theirs {
            self.resubscribe(id, |open, _| open.subscriptions = Subscriptions::default());
            self.open.remove(&id);
            self.restoring.remove(&id);
            self.keep(Keep::Ended(id));
            self.person(did, Happened::Closed(id), moment.now);
            self.effects.push(Effect::Close { socket: id, code: 1008, reason: "Erased" });
        }
        if last {
            self.persons.remove(did);
            self.mark(did);
        }
        self.keep(Keep::Erased(did.clone(), last));
    }

    /// Closes sockets whose lease has run out (P11).
    pub(super) fn end_leases(&mut self, moment: &Moment<'_>) {
        let lease = self.settings.lease;
        let ends = |id: i64, open: &Open| Self::life(id, open, moment).and_then(|life| life.ends(lease));
        let is_dead = |id: i64, open: &Open| ends(id, open).is_some_and(|ends| ends <= moment.now);
        let dead: Vec<i64> =
            self.open.iter().filter(|(id, open)| is_dead(**id, open)).map(|(id, _)| *id).collect();
        for id in dead {
            self.dismiss(id, 1001, "no sign of life", Gone::Silent, moment);
        }
    }

    /// The last sign of life of a socket.
    pub(super) fn alive_at(id: i64, open: &Open, moment: &Moment<'_>) -> Micros {
        (moment.answered)(id).unwrap_or_default().max(open.signs.surely_at)
    }

    /// The last sign of life of the socket `id`, if it is open.
    pub fn last_sign(&self, id: i64, moment: &Moment<'_>) -> Option<Micros> {
        self.open.get(&id).map(|open| Self::alive_at(id, open, moment))
    }

    /// What is known of a socket's life (P11). One that acts for nobody has no lease.
    pub(super) fn life(id: i64, open: &Open, moment: &Moment<'_>) -> Option<Life> {
        open.session.did.as_ref()?;
        let answered = (moment.answered)(id);
        let alive_at = answered.unwrap_or_default().max(open.signs.alive_at);
        Some(Life { alive_at, beats: open.signs.beats || answered.is_some() })
    }

    /// Q20: closes a slow socket. If it reads again, it still gets its unsent frames and a `resync_required` for each
    /// community, and nothing after these.
    pub(super) fn let_go(&mut self, id: i64, moment: &Moment<'_>) {
        let Some(open) = self.open.get(&id) else { return };
        self.refused.slow += 1;
        if open.session.is_newest() {
            return self.reads_again(id, moment);
        }
        let behind: Vec<(AtUri, u64)> = self
            .received_by(&open.subscriptions)
            .filter_map(|(community, seq)| Some((AtUri::parse(community).ok()?, seq)))
            .collect();
        for (community_uri, seq) in behind {
            self.send(id, Reply::ResyncRequired { community_uri, oldest: seq.saturating_add(1) }.text());
        }
        self.dismiss(id, 1013, "too slow", Gone::Slow, moment);
    }

    /// The communities that this gateway listens to and these subscriptions receive events of, each with the
    /// last `seq` that arrived.
    pub(super) fn received_by<'s>(
        &'s self,
        subscriptions: &'s Subscriptions,
    ) -> impl Iterator<Item = (&'s String, u64)> {
        self.communities
            .iter()
            .filter(|(community, _)| needs(subscriptions, community, &self.meanings))
            .map(|(community, seq)| (community, *seq))
    }

    /// Changes what a session listens to, and keeps count of what all keys cost.
    pub fn resubscribe<T>(&mut self, id: i64, change: impl FnOnce(&mut Open, usize) -> T) -> Option<T> {
        let open = self.open.get_mut(&id)?;
        let others = self.keys_cost.saturating_sub(open.subscriptions.cost());
        let changed = change(open, others);
        self.keys_cost = others + open.subscriptions.cost();
        Some(changed)
    }
}
