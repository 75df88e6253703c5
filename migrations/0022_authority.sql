-- Who may moderate what, and what was done with it. Nothing here is of the network; it is made through REST.

-- A ban may end by itself. Empty: it stands until it is lifted.
ALTER TABLE bans ADD COLUMN until TEXT;
CREATE INDEX bans_that_end ON bans (until) WHERE until IS NOT NULL;

-- Whom the owner of a community lets moderate it, besides themselves.
CREATE TABLE moderators (
    community_uri TEXT NOT NULL,
    did TEXT NOT NULL,
    added_at TEXT NOT NULL,
    PRIMARY KEY (community_uri, did)
) WITHOUT ROWID;
CREATE INDEX moderators_by_person ON moderators (did);

-- Every act of moderation, in the transaction that made it. Rows are added, never changed; the oldest of a
-- community go when there are too many, or when they are too old. An admin asks:
-- SELECT * FROM audit_log WHERE community_uri = '…' ORDER BY id DESC LIMIT 50;
CREATE TABLE audit_log (
    id INTEGER PRIMARY KEY,
    community_uri TEXT NOT NULL,
    actor TEXT NOT NULL,          -- a DID; 'operator': whoever holds the API key; 'service': the service itself
    proof TEXT NOT NULL,          -- api_key, service_auth, socket_token, none
    action TEXT NOT NULL,         -- block, unblock, ban, unban, ban_ended, kick, moderators, invite, revoke_invite
    subject TEXT NOT NULL,        -- the message, the person, the invite; of moderators the new list, with blanks between
    reason TEXT,                  -- as the actor gave it
    until TEXT,                   -- of a ban that ends by itself
    at TEXT NOT NULL
);
CREATE INDEX audit_log_by_community ON audit_log (community_uri, id DESC);
CREATE INDEX audit_log_by_age ON audit_log (at);

-- Acts that were made under an Idempotency-Key, for a day: a repetition gets the same answer and acts no more.
CREATE TABLE idempotency_keys (
    caller TEXT NOT NULL,         -- a DID, or 'operator'
    key TEXT NOT NULL,
    request TEXT NOT NULL,        -- SHA-256 of what was asked
    answer TEXT NOT NULL,         -- what was made: the code of an invite; else empty
    at TEXT NOT NULL,
    PRIMARY KEY (caller, key)
) WITHOUT ROWID;
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (at);
