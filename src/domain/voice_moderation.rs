//! Moderating voice channels (contract R57, U32): who may mute, disconnect or move whom.
//!
//! Media goes between the peers, so the service can take a person out of a channel, but only ask a client to be silent.
//! Nothing of this is stored: a person who may be in the channel may join it again.

use serde::{Deserialize, Serialize};

use super::moderation::{Caller, Measure, may_decide};
use super::voice_right::{VoiceRefusal, home};
use super::working_set::WorkingSet;
use crate::wire::ids::{AtUri, Did};

/// What is done to a person in a voice channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// Their client is asked to send no audio, and counts as muted until it says otherwise.
    Mute,
    /// They leave the channel.
    Disconnect,
    /// They go to this channel of the same community.
    Move(AtUri),
}

impl Act {
    /// Its word in a body, in frames, and behind `voice_` in the audit log (X22).
    pub fn word(&self) -> &'static str {
        match self {
            Act::Mute => "mute",
            Act::Disconnect => "disconnect",
            Act::Move(_) => "move",
        }
    }

    /// The same with `voice_` before it.
    pub fn logged(&self) -> &'static str {
        match self {
            Act::Mute => "voice_mute",
            Act::Disconnect => "voice_disconnect",
            Act::Move(_) => "voice_move",
        }
    }

    /// The channel to which the person goes.
    pub fn to(&self) -> Option<&AtUri> {
        if let Act::Move(to) = self { Some(to) } else { None }
    }
}

/// Why an act is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The caller may not do that to this person.
    Forbidden,
    /// The channel in which the person is, is no voice channel of that community.
    NoChannel(VoiceRefusal),
    /// The channel to which the person would go is none.
    NoDestination(VoiceRefusal),
}

/// Whether `caller` may do this to `person` in `channel`. The first rule that applies refuses:
///   1. nobody but the owner and the operator acts on the owner;
///   2. otherwise it takes what a kick takes (X20, N23);
///   3. the channel, and the one to go to, must be voice channels of the community.
///
/// `facts` must hold what `storage::facts::acts_in` loads.
pub fn judge(
    facts: &WorkingSet,
    caller: &Caller,
    community: &AtUri,
    channel: &AtUri,
    person: &Did,
    act: &Act,
) -> Result<(), Refusal> {
    let is_above = community.authority() == *person && !caller.owns(community);
    if is_above || !may_decide(facts, caller, community, &Measure::Kick(community.clone(), person.clone())) {
        return Err(Refusal::Forbidden);
    }
    home(facts, channel, Some(community)).map_err(Refusal::NoChannel)?;
    if let Some(to) = act.to() {
        home(facts, to, Some(community)).map_err(Refusal::NoDestination)?;
    }
    Ok(())
}

/// What a gateway did to one of its people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is done.
    Done,
    /// The person is not in that channel.
    NotThere,
    /// The person may not be in the channel to which they would go.
    MayNot,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::rows::{ChannelRow, CommunityRow};
    use crate::wire::time::Micros;

    fn did(name: &str) -> Did {
        Did::parse(&format!("did:plc:{name}")).unwrap()
    }

    fn uri(collection: &str, rkey: &str) -> AtUri {
        AtUri::parse(&format!("at://did:plc:owner/social.colibri.{collection}/{rkey}")).unwrap()
    }

    /// Two communities of one owner: `c` with the voice channels `v` and `w` and the text channel `t`, `o` with the
    /// voice channel `x`. `mod` and `peer` moderate `c`.
    fn facts() -> WorkingSet {
        let mut facts = WorkingSet::default();
        for rkey in ["c", "o"] {
            facts.communities.seed(CommunityRow {
                uri: uri("community", rkey),
                name: "n".into(),
                description: None,
                picture: None,
                category_order: None,
                requires_approval_to_join: false,
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
        }
        for (rkey, of, kind) in
            [("v", "c", "voice"), ("w", "c", "voice"), ("t", "c", "text"), ("x", "o", "voice")]
        {
            facts.channels.seed(ChannelRow {
                uri: uri("channel", rkey),
                community_uri: uri("community", of),
                name: "n".into(),
                description: None,
                channel_type: kind.into(),
                category_rkey: None,
                owner_only: false,
                allowed_roles: None,
                allowed_members: None,
                link_embeds: None,
                migrated_from: None,
                rev: "1".into(),
                indexed_at: Micros(0),
            });
        }
        facts.moderators.extend(["mod", "peer"].map(|name| (uri("community", "c"), did(name))));
        facts
    }

    #[test]
    fn r57_who_may_act_on_whom_and_where() {
        use Refusal::{Forbidden, NoChannel, NoDestination};
        use VoiceRefusal::{NotVoice, Unknown};
        let to = |rkey: &str| Act::Move(uri("channel", rkey));
        let person = |name: &str| Caller::Person(did(name));
        for (caller, whom, at, act, expected, why) in [
            (person("owner"), "bob", "v", Act::Mute, Ok(()), "the owner"),
            (Caller::Operator, "bob", "v", Act::Disconnect, Ok(()), "the key"),
            (person("mod"), "bob", "v", to("w"), Ok(()), "a moderator"),
            (person("mod"), "peer", "v", Act::Mute, Err(Forbidden), "not another moderator"),
            (person("mod"), "mod", "v", Act::Mute, Ok(()), "themselves"),
            (person("mod"), "owner", "v", Act::Mute, Err(Forbidden), "not the owner"),
            (person("owner"), "owner", "v", Act::Disconnect, Ok(()), "the owner on another device"),
            (person("bob"), "bob", "v", Act::Mute, Err(Forbidden), "nobody else"),
            (person("mod"), "bob", "t", Act::Mute, Err(NoChannel(NotVoice)), "not voice"),
            (person("mod"), "bob", "x", Act::Mute, Err(NoChannel(Unknown)), "of another community"),
            (person("mod"), "bob", "v", to("t"), Err(NoDestination(NotVoice)), "to a text channel"),
            (person("mod"), "bob", "v", to("x"), Err(NoDestination(Unknown)), "to another community"),
            (person("mod"), "bob", "v", to("z"), Err(NoDestination(Unknown)), "to nowhere"),
        ] {
            let (community, channel) = (uri("community", "c"), uri("channel", at));
            let judged = judge(&facts(), &caller, &community, &channel, &did(whom), &act);
            assert_eq!(judged, expected, "{why}");
        }
    }
}
