//! What the tasks that send to webhooks share ([`super::webhooks`]). Nothing in it is borrowed over an await.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

use crate::storage::webhooks::Target;
use crate::wire::time::Micros;

/// What the tasks share.
#[derive(Default)]
pub(super) struct Webhooks {
    /// The ids; `None` until they are read.
    pub(super) ids: RefCell<Option<BTreeSet<String>>>,
    /// Those to which a task sends.
    pub(super) sending: RefCell<BTreeSet<String>>,
    /// Where they lead, and when that was read.
    pub(super) targets: RefCell<Option<(Rc<[Target]>, Micros)>>,
    /// How often somebody changed that: what was read before counts no more.
    pub(super) changes: Cell<u64>,
}
