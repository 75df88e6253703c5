//! What people write about themselves: actor records (I33), read marks (I38), and those of the newest
//! form (section 12.5).

use super::{Asked, Purge, Stored, purges};
use crate::domain::editions::Part;
use crate::domain::rows::{ActorProfileRow, ActorRow, ChannelReadRow, MuteRow, PreferenceRow};
use crate::storage::Param;
use crate::wire::ids::Collection;

/// All actor records of a person count as one entry.
impl Stored for ActorRow {
    const PART: Option<Part> = None;
    const READ: &'static str = "
    SELECT json_object('uri', uri, 'did', did, 'communities', communities, 'rev', rev,
        'indexed_at', indexed_at) AS row
    FROM actors WHERE uri IN (SELECT value FROM json_each(?1))";
    const STORE: &'static str = concat!(
        "
    INSERT INTO actors (uri, did, communities, rev, indexed_at, cid)
    SELECT value ->> 'uri', value ->> 'did', value ->> 'communities', value ->> 'rev', value ->> 'indexed_at',
        value ->> 'cid'
    FROM ",
        row_objects!(),
        " WHERE true
    ON CONFLICT (uri) DO UPDATE SET communities = excluded.communities, rev = excluded.rev,
        indexed_at = excluded.indexed_at, cid = coalesce(excluded.cid, cid)
    WHERE excluded.rev >= rev"
    );
    const PURGE: &'static [Purge] = purges!(
        "DELETE FROM actors WHERE uri IN (
             SELECT a.uri FROM json_each(?1) d CROSS JOIN actors a ON a.did = d.value LIMIT ?2)"
    );
    const HIDE: Option<&'static str> = None;
    const KEPT: Option<i64> = Some(20);

    fn asked(asked: &Asked) -> Vec<Param> {
        vec![asked.touched(Collection::ActorData)]
    }
}

/// Clients write one mark for each channel. What else is only for the person goes with the marks.
impl Stored for ChannelReadRow {
    const PART: Option<Part> = Some(Part::Marks);
    // The marks that the batch writes (?1), and all of the same person and channel (?2: [did,
    // channel] pairs).
    const READ: &'static str = "
    WITH wanted(uri) AS (
        SELECT value FROM json_each(?1)
        UNION SELECT r.uri FROM json_each(?2) p
                JOIN channel_reads r ON r.did = p.value ->> 0 AND r.channel_uri = p.value ->> 1
    )
    SELECT json_object('uri', uri, 'did', did, 'channel_uri', channel_uri, 'cursor_at', cursor_at,
        'cursor_uri', cursor_uri, 'rev', rev, 'indexed_at', indexed_at) AS row
    FROM channel_reads WHERE uri IN (SELECT uri FROM wanted)";
    const STORE: &'static str = concat!(
        "
    INSERT INTO channel_reads (uri, did, channel_uri, cursor_at, cursor_uri, rev, indexed_at, cid)
    SELECT value ->> 'uri', value ->> 'did', value ->> 'channel_uri', value ->> 'cursor_at',
        value ->> 'cursor_uri', value ->> 'rev', value ->> 'indexed_at', value ->> 'cid'
    FROM ",
        row_objects!(),
        " WHERE true
    ON CONFLICT (uri) DO UPDATE SET channel_uri = excluded.channel_uri, cursor_at = excluded.cursor_at,
        cursor_uri = excluded.cursor_uri, rev = excluded.rev, indexed_at = excluded.indexed_at,
        cid = coalesce(excluded.cid, cid)
    WHERE excluded.rev >= rev"
    );
    const PURGE: &'static [Purge] = purges!(
        "DELETE FROM channel_reads WHERE uri IN (
             SELECT r.uri FROM json_each(?1) d CROSS JOIN channel_reads r ON r.did = d.value LIMIT ?2)",
        "DELETE FROM read_positions WHERE (did, channel_uri) IN (
             SELECT r.did, r.channel_uri FROM json_each(?1) d CROSS JOIN read_positions r ON r.did = d.value LIMIT ?2)",
        "DELETE FROM rhythms WHERE (did, community_uri) IN (
             SELECT r.did, r.community_uri FROM json_each(?1) d CROSS JOIN rhythms r ON r.did = d.value LIMIT ?2)",
        "DELETE FROM digests WHERE did IN (
             SELECT r.did FROM json_each(?1) d CROSS JOIN digests r ON r.did = d.value LIMIT ?2)",
        "DELETE FROM push_subscriptions WHERE endpoint IN (
             SELECT r.endpoint FROM json_each(?1) d CROSS JOIN push_subscriptions r ON r.did = d.value LIMIT ?2)",
        "DELETE FROM notifications WHERE (message_uri, kind, recipient_did) IN (
             SELECT n.message_uri, n.kind, n.recipient_did FROM json_each(?1) d
             CROSS JOIN notifications n ON n.recipient_did = d.value LIMIT ?2)"
    );
    const HIDE: Option<&'static str> = None;
    const KEPT: Option<i64> = Some(1_000);

    fn asked(asked: &Asked) -> Vec<Param> {
        vec![asked.touched(Collection::ChannelRead), Param::json(&asked.needs.read_channels)]
    }
}

