// @ts-check
// Clients that do as much as they may, or ten times that, for limits.js: in a thread of its own, so that the honest are not measured
// late because of the flood's own work.
//
// Promises: it keeps its pace whatever it is answered; it says when it has begun, and when it is asked to end, how much it planned,
// sent and was refused.

import { setTimeout as pause } from 'node:timers/promises'
import { isMainThread, parentPort, workerData } from 'node:worker_threads'
import { Pool } from 'undici'
import WebSocket from 'ws'

const SOCKETS = 4
/** At once, until the first is refused. */
const TO_DRAIN = 50
const BANS = '/api/community/bans?community=at://did:plc:flooder/social.colibri.community/c'
/** Frames that one socket may send in a second (A18, S16). */
const FRAMES = 20
const SIGNALS = 50

/**
 * Calls `act` so many times a second, whether the call before has ended or not, and resolves with what all of them came to.
 * @template T
 * @param {number} perSecond @param {number | (() => boolean)} until milliseconds, or what says that it is over
 * @param {(n: number) => Promise<T> | T} act
 * @returns {Promise<T[]>}
 */
export async function pace(perSecond, until, act) {
  const startedAt = performance.now()
  const goes = typeof until === 'number' ? (/** @type {number} */ n) => n < (perSecond * until) / 1000 : () => !until()
  const all = []
  for (let n = 0; goes(n); n++) {
    const wait = startedAt + (n * 1000) / perSecond - performance.now()
    if (wait > 0) await pause(wait)
    all.push(act(n))
  }
  return Promise.all(all)
}

/** @typedef {{ url: string, limit: number, token: string }} At */
/**
 * `one` resolves with whether it was refused, and with nothing if it could not be sent; `close` with how many were refused beside.
 * @typedef {{ one: (n: number) => Promise<boolean | undefined>, close: () => Promise<number> }} Running
 */
/** `perSecond`: what the client may do. @typedef {{ perSecond: (limit: number) => number, open: (at: At) => Promise<Running> }} Flood */

/** An address of the flood. @param {number} [n] */
const address = (n = 0) => `2001:db8:0:${n.toString(16)}::1`

/** Requests; resolves with whether one was refused. @param {At} at @param {string} path @param {(n: number) => Record<string, string>} headers */
async function requests({ url }, path, headers) {
  const pool = new Pool(url, { connections: 16, pipelining: 1 })
  return {
    one: async (/** @type {number} */ n) => {
      const { statusCode, body } = await pool.request({ path, method: 'GET', headers: headers(n) })
      await body.dump()
      return statusCode === 429
    },
    close: () => pool.close().then(() => 0),
  }
}

/** A socket, and another when it was closed for sending too much; each answer `Rate limit exceeded` is a refusal. */
class Loud {
  #ws = /** @type {WebSocket | undefined} */ (undefined)
  #refused = 0
  #opening = false

  /** @param {string} url @param {string} address */
  constructor(url, address) {
    this.url = url
    this.address = address
  }

  open() {
    if (this.#opening) return Promise.resolve()
    this.#opening = true
    return new Promise((opened) => {
      const ws = new WebSocket(this.url, { headers: { 'x-forwarded-for': this.address }, perMessageDeflate: false })
      ws.on('message', (data) => (this.#refused += Number(String(data).includes('Rate limit exceeded'))))
      ws.on('error', () => {})
      ws.once('close', () => this.#again())
      ws.once('open', () => {
        this.#ws = ws
        this.#opening = false
        opened(undefined)
      })
    })
  }

  #again() {
    this.#ws = undefined
    this.#opening = false
    if (!this.ended) void this.open()
  }

  /** Whether it could be sent. @param {string} frame */
  send(frame) {
    if (this.#ws?.readyState !== WebSocket.OPEN) return false
    this.#ws.send(frame)
    return true
  }

  get refused() {
    return this.#refused
  }

  close() {
    this.ended = true
    this.#ws?.terminate()
  }
}

/** Frames of four sockets, each of which replaces another that is opened again. @param {At} at @param {string} path @param {string} frame */
async function frames({ url }, path, frame) {
  const sockets = Array.from({ length: SOCKETS }, (_, n) => new Loud(url.replace('http', 'ws') + path, address(n)))
  await Promise.all(sockets.map((socket) => socket.open()))
  return {
    one: async (/** @type {number} */ n) => {
      const inTurn = sockets.map((_, more) => sockets[(n + more) % sockets.length])
      return inTurn.some((socket) => socket.send(frame)) ? false : undefined
    },
    close: async () => {
      for (const socket of sockets) socket.close()
      return sockets.reduce((sum, socket) => sum + socket.refused, 0)
    },
  }
}

/** @type {Record<string, Flood>} */
export const FLOODS = {
  'requests of an address': {
    perSecond: (limit) => limit / 60,
    open: (at) => requests(at, '/api/server', () => ({ 'x-forwarded-for': address() })),
  },
  'requests of a person': {
    perSecond: (limit) => limit / 60,
    open: (at) =>
      requests(at, BANS, (n) => ({ 'x-forwarded-for': address(n % 1000), authorization: `Bearer ${at.token}` })),
  },
  'openings of sockets': {
    perSecond: (limit) => limit / 600,
    open: async ({ url }) => ({
      one: (n) =>
        new Promise((done) => {
          const paths = ['/api/subscribe', '/api/webrtc/signal?room=flood']
          const headers = { 'x-forwarded-for': address() }
          const ws = new WebSocket(url.replace('http', 'ws') + paths[n % 2], { headers, perMessageDeflate: false })
          ws.on('error', () => done(undefined))
          ws.once('unexpected-response', (request, response) => {
            request.destroy()
            done(response.statusCode === 429)
          })
          ws.once('open', () => {
            ws.terminate()
            done(false)
          })
        }),
      close: async () => 0,
    }),
  },
  'frames of four sockets': {
    perSecond: () => SOCKETS * FRAMES,
    open: (at) => frames(at, '/api/subscribe', '{"action":"activity"}'),
  },
  'frames of four peers': {
    perSecond: () => SOCKETS * SIGNALS,
    open: (at) => frames(at, '/api/webrtc/signal?room=flood', '{"type":"leave","room":"nowhere"}'),
  },
}

/** @param {At & { name: string, times: number }} at */
async function flood(at) {
  const { perSecond, open } = FLOODS[at.name]
  const { one, close } = await open(at)
  let isOver = false
  parentPort.once('message', () => (isOver = true))
  // What a bucket holds is gone at the beginning: from then on it is as it stays.
  const isRefused = async () => (await Promise.all(Array.from({ length: TO_DRAIN }, (_, n) => one(n)))).some((outcome) => outcome)
  const answersEach = !at.name.startsWith('frames')
  while (at.times > 1 && answersEach && !(await isRefused()));
  parentPort.postMessage('begun')
  const startedAt = performance.now()
  const outcomes = await pace(at.times * perSecond(at.limit), () => isOver, one)
  const planned = Math.round(((performance.now() - startedAt) * at.times * perSecond(at.limit)) / 1000)
  const beside = await close()
  const sent = outcomes.filter((outcome) => outcome !== undefined)
  parentPort.postMessage({ planned, sent: sent.length, refused: sent.filter(Boolean).length + beside })
}

if (!isMainThread && workerData?.name in FLOODS) await flood(workerData)
