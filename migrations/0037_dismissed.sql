-- Applications that a moderator dismissed (N171b). Nothing here is of the network. Of each community the newest thousand
-- are kept. An admin asks: SELECT * FROM dismissed ORDER BY dismissed_at DESC;
CREATE TABLE dismissed (
    community_uri TEXT NOT NULL,
    member_did TEXT NOT NULL,
    dismissed_at TEXT NOT NULL,
    PRIMARY KEY (community_uri, member_did)
) WITHOUT ROWID;
CREATE INDEX dismissed_by_person ON dismissed (member_did);
