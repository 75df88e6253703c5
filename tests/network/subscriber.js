// @ts-check
// One client of the bridge: its position in the log, and which frames it wants.
//
// Replay and live delivery are one: `advance` sends from the client's position to the end of the log, and is called
// again when the log has grown. It never sends more than HIGH_WATER bytes ahead of a slow reader and continues when
// those are gone, so a stalled reader costs no memory; no reader is dropped for being slow. A paused subscriber neither
// sends nor reads anything, pings included.

import { parseWanted, wants } from './wanted.js'
import { nowMicros } from './log.js'

const HIGH_WATER = 1024 * 1024

/** Frames handled before others get their turn; about 10 ms. */
const TURN = 2000

const TEXT = { binary: false, compress: false }
const POLICY_VIOLATION = 1008

/**
 * @typedef {object} Asked what the URL of a subscription says
 * @property {import('./wanted.js').Wanted} wanted
 * @property {number | undefined} cursor
 * @property {boolean} hello whether the client speaks before the first frame
 */

export class Subscriber {
  sent = 0
  #paused = false
  #scheduled = false
  /** Place of the next frame in the log; unknown before the client's hello. @type {number | undefined} */
  #next
  #wanted
  #ws
  #socket
  #log

  /**
   * @param {object} options
   * @param {import('ws').WebSocket} options.ws
   * @param {import('node:stream').Duplex} options.socket under the WebSocket
   * @param {import('./log.js').FrameLog} options.log
   * @param {Asked} options.asked
   * @param {string} options.url
   */
  constructor({ ws, socket, log, asked, url }) {
    this.url = url
    this.#ws = ws
    this.#socket = socket
    this.#log = log
    this.#wanted = asked.wanted
    ws.on('message', (message) => this.#received(message.toString(), asked.cursor))
    ws.on('error', () => {}) // a close follows, which is all that matters
    socket.on('drain', () => this.advance())
    if (!asked.hello) this.#begin(asked.cursor)
  }

  get stats() {
    const { url, sent } = this
    const waiting = this.#next === undefined ? undefined : this.#log.length - this.#next
    return { url, sent, waiting, bufferedBytes: this.#ws.bufferedAmount }
  }

  /** Sends what the log holds beyond this client's place, as far as the client keeps up. */
  advance() {
    if (this.#next === undefined || this.#paused || this.#ws.readyState !== this.#ws.OPEN) return
    const { texts, dids, collections } = this.#log
    const turnEnds = Math.min(this.#log.length, this.#next + TURN)
    this.#socket.cork() // many small frames, few system calls
    while (this.#next < turnEnds && this.#ws.bufferedAmount < HIGH_WATER) {
      const text = texts[this.#next]
      if (wants(this.#wanted, dids[this.#next], collections[this.#next], text.length)) this.send(text)
      this.#next++
    }
    this.#socket.uncork()
    if (this.#next < this.#log.length && this.#ws.bufferedAmount < HIGH_WATER) this.#advanceLater()
  }

  /** Sends this text, whatever the client wants. @param {Buffer | string} text */
  send(text) {
    this.#ws.send(text, TEXT)
    this.sent++
  }

  ping() {
    if (!this.#paused && this.#ws.readyState === this.#ws.OPEN) this.#ws.ping()
  }

  pause() {
    this.#paused = true
    this.#ws.pause()
  }

  resume() {
    this.#paused = false
    this.#ws.resume()
    this.advance()
  }

  terminate() {
    this.#ws.terminate()
  }

  #advanceLater() {
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(() => {
      this.#scheduled = false
      this.advance()
    })
  }

  /**
   * Takes its place in the log:
   *   1. without a cursor, and with one in the future, at the live tip;
   *   2. else at the first frame that is not older than the cursor and the look-back floor.
   *
   * @param {number | undefined} cursor
   */
  #begin(cursor) {
    const { floorUs, lastTimeUs, length } = this.#log
    const live = cursor === undefined || cursor > Math.max(nowMicros(), lastTimeUs)
    this.#next = live ? length : this.#log.indexAt(Math.max(cursor, floorUs))
    this.#advanceLater()
  }

  /** @param {string} message @param {number | undefined} cursor */
  #received(message, cursor) {
    try {
      const { type, payload } = JSON.parse(message)
      if (type !== 'options_update') throw new Error(`${type} is not a type of message this server knows`)
      this.#wanted = parseWanted(payload ?? {})
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error)
      this.#ws.close(POLICY_VIOLATION, reason.slice(0, 100)) // a reason has room for 123 bytes
      return
    }
    if (this.#next === undefined) this.#begin(cursor)
  }
}
