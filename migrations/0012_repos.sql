-- Repositories that the service knows, and how far each is in the index. Known are those of owners,
-- members and authors of accepted records, and those that somebody named. An admin asks
-- `repos_by_status` first.
CREATE TABLE repos (
    did TEXT PRIMARY KEY,
    pds TEXT,                     -- where it was last found: scheme, host and port of its PDS
    host TEXT,                    -- host and port of that; one object looks after each host
    rev TEXT,                     -- the newest revision seen. While nothing is due and checked_at is
                                  -- set, everything up to it is in the index
    status TEXT NOT NULL,         -- waiting, synced, failing, absent (no such account there), empty
                                  -- (looked up, and holds nothing of Colibri)
    reason TEXT NOT NULL,         -- why it is, or was last, read: new, gap, identity, gate, asked, lookup
    due_since TEXT NOT NULL,      -- when the newest reason came
    next_attempt_at TEXT,         -- empty: nothing to do
    failures INTEGER NOT NULL DEFAULT 0,  -- since the last success
    error TEXT,                   -- the last of them
    refused INTEGER NOT NULL DEFAULT 0,   -- records that the gate refused when it was last read
    known_at TEXT NOT NULL,
    checked_at TEXT,              -- when the last look began that succeeded, also one that found nothing new
    synced_at TEXT                -- when it was last read in full
) WITHOUT ROWID;
CREATE INDEX repos_due ON repos (next_attempt_at) WHERE next_attempt_at IS NOT NULL;
CREATE INDEX repos_due_by_host ON repos (host, next_attempt_at) WHERE next_attempt_at IS NOT NULL;
CREATE INDEX repos_refused ON repos (checked_at) WHERE refused > 0;

-- Whoever is in the index is known, and read once. Authors were let in as owners or members; those
-- who left since are found by what they wrote.
INSERT INTO repos (did, status, reason, due_since, next_attempt_at, known_at)
SELECT did, 'waiting', 'new', at, at, at FROM (
    SELECT owner_did AS did FROM communities
    UNION SELECT member_did FROM memberships
    UNION SELECT author_did FROM messages
    UNION SELECT reactor_did FROM reactions
), (SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now') AS at);

-- How a gap ended: closed when no repository that was known when it was noticed waits any more.
ALTER TABLE gaps ADD COLUMN closed_at TEXT;
ALTER TABLE gaps ADD COLUMN reconciled INTEGER;   -- repositories looked at since
ALTER TABLE gaps ADD COLUMN unreached INTEGER;    -- repositories whose host failed; they are tried again, and reconciled then
CREATE INDEX gaps_by_state ON gaps (state, id);

-- `settled.outcome` has a third word: orphaned, for a reaction whose message was blocked or deleted.
-- Unlike what the gate refused, it is not decided again when its repository is read.

-- How the reading of repositories goes.
CREATE VIEW repos_by_status AS
SELECT
    status,
    coalesce(host, 'not resolved') AS host,
    count(*) AS repos,
    sum(next_attempt_at IS NOT NULL) AS due,
    min(next_attempt_at) AS next_attempt_at,
    max(synced_at) AS last_synced_at,
    max(failures) AS most_failures,
    max(error) AS an_error
FROM repos
GROUP BY status, host
ORDER BY status, repos DESC;
