// The events socket, with everything a client needs so that it misses nothing and shows nothing twice: it connects
// again after a break, resumes each community from the last event it handled, and reads anew what the service no
// longer has. Contract, sections 4.2 to 4.4.

import { Beating, pauseAfter } from './beating.ts'
import type { ClientFrame } from './types.ts'

/** Exactly this text costs the service nothing (A10). */
const HEARTBEAT = '{"action":"heartbeat","event_type":"heartbeat"}'
/** A person who types, clicks or moves is not away (P05). */
const ACTIVE_EVERY_MILLIS = 30_000
/** A socket may send 120 frames at once, and then 20 a second (A18). */
const BURST = 100
/** When a subscription is tried again that was refused for a fault. */
const AGAIN_MILLIS = 5_000
/** The person may not read this community: it is not followed (X43). */
const MEMBERS_ONLY = 'This community is for members only'
const FRAME_EVERY_MILLIS = 60

/** A frame of the service; `type` says which fields it has, as `ServerFrame` does. */
export interface Frame {
  type: string
  community_uri?: string
  seq?: number
  [field: string]: any
}

export type LineState = 'connecting' | 'open' | 'cut'

export interface Listener {
  /** An event that was not handled before. `missed`: it happened while the line was down. */
  event(frame: Frame, missed: boolean): void
  /** Everything of a community must be read through REST; events that come meanwhile follow. */
  readAnew(community: string): void
  /** All events that a community missed have come; this many. */
  resumed(community: string, missed: number): void
  state(state: LineState): void
}

export class Line {
  state: LineState = 'connecting'
  private socket?: WebSocket
  /** Of each community, the `seq` up to which every event is handled; -1 if it must be read anew. */
  private readonly cursors = new Map<string, number>()
  private readonly channels = new Set<string>()
  /** Frames without a reply yet, in order (A03): the community of its subscription, '' for any other. */
  private asked: { community: string; isSubscribe: boolean }[] = []
  /** Of communities that resume, how many events came so far. */
  private readonly missed = new Map<string, number>()
  /** Communities whose events count: those before the ack come again. */
  private readonly counts = new Set<string>()
  private retries = 0
  private retrying?: ReturnType<typeof setTimeout>
  private activeAt = 0
  private hasAllMessages = false
  private readonly beating = new Beating(HEARTBEAT, () => this.again())
  private readonly open: () => Promise<[string, string[]]>
  private readonly listener: Listener

  /** `open`: the address of a new socket and its sub-protocols; a proof in them is valid only once. */
  constructor(open: () => Promise<[string, string[]]>, listener: Listener) {
    this.open = open
    this.listener = listener
    void this.connect()
  }

  /** Follows a community from now on, or from the last event that was handled at an earlier time (`positionOf`). */
  follow(community: string, position = -1) {
    if (this.cursors.has(community)) return
    this.cursors.set(community, position)
    this.resume(community)
  }

  /** The `seq` up to which every event of a community is handled; -1 if it must be read anew. */
  positionOf = (community: string) => this.cursors.get(community) ?? -1

  /** Follows the messages of all channels, also of those that are created later. */
  followMessages() {
    if (this.hasAllMessages) return
    this.hasAllMessages = true
    if (this.state === 'open') this.send({ action: 'subscribe', event_type: 'message' })
  }

  /** Follows the messages of a channel. One that is created later needs this too. */
  followChannel(channel: string) {
    if (this.channels.has(channel)) return
    this.channels.add(channel)
    if (this.state === 'open') this.send({ action: 'subscribe', event_type: 'message', channel })
  }

  /** Sends a frame; without a connection it is lost. */
  send(frame: ClientFrame) {
    if (this.socket?.readyState !== WebSocket.OPEN) return
    const isSubscribe = frame.action === 'subscribe'
    const resumes = isSubscribe && frame.event_type === 'community' && frame.cursor !== undefined
    this.asked.push({ community: (resumes && frame.community_uri) || '', isSubscribe })
    this.socket.send(JSON.stringify(frame))
  }

  /** Chooses the person's state. */
  setState(state: 'online' | 'away' | 'dnd' | 'offline') {
    this.send({ action: 'set_state', state })
  }

