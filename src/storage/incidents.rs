//! Faults that no caller sees: rows that were set aside, and unplanned ends of the program. Health
//! shows them.

use super::Statement;
use crate::wire::time::Micros;

/// A counted fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Incident {
    /// An outbox event could not be read back, or not be delivered to its community (Q21).
    Outbox,
    /// An event in a community's log could not be read back, or not be delivered.
    Log,
    /// An event about a person could not be read back, or not be delivered.
    People,
    /// The stored state of a socket or a person could not be read back.
    Session,
    /// The program ended by a panic or a fault of the machine, and restarted.
    Restart,
}

impl Incident {
    /// The word under which it is counted. Those of rows that are set aside share a prefix.
    pub fn kind(self) -> &'static str {
        match self {
            Incident::Outbox => "set_aside_outbox",
            Incident::Log => "set_aside_log",
            Incident::People => "set_aside_people",
            Incident::Session => "set_aside_session",
            Incident::Restart => "restart",
        }
    }
}

/// Counts an incident `count` times, at `place`.
pub fn count(incident: Incident, count: u32, place: &str, now: Micros) -> Statement {
    Statement::new(
        "INSERT INTO incidents (kind, count, last_at, example) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (kind) DO UPDATE SET count = count + excluded.count, last_at = excluded.last_at,
             example = excluded.example",
        [incident.kind().into(), i64::from(count).into(), now.shown().into(), place.into()],
    )
}
