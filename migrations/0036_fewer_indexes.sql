-- A record's AT-URI begins with its author, so the primary key finds what somebody wrote. These two indexes gave nothing
-- more, and each took a row written for every message and every reaction, on pages that a batch seldom shares.
DROP INDEX messages_by_author;
DROP INDEX reactions_by_reactor;
