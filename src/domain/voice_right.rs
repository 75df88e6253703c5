//! Who may be in a voice channel (V02), for the events socket and for signaling (S20).
//!
//! The gate decides about people; this module adds the rules of voice channels.

use serde::Deserialize;

use super::announcement::{Announcement, Topic};
use super::gate::may_be_present;
use super::rows::{ChannelRow, CommunityRow};
use super::standing::{Standing, standing};
use super::working_set::WorkingSet;
use crate::wire::events::march;
use crate::wire::ids::{AtUri, Collection, Did};

/// Why a person may not be in a voice channel (A15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoiceRefusal {
    /// The community has no such channel.
    Unknown,
    /// Its `channel_type` is not voice (N05).
    NotVoice,
    /// The gate refuses the person.
    NotAllowed,
}

impl VoiceRefusal {
    /// The text of the error frame (A15, S20).
    pub fn text(self) -> &'static str {
        match self {
            VoiceRefusal::Unknown => "Unknown voice channel",
            VoiceRefusal::NotVoice => "Not a voice channel",
            VoiceRefusal::NotAllowed => "Not allowed in this voice channel",
        }
    }
}

/// The channel that a `join` of the events socket names: `name` is an rkey or an AT-URI of a
/// channel of `community` (V02). `None` if the two cannot belong together: a channel is in the
/// repository of its community's owner (T06).
pub fn voice_channel(community: &AtUri, name: &str) -> Option<AtUri> {
    let uri = AtUri::named(name, &community.authority(), Collection::Channel)?;
    (community.is(Collection::Community)
        && uri.is(Collection::Channel)
        && uri.authority() == community.authority())
    .then_some(uri)
}

/// Whether a type of channels is that of voice channels, in either spelling (N05).
pub fn is_voice(channel_type: &str) -> bool {
    matches!(channel_type, "voice" | "social.colibri.channel.voice")
}

/// The voice channel `channel` and its community. The first rule that applies refuses:
///   1. the channel or its community is unknown, or `community` names another one;
///   2. the channel is not a voice channel.
pub fn home<'w>(
    working_set: &'w WorkingSet,
    channel: &AtUri,
    community: Option<&AtUri>,
) -> Result<(&'w ChannelRow, &'w CommunityRow), VoiceRefusal> {
    let Some((channel, home)) = working_set.channel(channel) else { return Err(VoiceRefusal::Unknown) };
    if community.is_some_and(|named| *named != home.uri) {
        Err(VoiceRefusal::Unknown)
    } else if !is_voice(&channel.channel_type) {
        Err(VoiceRefusal::NotVoice)
    } else {
        Ok((channel, home))
    }
}

/// Whether `person` may be in the voice channel `channel`, of `community` if one is named (V02): it
/// is a voice channel ([`home`]), and the gate accepts the person, in the old form ignoring "owner
/// only" (G2, G4–G6, N15). In a community for members only the person must also have proved who they
/// are, and be the owner or an approved member (X43).
///
/// `working_set` must hold what `storage::facts::right_to_be_in` loads.
pub fn may_be_in(
    working_set: &WorkingSet,
    person: &Did,
    proven: bool,
    channel: &AtUri,
    community: Option<&AtUri>,
) -> Result<(), VoiceRefusal> {
    let (channel, home) = home(working_set, channel, community)?;
    let is_in =
        || matches!(standing(working_set, &home.uri, person), Standing::Owner | Standing::Approved(_));
    if working_set.members_only.contains(&home.uri) && !(proven && is_in()) {
        return Err(VoiceRefusal::NotAllowed);
    }
    may_be_present(working_set, person, channel, home).map_err(|_| VoiceRefusal::NotAllowed)
}

/// The people whose right to be in a voice channel an event may end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Concern {
    /// Anybody in any voice channel of the community.
    Community,
    /// Everybody in this channel. `fresh`: it may be new, and people may be in a room of its name
    /// without having asked for a right.
    Channel {
        /// The channel.
        uri: AtUri,
        /// Whether it may be new.
        fresh: bool,
    },
}

/// Whose rights must be checked again because of an event of a community (S20, V06): a member left,
/// was banned or is pending again; the community changed its rules or was deleted; a channel was
/// deleted, changed or created. The event's contents alone decide, not its cause.
pub fn concerns(announcement: &Announcement) -> Option<Concern> {
    #[derive(Deserialize)]
    struct Words {
        r#type: String,
        uri: Option<AtUri>,
        channel_type: Option<String>,
    }
    if matches!(announcement.topic, Topic::MessageShown(_) | Topic::MessageGone(_) | Topic::Thread(_)) {
        return None;
    }
    if let Topic::MembersOnly(_) = announcement.topic {
        return Some(Concern::Community); // also where its text was lost (Q21)
    }
    let words: Words = serde_json::from_str(march(announcement.event.get())?).ok()?;
    match words.r#type.as_str() {
        "member_left" | "member_pending" | "community_upserted" | "community_deleted" => {
            Some(Concern::Community)
        }
        "channel_created" => Some(Concern::Channel {
            uri: words.uri?,
            fresh: words.channel_type.as_deref().is_some_and(is_voice),
        }),
        "channel_deleted" => Some(Concern::Channel { uri: words.uri?, fresh: false }),
        _ => None,
    }
}

