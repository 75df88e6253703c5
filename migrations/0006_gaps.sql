-- Stretches of the stream that the service did not see. Each is closed by reconciliation.
CREATE TABLE gaps (
    id INTEGER PRIMARY KEY,
    host TEXT NOT NULL,           -- the Jetstream
    from_us INTEGER NOT NULL,     -- microseconds since 1970: the last event that is stored
    to_us INTEGER NOT NULL,       -- the first event the host still had
    from_at TEXT NOT NULL,
    to_at TEXT NOT NULL,
    reason TEXT NOT NULL,         -- cursor_too_old
    state TEXT NOT NULL,          -- open, closed
    noticed_at TEXT NOT NULL,
    UNIQUE (host, from_us)
);
