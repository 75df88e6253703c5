//! The commands of the `Identities` object.

use serde::{Deserialize, Serialize};

use crate::durable::replies::Done;
use crate::platform::objects::{Command, Object};

/// To `Identities`: people may be due. Idempotent. Reply: they will be looked up.
#[derive(Debug, Serialize, Deserialize)]
pub struct Look {}

impl Command for Look {
    type Reply = Done;
    const OBJECT: Object = Object::Identities;
    const NAME: &'static str = "look";
}
