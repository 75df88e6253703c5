//! Communities for members only at a gateway (X43): whose right must be read, and how subscriptions end with
//! that right.

use std::collections::BTreeSet;

use super::session::Open;
use super::{Gateway, Keep};
use crate::domain::members_only::Readers;
use crate::wire::ids::{AtUri, Did};
use crate::wire::socket::Reply;

impl Gateway {
    /// The people with proofs here who named a community, or a channel that may be one of it.
    pub fn askers(&self, community: &str) -> BTreeSet<Did> {
        let named = self.open.values().filter(|open| open.subscriptions.names(community, &self.meanings));
        named.filter_map(|open| self.proven(open)).cloned().collect()
    }

    /// Those of them who named the community itself, and so receive events about its people.
    pub fn watchers(&self, community: &str) -> BTreeSet<Did> {
        let named = self.open.values().filter(|open| open.subscriptions.community.keys.contains(community));
        named.filter_map(|open| self.proven(open)).cloned().collect()
    }

    /// The person that a socket proved to be.
    pub fn proven_by(&self, id: i64) -> Option<Did> {
        self.proven(self.open.get(&id)?).cloned()
    }

    pub(super) fn proven<'o>(&self, open: &'o Open) -> Option<&'o Did> {
        open.session.did.as_ref().filter(|_| open.session.proven)
    }

    /// Ends the subscriptions of sockets to a community that they may not read.
    pub(super) fn end_outsiders(&mut self, community: &AtUri, readers: &Readers) {
        if *readers == Readers::All {
            return;
        }
        let names = |open: &Open| {
            open.subscriptions.names(community.as_str(), &self.meanings)
                || open.resuming.contains_key(community.as_str())
        };
        // Those of the newest client receive nothing while they may not, and get no frame about it (N162).
        let march = self.open.iter().filter(|(_, open)| !open.session.is_newest());
        let outsiders = march.filter(|(_, open)| {
            !readers.includes(open.session.did.as_ref(), open.session.proven) && names(open)
        });
        let outsiders: Vec<i64> = outsiders.map(|(id, _)| *id).collect();
        for id in outsiders {
            self.end_subscriptions(id, community);
        }
    }

    /// Ends a socket's subscriptions to a community, and its replay of it. The socket gets one `subscription_ended`.
    pub fn end_subscriptions(&mut self, id: i64, community: &AtUri) {
        let name = community.as_str();
        let Some(open) = self.open.get_mut(&id) else { return };
        if open.session.is_newest() {
            open.resuming.remove(name); // it receives nothing while it may not (N162)
            return;
        }
        let ended = open.subscriptions.naming(name, &self.meanings);
        self.resubscribe(id, |open, _| {
            for (kind, key) in &ended {
                open.subscriptions.unsubscribe(*kind, Some(key));
            }
        });
        for (kind, key) in &ended {
            self.keep(Keep::Unsubscribed(id, *kind, Some(key.clone())));
        }
        let Some(open) = self.open.get_mut(&id) else { return };
        open.resuming.remove(name);
        let mut changed = open.session.replayed.remove(name).is_some();
        if let Some(restoring) = &mut open.session.restoring {
            ended.iter().for_each(|(kind, key)| restoring.unsubscribe(*kind, Some(key)));
            changed |= restoring.owed.remove(name).is_some();
            changed |= restoring.done.insert(name.to_owned());
        }
        if changed {
            self.keep_session(id);
        }
        if !ended.is_empty() {
            self.send(id, Reply::SubscriptionEnded { community_uri: community.clone() }.text());
        }
    }
}
