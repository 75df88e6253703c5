// What the chat page knows, and how it changes: read once through REST, then kept current by the events of the line.
//
// Writing goes the other way: a record into the person's own repository. It is shown when the service publishes it, so
// that everybody sees the same.

import {
  Account,
  Line,
  type Channel,
  type Found,
  type Frame,
  type InviteToCommunity,
  type LineState,
  type Member,
  type Message,
  type Notification,
  type ReactionGroup,
  type Server,
  type ThreadMessage,
} from '../../../packages/client/src/index.ts'
import { communityUri, isVoice, service, type Facet, type Quotation } from '../client/api.ts'
import { facetsOf } from '../client/richtext.ts'
import { t } from '../texts/index.ts'
import { CHANGES, Inbox } from './inbox.ts'

const NS = 'social.colibri'
const SUBSCRIBE = `${NS}.sync.subscribeEvents`
const PAGE = 50
const FOUND_PAGE = 20
/** Reads that may need a proof, and the method that it names (X41, X42). */
const METHODS = {
  '/api/communities': `${NS}.community.list`,
  '/api/community': `${NS}.community.get`,
  '/api/sidebar': `${NS}.community.getSidebar`,
  '/api/members': `${NS}.member.list`,
  '/api/messages': `${NS}.message.list`,
  '/api/threads': `${NS}.message.listThreads`,
  '/api/thread': `${NS}.message.getThread`,
  '/api/search': `${NS}.message.search`,
}
/** How long a post may take until the page says that it is not shown. */
const UNSEEN_MILLIS = 15_000
/** How often the page says that the person writes: the service publishes no more (U40). */
const TYPING_EVERY_MILLIS = 3_000
/** The reply to `typing` where the person may not post: the post itself says so, too. */
const MAY_NOT_WRITE = 'Not allowed in this channel'
const STRUCTURE = [
  'community_upserted',
  'channel_created',
  'channel_deleted',
  'category_created',
  'category_deleted',
  'members_only',
]
const MEMBERS = ['member_joined', 'member_pending', 'member_left']

export interface Room extends Channel {
  /** The oldest first. */
  messages: Message[]
  /** The cursor of older messages, if there are any. */
  older?: string
  /** Of its newest threads: how many answer the message with this id. */
  answers: Map<string, number>
  /** Up to when the person has read it. */
  readAt: number
}

/** What somebody's devices in a call do. */
interface Devices {
  muted: boolean
  deafened: boolean
}

export interface Place {
  uri: string
  name: string
  /** Whether its owner approves of members. */
  isClosed: boolean
  /** Whether only members may read it. */
  isMembersOnly: boolean
  /** Channels by category; those without one come last, under an empty name. */
  categories: { name: string; rooms: Room[] }[]
  members: Member[]
}

/** A message that is in the author's repository, and not shown yet. */
export interface Post {
  rkey: string
  channel: string
  text: string
  state: 'sending' | 'unseen' | 'rejected'
  why?: string
}

const messageUri = (author: string, rkey: string) => `at://${author}/${NS}.message/${rkey}`
const millis = (time: string) => Date.parse(time) || 0
const isOf = (message: Quotation, author: string, rkey: string) =>
  message.author_did === author && message.rkey === rkey

export class World {
  readonly places = new Map<string, Place>()
  place?: Place
  room?: Room
  line: LineState = 'connecting'
  posts: Post[] = []
  /** Who writes in which channel, and until when that is shown. */
  private readonly typing = new Map<string, Map<string, number>>()
  private typedAt = 0
  /** What came back after the line was mended, in words. */
  cameBack = ''
  trouble = ''
  /** What mentions and answers the person; absent if the service accepts no proofs. */
  readonly inbox?: Inbox
  /** The thread that is open, its root first. */
  thread: ThreadMessage[] = []
  /** What was searched for, and what was found so far; absent while no search is open. */
  found?: { words: string; rows: Found[]; next?: string }
  /** What the devices of people in calls do, by DID. */
  readonly devices = new Map<string, Devices>()
  private readonly socket: Line
  private readonly missed = new Map<string, number>()
  /** Of each community, what must be finished before its next event is applied. */
  private readonly busy = new Map<string, Promise<void>>()

