-- The state of somebody who is there and whom nothing but a socket names: no record, no proof. The
-- row goes when they do; `people` holds only those who exist.
CREATE TABLE visitors (
    did TEXT PRIMARY KEY,
    preferred_state TEXT,
    state TEXT NOT NULL           -- online, away, dnd
) WITHOUT ROWID;
