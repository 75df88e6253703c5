-- Communities that their owners list in the directory (R52, R53). Nothing here is of the network; it is made through REST,
-- and ends with the community. An admin asks: SELECT * FROM listings ORDER BY listed_at DESC;
CREATE TABLE listings (
    community_uri TEXT PRIMARY KEY,
    listed_at TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX listings_by_time ON listings (listed_at, community_uri);
