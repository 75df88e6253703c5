-- Communities that only members may read (X40). Nothing here is of the network; it is made through REST, and outlives
-- the community's record, as a ban does. An admin asks: SELECT * FROM members_only ORDER BY set_at DESC;
CREATE TABLE members_only (
    community_uri TEXT PRIMARY KEY,
    set_at TEXT NOT NULL
) WITHOUT ROWID;
