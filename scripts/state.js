// @ts-check
// The folder with everything that a local service must not lose: the D1 database and the storage of the objects.
//
// Promises: one service at a time per folder, enforced by a lock that the kernel releases with its holder (so a crash
// leaves nothing to clean up); before a new workerd starts, one that an earlier service left behind is ended, and no
// other process ever is. The layout below v3/ is wrangler's own: `wrangler d1 execute DB --local --persist-to <folder>`
// reads the same database.

import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as pause } from 'node:timers/promises'

import { noState, stateFolder } from './folder.js'
import { Refusal } from './progress.js'

const SQLITE_BUSY = 5

/** When the process started, in the system's unit, or undefined if there is no such process. */
export function birthOf(pid) {
  try {
    if (process.platform === 'linux') {
      // Field 22 of /proc/<pid>/stat; the second field is a name in parentheses that may contain blanks.
      const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
        .replace(/^.*\) /s, '')
        .split(' ')
      return fields[0] === 'Z' ? undefined : fields[19]
    }
    return execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' }).trim() || undefined
  } catch {
    return undefined
  }
}

export class StateFolder {
  #lock

  constructor(path) {
    this.path = path
    /** miniflare's persistence path. wrangler appends the same `v3` to --persist-to. */
    this.storage = join(path, 'v3')
    this.workerdPidFile = join(path, 'serve', 'workerd.pid')
    this.#serviceFile = join(path, 'serve', 'service.json')
    this.migrationsFile = join(path, 'serve', 'migrations.json')
  }
  #serviceFile

  /** Takes the folder for this process, or throws, names the process that has it, and adds the advice. */
  async take(advice) {
    if (await this.takeIfFree()) return
    const holder = this.holder()
    throw new Refusal(
      `The folder ${this.path} is in use by another service` +
        (holder ? ` (process ${holder.pid}, ${holder.url}).` : '.') +
        `\n${advice}`,
    )
  }

  /** Takes the folder for this process; false if another one has it. @returns {Promise<boolean>} */
  async takeIfFree() {
    this.#lock = this.#openLock()
    try {
      // An open exclusive transaction is a file lock, held until this process ends in any way. Nothing is written.
      this.#lock.exec('BEGIN EXCLUSIVE')
    } catch (error) {
      if (error.errcode !== SQLITE_BUSY) throw error
      return false
    }
    await this.#endOrphan()
    return true
  }

  #openLock() {
    const file = join(stateFolder(this.path), 'lock.sqlite')
    try {
      return new DatabaseSync(file)
    } catch (error) {
      throw noState(this.path, error)
    }
  }

  /**
   * Notes who has the folder, for the message to a second service. This is not a lock.
   * @param {string} url @param {object} [more] what it can do
   */
  announce(url, more = {}) {
    writeFileSync(this.#serviceFile, JSON.stringify({ pid: process.pid, birth: birthOf(process.pid), url, ...more }))
  }

  /** A secret of 32 random bytes that belongs to this folder: generated on first use, and then always the same. */
  secret(name) {
    const file = join(this.path, 'serve', name)
    if (!existsSync(file)) {
      // Renamed into place, so that a crash leaves a complete secret or none.
      writeFileSync(`${file}.new`, randomBytes(32).toString('base64url'), { mode: 0o600 })
      renameSync(`${file}.new`, file)
    }
    return readFileSync(file, 'utf8')
  }

  /** An empty folder for temporary data; left-overs of a killed service are deleted. */
  freshTemporaryFolder() {
    const folder = join(this.path, 'serve', 'tmp')
    rmSync(folder, { recursive: true, force: true })
    mkdirSync(folder, { recursive: true })
    return folder
  }

  /** What the last service noted; it may have ended since. @returns {Record<string, any> | undefined} */
  holder() {
    try {
      return JSON.parse(readFileSync(this.#serviceFile, 'utf8'))
    } catch {
      return undefined
    }
  }

  workerdPid() {
    return Number(this.#readWorkerd()?.pid)
  }

  #readWorkerd() {
    try {
      const [, pid, birth] = readFileSync(this.workerdPidFile, 'utf8')
        .trim()
        .match(/^(\d+) (.+)$/)
      return { pid: Number(pid), birth }
    } catch {
      return undefined
    }
  }

  /** with-parent.sh makes an orphan nearly impossible; this covers systems where it can only check once a second. */
  async #endOrphan() {
    const workerd = this.#readWorkerd()
    if (!workerd || birthOf(workerd.pid) !== workerd.birth) return
    process.kill(workerd.pid, 'SIGKILL')
    while (birthOf(workerd.pid) === workerd.birth) await pause(10)
  }
}
