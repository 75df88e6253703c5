//! What one socket wants to hear (contract 4.3).
//!
//! Promises: cumulative subscriptions per kind with an *all* flag (A30–A33); a fixed number of
//! keys per socket; one answer to "does it hear this" (A35, A38).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::announcement::Audience;
use crate::wire::ids::{AtUri, Did};

/// Keys of all kinds that one socket may hold. The shipped client holds two; 10,000 keys of 64
/// bytes are 640 kB of the object's 128 MB (platform facts 2.8).
pub const KEYS_MAX: usize = 10_000;

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
    /// The kind a frame's `event_type` names (A09: others have no effect).
    pub fn named(event_type: &str) -> Option<Self> {
        match event_type {
            "message" => Some(Kind::Message),
            "community" => Some(Kind::Community),
            "user_status" => Some(Kind::UserStatus),
            _ => None,
        }
    }
}

/// The subscriptions of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// Everything of the kind.
    pub all: bool,
    /// These.
    pub keys: BTreeSet<String>,
}

/// The subscriptions of one socket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscriptions {
    /// `message`.
    pub message: Keys,
    /// `community`.
    pub community: Keys,
    /// `user_status`.
    pub user_status: Keys,
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

    /// Adds a key, or *all* without one (A31). `false` if there are [`KEYS_MAX`] already.
    pub fn subscribe(&mut self, kind: Kind, key: Option<&str>) -> bool {
        let total = self.message.keys.len() + self.community.keys.len() + self.user_status.keys.len();
        let keys = self.kind_mut(kind);
        match key {
            None => keys.all = true,
            Some(key) if keys.keys.contains(key) => {}
            Some(_) if total >= KEYS_MAX => return false,
            Some(key) => drop(keys.keys.insert(key.to_owned())),
        }
        true
    }

    /// Removes a key; without one, *all* and every key of the kind (A32).
    pub fn unsubscribe(&mut self, kind: Kind, key: Option<&str>) {
        let keys = self.kind_mut(kind);
        match key {
            None => *keys = Keys::default(),
            Some(key) => drop(keys.keys.remove(key)),
        }
    }

    /// Takes in the subscriptions of another socket (Q10).
    pub fn unite(&mut self, other: &Subscriptions) {
        for kind in [Kind::Message, Kind::Community, Kind::UserStatus] {
            let theirs = other.kind(kind);
            let keys = self.kind_mut(kind);
            keys.all |= theirs.all;
            keys.keys.extend(theirs.keys.iter().cloned());
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether events about a person are heard: by asking for them, or by watching one of the
    /// communities that they belong to (A36).
    pub fn watches(&self, person: &Did, communities: &[AtUri]) -> bool {
        self.user_status.all
            || self.user_status.keys.contains(person.as_str())
            || communities.iter().any(|community| self.hears_community(community.as_str()))
    }

    /// Whether events of this community are heard.
    pub fn hears_community(&self, community: &str) -> bool {
        self.community.all || self.community.keys.contains(community)
    }

    /// Whether messages of this channel are heard, named by AT-URI, or by rkey if that rkey
    /// means this channel for this socket (A35); `rkey_means_it` answers that, and is asked
    /// only when it matters.
    pub fn hears_channel(&self, uri: &str, rkey: &str, rkey_means_it: impl FnOnce(&Self) -> bool) -> bool {
        let keys = &self.message;
        keys.all || keys.keys.contains(uri) || (keys.keys.contains(rkey) && rkey_means_it(self))
    }
}

/// A channel that a name may mean (T20), ordered as T20.4 wants it.
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

/// What the channel names of sockets mean: the known channels behind each rkey and AT-URI.
#[derive(Clone, Debug, Default)]
pub struct Meanings {
    by_rkey: BTreeMap<String, BTreeSet<Candidate>>,
}

impl Meanings {
    /// From now on the rkeys and AT-URIs in `names` mean `candidates`, and nothing else.
    pub fn set(&mut self, names: &[String], candidates: impl IntoIterator<Item = Candidate>) {
        for known in self.by_rkey.values_mut() {
            known.retain(|candidate| !names.contains(&candidate.uri));
        }
        for name in names {
            self.by_rkey.remove(name);
        }
        for candidate in candidates {
            self.by_rkey.entry(candidate.rkey().to_owned()).or_default().insert(candidate);
        }
    }

    /// The known channels that a name may mean.
    fn of<'m>(&'m self, name: &'m str) -> impl Iterator<Item = &'m Candidate> {
        let rkey = name.rsplit('/').next().unwrap_or(name);
        self.by_rkey
            .get(rkey)
            .into_iter()
            .flatten()
            .filter(move |candidate| name == rkey || candidate.uri == name)
    }

    /// The channel that a bare rkey means for a socket (T20.2–4), among the known channels that
    /// have it:
    ///   1. the only one;
    ///   2. of several, the one of a community the socket is subscribed to, if there is just one;
    ///   3. otherwise the one indexed first, ties by AT-URI.
    pub fn meant(&self, rkey: &str, subscriptions: &Subscriptions) -> Option<&Candidate> {
        let candidates = self.by_rkey.get(rkey)?;
        let mut subscribed =
            candidates.iter().filter(|candidate| subscriptions.hears_community(&candidate.community));
        match (candidates.len(), subscribed.next(), subscribed.next()) {
            (0 | 1, _, _) => candidates.first(),
            (_, Some(only), None) => Some(only),
            _ => candidates.first(),
        }
    }
}

/// Whether a socket of `did` with these subscriptions hears an event of `community` (A35, A37):
///   1. a private event, only its person's sockets, subscribed or not (E06b);
///   2. an event of the community, who subscribed to it;
///   3. an event of a channel's messages, who named that channel;
///   4. an event about a person never comes this way ([`Subscriptions::watches`]).
pub fn hears(
    subscriptions: &Subscriptions,
    did: Option<&Did>,
    audience: &Audience,
    community: &str,
    meanings: &Meanings,
) -> bool {
    match audience {
        Audience::Private(addressee) => did == Some(addressee),
        Audience::Watchers(_) => false,
        Audience::Community => subscriptions.hears_community(community),
        Audience::Messages(channel) => {
            let rkey = channel.rkey();
            subscriptions.hears_channel(channel.as_str(), rkey.as_str(), |subscriptions| {
                meanings
                    .meant(rkey.as_str(), subscriptions)
                    .is_some_and(|meant| meant.uri == channel.as_str())
            })
        }
    }
}

/// Whether a socket with these subscriptions may hear anything of `community`.
pub fn needs(subscriptions: &Subscriptions, community: &str, meanings: &Meanings) -> bool {
    subscriptions.hears_community(community)
        || subscriptions.message.all
        || subscriptions
            .message
            .keys
            .iter()
            .any(|name| meanings.of(name).any(|candidate| candidate.community == community))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a31_to_a33_keys() {
        let mut subs = Subscriptions::default();
        subs.subscribe(Kind::Message, Some("a"));
        subs.subscribe(Kind::Message, Some("a"));
        subs.subscribe(Kind::Message, Some("b"));
        assert_eq!(subs.message.keys.len(), 2, "A31: cumulative, repeating changes nothing");
        subs.subscribe(Kind::Message, None);
        subs.unsubscribe(Kind::Message, Some("a"));
        assert!(subs.message.all && !subs.message.keys.contains("a"), "A32: a key only, not all");
        subs.unsubscribe(Kind::Message, None);
        assert_eq!(subs, Subscriptions::default(), "A32: all and every key");
        subs.subscribe(Kind::Message, Some(""));
        assert!(!subs.hears_channel("at://x", "x", |_| true), "A33: an empty key matches nothing");
        assert!(!subs.message.all, "A33: and is not all");
    }

    #[test]
    fn keys_are_bounded() {
        let mut subs = Subscriptions::default();
        for n in 0..KEYS_MAX {
            assert!(subs.subscribe(Kind::UserStatus, Some(&n.to_string())));
        }
        assert!(!subs.subscribe(Kind::Message, Some("one more")));
        assert!(subs.subscribe(Kind::UserStatus, Some("7")), "a known key is no more");
        assert!(subs.subscribe(Kind::Message, None), "all is no key");
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
            subs.subscribe(kind, key.as_deref());
            assert_eq!(subs.watches(&person, belongs), expected, "{why}");
        }
    }

    #[test]
    fn q10_the_union_of_subscriptions() {
        let mut one = Subscriptions::default();
        one.subscribe(Kind::Message, Some("a"));
        let mut other = Subscriptions::default();
        other.subscribe(Kind::Message, Some("b"));
        other.subscribe(Kind::Community, None);
        one.unite(&other);
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
                subs.subscribe(Kind::Community, Some(&format!("at://{name}/community/c")));
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
            subscriptions.subscribe(kind, key);
            let person = did("did:plc:m");
            assert_eq!(
                hears(&subscriptions, Some(&person), audience, community, &meanings),
                expected,
                "{why}"
            );
            let stranger = did("did:plc:x");
            assert!(
                !hears(&subscriptions, Some(&stranger), &private, community, &meanings),
                "E06b: nobody else"
            );
        }
        let mut by_rkey = Subscriptions::default();
        by_rkey.subscribe(Kind::Message, Some("k"));
        assert!(needs(&by_rkey, community, &meanings));
        meanings.set(&["k".to_owned()], []);
        assert!(!needs(&by_rkey, community, &meanings), "the channel is gone");
    }
}