  private constructor(
    readonly me: Account,
    private readonly server: Server,
    private readonly changed: () => void,
  ) {
    const { did } = server
    if (did) this.inbox = new Inbox(me.did, (method) => me.proof(did, method), changed)
    this.socket = new Line(() => this.address(), {
      event: (frame, missed) => this.event(frame, missed),
      readAnew: (uri) => this.after(uri, () => this.readAnew(uri)),
      resumed: (uri) => this.after(uri, async () => this.report()),
      state: (state) => {
        this.line = state
        if (state !== 'open') this.missed.clear()
        else this.readInbox()
        this.changed()
      },
    })
  }

  static async enter(identifier: string, password: string, changed: () => void): Promise<World> {
    const me = await Account.signIn(service, identifier, password)
    const world = new World(me, await service.get('/api/server', {}), changed)
    await world.findPlaces()
    return world
  }

  /** Where a socket of this person opens, and its proof, if the service accepts any (X06). */
  private async address(): Promise<[string, string[]]> {
    const protocols = this.server.did
      ? ['colibri.auth.bearer', await this.me.proof(this.server.did, SUBSCRIBE)]
      : []
    return [service.socketAddress('/api/subscribe', { did: this.me.did }), protocols]
  }

  /** A proof of this person for a read, if only members may read, and the service accepts proofs. */
  private async proof(path: keyof typeof METHODS, place?: Pick<Place, 'isMembersOnly'>): Promise<string | undefined> {
    const { did } = this.server
    return place?.isMembersOnly && did ? this.me.proof(did, METHODS[path]) : undefined
  }

  /** The communities that the person owns or belongs to. */
  async findPlaces() {
    // Those for members only are in it only for a proof of one of them.
    const proof = await this.proof('/api/communities', { isMembersOnly: true })
    const { owned, joined } = await service.get('/api/communities', { did: this.me.did }, proof)
    for (const community of [...owned, ...joined]) {
      const uri = communityUri(community)
      if (!this.places.has(uri)) this.follow(uri, community.name)
    }
    this.changed()
  }

  /** Shows a community, of which only the name is known yet, and follows it. */
  private follow(uri: string, name: string) {
    this.places.set(uri, { uri, name, isClosed: false, isMembersOnly: false, categories: [], members: [] })
    this.socket.follow(uri)
  }

  rooms = (place: Place | undefined = this.place) => place?.categories.flatMap(({ rooms }) => rooms) ?? []

  unread = (room: Room) =>
    room.messages.filter(({ author_did, created_at }) => author_did !== this.me.did && millis(created_at) > room.readAt)
      .length

  member = (did: string) => this.place?.members.find(({ member_did }) => member_did === did)

  /** Does something of a community after everything that is under way there. */
  private after(uri: string, work: () => Promise<void>) {
    const done = (this.busy.get(uri) ?? Promise.resolve()).then(work).catch((error) => this.fail(error))
    this.busy.set(uri, done.then(this.changed))
  }

  private async readAnew(uri: string) {
    // The structure says whether the members need a proof.
    await this.readStructure(uri, true)
    await this.readMembers(uri)
    // The first community is entered by itself, and one that was chosen before it was read.
    if (!this.place || (this.place.uri === uri && !this.room)) this.enterPlace(uri)
  }

  /** Channels by category. Messages are read of channels that are new here, or of all of them. */
  private async readStructure(uri: string, all = false) {
    const place = this.places.get(uri)
    if (!place) return
    const [{ members_only: isMembersOnly }, reads] = await Promise.all([
      service.get('/api/community/members-only', { community: uri }),
      service.get('/api/channel-reads', { did: this.me.did }),
    ])
    place.isMembersOnly = isMembersOnly
    const [{ name, requires_approval_to_join: isClosed }, { categories, uncategorized }] = await Promise.all([
      service.get('/api/community', { community: uri }, await this.proof('/api/community', place)),
      service.get('/api/sidebar', { community: uri }, await this.proof('/api/sidebar', place)),
    ])
    Object.assign(place, { name, isClosed })
    const known = new Map(this.rooms(place).map((room) => [room.uri, room]))
    const fresh: Room[] = []
    const roomOf = (channel: Channel): Room => {
      const room = known.get(channel.uri) ?? { ...channel, messages: [], answers: new Map(), readAt: 0 }
      if (all || !known.has(channel.uri)) fresh.push(room)
      const read = reads.find(({ channel_uri }) => channel_uri === channel.uri)
      return Object.assign(room, channel, { readAt: Math.max(room.readAt, millis(read?.cursor_at ?? '')) })
    }
    const named = [...categories, ...(uncategorized.length > 0 ? [{ name: '', channels: uncategorized }] : [])]
    place.categories = named.map(({ name, channels }) => ({ name, rooms: channels.map(roomOf) }))
    if (fresh.some(isVoice)) this.socket.send({ action: 'presence', community_uri: uri })
    await Promise.all(fresh.filter((room) => !isVoice(room)).map((room) => this.readMessages(place, room)))
  }

