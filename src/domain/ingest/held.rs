//! Records that wait for another record (section 8.9).
//!
//! A held record is not shown and causes no event. When the record that it waits for becomes known,
//! its normal rules apply with the facts of that moment (I61).

use super::super::rows::HeldRow;
use super::{Fold, Version};
use crate::wire::ids::{AtUri, Collection};
use crate::wire::records::Record;

impl Fold {
    /// Holds a version until `waits_for` is known: a community's AT-URI, the channel as a message
    /// names it, or an admission ([`awaited`](super::super::gate::awaited)).
    pub(super) fn hold(&mut self, version: &Version, waits_for: &str) {
        self.working_set.settled.remove(version.uri);
        self.working_set.held.put(HeldRow {
            uri: version.uri.clone(),
            waits_for: waits_for.to_owned(),
            record: version.json.to_owned(),
            rev: version.rev.to_owned(),
            cid: version.cid.map(str::to_owned),
            arrived_at: version.received,
        });
    }

    /// A community became known. Releases what waited for it, then the messages that waited for a
    /// channel that existed already (I61: parents before children).
    pub(super) fn release_after_community(&mut self, community: &AtUri) {
        self.release(community.as_str());
        let channels: Vec<AtUri> = self
            .working_set
            .channels
            .iter()
            .filter(|row| row.community_uri == *community)
            .map(|row| row.uri.clone())
            .collect();
        for channel in channels {
            self.release_after_channel(&channel);
        }
    }

    /// A channel became known. Releases messages that named it by AT-URI or by rkey. If it was
    /// known before, its messages are visible again (I72), and reactions may have waited for them.
    pub(super) fn release_after_channel(&mut self, channel: &AtUri) {
        let rkey = channel.rkey();
        self.release_all(&[channel.as_str(), rkey.as_str()]);
        let messages: Vec<AtUri> = self
            .working_set
            .messages
            .iter()
            .filter(|row| row.channel_uri == *channel)
            .map(|row| row.uri.clone())
            .collect();
        for message in messages {
            self.release_after_message(&message);
        }
    }

    /// A message became visible. Releases reactions that named it by AT-URI or by rkey (I21).
    pub(super) fn release_after_message(&mut self, message: &AtUri) {
        let rkey = message.rkey();
        self.release_all(&[message.as_str(), rkey.as_str()]);
    }

    pub(super) fn release(&mut self, waited_for: &str) {
        self.release_all(&[waited_for]);
    }

    /// Releases everything that waited for one of these, in order of arrival, through the normal
    /// rules. What must still wait is held again.
    fn release_all(&mut self, waited_for: &[&str]) {
        let mut waiting: Vec<HeldRow> =
            waited_for.iter().flat_map(|key| self.working_set.held.group(key)).cloned().collect();
        waiting.sort_by_key(|row| (row.arrived_at, row.uri.clone()));
        for row in waiting {
            self.readmit(&row);
        }
    }

    fn readmit(&mut self, row: &HeldRow) {
        // An earlier record of this round may have changed it already.
        if self.working_set.held.get(&row.uri) != Some(row) {
            return;
        }
        let author = row.uri.authority();
        let version = Version {
            uri: &row.uri,
            author: &author,
            rev: &row.rev,
            cid: row.cid.as_deref(),
            json: &row.record,
            received: row.arrived_at,
        };
        let record = Collection::from_nsid(row.uri.nsid())
            .and_then(|collection| Record::parse(collection, &author, &row.record).ok());
        match record {
            Some(record) => self.put(&version, &record, false),
            // It was valid when it arrived; a build that parses it differently drops it.
            None => {
                self.working_set.held.remove(&row.uri);
            }
        }
    }
}
