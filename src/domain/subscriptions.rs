//! The subscriptions of one socket (contract 4.3).
//!
//! Promises: cumulative subscriptions per kind with an *all* flag (A30–A33); a bounded number of
//! keys per socket; one function that decides whether a socket receives an event (A35, A38).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::announcement::Audience;
use super::members_only::Readers;
use crate::wire::ids::{AtUri, Collection, Did, Rkey};
use crate::wire::socket::Spelling;

/// The most keys of all kinds per socket. The shipped client has two.
pub const KEYS_MAX: usize = 10_000;
/// The most bytes of all keys of one socket: 10,000 AT-URIs of usual length, or 1% of the object's
/// 128 MB (platform facts 2.8).
pub const BYTES_MAX: usize = 1024 * 1024;
/// The longest key that can name anything: an AT-URI with the longest DID and rkey (T01, T02). A
/// longer one matches nothing, like an empty one (A33).
pub const KEY_MAX: usize = 1_024;
/// The most bytes of the keys of all sockets of a gateway, including [`KEY_COST`] for each: it
/// leaves half of the object's memory for everything else.
pub const GATEWAY_BYTES_MAX: usize = 32 * 1024 * 1024;
/// The memory overhead of a key: the string's own fields, its share of a tree node, and the
/// allocator's overhead.
const KEY_COST: usize = 64;
/// A socket with no more than this may subscribe even if its gateway is full: sixteen keys of usual
/// length.
pub const SPARED_BYTES: usize = 4 * 1024;

/// The kinds of A30.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Messages of channels; keys are rkeys or AT-URIs.
    Message,
    /// Communities; keys are AT-URIs.
    Community,
    /// People; keys are DIDs.
    UserStatus,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 3] = [Kind::Message, Kind::Community, Kind::UserStatus];

    /// Its name, on the wire and in stored rows.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Message => "message",
            Kind::Community => "community",
            Kind::UserStatus => "user_status",
        }
    }

    /// The kind that a frame's `event_type` names (A09: others have no effect).
    pub fn named(event_type: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == event_type)
    }
}

/// The subscriptions of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// Whether it includes everything of the kind.
    pub all: bool,
    /// The single keys.
    pub keys: BTreeSet<String>,
}

/// The subscriptions of one socket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored")]
pub struct Subscriptions {
    /// `message`.
    pub message: Keys,
    /// `community`.
    pub community: Keys,
    /// `user_status`.
    pub user_status: Keys,
    /// Bytes of all keys.
    #[serde(skip)]
    bytes: usize,
}

/// The form of a stored row.
#[derive(Deserialize)]
struct Stored {
    message: Keys,
    community: Keys,
    user_status: Keys,
}

impl From<Stored> for Subscriptions {
    fn from(stored: Stored) -> Self {
        let Stored { message, community, user_status } = stored;
        let bytes = [&message, &community, &user_status]
            .into_iter()
            .flat_map(|keys| &keys.keys)
            .map(String::len)
            .sum();
        Self { message, community, user_status, bytes }
    }
}

/// The result of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subscribed {
    /// It was added.
    New,
    /// Nothing changed: it existed already, or the key can name nothing (A31, A33).
    AsBefore,
    /// There is no room for it.
    Full(Bound),
}

/// The limit that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// [`KEYS_MAX`] keys of one socket.
    Keys,
    /// [`BYTES_MAX`] bytes of one socket.
    Bytes,
    /// [`GATEWAY_BYTES_MAX`] bytes of all sockets together.
    Gateway,
}

impl Bound {
    /// The error text for the client (A15).
    pub fn text(self) -> String {
        match self {
            Bound::Keys => format!("Too many subscriptions (max {KEYS_MAX})"),
            Bound::Bytes => format!("Too many subscriptions (max {BYTES_MAX} bytes)"),
            Bound::Gateway => "Too many subscriptions on this server, try again later".to_owned(),
        }
    }
}

impl Subscriptions {
    /// The subscriptions of one kind.
    pub fn kind(&self, kind: Kind) -> &Keys {
        match kind {
            Kind::Message => &self.message,
            Kind::Community => &self.community,
            Kind::UserStatus => &self.user_status,
        }
    }

