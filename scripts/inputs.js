// @ts-check
// What something was built from: the files of a folder, and a digest of them that changes when one of them does.

import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join, relative } from 'node:path'

import { ROOT } from './paths.js'

/**
 * All files below a folder, always in the same order; none of a folder that does not exist, or is left out.
 * @param {string} folder @param {string} [leftOut] @returns {Generator<string>}
 */
export function* filesBelow(folder, leftOut) {
  if (!existsSync(folder) || folder === leftOut) return
  const entries = readdirSync(folder, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1))
  for (const entry of entries) {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) yield* filesBelow(path, leftOut)
    else yield path
  }
}

/** A digest of the names and contents of files. @param {Iterable<string>} files */
export function digestOf(files) {
  const digest = createHash('sha256')
  for (const file of files) digest.update(relative(ROOT, file)).update('\0').update(readFileSync(file)).update('\0')
  return digest.digest('hex')
}
