// Generated from openapi.json and asyncapi.json by `npm run client:types`. Do not change it by hand.

/** A decentralized identifier. */
export type Did = string

/** A DID, or a handle: a DNS name of at least two labels. */
export type DidOrHandle = string

/** A record key. */
export type Rkey = string

/** The full address of a record: `at://<did>/<collection>/<rkey>`. One that names nothing is still valid. */
export type AtUri = string

/** An AT-URI, or a record key. */
export type UriOrRkey = string

/** The AT-URI of a community, known or not. */
export type CommunityUri = string

/** A content identifier, version 1 in base32 or version 0. */
export type Cid = string

/** Opaque: a `Colibri-Cursor` of the same list; every other list refuses it. */
export type Cursor = string

/** RFC 3339. Times made by the service are UTC with three fraction digits. */
export type Timestamp = string

/** `null` if never seen. */
export type Presence = "online" | "away" | "dnd" | "offline" | null

/** A person as others see them. */
export interface Person {
  /** From the cached profile. */
  display_name: string | null
  /** A link on the CDN. */
  avatar_url: string | null
  /** A link on the CDN. */
  banner_url: string | null
  /** From the cached profile. */
  description: string | null
  /** Only if verified in both directions. */
  handle: string | null
  /** From the actor record; empty if that is empty or was deleted. */
  status_text: string | null
  /** From the actor record. */
  emoji: string | null
  state: Presence
  /** Their Bluesky profile says that they are a bot; left out for others. */
  is_bot?: true
}

/** A message without its parent and reactions. */
export type MessageCore = { id: string; rkey: Rkey; author_did: Did; text: string; channel: string; created_at: string; indexed_at: Timestamp; edited: boolean; parent: string | null; facets: unknown[] | null; attachments: unknown[] | null } & Person

/** A message, with its author's profile, status and presence. */
export type Message = MessageCore & { parent_message: MessageCore | null; reactions: ReactionGroup[] }

/** The people who reacted to a message with one emoji. */
export interface ReactionGroup {
  /** In the spelling of the first one; emoji that differ only in variation selectors count as one. */
  emoji: string
  /** The number of people; each counts once. */
  count: number
  /** The people, in order of arrival. */
  reactor_dids: Did[]
  /** The same list again. */
  authors: Did[]
  /** The rkey of each person's oldest existing record, in the same order. */
  rkeys: Rkey[]
}

export interface Community {
  owner_did: Did
  rkey: Rkey
  /** 1 to 32 characters. */
  name: string
  /** At most 256 characters. */
  description: string | null
  /** A blob reference, verbatim. Fetch it with `GET /api/blob`, `did` = `owner_did`, `cid` = `ref.$link`. */
  picture: Record<string, unknown> | null
  /** Rkeys of categories. */
  category_order: string[] | null
  requires_approval_to_join: boolean
}

export interface Communities {
  owned: Community[]
  joined: Community[]
}

export interface Channel {
  uri: AtUri
  rkey: Rkey
  community_uri: AtUri
  /** 1 to 32 characters. */
  name: string
  /** At most 256 characters. */
  description: string | null
  /** `text`, `voice`, `forum`, or another word. */
  channel_type: string
  /** The category that its own record names. */
  category_rkey: string | null
  /** Whether only the owner may post. */
  owner_only: boolean
  /** Who is in the voice channel, sorted. */
  voice_members: Did[]
}

export interface Category {
  uri: AtUri
  rkey: Rkey
  /** 1 to 32 characters. */
  name: string
  /** Rkeys of channels, as in the record. */
  channel_order: string[] | null
  channels: Channel[]
}

export interface Sidebar {
  categories: Category[]
  uncategorized: Channel[]
}

export interface MembersOnly {
  community_uri: AtUri
  members_only: boolean
  /** What that means for readers. */
  meaning: string
}

/** A person in a community. */
export type Member = { member_did: Did; status: "owner" | "approved" | "pending" | "banned"; source?: "record" | "both" } & Person

/** What a DID document says. */
export interface Identity {
  did: Did
  /** Only if verified in both directions. */
  handle: string | null
  /** `invalid`: there is none, or it resolves to another DID; `unresolved`: it could not be verified. */
  handle_status: "valid" | "invalid" | "unresolved"
  /** The PDS of the repository; `null` if the service must not contact it. */
  pds: string | null
  /** The key that signs the repository, as a Multikey. */
  signing_key: string | null
  /** When the document was requested. */
  resolved_at: string | null
}

