//! Communities that only members may read (X40): the setting, and where people stand there.

use super::moderators::banned_now;
use super::reads::communities::{admitted, approved};
use super::{Fault, Param, Statement, Store, rows};
use crate::domain::members_only::Place;
use crate::domain::subscriptions::{Kind, may_be_known};
use crate::wire::ids::{AtUri, Did};
use crate::wire::time::Micros;

/// From now on only members read the community, or everybody.
pub fn set(community: &AtUri, on: bool, now: Micros) -> Statement {
    if on {
        Statement::new(
            "INSERT INTO members_only (community_uri, set_at) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
            [community.as_str().into(), now.shown().into()],
        )
    } else {
        Statement::new("DELETE FROM members_only WHERE community_uri = ?1", [community.as_str().into()])
    }
}

/// Whether only members read the community that this text names, known or not.
pub async fn is_set(store: &impl Store, community: &str) -> Result<bool, Fault> {
    let statement =
        Statement::new("SELECT 'true' AS row FROM members_only WHERE community_uri = ?1", [community.into()]);
    let found: Vec<bool> = rows(store.read(&[statement]).await?.first())?;
    Ok(!found.is_empty())
}

/// Where these people stand in a community at the time `now`.
pub async fn places(
    store: &impl Store,
    community: &AtUri,
    people: &[Did],
    now: Micros,
) -> Result<Vec<Place>, Fault> {
    let statement = Statement::new(
        PLACES,
        [
            community.as_str().into(),
            Param::json(&people),
            now.sortable().into(),
            community.authority().as_str().into(),
        ],
    );
    rows(store.read(&[statement]).await?.first())
}

/// The most communities behind a name of which it is asked who may read them. Anybody may call a channel
/// what another is called.
pub const BEHIND_MAX: usize = 16;

/// The communities that each key of a subscription may mean, at most one more than [`BEHIND_MAX`], each with
/// whether only members read it: a community that is for members only, known or not, or those of the channels
/// of that name. Nothing is asked about what can be neither.
pub async fn behind(
    store: &impl Store,
    keys: &[(Kind, Option<&str>)],
) -> Result<Vec<Vec<(AtUri, bool)>>, Fault> {
    let limit = i64::try_from(BEHIND_MAX).unwrap_or(i64::MAX).saturating_add(1);
    let question = |(kind, key): &(Kind, Option<&str>)| {
        let key = key.filter(|key| may_be_known(*kind, key))?;
        match kind {
            Kind::Community => Some(Statement::new(BEHIND_COMMUNITY, [key.into()])),
            Kind::Message => Some(Statement::new(BEHIND_CHANNEL, [key.into(), limit.into()])),
            Kind::UserStatus => None,
        }
    };
    let questions: Vec<Option<Statement>> = keys.iter().map(question).collect();
    let asked: Vec<Statement> = questions.iter().flatten().cloned().collect();
    let answers = if asked.is_empty() { Vec::new() } else { store.read(&asked).await? };
    let mut answers = answers.iter();
    questions.iter().map(|asked| asked.as_ref().map_or(Ok(Vec::new()), |_| rows(answers.next()))).collect()
}

// In the newest form who is admitted (N12), in the old form who is approved (I40).
const PLACES: &str = concat!(
    "SELECT json_object('did', w.value,
        'banned', json(iif(",
    banned_now!("?1", "w.value", "?3"),
    ", 'true', 'false')),
        'moderates', json(iif(EXISTS (SELECT 1 FROM moderators o
            WHERE o.community_uri = ?1 AND o.did = w.value), 'true', 'false')),
        'approved', json(iif(CASE WHEN substr(?1, -5) = '/self' THEN ",
    admitted!("?1", "w.value"),
    " ELSE ",
    approved!("?1", "w.value", "?4"),
    " END, 'true', 'false')),
        'away', json(iif(EXISTS (SELECT 1 FROM people p
            WHERE p.did = w.value AND NOT p.active), 'true', 'false'))) AS row
    FROM json_each(?2) w"
);

const BEHIND_COMMUNITY: &str = "SELECT json_array(community_uri, json(iif(true, 'true', 'false'))) AS row
     FROM members_only WHERE community_uri = ?1";

const BEHIND_CHANNEL: &str = "
    SELECT json_array(c.uri, json(iif(EXISTS (
        SELECT 1 FROM members_only x WHERE x.community_uri = c.uri), 'true', 'false'))) AS row
    FROM channels ch JOIN communities c ON c.uri = ch.community_uri
    WHERE NOT c.hidden AND (ch.uri = ?1 OR ch.rkey = ?1) LIMIT ?2";
