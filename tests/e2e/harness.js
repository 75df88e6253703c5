// @ts-check
// The base of the end-to-end tests: the built Worker as a separate process, sockets that record their frames, and
// waiting for conditions instead of for time. Run by Node 24 (`npm run test:e2e`).
//
// Promises: every service, socket and folder made here is gone when the test file ends, even if it failed or was
// killed; no test reaches the public network (the default addresses lead nowhere); a wait that fails says what it
// waited for, what it saw last, and the end of the service's log.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { isDeepStrictEqual } from 'node:util'
import WebSocket from 'ws'

import { freePort as portOf, isFree } from '../../scripts/port.js'
import { NAMES } from '../../scripts/variables.js'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const SERVE = join(ROOT, 'scripts', 'serve.js')

/** A service that needs longer is a defect; on a busy machine two seconds become several. */
const READY_WITHIN_MILLIS = 30_000
const STOP_WITHIN_MILLIS = 5_000
const RELEASED_WITHIN_MILLIS = 2_000
const WAIT_MILLIS = 30_000
const POLL_EVERY_MILLIS = 25
const LOG_LINES_SHOWN = 30

/** An address without a listener: port 9 is "discard". */
const NOWHERE = '127.0.0.1:9'

/**
 * The Worker's variables unless a test overrides them. Rate limits are off, because all tests come from one address; no
 * address leads to the public network.
 */
export const DEFAULT_ENV = {
  JETSTREAM_URL: `ws://${NOWHERE}/subscribe`,
  PLC_URL: `http://${NOWHERE}`,
  BSKY_API_URL: `http://${NOWHERE}`,
  DOH_URL: `http://${NOWHERE}/dns-query`,
  CDN_URL: `http://${NOWHERE}`,
  RATE_LIMIT_PER_MIN: '0',
  INGEST_POINTS_HOUR: '0',
  INGEST_POINTS_DAY: '0',
}

/** Everything to be undone, newest first. */
const undo = []
const cleanUp = async () => {
  while (undo.length > 0) await undo.pop()()
}
after(cleanUp)

/** Runs `end` when this test file ends. */
export function atEnd(end) {
  undo.push(end)
}

/** A new empty folder, removed when the test file ends. */
export function freshFolder() {
  const folder = mkdtempSync(join(tmpdir(), 'colibri-edge-'))
  undo.push(() => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }))
  return folder
}

/** The `n`th revision of a test: a TID of 2005, so that every real one is newer. @param {number} n */
export function revision(n) {
  const digits = '234567abcdefghijklmnopqrstuvwxyz'
  return `3${Array.from({ length: 12 }, (_, at) => digits[Math.floor(n / 32 ** (11 - at)) % 32]).join('')}`
}

/** A free TCP port. */
export const freePort = () => portOf('127.0.0.1', 0)

/**
 * Calls `attempt` until it neither throws nor returns undefined or false, and resolves with the result.
 * @template T
 * @param {() => T | Promise<T>} attempt
 * @param {{ timeout?: number, what?: string }} [options] `what` completes "waited … for"
 */
export async function eventually(attempt, { timeout = WAIT_MILLIS, what = 'a condition' } = {}) {
  const giveUpAt = Date.now() + timeout
  let last
  do {
    try {
      const answer = await attempt()
      if (answer !== undefined && answer !== false) return answer
      last = `the last answer was ${answer}`
    } catch (error) {
      last = error
    }
    await pause(POLL_EVERY_MILLIS)
  } while (Date.now() < giveUpAt)
  const reason = last instanceof Error ? last.message : last
  throw new assert.AssertionError({ message: `waited ${timeout} ms for ${what}, in vain: ${reason}${serviceLogs()}` })
}

/** Running services, so that a failed wait can show their logs. */
const running = new Set()
const serviceLogs = () => [...running].map((service) => `\n--- end of the log of ${service.url}\n${service.logTail()}`).join('')

