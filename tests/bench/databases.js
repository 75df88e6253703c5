// @ts-check
// The SQLite databases of a service, found in its state folder and opened to be read only.

import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'

/** How long a reader waits for the service, which may be writing. */
const BUSY_MILLIS = 10_000

/** The databases in a folder, with what is below it, in order. @param {string} folder @returns {string[]} */
export const databaseFiles = (folder) =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.sqlite') && !entry.name.includes('metadata'))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort()

/** The file of the D1 database in a state folder of `npm run serve`. @param {string} state */
export function databaseFile(state) {
  const found = databaseFiles(join(state, 'v3', 'd1'))
  if (found.length !== 1) throw new Error(`${state} should hold one D1 database, but holds ${found.length}: ${found.join(', ')}`)
  return found[0]
}

/** What `see` finds in a database. @template T @param {string} file @param {(db: DatabaseSync) => T} see @returns {T} */
export function inDatabase(file, see) {
  const db = new DatabaseSync(file, { readOnly: true })
  try {
    db.exec(`PRAGMA busy_timeout = ${BUSY_MILLIS}`)
    return see(db)
  } finally {
    db.close()
  }
}
