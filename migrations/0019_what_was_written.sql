-- What people wrote: times and emoji that are compared, and keys that keep their meaning.

-- `created_at` is what clients page by, so it is a time that each of them reads (H06). What an
-- earlier version let in and they do not is replaced by the receive time, as it is today (O01).
UPDATE messages SET created_at = substr(indexed_at, 1, 23) || 'Z'
WHERE created_at NOT GLOB '????-??-??T??:??:??*'
   OR created_at NOT GLOB '*[Z0-9]'
   OR substr(created_at, 18, 2) = '60'
   OR created_at GLOB '*-00:00'
   OR (created_at GLOB '0000-01-01T*+[0-9][0-9]:[0-9][0-9]' AND created_at NOT GLOB '*+00:00')
   OR instr(created_at, char(8722)) > 0
   OR length(created_at) > 64;

-- The place of a message is its `sort_at`; of those whose `created_at` was ahead of the clock it is
-- the receive time, and they are found by what is shown of them here (R01). There are few.
CREATE INDEX messages_ahead ON messages (channel_uri, created_at, sort_at, rkey, author_did)
WHERE sort_at = indexed_at;

-- Emoji that differ only in variation selectors are one to people (8.4). `emoji` is the spelling
-- that came first among those on the message, `shape` what is compared.
ALTER TABLE reactions ADD COLUMN shape TEXT
    GENERATED ALWAYS AS (replace(replace(emoji, char(65038), ''), char(65039), '')) VIRTUAL;
CREATE INDEX reactions_by_shape ON reactions (target_uri, shape, indexed_at);
UPDATE reactions SET emoji = (
    SELECT o.emoji FROM reactions o WHERE o.target_uri = reactions.target_uri AND o.shape = reactions.shape
    ORDER BY o.indexed_at, o.uri LIMIT 1)
WHERE instr(emoji, char(65038)) > 0 OR instr(emoji, char(65039)) > 0 OR EXISTS (
    SELECT 1 FROM reactions o WHERE o.target_uri = reactions.target_uri AND o.shape = reactions.shape
       AND o.emoji <> reactions.emoji);

-- Messages that left a channel: deleted, or moved by an edit. A record key that meant one of them
-- there means no other (T21). Kept for a month, and as long as a message answers to the key.
CREATE TABLE gone_messages (
    uri TEXT NOT NULL,
    channel_uri TEXT NOT NULL,
    rkey TEXT NOT NULL,
    indexed_at TEXT NOT NULL,     -- of the message
    gone_at TEXT NOT NULL,
    PRIMARY KEY (rkey, channel_uri, uri)
) WITHOUT ROWID;
CREATE INDEX gone_messages_by_time ON gone_messages (gone_at);
CREATE INDEX messages_by_parent ON messages (parent, channel_uri) WHERE parent IS NOT NULL;
