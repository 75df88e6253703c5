//! The methods of Colibri's lexicons: what the newest client calls, through the PDS of its person or
//! directly (contract, section 13).
//!
//! A handler's doc line is its method and rule. Extractors, limits and authority are those of `/api`; a
//! token names the method itself (N150), answers are those of the lexicon (N160), and errors are spelled
//! as N157 says. A method that is not in this table may still be one of `/api` (X10).

mod account;
mod actor;
mod channel;
mod community;
mod identity;
mod invitations;
mod notifications;
mod server;
mod waiting;
mod writes;

use super::router::{Route, lexicons, routes};
use super::{Answer, Call};
use super::{blob, sockets};

/// Every method of the lexicons that the service answers.
pub(super) const METHODS: &[Route] = lexicons! {
    GET  "com.atproto.identity.resolveDid"         N160q identity::resolve_did;
    GET  "com.atproto.identity.resolveHandle"      N160a identity::resolve_handle;
    GET  "com.atproto.sync.getBlob"                N160k blob::get_blob;
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

    POST "social.colibri.actor.deleteAccount"               N171d account::delete;
    GET  "social.colibri.actor.getDeletionStatus"           N171d account::deletion_status;
    GET  "social.colibri.actor.getNotificationPreference"   N170g notifications::preference;
    GET  "social.colibri.channel.listReactions"             N170b channel::list_reactions cached;
    POST "social.colibri.community.createInvitation"        N171a invitations::create;
    POST "social.colibri.community.deleteInvitation"        N171a invitations::delete;
    POST "social.colibri.community.dismissApplication"      N171b waiting::dismiss;
    GET  "social.colibri.community.getInvitation"           N170c invitations::one;
    GET  "social.colibri.community.listApplications"        N171b waiting::applications;
    GET  "social.colibri.community.listBannedUsers"         N171c waiting::banned;
    GET  "social.colibri.community.listCategories"          N170a community::list_categories cached;
    GET  "social.colibri.community.listChannels"            N170a community::list_channels cached;
    POST "social.colibri.community.listInvitations"         N171a invitations::list;
    GET  "social.colibri.community.listMembers"             N170a community::list_members cached;
    GET  "social.colibri.community.listRoles"               N170a community::list_roles cached;
    POST "social.colibri.community.undismissApplication"    N171b waiting::undismiss;
    GET  "social.colibri.notification.getUnreadCount"       N170f notifications::unread_count;
    GET  "social.colibri.notification.getUnseen"            N170f notifications::unseen;
    GET  "social.colibri.notification.listNotifications"    N170d notifications::list;
    POST "social.colibri.notification.updateSeen"           N170f notifications::seen;
    POST "social.colibri.notification.updateSeenForMessage" N170f notifications::message_seen;

    POST "social.colibri.category.create"                   N173 writes::in_community;
    POST "social.colibri.category.delete"                   N173 writes::of_category;
    POST "social.colibri.category.update"                   N173 writes::of_category;
    POST "social.colibri.channel.create"                    N173 writes::in_community;
    POST "social.colibri.channel.delete"                    N173 writes::of_channel;
    POST "social.colibri.channel.update"                    N173 writes::of_channel;
    POST "social.colibri.community.approveMembership"       N173 writes::of_membership;
    POST "social.colibri.community.banUser"                 N173 writes::in_community;
    POST "social.colibri.community.blockMessage"            N173 writes::in_community;
    POST "social.colibri.community.delete"                  N173 writes::in_community;
    POST "social.colibri.community.kick"                    N173 writes::in_community;
    POST "social.colibri.community.kickUser"                N173 writes::in_community;
    POST "social.colibri.community.reorderCategories"       N173 writes::in_community;
    POST "social.colibri.community.reorderChannels"         N173 writes::of_category;
    POST "social.colibri.community.setMemberRoles"          N173 writes::in_community;
    POST "social.colibri.community.suppressMessageEmbeds"   N173 writes::in_community;
    POST "social.colibri.community.unbanUser"               N173 writes::in_community;
    POST "social.colibri.community.unsuppressMessageEmbeds" N173 writes::in_community;
    POST "social.colibri.community.update"                  N173 writes::in_community;
    POST "social.colibri.role.create"                       N173 writes::in_community;
    POST "social.colibri.role.delete"                       N173 writes::of_role;
    POST "social.colibri.role.update"                       N173 writes::of_role;
    POST "social.colibri.community.leave"                   N175 writes::leave;

    POST "social.colibri.community.create"              N174  writes::not_enabled;
    POST "social.colibri.community.migrate"             N174  writes::not_enabled;
    POST "social.colibri.community.registerCredentials" N174  writes::not_enabled;
    GET  "social.colibri.voice.signal"                  N178  writes::not_enabled;
    POST "social.colibri.voice.moderate"                N178  writes::not_enabled;
    GET  "social.colibri.embed.gifCategories"           N179  writes::not_enabled;
    GET  "social.colibri.embed.searchGifs"              N179  writes::not_enabled;
    GET  "social.colibri.embed.trendingGifs"            N179  writes::not_enabled;
    POST "social.colibri.labeler.linkExternalAccount"   N179  writes::not_enabled;
    POST "social.colibri.labeler.unlinkExternalAccount" N179  writes::not_enabled;
    POST "social.colibri.sync.sendHum"                  N179  writes::not_enabled;
    GET  "social.colibri.sync.subscribeHums"            N179  writes::not_enabled;
    GET  "social.colibri.embed.getImage"                N171f writes::not_enabled;
    GET  "social.colibri.embed.getMetadata"             N171f writes::not_enabled;
    GET  "social.colibri.embed.getVideo"                N171f writes::not_enabled;
    POST "social.colibri.notification.registerPush"     N171e writes::not_enabled;
    POST "social.colibri.notification.unregisterPush"   N171e writes::not_enabled;
};

/// Whether a path is that of a method in the table.
pub(super) fn has(path: &str) -> bool {
    METHODS.iter().any(|method| method.path == path)
}