  private async messages(place: Place | undefined, { uri: channel }: Room, cursor?: string) {
    return service.page('/api/messages', { channel, limit: PAGE, cursor }, await this.proof('/api/messages', place))
  }

  private async readMessages(place: Place, room: Room) {
    this.socket.followChannel(room.uri)
    const { rows, next } = await this.messages(place, room)
    Object.assign(room, { messages: rows.reverse(), older: next })
    await this.readThreads(place, room)
  }

  private async readThreads(place: Place, { uri: channel, answers }: Room) {
    const threads = await service.get('/api/threads', { channel, limit: PAGE }, await this.proof('/api/threads', place))
    answers.clear()
    for (const { message, reply_count: count } of threads) answers.set(message.id, count)
  }

  /** Opens the thread to which a message belongs. */
  async openThread({ author_did: author, rkey }: Quotation) {
    const uri = messageUri(author, rkey)
    this.thread = await service.get('/api/thread', { uri, limit: 100 }, await this.proof('/api/thread', this.place))
    this.changed()
  }

  closeThread() {
    this.thread = []
    this.changed()
  }

  /** Searches the community; with `after`, on from there. */
  async search(words: string, after?: string) {
    const { place, found } = this
    if (!place) return
    const asked = { community: place.uri, q: words, limit: FOUND_PAGE, cursor: after }
    const { rows, next } = await service.page('/api/search', asked, await this.proof('/api/search', place))
    this.found = { words, rows: [...((after && found?.rows) || []), ...rows], next }
    this.changed()
  }

  closeSearch() {
    this.found = undefined
    this.changed()
  }

  private readInbox() {
    this.inbox?.read().catch(this.fail)
  }

  /** Enters the channel of a notification. */
  goTo({ community_uri: uri, channel_uri: channel }: Notification) {
    if (this.place?.uri !== uri) this.enterPlace(uri)
    const room = this.rooms().find((room) => room.uri === channel)
    if (room) this.enterRoom(room)
  }

  async readOlder(room: Room) {
    const { rows, next } = await this.messages(this.place, room, room.older)
    room.messages = [...rows.reverse(), ...room.messages]
    room.older = next
    this.changed()
  }

  private async readMembers(uri: string) {
    const place = this.places.get(uri)
    const members = await service.get('/api/members', { community: uri }, await this.proof('/api/members', place))
    Object.assign(place ?? {}, { members })
  }

  enterPlace(uri: string) {
    this.place = this.places.get(uri)
    const text = this.rooms().find((room) => !isVoice(room))
    this.room = undefined
    if (text) this.enterRoom(text)
    this.changed()
  }

  enterRoom(room: Room) {
    this.room = room
    if (this.server.did) this.socket.send({ action: 'view', channel: room.uri })
    this.markRead()
    this.changed()
  }

  /** Remembers in the person's repository that the open channel is read. */
  markRead() {
    const { room } = this
    const newest = room?.messages.at(-1)
    if (!room || !newest || document.hidden || millis(newest.created_at) <= room.readAt) return
    const isNews = this.unread(room) > 0
    room.readAt = Math.max(Date.now(), millis(newest.created_at))
    const cursor = new Date(room.readAt).toISOString()
    if (isNews)
      this.me.put(`${NS}.channel.read`, room.rkey, { channel: room.uri, cursor }).catch((error) => this.fail(error))
    if (isNews) void this.sayRead(room.uri).catch(this.fail)
  }

  /** Says at once what the record will say: what mentions the person in this channel is seen (U06). */
  private async sayRead(channel: string) {
    if (!this.server.did) return
    const proof = await this.me.proof(this.server.did, `${NS}.sync.markRead`)
    await service.act('POST /api/read', { proof, query: { did: this.me.did, channel } })
  }