/// The channel that everybody must leave because of an event (V06): it was deleted, or its type is
/// no longer `voice`. As in [`concerns`], the event's contents alone decide, so the channel's
/// previous type does not matter.
pub fn silenced(announcement: &Announcement) -> Option<&AtUri> {
    #[derive(Deserialize)]
    struct Words {
        channel_type: Option<String>,
    }
    match &announcement.topic {
        Topic::ChannelGone(uri) => Some(uri),
        Topic::ChannelShown(uri) => {
            let words: Words = serde_json::from_str(march(announcement.event.get())?).ok()?;
            words.channel_type.is_some_and(|kind| !is_voice(&kind)).then_some(uri)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    use crate::domain::rows::{ApprovalRow, ChannelRow, MembershipRow};
    use crate::wire::time::Micros;

    const COMMUNITY: &str = "at://did:plc:owner/social.colibri.community/c";

    fn uri(text: &str) -> AtUri {
        AtUri::parse(text).unwrap()
    }

    fn channel(rkey: &str) -> AtUri {
        uri(&format!("at://did:plc:owner/social.colibri.channel/{rkey}"))
    }

    fn did(name: &str) -> Did {
        Did::parse(&format!("did:plc:{name}")).unwrap()
    }

    /// `owner`'s community with a voice channel `v`, an owner-only one `o`, and a text channel
    /// `t`; `approved` and `pending` have memberships.
    fn working_set(requires_approval: bool) -> WorkingSet {
        let mut working_set = WorkingSet::default();
        working_set.communities.seed(CommunityRow {
            uri: uri(COMMUNITY),
            name: "n".into(),
            description: None,
            picture: None,
            category_order: None,
            requires_approval_to_join: requires_approval,
            banner: None,
            link_embeds: None,
            migrated_to: None,
            migrated_from: None,
            appview: None,
            unread: false,
            rev: "1".into(),
            indexed_at: Micros(0),
            hidden: false,
        });
        for (rkey, channel_type, owner_only) in
            [("v", "voice", false), ("o", "voice", true), ("t", "text", false)]
        {
            working_set.channels.seed(ChannelRow {
                uri: channel(rkey),
                community_uri: uri(COMMUNITY),
                name: "n".into(),
                description: None,
                channel_type: channel_type.into(),
                category_rkey: None,
                owner_only,
                allowed_roles: None,
                allowed_members: None,
                link_embeds: None,
                migrated_from: None,
                rev: "1".into(),
                indexed_at: Micros(0),
            });
        }
        for name in ["approved", "pending"] {
            working_set.memberships.seed(MembershipRow {
                uri: uri(&format!("at://did:plc:{name}/social.colibri.membership/m")),
                member_did: did(name),
                community_uri: uri(COMMUNITY),
                rev: "1".into(),
                indexed_at: Micros(0),
                hidden: false,
            });
        }
        working_set.approvals.seed(ApprovalRow {
            uri: uri("at://did:plc:owner/social.colibri.approval/a"),
            membership_uri: uri("at://did:plc:approved/social.colibri.membership/m"),
            community_uri: None,
            rev: "1".into(),
            indexed_at: Micros(0),
        });
        working_set
    }

    #[test]
    fn v02_b56_who_may_be_in_a_voice_channel() {
        use VoiceRefusal::{NotAllowed, NotVoice, Unknown};
        for (person, approval_community, rkey, banned, expected, why) in [
            ("owner", true, "x", false, Err(Unknown), "no such channel"),
            ("owner", true, "t", false, Err(NotVoice), "a text channel"),
            ("stranger", true, "t", false, Err(NotVoice), "what the channel is comes first"),
            ("approved", true, "v", true, Err(NotAllowed), "G2: banned though approved"),
            ("owner", true, "v", true, Err(NotAllowed), "G2: comes first, even for the owner"),
            ("owner", true, "v", false, Ok(()), "G4"),
            ("approved", true, "v", false, Ok(()), "G5: approved"),
            ("pending", true, "v", false, Err(NotAllowed), "G5: pending"),
            ("stranger", true, "v", false, Err(NotAllowed), "G5: no membership"),
            ("approved", false, "v", false, Ok(()), "G6: approved"),
            ("pending", false, "v", false, Ok(()), "G6: pending"),
            ("stranger", false, "v", false, Err(NotAllowed), "G6: no membership"),
            ("approved", true, "o", false, Ok(()), "V02: ownerOnly does not count"),
        ] {
            let mut working_set = working_set(approval_community);
            if banned {
                working_set.bans.insert((uri(COMMUNITY), did(person)), None);
            }
            assert_eq!(may_be_in(&working_set, &did(person), false, &channel(rkey), None), expected, "{why}");
            assert_eq!(
                may_be_in(&working_set, &did(person), false, &channel(rkey), Some(&uri(COMMUNITY))),
                expected,
                "{why}; the community named"
            );
        }
    }

    #[test]
    fn v02_a_channel_of_another_or_a_gone_community_is_unknown() {
        let mut working_set = working_set(false);
        let other = uri("at://did:plc:owner/social.colibri.community/other");
        let refused = Err(VoiceRefusal::Unknown);
        assert_eq!(may_be_in(&working_set, &did("owner"), false, &channel("v"), Some(&other)), refused);
        working_set.communities.remove(&uri(COMMUNITY));
        assert_eq!(
            may_be_in(&working_set, &did("owner"), false, &channel("v"), None),
            refused,
            "I70: voice is cleared"
        );
    }

    #[test]
    fn v02_names_of_voice_channels() {
        let uri_of_v = "at://did:plc:owner/social.colibri.channel/v";
        for (community, name, expected, why) in [
            (COMMUNITY, "v", Some(uri_of_v), "an rkey"),
            (COMMUNITY, uri_of_v, Some(uri_of_v), "an AT-URI"),
            (COMMUNITY, "at://did:plc:eve/social.colibri.channel/v", None, "T06: another repository"),
            (COMMUNITY, "at://did:plc:owner/social.colibri.category/v", None, "no channel"),
            (COMMUNITY, "a b", None, "neither rkey nor AT-URI"),
            ("at://did:plc:owner/social.colibri.channel/c", "v", None, "no community"),
        ] {
            let got = voice_channel(&uri(community), name);
            assert_eq!(got.as_ref().map(AtUri::as_str), expected, "{why}");
        }
    }

    #[test]
    fn v06_events_that_end_a_channel() {
        use crate::domain::announcement::{Audience, Scope};
        let (voice, text) = (json!({ "channel_type": "voice" }), json!({ "channel_type": "text" }));
        for (topic, event, ends, why) in [
            (Topic::ChannelShown(channel("v")), &text, true, "it is a text channel now"),
            (Topic::ChannelShown(channel("v")), &voice, false, "it is a voice channel"),
            (Topic::ChannelGone(channel("v")), &voice, true, "deleted, or moved to another community"),
            (Topic::Other, &text, false, "no channel"),
        ] {
            let announcement = Announcement {
                scope: Scope::Community(uri(COMMUNITY)),
                audience: Audience::Community,
                topic,
                live: true,
                event: serde_json::value::to_raw_value(event).unwrap(),
            };
            assert_eq!(silenced(&announcement), ends.then(|| channel("v")).as_ref(), "{why}");
        }
    }

    #[test]
    fn s20_events_that_may_end_a_right() {
        use crate::domain::announcement::{Audience, Scope};
        let told = |event: serde_json::Value| {
            concerns(&Announcement {
                scope: Scope::Community(uri(COMMUNITY)),
                audience: Audience::Community,
                topic: Topic::Other,
                live: true,
                event: serde_json::value::to_raw_value(&event).unwrap(),
            })
        };
        let of = |fresh| Some(Concern::Channel { uri: channel("v"), fresh });
        for (event, expected) in [
            (serde_json::json!({ "type": "member_left" }), Some(Concern::Community)),
            (serde_json::json!({ "type": "member_pending" }), Some(Concern::Community)),
            (serde_json::json!({ "type": "member_joined" }), None),
            (serde_json::json!({ "type": "community_upserted" }), Some(Concern::Community)),
            (serde_json::json!({ "type": "community_deleted" }), Some(Concern::Community)),
            (serde_json::json!({ "type": "channel_deleted", "uri": channel("v") }), of(false)),
            (
                serde_json::json!({ "type": "channel_created", "uri": channel("v"), "channel_type": "voice" }),
                of(true),
            ),
            (
                serde_json::json!({ "type": "channel_created", "uri": channel("v"), "channel_type": "text" }),
                of(false),
            ),
            (serde_json::json!({ "type": "reaction_added" }), None),
        ] {
            assert_eq!(told(event.clone()), expected, "{event}");
        }
    }
}
