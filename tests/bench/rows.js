// @ts-check
// The rows that a service has stored, counted in its SQLite files after it has ended.

import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'

import { databaseFile, inDatabase } from './databases.js'

/** @param {string} folder @returns {string[]} */
const sqliteFiles = (folder) =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /\.sqlite(-wal)?$/.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name))

/**
 * Rows of the index, and rows together with their index entries: what D1 calls written if each was written once.
 * @param {string} state a state folder of `npm run serve`
 */
export function rowsStored(state) {
  return inDatabase(databaseFile(state), (db) => {
    const tables = db
      .prepare(
        `SELECT m.name, (SELECT count(*) FROM sqlite_schema i WHERE i.type = 'index' AND i.tbl_name = m.name AND i.sql IS NOT NULL) AS indexes
         FROM sqlite_schema m WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%' AND m.name NOT LIKE '%cf_%' AND m.name NOT LIKE 'd1_%' AND m.name <> 'message_words'`,
      )
      .all()
    let [rows, written] = [0, 0]
    for (const { name, indexes } of tables) {
      const count = Number(db.prepare(`SELECT count(*) AS count FROM "${name}"`).get()?.count)
      rows += count
      written += count * (1 + Number(indexes))
    }
    const size = (/** @type {string[]} */ files) => files.reduce((sum, file) => sum + statSync(file).size, 0)
    const objects = sqliteFiles(join(state, 'v3', 'do'))
    return {
      rows,
      written,
      bytes: size(sqliteFiles(join(state, 'v3', 'd1'))),
      objects: objects.filter((file) => file.endsWith('.sqlite')).length,
      objectBytes: size(objects),
    }
  })
}
