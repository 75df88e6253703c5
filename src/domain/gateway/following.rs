//! Sockets of the newest client (contract section 14): they receive the events of all communities in which their
//! person takes part, without asking for them. Which communities these are is read once, when a socket opens; from
//! then on, the events say it.

use super::session::Open;
use super::sockets::Gone;
use super::{Gateway, Keep, Moment};
use crate::domain::actions::Sign;
use crate::domain::announcement::{Audience, Numbered};
use crate::domain::frame_budget::Verdict;
use crate::domain::lost::is_lost;
use crate::domain::presence::COMMUNITIES_MAX;
use crate::domain::subscriptions::{Kind, Subscribed};
use crate::wire::events::newest;
use crate::wire::ids::{AtUri, Did};
use crate::wire::subscribe_events::{
    ACK, Asked, Change, CommunityEvent, NewestEvent, RESYNC, change, read, stamp,
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

    /// A community's event may say that somebody takes part from now on, or no more: their sockets receive its events
    /// from this one on, or none after it (N162). A person who leaves gets the end of the community in its place.
    pub(super) fn follow(&mut self, community: &AtUri, event: &Numbered) {
        if is_lost(&event.event) || event.audience != Audience::Community {
            return;
        }
        let Some(change) = newest(event.event.get()).and_then(|text| change(&text)) else { return };
        let (did, is_in) = match change {
            Change::Joined(did) => (did, true),
            Change::Founded => (community.authority(), true),
            // A community's own account does not leave it.
            Change::Left(did) if did == community.authority() => return,
            Change::Left(did) => (did, false),
        };
        for id in self.newest_of(&did) {
            let Some(open) = self.open.get_mut(&id) else { continue };
            if let Some(following) = &mut open.following {
                if following.len() < usize::from(COMMUNITIES_MAX) {
                    following.insert(community.to_string(), is_in);
                }
            } else if is_in {
                self.begin_to_receive(id, community);
            } else {
                self.receive_the_last(id, community, event.seq);
            }
        }
    }

    /// The sockets of the newest client that act for a person.
    fn newest_of(&self, did: &Did) -> Vec<i64> {
        let theirs = |open: &Open| open.session.is_newest() && open.session.did.as_ref() == Some(did);
        self.open.iter().filter(|(_, open)| theirs(open)).map(|(id, _)| *id).collect()
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
        let key = community.as_str();
        let was_in = self.resubscribe(id, |open, _| {
            open.resuming.remove(key);
            open.subscriptions.unsubscribe(Kind::Community, Some(key))
        });
        if was_in != Some(true) {
            return;
        }
        self.keep(Keep::Unsubscribed(id, Kind::Community, Some(key.to_owned())));
        let end = NewestEvent::CommunityEvent(CommunityEvent::Delete { uri: community.clone() });
        if let Ok(text) = end.text() {
            self.send(id, stamp(&text, community, seq, true));
        }
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
            (Verdict::Enough, _) => self.dismiss(id, 1013, "too many frames", Gone::Closed, moment),
            (Verdict::Fine, Asked::Heartbeat) => self.send(id, ACK.to_owned()),
            _ => {}
        }
        false
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
