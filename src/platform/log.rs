//! The log: one JSON line for each thing worth knowing, logged once, where it is handled.
//!
//! A line reads alone (`message`) and has fields to query. DIDs and AT-URIs are fine; the text
//! of a record, a token or a secret is never logged (C23).

use serde_json::json;
use worker::{console_error, console_log, console_warn};

use crate::storage::Fault;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// As it should be.
    Info,
    /// Somebody may want to look.
    Warn,
    /// The world failed.
    Error,
}

/// Writes a line. `fields` is a JSON object.
pub fn line(level: Level, message: &str, fields: &serde_json::Value) {
    let name = match level {
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    };
    let line = json!({ "level": name, "message": message, "fields": fields });
    match level {
        Level::Info => console_log!("{line}"),
        Level::Warn => console_warn!("{line}"),
        Level::Error => console_error!("{line}"),
    }
}

/// A fault that is handled here: what happens next stands in `then`.
pub fn fault(fault: &Fault, then: &str) {
    line(Level::Error, &format!("{} failed; {then}", fault.doing), &json!({ "because": fault.because }));
}
