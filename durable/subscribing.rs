//! How a session of a `Gateway` starts to hear: subscribing, listening to communities, catching
//! up with what was missed (contract 4.3, 4.4).

use futures::future::join_all;
use worker::WebSocket;

use super::commands::{Attach, Replay, Replayed, call};
use super::gateway::{Gateway, Outcome, number, temporary};
use super::sessions::{Sessions, send};
use crate::domain::actions::Subscribe;
use crate::domain::replay::{Resume, resume};
use crate::domain::subscriptions::{KEYS_MAX, Kind};
use crate::platform::d1::D1;
use crate::platform::log;
use crate::storage::gateway_sessions::{self, Session};
use crate::storage::{Fault, reads};
use crate::wire::events::stamp;
use crate::wire::ids::AtUri;
use crate::wire::socket::Reply;

impl Gateway {
    /// Subscribes, and resumes if the client asks for it (Q02): ack, replay, `resumed`. Should
    /// anything fail before the ack, nothing was changed.
    pub(super) async fn subscribe(&self, socket: &WebSocket, subscribe: Subscribe) {
        let Some(id) = number(socket) else { return };
        let before = self.with(|sessions| self.change(sessions, id, &subscribe));
        let before = match before {
            Ok(Some(before)) => before,
            Ok(None) => {
                let full = format!("Too many subscriptions (max {KEYS_MAX})");
                return send(socket, &Reply::error(full).text());
            }
            Err(fault) => return send(socket, &temporary(&fault).text()),
        };
        let replay = match self.reach(&subscribe).await {
            Ok(replay) => replay,
            Err(fault) => {
                if let Err(fault) = self.undo(id, before) {
                    log::fault(&fault, "a subscription that failed stays until the socket closes");
                }
                return send(socket, &temporary(&fault).text());
            }
        };
        send(socket, &subscribe.reply.text());
        if let Some((community, cursor, first)) = replay {
            self.resume(id, socket, &community, cursor, first).await;
        }
    }

    /// Notes the subscription. The session as it was; `None` if there is no room for the key.
    fn change(&self, sessions: &mut Sessions, id: i64, subscribe: &Subscribe) -> Outcome<Option<Session>> {
        let Some(open) = sessions.open.get_mut(&id) else {
            return Err(Fault::new("subscribing", "the session is gone"));
        };
        let before = open.session.clone();
        if !open.session.subscriptions.subscribe(subscribe.kind, subscribe.key.as_deref()) {
            return Ok(None);
        }
        if let Some((community, _)) = &subscribe.resume {
            open.session.replayed.remove(community.as_str());
            open.resuming.insert(community.to_string(), Some(Vec::new()));
        }
        if open.session != before {
            self.sql.run(&gateway_sessions::keep(id, &open.session))?;
        }
        Ok(Some(before))
    }

    /// Takes a subscription back. What came for it meanwhile is sent: the session may have heard
    /// that community before.
    fn undo(&self, id: i64, before: Session) -> Outcome<()> {
        self.with(|sessions| {
            let Some(open) = sessions.open.get_mut(&id) else { return Ok(()) };
            for (_, text) in std::mem::take(&mut open.resuming).into_values().flatten().flatten() {
                send(&open.socket, &text);
            }
            open.session = before;
            self.sql.run(&gateway_sessions::keep(id, &open.session)).map(drop)
        })
    }

    /// Listens to what the subscription needs, and fetches the first page of its replay.
    async fn reach(&self, subscribe: &Subscribe) -> Outcome<Option<(AtUri, i64, Replayed)>> {
        let communities = match (subscribe.kind, &subscribe.key) {
            (Kind::UserStatus, _) => Vec::new(),
            (Kind::Message | Kind::Community, None) => reads::all_communities(&D1::of(&self.env)?).await?,
            (Kind::Message, Some(name)) => self.look_up(std::slice::from_ref(name)).await?,
            (Kind::Community, Some(name)) => reads::listed(&D1::of(&self.env)?, name).await?,
        };
        self.listen(communities).await?;
        let Some((community, cursor)) = subscribe.resume.clone() else { return Ok(None) };
        if self.with(|sessions| Ok(!sessions.communities.contains_key(community.as_str())))? {
            return Ok(Some((community, cursor, nothing_yet(cursor))));
        }
        let replay = Replay { community: community.clone(), cursor };
        let first = call(&self.env, community.as_str(), &replay).await?;
        Ok(Some((community, cursor, first)))
    }

