// @ts-check
// The honest side of the soak: a community, its members' sockets, what they write, and the account of what each of them
// received.
//
// Promises: every written event is expected once at every socket; it counts events that came twice, late or never, and
// every unanswered read.

import { setTimeout as pause } from 'node:timers/promises'
import WebSocket from 'ws'

import { Repositories } from '../bench/frames.js'
import { Latencies } from '../bench/numbers.js'
import { COLLECTION } from '../network/records.js'

const HEARTBEAT = '{"action":"heartbeat","event_type":"heartbeat"}'
const HEARTBEAT_EVERY_MILLIS = 20_000
const READ_WITHIN_MILLIS = 10_000
const READS_PER_SECOND = 2
/** Every fourth event is a reaction to the message before it; the rest are messages. */
const REACTION_EVERY = 4
const OPENING_AT_ONCE = 20
/** The CID of every record and commit: nothing verifies it where there are no archives. */
const ROOT = 'bafyreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy'

export const OWNER = 'did:plc:soakowner'
export const COMMUNITY = `at://${OWNER}/${COLLECTION.community}/c`
export const CHANNEL = `at://${OWNER}/${COLLECTION.channel}/hall`
/** @param {number} n */
export const memberOf = (n) => `did:plc:soakmember${n}`
/** Each client has an address of its own, as people have. @param {number} n */
const addressOf = (n) => `127.0.1.${1 + (n % 250)}`

/**
 * What one socket received: how often each event, and the last number.
 * @typedef {{ ws: WebSocket, got: Map<number, number>, seq: number, disordered: number, closed?: string }} Socket
 */

/** What honest people wrote, in the stream and as their PDS lists it. */
export class HonestRepositories {
  #repos = new Repositories({ from: Date.now() * 1000 })
  /** By DID: the last revision, and the records of each collection. @type {Map<string, { rev: string, records: any[] }>} */
  #of = new Map()

  /** @param {string} did @param {string} collection @param {object} record @param {string} [rkey] */
  create(did, collection, record, rkey) {
    const frame = this.#repos.create(did, collection, record, rkey)
    const repository = this.#of.get(did) ?? { rev: '', records: [] }
    repository.rev = frame.commit.rev
    repository.records.push({ uri: `at://${did}/${collection}/${frame.commit.rkey}`, cid: ROOT, value: frame.commit.record })
    this.#of.set(did, repository)
    return frame
  }

  /** The PDS's answer about a repository; undefined for any other request. @param {URL} url */
  answer({ pathname, searchParams }) {
    const repository = this.#of.get(searchParams.get('did') ?? searchParams.get('repo') ?? '')
    if (!repository) return undefined
    if (pathname.endsWith('getLatestCommit')) return { cid: ROOT, rev: repository.rev }
    if (!pathname.endsWith('listRecords')) return undefined
    const [from, limit] = [Number(searchParams.get('cursor') ?? 0), Number(searchParams.get('limit') ?? 50)]
    const all = repository.records.filter(({ uri }) => uri.includes(`/${searchParams.get('collection')}/`))
    const more = from + limit < all.length
    return { records: all.slice(from, from + limit), ...(more && { cursor: String(from + limit) }) }
  }
}

export class Honest {
  #jetstream
  #repos
  #url
  /** @type {Socket[]} */
  #sockets = []
  /** By the key of its record, the number of an event. @type {Map<string, number>} */
  #numbers = new Map()
  /** When each event was written. @type {number[]} */
  #writtenAt = []
  #latencies = new Latencies()
  #ofStretch = new Latencies()
  /** @type {NodeJS.Timeout[]} */
  #timers = []
  /** @type {string[]} */
  #paths
  #reads = { asked: 0, failed: /** @type {string[]} */ ([]), late: /** @type {string[]} */ ([]), slowest: 0 }
  #lastMessage = { author: '', rkey: '' }

  /**
   * @param {{ jetstream: import('../network/jetstream.js').Jetstream, repositories: HonestRepositories, url: string, paths: string[] }} options
   * `paths`: what people read while they listen
   */
  constructor({ jetstream, repositories, url, paths }) {
    this.#repos = repositories
    this.#jetstream = jetstream
    this.#url = url
    this.#paths = paths
  }

