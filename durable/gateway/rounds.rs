//! Work of a `Gateway` that has a time, and that one task at a time does.

use std::cell::Cell;

use crate::wire::time::Micros;

/// See the module. When it has just woken, the object does not know when something is due: it looks.
#[derive(Default)]
pub(super) struct Round {
    /// When something may be due next.
    pub(super) next: Cell<Micros>,
    /// A task does it.
    pub(super) runs: Cell<bool>,
}

/// When the next one is due, as the database answers.
pub(super) fn next(answer: &[String]) -> Option<Micros> {
    answer.first().and_then(|text| text.parse().ok()).map(Micros)
}