/** What is known of a person. */
export interface Author {
  did: Did
  /** From the cached profile. */
  display_name: string | null
  /** A link on the CDN. */
  avatar_url: string | null
  /** A link on the CDN. */
  banner_url: string | null
  /** From the cached profile. */
  description: string | null
  /** Only if verified in both directions. */
  handle: string | null
  /** From the actor record; empty if that is empty or was deleted. */
  status: string | null
  /** The same as `status`. */
  status_text: string | null
  /** From the actor record. */
  emoji: string | null
  state: Presence
  /** Their Bluesky profile says that they are a bot; left out for others. */
  is_bot?: true
  updated_at: Timestamp
}

export interface ChannelRead {
  /** The channel. */
  channel_uri: string
  cursor_at: Timestamp
}

export interface UnreadChannel {
  community_uri: AtUri
  channel_uri: AtUri
  /** Messages of others, at most 100. */
  unread: number
  /** Messages with notifications that are not seen. */
  mentions: number
  last_read_at: Timestamp | null
  last_message_at: Timestamp | null
}

export type AnsweredMessage = Message & { reply_count: number }

export interface Listing {
  community_uri: AtUri
  listed: boolean
}

export interface DirectoryEntry {
  community_uri: AtUri
  owner_did: Did
  name: string
  description: string | null
  /** A blob reference, verbatim. Fetch it with `GET /api/blob`, `did` = `owner_did`, `cid` = `ref.$link`. */
  picture: Record<string, unknown> | null
  requires_approval_to_join: boolean
  /** Then the description and both counts are null. */
  members_only: boolean
  /** How many people take part, among the first 1,000. */
  member_count: number | null
  /** How many of them are not offline. */
  online_count: number | null
  listed_at: Timestamp
}

export interface Active {
  community_uri: AtUri
  channel_uri: AtUri
  message: MessageCore
}

export interface Thread {
  /** The answers below the root. */
  reply_count: number
  last_reply_at: Timestamp
  /** Who answered, the latest first. */
  participants: Did[]
  message: MessageCore
}

export interface Found {
  snippet: { text: string; marks: ({ byteStart: number; byteEnd: number })[] }
  message: MessageCore
}

export interface ThreadMessage {
  /** 0 for the root. */
  depth: number
  parent_uri: AtUri | null
  message: MessageCore
}

export interface Notification {
  /** A later one has a greater number. */
  id: number
  kind: "mention" | "reply"
  community_uri: AtUri
  channel_uri: AtUri
  indexed_at: Timestamp
  seen_at: Timestamp | null
  urgency: Urgency
  message: MessageCore
}

export interface Notifications {
  /** How many are not seen, of all. */
  unseen: number
  notifications: Notification[]
}

export interface Seen {
  /** How many were not seen before. */
  seen: number
}

/** A `PushSubscription` of a browser, as its `toJSON` writes it. */
export interface PushSubscription {
  endpoint: string
  keys: PushSubscriptionKeys
}

export interface PushSubscriptionKeys {
  p256dh: string
  auth: string
}

export interface PushKey {
  public_key: string
}

/** A `quiet` one is counted; a `ping` may interrupt. */
export type Urgency = "quiet" | "ping"

/** `silent`: nothing is sent; `quiet`: all is quiet; `engaged`: each as its message asks; `busy`: all ping. */
export type Rhythm = "silent" | "quiet" | "engaged" | "busy"

export interface RhythmThere {
  community_uri: AtUri
  rhythm: Rhythm
}

export interface Preferences {
  rhythm: Rhythm
  communities: RhythmThere[]
}

export interface Webhook {
  id: string
  community_uri: AtUri
  url: string
  /** Types of events; none: every type. */
  events: string[]
  created_at: Timestamp
  disabled_at: Timestamp | null
  disabled_because: string | null
}

export type WebhookSet = Webhook & { secret: string }

export interface Report {
  id: number
  community_uri: AtUri
  reporter_did: Did
  /** An AT-URI or a DID. */
  subject: string
  about_did: Did
  reason: string
  comment: string | null
  reported_at: Timestamp
  resolved_at: Timestamp | null
  /** A DID, or `operator`. */
  resolved_by: string | null
  resolution: string | null
}

export interface Reported {
  id: number
}

export interface Overview {
  refusals: RefusedFor[]
  repositories: DueRepository[]
  webhooks: Webhook[]
}

