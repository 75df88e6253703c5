// @ts-check
// Other readers of the same frames, for `npm run bench:ingest`: the floor (floor/worker.js), and any program that reads a Jetstream.
//
// Promises: each starts on the prologue, and its clock runs from the moment the events are in the stream until all are stored; all
// that was started has ended. A program is a command for `sh`, that finds the stream in JETSTREAM_URL; another command prints how
// many messages it has stored.

import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

import { cpuSeconds } from './process.js'
import { serve } from './service.js'
import { serveFrames } from './stream.js'

const FLOOR_CONFIG = fileURLToPath(new URL('./floor/wrangler.toml', import.meta.url))
const LOOK_EVERY_MILLIS = 100
/** A program that stores nothing new for so long will not store the rest. */
const STUCK_AFTER_MILLIS = 60_000
/** A program that used no CPU for so long has stored the prologue; and when it is taken to have, in any case. */
const RESTS_FOR_MILLIS = 3_000
const RESTS_WITHIN_MILLIS = 120_000
/** How long a program may take to end when it is asked to. */
const END_WITHIN_MILLIS = 10_000

/**
 * @typedef {object} Frames what is read
 * @property {string} prologue @property {number} prologueCount @property {string} events @property {number} count
 * @property {number} messages how many messages stand in the end
 */

/** How fast the floor reads these frames. @param {string} root @param {string} folder @param {Frames} frames */
export async function measureFloor(root, folder, { prologue, prologueCount, events, count }) {
  const { network } = await serveFrames(prologue)
  let floor
  try {
    floor = await serve(root, join(folder, 'floor'), {}, { config: FLOOR_CONFIG })
    const { url, workerd } = floor
    await fetch(`${url}/?frames=${prologueCount}&url=${encodeURIComponent(network.jetstream)}`)
    const before = cpuSeconds(workerd) ?? 0
    await network.load(events)
    const startedAt = performance.now()
    await fetch(`${url}/?frames=${prologueCount + count}`)
    const seconds = (performance.now() - startedAt) / 1000
    return { perSecond: count / seconds, cpuMicros: (((cpuSeconds(workerd) ?? 0) - before) / count) * 1e6 }
  } finally {
    await floor?.stop()
    await network.stop()
  }
}

/** The processes of a group. @param {number} group */
function membersOf(group) {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name)).map(Number)
  return pids.filter((pid) => groupOf(pid) === group)
}

/** @param {number} pid */
function groupOf(pid) {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /s, '').split(' ')
    return Number(fields[2])
  } catch {
    return undefined
  }
}

/** Waits until a program rests, so that the prologue is not measured. @param {() => number} cpu its CPU seconds so far */
async function rested(cpu) {
  for (const until = Date.now() + RESTS_WITHIN_MILLIS; Date.now() < until; ) {
    const before = cpu()
    await pause(RESTS_FOR_MILLIS)
    // Timers of a runtime cost a little even at rest.
    if (cpu() - before < (RESTS_FOR_MILLIS / 1000) * 0.02) return
  }
}

/** How fast a program reads these frames. @param {{ command: string, counter: string }} program @param {Frames} frames */
export async function measureProgram({ command, counter }, { prologue, events, count, messages }) {
  const { network } = await serveFrames(prologue)
  const child = spawn('sh', ['-c', command], { env: { ...process.env, JETSTREAM_URL: network.jetstream }, detached: true, stdio: ['ignore', 'ignore', 'inherit'] })
  const ended = once(child, 'close')
  const group = /** @type {number} */ (child.pid)
  const cpu = () => membersOf(group).reduce((sum, pid) => sum + (cpuSeconds(pid) ?? 0), 0)
  const stored = async () => Number((await promisify(execFile)('sh', ['-c', counter])).stdout.trim())
  try {
    await rested(cpu)
    const before = cpu()
    await network.load(events)
    const startedAt = performance.now()
    let [last, movedAt] = [-1, Date.now()]
    for (;;) {
      const now = await stored()
      if (now >= messages) break
      if (child.exitCode !== null) throw new Error(`the program ended with ${child.exitCode}`)
      if (now !== last) [last, movedAt] = [now, Date.now()]
      if (Date.now() - movedAt > STUCK_AFTER_MILLIS) throw new Error(`the program stopped at ${now} of ${messages} messages`)
      await pause(LOOK_EVERY_MILLIS)
    }
    const seconds = (performance.now() - startedAt) / 1000
    return { perSecond: count / seconds, cpuMicros: ((cpu() - before) / count) * 1e6 }
  } finally {
    if (child.exitCode === null) process.kill(-group, 'SIGTERM')
    await Promise.race([ended, pause(END_WITHIN_MILLIS, undefined, { ref: false })])
    if (child.exitCode === null && child.signalCode === null) process.kill(-group, 'SIGKILL')
    await network.stop()
  }
}
