//! The commands of a `RepoSync` object.

use serde::{Deserialize, Serialize};

use crate::durable::replies::Done;
use crate::platform::objects::{Command, Object};

/// To `RepoSync`: read the repositories that are due. Idempotent. The reply comes before the work.
#[derive(Debug, Serialize, Deserialize)]
pub struct Work {}

impl Command for Work {
    type Reply = Done;
    const OBJECT: Object = Object::RepoSync;
    const NAME: &'static str = "work";
}