export interface RefusedFor {
  reason: string
  count: number
  last_at: Timestamp
  /** The AT-URI of the newest such record; `null` for a frame that could not be read. */
  example: string | null
}

export interface DueRepository {
  did: Did
  handle: string | null
  /** Host and port of its PDS, once resolved. */
  host: string | null
  /** As in `GET /api/sync`. */
  status: string
  /** Why it is to be read. */
  reason: string
  /** Since the last success. */
  failures: number
  /** The last of them. */
  error: string | null
  next_attempt_at: Timestamp
}

/** `sockets`: the events sockets; `calls`: the signaling sockets; `stream`: the connection to the stream; `all`: all of these. */
export type RestartScope = "sockets" | "calls" | "stream" | "all"

export interface Statistics {
  /** How many people are present. */
  UserCount: number
  /** Their handles, ascending; of somebody without one, the DID. At most 1,000. */
  Usernames: string[]
  /** Open events sockets, without observers. */
  sockets: number
  /** By AT-URI: the communities where anybody is. */
  communities: Record<string, Here>
}

export interface Here {
  /** Members who are online, the owner and pending ones included. */
  online: number
  /** Members who are away. */
  away: number
  /** Members who do not want to be disturbed. */
  dnd: number
  /** Sockets that named it in a subscription. */
  connections: number
  /** People in its voice channels. */
  voice: number
}

/** What an object with events sockets carries, and what it refused since it woke or was restarted. */
export interface GatewayLoad {
  /** Its name. */
  name: string
  /** Open sockets. */
  sockets: number
  /** Sockets whose clients had more than 1 MiB left to read at the latest delivery. */
  slow: number
  /** Sockets that were closed because they did not read. */
  closed_slow: number
  /** Sockets that were closed because they sent too many frames. */
  closed_flooding: number
  /** Frames over the budget of their socket. */
  refused_frames: number
  /** Subscriptions over a limit. */
  refused_subscriptions: number
  /** Sockets that were not accepted because it was full. */
  turned_away: number
}

export interface Part {
  /** Its name. */
  part: string
  /** `note`: it works, and something is worth a look. */
  verdict: "ok" | "note" | "wrong"
  /** What is known of it. */
  message: string
  /** What to do, unless it is `ok`. */
  advice?: string
}

export interface ListedCommunity {
  uri: AtUri
  owner_did: Did
  owner_handle: string | null
  name: string
  requires_approval_to_join: boolean
}

export interface AuditEntry {
  community_uri: AtUri
  /** A DID; `operator` for the holder of the API key; `service` for the service itself. */
  actor: string
  proof: "api_key" | "service_auth" | "socket_token" | "none"
  /** `block`, `unblock`, `ban`, `unban`, `ban_ended`, `kick`, `moderators`, `members_only`, `invite`, `revoke_invite` or `resolve_report`. */
  action: string
  /** The message, the person, or the code; for moderators their DIDs, separated by blanks. */
  subject: string
  reason: string | null
  /** When a ban ends by itself. */
  until: string | null
  at: Timestamp
}

export interface Invite {
  /** 16 hex digits. */
  code: string
  community_uri: AtUri
  created_by_did: Did
  /** `null` for no maximum. */
  max_uses: number | null
  use_count: number
  /** Not revoked, and its community was not deleted. An exhausted invite stays active. */
  active: boolean
}

export type InviteToCommunity = Invite & { community: Community }

export interface InviteCode {
  /** 16 hex digits. */
  code: string
}

export interface Erasure {
  state: "erasing" | "erased" | "lifting"
  erased_at: Timestamp
}

export interface Vouched {
  ok: boolean
  /** Opaque. */
  token: string
  expires_at: Timestamp
}

export interface Ticket {
  /** Opaque. */
  ticket: string
  expires_at: Timestamp
}

export interface DidDocument {
  '@context': string[]
  /** The DID. */
  id: string
  service: ({ id: string; type: string; serviceEndpoint: string })[]
}

export interface IceServer {
  urls: string[]
  /** Absent for STUN. */
  username?: string
  /** Absent for STUN. */
  credential?: string
}

export interface IceServers {
  ice_servers: IceServer[]
  relay_only: boolean
  /** When the credentials expire; `null` if none do. */
  expires_at: Timestamp | null
}

