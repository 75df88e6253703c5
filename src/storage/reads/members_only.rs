//! The community for members only that a read shows something of (X41): asked in the same snapshot as
//! the read itself, by the same resolving of names.

use super::super::Statement;
use crate::wire::ids::AtUri;

/// What a read is about. Each answers with the community, if it is for members only, else with nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum About {
    /// This community (R12–R14).
    Community(String),
    /// The channel that an AT-URI or rkey means (R01, R06; T20).
    Channel(String),
    /// This message (R02).
    Message(AtUri),
    /// The message that an AT-URI or rkey means (R05; T21).
    MessageNamed(String),
}

impl About {
    /// Asks for the community, as `row`.
    pub fn statement(&self) -> Statement {
        match self {
            About::Community(name) => Statement::new(COMMUNITY, [name.as_str().into()]),
            About::Channel(name) => Statement::new(CHANNEL, [name.as_str().into()]),
            About::Message(uri) => Statement::new(MESSAGE, [uri.as_str().into()]),
            About::MessageNamed(name) => Statement::new(MESSAGE_NAMED, [name.as_str().into()]),
        }
    }
}

const COMMUNITY: &str = "SELECT json_quote(community_uri) AS row FROM members_only WHERE community_uri = ?1";

const CHANNEL: &str = concat!(
    target_channel!(),
    "SELECT json_quote(x.community_uri) AS row
     FROM target t JOIN channels ch ON ch.uri = t.uri JOIN members_only x ON x.community_uri = ch.community_uri"
);

const MESSAGE: &str = "
    SELECT json_quote(x.community_uri) AS row
    FROM messages m JOIN channels ch ON ch.uri = m.channel_uri
    JOIN members_only x ON x.community_uri = ch.community_uri WHERE m.uri = ?1";

const MESSAGE_NAMED: &str = concat!(
    message_named!(),
    "SELECT json_quote(x.community_uri) AS row
     FROM target t JOIN members_only x ON x.community_uri = t.community_uri"
);
