-- Who is behind a DID: what its document said when it was last read, and whether its handle leads
-- back to it. A row exists for each person the index knows; of strangers nothing is kept.
CREATE TABLE identities (
    did TEXT PRIMARY KEY,
    handle TEXT,                  -- as the document claims it; shown only where handle_status is 'valid'
    handle_status TEXT NOT NULL DEFAULT 'unresolved', -- valid, invalid, or unresolved: it could not be checked
    handle_checked_at TEXT,       -- when that was found out; NULL: not since the document changed
    pds TEXT,                     -- address of the account's server; NULL: none that may be asked
    signing_key TEXT,             -- Multikey; NULL: the document has none
    resolved_at TEXT,             -- when the document was asked for; NULL: never
    changed_at TEXT,              -- when the network last said that it changed: what was asked for before is not believed
    check_at TEXT,                -- when to look at the person next; NULL: there is no reason to
    failures INTEGER NOT NULL DEFAULT 0, -- attempts that failed since the last that did not
    error TEXT                    -- why the last one failed
) WITHOUT ROWID;
CREATE INDEX identities_due ON identities (check_at) WHERE check_at IS NOT NULL;

-- Everybody who is known already is looked at once.
INSERT INTO identities (did, check_at) SELECT did, '1970-01-01T00:00:00.000000Z' FROM people;
