//! The SQLite of a `Community` object, voice part: who is in which channel, and what their devices do.
//!
//! Pinned: an existing object keeps these tables. A change adds a table or a column with a default,
//! and never edits an old one.

use super::{Param, Statement};
use crate::domain::community::devices::Devices;
use crate::domain::voice::Rooms;
use crate::wire::ids::{AtUri, Did};

/// Creates the tables in a new object. `gateway` is the gateway that joined the person: another one,
/// from before a change of the number of gateways, cannot remove them.
pub const SCHEMA: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS voice (
        did TEXT PRIMARY KEY, channel TEXT NOT NULL, gateway TEXT NOT NULL)",
    // What the devices of people in the room of a channel do (U30): an object by DID.
    "CREATE TABLE IF NOT EXISTS voice_devices (channel TEXT PRIMARY KEY, devices TEXT NOT NULL)",
];

/// Everybody in voice, as `[did, channel, gateway]`.
pub fn members() -> Statement {
    Statement::new("SELECT json_array(did, channel, gateway) AS row FROM voice", [])
}

/// Puts a person into a channel.
pub fn join(did: &Did, channel: &AtUri, gateway: &str) -> Statement {
    Statement::new(
        "INSERT INTO voice (did, channel, gateway) VALUES (?1, ?2, ?3)
         ON CONFLICT (did) DO UPDATE SET channel = excluded.channel, gateway = excluded.gateway",
        [did.as_str().into(), channel.as_str().into(), gateway.into()],
    )
}

/// Removes everybody who is not in `rooms`.
pub fn only(rooms: &Rooms) -> Statement {
    let people: Vec<Did> = rooms.lists().into_values().flatten().collect();
    Statement::new(
        "DELETE FROM voice WHERE did NOT IN (SELECT value FROM json_each(?1))",
        [Param::json(&people)],
    )
}

/// What devices do, as `[channel, devices]`, the latter as a text.
pub fn devices() -> Statement {
    Statement::new("SELECT json_array(channel, devices) AS row FROM voice_devices", [])
}

/// What the devices of people in a room do; none deletes the row.
pub fn devices_are(channel: &AtUri, devices: &Devices) -> Statement {
    if devices.is_empty() {
        return Statement::new("DELETE FROM voice_devices WHERE channel = ?1", [channel.as_str().into()]);
    }
    Statement::new(
        "INSERT INTO voice_devices (channel, devices) VALUES (?1, ?2)
         ON CONFLICT (channel) DO UPDATE SET devices = excluded.devices",
        [channel.as_str().into(), Param::json(devices)],
    )
}