    fn kind_mut(&mut self, kind: Kind) -> &mut Keys {
        match kind {
            Kind::Message => &mut self.message,
            Kind::Community => &mut self.community,
            Kind::UserStatus => &mut self.user_status,
        }
    }

    /// Adds a key, or *all* without one (A31). `others` is the cost of the keys of all other
    /// sockets of the gateway.
    pub fn subscribe(&mut self, kind: Kind, key: Option<&str>, others: usize) -> Subscribed {
        let keys = self.kind(kind);
        let Some(key) = key else {
            let was = std::mem::replace(&mut self.kind_mut(kind).all, true);
            return if was { Subscribed::AsBefore } else { Subscribed::New };
        };
        if keys.keys.contains(key) || !can_name(key) {
            return Subscribed::AsBefore;
        }
        if let Some(bound) = self.bound_met(key, others) {
            return Subscribed::Full(bound);
        }
        self.bytes += key.len();
        self.kind_mut(kind).keys.insert(key.to_owned());
        Subscribed::New
    }

    /// The first limit that one more key would exceed.
    fn bound_met(&self, key: &str, others: usize) -> Option<Bound> {
        let cost = self.cost() + key.len() + KEY_COST;
        if self.len() >= KEYS_MAX {
            Some(Bound::Keys)
        } else if self.bytes + key.len() > BYTES_MAX {
            Some(Bound::Bytes)
        } else if cost > SPARED_BYTES && others + cost > GATEWAY_BYTES_MAX {
            Some(Bound::Gateway)
        } else {
            None
        }
    }

    /// The number of keys.
    pub fn len(&self) -> usize {
        self.message.keys.len() + self.community.keys.len() + self.user_status.keys.len()
    }

    /// The memory cost of the keys, in bytes.
    pub fn cost(&self) -> usize {
        self.bytes + self.len() * KEY_COST
    }

    /// Removes a key; without one, *all* and every key of the kind (A32). Returns whether that
    /// changed something.
    pub fn unsubscribe(&mut self, kind: Kind, key: Option<&str>) -> bool {
        let keys = self.kind_mut(kind);
        let (changed, bytes) = match key {
            None => {
                let keys = std::mem::take(keys);
                (keys != Keys::default(), keys.keys.iter().map(String::len).sum())
            }
            Some(key) => {
                let was = keys.keys.remove(key);
                (was, if was { key.len() } else { 0 })
            }
        };
        self.bytes -= bytes;
        changed
    }

    /// Removes exactly what [`Self::subscribe`] added: *all* without the keys next to it.
    pub fn take_back(&mut self, kind: Kind, key: Option<&str>) {
        match key {
            None => self.kind_mut(kind).all = false,
            Some(_) => drop(self.unsubscribe(kind, key)),
        }
    }

    /// Adds the subscriptions of `other`. Those without room are left out.
    pub fn unite(&mut self, other: &Subscriptions, others: usize) {
        for kind in Kind::ALL {
            let theirs = other.kind(kind);
            if theirs.all {
                self.subscribe(kind, None, others);
            }
            for key in &theirs.keys {
                self.subscribe(kind, Some(key), others);
            }
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0 && Kind::ALL.into_iter().all(|kind| !self.kind(kind).all)
    }

    /// Whether events about a person are received: by a subscription to them, or to one of the
    /// communities that they belong to (A36).
    pub fn watches(&self, person: &Did, communities: &[AtUri]) -> bool {
        self.user_status.all
            || self.user_status.keys.contains(person.as_str())
            || communities.iter().any(|community| self.receives_community(community.as_str()))
    }

    /// The same without *all*.
    fn named(&self) -> std::borrow::Cow<'_, Self> {
        let is_named = Kind::ALL.into_iter().all(|kind| !self.kind(kind).all);
        if is_named {
            return std::borrow::Cow::Borrowed(self);
        }
        let mut named = self.clone();
        Kind::ALL.into_iter().for_each(|kind| named.kind_mut(kind).all = false);
        std::borrow::Cow::Owned(named)
    }

