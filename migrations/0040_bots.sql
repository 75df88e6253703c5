-- Whether a person is a bot, as their Bluesky profile says of itself (contract N50, O10).
ALTER TABLE people ADD COLUMN is_bot INTEGER NOT NULL DEFAULT 0;
