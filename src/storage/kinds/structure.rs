//! Communities, channels and categories (section 8.5).

use super::{Asked, Purge, Stored, purges};
use crate::domain::editions::Part;
use crate::domain::rows::{CategoryRow, ChannelRow, CommunityRow};
use crate::storage::Param;

impl Stored for CommunityRow {
    const PART: Option<Part> = Some(Part::Places);
    // Two statements, because D1 allows at most five terms in a compound SELECT (the SQLite limits
    // of workerd).
    const READ: &'static str = "
    WITH named(uri) AS (
        SELECT value FROM json_each(?1)
        UNION SELECT community_uri FROM channels WHERE uri IN (SELECT value FROM json_each(?2))
        UNION SELECT community_uri FROM channels WHERE rkey IN (SELECT value FROM json_each(?3))
        UNION SELECT community_uri FROM categories WHERE uri IN (SELECT value FROM json_each(?4))
        UNION SELECT uri FROM communities WHERE owner_did IN (SELECT value FROM json_each(?10))
    ), posted(uri) AS (
        SELECT value FROM json_each(?5)
        UNION SELECT uri FROM messages WHERE rkey IN (SELECT value FROM json_each(?8))
        UNION SELECT target_uri FROM reactions WHERE uri IN (SELECT value FROM json_each(?9))
        UNION SELECT m.uri FROM json_each(?10) d CROSS JOIN messages m
                 ON m.uri > 'at://' || d.value || '/' AND m.uri < 'at://' || d.value || '0' WHERE m.sort_at >= ?11
    ), spoken(uri) AS (
        SELECT channel_uri FROM messages WHERE uri IN (SELECT uri FROM posted)
        UNION SELECT channel_uri FROM gone_messages WHERE rkey IN (SELECT value FROM json_each(?8))
    ), joined(uri) AS (
        SELECT community_uri FROM memberships WHERE uri IN (SELECT value FROM json_each(?6))
        UNION SELECT community_uri FROM members WHERE from_membership IN (SELECT value FROM json_each(?6))
        UNION SELECT m.community_uri FROM approvals a JOIN memberships m ON m.uri = a.membership_uri
               WHERE a.uri IN (SELECT value FROM json_each(?7))
        UNION SELECT community_uri FROM memberships WHERE member_did IN (SELECT value FROM json_each(?10))
        UNION SELECT community_uri FROM members WHERE member_did IN (SELECT value FROM json_each(?10))
    ), wanted(uri) AS (
        SELECT uri FROM named
        UNION SELECT community_uri FROM channels WHERE uri IN (SELECT uri FROM spoken)
        UNION SELECT uri FROM joined
    )
    SELECT json_object('uri', uri, 'name', name, 'description', description, 'picture', picture,
        'category_order', category_order,
        'requires_approval_to_join', json(iif(requires_approval_to_join, 'true', 'false')),
        'banner', banner, 'link_embeds', json(iif(link_embeds IS NULL, 'null', iif(link_embeds, 'true', 'false'))),
        'migrated_to', migrated_to, 'migrated_from', migrated_from, 'appview', appview,
        'unread', json(iif(rkey = 'self' AND NOT EXISTS (
            SELECT 1 FROM repos r WHERE r.did = owner_did AND r.synced_at IS NOT NULL), 'true', 'false')),
        'hidden', json(iif(hidden, 'true', 'false')),
        'rev', rev, 'indexed_at', indexed_at) AS row
    FROM communities WHERE uri IN (SELECT uri FROM wanted) AND uri NOT IN (SELECT value FROM json_each(?12))";
    const STORE: &'static str = concat!("
    INSERT INTO communities (uri, owner_did, rkey, name, description, picture, category_order,
        requires_approval_to_join, banner, link_embeds, migrated_to, migrated_from, appview, hidden, rev,
        indexed_at, cid)
    SELECT value ->> 'uri', value ->> 'authority', value ->> 'rkey', value ->> 'name',
        value ->> 'description', value ->> 'picture', value ->> 'category_order',
        value ->> 'requires_approval_to_join', value ->> 'banner', value ->> 'link_embeds',
        value ->> 'migrated_to', value ->> 'migrated_from', value ->> 'appview', value ->> 'hidden', value ->> 'rev', value ->> 'indexed_at', value ->> 'cid'
    FROM ", row_objects!(), " WHERE true
    ON CONFLICT (uri) DO UPDATE SET name = excluded.name, description = excluded.description,
        picture = excluded.picture, category_order = excluded.category_order,
        requires_approval_to_join = excluded.requires_approval_to_join, banner = excluded.banner,
        link_embeds = excluded.link_embeds, migrated_to = excluded.migrated_to,
        migrated_from = excluded.migrated_from, appview = excluded.appview, hidden = excluded.hidden, rev = excluded.rev,
        indexed_at = excluded.indexed_at, cid = coalesce(excluded.cid, cid)
    WHERE excluded.rev >= rev");
    const PURGE: &'static [Purge] = purges!(
        "DELETE FROM communities WHERE uri IN (
             SELECT c.uri FROM json_each(?1) d CROSS JOIN communities c ON c.owner_did = d.value LIMIT ?2)"
    );
    const HIDE: Option<&'static str> = Some("UPDATE communities SET hidden = ?2 WHERE owner_did = ?1");

    fn asked(asked: &Asked) -> Vec<Param> {
        vec![
            asked.communities(),
            asked.channels(),
            asked.strange_rkeys(),
            asked.categories(),
            asked.messages(),
            asked.memberships(),
            asked.approvals(),
            asked.target_rkeys(),
            asked.reactions(),
            asked.accounts(),
            asked.since(),
            asked.known_communities(),
        ]
    }
}

