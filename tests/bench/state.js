// @ts-check
// What a service holds after a stream: how far it is, read beside it while it runs, and all that it stored, when it has ended.
//
// Promises: the service is not asked, so that looking does not change what is measured. The states of two clones are compared by
// the columns that both have.

import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'

import { databaseFile, databaseFiles, inDatabase } from './databases.js'

/** Columns that say when, and tables that say how, but not what the stream led to. */
const TIMES = /^(indexed_at|updated_at|settled_at|arrived_at|gone_at|at|last_at|account_at|away_since|known_at|checked_at)$/
const WHAT = ['communities', 'channels', 'categories', 'memberships', 'approvals', 'messages', 'reactions', 'actors', 'channel_reads', 'people', 'held', 'settled']

/** The cursor that is stored, and the rows of the outbox: events that somebody has not received. @param {string} state */
export const progress = (state) =>
  inDatabase(databaseFile(state), (db) => {
    const [cursor, undelivered] = ['SELECT max(cursor_us) n FROM stream', 'SELECT count(*) n FROM outbox'].map((sql) => Number(db.prepare(sql).get()?.n ?? 0))
    return { cursor, undelivered }
  })

/** The columns that count of each table in WHAT, as the migrations of a clone make them. @param {string} root */
function columnsOf(root) {
  const db = new DatabaseSync(':memory:')
  try {
    const folder = join(root, 'migrations')
    for (const file of readdirSync(folder).sort()) db.exec(readFileSync(join(folder, file), 'utf8'))
    const names = (/** @type {string} */ table) => db.prepare(`PRAGMA table_info(${table})`).all().map(({ name }) => String(name))
    return new Map(WHAT.map((table) => [table, names(table).filter((name) => !TIMES.test(name))]))
  } finally {
    db.close()
  }
}

/** The columns that the databases of all these clones have, and that say what a stream led to. @param {string[]} roots */
export function sharedColumns(roots) {
  const [first, ...others] = roots.map(columnsOf)
  return new Map([...first].map(([table, names]) => [table, names.filter((name) => others.every((other) => other.get(table)?.includes(name)))]))
}

/**
 * What a stream led to: a digest of these columns of the index and of each community's last `seq`, the same however the events were
 * batched, and how many messages and numbered events there are. @param {string} state @param {Map<string, string[]>} columns
 */
export function outcome(state, columns) {
  const digest = createHash('sha256')
  const messages = inDatabase(databaseFile(state), (db) => {
    for (const [table, names] of columns) {
      if (names.length === 0) continue
      const order = names.map((_, n) => n + 1)
      for (const row of db.prepare(`SELECT ${names.join()} FROM ${table} ORDER BY ${order.join()}`).iterate()) digest.update(JSON.stringify(row))
    }
    return Number(db.prepare('SELECT count(*) n FROM messages').get()?.n)
  })
  let numbered = 0
  for (const file of databaseFiles(join(state, 'v3', 'do'))) {
    inDatabase(file, (db) => {
      if (!db.prepare("SELECT 1 FROM sqlite_master WHERE name = 'counters'").get()) return
      const seq = Number(db.prepare('SELECT max(seq) n FROM counters').get()?.n)
      digest.update(`${basename(file)} ${seq}`)
      numbered += seq
    })
  }
  return { digest: digest.digest('hex').slice(0, 16), messages, numbered }
}
