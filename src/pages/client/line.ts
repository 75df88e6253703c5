// The events socket, with everything a client needs so that it misses nothing and shows nothing twice: it connects
// again after a break, resumes each community from the last event it handled, and reads anew what the service no
// longer has. Contract, sections 4.2 to 4.4.

import { withQuery, type Query } from './api.ts'

/** Exactly this text costs the service nothing (A10). */
const HEARTBEAT = '{"action":"heartbeat","event_type":"heartbeat"}'
const BEAT_MILLIS = 20_000
/** No answer to two heartbeats: the connection is dead. */
const DEAD_MILLIS = 50_000
const RETRY_MILLIS = [500, 1_000, 2_000, 4_000, 8_000, 15_000, 30_000]
/** A socket may send 120 frames at once, and then 20 a second (A18). */
const BURST = 100
const FRAME_EVERY_MILLIS = 60

/** A frame of the service; `type` says which fields it has. */
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

/** The address of the events socket. */
export function socketAddress(query: Query = {}): string {
  const address = new URL(withQuery('/api/subscribe', query), location.href)
  address.protocol = address.protocol.replace('http', 'ws')
  return address.href
}

export class Line {
  state: LineState = 'connecting'
  private socket?: WebSocket
  /** Of each community, the `seq` up to which every event is handled; -1 if it must be read anew. */
  private readonly cursors = new Map<string, number>()
  private readonly channels = new Set<string>()
  /** Subscriptions without a reply yet: a community, or '' for a channel. Replies come in order (A03). */
  private asked: string[] = []
  /** Of communities that resume, how many events came so far. */
  private readonly missed = new Map<string, number>()
  /** Communities whose events count: those before the ack come again. */
  private readonly counts = new Set<string>()
  private retries = 0
  private retrying?: number
  private frameAt = 0

  /** `address` and protocols of a new socket; a proof in them is valid only once. */
  constructor(
    private readonly open: () => Promise<[string, string[]]>,
    private readonly listener: Listener,
  ) {
    setInterval(() => this.beat(), BEAT_MILLIS)
    void this.connect()
  }

  /** Follows a community from now on. */
  follow(community: string) {
    if (this.cursors.has(community)) return
    this.cursors.set(community, -1)
    this.resume(community)
  }

  /** Follows the messages of a channel. One that is created later needs this too. */
  followChannel(channel: string) {
    if (this.channels.has(channel)) return
    this.channels.add(channel)
    if (this.state === 'open') this.subscribe('', { event_type: 'message', channel })
  }

  send(frame: object) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(frame))
  }

  /** Ends the connection, as a tunnel would, until `mend`. */
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
    this.frameAt = Date.now()
    this.become('open')
    for (const [n, channel] of [...this.channels].entries()) {
      if (n >= BURST) await new Promise((done) => setTimeout(done, FRAME_EVERY_MILLIS))
      if (socket !== this.socket) return
      this.subscribe('', { event_type: 'message', channel })
    }
    for (const community of this.cursors.keys()) this.resume(community)
  }

  private resume(community: string) {
    if (this.state !== 'open') return
    this.counts.delete(community)
    this.subscribe(community, {
      event_type: 'community',
      community_uri: community,
      cursor: this.cursors.get(community),
    })
  }

  private subscribe(community: string, what: object) {
    this.asked.push(community)
    this.send({ action: 'subscribe', ...what })
  }

  private receive(frame: Frame) {
    this.frameAt = Date.now()
    const community = frame.community_uri ?? ''
    if (frame.type === 'ack') {
      const subscribed = frame.message.startsWith('Subscribed to') && this.asked.shift()
      if (!subscribed) return
      this.counts.add(subscribed)
      this.missed.set(subscribed, 0)
    } else if (frame.type === 'error') {
      // A community for members only, for example: it is not followed.
      const refused = this.asked.shift()
      if (refused) this.cursors.delete(refused)
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

  private beat() {
    if (this.state !== 'open') return
    if (Date.now() - this.frameAt > DEAD_MILLIS) this.again()
    else this.socket?.send(HEARTBEAT)
  }

  /** Connects again, later each time. */
  private again() {
    if (this.state === 'cut') return
    this.drop()
    this.become('connecting')
    const pause = RETRY_MILLIS[Math.min(this.retries++, RETRY_MILLIS.length - 1)] ?? 0
    this.retrying = setTimeout(() => void this.connect(), pause * (0.75 + Math.random() / 2))
  }

  private drop() {
    const socket = this.socket
    this.socket = undefined
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
