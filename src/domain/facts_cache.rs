//! Facts, kept from one batch to the next.
//!
//! Most facts of a batch are who its authors are in their communities (their memberships, the approvals of these,
//! their admissions, their bans) and where they write (channels, communities). The same people write again and
//! again in the same places, so the tables of one batch, as the fold left them, are those that the next begins with.
//!
//! Promise: what is kept equals the database at [`FactsCache::version`] of the ledger: each row, and that there is no
//! other row of the people and keys that it knows. The fold changes these tables with every row that its commit
//! stores; every other writer of these rows raises that version (invariant 3). A caller that finds a different one
//! must [`FactsCache::forget`] everything and read; so must one whose commit changed rows that are not loaded, and
//! one whose commit failed: [`FactsCache::give`] leaves nothing behind. Only an admin who writes rows by hand does
//! not raise the version, so the cache also ends by itself ([`FactsCache::expire`]).

use std::collections::{BTreeSet, HashSet};

use super::bans::Bans;
use super::form::Form;
use super::rows::{ApprovalRow, ChannelRow, CommunityRow, MemberRow, MembershipRow};
use super::working_set::{Table, WorkingSet};
use crate::wire::ids::{AtUri, Did, Rkey};
use crate::wire::time::Micros;

/// The most people: over it, the whole cache is dropped.
const PEOPLE_MAX: usize = 8_000;
/// The most memory, in bytes of the 128 MB that an isolate has; likewise. It is estimated.
const BYTES_MAX: usize = 24 * 1024 * 1024;
/// What a row costs beside its texts: its places in the tables of [`WorkingSet`].
const ROW_BYTES: usize = 400;
/// The most channels: each batch names them to the database, which leaves them out.
const CHANNELS_MAX: usize = 2_000;
/// The longest time, in microseconds, until a row that an admin changed by hand counts. `docs/operating.md`
/// promises it; cached responses have the same (`api::response_cache`).
const KEPT_WITHIN: u64 = 60_000_000;

/// The tables that are kept.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// Memberships.
    pub memberships: Table<MembershipRow>,
    /// Approvals.
    pub approvals: Table<ApprovalRow>,
    /// Admissions.
    pub members: Table<MemberRow>,
    /// Bans.
    pub bans: Bans,
    /// Channels.
    pub channels: Table<ChannelRow>,
    /// Communities.
    pub communities: Table<CommunityRow>,
}

/// The people and keys all of whose rows a working set has.
#[derive(Clone, Debug, Default)]
pub struct Complete {
    /// The people whose standing it has in every community.
    pub people: HashSet<Did>,
    /// The keys of which it has every channel, and the communities of these.
    pub channel_rkeys: HashSet<Rkey>,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct FactsCache {
    version: i64,
    /// When it was empty last.
    since: Micros,
    complete: Complete,
    kept: Kept,
}

impl FactsCache {
    /// The ledger version of the cache.
    pub fn version(&self) -> i64 {
        self.version
    }

    /// Whether nothing is cached, not even a row of people and keys that are not known.
    pub fn is_empty(&self) -> bool {
        let Kept { memberships, approvals, members, bans, channels, communities } = &self.kept;
        let tables = memberships.len() + approvals.len() + members.len() + channels.len() + communities.len();
        tables + bans.len() + self.complete.people.len() + self.complete.channel_rkeys.len() == 0
    }

    /// Whether this person's standing is cached.
    pub fn knows(&self, did: &Did) -> bool {
        self.complete.people.contains(did)
    }

    /// Whether every channel with this key is cached, with its community.
    pub fn knows_channels(&self, rkey: &Rkey) -> bool {
        self.complete.channel_rkeys.contains(rkey)
    }

    /// The channels that are cached.
    pub fn channels(&self) -> impl Iterator<Item = &ChannelRow> {
        self.kept.channels.iter()
    }

    /// The communities that are cached.
    pub fn communities(&self) -> impl Iterator<Item = &CommunityRow> {
        self.kept.communities.iter()
    }

    /// The communities that admitted some of `people`, as far as these are known.
    pub fn admitting(&self, people: &BTreeSet<Did>) -> impl Iterator<Item = &AtUri> {
        let admitted = self.kept.members.iter().filter(|row| people.contains(&row.member_did));
        admitted.map(|row| &row.community_uri)
    }

    /// Drops the whole cache if it is a minute old at the time `now`, or if the clock was set back.
    pub fn expire(&mut self, now: Micros) {
        if now.0.abs_diff(self.since.0) >= KEPT_WITHIN {
            self.forget();
            self.since = now;
        }
    }

    /// Drops the whole cache.
    pub fn forget(&mut self) {
        (self.complete, self.kept) = Default::default();
    }

    /// Moves everything into `working_set`, and returns what that has completely. [`Self::keep`] puts both back.
    pub fn give(&mut self, working_set: &mut WorkingSet) -> Complete {
        let Kept { memberships, approvals, members, bans, channels, communities } =
            std::mem::take(&mut self.kept);
        working_set.memberships.join(memberships);
        working_set.approvals.join(approvals);
        working_set.members.join(members);
        working_set.bans.join(bans);
        working_set.channels.join(channels);
        working_set.communities.join(communities);
        std::mem::take(&mut self.complete)
    }

