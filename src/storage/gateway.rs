//! The SQLite of a `Gateway` object: performs each [`Keep`], and loads the stored state.

use super::{
    Fault, Inner, Statement, gateway_digests as digests, gateway_people as people, gateway_pushes as pushes,
    gateway_sessions as sessions, rows,
};
use crate::domain::gateway::session::Session;
use crate::domain::gateway::{Keep, Stored, room_to_make};
use crate::domain::person::Person;
use crate::wire::ids::Did;
use crate::wire::time::Micros;

/// Runs a statement in the object's database, and returns its `row` texts.
pub type Run<'r> = dyn Fn(&Statement) -> Result<Vec<String>, Fault> + 'r;

/// Writes one change.
pub fn keep(run: &Run<'_>, keep: &Keep) -> Result<(), Fault> {
    if let Keep::TidyTraces(since) = keep {
        return tidy_traces(run, *since);
    }
    statements(keep).iter().try_for_each(|statement| run(statement).map(drop))
}

fn statements(keep: &Keep) -> Vec<Statement> {
    match keep {
        Keep::Session(id, session) => vec![sessions::keep(*id, session)],
        Keep::Subscribed(id, kind, key) => vec![sessions::subscribe(*id, *kind, key.as_deref())],
        Keep::Unsubscribed(id, kind, key) => sessions::unsubscribe(*id, *kind, key.as_deref()),
        Keep::TakenBack(id, kind, key) => sessions::take_back(*id, *kind, key.as_deref()),
        Keep::Inherited(id, subscriptions) => sessions::inherit(*id, subscriptions),
        Keep::Ended(id) => {
            let mut over = sessions::close(*id);
            over.push(people::silence(*id));
            over
        }
        Keep::Sign(id, at, beats) => vec![people::sign(*id, *at, *beats)],
        Keep::Person(did, person) => vec![people::keep(did, person)],
        Keep::PersonOver(did) => vec![people::forget(did)],
        Keep::Received(community, seq) => vec![sessions::received(community, *seq)],
        Keep::Detached(community) => vec![sessions::detach(community)],
        Keep::Meanings(names, channels) => sessions::mean(names, channels),
        Keep::Trace(did, at, trace) => people::leave(did, &trace.origin.address, *at, trace),
        Keep::TidyTraces(since) => vec![people::forget_traces(*since)],
        Keep::Changed(publication, at) => vec![people::changed(publication, *at)],
        Keep::TidyChanges(since) => people::forget_changes(*since),
        Keep::Hold(did, live, event) => vec![people::hold(did, *live, event)],
        Keep::Released(id) => vec![people::release(*id)],
        Keep::Publish(publication) => vec![people::publish(publication)],
        Keep::Chosen(did, Some(state), at) => people::choose(did, *state, *at),
        Keep::Chosen(did, None, _) => vec![people::unchoose(did)],
        Keep::Records(through) => vec![sessions::keep_records(*through)],
        Keep::PublishedBy(from, through) => vec![people::published_by(from, *through)],
        Keep::Erased(did, last) => {
            let mut all = people::erase(did, *last);
            all.extend([digests::forget(did), pushes::forget(did)]);
            all
        }
        Keep::Run(run) => vec![people::runs(run)],
    }
}

/// Deletes traces from before `since`, and those over the limits (Q16).
fn tidy_traces(run: &Run<'_>, since: Micros) -> Result<(), Fault> {
    run(&people::forget_traces(since))?;
    loop {
        let held: Vec<(i64, i64)> = rows(Some(&run(&people::traces_held())?))?;
        let over = held.first().and_then(|(count, bytes)| room_to_make(*count, *bytes));
        let Some(over) = over else { return Ok(()) };
        run(&people::make_room(over))?;
    }
}

/// Creates the tables in a new object, and loads the stored state. Events about people that wait or
/// are not delivered yet stay in their rows.
pub fn load(run: &Run<'_>) -> Result<Stored, Fault> {
    for schema in people::SCHEMA.iter().chain(sessions::SCHEMA).chain(digests::SCHEMA).chain(pushes::SCHEMA) {
        run(&Statement::new(schema, []))?;
    }
    let subscribed = rows::<(i64, String, String)>(Some(&run(&sessions::subscribed())?))?;
    let subscribed = subscribed.iter().filter_map(|(id, kind, key)| {
        let (kind, key) = sessions::of_row(kind, key)?;
        Some((*id, kind, key.map(str::to_owned)))
    });
    let signs = rows::<(i64, i64, bool)>(Some(&run(&people::signs())?))?;
    let stored = rows::<(i64, Inner<Session>)>(Some(&run(&sessions::sessions())?))?;
    let persons = rows::<(Did, Inner<Person>)>(Some(&run(&people::persons())?))?;
    let records: Vec<i64> = rows(Some(&run(&sessions::records())?))?;
    Ok(Stored {
        subscribed: subscribed.collect(),
        signs: signs.into_iter().map(|(id, at, beats)| (id, Micros(at), beats)).collect(),
        sessions: stored.into_iter().map(|(id, session)| (id, session.0)).collect(),
        channels: rows(Some(&run(&sessions::channels())?))?,
        communities: rows(Some(&run(&sessions::communities())?))?,
        persons: persons.into_iter().map(|(did, person)| (did, person.0)).collect(),
        observed: rows(Some(&run(&people::observed())?))?,
        records: records.first().copied().unwrap_or(0),
        run: run(&people::run())?.into_iter().next(),
    })
}

/// Stores a new session and returns its number. The number is above `given`, the last one assigned
/// since the object woke, and differs from that of every stored trace: late work for a closed
/// socket must not reach another socket with the same number.
pub fn open(run: &Run<'_>, session: &Session, given: i64) -> Result<i64, Fault> {
    let answer = run(&sessions::open(session, given))?;
    let id = answer.first().and_then(|text| text.parse::<i64>().ok());
    id.ok_or_else(|| Fault::new("opening a session", "it got no number"))
}

/// When the socket of the oldest stored trace closed.
pub fn oldest_trace(run: &Run<'_>) -> Result<Option<Micros>, Fault> {
    let oldest = run(&people::oldest_trace())?;
    Ok(oldest.first().and_then(|text| text.parse::<i64>().ok()).map(Micros))
}
