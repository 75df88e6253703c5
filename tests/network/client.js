// @ts-check
// Starts a network from a test, and controls it.
//
// It uses only `fetch` and `child_process`, no native code, nothing to install. A started network ends with `stop()`,
// and at the latest with the process that started it; it does not keep that process alive.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Account } from './account.js'
import { xrpc } from './xrpc.js'

export { Account, WRITES_PER_COMMIT } from './account.js'
export * as records from './records.js'
export { XrpcError } from './xrpc.js'

const MAIN = fileURLToPath(new URL('main.js', import.meta.url))
const START_MILLIS = 60_000
const STOP_MILLIS = 5000
const COMPLAINT_LINES = 20

/**
 * @typedef {{plc: string, pds: string, pds2?: string, jetstream: string, control: string}} Addresses
 * @typedef {object} Stats
 * @property {'running' | 'frozen' | 'stopped'} state
 * @property {number} connectionsNow
 * @property {number} connectionsEver
 * @property {string} [lastRequestUrl] path and query of the last handshake, also of a refused one
 * @property {number} framesSent to all clients ever
 * @property {number} frames in the log
 * @property {number} firstTimeUs of the log; 0 while it is empty
 * @property {number} lastTimeUs of the log; 0 while it is empty
 * @property {number} floorUs
 * @property {number} seq the last event of the PDS that is in the log
 * @property {{url: string, sent: number, waiting?: number, bufferedBytes: number}[]} subscribers
 */

/**
 * Starts a network and waits until all of it answers. The same state directory is the same network.
 *
 * @param {object} options
 * @param {string} options.state directory; made when it does not exist
 * @param {string} [options.node] the Node to run it; else this one
 * @param {Partial<Record<'plc' | 'pds' | 'jetstream' | 'control', number>>} [options.ports] else free ones
 * @param {boolean} [options.two] with a second PDS
 * @returns {Promise<Network>}
 */
export async function startNetwork({ state, node = process.execPath, ports = {}, two = false }) {
  const chosen = Object.entries(ports).flatMap(([role, port]) => [`--${role}-port`, String(port)])
  const child = spawn(node, [MAIN, '--state', resolve(state), '--exit-with-parent', ...(two ? ['--two-pdses'] : []), ...chosen])
  /** @type {string[]} */
  const complaints = []
  createInterface(child.stderr).on('line', (line) => complaints.push(line) > COMPLAINT_LINES && complaints.shift())

  const output = createInterface(child.stdout)
  const timer = setTimeout(() => child.kill('SIGKILL'), START_MILLIS)
  const failed = (/** @type {string} */ why) => new Error(`the network on ${state} ${why}\n${complaints.join('\n')}`.trim())
  try {
    const line = await Promise.race([
      once(output, 'line').then(([first]) => String(first)),
      once(child, 'close').then(([code, signal]) => {
        throw failed(signal === 'SIGKILL' ? 'was killed, or not ready in time' : `did not start (${signal ?? `exit code ${code}`})`)
      }),
    ])
    return new Network(JSON.parse(line), child)
  } finally {
    clearTimeout(timer)
  }
}

export class Network {
  #child

  /** @param {Addresses} addresses @param {import('node:child_process').ChildProcessWithoutNullStreams} child */
  constructor({ plc, pds, pds2, jetstream, control }, child) {
    this.plc = plc
    this.pds = pds
    this.pds2 = pds2
    this.jetstream = jetstream
    this.control = control
    /** DNS over HTTPS for the handles of this network. */
    this.dns = `${control}/dns-query`
    this.#child = child
    child.unref()
    for (const stream of [child.stdin, child.stdout, child.stderr]) /** @type {import('node:net').Socket} */ (stream).unref()
  }

