//! The rows of the index: one per record that counts, one per held record, and one per record
//! version that was decided and left no row.
//!
//! Field names are the column names of `migrations/`; the database is the truth for them (invariant
//! 5). Every row has the repository revision of the version that was decided last, so that a stale
//! or repeated event changes nothing (I02).

use serde::{Deserialize, Serialize};

use super::identity::Finding;
use super::kinds::each_kind;
use crate::wire::bodies::{Channel, Person};
use crate::wire::ids::{AtUri, Did, Rkey};
use crate::wire::profile::LookedUp;
use crate::wire::records::{Profile, is_blob};
use crate::wire::time::Micros;

/// A row with the AT-URI of its record.
pub trait Row: Clone {
    /// The record.
    fn uri(&self) -> &AtUri;
    /// The repository revision of the version that was decided last.
    fn rev(&self) -> &str;
    /// Sets the revision, when a newer version changed nothing.
    fn set_rev(&mut self, rev: &str);
    /// The key by which rows of this kind are looked up, besides their AT-URI.
    fn group(&self) -> String;
}

macro_rules! row {
    (
        records { $($(#[$_doc:meta])* $table:ident: $row:ident of $collection:ident, grouped by $group:expr;)* }
        traces { $($(#[$_trace_doc:meta])* $trace:ident: $trace_row:ident, grouped by $trace_group:expr;)* }
    ) => {
        $(row! { $row, $group })*
        $(row! { $trace_row, $trace_group })*
    };
    ($row:ident, $group:expr) => {
        impl Row for $row {
            fn uri(&self) -> &AtUri {
                &self.uri
            }
            fn rev(&self) -> &str {
                &self.rev
            }
            fn set_rev(&mut self, rev: &str) {
                rev.clone_into(&mut self.rev);
            }
            fn group(&self) -> String {
                let group: fn(&Self) -> String = $group;
                group(self)
            }
        }
    };
}
each_kind!(row);

/// The group of a person's memberships in one community.
pub fn member_group(community: &AtUri, member: &Did) -> String {
    format!("{community} {member}")
}

/// A community (section 8.5). Its owner is the authority of `uri`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "columns, described in migrations/")]
pub struct CommunityRow {
    pub uri: AtUri,
    pub name: String,
    pub description: Option<String>,
    pub picture: Option<String>,
    pub category_order: Option<String>,
    pub requires_approval_to_join: bool,
    pub banner: Option<String>,
    pub link_embeds: Option<bool>,
    pub migrated_to: Option<AtUri>,
    pub migrated_from: Option<AtUri>,
    pub appview: Option<Did>,
    pub rev: String,
    pub indexed_at: Micros,
    pub hidden: bool,
    /// Not a column: whether the repository of a community of the newest form was never read (N12).
    #[serde(default, skip_serializing)]
    pub unread: bool,
}

impl CommunityRow {
    /// The picture, if clients can show it. Others were accepted before 8.5 required validation.
    pub fn shown_picture(&self) -> Option<&str> {
        self.picture.as_deref().filter(|text| is_blob(text))
    }

    /// Whether the two look the same to clients (O04), and are equally there.
    pub fn looks_like(&self, other: &Self) -> bool {
        let looks = |row: &Self| {
            let Self {
                name, description, picture, category_order, requires_approval_to_join, hidden, ..
            } = row.clone();
            (name, description, picture, category_order, requires_approval_to_join, hidden)
        };
        looks(self) == looks(other)
    }
}

/// A channel (section 8.5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "columns, described in migrations/")]
pub struct ChannelRow {
    pub uri: AtUri,
    pub community_uri: AtUri,
    pub name: String,
    pub description: Option<String>,
    pub channel_type: String,
    pub category_rkey: Option<String>,
    pub owner_only: bool,
    pub allowed_roles: Option<String>,
    pub allowed_members: Option<String>,
    pub link_embeds: Option<bool>,
    pub migrated_from: Option<AtUri>,
    pub rev: String,
    pub indexed_at: Micros,
}

impl ChannelRow {
    /// Whether the two look the same to clients (O05), in the same community.
    pub fn looks_like(&self, other: &Self) -> bool {
        let looks = |row: &Self| {
            let Self { community_uri, name, description, channel_type, category_rkey, owner_only, .. } =
                row.clone();
            (community_uri, name, description, channel_type, category_rkey, owner_only)
        };
        looks(self) == looks(other)
    }

    /// Whether only those may post whom the channel names (N14).
    pub fn is_restricted(&self) -> bool {
        self.allowed_roles.is_some() || self.allowed_members.is_some()
    }

    /// Whether the channel names this person, or a role of theirs (N14). A list that cannot be read
    /// names nobody.
    pub fn names<'r>(&self, person: &Did, roles: impl IntoIterator<Item = &'r RoleRow>) -> bool {
        let list = |text: &Option<String>| -> Vec<String> {
            text.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
        };
        list(&self.allowed_members).iter().any(|did| did == person.as_str()) || {
            let named = list(&self.allowed_roles);
            roles.into_iter().any(|role| named.iter().any(|rkey| rkey == role.uri.rkey().as_str()))
        }
    }
}

impl From<ChannelRow> for Channel {
    /// The channel as bodies show it (O05). Its voice members are not stored in rows; the community
    /// provides them.
    fn from(row: ChannelRow) -> Self {
        Self {
            rkey: row.uri.rkey(),
            uri: row.uri,
            community_uri: row.community_uri,
            name: row.name,
            description: row.description,
            channel_type: row.channel_type,
            category_rkey: row.category_rkey,
            owner_only: row.owner_only,
            voice_members: Vec::new(),
        }
    }
}

/// A category (section 8.5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "columns, described in migrations/")]
pub struct CategoryRow {
    pub uri: AtUri,
    pub community_uri: AtUri,
    pub name: String,
    pub channel_order: Option<String>,
    pub rev: String,
    pub indexed_at: Micros,
}

/// A membership (section 8.7). Its person is the authority of `uri`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "columns, described in migrations/")]
pub struct MembershipRow {
    pub uri: AtUri,
    pub member_did: Did,
    pub community_uri: AtUri,
    pub rev: String,
    pub indexed_at: Micros,
    pub hidden: bool,
}

/// An approval (section 8.7) by anybody; [`super::standing`] decides whether it counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "columns, described in migrations/")]
pub struct ApprovalRow {
    pub uri: AtUri,
    pub membership_uri: AtUri,
    pub community_uri: Option<AtUri>,
    pub rev: String,
    pub indexed_at: Micros,
}

/// An admission by a community of the newest form (section 12), of the person `member_did`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "columns, described in migrations/")]
pub struct MemberRow {
    pub uri: AtUri,
    pub member_did: Did,
    pub community_uri: AtUri,
    pub roles: String,
    pub nickname: Option<String>,
    pub from_membership: Option<AtUri>,
    pub withdrawn: bool,
    pub hidden: bool,
    pub rev: String,
    pub indexed_at: Micros,
}

impl MemberRow {
    /// The keys of the roles that it gives.
    pub fn role_keys(&self) -> Vec<Rkey> {
        serde_json::from_str(&self.roles).unwrap_or_default()
    }
}

/// A role in a community of the newest form (section 12), whose account is `did`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "columns, described in migrations/")]
pub struct RoleRow {
    pub uri: AtUri,
    pub did: Did,
    pub community_uri: AtUri,
    pub name: String,
    pub color: Option<String>,
    pub permissions: String,
    pub position: i64,
    pub hoisted: bool,
    pub mentionable: bool,
    pub protected: bool,
    pub channel_overrides: Option<String>,
    pub rev: String,
    pub indexed_at: Micros,
}

/// What the decisions of a community about one subject are looked up by.
pub fn decided_group(community: &AtUri, about: &str, subject: &str) -> String {
    format!("{community} {about} {subject}")
}

/// A decision of a community of the newest form (section 12).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "columns, described in migrations/")]
pub struct ModerationRow {
    pub uri: AtUri,
    pub community_uri: AtUri,
    pub action: String,
    pub about: String,
    pub subject: String,
    pub embeds: Option<String>,
    pub reason: Option<String>,
    pub created_by: Option<Did>,
    pub created_at: Option<String>,
    pub rev: String,
    pub indexed_at: Micros,
}

impl ModerationRow {
    /// The word of what decisions about a person are about.
    pub const PERSON: &'static str = "person";
    /// Of those about a message.
    pub const MESSAGE: &'static str = "message";
    /// Of those about previews in a message.
    pub const EMBEDS: &'static str = "embeds";
    /// Of all others.
    pub const NOTHING: &'static str = "nothing";
}

/// A message that passed the gate (section 8.3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "columns, described in migrations/")]
pub struct MessageRow {
    pub uri: AtUri,
    pub author_did: Did,
    pub channel_uri: AtUri,
    pub channel: String,
    pub text: String,
    pub created_at: String,
    pub sort_at: Micros,
    pub indexed_at: Micros,
    pub edited: bool,
    pub parent: Option<String>,
    pub facets: Option<String>,
    pub attachments: Option<String>,
    #[serde(default)]
    pub suppressed_embeds: Option<String>,
    pub rev: String,
    pub hidden: bool,
    /// The second bit of the column `hidden`: a record bans the author (N21).
    #[serde(default)]
    pub banned: bool,
}

/// A reaction that passed the gate (section 8.4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "columns, described in migrations/")]
pub struct ReactionRow {
    pub uri: AtUri,
    pub reactor_did: Did,
    pub target_uri: AtUri,
    pub emoji: String,
    pub rev: String,
    pub indexed_at: Micros,
    pub hidden: bool,
}

/// An actor record (I33). Its contents are in the person's [`PersonRow`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "columns, described in migrations/")]
pub struct ActorRow {
    pub uri: AtUri,
    pub did: Did,
    #[serde(default)]
    pub communities: Option<String>,
    pub rev: String,
    pub indexed_at: Micros,
}

/// A read record (I38).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "columns, described in migrations/")]
pub struct ChannelReadRow {
    pub uri: AtUri,
    pub did: Did,
    pub channel_uri: AtUri,
    pub cursor_at: Micros,
    pub cursor_uri: Option<AtUri>,
    pub rev: String,
    pub indexed_at: Micros,
}

/// What a person says of themselves in the newest form (N50).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "columns, described in migrations/")]
pub struct ActorProfileRow {
    pub uri: AtUri,
    pub did: Did,
    pub display_name: Option<String>,
    pub description: Option<String>,
    pub avatar: Option<String>,
    pub banner: Option<String>,
    pub sync_bluesky: bool,
    pub theme: Option<String>,
    pub presence_service: Option<Did>,
    pub preferred_badge: Option<String>,
    pub rev: String,
    pub indexed_at: Micros,
}

/// A channel or community that a person muted (N51).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "columns, described in migrations/")]
pub struct MuteRow {
    pub uri: AtUri,
    pub did: Did,
    pub subject: AtUri,
    pub rev: String,
    pub indexed_at: Micros,
}

/// Of what a person wants notifications (N51).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "columns, described in migrations/")]
pub struct PreferenceRow {
    pub uri: AtUri,
    pub did: Did,
    pub level: String,
    pub rev: String,
    pub indexed_at: Micros,
}

/// A person whose profile is cached (I37).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "columns, described in migrations/")]
pub struct PersonRow {
    pub did: Did,
    pub handle: Option<String>,
    pub display_name: Option<String>,
    pub avatar_cid: Option<String>,
    pub banner_cid: Option<String>,
    pub description: Option<String>,
    pub status_text: Option<String>,
    pub emoji: Option<String>,
    pub state: Option<String>,
    pub profile_rev: Option<String>,
    pub active: bool,
    pub account_status: Option<String>,
    pub account_at: Option<Micros>,
    pub account_said: Option<String>,
    pub away_since: Option<Micros>,
    pub deleted_at: Option<Micros>,
    #[serde(default)]
    pub bluesky: Option<String>,
    #[serde(default)]
    pub is_bot: bool,
}

/// How a profile makes a person look.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "columns, described in migrations/")]
#[serde(default)]
pub struct Looks {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub avatar_cid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub banner_cid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

impl From<Profile> for Looks {
    fn from(profile: Profile) -> Self {
        let Profile { display_name, description, avatar_cid, banner_cid, is_bot: _ } = profile;
        Self { display_name, avatar_cid, banner_cid, description }
    }
}

impl PersonRow {
    /// A person without data.
    pub fn new(did: &Did) -> Self {
        Self {
            did: did.clone(),
            handle: None,
            display_name: None,
            avatar_cid: None,
            banner_cid: None,
            description: None,
            status_text: None,
            emoji: None,
            state: None,
            profile_rev: None,
            active: true,
            account_status: None,
            account_at: None,
            account_said: None,
            away_since: None,
            deleted_at: None,
            bluesky: None,
            is_bot: false,
        }
    }

    /// How others see the person.
    pub fn looks(&self) -> Looks {
        Looks {
            display_name: self.display_name.clone(),
            avatar_cid: self.avatar_cid.clone(),
            banner_cid: self.banner_cid.clone(),
            description: self.description.clone(),
        }
    }

    fn set_looks(&mut self, looks: Looks) {
        let Looks { display_name, avatar_cid, banner_cid, description } = looks;
        (self.display_name, self.description) = (display_name, description);
        (self.avatar_cid, self.banner_cid) = (avatar_cid, banner_cid);
    }

    /// How the person's Bluesky profile makes them look, shown or not.
    pub fn bluesky_looks(&self) -> Looks {
        match &self.bluesky {
            Some(text) => serde_json::from_str(text).unwrap_or_default(),
            None => self.looks(),
        }
    }

    /// Stores what the Bluesky profile says. It is shown unless the person has one of their own (N50).
    pub fn set_bluesky(&mut self, looks: Looks) {
        match &mut self.bluesky {
            Some(text) => *text = serde_json::to_string(&looks).unwrap_or_default(),
            None => self.set_looks(looks),
        }
    }

    /// Shows the person's own profile, or, without one, that of Bluesky (N50).
    pub fn show(&mut self, own: Option<Looks>) {
        let bluesky = self.bluesky_looks();
        self.bluesky = own.is_some().then(|| serde_json::to_string(&bluesky).unwrap_or_default());
        self.set_looks(own.unwrap_or(bluesky));
    }

    /// Whether nothing of their profile is known: no record of it arrived, and it was not looked up
    /// (R04).
    pub fn is_blank(&self) -> bool {
        self.handle.is_none() && self.bluesky.is_none() && self.has_no_profile()
    }

    fn has_no_profile(&self) -> bool {
        self.profile_rev.is_none() && !self.is_bot && self.bluesky_looks() == Looks::default()
    }

    /// Stores a looked-up profile, unless something is stored already: the person's own record is
    /// newer, or another request looked them up in the meantime.
    pub fn look_up(&mut self, profile: &LookedUp) {
        if self.has_no_profile() {
            let LookedUp { handle, display_name, description, avatar_cid, banner_cid, is_bot } =
                profile.clone();
            self.is_bot = is_bot;
            self.set_bluesky(Looks { display_name, avatar_cid, banner_cid, description });
            self.handle = self.handle.take().or(handle);
        }
    }

    /// Stores the results of a lookup.
    pub fn learn(&mut self, finding: &Finding) {
        if let Some(profile) = &finding.profile {
            // The handle was verified separately.
            self.look_up(&LookedUp { handle: None, ..profile.clone() });
        }
        if let Some(handle) = &finding.handle {
            self.handle = handle.as_ref().map(ToString::to_string);
        }
    }

    /// The person as others see them; links lead to `cdn`, which is `CDN_URL` (O10).
    pub fn shown(&self, cdn: &str) -> Person {
        let link = |kind: &str, cid: &Option<String>| {
            cid.as_ref().map(|cid| format!("{cdn}/img/{kind}/plain/{}/{cid}@jpeg", self.did))
        };
        Person {
            display_name: self.display_name.clone(),
            avatar_url: link("avatar", &self.avatar_cid),
            banner_url: link("feed_thumbnail", &self.banner_cid),
            description: self.description.clone(),
            handle: self.handle.clone(),
            status_text: self.status_text.clone(),
            emoji: self.emoji.clone(),
            state: self.state.clone(),
            is_bot: self.is_bot,
        }
    }
}

/// A held record, which waits for another one (I60).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "columns, described in migrations/")]
pub struct HeldRow {
    pub uri: AtUri,
    pub waits_for: String,
    pub record: String,
    pub rev: String,
    pub cid: Option<String>,
    pub arrived_at: Micros,
}

/// How a record version was decided that left no row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Its repository deleted it (I06).
    Deleted,
    /// The gate refused it. A reconciliation judges it again (G7).
    Refused,
    /// A reaction whose message was blocked or deleted: gone for good (I22, I71).
    Orphaned,
    /// A membership that a moderator ended, or its approval (R31): only a new version counts again.
    Kicked,
}

/// A message that left a channel, and whose key refers to no other there (T21).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(missing_docs, reason = "columns, described in migrations/")]
pub struct GoneRow {
    pub rkey: Rkey,
    pub channel_uri: AtUri,
    pub indexed_at: Micros,
    pub uri: AtUri,
}

impl From<&MessageRow> for GoneRow {
    fn from(row: &MessageRow) -> Self {
        Self {
            rkey: row.uri.rkey(),
            channel_uri: row.channel_uri.clone(),
            indexed_at: row.indexed_at,
            uri: row.uri.clone(),
        }
    }
}

/// A stored decision, so that a late or repeated event does not reopen it (I02, G7). It is
/// permanent if the record was in the index, because its key refers to that record and nothing
/// else. Other decisions are deleted when the stream can no longer repeat them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "columns, described in migrations/")]
pub struct SettledRow {
    pub uri: AtUri,
    pub outcome: Outcome,
    pub rev: String,
    pub settled_at: Micros,
    pub lasting: bool,
}
