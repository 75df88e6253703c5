-- Communities of the newest form: accounts of their own, whose repositories say who belongs to them.

-- What the newest records of communities and channels say besides. Empty: nothing.
ALTER TABLE communities ADD COLUMN banner TEXT;           -- JSON: blob reference
ALTER TABLE communities ADD COLUMN link_embeds INTEGER;
ALTER TABLE communities ADD COLUMN migrated_to TEXT;      -- the community that takes this one's place
ALTER TABLE communities ADD COLUMN migrated_from TEXT;
ALTER TABLE communities ADD COLUMN appview TEXT;          -- DID of the service that writes the repository
ALTER TABLE channels ADD COLUMN allowed_roles TEXT;       -- JSON: keys of roles whose holders may post
ALTER TABLE channels ADD COLUMN allowed_members TEXT;     -- JSON: DIDs of people who may post
ALTER TABLE channels ADD COLUMN link_embeds INTEGER;
ALTER TABLE channels ADD COLUMN migrated_from TEXT;

-- Who is admitted: records in the community's repository, each about one person.
CREATE TABLE members (
    uri TEXT PRIMARY KEY,
    rkey TEXT NOT NULL,
    member_did TEXT NOT NULL,
    community_uri TEXT NOT NULL,
    roles TEXT NOT NULL,          -- JSON: keys of roles
    nickname TEXT,
    from_membership TEXT,         -- the membership that asked for it
    withdrawn INTEGER NOT NULL,   -- whether that was deleted since
    hidden INTEGER NOT NULL,      -- the person's account is not active
    rev TEXT NOT NULL,
    indexed_at TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX members_by_person ON members (member_did, community_uri);
CREATE INDEX members_by_community ON members (community_uri, member_did);
CREATE INDEX members_by_membership ON members (from_membership) WHERE from_membership IS NOT NULL;

-- What members may do, by role. Of one community the newest 250.
CREATE TABLE roles (
    uri TEXT PRIMARY KEY,
    rkey TEXT NOT NULL,
    did TEXT NOT NULL,            -- the community's account
    community_uri TEXT NOT NULL,
    name TEXT NOT NULL,
    color TEXT,
    permissions TEXT NOT NULL,    -- JSON: words
    position INTEGER NOT NULL,    -- the higher outranks the lower
    hoisted INTEGER NOT NULL,
    mentionable INTEGER NOT NULL,
    protected INTEGER NOT NULL,   -- its holders may do everything
    channel_overrides TEXT,       -- JSON
    rev TEXT NOT NULL,
    indexed_at TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX roles_by_community ON roles (community_uri, rkey);
CREATE INDEX roles_by_account ON roles (did, indexed_at);
