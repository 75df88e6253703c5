//! Whom a message notifies (section 15).

use std::collections::BTreeSet;

use super::super::announcement::{Announcement, Audience, Scope, Topic};
use super::super::form::Admission;
use super::super::notifications::{Kind, MENTIONS_MAX, SHOWN, id};
use super::super::rows::{CommunityRow, MessageRow};
use super::super::standing::{Standing, standing};
use super::super::working_set::WorkingSet;
use super::Fold;
use super::messages::parent;
use crate::wire::events::to_person;
use crate::wire::ids::Did;
use crate::wire::records::mentioned;

impl Fold {
    /// U01–U03. `before` is the version that the index had. The first rule that applies decides:
    ///   1. a message that is new, but too old to be announced, notifies nobody (K08);
    ///   2. a message that left its channel notifies anew;
    ///   3. whom the earlier version mentioned too is notified already, or was not to be;
    ///   4. whom the message mentions no more is notified no more, nor the author of what it answers no more.
    pub(super) fn notify(&mut self, before: Option<&MessageRow>, row: &MessageRow) {
        if before.is_none() && !self.is_announced(row.sort_at) {
            return;
        }
        let stays = before.filter(|old| old.channel_uri == row.channel_uri);
        if stays.is_none() && before.is_some() {
            self.notified.withdraw(&row.uri, None, None);
        }
        let (was, is) = (stays.map(mentions).unwrap_or_default(), mentions(row));
        for gone in was.difference(&is) {
            self.notified.withdraw(&row.uri, Some(Kind::Mention), Some(gone));
        }
        for new in is.difference(&was).filter(|did| **did != row.author_did) {
            if is_there(&self.working_set, row, new) {
                self.add_notice(row, Kind::Mention, new);
            }
        }
        if stays.is_some_and(|old| old.parent == row.parent) {
            return;
        }
        if stays.is_some() {
            self.notified.withdraw(&row.uri, Some(Kind::Reply), None);
        }
        if let Some(answered) = answered(&self.working_set, row).filter(|did| *did != row.author_did) {
            self.add_notice(row, Kind::Reply, &answered);
        }
    }

    /// Notifies a person, and announces that to their sockets (U20): in its place among the events, whatever becomes of
    /// the message. Whether it shows is decided when it is delivered (U04).
    fn add_notice(&mut self, row: &MessageRow, kind: Kind, recipient: &Did) {
        self.notified.add(&row.uri, kind, recipient, self.clock);
        let announced = self.announced_notices.entry(recipient.clone()).or_default();
        *announced += 1;
        let Ok(event) = to_person(None, None) else { return };
        if *announced <= SHOWN && self.is_live() {
            let topic = Topic::Notification(row.uri.clone(), id(kind, self.clock));
            let (scope, audience) = (Scope::People, Audience::Private(recipient.clone()));
            self.announcements.push(Announcement { scope, audience, topic, live: true, event });
        }
    }
}

fn mentions(row: &MessageRow) -> BTreeSet<Did> {
    row.facets.as_deref().map(|facets| mentioned(facets, MENTIONS_MAX)).unwrap_or_default()
}

/// Whether a person takes part in the community of a message: others would have to be known first, and are
/// notified of nothing (U02).
fn is_there(working_set: &WorkingSet, row: &MessageRow, did: &Did) -> bool {
    let Some((_, community)) = working_set.channel(&row.channel_uri) else { return false };
    !working_set.erased.contains(did) && takes_part(working_set, community, did)
}

fn takes_part(working_set: &WorkingSet, community: &CommunityRow, did: &Did) -> bool {
    match standing(working_set, &community.uri, did) {
        Standing::Owner => true,
        _ if working_set.bans.contains(&(community.uri.clone(), did.clone())) => false,
        Standing::Approved(_) => true,
        Standing::Pending(_) => community.admission() == Admission::Open,
        Standing::None => false,
    }
}

/// The author of the message that `row` answers in the same community. They wrote there, so the gate accepted them;
/// whether they still take part is decided when the notification is read (U04).
fn answered(working_set: &WorkingSet, row: &MessageRow) -> Option<Did> {
    let home = |row: &MessageRow| working_set.channel(&row.channel_uri).map(|(_, community)| &community.uri);
    let parent = parent(working_set, row).filter(|parent| home(parent) == home(row))?;
    Some(parent.author_did.clone())
}
