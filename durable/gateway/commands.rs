//! The commands of a `Gateway` object.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::domain::community::devices::Devices;
use crate::domain::gateway::session::View;
use crate::domain::pending::OutboxEvents;
use crate::domain::presence::State;
use crate::domain::voice::Place;
use crate::domain::voice_moderation::{Act, Outcome};
use crate::durable::replies::{Announced, Delivered, Done};
use crate::platform::objects::{Command, Object};
use crate::storage::community_log::Numbered;
use crate::storage::gateway_people::Publication;
use crate::storage::used_tokens::Use;
use crate::wire::ids::{AtUri, Did, Rkey};
use crate::wire::time::Micros;

/// See `CONNECT`. Present for a socket that names a person who was not proven (X05).
pub const UNPROVEN_HEADER: &str = "x-colibri-unproven";

/// See `CONNECT`. Present for a socket whose person is believed for presence only (X13).
pub const PRESENT_HEADER: &str = "x-colibri-present";

/// See `CONNECT`. The secret that the client shows (Q15).
pub const SESSION_HEADER: &str = "x-colibri-session";

/// See `CONNECT`. Digests of where the socket came from: the address, a blank, the program.
pub const ORIGIN_HEADER: &str = "x-colibri-origin";

/// See `CONNECT`. Present for a socket of the newest client (section 14).
pub const NEWEST_HEADER: &str = "x-colibri-newest";

/// See `CONNECT`. Where such a socket resumes (N165).
pub const RESUME_HEADER: &str = "x-colibri-resume";

/// To `Gateway`: events of a community, in order. Idempotent by `seq`. Reply: whether the
/// gateway still listens to it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Deliver {
    /// The community.
    pub community: AtUri,
    /// In order.
    pub events: Vec<Numbered>,
    /// Whether only members may read them (X43).
    #[serde(default)]
    pub members_only: bool,
}

impl Command for Deliver {
    type Reply = Delivered;
    const OBJECT: Object = Object::Gateway;
    const NAME: &'static str = "deliver";
}

/// To the `Gateway` of these people: events of records about them. Idempotent by [`OutboxEvents::id`].
/// The gateway adds the current state (P12) and publishes them to all gateways. They have no
/// `seq`: they are state, not log (Q01).
#[derive(Debug, Serialize, Deserialize)]
pub struct Watch {
    /// In the order of commits.
    #[serde(rename = "told")]
    pub rows: Vec<OutboxEvents>,
}

impl Command for Watch {
    type Reply = Announced;
    const OBJECT: Object = Object::Gateway;
    const NAME: &'static str = "watch";
}

/// To `Gateway`: events that another gateway publishes about its people, for those who watch them
/// (class U). Idempotent by [`Publication::id`].
#[derive(Debug, Serialize, Deserialize)]
pub struct Publish {
    /// The publishing gateway.
    pub from: String,
    /// In order.
    #[serde(rename = "sayings")]
    pub publications: Vec<Publication>,
}

impl Command for Publish {
    type Reply = Done;
    const OBJECT: Object = Object::Gateway;
    const NAME: &'static str = "say";
}

/// To `Gateway`: a community has observers, who receive events about its people from now on.
/// Idempotent.
#[derive(Debug, Serialize, Deserialize)]
pub struct Observed {
    /// The community.
    pub community: AtUri,
}

impl Command for Observed {
    type Reply = Done;
    const OBJECT: Object = Object::Gateway;
    const NAME: &'static str = "observed";
}

/// To the `Gateway` of a person: they chose this state (R20, N160p). Idempotent. Reply: it is stored.
#[derive(Debug, Serialize, Deserialize)]
pub struct SetState {
    /// Who.
    pub did: Did,
    /// What they chose.
    pub state: State,
    /// Whether it shows without a socket, too (P09).
    pub shows_alone: bool,
}

impl Command for SetState {
    type Reply = Done;
    const OBJECT: Object = Object::Gateway;
    const NAME: &'static str = "set-state";
}

/// To the `Gateway` of a person: a token of theirs is used (X04). Not idempotent: a repeated
/// call answers that the token was used before. Reply: whether the token counts.
#[derive(Debug, Serialize, Deserialize)]
pub struct UseToken {
    /// Whose.
    pub did: Did,
    /// Its number: a person may have several tokens.
    pub token: String,
    /// When the token expires, so that its use can be forgotten.
    pub ends: Micros,
}

impl Command for UseToken {
    type Reply = Use;
    const OBJECT: Object = Object::Gateway;
    const NAME: &'static str = "use-token";
}

