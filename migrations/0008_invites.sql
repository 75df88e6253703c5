-- Invites: codes that lead people to a community. Nothing of the network; made through REST.
CREATE TABLE invites (
    code TEXT PRIMARY KEY,        -- 16 hex digits from a secure random source
    community_uri TEXT NOT NULL,
    created_by_did TEXT NOT NULL, -- the owner of the community
    max_uses INTEGER,             -- empty: as often as people like
    use_count INTEGER NOT NULL DEFAULT 0,
    created_at TEXT NOT NULL,
    ended_at TEXT,                -- empty: active
    ended_because TEXT            -- revoked, community_deleted
) WITHOUT ROWID;
CREATE INDEX invites_by_community ON invites (community_uri, created_at DESC, code);

-- Bans of one community, newest first.
CREATE INDEX bans_by_community ON bans (community_uri, banned_at DESC, member_did);