export interface Health {
  /** What is known of each part; the status of the answer does not depend on them. Callers without a key share for five seconds what the gateways answered. */
  parts: Part[]
  /** Only for the API key and the metrics token: each gateway that answered, at most 16. */
  gateways?: GatewayLoad[]
  /** `open`, `mixed` or `verified`. */
  auth_mode: string
  /** What the mode means. */
  auth_meaning: string
  /** Whether the stream is read and stored, and the database answers. */
  ok: boolean
  ingest: Ingest
  /** Whether the database answers. */
  database: boolean
  /** Only if not `ok`. */
  error?: string
  /** Only if not `ok`: why, and what to do. */
  message?: string
}

/** The stream now, and what is stored of it. The fields from the database are absent while it does not answer. */
export interface Ingest {
  /** Whether frames are expected right now. */
  connected: boolean
  /** The Jetstream. */
  host: string
  /** Failed attempts since the last success. */
  failures: number
  /** When the last frame arrived since the reader woke. */
  last_frame_at: string | null
  /** Frames received and not stored yet. */
  queued: number
  /** Events stored and not delivered yet. */
  untold: number
  /** Binary frames (for example compressed ones), which are not read, since the reader woke. */
  binary: number
  /** Frames whose time is more than an hour ahead of the clock, since the reader woke. They are accepted, but never as a position. */
  ahead: number
  /** Events of deferred repositories that were left out since the reader woke. */
  left_out: number
  /** Frames that were skipped because the runtime does not accept their size, since the reader woke. Each is a gap. */
  stepped_over: number
  /** Why the stream is not read or not stored, if it is not. */
  because: string | null
  /** The cost of commits since the stream's object woke. */
  since_woken: { commits: number; events: number; rows_read: number; rows_written: number }
  /** The last stored event: microseconds since 1970. */
  cursor_us?: number | null
  /** The same. */
  cursor_at?: string | null
  /** Records that wait for another record. */
  held_records?: number
  /** Since when the oldest of them waits. */
  oldest_held_at?: string | null
  /** Events and stored rows that could not be delivered or read back. The subscribers of their communities received `resync_required`. */
  set_aside?: number
  /** How often the program ended by a panic or a fault of the machine, and restarted. */
  restarts?: number
  /** Frames and records that were refused. */
  refused?: number
  gaps?: Gap[]
  /** Repositories that exceeded their points, and until when their events are left out; at most ten. */
  deferred?: ({ did: Did; until: string })[]
  repos?: RepoCounts
  relay?: Discovery
}

/** The state of a repository. */
export interface Repo {
  did: Did
  /** Where it was last found. */
  pds: string | null
  /** The newest revision seen. Unless the repository is due, everything up to it is in the index. */
  rev: string | null
  /** `waiting`, `synced`, `failing`, `absent` (its host says that the account does not exist) or `empty` (it has no Colibri records). */
  status: string
  /** Why it is, or was last, due: `new`, `gap`, `identity`, `account` (it is active again), `gate`, `asked`, `lookup`, `found` (a relay lists it) or `points` (its events were left out). */
  reason: string
  /** `null` if nothing is due. */
  next_attempt_at: string | null
  /** Failures since the last success. */
  failures: number
  /** The latest failure. */
  error: string | null
  /** Records that the gate refused when it was last read. */
  refused: number
  /** When the last successful reading began. */
  checked_at: string | null
  /** When it was last read in full. */
  synced_at: string | null
}

/** Repositories of owners, members, authors, and people whom an operator named. */
export interface RepoCounts {
  /** All of them. */
  known: number
  /** Those to be read, now or after a pause. */
  due: number
  /** Of these, the ones with at least one failed attempt. */
  failing: number
  /** Those that exceeded their points and are read later. */
  deferred: number
}

/** The relay walk: the present one, or the last. Absent if no relay was ever asked. */
export interface Discovery {
  /** The relay. */
  relay: string
  began_at: Timestamp
  /** `null` while it continues. */
  ended_at: string | null
  /** `complete`, `too_long` (the relay lists more than a walk reads), `full` (the limit of repositories known only from a relay is reached) or `broken` (the listing of at least one collection did not end properly). */
  ending: string | null
  next_attempt_at: Timestamp
  /** Pages read. */
  pages: number
  /** Repositories on these pages. */
  listed: number
  /** Of these, those not known before. */
  found: number
  /** Invalid entries. */
  dropped: number
  /** Failures since the last page. */
  failures: number
  /** The latest failure. */
  error: string | null
}

