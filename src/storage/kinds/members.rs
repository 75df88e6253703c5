//! Memberships and approvals (section 8.7).

use super::{Asked, Purge, Stored, people_concerned, purges};
use crate::domain::editions::Part;
use crate::domain::rows::{ApprovalRow, MembershipRow};
use crate::storage::Param;

impl Stored for MembershipRow {
    const PART: Option<Part> = Some(Part::Standings);
    const READ: &'static str = people_concerned!(
        "SELECT json_object('uri', uri, 'member_did', member_did, 'community_uri', community_uri,
        'hidden', json(iif(hidden, 'true', 'false')), 'rev', rev, 'indexed_at', indexed_at) AS row
    FROM memberships WHERE member_did IN (SELECT did FROM concerned)"
    );
    const STORE: &'static str = "
    INSERT INTO memberships (uri, member_did, community_uri, hidden, rev, indexed_at)
    SELECT value ->> 'uri', value ->> 'member_did', value ->> 'community_uri', value ->> 'hidden',
        value ->> 'rev', value ->> 'indexed_at'
    FROM json_each(?1) WHERE true
    ON CONFLICT (uri) DO UPDATE SET community_uri = excluded.community_uri, hidden = excluded.hidden,
        rev = excluded.rev, indexed_at = excluded.indexed_at
    WHERE excluded.rev >= rev";
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
    const STORE: &'static str = "
    INSERT INTO approvals (uri, approver_did, membership_uri, community_uri, rev, indexed_at)
    SELECT value ->> 'uri', value ->> 'authority', value ->> 'membership_uri', value ->> 'community_uri',
        value ->> 'rev', value ->> 'indexed_at'
    FROM json_each(?1) WHERE true
    ON CONFLICT (uri) DO UPDATE SET membership_uri = excluded.membership_uri,
        community_uri = excluded.community_uri, rev = excluded.rev, indexed_at = excluded.indexed_at
    WHERE excluded.rev >= rev";
    const PURGE: &'static [Purge] = purges!(
        "DELETE FROM approvals WHERE uri IN (SELECT a.uri FROM json_each(?1) d CROSS JOIN approvals a
             ON a.uri > 'at://' || d.value || '/' AND a.uri < 'at://' || d.value || '0' LIMIT ?2)"
    );
    const HIDE: Option<&'static str> = None;

    fn asked(asked: &Asked) -> Vec<Param> {
        vec![asked.strangers(), asked.approvals(), asked.closing(), asked.memberships()]
    }
}
