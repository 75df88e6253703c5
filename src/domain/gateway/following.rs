//! Sockets of the newest client (contract section 14): they receive the events of all communities in which their
//! person takes part, without asking for them. Which communities these are is read once, when a socket opens; from
//! then on, the events say it.

use std::collections::BTreeSet;

use serde_json::value::RawValue;

use super::catching_up::{Catching, Replay};
use super::delivery::wait;
use super::session::{Later, Open, View};
use super::sockets::Gone;
use super::{Effect, Gateway, Job, Keep, Moment};
use crate::domain::actions::Sign;
use crate::domain::announcement::{Audience, Numbered};
use crate::domain::frame_budget::Verdict;
use crate::domain::lost::is_lost;
use crate::domain::presence::COMMUNITIES_MAX;
use crate::domain::subscriptions::{Kind, Subscribed};
use crate::wire::events::{march, newest};
use crate::wire::ids::{AtUri, Did};
use crate::wire::subscribe_events::{
    ACK, Asked, Change, CommunityEvent, NewestEvent, RESYNC, change, read, resumed, stamp,
};

impl Gateway {
    /// Subscribes a new socket to the communities in which its person takes part, as read after it opened (N162).
    /// Events that came meanwhile are newer. Returns the communities.
    pub fn follows(&mut self, id: i64, communities: &[AtUri]) -> Vec<AtUri> {
        let Some(open) = self.open.get_mut(&id) else { return Vec::new() };
        let Some(did) = open.session.did.clone() else { return Vec::new() };
        let meanwhile = open.following.take().unwrap_or_default();
        let has_left = |community: &&AtUri| meanwhile.get(community.as_str()) != Some(&false);
        let mut keys: Vec<AtUri> = communities.iter().filter(has_left).cloned().collect();
        let joined = meanwhile.iter().filter(|(_, is_in)| **is_in);
        keys.extend(joined.filter_map(|(community, _)| AtUri::parse(community).ok()));
        self.resubscribe(id, |open, others| {
            open.subscriptions.subscribe(Kind::UserStatus, Some(did.as_str()), others);
            for community in &keys {
                open.subscriptions.subscribe(Kind::Community, Some(community.as_str()), others);
            }
        });
        if let Some(open) = self.open.get(&id) {
            let subscriptions = Box::new(open.subscriptions.clone());
            self.keep(Keep::Inherited(id, subscriptions));
        }
        keys
    }

    /// A new socket resumes at these positions (N165): from now on its events wait. Returns the replays that it needs.
    /// If its person has left a community that the positions name, the socket gets the end of it. If they joined one
    /// that the positions do not name, the client must read everything again.
    pub fn resumes(&mut self, id: i64, cursor: &[(AtUri, i64)]) -> Vec<Replay> {
        let Some(open) = self.open.get_mut(&id) else { return Vec::new() };
        let keys = &open.subscriptions.community.keys;
        let is_followed = |(community, _): &&(AtUri, i64)| keys.contains(community.as_str());
        let (followed, left): (Vec<_>, Vec<_>) = cursor.iter().partition(is_followed);
        open.is_behind = !cursor.is_empty() && followed.len() < keys.len();
        for (community, _) in &followed {
            open.resuming.insert(community.to_string(), Some(Vec::new()));
        }
        for (community, _) in left {
            let end = NewestEvent::CommunityEvent(CommunityEvent::Delete { uri: community.clone() });
            end.text().into_iter().for_each(|text| self.send(id, text));
        }
        let replay =
            |(community, seq): &(AtUri, i64)| Replay::new(id, community.clone(), *seq, Catching::Asked);
        followed.into_iter().map(replay).collect()
    }

    /// All replays of a socket are over: it has everything, or reads everything again (N165).
    pub fn resumed(&mut self, id: i64, moment: &Moment<'_>) {
        let Some(open) = self.open.get(&id) else { return };
        if open.is_behind {
            return self.reads_again(id, moment);
        }
        let position = |community: &String| {
            let replayed = open.session.replayed.get(community).copied().unwrap_or(0);
            self.communities.get(community).map(|had| replayed.max(*had))
        };
        let keys = open.subscriptions.community.keys.iter();
        let text = resumed(keys.filter_map(|community| Some((community.as_str(), position(community)?))));
        self.send(id, text);
    }