    /// Caches the tables after a commit, as of the ledger version `version`.
    pub fn keep(&mut self, version: i64, complete: Complete, kept: Kept) {
        self.version = version;
        (self.complete, self.kept) = (complete, kept);
        self.leave_out_newest();
        if self.kept.channels.len() > CHANNELS_MAX {
            self.kept.channels = Table::default();
            self.kept.communities = Table::default();
            self.complete.channel_rkeys.clear();
        }
        if self.complete.people.len() > PEOPLE_MAX || self.bytes() > BYTES_MAX {
            self.forget();
        }
    }

    /// Leaves out communities of the newest form, and their channels: whether such a community's repository was read
    /// ([`CommunityRow::unread`]) changes without the ledger.
    fn leave_out_newest(&mut self) {
        let is_newest = |uri: &AtUri| Form::of(uri) == Form::New;
        self.kept.communities.leave_out(|row| is_newest(&row.uri));
        for row in self.kept.channels.iter().filter(|row| is_newest(&row.community_uri)) {
            self.complete.channel_rkeys.remove(&row.uri.rkey());
        }
        self.kept.channels.leave_out(|row| is_newest(&row.community_uri));
    }

    /// About how much memory it takes.
    fn bytes(&self) -> usize {
        let Kept { memberships, approvals, members, bans, channels, communities } = &self.kept;
        // Each row stands in a table by its AT-URI, and in a group by that and by its key.
        let standings =
            memberships.iter().map(|row| 3 * row.uri.as_str().len() + 3 * row.community_uri.as_str().len());
        let approved =
            approvals.iter().map(|row| 3 * row.uri.as_str().len() + 3 * row.membership_uri.as_str().len());
        let admitted = members.iter().map(|row| 3 * row.uri.as_str().len() + row.roles.len());
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let places = channels.iter().map(|row| {
            let lists = text(&row.allowed_roles) + text(&row.allowed_members);
            3 * row.uri.as_str().len() + row.name.len() + text(&row.description) + lists
        });
        let homes = communities.iter().map(|row| {
            let texts =
                text(&row.description) + text(&row.picture) + text(&row.category_order) + text(&row.banner);
            3 * row.uri.as_str().len() + row.name.len() + texts
        });
        let rows = standings.chain(approved).chain(admitted).chain(places).chain(homes);
        rows.map(|bytes| bytes + ROW_BYTES).sum::<usize>() + bans.len() * ROW_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ids::AtUri;

    fn did(name: &str) -> Did {
        Did::parse(&format!("did:plc:{name}")).unwrap()
    }

    fn membership(of: &str) -> MembershipRow {
        MembershipRow {
            uri: AtUri::parse(&format!("at://did:plc:{of}/social.colibri.membership/m")).unwrap(),
            member_did: did(of),
            community_uri: AtUri::parse("at://did:plc:owner/social.colibri.community/c").unwrap(),
            rev: "1".into(),
            indexed_at: Micros(0),
            hidden: false,
        }
    }

    fn kept(of: &[&str]) -> Kept {
        let mut kept = Kept::default();
        of.iter().for_each(|name| kept.memberships.seed(membership(name)));
        kept
    }

    fn complete(people: &[&Did]) -> Complete {
        Complete { people: people.iter().map(|did| (*did).clone()).collect(), ..Complete::default() }
    }

    #[test]
    fn what_is_given_is_known_again_only_when_it_is_kept() {
        let (bob, carol) = (did("bob"), did("carol"));
        let mut known = FactsCache::default();
        known.keep(7, complete(&[&bob, &carol]), kept(&["bob", "eve"]));
        assert!(known.knows(&bob) && known.knows(&carol), "also who has no membership");
        assert!(!known.knows(&did("eve")), "not all of whose rows were loaded");
        let mut working_set = WorkingSet::default();
        let given = known.give(&mut working_set);
        assert_eq!(working_set.memberships.iter().count(), 2);
        assert!(
            !known.knows(&bob) && known.is_empty(),
            "a batch that fails leaves nothing that could be wrong"
        );
        known.keep(8, given, kept(&[]));
        let mut working_set = WorkingSet::default();
        known.give(&mut working_set);
        assert_eq!(
            (working_set.memberships.iter().count(), known.version()),
            (0, 8),
            "the membership is gone"
        );
    }

    #[test]
    fn memory_is_bounded() {
        let mut known = FactsCache::default();
        let mut people = Complete::default();
        people.people.extend((0..PEOPLE_MAX).map(|n| did(&format!("p{n}"))));
        known.keep(1, people.clone(), Kept::default());
        assert!(known.knows(&did("p0")));
        people.people.insert(did("another"));
        known.keep(1, people, Kept::default());
        assert!(known.is_empty(), "too many people");
        let rows: Vec<String> = (0..BYTES_MAX / ROW_BYTES).map(|n| format!("p{n}")).collect();
        known.keep(1, complete(&[&did("p0")]), kept(&rows.iter().map(String::as_str).collect::<Vec<_>>()));
        assert!(known.is_empty(), "too many rows");
    }
}
