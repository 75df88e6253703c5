-- Where the events of a community are sent (R82). Nothing here is of the network; it is made through REST, at most five
-- of a community, and ends with it. How far each has come is in the community's object.
CREATE TABLE webhooks (
    id TEXT PRIMARY KEY,          -- 16 hex digits from a secure random source
    community_uri TEXT NOT NULL,
    url TEXT NOT NULL,
    events TEXT NOT NULL,         -- JSON: types of events; none: every type
    secret TEXT NOT NULL,         -- base64: the key of the signatures
    created_at TEXT NOT NULL,
    disabled_at TEXT,             -- empty: events are sent
    disabled_because TEXT
) WITHOUT ROWID;
CREATE UNIQUE INDEX webhooks_by_community ON webhooks (community_uri, url);
CREATE INDEX webhooks_disabled ON webhooks (disabled_at) WHERE disabled_at IS NOT NULL;
