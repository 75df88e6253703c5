-- The newest approvals of one author, so that what they approve without end can have one (I65).
CREATE INDEX approvals_by_approver ON approvals (approver_did, indexed_at);
