-- How much of a community reaches a person at once (U25): everywhere, where community_uri is empty, or in one
-- community. Of one person the newest 1,000.
CREATE TABLE rhythms (
    did TEXT NOT NULL,
    community_uri TEXT NOT NULL,
    rhythm TEXT NOT NULL,         -- silent, quiet, engaged, busy
    set_at TEXT NOT NULL,
    PRIMARY KEY (did, community_uri)
) WITHOUT ROWID;
