-- What an admin reads: handles beside DIDs, times as the API writes them, and the numbers that clients see.
-- Banned people are no members, blocked messages and those of accounts that are not active are not counted.
DROP VIEW community_overview;
CREATE VIEW community_overview AS
SELECT
    c.name,
    o.handle AS owner,
    CASE WHEN c.rkey = 'self' THEN 'admission' WHEN c.requires_approval_to_join THEN 'approval' ELSE 'open' END AS joining,
    (SELECT count(*) FROM channels WHERE community_uri = c.uri) AS channels,
    -- The owner, and whoever is let in (R14 says `owner` or `approved`, in an open community also `pending`).
    (c.rkey <> 'self') + (SELECT count(*) FROM (
        SELECT member_did AS did FROM memberships WHERE community_uri = c.uri AND NOT hidden
        UNION SELECT member_did FROM members WHERE community_uri = c.uri AND NOT hidden) w
      WHERE (w.did <> c.owner_did OR c.rkey = 'self')
        AND NOT EXISTS (SELECT 1 FROM bans b WHERE b.community_uri = c.uri AND b.member_did = w.did)
        AND CASE
            WHEN c.rkey = 'self' THEN EXISTS (
                SELECT 1 FROM members a WHERE a.member_did = w.did AND a.community_uri = c.uri AND NOT a.hidden
                   AND (NOT a.withdrawn OR EXISTS (SELECT 1 FROM memberships g WHERE g.member_did = w.did
                        AND g.community_uri = c.uri AND NOT g.hidden)))
            WHEN NOT c.requires_approval_to_join THEN 1
            ELSE EXISTS (
                SELECT 1 FROM memberships m JOIN approvals a ON a.membership_uri = m.uri
                WHERE m.community_uri = c.uri AND m.member_did = w.did AND NOT m.hidden AND a.approver_did = c.owner_did
                  AND (a.community_uri IS NULL OR a.community_uri = c.uri)) END) AS members,
    (SELECT count(*) FROM messages m JOIN channels ch ON ch.uri = m.channel_uri
      WHERE ch.community_uri = c.uri AND NOT m.hidden
        AND NOT EXISTS (SELECT 1 FROM blocks b WHERE b.uri = m.uri)) AS messages,
    (SELECT strftime('%Y-%m-%dT%H:%M:%fZ', max(m.sort_at)) FROM messages m JOIN channels ch ON ch.uri = m.channel_uri
      WHERE ch.community_uri = c.uri AND NOT m.hidden
        AND NOT EXISTS (SELECT 1 FROM blocks b WHERE b.uri = m.uri)) AS last_message_at,
    (SELECT count(*) FROM bans WHERE community_uri = c.uri) AS bans,
    strftime('%Y-%m-%dT%H:%M:%fZ', c.indexed_at) AS indexed_at,
    c.owner_did,
    c.uri
FROM communities c LEFT JOIN people o ON o.did = c.owner_did
WHERE NOT c.hidden;

-- The newest messages that people can see, with where they stand.
DROP VIEW recent_messages;
CREATE VIEW recent_messages AS
SELECT
    strftime('%Y-%m-%dT%H:%M:%fZ', m.sort_at) AS at,
    c.name AS community,
    ch.name AS channel,
    p.handle AS author,
    m.text,
    m.edited,
    m.author_did,
    m.uri,
    m.sort_at
FROM messages m
JOIN channels ch ON ch.uri = m.channel_uri
JOIN communities c ON c.uri = ch.community_uri
LEFT JOIN people p ON p.did = m.author_did
WHERE NOT m.hidden AND NOT c.hidden AND NOT EXISTS (SELECT 1 FROM blocks b WHERE b.uri = m.uri)
ORDER BY m.sort_at DESC
LIMIT 100;

-- Why records and frames were not let in. The author is the repository in which the newest of them stands.
DROP VIEW refusals_by_reason;
CREATE VIEW refusals_by_reason AS
SELECT
    c.reason,
    c.count,
    strftime('%Y-%m-%dT%H:%M:%fZ', c.last_at) AS last_at,
    (SELECT p.handle FROM people p WHERE n.uri LIKE 'at://%'
        AND p.did = substr(n.uri, 6, instr(substr(n.uri, 6) || '/', '/') - 1)) AS newest_author,
    n.uri AS newest_uri
FROM refusal_counts c
LEFT JOIN refusals n ON n.id = (SELECT max(r.id) FROM refusals r WHERE r.reason = c.reason)
ORDER BY c.count DESC;

-- How the reading of repositories goes.
DROP VIEW repos_by_status;
CREATE VIEW repos_by_status AS
SELECT
    status,
    coalesce(host, 'not resolved') AS host,
    count(*) AS repos,
    sum(next_attempt_at IS NOT NULL) AS due,
    strftime('%Y-%m-%dT%H:%M:%fZ', min(next_attempt_at)) AS next_attempt_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', max(synced_at)) AS last_synced_at,
    max(failures) AS most_failures,
    max(error) AS an_error
FROM repos
GROUP BY status, host
ORDER BY status, repos DESC;

-- How far the stream is stored, and what still waits.
DROP VIEW ingest_status;
CREATE VIEW ingest_status AS
SELECT
    s.host,
    s.cursor_us,
    strftime('%Y-%m-%dT%H:%M:%fZ', s.cursor_us / 1000000.0, 'unixepoch') AS cursor_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', s.updated_at) AS updated_at,
    (SELECT version FROM ledger) AS commits,
    (SELECT count(*) FROM outbox) AS unannounced_batches,
    (SELECT count(*) FROM held) AS held_records,
    (SELECT count(*) FROM settled) AS settled_records
FROM stream s;
