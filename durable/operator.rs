//! The operator's commands to several objects: how many are here (R62), and restarts (R63).

use serde::{Deserialize, Serialize};

use crate::domain::gateway::operating::{Counts, Load};
use crate::durable::replies::Done;
use crate::platform::objects::{Command, Object};

/// To `Gateway`: who is here. Reads only.
#[derive(Debug, Serialize, Deserialize)]
pub struct Count {}

impl Command for Count {
    type Reply = Counts;
    const OBJECT: Object = Object::Gateway;
    const NAME: &'static str = "count";
}

/// To `Gateway`: what it carries, and what it refused (O26), for health (R66). Reads only.
#[derive(Debug, Serialize, Deserialize)]
pub struct ReadLoad {}

impl Command for ReadLoad {
    type Reply = Load;
    const OBJECT: Object = Object::Gateway;
    const NAME: &'static str = "load";
}

/// To `Gateway`: close all sockets and rebuild the memory from what is stored. Idempotent, but for sockets that were
/// opened in between.
#[derive(Debug, Serialize, Deserialize)]
pub struct RestartSockets {}

/// What was restarted.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Restarted {
    /// The sockets that were closed.
    pub sockets: usize,
    /// The communities whose observers this gateway serves.
    #[serde(default)]
    pub observed: Vec<String>,
}

impl Command for RestartSockets {
    type Reply = Restarted;
    const OBJECT: Object = Object::Gateway;
    const NAME: &'static str = "restart";
}

/// To `Community`: close the sockets of its observers. Idempotent likewise.
#[derive(Debug, Serialize, Deserialize)]
pub struct RestartObservers {}

impl Command for RestartObservers {
    type Reply = Restarted;
    const OBJECT: Object = Object::Community;
    const NAME: &'static str = "restart";
}

/// To `VoiceRoom`: close all sockets and forget the rooms. Idempotent likewise.
#[derive(Debug, Serialize, Deserialize)]
pub struct RestartCalls {}

impl Command for RestartCalls {
    type Reply = Restarted;
    const OBJECT: Object = Object::VoiceRoom;
    const NAME: &'static str = "restart";
}

/// To `Jetstream`: open a new connection to the stream, from the stored position. Idempotent.
#[derive(Debug, Serialize, Deserialize)]
pub struct Reconnect {}

impl Command for Reconnect {
    type Reply = Done;
    const OBJECT: Object = Object::Jetstream;
    const NAME: &'static str = "reconnect";
}
