// @ts-check
// Applies the files in migrations/ to the local D1 databases, in order of name.
//
// Promises: uses wrangler's own table d1_migrations, so `wrangler d1 migrations apply --local --persist-to` and this
// script agree on what was applied; a file and its entry are one transaction; nothing starts if there is nothing to
// apply; a database with a migration that is newer than all of this program's is refused. It uses D1 itself, not the
// file, so that it refuses a statement that D1 would refuse.

import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'

import { Refusal } from './progress.js'

const require = createRequire(import.meta.url)

const quoted = (identifier) => `"${identifier.replaceAll('"', '""')}"`
/** The migrations that this program has, in order. */
export const filesOf = ({ migrationsDir }) =>
  existsSync(migrationsDir)
    ? readdirSync(migrationsDir)
        .filter((file) => file.endsWith('.sql'))
        .sort()
    : []

/**
 * Refuses a database that a newer program made: what this one does not know, it would damage or not show.
 * @param {string[]} applied @param {string[]} known @param {string} folder
 */
export function refuseNewer(applied, known, folder) {
  const newest = known.at(-1) ?? ''
  const unknown = applied.filter((name) => !known.includes(name) && name > newest).sort()
  if (unknown.length === 0) return
  throw new Refusal(
    `The database in ${folder} was made by a newer version: it has the migration ${unknown.at(-1)}, and this program knows ` +
      `none after ${newest || 'the first'}. Start that version, or take a copy of the folder from before.`,
  )
}

async function applyTo(d1, database, file, say) {
  const table = quoted(database.migrationsTable)
  try {
    await d1.batch([
      d1.prepare(readFileSync(join(database.migrationsDir, file), 'utf8')),
      d1.prepare(`INSERT INTO ${table} (name) VALUES (?)`).bind(file),
    ])
  } catch (error) {
    throw new Refusal(`Migration ${file} failed and changed nothing: ${error.message}`)
  }
  say(`applied migration ${file}`)
}

/**
 * @param {import("./state.js").StateFolder} state
 * @param {ReturnType<typeof import('./local-worker.js').localWorker>} worker
 * @param {(line: string) => void} say
 */
export async function migrate(state, { databases, databasesOnly }, say) {
  const wanted = JSON.stringify(databases.map((database) => [database.binding, filesOf(database)]))
  // Names are enough: an applied file is never edited (docs/invariants.md), and D1's table has only names.
  if (existsSync(state.migrationsFile) && readFileSync(state.migrationsFile, 'utf8') === wanted) return
  const { Miniflare } = require('miniflare')
  const runtime = new Miniflare(databasesOnly)
  try {
    for (const database of databases) {
      const d1 = await runtime.getD1Database(database.binding)
      const table = quoted(database.migrationsTable)
      await d1
        .prepare(
          `CREATE TABLE IF NOT EXISTS ${table}(
        id         INTEGER PRIMARY KEY AUTOINCREMENT,
        name       TEXT UNIQUE,
        applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL
      )`,
        )
        .run()
      const { results } = await d1.prepare(`SELECT name FROM ${table}`).all()
      const applied = new Set(results.map(({ name }) => name))
      refuseNewer(results.map(({ name }) => name), filesOf(database), state.path)
      for (const file of filesOf(database)) if (!applied.has(file)) await applyTo(d1, database, file, say)
    }
  } finally {
    await runtime.dispose()
  }
  writeFileSync(state.migrationsFile, wanted)
}
