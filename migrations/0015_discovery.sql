-- Looking for repositories that a relay lists (RELAY_URL): the walk that goes on, or the last one.
-- Without a relay there is no row. What a walk found stands in `repos`, with the reason `found` until
-- something of it is let in that makes its owner known for itself.
CREATE TABLE discovery (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    relay TEXT NOT NULL,          -- scheme, host and port of the relay
    step INTEGER NOT NULL,        -- the collection that is being listed: 0, 1, …
    cursor TEXT,                  -- where its next page begins; empty: at its beginning
    began_at TEXT NOT NULL,
    ended_at TEXT,                -- empty: it goes on
    ending TEXT,                  -- complete, too_long (the relay lists more than a walk takes), full (of those
                                  -- that are known for no other reason, enough are kept)
    next_attempt_at TEXT NOT NULL,    -- when the relay may be asked for the next page
    pages INTEGER NOT NULL,       -- read in this walk
    listed INTEGER NOT NULL,      -- repositories on them
    found INTEGER NOT NULL,       -- of these, not known before
    dropped INTEGER NOT NULL,     -- entries that named nobody
    room INTEGER NOT NULL,        -- how many this walk may find
    failures INTEGER NOT NULL,    -- since the last page
    error TEXT                    -- the last of them
);

-- An account that moved may show for a while what it signed with its earlier key.
ALTER TABLE repos ADD COLUMN signed_by TEXT;  -- the key with which what was last read in full was signed

-- `repos.reason` has a seventh word: found, for one that a relay listed.
CREATE INDEX repos_found ON repos (next_attempt_at) WHERE reason = 'found';
