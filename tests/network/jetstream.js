// @ts-check
// A Jetstream v1 server (`/subscribe`) on 127.0.0.1 over the frames of a log, with faults on demand.
//
// It is always in one of three states, which its fault controls change:
//   running  serves;
//   frozen   keeps every connection and takes new ones, but sends nothing at all: no frame, no ping,
//            no answer to a handshake or a close; thawing delivers what came in between;
//   stopped  does not listen, so that a connect is refused; all connections are gone.
// Frames enter the log in every state. What a frozen server has already handed to the kernel still
// arrives.

import { createServer } from 'node:http'
import { once } from 'node:events'
import { WebSocketServer } from 'ws'
import { HOST } from './ports.js'
import { Subscriber } from './subscriber.js'
import { parseWanted } from './wanted.js'

const PING_MILLIS = 30_000
const MAX_CLIENT_MESSAGE_BYTES = 10 * 1024 * 1024

/** @typedef {import('./firehose.js').Frame} Frame */

export class Jetstream {
  /** @type {'running' | 'frozen' | 'stopped'} */
  #state = 'stopped'
  #port
  #log
  /** @type {Set<Subscriber>} */
  #subscribers = new Set()
  /** Handshakes that a frozen server does not answer. @type {Map<import('node:stream').Duplex, () => void>} */
  #unanswered = new Map()
  #connectionsEver = 0
  #sentToGone = 0
  /** @type {string | undefined} */
  #lastRequestUrl
  #http = createServer((_, response) => response.writeHead(426).end('this is a WebSocket server, see /subscribe\n'))
  #websockets = new WebSocketServer({ noServer: true, perMessageDeflate: false, maxPayload: MAX_CLIENT_MESSAGE_BYTES })
  /** @type {NodeJS.Timeout} */
  #pings

  /** @param {{port: number, log: import('./log.js').FrameLog}} options */
  constructor({ port, log }) {
    this.#port = port
    this.#log = log
    this.#http.on('upgrade', (request, socket, head) => this.#upgrade(request, socket, head))
    this.#pings = setInterval(() => this.#each((subscriber) => subscriber.ping()), PING_MILLIS)
  }

  get url() {
    return `ws://${HOST}:${this.#port}/subscribe`
  }

