//! Records without a row of their own: held ones (I60), and decisions (I02).

use super::{Asked, Purge, Stored, purges};
use crate::domain::editions::Part;
use crate::domain::rows::{HeldRow, SettledRow};
use crate::storage::Param;

impl Stored for HeldRow {
    const PART: Option<Part> = None;
    // The rows that the batch writes (?1), those that wait for a name that may appear (?2), and
    // those that wait for a message of a channel that may appear (?3; the table is small, and
    // messages are found by key).
    const READ: &'static str = "
    WITH wanted(uri) AS (
        SELECT value FROM json_each(?1)
        UNION SELECT uri FROM held WHERE waits_for IN (SELECT value FROM json_each(?2))
        UNION SELECT h.uri FROM json_each(?3) c CROSS JOIN held h WHERE EXISTS (
               SELECT 1 FROM messages m
               WHERE m.rkey = replace(h.waits_for, rtrim(h.waits_for, replace(h.waits_for, '/', '')), '')
                 AND m.channel_uri = c.value AND h.waits_for IN (m.uri, m.rkey))
    )
    SELECT json_object('uri', uri, 'waits_for', waits_for, 'record', record, 'rev', rev, 'cid', cid,
        'arrived_at', arrived_at) AS row
    FROM held WHERE uri IN (SELECT uri FROM wanted)";
    const STORE: &'static str = concat!(
        "
    INSERT INTO held (uri, author_did, waits_for, record, bytes, rev, arrived_at, cid)
    SELECT value ->> 'uri', value ->> 'authority', value ->> 'waits_for', value ->> 'record',
        length(CAST(value ->> 'record' AS BLOB)), value ->> 'rev', value ->> 'arrived_at', value ->> 'cid'
    FROM ",
        row_objects!(),
        " WHERE true
    ON CONFLICT (uri) DO UPDATE SET waits_for = excluded.waits_for, record = excluded.record,
        bytes = excluded.bytes, rev = excluded.rev, arrived_at = excluded.arrived_at, cid = excluded.cid
    WHERE excluded.rev >= rev"
    );
    const PURGE: &'static [Purge] = purges!(
        "DELETE FROM held WHERE uri IN (SELECT h.uri FROM json_each(?1) d CROSS JOIN held h
             ON h.uri > 'at://' || d.value || '/' AND h.uri < 'at://' || d.value || '0' LIMIT ?2)"
    );
    const HIDE: Option<&'static str> = None;

    fn asked(asked: &Asked) -> Vec<Param> {
        vec![
            asked.records(),
            Param::json(&asked.needs.appearing),
            Param::json(&asked.needs.appearing_channels()),
        ]
    }
}

impl Stored for SettledRow {
    const PART: Option<Part> = None;
    const READ: &'static str = "
    SELECT json_object('uri', uri, 'outcome', outcome, 'rev', rev, 'settled_at', settled_at,
        'lasting', json(iif(lasting, 'true', 'false'))) AS row
    FROM settled WHERE uri IN (
        SELECT value FROM json_each(?1) UNION SELECT value FROM json_each(?2)
        UNION SELECT value FROM json_each(?3))";
    const STORE: &'static str = concat!(
        "
    INSERT INTO settled (uri, outcome, rev, settled_at, lasting)
    SELECT value ->> 'uri', value ->> 'outcome', value ->> 'rev', value ->> 'settled_at', value ->> 'lasting'
    FROM ",
        row_objects!(),
        " WHERE true
    ON CONFLICT (uri) DO UPDATE SET outcome = excluded.outcome, rev = excluded.rev,
        settled_at = excluded.settled_at, lasting = excluded.lasting
    WHERE excluded.rev >= rev"
    );
    const PURGE: &'static [Purge] = &[];
    const HIDE: Option<&'static str> = None;
    const IS_RECORD: bool = false;

    fn asked(asked: &Asked) -> Vec<Param> {
        vec![asked.records(), Param::json(&asked.needs.target_uris), Param::json(&asked.needs.memberships)]
    }
}
