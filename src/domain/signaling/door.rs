//! The checks of every frame before it reaches a room (S11, S16).

use crate::domain::frame_budget::{Budget, Rate, Verdict};
use crate::wire::signaling::{ClientFrame, FRAME_MAX, ServerFrame, read};
use crate::wire::time::Micros;

/// S16.
pub const RATE: Rate = Rate { per_second: 50, burst: 200 };

/// Close codes that the server uses (A19, S16, S19, S20).
pub mod close {
    /// Too many frames, or no right to be in the room.
    pub const POLICY: u16 = 1008;
    /// The peer sent signs of life and then stopped.
    pub const GONE: u16 = 1001;
    /// The room's object is gone: reconnect.
    pub const RESTART: u16 = 1012;
    /// The peer cannot keep up (S19).
    pub const TOO_SLOW: u16 = 1013;
}

/// The most unsent bytes of a peer, beyond which it counts as too slow (S19): the offers of a full
/// room at 8 kB each are half of that, and 64 such peers fit into an object's memory (platform
/// facts 2.8).
pub const UNSENT_MAX: u32 = 1024 * 1024;

/// Why a frame is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The error frame (S10).
    pub reply: String,
    /// Whether the socket is closed after it (S16).
    pub close: bool,
}

/// An error frame.
pub fn error(message: &str) -> String {
    ServerFrame::Error { message }.text()
}

/// Admits a frame. The first rule that applies refuses it:
///   1. over the budget (`None` if it is counted elsewhere);
///   2. longer than [`FRAME_MAX`];
///   3. unreadable (S11).
pub fn admit(budget: Option<&mut Budget>, text: Option<&str>, now: Micros) -> Result<ClientFrame, Refused> {
    let refuse = |message: &str, close| Err(Refused { reply: error(message), close });
    match budget.map_or(Verdict::Fine, |budget| budget.take(RATE, now)) {
        Verdict::Fine => {}
        Verdict::Over => return refuse("Rate limit exceeded", false),
        Verdict::Enough => return refuse("Rate limit exceeded", true),
    }
    if text.is_some_and(|text| text.len() > FRAME_MAX) {
        return refuse("Frame too large", false);
    }
    read(text).or_else(|invalid| refuse(&format!("Invalid signal: {invalid}"), false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s16_s11_what_is_refused_first() {
        let long = format!("\"{}\"", "x".repeat(FRAME_MAX));
        let longest = format!(r#"{{"type":"heartbeat","x":"{}"}}"#, "x".repeat(FRAME_MAX - 26));
        assert_eq!(longest.len(), FRAME_MAX + 1, "one byte too many");
        let mut budget = Budget::default();
        let mut said = |text: Option<&str>| {
            admit(Some(&mut budget), text, Micros(0)).map_err(|refused| (refused.reply, refused.close))
        };
        let refused = |message: &str| (error(message), false);
        assert_eq!(said(Some(&long)).unwrap_err(), refused("Frame too large"));
        assert_eq!(said(Some(&longest)).unwrap_err(), refused("Frame too large"));
        assert!(said(Some(&longest.replacen("xx", "x", 1))).is_ok(), "64 KiB exactly");
        let binary = "Invalid signal: a binary frame; frames are JSON text";
        assert_eq!(said(None).unwrap_err(), refused(binary));
        for _ in 4..200 {
            assert_eq!(said(Some("{}")).unwrap_err(), refused("Invalid signal: type is missing"));
        }
        for _ in 0..599 {
            assert_eq!(said(Some(&long)).unwrap_err(), refused("Rate limit exceeded"), "before its size");
        }
        assert_eq!(said(Some("{}")).unwrap_err(), (error("Rate limit exceeded"), true));
        assert!(admit(None, Some(r#"{"type":"heartbeat"}"#), Micros(0)).is_ok(), "somebody else counts");
    }
}
