-- What an admin asks first. Read in the D1 console: SELECT * FROM community_overview;

-- Every community with its size.
CREATE VIEW community_overview AS
SELECT
    c.name,
    c.uri,
    c.owner_did,
    CASE WHEN c.requires_approval_to_join THEN 'approval' ELSE 'open' END AS joining,
    (SELECT count(*) FROM channels WHERE community_uri = c.uri) AS channels,
    (SELECT count(DISTINCT member_did) FROM memberships WHERE community_uri = c.uri) AS members,
    (SELECT count(*) FROM messages m JOIN channels ch ON ch.uri = m.channel_uri
      WHERE ch.community_uri = c.uri) AS messages,
    (SELECT max(m.sort_at) FROM messages m JOIN channels ch ON ch.uri = m.channel_uri
      WHERE ch.community_uri = c.uri) AS last_message_at,
    (SELECT count(*) FROM bans WHERE community_uri = c.uri) AS bans,
    c.indexed_at
FROM communities c;

-- The newest messages that people can see, with where they stand.
CREATE VIEW recent_messages AS
SELECT m.sort_at, c.name AS community, ch.name AS channel, m.author_did, m.text, m.edited, m.uri
FROM messages m
JOIN channels ch ON ch.uri = m.channel_uri
JOIN communities c ON c.uri = ch.community_uri
WHERE NOT EXISTS (SELECT 1 FROM blocks b WHERE b.uri = m.uri)
ORDER BY m.sort_at DESC
LIMIT 100;

-- How far the stream is stored, and what still waits.
CREATE VIEW ingest_status AS
SELECT
    s.host,
    s.cursor_us,
    strftime('%Y-%m-%dT%H:%M:%fZ', s.cursor_us / 1000000.0, 'unixepoch') AS cursor_at,
    s.updated_at,
    (SELECT version FROM ledger) AS commits,
    (SELECT count(*) FROM outbox) AS unannounced_batches,
    (SELECT count(*) FROM held) AS held_records,
    (SELECT count(*) FROM settled) AS settled_records
FROM stream s;

-- Why records and frames were not let in.
CREATE VIEW refusals_by_reason AS
SELECT
    c.reason,
    c.count,
    c.last_at,
    (SELECT r.uri FROM refusals r WHERE r.reason = c.reason ORDER BY r.id DESC LIMIT 1) AS newest_uri
FROM refusal_counts c
ORDER BY c.count DESC;
