//! How an event reaches the sockets that receive it: once, in order, and not at the expense of others (A38, Q20).

use std::collections::{BTreeMap, BTreeSet};

use super::publication::Publication;
use super::session::{Later, Open};
use super::{Effect, Gateway, Keep, Moment};
use crate::domain::announcement::Numbered;
use crate::domain::lost::{frame, is_lost};
use crate::domain::members_only::{Allowed, Readers};
use crate::domain::restore::Course;
use crate::domain::slow_sockets::{FULL_BYTES, SLOW_BYTES};
use crate::domain::subscriptions::{Routing, Subscriptions, needs};
use crate::wire::events::{self, stamp_state};
use crate::wire::ids::AtUri;
use crate::wire::socket::Spelling;
use crate::wire::time::Micros;

/// How often, and how many times, full sockets are checked again before a delivery: a second in all.
pub const ROOM_MILLIS: u64 = 50;
/// See [`ROOM_MILLIS`].
pub const ROOM_TRIES: u32 = 20;

/// Events kept for a socket while it catches up. More means it is too slow to catch up.
const PENDING_MAX: usize = 2_000;

impl Gateway {
    /// Sockets that receive events of a community and have not taken what was sent to them, with the number of
    /// unsent bytes. A burst of many events does not make a socket slow, so a delivery waits a moment for them.
    pub fn has_no_room(&self, community: &str, moment: &Moment<'_>) -> BTreeMap<i64, u32> {
        self.full(moment, |subscriptions| needs(subscriptions, community, &self.meanings))
    }

    fn full(&self, moment: &Moment<'_>, receives: impl Fn(&Subscriptions) -> bool) -> BTreeMap<i64, u32> {
        let unsent = self.open.iter().map(|(id, open)| (*id, (moment.unsent)(*id), open));
        let full = unsent.filter(|(_, unsent, open)| *unsent > SLOW_BYTES && receives(&open.subscriptions));
        full.map(|(id, unsent, _)| (id, unsent)).collect()
    }

    /// Delivers events of a community to the sockets that receive them. A socket that took nothing while the
    /// delivery waited, or has far too many unsent bytes, is closed first, after `resync_required` (Q20).
    pub(super) fn deliver(
        &mut self,
        uri: &AtUri,
        events: &[Numbered],
        full: &BTreeMap<i64, u32>,
        allowed: &Allowed,
        moment: &Moment<'_>,
    ) {
        let community = uri.as_str();
        let Allowed { readers, .. } = allowed;
        self.end_outsiders(uri, readers);
        let is_stuck = |id: &i64, unsent: u32| {
            unsent > FULL_BYTES || full.get(id).is_some_and(|before| unsent >= *before)
        };
        let mut stuck = self.has_no_room(community, moment);
        let open = &self.open;
        self.slow.retain(|id| open.contains_key(id) && (moment.unsent)(*id) > SLOW_BYTES);
        self.slow.extend(stuck.keys());
        stuck.retain(|id, unsent| is_stuck(id, *unsent));
        for id in stuck.into_keys() {
            self.let_go(id, moment);
        }
        let had = self.communities.get(community).copied().unwrap_or(0);
        let is_followed = self.open.values().any(|open| open.session.is_newest());
        for event in events.iter().filter(|event| event.seq > had) {
            if is_followed {
                self.follow(uri, event);
            }
            self.send_event(uri, event, allowed);
            if is_followed && is_lost(&event.event) {
                self.all_read_again(community, moment);
            }
        }
        if self.is_needed(community) {
            let last = events.last().map_or(had, |event| event.seq.max(had));
            self.communities.insert(community.to_owned(), last);
            self.courses.entry(community.to_owned()).or_default().note(moment.now, last);
            self.keep(Keep::Received(community.to_owned(), last));
        } else {
            self.communities.remove(community);
            self.courses.remove(community);
            self.keep(Keep::Detached(community.to_owned()));
        }
    }

