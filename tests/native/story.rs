//! Histories of a small network, written as people's actions and turned into Jetstream frames.

use colibri_edge::domain::announcement::{Announcement, Audience, Topic};
use colibri_edge::domain::facts_cache::FactsCache;
use colibri_edge::domain::moderation::{Caller, Decision, Measure, Once, Proof, Ruling};
use colibri_edge::domain::points::Points;
use colibri_edge::pipeline::{Batch, Committed, Settings, decide, walk};
use colibri_edge::storage::Fault;
use colibri_edge::storage::commit::HeldBounds;
use colibri_edge::wire::events::{march, newest, stamp};
use colibri_edge::wire::ids::{AtUri, Did};
use colibri_edge::wire::time::Micros;
use futures::executor::block_on;
use serde_json::{Value, json};

use super::sqlite::Sqlite;

/// When the stories begin: a microsecond count of 2026.
pub(crate) const START: i64 = 1_772_366_400_000_000;

/// The `n`th revision of a story: a TID of 2005.
pub(crate) fn rev(n: usize) -> String {
    const DIGITS: &[u8; 32] = b"234567abcdefghijklmnopqrstuvwxyz";
    let digits = (0..12).rev().map(|at| char::from(DIGITS[n >> (5 * at) & 31]));
    std::iter::once('3').chain(digits).collect()
}

/// Frames in stream order. Times and revisions are assigned as the story goes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Story {
    pub(crate) frames: Vec<String>,
}

impl Story {
    /// Adds a commit of `who` to `collection/rkey`.
    fn commit(&mut self, operation: &str, who: &str, path: &str, record: Option<Value>) -> &mut Self {
        let at = START + self.frames.len() as i64 * 1_000_000;
        let (collection, rkey) = path.split_once('/').unwrap();
        let mut commit = json!({
            "rev": rev(self.frames.len() + 1), "operation": operation,
            "collection": format!("social.colibri.{collection}"), "rkey": rkey,
        });
        if let Some(record) = record {
            commit["record"] = record;
            commit["cid"] = json!("bafyreia");
        }
        self.frames.push(
            json!({ "did": format!("did:plc:{who}"), "time_us": at, "kind": "commit", "commit": commit })
                .to_string(),
        );
        self
    }

    pub(crate) fn create(&mut self, who: &str, path: &str, record: Value) -> &mut Self {
        self.commit("create", who, path, Some(record))
    }

    pub(crate) fn update(&mut self, who: &str, path: &str, record: Value) -> &mut Self {
        self.commit("update", who, path, Some(record))
    }

    pub(crate) fn delete(&mut self, who: &str, path: &str) -> &mut Self {
        self.commit("delete", who, path, None)
    }

    /// `owner` has a community `c` with a text channel `k`.
    pub(crate) fn community(&mut self, owner: &str, requires_approval: bool) -> &mut Self {
        self.create(
            owner,
            "community/c",
            json!({ "name": "Garden", "requiresApprovalToJoin": requires_approval }),
        );
        self.create(owner, "channel/k", json!({ "name": "hall", "type": "text", "community": "c" }))
    }

    /// `account` is a community of the newest form, with a text channel `k` and the roles `owner`, which
    /// is protected, and `mod`.
    pub(crate) fn newest(&mut self, account: &str) -> &mut Self {
        let record =
            json!({ "name": "Nest", "description": "", "categoryOrder": [], "requiresApprovalToJoin": true });
        self.create(account, "community/self", record)
            .create(account, "role/owner", role(100, &[], true))
            .create(account, "role/mod", role(50, &["message.hide", "member.ban"], false))
            .create(account, "channel/k", newest_channel("social.colibri.channel.text"))
    }

    /// `who` asks to join the newest-form community of `account`.
    pub(crate) fn ask_to_join(&mut self, who: &str, account: &str) -> &mut Self {
        self.create(who, "membership/m", join_request(account))
    }

