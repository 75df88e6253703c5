// @ts-check
// How `npm run backup` has a running `serve` copy its storage: a file in the state folder says where to, SIGUSR2 says
// that it is there, and another file has the outcome.
//
// Promises: the runtime stands still only while what changed is copied, at most HELD_AT_MOST_MILLIS, and goes on
// whatever happens: the process that holds it is the one with which it ends. One copy at a time. A copy is as a kill -9
// at that moment would leave the storage, and from that the service recovers without a loss (crash.test.js).

import { execFileSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'

import { copyStorage } from './copy.js'
import { reasonOf } from './folder.js'
import { Refusal } from './progress.js'
import { birthOf } from './state.js'

const STILL_WITHIN_MILLIS = 5_000
const HELD_AT_MOST_MILLIS = 60_000
const LOOK_EVERY_MILLIS = 20
const ANSWER_WITHIN_MILLIS = 30 * 60_000

/** @param {{ path: string }} state */
const filesIn = ({ path }) => ({ wanted: join(path, 'serve', 'backup-wanted.json'), made: join(path, 'serve', 'backup-made.json') })

/** Renamed into place, so that nobody reads half of it. @param {string} file @param {object} content */
function put(file, content) {
  writeFileSync(`${file}.new`, JSON.stringify(content), { mode: 0o600 })
  renameSync(`${file}.new`, file)
}

/** Whether every thread of a process stands still. @param {number} pid */
function standsStill(pid) {
  if (process.platform !== 'linux') return execFileSync('ps', ['-o', 'state=', '-p', String(pid)], { encoding: 'utf8' }).startsWith('T')
  const tasks = `/proc/${pid}/task`
  return readdirSync(tasks).every((task) => / [Tt] /.test(readFileSync(join(tasks, task, 'stat'), 'utf8').replace(/^.*\)/s, ' ').slice(0, 4)))
}

/** Runs `work` while the process stands still; returns for how long it did. @param {number} pid @param {() => Promise<void>} work */
async function whileHeld(pid, work) {
  const birth = birthOf(pid)
  if (birth === undefined) throw new Error('workerd is not running at the moment; try again')
  const goOn = () => void (birthOf(pid) === birth && process.kill(pid, 'SIGCONT'))
  const startedAt = performance.now()
  process.kill(pid, 'SIGSTOP')
  try {
    while (!standsStill(pid)) {
      if (performance.now() - startedAt > STILL_WITHIN_MILLIS) throw new Error('workerd could not be held; try again')
      await pause(1)
    }
    const late = new AbortController()
    const limit = pause(HELD_AT_MOST_MILLIS, undefined, { signal: late.signal }).then(
      () => Promise.reject(new Error('what changes takes too long to copy; stop the service for the backup')),
      () => {},
    )
    await Promise.race([work().finally(() => late.abort()), limit])
  } finally {
    goOn()
  }
  return performance.now() - startedAt
}

/**
 * From now on this process, a `serve`, copies its storage when it is asked to.
 * @param {import('./state.js').StateFolder} state @param {(line: string) => void} say
 */
export function copyOnRequest(state, say) {
  let copying = false
  process.on('SIGUSR2', async () => {
    if (copying) return
    copying = true
    const { wanted, made } = filesIn(state)
    let id
    try {
      const request = JSON.parse(readFileSync(wanted, 'utf8'))
      id = request.id
      rmSync(wanted)
      let held = 0
      await copyStorage(state.storage, request.to, async (copy) => {
        held = Math.round(await whileHeld(state.workerdPid(), copy))
      })
      put(made, { id, held })
      say(`copied the state to ${request.to}; requests waited for ${held} ms`)
    } catch (error) {
      const why = error.syscall ? `${error.dest ?? error.path}: ${reasonOf(error)}` : error.message
      say(`the state could not be copied: ${why}`)
      if (id) put(made, { id, error: why })
    }
    copying = false
  })
}

/**
 * Has the service that holds the folder copy its storage to the new folder `to`. Returns the milliseconds for which
 * requests waited.
 * @param {import('./state.js').StateFolder} state @param {string} to @returns {Promise<number>}
 */
export async function requestCopy(state, to) {
  const holder = state.holder()
  const lives = () => holder && birthOf(holder.pid) === holder.birth
  if (!holder?.copies || !lives())
    throw new Refusal(`The folder ${state.path} is in use by a program that cannot copy it while it runs. Stop it, and run this again.`)
  const { wanted, made } = filesIn(state)
  const id = randomUUID()
  put(wanted, { id, to })
  process.kill(holder.pid, 'SIGUSR2')
  for (const until = performance.now() + ANSWER_WITHIN_MILLIS; performance.now() < until; await pause(LOOK_EVERY_MILLIS)) {
    const answer = existsSync(made) ? JSON.parse(readFileSync(made, 'utf8')) : undefined
    if (answer?.id === id && answer.error) throw new Refusal(`The service could not copy its state: ${answer.error}`)
    if (answer?.id === id) return answer.held
    if (!lives()) throw new Refusal('The service ended while it copied its state. Run this again.')
  }
  throw new Refusal('The service did not copy its state in time. Another backup may be running; its log says more.')
}