    /// The keys that name `community`, or a channel name whose known channels are all in it.
    pub fn naming(&self, community: &str, meanings: &Meanings) -> Vec<(Kind, String)> {
        let is_inside = |name: &&String| {
            let mut found = meanings.of(name).map(|candidate| candidate.community == community);
            found.next() == Some(true) && found.all(|inside| inside)
        };
        let channels = self.message.keys.iter().filter(is_inside).map(|name| (Kind::Message, name.clone()));
        let named = self.community.keys.contains(community);
        channels.chain(named.then(|| (Kind::Community, community.to_owned()))).collect()
    }

    /// Whether they name `community`, or a channel that may be one of it.
    pub fn names(&self, community: &str, meanings: &Meanings) -> bool {
        self.community.keys.contains(community)
            || self
                .message
                .keys
                .iter()
                .any(|name| meanings.of(name).any(|candidate| candidate.community == community))
    }

    /// Whether events of this community are received.
    pub fn receives_community(&self, community: &str) -> bool {
        self.community.all || self.community.keys.contains(community)
    }

    /// Whether messages of this channel are received, by a subscription to its AT-URI, or to its
    /// rkey if that rkey means this channel for this socket (A35). `rkey_means_it` decides that,
    /// and is called only when it matters.
    pub fn receives_channel(&self, uri: &str, rkey: &str, rkey_means_it: impl FnOnce(&Self) -> bool) -> bool {
        let keys = &self.message;
        keys.all || keys.keys.contains(uri) || (keys.keys.contains(rkey) && rkey_means_it(self))
    }
}

/// Whether a key can name anything at all.
fn can_name(key: &str) -> bool {
    !key.is_empty() && key.len() <= KEY_MAX && !key.contains(char::is_control)
}

/// Whether a channel or a community may ever have this name; people are not looked up. Names of any other form
/// are not looked up.
pub fn may_be_known(kind: Kind, name: &str) -> bool {
    let is_record = |collection| AtUri::parse(name).is_ok_and(|uri| uri.is(collection));
    match kind {
        Kind::Message => Rkey::parse(name).is_ok() || is_record(Collection::Channel),
        Kind::Community => is_record(Collection::Community),
        Kind::UserStatus => false,
    }
}

/// A channel that a name may refer to (T20), in the order of T20.4.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Candidate {
    /// When it was indexed, as sortable text.
    pub indexed_at: String,
    /// The channel.
    pub uri: String,
    /// Its community.
    pub community: String,
}

impl Candidate {
    /// Its key.
    pub fn rkey(&self) -> &str {
        self.uri.rsplit('/').next().unwrap_or_default()
    }
}

/// The meaning of the channel names of sockets: the known channels for each rkey and AT-URI.
#[derive(Clone, Debug, Default)]
pub struct Meanings {
    by_rkey: BTreeMap<String, BTreeSet<Candidate>>,
}

impl Meanings {
    /// Whether the names refer to nothing known, as far as this remembers.
    pub fn knows_none(&self, names: &[String]) -> bool {
        names.iter().all(|name| self.of(name).next().is_none())
    }

    /// From now on the rkeys and AT-URIs in `names` refer to `candidates`, and to nothing else.
    pub fn set(&mut self, names: &[String], candidates: impl IntoIterator<Item = Candidate>) {
        for name in names {
            let rkey = name.rsplit('/').next().unwrap_or(name);
            if let Some(known) = self.by_rkey.get_mut(rkey) {
                known.retain(|candidate| name != rkey && candidate.uri != *name);
                if known.is_empty() {
                    self.by_rkey.remove(rkey);
                }
            }
        }
        for candidate in candidates {
            self.by_rkey.entry(candidate.rkey().to_owned()).or_default().insert(candidate);
        }
    }

