-- What people report to those who moderate a community (R86). Nothing here is of the network; it is made through REST.
-- Of one person and subject one row; of a community the newest 5,000. An admin asks:
-- SELECT * FROM reports WHERE resolved_at IS NULL ORDER BY id DESC LIMIT 50;
CREATE TABLE reports (
    id INTEGER PRIMARY KEY,
    community_uri TEXT NOT NULL,
    reporter_did TEXT NOT NULL,
    subject TEXT NOT NULL,        -- a message's AT-URI, or a DID
    about_did TEXT NOT NULL,      -- the author, or that DID
    reason TEXT NOT NULL,         -- spam, violation, misleading, sexual, rude, other
    comment TEXT,
    reported_at TEXT NOT NULL,
    resolved_at TEXT,             -- empty: open
    resolved_by TEXT,             -- a DID; 'operator': whoever holds the API key
    resolution TEXT
);
CREATE UNIQUE INDEX reports_by_reporter ON reports (reporter_did, community_uri, subject);
CREATE INDEX reports_by_community ON reports (community_uri, id DESC);
CREATE INDEX reports_by_person ON reports (about_did);
