// @ts-check
// Many WebSocket clients in one process that cost next to nothing, so that the measurement shows the server: frames are
// counted, not parsed. It supports only what a server sends without extensions (RFC 6455, section 5.2).
//
// Promises: a socket that ends by itself, or receives an invalid frame, fails whatever waits for it; all are gone after
// `close`.

import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect } from 'node:net'

const TEXT = 1
const CLOSE = 8
const HEADERS_END = '\r\n\r\n'
/** Upgrades in progress: more would only wait in the server's queue. */
const OPENING_AT_ONCE = 50

class Client {
  /** Text frames received. */
  frames = 0
  /** When the last came, by `performance.now()`. */
  lastAt = 0
  /** The texts, if they are kept. @type {string[] | undefined} */
  texts
  /** @type {Error | undefined} */
  broken
  /** @type {Buffer} */
  #rest = Buffer.alloc(0)

  /** @param {import('node:net').Socket} socket @param {boolean} keep @param {() => void} received */
  constructor(socket, keep, received) {
    this.socket = socket
    this.received = received
    if (keep) this.texts = []
    socket.on('data', (chunk) => this.#take(chunk))
    socket.on('error', (error) => (this.broken ??= error))
    socket.on('close', () => (this.broken ??= new Error('the server closed the socket')))
  }

  /** @param {Buffer} chunk */
  #take(chunk) {
    const bytes = this.#rest.length > 0 ? Buffer.concat([this.#rest, chunk]) : chunk
    let at = 0
    while (at + 2 <= bytes.length) {
      const short = bytes[at + 1] & 127
      const head = short < 126 ? 2 : short === 126 ? 4 : 10
      if (at + head > bytes.length) break
      const length = short < 126 ? short : short === 126 ? bytes.readUInt16BE(at + 2) : Number(bytes.readBigUInt64BE(at + 2))
      if (at + head + length > bytes.length) break
      const opcode = bytes[at] & 15
      if (opcode === TEXT) {
        this.frames += 1
        this.texts?.push(bytes.toString('utf8', at + head, at + head + length))
      } else if (opcode === CLOSE) {
        this.broken ??= new Error(`closed with ${length >= 2 ? bytes.readUInt16BE(at + head) : 'no code'}`)
      }
      at += head + length
    }
    this.#rest = bytes.subarray(at)
    this.lastAt = performance.now()
    this.received()
  }

  /** @param {string} text */
  send(text) {
    const payload = Buffer.from(text)
    if (payload.length > 65_535) throw new Error('this client sends short frames only')
    const head = payload.length < 126 ? [129, 128 | payload.length] : [129, 128 | 126, payload.length >> 8, payload.length & 255]
    // Masked with zeros: a mask is required of clients, and its value is theirs.
    this.socket.write(Buffer.concat([Buffer.from([...head, 0, 0, 0, 0]), payload]))
  }
}

export class Crowd {
  /** @type {Client[]} */
  clients = []
  #waiting = () => {}

  /**
   * Opens `count` sockets. @param {string} url http @param {number} count @param {(n: number) => string} path
   */
  static async open(url, count, path) {
    const crowd = new Crowd()
    const { hostname, port } = new URL(url)
    const openOne = async (/** @type {number} */ n) => {
      const socket = connect(Number(port), hostname)
      socket.setNoDelay(true)
      socket.write(
        `GET ${path(n)} HTTP/1.1\r\nHost: ${hostname}:${port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
          `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\n\r\n`,
      )
      let head = ''
      while (!head.includes(HEADERS_END)) {
        const [chunk] = await once(socket, 'data')
        head += chunk.toString('latin1')
      }
      if (!head.startsWith('HTTP/1.1 101')) throw new Error(`the upgrade is answered: ${head.split('\r\n')[0]}`)
      const end = head.indexOf(HEADERS_END) + HEADERS_END.length
      const client = new Client(socket, n === 0, () => crowd.#waiting())
      crowd.clients[n] = client
      if (head.length > end) socket.emit('data', Buffer.from(head.slice(end), 'latin1'))
    }
    for (let n = 0; n < count; n += OPENING_AT_ONCE) {
      await Promise.all(Array.from({ length: Math.min(OPENING_AT_ONCE, count - n) }, (_, k) => openOne(n + k)))
    }
    return crowd
  }

  /** Forgets the frames received so far. */
  mark() {
    for (const client of this.clients) {
      client.frames = 0
      if (client.texts) client.texts = []
    }
  }

  /** @param {string} text */
  say(text) {
    for (const client of this.clients) client.send(text)
  }

  /**
   * Resolves when every client has `frames` frames since `mark`; with the time of the last of them.
   * @param {number} frames @param {number} [timeout] milliseconds
   */
  heardAll(frames, timeout = 60_000) {
    let checked = 0
    return new Promise((resolve, reject) => {
      const finish = (/** @type {Error | undefined} */ error) => {
        clearTimeout(timer)
        this.#waiting = () => {}
        if (error) reject(error)
        else resolve(Math.max(...this.clients.map((client) => client.lastAt)))
      }
      const timer = setTimeout(() => {
        const least = Math.min(...this.clients.map((client) => client.frames))
        finish(new Error(`after ${timeout / 1000} s a client has ${least} frames of ${frames}`))
      }, timeout)
      // Clients are checked in order, each once, when it has everything.
      this.#waiting = () => {
        while (checked < this.clients.length) {
          const client = this.clients[checked]
          if (client.frames < frames) {
            if (client.broken) finish(client.broken)
            return
          }
          checked += 1
        }
        finish(undefined)
      }
      this.#waiting()
    })
  }

  async close() {
    for (const { socket } of this.clients) socket.destroy()
  }
}
