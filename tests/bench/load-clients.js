// @ts-check
// The clients of `npm run load`: each follows a community as people's clients do (packages/client), some lose their
// connection now and then, and all count what they receive.
//
// Promises: opens at most so many sockets a second; every message of this run is counted once or more at each client,
// or is lost there; a message that came by a replay counts, but not in the times.

import { setTimeout as pause } from 'node:timers/promises'

import { Line } from '../../packages/client/src/index.ts'
import { Latencies } from './numbers.js'

/** How long a client is away. */
const AWAY_MILLIS = 2_000
/** A client that is not open by then is not awaited. */
const OPEN_WITHIN_MILLIS = 60_000
const STEP_MILLIS = 50

export class Clients {
  latencies = new Latencies()
  events = 0
  /** How often a client had to read everything again, because events were lost to it. */
  resyncs = 0
  cuts = 0
  /** @type {string[]} */
  errors = []
  /** @type {{ line: Line, isReady: boolean, got: Uint8Array }[]} */
  #all = []
  #sentAt = new Float64Array(0)
  #mark
  #service
  #community

  /**
   * @param {import('../../packages/client/src/index.ts').Service} service @param {string} community
   * @param {string} mark begins the text of each message of this run; its number follows @param {number} messages how many there will be
   */
  constructor(service, community, mark, messages) {
    this.#service = service
    this.#community = community
    this.#mark = mark
    this.#sentAt = new Float64Array(messages)
  }

  /** Opens so many clients, and resolves with how many are ready. @param {number} count @param {number} perSecond */
  async open(count, perSecond) {
    for (let n = 0; n < count; n++) {
      this.#open()
      await pause(1_000 / perSecond)
    }
    for (const until = Date.now() + OPEN_WITHIN_MILLIS; Date.now() < until && this.ready < count; ) await pause(STEP_MILLIS)
    return this.ready
  }

  get ready() {
    return this.#all.filter(({ isReady }) => isReady).length
  }

  #open() {
    const address = this.#service.socketAddress('/api/subscribe')
    const client = { isReady: false, got: new Uint8Array(this.#sentAt.length), line: /** @type {any} */ (undefined) }
    client.line = new Line(async () => [address, []], {
      event: (frame, isMissed) => this.#count(client, frame, isMissed),
      readAnew: () => {
        if (client.isReady) this.resyncs += 1
        client.isReady = true
      },
      resumed() {},
      state() {},
    })
    client.line.followMessages()
    client.line.follow(this.#community)
    this.#all.push(client)
  }

  /** @param {{ got: Uint8Array }} client @param {import('../../packages/client/src/index.ts').Frame} frame @param {boolean} isMissed */
  #count(client, frame, isMissed) {
    this.events += 1
    if (frame.type === 'error' && this.errors.length < 20) this.errors.push(frame.message)
    if (frame.type !== 'message' || !frame.text.startsWith(this.#mark)) return
    const n = Number(frame.text.slice(this.#mark.length).split(' ')[0])
    if (client.got[n] < 255) client.got[n] += 1
    if (client.got[n] === 1 && !isMissed) this.latencies.add(Date.now() - this.#sentAt[n])
  }

  /** Notes that a message is being sent. @param {number} n */
  sending(n) {
    this.#sentAt[n] = Date.now()
  }

  /** Cuts the connection of the next client for a moment. */
  async cutOne() {
    const client = this.#all[this.cuts++ % this.#all.length]
    client.line.cut()
    await pause(AWAY_MILLIS)
    client.line.mend()
  }

  /** What each client received of the first `sent` messages, added up. @param {number} sent */
  account(sent) {
    let [lost, doubled, received] = [0, 0, 0]
    for (const { got, isReady } of this.#all) {
      for (let n = 0; isReady && n < sent; n++) {
        if (got[n] === 0) lost += 1
        else received += 1
        if (got[n] > 1) doubled += 1
      }
    }
    return { lost, doubled, received }
  }

  close() {
    for (const { line } of this.#all) line.cut()
  }
}
