//! What the `Identities` object may be asked.

use serde::{Deserialize, Serialize};

use crate::durable::replies::Done;
use crate::platform::objects::{Command, Object};

/// To `Identities`: somebody is due to be looked at. Idempotent. Reply: they will be.
#[derive(Debug, Serialize, Deserialize)]
pub struct Look {}

impl Command for Look {
    type Reply = Done;
    const OBJECT: Object = Object::Identities;
    const NAME: &'static str = "look";
}
