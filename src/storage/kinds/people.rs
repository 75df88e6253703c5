//! What people write about themselves: actor records (I33) and read marks (I38).

use super::{Asked, Purge, Stored, purges};
use crate::domain::editions::Part;
use crate::domain::rows::{ActorRow, ChannelReadRow};
use crate::storage::Param;
use crate::wire::ids::Collection;

/// All actor records of a person count as one entry.
impl Stored for ActorRow {
    const PART: Option<Part> = None;
    const READ: &'static str = "
    SELECT json_object('uri', uri, 'did', did, 'rev', rev, 'indexed_at', indexed_at) AS row
    FROM actors WHERE uri IN (SELECT value FROM json_each(?1))";
    const STORE: &'static str = "
    INSERT INTO actors (uri, did, rev, indexed_at, cid)
    SELECT value ->> 'uri', value ->> 'did', value ->> 'rev', value ->> 'indexed_at', value ->> 'cid'
    FROM json_each(?1) WHERE true
    ON CONFLICT (uri) DO UPDATE SET rev = excluded.rev, indexed_at = excluded.indexed_at, cid = coalesce(excluded.cid, cid)
    WHERE excluded.rev >= rev";
    const PURGE: &'static [Purge] = purges!(
        "DELETE FROM actors WHERE uri IN (
             SELECT a.uri FROM json_each(?1) d CROSS JOIN actors a ON a.did = d.value LIMIT ?2)"
    );
    const HIDE: Option<&'static str> = None;
    const KEPT: Option<i64> = Some(20);

    fn asked(asked: &Asked) -> Vec<Param> {
        vec![asked.touched(Collection::ActorData)]
    }
}

/// Clients write one mark for each channel.
impl Stored for ChannelReadRow {
    const PART: Option<Part> = Some(Part::Marks);
    // The marks that the batch writes (?1), and all of the same person and channel (?2: [did,
    // channel] pairs).
    const READ: &'static str = "
    WITH wanted(uri) AS (
        SELECT value FROM json_each(?1)
        UNION SELECT r.uri FROM json_each(?2) p
                JOIN channel_reads r ON r.did = p.value ->> 0 AND r.channel_uri = p.value ->> 1
    )
    SELECT json_object('uri', uri, 'did', did, 'channel_uri', channel_uri, 'cursor_at', cursor_at,
        'rev', rev, 'indexed_at', indexed_at) AS row
    FROM channel_reads WHERE uri IN (SELECT uri FROM wanted)";
    const STORE: &'static str = "
    INSERT INTO channel_reads (uri, did, channel_uri, cursor_at, rev, indexed_at, cid)
    SELECT value ->> 'uri', value ->> 'did', value ->> 'channel_uri', value ->> 'cursor_at',
        value ->> 'rev', value ->> 'indexed_at', value ->> 'cid'
    FROM json_each(?1) WHERE true
    ON CONFLICT (uri) DO UPDATE SET channel_uri = excluded.channel_uri, cursor_at = excluded.cursor_at,
        rev = excluded.rev, indexed_at = excluded.indexed_at, cid = coalesce(excluded.cid, cid)
    WHERE excluded.rev >= rev";
    const PURGE: &'static [Purge] = purges!(
        "DELETE FROM channel_reads WHERE uri IN (
             SELECT r.uri FROM json_each(?1) d CROSS JOIN channel_reads r ON r.did = d.value LIMIT ?2)"
    );
    const HIDE: Option<&'static str> = None;
    const KEPT: Option<i64> = Some(1_000);

    fn asked(asked: &Asked) -> Vec<Param> {
        vec![asked.touched(Collection::ChannelRead), Param::json(&asked.needs.read_channels)]
    }
}
