-- What people of the newest form write about themselves.

-- A profile that is shown in the place of Bluesky's, unless it says otherwise.
CREATE TABLE actor_profiles (
    uri TEXT PRIMARY KEY,
    did TEXT NOT NULL,
    display_name TEXT,
    description TEXT,
    avatar TEXT,                  -- JSON: blob reference
    banner TEXT,                  -- JSON: blob reference
    sync_bluesky INTEGER NOT NULL,
    theme TEXT,                   -- JSON: colours
    presence_service TEXT,        -- DID of the service that may tell of their presence
    preferred_badge TEXT,
    rev TEXT NOT NULL,
    indexed_at TEXT NOT NULL,
    cid TEXT
) WITHOUT ROWID;
CREATE INDEX actor_profiles_by_person ON actor_profiles (did);

-- Channels and communities of which somebody wants no notifications. Of one person the newest 1,000.
CREATE TABLE mutes (
    uri TEXT PRIMARY KEY,
    did TEXT NOT NULL,
    subject TEXT NOT NULL,        -- AT-URI of a channel or a community
    rev TEXT NOT NULL,
    indexed_at TEXT NOT NULL,
    cid TEXT
) WITHOUT ROWID;
CREATE INDEX mutes_by_person ON mutes (did, indexed_at);

-- Of what people want notifications.
CREATE TABLE preferences (
    uri TEXT PRIMARY KEY,
    did TEXT NOT NULL,
    level TEXT NOT NULL,          -- a word
    rev TEXT NOT NULL,
    indexed_at TEXT NOT NULL,
    cid TEXT
) WITHOUT ROWID;
CREATE INDEX preferences_by_person ON preferences (did);

-- `bluesky`: JSON, what Bluesky says while their own profile is shown. `cursor_uri`: the message that a mark names,
-- if it names one. `suppressed_embeds`: JSON, links whose preview the author does not want shown.
ALTER TABLE people ADD COLUMN bluesky TEXT;
ALTER TABLE channel_reads ADD COLUMN cursor_uri TEXT;
ALTER TABLE messages ADD COLUMN suppressed_embeds TEXT;
