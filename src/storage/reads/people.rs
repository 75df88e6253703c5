//! People: R04, R22.

use serde::{Deserialize, Serialize};

use super::super::{Fault, Statement, Store, rows};
use super::{Page, cut};
use crate::domain::rows::PersonRow;
use crate::wire::bodies;
use crate::wire::ids::Did;
use crate::wire::time::Micros;

/// A cached person.
#[derive(Clone, Debug, Deserialize)]
pub struct Cached {
    /// The cached values.
    pub person: PersonRow,
    /// When they last changed (H10).
    pub updated_at: String,
}

/// R04: a person whose profile is cached (I37).
pub async fn person(store: &impl Store, did: &Did) -> Result<Option<Cached>, Fault> {
    let statement = Statement::new(PERSON, [did.as_str().into()]);
    let found: Vec<Cached> = rows(store.read(&[statement]).await?.first())?;
    Ok(found.into_iter().next())
}

/// The position of an entry in R22: its time, then its channel.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReadPlace(String, String);

/// R22: the read position of a person in each channel, newest first, ties by channel. Those in
/// communities for members only are for them alone (`themselves`, X42).
pub async fn channel_reads(
    store: &impl Store,
    did: &str,
    themselves: bool,
    after: Option<&ReadPlace>,
    limit: i64,
) -> Result<Page<bodies::ChannelRead, ReadPlace>, Fault> {
    #[derive(Deserialize)]
    struct Found {
        channel_uri: String,
        cursor_at: Micros,
    }
    let (cursor_at, channel) = after.map_or(("~", ""), |ReadPlace(at, channel)| (at, channel));
    let statement = Statement::new(
        CHANNEL_READS,
        [did.into(), cursor_at.into(), channel.into(), (limit + 1).into(), i64::from(themselves).into()],
    );
    let found: Vec<Found> = rows(store.read(&[statement]).await?.first())?;
    let (found, end) = cut(found, limit, |row| ReadPlace(row.cursor_at.sortable(), row.channel_uri.clone()));
    let body =
        |row: Found| bodies::ChannelRead { channel_uri: row.channel_uri, cursor_at: row.cursor_at.shown() };
    Ok((found.into_iter().map(body).collect(), end))
}

const PERSON: &str = concat!(
    "SELECT json_object('person', ",
    person_json!("p"),
    ", 'updated_at', p.updated_at) AS row FROM people p WHERE p.did = ?1"
);

// One entry per person and channel, whatever the number of their records (I38). A channel that is no
// longer known may have belonged to any community of its owner.
const CHANNEL_READS: &str = "
    WITH marks(channel_uri, cursor_at, owner) AS (
        SELECT channel_uri, max(cursor_at), substr(channel_uri, 1, 5 + instr(substr(channel_uri, 6), '/') - 1)
        FROM channel_reads WHERE did = ?1 GROUP BY channel_uri),
    entries(channel_uri, cursor_at) AS (
        SELECT r.channel_uri, r.cursor_at FROM marks r WHERE ?5 OR NOT EXISTS (
            SELECT 1 FROM members_only x
            WHERE x.community_uri > r.owner || '/' AND x.community_uri < r.owner || '0'
              AND x.community_uri = coalesce((SELECT ch.community_uri FROM channels ch
                                               WHERE ch.uri = r.channel_uri), x.community_uri)))
    SELECT json_object('channel_uri', channel_uri, 'cursor_at', cursor_at) AS row
    FROM entries WHERE cursor_at < ?2 OR (cursor_at = ?2 AND channel_uri > ?3)
    ORDER BY cursor_at DESC, channel_uri LIMIT ?4";
