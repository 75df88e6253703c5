//! The methods of Colibri's lexicons: what the newest client calls, through the PDS of its person or
//! directly (contract, section 13).
//!
//! A handler's doc line is its method and rule. Extractors, limits and authority are those of `/api`; a
//! token names the method itself (N150), answers are those of the lexicon (N160), and errors are spelled
//! as N157 says. A method that is not in this table may still be one of `/api` (X10).

mod identity;
mod server;

use super::router::{Route, lexicons, routes};
use super::{Answer, Call};
use super::{blob, sockets};

/// Every method of the lexicons that the service answers.
pub(super) const METHODS: &[Route] = lexicons! {
    GET  "com.atproto.identity.resolveHandle"      N160a identity::resolve_handle;
    GET  "com.atproto.sync.getBlob"                N160k blob::blob;
    GET  "social.colibri.server.describeServer"    N160b server::describe cached;
    GET  "social.colibri.sync.subscribeEvents"     N161 sockets::subscribe_events;
};

/// Whether a path is that of a method in the table.
pub(super) fn has(path: &str) -> bool {
    METHODS.iter().any(|method| method.path == path)
}