    /// Sends an event to every session that receives it and has not had it in a replay: written once in each spelling
    /// (N168).
    fn send_event(&mut self, uri: &AtUri, event: &Numbered, allowed: &Allowed) {
        let community = uri.as_str();
        let Allowed { readers, approvers } = allowed;
        let routing = Routing { community, readers, approvers, meanings: &self.meanings };
        let lost = is_lost(&event.event);
        let mut texts = Texts::of(uri, event);
        for (id, open) in &mut self.open {
            let session = &open.session;
            // The audience of an event that was set aside is lost, so it goes to all sockets that receive events
            // of its community (Q21).
            let did = session.did.as_ref();
            let receives = match (lost, readers) {
                (true, _) if session.is_newest() => false, // it reads everything again
                (false, _) => routing.receives(&open.subscriptions, session.receiver(), &event.audience),
                (true, Readers::All) => needs(&open.subscriptions, community, &self.meanings),
                (true, Readers::Only(_)) => {
                    readers.includes(did, session.proven)
                        && open.subscriptions.names(community, &self.meanings)
                }
            };
            if !receives || session.replayed.get(community).is_some_and(|seq| event.seq <= *seq) {
                continue;
            }
            let Some((text, to)) = texts.spelled(session.spelling) else { continue };
            match open.resuming.get_mut(community) {
                None => to.push(*id),
                Some(pending) => wait(pending, Later::Event(event.seq, text.clone())),
            }
        }
        self.effects.extend(texts.into_effects());
    }

    /// A community delivers to this gateway from now on, beginning after `seq`.
    pub fn attached(&mut self, community: &AtUri, seq: u64, now: Micros) {
        let had = *self.communities.entry(community.to_string()).or_insert(seq);
        let begins = || Course::begins(now, had);
        self.courses.entry(community.to_string()).or_insert_with(begins);
        self.keep(Keep::Received(community.to_string(), had));
    }

    /// The channel names some session listens to.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.open.values().flat_map(|open| open.subscriptions.message.keys.iter().cloned()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Whether the session `id` receives an event of a replay. In a restore (not `asked`), it does if one
    /// of the sockets whose subscriptions it got missed the event, and the client did not decide about the key (Q11).
    pub fn receives_replayed(
        &self,
        id: i64,
        community: &AtUri,
        event: &Numbered,
        readers: &Readers,
        asked: bool,
    ) -> bool {
        let Some(open) = self.open.get(&id) else { return false };
        let receiver = open.session.receiver();
        // A replay has nothing for those who admit people: who they are is read for new events only (N165).
        let approvers = &BTreeSet::new();
        let routing = Routing { community: community.as_str(), readers, approvers, meanings: &self.meanings };
        let receives =
            |subscriptions: &Subscriptions| routing.receives(subscriptions, receiver, &event.audience);
        if asked {
            return receives(&open.subscriptions);
        }
        let mut parts = open.session.restoring.iter().flat_map(|restoring| &restoring.parts);
        parts.any(|part| part.missed(community.as_str(), event.seq) && receives(&part.subscriptions))
    }

    /// Whether some session needs a community.
    pub fn is_needed(&self, community: &str) -> bool {
        self.open.values().any(|open| needs(&open.subscriptions, community, &self.meanings))
    }

    /// Whether the gateway listens to a community.
    pub fn listens_to(&self, community: &str) -> bool {
        self.communities.contains_key(community)
    }