/** A stretch of the stream that the service missed. */
export interface Gap {
  /** The Jetstream. */
  host: string
  from: Timestamp
  to: Timestamp
  /** Why. */
  reason: string
  /** `open` or `closed`. */
  state: string
}

export interface Server {
  name: string
  version: string
  /** `open`: a socket acts for the DID that it names. `mixed`: without a proof for presence only, until that DID has shown one. `verified`: only with a proof. */
  auth_mode: "open" | "mixed" | "verified"
  /** The meaning of the mode, as a sentence. */
  auth_meaning: string
  /** The audience of service-auth tokens; `null` if the server accepts none. */
  did: Did | null
  limits: { messages_per_page: number; rows_per_page: number; body_bytes: number; frame_bytes: number; subscriptions_per_socket: number; requests_per_minute: number }
}

/** An unsuccessful answer. */
export interface Error {
  /** One of the codes above. */
  error: "InvalidRequest" | "InvalidState" | "AuthRequired" | "Forbidden" | "NotEnabled" | "NotCommunityHub" | "NotFound" | "MethodNotAllowed" | "Gone" | "PayloadTooLarge" | "InvalidRange" | "RateLimited" | "NotConfigured" | "InternalError" | "UpstreamFailure" | "Unavailable"
  /** A plain sentence that names the field. */
  message: string
  /** Only of `NotCommunityHub`: the DID of that service. */
  hub?: string
}

/** The number of the event in its community: one more than that of the event before it. Events that a socket does not receive have numbers too. */
export type Seq = number

/** `true` if the service learned of the change within five minutes, or made it itself; `false` for what is replayed, caught up or read from a repository. */
export type Live = boolean

/** The `seq` up to which the client has handled every event; `-1` replays nothing and returns the current position. */
export type Position = number