  /** Applies an event. Each kind may come again after a reading, so applying it twice changes nothing. */
  private event(frame: Frame, missed: boolean) {
    const { type, community_uri: uri } = frame
    if (type === 'error' && frame.message !== MAY_NOT_WRITE) this.trouble = frame.message
    if (type === 'message_rejected') this.reject(frame)
    if (type === 'typing') this.types(frame)
    if (CHANGES.includes(type)) this.readInbox()
    if (type === 'user_status_changed' || type === 'user_profile_updated') this.person(frame)
    if (type === 'community_deleted' || type === 'subscription_ended') this.forget(uri ?? '')
    if (type === 'voice_state_changed') this.devices.set(frame.did, { muted: frame.muted, deafened: frame.deafened })
    if (type === 'presence_snapshot')
      for (const [did, state] of Object.entries<Devices>(frame.voice_states)) this.devices.set(did, state)
    // It comes with a message, which counts.
    if (missed && type !== 'thread_updated') this.missed.set(type, (this.missed.get(type) ?? 0) + 1)
    if (!uri || !this.places.has(uri)) return this.changed()
    this.after(uri, async () => {
      if (STRUCTURE.includes(type)) await this.readStructure(uri)
      else if (MEMBERS.includes(type)) await this.readMembers(uri)
      else await this.apply(this.places.get(uri), frame)
    })
  }

  private async apply(place: Place | undefined, frame: Frame) {
    const room = this.rooms(place).find(
      ({ uri, rkey }) => uri === frame.channel_uri || (frame.channel_uri === undefined && rkey === frame.channel_rkey),
    )
    if (!place || !room) return
    const target = room.messages.find((message) => isOf(message, frame.target_author_did, frame.target_rkey))
    switch (frame.type) {
      case 'message': {
        const others = room.messages.filter(({ id }) => id !== frame.message.id)
        const at = others.findLastIndex(({ created_at }) => millis(created_at) <= millis(frame.created_at)) + 1
        room.messages = others.toSpliced(at, 0, frame.message)
        this.posts = this.posts.filter(({ rkey }) => !isOf(frame.message, this.me.did, rkey))
        this.typing.get(room.uri)?.delete(frame.author_did)
        if (room === this.room) this.markRead()
        break
      }
      case 'message_deleted':
        room.messages = room.messages.filter(({ id }) => id !== frame.id)
        if (room.answers.size > 0) await this.readThreads(place, room)
        break
      case 'thread_updated': {
        const root = room.messages.find(({ author_did, rkey }) => frame.root_uri === messageUri(author_did, rkey))
        if (!frame.root_uri) await this.readThreads(place, room)
        else if (root && frame.reply_count > 0) room.answers.set(root.id, frame.reply_count)
        else if (root) room.answers.delete(root.id)
        break
      }
      case 'reaction_added':
      case 'reaction_removed':
        if (target) target.reactions = withReaction(target.reactions, frame)
        break
      case 'voice_channel_updated':
        room.voice_members = frame.member_dids
    }
  }

  /** A state, a status or a name changed, wherever the person is shown. */
  private person({ did, type, live: _, status, ...fields }: Frame) {
    const news = { ...fields, ...(status !== undefined && { status_text: status }) }
    for (const { members } of this.places.values())
      Object.assign(members.find(({ member_did }) => member_did === did) ?? {}, news)
  }

  private types({ did, channel_uri: channel, expires_at: expires }: Frame) {
    const writers = this.typing.get(channel) ?? new Map<string, number>()
    this.typing.set(channel, writers.set(did, millis(expires)))
    setTimeout(this.changed, millis(expires) - Date.now())
  }

  /** The others who write in a channel now. */
  writers = (room: Room) =>
    [...(this.typing.get(room.uri) ?? [])].filter(([, until]) => until > Date.now()).map(([did]) => did)

  /** The person writes in the open channel. It may be called for every letter. */
  write() {
    if (!this.room || !this.server.did || Date.now() - this.typedAt < TYPING_EVERY_MILLIS) return
    this.typedAt = Date.now()
    this.socket.send({ action: 'typing', channel: this.room.uri })
  }

  private reject({ rkey, reason, message }: Frame) {
    for (const post of this.posts)
      if (post.rkey === rkey) Object.assign(post, { state: 'rejected', why: message ?? reason })
  }

