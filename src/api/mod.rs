//! HTTP: the router as a table of contents, the parameters, the handlers, the errors.
//!
//! A handler's doc line is its route and rule. The extractors of `params` refuse a bad value before
//! the handler reads anything else (H03).

mod router;

mod activity;
mod authentication;
mod authority;
mod body;
mod call;
mod cors;
mod cursor;
mod error;
mod limits;
mod members_only;
mod params;
mod preferences;
mod protection;
mod push;
mod reply;
mod response_cache;

mod blob;
mod communities;
mod demo;
mod did;
mod directory;
mod erasure;
mod export;
mod feeds;
mod health;
mod identity;
mod invites;
mod messages;
mod metrics;
mod moderation;
mod notifications;
mod operator;
mod pages;
mod people;
mod reactions;
mod reference;
mod relay;
mod reports;
mod server;
mod signaling;
mod sockets;
mod sync;
mod voice;
mod waiting;
mod webhooks;
mod xrpc;

use std::cell::RefCell;
use std::rc::Rc;

use serde::Serialize;
use worker::{Context, Env, Headers, Request, Response, Result};

use call::Call;
use error::ApiError;
use limits::Spends;
use params::Query;
use router::{Cached, Method, Route, methods, routes};

use crate::platform::{config, log};

/// Every route of the service.
const ROUTES: &[Route] = routes! {
    GET    "/api/messages"           R01 messages::page cached;
    GET    "/api/message"            R02 messages::one cached;
    GET    "/api/threads"            R70 messages::threads cached;
    GET    "/api/thread"             R71 messages::thread cached;
    POST   "/api/message/block"      R03 moderation::block;
    GET    "/api/search"             R55 messages::search;
    GET    "/api/authors"            R04 people::author cached;
    GET    "/api/reactions"          R05 reactions::of_message cached;
    GET    "/api/reactions/channel"  R06 reactions::of_channel cached;
    GET    "/api/community"          R07 communities::one cached_for_nobody;
    POST   "/api/community/ban"      R08 moderation::ban;
    DELETE "/api/community/ban"      R09 moderation::unban;
    GET    "/api/community/bans"     R10 moderation::bans;
    GET    "/api/communities"        R11 communities::of_person cached_for_nobody;
    GET    "/api/channels"           R12 communities::channels cached;
    GET    "/api/sidebar"            R13 communities::sidebar cached;
    GET    "/api/members"            R14 communities::members cached;
    GET    "/api/invites"            R15 invites::list;
    GET    "/api/invite/{code}"      R16 invites::one;
    POST   "/api/invite"             R17 invites::create;
    DELETE "/api/invite/{code}"      R18 invites::revoke;
    POST   "/api/invite/{code}/use"  R19 invites::count_use;
    POST   "/api/user/state"         R20 people::set_state;
    GET    "/api/blob"               R21 blob::blob;
    GET    "/api/channel-reads"      R22 people::channel_reads cached_for_nobody;
    GET    "/api/subscribe"          R23 sockets::subscribe;
    GET    "/api/webrtc/signal"      R24 signaling::signal;
    POST   "/api/authentication"     R25 authentication::vouch;
    DELETE "/api/authentication"     R26 authentication::revoke;
    POST   "/api/ticket"             R27 authentication::ticket;
    DELETE "/api/message/block"      R30 moderation::unblock;
    POST   "/api/community/kick"     R31 moderation::kick;
    PUT    "/api/community/moderators" R32 moderation::set_moderators;
    GET    "/api/community/moderators" R33 moderation::moderators;
    GET    "/api/audit"              R34 moderation::audit;
    DELETE "/api/user"               R40 erasure::erase;
    GET    "/api/user/erasure"       R41 erasure::shown;
    DELETE "/api/user/erasure"       R42 erasure::lift;
    GET    "/api/export"             R43 export::export;
    PUT    "/api/community/members-only" R45 moderation::set_members_only;
    GET    "/api/community/members-only" R46 moderation::members_only;
    PUT    "/api/community/listing"  R52 directory::set;
    GET    "/api/directory"          R53 directory::page cached;
    GET    "/api/activity"           R54 activity::page;
    GET    "/api/unread"             R48 notifications::unread;
    POST   "/api/read"               R49 notifications::read;
    GET    "/api/notifications"      R50 notifications::list;
    POST   "/api/notifications/seen" R51 notifications::seen;
    GET    "/feed/{community_rkey}/{channel_rkey}.atom" R80 feeds::atom cached;
    GET    "/feed/{community_rkey}/{channel_rkey}.json" R81 feeds::json cached;
    POST   "/api/voice/moderate"     R57 voice::moderate;
    GET    "/api/preferences"        R56 preferences::shown;
    PUT    "/api/preferences"        R59 preferences::set;
    PUT    "/api/webhooks"           R82 webhooks::put;
    GET    "/api/webhooks"           R83 webhooks::list;
    DELETE "/api/webhooks"           R84 webhooks::remove;
    POST   "/api/push"               R67 push::subscribe;
    DELETE "/api/push"               R68 push::unsubscribe;
    GET    "/api/push/key"           R69 push::key;
    POST   "/api/report"             R86 reports::report;
    GET    "/api/reports"            R87 reports::list;
    POST   "/api/report/resolve"     R88 reports::resolve;
    GET    "/api/operator"           R60 operator::overview;
    GET    "/api/operator/communities" R61 operator::communities;
    GET    "/api/statistics"         R62 operator::statistics;
    POST   "/api/admin/restart"      R63 operator::restart;
    POST   "/api/shutdown"           R64 operator::shutdown;
    GET    "/api/webrtc/ice-servers" ice signaling::ice_servers;
    GET    "/api/identity"           identity identity::identity;
    GET    "/api/health"             health health::health;
    GET    "/api/server"             server server::server;
    GET    "/metrics"                R47 metrics::metrics;
    GET    "/api/sync"               sync sync::shown;
    POST   "/api/sync"               sync_now sync::ask;
    GET    "/.well-known/did.json"   did did::document;
    GET    "/openapi.json"           openapi reference::document;
    GET    "/docs"                   docs reference::page;
    GET    "/asyncapi.json"          asyncapi pages::sockets_document;
    GET    "/docs/sockets"           sockets_page pages::sockets;
    GET    "/"                       home pages::home;
    GET    "/pages/{file}"           page_file pages::file;
    GET    "/console"                console pages::console;
    GET    "/demo/chat"              chat pages::chat;
    GET    "/demo/call"              demo demo::page;
    GET    "/demo/call.css"          demo_css demo::looks;
    GET    "/demo/call.js"           demo_js demo::script;
};

