// @ts-check
// Archives (CAR) of invented repositories, of any size: what a host sends for an account that posts a lot, some of it
// into its own Colibri community.
//
// Promises: tree, commit and blocks follow the specification of repositories (@atproto/repo reads them, and so must the
// service); the blocks are in the order of their hashes, which is random; the same options make the same records.

import { createHash } from 'node:crypto'
import { createRequire } from 'node:module'

import { channel, community, message } from '../network/records.js'

/** What is installed for the network is not installed for benchmarks. */
const ofNetwork = createRequire(new URL('../network/package.json', import.meta.url))

const POST = 'app.bsky.feed.post'
const TID_DIGITS = '234567abcdefghijklmnopqrstuvwxyz'
const WORDS = 'the garden is full of birds and every one of them has something to say about rain'.split(' ')

/** A TID of a time in microseconds. @param {number} micros */
export function tid(micros) {
  let text = ''
  for (let number = BigInt(micros) << 10n, n = 0; n < 13; n++, number >>= 5n) text = TID_DIGITS[Number(number & 31n)] + text
  return text
}

/** @typedef {{uri: string, cid: string, value: {$type: string}}[]} Listed */

/** How many pairs of zero bits a key's hash begins with. @param {string} key */
function layer(key) {
  const hash = createHash('sha256').update(key).digest()
  let zeros = 0
  for (const byte of hash) {
    zeros += Math.clz32(byte) - 24
    if (byte !== 0) break
  }
  return zeros >> 1
}

/**
 * Makes an archive of at least `bytes` bytes.
 *
 * @param {object} options
 * @param {string} options.did
 * @param {{sign(bytes: Uint8Array): Promise<Uint8Array>}} options.keypair of `@atproto/crypto`
 * @param {number} options.bytes
 * @param {number} [options.share] Colibri's share of the records, 0 to 1
 * @param {number} [options.since] of the first record, microseconds since 1970
 * @returns {Promise<{archive: Buffer, rev: string, records: number, colibri: Listed}>} `colibri`: Colibri's records, as
 * the host would
 *   list them, oldest key first
 */
export async function makeArchive({ did, keypair, bytes, share = 0.1, since = 1_790_000_000_000_000 }) {
  const { encode } = ofNetwork('@atproto/lex-cbor')
  const { createCid } = ofNetwork('@atproto/lex-data')
  /** @type {{hash: Buffer, block: Uint8Array}[]} */
  const blocks = []
  let size = 0
  /** @param {object} value */
  const add = (value) => {
    const block = encode(value)
    const hash = createHash('sha256').update(block).digest()
    blocks.push({ hash, block })
    size += block.length + 39
    return createCid(0x71, 0x12, hash)
  }

  /** @type {{key: string, at: number, cid: object}[]} */
  const entries = []
  /** @type {Listed} */
  const colibri = []
  let random = 1
  const roll = (/** @type {number} */ sides) => {
    random = (Math.imul(random, 1664525) + 1013904223) >>> 0
    return Math.floor((random / 2 ** 32) * sides)
  }
  const enter = (/** @type {{$type: string}} */ record, /** @type {string} */ rkey) => {
    const key = `${record.$type}/${rkey}`
    const cid = add(record)
    entries.push({ key, at: layer(key), cid })
    if (record.$type !== POST) colibri.push({ uri: `at://${did}/${key}`, cid: String(cid), value: record })
  }
  enter(community({ name: 'Garden' }), 'garden')
  enter(channel({ name: 'hall', community: 'garden' }), 'hall')
  // Nodes add about a quarter to posts of this length.
  for (let n = 0; size < bytes * 0.78; n++) {
    const micros = since + n * 1_000_000
    const isMessage = roll(1000) < share * 1000
    const text = Array.from({ length: 8 + roll(24) }, () => WORDS[roll(WORDS.length)]).join(' ')
    const createdAt = new Date(micros / 1000).toISOString()
    const record = isMessage
      ? message('hall', text, { createdAt })
      : { $type: POST, text, createdAt, langs: ['en'], facets: [{ index: { byteStart: 0, byteEnd: 3 }, features: [] }] }
    enter(record, tid(micros))
  }
  entries.sort((a, b) => (a.key < b.key ? -1 : 1))

  /** @param {number} from @param {number} to @param {number} at @returns {object | null} */
  function tree(from, to, at) {
    if (from >= to) return null
    let left = null
    let open = from
    let before = ''
    const own = []
    const close = (/** @type {number} */ end) => {
      const below = tree(open, end, at - 1)
      if (own.length > 0) own[own.length - 1].t = below
      else left = below
    }
    for (let n = from; n < to; n++) {
      const entry = entries[n]
      if (entry.at !== at) continue
      close(n)
      let shared = 0
      while (shared < before.length && before[shared] === entry.key[shared]) shared += 1
      own.push({ p: shared, k: new TextEncoder().encode(entry.key.slice(shared)), v: entry.cid, t: null })
      before = entry.key
      open = n + 1
    }
    close(to)
    return add({ l: left, e: own })
  }
  const top = entries.reduce((highest, { at }) => Math.max(highest, at), 0)
  const data = tree(0, entries.length, top) ?? add({ l: null, e: [] })
  const rev = tid(since + entries.length * 1_000_000)
  const commit = { did, version: 3, data, rev, prev: null }
  const root = add({ ...commit, sig: await keypair.sign(encode(commit)) })

  blocks.sort((a, b) => Buffer.compare(a.hash, b.hash))
  const header = encode({ version: 1, roots: [root] })
  const parts = [varint(header.length), header]
  for (const { hash, block } of blocks) parts.push(varint(36 + block.length), Buffer.from([1, 0x71, 0x12, 0x20]), hash, block)
  return { archive: Buffer.concat(parts), rev, records: entries.length, colibri }
}

/** @param {number} number */
function varint(number) {
  const bytes = []
  for (; number > 0x7f; number >>>= 7) bytes.push((number & 0x7f) | 0x80)
  return Buffer.from([...bytes, number])
}
