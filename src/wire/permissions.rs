//! What members of a community may do, by the words of its roles (contract N22).
//!
//! There are few permissions, and other words are left out, so a set is small whatever a record
//! contains.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! permissions {
    ($($(#[$doc:meta])* $name:ident = $word:literal),* $(,)?) => {
        /// One of them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Permission { $($(#[$doc])* $name),* }

        impl Permission {
            /// All of them.
            pub const ALL: &'static [Permission] = &[$(Permission::$name),*];

            /// Its word in a record.
            pub fn word(self) -> &'static str {
                match self { $(Permission::$name => $word),* }
            }

            /// The permission of a word.
            pub fn named(word: &str) -> Option<Self> {
                match word { $($word => Some(Permission::$name),)* _ => None }
            }
        }
    };
}
permissions! {
    /// Changes the community's record.
    CommunityManage = "community.manage",
    /// Deletes the community.
    CommunityDelete = "community.delete",
    /// Makes categories.
    CategoryCreate = "category.create",
    /// Changes categories.
    CategoryUpdate = "category.update",
    /// Deletes categories.
    CategoryDelete = "category.delete",
    /// Makes channels.
    ChannelCreate = "channel.create",
    /// Changes channels.
    ChannelUpdate = "channel.update",
    /// Deletes channels.
    ChannelDelete = "channel.delete",
    /// Hides messages of others.
    MessageHide = "message.hide",
    /// Ends the membership of others.
    MemberKick = "member.kick",
    /// Bans others.
    MemberBan = "member.ban",
    /// Lifts bans.
    MemberUnban = "member.unban",
    /// Makes roles and gives them.
    RoleManage = "role.manage",
    /// Makes invitations.
    InvitationCreate = "invitation.create",
    /// Ends invitations.
    InvitationDelete = "invitation.delete",
    /// Reads what moderators did.
    ModerationViewLog = "moderation.viewLog",
    /// Admits people.
    ApprovalManage = "approval.manage",
    /// Moderates voice channels.
    VoiceModerate = "voice.moderate",
    /// Mentions roles.
    MentionRoles = "mention.roles",
}

/// A set of them. In JSON an array of their words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permissions(u32);

impl Permissions {
    /// All of them.
    pub fn all() -> Self {
        Self(Permission::ALL.iter().fold(0, |set, one| set | bit(*one)))
    }

    /// Those that these words name.
    pub fn of(words: impl Iterator<Item = impl AsRef<str>>) -> Self {
        Self(words.filter_map(|word| Permission::named(word.as_ref())).fold(0, |set, one| set | bit(one)))
    }

    /// Whether it is in the set.
    pub fn contains(self, one: Permission) -> bool {
        self.0 & bit(one) != 0
    }

    /// This set and another.
    #[must_use]
    pub fn and(self, more: Self) -> Self {
        Self(self.0 | more.0)
    }

    /// This set without another.
    #[must_use]
    pub fn without(self, less: Self) -> Self {
        Self(self.0 & !less.0)
    }
}

fn bit(one: Permission) -> u32 {
    1 << one as u32
}

impl Serialize for Permissions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer
            .collect_seq(Permission::ALL.iter().filter(|one| self.contains(**one)).map(|one| one.word()))
    }
}

impl<'de> Deserialize<'de> for Permissions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::of(Vec::<String>::deserialize(deserializer)?.iter()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n22_sets_hold_known_words_only() {
        let set = Permissions::of(["member.ban", "member.fly", "", "member.ban"].iter());
        assert!(set.contains(Permission::MemberBan) && !set.contains(Permission::MemberUnban));
        assert_eq!(serde_json::to_string(&set).unwrap(), r#"["member.ban"]"#);
        assert_eq!(serde_json::from_str::<Permissions>(r#"["member.ban","x"]"#).unwrap(), set);
        assert_eq!(Permission::ALL.len(), 19);
        assert!(Permission::ALL.iter().all(|one| Permissions::all().contains(*one)));
        assert_eq!(Permissions::all().without(set).and(set), Permissions::all());
    }
}