/// The method of sockets, signaling and TURN credentials (X09).
const SUBSCRIBE: &str = "social.colibri.sync.subscribeEvents";
/// The method that 🔑👤 endpoints share (X09); R40 to R42 accept only their own.
const MODERATE: &str = "social.colibri.community.moderate";
/// Methods of the lexicons that a token for the equivalent endpoint of `/api` may name too (N150).
const LIST_MESSAGES: &str = "social.colibri.channel.listMessages";
const LIST_REACTIONS: &str = "social.colibri.channel.listReactions";
const LIST_MEMBERS: &str = "social.colibri.community.listMembers";
const KICK: &str = "social.colibri.community.kick";
const LIST_NOTIFICATIONS: &str = "social.colibri.notification.listNotifications";
const UPDATE_SEEN: &str = "social.colibri.notification.updateSeen";

/// The methods that a service-auth token may name, by the rule of a route (X09), and the method
/// through which somebody's PDS calls the route (X10). Every route that accepts a token has a row.
const METHODS: &[Method] = methods! {
    R01 "social.colibri.message.list" LIST_MESSAGES;
    R02 "social.colibri.message.get";
    R70 "social.colibri.message.listThreads";
    R71 "social.colibri.message.getThread";
    R55 "social.colibri.message.search";
    R05 "social.colibri.reaction.list";
    R06 "social.colibri.reaction.listOfChannel" LIST_REACTIONS;
    R07 "social.colibri.community.get";
    R11 "social.colibri.community.list";
    R12 "social.colibri.channel.list";
    R13 "social.colibri.community.getSidebar";
    R14 "social.colibri.member.list" LIST_MEMBERS;
    R22 "social.colibri.channel.listReads";
    R03 "social.colibri.message.block" MODERATE;
    R08 "social.colibri.community.ban" MODERATE;
    R09 "social.colibri.community.unban" MODERATE;
    R10 "social.colibri.community.listBans" MODERATE;
    R15 "social.colibri.invite.list" MODERATE;
    R17 "social.colibri.invite.create" MODERATE;
    R18 "social.colibri.invite.revoke" MODERATE;
    R23 "" SUBSCRIBE;
    R24 "" SUBSCRIBE;
    R26 "social.colibri.sync.revokeTokens" MODERATE;
    R27 "social.colibri.sync.createTicket" SUBSCRIBE;
    R30 "social.colibri.message.unblock" MODERATE;
    R31 "social.colibri.member.kick" MODERATE KICK;
    R32 "social.colibri.community.setModerators" MODERATE;
    R33 "social.colibri.community.listModerators" MODERATE;
    R34 "social.colibri.community.listActs" MODERATE;
    R40 "social.colibri.sync.eraseUser";
    R41 "social.colibri.sync.getErasure";
    R42 "social.colibri.sync.liftErasure";
    R43 "social.colibri.sync.exportRecords" MODERATE;
    R45 "social.colibri.community.setMembersOnly" MODERATE;
    R52 "social.colibri.community.setListing" MODERATE;
    R54 "social.colibri.sync.listActivity";
    R48 "social.colibri.sync.listUnread";
    R49 "social.colibri.sync.markRead";
    R50 "social.colibri.sync.listNotifications" LIST_NOTIFICATIONS;
    R51 "social.colibri.sync.markSeen" UPDATE_SEEN;
    R57 "social.colibri.voice.moderateMember" MODERATE;
    R56 "social.colibri.sync.getPreferences";
    R59 "social.colibri.sync.putPreferences";
    R82 "social.colibri.webhook.set" MODERATE;
    R83 "social.colibri.webhook.list" MODERATE;
    R84 "social.colibri.webhook.delete" MODERATE;
    R67 "social.colibri.sync.registerPush";
    R68 "social.colibri.sync.unregisterPush";
    R86 "social.colibri.moderation.report" MODERATE;
    R87 "social.colibri.moderation.listReports" MODERATE;
    R88 "social.colibri.moderation.resolveReport" MODERATE;
    ice "social.colibri.voice.getIceServers" SUBSCRIBE;
    sync_now "social.colibri.sync.requestRepo" MODERATE;
};

