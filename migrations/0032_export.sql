-- What an export says of a record besides its contents (R43): the CID of the version that a row stands for, in the
-- repository it came from. NULL: taken in before there was this column. Empty: whoever brought the version did not say it.
ALTER TABLE communities ADD COLUMN cid TEXT;
ALTER TABLE channels ADD COLUMN cid TEXT;
ALTER TABLE categories ADD COLUMN cid TEXT;
ALTER TABLE memberships ADD COLUMN cid TEXT;
ALTER TABLE approvals ADD COLUMN cid TEXT;
ALTER TABLE messages ADD COLUMN cid TEXT;
ALTER TABLE reactions ADD COLUMN cid TEXT;
ALTER TABLE actors ADD COLUMN cid TEXT;
ALTER TABLE channel_reads ADD COLUMN cid TEXT;
ALTER TABLE held ADD COLUMN cid TEXT;
ALTER TABLE people ADD COLUMN profile_cid TEXT;
ALTER TABLE members ADD COLUMN cid TEXT;
ALTER TABLE roles ADD COLUMN cid TEXT;
