// @ts-check
// The resources of the service, measured from outside, and their limits from SECURITY.md.
//
// Promises: opens databases read-only, while the service writes them; unreadable data is an error and not a zero.

import { readdirSync, readlinkSync, statSync } from 'node:fs'
import { join } from 'node:path'

import { inDatabase } from '../bench/databases.js'
import { memory } from '../bench/process.js'

const MEBIBYTE = 1 << 20
/** Sixteen objects of rooms, four lobbies, four gateways, and of each community one: three files and five descriptors each. */
const OBJECTS = 24
const FILES_OF_AN_OBJECT = 3
const DESCRIPTORS_OF_AN_OBJECT = 5
/** Requests in progress, and connections to other hosts that are kept for reuse. */
const DESCRIPTORS_SPARE = 100
/**
 * What the runtime may keep after a flood: wasm memory does not shrink, and pages of databases and the heap are
 * released late. It held the queue (16 MiB), blobs (48 MiB and one), repositories (32 MiB and one), blocks (52 MiB) and
 * subscriptions (32 MiB). Measured with groups of strangers for four minutes each: those of the stream hold 180 MiB more than
 * quiet, sockets 190, blobs, reads and half-open connections 430, and each stays there from the second minute on.
 */
const MEMORY_SPARE_MIB = 600
const CACHE_BYTES = 128 * MEBIBYTE
const HELD = { count: 10_000, bytes: 64 * MEBIBYTE }
const SETTLED = 50_000 + 5_000
const REFUSALS_OF_A_REASON = 100
const READS_OF_ONE = 1_000
const ACTORS_OF_ONE = 20
const TRACES = { ofDid: 16, ofGateway: 10_000 }
const CHANGED = 11_000
const CHOSEN = 1_000
const LOG = 10_000

/** @typedef {ReturnType<typeof look>} Look */

/** @param {string} folder @returns {{ path: string, bytes: number }[]} */
function filesOf(folder) {
  return readdirSync(folder, { recursive: true, withFileTypes: true }).flatMap((entry) => {
    if (!entry.isFile()) return []
    const path = join(entry.parentPath, entry.name)
    try {
      return [{ path, bytes: statSync(path).size }]
    } catch {
      return [] // gone since it was listed
    }
  })
}

/** @param {string} path @param {(ask: (sql: string) => number, has: (table: string) => boolean) => void} see */
function counting(path, see) {
  inDatabase(path, (db) => {
    const tables = new Set(db.prepare("SELECT name FROM sqlite_master WHERE type = 'table'").all().map(({ name }) => name))
    see(
      (sql) => Number(Object.values(db.prepare(sql).get() ?? {})[0] ?? 0),
      (table) => tables.has(table),
    )
  })
}

