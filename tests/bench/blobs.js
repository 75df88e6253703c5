// @ts-check
// `npm run bench:blobs`: the cost of a blob through the service, compared with fetching it from its PDS directly.
//
// On a local network with a real PDS, alice uploads blobs of several sizes and refers to them in messages. Each blob is
// fetched once from the PDS (direct), once through the service before it is cached (cold), and again as a range of it
// (cached), next to a request to the PDS for the same range. There are as many requests at a time as a browser opens
// connections.
//
// Promises: contacts only 127.0.0.1; every answer must have the right bytes; ends all it started; prints a line per
// size and the peak memory of the runtime.

import { createHash, randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

import { startNetwork } from '../network/client.js'
import { peakMemory } from './process.js'
import { serve } from './service.js'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
/** Name, size of a blob, how many of them. A PDS takes no more than 5 MiB by default. @type {[string, number, number][]} */
const SIZES = [
  ['thumbnail', 100_000, 120],
  ['picture', 1_000_000, 60],
  ['film', 5_000_000, 16],
]
/** Connections of a browser to one host. */
const AT_ONCE = 6
const RANGE = 65_536
const RANGE_FROM = 1000
/** Attachments of one message (8.1). */
const PER_MESSAGE = 4
/** The target share of the direct throughput. */
const AIM_COLD = 0.7
const AIM_RANGE = 3

const state = mkdtempSync(join(tmpdir(), 'colibri-bench-'))
const network = await startNetwork({ state: join(state, 'network') })
const hosts = [network.plc, network.pds, network.jetstream].map((url) => new URL(url).host).join()
const service = await serve(ROOT, join(state, 'service'), {
  JETSTREAM_URL: network.jetstream,
  PLC_URL: network.plc,
  BSKY_API_URL: network.pds,
  INSECURE_HOSTS: hosts,
})
try {
  const alice = await network.createAccount('alice')
  for (const [what, size, count] of SIZES) await measure(alice, what, size, count)
  console.log(`the runtime needed at most ${Math.round(peakMemory(service.workerd) ?? NaN)} MiB; load ${loadavg()[0].toFixed(1)}`)
} finally {
  await service.stop()
  await network.stop()
  rmSync(state, { recursive: true, force: true, maxRetries: 5 })
}

/** @param {import('../network/client.js').Account} alice @param {string} what @param {number} size @param {number} count */
async function measure(alice, what, size, count) {
  /** @type {Map<string, string>} a CID and the hash of its bytes */
  const blobs = new Map()
  for (let n = 0; n < count; n += PER_MESSAGE) {
    const attachments = []
    for (let m = n; m < Math.min(n + PER_MESSAGE, count); m++) {
      const bytes = randomBytes(size)
      const blob = await alice.uploadBlob(bytes, 'image/png')
      attachments.push({ blob, name: 'x.png' })
      blobs.set(blob.ref.$link, hash(bytes))
    }
    await alice.message('general', 'look', { attachments })
  }
  const cids = [...blobs.keys()]
  const query = (/** @type {string} */ cid) => `did=${encodeURIComponent(alice.did)}&cid=${cid}`
  const direct = (/** @type {string} */ cid) => `${network.pds}/xrpc/com.atproto.sync.getBlob?${query(cid)}`
  const through = (/** @type {string} */ cid) => `${service.url}/api/blob?${query(cid)}`
  const whole = (/** @type {string} */ cid, /** @type {Buffer} */ bytes) => hash(bytes) === blobs.get(cid)
  const part = (/** @type {string} */ _, /** @type {Buffer} */ bytes) => bytes.length === RANGE
  const range = { range: `bytes=${RANGE_FROM}-${RANGE_FROM + RANGE - 1}` }

  await fetchAll(cids, direct, whole) // the PDS reads them from its disk once
  const own = await fetchAll(cids, direct, whole)
  const cold = await fetchAll(cids, through, whole)
  await fetchAll(cids, through, whole) // by the end of this the last of them is cached
  const ownRange = await fetchAll(cids, direct, () => true, range)
  const cached = await fetchAll(cids, through, part, range)
  const rate = (/** @type {number} */ millis) => `${Math.round((count * 1000) / millis)}/s`
  const verdict = (/** @type {number} */ ratio, /** @type {number} */ aim) => `${ratio.toFixed(2)}${ratio < aim ? ' (too little)' : ''}`
  console.log(
    `${what.padEnd(10)} ${String(size).padStart(8)} B: direct ${rate(own)}, cold ${rate(cold)}: ${verdict(own / cold, AIM_COLD)}; ` +
      `a range direct ${rate(ownRange)}, cached ${rate(cached)}: ${verdict(ownRange / cached, AIM_RANGE)}`,
  )
}

/**
 * Fetches blobs, AT_ONCE at a time.
 * @param {string[]} cids @param {(cid: string) => string} where @param {(cid: string, bytes: Buffer) => boolean} fits
 * @param {Record<string, string>} [headers]
 * @returns {Promise<number>} milliseconds
 */
async function fetchAll(cids, where, fits, headers) {
  let next = 0
  /** @type {[string, Buffer][]} */
  const got = []
  const worker = async () => {
    for (let cid = cids[next++]; cid !== undefined; cid = cids[next++]) {
      const response = await fetch(where(cid), { headers })
      got.push([cid, Buffer.from(await response.arrayBuffer())])
    }
  }
  const begun = performance.now()
  await Promise.all(Array.from({ length: AT_ONCE }, worker))
  const took = performance.now() - begun
  for (const [cid, bytes] of got) if (!fits(cid, bytes)) throw new Error(`${where(cid)} answers something else`)
  return took
}

/** @param {Uint8Array} bytes */
function hash(bytes) {
  return createHash('sha256').update(bytes).digest('hex')
}
