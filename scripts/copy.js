// @ts-check
// Copies the files of a service's storage (v3/: the database, and a SQLite file per object).
//
// Promises: a copy is the storage at one moment, as a power cut at that moment would leave it; every file that can change
// is copied while its writer is held, the others before, so that the writer is held for what changed only. Nothing is
// read or written but files; a checked copy is complete, its databases are sound, and it has no write-ahead logs.

import { createHash } from 'node:crypto'
import { constants, createReadStream, existsSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs'
import { copyFile, open } from 'node:fs/promises'
import { dirname, join, relative, sep } from 'node:path'
import { DatabaseSync } from 'node:sqlite'

import { makeFolder } from './folder.js'
import { Refusal } from './progress.js'

/** A file that was written less than this before its time was read may change without a later time of change. */
const RECENT_MILLIS = 2_000
/** What the runtime can make again, or must: the cache of answers, and the index of a log in shared memory. */
const LEFT_OUT = (/** @type {string} */ path) => path.split(sep)[0] === 'cache' || path.endsWith('-shm')

/** @typedef {Map<string, { size: number, changed: bigint }>} Listing the files of a folder by their path in it */

/** The files below a folder, without those that no copy needs. @param {string} folder @returns {Listing} */
function listed(folder) {
  /** @type {Listing} */
  const files = new Map()
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    const path = relative(folder, join(entry.parentPath, entry.name))
    if (!entry.isFile() || LEFT_OUT(path)) continue
    // A log may be gone by now: its database was closed.
    const found = statSync(join(folder, path), { bigint: true, throwIfNoEntry: false })
    if (found) files.set(path, { size: Number(found.size), changed: found.mtimeNs })
  }
  return files
}

/** @param {string} from @param {string} to @param {string} path */
async function copied(from, to, path) {
  mkdirSync(dirname(join(to, path)), { recursive: true })
  try {
    await copyFile(join(from, path), join(to, path), constants.COPYFILE_FICLONE)
  } catch (error) {
    if (error.code !== 'ENOENT' || existsSync(join(from, path))) throw error
  }
}

/**
 * Copies `from` to the new folder `to`.
 * @param {string} from @param {string} to
 * @param {(copy: () => Promise<void>) => Promise<void>} held runs its argument while nothing writes to `from`
 */
export async function copyStorage(from, to, held) {
  makeFolder(to, 0o700)
  const before = listed(from)
  const settled = BigInt(Date.now() - RECENT_MILLIS) * 1_000_000n
  for (const path of before.keys()) await copied(from, to, path)
  await held(async () => {
    const now = listed(from)
    for (const [path, { size, changed }] of now) {
      const was = before.get(path)
      if (was && was.size === size && was.changed === changed && changed < settled) continue
      await copied(from, to, path)
    }
    for (const path of before.keys()) if (!now.has(path)) rmSync(join(to, path), { force: true })
  })
}

/** Writes what a database's log has into its file, and checks it. @param {string} file */
function settle(file) {
  const database = new DatabaseSync(file)
  try {
    database.exec('PRAGMA wal_checkpoint(TRUNCATE)')
    const [{ quick_check: found }] = database.prepare('PRAGMA quick_check(1)').all()
    if (found !== 'ok') throw new Refusal(`The copy ${file} is not sound: ${found}. The disk may be failing.`)
  } finally {
    database.close()
  }
}

/** @param {string} file @returns {Promise<string>} */
async function digest(file) {
  const hash = createHash('sha256')
  for await (const piece of createReadStream(file)) hash.update(piece)
  return hash.digest('hex')
}

/** @typedef {{ path: string, size: number, sha256: string }} Copied */

/** Checks the databases of a copy, and makes it durable. @param {string} folder @returns {Promise<Copied[]>} its files */
export async function checked(folder) {
  for (const path of listed(folder).keys()) if (path.endsWith('.sqlite')) settle(join(folder, path))
  const files = []
  for (const [path, { size }] of listed(folder)) {
    const file = await open(join(folder, path), 'r+')
    await file.sync()
    await file.close()
    files.push({ path, size, sha256: await digest(join(folder, path)) })
  }
  return files.sort((a, b) => (a.path < b.path ? -1 : 1))
}

/** Refuses a copy that is not what was noted of it. @param {string} folder @param {Copied[]} files */
export async function compare(folder, files) {
  for (const { path, size, sha256 } of files) {
    const file = join(folder, path)
    const found = statSync(file, { throwIfNoEntry: false })
    if (!found) throw new Refusal(`The backup is not complete: ${file} is missing.`)
    if (found.size !== size || (await digest(file)) !== sha256) throw new Refusal(`The backup is damaged: ${file} is not as it was written.`)
  }
}

/** The names of the migrations that the database of a storage has. @param {string} storage @returns {string[]} */
export function migrationsIn(storage) {
  const databases = [...listed(storage).keys()].filter((path) => path.startsWith(`d1${sep}`) && path.endsWith('.sqlite'))
  return databases.flatMap((path) => {
    const database = new DatabaseSync(join(storage, path), { readOnly: true })
    try {
      const table = database.prepare("SELECT 1 FROM sqlite_master WHERE name = 'd1_migrations'").get()
      return table ? database.prepare('SELECT name FROM d1_migrations ORDER BY name').all().map(({ name }) => String(name)) : []
    } finally {
      database.close()
    }
  })
}