    /// The known channels that a name may refer to.
    pub(super) fn of<'m>(&'m self, name: &'m str) -> impl Iterator<Item = &'m Candidate> {
        let rkey = name.rsplit('/').next().unwrap_or(name);
        self.by_rkey
            .get(rkey)
            .into_iter()
            .flatten()
            .filter(move |candidate| name == rkey || candidate.uri == name)
    }

    /// The channel that a bare rkey refers to for a socket (T20.2–4), among the known channels with
    /// that rkey:
    ///   1. the only one;
    ///   2. of several, the one in a community that the socket is subscribed to, if there is
    ///      exactly one;
    ///   3. otherwise the one that was indexed first, ties by AT-URI.
    pub fn meant(&self, rkey: &str, subscriptions: &Subscriptions) -> Option<&Candidate> {
        let candidates = self.by_rkey.get(rkey)?;
        let mut subscribed =
            candidates.iter().filter(|candidate| subscriptions.receives_community(&candidate.community));
        match (candidates.len(), subscribed.next(), subscribed.next()) {
            (0 | 1, _, _) => candidates.first(),
            (_, Some(only), None) => Some(only),
            _ => candidates.first(),
        }
    }
}

/// A socket that may receive an event, and its person.
#[derive(Clone, Copy, Debug)]
pub struct Receiver<'a> {
    /// The person it acts for.
    pub did: Option<&'a Did>,
    /// Whether they proved that.
    pub proven: bool,
    /// How it spells its frames.
    pub spelling: Spelling,
}

/// What decides about an event's receivers beyond their subscriptions.
#[derive(Clone, Copy, Debug)]
pub struct Routing<'a> {
    /// The community.
    pub community: &'a str,
    /// Who may read it.
    pub readers: &'a Readers,
    /// Those here who may admit people to it.
    pub approvers: &'a BTreeSet<Did>,
    /// What channel names mean.
    pub meanings: &'a Meanings,
}

impl Routing<'_> {
    /// Whether a receiver with these subscriptions receives an event (A37, X43). A socket of the newest client
    /// receives all that is public in the communities of its person (N162). In a community for members only, of the
    /// other sockets:
    ///   1. a private event goes to the sockets of its person that proved who they are;
    ///   2. any other event goes to the sockets whose person may read the community, and that named the
    ///      community or the channel: *all* does not include it.
    pub fn receives(
        &self,
        subscriptions: &Subscriptions,
        receiver: Receiver<'_>,
        audience: &Audience,
    ) -> bool {
        let Self { community, readers, approvers, meanings } = *self;
        let Receiver { did, proven, spelling } = receiver;
        if spelling == Spelling::Newest {
            let is_for_them = match audience {
                Audience::Community | Audience::Messages(_) => true,
                Audience::Approvers => proven && did.is_some_and(|did| approvers.contains(did)),
                Audience::Private(_) | Audience::Watchers(_) => false,
            };
            return is_for_them
                && subscriptions.community.keys.contains(community)
                && readers.includes(did, proven);
        }
        match (readers, audience) {
            (Readers::All, _) => receives(subscriptions, did, audience, community, meanings),
            (Readers::Only(_), Audience::Private(addressee)) => proven && did == Some(addressee),
            (Readers::Only(_), _) => {
                readers.includes(did, proven)
                    && receives(&subscriptions.named(), did, audience, community, meanings)
            }
        }
    }
}

/// Whether a socket of `did` with these subscriptions receives an event of `community` (A35, A37):
///   1. a private event goes only to its person's sockets, subscribed or not (E06b);
///   2. an event of the community goes to its subscribers;
///   3. an event of a channel's messages goes to the subscribers of that channel;
///   4. an event about a person never takes this way ([`Subscriptions::watches`]).
pub fn receives(
    subscriptions: &Subscriptions,
    did: Option<&Did>,
    audience: &Audience,
    community: &str,
    meanings: &Meanings,
) -> bool {
    match audience {
        Audience::Private(addressee) => did == Some(addressee),
        Audience::Watchers(_) | Audience::Approvers => false,
        Audience::Community => subscriptions.receives_community(community),
        Audience::Messages(channel) => {
            let rkey = channel.rkey();
            subscriptions.receives_channel(channel.as_str(), rkey.as_str(), |subscriptions| {
                meanings
                    .meant(rkey.as_str(), subscriptions)
                    .is_some_and(|meant| meant.uri == channel.as_str())
            })
        }
    }
}

