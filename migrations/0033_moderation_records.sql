-- Moderation by records of communities of the newest form. `messages.hidden` has a second bit from now on: 2 for
-- those of a person whom a record bans.

-- What such communities decided: the newest record about a subject decides, by key.
CREATE TABLE moderations (
    uri TEXT PRIMARY KEY,
    rkey TEXT NOT NULL,
    community_uri TEXT NOT NULL,
    action TEXT NOT NULL,         -- ban, unban, hideMessage, unhideMessage, or another word
    about TEXT NOT NULL,          -- what it is about: person, message, or nothing that counts here
    subject TEXT NOT NULL,        -- a DID or an AT-URI
    embeds TEXT,                  -- JSON: addresses of links
    reason TEXT,
    created_by TEXT,
    created_at TEXT,
    rev TEXT NOT NULL,
    indexed_at TEXT NOT NULL,
    cid TEXT                      -- as of other records
) WITHOUT ROWID;
CREATE INDEX moderations_by_subject ON moderations (subject, about, community_uri, uri);
CREATE INDEX moderations_by_community ON moderations (community_uri, uri);

-- A ban and a block stand for as long as one of the two says so: this service (by REST), or the community (by record).
ALTER TABLE bans ADD COLUMN by_service INTEGER NOT NULL DEFAULT 1;
ALTER TABLE bans ADD COLUMN by_record INTEGER NOT NULL DEFAULT 0;
ALTER TABLE blocks ADD COLUMN by_service INTEGER NOT NULL DEFAULT 1;
ALTER TABLE blocks ADD COLUMN by_record INTEGER NOT NULL DEFAULT 0;