  private forget(uri: string) {
    this.places.delete(uri)
    if (this.place?.uri === uri) this.place = this.room = undefined
  }

  private report() {
    if (this.missed.size === 0) this.cameBack ||= t.chat.nothingMissed
    else {
      const other = t.chat.events.other!
      this.cameBack = t.chat.cameBack(
        [...this.missed].map(([type, count]) => (t.chat.events[type] ?? other)(count)).join(', '),
      )
    }
  }

  cut() {
    this.cameBack = ''
    this.socket.cut()
  }

  mend = () => this.socket.mend()

  setState: Line['setState'] = (state) => this.socket.setState(state)

  active = () => this.socket.active()

  /** Posts in the open channel. */
  async post(text: string, files: File[], parent?: Message) {
    const { room } = this
    if (!room) return
    const attachments = await Promise.all(
      files.map(async (file) => ({ blob: await this.me.upload(file), name: file.name })),
    )
    const createdAt = new Date().toISOString()
    const fields = {
      channel: room.rkey,
      text,
      facets: this.facets(text),
      createdAt,
      ...(parent && { parent: parent.rkey }),
      attachments,
    }
    const rkey = await this.me.create(`${NS}.message`, fields)
    // The service is often faster than the answer of the PDS.
    if (room.messages.some((message) => isOf(message, this.me.did, rkey))) return
    const post: Post = { rkey, channel: room.uri, text, state: 'sending' }
    this.posts = [...this.posts, post]
    this.changed()
    setTimeout(() => {
      if (post.state === 'sending') post.state = 'unseen'
      this.changed()
    }, UNSEEN_MILLIS)
  }

  /** Changes a message: the same record with another text. */
  async change({ rkey, channel, created_at: createdAt, parent, attachments }: Message, text: string) {
    const kept = { channel, createdAt, ...(parent && { parent }), ...(attachments && { attachments }) }
    await this.me.put(`${NS}.message`, rkey, { ...kept, text, facets: this.facets(text), edited: true })
  }

  remove = ({ rkey }: Message) => this.me.remove(`${NS}.message`, rkey)

  /** Reacts, or withdraws the reaction. */
  async react(message: Message, emoji: string) {
    const group = message.reactions.find((one) => one.emoji === emoji)
    const own = group?.rkeys[group.authors.indexOf(this.me.did)]
    if (own) await this.me.remove(`${NS}.reaction`, own)
    else await this.me.create(`${NS}.reaction`, { targetMessage: message.rkey, emoji })
  }

  /** Asks to join: a membership in the person's own repository; some communities want the owner's approval. */
  async join(named: string) {
    const found = named.startsWith('at://')
      ? { community_uri: named, community: await service.get('/api/community', { community: named }) }
      : await this.invitation(named)
    const community = found.community_uri
    await this.me.create(`${NS}.membership`, { community, createdAt: new Date().toISOString() })
    this.follow(community, found.community.name)
  }

  private async invitation(code: string): Promise<InviteToCommunity> {
    return (await service.request(`/api/invite/${encodeURIComponent(code)}`)).json()
  }

  private facets = (text: string): Facet[] =>
    facetsOf(text, (handle) => this.place?.members.find((member) => member.handle === handle)?.member_did)

  fail = (error: unknown) => {
    this.trouble = t.chat.failed(error instanceof Error ? error.message : String(error))
    this.changed()
  }
}

/** The reactions of a message after somebody's first one with an emoji, or without the last. */
function withReaction(groups: ReactionGroup[], { type, emoji, author_did: author, rkey }: Frame): ReactionGroup[] {
  const group = groups.find((one) => one.emoji === emoji) ?? { emoji, count: 0, reactor_dids: [], authors: [], rkeys: [] }
  const others = group.authors.map((did, n) => [did, group.rkeys[n] ?? ''] as const).filter(([did]) => did !== author)
  const people = type === 'reaction_added' ? [...others, [author, rkey] as const] : others
  const authors = people.map(([did]) => did)
  const news = { emoji, count: people.length, reactor_dids: authors, authors, rkeys: people.map(([, key]) => key) }
  const rest = groups.map((one) => (one.emoji === emoji ? news : one))
  return (groups.includes(group) ? rest : [...rest, news]).filter(({ count }) => count > 0)
}