/** @param {{ state: string, workerd: number }} service */
export function look({ state, workerd }) {
  const files = filesOf(join(state, 'v3'))
  const databases = files.filter(({ path }) => path.endsWith('.sqlite') && !path.endsWith('metadata.sqlite'))
  const bytes = (/** @type {typeof files} */ some) => some.reduce((sum, file) => sum + file.bytes, 0)
  /** @type {Record<string, number>} */
  const rows = {}
  const most = (/** @type {string} */ name, /** @type {number} */ value) => (rows[name] = Math.max(rows[name] ?? 0, value))
  const sum = (/** @type {string} */ name, /** @type {number} */ value) => (rows[name] = (rows[name] ?? 0) + value)
  for (const { path } of databases) {
    counting(path, (ask, has) => {
      const ofMost = (/** @type {string} */ table, /** @type {string} */ by) => ask(`SELECT max(n) FROM (SELECT count(*) n FROM ${table} GROUP BY ${by})`)
      if (has('ledger')) {
        for (const table of ['people', 'identities', 'repos', 'visitors', 'held', 'outbox', 'messages', 'communities', 'approvals', 'gone_messages'])
          sum(table, ask(`SELECT count(*) FROM ${table}`))
        sum('held, bytes', ask('SELECT sum(bytes) FROM held'))
        sum('settled, not lasting', ask('SELECT count(*) FROM settled WHERE NOT lasting'))
        most('refusals of a reason', ofMost('refusals', 'reason'))
        most('channel_reads of one DID', ofMost('channel_reads', 'did'))
        most('actors of one DID', ofMost('actors', 'did'))
        sum('gaps, closed', ask("SELECT count(*) FROM gaps WHERE state = 'closed'"))
      }
      if (has('sessions')) {
        for (const table of ['sessions', 'subscribed', 'persons', 'signs', 'departed', 'unsaid', 'sayings']) {
          if (has(table)) sum(`gateways: ${table}`, ask(`SELECT count(*) FROM ${table}`))
        }
        most('a gateway: traces', ask('SELECT count(*) FROM traces'))
        most('a gateway: traces of one DID', ofMost('traces', 'did'))
        most('a gateway: changed', ask('SELECT count(*) FROM changed'))
        most('a gateway: chosen', ask('SELECT count(*) FROM chosen'))
      }
      if (has('log') && has('counters')) most('a community: log', ask('SELECT count(*) FROM log'))
    })
  }
  const descriptors = readdirSync(`/proc/${workerd}/fd`)
  return {
    memory: memory(workerd) ?? NaN,
    descriptors: descriptors.length,
    sockets: descriptors.filter((fd) => isSocket(workerd, fd)).length,
    databases: databases.length,
    files: files.filter(({ path }) => /\.sqlite/.test(path)).length,
    cacheBytes: bytes(files.filter(({ path }) => path.includes('/cache/'))),
    bytes: bytes(files),
    rows,
  }
}

/** @param {number} pid @param {string} fd */
function isSocket(pid, fd) {
  try {
    return readlinkSync(`/proc/${pid}/fd/${fd}`).startsWith('socket:')
  } catch {
    return false
  }
}

/**
 * What must be true when strangers are gone: each row has a name, the current value, and its limit.
 * @param {Look} now @param {Look} quiet the state before they came
 * @param {{ sockets: number, strangers: number, hosts: number }} expected `strangers`: those who may have become known
 * by their own
 *   records; `hosts`: theirs, each with an object that rests between two attempts
 * @returns {{ what: string, is: number, bound: number }[]}
 */
export function bounds(now, quiet, { sockets, strangers, hosts }) {
  const { rows } = now
  const row = (/** @type {string} */ what, /** @type {number} */ bound) => ({ what, is: rows[what] ?? NaN, bound })
  return [
    { what: 'memory of workerd, MiB', is: Math.round(now.memory), bound: Math.round(quiet.memory + MEMORY_SPARE_MIB) },
    { what: 'descriptors of workerd', is: now.descriptors, bound: quiet.descriptors + (OBJECTS + hosts) * DESCRIPTORS_OF_AN_OBJECT + DESCRIPTORS_SPARE },
    { what: 'files of databases', is: now.files, bound: quiet.files + (OBJECTS + strangers) * FILES_OF_AN_OBJECT },
    { what: 'cached blobs, MiB', is: Math.ceil(now.cacheBytes / MEBIBYTE), bound: CACHE_BYTES / MEBIBYTE + 4 },
    row('people', (quiet.rows.people ?? 0) + strangers),
    row('identities', (quiet.rows.identities ?? 0) + strangers),
    row('communities', (quiet.rows.communities ?? 0) + strangers),
    row('visitors', 0),
    row('held', HELD.count),
    row('held, bytes', HELD.bytes),
    row('settled, not lasting', SETTLED),
    row('refusals of a reason', REFUSALS_OF_A_REASON),
    row('channel_reads of one DID', READS_OF_ONE),
    row('actors of one DID', ACTORS_OF_ONE),
    row('gaps, closed', 200),
    row('gateways: sessions', sockets),
    row('gateways: subscribed', 2 * sockets),
    row('a gateway: traces', TRACES.ofGateway),
    row('a gateway: traces of one DID', TRACES.ofDid),
    row('a gateway: changed', CHANGED),
    row('a gateway: chosen', CHOSEN),
    row('a community: log', LOG + LOG / 10),
  ]
}
