//! The log: one JSON line for each thing worth knowing, logged once, where it is handled.
//!
//! A line reads alone (`message`) and has fields to query. DIDs and AT-URIs are fine; the text
//! of a record, a token or a secret is never logged (C23).

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use serde_json::json;
use worker::{console_error, console_log, console_warn};

use crate::storage::Fault;

/// How bad it is (C23).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Each step.
    Trace,
    /// What helps to find a fault.
    Debug,
    /// As it should be.
    Info,
    /// Somebody may want to look.
    Warn,
    /// The database, network or platform failed.
    Error,
}

impl Level {
    const ALL: [Self; 5] = [Self::Trace, Self::Debug, Self::Info, Self::Warn, Self::Error];

    fn name(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }

    /// The level of this name, as `LOG_LEVEL` has it.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.name() == name)
    }
}

/// Remarks remembered as made ([`once`]); there are as many as variables.
const ONCE_MAX: usize = 100;

thread_local! {
    // Plain data only: nothing here belongs to a request (platform facts 5.5).
    static LEAST: Cell<Level> = const { Cell::new(Level::Info) };
    static MADE: RefCell<BTreeSet<String>> = const { RefCell::new(BTreeSet::new()) };
}

/// Writes lines of this level and worse from now on, in this isolate.
pub fn at_least(level: Level) {
    LEAST.set(level);
}

/// Writes a line. `fields` is a JSON object.
pub fn line(level: Level, message: &str, fields: &serde_json::Value) {
    if level < LEAST.get() {
        return;
    }
    let line = json!({ "level": level.name(), "message": message, "fields": fields });
    match level {
        Level::Trace | Level::Debug | Level::Info => console_log!("{line}"),
        Level::Warn => console_warn!("{line}"),
        Level::Error => console_error!("{line}"),
    }
}

/// Writes a line the first time this isolate has it to say (C30).
pub fn once(level: Level, message: &str, fields: &serde_json::Value) {
    let is_new = MADE.with_borrow_mut(|made| made.len() < ONCE_MAX && made.insert(message.to_owned()));
    if is_new {
        line(level, message, fields);
    }
}

/// A fault that is handled here: what happens next stands in `then`.
pub fn fault(fault: &Fault, then: &str) {
    line(Level::Error, &format!("{} failed; {then}", fault.doing), &json!({ "because": fault.because }));
}
