// @ts-check
// `npm run restore -- FOLDER --state DIR`: makes the state of a `serve` that of a backup (backup.js).
//
// Promises: it changes nothing before every file of the backup is checked; it refuses a backup that a newer version made,
// a folder that is in use, and one that has a state, unless --replace is given, which keeps the old one beside it. The
// service then reads the stream from where the backup ends.

import { chmodSync, copyFileSync, existsSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'

import { folders, FORMAT, inWords, SECRET, STORAGE } from './backup.js'
import { readArguments } from './commands.js'
import { compare, copyStorage } from './copy.js'
import { filesOf, refuseNewer } from './migrate.js'
import { isProgram, MIGRATIONS_DIR } from './paths.js'
import { exitWith, Refusal, say } from './progress.js'

/** What a backup says about itself. @param {string} copy */
function read(copy) {
  let made
  try {
    made = JSON.parse(readFileSync(join(copy, 'backup.json'), 'utf8'))
  } catch {
    throw new Refusal(`${copy} is no complete backup: it has no backup.json that can be read.`)
  }
  if (made.format !== FORMAT) throw new Refusal(`${copy} was made by version ${made.version}, whose backups this one cannot read.`)
  return made
}

/** @param {{ positionals: string[], values: Record<string, any> }} given */
export async function restore(given) {
  const { copy, state } = folders(given, 'restore')
  const { at, migrations, files } = read(copy)
  refuseNewer(migrations, filesOf({ migrationsDir: MIGRATIONS_DIR }), copy)
  await compare(join(copy, STORAGE), files)
  await state.take('Stop that one first, or give --state another folder.')
  const replaced = join(state.path, `replaced-${new Date().toISOString().replace(/[:.]/g, '-')}`)
  const replaces = existsSync(state.storage)
  if (replaces && !given.values.replace)
    throw new Refusal(`There is a state in ${state.path} already. --replace puts the backup in its place, and keeps it beside.`)
  const coming = `${state.storage}.incomplete`
  rmSync(coming, { recursive: true, force: true })
  await copyStorage(join(copy, STORAGE), coming, (rest) => rest())
  await compare(coming, files)
  if (replaces) renameSync(state.storage, replaced)
  renameSync(coming, state.storage)
  // What was applied is asked of the database again at the next start.
  rmSync(state.migrationsFile, { force: true })
  const [from, to] = [join(copy, SECRET), join(state.path, 'serve', SECRET)]
  if (existsSync(from)) {
    copyFileSync(from, to)
    chmodSync(to, 0o600)
  }
  say(`${state.path} is as it was at ${at}${replaces ? `; what was there is in ${replaced}` : ''}`)
  say(`go on with: npm run serve -- --state ${state.path}`)
}

if (isProgram(import.meta.url)) restore(readArguments('restore')).catch((error) => exitWith(inWords(error)))
