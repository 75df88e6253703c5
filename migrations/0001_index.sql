-- The index of colibri-edge: what REST serves and what an admin reads.
--
-- Names follow the lexicon. Times are ISO 8601 in UTC, so they sort as text. `uri` is always the
-- AT-URI of a record, `rev` the revision of its repository at the version last decided: a
-- statement that carries an older one changes nothing. Columns marked JSON hold the text of the
-- record, character for character. Applied migrations are never edited.

-- Communities. `shard` names the database a community lives in, once there are several.
CREATE TABLE communities (
    uri TEXT PRIMARY KEY,
    owner_did TEXT NOT NULL,
    rkey TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT,
    picture TEXT,                 -- JSON: blob reference
    category_order TEXT,          -- JSON: array of rkeys
    requires_approval_to_join INTEGER NOT NULL,
    shard INTEGER NOT NULL DEFAULT 0,
    rev TEXT NOT NULL,
    indexed_at TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX communities_by_rkey ON communities (rkey, indexed_at, uri);
CREATE INDEX communities_by_owner ON communities (owner_did, rkey);

-- Channels. A channel shows only while its community is there.
CREATE TABLE channels (
    uri TEXT PRIMARY KEY,
    rkey TEXT NOT NULL,
    community_uri TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT,
    channel_type TEXT NOT NULL,   -- text, voice, forum, or another word
    category_rkey TEXT,
    owner_only INTEGER NOT NULL,
    rev TEXT NOT NULL,
    indexed_at TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX channels_by_rkey ON channels (rkey);
CREATE INDEX channels_by_community ON channels (community_uri, name, rkey);

-- Categories of the sidebar.
CREATE TABLE categories (
    uri TEXT PRIMARY KEY,
    rkey TEXT NOT NULL,
    community_uri TEXT NOT NULL,
    name TEXT NOT NULL,
    channel_order TEXT,           -- JSON: array of rkeys
    rev TEXT NOT NULL,
    indexed_at TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX categories_by_community ON categories (community_uri, name, rkey);

-- Who wishes to belong to a community.
CREATE TABLE memberships (
    uri TEXT PRIMARY KEY,
    member_did TEXT NOT NULL,
    community_uri TEXT NOT NULL,
    rev TEXT NOT NULL,
    indexed_at TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX memberships_by_member ON memberships (member_did, community_uri);
CREATE INDEX memberships_by_community ON memberships (community_uri, member_did);

-- Yeses to memberships. Anybody may write one; only those of the community's owner count.
CREATE TABLE approvals (
    uri TEXT PRIMARY KEY,
    approver_did TEXT NOT NULL,
    membership_uri TEXT NOT NULL,
    community_uri TEXT,           -- if the record names one, it must be the membership's
    rev TEXT NOT NULL,
    indexed_at TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX approvals_by_membership ON approvals (membership_uri);

-- Messages that were let in. `sort_at` is the earlier of createdAt and the receive time, and
-- never changes. A message shows while its channel and community are there and it is not in
-- `blocks`.
CREATE TABLE messages (
    uri TEXT PRIMARY KEY,
    author_did TEXT NOT NULL,
    rkey TEXT NOT NULL,
    channel_uri TEXT NOT NULL,    -- the channel it was let into
    channel TEXT NOT NULL,        -- the channel as the record names it
    text TEXT NOT NULL,
    created_at TEXT NOT NULL,     -- as the record has it
    sort_at TEXT NOT NULL,
    indexed_at TEXT NOT NULL,
    edited INTEGER NOT NULL,
    parent TEXT,                  -- the message it answers, as the record names it
    facets TEXT,                  -- JSON
    attachments TEXT,             -- JSON
    rev TEXT NOT NULL
);
CREATE INDEX messages_by_channel ON messages (channel_uri, sort_at DESC, rkey DESC, author_did DESC);
CREATE INDEX messages_by_rkey ON messages (rkey, channel_uri);

-- People as others see them. Empty columns are unknown.
CREATE TABLE people (
    did TEXT PRIMARY KEY,
    handle TEXT,                  -- only if verified in both directions
    display_name TEXT,
    avatar_cid TEXT,
    banner_cid TEXT,
    description TEXT,
    status_text TEXT,
    emoji TEXT,
    state TEXT,                   -- online, away, dnd, offline
    updated_at TEXT NOT NULL
) WITHOUT ROWID;

-- Bans: they outlive the membership, the approval and the community.
CREATE TABLE bans (
    community_uri TEXT NOT NULL,
    member_did TEXT NOT NULL,
    banned_at TEXT NOT NULL,
    PRIMARY KEY (community_uri, member_did)
) WITHOUT ROWID;
CREATE INDEX bans_by_member ON bans (member_did);

-- Blocked messages: a block outlives the message.
CREATE TABLE blocks (
    uri TEXT PRIMARY KEY,
    blocked_at TEXT NOT NULL
) WITHOUT ROWID;

-- Records that wait for another one, at most for HELD_HOURS and at most HELD_MAX of them.
CREATE TABLE held (
    uri TEXT PRIMARY KEY,
    waits_for TEXT NOT NULL,      -- a community's AT-URI, or a channel as the message names it
    record TEXT NOT NULL,         -- JSON
    rev TEXT NOT NULL,
    arrived_at TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX held_by_what_they_wait_for ON held (waits_for);
CREATE INDEX held_by_arrival ON held (arrived_at);

-- Record versions that were decided and left no row: deleted, or refused by the gate. Without
-- them a late or repeated event would reopen the decision.
CREATE TABLE settled (
    uri TEXT PRIMARY KEY,
    outcome TEXT NOT NULL,        -- deleted, refused
    rev TEXT NOT NULL,
    settled_at TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX settled_by_time ON settled (settled_at);
