//! What the service stores about a person, and which communities would lose their only owner: N171d.

use serde::Deserialize;

use super::super::super::{Fault, Statement, Store, rows};
use crate::wire::ids::{AtUri, Did};

/// How many rows the service stores about a person.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Stored {
    /// Records of the person.
    pub records: i64,
    /// Records that make up communities of theirs.
    pub of_communities: i64,
    /// Profile, identity, proofs.
    pub state: i64,
    /// Invitations to communities of theirs.
    pub invitations: i64,
    /// Applications of theirs that were dismissed.
    pub dismissed: i64,
}

/// A community that would lose its only owner.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct SoleOwned {
    /// The community.
    pub uri: AtUri,
    /// Its name.
    pub name: String,
    /// Its picture, as stored.
    pub picture: Option<String>,
    /// How many people take part in it.
    pub members: i64,
}

/// The most communities that are listed.
const SOLE_MAX: i64 = 100;

/// What is stored about a person, and the communities that only they own, by AT-URI.
pub async fn account(store: &impl Store, did: &Did) -> Result<(Stored, Vec<SoleOwned>), Fault> {
    let asked = [
        Statement::new(STORED, [did.as_str().into()]),
        Statement::new(SOLE, [did.as_str().into(), SOLE_MAX.into()]),
    ];
    let answers = store.read(&asked).await?;
    let stored: Option<Stored> = rows(answers.first())?.pop();
    Ok((stored.unwrap_or_default(), rows(answers.get(1))?))
}

macro_rules! count_of {
    ($table:literal) => {
        concat!(
            "(SELECT count(*) FROM ",
            $table,
            " WHERE uri > 'at://' || ?1 || '/' AND uri < 'at://' || ?1 || '0')"
        )
    };
}

const STORED: &str = concat!(
    "SELECT json_object('records', ",
    count_of!("messages"),
    " + ",
    count_of!("reactions"),
    " + ",
    count_of!("memberships"),
    " + ",
    count_of!("approvals"),
    " + ",
    count_of!("channel_reads"),
    " + ",
    count_of!("actors"),
    " + ",
    count_of!("actor_profiles"),
    " + ",
    count_of!("mutes"),
    " + ",
    count_of!("preferences"),
    ", 'of_communities', ",
    count_of!("communities"),
    " + ",
    count_of!("channels"),
    " + ",
    count_of!("categories"),
    " + ",
    count_of!("roles"),
    " + ",
    count_of!("members"),
    " + ",
    count_of!("moderations"),
    ", 'state', (SELECT count(*) FROM people WHERE did = ?1) + (SELECT count(*) FROM identities WHERE did = ?1)
        + (SELECT count(*) FROM proofs WHERE did = ?1),
    'invitations', (SELECT count(*) FROM invites
        WHERE community_uri > 'at://' || ?1 || '/' AND community_uri < 'at://' || ?1 || '0'),
    'dismissed', (SELECT count(*) FROM dismissed WHERE member_did = ?1)) AS row"
);

// Whether the person (SQL) holds a protected role in the community c. The roles of an admission are a list of
// keys, and a quoted key is no part of another.
macro_rules! holds_protected {
    ($whose:literal) => {
        concat!(
            "EXISTS (SELECT 1 FROM members a CROSS JOIN roles r ON r.community_uri = a.community_uri
                WHERE a.community_uri = c.uri AND a.member_did ",
            $whose,
            " AND NOT a.hidden AND r.protected AND instr(a.roles, json_quote(r.rkey)) > 0)"
        )
    };
}

// Communities whose account they are, and those in which nobody else holds a protected role (N20).
const SOLE: &str = concat!(
    "SELECT json_object('uri', c.uri, 'name', c.name, 'picture', c.picture, 'members', (
            SELECT count(*) FROM (
                SELECT member_did AS did FROM memberships WHERE community_uri = c.uri AND NOT hidden
                UNION SELECT member_did FROM members WHERE community_uri = c.uri AND NOT hidden) w
            WHERE NOT EXISTS (SELECT 1 FROM bans b WHERE b.community_uri = c.uri AND b.member_did = w.did))) AS row
    FROM communities c
    WHERE c.uri IN (SELECT uri FROM communities WHERE owner_did = ?1
                    UNION SELECT community_uri FROM members WHERE member_did = ?1 AND NOT hidden)
      AND NOT c.hidden AND (c.owner_did = ?1 OR (",
    holds_protected!("= ?1"),
    " AND NOT ",
    holds_protected!("<> ?1"),
    "))
    ORDER BY c.uri LIMIT ?2"
);