  /** Ends the network; with SIGKILL as a crash would. @param {'SIGTERM' | 'SIGKILL'} [signal] */
  async stop(signal = 'SIGTERM') {
    const child = this.#child
    if (child.exitCode !== null || child.signalCode !== null) return
    const exit = once(child, 'exit')
    child.ref()
    child.kill(signal)
    const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MILLIS)
    await exit
    clearTimeout(timer)
    if (signal === 'SIGTERM' && child.signalCode === 'SIGKILL') throw new Error(`the network did not stop within ${STOP_MILLIS} ms`)
  }

  /** A new account `<name>.test`. @param {string} name @param {string} [password] @param {string} [pds] @returns {Promise<Account>} */
  async createAccount(name, password = `${name}-password`, pds = this.pds) {
    const input = { handle: `${name}.test`, email: `${name}@example.test`, password }
    return new Account(pds, await xrpc(pds, 'com.atproto.server.createAccount', { input }), password)
  }

  /** The account `<name>.test`, made earlier on this state. @param {string} name @param {string} [password] @returns {Promise<Account>} */
  async signIn(name, password = `${name}-password`) {
    const input = { identifier: `${name}.test`, password }
    return new Account(this.pds, await xrpc(this.pds, 'com.atproto.server.createSession', { input }), password)
  }

  /**
   * Moves an account to another PDS, as its owner does (specification "Account Migration"): a new account under the old DID,
   * the repository and its blobs, the DID document, and then the one is active and the other is not.
   *
   * @param {Account} account @param {string} to @returns {Promise<Account>} the account there
   */
  async move(account, to) {
    const { did, handle, password } = account
    const { email } = await account.call('com.atproto.server.getSession')
    const { did: service } = await xrpc(to, 'com.atproto.server.describeServer')
    const token = await account.serviceToken(service, 'com.atproto.server.createAccount')
    const session = await xrpc(to, 'com.atproto.server.createAccount', { input: { did, handle, email, password }, token })
    const moved = new Account(to, session, password)
    const fetched = async (/** @type {string} */ nsid, /** @type {Record<string, string>} */ params) => {
      const response = await fetch(`${account.pds}/xrpc/${nsid}?${new URLSearchParams(params)}`)
      if (!response.ok) throw new Error(`${nsid} answered ${response.status}`)
      return { bytes: new Uint8Array(await response.arrayBuffer()), mime: response.headers.get('content-type') ?? undefined }
    }
    const { bytes: car } = await fetched('com.atproto.sync.getRepo', { did })
    await moved.call('com.atproto.repo.importRepo', { input: car, mime: 'application/vnd.ipld.car' })
    const { blobs } = await moved.call('com.atproto.repo.listMissingBlobs')
    for (const { cid } of blobs) {
      const { bytes, mime } = await fetched('com.atproto.sync.getBlob', { did, cid })
      await moved.call('com.atproto.repo.uploadBlob', { input: bytes, mime })
    }
    await account.call('com.atproto.identity.requestPlcOperationSignature', { procedure: true })
    const mailed = await this.#control('POST /pds/mail', { pds: account.pds === this.pds ? 0 : 1, to: email })
    const credentials = await moved.call('com.atproto.identity.getRecommendedDidCredentials')
    const input = { token: mailed, ...credentials }
    const { operation } = await account.call('com.atproto.identity.signPlcOperation', { input })
    await moved.call('com.atproto.identity.submitPlcOperation', { input: { operation } })
    await moved.activate()
    await account.deactivate()
    return moved
  }

  /** The DID document, from the directory. @param {string} did @returns {Promise<any>} */
  async resolveDid(did) {
    const response = await fetch(`${this.plc}/${did}`)
    if (!response.ok) throw new Error(`the directory answered ${response.status} for ${did}: ${await response.text()}`)
    return response.json()
  }

  /** Refuses connects to the Jetstream and drops all connections, until `resumeJetstream`. @returns {Promise<void>} */
  stopJetstream() {
    return this.#control('POST /jetstream/stop')
  }

  /** Listens again, on the same port. @returns {Promise<void>} */
  resumeJetstream() {
    return this.#control('POST /jetstream/resume')
  }

  /** Keeps all connections and sends nothing, until `thawJetstream`. @returns {Promise<void>} */
  freezeJetstream() {
    return this.#control('POST /jetstream/freeze')
  }

  /** @returns {Promise<void>} */
  thawJetstream() {
    return this.#control('POST /jetstream/thaw')
  }

  /** Cuts the present connections. @returns {Promise<number>} how many there were */
  dropJetstream() {
    return this.#control('POST /jetstream/drop')
  }

  /** Sends a text to every client now, as it is; never replayed. @param {string} raw @returns {Promise<number>} to how many */
  injectText(raw) {
    return this.#control('POST /jetstream/inject', { raw })
  }

  /** Adds a frame to the stream, with the next `time_us`; replayed like any other. @param {object} frame @returns {Promise<number>} its `time_us` */
  injectFrame(frame) {
    return this.#control('POST /jetstream/inject', { frame })
  }

  /** Frames older than this are not replayed any more; 0 for all of them. @param {number} timeUs @returns {Promise<void>} */
  lookback(timeUs) {
    return this.#control('POST /jetstream/lookback', { timeUs })
  }

  /** Adds the frames of a JSONL file to the stream. @param {string} path @returns {Promise<number>} how many */
  load(path) {
    return this.#control('POST /jetstream/load', { path: resolve(path) })
  }

  /**
   * Makes a PDS fail (faults.js): one repository, or all of it. Without a fault everything works again.
   *
   * @param {{pds?: 0 | 1, did?: string, fault?: import('./faults.js').RepoFault | 'down'}} what @returns
   * {Promise<void>}
   */
  fault(what) {
    return this.#control('POST /pds/fault', what)
  }

  /**
   * The requests for repositories that a PDS received since the last call.
   *
   * @param {0 | 1} [pds] @returns {Promise<{total: number, mostAtOnce: number, mostPerSecond: number, byDid:
   * Record<string, number>}>}
   */
  asked(pds = 0) {
    return this.#control('POST /pds/asked', { pds })
  }

  /** @returns {Promise<Stats>} */
  stats() {
    return this.#control('GET /stats')
  }

  /** @param {string} name method and path @param {object} [body] @returns {Promise<any>} */
  async #control(name, body) {
    const [method, path] = name.split(' ')
    const response = await fetch(this.control + path, { method, body: body && JSON.stringify(body) })
    const { result, error } = await response.json()
    if (!response.ok) throw new Error(`${name} answered ${response.status}: ${error}`)
    return result
  }
}
