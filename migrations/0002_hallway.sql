-- How records get into the index. Nothing here is shown to clients.

-- One row: counts the commits. Each commit names the version its facts were read at and fails
-- if another one came between, so that two writers never decide on the same facts.
CREATE TABLE ledger (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    version INTEGER NOT NULL
);
INSERT INTO ledger (id, version) VALUES (1, 0);

-- One row: how far the stream is stored. Moves only in the transaction that stores the events.
CREATE TABLE stream (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    host TEXT NOT NULL,           -- the Jetstream the cursor belongs to
    cursor_us INTEGER NOT NULL,   -- microseconds since 1970: the last event that is stored
    updated_at TEXT NOT NULL
);

-- Events of a commit that the communities' objects have not been told yet. `id` is a version of
-- the ledger, so the order of ids is the order of commits.
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY,
    announcements TEXT NOT NULL,  -- JSON
    committed_at TEXT NOT NULL
);

-- What was not let in, per reason: how often, and the newest examples. Never a record's text.
CREATE TABLE refusal_counts (
    reason TEXT PRIMARY KEY,
    count INTEGER NOT NULL,
    last_at TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE refusals (
    id INTEGER PRIMARY KEY,
    reason TEXT NOT NULL,
    uri TEXT NOT NULL,            -- the record; empty for a frame that could not be read
    at TEXT NOT NULL
);
CREATE INDEX refusals_by_reason_and_age ON refusals (reason, id);