  get stats() {
    const subscribers = [...this.#subscribers].map(({ stats }) => stats)
    return {
      state: this.#state,
      connectionsNow: subscribers.length,
      connectionsEver: this.#connectionsEver,
      lastRequestUrl: this.#lastRequestUrl,
      framesSent: subscribers.reduce((sum, { sent }) => sum + sent, this.#sentToGone),
      frames: this.#log.length,
      firstTimeUs: this.#log.timesUs[0] ?? 0,
      lastTimeUs: this.#log.lastTimeUs,
      floorUs: this.#log.floorUs,
      seq: this.#log.seq,
      subscribers,
    }
  }

  /** Starts to listen, at first and after `stop`. */
  async resume() {
    if (this.#state !== 'stopped') return
    this.#http.listen(this.#port, HOST)
    await once(this.#http, 'listening')
    this.#state = 'running'
  }

  /** Refuses connects and drops all connections, until `resume`. */
  async stop() {
    if (this.#state === 'stopped') return
    this.#state = 'stopped'
    const closed = once(this.#http, 'close')
    this.#http.close()
    this.drop()
    this.#http.closeAllConnections()
    await closed
  }

  /** Keeps all connections, but sends nothing more until `thaw`. */
  freeze() {
    this.#assertNot('stopped')
    this.#state = 'frozen'
    this.#each((subscriber) => subscriber.pause())
  }

  thaw() {
    this.#assertNot('stopped')
    if (this.#state !== 'frozen') return
    this.#state = 'running'
    this.#each((subscriber) => subscriber.resume())
    for (const answer of this.#unanswered.values()) answer()
    this.#unanswered.clear()
  }

  /** Cuts the present connections, without a closing handshake. @returns {number} how many */
  drop() {
    const { size } = this.#subscribers
    this.#each((subscriber) => subscriber.terminate())
    for (const socket of this.#unanswered.keys()) socket.destroy()
    this.#unanswered.clear()
    return size
  }

  /** Sends a text to every client now; it does not enter the log. @param {string} text @returns {number} to how many */
  injectText(text) {
    this.#assertNot('stopped')
    this.#assertNot('frozen')
    this.#each((subscriber) => subscriber.send(text))
    return this.#subscribers.size
  }

  /** Adds a frame to the log, with the next `time_us`. @param {Partial<Frame>} frame @returns {number} its `time_us` */
  injectFrame({ time_us, ...frame }) {
    this.#log.append([frame])
    this.#grown()
    return this.#log.lastTimeUs
  }

  /** Adds the frames of one event of a PDS. @param {number} seq @param {Frame[]} frames @param {number} [pds] which one */
  take(seq, frames, pds) {
    this.#log.take(seq, frames, pds)
    this.#grown()
  }

  /** Adds the frames of a JSONL file. @param {string} path @returns {number} how many */
  load(path) {
    const count = this.#log.load(path)
    this.#grown()
    return count
  }

  /** Frames older than this are not replayed; 0 for all. @param {number} timeUs */
  lookback(timeUs) {
    this.#log.setFloor(timeUs)
  }

  async close() {
    clearInterval(this.#pings)
    await this.stop()
    this.#log.close()
  }

  /**
   * @param {import('node:http').IncomingMessage} request
   * @param {import('node:stream').Duplex} socket
   * @param {Buffer} head
   */
  #upgrade(request, socket, head) {
    this.#lastRequestUrl = request.url
    socket.on('error', () => {}) // a close follows, which is all that matters
    if (this.#state === 'frozen') {
      this.#unanswered.set(socket, () => this.#upgrade(request, socket, head))
      return
    }
    const url = request.url ?? '/'
    let asked
    try {
      asked = parseRequest(url)
    } catch (error) {
      refuse(socket, '400 Bad Request', error instanceof Error ? error.message : String(error))
      return
    }
    if (!asked) {
      refuse(socket, '404 Not Found', 'the only path is /subscribe')
      return
    }
    this.#websockets.handleUpgrade(request, socket, head, (ws) => {
      const subscriber = new Subscriber({ ws, socket, log: this.#log, asked, url })
      this.#connectionsEver++
      this.#subscribers.add(subscriber)
      ws.on('close', () => {
        this.#subscribers.delete(subscriber)
        this.#sentToGone += subscriber.sent
      })
    })
  }

  #grown() {
    this.#each((subscriber) => subscriber.advance())
  }

  /** @param {(subscriber: Subscriber) => void} act */
  #each(act) {
    for (const subscriber of [...this.#subscribers]) act(subscriber)
  }

  /** @param {'stopped' | 'frozen'} state */
  #assertNot(state) {
    if (this.#state === state) throw new Error(`the bridge is ${state}: ${state === 'frozen' ? 'thaw' : 'resume'} it first`)
  }
}

/** What the URL asks for; nothing if it is not that of a subscription. @param {string} url */
function parseRequest(url) {
  const { pathname, searchParams } = new URL(url, 'ws://bridge')
  if (pathname !== '/subscribe') return undefined
  if (searchParams.get('compress') === 'true') throw new Error('compress: this server sends plain text only')
  return {
    wanted: parseWanted({
      wantedCollections: searchParams.getAll('wantedCollections'),
      wantedDids: searchParams.getAll('wantedDids'),
      maxMessageSizeBytes: searchParams.get('maxMessageSizeBytes') ?? 0,
    }),
    cursor: parseCursor(searchParams.get('cursor')),
    hello: searchParams.get('requireHello') === 'true',
  }
}

/** @param {string | null} text */
function parseCursor(text) {
  if (text === null || text === '') return undefined
  const cursor = Number(text)
  if (!Number.isSafeInteger(cursor)) throw new Error(`cursor: ${text} is not a whole number`)
  return cursor
}

/** @param {import('node:stream').Duplex} socket @param {string} status @param {string} reason */
function refuse(socket, status, reason) {
  socket.end(`HTTP/1.1 ${status}\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n${reason}\n`)
}