/**
 * Starts the built Worker and resolves when it answers.
 * @param {object} [options]
 * @param {string} [options.state] its folder; a fresh one by default
 * @param {Record<string, string | undefined>} [options.env] variables and secrets, over DEFAULT_ENV
 * @param {number} [options.port] @param {string} [options.config] another wrangler.toml than the service's own
 */
export async function startService({ state = freshFolder(), env = {}, port, config } = {}) {
  const service = new Service({ state, env, port: port ?? (await freePort()), config })
  undo.push(() => service.kill9())
  await service.start()
  return service
}

export class Service {
  #child
  #log = ''
  #exited
  #settings

  constructor(settings) {
    this.#settings = settings
    this.state = settings.state
    this.port = settings.port
    this.url = `http://127.0.0.1:${settings.port}`
    this.wsUrl = `ws://127.0.0.1:${settings.port}`
  }

  /** The process that leads the group: serve.js. */
  get pid() {
    return this.#child?.pid
  }

  /** Whether the process is running. */
  get alive() {
    return this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null
  }

  /** Resolves with `{ code, signal }` when the process has ended. */
  get exited() {
    return this.#exited
  }

  async start() {
    assert(!this.alive, 'the service runs already')
    const { state, env, port, config } = this.#settings
    // A variable of the environment must not change what a test means.
    const outside = Object.fromEntries(Object.entries(process.env).filter(([name]) => !NAMES.includes(name)))
    const args = [SERVE, '--port', String(port), '--state', state, ...(config ? ['--config', config] : [])]
    const child = spawn(process.execPath, args, {
      // A separate group, so that kill9() can end the service with everything it started, and nothing else.
      detached: true,
      env: { ...outside, ...DEFAULT_ENV, ...env, COLIBRI_END_WITH_PARENT: '1' },
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    })
    this.#child = child
    this.#exited = new Promise((resolve) =>
      child.once('exit', (code, signal) => {
        running.delete(this)
        resolve({ code, signal })
      }),
    )
    child.stderr.setEncoding('utf8').on('data', (text) => {
      this.#log += text
    })
    let printed = ''
    const ready = new Promise((resolve) =>
      child.stdout.setEncoding('utf8').on('data', (text) => {
        printed += text
        const url = printed.match(/^ready (\S+)$/m)?.[1]
        if (url) resolve(url)
      }),
    )
    running.add(this)
    const timer = new AbortController()
    const first = await Promise.race([
      ready,
      this.#exited,
      pause(READY_WITHIN_MILLIS, undefined, { signal: timer.signal }).catch(() => {}),
    ])
    timer.abort()
    if (typeof first === 'string') return this
    const log = this.logTail()
    await this.kill9()
    const problem = first
      ? `ended (${first.signal ?? `exit code ${first.code}`})`
      : `was not ready within ${READY_WITHIN_MILLIS} ms`
    throw new assert.AssertionError({ message: `the service ${problem} instead of starting:\n${log}` })
  }

  /** Stops it, and resolves with its exit code. */
  async stop() {
    if (!this.alive) return (await this.#exited)?.code
    this.#child.kill('SIGTERM')
    const timer = new AbortController()
    const late = pause(STOP_WITHIN_MILLIS, 'late', { signal: timer.signal }).catch(() => {})
    const outcome = await Promise.race([this.#exited, late])
    timer.abort()
    if (outcome === 'late') {
      await this.kill9()
      throw new assert.AssertionError({
        message: `the service did not end within ${STOP_WITHIN_MILLIS} ms of SIGTERM:\n${this.logTail()}`,
      })
    }
    await this.#released()
    return outcome.code
  }

  /** Ends the whole group at once, as a power cut would. */
  async kill9() {
    if (!this.#child) return
    try {
      process.kill(-this.#child.pid, 'SIGKILL')
    } catch (error) {
      if (error.code !== 'ESRCH') throw error
    }
    await this.#exited
    await this.#released()
  }

  /** Waits until the port is free: on a busy machine the runtime ends a moment after what started it. */
  async #released() {
    const { port } = this.#settings
    const until = performance.now() + RELEASED_WITHIN_MILLIS
    while (performance.now() < until && !(await isFree('127.0.0.1', port))) await pause(20)
  }

  /**
   * Stops it (gently, unless it is dead already) and starts it on the same state, port and variables.
   * @param {{ env?: Record<string, string | undefined> }} [options] variables to change
   */
  async restart({ env } = {}) {
    await this.stop()
    if (env) this.#settings.env = { ...this.#settings.env, ...env }
    return this.start()
  }

  /**
   * Evicts an object from memory as the platform does with an idle one: its sockets stay open, and it is built anew
   * when it is next needed.
   */
  async evict(className, name) {
    const answered = once(this.#child, 'message', { signal: AbortSignal.timeout(WAIT_MILLIS) })
    this.#child.send({ evict: { className, name } })
    const [{ evicted, error }] = await answered
    assert.deepEqual([evicted, error], [name, undefined])
  }

  fetch(path, init) {
    return fetch(this.url + path, init)
  }

  /** Resolves with `{ status, headers, body }`; a body that is not JSON is an error that shows it. */
  async fetchJson(path, init) {
    const response = await this.fetch(path, init)
    const text = await response.text()
    try {
      return { status: response.status, headers: response.headers, body: text === '' ? undefined : JSON.parse(text) }
    } catch {
      throw new assert.AssertionError({
        message: `${init?.method ?? 'GET'} ${path} answered ${response.status} with a body that is not JSON: ${text.slice(0, 500)}`,
      })
    }
  }

  /** Opens a socket; see LiveSocket.connect. */
  connect(path, options) {
    return LiveSocket.connect(this.wsUrl + path, options)
  }

  /** The log of serve and the Worker since the first start. */
  logs() {
    return this.#log
  }

  logTail() {
    return this.#log.trimEnd().split('\n').slice(-LOG_LINES_SHOWN).join('\n')
  }
}

/** Whether `frame` has every key of `wanted` with an equal value; objects inside are compared the same way. */
function contains(frame, wanted) {
  if (wanted === null || typeof wanted !== 'object' || Array.isArray(wanted)) return isDeepStrictEqual(frame, wanted)
  return (
    frame !== null && typeof frame === 'object' && Object.entries(wanted).every(([key, value]) => contains(frame[key], value))
  )
}

const matcher = (wanted) => (typeof wanted === 'function' ? wanted : (frame) => contains(frame, wanted))
const isReply = ({ type }) => type === 'ack' || type === 'error' || type === 'presence_snapshot'

/** A refused upgrade, with the HTTP response. */
export class UpgradeRefused extends Error {
  constructor(status, headers, text) {
    super(`the upgrade was answered with ${status}: ${text.slice(0, 500)}`)
    this.status = status
    this.headers = headers
    this.text = text
  }

  get body() {
    return JSON.parse(this.text)
  }
}

/**
 * A client of the events socket. `frames` has every received frame, in order. Replies (`ack`, `error`) answer the
 * frames sent, one each and in order (contract A03), so `request` finds its own; all other frames are events.
 */
export class LiveSocket {
  /** Every frame received: parsed JSON, or the text itself when it is not JSON. */
  frames = []
  #sent = 0
  #taken = new Set()
  #look = new Set()

  /**
   * @param {string} url
   * @param {{ protocols?: string[], headers?: Record<string, string>, timeout?: number, localAddress?: string }} [options]
   *   `localAddress`: where the connection comes from
   * @returns {Promise<LiveSocket>} rejects with UpgradeRefused when the answer is not 101
   */
  static connect(url, { protocols = [], headers, timeout = WAIT_MILLIS, localAddress } = {}) {
    const ws = new WebSocket(url, protocols, { headers, localAddress, handshakeTimeout: timeout, perMessageDeflate: false })
    const socket = new LiveSocket(ws)
    undo.push(() => ws.terminate())
    return new Promise((resolve, reject) => {
      ws.once('open', () => resolve(socket))
      ws.on('error', reject)
      ws.once('unexpected-response', (_, response) => {
        let text = ''
        response.setEncoding('utf8').on('data', (chunk) => {
          text += chunk
        })
        response.on('end', () => reject(new UpgradeRefused(response.statusCode, response.headers, text)))
      })
    })
  }

  constructor(ws) {
    /** The `ws` client itself, for pausing, pinging and the chosen sub-protocol. */
    this.ws = ws
    /** Resolves with `{ code, reason }` when the socket is closed. */
    this.closed = new Promise((resolve) => ws.once('close', (code, reason) => resolve({ code, reason: String(reason) })))
    ws.on('message', (data) => {
      const text = String(data)
      try {
        this.frames.push(JSON.parse(text))
      } catch {
        this.frames.push(text)
      }
      this.#wakeAll()
    })
    ws.once('close', () => this.#wakeAll())
  }

  get replies() {
    return this.frames.filter(isReply)
  }
  get events() {
    return this.frames.filter((frame) => !isReply(frame))
  }

  /** Sends a frame: an object as JSON, a string as it is. */
  send(frame) {
    this.#sent += 1
    this.ws.send(typeof frame === 'string' ? frame : JSON.stringify(frame))
  }

  /** Sends a frame and resolves with its own reply. */
  async request(frame, { timeout = WAIT_MILLIS } = {}) {
    this.send(frame)
    const mine = this.#sent - 1
    return this.#until(
      () => this.replies[mine],
      timeout,
      () => `the reply to ${JSON.stringify(frame)}`,
    )
  }

  /** Subscribes and expects the ack: `subscribe({ event_type: "community", community_uri })`. */
  async subscribe(keys) {
    const reply = await this.request({ action: 'subscribe', ...keys })
    assert.deepEqual(reply, { type: 'ack', message: `Subscribed to ${keys.event_type ?? ''}` })
    return this
  }

  /**
   * The next event that matches and was not returned by an earlier `next`, whether it has arrived already or not.
   * @param {object | ((frame: any) => boolean)} wanted keys that the event must have, or a predicate
   */
  async next(wanted = {}, { timeout = WAIT_MILLIS } = {}) {
    const matches = matcher(wanted)
    return this.#until(
      () => {
        const found = this.frames.find((frame) => !isReply(frame) && !this.#taken.has(frame) && matches(frame))
        if (found !== undefined) this.#taken.add(found)
        return found
      },
      timeout,
      () => `an event like ${typeof wanted === 'function' ? wanted : JSON.stringify(wanted)}`,
    )
  }

  /**
   * The matching events received so far. To check that nothing else came, first wait for a later event that certainly
   * comes.
   */
  all(wanted = {}) {
    return this.events.filter(matcher(wanted))
  }

  /** Closes and resolves with `{ code, reason }`. */
  close(code = 1000, reason = '') {
    this.ws.close(code, reason)
    return this.closed
  }

  /** Vanishes without a closing handshake, like a client that lost its network. */
  drop() {
    this.ws.terminate()
    return this.closed
  }

  #wakeAll() {
    for (const look of this.#look) look()
  }

  #until(find, timeout, what) {
    return new Promise((resolve, reject) => {
      const seen = () => JSON.stringify(this.frames.slice(-10), null, 1)
      const give = (settle) => {
        clearTimeout(timer)
        this.#look.delete(look)
        settle()
      }
      const fail = (why) =>
        give(() =>
          reject(
            new assert.AssertionError({
              message: `${why} instead of ${what()}. The last frames were ${seen()}${serviceLogs()}`,
            }),
          ),
        )
      const look = () => {
        const found = find()
        if (found !== undefined) give(() => resolve(found))
        else if (this.ws.readyState === WebSocket.CLOSED) fail('the socket was closed')
      }
      const timer = setTimeout(() => fail(`nothing came within ${timeout} ms`), timeout)
      this.#look.add(look)
      look()
    })
  }
}