/** The requests of the API. */
export interface Requests {
  'GET /api/messages': { query: { channel: UriOrRkey; limit?: number; before?: Timestamp; cursor?: Cursor; all?: string }; body: undefined; answer: Message[] }
  'GET /api/message': { query: { author: Did; rkey: Rkey }; body: undefined; answer: AnsweredMessage }
  'GET /api/search': { query: { community: AtUri; q: string; channel?: UriOrRkey; author?: Did; before?: Timestamp; has?: "attachment" | "link" | "mention"; limit?: number; cursor?: Cursor }; body: undefined; answer: Found[] }
  'GET /api/threads': { query: { channel: UriOrRkey; limit?: number; cursor?: Cursor }; body: undefined; answer: Thread[] }
  'GET /api/thread': { query: { uri: AtUri; limit?: number; cursor?: Cursor }; body: undefined; answer: ThreadMessage[] }
  'DELETE /api/message/block': { query: { author_did: Did; rkey: Rkey; reason?: string }; body: undefined; answer: undefined }
  'POST /api/message/block': { query: { author_did: Did; rkey: Rkey; reason?: string }; body: undefined; answer: undefined }
  'GET /api/authors': { query: { did: Did }; body: undefined; answer: Author }
  'GET /api/reactions': { query: { message: UriOrRkey }; body: undefined; answer: ReactionGroup[] }
  'GET /api/reactions/channel': { query: { channel: UriOrRkey; limit?: number; cursor?: Cursor }; body: undefined; answer: Record<string, ReactionGroup[]> }
  'GET /api/community': { query: { community: UriOrRkey }; body: undefined; answer: Community }
  'POST /api/community/ban': { query: {}; body: { community_uri: CommunityUri; member_did: Did; until?: string | null; reason?: string | null }; answer: undefined }
  'DELETE /api/community/ban': { query: { community: AtUri; member_did: Did; reason?: string }; body: undefined; answer: undefined }
  'GET /api/community/bans': { query: { community: AtUri; limit?: number; cursor?: Cursor }; body: undefined; answer: Member[] }
  'PUT /api/community/listing': { query: {}; body: { community_uri: CommunityUri; listed: boolean; reason?: string | null }; answer: Listing }
  'GET /api/directory': { query: { limit?: number; cursor?: Cursor }; body: undefined; answer: DirectoryEntry[] }
  'POST /api/voice/moderate': { query: {}; body: { community_uri: CommunityUri; member_did: Did; channel: string; action: "mute" | "disconnect" | "move"; to?: string | null; reason?: string | null }; answer: undefined }
  'POST /api/community/kick': { query: {}; body: { community_uri: CommunityUri; member_did: Did; reason?: string | null }; answer: undefined }
  'GET /api/community/members-only': { query: { community: AtUri }; body: undefined; answer: MembersOnly }
  'PUT /api/community/members-only': { query: {}; body: { community_uri: CommunityUri; members_only: boolean; reason?: string | null }; answer: MembersOnly }
  'GET /api/community/moderators': { query: { community: AtUri }; body: undefined; answer: Did[] }
  'PUT /api/community/moderators': { query: {}; body: { community_uri: CommunityUri; moderators: Did[]; reason?: string | null }; answer: undefined }
  'GET /api/audit': { query: { community: AtUri; actor?: string; action?: string; subject?: string; limit?: number; cursor?: Cursor }; body: undefined; answer: AuditEntry[] }
  'GET /api/communities': { query: { did: Did }; body: undefined; answer: Communities }
  'GET /api/channels': { query: { community: AtUri; limit?: number; cursor?: Cursor }; body: undefined; answer: Channel[] }
  'GET /api/sidebar': { query: { community: AtUri }; body: undefined; answer: Sidebar }
  'GET /api/members': { query: { community: AtUri; limit?: number; cursor?: Cursor }; body: undefined; answer: Member[] }
  'GET /api/invites': { query: { community: AtUri; limit?: number; cursor?: Cursor }; body: undefined; answer: Invite[] }
  'GET /api/invite/{code}': { query: {}; body: undefined; answer: InviteToCommunity }
  'DELETE /api/invite/{code}': { query: { owner_did: Did; reason?: string }; body: undefined; answer: undefined }
  'POST /api/invite': { query: {}; body: { community_uri: AtUri; owner_did: Did; max_uses?: number | null; reason?: string | null }; answer: InviteCode }
  'POST /api/invite/{code}/use': { query: {}; body: undefined; answer: undefined }
  'DELETE /api/user': { query: { did: Did }; body: undefined; answer: Erasure }
  'GET /api/user/erasure': { query: { did: Did }; body: undefined; answer: Erasure }
  'DELETE /api/user/erasure': { query: { did: Did }; body: undefined; answer: Erasure }
  'POST /api/user/state': { query: { did: Did; state: "online" | "away" | "dnd" }; body: undefined; answer: undefined }
  'GET /api/channel-reads': { query: { did: Did; limit?: number; cursor?: Cursor }; body: undefined; answer: ChannelRead[] }
  'GET /api/webrtc/ice-servers': { query: { did?: Did; auth?: string; room: string; peer_id?: string; secret?: string }; body: undefined; answer: IceServers }
  'POST /api/authentication': { query: {}; body: { did: Did; ttl?: number | null }; answer: Vouched }
  'DELETE /api/authentication': { query: { did: Did }; body: undefined; answer: undefined }
  'POST /api/ticket': { query: {}; body: undefined; answer: Ticket }
  'GET /api/identity': { query: { id: DidOrHandle }; body: undefined; answer: Identity }
  'GET /api/health': { query: {}; body: undefined; answer: Health }
  'GET /api/server': { query: {}; body: undefined; answer: Server }
  'GET /api/unread': { query: { did: Did; community?: AtUri }; body: undefined; answer: UnreadChannel[] }
  'POST /api/read': { query: { did: Did; channel: AtUri; message?: AtUri }; body: undefined; answer: undefined }
  'GET /api/activity': { query: { did: Did; limit?: number; cursor?: Cursor }; body: undefined; answer: Active[] }
  'GET /api/notifications': { query: { did: Did; limit?: number; cursor?: Cursor }; body: undefined; answer: Notifications }
  'POST /api/notifications/seen': { query: { did: Did; message?: AtUri; until?: Timestamp }; body: undefined; answer: Seen }
  'POST /api/push': { query: { did: Did }; body: { subscription: PushSubscription }; answer: undefined }
  'DELETE /api/push': { query: { did: Did; endpoint: string }; body: undefined; answer: undefined }
  'GET /api/push/key': { query: {}; body: undefined; answer: PushKey }
  'GET /api/preferences': { query: { did: Did }; body: undefined; answer: Preferences }
  'PUT /api/preferences': { query: { did: Did }; body: { community_uri?: AtUri; rhythm: "silent" | "quiet" | "engaged" | "busy" | null }; answer: Preferences }
  'PUT /api/webhooks': { query: {}; body: { community_uri: CommunityUri; url: string; events?: string[] | null; secret?: string | null }; answer: WebhookSet }
  'GET /api/webhooks': { query: { community: AtUri }; body: undefined; answer: Webhook[] }
  'DELETE /api/webhooks': { query: { community: AtUri; id: string }; body: undefined; answer: undefined }
  'POST /api/report': { query: {}; body: { uri?: AtUri; did?: Did | null; community_uri?: CommunityUri | null; reason: "spam" | "violation" | "misleading" | "sexual" | "rude" | "other"; comment?: string | null }; answer: Reported }
  'GET /api/reports': { query: { community: AtUri; state?: "open" | "resolved"; limit?: number; cursor?: Cursor }; body: undefined; answer: Report[] }
  'POST /api/report/resolve': { query: {}; body: { community_uri: CommunityUri; id: number; reason?: string | null }; answer: undefined }
  'GET /api/operator': { query: {}; body: undefined; answer: Overview }
  'GET /api/operator/communities': { query: { limit?: number; cursor?: Cursor }; body: undefined; answer: ListedCommunity[] }
  'GET /api/statistics': { query: {}; body: undefined; answer: Statistics }
  'POST /api/admin/restart': { query: {}; body: { scope: RestartScope }; answer: { scope: RestartScope; sockets: number } }
  'POST /api/shutdown': { query: {}; body: undefined; answer: { OK: boolean } }
  'GET /api/sync': { query: { did: Did }; body: undefined; answer: Repo }
  'POST /api/sync': { query: {}; body: { did: Did }; answer: Repo }
}