/// Whether a socket with these subscriptions may receive anything of `community`.
pub fn needs(subscriptions: &Subscriptions, community: &str, meanings: &Meanings) -> bool {
    subscriptions.receives_community(community)
        || subscriptions.message.all
        || subscriptions.names(community, meanings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a31_to_a33_keys() {
        let mut subs = Subscriptions::default();
        for (key, expected) in [("a", Subscribed::New), ("a", Subscribed::AsBefore), ("b", Subscribed::New)] {
            assert_eq!(subs.subscribe(Kind::Message, Some(key), 0), expected);
        }
        assert_eq!(subs.message.keys.len(), 2, "A31: cumulative, repeating changes nothing");
        subs.subscribe(Kind::Message, None, 0);
        subs.unsubscribe(Kind::Message, Some("a"));
        assert!(subs.message.all && !subs.message.keys.contains("a"), "A32: a key only, not all");
        subs.unsubscribe(Kind::Message, None);
        assert_eq!(subs, Subscriptions::default(), "A32: all and every key");
        subs.subscribe(Kind::Message, Some(""), 0);
        assert!(!subs.receives_channel("at://x", "x", |_| true), "A33: an empty key matches nothing");
        assert!(!subs.message.all, "A33: and is not all");
    }

    #[test]
    fn only_what_may_be_known_is_asked_about() {
        for (kind, name, expected) in [
            (Kind::Message, "3kchan", true),
            (Kind::Message, "at://did:plc:o/social.colibri.channel/k", true),
            (Kind::Message, "at://did:plc:o/social.colibri.community/k", false),
            (Kind::Message, "two words", false),
            (Kind::Message, "", false),
            (Kind::Community, "at://did:plc:o/social.colibri.community/c", true),
            (Kind::Community, "at://did:plc:o/social.colibri.channel/c", false),
            (Kind::Community, "c", false),
            (Kind::UserStatus, "did:plc:o", false),
        ] {
            assert_eq!(may_be_known(kind, name), expected, "{kind:?} {name}");
        }
    }

    #[test]
    fn names_mean_what_was_said_last() {
        let of = |did: &str, rkey: &str| Candidate {
            indexed_at: "2026".into(),
            uri: format!("at://did:plc:{did}/social.colibri.channel/{rkey}"),
            community: format!("at://did:plc:{did}/social.colibri.community/c"),
        };
        let (a, b, other) = (of("a", "k"), of("b", "k"), of("a", "x"));
        let mut meanings = Meanings::default();
        let known = |meanings: &Meanings, name: &str| meanings.of(name).count();
        meanings.set(&["k".into(), "x".into()], [a.clone(), b.clone(), other]);
        assert_eq!((known(&meanings, "k"), known(&meanings, &a.uri), known(&meanings, "x")), (2, 1, 1));
        assert!(meanings.knows_none(&["y".into()]) && !meanings.knows_none(&["y".into(), a.uri.clone()]));
        meanings.set(std::slice::from_ref(&a.uri), []);
        assert_eq!((known(&meanings, "k"), known(&meanings, &b.uri), known(&meanings, "x")), (1, 1, 1));
        meanings.set(&["k".into()], []);
        assert!(meanings.knows_none(&["k".into(), b.uri]) && known(&meanings, "x") == 1);
    }

    #[test]
    fn keys_are_bounded() {
        let mut subs = Subscriptions::default();
        for n in 0..KEYS_MAX {
            assert_eq!(subs.subscribe(Kind::UserStatus, Some(&n.to_string()), 0), Subscribed::New);
        }
        let full = Subscribed::Full(Bound::Keys);
        assert_eq!(subs.subscribe(Kind::Message, Some("one more"), 0), full);
        let known = subs.subscribe(Kind::UserStatus, Some("7"), usize::MAX / 2);
        assert_eq!(known, Subscribed::AsBefore, "a known key is no more");
        assert_eq!(subs.subscribe(Kind::Message, None, 0), Subscribed::New, "all is no key");
        assert!(subs.unsubscribe(Kind::UserStatus, Some("7")));
        assert_eq!(
            subs.subscribe(Kind::Message, Some("one more"), 0),
            Subscribed::New,
            "there is room again"
        );
    }

    #[test]
    fn bytes_are_bounded_for_a_socket_and_for_a_gateway() {
        let long = |n: usize| format!("{n:0KEY_MAX$}");
        let mut subs = Subscriptions::default();
        let fit =
            (0..2_000).take_while(|n| subs.subscribe(Kind::Message, Some(&long(*n)), 0) == Subscribed::New);
        assert_eq!(fit.count(), BYTES_MAX / KEY_MAX);
        assert_eq!(subs.subscribe(Kind::Message, Some("k"), 0), Subscribed::Full(Bound::Bytes));
        subs.unsubscribe(Kind::Message, None);
        assert_eq!((subs.cost(), subs.is_empty()), (0, true), "all of it is given back");

        let mut small = Subscriptions::default();
        let fit = (0..2_000).take_while(|n| {
            small.subscribe(Kind::Message, Some(&format!("{n:064}")), GATEWAY_BYTES_MAX) == Subscribed::New
        });
        assert_eq!(fit.count(), SPARED_BYTES / (64 + KEY_COST), "a few keys are served in a full gateway");
        assert_eq!(
            small.subscribe(Kind::Message, Some("k"), GATEWAY_BYTES_MAX),
            Subscribed::Full(Bound::Gateway)
        );
    }

    #[test]
    fn a33_what_can_name_nothing_takes_no_room() {
        let long = "x".repeat(KEY_MAX + 1);
        for (key, why) in
            [("", "empty"), (long.as_str(), "longer than any name"), ("a\0b", "no name has these")]
        {
            let mut subs = Subscriptions::default();
            assert_eq!(subs.subscribe(Kind::Message, Some(key), 0), Subscribed::AsBefore, "{why}");
            assert!(subs.is_empty(), "{why}");
        }
    }

    /// Sockets survive an update of the service, so rows of the earlier build must stay readable.
    #[test]
    fn the_stored_form_is_pinned() {
        let text = r#"{"message":{"all":false,"keys":["a","bc"]},"community":{"all":true,"keys":[]},"user_status":{"all":false,"keys":["d"]}}"#;
        let read: Subscriptions = serde_json::from_str(text).unwrap();
        let mut made = Subscriptions::default();
        for (kind, key) in [
            (Kind::Message, Some("a")),
            (Kind::Message, Some("bc")),
            (Kind::Community, None),
            (Kind::UserStatus, Some("d")),
        ] {
            made.subscribe(kind, key, 0);
        }
        assert_eq!(read, made);
        assert_eq!(serde_json::to_string(&made).unwrap(), text);
    }

    #[test]
    fn a36_who_is_watched_through_a_community() {
        let uri =
            |name: &str| AtUri::parse(&format!("at://did:plc:{name}/social.colibri.community/c")).unwrap();
        let person = Did::parse("did:plc:m").unwrap();
        let there = [uri("o"), uri("p")];
        for (kind, key, belongs, expected, why) in [
            (Kind::Community, Some(uri("o").to_string()), &there[..], true, "a member of it"),
            (Kind::Community, Some(uri("x").to_string()), &there[..], false, "not a member of it"),
            (Kind::Community, Some(uri("o").to_string()), &[], false, "left, or banned"),
            (Kind::Community, None, &there[..], true, "every community"),
            (Kind::Community, None, &[], false, "in no community"),
            (Kind::UserStatus, Some("did:plc:m".into()), &[], true, "asked for the person"),
            (Kind::UserStatus, None, &[], true, "asked for everybody"),
            (Kind::Message, None, &there[..], false, "messages only"),
        ] {
            let mut subs = Subscriptions::default();
            subs.subscribe(kind, key.as_deref(), 0);
            assert_eq!(subs.watches(&person, belongs), expected, "{why}");
        }
    }

    #[test]
    fn q10_the_union_of_subscriptions() {
        let mut one = Subscriptions::default();
        one.subscribe(Kind::Message, Some("a"), 0);
        let mut other = Subscriptions::default();
        other.subscribe(Kind::Message, Some("b"), 0);
        other.subscribe(Kind::Community, None, 0);
        one.unite(&other, 0);
        assert_eq!(one.message.keys.len(), 2);
        assert!(one.community.all && !one.message.all && !one.is_empty());
    }

    #[test]
    fn t20_for_sockets() {
        let candidate = |at: &str, name: &str| Candidate {
            indexed_at: at.into(),
            uri: format!("at://{name}/channel/k"),
            community: format!("at://{name}/community/c"),
        };
        let (early, late) = (candidate("1", "early"), candidate("2", "late"));
        let subscribed = |names: &[&str]| {
            let mut subs = Subscriptions::default();
            for name in names {
                subs.subscribe(Kind::Community, Some(&format!("at://{name}/community/c")), 0);
            }
            subs
        };
        let meant = |candidates: &[&Candidate], names: &[&str]| {
            let mut meanings = Meanings::default();
            meanings.set(&["k".to_owned()], candidates.iter().map(|c| (*c).clone()));
            meanings.meant("k", &subscribed(names)).map(|c| c.uri.clone())
        };
        assert_eq!(meant(&[], &[]), None, "unknown");
        assert_eq!(meant(&[&late], &[]), Some(late.uri.clone()), "T20.2: the only one");
        assert_eq!(meant(&[&early, &late], &["late"]), Some(late.uri.clone()), "T20.3");
        assert_eq!(meant(&[&early, &late], &[]), Some(early.uri.clone()), "T20.4: none");
        assert_eq!(meant(&[&early, &late], &["late", "early"]), Some(early.uri.clone()), "T20.4: several");
    }

    #[test]
    fn a37_who_hears_what() {
        let community = "at://did:plc:o/social.colibri.community/c";
        let channel = "at://did:plc:o/social.colibri.channel/k";
        let uri = |text: &str| crate::wire::ids::AtUri::parse(text).unwrap();
        let did = |text: &str| Did::parse(text).unwrap();
        let mut meanings = Meanings::default();
        let known = Candidate { indexed_at: "1".into(), uri: channel.into(), community: community.into() };
        meanings.set(&["k".to_owned()], [known]);
        let messages = Audience::Messages(uri(channel));
        let private = Audience::Private(did("did:plc:m"));
        for (kind, key, audience, expected, why) in [
            (Kind::Community, Some(community), &Audience::Community, true, "its community"),
            (Kind::Community, Some(community), &messages, false, "no messages without naming the channel"),
            (Kind::Community, None, &Audience::Community, true, "all communities"),
            (Kind::Message, Some("k"), &messages, true, "by rkey"),
            (Kind::Message, Some(channel), &messages, true, "by AT-URI"),
            (Kind::Message, Some("other"), &messages, false, "another channel"),
            (Kind::Message, None, &messages, true, "all channels"),
            (Kind::Message, None, &Audience::Community, false, "no community events"),
            (Kind::Community, Some(community), &private, true, "its person"),
        ] {
            let mut subscriptions = Subscriptions::default();
            subscriptions.subscribe(kind, key, 0);
            let person = did("did:plc:m");
            assert_eq!(
                receives(&subscriptions, Some(&person), audience, community, &meanings),
                expected,
                "{why}"
            );
            let stranger = did("did:plc:x");
            assert!(
                !receives(&subscriptions, Some(&stranger), &private, community, &meanings),
                "E06b: nobody else"
            );
        }
        let mut by_rkey = Subscriptions::default();
        by_rkey.subscribe(Kind::Message, Some("k"), 0);
        assert!(needs(&by_rkey, community, &meanings));
        meanings.set(&["k".to_owned()], []);
        assert!(!needs(&by_rkey, community, &meanings), "the channel is gone");
    }
}
