// @ts-check
// A Jetstream client for tests: connects, keeps every frame, and waits for the one that matters.

import { WebSocket } from 'ws'

const PATIENCE_MILLIS = 10_000

/** @typedef {import('./firehose.js').Frame} Frame */

export class Listener {
  /** @type {Frame[]} */
  frames = []
  /** Every message as it came. @type {string[]} */
  texts = []
  #closed = false
  #wake = () => {}

  /** @param {string} url @param {Record<string, string | number | string[]>} [query] */
  constructor(url, query = {}) {
    const { href } = Object.entries(query).reduce((all, [name, values]) => {
      for (const value of [values].flat()) all.searchParams.append(name, String(value))
      return all
    }, new URL(url))
    this.ws = new WebSocket(href)
    this.ws.on('message', (message) => {
      const text = message.toString()
      this.texts.push(text)
      try {
        this.frames.push(JSON.parse(text))
      } catch {
        // an injected text need not be JSON; `texts` has it
      }
      this.#wake()
    })
    this.ws.on('close', () => {
      this.#closed = true
      this.#wake()
    })
    this.ws.on('open', () => this.#wake())
    this.ws.on('error', () => {}) // a close follows
  }

  /** Connects and waits until the server has taken the connection. @param {string} url @param {Record<string, string | number | string[]>} [query] */
  static async open(url, query) {
    const listener = new Listener(url, query)
    await listener.opened()
    return listener
  }

  opened() {
    return this.#until('the connection', () => {
      if (this.#closed) throw new Error('the connection was closed')
      return this.ws.readyState === WebSocket.OPEN
    })
  }

  closed() {
    return this.#until('the end of the connection', () => this.#closed)
  }

  /** The first frame that fits, now or later. @param {string} what @param {(frame: Frame) => boolean} fits @returns {Promise<Frame>} */
  frame(what, fits) {
    return this.#until(what, () => this.frames.find(fits))
  }

  /** The first commit of this operation on this record. @param {string} operation @param {{rkey: string}} record */
  commit(operation, { rkey }) {
    return this.frame(`${operation} of ${rkey}`, ({ commit }) => commit?.operation === operation && commit.rkey === rkey)
  }

  /** @param {number} count */
  received(count) {
    return this.#until(`${count} frames`, () => this.texts.length >= count)
  }

  close() {
    this.ws.terminate()
  }

  /**
   * @template T
   * @param {string} what @param {() => T} look
   * @returns {Promise<NonNullable<T>>}
   */
  async #until(what, look) {
    const deadline = Date.now() + PATIENCE_MILLIS
    for (;;) {
      const found = look()
      if (found) return found
      const left = deadline - Date.now()
      if (left <= 0) throw new Error(`waited ${PATIENCE_MILLIS} ms for ${what}; got ${this.texts.length} frames, the last: ${this.texts.at(-1)}`)
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, left)
        this.#wake = () => {
          clearTimeout(timer)
          resolve(undefined)
        }
      })
    }
  }
}
