-- What went wrong in a way that nobody was told of by an answer: rows that could not be told or read
-- back and were set aside, and ends of the program that it did not choose.
CREATE TABLE incidents (
    kind TEXT PRIMARY KEY,        -- set_aside_outbox, set_aside_log, set_aside_people, set_aside_session, restart
    count INTEGER NOT NULL,
    last_at TEXT NOT NULL,
    example TEXT NOT NULL         -- where the last one happened: a community, an object. Never what it said
) WITHOUT ROWID;