/// Every route: those of `/api` and the pages, then the methods of the lexicons.
fn every_route() -> impl Iterator<Item = &'static Route> {
    ROUTES.iter().chain(xrpc::METHODS)
}

/// Every route: method, path and rule of the contract.
pub fn listed() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    every_route().map(|route| (route.method, route.path, route.id))
}

/// The result of a handler.
type Answer = std::result::Result<Response, ApiError>;

/// Answers any request. A fault is logged here, once; the caller never sees it.
pub async fn answer(request: Request, env: Env, context: Context) -> Result<Response> {
    let origins = config::allowed_origins(&env);
    let origin = request.headers().get("origin").ok().flatten();
    // The method as sent: `Request::method` maps an unknown method to GET.
    let method = request.inner().method();
    let over_tls = request.inner().url().starts_with("https:");
    let path = request.path();
    let spends = Spends::of(&request, &env);
    let admitted = spends.admit().and_then(|()| cors::admit(&request, &origins, origin.as_deref()));
    let answer = match admitted {
        Ok(()) => route(request, env, context, &method, spends.clone()).await,
        Err(refused) => Err(refused),
    };
    let response = match answer {
        Ok(response) => response,
        Err(error) => {
            if let ApiError::Fault(fault) = &error {
                log::fault(fault, "the caller gets 503 and may retry");
            }
            error.response(xrpc::has(&path))?
        }
    };
    // The headers of an upgrade belong to the runtime and cannot be changed, so a copy is.
    if response.status_code() == 101 {
        let headers = response.headers().clone();
        spends.set_headers(&headers)?;
        return Ok(response.with_headers(headers));
    }
    let response = if method == "HEAD" { without_body(response)? } else { response };
    spends.set_headers(response.headers())?;
    protection::protect(&response, over_tls)?;
    cors::allow(response, &origins, origin.as_deref())
}

/// Parses the request, finds its handler and runs it.
async fn route(mut request: Request, env: Env, context: Context, method: &str, spends: Spends) -> Answer {
    if method == "OPTIONS" {
        return cors::preflight();
    }
    let url = request.url().map_err(|_| ApiError::BadRequest("the address cannot be read"))?;
    let query = Query::of(&url);
    let (route, segment, methods) = match url.path().strip_prefix("/xrpc/") {
        Some(_) if xrpc::has(url.path()) => {
            let (route, _) = router::find(xrpc::METHODS, method, url.path())?;
            (route, String::new(), route.own)
        }
        Some(name) => {
            let (route, own) = router::named(ROUTES, METHODS, method, name)?;
            (route, query.optional("code").unwrap_or_default().to_owned(), own)
        }
        None => {
            let (route, segment) = router::find(ROUTES, method, url.path())?;
            (route, segment.unwrap_or_default().into_owned(), router::methods_of(METHODS, route.id))
        }
    };
    let stream = RefCell::new(request.stream().ok()); // a request without a body has no stream
    let shows_proof = request.headers().has("authorization").unwrap_or(true);
    let keeps = match route.cached {
        Cached::Always => response_cache::Keeps::of(&url),
        Cached::ForNobody if !shows_proof => response_cache::Keeps::of(&url),
        Cached::ForNobody | Cached::Never => response_cache::Keeps::default(),
    };
    let (keeps, door) = (Rc::new(keeps), Rc::default());
    let call = Call { request, env, context, query, segment, methods, stream, keeps, spends, door };
    authority::settle(&call).await?;
    match response_cache::find(&call).await? {
        Some(answer) => Ok(answer),
        None => members_only::answer(route.handler, &call).await,
    }
}

/// 200 with a JSON body (H01), except for reads, which [`reply`] answers.
fn json<T: Serialize>(body: &T) -> Answer {
    let text = serde_json::to_string(body).map_err(|_| ApiError::Internal)?;
    json_text(text, 200)
}

fn json_text(text: String, status: u16) -> Answer {
    let headers = Headers::new();
    headers.set("content-type", "application/json")?;
    Ok(Response::ok(text)?.with_status(status).with_headers(headers))
}

/// A response without a body.
fn empty(status: u16) -> Answer {
    Ok(Response::empty()?.with_status(status))
}

fn without_body(response: Response) -> Result<Response> {
    let headers = response.headers().clone();
    Ok(Response::empty()?.with_status(response.status_code()).with_headers(headers))
}
