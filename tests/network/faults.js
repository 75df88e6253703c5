// @ts-check
// Faults of a PDS on demand, and a record of its requests.
//
// `Faults` is in front of a PDS and passes on everything, except for what a test has requested:
//   400        a repository is not shown, neither its revision nor its records;
//   no-export  its export (`getRepo`) is not served; all the rest is;
//   truncated  its export ends half-way;
//   flipped    one bit in the middle of its export is flipped;
//   other-key  its export is signed again, with a key that is not the account's;
//   down       (of the whole PDS) every connection is cut without an answer.
// It counts only requests for repositories (`com.atproto.sync.*`, `listRecords`), because tests also write.

import { generateKeyPairSync, sign } from 'node:crypto'
import { cidForLex, decode, encode } from '@atproto/lex-cbor'
import { blocksToCarFile, readCarWithRoot } from '@atproto/repo'

const READS = /^\/xrpc\/com\.atproto\.(sync\.[A-Za-z]+|repo\.listRecords)$/
const EXPORT = '/xrpc/com.atproto.sync.getRepo'

/** @typedef {'400' | 'no-export' | 'truncated' | 'flipped' | 'other-key'} RepoFault */

export class Faults {
  /** By DID. @type {Map<string, RepoFault>} */
  repos = new Map()
  down = false
  #now = 0
  #most = 0
  #total = 0
  /** Requests by second. @type {Map<number, number>} */
  #seconds = new Map()
  /** Requests by DID. @type {Map<string, number>} */
  #dids = new Map()

  /** The requests since the last call. */
  takeStats() {
    const stats = {
      total: this.#total,
      mostAtOnce: this.#most,
      mostPerSecond: Math.max(0, ...this.#seconds.values()),
      byDid: Object.fromEntries(this.#dids),
    }
    this.#total = 0
    this.#most = this.#now
    this.#seconds.clear()
    this.#dids.clear()
    return stats
  }

  /** @param {string | undefined} did nobody for the whole PDS @param {string | undefined} fault none to end it */
  set(did, fault) {
    if (did === undefined) this.down = fault === 'down'
    else if (fault === undefined) this.repos.delete(did)
    else this.repos.set(did, /** @type {RepoFault} */ (fault))
  }

  /**
   * Serves a request, or spoils the response.
   *
   * @param {import('node:http').IncomingMessage} request
   * @param {import('node:http').ServerResponse} response
   * @param {(request: any, response: any) => void} serve
   */
  handle(request, response, serve) {
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://pds')
    if (!READS.test(pathname)) return serve(request, response)
    const did = searchParams.get('did') ?? searchParams.get('repo') ?? ''
    this.#count(did, response)
    if (this.down) return request.socket.destroy()
    const fault = this.repos.get(did)
    if (fault === '400' || (fault === 'no-export' && pathname === EXPORT)) {
      return response.writeHead(400, { 'content-type': 'application/json' }).end('{"error":"InvalidRequest","message":"a fault"}')
    }
    if (fault && pathname === EXPORT) spoil(response, fault)
    serve(request, response)
  }

  /** @param {string} did @param {import('node:http').ServerResponse} response */
  #count(did, response) {
    const second = Math.floor(Date.now() / 1000)
    this.#total++
    this.#now++
    this.#most = Math.max(this.#most, this.#now)
    this.#seconds.set(second, (this.#seconds.get(second) ?? 0) + 1)
    this.#dids.set(did, (this.#dids.get(did) ?? 0) + 1)
    response.once('close', () => this.#now--)
  }
}

/**
 * Collects the body of a response, and sends a spoiled one in its place. @param {any} response @param {RepoFault} fault
 */
function spoil(response, fault) {
  /** @type {Buffer[]} */
  const chunks = []
  const end = response.end.bind(response)
  response.write = (/** @type {any} */ chunk, /** @type {any} */ encoding, /** @type {any} */ done) => {
    chunks.push(Buffer.from(chunk))
    const called = typeof encoding === 'function' ? encoding : done
    if (called) queueMicrotask(called)
    return true
  }
  response.end = (/** @type {any} */ chunk) => {
    if (chunk && typeof chunk !== 'function') chunks.push(Buffer.from(chunk))
    bent(Buffer.concat(chunks), fault).then(end, () => response.destroy())
    return response
  }
}

/** @param {Buffer} car @param {RepoFault} fault @returns {Promise<Buffer>} */
async function bent(car, fault) {
  if (fault === 'truncated') return car.subarray(0, car.length >> 1)
  if (fault === 'flipped') {
    car[car.length >> 1] ^= 1
    return car
  }
  const { root, blocks } = await readCarWithRoot(car)
  const { sig, ...unsigned } = /** @type {any} */ (decode(/** @type {any} */ (blocks.get(root))))
  const commit = { ...unsigned, sig: signed(encode(unsigned)) }
  const cid = await cidForLex(commit)
  blocks.delete(root)
  blocks.set(cid, encode(commit))
  return Buffer.from(await blocksToCarFile(cid, blocks))
}

const ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n

/** A valid signature (of the two, the one with the lower S) with a new secp256k1 key. @param {Uint8Array} bytes */
function signed(bytes) {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'secp256k1' })
  const signature = sign('sha256', bytes, { key: privateKey, dsaEncoding: 'ieee-p1363' })
  const s = BigInt(`0x${signature.subarray(32).toString('hex')}`)
  const low = s > ORDER / 2n ? ORDER - s : s
  return new Uint8Array([...signature.subarray(0, 32), ...Buffer.from(low.toString(16).padStart(64, '0'), 'hex')])
}
