// @ts-check
// Whether the dependencies of this network are installed here, for this Node.
//
// The stamp that `setup.js` writes names the lock file that it installed, and the binary interface (ABI) of the Node
// for which it compiled the addon; Nodes that need no compiled addon (sqlite.js) ignore the latter.

import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { needsCompiled } from './sqlite.js'

export const FOLDER = fileURLToPath(new URL('.', import.meta.url))
const STAMP = FOLDER + 'node_modules/.stamp'
const LOCK = FOLDER + 'package-lock.json'

/** @typedef {{lock: string, compiledFor?: string}} Stamp */

/** @returns {Stamp | undefined} */
export function readStamp() {
  try {
    return JSON.parse(readFileSync(STAMP, 'utf8'))
  } catch {
    return undefined // nothing installed, or not to the end
  }
}

/** @param {Stamp} stamp */
export function writeStamp(stamp) {
  writeFileSync(STAMP, JSON.stringify(stamp) + '\n')
}

/** The digest of the lock file. */
export function lockDigest() {
  return createHash('sha256').update(readFileSync(LOCK)).digest('hex')
}

/** Throws an error that says what to do, unless this very Node can run the network. */
export function assertInstalled() {
  const stamp = readStamp()
  const remedy = `run: node ${FOLDER}setup.js --node ${process.execPath}`
  if (!stamp) throw new Error(`its packages are not installed; ${remedy}`)
  if (stamp.lock !== lockDigest()) throw new Error(`package-lock.json has changed since its packages were installed; ${remedy}`)
  const { node, modules } = process.versions
  if (needsCompiled(node) && stamp.compiledFor !== modules) {
    throw new Error(
      `better-sqlite3 is compiled for ${stamp.compiledFor ? `ABI ${stamp.compiledFor}` : 'no Node'}, ` +
        `and this is Node ${node} with ABI ${modules} (${process.execPath}); ${remedy}`,
    )
  }
}
