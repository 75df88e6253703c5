-- A walk through what a relay lists also has the ending `broken`: everything else was listed. The
-- column counts the collections whose listing did not end properly.
ALTER TABLE discovery ADD COLUMN broken INTEGER NOT NULL DEFAULT 0;
