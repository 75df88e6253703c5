//! The log: one JSON line per noteworthy event, logged once, where it is handled.
//!
//! A line begins with its time; `message` is readable alone and comes before the fields, which are
//! for queries. What is wrong has a code (`domain::fault_code`). DIDs and AT-URIs are allowed; the text
//! of a record, a token or a secret is never logged (C23).

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::json;
use worker::{console_error, console_log, console_warn};

use super::clock::now;
use crate::domain::fault_code::Code;
use crate::storage::Fault;

/// The severity (C23).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Every step.
    Trace,
    /// Details for debugging.
    Debug,
    /// Normal operation.
    Info,
    /// An operator may want to look.
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

    /// The level with this name in `LOG_LEVEL`.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.name() == name)
    }
}

/// The most messages that [`once`] remembers: one per variable is enough.
const ONCE_MAX: usize = 100;

thread_local! {
    // Plain data only: nothing here belongs to a request (platform facts 5.5).
    static LEAST: Cell<Level> = const { Cell::new(Level::Info) };
    static MADE: RefCell<BTreeSet<String>> = const { RefCell::new(BTreeSet::new()) };
}

/// Sets the lowest level that this isolate logs.
pub fn at_least(level: Level) {
    LEAST.set(level);
}

/// A line, in the order in which it is written.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    level: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<Code>,
    message: &'a str,
    fields: &'a serde_json::Value,
}

/// Writes a line about nothing that is wrong. `fields` is a JSON object.
pub fn line(level: Level, message: &str, fields: &serde_json::Value) {
    write(level, None, message, fields);
}

/// Writes a line about something that is wrong; docs/operating.md says what to do.
pub fn problem(code: Code, level: Level, message: &str, fields: &serde_json::Value) {
    write(level, Some(code), message, fields);
}

fn write(level: Level, code: Option<Code>, message: &str, fields: &serde_json::Value) {
    if level < LEAST.get() {
        return;
    }
    let line = Line { time: now().shown(), level: level.name(), code, message, fields };
    let line = serde_json::to_string(&line).unwrap_or_default();
    match level {
        Level::Trace | Level::Debug | Level::Info => console_log!("{line}"),
        Level::Warn => console_warn!("{line}"),
        Level::Error => console_error!("{line}"),
    }
}

/// Writes a line about a variable the first time that this isolate logs it (C30).
pub fn once(level: Level, message: &str, fields: &serde_json::Value) {
    let is_new = MADE.with_borrow_mut(|made| made.len() < ONCE_MAX && made.insert(message.to_owned()));
    if is_new {
        problem(Code::Variable, level, message, fields);
    }
}

/// Logs a fault that is handled here; `then` says what happens next.
pub fn fault(fault: &Fault, then: &str) {
    let message = format!("{} failed; {then}", fault.doing);
    problem(fault.code(), Level::Error, &message, &json!({ "because": fault.because }));
}