/** What a client sends on the events socket. */
export type ClientFrame =
  | { action: "subscribe"; event_type?: string; channel?: string; community_uri?: string; did?: string; cursor?: Position }
  | { action: "unsubscribe"; event_type?: string; channel?: string; community_uri?: string; did?: string }
  | { action: "heartbeat"; event_type?: string }
  | { action: "activity" }
  | { action: "set_state"; state: "online" | "away" | "dnd" | "offline" }
  | { action: "voice_event"; community_uri?: string; voice_channel_rkey?: string; voice_action?: "join" | "leave" }
  | { action: "session" }
  | { action: "presence"; community_uri: string }
  | { action: "typing"; channel: string }
  | { action: "view"; channel?: string }

/** What a client receives on the events socket. */
export type ServerFrame =
  | { type: "ack"; message: string }
  | { type: "error"; message: string }
  | { type: "presence_snapshot"; community_uri: AtUri; members: ({ did: Did; state: "online" | "away" | "dnd" })[]; complete: boolean; voice: Record<string, Did[]>; voice_states: Record<string, { muted: boolean; deafened: boolean; camera: boolean; screen: boolean }>; seq: number }
  | { type: "resumed"; community_uri: AtUri; from: number; to: number }
  | { type: "resync_required"; community_uri: AtUri; oldest: number }
  | { type: "subscription_ended"; community_uri: AtUri }
  | { type: "server_restart"; retry_after_ms: number }
  | Message & { type: "message"; message: Message; community_uri: AtUri; channel_uri: AtUri; seq: Seq; live: Live }
  | { type: "message_deleted"; id: string; rkey: Rkey; author_did: Did; channel: string; community_uri: AtUri; channel_uri: AtUri; seq: Seq; live: Live }
  | { type: "thread_updated"; parent: string; channel: string; community_uri: AtUri; channel_uri: AtUri; root_uri?: AtUri; reply_count?: number; last_reply_at?: string | null; seq: Seq; live: Live }
  | { type: "reaction_added"; rkey: Rkey; author_did: Did; emoji: string; target_rkey: Rkey; target_author_did: Did; channel: string; community_uri: AtUri; channel_uri: AtUri; seq: Seq; live: Live }
  | { type: "reaction_removed"; rkey: Rkey; author_did: Did; emoji: string; target_rkey: Rkey; target_author_did: Did; channel: string; community_uri: AtUri; channel_uri: AtUri; seq: Seq; live: Live }
  | { type: "community_upserted"; community_uri: AtUri; owner_did: Did; rkey: Rkey; name: string; description?: string; picture?: Record<string, unknown>; category_order?: unknown[]; requires_approval_to_join: boolean; seq: Seq; live: Live }
  | { type: "community_deleted"; community_uri: AtUri; owner_did: Did; rkey: Rkey; seq: Seq; live: Live }
  | { type: "channel_created"; community_uri: AtUri; uri: AtUri; rkey: Rkey; name: string; description?: string; channel_type: string; category_rkey?: string; owner_only: boolean; seq: Seq; live: Live }
  | { type: "channel_deleted"; community_uri: AtUri; uri: AtUri; rkey: Rkey; seq: Seq; live: Live }
  | { type: "category_created"; community_uri: AtUri; uri: AtUri; rkey: Rkey; name: string; channel_order?: unknown[]; seq: Seq; live: Live }
  | { type: "category_deleted"; community_uri: AtUri; uri: AtUri; rkey: Rkey; seq: Seq; live: Live }
  | { type: "member_pending"; community_uri: AtUri; member_did: Did; membership_uri?: AtUri; display_name?: string; avatar_url?: string; seq: Seq; live: Live }
  | { type: "member_joined"; community_uri: AtUri; member_did: Did; membership_uri?: AtUri; display_name?: string; avatar_url?: string; seq: Seq; live: Live }
  | { type: "member_left"; community_uri: AtUri; member_did: Did; display_name?: string; avatar_url?: string; banner_url?: string; description?: string; handle?: string; status_text?: string; emoji?: string; state?: string; seq: Seq; live: Live }
  | { type: "voice_channel_updated"; community_uri: AtUri; channel_rkey: Rkey; member_dids: Did[]; seq: Seq; live: Live }
  | { type: "user_status_changed"; did: Did; status: string; emoji?: string; state: "online" | "away" | "dnd" | "offline"; display_name?: string; avatar_url?: string; live: Live }
  | { type: "user_profile_updated"; did: Did; display_name: string | null; avatar_url: string | null; banner_url: string | null; description: string | null; handle: string | null; is_bot?: true; live: Live }
  | { type: "members_only"; community_uri: AtUri; members_only: boolean; seq: Seq; live: Live }
  | { type: "typing"; did: Did; channel: Rkey; expires_at: string; community_uri: AtUri; channel_uri: AtUri }
  | { type: "voice_state_changed"; community_uri: AtUri; channel_rkey: Rkey; did: Did; muted: boolean; deafened: boolean; camera: boolean; screen: boolean }
  | { type: "superseded"; community_uri: AtUri; channel_rkey: Rkey }
  | { type: "voice_moderated"; community_uri: AtUri; channel_rkey: Rkey; action: "mute" | "disconnect" | "move"; to_channel_rkey?: Rkey }
  | { type: "notification"; id: number; kind: "mention" | "reply"; community_uri: AtUri; channel_uri: AtUri; indexed_at: Timestamp; seen_at: Timestamp | null; urgency: Urgency; message: MessageCore }
  | { type: "digest"; kind: "digest"; urgency: "quiet"; count: number; since: Timestamp }
  | { type: "notifications_seen"; message_uri?: AtUri; until?: Timestamp; seen: number }
  | { type: "channel_read"; channel_uri: AtUri }

