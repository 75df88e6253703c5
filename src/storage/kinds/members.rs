//! Memberships and approvals (section 8.7), admissions and roles (section 12).

use super::{Asked, Purge, Stored, people_concerned, purges};
use crate::domain::editions::Part;
use crate::domain::rows::{ApprovalRow, MemberRow, MembershipRow, ModerationRow, RoleRow};
use crate::storage::Param;
use crate::wire::ids::Collection;

impl Stored for MembershipRow {
    const PART: Option<Part> = Some(Part::Standings);
    const READ: &'static str = people_concerned!(
        "SELECT json_object('uri', uri, 'member_did', member_did, 'community_uri', community_uri,
        'hidden', json(iif(hidden, 'true', 'false')), 'rev', rev, 'indexed_at', indexed_at) AS row
    FROM memberships WHERE member_did IN (SELECT did FROM concerned)"
    );
    const STORE: &'static str = concat!(
        "
    INSERT INTO memberships (uri, member_did, community_uri, hidden, rev, indexed_at, cid)
    SELECT value ->> 'uri', value ->> 'member_did', value ->> 'community_uri', value ->> 'hidden',
        value ->> 'rev', value ->> 'indexed_at', value ->> 'cid'
    FROM ",
        row_objects!(),
        " WHERE true
    ON CONFLICT (uri) DO UPDATE SET community_uri = excluded.community_uri, hidden = excluded.hidden,
        rev = excluded.rev, indexed_at = excluded.indexed_at, cid = coalesce(excluded.cid, cid)
    WHERE excluded.rev >= rev"
    );
    const PURGE: &'static [Purge] = purges!(
        "DELETE FROM memberships WHERE uri IN (
             SELECT m.uri FROM json_each(?1) d CROSS JOIN memberships m ON m.member_did = d.value LIMIT ?2)"
    );
    const HIDE: Option<&'static str> = Some("UPDATE memberships SET hidden = ?2 WHERE member_did = ?1");

    fn asked(asked: &Asked) -> Vec<Param> {
        vec![asked.strangers(), asked.approvals(), asked.closing()]
    }
}

impl Stored for ApprovalRow {
    const PART: Option<Part> = Some(Part::Standings);
    const READ: &'static str = people_concerned!(
        ", wanted(uri) AS (
        SELECT uri FROM memberships WHERE member_did IN (SELECT did FROM concerned)
        UNION SELECT value FROM json_each(?4)
    )
    SELECT json_object('uri', uri, 'membership_uri', membership_uri, 'community_uri', community_uri,
        'rev', rev, 'indexed_at', indexed_at) AS row
    FROM approvals
    WHERE membership_uri IN (SELECT uri FROM wanted) OR uri IN (SELECT value FROM json_each(?2))"
    );
    const STORE: &'static str = concat!("
    INSERT INTO approvals (uri, approver_did, membership_uri, community_uri, rev, indexed_at, cid)
    SELECT value ->> 'uri', value ->> 'authority', value ->> 'membership_uri', value ->> 'community_uri',
        value ->> 'rev', value ->> 'indexed_at', value ->> 'cid'
    FROM ", row_objects!(), " WHERE true
    ON CONFLICT (uri) DO UPDATE SET membership_uri = excluded.membership_uri,
        community_uri = excluded.community_uri, rev = excluded.rev, indexed_at = excluded.indexed_at, cid = coalesce(excluded.cid, cid)
    WHERE excluded.rev >= rev");
    const PURGE: &'static [Purge] = purges!(
        "DELETE FROM approvals WHERE uri IN (SELECT a.uri FROM json_each(?1) d CROSS JOIN approvals a
             ON a.uri > 'at://' || d.value || '/' AND a.uri < 'at://' || d.value || '0' LIMIT ?2)"
    );
    const HIDE: Option<&'static str> = None;

    fn asked(asked: &Asked) -> Vec<Param> {
        vec![asked.strangers(), asked.approvals(), asked.closing(), asked.memberships()]
    }
}

