-- Repositories that wrote more than their points allow (K17). Events before `deferred_until` were left out; a reading
-- that begins after it brings them. `repos.reason` has a ninth word for them: points.
ALTER TABLE repos ADD COLUMN deferred_until TEXT;   -- empty: nothing was left out
CREATE INDEX repos_deferred ON repos (deferred_until) WHERE deferred_until IS NOT NULL;
