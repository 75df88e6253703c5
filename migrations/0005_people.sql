-- People: what their own records say, and whether their account is there.
ALTER TABLE people ADD COLUMN profile_rev TEXT;                     -- of the profile record last applied
ALTER TABLE people ADD COLUMN active INTEGER NOT NULL DEFAULT 1;    -- 0: deactivated, suspended, taken down, deleted
ALTER TABLE people ADD COLUMN account_status TEXT;                  -- why not
ALTER TABLE people ADD COLUMN account_at TEXT;                      -- stream time of the last account event applied

-- Actor records. All of a person's share one status, which stands in `people`.
CREATE TABLE actors (
    uri TEXT PRIMARY KEY,
    did TEXT NOT NULL,
    rev TEXT NOT NULL,
    indexed_at TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX actors_by_person ON actors (did);

-- How far people have read. `cursor_at` never goes back for a person and a channel: each record
-- carries the latest cursor there was when it was written.
CREATE TABLE channel_reads (
    uri TEXT PRIMARY KEY,
    did TEXT NOT NULL,
    channel_uri TEXT NOT NULL,
    cursor_at TEXT NOT NULL,
    rev TEXT NOT NULL,
    indexed_at TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX channel_reads_by_person ON channel_reads (did, channel_uri, cursor_at);

-- What an account that is not active takes out of sight (its rows stay, and come back with it).
ALTER TABLE communities ADD COLUMN hidden INTEGER NOT NULL DEFAULT 0;
ALTER TABLE memberships ADD COLUMN hidden INTEGER NOT NULL DEFAULT 0;
ALTER TABLE messages ADD COLUMN hidden INTEGER NOT NULL DEFAULT 0;
ALTER TABLE reactions ADD COLUMN hidden INTEGER NOT NULL DEFAULT 0;
CREATE INDEX messages_by_author ON messages (author_did, sort_at);
CREATE INDEX reactions_by_reactor ON reactions (reactor_did);