    /// If a community's event says that somebody joins or leaves, their sockets receive its events from this one on,
    /// or no more (N162). A person who leaves gets the end of the community in place of that event.
    ///
    /// A replay that brought the event has said that already. One that is under way may bring it, and later events too:
    /// so what it says then waits like the event itself.
    pub(super) fn follow(&mut self, community: &AtUri, event: &Numbered) {
        let Some((did, is_in)) = turn(community, event) else { return };
        let theirs = self.open.iter().filter(|(_, open)| is_newest_of(open, &did)).map(|(id, _)| *id);
        for id in theirs.collect::<Vec<_>>() {
            let Some(open) = self.open.get_mut(&id) else { continue };
            if let Some(following) = &mut open.following {
                if following.len() < usize::from(COMMUNITIES_MAX) {
                    following.insert(community.to_string(), is_in);
                }
            } else if let Some(pending) = open.resuming.get_mut(community.as_str()) {
                wait(pending, Later::Turn(event.seq, is_in));
            } else if open.session.replayed.get(community.as_str()).is_some_and(|seq| event.seq <= *seq) {
                // Nothing: see above.
            } else if is_in {
                self.begin_to_receive(id, community);
            } else {
                self.receive_the_last(id, community, event.seq);
            }
        }
    }

    fn begin_to_receive(&mut self, id: i64, community: &AtUri) {
        let key = community.as_str();
        let subscribed = self.resubscribe(id, |open, others| {
            let is_room = open.subscriptions.community.keys.len() < usize::from(COMMUNITIES_MAX);
            is_room.then(|| open.subscriptions.subscribe(Kind::Community, Some(key), others))
        });
        if subscribed.flatten() == Some(Subscribed::New) {
            self.keep(Keep::Subscribed(id, Kind::Community, Some(key.to_owned())));
        }
    }

    fn receive_the_last(&mut self, id: i64, community: &AtUri, seq: u64) {
        if self.leave(id, community) {
            self.send_end(id, community, seq);
        }
    }

    /// A socket receives nothing of a community any more. Returns whether it did.
    pub(super) fn leave(&mut self, id: i64, community: &AtUri) -> bool {
        let key = community.as_str();
        let was_in = self.resubscribe(id, |open, _| {
            open.session.view.take_if(|view| view.community == *community);
            open.subscriptions.unsubscribe(Kind::Community, Some(key))
        });
        if was_in != Some(true) {
            return false;
        }
        self.keep(Keep::Unsubscribed(id, Kind::Community, Some(key.to_owned())));
        self.keep_session(id);
        true
    }

    /// The end of a community, in place of the event that says it.
    pub(super) fn send_end(&mut self, id: i64, community: &AtUri, seq: u64) {
        end_of(community, seq).into_iter().for_each(|text| self.send(id, text));
    }

    /// Answers a frame of the newest client; `true` if that needs something from outside first (N161). A frame over
    /// the budget says nothing (N161).
    pub(super) fn answer_newest(&mut self, id: i64, text: Option<&str>, moment: &Moment<'_>) -> bool {
        let asked = text.map_or(Asked::Nothing, read);
        let sign = match asked {
            Asked::Nothing => Sign::Refused,
            _ => Sign::Pulse,
        };
        let Some((verdict, _)) = self.note_frame(id, sign, moment) else { return false };
        match (verdict, asked) {
            (Verdict::Enough, _) => self.flooded(id, moment),
            (Verdict::Fine, Asked::Heartbeat) => self.send(id, ACK.to_owned()),
            (Verdict::Fine, Asked::View(channel)) => return self.view(id, channel),
            (Verdict::Fine, Asked::Typing(channel)) => {
                return self.begin_writing_newest(id, &channel, moment);
            }
            _ => {}
        }
        false
    }