    /// The community that `account` is admits `who`.
    pub(crate) fn admit(&mut self, account: &str, who: &str, roles: &[&str]) -> &mut Self {
        self.create(account, &format!("member/{who}"), member(who, roles))
    }

    pub(crate) fn join(&mut self, who: &str, owner: &str) -> &mut Self {
        self.create(who, "membership/m", membership(owner))
    }

    pub(crate) fn approve(&mut self, owner: &str, who: &str) -> &mut Self {
        self.create(owner, &format!("approval/{who}"), approval(who))
    }

    pub(crate) fn react(&mut self, who: &str, rkey: &str, emoji: &str, target: &str) -> &mut Self {
        self.create(who, &format!("reaction/{rkey}"), reaction(emoji, target))
    }

    /// `who` has this Bluesky profile.
    pub(crate) fn profile(&mut self, who: &str, record: Value) -> &mut Self {
        self.create(who, "profile/self", record);
        if let Some(frame) = self.frames.last_mut() {
            *frame = frame.replace("social.colibri.profile", "app.bsky.actor.profile");
        }
        self
    }

    pub(crate) fn say(&mut self, who: &str, rkey: &str, text: &str) -> &mut Self {
        self.create(who, &format!("message/{rkey}"), message(text))
    }
}

pub(crate) fn membership(owner: &str) -> Value {
    json!({ "community": format!("at://did:plc:{owner}/social.colibri.community/c"), "createdAt": "2026-03-01T12:00:00Z" })
}

pub(crate) fn join_request(account: &str) -> Value {
    json!({ "community": format!("at://did:plc:{account}/social.colibri.community/self"), "createdAt": "2026-03-01T12:00:00Z" })
}

/// The admission of `who`, by their membership `m`.
pub(crate) fn member(who: &str, roles: &[&str]) -> Value {
    json!({
        "subject": format!("did:plc:{who}"), "roles": roles, "joinedAt": "2026-03-01T12:00:00Z",
        "fromMembership": format!("at://did:plc:{who}/social.colibri.membership/m"),
    })
}

pub(crate) fn role(position: i64, permissions: &[&str], protected: bool) -> Value {
    json!({ "name": "r", "permissions": permissions, "position": position, "protected": protected })
}

/// A decision about somebody, or about a message.
pub(crate) fn moderation(action: &str, subject: &str) -> Value {
    let field = if subject.starts_with("at://") { "uri" } else { "did" };
    json!({
        "action": action, "subject": { field: subject }, "createdBy": "did:plc:olga",
        "createdAt": "2026-03-01T12:00:00Z", "reason": "because",
    })
}

pub(crate) fn newest_channel(kind: &str) -> Value {
    json!({ "name": "hall", "type": kind, "category": "g", "community": "self" })
}

pub(crate) fn approval(who: &str) -> Value {
    json!({ "membership": format!("at://did:plc:{who}/social.colibri.membership/m"), "createdAt": "2026-03-01T12:00:00Z" })
}

pub(crate) fn reaction(emoji: &str, target: &str) -> Value {
    json!({ "emoji": emoji, "parent": target, "createdAt": "2026-03-01T12:00:00Z" })
}

pub(crate) fn message(text: &str) -> Value {
    message_in("k", text)
}

pub(crate) fn message_in(channel: &str, text: &str) -> Value {
    json!({ "text": text, "channel": channel, "createdAt": "2026-03-01T12:00:00.000Z" })
}

/// A service without a runtime: a database, and the published events.
pub(crate) struct Service {
    pub(crate) store: Sqlite,
    pub(crate) announced: Vec<Announcement>,
    /// The facts that it keeps from one batch to the next.
    pub(crate) known: FactsCache,
    /// When the last batch came.
    pub(crate) now: i64,
    /// The points that repositories have used.
    pub(crate) points: Points,
}

impl Service {
    pub(crate) fn new() -> Self {
        Self {
            store: Sqlite::new(),
            announced: Vec::new(),
            known: FactsCache::default(),
            now: START,
            points: Points::default(),
        }
    }

