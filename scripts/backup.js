// @ts-check
// `npm run backup -- FOLDER --state DIR`: the whole state of a `serve`, database and objects, at one moment, as a new
// folder; also while the service runs.
//
// Promises: a backup is complete and checked, or it has another name (FOLDER.incomplete); it takes the place of nothing.
// The secret of socket tokens is in it, and everything that was written: it is for its owner's eyes alone.

import { copyFileSync, existsSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { requestCopy } from './backup-request.js'
import { readArguments, typedPath } from './commands.js'
import { checked, copyStorage, migrationsIn } from './copy.js'
import { makeFolder, reasonOf } from './folder.js'
import { isProgram, VERSION } from './paths.js'
import { exitWith, Refusal, say } from './progress.js'
import { StateFolder } from './state.js'

export const FORMAT = 1
export const STORAGE = 'storage'
export const SECRET = 'token-secret'

const megabytes = (/** @type {{ size: number }[]} */ files) => (files.reduce((sum, { size }) => sum + size, 0) / 1_000_000).toFixed(1)

/** @param {{ positionals: string[], values: Record<string, any> }} given @param {string} script */
export function folders({ positionals, values }, script) {
  if (positionals.length !== 1) throw new Refusal(`Name one folder. See: npm run ${script} -- --help`)
  return { copy: typedPath(positionals[0], script), state: new StateFolder(typedPath(values.state, script)) }
}

/** A failure of the system, such as a full disk, as a sentence. @param {any} error */
export const inWords = (error) => (error.syscall ? new Refusal(`${error.dest ?? error.path ?? 'A file'} cannot be written or read: ${reasonOf(error)}.`) : error)

/** @param {{ positionals: string[], values: Record<string, any> }} given */
export async function backup(given) {
  const { copy, state } = folders(given, 'backup')
  if (existsSync(copy)) throw new Refusal(`There is ${copy} already. Name a folder that does not exist yet.`)
  if (!existsSync(state.storage)) throw new Refusal(`There is no database in ${state.path}. Name the folder of a service: --state DIR`)
  const making = `${copy}.incomplete`
  rmSync(making, { recursive: true, force: true })
  makeFolder(making, 0o700)
  const storage = join(making, STORAGE)
  const isFree = await state.takeIfFree()
  const held = isFree ? await copyStorage(state.storage, storage, (rest) => rest()) : await requestCopy(state, storage)
  const files = await checked(storage)
  const secret = join(state.path, 'serve', SECRET)
  if (existsSync(secret)) copyFileSync(secret, join(making, SECRET))
  const made = { format: FORMAT, version: VERSION, at: new Date().toISOString(), migrations: migrationsIn(storage), files }
  writeFileSync(join(making, 'backup.json'), `${JSON.stringify(made, undefined, 1)}\n`)
  renameSync(making, copy)
  const waited = typeof held === 'number' ? `; requests waited for ${held} ms` : ''
  say(`${copy}: ${files.length} files, ${megabytes(files)} MB, checked${waited}`)
}

if (isProgram(import.meta.url)) backup(readArguments('backup')).catch((error) => exitWith(inWords(error)))
