//! Identifiers of the AT Protocol as this service reads them (contract T01–T05).
//!
//! A value of one of these types has valid syntax; it need not name something that exists. It keeps
//! the text as it arrived.

use std::borrow::Borrow;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

/// The longest DID accepted, in characters (T01).
const DID_MAX: usize = 256;
/// The longest record key accepted, in characters (T02).
pub(super) const RKEY_MAX: usize = 512;
/// The longest name of a collection, in characters (atproto.com/specs/nsid).
const NSID_MAX: usize = 317;

/// See [`Rkey::itself`].
const ITSELF: &str = "self";

/// A decentralized identifier (T01), for example `did:plc:abc`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Did(String);

/// A record key (T02), for example `3kchan`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Rkey(String);

/// The full address of a record (T03): `at://<did>/<collection>/<rkey>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct AtUri(String);

/// Why a text is not a valid identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdError {
    /// Not a DID (T01).
    Did,
    /// Not a record key (T02).
    Rkey,
    /// Not `at://<did>/<collection>/<rkey>` (T03).
    AtUri,
}

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            IdError::Did => "not a DID",
            IdError::Rkey => "not a record key",
            IdError::AtUri => "not an AT-URI of a record",
        })
    }
}

impl Did {
    /// Reads a DID (T01).
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let rest = text.strip_prefix("did:").ok_or(IdError::Did)?;
        let (method, id) = rest.split_once(':').ok_or(IdError::Did)?;
        let method_ok = !method.is_empty() && method.bytes().all(|b| b.is_ascii_lowercase());
        let id_ok = !id.is_empty()
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:%-".contains(&b))
            && !id.ends_with([':', '%']);
        if method_ok && id_ok && text.len() <= DID_MAX {
            Ok(Self(text.to_owned()))
        } else {
            Err(IdError::Did)
        }
    }
}

impl Rkey {
    /// Reads a record key (T02).
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let ok = !text.is_empty()
            && text.len() <= RKEY_MAX
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:~-".contains(&b))
            && text != "."
            && text != "..";
        if ok { Ok(Self(text.to_owned())) } else { Err(IdError::Rkey) }
    }

    /// The key of a record that is the only one of its collection.
    pub fn itself() -> Self {
        Self(ITSELF.to_owned())
    }
}

impl AtUri {
    /// Reads a record's AT-URI (T03).
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let mut parts = text.strip_prefix("at://").ok_or(IdError::AtUri)?.split('/');
        let (Some(did), Some(collection), Some(rkey), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(IdError::AtUri);
        };
        Did::parse(did).map_err(|_| IdError::AtUri)?;
        Rkey::parse(rkey).map_err(|_| IdError::AtUri)?;
        let nsid_ok = !collection.is_empty()
            && collection.len() <= NSID_MAX
            && collection.bytes().all(|b| b.is_ascii_alphanumeric() || b".-".contains(&b));
        if nsid_ok { Ok(Self(text.to_owned())) } else { Err(IdError::AtUri) }
    }

    /// The AT-URI of the record `rkey` of `collection` in the repository of `did`.
    pub fn of(did: &Did, collection: Collection, rkey: &Rkey) -> Self {
        Self(format!("at://{}/{}/{}", did.0, collection.nsid(), rkey.0))
    }

    /// The record that `name`, an AT-URI or the key of one of `collection` in the repository of `did`, names.
    pub fn named(name: &str, did: &Did, collection: Collection) -> Option<Self> {
        match Self::parse(name) {
            Ok(uri) => Some(uri),
            Err(_) => Some(Self::of(did, collection, &Rkey::parse(name).ok()?)),
        }
    }

    /// Names the profile record of `did`.
    pub fn profile(did: &Did) -> Self {
        Self(format!("at://{}/{}/self", did.0, Collection::Profile.nsid()))
    }

    /// The DID of the repository. For a community, this is the owner (T05).
    pub fn authority(&self) -> Did {
        Did(self.part(0).to_owned())
    }

    /// The NSID of the record's collection.
    pub fn nsid(&self) -> &str {
        self.part(1)
    }

    /// The record key.
    pub fn rkey(&self) -> Rkey {
        Rkey(self.part(2).to_owned())
    }

    /// Whether the URI names a record of `collection`.
    pub fn is(&self, collection: Collection) -> bool {
        self.nsid() == collection.nsid()
    }

    /// Whether the record is the only one of its collection ([`Rkey::itself`]).
    pub fn is_itself(&self) -> bool {
        self.part(2) == ITSELF
    }

    fn part(&self, n: usize) -> &str {
        self.0.get(5..).and_then(|rest| rest.split('/').nth(n)).unwrap_or("")
    }
}

macro_rules! text_id {
    ($name:ident) => {
        impl $name {
            /// The text as it arrived.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
                Self::parse(&text).map_err(D::Error::custom)
            }
        }
    };
}
text_id!(Did);
text_id!(Rkey);
text_id!(AtUri);

