// @ts-check
// Frames of invented people, for benchmarks and tests that need more of them than a PDS can write.
//
// Promises: the same seed gives the same frames, byte for byte; `time_us` is strictly increasing; the revisions of each
// repository increase; record keys are unique TIDs. A frame has every field of a real one, so that its bytes cost the
// same as in the real stream.

import { createHash } from 'node:crypto'
import { closeSync, openSync, writeSync } from 'node:fs'

/** Frames written to a file at once. */
const WRITE_FRAMES = 5_000
const TID_DIGITS = '234567abcdefghijklmnopqrstuvwxyz'

/** Numbers that look random and are the same for the same seed (mulberry32). */
export class Dice {
  #state

  /** @param {number} seed */
  constructor(seed) {
    this.#state = seed >>> 0
  }

  /** A number from 0 up to, not including, 1. */
  roll() {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }

  /** A whole number from 0 up to, not including, `limit`. @param {number} limit */
  below(limit) {
    return Math.floor(this.roll() * limit)
  }

  /** Whether something of this probability happens. @param {number} probability */
  happens(probability) {
    return this.roll() < probability
  }

  /** @template T @param {readonly T[]} list @returns {T} */
  one(list) {
    return list[this.below(list.length)]
  }
}

/** A DID that looks like one of the network. @param {string} name */
export function didOf(name) {
  const digest = createHash('sha256').update(name).digest()
  const letters = Array.from(digest.subarray(0, 24), (byte) => TID_DIGITS[byte & 31])
  return `did:plc:${letters.join('')}`
}

/**
 * Writes frames the way repositories do: one revision per commit, one key per record, one clock for all.
 * @typedef {{ did: string, time_us: number, kind: string, commit?: any, identity?: any, account?: any }} Frame
 */
export class Repositories {
  #time
  #step
  #lastTid = 0n
  #events = 0

  /** @param {{ from?: number, step?: number }} [options] the first `time_us`, and how far apart frames are, in microseconds */
  constructor({ from = Date.UTC(2026, 0, 1) * 1000, step = 100 } = {}) {
    this.#time = from
    this.#step = step
  }

  /** The time of the last frame. */
  get timeUs() {
    return this.#time
  }

  /** RFC 3339. */
  get now() {
    return new Date(Math.floor(this.#time / 1000)).toISOString()
  }

  /** @param {string} did @param {string} collection @param {object} record @param {string} [rkey] */
  create(did, collection, record, rkey = this.tid()) {
    return this.#commit(did, 'create', collection, rkey, record)
  }

  /** @param {string} did @param {string} collection @param {string} rkey @param {object} record */
  update(did, collection, rkey, record) {
    return this.#commit(did, 'update', collection, rkey, record)
  }

  /** @param {string} did @param {string} collection @param {string} rkey */
  delete(did, collection, rkey) {
    return this.#commit(did, 'delete', collection, rkey)
  }

  /** @param {string} did @param {string} handle @returns {Frame} */
  identity(did, handle) {
    const time_us = this.#tick()
    return { did, time_us, kind: 'identity', identity: { did, handle, seq: this.#events, time: this.now } }
  }

  /** @param {string} did @param {boolean} active @param {string} [status] @returns {Frame} */
  account(did, active, status) {
    const time_us = this.#tick()
    return { did, time_us, kind: 'account', account: { active, did, seq: this.#events, time: this.now, ...(status && { status }) } }
  }

  /** A key that is greater than all before. */
  tid() {
    const now = BigInt(this.#time) * 1024n
    this.#lastTid = this.#lastTid < now ? now : this.#lastTid + 1n
    let rest = this.#lastTid
    let text = ''
    for (let digit = 0; digit < 13; digit++) {
      text = TID_DIGITS[Number(rest & 31n)] + text
      rest >>= 5n
    }
    return text
  }

  #tick() {
    this.#time += this.#step
    this.#events += 1
    return this.#time
  }

  /** @param {string} did @param {string} operation @param {string} collection @param {string} rkey @param {object} [record] @returns {Frame} */
  #commit(did, operation, collection, rkey, record) {
    const time_us = this.#tick()
    const commit = { rev: this.tid(), operation, collection, rkey }
    if (!record) return { did, time_us, kind: 'commit', commit }
    return {
      did,
      time_us,
      kind: 'commit',
      commit: { ...commit, record: { $type: collection, ...record }, cid: `bafyrei${rkey}${'a'.repeat(Math.max(0, 52 - rkey.length))}`.slice(0, 59) },
    }
  }
}

/** Writes frames to a JSONL file, and returns the time of the last. @param {string} path @param {Iterable<Frame>} frames */
export function writeFrames(path, frames) {
  const file = openSync(path, 'w')
  const written = { count: 0, bytes: 0, lastTimeUs: 0 }
  try {
    let block = ''
    for (const frame of frames) {
      written.lastTimeUs = frame.time_us
      block += `${JSON.stringify(frame)}\n`
      if (++written.count % WRITE_FRAMES === 0) {
        written.bytes += writeSync(file, block)
        block = ''
      }
    }
    written.bytes += writeSync(file, block)
  } finally {
    closeSync(file)
  }
  return written
}
