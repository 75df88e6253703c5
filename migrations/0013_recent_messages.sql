-- What people can see leaves out accounts that are not active: their messages, and the communities
-- they own.
DROP VIEW recent_messages;
CREATE VIEW recent_messages AS
SELECT m.sort_at, c.name AS community, ch.name AS channel, m.author_did, m.text, m.edited, m.uri
FROM messages m
JOIN channels ch ON ch.uri = m.channel_uri
JOIN communities c ON c.uri = ch.community_uri
WHERE NOT m.hidden AND NOT c.hidden AND NOT EXISTS (SELECT 1 FROM blocks b WHERE b.uri = m.uri)
ORDER BY m.sort_at DESC
LIMIT 100;