macro_rules! collections {
    ($($(#[$doc:meta])* $name:ident = $nsid:literal),* $(,)?) => {
        /// The collections the service indexes (T04).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Collection { $($(#[$doc])* $name),* }

        impl Collection {
            /// Every collection, in the order in which the service requests them from the stream
            /// (J02).
            pub const ALL: &'static [Collection] = &[$(Collection::$name),*];

            /// The name of the collection on the network.
            pub fn nsid(self) -> &'static str {
                match self { $(Collection::$name => $nsid),* }
            }

            /// The collection with this name, if the service indexes it.
            pub fn from_nsid(nsid: &str) -> Option<Self> {
                match nsid { $($nsid => Some(Collection::$name),)* _ => None }
            }
        }
    };
}
collections! {
    /// A chat message.
    Message = "social.colibri.message",
    /// One person's reaction to one message with one emoji.
    Reaction = "social.colibri.reaction",
    /// A community; its repository is its owner's.
    Community = "social.colibri.community",
    /// A channel of a community of the same repository.
    Channel = "social.colibri.channel",
    /// A group of channels in the sidebar.
    Category = "social.colibri.category",
    /// A person's request to join a community.
    Membership = "social.colibri.membership",
    /// The owner's acceptance of a membership.
    Approval = "social.colibri.approval",
    /// A community's admission of a person; its repository is the community's own.
    Member = "social.colibri.member",
    /// What members of a community may do, by name; likewise.
    Role = "social.colibri.role",
    /// A decision about a person or a message; likewise.
    Moderation = "social.colibri.moderation",
    /// A person's status text and emoji.
    ActorData = "social.colibri.actor.data",
    /// What a person says of themselves beside, or in the place of, their Bluesky profile.
    ActorProfile = "social.colibri.actor.profile",
    /// A channel or community of which a person wants no notifications.
    Mute = "social.colibri.actor.mute",
    /// Of what a person wants notifications.
    Preference = "social.colibri.actor.notificationPreference",
    /// The position up to which a person has read a channel.
    ChannelRead = "social.colibri.channel.read",
    /// A Bluesky profile.
    Profile = "app.bsky.actor.profile",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t01_dids() {
        let long = format!("did:plc:{}", "a".repeat(248));
        let longer = format!("did:plc:{}", "a".repeat(249));
        for (text, ok, why) in [
            ("did:plc:member", true, "the short form of the contract's examples"),
            ("did:web:example.com%3A3000", true, "percent sign inside"),
            (long.as_str(), true, "256 characters"),
            (longer.as_str(), false, "257 characters"),
            ("did:plc:", false, "no identifier"),
            ("did:PLC:a", false, "upper-case method"),
            ("did::a", false, "no method"),
            ("did:plc:a:", false, "ends in a colon"),
            ("did:plc:a%", false, "ends in a percent sign"),
            ("did:plc:a/b", false, "slash"),
            ("did:plc:ä", false, "not ASCII"),
            ("", false, "empty"),
        ] {
            assert_eq!(Did::parse(text).is_ok(), ok, "{text}: {why}");
        }
    }

    #[test]
    fn t02_rkeys() {
        for (text, ok, why) in [
            ("3kchan", true, "a TID"),
            ("self", true, "a word"),
            ("a:b~c.d_e-f", true, "all the extra characters"),
            (".", false, "reserved"),
            ("..", false, "reserved"),
            ("", false, "empty"),
            ("a b", false, "blank"),
            (&"a".repeat(513), false, "too long"),
        ] {
            assert_eq!(Rkey::parse(text).is_ok(), ok, "{text}: {why}");
        }
    }

    #[test]
    fn t03_at_uris() {
        for (text, ok, why) in [
            ("at://did:plc:a/social.colibri.message/3k", true, "a record"),
            ("at://did:plc:a/social.colibri.message", false, "no rkey"),
            ("at://did:plc:a/social.colibri.message/3k/x", false, "a fourth part"),
            ("at://alice.test/social.colibri.message/3k", false, "a handle as authority"),
            ("at:///a/b", false, "no authority"),
            (&format!("at://did:plc:a/{}/3k", "a".repeat(317)), true, "a long name of a collection"),
            (&format!("at://did:plc:a/{}/3k", "a".repeat(318)), false, "one too long"),
            ("https://example.com", false, "another scheme"),
        ] {
            assert_eq!(AtUri::parse(text).is_ok(), ok, "{text}: {why}");
        }
        let uri = AtUri::parse("at://did:plc:a/social.colibri.message/3k").unwrap();
        assert_eq!(uri.authority().as_str(), "did:plc:a");
        assert_eq!(uri.rkey().as_str(), "3k");
        assert!(uri.is(Collection::Message));
        assert_eq!(AtUri::of(&uri.authority(), Collection::Message, &uri.rkey()), uri);
    }
}
