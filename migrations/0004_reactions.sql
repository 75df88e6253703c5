-- Reactions that count. Several records of one person with the same emoji on the same message
-- are one reaction to people; each stands here, so that deleting one leaves the others.
CREATE TABLE reactions (
    uri TEXT PRIMARY KEY,
    reactor_did TEXT NOT NULL,
    target_uri TEXT NOT NULL,     -- the message
    emoji TEXT NOT NULL,          -- the exact string of the record
    rev TEXT NOT NULL,
    indexed_at TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX reactions_by_target ON reactions (target_uri, reactor_did);