/// To the `Gateway` of a person: they showed a proof for the first time (X13). Idempotent. Reply: sockets
/// that only claimed to be theirs are closed.
#[derive(Debug, Serialize, Deserialize)]
pub struct Proved {
    /// Who.
    pub did: Did,
}

impl Command for Proved {
    type Reply = Done;
    const OBJECT: Object = Object::Gateway;
    const NAME: &'static str = "proved";
}

/// To `Gateway`: a person writes in a channel of this community (N168). Not idempotent, and not repeated: it is news
/// for seconds only. Reply: whether anybody here receives typing of that channel.
#[derive(Debug, Serialize, Deserialize)]
pub struct ShowTyping {
    /// The channel and its community.
    pub view: View,
    /// Who.
    pub did: Did,
    /// Whether only members may receive it (X43).
    pub members_only: bool,
}

impl Command for ShowTyping {
    type Reply = Delivered;
    const OBJECT: Object = Object::Gateway;
    const NAME: &'static str = "show-typing";
}

/// To `Gateway`: what the devices of these people in a call do now (U30). Idempotent.
#[derive(Debug, Serialize, Deserialize)]
pub struct ShowDevices {
    /// The community.
    pub community: AtUri,
    /// The voice channel.
    pub channel: AtUri,
    /// The people.
    pub devices: Devices,
    /// Whether only members may receive it (X43).
    pub members_only: bool,
}

impl Command for ShowDevices {
    type Reply = Done;
    const OBJECT: Object = Object::Gateway;
    const NAME: &'static str = "show-devices";
}

/// To the `Gateway` of a person: their sockets show what they did through HTTP (U21, U22). Not idempotent, and not
/// repeated: clients read it when they connect.
#[derive(Debug, Serialize, Deserialize)]
pub struct Show {
    /// Who.
    pub did: Did,
    /// The event, in both spellings.
    pub event: Box<RawValue>,
}

impl Command for Show {
    type Reply = Done;
    const OBJECT: Object = Object::Gateway;
    const NAME: &'static str = "show";
}

/// To the `Gateway` of a person: a moderator mutes them in a voice channel, disconnects them, or moves them (U32).
/// Idempotent: once done, the person is not there any more, or muted anew.
#[derive(Debug, Serialize, Deserialize)]
pub struct ModerateVoice {
    /// Who.
    pub did: Did,
    /// Where they are.
    pub place: Place,
    /// What is done.
    pub act: Act,
}

impl Command for ModerateVoice {
    type Reply = Outcome;
    const OBJECT: Object = Object::Gateway;
    const NAME: &'static str = "moderate-voice";
}

/// To `Gateway`: an application to this community was dismissed, or waits again. Those here who may admit people
/// receive the event (N168). Not idempotent, and not repeated.
#[derive(Debug, Serialize, Deserialize)]
pub struct ShowToApprovers {
    /// The community.
    pub community: AtUri,
    /// The event, packed for both clients.
    pub event: Box<RawValue>,
}

impl Command for ShowToApprovers {
    type Reply = Done;
    const OBJECT: Object = Object::Gateway;
    const NAME: &'static str = "show-to-approvers";
}

/// To every `Gateway`: everything of this person is erased (I56). Idempotent. Reply: their sockets are closed,
/// and nothing is kept of them but, unless it is the last call, events that others must still receive.
#[derive(Debug, Serialize, Deserialize)]
pub struct Forget {
    /// Who.
    pub did: Did,
    /// Whether it is the last call.
    pub last: bool,
}

impl Command for Forget {
    type Reply = Done;
    const OBJECT: Object = Object::Gateway;
    const NAME: &'static str = "forget";
}

/// To the `Gateway` of people: their sockets at their former gateway have closed
/// (after a change of `GATEWAY_SHARDS`). Idempotent.
#[derive(Debug, Serialize, Deserialize)]
pub struct Adopt {
    /// Who.
    pub dids: Vec<Did>,
}

impl Command for Adopt {
    type Reply = Done;
    const OBJECT: Object = Object::Gateway;
    const NAME: &'static str = "adopt";
}

/// To `Gateway`: channels with these keys appeared or disappeared. The gateway reads their meaning again, and
/// listens to their communities if a session names them (A34). Idempotent.
#[derive(Debug, Serialize, Deserialize)]
pub struct Reindexed {
    /// The community concerned.
    pub community: AtUri,
    /// Keys of channels; none means that the whole community appeared or disappeared.
    pub rkeys: Vec<Rkey>,
}

impl Command for Reindexed {
    type Reply = Done;
    const OBJECT: Object = Object::Gateway;
    const NAME: &'static str = "reindexed";
}
