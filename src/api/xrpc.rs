//! The methods of Colibri's lexicons: what the newest client calls, through the PDS of its person or
//! directly (contract, section 13).
//!
//! A handler's doc line is its method and rule. Extractors, limits and authority are those of `/api`; a
//! token names the method itself (N150), answers are those of the lexicon (N160), and errors are spelled
//! as N157 says. A method that is not in this table may still be one of `/api` (X10).

mod actor;
mod channel;
mod community;
mod identity;
mod server;

use super::router::{Route, lexicons, routes};
use super::{Answer, Call};
use super::{blob, sockets};

/// Every method of the lexicons that the service answers.
pub(super) const METHODS: &[Route] = lexicons! {
    GET  "com.atproto.identity.resolveDid"         N160q identity::resolve_did;
    GET  "com.atproto.identity.resolveHandle"      N160a identity::resolve_handle;
    GET  "com.atproto.sync.getBlob"                N160k blob::blob;
    GET  "social.colibri.actor.getData"            N160d actor::get_data cached;
    GET  "social.colibri.actor.listCommunities"    N160e actor::list_communities;
    GET  "social.colibri.actor.listMutes"          N160n actor::list_mutes;
    POST "social.colibri.actor.setState"           N160p actor::set_state;
    GET  "social.colibri.channel.getChannelView"   N160f channel::get_channel_view;
    GET  "social.colibri.channel.getReadCursor"    N160l channel::get_read_cursor;
    GET  "social.colibri.channel.listMessages"     N160i channel::list_messages cached;
    GET  "social.colibri.channel.listUnreadStatus" N160h channel::list_unread_status;
    GET  "social.colibri.community.getData"        N160g community::get_data cached;
    GET  "social.colibri.server.describeServer"    N160b server::describe cached;
    GET  "social.colibri.sync.subscribeEvents"     N161 sockets::subscribe_events;
};

/// Whether a path is that of a method in the table.
pub(super) fn has(path: &str) -> bool {
    METHODS.iter().any(|method| method.path == path)
}