impl Stored for MemberRow {
    const PART: Option<Part> = Some(Part::Standings);
    const READ: &'static str = people_concerned!(
        "SELECT json_object('uri', uri, 'member_did', member_did, 'community_uri', community_uri,
        'roles', roles, 'nickname', nickname, 'from_membership', from_membership,
        'withdrawn', json(iif(withdrawn, 'true', 'false')), 'hidden', json(iif(hidden, 'true', 'false')),
        'rev', rev, 'indexed_at', indexed_at) AS row
    FROM members WHERE member_did IN (SELECT did FROM concerned)"
    );
    const STORE: &'static str = concat!(
        "
    INSERT INTO members (uri, rkey, member_did, community_uri, roles, nickname, from_membership, withdrawn,
        hidden, rev, indexed_at, cid)
    SELECT value ->> 'uri', value ->> 'rkey', value ->> 'member_did', value ->> 'community_uri',
        value ->> 'roles', value ->> 'nickname', value ->> 'from_membership', value ->> 'withdrawn',
        value ->> 'hidden', value ->> 'rev', value ->> 'indexed_at', value ->> 'cid'
    FROM ",
        row_objects!(),
        " WHERE true
    ON CONFLICT (uri) DO UPDATE SET member_did = excluded.member_did, roles = excluded.roles,
        nickname = excluded.nickname, from_membership = excluded.from_membership,
        withdrawn = excluded.withdrawn, hidden = excluded.hidden, rev = excluded.rev,
        indexed_at = excluded.indexed_at, cid = coalesce(excluded.cid, cid)
    WHERE excluded.rev >= rev"
    );
    const PURGE: &'static [Purge] = purges!(
        "DELETE FROM members WHERE uri IN (SELECT m.uri FROM json_each(?1) d CROSS JOIN members m
             ON m.uri > 'at://' || d.value || '/' AND m.uri < 'at://' || d.value || '0' LIMIT ?2)"
    );
    const HIDE: Option<&'static str> = Some("UPDATE members SET hidden = ?2 WHERE member_did = ?1");

    fn asked(asked: &Asked) -> Vec<Param> {
        vec![asked.strangers(), asked.approvals(), asked.closing()]
    }
}

/// Those touched, and all of communities that are touched or to which people who are asked about are
/// admitted.
impl Stored for RoleRow {
    const PART: Option<Part> = Some(Part::Standings);
    const READ: &'static str = "
    WITH wanted(uri) AS (
        SELECT value FROM json_each(?1)
        UNION SELECT uri FROM roles WHERE community_uri IN (SELECT value FROM json_each(?2))
        UNION SELECT r.uri FROM members m JOIN roles r ON r.community_uri = m.community_uri
               WHERE m.member_did IN (SELECT value FROM json_each(?3))
    )
    SELECT json_object('uri', uri, 'did', did, 'community_uri', community_uri, 'name', name,
        'color', color, 'permissions', permissions, 'position', position,
        'hoisted', json(iif(hoisted, 'true', 'false')), 'mentionable', json(iif(mentionable, 'true', 'false')),
        'protected', json(iif(protected, 'true', 'false')), 'channel_overrides', channel_overrides,
        'rev', rev, 'indexed_at', indexed_at) AS row
    FROM roles WHERE uri IN (SELECT uri FROM wanted)";
    const STORE: &'static str = concat!(
        "
    INSERT INTO roles (uri, rkey, did, community_uri, name, color, permissions, position, hoisted,
        mentionable, protected, channel_overrides, rev, indexed_at, cid)
    SELECT value ->> 'uri', value ->> 'rkey', value ->> 'did', value ->> 'community_uri', value ->> 'name',
        value ->> 'color', value ->> 'permissions', value ->> 'position', value ->> 'hoisted',
        value ->> 'mentionable', value ->> 'protected', value ->> 'channel_overrides', value ->> 'rev',
        value ->> 'indexed_at', value ->> 'cid'
    FROM ",
        row_objects!(),
        " WHERE true
    ON CONFLICT (uri) DO UPDATE SET name = excluded.name, color = excluded.color,
        permissions = excluded.permissions, position = excluded.position, hoisted = excluded.hoisted,
        mentionable = excluded.mentionable, protected = excluded.protected,
        channel_overrides = excluded.channel_overrides, rev = excluded.rev, indexed_at = excluded.indexed_at,
        cid = coalesce(excluded.cid, cid)
    WHERE excluded.rev >= rev"
    );
    const PURGE: &'static [Purge] = purges!(
        "DELETE FROM roles WHERE uri IN (
             SELECT r.uri FROM json_each(?1) d CROSS JOIN roles r ON r.did = d.value LIMIT ?2)"
    );
    const HIDE: Option<&'static str> = None;
    const KEPT: Option<i64> = Some(250);

    fn asked(asked: &Asked) -> Vec<Param> {
        vec![asked.touched(Collection::Role), asked.role_communities(), asked.strangers()]
    }
}