impl Stored for ChannelRow {
    const PART: Option<Part> = Some(Part::Places);
    const READ: &'static str = "
    WITH posted(uri) AS (
        SELECT value FROM json_each(?3)
        UNION SELECT uri FROM messages WHERE rkey IN (SELECT value FROM json_each(?5))
        UNION SELECT target_uri FROM reactions WHERE uri IN (SELECT value FROM json_each(?6))
        UNION SELECT m.uri FROM json_each(?7) d CROSS JOIN messages m
                 ON m.uri > 'at://' || d.value || '/' AND m.uri < 'at://' || d.value || '0' WHERE m.sort_at >= ?8
    ), spoken(uri) AS (
        SELECT channel_uri FROM messages WHERE uri IN (SELECT uri FROM posted)
        UNION SELECT channel_uri FROM gone_messages WHERE rkey IN (SELECT value FROM json_each(?5))
    ), wanted(uri) AS (
        SELECT value FROM json_each(?1)
        UNION SELECT uri FROM channels WHERE rkey IN (SELECT value FROM json_each(?2))
        UNION SELECT uri FROM spoken
        UNION SELECT uri FROM channels WHERE community_uri IN (SELECT value FROM json_each(?4))
        UNION SELECT ch.uri FROM communities c JOIN channels ch ON ch.community_uri = c.uri
               WHERE c.owner_did IN (SELECT value FROM json_each(?7))
    )
    SELECT json_object('uri', uri, 'community_uri', community_uri, 'name', name,
        'description', description, 'channel_type', channel_type, 'category_rkey', category_rkey,
        'owner_only', json(iif(owner_only, 'true', 'false')),
        'allowed_roles', allowed_roles, 'allowed_members', allowed_members,
        'link_embeds', json(iif(link_embeds IS NULL, 'null', iif(link_embeds, 'true', 'false'))),
        'migrated_from', migrated_from,
        'rev', rev, 'indexed_at', indexed_at) AS row
    FROM channels WHERE uri IN (SELECT uri FROM wanted) AND uri NOT IN (SELECT value FROM json_each(?9))";
    const STORE: &'static str = concat!("
    INSERT INTO channels (uri, rkey, community_uri, name, description, channel_type, category_rkey,
        owner_only, allowed_roles, allowed_members, link_embeds, migrated_from, rev, indexed_at, cid)
    SELECT value ->> 'uri', value ->> 'rkey', value ->> 'community_uri', value ->> 'name',
        value ->> 'description', value ->> 'channel_type', value ->> 'category_rkey',
        value ->> 'owner_only', value ->> 'allowed_roles', value ->> 'allowed_members',
        value ->> 'link_embeds', value ->> 'migrated_from', value ->> 'rev', value ->> 'indexed_at', value ->> 'cid'
    FROM ", row_objects!(), " WHERE true
    ON CONFLICT (uri) DO UPDATE SET community_uri = excluded.community_uri, name = excluded.name,
        description = excluded.description, channel_type = excluded.channel_type,
        category_rkey = excluded.category_rkey, owner_only = excluded.owner_only,
        allowed_roles = excluded.allowed_roles, allowed_members = excluded.allowed_members,
        link_embeds = excluded.link_embeds, migrated_from = excluded.migrated_from, rev = excluded.rev, indexed_at = excluded.indexed_at,
        cid = coalesce(excluded.cid, cid)
    WHERE excluded.rev >= rev");
    const PURGE: &'static [Purge] = purges!(
        "DELETE FROM channels WHERE uri IN (SELECT c.uri FROM json_each(?1) d CROSS JOIN channels c
             ON c.uri > 'at://' || d.value || '/' AND c.uri < 'at://' || d.value || '0' LIMIT ?2)"
    );
    const HIDE: Option<&'static str> = None;

    fn asked(asked: &Asked) -> Vec<Param> {
        vec![
            asked.channels(),
            asked.strange_rkeys(),
            asked.messages(),
            asked.communities(),
            asked.target_rkeys(),
            asked.reactions(),
            asked.accounts(),
            asked.since(),
            asked.known_channels(),
        ]
    }
}

impl Stored for CategoryRow {
    const PART: Option<Part> = Some(Part::Places);
    const READ: &'static str = "
    SELECT json_object('uri', uri, 'community_uri', community_uri, 'name', name,
        'channel_order', channel_order, 'rev', rev, 'indexed_at', indexed_at) AS row
    FROM categories WHERE uri IN (SELECT value FROM json_each(?1))";
    const STORE: &'static str = concat!("
    INSERT INTO categories (uri, rkey, community_uri, name, channel_order, rev, indexed_at, cid)
    SELECT value ->> 'uri', value ->> 'rkey', value ->> 'community_uri', value ->> 'name',
        value ->> 'channel_order', value ->> 'rev', value ->> 'indexed_at', value ->> 'cid'
    FROM ", row_objects!(), " WHERE true
    ON CONFLICT (uri) DO UPDATE SET community_uri = excluded.community_uri, name = excluded.name,
        channel_order = excluded.channel_order, rev = excluded.rev, indexed_at = excluded.indexed_at, cid = coalesce(excluded.cid, cid)
    WHERE excluded.rev >= rev");
    const PURGE: &'static [Purge] = purges!(
        "DELETE FROM categories WHERE uri IN (SELECT c.uri FROM json_each(?1) d CROSS JOIN categories c
             ON c.uri > 'at://' || d.value || '/' AND c.uri < 'at://' || d.value || '0' LIMIT ?2)"
    );
    const HIDE: Option<&'static str> = None;

    fn asked(asked: &Asked) -> Vec<Param> {
        vec![asked.categories()]
    }
}
