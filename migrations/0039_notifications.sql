-- Who is to know of which message, because it mentions or answers them (U01). A row is a pointer: whether it shows is
-- decided when it is read (U04). Of one person the newest 1,000, of these at most 100 by one author (U05).
CREATE TABLE notifications (
    message_uri TEXT NOT NULL,
    kind TEXT NOT NULL,           -- mention, reply
    recipient_did TEXT NOT NULL,
    id INTEGER NOT NULL,          -- when: microseconds times two, and one for a reply
    seen_at TEXT,
    PRIMARY KEY (message_uri, kind, recipient_did)
) WITHOUT ROWID;
CREATE INDEX notifications_by_recipient ON notifications (recipient_did, id);

-- How far people have read, as they told this service (R49). Of one person the newest 1,000. What their records say is in
-- channel_reads; the later of the two counts (U10).
CREATE TABLE read_positions (
    did TEXT NOT NULL,
    channel_uri TEXT NOT NULL,
    cursor_at TEXT NOT NULL,
    cursor_uri TEXT,              -- the message, if it was named
    moved_at TEXT NOT NULL,
    PRIMARY KEY (did, channel_uri)
) WITHOUT ROWID;