    /// What a gateway publishes about its people goes to everybody who watches them. It is small: no room needs
    /// to be made first.
    pub(super) fn published(
        &mut self,
        from: &str,
        publications: &[Publication],
        had: i64,
        readers: &BTreeMap<AtUri, Readers>,
        moment: &Moment<'_>,
    ) {
        let full = self.full(moment, |subscriptions| {
            publications
                .iter()
                .any(|publication| subscriptions.watches(&publication.did, &publication.communities))
        });
        for id in full.into_iter().filter(|(_, unsent)| *unsent > FULL_BYTES).map(|(id, _)| id) {
            self.let_go(id, moment);
        }
        for publication in publications.iter().filter(|publication| publication.id > had) {
            self.note_meanwhile(publication);
            self.send_state(publication, readers);
            self.note_change(publication, moment);
        }
        let through = publications.last().map_or(had, |publication| publication.id.max(had));
        self.keep(Keep::PublishedBy(from.to_owned(), through));
    }

    /// Sends an event about a person to every session that watches them.
    fn send_state(&mut self, publication: &Publication, readers: &BTreeMap<AtUri, Readers>) {
        let takes_part = |community: &&AtUri| !publication.pending.contains(community);
        let theirs: Vec<AtUri> = publication.communities.iter().filter(takes_part).cloned().collect();
        let watching = self.open.iter().filter(|(_, open)| {
            let is_newest = open.session.is_newest();
            let communities = if is_newest { &theirs } else { &publication.communities };
            let mut closed = publication.closed.iter().filter(|one| !is_newest || takes_part(one));
            open.subscriptions.watches(&publication.did, communities)
                || closed.any(|community| is_watched(open, community, readers))
        });
        let (mut march, mut newest) = (Vec::new(), Vec::new());
        for (id, open) in watching {
            if open.session.is_newest() { newest.push(*id) } else { march.push(*id) }
        }
        let event = publication.event.get();
        if !march.is_empty()
            && let Some(event) = events::march(event)
        {
            self.effects.push(Effect::Send { to: march, text: stamp_state(event, publication.live) });
        }
        // An event that an earlier build stored has no text for the newest client. The next one about its person has
        // one, and it is complete.
        if !newest.is_empty()
            && let Some(event) = events::newest(event)
        {
            self.effects.push(Effect::Send { to: newest, text: event.into_owned() });
        }
    }
}

/// Keeps something for the end of a replay.
pub(super) fn wait(pending: &mut Option<Vec<Later>>, later: Later) {
    match pending {
        Some(all) if all.len() < PENDING_MAX => all.push(later),
        _ => *pending = None,
    }
}

/// An event as texts, each written when the first socket of its spelling gets it.
struct Texts<'e> {
    community: &'e AtUri,
    event: &'e Numbered,
    march: Option<(Option<String>, Vec<i64>)>,
    newest: Option<(Option<String>, Vec<i64>)>,
}

impl<'e> Texts<'e> {
    fn of(community: &'e AtUri, event: &'e Numbered) -> Self {
        Self { community, event, march: None, newest: None }
    }

    /// The text, and who gets it; `None` if this spelling has no word for the event.
    fn spelled(&mut self, spelling: Spelling) -> Option<(&String, &mut Vec<i64>)> {
        let Numbered { event, seq, live, .. } = self.event;
        let slot = match spelling {
            Spelling::March => &mut self.march,
            Spelling::Newest => &mut self.newest,
        };
        let (text, to) =
            slot.get_or_insert_with(|| (frame(event, self.community, *seq, *live, spelling), Vec::new()));
        Some((text.as_ref()?, to))
    }

    fn into_effects(self) -> impl Iterator<Item = Effect> {
        let written = [self.march, self.newest].into_iter().flatten();
        written.filter_map(|(text, to)| {
            let text = text.filter(|_| !to.is_empty())?;
            Some(Effect::Send { to, text })
        })
    }
}

/// Whether a socket receives events about people of a community for members only: its person may read it, and it
/// named it (X43).
fn is_watched(open: &Open, community: &AtUri, readers: &BTreeMap<AtUri, Readers>) -> bool {
    let session = &open.session;
    open.subscriptions.community.keys.contains(community.as_str())
        && readers.get(community).is_some_and(|to| to.includes(session.did.as_ref(), session.proven))
}