/** What a peer of a call sends. */
export type PeerFrame =
  | { type: "join"; room: string; peer_id: string; secret?: string | null }
  | { type: "offer"; room: string; target_peer_id: string; sdp: string }
  | { type: "answer"; room: string; target_peer_id: string; sdp: string }
  | { type: "ice"; room: string; target_peer_id: string; candidate: string | Record<string, unknown> | null }
  | { type: "voice_state"; room: string; muted?: boolean | null; deafened?: boolean | null; camera?: boolean | null; screen?: boolean | null }
  | { type: "leave"; room: string }
  | { type: "heartbeat" }

/** What a peer of a call receives. */
export type CallFrame =
  | { type: "joined"; room: string; peer_id: string; peers: string[] }
  | { type: "peer_joined"; room: string; peer_id: string }
  | { type: "offer"; room: string; from_peer_id: string; sdp: string }
  | { type: "answer"; room: string; from_peer_id: string; sdp: string }
  | { type: "ice"; room: string; from_peer_id: string; candidate: string | Record<string, unknown> | null }
  | { type: "voice_state"; room: string; from_peer_id: string; muted: boolean; deafened: boolean; camera: boolean; screen: boolean }
  | { type: "peer_left"; room: string; peer_id: string }
  | { type: "moderated"; room: string; action: "mute" | "disconnect" | "move"; to?: string }
  | { type: "ack" }
  | { type: "server_restart"; retry_after_ms: number }
  | { type: "error"; message: string }