    /// Commits frames as one batch.
    pub(crate) fn try_batch(&mut self, frames: &[String]) -> Result<Committed, Fault> {
        self.try_batch_with(frames, &[])
    }

    /// Commits frames and the decisions after them as one batch.
    pub(crate) fn try_batch_with(
        &mut self,
        frames: &[String],
        decisions: &[Decision],
    ) -> Result<Committed, Fault> {
        self.now += 1_000_000;
        let (settings, now) = (self.settings(), Micros(self.now));
        let mut batch = Batch::default();
        frames.iter().for_each(|frame| batch.take(frame, "test", now, &mut self.points));
        block_on(walk(&self.store, &batch, decisions, &settings, None, &mut self.known, now))
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings {
            cdn: "https://cdn.test".into(),
            searchable: true,
            held: HeldBounds { hours: 24, max: 10_000 },
            log_hours: 24,
        }
    }

    /// Makes a decision, as REST does.
    pub(crate) fn try_decide(&mut self, caller: Caller, what: Measure) -> Result<Ruling, Fault> {
        self.now += 1_000_000;
        let (decision, now) = (Decision::new(caller, Proof::ApiKey, what), Micros(self.now));
        block_on(decide(&self.store, &decision, &self.settings(), now, async |_| ()))
    }

    /// Makes a decision with the API key, under an `Idempotency-Key`.
    pub(crate) fn decide_once(&mut self, what: Measure, once: Once) -> Ruling {
        self.now += 1_000_000;
        let decision = Decision { once: Some(once), ..Decision::new(Caller::Operator, Proof::ApiKey, what) };
        block_on(decide(&self.store, &decision, &self.settings(), Micros(self.now), async |_| ())).unwrap()
    }

    /// Makes a decision with the API key, and records its announcements from the outbox.
    pub(crate) fn decide(&mut self, what: Measure) -> Ruling {
        let before = self.store.look("SELECT version FROM ledger").remove(0);
        let ruling = self.try_decide(Caller::Operator, what).unwrap();
        self.announced.extend(self.outbox_after(&before));
        ruling
    }

    /// The outbox rows after this one.
    pub(crate) fn outbox_after(&self, id: &str) -> Vec<Announcement> {
        let rows = self.store.look(&format!(
            "SELECT j.value FROM outbox o, json_each(o.announcements) j WHERE o.id > {id} ORDER BY o.id, j.key"
        ));
        rows.iter().map(|row| serde_json::from_str(row).unwrap()).collect()
    }

    pub(crate) fn batch(&mut self, frames: &[String]) {
        self.batch_with(frames, Vec::new());
    }

    /// Commits frames and then decisions with the API key, all as one batch.
    pub(crate) fn batch_with(&mut self, frames: &[String], decisions: Vec<Measure>) {
        let decisions: Vec<Decision> = decisions.into_iter().map(by_operator).collect();
        let committed = self.try_batch_with(frames, &decisions).unwrap();
        self.announced.extend(committed.outbox.into_iter().flat_map(|(_, announcements)| announcements));
    }

    /// Processes a story, one batch for each event.
    pub(crate) fn live(story: &Story) -> Self {
        let mut service = Self::new();
        story.frames.iter().for_each(|frame| service.batch(std::slice::from_ref(frame)));
        service
    }

    /// The published events in short form: `type subject`, with `*name` for a private event.
    pub(crate) fn published(&self) -> Vec<String> {
        // The gateway decides whether an account event is published.
        let is_published =
            |one: &&Announcement| !matches!(one.topic, Topic::Account(_)) && !frame(one).is_null();
        self.announced.iter().filter(is_published).map(short).collect()
    }

    /// The texts of the visible messages, oldest first.
    pub(crate) fn visible_texts(&self) -> Vec<String> {
        self.store.look("SELECT text FROM recent_messages ORDER BY uri")
    }
}

/// A decision with the API key.
pub(crate) fn by_operator(what: Measure) -> Decision {
    Decision::new(Caller::Operator, Proof::ApiKey, what)
}

