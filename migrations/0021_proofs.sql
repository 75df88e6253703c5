-- What is remembered of people's proofs (X13, R26): that they once showed one, and from when on
-- socket tokens count. Bounded: `storage::sweep` forgets those of whom the index knows nothing.
CREATE TABLE proofs (
    did TEXT PRIMARY KEY,
    noted_at TEXT NOT NULL,       -- when a proof or a revocation was last noted
    proven INTEGER NOT NULL,      -- 1: a proof was shown
    revoked_at TEXT               -- socket tokens and tickets made before this are none
) WITHOUT ROWID;

CREATE INDEX proofs_by_time ON proofs (noted_at);