    /// Looks up what names mean, remembers it, and answers the communities concerned.
    pub(super) async fn look_up(&self, names: &[String]) -> Outcome<Vec<AtUri>> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let found = reads::candidates(&D1::of(&self.env)?, names).await?;
        let communities = found.iter().filter_map(|channel| AtUri::parse(&channel.community).ok()).collect();
        self.with(|sessions| {
            self.sql.run_all(&gateway_sessions::mean(names, &found))?;
            sessions.meanings.set(names, found);
            Ok(communities)
        })
    }

    /// Attaches to communities that this gateway does not listen to yet.
    pub(super) async fn listen(&self, communities: Vec<AtUri>) -> Outcome<()> {
        let gateway =
            self.state.id().name().ok_or_else(|| Fault::new("listening", "the gateway has no name"))?;
        let new: Vec<AtUri> = self.with(|sessions| {
            let known = &sessions.communities;
            Ok(communities.into_iter().filter(|uri| !known.contains_key(uri.as_str())).collect())
        })?;
        let attached = join_all(new.iter().map(|community| {
            let attach = Attach { community: community.clone(), gateway: gateway.clone() };
            async move { call(&self.env, community.as_str(), &attach).await }
        }))
        .await;
        for (community, attached) in new.iter().zip(attached) {
            let seq = attached?.seq;
            self.with(|sessions| {
                let had = sessions.communities.entry(community.to_string()).or_insert(seq);
                self.sql.run(&gateway_sessions::heard(community.as_str(), *had)).map(drop)
            })?;
        }
        Ok(())
    }

    /// Sends what the session missed, page by page, then `resumed`, then what came meanwhile
    /// (Q02). Events are neither lost nor doubled between the two.
    async fn resume(&self, id: i64, socket: &WebSocket, community: &AtUri, cursor: i64, first: Replayed) {
        let mut page = first;
        let mut from = None;
        let end = loop {
            match page {
                Replayed::Resync { oldest } => break Err(oldest),
                Replayed::Page { events, through, last } => {
                    from.get_or_insert_with(|| u64::try_from(cursor).unwrap_or(last));
                    let sent = self.with(|sessions| {
                        for event in &events {
                            if sessions.hears_replayed(id, community.as_str(), &event.audience) {
                                send(socket, &stamp(event.event.get(), event.seq, false));
                            }
                        }
                        Ok(())
                    });
                    if let Err(fault) = sent {
                        log::fault(&fault, "the client reads anew");
                        break Err(through);
                    }
                    if through >= last {
                        break Ok(last);
                    }
                    let next =
                        Replay { community: community.clone(), cursor: i64::try_from(through).unwrap_or(-1) };
                    page = match call(&self.env, community.as_str(), &next).await {
                        Ok(next) => next,
                        Err(fault) => {
                            log::fault(&fault, "the client reads anew");
                            Replayed::Resync { oldest: through }
                        }
                    };
                }
            }
        };
        let finished = self.with(|sessions| self.caught_up(sessions, id, community, from.unwrap_or(0), end));
        if let Err(fault) = finished {
            log::fault(&fault, "the client reads anew");
            send(socket, &Reply::ResyncRequired { community_uri: community.clone(), oldest: 0 }.text());
        }
    }

    /// The end of a replay: `resumed` or `resync_required`, then what came meanwhile.
    fn caught_up(
        &self,
        sessions: &mut Sessions,
        id: i64,
        community: &AtUri,
        from: u64,
        end: std::result::Result<u64, u64>,
    ) -> Outcome<()> {
        let Some(open) = sessions.open.get_mut(&id) else { return Ok(()) };
        let pending = open.resuming.remove(community.as_str()).flatten();
        let to = match (end, &pending) {
            (Ok(to), Some(_)) => {
                let resumed = Reply::Resumed { community_uri: community.to_string(), from, to };
                send(&open.socket, &resumed.text());
                to
            }
            (Ok(oldest) | Err(oldest), _) => {
                let resync = Reply::ResyncRequired { community_uri: community.clone(), oldest };
                send(&open.socket, &resync.text());
                0
            }
        };
        for (seq, text) in pending.into_iter().flatten().filter(|(seq, _)| *seq > to) {
            open.session.replayed.insert(community.to_string(), seq);
            send(&open.socket, &text);
        }
        let replayed = open.session.replayed.entry(community.to_string()).or_insert(to);
        *replayed = to.max(*replayed);
        self.sql.run(&gateway_sessions::keep(id, &open.session)).map(drop)
    }
}

/// What a cursor comes to in a community that was never seen: its log is empty (Q05).
fn nothing_yet(cursor: i64) -> Replayed {
    match resume(cursor, 1, 0) {
        Resume::From(through) => Replayed::Page { events: Vec::new(), through, last: through },
        Resume::Resync { oldest } => Replayed::Resync { oldest },
    }
}
