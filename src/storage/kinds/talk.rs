//! Messages and reactions (sections 8.3, 8.4).

use super::{Asked, Purge, Stored, purges};
use crate::domain::editions::Part;
use crate::domain::rows::{MessageRow, ReactionRow};
use crate::storage::Param;
use crate::wire::ids::Collection;

impl Stored for MessageRow {
    const PART: Option<Part> = Some(Part::Talk);
    const READ: &'static str = "
    WITH wanted(uri) AS (
        SELECT value FROM json_each(?1)
        UNION SELECT m.uri FROM messages m WHERE m.rkey IN (SELECT value FROM json_each(?2))
           AND +m.channel_uri IN (   -- an rkey names few messages: reading each is cheaper than a search per channel
               SELECT value FROM json_each(?3)
               UNION SELECT uri FROM channels WHERE rkey IN (SELECT value FROM json_each(?4)))
        UNION SELECT uri FROM messages WHERE rkey IN (SELECT value FROM json_each(?5))
        UNION SELECT target_uri FROM reactions WHERE uri IN (SELECT value FROM json_each(?6))
        UNION SELECT m.uri FROM json_each(?7) d CROSS JOIN messages m
                 ON m.uri > 'at://' || d.value || '/' AND m.uri < 'at://' || d.value || '0' WHERE m.sort_at >= ?8
    )
    SELECT json_object('uri', uri, 'author_did', author_did, 'channel_uri', channel_uri,
        'channel', channel, 'text', text, 'created_at', created_at, 'sort_at', sort_at,
        'indexed_at', indexed_at, 'edited', json(iif(edited, 'true', 'false')), 'hidden', json(iif(hidden & 1, 'true', 'false')), 'banned', json(iif(hidden & 2, 'true', 'false')), 'parent', parent,
        'facets', facets, 'attachments', attachments, 'suppressed_embeds', suppressed_embeds, 'rev', rev) AS row
    FROM messages WHERE uri IN (SELECT uri FROM wanted)";
    const STORE: &'static str = concat!("
    INSERT INTO messages (uri, author_did, rkey, channel_uri, channel, text, created_at, sort_at,
        indexed_at, edited, hidden, parent, facets, attachments, suppressed_embeds, rev, cid)
    SELECT value ->> 'uri', value ->> 'author_did', value ->> 'rkey', value ->> 'channel_uri',
        value ->> 'channel', value ->> 'text', value ->> 'created_at', value ->> 'sort_at',
        value ->> 'indexed_at', value ->> 'edited', (value ->> 'hidden') + 2 * (value ->> 'banned'), value ->> 'parent', value ->> 'facets',
        value ->> 'attachments', value ->> 'suppressed_embeds', value ->> 'rev', value ->> 'cid'
    FROM ", row_objects!(), " WHERE true
    ON CONFLICT (uri) DO UPDATE SET channel_uri = excluded.channel_uri, channel = excluded.channel,
        text = excluded.text, created_at = excluded.created_at, sort_at = excluded.sort_at,
        indexed_at = excluded.indexed_at, edited = excluded.edited, hidden = excluded.hidden, parent = excluded.parent,
        facets = excluded.facets, attachments = excluded.attachments, suppressed_embeds = excluded.suppressed_embeds,
        rev = excluded.rev, cid = coalesce(excluded.cid, cid)
    WHERE excluded.rev >= rev");
    // I71: reactions are gone for good, even if the message is written again. A message goes when none
    // is left on it.
    const PURGE: &'static [Purge] = purges!(
        "DELETE FROM notifications WHERE (message_uri, kind, recipient_did) IN (
             SELECT n.message_uri, n.kind, n.recipient_did FROM json_each(?1) d CROSS JOIN notifications n
               ON n.message_uri > 'at://' || d.value || '/' AND n.message_uri < 'at://' || d.value || '0' LIMIT ?2)",
        "INSERT INTO settled (uri, outcome, rev, settled_at)
         SELECT r.uri, 'orphaned', r.rev, r.indexed_at FROM json_each(?1) d
         CROSS JOIN messages m ON m.uri > 'at://' || d.value || '/' AND m.uri < 'at://' || d.value || '0'
         CROSS JOIN reactions r ON r.target_uri = m.uri
         WHERE true LIMIT ?2
         ON CONFLICT (uri) DO UPDATE SET outcome = excluded.outcome, rev = excluded.rev WHERE excluded.rev >= rev",
        "DELETE FROM reactions WHERE uri IN (
             SELECT r.uri FROM json_each(?1) d
             CROSS JOIN messages m ON m.uri > 'at://' || d.value || '/' AND m.uri < 'at://' || d.value || '0'
             CROSS JOIN reactions r ON r.target_uri = m.uri
             WHERE true LIMIT ?2)",
        "INSERT INTO gone_messages (uri, channel_uri, rkey, indexed_at, gone_at)
         SELECT m.uri, m.channel_uri, m.rkey, m.indexed_at, ?3 FROM json_each(?1) d
         CROSS JOIN messages m ON m.uri > 'at://' || d.value || '/' AND m.uri < 'at://' || d.value || '0'
         WHERE NOT EXISTS (SELECT 1 FROM reactions r WHERE r.target_uri = m.uri) LIMIT ?2
         ON CONFLICT DO NOTHING",
        "DELETE FROM messages WHERE uri IN (
             SELECT m.uri FROM json_each(?1) d CROSS JOIN messages m
               ON m.uri > 'at://' || d.value || '/' AND m.uri < 'at://' || d.value || '0'
             WHERE NOT EXISTS (SELECT 1 FROM reactions r WHERE r.target_uri = m.uri) LIMIT ?2)",
    );
    const HIDE: Option<&'static str> = Some(
        "UPDATE messages SET hidden = (hidden & 2) + ?2
         WHERE uri > 'at://' || ?1 || '/' AND uri < 'at://' || ?1 || '0'",
    );

    fn asked(asked: &Asked) -> Vec<Param> {
        vec![
            asked.messages(),
            asked.parent_rkeys(),
            asked.channels(),
            asked.channel_rkeys(),
            asked.target_rkeys(),
            asked.reactions(),
            asked.accounts(),
            asked.since(),
        ]
    }
}

