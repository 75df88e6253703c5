//! What went wrong in a way that no answer tells: rows that were set aside, and ends of the program
//! that it did not choose. Health shows them.

use super::Statement;
use crate::wire::time::Micros;

/// Something that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Incident {
    /// An event of a commit could not be read back, or could not be told its community (Q21).
    Outbox,
    /// An event of a community's log could not be read back, or could not be delivered.
    Log,
    /// An event about a person could not be read back, or could not be told.
    People,
    /// What is remembered of a socket or a person could not be read back.
    Session,
    /// The program ended without choosing to, by a panic or a fault of the machine, and began anew.
    Restart,
}

impl Incident {
    /// The word under which it is counted. All that is set aside begins the same.
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

/// It happened `count` times; `place` is where.
pub fn count(incident: Incident, count: u32, place: &str, now: Micros) -> Statement {
    Statement::new(
        "INSERT INTO incidents (kind, count, last_at, example) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (kind) DO UPDATE SET count = count + excluded.count, last_at = excluded.last_at,
             example = excluded.example",
        [incident.kind().into(), i64::from(count).into(), now.shown().into(), place.into()],
    )
}