/// One of each person.
impl Stored for ActorProfileRow {
    const PART: Option<Part> = Some(Part::People);
    const READ: &'static str = "
    SELECT json_object('uri', uri, 'did', did, 'display_name', display_name, 'description', description,
        'avatar', avatar, 'banner', banner, 'sync_bluesky',
        json(iif(sync_bluesky, 'true', 'false')), 'theme', theme, 'presence_service', presence_service, 'preferred_badge',
        preferred_badge, 'rev', rev, 'indexed_at', indexed_at) AS row
    FROM actor_profiles WHERE uri IN (SELECT value FROM json_each(?1))";
    const STORE: &'static str = concat!("
    INSERT INTO actor_profiles (uri, did, display_name, description, avatar, banner, sync_bluesky,
        theme, presence_service, preferred_badge, rev, indexed_at, cid)
    SELECT value ->> 'uri', value ->> 'did', value ->> 'display_name', value ->> 'description',
        value ->> 'avatar', value ->> 'banner', value ->> 'sync_bluesky', value ->> 'theme',
        value ->> 'presence_service', value ->> 'preferred_badge', value ->> 'rev', value ->> 'indexed_at', value ->> 'cid'
    FROM ", row_objects!(), " WHERE true
    ON CONFLICT (uri) DO UPDATE SET display_name = excluded.display_name,
        description = excluded.description, avatar = excluded.avatar, banner = excluded.banner,
        sync_bluesky = excluded.sync_bluesky, theme = excluded.theme,
        presence_service = excluded.presence_service, preferred_badge = excluded.preferred_badge,
        rev = excluded.rev, indexed_at = excluded.indexed_at,
        cid = coalesce(excluded.cid, cid)
    WHERE excluded.rev >= rev");
    const PURGE: &'static [Purge] = purges!(
        "DELETE FROM actor_profiles WHERE uri IN (
             SELECT r.uri FROM json_each(?1) d CROSS JOIN actor_profiles r ON r.did = d.value LIMIT ?2)"
    );
    const HIDE: Option<&'static str> = None;

    fn asked(asked: &Asked) -> Vec<Param> {
        vec![asked.touched(Collection::ActorProfile)]
    }
}

/// One for each channel and community that somebody mutes.
impl Stored for MuteRow {
    const PART: Option<Part> = None;
    const READ: &'static str = "
    SELECT json_object('uri', uri, 'did', did, 'subject', subject, 'rev', rev,
        'indexed_at', indexed_at) AS row
    FROM mutes WHERE uri IN (SELECT value FROM json_each(?1))";
    const STORE: &'static str = concat!(
        "
    INSERT INTO mutes (uri, did, subject, rev, indexed_at, cid)
    SELECT value ->> 'uri', value ->> 'did', value ->> 'subject', value ->> 'rev',
        value ->> 'indexed_at', value ->> 'cid'
    FROM ",
        row_objects!(),
        " WHERE true
    ON CONFLICT (uri) DO UPDATE SET subject = excluded.subject, rev = excluded.rev,
        indexed_at = excluded.indexed_at,
        cid = coalesce(excluded.cid, cid)
    WHERE excluded.rev >= rev"
    );
    const PURGE: &'static [Purge] = purges!(
        "DELETE FROM mutes WHERE uri IN (
             SELECT r.uri FROM json_each(?1) d CROSS JOIN mutes r ON r.did = d.value LIMIT ?2)"
    );
    const HIDE: Option<&'static str> = None;
    const KEPT: Option<i64> = Some(1_000);

    fn asked(asked: &Asked) -> Vec<Param> {
        vec![asked.touched(Collection::Mute)]
    }
}

/// One of each person.
impl Stored for PreferenceRow {
    const PART: Option<Part> = None;
    const READ: &'static str = "
    SELECT json_object('uri', uri, 'did', did, 'level', level, 'rev', rev, 'indexed_at', indexed_at)
        AS row
    FROM preferences WHERE uri IN (SELECT value FROM json_each(?1))";
    const STORE: &'static str = concat!("
    INSERT INTO preferences (uri, did, level, rev, indexed_at, cid)
    SELECT value ->> 'uri', value ->> 'did', value ->> 'level', value ->> 'rev', value ->> 'indexed_at', value ->> 'cid'
    FROM ", row_objects!(), " WHERE true
    ON CONFLICT (uri) DO UPDATE SET level = excluded.level, rev = excluded.rev,
        indexed_at = excluded.indexed_at,
        cid = coalesce(excluded.cid, cid)
    WHERE excluded.rev >= rev");
    const PURGE: &'static [Purge] = purges!(
        "DELETE FROM preferences WHERE uri IN (
             SELECT r.uri FROM json_each(?1) d CROSS JOIN preferences r ON r.did = d.value LIMIT ?2)"
    );
    const HIDE: Option<&'static str> = None;

    fn asked(asked: &Asked) -> Vec<Param> {
        vec![asked.touched(Collection::Preference)]
    }
}
