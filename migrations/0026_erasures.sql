-- People of whom everything is erased. What stays of each is a hash, so that nothing that comes later brings it back.
CREATE TABLE erasures (
    hash TEXT PRIMARY KEY,        -- SHA-256 of a fixed text and the DID, in hex (domain::erasure)
    erased_at TEXT NOT NULL,
    known INTEGER NOT NULL        -- 1: something of theirs was in the index; of others the newest are kept
) WITHOUT ROWID;
CREATE INDEX erasures_of_strangers ON erasures (erased_at) WHERE NOT known;

-- Erasures that go on, or that are being lifted, and how far each is. The only place that still names the person.
CREATE TABLE erasing (
    did TEXT PRIMARY KEY,
    since INTEGER NOT NULL,       -- the version of the ledger: what was announced up to it may speak of them
    known INTEGER NOT NULL,       -- as in erasures
    step TEXT NOT NULL,           -- telling, sockets, logs, rows, again; lifting
    place TEXT NOT NULL,          -- how far the step is; empty: at its beginning
    failures INTEGER NOT NULL,    -- in a row, at this place
    lift INTEGER NOT NULL         -- 1: lifted since; the rows come back when the work is done
) WITHOUT ROWID;

-- Messages that left a channel, by their author.
CREATE INDEX gone_messages_by_uri ON gone_messages (uri);
