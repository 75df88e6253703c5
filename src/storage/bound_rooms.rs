//! The SQLite of a `Community` object: the signaling rooms of its voice channels (S20).
//!
//! After an event that may end a right, the community asks each occupied room to check its peers'
//! rights. Pinned, as [`super::community_log`].

use serde::Deserialize;

use super::{Param, Statement};
use crate::domain::voice_right::Concern;
use crate::wire::ids::AtUri;

/// Creates the table, if the object is new.
pub const SCHEMA: &[&str] = &[
    // `bindings` counts the room's requests, so that a late "nobody is here" does not undo a newer
    // "somebody is". `due` is the seq of an event after which the room has not checked yet.
    "CREATE TABLE IF NOT EXISTS rooms (
        name TEXT PRIMARY KEY, bindings INTEGER NOT NULL, due INTEGER)",
];

/// A room that must check rights.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Due {
    /// Its name: the AT-URI of a channel.
    pub name: AtUri,
    /// The number of its requests so far.
    pub bindings: i64,
    /// The `seq` of the event that caused this.
    pub due: i64,
}

/// A room asks to be notified.
pub fn bind(room: &AtUri) -> Statement {
    Statement::new(
        "INSERT INTO rooms (name, bindings) VALUES (?1, 1)
         ON CONFLICT (name) DO UPDATE SET bindings = bindings + 1",
        [room.as_str().into()],
    )
}

/// The event `seq` may end rights in these rooms.
pub fn concern(concern: &Concern, seq: u64) -> Statement {
    let seq = Param::Int(i64::try_from(seq).unwrap_or(i64::MAX));
    match concern {
        Concern::Community => Statement::new("UPDATE rooms SET due = ?1", [seq]),
        Concern::Channel { uri, fresh: false } => {
            Statement::new("UPDATE rooms SET due = ?2 WHERE name = ?1", [uri.as_str().into(), seq])
        }
        Concern::Channel { uri, fresh: true } => Statement::new(
            "INSERT INTO rooms (name, bindings, due) VALUES (?1, 0, ?2)
             ON CONFLICT (name) DO UPDATE SET due = ?2",
            [uri.as_str().into(), seq],
        ),
    }
}

/// The rooms that must check, each as [`Due`].
pub fn due() -> Statement {
    Statement::new(
        "SELECT json_object('name', name, 'bindings', bindings, 'due', due) AS row
         FROM rooms WHERE due IS NOT NULL ORDER BY name",
        [],
    )
}

/// The room has checked. An empty room is deleted, unless it asked again in the meantime; a later
/// due event stays due.
pub fn looked(room: &Due, occupied: bool) -> Vec<Statement> {
    let done = Statement::new(
        "UPDATE rooms SET due = NULL WHERE name = ?1 AND due = ?2",
        [room.name.as_str().into(), room.due.into()],
    );
    let forgotten = Statement::new(
        "DELETE FROM rooms WHERE name = ?1 AND bindings = ?2 AND due IS NULL",
        [room.name.as_str().into(), room.bindings.into()],
    );
    [Some(done), (!occupied).then_some(forgotten)].into_iter().flatten().collect()
}
