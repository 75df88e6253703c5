//! The presence of people in D1: what a gateway reads, and what it writes.
//!
//! Only a person's gateway writes `state` and `preferred_state`; the stream's commits leave both
//! alone. A person has a row in `people` once they have a record or a proof (I37). Somebody who
//! only named a DID is a visitor, with a row of its own that is deleted when they leave; the commit
//! that makes them known copies its state.

use serde::{Deserialize, Serialize};

use super::reads::communities::joined_it;
use super::reads::person_json;
use super::{Fault, Param, Statement, Store, rows};
use crate::domain::erasure::mark;
use crate::domain::gateway::settling::Known;
pub use crate::domain::gateway::settling::Shown;
use crate::domain::person::Stored;
use crate::domain::presence::{COMMUNITIES_MAX, State};
use crate::domain::rows::PersonRow;
use crate::wire::ids::{AtUri, Did};
use crate::wire::time::Micros;

/// A person, as their gateway loads them.
#[derive(Clone, Debug, Deserialize)]
pub struct Found {
    /// Who.
    pub did: Did,
    /// The state they chose, if any.
    pub preferred: Option<State>,
    /// Their row, if they are cached.
    pub person: Option<PersonRow>,
    /// The state of a visitor.
    pub visitor: Option<State>,
    /// The communities through which they are watched.
    pub watched: Watched,
}

/// The communities that a person owns, or is a member of and not banned from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Watched {
    /// Those that everybody reads.
    pub open: Vec<AtUri>,
    /// Those for members only (X43).
    pub closed: Vec<AtUri>,
    /// Of both, those in which they only wait to be admitted (N192).
    #[serde(default)]
    pub pending: Vec<AtUri>,
}

impl Found {
    /// What the database holds of their presence.
    pub fn stored(&self) -> Stored {
        let current = self.person.as_ref().and_then(|row| row.state.as_deref()).and_then(State::named);
        Stored { preferred: self.preferred, current: current.or(self.visitor) }
    }

    /// Whether their account is active, as far as is known.
    pub fn is_active(&self) -> bool {
        self.person.as_ref().is_none_or(|row| row.active)
    }

    /// What the database knows of them; links on the CDN lead to `cdn`.
    pub fn known(self, cdn: &str) -> Known {
        Known {
            stored: self.stored(),
            exists: self.person.is_some(),
            active: self.is_active(),
            shown: self.person.as_ref().map(|row| row.shown(cdn)).unwrap_or_default(),
            did: self.did,
            communities: self.watched.open,
            closed: self.watched.closed,
            pending: self.watched.pending,
        }
    }
}

/// Loads people, known or not.
pub async fn people(store: &impl Store, dids: &[Did]) -> Result<Vec<Found>, Fault> {
    let statement = Statement::new(PEOPLE, [Param::json(&dids), i64::from(COMMUNITIES_MAX).into()]);
    rows(store.read(&[statement]).await?.first())
}

/// A state, and the hash that shows whether its person is erased.
#[derive(Serialize)]
struct Marked<'s> {
    #[serde(flatten)]
    state: &'s Shown,
    hash: String,
}

/// Stores states: people's in their rows, visitors' in theirs while they are present, and no erased
/// person's (I57).
pub fn store(states: &[Shown], now: Micros) -> Vec<Statement> {
    let marked: Vec<_> = states.iter().map(|state| Marked { state, hash: mark(&state.did) }).collect();
    let values = || Param::json(&marked);
    vec![
        Statement::new(
            "INSERT INTO people (did, preferred_state, state, updated_at)
             SELECT value ->> 'did', value ->> 'preferred', value ->> 'current', ?2 FROM json_each(?1)
             WHERE (value ->> 'exists' OR EXISTS (SELECT 1 FROM people WHERE did = value ->> 'did'))
               AND NOT EXISTS (SELECT 1 FROM erasures WHERE hash = value ->> 'hash')
             ON CONFLICT (did) DO UPDATE SET preferred_state = excluded.preferred_state, state = excluded.state",
            [values(), now.shown().into()],
        ),
        Statement::new(
            "INSERT INTO visitors (did, preferred_state, state)
             SELECT value ->> 'did', value ->> 'preferred', value ->> 'current' FROM json_each(?1)
             WHERE value ->> 'current' IN ('online', 'away', 'dnd')
               AND NOT EXISTS (SELECT 1 FROM erasures WHERE hash = value ->> 'hash')
             ON CONFLICT (did) DO UPDATE SET preferred_state = excluded.preferred_state, state = excluded.state",
            [values()],
        ),
        Statement::new(
            "DELETE FROM visitors WHERE did IN (
                SELECT value ->> 'did' FROM json_each(?1)
                WHERE value ->> 'current' = 'offline' OR EXISTS (SELECT 1 FROM people WHERE did = value ->> 'did'))",
            [values()],
        ),
    ]
}

// `watched`: at most ?2 communities that everybody reads, and at most ?2 for members only.
const PEOPLE: &str = concat!(
    "SELECT json_object('did', w.value, 'preferred', coalesce(p.preferred_state, v.preferred_state),
        'visitor', v.state, 'person', ",
    person_json!("p"),
    ", 'watched', (
        SELECT json_object('open', json_group_array(uri) FILTER (WHERE NOT is_closed),
                           'closed', json_group_array(uri) FILTER (WHERE is_closed),
                           'pending', json_group_array(uri) FILTER (WHERE is_pending))
        FROM (SELECT uri, is_closed, is_pending, row_number() OVER (PARTITION BY is_closed ORDER BY uri) AS place
              FROM (SELECT u.uri, EXISTS (SELECT 1 FROM members_only x WHERE x.community_uri = u.uri) AS is_closed,
                (SELECT c.owner_did <> w.value AND NOT (",
    joined_it!("w.value"),
    ") FROM communities c WHERE c.uri = u.uri) AS is_pending FROM (
                SELECT c.uri FROM communities c WHERE c.owner_did = w.value AND NOT c.hidden
                UNION SELECT c.uri FROM memberships m JOIN communities c ON c.uri = m.community_uri
                 WHERE m.member_did = w.value AND NOT m.hidden AND NOT c.hidden AND NOT EXISTS (
                    SELECT 1 FROM bans b WHERE b.community_uri = c.uri AND b.member_did = m.member_did)
                UNION SELECT c.uri FROM members m JOIN communities c ON c.uri = m.community_uri
                 WHERE m.member_did = w.value AND NOT m.hidden AND NOT m.withdrawn AND NOT c.hidden AND NOT EXISTS (
                    SELECT 1 FROM bans b WHERE b.community_uri = c.uri AND b.member_did = m.member_did)) u))
        WHERE place <= ?2)) AS row
    FROM json_each(?1) w LEFT JOIN people p ON p.did = w.value LEFT JOIN visitors v ON v.did = w.value"
);
