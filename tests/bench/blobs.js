// @ts-check
// `npm run bench:blobs`: what a blob costs through the service, beside fetching it from its host directly.
//
// A host on 127.0.0.1 serves blobs as a PDS does; the service asks it, compares the bytes and caches them. Each blob is fetched
// once from the host (direct), once through the service before it is cached (cold) and then again in ranges (cached, beside the
// same ranges from a host that knows no ranges and sends everything, as the PDS of the AT Protocol does).
//
// Promises: talks only to 127.0.0.1; ends by itself; prints one line per size and the memory that the runtime needed at most.

import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

import { peakMemory } from './process.js'
import { serve } from './service.js'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/** Name, size of a blob, how many of them, how many at a time. */
const SIZES = /** @type {const} */ ([
  ['picture', 100_000, 400, 8],
  ['photo', 1_000_000, 120, 8],
  ['film', 20_000_000, 8, 2],
])
const RANGE = 65_536

/** @type {Map<string, Buffer>} */
const blobs = new Map()
/** Blobs that the host was asked for. */
let asked = 0

await main()

async function main() {
  const state = mkdtempSync(join(tmpdir(), 'colibri-bench-'))
  const host = createServer((request, response) => {
    const url = new URL(request.url ?? '/', 'http://host')
    if (url.pathname.startsWith('/did:plc:')) {
      const service = [{ id: '#atproto_pds', type: 'AtprotoPersonalDataServer', serviceEndpoint: `http://${name}` }]
      return response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ id: url.pathname.slice(1), service }))
    }
    asked += 1
    const bytes = blobs.get(url.searchParams.get('cid') ?? '')
    if (!bytes) return response.writeHead(400).end()
    response.writeHead(200, { 'content-type': 'image/png', 'content-length': bytes.length }).end(bytes)
  })
  host.listen(0, '127.0.0.1')
  await once(host, 'listening')
  const name = `127.0.0.1:${/** @type {import('node:net').AddressInfo} */ (host.address()).port}`
  const service = await serve(ROOT, state, { PLC_URL: `http://${name}`, INSECURE_HOSTS: name })
  try {
    await run(`http://${name}`, service)
  } finally {
    await service.stop()
    host.closeAllConnections()
    host.close()
    rmSync(state, { recursive: true, force: true, maxRetries: 5 })
  }
}

/** @param {string} host @param {Awaited<ReturnType<typeof serve>>} service */
async function run(host, service) {
  const direct = (/** @type {string} */ cid) => `${host}/xrpc/com.atproto.sync.getBlob?did=did:plc:bench&cid=${cid}`
  const through = (/** @type {string} */ cid) => `${service.url}/api/blob?did=did:plc:bench&cid=${cid}`
  for (const [what, size, count, atOnce] of SIZES) {
    blobs.clear()
    for (let n = 0; n < count; n++) {
      const bytes = randomBytes(size)
      blobs.set(cidOf(bytes), bytes)
    }
    const cids = [...blobs.keys()]
    await Promise.all(cids.slice(0, atOnce).map((cid) => fetchAll([direct(cid)], 1, size))) // warm
    const own = await fetchAll(cids.map(direct), atOnce, size)
    const cold = await fetchAll(cids.map(through), atOnce, size)
    await untilCached(cids.map(through), atOnce)
    const ranges = cids.map(() => ({ range: `bytes=1000-${999 + RANGE}` }))
    const ownRange = await fetchAll(cids.map(direct), atOnce, size)
    const cached = await fetchAll(cids.map(through), atOnce, RANGE, ranges)
    const rate = (/** @type {number} */ millis) => Math.round((cids.length / millis) * 1000)
    console.log(
      `${what.padEnd(8)} ${String(size).padStart(9)} B: direct ${rate(own)}/s, cold ${rate(cold)}/s (${(own / cold).toFixed(2)}), ` +
        `a range without a cache ${rate(ownRange)}/s, cached ${rate(cached)}/s (${(ownRange / cached).toFixed(1)})`,
    )
  }
  console.log(`the runtime needed at most ${Math.round(peakMemory(service.workerd) ?? NaN)} MiB`)
}

/**
 * Fetches addresses, so many at a time; every answer must have `length` bytes.
 * @param {string[]} urls @param {number} atOnce @param {number} length @param {Record<string, string>[]} [headers]
 * @returns {Promise<number>} milliseconds
 */
async function fetchAll(urls, atOnce, length, headers = []) {
  const begun = performance.now()
  let next = 0
  const worker = async () => {
    for (;;) {
      const mine = next++
      if (mine >= urls.length) return
      const response = await fetch(urls[mine], { headers: headers[mine] })
      const bytes = await response.arrayBuffer()
      if (bytes.byteLength !== length) throw new Error(`${urls[mine]} answers ${response.status} with ${bytes.byteLength} bytes`)
    }
  }
  await Promise.all(Array.from({ length: atOnce }, worker))
  return performance.now() - begun
}

/** The service caches what it has answered: asks until the host hears nothing of it. @param {string[]} urls @param {number} atOnce */
async function untilCached(urls, atOnce) {
  for (let round = 0; round < 20; round++) {
    const before = asked
    await fetchAll(urls, atOnce, 1, urls.map(() => ({ range: 'bytes=0-0' })))
    if (asked === before) return
  }
  throw new Error('the service caches nothing')
}

/** @param {Buffer} bytes */
function cidOf(bytes) {
  const all = Buffer.concat([Buffer.from([1, 0x55, 0x12, 0x20]), createHash('sha256').update(bytes).digest()])
  let bits = [...all].map((byte) => byte.toString(2).padStart(8, '0')).join('')
  bits = bits.padEnd(Math.ceil(bits.length / 5) * 5, '0')
  return `b${(bits.match(/.{5}/g) ?? []).map((five) => 'abcdefghijklmnopqrstuvwxyz234567'[parseInt(five, 2)]).join('')}`
}
