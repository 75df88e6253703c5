// @ts-check
// What a service holds after a stream: how far it is, read beside it while it runs, and all that it stored, when it has ended.
//
// Promises: the service is not asked, so that looking does not change what is measured.

import { createHash } from 'node:crypto'
import { basename, join } from 'node:path'

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

/**
 * What a stream led to: a digest of the index and of each community's last `seq`, the same however the events were batched, and how
 * many messages and numbered events there are. @param {string} state
 */
export function outcome(state) {
  const digest = createHash('sha256')
  const messages = inDatabase(databaseFile(state), (db) => {
    for (const table of WHAT) {
      const columns = db.prepare(`PRAGMA table_info(${table})`).all().map(({ name }) => String(name)).filter((name) => !TIMES.test(name))
      for (const row of db.prepare(`SELECT ${columns.join()} FROM ${table} ORDER BY ${columns.map((_, n) => n + 1).join()}`).iterate()) digest.update(JSON.stringify(row))
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
