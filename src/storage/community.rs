//! The SQLite of a `Community` object as a whole: what each [`Keep`] writes, and what the object's memory reads back.
//!
//! The tables are those of `community_log`, `community_voice`, `bound_rooms` and `webhooks`.

use super::gateway::Run;
use super::{
    Fault, Inner, Statement, bound_rooms, community_log as log, community_voice as voice, rows, webhooks,
};
use crate::domain::community::devices::Devices;
use crate::domain::community::{Counters, Keep, Stored};
use crate::wire::ids::AtUri;
use crate::wire::time::Micros;

/// Creates the tables in a new object.
pub fn prepare(run: &Run<'_>) -> Result<(), Fault> {
    let tables = [log::SCHEMA, voice::SCHEMA, bound_rooms::SCHEMA, webhooks::SCHEMA];
    tables.into_iter().flatten().try_for_each(|schema| run(&Statement::new(schema, [])).map(drop))
}

/// Reads back what the memory holds.
pub fn load(run: &Run<'_>) -> Result<Stored, Fault> {
    Ok(Stored {
        counters: counters(run)?,
        listeners: rows(Some(&run(&log::listeners())?))?,
        in_voice: rows(Some(&run(&voice::members())?))?,
        devices: devices(run)?,
    })
}

/// Reads what devices do. A row that cannot be parsed is left out: its room sends it again.
fn devices(run: &Run<'_>) -> Result<Vec<(AtUri, Devices)>, Fault> {
    let found: Vec<(AtUri, Inner<Devices>)> = rows(Some(&run(&voice::devices())?))?;
    Ok(found.into_iter().filter_map(|(channel, Inner(devices))| Some((channel, devices?))).collect())
}

/// Reads the counters.
pub fn counters(run: &Run<'_>) -> Result<Counters, Fault> {
    let found: Vec<Counters> = rows(Some(&run(&log::counters())?))?;
    Ok(found.into_iter().next().unwrap_or_default())
}

/// What is written for a change at `now`.
pub fn statements(keep: &Keep, now: Micros) -> Vec<Statement> {
    match keep {
        Keep::Concern(concern, seq) => vec![bound_rooms::concern(concern, *seq)],
        Keep::MembersOnly(on) => vec![log::set_members_only(*on)],
        Keep::Listen(name, seq) => vec![log::listen(name, *seq)],
        Keep::Append(first, events) => log::append(*first, events.iter(), now),
        Keep::InVoice(did, channel, gateway) => vec![voice::join(did, channel, gateway)],
        Keep::OnlyInVoice(rooms) => vec![voice::only(rooms)],
        Keep::Devices(channel, devices) => vec![voice::devices_are(channel, devices)],
        Keep::Count(seq, announced) => vec![log::count(*seq, *announced)],
        Keep::Delivered(name, seq) => vec![log::delivered(name, *seq)],
        Keep::Leave(listener) => vec![log::leave(listener)],
    }
}
