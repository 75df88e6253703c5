-- The order in which due repositories are read, as an index: so the next one is found without looking at all of them.
ALTER TABLE repos ADD COLUMN is_owner INTEGER NOT NULL DEFAULT 0;   -- owns, or owned, a community of the index
UPDATE repos SET is_owner = 1 WHERE did IN (SELECT owner_did FROM communities);
DROP INDEX repos_due_by_host;
CREATE INDEX repos_due_by_host ON repos (
    host,
    CASE WHEN reason = 'found' THEN 2 WHEN is_owner OR reason = 'lookup' THEN 0 ELSE 1 END,
    next_attempt_at
) WHERE next_attempt_at IS NOT NULL;
