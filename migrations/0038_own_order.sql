-- The order in which a person wants to see their communities (contract N55): accounts and keys, as JSON.
ALTER TABLE actors ADD COLUMN communities TEXT;