impl Stored for ReactionRow {
    const PART: Option<Part> = Some(Part::Talk);
    // The reactions that the batch writes (?1); all reactions to messages that it writes or deletes
    // (?2); for the other messages that it reacts to (?3: [person, message by AT-URI or rkey, emoji
    // as compared]), only those of the person who reacts, and the first of the same emoji.
    const READ: &'static str = "
    WITH aimed(did, uri, shape) AS (
        SELECT p.value ->> 0, p.value ->> 1, p.value ->> 2 FROM json_each(?3) p
        UNION SELECT p.value ->> 0, m.uri, p.value ->> 2 FROM json_each(?3) p
                CROSS JOIN messages m ON m.rkey = p.value ->> 1
    ), wanted(uri) AS (
        SELECT value FROM json_each(?1)
        UNION SELECT uri FROM reactions WHERE target_uri IN (SELECT value FROM json_each(?2))
        UNION SELECT r.uri FROM aimed a
                CROSS JOIN reactions r ON r.target_uri = a.uri AND r.reactor_did = a.did
        UNION SELECT (SELECT o.uri FROM reactions o WHERE o.target_uri = a.uri AND o.shape = a.shape
                       ORDER BY o.indexed_at, o.uri LIMIT 1) FROM aimed a
        UNION SELECT o.uri FROM reactions r
                JOIN reactions o ON o.target_uri = r.target_uri AND o.reactor_did = r.reactor_did
               WHERE r.uri IN (SELECT value FROM json_each(?1))
    )
    SELECT json_object('uri', uri, 'reactor_did', reactor_did, 'target_uri', target_uri,
        'emoji', emoji, 'hidden', json(iif(hidden, 'true', 'false')), 'rev', rev, 'indexed_at', indexed_at) AS row
    FROM reactions WHERE uri IN (SELECT uri FROM wanted)";
    const STORE: &'static str = concat!("
    INSERT INTO reactions (uri, reactor_did, target_uri, emoji, hidden, rev, indexed_at, cid)
    SELECT value ->> 'uri', value ->> 'reactor_did', value ->> 'target_uri', value ->> 'emoji',
        value ->> 'hidden', value ->> 'rev', value ->> 'indexed_at', value ->> 'cid'
    FROM ", row_objects!(), " WHERE true
    ON CONFLICT (uri) DO UPDATE SET target_uri = excluded.target_uri, emoji = excluded.emoji,
        hidden = excluded.hidden, rev = excluded.rev, indexed_at = excluded.indexed_at, cid = coalesce(excluded.cid, cid)
    WHERE excluded.rev >= rev");
    const PURGE: &'static [Purge] = purges!(
        "DELETE FROM reactions WHERE uri IN (
             SELECT r.uri FROM json_each(?1) d CROSS JOIN reactions r
               ON r.uri > 'at://' || d.value || '/' AND r.uri < 'at://' || d.value || '0' LIMIT ?2)"
    );
    const HIDE: Option<&'static str> = Some(
        "UPDATE reactions SET hidden = ?2 WHERE uri > 'at://' || ?1 || '/' AND uri < 'at://' || ?1 || '0'",
    );

    fn asked(asked: &Asked) -> Vec<Param> {
        vec![asked.reactions(), asked.touched(Collection::Message), Param::json(&asked.needs.reacting)]
    }
}
