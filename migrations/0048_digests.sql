-- The last digest of each person who got one (U27): through is the number of the newest notification that it counted.
CREATE TABLE digests (
    did TEXT PRIMARY KEY,
    through INTEGER NOT NULL,
    sent_at TEXT NOT NULL
) WITHOUT ROWID;