  /** Makes the community and opens a socket for each of `count` members. @param {number} count */
  async arrive(count) {
    const createdAt = new Date().toISOString()
    const say = (/** @type {string} */ did, /** @type {string} */ collection, /** @type {object} */ record, /** @type {string} */ rkey) =>
      this.#jetstream.injectFrame(/** @type {any} */ (this.#repos.create(did, collection, record, rkey)))
    say(OWNER, COLLECTION.community, { name: 'Soak', requiresApprovalToJoin: false, createdAt }, 'c')
    say(OWNER, COLLECTION.channel, { name: 'hall', type: 'text', community: 'c', createdAt }, 'hall')
    for (let n = 0; n < count; n++) say(memberOf(n), COLLECTION.membership, { community: COMMUNITY, createdAt }, 'm')
    for (let until = Date.now() + 30_000; ; await pause(100)) {
      const answer = await fetch(`${this.#url}/api/members?community=${COMMUNITY}&limit=1000`)
      // The owner is a member of their own community.
      if (answer.ok && /** @type {any[]} */ (await answer.json()).length >= count) break
      if (Date.now() > until) throw new Error('the members are not there after 30 s')
    }
    for (let n = 0; n < count; n += OPENING_AT_ONCE)
      await Promise.all(Array.from({ length: Math.min(OPENING_AT_ONCE, count - n) }, (_, k) => this.#open(n + k)))
    this.#timers.push(setInterval(() => this.#sockets.forEach(({ ws }) => ws.readyState === WebSocket.OPEN && ws.send(HEARTBEAT)), HEARTBEAT_EVERY_MILLIS))
    this.#timers.push(setInterval(() => this.#read(), 1000 / READS_PER_SECOND))
  }

  /** @param {number} n */
  async #open(n) {
    const ws = new WebSocket(`${this.#url.replace('http', 'ws')}/api/subscribe?did=${memberOf(n)}`, {
      localAddress: addressOf(n),
      perMessageDeflate: false,
    })
    /** @type {Socket} */
    const socket = { ws, got: new Map(), seq: 0, disordered: 0 }
    let acks = 0
    await new Promise((resolve, reject) => {
      ws.on('error', reject)
      ws.on('close', (code, reason) => {
        socket.closed = `${code} ${reason}`
        reject(new Error(`closed with ${socket.closed}`))
      })
      ws.on('open', () => {
        ws.send(JSON.stringify({ action: 'subscribe', event_type: 'message', channel: CHANNEL }))
        ws.send(JSON.stringify({ action: 'subscribe', event_type: 'community', community_uri: COMMUNITY }))
      })
      ws.on('message', (data) => {
        const frame = JSON.parse(String(data))
        if (frame.type === 'ack' && ++acks === 2) resolve(undefined)
        this.#received(socket, frame)
      })
    })
    this.#sockets.push(socket)
  }

  /** @param {Socket} socket @param {any} frame */
  #received(socket, frame) {
    if (frame.seq !== undefined) {
      if (frame.seq <= socket.seq) socket.disordered += 1
      socket.seq = frame.seq
    }
    if (frame.type !== 'message' && frame.type !== 'reaction_added') return
    const number = this.#numbers.get(frame.rkey)
    if (number === undefined) return
    const times = (socket.got.get(number) ?? 0) + 1
    socket.got.set(number, times)
    if (times !== 1) return
    const late = performance.now() - this.#writtenAt[number]
    this.#latencies.add(late)
    this.#ofStretch.add(late)
  }

  /** One person writes something. */
  #write() {
    const number = this.#writtenAt.length
    const author = memberOf(number % this.#sockets.length)
    const createdAt = new Date().toISOString()
    const { author: whose, rkey: what } = this.#lastMessage
    const frame =
      number % REACTION_EVERY === REACTION_EVERY - 1
        ? this.#repos.create(author, COLLECTION.reaction, { emoji: '🌿', targetMessage: `at://${whose}/${COLLECTION.message}/${what}`, createdAt })
        : this.#repos.create(author, COLLECTION.message, { text: `soak ${number}`, channel: CHANNEL, createdAt })
    const { rkey } = frame.commit
    if (frame.commit.collection === COLLECTION.message) this.#lastMessage = { author, rkey }
    this.#numbers.set(rkey, number)
    this.#writtenAt.push(performance.now())
    this.#jetstream.injectFrame(/** @type {any} */ (frame))
  }

  /** People write from now on. @param {number} perSecond */
  write(perSecond) {
    const beganAt = performance.now()
    let written = 0
    this.#timers.push(
      setInterval(() => {
        // By the clock, so that a busy moment of this process does not make people write less.
        for (; written < ((performance.now() - beganAt) / 1000) * perSecond; written++) this.#write()
      }, 1000 / perSecond),
    )
  }

  async #read() {
    const path = this.#paths[this.#reads.asked % this.#paths.length]
    this.#reads.asked += 1
    const began = performance.now()
    try {
      const answer = await fetch(this.#url + path, { signal: AbortSignal.timeout(READ_WITHIN_MILLIS) })
      await answer.arrayBuffer()
      if (!answer.ok) this.#reads.failed.push(`${path} answers ${answer.status}`)
    } catch (error) {
      const late = error instanceof Error && error.name === 'TimeoutError'
      ;(late ? this.#reads.late : this.#reads.failed).push(`${path}: ${error}`)
    }
    this.#reads.slowest = Math.max(this.#reads.slowest, performance.now() - began)
  }

  /** What came since the last call, and how fast. */
  phase() {
    const [latencies, reads] = [this.#latencies, this.#reads]
    this.#latencies = new Latencies()
    this.#reads = { asked: 0, failed: [], late: [], slowest: 0 }
    return {
      deliveries: latencies.count,
      p50: latencies.quantile(0.5),
      p99: latencies.quantile(0.99),
      reads: reads.asked,
      failedReads: reads.failed,
      lateReads: reads.late,
      slowestRead: Math.round(reads.slowest),
    }
  }

  /** How late deliveries were since this was asked last. */
  stretch() {
    const latencies = this.#ofStretch
    this.#ofStretch = new Latencies()
    return { p50: latencies.quantile(0.5), p99: latencies.quantile(0.99) }
  }

  get events() {
    return this.#writtenAt.length
  }

  /** Stops writing, and waits a while for what is in transit. @param {number} millis */
  async fallSilent(millis) {
    for (const timer of this.#timers.splice(0)) clearInterval(timer)
    const missing = () => this.#sockets.some(({ got, closed }) => !closed && got.size < this.#writtenAt.length)
    for (const until = Date.now() + millis; missing() && Date.now() < until; ) await pause(100)
  }

  /** The failures at sockets. */
  account() {
    let [lost, doubled, disordered] = [0, 0, 0]
    for (const { got, disordered: times } of this.#sockets) {
      lost += this.#writtenAt.length - got.size
      for (const count of got.values()) doubled += count - 1
      disordered += times
    }
    const closed = this.#sockets.flatMap((socket) => socket.closed ?? [])
    return { sockets: this.#sockets.length, events: this.#writtenAt.length, lost, doubled, disordered, closed }
  }

  leave() {
    for (const timer of this.#timers.splice(0)) clearInterval(timer)
    for (const { ws } of this.#sockets) ws.terminate()
  }
}
