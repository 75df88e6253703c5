-- Accounts that come back, and what bounds the tables that anybody's records can grow.

-- People: what the account events of the time `account_at` said, one line each: the stream may give
-- two of them the same time, and repeats both.
ALTER TABLE people ADD COLUMN account_said TEXT;
ALTER TABLE people ADD COLUMN away_since TEXT;   -- receive time of the event since which the account is not active
ALTER TABLE people ADD COLUMN deleted_at TEXT;   -- stream time of the account's last deletion: records of before are gone for good
UPDATE people SET deleted_at = account_at WHERE account_status = 'deleted';
UPDATE people SET away_since = account_at WHERE NOT active;

-- `repos.reason` has an eighth word: account, for one whose account is active again.

-- Waiting records are counted by their authors, so that whoever holds most makes room.
ALTER TABLE held ADD COLUMN author_did TEXT NOT NULL DEFAULT '';
ALTER TABLE held ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;   -- of `record`
UPDATE held SET author_did = substr(uri, 6, instr(substr(uri, 6), '/') - 1), bytes = length(CAST(record AS BLOB));
CREATE INDEX held_by_author ON held (author_did, arrived_at, bytes);

-- What was settled of records that were in the index lasts. The rest ends when the stream can no
-- longer repeat it: what was refused, and deletions of what never was.
ALTER TABLE settled ADD COLUMN lasting INTEGER NOT NULL DEFAULT 1;
UPDATE settled SET lasting = 0 WHERE outcome = 'refused';
DROP INDEX settled_by_time;
CREATE INDEX settled_for_a_while ON settled (settled_at) WHERE NOT lasting;