    /// The person of a socket sees this channel; `true`: its community is to be found first.
    fn view(&mut self, id: i64, channel: AtUri) -> bool {
        let view = self.open.get(&id).and_then(|open| open.session.view.as_ref());
        if view.is_some_and(|view| view.channel == channel) {
            return false;
        }
        self.effects.push(Effect::Start(id, Job::View(channel)));
        true
    }

    /// The community of a channel that a person sees was found. Only channels of their own communities count.
    pub(super) fn viewed(&mut self, id: i64, channel: AtUri, community: Option<AtUri>, moment: &Moment<'_>) {
        if let Some(open) = self.open.get_mut(&id) {
            let keys = &open.subscriptions.community.keys;
            let community = community.filter(|community| keys.contains(community.as_str()));
            open.session.view = community.map(|community| View { channel, community });
            self.keep_session(id);
        }
        self.done(id, None, moment);
    }

    /// The people with proven sockets here.
    pub fn proven_people(&self) -> BTreeSet<Did> {
        let sessions = self.open.values().map(|open| &open.session);
        sessions.filter(|session| session.proven).filter_map(|session| session.did.clone()).collect()
    }

    /// What concerns one person alone: their proven sockets get it at once (N168, U20).
    pub(super) fn show_to(&mut self, did: &Did, event: &RawValue, moment: &Moment<'_>) {
        let is_theirs = |open: &Open| {
            let session = &open.session;
            !session.is_newest() && session.proven && session.did.as_ref() == Some(did)
        };
        let of_march: Vec<i64> =
            self.open.iter().filter(|(_, open)| is_theirs(open)).map(|(id, _)| *id).collect();
        if !of_march.is_empty()
            && !is_lost(event)
            && let Some(text) = march(event.get())
        {
            self.effects.push(Effect::Send { to: of_march, text: text.to_owned() });
        }
        let theirs = self.open.iter().filter(|(_, open)| is_newest_of(open, did)).map(|(id, _)| *id);
        let to: Vec<i64> = theirs.collect();
        if is_lost(event) {
            to.into_iter().for_each(|id| self.reads_again(id, moment));
        } else if let Some(text) = newest(event.get()).filter(|_| !to.is_empty()) {
            self.effects.push(Effect::Send { to, text: text.into_owned() });
        }
    }

    /// An event of a community was set aside: the newest client cannot read one community alone (N166).
    pub(super) fn all_read_again(&mut self, community: &str, moment: &Moment<'_>) {
        let receives =
            |open: &Open| open.session.is_newest() && open.subscriptions.community.keys.contains(community);
        let receivers = self.open.iter().filter(|(_, open)| receives(open)).map(|(id, _)| *id);
        for id in receivers.collect::<Vec<_>>() {
            self.reads_again(id, moment);
        }
    }

    /// Events were lost to a socket of the newest client: it connects again, and reads everything (N166).
    pub(super) fn reads_again(&mut self, id: i64, moment: &Moment<'_>) {
        self.send(id, RESYNC.to_owned());
        self.dismiss(id, 1013, "events were lost", Gone::Slow, moment);
    }
}

/// The person who takes part in a community from this event on, or (`false`) no more.
pub(super) fn turn(community: &AtUri, event: &Numbered) -> Option<(Did, bool)> {
    if is_lost(&event.event) || event.audience != Audience::Community {
        return None;
    }
    match change(&newest(event.event.get())?)? {
        Change::Joined(did) => Some((did, true)),
        Change::Founded => Some((community.authority(), true)),
        // A community's own account does not leave it.
        Change::Left(did) if did == community.authority() => None,
        Change::Left(did) => Some((did, false)),
    }
}

/// The frame that ends a community for somebody who leaves it.
pub(super) fn end_of(community: &AtUri, seq: u64) -> Option<String> {
    let end = NewestEvent::CommunityEvent(CommunityEvent::Delete { uri: community.clone() });
    Some(stamp(&end.text().ok()?, community, seq, true))
}

/// Whether the newest client holds a socket for this person.
fn is_newest_of(open: &Open, did: &Did) -> bool {
    open.session.is_newest() && open.session.did.as_ref() == Some(did)
}