/// Of the subjects concerned, all decisions that are touched and the newest of the others: the last word is
/// among them. About previews the newest fifty (`domain::embeds`).
impl Stored for ModerationRow {
    const PART: Option<Part> = None;
    const READ: &'static str = "
    WITH subjects(community, about, subject) AS (
        SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?2)
        UNION SELECT community_uri, about, subject FROM moderations
               WHERE uri IN (SELECT value FROM json_each(?1))
        UNION SELECT m.community_uri, m.about, m.subject FROM json_each(?3) p
                CROSS JOIN moderations m ON m.subject = p.value AND m.about IN ('message', 'embeds')
    ), wanted(uri) AS (
        SELECT value FROM json_each(?1)
        UNION SELECT (SELECT m.uri FROM moderations m
                       WHERE m.subject = s.subject AND m.about = s.about AND m.community_uri = s.community
                         AND m.uri NOT IN (SELECT value FROM json_each(?1))
                       ORDER BY m.uri DESC LIMIT 1) FROM subjects s
        UNION SELECT m.uri FROM subjects s CROSS JOIN moderations m ON m.uri IN (
                  SELECT e.uri FROM moderations e
                   WHERE e.subject = s.subject AND e.about = s.about AND e.community_uri = s.community
                     AND e.uri NOT IN (SELECT value FROM json_each(?1))
                   ORDER BY e.uri DESC LIMIT 50)
               WHERE s.about = 'embeds'
    )
    SELECT json_object('uri', uri, 'community_uri', community_uri, 'action', action, 'about', about,
        'subject', subject, 'embeds', embeds, 'reason', reason, 'created_by', created_by,
        'created_at', created_at, 'rev', rev, 'indexed_at', indexed_at) AS row
    FROM moderations WHERE uri IN (SELECT uri FROM wanted)";
    const STORE: &'static str = concat!(
        "
    INSERT INTO moderations (uri, rkey, community_uri, action, about, subject, embeds, reason, created_by,
        created_at, rev, indexed_at, cid)
    SELECT value ->> 'uri', value ->> 'rkey', value ->> 'community_uri', value ->> 'action',
        value ->> 'about', value ->> 'subject', value ->> 'embeds', value ->> 'reason',
        value ->> 'created_by', value ->> 'created_at', value ->> 'rev', value ->> 'indexed_at',
        value ->> 'cid'
    FROM ",
        row_objects!(),
        " WHERE true
    ON CONFLICT (uri) DO UPDATE SET action = excluded.action, about = excluded.about,
        subject = excluded.subject, embeds = excluded.embeds, reason = excluded.reason,
        created_by = excluded.created_by, created_at = excluded.created_at, rev = excluded.rev,
        indexed_at = excluded.indexed_at, cid = coalesce(excluded.cid, cid)
    WHERE excluded.rev >= rev"
    );
    // What they came to goes with them: bans by record with what these hide, then hidden messages, each
    // before the decision by which it is found.
    const PURGE: &'static [Purge] = purges!(
        "UPDATE messages SET hidden = hidden & 1 WHERE uri IN (
             SELECT m.uri FROM json_each(?1) d
             CROSS JOIN bans b ON b.community_uri = 'at://' || d.value || '/social.colibri.community/self'
             CROSS JOIN messages m
               ON m.uri > 'at://' || b.member_did || '/' AND m.uri < 'at://' || b.member_did || '0'
             WHERE b.by_record AND m.hidden & 2
               AND +m.channel_uri > 'at://' || d.value || '/' AND +m.channel_uri < 'at://' || d.value || '0' LIMIT ?2)",
        "UPDATE bans SET by_record = 0 WHERE (community_uri, member_did) IN (
             SELECT b.community_uri, b.member_did FROM json_each(?1) d
             CROSS JOIN bans b ON b.community_uri = 'at://' || d.value || '/social.colibri.community/self'
             WHERE b.by_record AND NOT EXISTS (
                 SELECT 1 FROM messages m
                  WHERE m.uri > 'at://' || b.member_did || '/' AND m.uri < 'at://' || b.member_did || '0'
                    AND m.hidden & 2
                    AND +m.channel_uri > 'at://' || d.value || '/' AND +m.channel_uri < 'at://' || d.value || '0')
             LIMIT ?2)",
        "DELETE FROM bans WHERE (community_uri, member_did) IN (
             SELECT b.community_uri, b.member_did FROM json_each(?1) d
             CROSS JOIN bans b ON b.community_uri = 'at://' || d.value || '/social.colibri.community/self'
             WHERE NOT b.by_record AND NOT b.by_service LIMIT ?2)",
        "UPDATE blocks SET by_record = 0 WHERE by_record AND uri IN (SELECT subject FROM (
             SELECT m.subject FROM json_each(?1) d CROSS JOIN moderations m
               ON m.uri > 'at://' || d.value || '/' AND m.uri < 'at://' || d.value || '0'
             ORDER BY m.uri LIMIT ?2))",
        "DELETE FROM blocks WHERE NOT by_record AND NOT by_service AND uri IN (SELECT subject FROM (
             SELECT m.subject FROM json_each(?1) d CROSS JOIN moderations m
               ON m.uri > 'at://' || d.value || '/' AND m.uri < 'at://' || d.value || '0'
             ORDER BY m.uri LIMIT ?2))",
        "DELETE FROM moderations WHERE uri IN (
             SELECT m.uri FROM json_each(?1) d CROSS JOIN moderations m
               ON m.uri > 'at://' || d.value || '/' AND m.uri < 'at://' || d.value || '0'
             ORDER BY m.uri LIMIT ?2)",
    );
    const HIDE: Option<&'static str> = None;

    fn asked(asked: &Asked) -> Vec<Param> {
        vec![asked.touched(Collection::Moderation), Param::json(&asked.needs.subjects), asked.messages()]
    }
}
