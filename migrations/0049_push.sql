-- Where browsers take pushes for their people (R67, U28). A browser belongs to the person who named it last. Of one person
-- the newest 10.
CREATE TABLE push_subscriptions (
    endpoint TEXT PRIMARY KEY,
    did TEXT NOT NULL,
    p256dh TEXT NOT NULL,
    auth TEXT NOT NULL,
    set_at TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX push_subscriptions_by_person ON push_subscriptions (did, set_at);