/// The frame that a client of March 2026 gets, as its community's first; `null` if it gets none.
pub(crate) fn frame(announcement: &Announcement) -> Value {
    march(announcement.event.get())
        .map_or(Value::Null, |event| serde_json::from_str(&stamp(event, 1, true)).unwrap())
}

/// What the newest client gets of an event, without its number; `null` if it gets nothing.
pub(crate) fn newest_frame(announcement: &Announcement) -> Value {
    newest(announcement.event.get()).map_or(Value::Null, |event| serde_json::from_str(&event).unwrap())
}

/// A community of the newest form, that of the account `nest`.
pub(crate) const PLACE: &str = "at://did:plc:nest/social.colibri.community/self";
/// Its channel.
pub(crate) const HALL: &str = "at://did:plc:nest/social.colibri.channel/k";

pub(crate) fn did(who: &str) -> Did {
    Did::parse(&format!("did:plc:{who}")).unwrap()
}

pub(crate) fn uri(text: &str) -> AtUri {
    AtUri::parse(text).unwrap()
}

/// The community `c` of `owner`.
pub(crate) fn community(owner: &str) -> AtUri {
    AtUri::parse(&format!("at://did:plc:{owner}/social.colibri.community/c")).unwrap()
}

/// The ban of `who` from the community of `owner`.
pub(crate) fn ban(owner: &str, who: &str) -> Measure {
    Measure::Ban(community(owner), did(who), None)
}

pub(crate) fn unban(owner: &str, who: &str) -> Measure {
    Measure::Unban(community(owner), did(who))
}

/// The ban of `who` from the community of `owner`, for a while.
pub(crate) fn ban_until(owner: &str, who: &str, until: i64) -> Measure {
    Measure::Ban(community(owner), did(who), Some(Micros(until)))
}

pub(crate) fn kick(owner: &str, who: &str) -> Measure {
    Measure::Kick(community(owner), did(who))
}

/// These people moderate the community of `owner`.
pub(crate) fn moderators(owner: &str, people: &[&str]) -> Measure {
    Measure::Moderators(community(owner), people.iter().map(|who| did(who)).collect())
}

/// Only members read the community of `owner`, or everybody.
pub(crate) fn members_only(owner: &str, on: bool) -> Measure {
    Measure::MembersOnly(community(owner), on)
}

pub(crate) fn unblock(author: &str, rkey: &str) -> Measure {
    let Measure::Block(message) = block(author, rkey) else { unreachable!() };
    Measure::Unblock(message)
}

/// The block of the message `rkey` of `author`.
pub(crate) fn block(author: &str, rkey: &str) -> Measure {
    Measure::Block(AtUri::parse(&format!("at://did:plc:{author}/social.colibri.message/{rkey}")).unwrap())
}

/// A person, with a token of their own.
pub(crate) fn person(who: &str) -> Caller {
    Caller::Person(did(who))
}

fn short(announcement: &Announcement) -> String {
    let event = frame(announcement);
    let text = |name: &str| event.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let subject = match text("type").as_str() {
        "message" => format!("{} {:?}", text("rkey"), text("text")),
        "message_deleted" => text("rkey"),
        "user_status_changed" => format!("{} {:?}", text("did").replace("did:plc:", ""), text("status")),
        "user_profile_updated" => {
            format!("{} {}", text("did").replace("did:plc:", ""), event["display_name"])
        }
        "reaction_added" | "reaction_removed" => format!("{} {}", text("emoji"), text("rkey")),
        "member_pending" | "member_joined" | "member_left" => text("member_did").replace("did:plc:", ""),
        "thread_updated" => text("parent"),
        _ => text("rkey"),
    };
    let private = match &announcement.audience {
        Audience::Private(did) => format!(" *{}", did.as_str().replace("did:plc:", "")),
        _ => String::new(),
    };
    format!("{} {subject}{private}", text("type"))
}