  /** The person did something, so they are not away. It may be called for every key. */
  active() {
    if (Date.now() - this.activeAt < ACTIVE_EVERY_MILLIS) return
    this.activeAt = Date.now()
    this.send({ action: 'activity' })
  }

  /** Ends the connection until `mend`, or for good. */
  cut() {
    this.become('cut')
    clearTimeout(this.retrying)
    this.drop()
  }

  mend() {
    if (this.state === 'cut') void this.connect()
  }

  private async connect() {
    this.become('connecting')
    try {
      const [address, protocols] = await this.open()
      if (this.state !== 'connecting') return
      const socket = new WebSocket(address, protocols)
      this.socket = socket
      socket.onopen = () => void this.greet(socket)
      socket.onmessage = ({ data }) => this.receive(JSON.parse(data))
      socket.onclose = () => this.again()
    } catch {
      this.again()
    }
  }

  /** First the channels, so that the resume of a community covers their messages (Q02). */
  private async greet(socket: WebSocket) {
    this.retries = 0
    this.beating.start(socket)
    this.become('open')
    if (this.hasAllMessages) this.send({ action: 'subscribe', event_type: 'message' })
    for (const [n, channel] of [...this.channels].entries()) {
      if (n >= BURST) await new Promise((done) => setTimeout(done, FRAME_EVERY_MILLIS))
      if (socket !== this.socket) return
      this.send({ action: 'subscribe', event_type: 'message', channel })
    }
    for (const community of this.cursors.keys()) this.resume(community)
  }

  private resume(community: string) {
    if (this.state !== 'open') return
    this.counts.delete(community)
    const cursor = this.cursors.get(community)
    if (cursor !== undefined)
      this.send({ action: 'subscribe', event_type: 'community', community_uri: community, cursor })
  }


  private receive(frame: Frame) {
    this.beating.heard()
    const community = frame.community_uri ?? ''
    if (frame.type === 'ack') {
      // The runtime answers heartbeats before other frames, so an empty ack need not be that of the oldest frame.
      if (frame.message === '' && this.asked[0]?.isSubscribe !== false) return
      const subscribed = this.asked.shift()?.community
      if (!subscribed) return
      this.counts.add(subscribed)
      this.missed.set(subscribed, 0)
    } else if (frame.type === 'error') {
      const refused = this.asked.shift()?.community
      if (refused && frame.message === MEMBERS_ONLY) this.cursors.delete(refused)
      else if (refused) setTimeout(() => this.resume(refused), AGAIN_MILLIS)
      this.listener.event(frame, false)
    } else if (frame.type === 'presence_snapshot') {
      this.asked.shift()
      this.listener.event(frame, false)
    } else if (frame.type === 'resync_required') {
      this.cursors.set(community, -1)
      this.resume(community)
    } else if (frame.type === 'resumed') {
      const isLost = this.cursors.get(community) === -1
      this.cursors.set(community, frame.to)
      if (isLost) this.listener.readAnew(community)
      else this.listener.resumed(community, this.missed.get(community) ?? 0)
      this.missed.delete(community)
    } else if (frame.seq === undefined || !this.cursors.has(community)) {
      this.listener.event(frame, false)
    } else if (this.counts.has(community) && frame.seq > (this.cursors.get(community) ?? 0)) {
      const isMissed = this.missed.has(community)
      if (isMissed) this.missed.set(community, (this.missed.get(community) ?? 0) + 1)
      this.cursors.set(community, frame.seq)
      this.listener.event(frame, isMissed)
    }
  }

  /** Connects again, later each time. */
  private again() {
    if (this.state === 'cut') return
    this.drop()
    this.become('connecting')
    this.retrying = setTimeout(() => void this.connect(), pauseAfter(this.retries++))
  }

  private drop() {
    const { socket } = this
    this.socket = undefined
    this.beating.stop()
    this.asked = []
    this.counts.clear()
    this.missed.clear()
    if (!socket) return
    socket.onclose = null
    socket.onmessage = null
    socket.close()
  }

  private become(state: LineState) {
    if (this.state === state) return
    this.state = state
    this.listener.state(state)
  }
}
