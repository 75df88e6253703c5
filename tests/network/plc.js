// @ts-check
// A real PLC directory (`@did-plc/server`) on 127.0.0.1.
//
// Its database is in memory, so every accepted operation is also written to `plc.jsonl` in the state directory before
// the directory answers. The next start validates and adds all of them again: a DID that resolved once resolves for as
// long as the state directory exists.

import { appendFileSync, existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Database, PlcServer } from '@did-plc/server'
import { HOST } from './ports.js'

/**
 * @param {{state: string, port: number}} options
 * @returns {Promise<{url: string, stop(): Promise<void>}>}
 */
export async function startPlc({ state, port }) {
  const server = PlcServer.create({ db: await rememberingDatabase(join(state, 'plc.jsonl')), port })
  const listen = server.app.listen.bind(server.app)
  server.app.listen = /** @type {any} */ ((/** @type {number} */ at) => listen(at, HOST))
  await server.start()
  return { url: `http://${HOST}:${port}`, stop: () => server.destroy() }
}

/** @param {string} file */
async function rememberingDatabase(file) {
  const db = Database.mock()
  const add = db.validateAndAddOp.bind(db)
  for (const { did, operation, createdAt } of readOperations(file)) {
    await add(did, operation)
    const added = db.contents[did].at(-1)
    if (added) added.createdAt = new Date(createdAt) // rotation rules depend on the age of an operation
  }
  db.validateAndAddOp = async (did, operation) => {
    await add(did, operation)
    appendFileSync(file, JSON.stringify({ did, operation, createdAt: new Date().toISOString() }) + '\n')
  }
  return db
}

/** @param {string} file @returns {{did: string, operation: any, createdAt: string}[]} */
function readOperations(file) {
  if (!existsSync(file)) return []
  const lines = readFileSync(file, 'utf8').split('\n')
  lines.pop() // what follows the last line end: nothing, or a line that a crash cut off
  return lines.map((line) => JSON.parse(line))
}
